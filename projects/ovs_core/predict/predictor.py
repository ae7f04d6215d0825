"""For a person with a picture and a word list: three lines to labelled pixels.

predictor = Predictor.from_config("cliptrase/tiny")
result = predictor("photo.jpg", ["sofa", "black cat", "wall"])
result.save("out")
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from PIL import Image

from ..clip.identity import fingerprint
from ..data.build import build_mapper
from ..data.mapper import SemanticDatasetMapper
from ..engine.config import load_cfg
from ..engine.run import build_segmenter
from ..errors import UserError
from ..files.digests import digest
from ..files.pictures import LoadedPicture, PictureSource
from ..files.writing import json_text
from ..methods.configs import find_model
from ..modeling.label_cells import label_dtype
from ..modeling.scores import CHUNK_BYTES, LabelScores, Scores
from ..modeling.segmenter import Segmenter
from ..words.label_space import fold_background
from ..words.vocabulary import Vocabulary
from .notes import word_notes, world_note
from .picture_memory import PictureMemory, to_tensor
from .reading import ReadPicture, pictures_to_segment, read_source
from .result import Result
from .rules import Rules, check_size, deciding
from .segment import Segment
from .stream import ResultStream
from .tidy import absorb_islands, drop_segments
from .tiles import join, join_segments, split, split_axis

__all__ = ["Predictor", "Result", "Segment"]

S = TypeVar("S", bound=PictureSource)
Blend = Callable[[torch.Tensor], torch.Tensor]
Words = Vocabulary | str | Path | Sequence[str]

logger = logging.getLogger(__name__)


class Predictor:
    """Segment pictures with any words, with any method of the suite.

    What depends on the picture alone is kept for the last pictures, so that other words on the same
    picture cost little. One predictor may be called from several threads.

    Args:
        model: a segmenter in eval mode.
        prepare: (H, W, 3) uint8 RGB picture -> what the network is shown, (H', W', 3); default the
            picture itself.
        remember: how many encoded pictures are kept.
        notes: what every result should say.
        config: what the model was built from, as text; results carry its hash.
        rules: what is done to scores and labels.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        prepare: Callable[[np.ndarray], np.ndarray] | None = None,
        remember: int = 4,
        notes: Sequence[str] = (),
        config: str = "",
        rules: Rules | None = None,
    ) -> None:
        self.model = model.eval()
        self.rules = rules or Rules()
        self.notes = tuple(notes)
        self._config = f"{config}{self.rules}"
        self._prepare = prepare
        self._encoded = PictureMemory(self.model, partial(to_tensor, prepare), remember)
        # Kept by the words they belong to, so that a warning about them is logged once.
        self._word_notes = lru_cache(maxsize=32)(partial(word_notes, model))
        self._lock = threading.RLock()  # of the model, its tokenizer and the encoded pictures

    @classmethod
    def from_config(
        cls,
        name: str | Path,
        *,
        weights: str = "",
        device: str = "auto",
        options: Sequence[object] = (),
        min_area: float = 0.0,
        smooth: int = 0,
        unknown: float = 0.0,
    ) -> Predictor:
        """Build a predictor from a config of the suite, one of your own, or a finished training.

        Args:
            name: short name such as ``cliptrase/vitb16``, a YAML file, or the ``OUTPUT_DIR`` of a
                training.
            weights: checkpoint of the method; default the config's ``MODEL.WEIGHTS``, or the newest
                checkpoint of the ``OUTPUT_DIR``.
            device: ``cpu``, ``cuda``, or ``auto``.
            options: further KEY VALUE overrides.
            min_area: see ``Rules``.
            smooth: see ``Rules``.
            unknown: see ``Rules``; the confidence is that of ``MODEL.OVS.CONFIDENCE_SCALE``.

        Raises:
            UserError: for an unknown name (the nearest one is named), a model that does not
                segment, weights that are missing or don't fit, or a device that this machine lacks.
        """
        Rules(min_area, smooth, unknown, scale=1)  # mistakes show before anything is loaded
        config, own_weights = find_model(name)
        weights = str(weights or own_weights)
        overrides = ["MODEL.DEVICE", device, *(["MODEL.WEIGHTS", weights] if weights else [])]
        cfg = load_cfg(config, [*overrides, *map(str, options)])
        rules = Rules(min_area, smooth, unknown, scale=cfg.MODEL.OVS.CONFIDENCE_SCALE)
        model = build_segmenter(cfg)
        if not isinstance(model, Segmenter):
            raise UserError(
                f"{name}: builds a {type(model).__name__}, which does not segment; the README of "
                "its project says how to use it"
            )
        notes: list[str] = []
        if model.trains and not cfg.MODEL.WEIGHTS:
            notes.append(
                f"{name} is trained, but no weights were given: its labels mean nothing. Give a "
                "checkpoint, or the output folder of a training in place of the config"
            )
            logger.warning(notes[0])
        # The mapper of an evaluation decides how large a picture is shown. One that is not derived
        # from the suite's repeats how published figures were made, which is no matter here.
        mapper = build_mapper(cfg, is_train=False)
        prepare = mapper.prepare if isinstance(mapper, SemanticDatasetMapper) else None
        config_text = deciding(cfg)
        return cls(model, prepare=prepare, notes=notes, config=config_text, rules=rules)

    @overload
    def __call__(
        self, pictures: Image.Image | np.ndarray | torch.Tensor | LoadedPicture, words: Words
    ) -> Result:
        pass

    @overload
    def __call__(
        self,
        pictures: list[S] | tuple[S, ...],
        words: Words,
        *,
        on_error: str = "raise",
        batch: int = 1,
    ) -> ResultStream[S]:
        pass

    @overload
    def __call__(
        self, pictures: str | Path, words: Words, *, on_error: str = "raise", batch: int = 1
    ) -> Result | ResultStream[Path]:
        pass

    def __call__(
        self,
        pictures: PictureSource | list[S] | tuple[S, ...],
        words: Words,
        *,
        on_error: str = "raise",
        batch: int = 1,
    ) -> Result | ResultStream[S] | ResultStream[Path]:
        """Segment one picture, a list of pictures, or the pictures of a folder.

        Args:
            pictures: path, folder, PIL image, RGB array (H, W, 3), tensor (3, H, W), or a list.
            words: names as list, comma string, text file or ``Vocabulary``, see
                ``Vocabulary.parse``; ``"sofa|couch"`` gives synonyms, ``"background: wall"`` a
                background word.
            on_error: of a list or folder: ``raise`` what goes wrong with a picture, or ``skip`` the
                picture; ``failures`` of what is returned then has a line for it.
            batch: of a list or folder: so many pictures are read together, and those of them that
                are shown to the network at one size go through it together.

        Returns:
            One result; for a list or a folder an iterator in its order, which segments the next
            picture when it is asked for, so that any number of them fits into memory. What the
            suite drew into a folder is not among its pictures.

        Raises:
            UserError: if a picture cannot be read, or the words are empty, repeated, or one to the
                CLIP.
        """
        vocabulary = Vocabulary.parse(words)
        segment = partial(self._segment, vocabulary, self._notes_of(vocabulary))
        together = self._read_together if batch > 1 else list
        if isinstance(pictures, (list, tuple)):
            return ResultStream(pictures, segment, on_error, together=together, batch=batch)
        if isinstance(pictures, (str, Path)) and Path(pictures).is_dir():
            found = pictures_to_segment(pictures)
            return ResultStream(found, segment, on_error, together=together, batch=batch)
        return segment(pictures)

    def label(
        self, picture: LoadedPicture, words: Vocabulary, *, blend: Blend | None = None
    ) -> Result:
        """Segment one picture, or a frame of a video whose scores are blended with earlier ones.

        Args:
            picture: the picture.
            words: the words.
            blend: what is done to (K, H, W) scores before the best word of each pixel is taken.
        """
        return self._segment(words, self._notes_of(words), picture, blend)

    def scores(self, image: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
        """Give the scores of all words at all pixels, those of each background word too.

        Args:
            image: (H, W, 3) uint8 RGB.
            vocabulary: K words.

        Returns:
            (K, H, W) float32, in the method's own unit.

        Raises:
            UserError: if the method decides per region and so has none, or if they don't fit.
        """
        logger.info(check_size(len(vocabulary), image.shape[:2]))
        with self._lock, torch.no_grad():
            # A background word has scores of its own; only labels are counted together.
            words = Vocabulary(replace(entry, is_background=False) for entry in vocabulary)
            parts = self._score(image, words)
            if any(isinstance(part, LabelScores) for part in parts):
                raise UserError(
                    "this method decides per region, so a single pixel has no scores; use labels, "
                    "or a config of the method that labels each pixel for itself"
                )
            return join([_spread(part) for part in parts], 1 + split_axis(image))

    def encode_ahead(self, images: Sequence[np.ndarray]) -> None:
        """Encode pictures that are segmented next; those that are shown at one size together.

        They are kept until they are asked for, or others are encoded ahead. Whatever goes wrong is
        only logged: each is encoded alone when its turn comes, and says what is wrong with it.

        Args:
            images: (H, W, 3) uint8 RGB each.
        """
        with self._lock, torch.no_grad():
            self._encoded.ahead(images)

    def made_with(self, vocabulary: Vocabulary) -> dict[str, str]:
        """Give the hashes of all that decides a result besides the picture.

        Args:
            vocabulary: the words.

        Returns:
            ``config`` (what the model was built from), ``weights`` (their values, whichever file
            they came from) and ``words``.
        """
        words = json_text([asdict(entry) for entry in vocabulary], compact=True)
        return {**self._fixed, "words": digest(words)}

    @cached_property
    def _fixed(self) -> dict[str, str]:
        with self._lock:
            weights = fingerprint(self.model.state_dict())
        return {"config": digest(self._config), "weights": weights}

    def tensor(self, image: np.ndarray) -> torch.Tensor:
        """Bring an (H, W, 3) uint8 RGB picture to what the model encodes: (3, H', W')."""
        return to_tensor(self._prepare, image)

    def forget(self) -> None:
        """Drop the pictures that are kept for other words."""
        with self._lock:
            self._encoded.clear()

    def _read_together(self, sources: Sequence[PictureSource]) -> list[PictureSource | ReadPicture]:
        """Read and encode pictures; one that cannot be read is left for its turn to say so."""
        read: list[PictureSource | ReadPicture] = []
        for source in sources:
            try:
                read.append(read_source(source))
            except Exception:
                read.append(source)
        self.encode_ahead([one.picture.rgb for one in read if isinstance(one, ReadPicture)])
        return read

    def _notes_of(self, vocabulary: Vocabulary) -> tuple[str, ...]:
        with self._lock:
            return self.notes + vocabulary.notes + self._word_notes(vocabulary)

    def _segment(
        self,
        vocabulary: Vocabulary,
        notes: tuple[str, ...],
        source: PictureSource | ReadPicture,
        blend: Blend | None = None,
    ) -> Result:
        given = source if isinstance(source, ReadPicture) else read_source(source)
        picture, content = given.picture, given.content
        image, axis = picture.rgb, split_axis(picture.rgb)
        names = self.rules.names(vocabulary)
        with self._lock, torch.no_grad():
            scores = self._score(image, vocabulary)
            outputs: list[dict[str, Any]] = [self.model.postprocess(part) for part in scores]
            if self.rules.need_scores or blend is not None:
                if blend is not None and len(scores) > 1:
                    raise UserError("frames that are so long are cut, and cannot be blended")
                pieces = zip(scores, split(image), strict=True)
                labels = [self.rules.labels(part, piece, blend) for part, piece in pieces]
            else:
                labels = [_labels(*pair) for pair in zip(outputs, scores, strict=True)]
        panoptic = [output["panoptic_seg"] for output in outputs if "panoptic_seg" in output]
        if panoptic and (self.rules.need_scores or blend is not None):
            raise UserError("smooth, unknown and steady: this method finds things, no words")
        ids, info = join_segments(panoptic, axis) if panoptic else (None, [])
        background = tuple(vocabulary.background_index)
        joined = fold_background(join(labels, axis), background)
        if least := self.rules.min_area:
            joined = absorb_islands(joined, least)
            ids, info = (ids, info) if ids is None else drop_segments(ids, info, least)
        foreign = world_note(self.model, image)
        return Result(
            joined,
            names,
            image,
            source=given.path,
            background=background,
            segment_ids=ids,
            segments_info=info,
            notes=(*notes, *picture.notes, *([foreign] if foreign else [])),
            out_of_world=foreign,
            confidence_scale=self.rules.scale,
            rescore=partial(self.scores, image, vocabulary),
            trace=lambda: {**self.made_with(vocabulary), **content},
        )

    def _score(self, image: np.ndarray, vocabulary: Vocabulary) -> list[Scores]:
        self.model.set_vocabulary(vocabulary)
        return [self.model.score_picture(encoded, size) for size, encoded in self._encoded(image)]


def _labels(output: dict[str, Any], scores: Scores) -> np.ndarray:
    labels: torch.Tensor | None = output.get("sem_seg_labels")
    if labels is None:
        labels = scores.labels()
    small = labels.to(label_dtype(scores.num_classes))  # fewer bytes to fetch from a GPU
    return small.cpu().numpy().astype(np.int32)


def _spread(scores: Scores) -> np.ndarray:
    """Write (K, H, W) scores class by class, so that no second copy is held."""
    count, pixels = scores.num_classes, int(np.prod(scores.size))
    full = np.empty((count, *scores.size), np.float32)
    step = max(1, CHUNK_BYTES // (4 * pixels))
    for start in range(0, count, step):
        which = slice(start, min(start + step, count))
        full[which] = scores.classes(which).float().cpu().numpy()
    return full
