"""Every way to fine-tune CLIP: start, training, folding, counts, what is computed when."""

from types import SimpleNamespace

import open_clip
import pytest
import torch
from torch.nn import functional as F

from hclip import FinetuneSettings, POPSettings
from hclip.adaptation import unadapted
from hclip.config import RATES
from hclip.finetune import MODES
from hclip.last_blocks import LAST_BLOCKS
from hclip.merge import merge
from hclip.modules import Adapter, LadderTuning, PromptTuning
from hclip.rotation import OFT, POPAdaptation
from hclip.weights import SSF, AttentionTuning, LoRA
from ovs_core.clip import ImageEncoder, TextEncoder, read_weight_file
from ovs_core.clip.attention import cls_residual_value_block
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import trained_state
from ovs_core.tensor import hyperspherical_energy

FOLDABLE = ("hclip", "oft", "lora", "ssf", "attention", "full")


def plain_features(tiny, clip, images, block=cls_residual_value_block):
    encoder, last = ImageEncoder(clip.visual), len(clip.visual.transformer.resblocks) - 1
    dense = encoder(images, blocks={last: block}).patches
    text = TextEncoder(clip)
    return dense, F.normalize(text(text.tokenize([f"a {w}" for w in tiny.words])), dim=-1)


@torch.no_grad()
def features(model, images):
    return model.encode(images).dense, model.text_features()[:, 0]


