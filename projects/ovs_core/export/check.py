"""Comparing a written program with the model that it came from.

Letters: K classes, H x W picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.embedded.scenes import render_scene
from ..files.pictures import read_picture
from ..modeling.scores import LabelScores, Size
from ..modeling.segmenter import Segmenter

TOLERANCE = 1e-3  # largest error that is accepted, as a share of the range of the scores
# Of labels without scores, which do not tell a near tie, turned by rounding, from an error
LEAST_AGREEMENT = 0.999
DRAWN, NOISE = 4, 2  # pictures of the check
# (3, H, W) float32 RGB in 0..255 -> labels (H, W) int64[, scores (K, H, W) float32]
Program = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Check:
    """How far a written file is from the model that it came from.

    Attributes:
        pictures: how many were compared.
        agreement: share of pixels with the same label.
        label_error: the most by which the model's score of the file's label falls below the
            model's best score at that pixel; 0 where the labels agree.
        score_error: largest difference of a score; None for a file without scores.
        score_range: largest minus smallest score of the model.
        labels_alone: whether the model gives labels without scores.
    """

    pictures: int
    agreement: float
    label_error: float
    score_error: float | None
    score_range: float
    labels_alone: bool = False

    @property
    def passed(self) -> bool:
        """Whether all errors are rounding errors."""
        if self.labels_alone:
            finite = self.score_error is None or np.isfinite(self.score_error)
            return bool(finite and self.agreement >= LEAST_AGREEMENT)
        worst = max(self.label_error, self.score_error or 0.0)
        return bool(worst <= TOLERANCE * self.score_range)

    def __str__(self) -> str:
        """Give one line for the screen."""
        text = f"compared on {self.pictures} pictures: {self.agreement:.4%} of the labels agree"
        if self.labels_alone:
            return f"{text}; the model gives labels alone"
        if self.agreement < 1:
            text += f" (else the scores are {self.label_error:.1e} apart)"
        if self.score_error is not None:
            text += f", scores differ by at most {self.score_error:.1e}"
        return f"{text}; the scores span {self.score_range:.3g}"


@torch.no_grad()
def compare(model: Segmenter, program: Program, pictures: Sequence[np.ndarray]) -> Check:
    """Compare a program with its model.

    Args:
        model: with the same words.
        program: what was read from the file.
        pictures: (3, H, W) float32 RGB in 0..255, which both are shown.
    """
    same, label_error, score_errors, low, high = [], 0.0, [], float("inf"), -float("inf")
    labels_alone = False
    for picture in pictures:
        written, *written_scores = map(torch.from_numpy, program(picture))
        scores = model.segment(torch.from_numpy(picture), (picture.shape[1], picture.shape[2]))
        maps, labels = scores.full().cpu(), scores.labels().cpu()
        labels_alone |= isinstance(scores, LabelScores)
        same.append(float((written == labels).float().mean()))
        lost = maps.amax(0) - maps.gather(0, written[None])[0]
        label_error = max(label_error, float(lost.max()))
        for given in written_scores:
            score_errors.append(float((given - maps).abs().nan_to_num(torch.inf).max()))
        low, high = min(low, float(maps.min())), max(high, float(maps.max()))
    return Check(
        pictures=len(pictures),
        agreement=float(np.mean(same)),
        label_error=label_error,
        score_error=max(score_errors, default=None),
        score_range=high - low,
        labels_alone=labels_alone,
    )


def pictures_to_compare(size: Size, own: Sequence[str | Path] = ()) -> list[np.ndarray]:
    """Give the pictures of a check: a person's own or drawn ones, and noise.

    Args:
        size: (H, W) that they are brought to.
        own: picture files; default a few drawn scenes.

    Returns:
        (3, H, W) float32 RGB in 0..255.

    Raises:
        UserError: for a file that is no picture.
    """
    images = [_resized(read_picture(path), size) for path in own]
    images = images or [render_scene(seed, size).image for seed in range(DRAWN)]
    noise = [np.random.default_rng(seed).uniform(0, 255, (3, *size)) for seed in range(NOISE)]
    shown = [image.transpose(2, 0, 1) for image in images] + noise
    return [picture.astype(np.float32) for picture in shown]


def _resized(image: np.ndarray, size: Size) -> np.ndarray:
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)
