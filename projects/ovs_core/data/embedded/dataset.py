"""The embedded world as files: made on first use, checked by hash, made anew when damaged.

Layout of ``<cache>/embedded/<split>``::

    images/000000.png          RGB
    sem_seg/000000.png         28 classes
    sem_seg_208/000000.png     208 "colour thing" and stuff names
    panoptic/000000.png        COCO panoptic: segment id = R + 256 G + 65536 B
    panoptic.json              COCO panoptic annotations
    captions.json              file name -> sentences
    manifest.json              what it was made from, and the hash of all of the above
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...errors import UserError, check_choice
from ...files.cache import cache_dir, cannot_be_kept, stand_in_cache
from ...files.locks import wait_for_folder
from ...files.writing import atomic_folder, write_json
from .scenes import Scene, render_scene
from .vocabulary import SEMANTIC_NAMES, THINGS

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
# What decides how the files look; a change of any of these makes the data anew.
_SOURCES = (
    "vocabulary.json", "vocabulary.py", "pen.py", "sprites.py", "textures.py", "layout.py",
    "captions.py", "scenes.py", "dataset.py",
)  # fmt: skip


@dataclass(frozen=True)
class SplitSpec:
    """What a split holds.

    Attributes:
        count: number of pictures.
        seed: scene seed of the first picture; the others follow.
        sizes: heights and widths, taken in turn.
    """

    count: int
    seed: int
    sizes: tuple[tuple[int, int], ...]


SPLITS = {
    "train": SplitSpec(1000, 0, ((192, 192), (160, 224), (192, 256), (224, 160))),
    "val": SplitSpec(200, 1_000_000, ((192, 256), (256, 192), (192, 288), (208, 208), (176, 264))),
}


def embedded_root(split: str, root: Path | None = None) -> Path:
    """Folder of a split, whether it exists or not."""
    return (root or cache_dir()) / "embedded" / split


def ensure_embedded_dataset(
    split: str, root: Path | None = None, *, spec: SplitSpec | None = None
) -> Path:
    """Give the folder of a split, making it if it is absent, half made, damaged or outdated.

    Several processes may ask at once; one makes the data and the others wait for it. Where the
    cache folder cannot be written, they are made in a temporary one.

    Args:
        split: ``"train"`` or ``"val"``.
        root: cache folder; default :func:`ovs_core.files.cache.cache_dir`.
        spec: what the split shall hold instead of the usual (for tests).

    Returns:
        The folder, with the layout described in this module.

    Raises:
        UserError: for an unknown split, or if there is room for it nowhere.
    """
    check_choice("split of the embedded dataset", split, SPLITS)
    spec = spec or SPLITS[split]
    folder = embedded_root(split, root)
    try:
        return _ensure(folder, split, spec)
    except OSError as error:
        instead = embedded_root(split, stand_in_cache())
        logger.warning(cannot_be_kept(folder, error, f"making the pictures in {instead}"))
    try:
        return _ensure(instead, split, spec)
    except OSError as error:
        raise UserError(cannot_be_kept(instead, error, "there is room nowhere")) from error


def _ensure(folder: Path, split: str, spec: SplitSpec) -> Path:
    if _find_fault(folder, spec) is None:  # also where nothing can be written, not even a lock
        return folder
    with wait_for_folder(folder.parent, "the making of a dataset"):
        fault = _find_fault(folder, spec)
        if fault:
            if folder.exists():
                logger.warning("%s: %s; making it anew", folder, fault)
            _make(folder, split, spec)
    return folder


def content_hash(folder: Path) -> str:
    """SHA-256 over names and bytes of all files of a split but the manifest."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _MANIFEST):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def split_records(folder: Path) -> list[dict[str, Any]]:
    """Detectron2 dicts of a split, with the semantic, large and panoptic label files of each."""
    panoptic = json.loads((folder / "panoptic.json").read_text(encoding="utf-8"))
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    segments = {entry["image_id"]: entry["segments_info"] for entry in panoptic["annotations"]}
    return [
        {
            "file_name": str(folder / "images" / entry["file_name"]),
            "sem_seg_file_name": str(folder / "sem_seg" / entry["file_name"]),
            "sem_seg_208_file_name": str(folder / "sem_seg_208" / entry["file_name"]),
            "pan_seg_file_name": str(folder / "panoptic" / entry["file_name"]),
            "segments_info": segments[entry["id"]],
            "captions": captions[entry["file_name"]],
            "height": entry["height"],
            "width": entry["width"],
            "image_id": entry["id"],
        }
        for entry in panoptic["images"]
    ]


@lru_cache(maxsize=1)
def _generator_hash() -> str:
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()


def _origin(spec: SplitSpec) -> dict[str, Any]:
    sizes = [list(size) for size in spec.sizes]
    return {
        "generator": _generator_hash(), "count": spec.count, "seed": spec.seed, "sizes": sizes
    }  # fmt: skip


def _find_fault(folder: Path, spec: SplitSpec) -> str | None:
    """Why a folder cannot be used as it is; None if it can."""
    if not folder.is_dir():
        return "is absent"
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "has no readable manifest (half made?)"
    if not isinstance(manifest, dict) or manifest.get("origin") != _origin(spec):
        return "was made by another version of the generator"
    try:
        content = content_hash(folder)
    except OSError:
        content = ""
    if manifest.get("content") != content:
        return "does not match its hash (a file was changed, added or lost)"
    return None


def _make(folder: Path, split: str, spec: SplitSpec) -> None:
    """Write all files of a split; they appear together or not at all."""
    with atomic_folder(folder) as part:
        for kind in ("images", "sem_seg", "sem_seg_208", "panoptic"):
            (part / kind).mkdir()
        images, annotations, captions = [], [], {}
        for i in tqdm(range(spec.count), f"making the embedded {split} set", unit="picture"):
            height, width = spec.sizes[i % len(spec.sizes)]
            scene = render_scene(spec.seed + i, (height, width))
            name = f"{i:06d}.png"
            _write_pictures(part, name, scene)
            images.append({"id": i, "file_name": name, "height": height, "width": width})
            segments = _segments(scene)
            annotations.append({"image_id": i, "file_name": name, "segments_info": segments})
            captions[name] = [caption.text for caption in scene.captions]
        content = {"images": images, "annotations": annotations, "categories": _categories()}
        write_json(part / "panoptic.json", content, compact=True)
        write_json(part / "captions.json", captions, compact=True)
        manifest = {"origin": _origin(spec), "content": content_hash(part)}
        write_json(part / _MANIFEST, manifest)


def _write_pictures(folder: Path, name: str, scene: Scene) -> None:
    segments = np.zeros((*scene.panoptic.shape, 3), np.uint8)
    segments[..., 0] = scene.panoptic  # never more than 8 segments, so G and B stay 0
    for kind, pixels in (
        ("images", scene.image), ("sem_seg", scene.semantic), ("sem_seg_208", scene.large),
        ("panoptic", segments),
    ):  # fmt: skip
        Image.fromarray(pixels).save(folder / kind / name, compress_level=1)


def _segments(scene: Scene) -> list[dict[str, Any]]:
    """COCO panoptic segment entries of a scene."""
    entries = []
    for segment in scene.segments_info:
        rows, columns = np.nonzero(scene.panoptic == segment["id"])
        left, top = int(columns.min()), int(rows.min())
        box = [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
        entries.append({**segment, "bbox": box, "iscrowd": 0})
    return entries


def _categories() -> list[dict[str, Any]]:
    return [
        {"id": i, "name": name, "isthing": int(i < len(THINGS))}
        for i, name in enumerate(SEMANTIC_NAMES)
    ]
