"""The page: fields on the left, one card per method on the right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .actions import EMPTY, Actions, for_visitor
from .api import offer_api
from .examples import Example
from .limits import QUEUED
from .room import ModelRoom
from .sessions import Visitors
from .viewer import notice

HERE = Path(__file__).resolve().parent
STRENGTH = 0.55
STOP = "stop"
LEFT = "this page was left alone for long; reload it"
GONE = notice(LEFT)
HEAD = """<header class="ovs-head">{icon}<div><h1>OVSuite</h1>
<p>Name what is in your picture; every pixel gets one of your words. Runs on this machine, and
pictures stay on it.</p></div></header>"""
# What all events have: gradio neither reads nor writes files for them.
EVENT = {"preprocess": False, "postprocess": False, "api_visibility": "private"}


def build_page(
    actions: Actions,
    room: ModelRoom,
    visitors: Visitors,
    examples: Sequence[Example],
    *,
    api: bool = False,
) -> Any:
    """Lay out the page.

    Args:
        actions: what the buttons do.
        room: the models on offer.
        visitors: who is known.
        examples: pictures with words.
        api: whether programs may ask too.

    Returns:
        A ``gradio.Blocks``, not launched.
    """
    import gradio as gr

    def act(action: Any, *gone: Any) -> Any:
        return for_visitor(action, visitors, gr.Request, gone)

    with gr.Blocks(title="OVSuite", analytics_enabled=False, fill_width=True) as page:
        gr.HTML(HEAD.format(icon=(HERE / "icon.svg").read_text()))
        with gr.Row(equal_height=False, elem_id="ovs-columns"):
            with gr.Column(scale=4, min_width=320, elem_id="ovs-inputs"):
                picture, words, thumbnails = _picture_and_words(gr, examples)
                methods = _methods(gr, room)
                go = gr.Button("Segment", variant="primary", size="lg", elem_id="ovs-go")
                stop = gr.Button("Stop", variant="stop", size="lg", elem_id="ovs-stop")
                token = gr.Textbox(visible="hidden")
            with gr.Column(scale=8, min_width=340, elem_id="ovs-outputs"):
                strength, hatched, zip_button, file = _toolbar(gr)
                message = gr.HTML(elem_id="ovs-message")
                shown = gr.HTML(EMPTY, elem_id="ovs-results")
        for number, (thumbnail, example) in enumerate(zip(thumbnails, examples, strict=True), 1):
            thumbnail.click(
                act(partial(actions.example, example), None, "", GONE), None,
                [picture, words, message], show_progress="hidden", api_name=f"example_{number}",
                **EVENT,
            )  # fmt: skip
        picture.input(
            act(actions.check, GONE), picture, message, show_progress="hidden", api_name="check",
            trigger_mode="always_last", **EVENT,
        )  # fmt: skip
        # Pressed during a run, the page's script stops it first; then it starts anew.
        gr.on(
            [go.click, words.submit], act(actions.segment, GONE, EMPTY),
            [picture, words, *methods], [message, shown], show_progress="hidden",
            concurrency_limit=QUEUED, trigger_mode="always_last", api_name="segment", **EVENT,
        )  # fmt: skip
        stop.click(
            act(actions.stop, GONE), token, message, js=_SHOWN_RUN, show_progress="hidden",
            concurrency_limit=QUEUED, trigger_mode="multiple", api_name=STOP, **EVENT,
        )  # fmt: skip
        strength.change(None, strength, js=_SET_STRENGTH, api_visibility="private")
        hatched.change(None, hatched, js=_SET_MARKS, api_visibility="private")
        zip_button.click(
            act(actions.download, GONE, None), strength, [message, file], api_name="download",
            **EVENT,
        ).then(None, file, js=_PRESS, api_visibility="private")  # fmt: skip
        if api:
            offer_api(gr, act(actions.answer, {"error": LEFT}), picture, words)
    return page.queue(max_size=QUEUED)


_SHOWN_RUN = "() => document.querySelector('.ovs-cards')?.dataset.run ?? ''"
_SET_STRENGTH = "(value) => document.body.style.setProperty('--ovs-strength', value)"
# A variable, as gradio puts the page's own rules below a container of its own.
_SET_MARKS = (
    "(value) => { document.documentElement.style.setProperty("
    "'--ovs-marks', value ? 'visible' : 'hidden'); }"
)
# The file arrives in a hidden button, which is then pressed for the visitor.
_PRESS = """(file) => { if (file) setTimeout(() => {
  const button = document.querySelector('#ovs-file'); (button.querySelector('a') ?? button).click();
}, 100); }"""


def _picture_and_words(gr: Any, examples: Sequence[Example]) -> tuple[Any, Any, list[Any]]:
    gr.HTML(_heading("Picture", "drop a file, paste one, or pick an example"))
    picture = gr.Image(
        label="Picture", show_label=False, type="filepath", format="png", image_mode=None,
        sources=["upload", "clipboard"], height=230, elem_id="ovs-picture", buttons=[],
    )  # fmt: skip
    picture.data_model = _ticket_model()
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
    return picture, words, thumbnails


def _ticket_model() -> type:
    """Make gradio take the picture's field for a text, so that it never looks for a file."""
    from gradio.data_classes import GradioRootModel

    class Ticket(GradioRootModel):
        root: str

    return Ticket


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


def _toolbar(gr: Any) -> tuple[Any, Any, Any, Any]:
    with gr.Row(equal_height=True, elem_id="ovs-toolbar"):
        strength = gr.Slider(
            0, 1, STRENGTH, step=0.01, label="Strength of the colours", elem_id="ovs-strength",
            scale=3, min_width=180, buttons=[],
        )  # fmt: skip
        hatched = gr.Checkbox(
            label="Contours and hatching", value=False, elem_id="ovs-hatched", scale=1,
            min_width=120,
        )  # fmt: skip
        zip_button = gr.Button("Download masks", elem_id="ovs-download", scale=1, min_width=140)
    return strength, hatched, zip_button, gr.DownloadButton(visible="hidden", elem_id="ovs-file")


def _heading(title: str, hint: str) -> str:
    return f'<div class="ovs-heading"><h2>{title}</h2><span>{hint}</span></div>'
