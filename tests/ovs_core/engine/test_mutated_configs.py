"""A hundred spoilt configs: none runs code, none gives a trace, each is loaded or is one line."""

import os
import random
import subprocess

import pytest
import yaml

from ovs_core.engine.config import load_cfg
from ovs_core.engine.config_files import read_config
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config

CONFIGS = (
    "hclip/tiny",
    "sptseg/tiny",
    "clipteacher/tiny",
    "maftplus/tiny",
    "cliptrase/tiny",
    "san/tiny",
)
VALUES = (
    "!!python/object/apply:os.system ['touch canary']",
    "!!python/object/new:subprocess.Popen [[touch, canary]]",
    "!!python/name:os.system ''",
    "__import__('os').system('touch canary')",
    "\"('a',) + __import__('os').system('touch canary')\"",
    "-1", "0", "1e999", ".nan", "null", "[]", "{}", "{a: {b: [1]}}", "[[[]]]", "''", "'\\0'",
    "&x [*x]", "*nowhere", "!!binary aGk=", "2020-99-99", "true", "0x_", "- ",
    "'" + "x" * 5000 + "'", "9" * 400,
)  # fmt: skip
ODD = ":{}[]&*!|>'\"%@`#\x00\x85\ud7ff"


def put_value(lines, chosen):
    place = chosen.randrange(len(lines))
    key, colon, _ = lines[place].partition(":")
    lines[place] = f"{key}{colon or ':'} {chosen.choice(VALUES)}"


def drop_line(lines, chosen):
    del lines[chosen.randrange(len(lines))]


def repeat_line(lines, chosen):
    line = chosen.choice(lines)
    lines.insert(chosen.randrange(len(lines)), line)


def indent_line(lines, chosen):
    place = chosen.randrange(len(lines))
    lines[place] = chosen.choice((" ", "\t", "      ")) + lines[place]


def spoil_character(lines, chosen):
    place = chosen.randrange(len(lines))
    at = chosen.randrange(len(lines[place]) + 1)
    lines[place] = (
        lines[place][:at] + chosen.choice(":{}[]&*!|>'\"%@`#\x00\x85\ud7ff") + lines[place][at:]
    )


WAYS = (put_value, put_value, put_value, drop_line, repeat_line, indent_line, spoil_character)


def write(folder, text):
    path = folder / "spoilt.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_spoilt_configs(tmp_path, monkeypatch, name):
    def called(*arguments, **options):
        raise AssertionError(f"a config ran {arguments}")

    monkeypatch.chdir(tmp_path)
    for module, function in ((os, "system"), (subprocess, "Popen")):
        monkeypatch.setattr(module, function, called)
    text = yaml.safe_dump(read_config(find_config(name)))  # with what stands in its bases
    load_cfg(write(tmp_path, text))
    refused = 0
    for seed in range(30):
        chosen, lines = random.Random(f"{name}{seed}"), text.splitlines()
        for _ in range(chosen.randint(1, 3)):
            chosen.choice(WAYS)(lines, chosen)
        try:
            load_cfg(write(tmp_path, "\n".join(lines)))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), seed
    assert 7 <= refused < 30
    assert not (tmp_path / "canary").exists()
