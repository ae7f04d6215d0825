"""Finding the 1 x 1 convolution that a network ends in.

The classifier is linear in the student's features (eq. 9), so this convolution and the words are
one convolution: C channels need never be made at test time (``inference.fold_words``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Projection = nn.Conv2d | nn.Identity  # the last step of a student


def take_last_convolution(network: nn.Module, images: Tensor, width: int) -> nn.Conv2d | None:
    """Take a closing 1 x 1 convolution out of a network; it is looked for by running the network.

    Args:
        network: pictures -> features; if a convolution is found, ``nn.Identity`` takes its place.
        images: (B, 3, H, W) what the network is run on.
        width: channels that the convolution must give.

    Returns:
        The convolution; None if the network ends in something else, or is this convolution itself.
    """
    calls: list[tuple[str, object]] = []
    leaves = [(name, m) for name, m in network.named_modules() if name and not list(m.children())]
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: calls.append((name, out)))
        for name, module in leaves
    ]
    try:
        with torch.no_grad():
            result = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not calls or calls[-1][1] is not result:
        return None
    name = calls[-1][0]
    last = network.get_submodule(name)
    again = [called for called, _ in calls].count(name) > 1
    if again or not isinstance(last, nn.Conv2d) or not _is_projection(last, width):
        return None
    network.set_submodule(name, nn.Identity())
    return last


def _is_projection(module: nn.Conv2d, width: int) -> bool:
    return (
        type(module) is nn.Conv2d  # a subclass may do more
        and module.out_channels == width
        and module.kernel_size == (1, 1)
        and module.stride == (1, 1)
        and module.padding == (0, 0)
        and module.groups == 1
        and not nn.utils.parametrize.is_parametrized(module)
    )
