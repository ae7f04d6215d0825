"""Masks from SAM: patches of a cluster become point prompts (section 4.4; no code was released).

Foreground points are the patch centres of a cluster, background points those of the others.
Denoising comes first, since one wrong point spoils a mask. Completions of ours: noise patches give
no points, points of a cluster may be thinned out, one mask per prompt, and pixels that no mask
claims keep the cluster that the prototypes give them. Letters: N = h * w patches, K clusters, P
points, H x W picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ovs_core.clip import read_weight_file
from ovs_core.errors import UserError, nearest

BACKENDS = ("segment_anything", "transformers")
INSTALL = "pip install -e '.[sam]'"


class PointPredictor(Protocol):
    """What is needed of a SAM."""

    def set_image(self, image: np.ndarray) -> None:
        """Take an (H, W, 3) uint8 RGB picture."""

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points.

        Args:
            coords: (P, 2) x, y in pixels of the picture.
            labels: (P,) 1 for foreground, 0 for background.
            multimask_output: whether several masks are given.

        Returns:
            (M, H, W) mask logits at the picture's size, (M,) scores, (M, h', w') small logits.
        """


def cluster_points(
    labels: Tensor, grid: tuple[int, int], size: tuple[int, int], *, limit: int = 0
) -> list[np.ndarray]:
    """Give the patch centres of each cluster in pixels.

    Args:
        labels: (N,) cluster numbers, -1 for noise, which gives no points.
        grid: (h, w).
        size: (H, W).
        limit: at most so many points per cluster, evenly spread over its patches; 0 for all.

    Returns:
        K arrays (P_k, 2) of x, y.
    """
    index = torch.arange(len(labels), device=labels.device)
    x = (index % grid[1] + 0.5) * (size[1] / grid[1])
    y = (index // grid[1] + 0.5) * (size[0] / grid[0])
    centres = torch.stack([x, y], dim=1).cpu().numpy()
    numbers = labels.cpu().numpy()
    groups = [centres[numbers == k] for k in range(int(numbers.max(initial=-1)) + 1)]
    return [_thin(points, limit) for points in groups]


def sam_masks(
    predictor: PointPredictor,
    picture: np.ndarray,
    points: list[np.ndarray],
    fallback: Tensor,
) -> Tensor:
    """Segment a picture into clusters.

    Args:
        predictor: the SAM.
        picture: (H, W, 3) uint8 RGB.
        points: K arrays (P_k, 2), see ``cluster_points``.
        fallback: (H, W) cluster of each pixel, used where no mask is positive.

    Returns:
        (H, W) int64 cluster of each pixel.
    """
    predictor.set_image(picture)
    best = torch.zeros(fallback.shape)  # logit 0: the border of a mask
    masks = fallback.cpu().clone()
    for number, own in enumerate(points):
        others = [p for k, p in enumerate(points) if k != number]
        coords = np.concatenate([own, *others])
        labels = np.zeros(len(coords), dtype=np.int64)
        labels[: len(own)] = 1
        logits, _, _ = predictor.predict(coords, labels, multimask_output=False)
        logit = torch.from_numpy(np.asarray(logits[0], dtype=np.float32))
        wins = logit > best
        best[wins], masks[wins] = logit[wins], number
    return masks.to(fallback.device)


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
    if backend == "segment_anything":
        return SegmentAnything(model, weights, device)
    if backend == "transformers":
        return TransformersSam(weights, device)
    raise UserError(
        f"MODEL.CLIPTRASE.SAM.BACKEND: '{backend}' is unknown.{nearest(backend, BACKENDS)} "
        f"Known: {', '.join(BACKENDS)}"
    )


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
            raise UserError(
                f"MODEL.CLIPTRASE.SAM needs the package segment-anything; {INSTALL}"
            ) from error
        if isinstance(model, str):
            if model not in sam_model_registry:
                raise UserError(
                    f"MODEL.CLIPTRASE.SAM.MODEL: '{model}' is unknown."
                    f"{nearest(model, sam_model_registry)} "
                    f"Known: {', '.join(sorted(sam_model_registry))}"
                )
            tensors = _read_weights(weights)
            model = sam_model_registry[model]()
            _load(model, tensors, weights)
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
                "MODEL.CLIPTRASE.SAM.BACKEND transformers needs that package; "
                "pip install transformers"
            ) from error
        if isinstance(source, str):
            if not source:
                raise UserError("MODEL.CLIPTRASE.SAM.WEIGHTS is empty; give a folder or a hub id")
            try:
                model = SamModel.from_pretrained(source, use_safetensors=True)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"MODEL.CLIPTRASE.SAM.WEIGHTS: {source} holds no SAM in safetensors ({error})"
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


def _thin(points: np.ndarray, limit: int) -> np.ndarray:
    if not limit or len(points) <= limit:
        return points
    return points[np.linspace(0, len(points) - 1, limit).round().astype(int)]


def _read_weights(weights: str) -> dict[str, Tensor]:
    if not weights or not Path(weights).is_file():
        raise UserError(
            f"MODEL.CLIPTRASE.SAM.WEIGHTS: {weights or 'empty'}; give SAM's published .pth file"
        )
    return read_weight_file(weights).tensors


def _load(model: torch.nn.Module, tensors: dict[str, Tensor], path: str) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path}: weights of another SAM ({str(error).splitlines()[0]})") from error
