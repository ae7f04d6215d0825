"""The training-free methods on the suite's leaderboards: a row for each that is registered."""

from __future__ import annotations

from ovs_core.reports.boards import Entrant

from .methods.registry import method_names
from .tables import DATASETS, METHODS, OWN_PROTOCOL, PAPER, PRINTED

KEY = "MODEL.CLIPTRASE"
# What NACLIP and ResCLIP take for all sets that have a background.
BACKGROUND = (f"{KEY}.LAST_STEPS.PROB_THD", "0.1")
SYNONYMS = ("MODEL.OVS.SYNONYM_FIELD", "sclip_synonyms")
WORDS = {name: SYNONYMS for name in ("voc21", "coco_object", "voc20")}


def published_figures(method: str, board: str) -> dict[str, float]:
    """Give what is published for a method: test set -> mIoU by the method's own protocol.

    Args:
        method: a value of ``MODEL.CLIPTRASE.METHOD``.
        board: ``embedded``, ``vitb16`` or ``vitl14``.
    """
    if method in OWN_PROTOCOL:
        rows = {row.name: row for row in PAPER[method].rows}
    else:
        printed = dict(zip(METHODS, PRINTED["336"].rows, strict=True))
        rows = {"vitb16": printed[method]} if method in printed else {}
    figures = rows[board].figures.get("mIoU", {}) if board in rows else {}
    return {name: figure for name, figure in figures.items() if name in DATASETS}


def _entrants(board: str) -> list[Entrant]:
    return [
        Entrant(
            method,
            f"cliptrase/leaderboard/{board}",
            (f"{KEY}.METHOD", method),
            BACKGROUND,
            WORDS,
            published_figures(method, board),
        )
        for method in method_names()
    ]


ENTRANTS = {board: _entrants(board) for board in ("embedded", "vitb16", "vitl14")}
