"""How a word is written, and which words are one to a text tower."""

from __future__ import annotations

import html
import unicodedata


def tidy(word: str) -> str:
    """Write a word in Unicode's composed form (NFC), with single blanks between its parts."""
    return " ".join(unicodedata.normalize("NFC", word.replace("\ufeff", "")).split())


def is_empty(word: str) -> bool:
    """Whether nothing of a word can be seen."""
    return not any(letter.isprintable() and not letter.isspace() for letter in word)


def spelling(word: str) -> str:
    """Bring a word to what CLIP's tokenizer makes of it before it counts letters.

    Two words of one spelling have the same embedding: that tokenizer composes letters, takes
    full-width ones for plain ones, reads HTML's names of letters, and knows no capitals.
    """
    if not word.isascii() or "&" in word:
        import ftfy  # takes a third of a second, and most words are plain

        word = html.unescape(html.unescape(ftfy.fix_text(word)))
    return tidy(tidy(word).lower())  # casefold would make one of 'Maße' and 'Masse'


def other_scripts(word: str) -> bool:
    """Whether a word holds letters that are not Latin ones."""
    return any(
        letter.isalpha() and "LATIN" not in unicodedata.name(letter, "")
        for letter in unicodedata.normalize("NFKC", word)
    )
