"""Backward passes through a graph whose tensors only claim to be on a GPU.

PyTorch's engine asks the GPU's driver for streams, so the nodes of the graph are called here, in
order, with what the engine checks on the way: shapes, precisions and devices of gradients.
"""

from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import count

import torch
from torch.autograd.graph import get_gradient_edge

_tasks, _numbers = [-1], count()


def run_backward(tensors, grad_tensors=None, *_, **__):
    """Add to ``.grad`` of the leaves, as ``torch.autograd.backward`` does."""
    starts = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
    for leaf, gradient in _walk(starts, grad_tensors, keep=()):
        with torch.no_grad():
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient


def gradients(outputs, inputs, grad_outputs=None, *_, **__):
    """Give the gradients of ``inputs``, as ``torch.autograd.grad`` does; None for unused ones."""
    starts = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
    edges = [tuple(get_gradient_edge(one))[:2] for one in wanted]
    found = dict(_walk(starts, grad_outputs, keep=edges))
    return tuple(found.get(edge) for edge in edges)


def _walk(starts, given, keep):
    """Call every node once all that leads to it was called.

    Args:
        starts: tensors to begin from.
        given: their gradients; 1 for those without.
        keep: edges (node, number) whose gradients are wanted; without, those of the leaves are.

    Yields:
        What was wanted, or leaf tensor, and its gradient.
    """
    given = [given] if isinstance(given, torch.Tensor) else given or [None] * len(starts)
    waiting, gathered = Counter(), defaultdict(dict)
    roots = [tuple(get_gradient_edge(one))[:2] for one in starts]
    _count_ways([node for node, _ in roots], waiting)
    for (node, number), one, gradient in zip(roots, starts, given, strict=True):
        _add(gathered, node, number, torch.ones_like(one) if gradient is None else gradient)
    ready = [node for node in dict.fromkeys(node for node, _ in roots) if not waiting[node]]
    with torch.no_grad(), _task():
        while ready:
            node = ready.pop()
            came = gathered.pop(node, {})
            yield from ((edge, came[edge[1]]) for edge in keep if edge[0] is node and came)
            if hasattr(node, "variable"):
                if came and not keep:
                    yield node.variable, came[0]
                continue
            for (after, number), gradient in _call(node, came):
                if gradient is not None:
                    _add(gathered, after, number, gradient)
                waiting[after] -= 1
                if not waiting[after]:
                    ready.append(after)


def current_task():
    """Number of the pass that is walked, -1 outside; checkpointing recomputes once for each."""
    return _tasks[-1]


@contextmanager
def _task():
    _tasks.append(next(_numbers))
    try:
        yield
    finally:
        _tasks.pop()


def _count_ways(nodes, waiting):
    """Count how many edges lead to each node."""
    seen = set(nodes)
    while nodes:
        for after, _ in nodes.pop().next_functions:
            if after is not None:
                waiting[after] += 1
                if after not in seen:
                    seen.add(after)
                    nodes.append(after)


def _call(node, came):
    """Edges to a node's inputs with their gradients; what did not come of the outputs is zero."""
    edges = [edge for edge in node.next_functions if edge[0] is not None]
    if not came:
        return [(edge, None) for edge in edges]
    given = [
        came[number] if number in came
        else torch.zeros(about.shape, dtype=about.dtype, device=about.device)
        for number, about in enumerate(node._input_metadata)
    ]  # fmt: skip
    if hasattr(node, "needs_input_grad"):  # a torch.autograd.Function, with all its arguments
        passed = _listed(node.apply(*given))
        passed = [one for one, needed in zip(passed, node.needs_input_grad, strict=True) if needed]
    else:
        pairs = zip(node.next_functions, _listed(node(*given)), strict=True)
        passed = [one for (after, _), one in pairs if after is not None]
    return list(zip(edges, passed, strict=True))


def _listed(out):
    return list(out) if isinstance(out, tuple) else [out]


def _add(gathered, node, number, gradient):
    """Sum up what comes to one output of a node, as the engine would take it."""
    about = node._input_metadata[number]
    if gradient.device != about.device:
        if gradient.ndim:
            raise RuntimeError(
                f"{node.name()}: expected device {about.device}, got {gradient.device}"
            )
        gradient = gradient.to(about.device)
    if gradient.shape != torch.Size(about.shape):
        gradient = gradient.sum_to_size(about.shape)
    gradient = gradient.to(about.dtype)
    known = gathered[node]
    known[number] = known[number] + gradient if number in known else gradient
