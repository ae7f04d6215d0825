"""For a person with a picture and a word list: three lines to labelled pixels.

predictor = Predictor.from_config("cliptrase/tiny")
result = predictor("photo.jpg", ["sofa", "black cat", "wall"])
result.save("out")
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from PIL import Image

from .configs import find_config
from .engine.config import load_cfg
from .engine.run import build_segmenter
from .errors import UserError
from .modeling.segmenter import Segmenter
from .pictures import find_pictures, read_picture
from .visualizer import save_picture, with_legend
from .vocabulary import Vocabulary

Words = Vocabulary | str | Path | Sequence[str]


@dataclass(frozen=True)
class Segment:
    """The pixels of one name.

    Attributes:
        name: the word.
        index: its place in the word list.
        area: number of pixels.
        share: part of the picture, 0..1.
        box: (left, top, right, bottom) in pixels, right and bottom exclusive.
    """

    name: str
    index: int
    area: int
    share: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Result:
    """A segmented picture.

    Attributes:
        labels: (H, W) index into ``names`` per pixel.
        names: the words, in the order that they were given.
        image: (H, W, 3) uint8 RGB.
    """

    labels: np.ndarray
    names: list[str]
    image: np.ndarray = field(repr=False)

    @property
    def segments(self) -> list[Segment]:
        """The names that occur, largest area first."""
        found = []
        for index in np.unique(self.labels):
            rows, columns = np.nonzero(self.labels == index)
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            area = len(rows)
            share = area / self.labels.size
            name = self.names[index]
            found.append(Segment(name, int(index), area, share, tuple(map(int, box))))
        return sorted(found, key=lambda s: -s.area)

    def overlay(self, strength: float = 0.55) -> np.ndarray:
        """Picture with coloured regions and a legend: (H', W, 3) uint8."""
        return with_legend(self.image, self.labels, self.names, strength=strength)

    def save(self, folder: str | Path, stem: str = "picture") -> Path:
        """Write ``<stem>_labels.png`` (ids), ``<stem>_overlay.png`` and ``<stem>_segments.json``.

        Args:
            folder: made if absent.
            stem: begins the file names.

        Returns:
            The folder.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        dtype = np.uint8 if len(self.names) <= 256 else np.uint16
        Image.fromarray(self.labels.astype(dtype)).save(folder / f"{stem}_labels.png")
        save_picture(self.overlay(), folder / f"{stem}_overlay.png")
        content = {"names": self.names, "segments": [vars(s) for s in self.segments]}
        (folder / f"{stem}_segments.json").write_text(json.dumps(content, indent=2) + "\n")
        return folder


class Predictor:
    """Segment pictures with any words, with any method of the suite.

    What depends on the picture alone is kept for the last pictures, so that other words on the same
    picture cost little.

    Args:
        model: a segmenter in eval mode.
        min_size: the shorter side to which pictures are brought; 0 keeps their size.
        max_size: limit of the longer side.
        remember: how many encoded pictures are kept.
    """

    def __init__(
        self, model: Segmenter, *, min_size: int = 0, max_size: int = 2560, remember: int = 4
    ) -> None:
        self.model = model.eval()
        self._resize = T.ResizeShortestEdge(min_size, max_size) if min_size else T.NoOpTransform()
        self._remember = remember
        self._encoded: OrderedDict[str, Any] = OrderedDict()

    @classmethod
    def from_config(
        cls, name: str | Path, *, weights: str = "", device: str = "auto", options: Sequence = ()
    ) -> Predictor:
        """Build a predictor from a config of the suite or of your own.

        Args:
            name: short name such as ``cliptrase/vitb16``, or a YAML file.
            weights: checkpoint of the method; default the config's ``MODEL.WEIGHTS``.
            device: ``cpu``, ``cuda``, or ``auto``.
            options: further KEY VALUE overrides.
        """
        overrides = ["MODEL.DEVICE", device, *options]
        overrides += ["MODEL.WEIGHTS", weights] if weights else []
        cfg = load_cfg(find_config(name), overrides)
        return cls(
            build_segmenter(cfg), min_size=cfg.INPUT.MIN_SIZE_TEST, max_size=cfg.INPUT.MAX_SIZE_TEST
        )

    def __call__(self, pictures: Any, words: Words) -> Result | list[Result]:
        """Segment one picture, a list of pictures, or the pictures of a folder.

        Args:
            pictures: path, folder, PIL image, RGB array (H, W, 3), tensor (3, H, W), or a list.
            words: names as list, comma string, text file or ``Vocabulary``; ``"sofa|couch"`` gives
                synonyms.

        Returns:
            One result, or a list in the order of the pictures.

        Raises:
            UserError: if a picture cannot be read, or the words are empty or repeated.
        """
        vocabulary = Vocabulary.parse(words)
        self.model.set_vocabulary(vocabulary)
        if isinstance(pictures, (str, Path)) and Path(pictures).is_dir():
            pictures = find_pictures(pictures)
        if isinstance(pictures, (list, tuple)):
            return [self._segment(picture, vocabulary) for picture in pictures]
        return self._segment(pictures, vocabulary)

    @torch.no_grad()
    def _segment(self, source: Any, vocabulary: Vocabulary) -> Result:
        image = read_picture(source)
        encoded = self._encode(image)
        labels = self.model.score_picture(encoded, image.shape[:2]).labels()
        return Result(labels.cpu().numpy(), vocabulary.names, image)

    def _encode(self, image: np.ndarray) -> Any:
        key = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() + str(image.shape)
        if key not in self._encoded:
            resized = self._resized(image)
            tensor = torch.from_numpy(np.ascontiguousarray(resized.transpose(2, 0, 1)))
            self._encoded[key] = self.model.encode_picture(tensor)
            while len(self._encoded) > self._remember:
                self._encoded.popitem(last=False)
        self._encoded.move_to_end(key)
        return self._encoded[key]

    def _resized(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if max(height, width) > 50 * min(height, width):
            raise UserError(
                f"a picture of {height} x {width} pixels is too narrow to be segmented; cut it up"
            )
        if isinstance(self._resize, T.NoOpTransform):
            return image
        return self._resize.get_transform(image).apply_image(image)