@pytest.mark.parametrize("mode", [m for m in MODES if m != "vpt"])
def test_starts_as_the_frozen_clip(tiny, mode, images):
    model = tiny.model(mode).eval()
    assert model.adaptation.mode == mode
    expected = plain_features(tiny, tiny.clip(), images)
    for ours, plain in zip(features(model, images), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_starts_with_the_same_decoder(tiny, mode):
    parts = [
        {**model.decoder.state_dict(), **model.upsample.state_dict()}
        for model in (tiny.model("freeze"), tiny.model(mode))
    ]
    assert all(torch.equal(tensor, parts[1][name]) for name, tensor in parts[0].items())


@pytest.mark.parametrize("name", ["cls", "token", "self"])
def test_the_last_block_is_the_one_that_is_asked_for(tiny, name, images):
    expected = plain_features(tiny, tiny.clip(), images, LAST_BLOCKS[name])
    model = tiny.model("freeze", last_block=name).eval()
    torch.testing.assert_close(features(model, images)[0], expected[0], rtol=1e-4, atol=1e-5)


def test_an_unknown_last_block_is_refused(tiny):
    with pytest.raises(UserError, match="LAST_BLOCK: 'slef'.*Did you mean 'self'"):
        tiny.model("freeze", last_block="slef")


@pytest.mark.parametrize("mode", ["hclip", "lora", "oft"])
def test_the_last_block_of_tokens_that_are_alike_trains(tiny, mode):
    model = tiny.model(mode, last_block="self").train()
    model.losses(tiny.batch())["loss_sem_seg"].backward()
    ways = {n: p for n, p in model.named_parameters() if n.startswith(("clip.", "adaptation."))}
    assert any(p.grad is not None and p.grad.any() for p in ways.values())


@pytest.mark.parametrize("mode", MODES)
def test_training_changes_what_it_should(tiny, mode, images):
    model = tiny.model(mode)
    before = features(model.eval(), images)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = model.train().losses(tiny.batch())["loss_sem_seg"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    dense, text = features(model.eval(), images)
    assert torch.equal(dense, before[0]) == (mode == "freeze")
    assert torch.equal(text, before[1]) == (mode in ("freeze", "vpt"))
    frozen = [p for p in model.clip.parameters() if not p.requires_grad]
    assert frozen and all(p.grad is None for p in frozen)


@pytest.mark.parametrize("mode", FOLDABLE)
def test_merged_clip_gives_the_same_features(tiny, mode, images, tmp_path):
    model = tiny.perturb(tiny.model(mode)).eval()
    expected = features(model, images)
    config = {"quick_gelu": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hclip.merge.model_config", lambda name: config)
        merge(model, tmp_path / "merged.safetensors")
    file = read_weight_file(tmp_path / "merged.safetensors")
    plain = tiny.clip(seed=9)
    assert file.tensors.keys() == plain.model.state_dict().keys()
    assert file.metadata["quick_gelu"] == "true"
    plain.model.load_state_dict(file.tensors)
    for ours, merged in zip(expected, plain_features(tiny, plain, images), strict=True):
        torch.testing.assert_close(ours, merged, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["vpt", "adapter", "lst"])
def test_added_parts_cannot_be_merged(tiny, mode, tmp_path):
    with pytest.raises(UserError, match="cannot be merged"):
        merge(tiny.model(mode), tmp_path / "merged.safetensors")


def test_energy_of_rotated_query_weights_is_kept(tiny):
    model = tiny.perturb(tiny.model("hclip")).eval()
    attn = model.clip.model.transformer.resblocks[1].attn
    before = unadapted(attn, "in_proj_weight").chunk(3)
    with torch.no_grad():
        after = attn.in_proj_weight.chunk(3)
    for old, new in zip(before, after, strict=True):
        assert (old - new).abs().max() > 1e-2
        old, new = hyperspherical_energy(old.double()), hyperspherical_energy(new.double())
        torch.testing.assert_close(old, new, rtol=1e-5, atol=0)


def test_checkpoint_holds_the_shared_tensor_once(tiny):
    state = trained_state(tiny.model("hclip"))
    assert [n for n in state if n.startswith("clip.")] == []
    assert {n for n in state if n.startswith("adaptation.")} == {
        "adaptation.pop.blocks", "adaptation.pop.relation.layers", "adaptation.pop.relation.slots",
    }  # fmt: skip


def count_calls(model):
    calls = []
    model.adaptation.pop.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("checkpointing", [False, True])
def test_relations_are_computed_once_per_step(tiny, checkpointing):
    model = tiny.model("hclip", checkpointing=checkpointing).train()
    calls = count_calls(model)
    for steps in (1, 2, 3):
        model.losses(tiny.batch())["loss_sem_seg"].backward()  # also two backwards between steps
        assert len(calls) == steps


def test_relations_are_computed_once_at_evaluation(tiny):
    model = tiny.model("hclip").eval()
    calls = count_calls(model)
    for seed in range(3):
        model([{"image": tiny.batch(seed=seed)[0]["image"]}])
    assert len(calls) == 1
    tiny.perturb(model)
    model([{"image": tiny.batch()[0]["image"]}])
    assert len(calls) == 2


def test_evaluation_sees_an_optimiser_step_at_once(tiny, images):
    model = tiny.model("hclip").eval()
    before = features(model, images)
    optimizer = torch.optim.AdamW(model.adaptation.parameters(), lr=0.1)
    for parameter in model.adaptation.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    after = features(model, images)
    assert not torch.allclose(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_checkpointing_gives_the_same_gradients(tiny):
    grads = []
    for checkpointing in (False, True):
        model = tiny.perturb(tiny.model("hclip", checkpointing=checkpointing)).train()
        model.losses(tiny.batch())["loss_sem_seg"].backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, rtol=1e-4, atol=1e-6)


def meta_vitb16():
    config = open_clip.get_model_config("ViT-B-16-quickgelu")
    with torch.device("meta"):
        model = open_clip.CLIP(**config).requires_grad_(False)
        return SimpleNamespace(model=model, visual=model.visual, pixel_mean=torch.zeros(3))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda c: LoRA(c, 64), 7_864_320),
        (lambda c: PromptTuning(c, 250), 2_304_000),
        (lambda c: Adapter(c, 128), 7_901_184),
        (lambda c: LadderTuning(c, (256, 224)), 20_791_320),
        (SSF, 337_920),
        (AttentionTuning, 20_447_232),
        (lambda c: POPAdaptation(c, POPSettings()), 7_867_824),
        (lambda c: OFT(c, POPSettings()), 7_864_320),
    ],
    ids=["lora", "vpt", "adapter", "lst", "ssf", "attention", "hclip", "oft"],
)  # fmt: skip
def test_counts_of_table_3(make, count):
    clip = meta_vitb16()
    with torch.device("meta"):
        adaptation = make(clip)
    trained = {p for m in (clip.model, adaptation) for p in m.parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained) == count


def test_each_way_has_a_rate_of_its_own():
    way = ["MODEL.META_ARCHITECTURE", "CATSeg", "MODEL.CATSEG.FINETUNE", "lora"]
    factors = ["MODEL.CATSEG.RATES.LORA", "3.0", "MODEL.CATSEG.RATES.VPT", "5.0"]
    cfg = load_cfg(find_config("hclip/tiny"), ["MODEL.DEVICE", "cpu", *way, *factors])
    groups = build_optimizer(cfg, build_segmenter(cfg)).param_groups
    rates = {name.split(".")[0]: group["lr"] for group in groups for name in group["names"]}
    base = cfg.SOLVER.BASE_LR
    assert rates == {"clip": pytest.approx(0.3 * base), "upsample": base, "decoder": base}


def test_every_way_that_trains_clip_has_a_rate():
    assert {name.lower() for name in RATES} == {*MODES} - {"freeze"}


def test_unknown_mode():
    with pytest.raises(UserError, match="Did you mean 'lora'|lora"):
        FinetuneSettings(mode="lara")


def test_prompts_need_existing_blocks(tiny):
    with pytest.raises(UserError, match="3 blocks"):
        PromptTuning(tiny.clip(), 2, depth=4)
