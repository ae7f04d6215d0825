"""Pictures of several sizes in one batch: what their masks see of the neighbours' padding."""

from dataclasses import replace

import pytest
import torch

from ovs_core.modeling.scores import size_of
from parity.maftplus.tiny_models import vocabulary


def outputs(model, pictures):
    with torch.no_grad():
        return model([{"image": picture} for picture in pictures])


@pytest.mark.parametrize("method", ["fcclip", "maftplus"])
def test_masks_see_no_neighbour_unless_a_batch_is_padded_together(make, picture, method):
    model = make(method).eval()
    model.set_vocabulary(vocabulary(["dog", "lake", "tree", "sky"], [0]))
    pictures = [picture, picture[:, :60, :70], picture.flip(-1), picture[:, :90]]
    alone = [outputs(model, [one])[0] for one in pictures]
    canvases = []
    embed = model.embed_masks

    def watching(dense, masks):
        canvases.append((len(dense), size_of(dense)))
        return embed(dense, masks)

    model.embed_masks = watching
    for one, other in zip(alone, outputs(model, pictures), strict=True):
        assert torch.equal(one["sem_seg"].argmax(0), other["sem_seg"].argmax(0))
        assert torch.equal(one["panoptic_seg"][0], other["panoptic_seg"][0])
    assert canvases == [(3, (3, 5)), (1, (2, 3))]  # 90 and 96 rows are padded to the same
    canvases.clear()
    model.tasks = replace(model.tasks, pad_together=True)
    together = model.encode_pictures(pictures)
    assert canvases == [(4, (3, 5))]
    assert together[1].canvas == (96, 160) and together[1].valid == (60, 70)
    small = model.encode_picture(pictures[1])
    assert together[1].prediction.masks.shape != small.prediction.masks.shape
