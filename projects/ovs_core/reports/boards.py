"""What a leaderboard measures: boards, their test sets, and the entrants that projects offer.

A project offers its training-free methods in ``leaderboard.py``, as ``ENTRANTS``: name of a board
-> entrants. Nothing here names a method.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..data.build import dataset_metadata
from ..errors import UserError, check_choice
from ..methods.projects import SOURCE_ROOT, project_names


@dataclass(frozen=True)
class TestSet:
    """A set that every entrant of a board is measured on.

    Attributes:
        name: in the table.
        dataset: registered name.
    """

    __test__ = False  # pytest takes it for a test by its name

    name: str
    dataset: str

    @property
    def has_background(self) -> bool:
        """Whether class 0 is what the other classes leave over."""
        return bool(dataset_metadata(self.dataset).get("background_rule") == "first_class")


@dataclass(frozen=True)
class Entrant:
    """A method on a board.

    Attributes:
        name: in the table; differs from the others' names.
        config: short config name or YAML file, which states the rule of the board.
        options: KEY VALUE overrides that make it this method.
        background: further ones for sets with a background.
        words: name of a test set -> further ones that say which texts its classes are read by.
        published: name of a test set -> mIoU that its authors state, by their own protocol.
    """

    name: str
    config: str
    options: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)

    def options_on(self, data: TestSet) -> list[str]:
        """All overrides for a test set."""
        background = self.background if data.has_background else ()
        words = self.words.get(data.name, ())
        return [*self.options, *background, *words, "DATASETS.TEST", f"('{data.dataset}',)"]


@dataclass(frozen=True)
class Board:
    """Methods measured on the same sets by one rule.

    Attributes:
        summary: one line, printed above the table.
        sets: in the order of the table.
        entrants: in the order in which they run.
    """

    summary: str
    sets: tuple[TestSet, ...]
    entrants: tuple[Entrant, ...] = ()

    def choose(self, only: Sequence[str]) -> tuple[Entrant, ...]:
        """Keep some entrants.

        Args:
            only: their names; none for all.

        Raises:
            UserError: for a name that nobody has.
        """
        for name in only:
            check_choice("--only", name, [entrant.name for entrant in self.entrants])
        return tuple(e for e in self.entrants if not only or e.name in only)


_EIGHT = (
    TestSet("voc21", "voc_21_val"),
    TestSet("context60", "context_60_val"),
    TestSet("coco_object", "coco_object_81_val"),
    TestSet("voc20", "voc_20_val"),
    TestSet("cityscapes", "cityscapes_19_panoptic_val"),
    TestSet("context59", "context_59_val"),
    TestSet("ade150", "ade20k_150_val"),
    TestSet("coco_stuff", "coco_stuff_171_val"),
)
_BOARDS = {
    "embedded": Board(
        "the embedded world, read by its own CLIP", (TestSet("embedded", "embedded_sem_seg_val"),)
    ),
    "vitb16": Board("eight benchmarks, ViT-B/16", _EIGHT),
    "vitl14": Board("eight benchmarks, ViT-L/14", _EIGHT),
}
USUAL = ("embedded", "vitb16")  # those that run when a person names none


def list_boards() -> dict[str, Board]:
    """Give all boards with the entrants of all projects, which are looked for.

    Raises:
        UserError: if a project offers an entrant for an unknown board, or two have one name.
    """
    offered: dict[str, list[Entrant]] = {name: [] for name in _BOARDS}
    for project in project_names():
        if (SOURCE_ROOT / project / "leaderboard.py").is_file():
            module = importlib.import_module(f"{project}.leaderboard")
            for board, entrants in module.ENTRANTS.items():
                check_choice(f"{project}.leaderboard.ENTRANTS", board, _BOARDS)
                offered[board] += entrants
    return {name: _with_entrants(name, offered[name]) for name in _BOARDS}


def find_board(name: str) -> Board:
    """Give the board of a name such as ``embedded``.

    Raises:
        UserError: if there is none; names the nearest.
    """
    boards = list_boards()
    check_choice("board", name, boards)
    return boards[name]


def _with_entrants(name: str, entrants: Sequence[Entrant]) -> Board:
    names = [entrant.name for entrant in entrants]
    for twice in {one for one in names if names.count(one) > 1}:
        raise UserError(f"board {name}: two entrants are called {twice}; give one another name")
    board = _BOARDS[name]
    return Board(board.summary, board.sets, tuple(entrants))
