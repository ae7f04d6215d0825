"""One configuration is one objective, however its batch is split."""

import pytest
import torch

from ovs_core.errors import UserError
from tests.ovs_core.engine import splits

LOSSES, GRADIENTS = 1e-5, 1e-4  # relative

SMALL_HCLIP = [
    "MODEL.CATSEG.IMAGE_SIZE", "48", "INPUT.CROP.SIZE", "[64,64]", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.SIZE_DIVISIBILITY", "-1",
]  # fmt: skip
CATSEG = [*SMALL_HCLIP, "MODEL.META_ARCHITECTURE", "CATSeg", "MODEL.CATSEG.FINETUNE"]
SMALL_CROP = ["INPUT.MMSEG.CROP", "64", "INPUT.MMSEG.SHORT_SIDE", "96"]
SPTSEG = ["MODEL.SPTSEG.CROP", "64", "SOLVER.BASE_LR", "1e-6", *SMALL_CROP]
DROPOUT = [
    "MODEL.SPTSEG.DECODER.DROPOUT", "0.1", "MODEL.SPTSEG.DECODER.ATTENTION_DROPOUT", "0.1",
    "MODEL.SPTSEG.PROMPTS.DROPOUT", "0.1", "DATASETS.UNSEEN_LABELS", "keep",
]  # fmt: skip
MASKS = ["MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64", "MODEL.MASK_FORMER.DEC_LAYERS", "2"]
SAN = [
    "MODEL.SAN.TRAIN_NUM_POINTS", "64", "INPUT.CROP.SIZE", "[64,64]", "INPUT.SIZE_DIVISIBILITY",
    "-1", "INPUT.MIN_SIZE_TRAIN", "(48,64)", "MODEL.SIDE_ADAPTER.DROP_PATH_RATE", "0.2",
]  # fmt: skip
SEMANTIC = [*MASKS, "INPUT.MIN_SIZE_TRAIN", "(128,)", "INPUT.CROP.SIZE", "[128,128]"]
PANOPTIC = [*MASKS, "INPUT.IMAGE_SIZE", "128"]
TEACHER = "MODEL.CLIPTEACHER."
CLIPTEACHER = [*SMALL_CROP, f"{TEACHER}PICTURES_PER_GROUP", "2"]
# Few anchors, so that no two of them are so alike that rounding decides which is better.
DETECTION = [
    "INPUT.IMAGE_SIZE", "64", "MODEL.RPN.IN_FEATURES", "['p3','p4','p5']",
    "MODEL.ANCHOR_GENERATOR.SIZES", "[[16],[32],[64]]",
]  # fmt: skip

