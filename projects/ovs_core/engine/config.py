"""Config defaults of the suite and loading with help for misspelt keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, get_cfg

from ..data.config import add_data_config
from ..data.own_datasets import register_yaml_datasets
from ..errors import UserError, nearest
from ..methods.projects import import_projects
from ..methods.ranges import (
    above,
    at_least,
    between,
    check_ranges,
    declare_ranges,
    from_up_to,
    list_of,
    texts,
)
from .config_files import read_config

declare_ranges("", SEED=at_least(-1), TRACKERS=texts())
declare_ranges("TEST", EVAL_PERIOD=at_least(0), IMS_PER_BATCH=at_least(1), LOG_PICTURES=at_least(0))
declare_ranges("MODEL.OVS", TEMPLATES=texts(least=1), CONFIDENCE_SCALE=at_least(0))
declare_ranges("MODEL.OVS.RUNTIME", MIN_AGREEMENT=between(0, 1))
declare_ranges(
    "MODEL.OVS.PROTOCOL",
    SIZE=list_of(at_least(1), least=2, most=2, or_none=True),
    DIVISOR=at_least(1),
    WINDOW=at_least(1),
    STRIDE=at_least(1),
    BATCH=at_least(1),
    PAD_MULTIPLE=at_least(1),
    SCALES=list_of(above(0), least=1),
)
declare_ranges(
    "SOLVER",
    IMS_PER_BATCH=at_least(1),
    REFERENCE_WORLD_SIZE=at_least(0),
    MAX_ITER=at_least(1),
    BASE_LR=at_least(0),
    MOMENTUM=from_up_to(0, 1),
    WEIGHT_DECAY=at_least(0),
    WARMUP_ITERS=at_least(0),
    WARMUP_FACTOR=at_least(0),
    GAMMA=above(0),
    STEPS=list_of(at_least(0)),
    CHECKPOINT_PERIOD=at_least(1),
    BETAS=list_of(from_up_to(0, 1), least=2, most=2),
    PARAM_MULTIPLIERS=list_of(),
    POLY_POWER=above(0),
    POLY_MIN_LR=at_least(0),
    ACCUMULATE=at_least(1),
    EMA_DECAY=from_up_to(0, 1),
    KEEP_CHECKPOINTS=at_least(0),
)
declare_ranges("SOLVER.CLIP_GRADIENTS", CLIP_VALUE=above(0), NORM_TYPE=above(0))


# What yacs and Detectron2 say of a value that does not fit.
_UNKNOWN = re.compile(r"Non-existent (?:config )?key: ([\w.]+)")
_OTHER_TYPE = re.compile(
    r"Type mismatch \(<class '([\w.]+)'> vs\. <class '([\w.]+)'>\).* for config key: ([\w.]+)", re.S
)


def add_ovs_config(cfg: CfgNode) -> None:
    """Add the keys that all methods share.

    Args:
        cfg: Detectron2's default config, changed in place.
    """
    _add_model_keys(cfg)
    _add_solver_keys(cfg)
    add_data_config(cfg)
    cfg.TEST.DUMP_PREDICTIONS = False  # write one PNG per picture beside the metrics
    # Figure whose highest value is kept as model_best.pth, such as sem_seg/mIoU; "": none
    cfg.TEST.BEST_METRIC = ""
    cfg.TEST.IMS_PER_BATCH = 1  # pictures of an evaluation that go through the network together
    cfg.TEST.EVALUATOR = ""  # overrides the dataset's evaluator_type, e.g. cliptrase
    # Pictures of each test set that an evaluation during training shows in TensorBoard
    cfg.TEST.LOG_PICTURES = 0
    # Segment each picture with the words of its true classes alone; figures are marked as oracle
    cfg.TEST.ORACLE_VOCABULARY = False
    cfg.TRACKERS = []  # services that get figures and pictures of a training: wandb, mlflow
    cfg.SEED = 0  # runs are repeatable by default; -1 draws a seed
    cfg.OUTPUT_DIR = "output"
    cfg.CONFIG_FILE = ""  # set when a file is loaded; named in the written results


def _add_model_keys(cfg: CfgNode) -> None:
    cfg.MODEL.DEVICE = "auto"  # auto: the GPU if there is one, else the CPU
    cfg.MODEL.WEIGHTS = ""  # checkpoint of the method; CLIP's weights are MODEL.CLIP.PRETRAINED
    clip = cfg.MODEL.CLIP = CfgNode()
    # open_clip name, embedded-vit, embedded-convnext, or an open_clip configuration (.json)
    clip.ARCHITECTURE = "ViT-B-16-quickgelu"
    clip.PRETRAINED = "openai"  # open_clip tag, a file, or "random"; "" for the embedded CLIPs
    clip.CACHE_DIR = ""  # where open_clip keeps downloads; "" for its default
    ovs = cfg.MODEL.OVS = CfgNode()
    ovs.OUTPUT = "labels"  # labels (H, W) or scores (K, H, W)
    ovs.TEMPLATES = ["imagenet_80"]  # names of published lists, or templates with one {}
    ovs.NAME_FIELD = "name"  # which text of a dataset's class list is encoded, e.g. catseg_name
    ovs.SYNONYM_FIELD = ""  # list of synonyms in the class list, e.g. fcclip_synonyms; "" for none
    # The softmax of the scores times this is how sure a pixel's label is; 0: not calibrated
    ovs.CONFIDENCE_SCALE = 0.0
    runtime = ovs.RUNTIME = CfgNode()  # what computes the networks at test time
    runtime.ENGINE = "eager"  # eager, compile (torch.compile), openvino or onnxruntime
    runtime.DTYPE = "float32"  # float32, bfloat16, float16 or int8, as the engine has them
    # Least share of labels that must be those of eager float32 where they are compared
    runtime.MIN_AGREEMENT = 0.995
    runtime.FORCE = False  # take it although it agrees less
    protocol = ovs.PROTOCOL = CfgNode()
    protocol.NAME = "whole"  # whole or slide
    protocol.SIZE = []  # [height, width] to which the picture is squashed first; [] keeps its size
    protocol.DIVISOR = 1  # whole: pad to a multiple of this
    protocol.CUT_PADDING = True  # whole: cut the padding's scores off before the final resize
    protocol.WINDOW = 512  # slide: side in pixels
    protocol.STRIDE = 426  # slide: step in pixels
    protocol.WITH_WHOLE = False  # slide: average with the whole picture squashed to one window
    protocol.BATCH = 8  # slide: windows per forward
    protocol.PAD_SMALL = True  # slide: pad a picture smaller than a window, else shrink the window
    protocol.PAD_MULTIPLE = 1  # slide: pad windows on both sides to a multiple of this
    protocol.SCALES = [1.0]  # several: mean over scales
    protocol.FLIP = False  # also look at the mirrored picture


def _add_solver_keys(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    solver.OPTIMIZER = "AdamW"  # AdamW, Adam or SGD
    solver.BETAS = [0.9, 0.999]
    # [[part of a parameter name, factor on the rate, factor on the decay], ...]: first match wins
    solver.PARAM_MULTIPLIERS = []
    solver.WEIGHT_DECAY_EMBED = None  # decay of embeddings; None: as the rest
    solver.POLY_POWER = 0.9  # WarmupPolyLR
    solver.POLY_MIN_LR = 0.0  # floor of the rate, absolute
    solver.POLY_AFTER_WARMUP = False  # the decay waits for the end of the warm-up (mmseg 1.x)
    solver.ACCUMULATE = 1  # batches that make up a step; the same step as one batch of them all
    solver.KEEP_CHECKPOINTS = 0  # most numbered checkpoints that a run leaves; 0: all
    solver.EMA_DECAY = 0.0  # of the mean of the trained weights that is kept and evaluated; 0: none
    solver.FSDP = False  # share out the weights of towers that train whole over the processes
    # Backend of torch.compile for the blocks of the towers, such as inductor; "": none
    solver.COMPILE = ""
    cfg.register_deprecated_key("SOLVER.FIND_UNUSED_PARAMETERS")  # none need be found any more
    solver.AMP.DTYPE = "bfloat16"  # with SOLVER.AMP.ENABLED; float16 adds loss scaling


def get_ovs_cfg() -> CfgNode:
    """Give the defaults of Detectron2, the core and every project."""
    cfg = get_cfg()
    add_ovs_config(cfg)
    for project in import_projects():
        getattr(project, f"add_{project.__name__}_config")(cfg)
    return cfg


def load_cfg(path: str | Path, options: Sequence[str] = ()) -> CfgNode:
    """Read a config file and KEY VALUE overrides on top of all defaults.

    Args:
        path: YAML file, may have ``_BASE_``.
        options: ``["MODEL.DEVICE", "cpu", ...]``.

    Returns:
        The merged config, not frozen, with the device settled.

    Raises:
        UserError: for a missing or unreadable file, an unknown key, or a value of the wrong type.
    """
    cfg = get_ovs_cfg()
    if not Path(path).is_file():
        raise UserError(f"{path}: no such config file; projects/*/configs holds those of the suite")
    stated = read_config(path)
    _merge(cfg, lambda: cfg.merge_from_other_cfg(CfgNode(stated)), str(path))
    if len(options) % 2:
        raise UserError(f"options must be KEY VALUE pairs, but {options[-1]!r} has no value")
    _merge(cfg, lambda: cfg.merge_from_list(list(options)), "command line")
    check_ranges(dict(dotted_keys(cfg)), str(path))
    settle_device(cfg)
    cfg.CONFIG_FILE = str(path)
    register_yaml_datasets(*cfg.DATASETS.YAML)
    return cfg


def settle_device(cfg: CfgNode) -> None:
    """Replace ``MODEL.DEVICE auto`` by what this machine has."""
    import torch

    if cfg.MODEL.DEVICE == "auto":
        cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Make sure that this machine can compute on a device.

    Raises:
        UserError: if it cannot; names what it can.
    """
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        have = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        reason = str(error).splitlines()[0]
        raise UserError(f"device '{device}' cannot be used ({reason}); here: {have}") from error


