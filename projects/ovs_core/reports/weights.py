"""All weights that the configs can use: what is known of them, and whether they are here.

What a registry states and what only a page says is kept apart, and what nobody states is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..clip.architectures import EMBEDDED
from ..clip.fetching import hub_sha256
from ..clip.loading import find_weights
from ..clip.published import PublishedFile, find_published, published_files, timm_files
from ..errors import UserError, nearest
from ..files.network import fetch_file, why_unreachable
from ..files.weights_folder import find_in_weights_folder, weights_folder
from ..methods.published_lists import Statement, read_statements
from .catalog import offers

OWN_LICENCE = "Apache-2.0"  # of what the suite ships
SHIPPED = "the suite"


@dataclass(frozen=True)
class WeightEntry:
    """Weights that a config can use. What nobody states is empty.

    Attributes:
        name: what ``fetch_weights`` takes.
        kind: ``tower``, ``backbone`` or ``checkpoint``.
        files: any of which will do, the first one best; empty if no address is known.
        page: that leads to the file, where no address of it is known.
        stated_by: who says so.
        licence: of the weights.
        configs: short names of configs that use it.
        found: where it is on this disk; None if it is not.
        looked_for: where it goes.
    """

    name: str
    kind: str
    files: tuple[PublishedFile, ...] = ()
    page: str = ""
    stated_by: str = ""
    licence: str = ""
    configs: tuple[str, ...] = ()
    found: Path | None = None
    looked_for: Path | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the file on this disk; nobody states it beforehand."""
        return None if self.found is None else self.found.stat().st_size

    @property
    def sha256(self) -> str:
        """How the SHA-256 of one of the files begins, as it is stated."""
        return next((file.sha256 for file in self.files if file.sha256), "")


def list_weights() -> list[WeightEntry]:
    """List the towers, backbones and published checkpoints of all configs, with what is known."""
    users: dict[tuple[str, str], list[str]] = {}
    for offer in offers():
        users.setdefault((offer.architecture, offer.pretrained), []).append(offer.name)
    towers = [
        replace(_tower(*names), configs=tuple(configs)) for names, configs in sorted(users.items())
    ]
    return towers + [_stated(statement) for statement in read_statements()]


def find_entry(name: str) -> WeightEntry:
    """Find weights by name.

    Args:
        name: of ``list_weights``, or any ``ARCHITECTURE/TAG`` of open_clip, or ``timm/MODEL``.

    Raises:
        UserError: if there are none of that name; the nearest is named.
    """
    stated = {statement.name: statement for statement in read_statements()}
    if name in stated:
        return _stated(stated[name])
    if name.startswith("timm/") and (files := timm_files(name.removeprefix("timm/"))):
        return _registered(WeightEntry(name, "backbone", stated_by="timm"), files)
    architecture, _, tag = name.partition("/")
    if architecture in EMBEDDED or published_files(architecture, tag):
        return _tower(architecture, tag)
    known = [entry.name for entry in list_weights()]
    raise UserError(f"no weights named '{name}'.{nearest(name, known)} `ovsuite weights` lists all")


@dataclass(frozen=True)
class Fetched:
    """Weights that are on this disk now.

    Attributes:
        path: the file.
        size: how many bytes were fetched; 0 if it was there.
        sha256: of what was fetched.
        verified: whether somebody states this SHA-256, or how it begins.
    """

    path: Path
    size: int = 0
    sha256: str = ""
    verified: bool = False


def fetch_weights(name: str) -> Fetched:
    """Fetch weights into the weights folder, unless they are on this disk.

    Args:
        name: as for ``find_entry``.

    Returns:
        The file, and what was fetched.

    Raises:
        UserError: if it is unknown where they are, they cannot be reached, or what comes is not
            what was published.
    """
    entry = find_entry(name)
    if entry.found is not None:
        return Fetched(entry.found)
    if not entry.files:
        place = f" and put the file at {entry.looked_for}" if entry.looked_for else ""
        raise UserError(
            f"{name}: a program cannot fetch it; open {entry.page}{place}, or name it where you "
            "use it: --weights /path/to/file"
        )
    # A file whose checksum is known beforehand comes first.
    ordered = sorted(entry.files, key=lambda file: not file.sha256)
    failures = []
    for file in ordered:
        try:
            return _fetch(file)
        except UserError as error:
            failures.append(str(error))
    raise UserError(
        f"{name}: could not be fetched ({'; '.join(failures)}); bring one of these files to "
        f"{weights_folder() / ordered[0].name} with its suffix"
    )


def _fetch(file: PublishedFile) -> Fetched:
    if reason := why_unreachable(file.url):
        raise UserError(f"{file.url}: {reason}")
    stated = file.sha256 or hub_sha256(file)
    target = weights_folder() / file.place
    size, found = fetch_file(file.url, target, sha256=stated)
    return Fetched(target, size, found, verified=bool(stated))


def _tower(architecture: str, tag: str) -> WeightEntry:
    if architecture in EMBEDDED:
        found = find_weights(architecture)
        return WeightEntry(
            architecture, "tower", stated_by=SHIPPED, licence=OWN_LICENCE, found=found
        )
    files = published_files(architecture, tag)
    entry = _registered(WeightEntry(f"{architecture}/{tag}", "tower", stated_by="open_clip"), files)
    return replace(entry, found=find_weights(architecture, tag))


def _stated(statement: Statement) -> WeightEntry:
    entry = WeightEntry(
        statement.name, statement.kind, page=statement.page, stated_by=statement.stated_by,
        licence=statement.licence, configs=statement.configs,
    )  # fmt: skip
    if statement.timm:
        return _registered(replace(entry, stated_by="timm"), timm_files(statement.timm))
    if statement.url:
        file = PublishedFile(statement.name, statement.url, statement.file, statement.sha256)
        return _registered(entry, [file])
    if not statement.file:
        return entry
    path = find_in_weights_folder(statement.file)
    place = weights_folder() / statement.file
    return replace(entry, found=path if path.is_file() else None, looked_for=place)


def _registered(entry: WeightEntry, files: Sequence[PublishedFile]) -> WeightEntry:
    found = find_published(files)
    return replace(
        entry,
        files=tuple(files),
        licence=entry.licence or _first(file.licence for file in files),
        found=None if found is None else found[1],
        looked_for=weights_folder() / files[0].place if files else None,
    )


def _first(texts: Iterable[str]) -> str:
    return next((text for text in texts if text), "")
