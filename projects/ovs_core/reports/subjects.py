"""What a method's own figures are made of: its model, its words, and pictures to show it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from ..data.build import dataset_dicts, evenly
from ..engine.run import build_segmenter
from ..engine.trainer import set_test_words
from ..errors import UserError
from ..modeling.contract import OpenVocabularyModel
from ..predict.reading import pictures_to_segment

Model = TypeVar("Model", bound=OpenVocabularyModel)


def build_as(cfg: CfgNode, kind: type[Model]) -> Model:
    """Build a config's model with its weights.

    Args:
        cfg: finished config.
        kind: the class that is needed.

    Returns:
        The model in eval mode.

    Raises:
        UserError: if the config builds another one.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if not issubclass(META_ARCH_REGISTRY.get(name), kind):
        raise UserError(
            f"{cfg.CONFIG_FILE}: MODEL.META_ARCHITECTURE {name} is no {kind.__name__}, which is "
            "needed here; name another config"
        )
    model = build_segmenter(cfg)
    assert isinstance(model, kind)
    return model


def give_words(cfg: CfgNode, model: OpenVocabularyModel, words: str | None) -> None:
    """Give a model a person's words, or the classes of the first test set.

    Args:
        cfg: the model's config.
        model: changed in place.
        words: a comma list or a text file.

    Raises:
        UserError: without words, if the config names no test set.
    """
    if words:
        model.set_vocabulary(words)
    else:
        set_test_words(cfg, model, first_test_set(cfg))


def first_test_set(cfg: CfgNode) -> str:
    """Name the dataset that is shown if a person gives no pictures.

    Raises:
        UserError: if the config has none.
    """
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty; name a dataset, or give --pictures and --words")
    return str(cfg.DATASETS.TEST[0])


def records_to_show(cfg: CfgNode, pictures: Sequence[Path], samples: int) -> list[dict[str, Any]]:
    """Give Detectron2's records of a person's pictures, or of the first test set.

    Args:
        cfg: finished config.
        pictures: files, and folders of them.
        samples: how many of the test set.

    Returns:
        Records with ``file_name``; those of the test set with their truth.

    Raises:
        UserError: for a picture that is not there, or without pictures, if the config names no test
            set.
    """
    if not pictures:
        return evenly(dataset_dicts([first_test_set(cfg)]), samples)
    files: list[Path] = []
    for path in pictures:
        files += pictures_to_segment(path) if path.is_dir() else [path]
    return [{"file_name": str(path)} for path in files]
