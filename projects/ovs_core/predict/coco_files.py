"""COCO files that grow picture by picture, and merge with what is there."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from ..data.panoptic_png import color_from_segment_ids
from ..errors import UserError
from ..files.json_files import parse_json
from ..files.writing import atomic_text, json_text, save_picture
from .annotation_contract import AnnotationFile
from .annotations import Annotation, Labelled, instances, is_untouched, panoptic_ids, signed
from .parts import MAKER, is_own_picture

logger = logging.getLogger(__name__)

_EMPTY: dict[str, Any] = {"images": [], "annotations": [], "categories": []}


class CocoFile(AnnotationFile):
    """What instance and panoptic files share: images, categories, and what was there before.

    Args:
        path: see ``AnnotationFile``.
        merge: see ``AnnotationFile``.
        about: see ``AnnotationFile``.
    """

    def __init__(self, path: Path, merge: bool, about: Mapping[str, object]) -> None:
        super().__init__(path, merge, about)
        self._count = 0

    def open(self, stack: ExitStack) -> CocoFile:
        """See ``AnnotationFile.open``."""
        self.check_earlier()
        start = self._earlier if self.merge else _EMPTY
        self.images = {image["file_name"]: dict(image) for image in start["images"]}
        self.categories = {c["name"]: dict(c) for c in start["categories"]}
        self._next_image, self._next_annotation = map(
            _next_id, (start["images"], start["annotations"])
        )
        self._file: TextIO = stack.enter_context(atomic_text(self.path))
        self._file.write('{"annotations": [')
        return self

    def add(self, one: Labelled, name: str) -> None:
        """See ``AnnotationFile.add``; two pictures of one name are refused."""
        if name in self.names:
            raise UserError(f"{self.path}: two pictures are called {name}")
        self.names.add(name)
        height, width = one.numbers.shape
        image = {"id": self._next_image, "file_name": name, "height": height, "width": width}
        known = self.images.setdefault(name, image)
        self._next_image += known is image
        if (known.get("height", height), known.get("width", width)) != (height, width):
            raise UserError(
                f"{self.path}: says that {name} has {known.get('height')} x {known.get('width')} "
                f"pixels, but it has {height} x {width}; is it another picture?"
            )
        for index, word in enumerate(one.names):
            self._category(word, index)
        for content in self._contents(one, name, self.images[name]["id"]):
            self._put(signed(content, self.about, one.made_with))

    def finish(self) -> None:
        """See ``AnnotationFile.finish``; the images and the categories stand last."""
        kept = list(self._kept())
        listed = [image["file_name"] for image in self._earlier["images"]]
        others = [name for name in listed if name not in self.names]
        if (kept or others) and not self.merge:
            raise UserError(
                f"{self.path}: holds annotations of {len(others)} other pictures, and {len(kept)} "
                "in all that this run does not make; keep them with --merge, or choose another "
                "--output"
            )
        for annotation in kept:
            self._put(annotation)
        rest: dict[str, Any] = {"info": {}}
        if self.merge:
            dropped = (*_EMPTY, "provenance")
            rest |= {key: value for key, value in self._earlier.items() if key not in dropped}
        header = {
            **rest,
            "annotation_count": self._count,
            "images": list(self.images.values()),
            "categories": list(self.categories.values()),
        }
        text = json_text(signed(header, {}, {}), compact=True)
        self._file.write(f"\n],\n{text[1:]}")

    def check_earlier(self) -> None:
        """See ``AnnotationFile.check_earlier``; each annotation carries its own check."""
        if not self.path.exists():
            return
        earlier = self._earlier
        if self.merge:
            return
        header = {key: value for key, value in earlier.items() if key != "annotations"}
        is_whole = earlier.get("annotation_count") == len(earlier["annotations"])
        is_ours = is_whole and is_untouched(header)
        if not is_ours or not all(map(is_untouched, earlier["annotations"])):
            raise UserError(
                f"{self.path}: exists, and holds annotations that the suite did not make or that "
                "were changed since; add to it with --merge, or choose another --output"
            )

    @abstractmethod
    def _contents(self, one: Labelled, name: str, image_id: int) -> Iterator[Annotation]:
        """Annotations of a picture, without their provenance."""

    def _kept(self) -> Iterator[Annotation]:
        """Earlier annotations, but what this run makes anew."""
        earlier = self._earlier
        ids = {image["id"] for image in earlier["images"] if image["file_name"] in self.names}
        for annotation in earlier["annotations"]:
            if annotation.get("image_id") not in ids or not is_untouched(annotation):
                yield annotation

    def _category(self, word: str, index: int) -> Annotation:
        """Category of a word; in a new file its place in the list of words, from 1."""
        if word not in self.categories:
            taken = {category["id"] for category in self.categories.values()}
            number = index + 1 if index + 1 not in taken else max(taken) + 1
            self.categories[word] = {"id": number, "name": word}
        return self.categories[word]

    def _put(self, annotation: Mapping[str, Any]) -> None:
        separator = "," if self._count else ""
        self._file.write(f"{separator}\n{json_text(annotation, compact=True).rstrip()}")
        self._count += 1

    def _new_id(self) -> int:
        self._next_annotation += 1
        return self._next_annotation - 1

    @cached_property
    def _earlier(self) -> dict[str, Any]:
        """The file as it is; empty lists if there is none."""
        if not self.path.exists():
            return _EMPTY
        try:
            content = parse_json(self.path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: exists and cannot be read as JSON ({error}); move it away"
            ) from error
        self._check_form(content)
        return dict(content)

    def _check_form(self, content: object) -> None:
        needed = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ()}
        for name, keys in needed.items():
            entries = content.get(name) if isinstance(content, dict) else None
            if not isinstance(entries, list) or not all(
                isinstance(entry, dict) and all(key in entry for key in keys) for entry in entries
            ):
                raise UserError(
                    f"{self.path}: exists and is no COCO file, '{name}' must be a list of entries "
                    f"({', '.join(keys) or 'maps'}); move it away"
                )


class InstanceFile(CocoFile):
    """COCO instances: one for each segment.

    Args:
        path: see ``CocoFile``.
        merge: see ``CocoFile``.
        about: see ``CocoFile``.
        polygons: in place of RLE.
    """

    def __init__(
        self, path: Path, merge: bool, about: Mapping[str, object], *, polygons: bool = False
    ) -> None:
        super().__init__(path, merge, about)
        self._polygons = polygons

    def _contents(self, one: Labelled, name: str, image_id: int) -> Iterator[Annotation]:
        for index, content in instances(one, polygons=self._polygons):
            category = self._category(one.names[index], index)["id"]
            numbers = {"id": self._new_id(), "image_id": image_id, "category_id": category}
            yield {**numbers, **content}


class PanopticFile(CocoFile):
    """COCO panoptic: one annotation and one PNG for each picture."""

    def open(self, stack: ExitStack) -> CocoFile:
        """See ``CocoFile.open``."""
        super().open(stack)
        self._persons = {
            annotation.get("image_id")
            for annotation in self._earlier["annotations"]
            if not is_untouched(annotation)
        }
        return self

    def _contents(self, one: Labelled, name: str, image_id: int) -> Iterator[Annotation]:
        png = self.path.with_suffix("") / f"{one.stem}.png"
        if image_id in self._persons:  # a picture has one panoptic annotation
            logger.warning("%s: %s is annotated by someone else, and stays so", self.path, name)
            return
        if png.exists() and not is_own_picture(png):
            raise UserError(
                f"{png}: exists and was not made by the suite, or was changed since; move it away"
            )
        ids, found = panoptic_ids(one)
        segments = []
        for index, entry in found:
            category = self._category(one.names[index], index)
            segments.append({**entry, "category_id": category["id"]})
        save_picture(color_from_segment_ids(ids), png, software=MAKER)
        yield {"image_id": image_id, "file_name": f"{one.stem}.png", "segments_info": segments}

    def add(self, one: Labelled, name: str) -> None:
        """See ``CocoFile.add``; a word is a thing if one of its segments is."""
        super().add(one, name)
        for word in one.names:
            self.categories[word].setdefault("isthing", 0)
        for segment in one.segments:
            if segment["is_thing"]:
                self.categories[segment["name"]]["isthing"] = 1


def _next_id(entries: list[dict[str, Any]]) -> int:
    numbers = [entry.get("id") for entry in entries]
    return max((number for number in numbers if isinstance(number, int)), default=0) + 1
