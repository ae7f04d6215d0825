"""How a scene's ground is divided between its kinds of stuff."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BORDERS = ("straight", "wavy", "voronoi")


@dataclass(frozen=True)
class Division:
    """A division of the frame into one to three regions, independent of its size.

    Attributes:
        kind: one of :data:`BORDERS`; without meaning for a single region.
        angle: direction across the borders, in radians (0 puts the borders upright).
        offsets: where the borders cross the middle, as shares of the frame, ascending.
        wave: amplitude, two frequencies and two phases of a wavy border.
        points: (R, 2) seeds (y, x) of the Voronoi regions.
    """

    kind: str
    angle: float
    offsets: np.ndarray
    wave: np.ndarray
    points: np.ndarray

    def margins(self, height: int, width: int) -> np.ndarray:
        """Distance in pixels to the nearest border, positive inside, of each region.

        Returns:
            (R, H, W) float32.
        """
        unit = min(height, width)
        y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
        x = (np.arange(width, dtype=np.float32)[None] + 0.5) / width
        if len(self.points) == 1:
            return np.full((1, height, width), unit, np.float32)
        if self.kind == "voronoi":
            distance = np.stack([np.hypot(y - py, x - px) for py, px in self.points])
            nearest = np.sort(distance, axis=0)
            rival = np.where(distance == nearest[0], nearest[1], nearest[0])
            return ((rival - distance) * unit).astype(np.float32)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along = cos * (y - 0.5) - sin * (x - 0.5)
        across = cos * (x - 0.5) + sin * (y - 0.5) + 0.5
        if self.kind == "wavy":
            amplitude, low, high, phase_low, phase_high = self.wave
            across = across + amplitude * (
                np.sin(low * along + phase_low) + 0.4 * np.sin(high * along + phase_high)
            )
        edges = [-np.inf, *self.offsets, np.inf]
        bands = [np.minimum(across - lo, hi - across) for lo, hi in zip(edges, edges[1:])]  # noqa: B905
        return (np.stack(bands) * unit).astype(np.float32)


def draw_layout(rng: np.random.Generator, regions: int) -> Division:
    """Draw a layout of one to three regions."""
    kind = BORDERS[rng.integers(len(BORDERS))]
    # Mostly ground below and something above, as pictures are; sometimes any direction.
    angle = np.pi / 2 + rng.normal(0, 0.2) if rng.random() < 0.65 else rng.random() * np.pi
    first = rng.uniform(0.32, 0.62) if regions == 2 else rng.uniform(0.24, 0.4)
    offsets = np.array([first, rng.uniform(0.58, 0.76)])[: regions - 1]
    wave = np.array([rng.uniform(0.015, 0.05), rng.uniform(5, 12), rng.uniform(16, 30),
                     *rng.uniform(0, 2 * np.pi, 2)])  # fmt: skip
    points = rng.uniform(0.05, 0.95, (24, 3, 2))
    # Of many draws take the one with the seeds farthest apart, so that no region is a sliver.
    gaps = np.min([np.hypot(*(points[:, a] - points[:, b]).T) for a, b in ((0, 1), (0, 2), (1, 2))],
                  axis=0)  # fmt: skip
    return Division(kind, float(angle), offsets, wave, points[np.argmax(gaps)][:regions])
