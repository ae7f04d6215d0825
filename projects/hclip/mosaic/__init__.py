"""The first stage of H-CLIP's detector: CLIP adapts to captions of pictures in mosaics (CLIM)."""

from .mappers import CaptionDatasetMapper, RegionDatasetMapper
from .model import HCLIPMosaic
from .region_accuracy import RegionAccuracy

__all__ = ["CaptionDatasetMapper", "HCLIPMosaic", "RegionAccuracy", "RegionDatasetMapper"]
