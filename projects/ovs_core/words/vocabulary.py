"""The words a picture is labelled with: names, synonyms, background words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .parsing import Names, check_list, names_a_file, read_class_file, read_word_file, split_text
from .spelling import is_empty, spelling, tidy

SYNONYM_MARK = re.compile("[|｜]")  # noqa: RUF001  (full-width, as full-width commas are)
BACKGROUND_MARK = re.compile("background *[:：]", re.IGNORECASE)  # noqa: RUF001  (likewise)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One class.

    Attributes:
        name: shown to the person.
        synonyms: the texts that are encoded; at least one.
        is_background: whether pixels of this class count as background.
        is_thing: whether its segments are counted one by one (panoptic); None if nothing is known.
    """

    name: str
    synonyms: tuple[str, ...]
    is_background: bool = False
    is_thing: bool | None = None


class Vocabulary(Sequence[Entry]):
    """An ordered list of classes.

    Use one of the ``from_*`` constructors, or ``parse`` for anything a person may give.

    Args:
        entries: the classes.
        notes: how the words were read, for who looks at a result; they make no two vocabularies
            unequal.

    Raises:
        UserError: if there is no entry, or a name is empty.
    """

    def __init__(self, entries: Iterable[Entry], *, notes: Sequence[str] = ()) -> None:
        self._entries = tuple(entries)
        self.notes = tuple(notes)
        if not self._entries:
            raise UserError("the vocabulary is empty; give at least one name")
        for position, entry in enumerate(self._entries):
            texts = (entry.name, *entry.synonyms)
            if not entry.synonyms or not all(text.strip() for text in texts):
                raise UserError(f"name {position + 1} of the vocabulary is empty ({entry.name!r})")

    @classmethod
    def parse(cls, words: Vocabulary | str | Path | Sequence[str]) -> Vocabulary:
        """Read a person's words, and tell the log how what can be read in two ways was read.

        Args:
            words: a vocabulary (given back), a list of names, text as ``from_text`` takes it, or
                the path of a file of such text: a string is one if it ends in ``.txt``, ``.csv`` or
                ``.json``, or holds a separator of folders and there is such a file.
                ``"sofa|couch"`` gives synonyms, ``"background: wall"`` a background word.

        Raises:
            UserError: if there is no name, or none but background words, a name is empty or
                repeated, or the file cannot be read.
        """
        if isinstance(words, Vocabulary):
            return words
        if isinstance(words, Path) or (isinstance(words, str) and names_a_file(words)):
            read = cls.from_file(words)
        else:
            read = cls.from_text(words) if isinstance(words, str) else cls.from_list(words)
        for note in read.notes:
            logger.warning("%s", note)
        return read

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """Read typed names; the text is never taken for the name of a file.

        Args:
            text: see ``parsing.py``.

        Raises:
            UserError: as ``parse``.
        """
        return cls._of_a_person(split_text(text))

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """Read names as a person types them, see ``parse``; commas in them separate nothing.

        Raises:
            UserError: as ``parse``, or if a name is no text.
        """
        return cls._of_a_person(check_list(words))

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Read the names of a file, see ``parsing.py``.

        Raises:
            UserError: as ``parse``; names the file.
        """
        read = read_word_file(path)
        try:
            return cls._of_a_person(read)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @classmethod
    def from_class_file(cls, path: str | Path) -> Vocabulary:
        """Read the classes of a dataset, whose places in the file are label values.

        Raises:
            UserError: as ``from_file``, and for a line whose place is unclear.
        """
        names = read_class_file(path)
        try:
            return cls._of_a_person(names)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @classmethod
    def _of_a_person(cls, read: Names) -> Vocabulary:
        entries = [_parse_entry(word) for word in read.names]
        _refuse_repeated(entries)
        if entries and all(entry.is_background for entry in entries):
            raise UserError(
                "the vocabulary holds background words alone; name at least one thing to find"
            )
        vocabulary = cls(entries)
        shared = vocabulary.shared_synonyms().items()
        also = [f"'{text}' stands for several classes: {', '.join(of)}" for text, of in shared]
        return cls(entries, notes=(*read.notes, *also))

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        *,
        synonyms: Sequence[Sequence[str]] | None = None,
        background_words: Sequence[str] = (),
        background: Sequence[int] = (),
        things: Sequence[int] | None = None,
    ) -> Vocabulary:
        """Take the classes of a dataset as they are, without reading marks in the names.

        Args:
            names: K display names.
            synonyms: K lists of texts to encode; default the name alone. Classes may share a
                synonym, as published lists do (see ``shared_synonyms``).
            background_words: extra background entries behind the classes.
            background: indices of the classes that are background themselves.
            things: indices of the countable classes; None if nothing is known.
        """
        texts = [[name] for name in names] if synonyms is None else synonyms
        countable = None if things is None else set(things)
        entries = [
            Entry(name, tuple(text), i in background, None if countable is None else i in countable)
            for i, (name, text) in enumerate(zip(names, texts, strict=True))
        ]
        entries += [Entry(word, (word,), is_background=True) for word in background_words]
        return cls(entries)

    @property
    def names(self) -> list[str]:
        """Display names, K."""
        return [entry.name for entry in self._entries]

    @property
    def texts(self) -> list[str]:
        """All synonyms of all classes in order, E >= K."""
        return [text for entry in self._entries for text in entry.synonyms]

    @property
    def class_index(self) -> list[int]:
        """For each of the E texts, the class it belongs to."""
        return [i for i, entry in enumerate(self._entries) for _ in entry.synonyms]

    @property
    def background_index(self) -> list[int]:
        """Indices of the background entries."""
        return [i for i, entry in enumerate(self._entries) if entry.is_background]

    @property
    def has_synonyms(self) -> bool:
        """Whether any class is described by more than one text."""
        return any(len(entry.synonyms) > 1 for entry in self._entries)

    def shared_synonyms(self) -> dict[str, list[str]]:
        """Texts that several classes share -> the names of those classes."""
        owners: dict[str, list[str]] = {}
        for entry in self._entries:
            for text in dict.fromkeys(map(spelling, entry.synonyms)):
                owners.setdefault(text, []).append(entry.name)
        return {text: names for text, names in owners.items() if len(names) > 1}

    def prompts(self, templates: Sequence[str]) -> list[str]:
        """Fill every text into every template: E * T prompts, templates fastest."""
        return [template.format(text) for text in self.texts for template in templates]

    def __len__(self) -> int:
        """Number of classes K."""
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:  # type: ignore[override]
        """Class ``index``."""
        return self._entries[index]

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over the classes."""
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        """Equal when the entries are."""
        return isinstance(other, Vocabulary) and self._entries == other._entries

    def __hash__(self) -> int:
        """Hash of the entries."""
        return hash(self._entries)

    def __repr__(self) -> str:
        """Short form for logs."""
        return f"Vocabulary({len(self)} classes: {', '.join(self.names[:3])}, ...)"


def _parse_entry(word: str) -> Entry:
    if not isinstance(word, str):
        raise UserError(f"a vocabulary holds names, but got {word!r}; put it in quotes")
    text = tidy(word)
    mark = BACKGROUND_MARK.match(text)
    synonyms = tuple(map(tidy, SYNONYM_MARK.split(text[mark.end() :] if mark else text)))
    if any(map(is_empty, synonyms)):
        raise UserError(f"the vocabulary holds an empty name ({word!r}); remove it")
    return Entry(synonyms[0], synonyms, mark is not None)


def _refuse_repeated(entries: Sequence[Entry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        key = spelling(entry.name)
        if key in seen:
            also = "" if seen[key] == entry.name else f" (also as {entry.name!r})"
            raise UserError(
                f"the vocabulary names {seen[key]!r} more than once{also}; remove the repetition"
            )
        seen[key] = entry.name