OWN_NORMS = [f"{TEACHER}STUDENT.SYNC_BN", "False"]  # batch norms of each group
# Of the daily set: every kind of count, what is random, an unused parameter, groups.
FEW = {
    # fewer places than words: the padding token takes no part
    "catseg": ("hclip/tiny", [*CATSEG, "attention", "MODEL.CATSEG.LOSS", "bce",
                              "MODEL.CATSEG.PAD_LEN", "5"]),
    "sptseg": ("sptseg/tiny", SPTSEG),  # takes its start from the first step
    "zegclip": ("sptseg/tiny_zegclip", SPTSEG),
    "clipteacher": ("clipteacher/tiny", [*CLIPTEACHER, *OWN_NORMS]),
    "fcclip": ("maftplus/tiny_fcclip", PANOPTIC),
}  # fmt: skip
MORE = {
    "hclip": {
        "hclip": ("hclip/tiny", SMALL_HCLIP),
        **{
            mode: ("hclip/tiny", [*CATSEG, mode])
            for mode in ("oft", "full", "freeze", "lora", "vpt", "adapter", "lst", "ssf")
        },
    },
    "sptseg": {
        "transductive": ("sptseg/tiny", [*SPTSEG, "MODEL.SPTSEG.MODE", "transductive", *DROPOUT]),
    },
    "clipteacher": {
        "own_bank": (
            "clipteacher/tiny", [*CLIPTEACHER, *OWN_NORMS, f"{TEACHER}GLM.GATHER", "False"]
        ),
        "segnext": (
            "clipteacher/tiny", [*CLIPTEACHER, *OWN_NORMS, f"{TEACHER}STUDENT.NAME", "segnext_t"]
        ),
    },
    "maftplus": {
        "maftplus": ("maftplus/tiny", SEMANTIC),
        "drop_path": ("maftplus/tiny", [*SEMANTIC, "MODEL.MAFTPLUS.DROP_PATH", "both"]),
        "panoptic": ("maftplus/tiny_panoptic", PANOPTIC),
    },
    "san": {"san": ("san/tiny", SAN)},
    "detection": {"detection": ("hclip/detection/tiny", DETECTION)},
}  # fmt: skip
# Batch norms over all pictures of a step, which no accumulation gives.
SYNCHRONISED = {"synchronised": ("clipteacher/tiny", CLIPTEACHER)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the trainings of this file leave what they did."""
    return tmp_path_factory.mktemp("splits")


def test_a_split_training_is_the_training_of_one_process(folder):
    for split in (splits.ONE, splits.Split(2, 2)):
        splits.run(split, FEW, folder)
    assert_equal(splits.Split(2, 2), FEW, folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["few", *MORE])
@pytest.mark.parametrize("split", splits.SPLITS, ids=lambda split: split.name)
def test_every_training_on_every_split(split, kind, folder):
    if kind != "few" and split.processes > 1 and split.accumulate > 1:
        pytest.skip("both at once is held for the kinds of count alone")
    cases = FEW if kind == "few" else MORE[kind]
    if kind == "clipteacher" and split.accumulate == 1:
        cases = {**cases, **SYNCHRONISED}
    for one in (splits.ONE, split):
        new = {n: case for n, case in cases.items() if not splits.kept(one, n, folder)}
        splits.run(one, new, folder)
    assert_equal(split, cases, folder)


def test_a_run_goes_on_with_other_processes(tmp_path):
    cases = {name: FEW[name] for name in ("zegclip", "clipteacher")}
    first, second = splits.Split(2), splits.Split(1, 2)
    splits.run(splits.ONE, cases, tmp_path, into="whole")
    splits.run(first, cases, tmp_path, into="run", stop=1)
    splits.run(second, cases, tmp_path, into="run", resume=True)
    for name in cases:
        whole = splits.results(splits.ONE, name, tmp_path)
        parts = [splits.results(split, name, tmp_path) for split in (first, second)]
        joined = {kind: parts[0][kind] + parts[1][kind] for kind in whole}
        losses, gradients = differences(whole, joined)
        assert losses < LOSSES and gradients < GRADIENTS, name


@pytest.mark.parametrize(
    "case, split, message",
    [
        ("clipteacher", splits.Split(1, 8), "PICTURES_PER_GROUP 2: the 1 pictures"),
        ("synchronised", splits.Split(1, 2), "SYNC_BN True: SOLVER.ACCUMULATE 2 shows"),
    ],
)
def test_a_split_that_makes_another_training_is_refused(case, split, message, tmp_path):
    with pytest.raises(UserError, match=message):
        splits.train(*{**FEW, **SYNCHRONISED}[case], split, tmp_path)


def assert_equal(split, cases, folder):
    """Fail with a line for each training that differs from that of one process."""
    off = []
    for name in cases:
        losses, gradients = compare(name, split, folder)
        if losses > LOSSES or gradients > GRADIENTS:
            off.append(f"{name} {split.name}: losses {losses:.1e}, gradients {gradients:.1e}")
    assert not off, "\n".join(off)


def compare(name, split, folder):
    """Largest relative differences of losses and of gradients from those of one process."""
    return differences(*(splits.results(s, name, folder) for s in (splits.ONE, split)))


def differences(one, other):
    """Largest relative differences of losses, and of gradients to their common length."""
    losses = gradients = 0.0
    for a, b in zip(one["losses"], other["losses"], strict=True):
        assert a.keys() == b.keys(), a.keys() ^ b.keys()
        losses = max([losses, *(abs(a[n] - b[n]) / max(abs(a[n]), 1e-3) for n in a)])
    for a, b in zip(one["gradients"], other["gradients"], strict=True):
        assert a.keys() == b.keys(), a.keys() ^ b.keys()
        size = torch.cat([g.flatten() for g in a.values()]).norm()
        off = torch.cat([(a[n] - b[n]).flatten() for n in a]).norm()
        gradients = max(gradients, float(off / size))
    return losses, gradients
