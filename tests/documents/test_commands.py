"""Every command of every document makes sense: its program, options, config and files exist."""

import argparse
import re
import runpy
import shlex
import sys

import pytest

from ovs_core.commands import COMMANDS, dispatch, options
from ovs_core.commands.offered import OFFERED
from ovs_core.engine.config import load_cfg
from ovs_core.methods.configs import find_config

from .reading import DOCUMENTS, ROOT, blocks, commands, prose, read

LAUNCHERS = {"torchrun": 2, "srun": 2}  # words of the launcher before the program
PLAIN = {"make", "pip", "export", "source", "mkdir", "npm", "tar", "cp"}
EXAMPLE = [  # blocks without a language that show output, not commands
    "val2017 labels:",
    "projects/mymethod/",
    "$DETECTRON2_DATASETS\n",
]


class Parsed(BaseException):
    """Carries what a parser read out of a script, and stops the script there."""

    def __init__(self, namespace):
        self.namespace = namespace


def parse_script(script, arguments, monkeypatch):
    """What the argument parser of a script makes of a command line."""

    def stop(method):
        def parse(*given, **keywords):
            raise Parsed(method(*given, **keywords))

        return parse

    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [str(script), *arguments])
        patch.setattr(dispatch, "parse", stop(dispatch.parse))
        patch.setattr(options, "read_line", stop(options.read_line))
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(
                argparse.ArgumentParser, name, stop(getattr(argparse.ArgumentParser, name))
            )
        try:
            if script.endswith(".py"):
                runpy.run_path(str(ROOT / script), run_name="__main__")
            else:
                runpy.run_module(script, run_name="__main__")
        except Parsed as parsed:
            return parsed.namespace
        except SystemExit as error:
            pytest.fail(f"{script} does not take {' '.join(arguments)} (exit code {error.code})")
    pytest.fail(f"{script} parsed no arguments")


def parse(words, monkeypatch):
    """Check one command; give what its parser read, or None for programs without one."""
    if words[0] in LAUNCHERS:
        return parse(words[1 + LAUNCHERS[words[0]] :], monkeypatch)
    if words[0] == "-m":  # behind torchrun
        words = ["python", *words]
    if words[0] == "ovsuite":
        if words[1] in OFFERED:  # a training that the reader has made is one of its project
            words = [re.sub(r"^output/([a-z]+)_\w+$", r"\1", word) for word in words]
        try:
            return dispatch.parse(words[1:])
        except SystemExit:
            pytest.fail(f"ovsuite does not take: {' '.join(words)}")
    if words[0].endswith(".py"):  # behind a launcher
        return parse_script(words[0], words[1:], monkeypatch)
    if words[0] in ("python", ".venv/bin/python"):
        if words[1] == "-c":
            compile(words[2], "command", "exec")
            return None
        if words[1:3] == ["-m", "pip"] or words[1:3] == ["-m", "pytest"]:
            return None
        script, rest = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
        return parse_script(script, rest, monkeypatch)
    assert words[0] in PLAIN, f"unknown program {words[0]!r}"
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
        assert words[1] in targets, f"make has no {words[1]}"
    return None


def configs(namespace):
    """The configs that a parsed command names."""
    given = vars(namespace)
    named = [given.get(key) for key in ("config_file", "config", "method", "methods")]
    single = [one for value in named for one in (value if isinstance(value, list) else [value])]
    return [str(name) for name in single if name]


def configs_of_the_reader():
    """Short names of the configs that a document tells its reader to write."""
    files = [block.file for document in DOCUMENTS for block in blocks(document)]
    return {f.replace("/configs/", "/").removesuffix(".yaml") for f in files if "/configs/" in f}


def check_config(name, options):
    """A config that stands in the suite loads with the overrides of the command."""
    if name.startswith(("output/", "configs/own_")) or "<" in name or name == "...":
        return  # made by the reader
    if name in configs_of_the_reader():
        return
    if "/" not in name and not name.endswith(".yaml"):
        return  # a method; other tests build its configs
    path = ROOT / name if name.endswith(".yaml") else find_config(name)
    load_cfg(path, [value for value in options if not value.endswith(".yaml")])


def all_commands():
    for document in DOCUMENTS:
        for block in blocks(document):
            if any(start in block.text for start in EXAMPLE):
                continue
            for words in commands(block):
                yield pytest.param(words, id=f"{block.place} {' '.join(words)[:60]}")


def inline_commands():
    """Commands inside sentences and tables, as far as they have arguments and no placeholder.

    Of the changelog none: it tells of what there was.
    """
    for document in DOCUMENTS:
        if document == "CHANGELOG.md":
            continue
        for text in re.findall(r"`((?:python|ovsuite) [^`]+)`", prose(document)):
            words = shlex.split(text)
            if len(words) > 2 and not re.search(r"[<\[]|\.\.\.|\b[A-Z]+\b(?!\.)", text):
                yield pytest.param(words, id=f"{document} {text[:60]}")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_subcommands_exist(document):
    for name in re.findall(r"`ovsuite ([a-z][\w-]*)", read(document)):
        assert name in COMMANDS


@pytest.mark.parametrize("words", [*all_commands(), *inline_commands()])
def test_a_command_is_understood(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    namespace = parse(words, monkeypatch)
    if namespace is None:
        return
    options = [
        str(o)
        for o in [*(vars(namespace).get("opts") or []), *(vars(namespace).get("options") or [])]
    ]
    if "DATASETS.YAML" in options:
        return  # the reader's file
    for name in configs(namespace):
        check_config(name, options)
