"""Metadata of an own dataset; what stands in its annotation file is read when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detectron2.data.catalog import Metadata


class OwnMetadata(Metadata):
    """Detectron2 metadata that read an annotation file no sooner than something of it is needed.

    One faulty file then leaves the other datasets of its YAML usable, and gives its line, a
    ``UserError``, to whoever asks for what it should say.
    """

    def read_later(self, keys: tuple[str, ...], read: Callable[[], Mapping[str, Any]]) -> None:
        """State which attributes come from the annotation file.

        Args:
            keys: their names.
            read: gives their values; a method or function that can be pickled.
        """
        self.__dict__["later"] = (keys, read)

    def __getattr__(self, key: str) -> Any:
        """Read the annotation file for what it states; everything else as Detectron2 does."""
        keys, read = self.__dict__.get("later", ((), dict))
        if key not in keys:
            return super().__getattr__(key)
        self.__dict__.update(read())
        return self.__dict__[key]
