"""What a person gets for a picture and a word list.

Letters: K words, H x W picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from ..draw import percent, render
from ..errors import UserError, check_choice
from ..evaluation.dump import png_bytes
from ..files.addresses import absolute
from ..files.digests import digest
from ..files.writing import save_picture
from .annotation_files import save_annotations
from .annotations import FORMATS, Labelled
from .bridges import coco_content, data_frame, detections
from .parts import MAKER, SavedResult
from .segment import Segment, regions_of, small_labels

if TYPE_CHECKING:  # extras
    from pandas import DataFrame
    from supervision import Detections

MOST_WORDS = 65536  # in a 16-bit PNG


@dataclass(frozen=True, repr=False)
class Result:
    """A segmented picture.

    Attributes:
        labels: (H, W) int32 index into ``names`` per pixel. Pixels of any background word have the
            index of the first one.
        names: the words, in the order that they were given.
        image: (H, W, 3) uint8 RGB.
        source: path of the picture, "" if it came from memory.
        background: indices of the background words.
        segment_ids: (H, W) int32 segment per pixel, 0 for none; None for methods that don't tell
            things apart.
        segments_info: Detectron2's list of these segments.
        notes: what a reader of the result should know, for example words that were cut.
        out_of_world: the one of ``notes`` that says that an embedded CLIP was shown a picture that
            is none of its drawn world; "" if it was not.
        confidence_scale: factor on the scores whose softmax is the confidence; 0 if unknown.
        rescore: computes ``scores``.
        trace: hashes what the result was made with, see ``made_with``.
    """

    labels: np.ndarray
    names: list[str]
    image: np.ndarray = field(repr=False)
    source: str = ""
    background: tuple[int, ...] = ()
    segment_ids: np.ndarray | None = field(default=None, repr=False)
    segments_info: Sequence[dict[str, Any]] = ()
    notes: tuple[str, ...] = ()
    out_of_world: str = ""
    confidence_scale: float = 0.0
    rescore: Callable[[], np.ndarray] | None = field(default=None, repr=False)
    trace: Callable[[], Mapping[str, str]] | None = field(default=None, repr=False)

    @cached_property
    def scores(self) -> np.ndarray:
        """(K, H, W) float32 scores of every word at every pixel, computed when first asked for.

        What they mean is the method's own: cosines, logits or probabilities; the largest decides
        where the method decides per pixel. They take 4 * K * H * W bytes.

        Raises:
            UserError: if the method decides per region and so has none, or if they don't fit.
        """
        if self.rescore is None:
            raise UserError("this result was made without a predictor, which would give scores")
        return self.rescore()

    @cached_property
    def made_with(self) -> dict[str, str]:
        """Hashes of ``config``, ``weights``, ``words`` and ``picture`` (the file, or the pixels).

        Without a predictor only that of the pixels is known.
        """
        known = {} if self.trace is None else dict(self.trace())
        return known if "picture" in known else {**known, "picture": digest(self.image.tobytes())}

    @cached_property
    def segments(self) -> list[Segment]:
        """The names that occur, or the things of a panoptic method; largest area first."""
        if self.segment_ids is None:
            found = [
                self._segment(index, area, box, is_background=index in self.background)
                for index, area, box in regions_of(self.labels)
            ]
        else:
            known = {int(info["id"]): info for info in self.segments_info}
            found = [
                self._segment(int(known[number]["category_id"]), area, box, id=number,
                              is_thing=bool(known[number]["isthing"]))
                for number, area, box in regions_of(self.segment_ids) if number
            ]  # fmt: skip
        return sorted(found, key=lambda segment: -segment.area)

    def __repr__(self) -> str:
        """Say in one line which picture this is, and what it shows most of."""
        height, width = self.labels.shape
        largest = ", ".join(f"{s.name} {percent(s.share)}" for s in self.segments[:3])
        count = len(self.segments)
        more = f" and {count - 3} more" if count > 3 else ""
        of = f"{Path(self.source).name}, " if self.source else ""
        return f"<Result {of}{height} x {width}, {len(self.names)} words: {largest}{more}>"

    def _repr_png_(self) -> bytes:
        """What a notebook shows of a result: the overlay."""
        return png_bytes(self.overlay())

    def find(self, name: str) -> list[Segment]:
        """Give the segments of a word, largest first; empty if it does not occur.

        Raises:
            UserError: if it is none of the words; the nearest is named.
        """
        index = self._index(name)
        return [segment for segment in self.segments if segment.index == index]

    def mask(self, what: str | Segment) -> np.ndarray:
        """Give the pixels of a word, or of one segment: (H, W) bool.

        Args:
            what: a word, or one of ``segments``. All background words have the same pixels.

        Raises:
            UserError: if it is none of the words, or no segment of this result.
        """
        if isinstance(what, str):
            return _equal(self.labels, self._index(what))
        self._check_own(what)
        if what.id is None or self.segment_ids is None:
            return _equal(self.labels, what.index)
        return _equal(self.segment_ids, what.id)

    def score(self, segment: Segment) -> float:
        """Say how sure the method is of a segment: the mean score of its word on its pixels.

        The unit is the method's own, see ``scores``, which are computed when first asked for.

        Args:
            segment: one of ``segments``.

        Raises:
            UserError: if the method has no scores, the segment is none of this result, or is that
                of the unknown.
        """
        mask = self.mask(segment)
        if segment.index >= len(self.scores):
            raise UserError(f"'{segment.name}' is none of the words, and has no score")
        return float(self.scores[segment.index][mask].mean())

    def confidence(self, segment: Segment) -> float:
        """Say from 0 to 1 how sure the method is of a segment: the mean on its pixels.

        At each it is the word's part in the softmax of all scores, calibrated on the embedded
        world; see ``MODEL.OVS.CONFIDENCE_SCALE``.

        Args:
            segment: one of ``segments``.

        Raises:
            UserError: if the method is not calibrated, or where ``score`` raises one.
        """
        if not self.confidence_scale:
            raise UserError("this config is not calibrated: MODEL.OVS.CONFIDENCE_SCALE is 0")
        self.score(segment)
        scaled = self.confidence_scale * self.scores[:, self.mask(segment)].astype(np.float64)
        return float(softmax(scaled, axis=0)[segment.index].mean())

    def crop(self, segment: Segment, *, margin: int = 0, cut_out: bool = False) -> np.ndarray:
        """Cut a segment out of the picture.

        Args:
            segment: one of ``segments``.
            margin: pixels around its box, as far as the picture goes.
            cut_out: make what is not the segment transparent.

        Returns:
            (H', W', 3) uint8 RGB, or (H', W', 4) RGBA.

        Raises:
            UserError: if the segment is none of this result, or the margin is below 0.
        """
        if margin < 0:
            raise UserError(f"margin {margin}: must be 0 or more")
        mask, (left, top, right, bottom) = self.mask(segment), segment.box
        rows = slice(max(0, top - margin), bottom + margin)
        columns = slice(max(0, left - margin), right + margin)
        picture: np.ndarray = self.image[rows, columns]
        if not cut_out:
            return np.array(picture)
        alpha = np.where(mask[rows, columns], 255, 0).astype(np.uint8)
        return np.dstack([picture, alpha])

    def plot(self, axes: Any = None, *, strength: float = 0.5) -> Any:
        """Draw the overlay with matplotlib.

        Args:
            axes: where; a new figure if it is left out.
            strength: of the colours.

        Returns:
            The axes.
        """
        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.figure().add_subplot()
        axes.imshow(self.overlay(strength))
        axes.set_axis_off()
        return axes

    def to_coco(self, *, polygons: bool = False, scores: bool = False) -> dict[str, Any]:
        """Give the content of a COCO instance file, see ``bridges.coco_content``.

        Args:
            polygons: in place of RLE.
            scores: with the ``score`` of each segment, which takes what ``scores`` takes.

        Raises:
            UserError: if there are no scores.
        """
        return coco_content(self.labelled, polygons=polygons, scores=self._scores(scores))

    def to_pandas(self, *, scores: bool = False) -> DataFrame:
        """Give a table with a row per segment, see ``bridges.data_frame``.

        Args:
            scores: with a column ``score``, which takes what ``scores`` takes.

        Raises:
            UserError: if pandas is not installed, or there are no scores.
        """
        return data_frame(self.labelled, self._scores(scores))

    def to_supervision(self, *, scores: bool = False) -> Detections:
        """Give the segments as ``supervision.Detections``, see ``bridges.detections``.

        Args:
            scores: with ``confidence``, which takes what ``scores`` takes.

        Raises:
            UserError: if supervision is not installed, or there are no scores.
        """
        return detections(self.labelled, self._scores(scores))

    def overlay(self, strength: float = 0.5, *, legend: bool = True) -> np.ndarray:
        """Picture with coloured, named regions and a legend.

        Args:
            strength: 0 shows the picture only, 1 the colours only.
            legend: whether the names stand below.

        Returns:
            (H', W', 3) uint8; very small pictures are enlarged, very large ones reduced.
        """
        return render(
            self.image, self.labels, self.names, strength=strength, background=self.background,
            segment_ids=self.segment_ids, segments_info=self.segments_info, with_legend=legend,
            note=self.out_of_world if legend else "",
        )  # fmt: skip

    def save(
        self, folder: str | Path, stem: str | None = None, *, strength: float = 0.5,
        overwrite: bool = False,
    ) -> Path:  # fmt: skip
        """Write label ids, overlay and the list of segments; the list comes last.

        The files are ``<stem>_labels.png`` (8 or 16 bit), ``<stem>_overlay.png``,
        ``<stem>_segments.json`` and, from a panoptic method, ``<stem>_segment_ids.png`` (16 bit).
        An earlier result of the same picture is replaced, and its missing or damaged files are made
        again.

        Args:
            folder: made if absent.
            stem: begins the file names; default the picture's own name, or ``picture``.
            strength: of the overlay's colours.
            overwrite: replace whatever stands in the way.

        Returns:
            The folder.

        Raises:
            UserError: if a file of another origin, one that was changed since, or the result of
                another picture would be overwritten; or if there are more words than a 16-bit PNG
                can number.
        """
        if len(self.names) > MOST_WORDS:
            raise UserError(f"{len(self.names)} words do not fit a 16-bit PNG; use result.labels")
        saved = SavedResult(Path(folder), stem or Path(self.source).stem or "picture")
        if not overwrite:
            saved.check_free(self.identity, self.made_with["picture"])
        saved.clear()
        labels = small_labels(self.labels, len(self.names))
        pictures = {"labels.png": labels, "overlay.png": self.overlay(strength)}
        if self.segment_ids is not None:
            pictures["segment_ids.png"] = self.segment_ids.astype(np.uint16)
        for part, picture in pictures.items():
            save_picture(picture, saved.path(part), software=MAKER)
        content = {
            "picture": self.identity,
            "made_with": self.made_with,
            "size": list(self.labels.shape),
            "names": self.names,
            "segments": [asdict(segment) for segment in self.segments],
            "notes": list(self.notes),
            "out_of_world": self.out_of_world,
        }
        saved.write_record(content, list(pictures))
        return saved.folder

    def save_annotations(
        self, folder: str | Path, formats: Sequence[str] = FORMATS, *, merge: bool = False
    ) -> list[Path]:
        """Write the segments as annotations; ``annotation_files`` writes those of many pictures.

        Args:
            folder: made if absent.
            formats: ``coco`` (RLE), ``polygons``, ``panoptic``, ``csv``.
            merge: add to files that are there.

        Returns:
            The files.

        Raises:
            UserError: if a file holds what would be lost.
        """
        return save_annotations([self.labelled], folder, formats, merge=merge)

    @property
    def labelled(self) -> Labelled:
        """What annotations are made of."""
        numbers = self.labels if self.segment_ids is None else self.segment_ids
        segments = [asdict(segment) for segment in self.segments]
        stem = Path(self.source).stem or "picture"
        return Labelled(self.identity, stem, self.names, numbers, segments, self.made_with)

    @property
    def identity(self) -> str:
        """Tells one picture from another: its path, or its pixels' hash."""
        if self.source:
            return absolute(self.source)
        return digest(self.image.tobytes())

    def _index(self, name: str) -> int:
        check_choice("word", name, self.names)
        index = self.names.index(name)
        # Pixels of any background word have the index of the first one.
        return self.background[0] if index in self.background else index

    def _check_own(self, segment: Segment) -> None:
        if segment not in self.segments:
            raise UserError(f"'{segment.name}' ({segment.area} pixels) is no segment of {self!r}")

    def _scores(self, wanted: bool) -> list[float] | None:
        return [self.score(segment) for segment in self.segments] if wanted else None

    def _segment(
        self, index: int, area: int, box: tuple[int, int, int, int], **more: Any
    ) -> Segment:
        return Segment(self.names[index], index, area, area / self.labels.size, box, **more)


def _equal(numbers: np.ndarray, wanted: int) -> np.ndarray:
    mask: np.ndarray = numbers == wanted
    return mask
