"""SAM and SAM 2 through Hugging Face transformers; the weights' own ``config.json`` says which.

Letters: P points, M masks, H x W picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.errors import UserError

from .sam import PointPredictor

if TYPE_CHECKING:
    from transformers import Sam2Model, SamModel

KEY = "MODEL.CLIPTRASE.SAM"
FIRST = ("sam",)
SECOND = ("sam2", "sam2_video")  # the published files of SAM 2 also hold what follows a video


def load_transformers(source: str, device: str) -> PointPredictor:
    """Load a SAM or a SAM 2.

    Args:
        source: local folder or hub id, weights in safetensors.
        device: where it runs.

    Raises:
        UserError: without the package or a source, or if it holds neither, or not all of one.
    """
    try:
        from transformers import AutoConfig, Sam2Model, SamModel
    except ImportError as error:
        raise UserError(
            f"{KEY}.BACKEND transformers needs that package; pip install 'transformers>=5'"
        ) from error
    if not source:
        raise UserError(f"{KEY}.WEIGHTS is empty; give a folder or a hub id")
    try:
        kind = AutoConfig.from_pretrained(source).model_type
        if kind not in (*FIRST, *SECOND):
            raise UserError(f"{KEY}.WEIGHTS: {source} holds a {kind}, not a SAM or SAM 2")
        first = kind in FIRST
        model, info = (SamModel if first else Sam2Model).from_pretrained(
            source, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{KEY}.WEIGHTS: {source} holds no SAM in safetensors ({error})") from error
    if missing := sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}):
        raise UserError(
            f"{KEY}.WEIGHTS: {source} lacks {len(missing)} tensors, such as {missing[0]}; fetch it "
            "again"
        )
    return TransformersSam(model, device) if first else TransformersSam2(model, device)


class TransformersSam:
    """SAM: the longest side of a picture is brought to the network's, the rest is padding.

    Args:
        model: the SAM.
        device: where it runs.
    """

    def __init__(self, model: SamModel, device: str = "cpu") -> None:
        from transformers import SamImageProcessor

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
        self._embedding = _encode(self._model, inputs)

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points, see ``PointPredictor``."""
        original = self._inputs["original_sizes"][0].numpy()
        scale = self._inputs["reshaped_input_sizes"][0].numpy() / original
        out = _prompt(self._model, self._embedding, coords * scale[::-1], labels, multimask_output)
        small = out.pred_masks.cpu()
        masks = self._processor.post_process_masks(small, **self._inputs, binarize=False)
        return masks[0][0].numpy(), out.iou_scores.cpu().numpy()[0, 0], small.numpy()[0, 0]


class TransformersSam2:
    """SAM 2: a picture is squashed to the network's square.

    Args:
        model: the SAM 2.
        device: where it runs.
    """

    def __init__(self, model: Sam2Model, device: str = "cpu") -> None:
        from transformers import Sam2ImageProcessor

        self._model = model.to(device).eval()
        size = model.config.prompt_encoder_config.image_size
        self._side = size if isinstance(size, int) else int(size[0])
        self._processor = Sam2ImageProcessor(size={"height": self._side, "width": self._side})
        self._size = (0, 0)
        self._embedding: list[Tensor] = []

    def set_image(self, image: np.ndarray) -> None:
        """Encode an (H, W, 3) uint8 RGB picture."""
        self._size = (image.shape[0], image.shape[1])
        self._embedding = _encode(self._model, self._processor(image, return_tensors="pt"))

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points, see ``PointPredictor``."""
        scale = self._side / np.array(self._size[::-1], dtype=np.float64)  # of x, y
        out = _prompt(self._model, self._embedding, coords * scale, labels, multimask_output)
        small = out.pred_masks.cpu()
        masks = self._processor.post_process_masks([small[0]], [self._size], binarize=False)
        return masks[0][0].numpy(), out.iou_scores.cpu().numpy()[0, 0], small.numpy()[0, 0]


@torch.no_grad()
def _encode(model: Any, inputs: Mapping[str, Tensor]) -> Any:
    """What the mask decoder asks of a picture that its processor has prepared."""
    return model.get_image_embeddings(inputs["pixel_values"].to(model.device))


def _prompt(
    model: Any, embedding: Any, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
) -> Any:
    """Run the mask decoder on one group of points in pixels of the network's picture."""
    with torch.no_grad():
        return model(
            image_embeddings=embedding,
            input_points=torch.from_numpy(coords.copy()).float()[None, None].to(model.device),
            input_labels=torch.from_numpy(labels)[None, None].to(model.device),
            multimask_output=multimask_output,
        )
