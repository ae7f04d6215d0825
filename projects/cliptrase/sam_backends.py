"""Loading a SAM, through the package ``segment-anything`` or through ``transformers``.

Letters: P points, M masks, H x W picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ovs_core.clip import read_weight_file
from ovs_core.errors import UserError, check_choice
from ovs_core.files.weights_folder import find_in_weights_folder
from ovs_core.load_report import load_weights

from .sam import PointPredictor
from .sam_transformers import load_transformers

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

KEY = "MODEL.CLIPTRASE.SAM"
BACKENDS = ("segment_anything", "transformers")
INSTALL = "pip install -e '.[sam]'"


def load_predictor(backend: str, model: str, weights: str, device: str) -> PointPredictor:
    """Load a SAM.

    Args:
        backend: ``segment_anything`` or ``transformers``.
        model: ``vit_b``, ``vit_l`` or ``vit_h`` (``segment_anything`` only).
        weights: its published file; for ``transformers`` a local folder or hub id, of SAM or SAM 2.
        device: where it runs.

    Raises:
        UserError: if the package is not installed, or name or weights are wrong.
    """
    check_choice(f"{KEY}.BACKEND", backend, BACKENDS)
    if backend == "segment_anything":
        return SegmentAnything(_load_published(model, weights), device)
    return load_transformers(weights, device)


class SegmentAnything:
    """SAM through the ``segment-anything`` package.

    Args:
        model: the SAM.
        device: where it runs.
    """

    def __init__(self, model: Sam, device: str = "cpu") -> None:
        from segment_anything import SamPredictor

        self._predictor = SamPredictor(model.to(device).eval())

    def set_image(self, image: np.ndarray) -> None:
        """Encode an (H, W, 3) uint8 RGB picture."""
        self._predictor.set_image(image)

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points, see ``PointPredictor``."""
        return self._predictor.predict(
            coords, labels, multimask_output=multimask_output, return_logits=True
        )


def _load_published(name: str, weights: str) -> Sam:
    try:
        from segment_anything import sam_model_registry
    except ImportError as error:
        raise UserError(f"{KEY} needs the package segment-anything; {INSTALL}") from error
    check_choice(f"{KEY}.MODEL", name, sorted(sam_model_registry))
    if not weights or not find_in_weights_folder(weights).is_file():
        raise UserError(f"{KEY}.WEIGHTS: {weights or 'empty'}; give SAM's published .pth file")
    model = sam_model_registry[name]()
    tensors, mend = read_weight_file(weights).tensors, f"set {KEY}.MODEL to that of the weights"
    load_weights(model, tensors, source=weights, owner="this SAM", mend=mend)
    return model
