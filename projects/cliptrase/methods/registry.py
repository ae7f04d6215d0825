"""Methods by name.

A method is what its last block attends to, what is kept of that block, how patches are compared
with words, and what follows. Each is a function in a file of this folder, registered under its own
name, which is the value of ``MODEL.CLIPTRASE.METHOD``; keys of its own stand beside it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypedDict

from detectron2.config import CfgNode
from torch import Tensor
from typing_extensions import Required

from ovs_core.errors import check_choice
from ovs_core.methods.ranges import Allowed, declare_ranges
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.segmenter import SegmenterArguments

from ..mask_sources import MaskSource
from ..regions import RegionRule
from ..sam import SamMasks
from ..tower import Dense, Tower

KEY = "MODEL.CLIPTRASE"


class Parts(TypedDict, total=False):
    """Arguments of ``CLIPtrase`` that a method decides."""

    tower: Required[Tower]
    scorer: Required[Callable[[Dense, Tensor], Tensor]]
    statistics: PixelStatistics | None
    regions: RegionRule
    mask_source: MaskSource
    sam: SamMasks | None
    gt_restricted: bool


# (config, what every segmenter has) -> parts
Builder = Callable[[CfgNode, SegmenterArguments], Parts]


@dataclass(frozen=True)
class _Entry:
    build: Builder
    group: str
    keys: Mapping[str, Any]


_METHODS: dict[str, _Entry] = {}


def register_method(
    *,
    group: str = "",
    keys: Mapping[str, Any] | None = None,
    ranges: Mapping[str, Allowed] | None = None,
) -> Callable[[Builder], Builder]:
    """Register the function below under its name.

    Args:
        group: of the method's keys below ``MODEL.CLIPTRASE``; default its name in capitals.
        keys: name -> default.
        ranges: name -> what a number or list may be.
    """

    def register(build: Builder) -> Builder:
        own = group or build.__name__.upper()
        _METHODS[build.__name__] = _Entry(build, own, keys or {})
        declare_ranges(f"{KEY}.{own}", **(ranges or {}))
        return build

    return register


def find_method(name: str) -> Builder:
    """Give the function that builds a method's parts.

    Raises:
        UserError: if there is no such method; names the nearest.
    """
    known = _known()
    check_choice(f"{KEY}.METHOD", name, list(known))
    return known[name].build


def method_names() -> list[str]:
    """All values of ``MODEL.CLIPTRASE.METHOD``, in alphabetical order."""
    return list(_known())


def add_method_keys(node: CfgNode) -> None:
    """Add every method's own keys to ``MODEL.CLIPTRASE``, in place."""
    for entry in _known().values():
        if entry.keys:
            node[entry.group] = CfgNode(deepcopy(dict(entry.keys)))


def _known() -> dict[str, _Entry]:
    """All methods, in alphabetical order; files of this folder are imported first."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
    return dict(sorted(_METHODS.items()))
