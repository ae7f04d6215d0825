"""The page for programs: one event that ``gradio_client`` can call, offered if asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .attempts import Attempt
from .limits import QUEUED

API_NAME = "segment_picture"


def answer_of(attempt: Attempt) -> dict[str, Any]:
    """Tell a program what a method made of a picture.

    Returns:
        ``method``, ``names`` (the words' first names), ``size`` [H, W], ``seconds``, ``notes`` and
        ``coco`` (see ``Result.to_coco``: a run-length coded mask per segment); ``error`` alone if
        it failed.
    """
    if attempt.result is None:
        return {"error": attempt.error}
    return {
        "method": attempt.choice.name,
        "names": list(attempt.result.names),
        "size": list(attempt.result.labels.shape),
        "seconds": round(attempt.seconds, 4),
        "notes": list(attempt.result.notes),
        "coco": attempt.result.to_coco(),
    }


def offer_api(gr: Any, answer: Callable[..., Any], picture: Any, words: Any) -> None:
    """Add the event to a page that is being laid out.

    Args:
        gr: gradio.
        answer: called with picture, words and the method's name.
        picture: the page's field.
        words: the page's field.
    """
    hidden = {"visible": "hidden"}
    method, answered = gr.Textbox(label="Method", **hidden), gr.JSON(label="Answer", **hidden)
    gr.Button(**hidden).click(
        answer, [picture, words, method], answered, preprocess=False, postprocess=False,
        concurrency_limit=QUEUED, api_name=API_NAME, api_visibility="public",
    )  # fmt: skip