def _merge(cfg: CfgNode, merge: Callable[[], None], source: str) -> None:
    try:
        merge()
    except (KeyError, ValueError, AssertionError) as error:
        if unknown := _UNKNOWN.search(str(error)):
            key = unknown.group(1)
            raise UserError(f"{source}: unknown key '{key}'.{nearest_key(cfg, key)}") from error
        if other := _OTHER_TYPE.search(str(error)):
            wanted, got, key = other.groups()
            raise UserError(
                f"{source}: {key} holds {_kind(got)} where {_kind(wanted)} is expected"
            ) from error
        raise UserError(f"{source}: {_one_line(error)}") from error


def _kind(type_name: str) -> str:
    """A type as a person calls it; its name comes as yacs prints it."""
    kinds = {
        "CfgNode": "a group of keys",
        "str": "a text",
        "int": "a whole number",
        "float": "a number",
        "bool": "True or False",
        "NoneType": "nothing",
    }
    name = type_name.rsplit(".", 1)[-1]
    return kinds.get(name, f"a {name}")


def nearest_key(cfg: CfgNode, key: str) -> str:
    """Give a "did you mean" clause for an unknown dotted key."""
    return nearest(key, (known for known, _ in dotted_keys(cfg)))


def dotted_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk a config, or the dict of its file.

    Args:
        node: name -> value or inner node.
        prefix: of every key, such as ``MODEL.``.

    Yields:
        Dotted key and value; an inner node comes before what it holds.
    """
    for name, value in node.items():
        yield prefix + name, value
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{name}.")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
