"""Records and mappers by name. Importing this module registers every data set of the suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..errors import UserError, nearest
from . import registration  # noqa: F401  registers the benchmarks
from .embedded import register  # noqa: F401  registers the embedded world
from .mapper import SemanticDatasetMapper
from .mmseg_pipeline import MMSegDatasetMapper

Mapper = Callable[[dict[str, Any]], dict[str, Any]]
_MAPPERS: dict[str, Callable[..., Mapper]] = {}


def register_mapper(name: str) -> Callable[[Callable[..., Mapper]], Callable[..., Mapper]]:
    """Give a mapper class the name that ``INPUT.DATASET_MAPPER_NAME`` asks for.

    Args:
        name: not taken yet.

    Returns:
        A decorator that leaves the class unchanged; it is called as ``mapper(cfg, is_train)``.
    """

    def register_class(mapper: Callable[..., Mapper]) -> Callable[..., Mapper]:
        if _MAPPERS.setdefault(name, mapper) is not mapper:
            raise ValueError(f"mapper name '{name}' is taken by {_MAPPERS[name]}")
        return mapper

    return register_class


register_mapper("semantic")(SemanticDatasetMapper)
register_mapper("mmseg")(MMSegDatasetMapper)


def build_mapper(cfg: CfgNode, is_train: bool = True) -> Mapper:
    """Build the mapper of ``INPUT.DATASET_MAPPER_NAME``.

    Raises:
        UserError: for an unknown name.
    """
    name = cfg.INPUT.DATASET_MAPPER_NAME
    if name not in _MAPPERS:
        raise UserError(
            f"INPUT.DATASET_MAPPER_NAME is '{name}'.{nearest(name, _MAPPERS)} "
            f"Known mappers: {', '.join(sorted(_MAPPERS))}"
        )
    return _MAPPERS[name](cfg, is_train)


def dataset_dicts(names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the records of some data sets, one after the other.

    Args:
        names: registered names.

    Returns:
        Detectron2 dataset dicts; each says its data set in ``dataset_name``.

    Raises:
        UserError: for an unknown name, or a data set that is not on disk, is empty or inconsistent.
    """
    records: list[dict[str, Any]] = []
    for name in names:
        if name not in DatasetCatalog:
            known = DatasetCatalog.list()
            raise UserError(f"unknown data set '{name}'.{nearest(name, known)}")
        found = DatasetCatalog.get(name)
        if not found:
            raise UserError(f"data set '{name}' holds no picture")
        records += [{"dataset_name": name, **record} for record in found]
    return records
