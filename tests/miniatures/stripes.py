"""Pictures of coloured stripes as a person's own dataset: the least that a method can train on."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

NAMES = ["red", "green", "blue", "grey"]
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 120, 120]])


def write_stripes(
    folder: Path, stem: str, count: int = 6, *, classes: int = 4, ignore: int = 255
) -> Path:
    """Write pictures, labels and the file that describes them.

    Args:
        folder: made here.
        stem: the sets are called ``<stem>_train`` and ``<stem>_val``; both hold all pictures.
        count: how many.
        classes: more than four get further names; a stripe is then any of those of its colour.
        ignore: label value of every eighth row, which does not count; labels are of 16 bits where
            it needs them.

    Returns:
        The file for ``DATASETS.YAML``.
    """
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        labels = np.repeat(rng.permutation(4), 12)[:, None].repeat(44, axis=1)
        image = COLOURS[labels] + rng.normal(0, 10, (48, 44, 3))
        labels += 4 * ((classes - 1 - labels) // 4)  # the last class of that colour
        labels = labels.astype(np.uint8 if ignore < 256 else np.uint16)
        labels[::8] = ignore  # so that every crop has some
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{index}.png")
        Image.fromarray(labels).save(folder / f"labels/{index}.png")
    names = NAMES + [f"{NAMES[i % 4]} {i}" for i in range(4, classes)]
    entry = {"images": "images", "labels": "labels", "names": names, "unseen": ["grey"]}
    entry["ignore"] = ignore
    path = folder / "sets.yaml"
    path.write_text(yaml.safe_dump({f"{stem}_train": entry, f"{stem}_val": entry}))
    return path
