"""What COCO instance, panoptic and caption files hold, field by field.

Keys that nothing reads are not looked at. An id is a number, or a text; a text that spells a number
is that number, so that ``"7"`` and ``7`` are one picture.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PlainValidator,
    StringConstraints,
    Tag,
)

from ..panoptic_png import LARGEST_ID

LONGEST_SIDE = 1_000_000
FORMS = ("polygons", "run lengths")  # of a mask


def canonical_id(value: Any) -> int | str:
    """Give the form of an id that all of its spellings share.

    Raises:
        ValueError: if it is no id.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value) if str(int(value)) == value else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ValueError("should be a number or a text that is not empty")
    return value


def _counts(value: Any) -> str | list[int]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(type(count) is int and count >= 0 for count in value):
        return value
    raise ValueError("should be a text, or a list of whole numbers from 0 on")


def _form(value: Any) -> str:
    return FORMS[isinstance(value, dict)]


AnyId = Annotated[int | str, PlainValidator(canonical_id)]
NumberId = Annotated[int, BeforeValidator(canonical_id)]
Name = Annotated[str, Field(min_length=1)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Side = Annotated[int, Field(gt=0, le=LONGEST_SIDE)]
Area = Annotated[NonNegativeFloat, Field(strict=True, allow_inf_nan=False)]
Coordinate = Annotated[FiniteFloat, Field(strict=True)]
Box = Annotated[list[Coordinate], Field(min_length=4, max_length=4)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class ListedPicture(_Entry):
    """A picture that the file lists.

    Attributes:
        id: of the picture.
        file_name: below the folder of the pictures.
        height: in pixels, None if the file does not tell.
        width: likewise.
    """

    id: AnyId
    file_name: Name
    height: Side | None = None
    width: Side | None = None


class Category(_Entry):
    """An entry of the class list of a file.

    Attributes:
        id: number that annotations name it by.
        name: of the class; None if the file does not tell.
        isthing: whether its objects are counted; None if the file does not tell.
    """

    id: NumberId
    name: Name | None = None
    isthing: bool | None = None


class ListedSegment(_Entry):
    """A segment of a panoptic PNG; keys of other programs are kept.

    Attributes:
        id: value of its pixels.
        category_id: its class.
        area: pixels, None to count them.
        bbox: left, top, width, height; read by nothing here.
        iscrowd: whether it holds several objects.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    id: Annotated[int, BeforeValidator(canonical_id), Field(ge=1, le=LARGEST_ID)]
    category_id: NumberId
    area: Area | None = None
    bbox: Box | None = None
    iscrowd: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Give the keys that the file has, ``iscrowd`` as 0 or 1."""
        stated = {key: getattr(self, key) for key in self.model_fields_set}
        known = {key: value for key, value in stated.items() if value is not None}
        return {**known, "iscrowd": int(self.iscrowd)}


class PanopticAnnotation(_Entry):
    """The segments of a picture.

    Attributes:
        image_id: id of the picture.
        file_name: of the panoptic PNG.
        segments_info: its segments.
    """

    image_id: AnyId
    file_name: Name
    segments_info: list[ListedSegment]


class RunLengths(_Entry):
    """A mask as lengths of runs down the columns, in turn outside and inside.

    Attributes:
        size: height and width.
        counts: lengths, or the text that pycocotools packs them into.
    """

    size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    counts: Annotated[str | list[int], PlainValidator(_counts)]


Polygons = list[list[Coordinate]]
Mask = Annotated[
    Annotated[Polygons, Tag(FORMS[0])] | Annotated[RunLengths, Tag(FORMS[1])],
    Discriminator(_form),
]


class InstanceAnnotation(_Entry):
    """An object.

    Attributes:
        id: of the annotation.
        image_id: id of the picture.
        category_id: its class.
        bbox: left, top, width, height; None to measure it from the mask.
        area: pixels of the mask; None to measure it.
        iscrowd: whether it stands for several objects.
        segmentation: polygons (x, y, x, y, ...) or run lengths; None or empty without a mask.
    """

    id: NumberId
    image_id: AnyId
    category_id: NumberId
    bbox: Box | None = None
    area: Area | None = None
    iscrowd: bool = False
    segmentation: Mask | None = None


class CaptionAnnotation(_Entry):
    """A sentence about a picture.

    Attributes:
        id: of the annotation.
        image_id: id of the picture.
        caption: the sentence.
    """

    id: NumberId
    image_id: AnyId
    caption: Sentence


class PictureSchema(_Entry):
    """What all kinds of files hold.

    Attributes:
        images: pictures.
    """

    images: list[ListedPicture] = []

    def faults(self) -> list[str]:
        """Ids that stand twice, each with its entry."""
        return repeated("images", [picture.id for picture in self.images])


class AnnotationSchema(PictureSchema):
    """What files hold whose annotations have classes.

    Attributes:
        images: pictures.
        categories: classes.
    """

    categories: list[Category]

    def faults(self) -> list[str]:
        """Ids that stand twice, each with its entry."""
        ids = [category.id for category in self.categories]
        return [*super().faults(), *repeated("categories", ids)]


class PanopticSchema(AnnotationSchema):
    """A COCO panoptic file.

    Attributes:
        annotations: one per picture.
    """

    annotations: Annotated[list[PanopticAnnotation], Field(min_length=1)]

    def faults(self) -> list[str]:
        """Ids that stand twice, and pictures of annotations that are not listed."""
        found, ids = super().faults(), [a.image_id for a in self.annotations]
        found += repeated("annotations", ids, "image_id")
        for place, annotation in enumerate(self.annotations):
            where = f"annotations[{place}].segments_info"
            found += repeated(where, [segment.id for segment in annotation.segments_info])
        return found + (unlisted(ids, self.images) if self.images else [])


class InstanceSchema(AnnotationSchema):
    """A COCO instance file.

    Attributes:
        annotations: any number per picture.
    """

    images: Annotated[list[ListedPicture], Field(min_length=1)]
    annotations: list[InstanceAnnotation]

    def faults(self) -> list[str]:
        """Ids that stand twice, and pictures of annotations that are not listed."""
        return [
            *super().faults(),
            *repeated("annotations", [annotation.id for annotation in self.annotations]),
            *unlisted([annotation.image_id for annotation in self.annotations], self.images),
        ]


class CaptionSchema(PictureSchema):
    """A COCO caption file.

    Attributes:
        images: pictures.
        annotations: at least one per picture.
    """

    images: Annotated[list[ListedPicture], Field(min_length=1)]
    annotations: list[CaptionAnnotation]

    def faults(self) -> list[str]:
        """Ids that stand twice, pictures that are not listed, and such without a caption."""
        told = {annotation.image_id for annotation in self.annotations}
        return [
            *super().faults(),
            *repeated("annotations", [annotation.id for annotation in self.annotations]),
            *unlisted([annotation.image_id for annotation in self.annotations], self.images),
            *(
                f"images[{place}].id: no annotation has a caption of picture {picture.id!r}"
                for place, picture in enumerate(self.images)
                if picture.id not in told
            ),
        ]


def repeated(where: str, ids: list[Any], key: str = "id") -> list[str]:
    """Name the entries of a list whose id stands before them already."""
    if len(set(ids)) == len(ids):
        return []
    first: dict[Any, int] = {}
    return [
        f"{where}[{place}].{key}: {id_!r} occurs more than once (first in {where}[{first[id_]}])"
        for place, id_ in enumerate(ids)
        if first.setdefault(id_, place) != place
    ]


def unlisted(image_ids: list[Any], pictures: list[ListedPicture]) -> list[str]:
    """Name the annotations of pictures that ``images`` does not list."""
    listed = {picture.id for picture in pictures}
    return [
        f"annotations[{place}].image_id: no picture of the list 'images' has the id {id_!r}"
        for place, id_ in enumerate(image_ids)
        if id_ not in listed
    ]
