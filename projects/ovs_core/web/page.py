"""The page: fields on the left, one card per method on the right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files.writing import atomic_write
from .archive import zip_attempts
from .examples import Example
from .inputs import Limits, read_upload, read_words
from .room import Attempt, ModelRoom
from .viewer import cards, notice

HERE = Path(__file__).resolve().parent
KEPT_SECONDS = 3600  # uploads and results of a visitor who has gone
QUEUE = 16  # visitors who may wait
STRENGTH = 0.55
# What a download needs: the name of the picture, and what the methods made of it.
Made = tuple[str, tuple[Attempt, ...]]
HEAD = """<header class="ovs-head">{icon}<div><h1>OVSuite</h1>
<p>Name what is in your picture; every pixel gets one of your words. Runs on this machine, and
pictures stay on it.</p></div></header>"""
EMPTY = """<div class="ovs-empty"><strong>Nothing segmented yet</strong>
<span>Pick an example or drop a picture, type words, and press Segment.</span></div>"""


class Actions:
    """What the buttons do.

    Args:
        room: the models.
        limits: what a visitor may send.
        folder: where downloads are put.
    """

    def __init__(self, room: ModelRoom, limits: Limits, folder: Path) -> None:
        self._room = room
        self._limits = limits
        self._folder = folder

    def segment(
        self, payload: dict[str, Any] | None, text: str, *methods: Sequence[str]
    ) -> Iterator[tuple[str, str, Made | None]]:
        """Segment with one method after the other.

        Args:
            payload: see ``read_upload``.
            text: the words as typed.
            methods: lists of names of methods.

        Yields:
            Message, cards, and what a download needs (None while there is nothing), each time a
            method is done.
        """
        try:
            words = read_words(text, self._limits)
            choices = self._room.pick([name for names in methods for name in names])
            upload = read_upload(payload, self._limits)
        except UserError as error:
            yield notice(str(error)), EMPTY, None
            return
        attempts: tuple[Attempt, ...] = ()
        yield "", cards(attempts, choices), None
        for number, choice in enumerate(choices, 1):
            attempts += (self._room.segment(choice, upload.picture, words),)
            yield "", cards(attempts, choices[number:]), (upload.stem, attempts)

    def download(self, made: Made | None, strength: float) -> tuple[str, Any]:
        """Write the zip file.

        Args:
            made: name and attempts from ``segment``.
            strength: of the overlays, 0..1.

        Returns:
            Message, and the path of the file or None.
        """
        stem, attempts = made or ("", ())
        if not any(attempt.result for attempt in attempts):
            return notice("segment a picture first; then its masks can be downloaded"), None
        # A folder of its own: two visitors' pictures may bear the same name.
        path = Path(tempfile.mkdtemp(dir=self._folder)) / f"{stem}_masks.zip"
        atomic_write(path, zip_attempts(attempts, stem, strength))
        return "", str(path)


def build_page(actions: Actions, room: ModelRoom, examples: Sequence[Example]) -> Any:
    """Lay out the page.

    Args:
        actions: what the buttons do.
        room: the models on offer.
        examples: pictures with words.

    Returns:
        A ``gradio.Blocks``, not launched.
    """
    import gradio as gr

    with gr.Blocks(
        title="OVSuite", analytics_enabled=False, fill_width=True,
        delete_cache=(KEPT_SECONDS // 6, KEPT_SECONDS),
    ) as page:  # fmt: skip
        gr.HTML(HEAD.format(icon=(HERE / "icon.svg").read_text()))
        with gr.Row(equal_height=False, elem_id="ovs-columns"):
            with gr.Column(scale=4, min_width=320, elem_id="ovs-inputs"):
                picture, words = _picture_and_words(gr, examples)
                methods = _methods(gr, room)
                go = gr.Button("Segment", variant="primary", size="lg", elem_id="ovs-go")
            with gr.Column(scale=8, min_width=340, elem_id="ovs-outputs"):
                made = gr.State(None, time_to_live=KEPT_SECONDS)
                strength, zip_button, file = _toolbar(gr)
                message = gr.HTML(elem_id="ovs-message")
                shown = gr.HTML(EMPTY, elem_id="ovs-results")
        gr.on(
            [go.click, words.submit], actions.segment,
            [picture, words, *methods], [message, shown, made],
            preprocess=False, show_progress="hidden", concurrency_limit=1,
            trigger_mode="once", api_visibility="private",
        )  # fmt: skip
        strength.change(None, strength, js=_SET_STRENGTH, api_visibility="private")
        zip_button.click(
            actions.download, [made, strength], [message, file], api_visibility="private"
        ).then(None, file, js=_PRESS, api_visibility="private")
    return page.queue(max_size=QUEUE)


_SET_STRENGTH = "(value) => document.body.style.setProperty('--ovs-strength', value)"
# The file arrives in a hidden button, which is then pressed for the visitor.
_PRESS = """(file) => { if (file) setTimeout(() => {
  const button = document.querySelector('#ovs-file'); (button.querySelector('a') ?? button).click();
}, 100); }"""


def _picture_and_words(gr: Any, examples: Sequence[Example]) -> tuple[Any, Any]:
    gr.HTML(_heading("Picture", "drop a file, paste one, or pick an example"))
    picture = gr.Image(
        label="Picture", show_label=False, type="filepath", format="png", image_mode=None,
        sources=["upload", "clipboard"], height=230, elem_id="ovs-picture", buttons=[],
    )  # fmt: skip
    with gr.Row(elem_id="ovs-examples"):
        thumbnails = [
            gr.Button(f"Example {n}", min_width=40, elem_id=f"ovs-example-{n}")
            for n in range(1, len(examples) + 1)
        ]
    gr.HTML(_heading("Words", "separated by commas; sofa|couch are synonyms"))
    words = gr.Textbox(
        label="Words", show_label=False, placeholder="cat, sofa|couch, wall", lines=2, max_lines=6,
        elem_id="ovs-words", container=False,
    )  # fmt: skip
    for thumbnail, example in zip(thumbnails, examples, strict=True):
        thumbnail.click(
            partial(_given, example), None, [picture, words],
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip
    return picture, words


def _given(example: Example) -> tuple[np.ndarray, str]:
    return example.image, example.words


def _methods(gr: Any, room: ModelRoom) -> list[Any]:
    """Make a list of what is ready, and a closed one of what has to be trained first."""
    ready = [c.name for c in room.choices.values() if c.trained]
    untrained = [c.name for c in room.choices.values() if not c.trained]
    look = {"label": "Methods", "show_label": False, "elem_classes": "ovs-methods"}
    groups = []
    gr.HTML(_heading("Methods", "pick several to compare them"))
    if ready:
        groups.append(gr.CheckboxGroup(ready, value=ready[:2], **look))
    if untrained:
        title = "Untrained: their labels mean nothing before a training"
        with gr.Accordion(title, open=not ready, elem_id="ovs-untrained"):
            groups.append(gr.CheckboxGroup(untrained, value=[] if ready else untrained[:1], **look))
    return groups


def _toolbar(gr: Any) -> tuple[Any, Any, Any]:
    with gr.Row(equal_height=True, elem_id="ovs-toolbar"):
        strength = gr.Slider(
            0, 1, STRENGTH, step=0.01, label="Strength of the colours", elem_id="ovs-strength",
            scale=3, min_width=180, buttons=[],
        )  # fmt: skip
        zip_button = gr.Button("Download masks", elem_id="ovs-download", scale=1, min_width=140)
    return strength, zip_button, gr.DownloadButton(visible="hidden", elem_id="ovs-file")


def _heading(title: str, hint: str) -> str:
    return f'<div class="ovs-heading"><h2>{title}</h2><span>{hint}</span></div>'
