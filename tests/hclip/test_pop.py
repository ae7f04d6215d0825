"""Invariants of the shared tensor, its relations and its counts."""

import pytest
import torch

from hclip.counts import MEBI, count_pop
from hclip.pop import PartialOrthogonal, POPSettings, TowerShape
from ovs_core.errors import UserError
from ovs_core.tensor import orthogonality_defect

TEXT, IMAGE = TowerShape("text", 32, 2), TowerShape("image", 48, 3)
B16 = (TowerShape("text", 512, 12), TowerShape("image", 768, 12))
FORMS = [
    {}, {"dcrc": False}, {"cayley_after": False}, {"orthogonal": "none"}, {"orthogonal": "both"},
    {"form": "paper"}, {"form": "paper", "nonlinear": True, "cayley_after": False},
    {"pairing": "stride"}, {"cayley_sign": 1}, {"pop": False},
]  # fmt: skip


def build(text=TEXT, image=IMAGE, **settings):
    return PartialOrthogonal(text, image, POPSettings(**{"block_size": 8, **settings}))


def disturb(pop, scale=0.5):
    with torch.no_grad():
        for parameter in pop.parameters():
            parameter += scale * torch.randn_like(parameter)
    return pop


@pytest.mark.parametrize("settings", FORMS, ids=str)
def test_starts_as_the_identity(settings):
    eye = torch.eye(8)
    for blocks in build(**settings)().values():
        torch.testing.assert_close(blocks, eye.expand_as(blocks))


@pytest.mark.parametrize("settings", [{}, {"form": "paper", "nonlinear": True}], ids=str)
def test_text_blocks_are_rotations_whatever_is_learned(settings):
    blocks = disturb(build(**settings))()
    assert orthogonality_defect(blocks["text"]).max() < 1e-5
    torch.testing.assert_close(
        torch.linalg.det(blocks["text"]), torch.ones(2, 4, 4), rtol=1e-4, atol=1e-4
    )
    assert orthogonality_defect(blocks["image"]).max() > 1e-2


def test_mixing_after_the_cayley_map_loses_orthogonality():
    blocks = disturb(build(form="paper", cayley_after=False))()
    assert orthogonality_defect(blocks["text"]).max() > 1e-2


def test_both_towers_orthogonal_and_none():
    both, none = disturb(build(orthogonal="both"))(), disturb(build(orthogonal="none"))()
    assert orthogonality_defect(both["image"]).max() < 1e-5
    assert orthogonality_defect(none["text"]).max() > 1e-2


@pytest.mark.parametrize(
    "form", [{}, {"form": "paper"}, {"form": "paper", "nonlinear": True}], ids=str
)
def test_relations_alone_move_the_image_side_and_never_the_text_side(form):
    """Row "DCRC only": what is mixed of identities is symmetric, and Cayley's map of it is I."""
    pop = build(pop=False, **form)
    with torch.no_grad():
        for parameter in pop.relation.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    blocks, eye = pop(), torch.eye(8)
    torch.testing.assert_close(blocks["text"], eye.expand_as(blocks["text"]), rtol=0, atol=1e-6)
    assert (blocks["image"] - eye).abs().max() > 0.1
    counts = count_pop(pop)
    assert counts.stored == counts.relations == sum(p.numel() for p in pop.relation.parameters())


def test_image_slots_do_not_reach_text_without_relations():
    pop = build()
    before = pop()["text"]
    with torch.no_grad():
        pop.blocks[..., 4:] *= 3
    torch.testing.assert_close(pop()["text"], before)
    with torch.no_grad():
        pop.relation.slots[0, 0, 5] = 1.0
        pop.blocks[..., 5] += torch.randn_like(pop.blocks[..., 5])
    assert not torch.allclose(pop()["text"], before)


def test_rows_of_other_layers_matter_only_through_the_relation():
    pop = build()
    pop()["image"][2].square().sum().backward()
    own = pop.blocks.grad[:, :, 8:12]
    assert own.abs().sum() > 0
    assert pop.blocks.grad[:, :, :8].abs().max() == 0
    disturb(pop)
    pop.zero_grad()
    pop()["image"][2].square().sum().backward()
    assert pop.blocks.grad[:, :, :8].abs().sum() > 0


def test_pairing_of_towers_of_different_depth():
    pop = build(TowerShape("text", 32, 12), TowerShape("image", 48, 24), pairing="stride")
    assert pop.indices(pop.towers[0])[:3] == [1, 3, 5]
    assert pop.indices(pop.towers[1]) == list(range(24))
    assert build().indices(TEXT) == [0, 1]
    with pytest.raises(UserError, match="2 and 3 blocks"):
        build(pairing="same")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"block_size": 12}, r"1, 2, 4, 8, 16"),
        ({"orthogonal": "image"}, "none, text, both"),
        ({"form": "printed"}, "FORM"),
        ({"nonlinear": True}, "FORM paper"),
        ({"pop": False, "dcrc": False}, "nothing trains"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UserError, match=message):
        build(**settings)


def test_stored_and_effective_counts_of_vitb16():
    with torch.device("meta"):
        counts = count_pop(build(*B16, block_size=128))
    assert counts.blocks == 7_864_320
    assert counts.relations == 2_304 + 1_200
    assert counts.stored == 7_867_824
    assert counts.effective == 4_718_592 + 1_560_576


@pytest.mark.parametrize(
    ("settings", "printed"),
    [
        ({}, 5.63), ({"orthogonal": "none"}, 7.51), ({"orthogonal": "both"}, 3.76),
        ({"dcrc": False}, 5.62),
    ],
)  # fmt: skip
def test_counts_in_the_convention_of_the_paper(settings, printed):
    with torch.device("meta"):
        counts = count_pop(build(*B16, block_size=128, **settings))
    assert counts.paper / MEBI == pytest.approx(printed, abs=0.011)


@pytest.mark.parametrize(
    ("text", "image", "shape"),
    [
        ((512, 12), (768, 12), (128, 128, 48, 10)),  # ViT-B/32, B/16
        ((768, 12), (1024, 24), (128, 128, 96, 14)),  # ViT-L/14
        ((1024, 24), (1280, 32), (128, 128, 128, 18)),  # ViT-H/14
    ],
)
def test_sizes_follow_from_the_towers(text, image, shape):
    with torch.device("meta"):
        pop = build(TowerShape("text", *text), TowerShape("image", *image), block_size=128)
    assert pop.blocks.shape == shape
