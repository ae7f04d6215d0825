"""Every method trains and evaluates whatever value a dataset's files give to unlabelled pixels."""

import json
import math
from itertools import count

import pytest
from detectron2.modeling import META_ARCH_REGISTRY

from ovs_core import list_configs
from ovs_core.commands import main
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.methods.configs import find_config
from tests.miniatures import SOURCES
from tests.miniatures.stripes import write_stripes

# The detector learns boxes, which have no unlabelled pixels.
TINY = [n for n in list_configs() if n.split("/")[1].startswith("tiny")]
PREPARED = {
    "ade20k_847_train": "ade20k_full",
    "context_459_train": "context_459",
    "mapillary_65_panoptic_train": "mapillary",
}
# H-CLIP keeps a map of every word at every layer.
SMALL = {"INPUT.CROP.SIZE": [48, 48], "INPUT.SIZE_DIVISIBILITY": 48, "MODEL.CATSEG.IMAGE_SIZE": 48}
numbers = count()


def trains(config):
    return META_ARCH_REGISTRY.get(load_cfg(find_config(config)).MODEL.META_ARCHITECTURE).trains


TRAINED = [config for config in TINY if trains(config)]
# Configs without training differ in how CLIP is read, not in how labels are: one for each mapper.
UNTRAINED = {load_cfg(find_config(c)).INPUT.MAPPER: c for c in TINY if c not in TRAINED}


def options(config, output, **changes):
    """Settings of one step on semantic labels."""
    cfg = load_cfg(find_config(config))
    semantic = {"MaskPanopticMapper": "MaskSemanticMapper"}
    values = {
        "OUTPUT_DIR": str(output),
        "INPUT.MAPPER": semantic.get(cfg.INPUT.MAPPER, cfg.INPUT.MAPPER),
        "SOLVER.MAX_ITER": 1,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.IMS_PER_BATCH": 1,
        "TEST.EVAL_PERIOD": 0,
        "MODEL.DEVICE": "cpu",
        "SEED": 1,
        **(SMALL if config.startswith("hclip/") else {}),
        **changes,
    }
    return [str(part) for pair in values.items() for part in pair]


def loss_of(folder):
    return json.loads((folder / "metrics.json").read_text().splitlines()[0])["total_loss"]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """Striped pictures with the ignore values 254 and, of 300 classes, 65535: file and name."""
    made = []
    for classes, ignore in ((4, 254), (300, 65535)):
        stem, folder = f"values_{next(numbers)}", tmp_path_factory.mktemp("world") / "sets"
        made.append((write_stripes(folder, stem, 2, classes=classes, ignore=ignore), stem))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("world", [0, 1], ids=["254", "65535"])
@pytest.mark.parametrize("config", [*TRAINED, *UNTRAINED.values()])
def test_own_ignore_values(config, world, worlds, tmp_path):
    sets, stem = worlds[world]
    given = options(
        config,
        tmp_path,
        **{
            "DATASETS.YAML": [str(sets)],
            "DATASETS.TRAIN": (f"{stem}_train",),
            "DATASETS.TEST": (f"{stem}_val",),
        },
    )
    result = run(config, given, eval_only=config not in TRAINED)["sem_seg"]
    assert 0 <= result["mIoU"] <= 100 and 0 <= result["pACC"] <= 100
    if config in TRAINED:
        assert math.isfinite(loss_of(tmp_path))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Miniatures of three benchmarks, prepared."""
    root = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        for source in PREPARED.values():
            SOURCES[source](root)
            assert main(["prepare", source, "--workers", "1"]) == 0
        yield root


@pytest.mark.slow
@pytest.mark.parametrize("dataset", PREPARED)
@pytest.mark.parametrize("config", TRAINED)
def test_benchmarks_of_many_classes(config, dataset, archives, tmp_path):
    unseen = {"DATASETS.UNSEEN_LABELS": "keep"}  # they have no such split
    changes = {"DATASETS.TRAIN": (dataset,), "DATASETS.TEST": (), **unseen}
    run(config, options(config, tmp_path, **changes))
    assert math.isfinite(loss_of(tmp_path))
