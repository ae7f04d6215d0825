"""Frames of a video, read with the OpenCV that Detectron2 brings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def frame_rate(source: str | Path | int, every: int = 1) -> float:
    """Frames per second that ``read_frames`` gives; 25 of a source that does not say.

    Raises:
        UserError: if it cannot be read.
    """
    video = _open(source)
    stated = float(video.get(cv2.CAP_PROP_FPS))
    video.release()
    return (stated if 0 < stated < 1000 else 25.0) / every


def count_frames(path: str | Path, every: int = 1) -> int:
    """How many frames ``read_frames`` will give, as the file states it; 0 if it does not.

    Raises:
        UserError: if the file cannot be read as a video.
    """
    video = _open(path)
    stated = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    video.release()
    return -(-stated // every) if stated > 0 else 0


def read_frames(path: str | Path | int, every: int = 1) -> Iterator[tuple[int, np.ndarray]]:
    """Read a video frame by frame.

    Args:
        path: the file, or the number of a camera.
        every: only each n-th frame, from the first on.

    Yields:
        Number of the frame, from 0, and (H, W, 3) uint8 RGB.

    Raises:
        UserError: if the file cannot be read as a video.
    """
    video = _open(path)
    try:
        number = 0
        while video.grab():
            if number % every == 0:
                good, frame = video.retrieve()
                if good:
                    yield number, np.ascontiguousarray(frame[..., ::-1])
            number += 1
    finally:
        video.release()
    if number == 0:
        raise UserError(f"{path}: no frame can be decoded")


def _open(path: str | Path | int) -> cv2.VideoCapture:
    if isinstance(path, int):
        camera = cv2.VideoCapture(path)
        if not camera.isOpened():
            raise UserError(f"{path}: there is no camera of this number, or it is in use")
        return camera
    if not Path(path).is_file():
        raise UserError(f"{path}: no such video")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise UserError(f"{path}: cannot be read as a video")
    return video
