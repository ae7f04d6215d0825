"""Where Detectron2 is taken from, and what is changed in it: for ``install_detectron2.py``.

``git`` is the official repository at a pinned commit. ``pypi`` is the copy that the wheel of
another project carries under another name; the wheel is checked against a pinned checksum.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

GIT_URL = "https://github.com/facebookresearch/detectron2.git"
GIT_COMMIT = "fd27788985af0f4ca800bca563acdb700bb890e2"
CONNECT_TIMEOUT_S = 15
FETCH_TIMEOUT_S = 600

CARRIER = "labgym==3.1.2"
CARRIER_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"
CARRIER_FOLDER = "LabGym/detectron2/"
CARRIER_NAME = "LabGym.detectron2"
CARRIER_NOTICE = "LabGym/NOTICE.txt"


class InstallError(Exception):
    """Something a person has to mend; the message says what."""


class UnreachableError(InstallError):
    """A source that did not answer; another one may."""


@dataclass(frozen=True)
class Patch:
    """One change to a file of Detectron2.

    Attributes:
        path: the file, relative to the package.
        old: text that occurs once in it.
        new: what stands there afterwards; a comment in it says that it was changed.
        why: the reason, kept in the record of the installed package.
    """

    path: str
    old: str
    new: str
    why: str


PATCHES = (
    Patch(
        path="evaluation/sem_seg_evaluation.py",
        old="array = np.array(Image.open(f), copy=copy, dtype=dtype)",
        new=(
            "# Changed by OVSuite: NumPy 2 refuses copy=False where a copy is needed.\n"
            "        array = np.array(Image.open(f), dtype=dtype)"
        ),
        why="SemSegEvaluator could not read a label file with NumPy 2 (ValueError)",
    ),
    Patch(
        path="engine/defaults.py",
        old='    if "device_ids" not in kwargs:\n',
        new=(
            "    # Changed by OVSuite: a model on the CPU takes no device_ids.\n"
            '    on_gpu = any(p.device.type == "cuda" for p in model.parameters())\n'
            '    if "device_ids" not in kwargs and on_gpu:\n'
        ),
        why="DefaultTrainer could not train in several processes on CPUs (ValueError)",
    ),
)


@dataclass(frozen=True)
class Source:
    """Where Detectron2 is taken from.

    Attributes:
        name: the value of ``--source``.
        origin: what is fetched, for people.
        pin: the commit or checksum that its content must have.
        fetch: puts the package into ``folder / "detectron2"``, given the source and the folder.
        note: what NOTICE says about how the files came here.
    """

    name: str
    origin: str
    pin: str
    fetch: Callable[[Source, Path], None]
    note: str

    def record(self) -> dict[str, object]:
        """Give what identifies this source and what is done to it."""
        recipe = hashlib.sha256(repr(PATCHES).encode()).hexdigest()[:12]
        return {"source": self.name, "origin": self.origin, "pin": self.pin, "recipe": recipe}


def run(command: Sequence[str | Path], what: str, timeout: float | None = None) -> str:
    """Run a command quietly.

    Args:
        command: the program and its arguments.
        what: the step in words, for the error.
        timeout: seconds after which it is given up.

    Returns:
        Its standard output.

    Raises:
        InstallError: it failed, is not installed or took too long.
    """
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise InstallError(f"{what}: the program '{command[0]}' is not installed") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"{what}: no answer within {timeout:.0f} seconds") from None
    if done.returncode != 0:
        raise InstallError(f"{what}: {_last_words(done.stderr or done.stdout)}")
    return done.stdout


def _last_words(output: str, lines: int = 3) -> str:
    """Keep what a program said last, its lines marked as errors before all others."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in said if line.lower().startswith(("error", "fatal"))]
    return " | ".join((errors or said)[-lines:]) or "no reason given"


def pip(*arguments: str | Path, what: str) -> None:
    """Run pip of this Python, with the person's own configuration of it."""
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], what)


