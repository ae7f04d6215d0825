"""Datasets: registration, preparation, checks, loading.

The names below are imported when first used: the preparation scripts need this package without
torch and Detectron2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .build import DATASET_MAPPER_REGISTRY, build_mapper, dataset_dicts
    from .mapper import SemanticDatasetMapper
    from .own_datasets import register_yaml_datasets

_HOMES = {
    "DATASET_MAPPER_REGISTRY": "build",
    "build_mapper": "build",
    "dataset_dicts": "build",
    "SemanticDatasetMapper": "mapper",
    "register_yaml_datasets": "own_datasets",
}

__all__ = [
    "DATASET_MAPPER_REGISTRY",
    "SemanticDatasetMapper",
    "build_mapper",
    "dataset_dicts",
    "register_yaml_datasets",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
