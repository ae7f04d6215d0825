"""Pages of the site: the suite's own documents where they lie, and the docstrings.

MkDocs calls ``on_files``. Documents keep their paths, so that the links between them hold; only
links to folders and to code, which have no page, are changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = "reference/"
KEYS = "config_keys.md"
INTRODUCTION = (
    "Numbers and lists of the suite's configs, and what they may be. A value outside is refused "
    "when the config is loaded. [Getting started](GETTING_STARTED.md) says what the keys mean that "
    "all methods share; those of a method are explained in `projects/<method>/config.py`."
)
_LINK = re.compile(r"(!?)\[((?:[^\]\[]|\[[^\]]*\])*)\]\((?!https?://|#)([^)\s]+)\)")


def pages(nav: list[Any]) -> Iterator[str]:
    """The pages that a navigation names, from top to bottom."""
    for entry in nav:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            else:
                yield from pages(value)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page of the navigation and the pictures that the documents show."""
    assert config.nav
    listed = list(pages(config.nav))
    for name in listed:
        files.append(File.generated(config, name, content=page(name, listed)))
    for path in sorted((ROOT / "docs").iterdir()):
        if path.suffix in (".png", ".jpg"):
            files.append(File.generated(config, f"docs/{path.name}", abs_src_path=str(path)))
    return files


def page(name: str, listed: list[str]) -> str:
    """The text of a page of the navigation."""
    if name == KEYS:
        return config_keys()
    return reference(name) if name.startswith(REFERENCE) else document(name, listed)


def config_keys() -> str:
    """The page of all keys whose range the packages state, with their defaults."""
    from ovs_core.engine.config import dotted_keys, get_ovs_cfg
    from ovs_core.methods.ranges import declared_ranges

    defaults = dict(dotted_keys(get_ovs_cfg()))
    rows = [
        f"| `{key}` | `{defaults[key]!r}` | {allowed} |"
        for key, allowed in declared_ranges().items()
    ]
    head = [
        "# Config keys",
        "",
        INTRODUCTION,
        "",
        "| key | default | range |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


def reference(name: str) -> str:
    """The page of a module or package: mkdocstrings fills it with its public names."""
    module = name.removeprefix(REFERENCE).removesuffix(".md")
    return f"---\ntitle: {module}\n---\n\n::: {module}\n    options:\n      heading_level: 1\n"


def document(name: str, listed: list[str]) -> str:
    """The text of one of the suite's documents, its links led to pages.

    Args:
        name: path in the suite's folder.
        listed: the paths that have a page.

    Raises:
        PluginError: a link leads to nothing.
    """
    folder = PurePosixPath(name).parent

    def lead(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        path, _, anchor = target.partition("#")
        found = normpath(folder / path)
        if not (ROOT / found).exists():
            raise PluginError(f"{name}: {target} does not exist")
        if picture or found in listed:
            return match[0]
        if f"{found}/README.md" in listed:
            return f"[{text}]({path}/README.md{'#' * bool(anchor)}{anchor})"
        return text  # code: its name says where it lies

    return _LINK.sub(lead, (ROOT / name).read_text(encoding="utf-8"))
