"""Sharing out the weights of towers that train whole over the processes of a run (FSDP2).

Each process keeps its share of the parts' weights, gradients and optimiser memory; a part's weights
are gathered when it runs. All other weights are in every process, as without.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from ..errors import UserError
from ..modeling.contract import OpenVocabularyModel
from ..tensor.sharded import shared_as

# Of torch: sums instead of means of gradients, and evaluations that processes end at other times.
NEEDED = (
    "set_gradient_divide_factor", "set_force_sum_reduction_for_comms", "set_reshard_after_forward",
)  # fmt: skip


def check_sharding(cfg: CfgNode, processes: int) -> None:
    """Refuse ``SOLVER.FSDP`` where it means nothing or is not supported.

    Args:
        cfg: finished config.
        processes: of the run.

    Raises:
        UserError: names what stands against it.
    """
    if cfg.SOLVER.FSDP and (obstacle := _obstacle(cfg, processes)):
        raise UserError(f"SOLVER.FSDP True: {obstacle}, or set it to False")


def _obstacle(cfg: CfgNode, processes: int) -> str:
    solver = cfg.SOLVER
    clip = solver.CLIP_GRADIENTS
    if processes == 1:
        return "one process has nobody to share weights with; start several (--num-gpus N)"
    if obstacle := META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).sharding_obstacle(cfg):
        return str(obstacle)
    if solver.AMP.ENABLED and solver.AMP.DTYPE == "float16":
        return "it is not made for SOLVER.AMP.DTYPE float16; take bfloat16"
    if clip.ENABLED and clip.CLIP_TYPE != "full_model":
        return f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE is {clip.CLIP_TYPE}; take full_model"
    for key, value in (
        ("TEST.BEST_METRIC", cfg.TEST.BEST_METRIC),
        ("SOLVER.COMPILE", solver.COMPILE),
    ):
        if value:
            return f"it is not made for {key} {value}; leave that empty"
    if any(not hasattr(FSDPModule, name) for name in NEEDED):
        return "this torch is too old for it; install a newer one"
    return ""


def shard(model: OpenVocabularyModel) -> None:
    """Share the parts that the model names out over all processes, in place.

    Gradients are summed over processes, as everywhere in the suite. Whole tensors of a checkpoint
    are shared out when they are loaded.

    Args:
        model: the same in all processes.
    """
    mesh = init_device_mesh(model.clip.pixel_mean.device.type, (comm.get_world_size(),))
    for part in model.shards():
        part.register_load_state_dict_pre_hook(_share_out)
        sharded = fully_shard(part, mesh=mesh, reshard_after_forward=True)
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)


@contextmanager
def gathered(model: OpenVocabularyModel) -> Iterator[None]:
    """Let every process have all weights inside the block, in which none is changed.

    Processes may then run the model as often as they like, each for itself.
    """
    parts = [part for part in model.shards() if isinstance(part, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(True)


def _share_out(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a part that is about to be loaded its shares of whole tensors."""
    for name, place in module.named_parameters():
        if prefix + name in state:
            state[prefix + name] = shared_as(state[prefix + name], place)
