"""A small drawing board in percent coordinates, used by the sprites."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Tone = float | tuple[int, int, int]
"""A factor on the body colour (1 = as it is, 0.7 = darker), or a fixed RGB colour."""


class Pen:
    """Draws filled shapes on a square transparent canvas.

    Coordinates run from 0 to 100 in both directions, y downwards. The canvas is larger than
    the sprite made from it, so that averaging it down smooths the edges.

    Args:
        rgb: the body colour.
        side: side of the canvas in pixels.
    """

    def __init__(self, rgb: tuple[int, int, int], side: int) -> None:
        self.rgb = rgb
        self.scale = side / 100.0
        self.image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.image)

    def _colour(self, tone: Tone) -> tuple[int, int, int, int]:
        if isinstance(tone, tuple):
            return (*tone, 255)
        if tone <= 1.0:
            # A dark body needs lighter details, or they vanish.
            lift = 70.0 * (1.0 - tone) if max(self.rgb) < 60 else 0.0
            red, green, blue = (int(c * tone + lift) for c in self.rgb)
        else:
            red, green, blue = (int(c + (255 - c) * (tone - 1.0)) for c in self.rgb)
        return red, green, blue, 255

    def _px(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, tone: Tone = 1.0) -> None:
        """Filled ellipse around (cx, cy)."""
        box = self._px([(cx - rx, cy - ry), (cx + rx, cy + ry)])
        self._draw.ellipse([*box[0], *box[1]], fill=self._colour(tone))

    def cut(self, cx: float, cy: float, rx: float, ry: float) -> None:
        """Take an ellipse out of what is drawn so far."""
        box = self._px([(cx - rx, cy - ry), (cx + rx, cy + ry)])
        self._draw.ellipse([*box[0], *box[1]], fill=(0, 0, 0, 0))

    def poly(self, points: Sequence[Point], tone: Tone = 1.0) -> None:
        """Filled polygon."""
        self._draw.polygon(self._px(points), fill=self._colour(tone))

    def rect(self, x0: float, y0: float, x1: float, y1: float, tone: Tone = 1.0,
             radius: float = 0.0) -> None:  # fmt: skip
        """Filled rectangle with rounded corners."""
        box = self._px([(x0, y0), (x1, y1)])
        self._draw.rounded_rectangle(
            [*box[0], *box[1]], radius=radius * self.scale, fill=self._colour(tone)
        )

    def blob(self, points: Sequence[Point], tone: Tone = 1.0, steps: int = 12) -> None:
        """Filled closed curve through the points (Catmull-Rom)."""
        self.poly(_spline(points, steps), tone)

    def line(self, points: Sequence[Point], width: float, tone: Tone = 1.0) -> None:
        """Polyline with round joints and ends."""
        xy = self._px(points)
        fill = self._colour(tone)
        self._draw.line(xy, fill=fill, width=max(1, round(width * self.scale)), joint="curve")
        radius = width * self.scale / 2
        for x, y in (xy[0], xy[-1]):
            self._draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)

    def ring(self, cx: float, cy: float, radius: float, width: float, tone: Tone = 1.0,
             start: float = 0.0, end: float = 360.0) -> None:  # fmt: skip
        """Circular arc of the given width; angles in degrees, clockwise from the right."""
        box = self._px([(cx - radius, cy - radius), (cx + radius, cy + radius)])
        self._draw.arc([*box[0], *box[1]], start, end, fill=self._colour(tone),
                       width=max(1, round(width * self.scale)))  # fmt: skip

    def slice(self, cx: float, cy: float, rx: float, ry: float, start: float, end: float,
              tone: Tone = 1.0) -> None:  # fmt: skip
        """Filled segment of an ellipse cut by its chord; angles as in :meth:`ring`."""
        box = self._px([(cx - rx, cy - ry), (cx + rx, cy + ry)])
        self._draw.chord([*box[0], *box[1]], start, end, fill=self._colour(tone))


def _spline(points: Sequence[Point], steps: int) -> list[Point]:
    count = len(points)
    curve: list[Point] = []
    for i in range(count):
        p0, p1, p2, p3 = (points[(i + k) % count] for k in (-1, 0, 1, 2))
        for step in range(steps):
            x, y = (_between(*four, step / steps) for four in zip(p0, p1, p2, p3, strict=True))
            curve.append((x, y))
    return curve


def _between(a: float, b: float, c: float, d: float, t: float) -> float:
    """Catmull-Rom: from b (t = 0) to c (t = 1), with the slopes that a and d give."""
    square, cube = 2 * a - 5 * b + 4 * c - d, 3 * b - 3 * c + d - a
    return 0.5 * (2 * b + (c - a) * t + square * t**2 + cube * t**3)


def star_points(cx: float, cy: float, outer: float, inner: float, tips: int) -> list[Point]:
    """Corner points of a star that stands on two tips."""
    points = []
    for i in range(2 * tips):
        radius = outer if i % 2 == 0 else inner
        angle = math.pi * (i / tips - 0.5)
        points.append((cx + radius * math.cos(angle), cy + radius * math.sin(angle)))
    return points
