"""Annotation files of COCO's forms: what they must hold, and reading them.

Loaders, evaluators and the dataset check read these files here and nowhere else.
"""

from .reading import read_annotations, refuse_faults
from .schema import (
    AnnotationSchema,
    CaptionSchema,
    Category,
    InstanceAnnotation,
    InstanceSchema,
    ListedPicture,
    ListedSegment,
    PanopticAnnotation,
    PanopticSchema,
    PictureSchema,
    canonical_id,
)

__all__ = [
    "PictureSchema",
    "AnnotationSchema",
    "CaptionSchema",
    "Category",
    "InstanceAnnotation",
    "InstanceSchema",
    "PanopticAnnotation",
    "PanopticSchema",
    "ListedPicture",
    "ListedSegment",
    "canonical_id",
    "read_annotations",
    "refuse_faults",
]
