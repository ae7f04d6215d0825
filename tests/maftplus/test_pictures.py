"""The picture sheets of both methods."""

import numpy as np
import torch

from maftplus.figures import picture_sheets
from ovs_core.reports.mask_sheet import _different
from parity.maftplus.tiny_models import vocabulary


def test_sheets(make, picture):
    image = picture.permute(1, 2, 0).numpy()
    for method, kinds in (("fcclip", 2), ("maftplus", 3)):
        model = make(method).eval()
        model.set_vocabulary(vocabulary(["dog", "lake", "tree", "sky"], [0]))
        sheets = picture_sheets(model, picture, image)
        assert len(sheets) == kinds
        for sheet in sheets.values():
            assert sheet.dtype == np.uint8 and sheet.shape[-1] == 3
            assert sheet.std() > 0


def test_one_word_and_no_segment(make, picture):
    model = make("maftplus", obj_thr=2.0).eval()
    model.set_vocabulary(["dog"])
    sheets = picture_sheets(model, picture, picture.permute(1, 2, 0).numpy())
    assert sheets["panoptic"].shape[1] >= 130


def test_proposals_that_show_the_same_are_shown_once():
    first = torch.zeros(8, 8, dtype=torch.bool)
    first[:4] = True
    second = first.clone()
    second[3, 7] = False
    assert _different(torch.stack([first, second, ~first, torch.zeros_like(first)])) == [0, 2, 3]
