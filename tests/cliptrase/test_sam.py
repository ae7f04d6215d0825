"""Cluster points and masks from a SAM: a fake one, and a tiny one of random weights."""

import numpy as np
import pytest
import torch

from cliptrase.sam import SamMasks, cluster_points, sam_masks
from cliptrase.sam_backends import SegmentAnything, load_predictor
from ovs_core.errors import UserError
from tests.cliptrase.helpers import build_model

# Of the prompt encoder in both tiny networks
PROMPTS = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 4}


class FakeSam:
    """Marks a square around each foreground point."""

    def __init__(self, reach=6):
        self.reach = reach
        self.calls = []

    def set_image(self, image):
        self.image = image

    def predict(self, coords, labels, multimask_output):
        self.calls.append((coords, labels))
        mask = np.full(self.image.shape[:2], -1.0, dtype=np.float32)
        for (x, y), label in zip(coords.round().astype(int), labels, strict=True):
            if label:
                r = self.reach
                mask[max(0, y - r) : y + r, max(0, x - r) : x + r] = 2.0
        return mask[None], np.ones(1), mask[None]


def test_points_are_patch_centres_in_pixels():
    labels = torch.tensor([0, 1, -1, 1, 0, 0])
    first, second = cluster_points(labels, (2, 3), (40, 60))
    assert first.tolist() == [[10, 10], [30, 30], [50, 30]]
    assert second.tolist() == [[30, 10], [10, 30]]


def test_points_can_be_thinned_out():
    labels = torch.zeros(100, dtype=torch.int64)
    (points,) = cluster_points(labels, (10, 10), (100, 100), limit=4)
    assert len(points) == 4
    assert points[0].tolist() == [5, 5] and points[-1].tolist() == [95, 95]


def test_other_clusters_are_background_and_unclaimed_pixels_fall_back():
    sam = FakeSam()
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    fallback = torch.ones(40, 60, dtype=torch.int64)
    points = [np.array([[10.0, 10.0]]), np.array([[30.0, 30.0], [50.0, 30.0]])]
    masks = sam_masks(sam, picture, points, fallback)
    assert [labels.tolist() for _, labels in sam.calls] == [[1, 0, 0], [1, 1, 0]]
    assert masks[10, 10] == 0
    assert masks[0, 59] == 1  # no mask there: the prototypes decide


def test_the_model_takes_its_masks_from_sam(clip, picture):
    sam = FakeSam()
    model = build_model(clip, sam=SamMasks(sam))
    output = model([{"image": picture, "height": 140, "width": 200}])[0]["sem_seg_labels"]
    assert output.shape == (140, 200)
    assert sam.image.shape == (140, 200, 3)
    count = model.encode_picture(picture).regions.count
    assert len(sam.calls) == count


def test_a_missing_file_is_named():
    pytest.importorskip("segment_anything")
    with pytest.raises(UserError, match="SAM.WEIGHTS: empty"):
        load_predictor("segment_anything", "vit_b", "", "cpu")


def test_an_unknown_backend_is_named():
    with pytest.raises(UserError, match="SAM.BACKEND: 'segmentanything' is unknown"):
        load_predictor("segmentanything", "vit_b", "x.pth", "cpu")


def test_the_extra_is_named_when_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "segment_anything", None)
    with pytest.raises(UserError, match=r"segment-anything; pip install -e '\.\[sam\]'"):
        load_predictor("segment_anything", "vit_b", "x.pth", "cpu")


@pytest.mark.slow
def test_a_tiny_random_sam_runs(clip, picture):
    pytest.importorskip("segment_anything")
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    torch.manual_seed(0)
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=128, patch_size=16, embed_dim=32, depth=1, num_heads=2, out_chans=32
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=4
        ),
        mask_decoder=MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=32),
        ),
    )
    model = build_model(clip, sam=SamMasks(SegmentAnything(sam)))
    output = model([{"image": picture, "height": 140, "width": 200}])[0]["sem_seg_labels"]
    assert output.shape == (140, 200)


def test_masks_are_made_once_for_a_picture(clip, picture):
    sam = FakeSam()
    model = build_model(clip, sam=SamMasks(sam))
    encoded = model.encode_picture(picture)
    first = model.score_picture(encoded, (140, 200)).labels()
    calls = len(sam.calls)
    model.set_vocabulary("a dog, the sky, water, a road")
    model.score_picture(encoded, (140, 200))
    assert len(sam.calls) == calls > 0
    model.score_picture(encoded, (70, 100))  # masks of another size are other masks
    assert len(sam.calls) == 2 * calls and first.shape == (140, 200)


def tiny_sam(transformers):
    return transformers.SamModel(
        transformers.SamConfig(
            vision_config={
                "hidden_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 128,
                "patch_size": 16,
                "output_channels": 32,
                "mlp_dim": 32,
                "global_attn_indexes": [0],
                "num_pos_feats": 16,
            },
            prompt_encoder_config=PROMPTS,
            mask_decoder_config={
                "hidden_size": 32,
                "mlp_dim": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 32,
            },
        )
    )


def tiny_sam2(transformers):
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
    )
    return transformers.Sam2Model(
        transformers.Sam2Config(
            vision_config=transformers.Sam2VisionConfig(
                backbone_config=backbone,
                backbone_channel_list=[64, 32, 16, 8],
                backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
                fpn_hidden_size=32,
            ),
            prompt_encoder_config=PROMPTS,
            mask_decoder_config={
                "hidden_size": 32,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 32,
            },
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("make", [tiny_sam, tiny_sam2])
def test_a_tiny_random_sam_of_transformers_runs(clip, picture, make, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    make(transformers).save_pretrained(tmp_path)
    predictor = load_predictor("transformers", "", str(tmp_path), "cpu")
    assert ("2" in type(predictor).__name__) == (make is tiny_sam2)
    model = build_model(clip, sam=SamMasks(predictor))
    output = model([{"image": picture, "height": 140, "width": 200}])[0]["sem_seg_labels"]
    assert output.shape == (140, 200)
    logits, scores, small = predictor.predict(
        np.array([[10.0, 20.0]]), np.array([1]), multimask_output=False
    )
    assert logits.shape == (1, 140, 200) and scores.shape == (1,) and small.shape[0] == 1
    elsewhere, _, _ = predictor.predict(np.array([[150.0, 90.0]]), np.array([1]), False)
    assert not np.allclose(logits, elsewhere)


@pytest.mark.slow
def test_a_folder_of_another_network_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.SegformerConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8])
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="holds a segformer, not a SAM or SAM 2"):
        load_predictor("transformers", "", str(tmp_path), "cpu")
