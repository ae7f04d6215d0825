"""Words that are spelled one way."""

import re

from .source import ROOT, expect_none

TEXTS = ("*.py", "*.md", "*.yaml", "*.yml", "*.cfg", "*.toml", "Makefile")
FOLDERS = ("projects", "tools", "datasets", "configs", "docs", "tests", ".github")


def texts():
    for pattern in TEXTS:
        yield from ROOT.glob(pattern)
        for folder in FOLDERS:
            yield from (p for p in (ROOT / folder).rglob(pattern) if "__pycache__" not in p.parts)


def test_dataset_is_one_word():
    """Across the ends of lines and of strings too."""
    two_words = re.compile(r"\bdata[\s#\"']+sets?\b", re.I)
    found = [
        f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
        for path in texts()
        for text in [path.read_text(encoding="utf-8")]
        for match in two_words.finditer(text)
    ]
    expect_none(found)