def fetch_git(source: Source, folder: Path) -> None:
    """Fetch the pinned commit and lay its Python files out as Detectron2's own setup does."""
    clone = folder / "clone"
    try:
        run(["git", "ls-remote", source.origin, "HEAD"], "git ls-remote", CONNECT_TIMEOUT_S)
        run(["git", "init", "--quiet", clone], "git init")
        stall = ["-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={CONNECT_TIMEOUT_S}"]
        fetch = ["fetch", "--quiet", "--depth", "1", source.origin, source.pin]
        run(["git", *stall, "-C", clone, *fetch], "git fetch", FETCH_TIMEOUT_S)
    except InstallError as error:
        raise UnreachableError(str(error)) from None
    checkout = ["checkout", "--quiet", source.pin]
    run(["git", "-c", "core.autocrlf=false", "-C", clone, *checkout], "git checkout")
    package = folder / "detectron2"
    no_sources = shutil.ignore_patterns("csrc")
    shutil.copytree(clone / "detectron2", package, ignore=no_sources)
    shutil.copytree(clone / "configs", package / "model_zoo" / "configs", dirs_exist_ok=True)
    for place in ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab"):
        target = package / "projects" / Path(place).name
        shutil.copytree(clone / "projects" / place, target)


def fetch_pypi(source: Source, folder: Path) -> None:
    """Download the carrying wheel, check it, and take Detectron2 out of it under its own name."""
    wanted = ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:"]
    try:
        pip("download", *wanted, "--dest", folder / "carrier", source.origin, what="pip download")
    except InstallError as error:
        raise UnreachableError(str(error)) from None
    (wheel,) = (folder / "carrier").glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != source.pin:
        raise InstallError(
            f"{wheel.name} is not the file that this tool expects, so it was not used.\n"
            f"  expected sha256 {source.pin}\n  received sha256 {digest}\n"
            "Find out which package index answered (pip config list; pip download -v "
            f"{source.origin}): it serves a changed or damaged file."
        )
    _extract(wheel, folder)


def _extract(wheel: Path, folder: Path) -> None:
    """Unpack the Detectron2 folder of the carrying wheel and give the package its name back."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(CARRIER_FOLDER)]
        archive.extractall(folder / "unpacked", [*members, CARRIER_NOTICE])
    shutil.move(folder / "unpacked" / CARRIER_NOTICE, folder / "NOTICE.carrier")
    package = shutil.move(folder / "unpacked" / CARRIER_FOLDER, folder / "detectron2")
    for path in Path(package).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            path.write_bytes(content.replace(CARRIER_NAME.encode(), b"detectron2"))


SOURCES = {
    "git": Source(
        name="git",
        origin=GIT_URL,
        pin=GIT_COMMIT,
        fetch=fetch_git,
        note=f"The files come from {GIT_URL} at commit {GIT_COMMIT}.",
    ),
    "pypi": Source(
        name="pypi",
        origin=CARRIER,
        pin=CARRIER_SHA256,
        fetch=fetch_pypi,
        note=(
            f"The files come from the folder {CARRIER_FOLDER} of the wheel {CARRIER} on PyPI\n"
            f"(sha256 {CARRIER_SHA256}).\nNothing else of that wheel was taken. The package name "
            f"{CARRIER_NAME} in them was changed back\nto detectron2."
        ),
    ),
}


def apply_patches(package: Path) -> dict[str, str]:
    """Make the changes listed in `PATCHES`, except where the source is mended already.

    Args:
        package: the folder of Detectron2.

    Returns:
        The changed files, each with the reason.
    """
    changes = {}
    for patch in PATCHES:
        path = package / patch.path
        text = path.read_text(encoding="utf-8")
        if text.count(patch.old) == 1:
            path.write_text(text.replace(patch.old, patch.new), encoding="utf-8")
            changes[patch.path] = patch.why
    return changes
