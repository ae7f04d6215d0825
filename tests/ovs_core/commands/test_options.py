"""One option, one meaning, in every command."""

import argparse
import re
from collections import defaultdict
from pathlib import Path

import pytest
from detectron2.engine import default_argument_parser

from ovs_core.commands import (
    COMMANDS,
    build_parser,
    dispatch,
    options,
    parse,
    picture_options,
    ray_options,
)


def parsers_below(parser):
    """The parsers of subcommands; argparse offers no other way to list them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def actions(name):
    """The options of a command, by every spelling; those of its own subcommands among them."""
    parser = dict(parsers_below(build_parser([name])))[name]
    found = dict(parser._option_string_actions)
    for _, below in parsers_below(parser):
        found |= below._option_string_actions
    return found


def facts(action):
    return {
        "meaning": action.help,
        "dest": action.dest,
        "type": action.type,
        "metavar": action.metavar,
        "switch": action.nargs == 0,
    }


def test_the_same_option_means_the_same_in_every_command():
    seen = {}
    for name in COMMANDS:
        for spelling, action in actions(name).items():
            if action.help == argparse.SUPPRESS:
                continue
            first, known = seen.setdefault(spelling, (name, facts(action)))
            assert facts(action) == known, f"{spelling} of {first} and of {name}"
    for option in ("--method", "--weights", "--output", "--opts", "--device", "--words"):
        assert option in seen


def test_what_several_commands_share_is_declared_once():
    """In one of three files; a command may take the whole of another's arguments."""
    homes = [Path(module.__file__) for module in (options, picture_options, ray_options)]
    found = [set(re.findall(r'"(--[\w-]+)"', home.read_text())) for home in homes]
    declared = set.union(*found)
    assert len(declared) == sum(map(len, found))
    users = defaultdict(set)
    for name in COMMANDS:
        for spelling, action in actions(name).items():
            if spelling.startswith("--") and action.help != argparse.SUPPRESS:
                users[spelling].add(dispatch.load_command(name).add_arguments)
    shared = {spelling for spelling, homes in users.items() if len(homes) > 1}
    assert {"--words", "--json", "--max-pixels", "--unknown", "--urls"} <= shared
    assert shared - {"--help"} <= declared


@pytest.mark.parametrize("name", COMMANDS)
def test_what_builds_a_method_takes_all_that_names_one(name):
    found = actions(name)
    if "--method" in found or "--methods" in found:
        assert {"--weights", "--opts"} <= found.keys()
        assert "--device" in found or name == "export"  # whose programs are made for the CPU


def test_training_takes_the_flags_of_detectron2():
    own = actions("train")
    for spelling, action in default_argument_parser()._option_string_actions.items():
        assert spelling in own
        assert own[spelling].type == action.type and own[spelling].nargs == action.nargs


def test_one_grammar():
    line = ["--weights", "w.pth", "MODEL.DEVICE", "cpu", "SEED", "-1"]
    for given in (["hclip/tiny", *line], ["--method", "hclip/tiny", *line],
                  ["--config-file", "hclip/tiny", *line]):  # fmt: skip
        args = parse(["evaluate", *given])
        assert (args.method, args.weights) == ("hclip/tiny", "w.pth")
        assert args.opts == ["MODEL.DEVICE", "cpu", "SEED", "-1"]
    args = parse(["train", "a/b", "SEED", "1", "--num-gpus", "2", "--opts", "SEED", "2"])
    assert args.num_gpus == 2 and args.opts == ["SEED", "1", "SEED", "2"]
    args = parse(["compare", "--method", "a", "--method", "b", "c", "--device", "cpu"])
    assert args.methods == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["evaluate"], "name the method: METHOD in front"),
        (["evaluate", "hclip/tiny", "what"], "unrecognized arguments: what"),
        (["evaluate", "hclip/tiny", "--nope", "3"], "unrecognized arguments: --nope 3"),
        (["evaluate", "hclip/tiny", "SEED", "3", "--nope"], "unrecognized arguments: --nope"),
        (["segment", "a.png", "--words", "x", "--every", "0", "--method", "m"], "above 0"),
    ],
)
def test_a_line_that_makes_no_sense(capsys, line, said):
    assert dispatch.main(line) == 2
    assert said in capsys.readouterr().err
