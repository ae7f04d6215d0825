"""Sentences about a scene: complete ones and partial ones, with templates and synonyms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .vocabulary import (
    COLOURS,
    STUFF,
    TEMPLATES,
    THINGS,
    atom_of_stuff,
    atom_of_thing,
    is_unseen_pair,
    pair_id,
    synonyms,
)

_SYNONYM_SHARE = 0.25
_PLAIN_SHARE = 0.3


@dataclass(frozen=True)
class Caption:
    """A sentence and the atoms (see ``vocabulary``) that it claims; all hold for its picture."""

    text: str
    atoms: tuple[int, ...]


def make_captions(
    rng: np.random.Generator, things: Sequence[tuple[int, int]], stuff: Sequence[int]
) -> tuple[Caption, ...]:
    """Write one caption that tells all and up to two that tell a part.

    Args:
        rng: source of the choices of words.
        things: (thing, colour) of each thing that can be seen well; pairs that are held out from
            captions are left out here.
        stuff: the kinds of stuff that cover a fair part of the picture.

    Returns:
        At most three captions, the most complete first; none if nothing may be said.
    """
    named = [pair for pair in things if not is_unseen_pair(*pair)]
    if not named and not stuff:
        return ()
    captions = [_sentence(rng, named, stuff)]
    if named:
        captions.append(_sentence(rng, [named[int(rng.integers(len(named)))]], ()))
    if stuff:
        captions.append(_sentence(rng, (), [stuff[int(rng.integers(len(stuff)))]]))
    return tuple(captions)


def short_sentences() -> list[list[str]]:
    """Sentences about a bare thing or a bare colour.

    Returns:
        For each thing, then for each colour, as many sentences.
    """
    nouns = ("thing", "object")
    things = [[f"{_article(thing)} {thing}"] * len(nouns) for thing in THINGS]
    colours = [[f"{_article(colour)} {colour} {noun}" for noun in nouns] for colour in COLOURS]
    return [
        [template.format(phrase) for phrase in phrases for template in TEMPLATES]
        for phrases in things + colours
    ]


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _sentence(rng: np.random.Generator, things: Sequence[tuple[int, int]],
              stuff: Sequence[int]) -> Caption:  # fmt: skip
    phrases: list[str] = []
    atoms: set[int] = set()
    for thing, colour in things:
        word = _word(rng, THINGS[thing])
        if rng.random() < _PLAIN_SHARE:
            atoms.add(atom_of_thing(thing))
        else:
            word = f"{COLOURS[colour]} {word}"
            atoms |= {atom_of_thing(thing), pair_id(thing, colour)}
        phrases.append(f"{_article(word)} {word}")
    grounds = [_word(rng, STUFF[s]) for s in stuff]
    atoms |= {atom_of_stuff(s) for s in stuff}
    if phrases and grounds:
        joint = ("on", "with", "in front of")[rng.integers(3)]
        text = f"{_join(phrases)} {joint} {_join(grounds)}"
    else:
        text = _join(phrases or grounds)
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    return Caption(template.format(text), tuple(sorted(atoms)))


def _word(rng: np.random.Generator, name: str) -> str:
    others = synonyms(name)
    if others and rng.random() < _SYNONYM_SHARE:
        return others[rng.integers(len(others))]
    return name


def _join(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
