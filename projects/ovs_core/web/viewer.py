"""The results as HTML: one card per method, with layers that the page's script blends.

A card stacks the picture, the painted regions and an invisible map of region numbers. The script
shows the name under the pointer from that map, and the strength of the paint is a matter of style,
so that neither needs the server.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ..draw import PaintedRegions, overlay, palette, percent, regions_to_paint
from ..predict.result import Result
from .choices import Choice
from .room import Attempt

Address = Callable[[Image.Image, str], str]
LONGEST_SIDE = 1280  # pixels shown; downloads have every pixel


def cards(attempts: Sequence[Attempt], waiting: Sequence[Choice] = ()) -> str:
    """Lay attempts out side by side, with the pictures inside the text.

    Args:
        attempts: what is finished.
        waiting: methods still to come; the first of them is running.

    Returns:
        HTML; names and messages are escaped.
    """
    return lay_out([card(attempt) for attempt in attempts], waiting)


def lay_out(finished: Sequence[str], waiting: Sequence[Choice] = ()) -> str:
    """Set cards side by side.

    Args:
        finished: what ``card`` made.
        waiting: methods still to come; the first of them is running.

    Returns:
        HTML.
    """
    shown = [*finished, *(_waiting(choice, running=n == 0) for n, choice in enumerate(waiting))]
    return f'<div class="ovs-cards">{"".join(shown)}</div>'


def notice(text: str, kind: str = "error") -> str:
    """One message for the visitor; ``kind`` is ``error`` or ``info``."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="ovs-notice ovs-{kind}" role="{role}">{escape(text)}</p>'


def escape(text: str) -> str:
    """Make text safe for HTML and for gradio's template marks."""
    escaped = html.escape(text)
    return escaped.replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def card(attempt: Attempt, address: Address | None = None) -> str:
    """Show what one method made of a picture.

    Args:
        attempt: the result, or the error.
        address: gives the address of a picture that is laid into the card; default ``data_uri``.

    Returns:
        HTML; names and messages are escaped.
    """
    if attempt.result is None:
        return _frame(attempt.choice, "", notice(attempt.error))
    time = f"{attempt.seconds:.2f} s"
    if attempt.loading >= 0.05:
        time += f" <small>+ {attempt.loading:.1f} s loading</small>"
    notes = "".join(notice(note, "info") for note in attempt.result.notes)
    body = _result(attempt.result, address or data_uri) + notes
    return _frame(attempt.choice, f'<span class="ovs-time">{time}</span>', body)


def _waiting(choice: Choice, *, running: bool) -> str:
    state = "running" if running else "waiting"
    return _frame(choice, f'<span class="ovs-time">{state}</span>', '<div class="ovs-wait"></div>')


def _frame(choice: Choice, aside: str, body: str) -> str:
    about = f'<p class="ovs-about">{escape(choice.about)}</p>' if choice.about else ""
    return (
        f'<section class="ovs-card" data-method="{escape(choice.name)}">'
        f"<header><h3>{escape(choice.name)}</h3>{aside}</header>{about}{body}</section>"
    )


def _result(result: Result, address: Address) -> str:
    colors = palette(result.names)
    regions = regions_to_paint(
        result.labels, colors, background=result.background, segment_ids=result.segment_ids,
        segments_info=result.segments_info,
    )  # fmt: skip
    words = [
        (index, result.names[index] + (f" x{number}" if number > 1 else ""), percent(share))
        for index, number, share in regions.by_name()
    ]
    summary = ", ".join(f"{name} {share}" for _, name, share in words)
    return _stage(result, regions, summary, address) + _legend(words, colors)


def _stage(result: Result, regions: PaintedRegions, summary: str, address: Address) -> str:
    step = max(1.0, max(result.labels.shape) / LONGEST_SIDE)
    height, width = (max(1, round(side / step)) for side in result.labels.shape)
    photo = Image.fromarray(result.image).resize((width, height), Image.Resampling.BOX)
    numbers = Image.fromarray(regions.map.astype(np.int32))
    shown = np.asarray(numbers.resize((width, height), Image.Resampling.NEAREST))
    paint = overlay(np.asarray(photo), shown, regions.colors, strength=1.0, unpainted=regions.plain)
    # What the script needs: the name of each region, as its index and its text.
    owners = escape(json.dumps(regions.owner.tolist()))
    names = escape(json.dumps(result.names, ensure_ascii=False))
    return (
        f'<div class="ovs-stage" role="img" aria-label="{escape(summary)}" '
        f'data-names="{names}" data-owners="{owners}" '
        f'style="aspect-ratio: {width} / {height}; max-width: calc(80vh * {width / height:.4f})">'
        f'<img class="ovs-photo" alt="" src="{address(photo, "JPEG")}">'
        f'<img class="ovs-paint" alt="" src="{address(Image.fromarray(paint), "PNG")}">'
        f'<img class="ovs-map" alt="" src="{address(_number_map(shown), "PNG")}">'
        '<i class="ovs-dot"></i><span class="ovs-tip" aria-hidden="true"></span></div>'
    )


def _legend(words: Sequence[tuple[int, str, str]], colors: np.ndarray) -> str:
    items = []
    for index, name, share in words:
        red, green, blue = colors[index]
        items.append(
            f'<li><button type="button" data-index="{index}">'
            f'<i style="background: rgb({red} {green} {blue})"></i>{escape(name)} '
            f"<b>{escape(share)}</b></button></li>"
        )
    return f'<ul class="ovs-legend" aria-label="Legend">{"".join(items)}</ul>'


def _number_map(regions: np.ndarray) -> Image.Image:
    """Regions as colours that a script can read back: number = red + 256 * green."""
    spread = np.stack([regions & 255, regions >> 8, np.zeros_like(regions)], axis=-1)
    return Image.fromarray(spread.astype(np.uint8))


def data_uri(image: Image.Image, kind: str) -> str:
    """Write a picture as the text of a ``data:`` address; ``kind`` is ``JPEG`` or ``PNG``."""
    content = base64.b64encode(encode_picture(image, kind)).decode()
    return f"data:image/{kind.lower()};base64,{content}"


def encode_picture(image: Image.Image, kind: str) -> bytes:
    """Write a picture as a file; ``kind`` is ``JPEG`` or ``PNG``."""
    packed = io.BytesIO()
    image.save(packed, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 6}))
    return packed.getvalue()
