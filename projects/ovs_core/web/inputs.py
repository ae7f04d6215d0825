"""What a visitor gives: a picture and words, checked before any model runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..errors import UserError
from ..files.pictures import LoadedPicture, load_picture, read_header
from ..files.raster import pixel_limit
from ..words.vocabulary import Vocabulary
from .limits import MEBI, Limits
from .sessions import Stored


@dataclass(frozen=True)
class Upload:
    """A picture that passed the checks.

    Attributes:
        picture: its pixels, with the notes on them.
        stem: file name without folder and suffix, for names of downloads.
    """

    picture: LoadedPicture
    stem: str


def read_upload(stored: Stored, limits: Limits) -> Upload:
    """Read a picture that a visitor has sent.

    Args:
        stored: the file.
        limits: what is accepted.

    Raises:
        UserError: if the picture is too large or cannot be decoded.
    """
    path, name = stored.path, stored.name
    if stored.size > limits.bytes:
        raise UserError(
            f"{name} has {stored.size / MEBI:.1f} MB; this page takes up to {limits.megabytes:g} MB"
        )
    _check_pixels(path, name, limits)
    try:
        return Upload(load_picture(path), Path(name).stem or "picture")
    except UserError as error:  # the visitor knows the name of the file, not where it was put
        raise UserError(str(error).replace(str(path), name)) from error


def read_words(text: object, limits: Limits) -> Vocabulary:
    """Read typed words. A visitor must not read files of this machine, so none is ever opened.

    Args:
        text: see ``Vocabulary.from_text``.
        limits: what is accepted.

    Raises:
        UserError: if there is no word, an empty or repeated one, or too much of anything.
    """
    if text is not None and not isinstance(text, str):
        raise UserError("words are text, separated by commas")
    text = text or ""
    if not text.strip(" ,\n"):
        raise UserError("type at least one word, for example: cat, sofa|couch, wall")
    _check_length(text, limits)
    words = Vocabulary.from_text(text)
    _check_count(len(words), "words", limits.words)
    _check_count(len(words.texts), "synonyms", limits.texts)
    longest = max(words.texts, key=len)
    if len(longest) > limits.word_characters:
        raise UserError(
            f"'{longest[:20]}...' has {len(longest)} characters; a word may have "
            f"{limits.word_characters}"
        )
    return words


def read_methods(lists: Sequence[object]) -> list[str]:
    """Read the ticked methods.

    Args:
        lists: one list of names per group on the page; None for an empty one.

    Raises:
        UserError: if it is something else.
    """
    groups = [names or [] for names in lists]
    if not all(isinstance(names, list) for names in groups):
        raise UserError("methods are names; reload the page")
    names = [name for group in groups if isinstance(group, list) for name in group]
    if not all(isinstance(name, str) for name in names):
        raise UserError("methods are names; reload the page")
    return names


def _check_length(text: str, limits: Limits) -> None:
    """Refuse before any time is spent on reading."""
    _check_count(len(text), "characters", limits.characters)
    _check_count(sum(map(text.count, ",\n")), "words", 2 * limits.words)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError("the words hold half of a character; type them anew") from error


def _check_count(number: int, things: str, most: int) -> None:
    if number > most:
        raise UserError(
            f"{number} {things} are more than this page takes ({most}); the command "
            "`ovsuite segment --words FILE` takes longer lists"
        )


def _check_pixels(path: Path, name: str, limits: Limits) -> None:
    """Refuse by the header, before a small file unpacks into gigabytes."""
    try:
        height, width = read_header(path).stored
    except UserError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UserError(_too_many(f"more than {pixel_limit():.4g}", name, limits)) from error
        raise UserError(
            f"{name} cannot be read as a picture; use JPEG, PNG, WebP, BMP, TIFF or GIF"
        ) from error
    millions = height * width / 1e6
    if millions > limits.megapixels:
        raise UserError(_too_many(f"{millions:.1f}", name, limits))


def _too_many(millions: str, name: str, limits: Limits) -> str:
    return (
        f"{name} has {millions} million pixels; this page takes up to {limits.megapixels:g} "
        "million. Make it smaller first"
    )
