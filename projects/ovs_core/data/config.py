"""Config keys of datasets and mappers."""

from __future__ import annotations

from detectron2.config import CfgNode

from ..methods.ranges import above, at_least, between, declare_ranges, list_of, texts

declare_ranges(
    "INPUT",
    MIN_SIZE_TRAIN=list_of(at_least(1), least=1),
    MAX_SIZE_TRAIN=at_least(1),
    MIN_SIZE_TEST=at_least(0),
    MAX_SIZE_TEST=at_least(1),
    SIZE_DIVISIBILITY=at_least(1, also=(-1,)),
    IMAGE_SIZE=at_least(1),
    MIN_SCALE=above(0),
    MAX_SCALE=above(0),
)
declare_ranges(
    "INPUT.CROP", SINGLE_CATEGORY_MAX_AREA=between(0, 1), SIZE=list_of(above(0), least=2, most=2)
)
declare_ranges(
    "INPUT.MMSEG",
    CROP=at_least(1),
    SCALE=list_of(at_least(1), least=2, most=2),
    RATIO=list_of(above(0), least=2, most=2),
    MAX_CLASS_SHARE=between(0, 1),
    FLIP=between(0, 1),
    SHORT_SIDE=at_least(0),
    LONG_SIDE=at_least(0),
)
declare_ranges("DATASETS", YAML=texts(), TRAIN=texts(), TEST=texts())
declare_ranges("DATALOADER", NUM_WORKERS=at_least(0))


def add_data_config(cfg: CfgNode) -> None:
    """Add the keys of the data part to Detectron2's defaults, in place."""
    cfg.INPUT.FORMAT = "RGB"  # order of the channels that the model gets
    # Training: pad right and bottom to a multiple of this side (grey 128, labels ignore); -1: no.
    cfg.INPUT.SIZE_DIVISIBILITY = -1
    cfg.INPUT.COLOR_AUG_SSD = False  # training: brightness, contrast, saturation, hue as in SSD
    # Training: a crop that one class fills by more than this share is redrawn; 1.0: never.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Turn a picture as its EXIF tag says, as Detectron2 does; labels must match the turned picture.
    cfg.INPUT.EXIF = True
    # Names in DATASET_MAPPER_REGISTRY of what reads and augments samples.
    cfg.INPUT.MAPPER = "SemanticDatasetMapper"  # training
    cfg.INPUT.TEST_MAPPER = "SemanticDatasetMapper"
    # Large-scale jitter: side of the square that training pictures are put into, and the range of
    # random factors on it.
    cfg.INPUT.IMAGE_SIZE = 1024
    cfg.INPUT.MIN_SCALE = 0.1
    cfg.INPUT.MAX_SCALE = 2.0
    # DetectionDatasetMapper: "jitter", or "resize" for Detectron2's own resize, crop and flip.
    cfg.INPUT.BOX_AUGMENTATION = "jitter"
    _add_mmseg_keys(cfg)
    cfg.DATASETS.YAML = []  # files that describe own datasets; their names then work everywhere
    # Training: pixels of unseen classes: "keep", "ignore" (as unlabelled) or "mark" (value -1).
    # Boxes of unseen classes: "keep" or "ignore" (left out).
    cfg.DATASETS.UNSEEN_LABELS = "keep"
    cfg.DATASETS.RENUMBER_SEEN = False  # training: seen classes become 0..S-1 in their order


def _add_mmseg_keys(cfg: CfgNode) -> None:
    """Keys of MMSegDatasetMapper, used instead of INPUT's resize, crop, colour and flip keys."""
    node = cfg.INPUT.MMSEG = CfgNode()
    node.CROP = 512  # side of training crops
    node.SCALE = [2048, 512]  # limits of the long and the short side at ratio 1
    node.RATIO = [0.5, 2.0]  # range of the random factor on SCALE
    node.MAX_CLASS_SHARE = 0.75  # a crop is redrawn while one class has this share of its labels
    node.FLIP = 0.5  # probability of mirroring
    node.PHOTOMETRIC = True  # brightness, contrast, saturation, hue
    node.SHORT_SIDE = 512  # test pictures: short side in pixels; 0 keeps their size
    node.LONG_SIDE = 0  # test pictures: most pixels of the long side; 0 for no limit
