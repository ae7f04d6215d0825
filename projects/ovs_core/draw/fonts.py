"""Fonts for names in any script, from what is installed anyway.

Pillow brings a font for Latin, matplotlib (a part of Detectron2's installation) one for Greek,
Cyrillic, Arabic, Hebrew and more. Other scripts and emoji need a font of the system; a character
that no font has is drawn as a box.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from ..errors import UserError

Font = ImageFont.FreeTypeFont

# Looked up by Pillow in the system's font folders; the first that has the characters is taken.
SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf",
    "PingFang.ttc", "Hiragino Sans GB.ttc", "msyh.ttc", "msgothic.ttc", "malgun.ttf",
    "NotoSansDevanagari-Regular.ttf", "NotoSansThai-Regular.ttf", "Arial Unicode.ttf",
    "unifont.otf", "NotoEmoji-Regular.ttf", "Symbola.ttf", "seguiemj.ttf",
)  # fmt: skip
_ABSENT = "\U0010fffd"  # a private character: drawn as the font's box


def font_for(text: str, size: int) -> Font:
    """Choose a font that has every character of a text.

    Args:
        text: what will be drawn.
        size: in pixels.

    Returns:
        The first that fits, else Pillow's own.
    """
    default = _default(size)
    if text.isascii():
        return default
    return next((f for f in (default, *_others(size)) if _has_all(f, text)), default)


def shorten(text: str, font: Font, room: float) -> str:
    """Cut a text that is wider than ``room`` pixels, and put its lines into one."""
    text = text[:200].replace("\n", " ")
    if font.getlength(text) <= room:
        return text
    while len(text) > 1 and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."


@lru_cache(maxsize=64)
def _default(size: int) -> Font:
    font = ImageFont.load_default(size=size)
    if not isinstance(font, Font):
        raise UserError("Pillow was built without FreeType, which draws the names; reinstall it")
    return font


@lru_cache(maxsize=8)
def _others(size: int) -> tuple[Font, ...]:
    found = []
    for path in (_matplotlib_font(), *SYSTEM_FONTS):
        try:
            found.append(ImageFont.truetype(path, size))
        except OSError:  # not on this machine
            continue
    return tuple(found)


def _matplotlib_font() -> str:
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return str(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


def _has_all(font: Font, text: str) -> bool:
    box = _drawn(font, _ABSENT)
    visible = {c for c in text if not c.isspace() and unicodedata.category(c) != "Cf"}
    return all(_drawn(font, char) != box for char in visible)


def _drawn(font: Font, char: str) -> bytes:
    mask = font.getmask(char)
    return bytes(mask) + bytes(str(mask.size), "ascii")
