"""One file that segments without the suite: the image path for fixed words and a fixed size.

The words are encoded once and become constants of the program; what is left is a function from a
picture to its labels. It is written as a ``torch.export`` program or as ONNX, read back, and
compared with the model that it came from. Letters: K classes, H x W picture.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .data.embedded.scenes import render_scene
from .engine.run import build_segmenter
from .engine.train_loader import seed_everything
from .errors import UserError
from .files.pictures import read_picture
from .files.writing import atomic_path, check_output_dir
from .modeling.scores import Scores, Size
from .modeling.segmenter import Segmenter
from .predict.tiles import LONGEST
from .words.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

FORMATS = {".pt2": "torch.export program", ".onnx": "ONNX"}
METADATA = "ovsuite.json"  # name of the record inside the file
TOLERANCE = 1e-3  # largest error that is accepted, as a share of the range of the scores
DRAWN, NOISE = 4, 2  # pictures of the check
Program = Callable[[np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Check:
    """How far a written file is from the model that it came from.

    Attributes:
        pictures: how many were compared.
        agreement: share of pixels with the same label.
        label_error: the most by which the model's score of the file's label falls below the
            model's best score at that pixel; 0 where the labels agree.
        score_error: largest difference of a score; None for a file without scores.
        score_range: largest minus smallest score of the model.
    """

    pictures: int
    agreement: float
    label_error: float
    score_error: float | None
    score_range: float

    @property
    def passed(self) -> bool:
        """Whether all errors are rounding errors."""
        worst = max(self.label_error, self.score_error or 0.0)
        return bool(worst <= TOLERANCE * self.score_range)

    def __str__(self) -> str:
        """Give one line for the screen."""
        text = f"compared on {self.pictures} pictures: {self.agreement:.4%} of the labels agree"
        if self.agreement < 1:
            text += f" (else the scores are {self.label_error:.1e} apart)"
        if self.score_error is not None:
            text += f", scores differ by at most {self.score_error:.1e}"
        return f"{text}; the scores span {self.score_range:.3g}"


class ImagePath(nn.Module):
    """A model with its current words as a function of the picture alone.

    Args:
        model: a segmenter with words.
        size: (H, W) of the pictures.
        with_scores: whether the scores come out beside the labels.
    """

    def __init__(self, model: Segmenter, size: Size, *, with_scores: bool = False) -> None:
        super().__init__()
        self.model, self.size, self.with_scores = model, size, with_scores

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """(3, H, W) float RGB in 0..255 -> labels (H, W) int64[, scores (K, H, W) float32]."""
        scores = self.model.segment(picture, self.size)
        if self.with_scores:
            maps = scores.full()
            return maps.argmax(0), maps
        # The running maximum of the base class: the faster ways of some scores go where the data
        # leads them, which a fixed program cannot. All give the same labels.
        return (Scores.labels(scores),)


def export(
    cfg: CfgNode,
    words: Vocabulary | str | Path | Sequence[str],
    path: str | Path,
    *,
    size: Size,
    with_scores: bool = False,
    pictures: Sequence[str | Path] = (),
    overwrite: bool = False,
) -> Check:
    """Write the image path of a model to a file and compare the file with the model.

    Args:
        cfg: finished config of the model.
        words: see ``Vocabulary.parse``.
        path: ``.pt2`` for a ``torch.export`` program, ``.onnx`` for ONNX.
        size: (H, W) of the pictures that the program takes and of the labels it gives.
        with_scores: also give the (K, H, W) scores.
        pictures: picture files for the comparison; default a few drawn ones. Noise is always added.
        overwrite: whether an existing file may be replaced.

    Returns:
        The comparison.

    Raises:
        UserError: if the model cannot be written as a fixed program, or the file differs from it;
            nothing is left behind then.
    """
    path = Path(path)
    _check_target(path, overwrite)
    _check_size(size)
    vocabulary = Vocabulary.parse(words)
    shown = [_read(source, size) for source in pictures] or _drawn(size)
    shown += [np.random.default_rng(i).uniform(0, 255, (3, *size)) for i in range(NOISE)]
    shown = [picture.astype(np.float32) for picture in shown]
    model = _build(cfg, vocabulary)
    if model.trains and not cfg.MODEL.WEIGHTS:
        logger.warning("%s is trained, but no weights were given", cfg.CONFIG_FILE)
    program = _trace(model, size, with_scores, shown[0])
    record = _record(cfg, vocabulary, size, with_scores)
    with atomic_path(path) as part:
        _write(program, part, record)
        check = compare(_build(cfg, vocabulary), load_program(part)[0], shown)
        if not check.passed:
            raise UserError(f"the program differs from the model, so it was dropped: {check}")
    return check


def load_program(path: str | Path) -> tuple[Program, dict[str, Any]]:
    """Read a file of ``export``.

    Args:
        path: the file.

    Returns:
        A function from a (3, H, W) float32 array in 0..255 to its outputs, and the record with the
        class names and sizes.
    """
    if Path(path).suffix == ".onnx":
        return _load_onnx(Path(path))
    extra = {METADATA: ""}
    module = torch.export.load(str(path), extra_files=extra).module()

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in module(torch.from_numpy(picture))]

    return run, json.loads(extra[METADATA])


@torch.no_grad()
def compare(model: Segmenter, program: Program, pictures: Sequence[np.ndarray]) -> Check:
    """Compare a program with its model.

    Args:
        model: with the same words.
        program: a function of (3, H, W) float32 arrays.
        pictures: what both are shown.
    """
    same, label_error, score_error, low, high = [], 0.0, 0.0, float("inf"), -float("inf")
    outputs: list[np.ndarray] = []
    for picture in pictures:
        outputs = program(picture)
        scores = model.segment(torch.from_numpy(picture), tuple(picture.shape[-2:]))
        maps, labels = scores.full(), torch.from_numpy(outputs[0])
        same.append(float((labels == scores.labels()).float().mean()))
        lost = maps.amax(0) - maps.gather(0, labels[None])[0]
        label_error = max(label_error, float(lost.max()))
        for written in outputs[1:]:
            error = (torch.from_numpy(written) - maps).abs().nan_to_num(torch.inf)
            score_error = max(score_error, float(error.max()))
        low, high = min(low, float(maps.min())), max(high, float(maps.max()))
    return Check(
        pictures=len(pictures),
        agreement=float(np.mean(same)),
        label_error=label_error,
        score_error=score_error if len(outputs) > 1 else None,
        score_range=high - low,
    )


def _check_size(size: Size) -> None:
    short, long = sorted(size)
    if long > LONGEST * short:
        raise UserError(
            f"--size {size[0]}x{size[1]}: one side may be {LONGEST} times the other at most; the "
            "suite cuts longer pictures into pieces, so export for a piece"
        )


def _check_target(path: Path, overwrite: bool) -> None:
    if path.suffix not in FORMATS:
        kinds = " or ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise UserError(f"{path}: the output's name must end in {kinds}")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; give another name, or --overwrite")
    check_output_dir(path.parent)
    if path.suffix == ".onnx":
        _onnx_packages()


def _build(cfg: CfgNode, vocabulary: Vocabulary) -> Segmenter:
    seed_everything(max(cfg.SEED, 0))  # the same weights each time, also where a config draws them
    model = build_segmenter(cfg)
    if not isinstance(model, Segmenter):
        raise UserError(
            f"{cfg.CONFIG_FILE}: builds a {type(model).__name__}, which does not segment"
        )
    obstacle = model.export_obstacle()
    if obstacle:
        raise UserError(f"{cfg.CONFIG_FILE}: this model cannot be exported: {obstacle}")
    model.set_vocabulary(vocabulary)
    return model


@torch.no_grad()
def _trace(
    model: Segmenter, size: Size, with_scores: bool, example: np.ndarray
) -> torch.export.ExportedProgram:
    """Trace a model, which is used up by it."""
    path = ImagePath(model, size, with_scores=with_scores).eval()
    picture = torch.from_numpy(example)
    path(picture)  # a wrong size is refused here, and every cache is filled with real tensors
    _fix_parameters(model)
    program = _export(path, picture)
    for name in _unused(path, program):  # the text tower, mostly
        owner, _, attribute = name.rpartition(".")
        setattr(path.get_submodule(owner), attribute, None)
    return _export(path, picture)


def _fix_parameters(model: Segmenter) -> None:
    """Turn text features and parametrized weights into constants."""
    text = model.text_features()
    model.text_features = lambda: text
    for module in list(model.modules()):
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _export(path: ImagePath, picture: Tensor) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(path, (picture,), strict=False)
    except Exception as error:  # torch.export raises many kinds
        raise UserError(
            f"{type(path.model).__name__} cannot be exported: torch.export cannot follow it "
            f"({_innermost(error)})"
        ) from error


def _unused(path: ImagePath, program: torch.export.ExportedProgram) -> list[str]:
    """Name the parameters that no operation reads, under any of their names."""
    stored = program.graph_signature.inputs_to_parameters
    parameters = dict(path.named_parameters(remove_duplicate=False))
    nodes = [n for n in program.graph.find_nodes(op="placeholder") if n.name in stored]
    used = {id(parameters[stored[node.name]]) for node in nodes if node.users}
    return [name for name, parameter in parameters.items() if id(parameter) not in used]


def _record(cfg: CfgNode, vocabulary: Vocabulary, size: Size, with_scores: bool) -> str:
    labels = {"name": "labels", "shape": list(size), "type": "int64"}
    scores = {"name": "scores", "shape": [len(vocabulary), *size], "type": "float32"}
    return json.dumps(
        {
            "names": vocabulary.names,
            "background": list(vocabulary.background_index),
            "input": {"name": "picture", "shape": [3, *size], "type": "float32"},  # RGB 0..255
            "outputs": [labels, scores][: 1 + with_scores],
            "model": cfg.MODEL.META_ARCHITECTURE,
            "config": Path(cfg.CONFIG_FILE).name,
            "weights": cfg.MODEL.WEIGHTS,
        }
    )


def _write(program: torch.export.ExportedProgram, path: Path, record: str) -> None:
    if path.suffix == ".pt2":
        torch.export.save(program, str(path), extra_files={METADATA: record})
        return
    _onnx_packages()
    names = [output["name"] for output in json.loads(record)["outputs"]]
    for chatty in ("onnxscript", "onnx_ir"):  # they report every optimisation that does not apply
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        converted = torch.onnx.export(
            program, dynamo=True, input_names=["picture"], output_names=names, verbose=False
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"ONNX has no form of this model ({_innermost(error)}); write a .pt2 file instead"
        ) from error
    converted.model.metadata_props[METADATA] = record
    converted.save(str(path))


def _load_onnx(path: Path) -> tuple[Program, dict[str, Any]]:
    runtime = _onnx_packages()
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every tensor that it finds superfluous
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(picture: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {"picture": picture})

    return run, json.loads(session.get_modelmeta().custom_metadata_map[METADATA])


def _onnx_packages() -> Any:
    """Import what ONNX needs and give the runtime."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX files need more packages ({error}): pip install -e '.[onnx]'"
        ) from error
    return onnxruntime


def _innermost(error: BaseException) -> str:
    """Give the first line of the error that caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _read(source: str | Path, size: Size) -> np.ndarray:
    image = Image.fromarray(read_picture(source)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def _drawn(size: Size) -> list[np.ndarray]:
    return [render_scene(seed, size).image.transpose(2, 0, 1) for seed in range(DRAWN)]
