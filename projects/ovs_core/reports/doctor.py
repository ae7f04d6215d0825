"""Looking over an installation. Nothing is loaded before it is known to be there."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ..errors import UserError

NAME = "ovsuite"
INSTALL = "pip install -e . && python tools/install_detectron2.py"
SHOWN = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class Condition:
    """One line of the report.

    Attributes:
        text: what was found.
        good: False if the suite cannot work like this, None for what only some uses need.
        mend: command or step that mends it.
    """

    text: str
    good: bool | None = True
    mend: str = ""


def examine() -> Iterator[tuple[str, list[Condition]]]:
    """Look everything over, part by part.

    Yields:
        Title and findings. Parts that need a package which is missing are left out.
    """
    packages = find_packages()
    yield "packages", packages
    detectron2 = find_detectron2()
    yield "Detectron2", detectron2
    yield "extras", find_extras()
    if any(finding.good is False for finding in packages + detectron2):
        return
    yield "devices", find_devices()
    yield "CLIP weights", find_clips()
    yield "datasets", find_datasets()
    yield "folders", find_folders()


def find_packages() -> list[Condition]:
    """The suite itself, Python, and what setup.cfg requires."""
    found = [Condition(f"Python {platform.python_version()} on {platform.platform()}")]
    try:
        requirements = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        return [*found, Condition(f"{NAME} is not installed", False, INSTALL)]
    needed = [_package(line) for line in requirements if "extra ==" not in line]
    missing = [name for name in needed if _version(name) is None]
    versions = ", ".join(f"{name} {_version(name)}" for name in SHOWN if _version(name))
    found.append(Condition(f"{NAME} {_version(NAME)}; {versions}"))
    found += [
        Condition(f"{name} is not installed", False, f"pip install {name}") for name in missing
    ]
    return found


def find_detectron2() -> list[Condition]:
    """Where the installed Detectron2 comes from."""
    mend = "python tools/install_detectron2.py"
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return [Condition("not installed", False, mend)]
    record = Path(spec.origin).with_name("_ovs_source.json")
    if not record.is_file():
        return [Condition(f"{_version('detectron2')}, installed by other means: {spec.origin}")]
    source = json.loads(record.read_text())
    return [
        Condition(
            f"{_version('detectron2')} from {source['origin']} ({source['source']}), "
            f"{len(source['changes'])} changes listed in {record}"
        )
    ]


def find_extras() -> list[Condition]:
    """The optional parts of setup.cfg."""
    found: list[Condition] = []
    try:
        requirements = metadata.requires(NAME) or []
        extras = metadata.metadata(NAME).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return found
    for extra in extras:
        lines = [line for line in requirements if re.search(rf"extra == ['\"]{extra}['\"]", line)]
        names = [_package(line) for line in lines]
        if NAME in names:  # a sum of other extras, which stand for themselves
            continue
        missing = [name for name in names if _version(name) is None]
        state = f"missing {', '.join(missing)}" if missing else "installed"
        mend = f"pip install -e '.[{extra}]'" if missing else ""
        found.append(Condition(f"{extra}: {state}", None if missing else True, mend))
    return found


def find_devices() -> list[Condition]:
    """CPU cores and GPUs."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [Condition(f"CPU with {cores} cores, {torch.get_num_threads()} threads for PyTorch")]
    if not torch.cuda.is_available():
        reason = f"PyTorch is built for CUDA {torch.version.cuda}" if torch.version.cuda else (
            "PyTorch is built for the CPU"
        )  # fmt: skip
        return [*found, Condition(f"no GPU can be used; {reason}", None)]
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        found.append(Condition(f"cuda:{index} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB"))
    return found


def find_clips() -> list[Condition]:
    """The CLIPs that the suite's configs stand on, and where their weights are."""
    from ..clip.loading import find_weights
    from .catalog import offers

    users: dict[tuple[str, str], list[str]] = {}
    for offer in offers():
        users.setdefault((offer.architecture, offer.pretrained), []).append(offer.name)
    found = []
    for (architecture, pretrained), configs in sorted(users.items()):
        path = find_weights(architecture, pretrained)
        title = f"{architecture} {pretrained}".strip()
        used = f"{len(configs)} configs, such as {configs[0]}"
        if path is not None:
            found.append(Condition(f"{title}: {path} ({used})"))
            continue
        mend = f"fetched on first use, or by `ovsuite weights get {title.replace(' ', '/')}`"
        good = None if pretrained else False  # the embedded ones belong to the suite
        found.append(Condition(f"{title}: not on this disk ({used})", good, mend))
    return found


def find_datasets() -> list[Condition]:
    """The benchmarks below ``DETECTRON2_DATASETS``."""
    from ..data.benchmarks import datasets_root, load_benchmarks, locate

    root = datasets_root()
    found = [Condition("embedded world: drawn on this machine when it is needed")]
    missing: dict[str, list[str]] = {}
    for benchmark in load_benchmarks().values():
        for split in benchmark.splits:
            try:
                (first, *_) = locate(benchmark, split, root)
                found.append(Condition(f"{benchmark.name}_{split}: {first.images}"))
            except UserError:
                missing.setdefault(benchmark.name, []).append(split)
    if missing:
        state = "" if root.is_dir() else ", which does not exist"
        names = ", ".join(f"{name} ({', '.join(splits)})" for name, splits in missing.items())
        mend = "datasets/README.md; `ovsuite check-dataset NAME_SPLIT` says what is looked for"
        found.append(Condition(f"not found below {root}{state}: {names}", None, mend))
    return found


def find_folders() -> list[Condition]:
    """Whether the cache can be written, and how much room there is."""
    from ..files.cache import cache_dir
    from ..files.writing import check_output_dir

    try:
        folder = check_output_dir(cache_dir())
    except UserError as error:
        return [Condition(str(error), False, "export OVSUITE_CACHE=/a/folder/that/can/be/written")]
    free = shutil.disk_usage(folder).free / 2**30
    return [Condition(f"cache {folder}, {free:.0f} GiB free")]


def _package(requirement: str) -> str:
    """Name of the package in a line such as ``numpy>=1.26; extra == 'web'``."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
