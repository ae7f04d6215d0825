"""One configuration is one objective, however its batch is split."""

import torch

from tests.ovs_core.engine import splits

LOSSES, GRADIENTS = 1e-5, 1e-4  # relative

SMALL_HCLIP = [
    "MODEL.CATSEG.IMAGE_SIZE", "48", "INPUT.CROP.SIZE", "[64,64]", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.SIZE_DIVISIBILITY", "-1",
]  # fmt: skip
CATSEG = [*SMALL_HCLIP, "MODEL.META_ARCHITECTURE", "CATSeg", "MODEL.CATSEG.FINETUNE"]
SMALL_CROP = ["INPUT.MMSEG.CROP", "64", "INPUT.MMSEG.SHORT_SIDE", "96"]
SPTSEG = ["MODEL.SPTSEG.CROP", "64", *SMALL_CROP]
MASKS = ["MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64", "MODEL.MASK_FORMER.DEC_LAYERS", "2"]
SEMANTIC = [*MASKS, "INPUT.MIN_SIZE_TRAIN", "(128,)", "INPUT.CROP.SIZE", "[128,128]"]
PANOPTIC = [*MASKS, "INPUT.IMAGE_SIZE", "128"]
TEACHER = "MODEL.CLIPTEACHER."
CLIPTEACHER = [*SMALL_CROP, f"{TEACHER}PICTURES_PER_GROUP", "2"]
# Few anchors, so that no two of them are so alike that rounding decides which is better.
DETECTION = [
    "INPUT.IMAGE_SIZE", "64", "MODEL.RPN.IN_FEATURES", "['p3','p4','p5']",
    "MODEL.ANCHOR_GENERATOR.SIZES", "[[16],[32],[64]]",
]  # fmt: skip

DAILY = {
    "hclip": ("hclip/tiny", SMALL_HCLIP),
    # fewer places than words: the padding token takes no part
    "catseg": ("hclip/tiny", [*CATSEG, "attention", "MODEL.CATSEG.LOSS", "bce",
                              "MODEL.CATSEG.PAD_LEN", "5"]),
    "sptseg": ("sptseg/tiny", SPTSEG),
    "zegclip": ("sptseg/tiny_zegclip", SPTSEG),
    "clipteacher": ("clipteacher/tiny", [*CLIPTEACHER, f"{TEACHER}STUDENT.SYNC_BN", "False"]),
    "maftplus": ("maftplus/tiny", SEMANTIC),
    "maftplus_panoptic": ("maftplus/tiny_panoptic", PANOPTIC),
    "fcclip": ("maftplus/tiny_fcclip", PANOPTIC),
    "detection": ("hclip/detection/tiny", DETECTION),
}  # fmt: skip


def compare(name, split, folder):
    """Largest relative differences of losses and of gradients from those of one process."""
    one, other = (splits.results(s, name, folder) for s in (splits.ONE, split))
    worst = 0.0
    for a, b in zip(one["losses"], other["losses"], strict=True):
        assert a.keys() == b.keys(), a.keys() ^ b.keys()
        worst = max([worst, *(abs(a[n] - b[n]) / max(abs(a[n]), 1e-3) for n in a)])
    gradients = 0.0
    for a, b in zip(one["gradients"], other["gradients"], strict=True):
        assert a.keys() == b.keys(), a.keys() ^ b.keys()
        size = torch.cat([g.flatten() for g in a.values()]).norm()
        off = torch.cat([(a[n] - b[n]).flatten() for n in a]).norm()
        gradients = max(gradients, float(off / size))
    return worst, gradients
