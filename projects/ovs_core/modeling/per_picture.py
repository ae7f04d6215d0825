"""Random numbers that a picture has for itself, whoever else is in its batch.

In a training step every picture has generators of its own, seeded by the number of its draw. What
is random in a model takes them from here, so that a picture's points, masks of dropout and the like
are the same however the batch is split. Outside of a step torch's common generator is used.

Letters: B pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth


class Streams:
    """Generators of the pictures of a batch, on any device.

    Args:
        keys: whole numbers that tell one picture's draw from all others.
    """

    def __init__(self, keys: Sequence[Sequence[int]]) -> None:
        self._seeds = [
            int(np.random.SeedSequence([abs(k) for k in key]).generate_state(1, np.uint64)[0] >> 1)
            for key in keys
        ]
        self._made: dict[torch.device, list[torch.Generator]] = {}

    def __len__(self) -> int:
        """Pictures of the batch."""
        return len(self._seeds)

    def on(self, device: torch.device) -> list[torch.Generator]:
        """One generator per picture, each where its last draw left it."""
        if device not in self._made:
            self._made[device] = [torch.Generator(device).manual_seed(seed) for seed in self._seeds]
        return self._made[device]


_active: list[Streams] = []


@contextmanager
def drawing_for(keys: Sequence[Sequence[int]]) -> Iterator[None]:
    """Let random numbers inside the block be those of pictures.

    Args:
        keys: of the pictures, in the order of the batch.
    """
    _active.append(Streams(keys))
    try:
        yield
    finally:
        _active.pop()


def uniform_of(owners: Sequence[int], shape: Sequence[int], device: torch.device) -> Tensor:
    """Draw rows of uniform numbers in [0, 1), each from the generator of its picture.

    Args:
        owners: (n,) picture of each row, ascending.
        shape: of a row.
        device: where the numbers go.

    Returns:
        (n, *shape).
    """
    if not _active:
        return torch.rand((len(owners), *shape), device=device)
    counts = np.bincount(np.asarray(owners, dtype=np.int64), minlength=len(_active[-1]))
    rows = [
        torch.rand((int(count), *shape), generator=generator, device=device)
        for count, generator in zip(counts, _active[-1].on(device), strict=True)
        if count
    ]
    return torch.cat(rows) if rows else torch.rand((0, *shape), device=device)


def seed_for(picture: int) -> None:
    """Seed torch's common generators for one picture of the batch, for what takes no other."""
    if _active:
        generator = _active[-1].on(torch.device("cpu"))[picture]
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))


def picture_by_picture(run: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Run something random that takes torch's common generators, on each picture for itself.

    Args:
        run: tensors -> tensor, first dimension B.
        tensors: (B, ...).
    """
    if not _active:
        return run(*tensors)
    parts = []
    for picture, one in enumerate(zip(*(t.split(1) for t in tensors), strict=True)):
        seed_for(picture)
        parts.append(run(*one))
    return torch.cat(parts)


class Dropout(nn.Module):
    """Dropout of numbers, channels or whole pictures, with each picture's own random numbers.

    Args:
        p: share that is dropped.
        dims: leading dimensions that are dropped apart: all, if None; 2 drops channels of
            (B, C, ...), 1 rows of (B, ...).
    """

    def __init__(self, p: float, dims: int | None = None) -> None:
        super().__init__()
        self.p, self.dims = p, dims

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) or, picture after picture, (B * n, ...) -> the same shape.

        Raises:
            ValueError: if the first dimension cannot be shared out over the pictures.
        """
        if not self.training or not self.p:
            return x
        if self.dims is None and not _active:
            return F.dropout(x, self.p)
        dims = x.ndim if self.dims is None else self.dims
        shape = (*x.shape[:dims], *[1] * (x.ndim - dims))
        return x * _kept(shape, 1 - self.p, x)

    def extra_repr(self) -> str:
        """Share and dimensions."""
        return f"p={self.p}, dims={self.dims}"


def _kept(shape: tuple[int, ...], share: float, like: Tensor) -> Tensor:
    """Mask of what is kept, scaled so that the mean stays."""
    mask = like.new_empty(shape)
    if not _active:
        return mask.bernoulli_(share).div_(share)
    streams = _active[-1].on(like.device)
    if shape[0] % len(streams):
        raise ValueError(
            f"dropout of {shape[0]} rows cannot be shared out over {len(streams)} pictures; the "
            "first dimension must be that of the pictures"
        )
    for rows, generator in zip(mask.chunk(len(streams)), streams, strict=True):
        rows.bernoulli_(share, generator=generator)
    return mask.div_(share)


def draw_per_picture(network: nn.Module) -> None:
    """Replace the dropout and stochastic depth inside a network by those of this module.

    Args:
        network: whose tensors have the pictures first; changed in place.
    """
    for module in network.modules():
        for name, child in module.named_children():
            if (replaced := _counterpart(child)) is not None:
                setattr(module, name, replaced.train(child.training))


def _counterpart(module: nn.Module) -> Dropout | None:
    if type(module) is nn.Dropout:
        return Dropout(module.p)
    if type(module) is nn.Dropout2d:
        return Dropout(module.p, dims=2)
    if isinstance(module, DropPath) and module.scale_by_keep:
        return Dropout(module.drop_prob or 0.0, dims=1)
    if isinstance(module, StochasticDepth) and module.mode == "row":
        return Dropout(module.p, dims=1)
    return None
