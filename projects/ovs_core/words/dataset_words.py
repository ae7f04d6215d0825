"""The words that a dataset is segmented with, read from its metadata."""

from __future__ import annotations

from detectron2.data.catalog import Metadata

from .class_lists import ClassList, load_background_words, load_class_list
from .vocabulary import Vocabulary


def dataset_vocabulary(
    metadata: Metadata,
    *,
    name_field: str = "name",
    synonym_field: str = "",
    background_words: str = "",
) -> Vocabulary:
    """Make a vocabulary of the classes that a dataset's metadata names.

    Args:
        metadata: of the dataset: ``class_list`` (name of a shipped list), ``stuff_classes``, or
            ``thing_classes`` alone; ``class_synonyms``, the texts of each, where there are several;
            ``background_classes``, indices of those that are marked as background.
        name_field: which text of the class list is encoded.
        synonym_field: field with several texts per class; takes the place of ``name_field`` for
            the classes that have it.
        background_words: name of a shipped list, appended as background entries. A dataset whose
            last class is the background (``background_rule`` last_class) names its own list in the
            metadata; its words take the place of that class.
    """
    own_words = metadata.get("background_words", "")
    replaced = bool(own_words) and metadata.get("background_rule") == "last_class"
    background_words = background_words or (own_words if replaced else "")
    extra = load_background_words(background_words) if background_words else []
    listed = metadata.get("class_list", "")
    if not listed:
        things = metadata.get("thing_dataset_id_to_contiguous_id", {}).values() or None
        names = list(metadata.get("stuff_classes") or metadata.thing_classes)
        names = names[: -1 if replaced else None]
        return Vocabulary.from_names(
            names,
            synonyms=metadata.get("class_synonyms"),
            background_words=extra,
            background=metadata.get("background_classes", ()),
            things=things,
        )
    classes = load_class_list(listed)
    if synonym_field:
        synonyms = classes.synonyms(synonym_field, single=name_field)
    else:
        synonyms = [[text] for text in classes.texts(name_field)]
    kept = _numbered(metadata, classes)[: -1 if replaced else None]
    countable = set(classes.things)
    return Vocabulary.from_names(
        [classes.names[i] for i in kept],
        synonyms=[synonyms[i] for i in kept],
        background_words=extra,
        things=[place for place, i in enumerate(kept) if i in countable] or None,
    )


def dataset_unseen(metadata: Metadata) -> tuple[int, ...]:
    """Indices of the dataset's unseen classes; empty if it has no split."""
    return tuple(metadata.get("unseen_classes", ()))


def dataset_outside(metadata: Metadata) -> tuple[int, ...]:
    """Indices of the classes that a base/novel split of boxes leaves out.

    COCO's 48/17 split leaves out 15 of 80 classes. Empty for other sets.
    """
    unseen = dataset_unseen(metadata)
    if not unseen or metadata.get("stuff_classes"):
        return ()
    inside = {*metadata.seen_classes, *unseen}
    return tuple(i for i in range(len(metadata.thing_classes)) if i not in inside)


def _numbered(metadata: Metadata, classes: ClassList) -> list[int]:
    """Places in the class list of what a dataset numbers: everything, or things alone (boxes)."""
    things = metadata.get("thing_classes") or ()
    if metadata.get("stuff_classes") or len(things) != len(classes.things):
        return list(range(len(classes.names)))
    return list(classes.things)
