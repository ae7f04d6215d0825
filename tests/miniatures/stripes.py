"""Pictures of coloured stripes as a person's own dataset: the least that a method can train on."""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

NAMES = ["red", "green", "blue", "grey"]
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [120, 120, 120]])


def write_stripes(folder: Path, stem: str, count: int = 6) -> Path:
    """Write pictures, labels and the file that describes them.

    Args:
        folder: made here.
        stem: the sets are called ``<stem>_train`` and ``<stem>_val``; both hold all pictures.
        count: how many.

    Returns:
        The file for ``DATASETS.YAML``.
    """
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        labels = np.repeat(rng.permutation(4), 12)[:, None].repeat(44, axis=1).astype(np.uint8)
        image = COLOURS[labels] + rng.normal(0, 10, (48, 44, 3))
        labels[:2] = 255
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"images/{index}.png")
        Image.fromarray(labels).save(folder / f"labels/{index}.png")
    entry = {"images": "images", "labels": "labels", "names": NAMES, "unseen": ["grey"]}
    path = folder / "sets.yaml"
    path.write_text(yaml.safe_dump({f"{stem}_train": entry, f"{stem}_val": entry}))
    return path
