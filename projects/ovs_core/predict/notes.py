"""What a reader of a result should know: of its words, and of its picture."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ..clip.embedded_world import OUT_OF_WORLD, knows_its_world_only, world_likeness
from ..errors import UserError
from ..modeling.segmenter import Segmenter
from ..words.spelling import other_scripts
from ..words.vocabulary import Vocabulary

logger = logging.getLogger(__name__)


def world_note(model: Segmenter, image: np.ndarray) -> str:
    """Say that a method on an embedded CLIP is shown a picture that this CLIP knows nothing of.

    Args:
        model: the method.
        image: (H, W, 3) uint8 RGB.

    Returns:
        One sentence with the mend; "" for a drawn picture, and for a method on a real CLIP.
    """
    if not knows_its_world_only(model.clip) or world_likeness(image) > 0:
        return ""
    return OUT_OF_WORLD


def word_notes(model: Segmenter, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a reader of a result should know about its words, also said to the log.

    Args:
        model: the method, whose CLIP reads the words.
        vocabulary: the words.

    Raises:
        UserError: if two words are one to the CLIP.
    """
    _refuse_indistinct(model, vocabulary)
    encoder, texts = model.text_encoder, vocabulary.texts
    foreign = [text for text in texts if encoder.is_english and other_scripts(text)]
    found = {
        "too long for CLIP's text tower, only the beginning counts": [
            f"{text[:60]}..." for text in encoder.cut_texts(texts, model.templates)
        ],
        "in another script than this CLIP was trained on; English words do better": foreign,
    }
    notes = tuple(f"{what}: {_first_three(named)}" for what, named in found.items() if named)
    for note in notes:
        logger.warning(note)
    return notes


def _first_three(texts: Sequence[str]) -> str:
    shown = ", ".join(f"'{text}'" for text in texts[:3])
    return shown + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _refuse_indistinct(model: Segmenter, vocabulary: Vocabulary) -> None:
    shortest = min(model.templates, key=len)
    shown = model.text_encoder.token_sets([entry.synonyms for entry in vocabulary], shortest)
    seen: dict[frozenset[bytes], str] = {}
    for entry, tokens in zip(vocabulary, shown, strict=True):
        if tokens in seen:
            raise UserError(
                f"'{seen[tokens][:60]}' and '{entry.name[:60]}' are repeated: this CLIP's text "
                "tower sees the same of both; remove one, or let them begin differently"
            )
        seen[tokens] = entry.name
