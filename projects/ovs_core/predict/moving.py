"""A video with its labels: frame after frame, from a file or a camera, in steady memory.

Letters: K words, H x W frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from ..errors import UserError
from ..files.pictures import LoadedPicture
from ..files.writing import atomic_path
from ..words.vocabulary import Vocabulary
from .predictor import Predictor
from .result import Result

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG", ".mkv": "MJPG"}


class SteadyScores:
    """Exponential mean of the scores of frames, so that labels do not flicker.

    Args:
        memory: share of what was before, 0..1; 0 takes each frame for itself.

    Raises:
        UserError: if it is not 0 or more and below 1.
    """

    def __init__(self, memory: float) -> None:
        if not 0 <= memory < 1:
            raise UserError(f"steady {memory}: is a share, from 0 to below 1")
        self._memory = memory
        self._mean: Tensor | None = None

    def __call__(self, maps: Tensor) -> Tensor:
        """Take (K, H, W) scores of the next frame, and give the mean; it begins anew at a cut."""
        if self._mean is None or self._mean.shape != maps.shape:
            self._mean = maps
        else:
            self._mean = maps.lerp(self._mean, self._memory)
        return self._mean


def segment_frames(
    predictor: Predictor, frames: Iterable[np.ndarray], words: Vocabulary, *, steady: float = 0.0
) -> Iterator[Result]:
    """Segment frames in their order; nothing of the earlier ones is kept but a mean of scores.

    Args:
        predictor: the method.
        frames: (H, W, 3) uint8 RGB each.
        words: the words.
        steady: share of the earlier frames in the scores of each, see ``SteadyScores``.

    Raises:
        UserError: if ``steady`` is no share.
    """
    blend = SteadyScores(steady) if steady else None
    for frame in frames:
        yield predictor.label(LoadedPicture(frame), words, blend=blend)


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> int:
    """Write frames as a video; one that is broken off ends with the last frame.

    Args:
        path: its ending chooses the kind: .mp4, .mov, .m4v, .avi or .mkv.
        frames: (H, W, 3) uint8 RGB each, all of one size.
        rate: frames per second.

    Returns:
        The number of frames.

    Raises:
        UserError: for another ending, frames of other sizes, or none.
    """
    if path.suffix.lower() not in CODECS:
        raise UserError(f"{path}: a video ends in {', '.join(CODECS)}")
    count, size, interrupted = 0, (0, 0), None
    with atomic_path(path) as part:
        codec = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])  # type: ignore[attr-defined]
        video = None
        try:
            for frame in frames:
                if video is None:
                    size = frame.shape[:2]
                    video = cv2.VideoWriter(str(part), codec, rate, size[::-1])
                if frame.shape[:2] != size or not video.isOpened():
                    raise UserError(f"{path}: cannot be written with frames of {frame.shape[:2]}")
                video.write(frame[..., ::-1])
                count += 1
        except KeyboardInterrupt as stop:
            interrupted = stop
        finally:
            if video is not None:
                video.release()
        if not count:
            raise UserError(f"{path}: there was no frame to write")
    if interrupted is not None:
        raise interrupted
    return count
