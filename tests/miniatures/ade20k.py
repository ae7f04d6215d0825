"""ADE20K: the challenge form (150 classes) and the full archive (847 classes)."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from .draw import HEIGHT, WIDTH, stripes, write_ids, write_picture, write_rgb

SPLITS = {"training": "train", "validation": "val"}
# Raw challenge values: 0 other, 1 wall, 4 floor, 13 person (instance class 4), 150 flag.
RAW = ([0, 1, 4, 13], [150, 4, 1], [13, 1])
OBJECT_WALL, OBJECT_UNLISTED, OBJECT_ADDING_MACHINE = 2978, 3, 3148


def write_ade20k_150(root: Path) -> None:
    """ADEChallengeData2016 with ``annotations`` and ``annotations_instance``.

    In the first picture a person instance hides half of the floor; in the third one covers the wall
    completely, so that a stuff segment without a pixel arises.
    """
    base = root / "ADEChallengeData2016"
    for folder, word in SPLITS.items():
        for number, raw in enumerate(RAW, start=1):
            stem = f"ADE_{word}_{number:08d}"
            write_picture(base / "images" / folder / f"{stem}.jpg", number)
            write_ids(base / "annotations" / folder / f"{stem}.png", stripes(raw))
            instances = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            if number == 1:
                instances[:6, 8:16] = (4, 1, 0)  # class 4 is the 13th semantic class, person
            if number == 3:
                instances[:, 8:] = (4, 2, 0)
            write_rgb(base / "annotations_instance" / folder / f"{stem}.png", instances)


def object_colours(ids: np.ndarray) -> np.ndarray:
    """Object ids as the archive paints them: R = id // 256 * 10, G = id % 256, B any."""
    colours = np.zeros((*ids.shape, 3), np.uint8)
    colours[..., 0], colours[..., 1], colours[..., 2] = ids // 256 * 10, ids % 256, 77
    return colours


def write_ade20k_full(root: Path) -> None:
    """ADE20K_2021_17_01 with its index; one picture is large enough to be reduced."""
    base = "ADE20K_2021_17_01/images/ADE"
    folders, names = [], []
    for folder, word in SPLITS.items():
        for number in (1, 2, 3):
            where = f"{base}/{folder}/urban/street"
            stem = f"ADE_{word}_{number:08d}"
            size = (520, 650) if number == 3 and word == "val" else (HEIGHT, WIDTH)
            write_picture(root / where / f"{stem}.jpg", number, size=size)
            objects = np.full(size, OBJECT_WALL, np.int64)
            objects[:, size[1] // 3 :] = OBJECT_UNLISTED
            objects[:, 2 * size[1] // 3 :] = OBJECT_ADDING_MACHINE
            write_rgb(root / where / f"{stem}_seg.png", object_colours(objects))
            folders.append(where)
            names.append(f"{stem}.jpg")
    index = {"folder": folders, "filename": names, "objectPresence": np.zeros((2, len(names)))}
    with (root / "ADE20K_2021_17_01" / "index_ade20k.pkl").open("wb") as file:
        pickle.dump(index, file)
