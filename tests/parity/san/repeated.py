"""Settings of the reference files on which no result depends beyond the arrays."""

from __future__ import annotations

REPEATED = {
    "num_classes": "the class names have it",
    "gain": "how the weights were drawn",
    "light": "which results were stored",
    "sizes": "the pictures have them",
    "all_ignored": "the label map shows it",
}
# The criterion gets scores and masks; no tower takes part.
WITHOUT_TOWER = REPEATED | {
    name: "of the tower, which takes no part"
    for name in ("image_size", "patch", "width", "layers", "head_width", "embed", "names")
}
