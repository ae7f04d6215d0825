"""What a visitor gives: a picture and words, checked before any model runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from PIL import Image

from ..errors import UserError
from ..files.pictures import LoadedPicture, load_picture, read_header
from ..words.vocabulary import Vocabulary


@dataclass(frozen=True)
class Limits:
    """How much a visitor may send.

    Attributes:
        megabytes: size of a picture file.
        megapixels: millions of pixels of a picture.
        words: number of classes.
    """

    megabytes: float = 20
    megapixels: float = 25
    words: int = 1000


@dataclass(frozen=True)
class Upload:
    """A picture that passed the checks.

    Attributes:
        picture: its pixels, with the notes on them.
        stem: file name without folder and suffix, for names of downloads.
    """

    picture: LoadedPicture
    stem: str


def read_upload(payload: dict[str, Any] | None, limits: Limits) -> Upload:
    """Read the picture that the page's picture field holds.

    Args:
        payload: gradio's file record with ``path`` and ``orig_name``; None if the field is empty.
        limits: what is accepted.

    Raises:
        UserError: if there is no picture, or it is too large or cannot be decoded.
    """
    if not payload or not payload.get("path"):
        raise UserError("add a picture first: drop a file, paste one, or pick an example")
    path = Path(payload["path"])
    name = PureWindowsPath(payload.get("orig_name") or path.name).name  # knows both separators
    if not path.is_file():
        raise UserError(f"{name} is no longer here, uploads are kept for a while; add it again")
    megabytes = path.stat().st_size / 2**20
    if megabytes > limits.megabytes:
        raise UserError(
            f"{name} has {megabytes:.1f} MB; this page takes up to {limits.megabytes:g} MB"
        )
    _check_pixels(path, name, limits)
    try:
        return Upload(load_picture(path), Path(name).stem or "picture")
    except UserError as error:  # the visitor knows the name of the file, not where it was put
        raise UserError(str(error).replace(str(path), name)) from error


def read_words(text: str | None, limits: Limits) -> Vocabulary:
    """Read typed words. A visitor must not read files of this machine, so none is ever opened.

    Args:
        text: see ``Vocabulary.from_text``.
        limits: what is accepted.

    Raises:
        UserError: if there is no word, an empty or repeated one, or too many.
    """
    if not (text or "").strip(" ,\n"):
        raise UserError("type at least one word, for example: cat, sofa|couch, wall")
    words = Vocabulary.from_text(text or "")
    if len(words) > limits.words:
        raise UserError(
            f"{len(words)} words are more than this page takes ({limits.words}); the command "
            "`ovsuite segment --words FILE` takes longer lists"
        )
    return words


def _check_pixels(path: Path, name: str, limits: Limits) -> None:
    """Refuse by the header, before a small file unpacks into gigabytes."""
    try:
        height, width = read_header(path).stored
    except UserError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):
            raise UserError(_too_many("far more than a hundred", name, limits)) from error
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
