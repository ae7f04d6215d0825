"""From a config to records and mappers. Importing this module registers every dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.utils.registry import Registry

from ..errors import UserError, check_choice, nearest
from ..words.dataset_words import dataset_vocabulary
from ..words.vocabulary import Vocabulary
from . import registration  # noqa: F401  (fills Detectron2's catalogs)
from .detection_mapper import DetectionDatasetMapper
from .embedded import register as embedded_world  # noqa: F401  (likewise)
from .mapper import SemanticDatasetMapper
from .mmseg_pipeline import MMSegDatasetMapper
from .segment_mapper import MaskSemanticMapper

Item = TypeVar("Item")

DATASET_MAPPER_REGISTRY = Registry("DATASET_MAPPER")
DATASET_MAPPER_REGISTRY.__doc__ = """Mappers by name, chosen with ``INPUT.MAPPER`` (training) and
``INPUT.TEST_MAPPER``. Each is built as ``mapper(cfg, is_train)`` and maps a record to a sample."""
DATASET_MAPPER_REGISTRY.register(SemanticDatasetMapper)
DATASET_MAPPER_REGISTRY.register(MMSegDatasetMapper)
DATASET_MAPPER_REGISTRY.register(DetectionDatasetMapper)
DATASET_MAPPER_REGISTRY.register(MaskSemanticMapper)


def build_mapper(cfg: CfgNode, *, is_train: bool) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Build the mapper that the config names.

    Raises:
        UserError: for an unknown name, or an ignore value, which is the dataset's to state.
    """
    key = "MAPPER" if is_train else "TEST_MAPPER"
    name = cfg.INPUT[key]
    check_choice(f"INPUT.{key}", name, [entry for entry, _ in DATASET_MAPPER_REGISTRY])
    _refuse_ignore_value(cfg)
    return DATASET_MAPPER_REGISTRY.get(name)(cfg, is_train)


def _refuse_ignore_value(cfg: CfgNode) -> None:
    stated, default = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE, get_cfg().MODEL.SEM_SEG_HEAD.IGNORE_VALUE
    if stated != default:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE is {stated}, but which value of a label file does "
            "not count is stated by its dataset (ignore_label of the metadata, ignore of an own "
            "dataset's YAML); take the key out"
        )


def dataset_dicts(names: Sequence[str]) -> list[dict[str, Any]]:
    """Read the records of one or several registered datasets.

    Args:
        names: registered names.

    Returns:
        Detectron2 dataset dicts, each with its ``dataset_name``.

    Raises:
        UserError: for an unknown name, missing data, or a dataset without pictures.
    """
    records: list[dict[str, Any]] = []
    for name in names:
        _check_registered(name)
        found = DatasetCatalog.get(name)
        if not found:
            raise UserError(f"dataset '{name}' holds no picture")
        records += [{"dataset_name": name, **record} for record in found]
    return records


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Take evenly spaced items, the first and the last among them; all if there are fewer."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    return [items[place] for place in places]


def dataset_metadata(name: str) -> Metadata:
    """Give the metadata of a registered dataset.

    Raises:
        UserError: for an unknown name (Detectron2 would make empty metadata).
    """
    _check_registered(name)
    return MetadataCatalog.get(name)


def dataset_words(cfg: CfgNode, name: str) -> Vocabulary:
    """Give the words of a registered dataset that the config asks for.

    Raises:
        UserError: for an unknown name, or words that the dataset's class list lacks.
    """
    node = cfg.MODEL.OVS
    return dataset_vocabulary(
        dataset_metadata(name), name_field=node.NAME_FIELD, synonym_field=node.SYNONYM_FIELD
    )


def check_datasets(names: Sequence[str]) -> None:
    """Refuse, before any work, names of no dataset and annotation files whose categories are wrong.

    Raises:
        UserError: names the dataset or the file.
    """
    for name in names:
        dataset_metadata(name).get("thing_dataset_id_to_contiguous_id")


def _check_registered(name: str) -> None:
    known = sorted(DatasetCatalog.list())
    if name not in known:
        raise UserError(f"no dataset is registered as '{name}'.{nearest(name, known)}")
