"""Names of the embedded world: things, colours, stuff, the large vocabulary and the splits.

Three numberings are used, and only here are they defined:

* *semantic* ids (28): the 20 things in file order, then the 8 kinds of stuff;
* *large* ids (208): ``10 * thing + colour`` for the 200 "colour thing" names, then the stuff;
* *atoms* (228): what a caption can say of a picture; the large ids, then the 20 bare things.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

IGNORE_LABEL = 255


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("vocabulary.json").read_text(encoding="utf-8"))


COLOURS: tuple[str, ...] = tuple(_tables()["colours"])
THINGS: tuple[str, ...] = tuple(_tables()["things"])
STUFF: tuple[str, ...] = tuple(_tables()["stuff"])
TEMPLATES: tuple[str, ...] = tuple(_tables()["templates"])

SEMANTIC_NAMES: tuple[str, ...] = THINGS + STUFF
LARGE_NAMES: tuple[str, ...] = (
    tuple(f"{colour} {thing}" for thing in THINGS for colour in COLOURS) + STUFF
)
NUM_ATOMS = len(LARGE_NAMES) + len(THINGS)


def colour_rgb(colour: int) -> tuple[int, int, int]:
    """RGB value (0..255) that the colour with this index is painted with."""
    return tuple(_tables()["colours"][COLOURS[colour]])


def stuff_rgb(stuff: int) -> tuple[int, int, int]:
    """Representative RGB value of the stuff with this index, for palettes."""
    return tuple(_tables()["stuff_rgb"][STUFF[stuff]])


def synonyms(name: str) -> tuple[str, ...]:
    """Other words for a thing or a kind of stuff, without the name itself."""
    tables = _tables()
    return tuple(tables["things"].get(name, tables["stuff"].get(name, ())))


def pair_id(thing: int, colour: int) -> int:
    """Large id of "colour thing"."""
    return len(COLOURS) * thing + colour


def is_unseen_pair(thing: int, colour: int) -> bool:
    """Whether no caption ever names this colour and thing together (a fifth of all pairs).

    The rule leaves every colour and every thing with four fifths of its pairs.
    """
    return (colour + 3 * thing) % 5 == 0


def atom_of_stuff(stuff: int) -> int:
    """Atom (and large id) of a kind of stuff."""
    return len(THINGS) * len(COLOURS) + stuff


def atom_of_thing(thing: int) -> int:
    """Atom of a thing named without its colour."""
    return len(LARGE_NAMES) + thing


def unseen_classes() -> list[int]:
    """Semantic ids held out from segmentation labels in the zero-shot split."""
    return [SEMANTIC_NAMES.index(name) for name in _tables()["unseen_classes"]]


def unseen_pairs() -> list[int]:
    """Large ids of the colour-thing pairs that no caption names."""
    return [
        pair_id(thing, colour)
        for thing in range(len(THINGS))
        for colour in range(len(COLOURS))
        if is_unseen_pair(thing, colour)
    ]
