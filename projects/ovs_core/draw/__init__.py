"""Drawing labelled pictures: colours, captions, legends, sheets."""

from .colors import INK, PANEL, palette
from .fonts import font_for
from .legends import legend, percent, remark, with_legend
from .marks import marks, swatch
from .overlays import heat_overlay, overlay
from .regions import PaintedRegions, regions_to_paint
from .renderer import render
from .sheets import sheet

__all__ = [
    "INK",
    "PANEL",
    "PaintedRegions",
    "font_for",
    "heat_overlay",
    "legend",
    "marks",
    "overlay",
    "palette",
    "percent",
    "regions_to_paint",
    "remark",
    "render",
    "sheet",
    "swatch",
    "with_legend",
]
