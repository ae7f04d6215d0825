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
from functools import lru_cache

import numpy as np
from PIL import Image

from ..draw import PaintedRegions, marks, overlay, palette, percent, regions_to_paint, swatch
from ..draw.marks import HATCHINGS
from ..predict.result import Result
from .attempts import Asked, Attempt
from .choices import Choice
from .runs import WAITING, Run

Address = Callable[[Image.Image, str], str]
SHOWN_CHARACTERS = 300  # of the words, on a card
LEGEND_WORDS = 12  # of a legend that are not folded
LONGEST_SIDE = 1280  # pixels shown; downloads have every pixel


def lay_out(
    asked: Asked, finished: Sequence[str], waiting: Sequence[Choice] = (), run: Run | None = None
) -> str:
    """Set cards side by side.

    Args:
        asked: what all of them answer. The page's script compares it with the fields.
        finished: what ``card`` made.
        waiting: methods still to come; the first of them is under way.
        run: of these methods.

    Returns:
        HTML; names and messages are escaped.
    """
    shown = list(finished)
    if waiting and run is not None:
        shown += [_to_come(asked, choice, run, is_next=not n) for n, choice in enumerate(waiting)]
    token = run.token if run is not None else ""
    return (
        f'<div class="ovs-cards" data-run="{token}" data-picture="{escape(asked.ticket)}" '
        f'data-words="{escape(asked.words)}">{"".join(shown)}</div>'
    )


def notice(text: str, kind: str = "error") -> str:
    """One message for the visitor; ``kind`` is ``error`` or ``info``."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="ovs-notice ovs-{kind}" role="{role}">{escape(text)}</p>'


def escape(text: str) -> str:
    """Make text safe for HTML and for gradio's template marks."""
    escaped = html.escape(text)
    return escaped.replace("{", "&#123;").replace("}", "&#125;").replace("$", "&#36;")


def card(asked: Asked, attempt: Attempt, address: Address | None = None) -> str:
    """Show what one method made of a picture.

    Args:
        asked: the picture and the words.
        attempt: the result, or the error.
        address: gives the address of a picture that is laid into the card; default ``data_uri``.

    Returns:
        HTML; names and messages are escaped.
    """
    if attempt.result is None:
        return _frame(asked, attempt.choice, "", notice(attempt.error))
    time = f"{attempt.seconds:.2f} s"
    if attempt.loading >= 0.05:
        time += f" <small>+ {attempt.loading:.1f} s loading</small>"
    notes = "".join(notice(note, "info") for note in attempt.result.notes)
    body = _result(asked, attempt.result, address or data_uri) + notes
    return _frame(asked, attempt.choice, f'<span class="ovs-time">{time}</span>', body)


def _to_come(asked: Asked, choice: Choice, run: Run, *, is_next: bool) -> str:
    """A card without a result: its method waits, is under way, or was stopped."""
    if run.stopped:
        return _frame(asked, choice, "", notice("stopped before it had finished", "info"))
    state = f'<span role="status">{run.state if is_next else WAITING}</span>'
    if is_next:
        state += f' <span class="ovs-clock" data-seconds="{run.seconds:.1f}"></span>'
    state = f'<p class="ovs-state">{state}</p>'
    return _frame(asked, choice, "", f'{state}<div class="ovs-wait"></div>', kind=" ovs-running")


def _frame(asked: Asked, choice: Choice, aside: str, body: str, kind: str = "") -> str:
    about = f'<p class="ovs-about">{escape(choice.about)}</p>' if choice.about else ""
    return (
        f'<section class="ovs-card{kind}" data-method="{escape(choice.name)}" '
        f'aria-label="{escape(choice.name)}">'
        f"<header><h3>{escape(choice.name)}</h3>{aside}</header>{about}"
        f'<p class="ovs-asked"><b>{escape(_short(asked.picture))}</b> '
        f"<span>{escape(_short(asked.words))}</span></p>"
        f'<p class="ovs-old">The fields have changed since. Segment makes a new one.</p>'
        f"{body}</section>"
    )


def _short(text: str) -> str:
    """A text for one or two lines; all of it stands in the fields and in the download."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[:SHOWN_CHARACTERS] + " ..."


def _result(asked: Asked, result: Result, address: Address) -> str:
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
    summary = f"{asked.picture}: {summary}"
    return _stage(result, regions, summary, address) + _legend(words, colors)


def _stage(result: Result, regions: PaintedRegions, summary: str, address: Address) -> str:
    step = max(1.0, max(result.labels.shape) / LONGEST_SIDE)
    height, width = (max(1, round(side / step)) for side in result.labels.shape)
    photo = Image.fromarray(result.image).resize((width, height), Image.Resampling.BOX)
    numbers = Image.fromarray(regions.map.astype(np.int32))
    shown = np.asarray(numbers.resize((width, height), Image.Resampling.NEAREST))
    paint = overlay(np.asarray(photo), shown, regions.colors, strength=1.0, unpainted=regions.plain)
    drawn = marks(shown, regions.owner)
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
        f'<img class="ovs-marks" alt="" src="{address(Image.fromarray(drawn), "PNG")}">'
        '<i class="ovs-dot"></i><span class="ovs-tip" aria-hidden="true"></span></div>'
    )


def _legend(words: Sequence[tuple[int, str, str]], colors: np.ndarray) -> str:
    """The words that occur, largest first; many of them are folded."""
    items = []
    for index, name, share in words:
        red, green, blue = colors[index]
        items.append(
            f'<li><button type="button" data-index="{index}">'
            f'<i style="background: rgb({red} {green} {blue})">{_swatch(index % HATCHINGS)}</i>'
            f"{escape(name)} "
            f"<b>{escape(share)}</b></button></li>"
        )
    first, more = "".join(items[:LEGEND_WORDS]), items[LEGEND_WORDS:]
    folded = (
        f'<details class="ovs-more"><summary>{len(more)} more words</summary>'
        f'<ul class="ovs-legend" aria-label="Rest of the legend">{"".join(more)}</ul></details>'
    )
    return f'<ul class="ovs-legend" aria-label="Legend">{first}</ul>' + (folded if more else "")


@lru_cache(maxsize=HATCHINGS)
def _swatch(kind: int) -> str:
    return f'<img class="ovs-marks" alt="" src="{data_uri(Image.fromarray(swatch(kind)), "PNG")}">'


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
