"""A leaderboard on paper: Markdown, JSON, and accuracy against cost as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from tabulate import tabulate

from ..draw.charts import new_chart
from ..evaluation.oracle import ORACLE
from ..files.writing import atomic_write, save_picture, write_json
from .boards import Board
from .leaderboard import RULES, Standing

NOTE = """\
Mean over the test sets, by two rules: mIoU over classes in the truth, mIoU_union over classes in
truth or prediction. Published: mean of the mIoU that the authors state for the same sets, each by
a protocol of its own; – where they state none for one of them. Time: a picture over CLIP's image
tower alone. Memory: MiB above what was in use before the picture."""
NONE = "–"


@dataclass(frozen=True)
class Line:
    """An entrant's line of the first table; None where there is no figure.

    Attributes:
        name: of the entrant.
        means: of each of ``RULES``, over the test sets.
        published: mean over the same sets.
        time: mean over the sets.
        memory: the most over the sets, MiB.
        oracle: whether any of its figures knows the truth.
    """

    name: str
    means: tuple[float | None, ...]
    published: float | None
    time: float | None
    memory: float | None
    oracle: bool = False

    @property
    def shown(self) -> str:
        """The name, and that its figures know the truth where one of them does."""
        return f"{self.name} ({ORACLE})" if self.oracle else self.name


def lines_of(standings: Sequence[Standing], measured: Sequence[str], board: Board) -> list[Line]:
    """Sum standings up, the best first; who lacks one of the sets has no mean.

    Args:
        standings: of the entrants.
        measured: names of the sets that are there.
        board: whose sets count for published figures if none is there.
    """
    names = list(measured) or [data.name for data in board.sets]
    lines = [_line(standing, measured, names) for standing in standings]
    return sorted(lines, key=lambda line: (-_or_zero(line.means[0]), -_or_zero(line.published)))


def write_board(
    board: Board, standings: Sequence[Standing], missing: Mapping[str, str], folder: Path
) -> str:
    """Write ``leaderboard.md``, ``.json`` and, if anything was measured, ``.png``.

    Args:
        board: what was measured.
        standings: of the entrants.
        missing: set that is not there -> why.
        folder: where the files go.

    Returns:
        The Markdown.
    """
    measured = [data.name for data in board.sets if data.name not in missing]
    lines = lines_of(standings, measured, board)
    text = markdown(board, lines, standings, missing)
    atomic_write(folder / "leaderboard.md", text + "\n")
    rows = [
        {
            "name": s.entrant.name,
            "config": s.entrant.config,
            "options": s.entrant.options,
            "published": s.entrant.published,
            "sets": {name: vars(found) for name, found in s.sets.items()},
            "not_run": s.not_run,
        }
        for s in standings
    ]
    content = {"board": board.summary, "missing": missing, "lines": [vars(x) for x in lines]}
    write_json(folder / "leaderboard.json", {**content, "rows": rows})
    if any(line.means[0] is not None for line in lines):
        save_picture(draw(board.summary, lines), folder / "leaderboard.png")
    return text


def markdown(
    board: Board,
    lines: Sequence[Line],
    standings: Sequence[Standing],
    missing: Mapping[str, str],
) -> str:
    """Lay out the means, then every set, then what is missing."""
    head = ("method", "mIoU", "published", *RULES[1:], "time", "MiB")
    rows = [
        [x.shown, _text(x.means[0]), _text(x.published), *map(_text, x.means[1:]), _text(x.time),
         _text(x.memory, 0)]
        for x in lines
    ]  # fmt: skip
    parts = [f"{board.summary}:", _table(head, rows), NOTE]
    if len(board.sets) > 1:
        order = {line.name: place for place, line in enumerate(lines)}
        ranked = sorted(standings, key=lambda s: order[s.entrant.name])
        cells = [[s.entrant.name, *(_cell(s, data.name) for data in board.sets)] for s in ranked]
        parts += ["mIoU of each set (published):",
                  _table(("method", *(data.name for data in board.sets)), cells)]  # fmt: skip
    notes = [f"- {name} is missing: {why}" for name, why in missing.items()]
    notes += [
        f"- {s.entrant.name} on {name} was not run: {why}"
        for s in standings
        for name, why in s.not_run.items()
    ]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def draw(title: str, lines: Sequence[Line]) -> np.ndarray:
    """Draw accuracy against cost, measured (dots) and published (rings).

    Returns:
        (H, W, 3) uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure, axes = new_chart(7, 5)
    canvas = FigureCanvasAgg(figure)
    for line in lines:
        if line.means[0] is None or line.time is None:
            continue
        axes.plot(line.time, line.means[0], "o", color="tab:blue")
        axes.annotate(line.shown, (line.time, line.means[0]), (5, 4), textcoords="offset points")
        if line.published is not None:
            axes.plot(line.time, line.published, "o", mfc="none", color="tab:gray")
    axes.set(xscale="log", xlabel="time of a picture / time of CLIP's tower alone",
             ylabel="mean mIoU (ring: published)", title=title)  # fmt: skip
    axes.grid(alpha=0.3, which="both")
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _line(standing: Standing, measured: Sequence[str], names: Sequence[str]) -> Line:
    stated = standing.entrant.published
    published = mean(stated[name] for name in names) if set(names) <= stated.keys() else None
    found = list(standing.sets.values())
    oracle = any(one.oracle for one in found)
    if not measured or len(found) < len(measured):
        return Line(standing.entrant.name, (None,) * len(RULES), published, None, None, oracle)
    means = tuple(mean(one.figures[rule] for one in found) for rule in RULES)
    time, memory = mean(one.time for one in found), max(one.memory for one in found)
    return Line(standing.entrant.name, means, published, time, memory, oracle)


def _cell(standing: Standing, name: str) -> str:
    found = standing.sets.get(name)
    parts = [_text(found.figures[RULES[0]] if found else None)]
    parts += [ORACLE] if found and found.oracle else []
    stated = standing.entrant.published.get(name)
    return " ".join([*parts, *([] if stated is None else [f"({stated:.2f})"])])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return str(tabulate(rows, headers=head, tablefmt="github", disable_numparse=True))


def _text(value: float | None, digits: int = 2) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else value
