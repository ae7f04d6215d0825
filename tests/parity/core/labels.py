"""Runner for the reference vectors of label preparation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ovs_core.data.label_rules import convert_labels
from ovs_core.data.labels import object_ids_from_color
from ovs_core.data.preparation.ade20k_full import reduced_size, resize_label
from ovs_core.words.class_lists import load_split
from ovs_core.words.label_space import UNSEEN, ClassSplit

from ..reference_labels import canonical, stored
from ..runner import ParityCase, parity_runner

_RULES = {
    "coco_stuff": ("coco_stuff",),
    "coco_object": ("coco_stuff", "coco_object"),
    "ade150": ("zero_is_ignore",),
    "voc20": ("zero_is_ignore",),
    "voc20b": ("zero_is_20",),
    "voc21": (),
    "context59": ("context_59",),
    "context60": ("context_59", "ignore_is_first"),
    "context459": ("context_459",),
    "reduce_zero_label": ("zero_is_ignore",),
}


@parity_runner("evaluation", "label_conversion", unused={"channels": "sentences about the arrays"})
def run_label_conversion(case: ParityCase) -> Mapping[str, np.ndarray]:
    """Convert the raw label maps of each dataset."""
    raw = case.inputs
    out = {name: convert_labels(raw[name], *rules) for name, rules in _RULES.items()}
    out["ade847_seg_png"] = convert_labels(
        object_ids_from_color(raw["ade847_seg_png"]), "ade20k_847"
    )
    out["ade847_hw"] = np.array([reduced_size(*size) for size in raw["ade847_hw"].tolist()])
    size = tuple(raw["ade847_nearest_size"].tolist())
    out["ade847_nearest_label"] = resize_label(raw["ade847_nearest_label"], size)
    for name in (key for key in raw if key.startswith("seen_map_")):
        stated = load_split(name.removeprefix("seen_map_"))
        labels = canonical(torch.from_numpy(raw[name].astype(np.int64)))
        out[name] = stored(ClassSplit(stated.seen, stated.unseen).relabel(labels, hidden=UNSEEN))
    return out
