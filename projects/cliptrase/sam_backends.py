"""Loading a SAM, through the package ``segment-anything`` or through ``transformers``.

Letters: P points, M masks, H x W picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.clip import read_weight_file
from ovs_core.errors import UserError, check_choice
from ovs_core.load_report import load_weights

from .sam import PointPredictor

KEY = "MODEL.CLIPTRASE.SAM"
BACKENDS = ("segment_anything", "transformers")
INSTALL = "pip install -e '.[sam]'"


def load_predictor(backend: str, model: str, weights: str, device: str) -> PointPredictor:
    """Load a SAM.

    Args:
        backend: ``segment_anything`` or ``transformers``.
        model: ``vit_b``, ``vit_l`` or ``vit_h`` (``segment_anything`` only).
        weights: its published file; for ``transformers`` a local folder or hub id.
        device: where it runs.

    Raises:
        UserError: if the package is not installed, or name or weights are wrong.
    """
    check_choice(f"{KEY}.BACKEND", backend, BACKENDS)
    if backend == "segment_anything":
        return SegmentAnything(model, weights, device)
    return TransformersSam(weights, device)


class SegmentAnything:
    """SAM through the ``segment-anything`` package.

    Args:
        model: name in its registry, or a built ``Sam``.
        weights: file with its state dict; unused for a built one.
        device: where it runs.
    """

    def __init__(self, model: Any, weights: str = "", device: str = "cpu") -> None:
        try:
            from segment_anything import SamPredictor, sam_model_registry
        except ImportError as error:
            raise UserError(f"{KEY} needs the package segment-anything; {INSTALL}") from error
        if isinstance(model, str):
            check_choice(f"{KEY}.MODEL", model, sorted(sam_model_registry))
            tensors = _read_weights(weights)
            model = sam_model_registry[model]()
            mend = f"set {KEY}.MODEL to that of the weights"
            load_weights(model, tensors, source=weights, owner="this SAM", mend=mend)
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


class TransformersSam:
    """SAM through Hugging Face transformers.

    Args:
        source: local folder or hub id, or a built ``SamModel``.
        device: where it runs.
    """

    def __init__(self, source: Any, device: str = "cpu") -> None:
        try:
            from transformers import SamImageProcessor, SamModel
        except ImportError as error:
            raise UserError(
                f"{KEY}.BACKEND transformers needs that package; pip install transformers"
            ) from error
        if isinstance(source, str):
            if not source:
                raise UserError(f"{KEY}.WEIGHTS is empty; give a folder or a hub id")
            try:
                model = SamModel.from_pretrained(source, use_safetensors=True)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{KEY}.WEIGHTS: {source} holds no SAM in safetensors ({error})"
                ) from error
        else:
            model = source
        self._model = model.to(device).eval()
        side = model.config.vision_config.image_size
        self._processor = SamImageProcessor(
            size={"longest_edge": side}, pad_size={"height": side, "width": side}
        )
        self._inputs: dict[str, Any] = {}
        self._embedding: Tensor | None = None

    def set_image(self, image: np.ndarray) -> None:
        """Encode an (H, W, 3) uint8 RGB picture."""
        inputs = self._processor(image, return_tensors="pt")
        self._inputs = {k: inputs[k] for k in ("original_sizes", "reshaped_input_sizes")}
        with torch.no_grad():
            pixels = inputs["pixel_values"].to(self._model.device)
            self._embedding = self._model.get_image_embeddings(pixels)

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points, see ``PointPredictor``."""
        original = self._inputs["original_sizes"][0].numpy()
        scale = self._inputs["reshaped_input_sizes"][0].numpy() / original
        points = torch.from_numpy(coords * scale[::-1]).float()[None, None]
        device = self._model.device
        with torch.no_grad():
            out = self._model(
                image_embeddings=self._embedding,
                input_points=points.to(device),
                input_labels=torch.from_numpy(labels)[None, None].to(device),
                multimask_output=multimask_output,
            )
        small = out.pred_masks.cpu()
        masks = self._processor.post_process_masks(small, **self._inputs, binarize=False)
        return masks[0][0].numpy(), out.iou_scores.cpu().numpy()[0, 0], small.numpy()[0, 0]


def _read_weights(weights: str) -> dict[str, Tensor]:
    if not weights or not Path(weights).is_file():
        raise UserError(f"{KEY}.WEIGHTS: {weights or 'empty'}; give SAM's published .pth file")
    return read_weight_file(weights).tensors
