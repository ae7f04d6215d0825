"""What is run of every small config on the GPU that is not there."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from detectron2.evaluation import inference_on_dataset
from detectron2.utils.events import EventStorage
from PIL import Image

from ovs_core import Predictor
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.engine.train_loader import seed_everything
from ovs_core.engine.trainer import Trainer, set_test_words
from ovs_core.errors import UserError
from ovs_core.export.program import ImagePath, fix_parameters
from ovs_core.methods.configs import find_config, find_model
from ovs_core.modeling.contract import bare
from ovs_core.web.choices import Choice
from ovs_core.web.room import ModelRoom
from ovs_core.words.vocabulary import Vocabulary
from tests.ovs_core.engine import test_equal_splits as recipes

# Keys that make the steps of a training small, as for the trainings that are split.
SMALL = {
    "clipteacher/tiny": recipes.CLIPTEACHER,
    "hclip/detection/mosaic_tiny": [
        "SOLVER.IMS_PER_BATCH", "6", "MODEL.HCLIP_MOSAIC.GRIDS", "[2]",
        "MODEL.HCLIP_MOSAIC.CANVAS", "64", "MODEL.HCLIP_MOSAIC.PICTURE_SIZE", "32",
    ],
    "hclip/detection/tiny": recipes.DETECTION,
    "hclip/tiny": recipes.SMALL_HCLIP,
    "maftplus/maft_tiny": [*recipes.MASKS, "INPUT.MIN_SIZE_TRAIN", "(96,)"],
    "maftplus/tiny_panoptic": recipes.PANOPTIC,
    "san/tiny": recipes.SAN,
    "sptseg/tiny": recipes.SPTSEG,
}  # fmt: skip
KINDS = sorted([*SMALL, "cliptrase/tiny"])  # of models; other small configs are of these
BATCH = 2
GPU = ["MODEL.DEVICE", "cuda:0"]
STEPS = [
    *GPU, "SOLVER.IMS_PER_BATCH", str(BATCH), "DATASETS.TEST", "()", "SOLVER.WARMUP_ITERS", "0",
    "SOLVER.MAX_ITER", "100",
]  # fmt: skip
SIZE = (96, 144)
# What computes otherwise on a CPU, so that labels are compared.
OTHER_WAYS = ("cliptrase/tiny", "maftplus/tiny_panoptic", "sptseg/tiny")
WORDS = ["car", "tree", "sea|ocean", "background: wall"]


@dataclass(frozen=True)
class Waits:
    """How often something waited, and where.

    Attributes:
        kinds: kind -> how often.
        places: (kind, line) -> how often.
    """

    kinds: Mapping[str, int]
    places: Mapping[tuple[str, str], int]

    @property
    def total(self):
        return sum(self.kinds.values())


def _taken(gpu):
    found = Waits(dict(gpu.kinds), dict(gpu.places))
    gpu.reset()
    return found


def picture():
    """A small picture with regions."""
    coarse = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC))


def train(config, gpu, folder, keys=()):
    """What the second step of a training waits for."""
    overrides = [*STEPS, *SMALL[config], "OUTPUT_DIR", str(folder), *keys]
    cfg = load_cfg(find_config(config), overrides)
    seed_everything(cfg.SEED)
    trainer = Trainer(cfg)
    model = bare(trainer._trainer.model)
    if cfg.MODEL.META_ARCHITECTURE == "MAFT":
        model.proposals.trained.fill_(True)  # as if they were
    trainer.resume_or_load(resume=False)
    for number in range(2):  # the first also makes what is kept, such as texts
        gpu.reset()
        with EventStorage(number) as storage:
            trainer.iter = number
            trainer.run_step()
    found = _taken(gpu)
    losses = {name: value for name, (value, _) in storage.latest().items() if "loss" in name}
    assert losses and all(np.isfinite(value) for value in losses.values())
    assert all(p.device.type == "cuda" for p in model.parameters())
    return found


def show(config, gpu, folder):
    """What a picture of the page waits for, and one of an evaluation; None for what is not run."""
    seed_everything(0)
    room, choice = ModelRoom([Choice(config, config)], device="cuda:0"), Choice(config, config)
    try:
        model = room._predictor(choice).model
    except UserError as error:
        assert "does not segment" in str(error)
        return None, evaluate(config, gpu, folder)
    found = segment(config, gpu, room, choice), evaluate(config, gpu, folder, model)
    if not model.export_obstacle():
        fix(model)
    return found


def fix(model):
    """Prepare a model for an export, and run what the export follows."""
    image = torch.from_numpy(picture().transpose(2, 0, 1).astype(np.float32))
    path = ImagePath(model, SIZE).eval()
    with torch.no_grad():
        (before,) = path(image)
        model.fix_text()
        fix_parameters(model)
        (labels,) = path(image)
    assert labels.device.type == "cuda" and (before == labels).float().mean().item() > 0.99


def segment(config, gpu, room, choice):
    """A picture by the page's room, with words that are known from another."""
    room.segment(choice, picture(), Vocabulary.parse(WORDS))
    room._predictor(choice).forget()
    gpu.reset()
    attempt = room.segment(choice, picture(), Vocabulary.parse(WORDS))
    found = _taken(gpu)
    assert attempt.result is not None, attempt.error
    assert attempt.result.labels.shape == SIZE
    if config in OTHER_WAYS:
        seed_everything(0)
        there = Predictor.from_config(config, device="cpu")
        assert (there(picture(), WORDS).labels == attempt.result.labels).mean() > 0.99
    return found


def evaluate(config, gpu, folder, model=None):
    """Two pictures with their evaluator; what the second waits for."""
    file, weights = find_model(config)
    cfg = load_cfg(file, [*GPU, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(folder)])
    model = build_segmenter(cfg) if model is None else model
    (name,) = cfg.DATASETS.TEST
    set_test_words(cfg, model, name)
    loader = Trainer.build_test_loader(cfg, name)
    evaluator = Trainer.build_evaluator(cfg, name, model.answers)
    shown, waits = list(islice(loader, 2)), []

    class Watched(list):
        def __iter__(self):
            for one in super().__iter__():
                gpu.reset()
                yield one
                waits.append(_taken(gpu))

    assert inference_on_dataset(model, Watched(shown), evaluator)
    return waits[-1]
