import pytest
import torch
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.protocols import MultiScaleFlip, Slide, Whole
from ovs_core.modeling.scores import GridScores, LabelScores, MeanScores, WindowScores, resize


class Averages:
    """A model whose logits are 4 x 4 averages of the picture, mixed by fixed weights."""

    def __init__(self, classes=5):
        self.mix = torch.randn(classes, 3, generator=torch.Generator().manual_seed(0))
        self.windows = []

    def encode(self, images):
        self.windows.append(tuple(images.shape))
        return F.avg_pool2d(images, 4)

    def score(self, features):
        return torch.einsum("kc,bchw->bkhw", self.mix, features)

    def activate(self, maps, which):
        return maps.sigmoid() - 0.1 * torch.arange(which.start, which.stop).view(-1, 1, 1)

    def finish_windows(self, windows):
        return windows


def run(protocol, picture, size, model=None):
    model = model or Averages()
    return protocol.score(model, protocol.encode(model, picture), size)


@pytest.mark.parametrize(
    "protocol",
    [
        Whole(),
        Whole(divisor=16),
        Whole(size=(32, 32)),
        Slide(16, 12),
        Slide(16, 12, canvas=(40, 40), with_whole=True),
        Slide(64, 50),
        Slide(14, 12, pad_small=False, pad_multiple=8),
        MultiScaleFlip(Whole(divisor=4), (0.5, 1.0), flip=True),
        MultiScaleFlip(Slide(16, 12), (1.0,), flip=True),
    ],
)
def test_labels_equal_argmax_of_the_full_map(protocol, monkeypatch):
    monkeypatch.setattr("ovs_core.modeling.scores.CHUNK_BYTES", 4 * 50 * 60 * 2)  # two classes
    scores = run(protocol, torch.randn(3, 36, 44), (50, 60))
    full = scores.full()
    assert full.shape == (5, 50, 60)
    assert torch.equal(scores.labels(), full.argmax(0))


def test_whole_is_activation_then_bilinear():
    model, picture = Averages(), torch.randn(3, 36, 44)
    expected = resize(
        model.activate(model.score(model.encode(picture[None]))[0], slice(0, 5)), (7, 9)
    )
    torch.testing.assert_close(run(Whole(), picture, (7, 9)).full(), expected)


def test_padding_is_cut_before_the_final_resize():
    model, picture = Averages(), torch.randn(3, 30, 41)
    padded = F.pad(picture, (0, 7, 0, 2))
    maps = model.activate(model.score(model.encode(padded[None]))[0], slice(0, 5))
    expected = resize(resize(maps, (32, 48))[:, :30, :41], (60, 82))
    torch.testing.assert_close(run(Whole(divisor=16), picture, (60, 82)).full(), expected)
    stretched = run(Whole(divisor=16, cut_padding=False), picture, (60, 82)).full()
    torch.testing.assert_close(stretched, resize(maps, (60, 82)))


@pytest.mark.parametrize("shape", [(6, 41), (30, 9), (5, 7)])
def test_padding_that_is_kept_cuts_the_grid_of_a_small_picture(shape):
    """The release cuts its score grid to the picture's pixels, which may be fewer."""
    model, picture = Averages(), torch.randn(3, *shape)
    shown = resize(F.pad(picture, (0, -shape[1] % 16, 0, -shape[0] % 16)), (64, 64))
    maps = model.activate(model.score(model.encode(shown[None]))[0], slice(0, 5))
    wanted = resize(maps[:, : shape[0], : shape[1]], (20, 30))
    protocol = Whole((64, 64), divisor=16, cut_padding=False)
    torch.testing.assert_close(run(protocol, picture, (20, 30)).full(), wanted)


@pytest.mark.parametrize(("window", "multiple"), [(13, 8), (14, 4), (16, 8), (9, 20)])
def test_windows_are_padded_on_both_sides_and_cut_again(window, multiple):
    model, picture = Averages(), torch.randn(3, 20, 13)
    total, cover = torch.zeros(5, 20, 13), torch.zeros(20, 13)
    width, wide = min(window, 13), -(-min(window, 13) // multiple) * multiple
    high = -(-window // multiple) * multiple
    for top in dict.fromkeys([*range(0, 20 - window, 7), 20 - window]):
        for left in dict.fromkeys([*range(0, 13 - width, 7), 13 - width]):
            above, before = (high - window) // 2, (wide - width) // 2  # the smaller half
            shown = torch.zeros(1, 3, high, wide)
            inside = (..., slice(above, above + window), slice(before, before + width))
            shown[0][inside] = picture[:, top : top + window, left : left + width]
            maps = F.interpolate(model.score(model.encode(shown)), (high, wide), mode="bilinear")
            area = (..., slice(top, top + window), slice(left, left + width))
            total[area] += model.activate(maps[0][inside], slice(0, 5))
            cover[area] += 1
    slide = Slide(window, 7, pad_small=False, pad_multiple=multiple)
    torch.testing.assert_close(run(slide, picture, (20, 13)).full(), total / cover)


def test_windows_end_at_the_border_and_average():
    assert Slide(512, 426).boxes((512, 683)) == [(0, 0, 512, 512), (0, 171, 512, 512)]
    assert Slide(384, 256).boxes((640, 640)) == [
        (0, 0, 384, 384), (0, 256, 384, 384), (256, 0, 384, 384), (256, 256, 384, 384)
    ]  # fmt: skip
    model, picture = Averages(), torch.randn(3, 16, 20)
    total, cover = torch.zeros(5, 16, 20), torch.zeros(16, 20)
    for left in (0, 4):
        crop = picture[None, :, :, left : left + 16]
        maps = model.activate(resize(model.score(model.encode(crop))[0], (16, 16)), slice(0, 5))
        total[:, :, left : left + 16] += maps
        cover[:, left : left + 16] += 1
    torch.testing.assert_close(run(Slide(16, 12), picture, (16, 20)).full(), total / cover)


def test_pictures_smaller_than_a_window():
    model = Averages()
    padded = run(Slide(32, 20), torch.randn(3, 20, 24), (20, 24), model)
    assert model.windows == [(1, 3, 32, 32)]
    assert padded.full().shape == (5, 20, 24)
    model = Averages()
    run(Slide(32, 20, pad_small=False), torch.randn(3, 20, 24), (20, 24), model)
    assert model.windows == [(1, 3, 20, 24)]


def test_windows_are_batched():
    model = Averages()
    run(Slide(16, 16, batch=3), torch.randn(3, 32, 64), (32, 64), model)
    assert [w[0] for w in model.windows] == [3, 3, 2]


def test_a_gap_between_windows_is_refused():
    with pytest.raises(UserError, match="leave pixels uncovered"):
        Slide(16, 17)


def test_flip_of_a_symmetric_model_changes_nothing():
    picture = torch.randn(3, 32, 32)
    both = run(MultiScaleFlip(Whole(), (1.0,), flip=True), picture, (32, 32)).full()
    torch.testing.assert_close(both, run(Whole(), picture, (32, 32)).full())


def test_class_chunks_of_every_kind():
    grid = torch.randn(6, 5, 7)
    kinds = [
        GridScores(grid, (11, 13)),
        WindowScores(grid[None], [(0, 0, 11, 13)], (11, 13), (11, 13)),
        MeanScores([GridScores(grid, (11, 13)), GridScores(grid, (11, 13))], [False, True]),
        LabelScores(torch.randint(0, 6, (11, 13)), 6),
    ]
    for scores in kinds:
        parts = torch.cat([scores.classes(slice(0, 2)), scores.classes(slice(2, 6))])
        assert torch.equal(parts, scores.full())
