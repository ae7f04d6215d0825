"""ProxyCLIP (Lan et al., ECCV 2024): DINO says which patches belong together, CLIP names them."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import above, at_least
from ovs_core.modeling.segmenter import SegmenterArguments

from ..dino import DinoFeatures, load_vit
from ..proxy import ProxyRule, ProxyTower
from .registry import KEY, Parts, register_method
from .shared import cosine_scorer, position_rule


@register_method(
    keys={
        "MODEL": "vit_base_patch8_224.dino",  # timm's name; also vit_base_patch14_reg4_dinov2
        "WEIGHTS": "",  # file with timm's or torch.hub's weights; timm fetches them; random
        "POSITIONS": "auto",  # dino, size_antialias; auto: as the network was released
        "BETA": 1.2,  # cosines below this many times their mean do not count
        "GAMMA": 3.0,  # factor before the softmax
    },
    ranges={"BETA": at_least(0), "GAMMA": above(0)},
)
def proxyclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Values of the last block are averaged where the other network's features agree."""
    node, clip = cfg.MODEL.CLIPTRASE.PROXYCLIP, shared["clip"]
    vit = load_vit(node.MODEL, node.WEIGHTS, cfg.MODEL.DEVICE, group=f"{KEY}.PROXYCLIP")
    network = DinoFeatures(vit, clip, node.POSITIONS)
    rule = ProxyRule(node.BETA, node.GAMMA)
    return {
        "tower": ProxyTower(clip.visual, network, rule, position_rule(cfg)),
        "scorer": cosine_scorer(cfg, clip),
    }
