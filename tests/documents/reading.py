"""Documents as their blocks and commands.

A comment above a block says what is special: ``<!-- not run: why -->`` for a block that is checked
but not run, ``<!-- file: name -->`` for one that is the content of a file.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "datasets", "docs", "projects/*", "projects/ovs_core/**")
    for path in ROOT.glob(f"{folder}/*.md")
    if ".venv" not in path.parts
)
# Their blocks run from top to bottom, as a reader would; those of the others are checked.
RUN = ("README.md", "GETTING_STARTED.md", "MODEL_ZOO.md", "docs/recipes.md")

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>(?:(?!-->).)*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        place: document and line, for messages.
        language: of the fence; "" if it names none.
        text: without the fences.
        note: the comment above it.
    """

    place: str
    language: str
    text: str
    note: str

    @property
    def runs(self) -> bool:
        return not self.note.startswith("not run")

    @property
    def file(self) -> str:
        return self.note.removeprefix("file: ") if self.note.startswith("file: ") else ""


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str) -> list[Block]:
    text = read(document)
    return [
        Block(
            f"{document}:{text.count(chr(10), 0, match.start()) + 1}",
            match["language"],
            match["text"],
            match["note"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]


def prose(document: str) -> str:
    """The text without its fenced blocks."""
    return _BLOCK.sub("", read(document))


def commands(block: Block) -> list[list[str]]:
    """The command lines of a block of shell, split into words, comments left out."""
    if block.language not in ("bash", ""):
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines if not _is_tree(line)]
    return [words for words in found if words]


def _is_tree(line: str) -> bool:
    return any(mark in line for mark in "├└│")


def documented_messages() -> list[re.Pattern[str]]:
    """What the documents say that a reader may see: rows of their tables *what you see*.

    ``...`` stands for anything.
    """
    found = []
    for document in DOCUMENTS:
        for table in re.findall(r"^\| what you see \|.*\n(?:\|.*\n)*", read(document), flags=re.M):
            for cell in re.findall(r"^\| (.+?) \|", table, flags=re.M)[2:]:
                parts = [re.escape(part) for part in cell.replace("`", "").split("...")]
                found.append(re.compile(".*".join(parts)))
    return found


def undocumented(errors: str) -> list[str]:
    """Lines of a standard error that no document explains; bars of progress are no messages."""
    known = documented_messages()
    lines = [line.split("\r")[-1].strip() for line in errors.splitlines()]
    return [
        line
        for line in lines
        if line
        and not re.search(r"\d+(%\|| \S*/s|\?\w+/s)|\d+\w* \[\d\d:\d\d", line)
        and not any(pattern.search(line) for pattern in known)
    ]
