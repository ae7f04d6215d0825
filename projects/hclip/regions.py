"""Mean features of regions."""

from __future__ import annotations

from detectron2.modeling.poolers import ROIPooler


def region_pooler(stride: int) -> ROIPooler:
    """Build what takes the mean of a map in boxes: RoIAlign to one cell.

    Args:
        stride: pixels of a cell of the map.
    """
    return ROIPooler(1, (1 / stride,), sampling_ratio=0, pooler_type="ROIAlignV2")
