"""The words a picture is labelled with: names, synonyms, background words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

SYNONYM_MARK = "|"
BACKGROUND_MARK = "background:"


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

    Raises:
        UserError: if there is no entry, or a name is empty.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        if not self._entries:
            raise UserError("the vocabulary is empty; give at least one name")
        for position, entry in enumerate(self._entries):
            texts = (entry.name, *entry.synonyms)
            if not entry.synonyms or not all(text.strip() for text in texts):
                raise UserError(f"name {position + 1} of the vocabulary is empty ({entry.name!r})")

    @classmethod
    def parse(cls, words: Vocabulary | str | Path | Sequence[str]) -> Vocabulary:
        """Read a person's words.

        Args:
            words: a vocabulary (given back), a list of names, text as ``from_text`` takes it, or
                the path of a text file with one name per line (``#`` starts a comment).
                ``"sofa|couch"`` gives synonyms, ``"background: wall"`` a background word.

        Raises:
            UserError: if a name is empty or repeated, or the file cannot be read.
        """
        if isinstance(words, Vocabulary):
            return words
        if isinstance(words, Path) or (isinstance(words, str) and _is_file(words)):
            return cls.from_file(Path(words))
        return cls.from_text(words) if isinstance(words, str) else cls.from_list(words)

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """Read typed names; the text is never taken for the name of a file.

        Args:
            text: names separated by commas or line ends; a line may end in a comma.

        Raises:
            UserError: if there is no name, or one is empty or repeated.
        """
        lines = (line.strip().removesuffix(",").strip() for line in text.splitlines())
        return cls.from_list([word for line in lines if line for word in line.split(",")])

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """Read names as a person types them, see ``parse``.

        Raises:
            UserError: if a name is no text, empty or repeated.
        """
        entries = [_parse_entry(word) for word in words]
        repeated = [n for n, c in Counter(e.name.casefold() for e in entries).items() if c > 1]
        if repeated:
            raise UserError(
                f"the vocabulary names {repeated[0]!r} more than once; remove the repetition"
            )
        return cls(entries)

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Read one name per line.

        Raises:
            UserError: if the file cannot be read or holds no name.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot read the word list ({error})") from error
        words = [line.split("#")[0].strip() for line in lines]
        try:
            return cls.from_list([word for word in words if word])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    @classmethod
    def from_names(
        cls,
        names: Sequence[str],
        *,
        synonyms: Sequence[Sequence[str]] | None = None,
        background_words: Sequence[str] = (),
        things: Sequence[int] | None = None,
    ) -> Vocabulary:
        """Take the classes of a dataset as they are, without reading marks in the names.

        Args:
            names: K display names.
            synonyms: K lists of texts to encode; default the name alone. Classes may share a
                synonym, as published lists do (see ``shared_synonyms``).
            background_words: extra background entries behind the classes.
            things: indices of the countable classes; None if nothing is known.
        """
        texts = [[name] for name in names] if synonyms is None else synonyms
        countable = None if things is None else set(things)
        entries = [
            Entry(name, tuple(text), is_thing=None if countable is None else i in countable)
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
            for text in dict.fromkeys(entry.synonyms):
                owners.setdefault(text.casefold(), []).append(entry.name)
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
        raise UserError(f"a vocabulary holds names, but got {word!r}")
    text = word.strip()
    is_background = text.casefold().startswith(BACKGROUND_MARK)
    text = text[len(BACKGROUND_MARK) :] if is_background else text
    synonyms = tuple(part.strip() for part in text.split(SYNONYM_MARK))
    if not all(synonyms):
        raise UserError(f"the vocabulary holds an empty name ({word!r}); remove it")
    return Entry(synonyms[0], synonyms, is_background)


def _is_file(text: str) -> bool:
    return text.endswith(".txt") or ("," not in text and len(text) < 256 and Path(text).is_file())
