"""The Detectron2 that is installed here does what the suite asks of it, patches included."""

import importlib

import install_detectron2 as tool
import numpy as np
import pytest
import torch
from detectron2.engine import defaults
from detectron2.evaluation.sem_seg_evaluation import load_image_into_numpy_array
from detectron2.layers import ROIAlign
from detectron2.structures import BitMasks, Boxes
from PIL import Image


@pytest.mark.parametrize("module", tool.CHECKED_MODULES)
def test_part_imports(module):
    importlib.import_module(module)


def test_label_file_is_read(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    read = load_image_into_numpy_array(str(tmp_path / "labels.png"), dtype=int)
    assert read.dtype == int
    np.testing.assert_array_equal(read, labels)
    read[0, 0] = 7  # Detectron2's evaluator writes the ignored class into it


def test_model_on_the_cpu_trains_in_several_processes(monkeypatch):
    """The wrapping only: a test of the trainer starts the processes."""
    seen = {}
    monkeypatch.setattr(defaults.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(
        defaults, "DistributedDataParallel", lambda model, **kwargs: seen.update(kwargs)
    )
    defaults.create_ddp_model(torch.nn.Linear(2, 2), broadcast_buffers=False)
    assert seen == {"broadcast_buffers": False}


def test_boxes_and_regions_need_no_compiled_operator():
    features = torch.arange(64.0).reshape(1, 1, 8, 8)
    box = torch.tensor([[0.0, 2.0, 2.0, 6.0, 6.0]])
    regions = ROIAlign((2, 2), 1.0, sampling_ratio=2, aligned=True)(features, box)
    # A linear map is averaged exactly: the mean of the region is its value at the centre.
    assert regions.mean().item() == pytest.approx(features[0, 0, 3:5, 3:5].mean().item())
    masks = BitMasks(torch.ones(1, 8, 8, dtype=torch.bool))
    assert masks.crop_and_resize(Boxes(box[:, 1:]).tensor, 4).all()
