"""From a COCO caption file to Detectron2 dataset dicts."""

from __future__ import annotations

from .annotations import CaptionSchema, read_annotations
from .records import Record, refuse_missing
from .sources import Source, files_by_key


def caption_records(source: Source, *, dataset_name: str) -> list[Record]:
    """Read a COCO caption JSON.

    Args:
        source: with ``images`` and ``annotations``.
        dataset_name: written into each record.

    Returns:
        One dict per picture of the JSON, with ``captions``, its sentences in the order of the file.

    Raises:
        UserError: names the fields of the JSON that are wrong, pictures that are missing, or such
            without a caption.
    """
    path = source.path_of("annotations")
    content = read_annotations(path, CaptionSchema)
    files = files_by_key(source.images, ("",), recursive=source.recursive)
    refuse_missing(source.images, {p.file_name for p in content.images} - files.keys(), path)
    captions: dict[int | str, list[str]] = {picture.id: [] for picture in content.images}
    for annotation in content.annotations:
        captions[annotation.image_id].append(annotation.caption)
    sizes = {
        p.id: {"height": p.height, "width": p.width}
        for p in content.images
        if p.height is not None and p.width is not None
    }
    return [
        {
            "file_name": files[picture.file_name],
            "image_id": picture.id,
            **sizes.get(picture.id, {}),
            "captions": captions[picture.id],
            "dataset_name": dataset_name,
        }
        for picture in content.images
    ]
