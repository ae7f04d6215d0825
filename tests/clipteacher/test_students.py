"""Students: the last convolution, widths, wrong outputs, published layouts."""

import pytest
import torch
from torch import nn

from clipteacher.inference import class_logits
from clipteacher.students import Student
from ovs_core.errors import UserError


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), *layers)


class Twice(nn.Module):
    """One convolution for two maps."""

    def __init__(self):
        super().__init__()
        self.body, self.last = network(), nn.Conv2d(6, 8, 1)

    def forward(self, images):
        self.last(self.body(images[..., ::2]))
        return self.last(self.body(images))


class Resized(nn.Module):
    """Something comes behind the convolution."""

    def __init__(self):
        super().__init__()
        self.body = network(nn.Conv2d(6, 8, 1))

    def forward(self, images):
        return self.body(images).relu()


@pytest.mark.parametrize(
    "given, taken",
    [
        (network(nn.Conv2d(6, 8, 1)), True),
        (network(nn.Dropout2d(), nn.Conv2d(6, 8, 1, bias=False)), True),
        (network(nn.Conv2d(6, 8, 3, padding=1)), False),
        (network(nn.Conv2d(6, 8, 1, groups=2)), False),
        (network(nn.Conv2d(6, 8, 1), nn.Dropout2d()), False),
        (nn.Conv2d(3, 8, 1), False),
        (Twice(), False),
        (Resized(), False),
    ],
)
def test_a_closing_convolution_is_folded_into_the_words(given, taken):
    draw = torch.Generator().manual_seed(1)
    images, text = torch.randn(2, 3, 16, 12, generator=draw), torch.randn(5, 8, generator=draw)
    expected = given.eval()(images)
    student = Student(given, 8).eval()
    assert isinstance(student.projection, nn.Conv2d) == taken
    torch.testing.assert_close(student(images), expected)
    folded = class_logits(student.features(images), text, student.projection)
    plain = class_logits(student(images), text)
    torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-5)
    assert student.features(images).shape[1] == (6 if taken else 8)


def test_width_is_projected_and_said(caplog):
    with caplog.at_level("INFO"):
        student = Student(nn.Conv2d(3, 5, 1), 8)
    assert student(torch.zeros(1, 3, 4, 4)).shape == (1, 8, 4, 4)
    assert "gives 5 channels, the text features have 8" in caplog.text


class Wrapped(nn.Module):
    """Gives its map in a list or dict."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, images):
        return self.kind([("out", images)])


@pytest.mark.parametrize(
    "given, got",
    [(nn.Flatten(), r"\(1, 12288\)"), (Wrapped(list), "list"), (Wrapped(dict), "dict")],
)
def test_wrong_rank_of_a_student(given, got):
    with pytest.raises(UserError, match=f"one map .*but gave {got}"):
        Student(given, 8)
