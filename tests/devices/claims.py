"""A GPU that is not there: tensors that hold CPU data and claim to be on ``cuda:0``.

Inside ``claimed_gpu()`` whatever is made on, or moved to, ``cuda`` is computed on the CPU and keeps
its claim. What a GPU would refuse, operations on tensors of two devices, fails here too; what makes
a GPU wait for Python or Python for the GPU is counted, by kind and by the line that does it.
"""

import traceback
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .backward import current_task, gradients, run_backward

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
PROJECTS = str(Path(__file__).resolve().parents[2] / "projects")

# On a GPU these wait for a number that decides how large their result is, or is it.
VALUES = {
    "_local_scalar_dense": "item",
    "equal": "item",
    "_linalg_check_errors": "item",
    "linalg_matrix_exp": "item",
    "nonzero": "nonzero",
    "masked_select": "nonzero",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "bincount": "bincount",
    "nms": "nonzero",
}
# Views of which only PyTorch's own tensors know that they are conjugate or negative
ATEN = torch.ops.aten
MADE = {ATEN._conj.default: ATEN._conj_physical.default, ATEN._neg_view.default: ATEN.neg.default}
NUMBERS_OF_ANY_DEVICE = ("fill_", "fill", "masked_fill_", "masked_fill")
KINDS = ("item", "nonzero", "unique", "bincount", "download", "upload")


class MixedDevices(RuntimeError):
    """An operation on tensors of two devices, which a GPU refuses."""


class Claimed(torch.Tensor):
    """A tensor whose device is ``cuda:0`` and whose numbers lie in ``held``, on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held):
        """Take everything but the device from what is held."""
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=GPU,
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        """Compute outside of the block, too, as backward threads may."""
        return _compute(func, args, kwargs or {}, None)

    def numpy(self, **_):
        """Refuse, as of a tensor on a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy; copy it to the CPU")

    def tolist(self):
        """Fetch all numbers at once, as a tensor on a GPU does."""
        return self.cpu().tolist()

    def __repr__(self):
        """Show the numbers."""
        return f"Claimed({self.held})"


class ClaimedGenerator(torch.Generator):
    """A generator that says on which device it was made."""

    def __new__(cls, device="cpu"):
        """Make one on the CPU."""
        made = super().__new__(cls, "cpu")
        made.claims = torch.device(device)
        return made


class OwnGenerators(TorchFunctionMode):
    """Refuses to draw numbers for one device with a generator of another."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Look at the generator of a call, then make it."""
        kwargs = kwargs or {}
        generator = kwargs.get("generator")
        if isinstance(generator, ClaimedGenerator):
            of = [one.device for one in args[:1] if isinstance(one, torch.Tensor)]
            device = torch.device(kwargs.get("device") or (of[0] if of else CPU))
            if device.type != generator.claims.type:
                raise MixedDevices(f"a generator of {generator.claims} for {device} at {_place()}")
        return func(*args, **kwargs)


class Waits(TorchDispatchMode):
    """Computes what claims to be on the GPU, and counts what makes one wait.

    Attributes:
        kinds: kind of ``KINDS`` -> how often.
        places: (kind, file and line of the suite) -> how often.
    """

    def __init__(self):
        super().__init__()
        self.kinds, self.places = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one operation."""
        return _compute(func, args, kwargs or {}, self)

    def count(self, kind):
        """Note one wait."""
        self.kinds[kind] += 1
        self.places[kind, _place()] += 1

    def reset(self):
        """Forget what was counted."""
        self.kinds.clear()
        self.places.clear()


@contextmanager
def claimed_gpu():
    """Let ``cuda:0`` be there inside the block.

    Yields:
        What counts the waits.
    """
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, where there is no GPU
    counts, lift = Waits(), torch._C._only_lift_cpu_tensors()
    swap = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(torch.cuda, "_lazy_init", lambda: None)
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
        patch.setattr(torch.cuda, "device_count", lambda: 1)
        patch.setattr(torch.cuda, "synchronize", lambda *_: None)
        for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
            patch.setattr(torch.cuda, name, lambda *_: 0)
        patch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state())
        patch.setattr(torch.cuda, "set_rng_state", lambda *_: None)
        patch.setattr(torch, "Generator", ClaimedGenerator)
        patch.setattr(torch.autograd, "backward", run_backward)
        patch.setattr(torch.autograd, "grad", gradients)
        patch.setattr(torch._C, "_current_graph_task_id", current_task)
        patch.setattr(torch.backends.cudnn, "enabled", False)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        torch._C._set_only_lift_cpu_tensors(True)  # so that torch.tensor(..., device) comes by
        torch.__future__.set_swap_module_params_on_conversion(True)  # ties are kept
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swap)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lift)
        stack.enter_context(OwnGenerators())
        stack.enter_context(counts)
        yield counts


def _compute(func, args, kwargs, counts):
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    claimed = [one for one in tensors if isinstance(one, Claimed)]
    asked = kwargs.get("device")
    on_gpu = bool(claimed) if asked is None else torch.device(asked).type == GPU.type
    if claimed or on_gpu:
        _refuse_mixes(func, tensors, claimed)
        if counts is not None and (kind := _wait(func, args, kwargs, claimed, on_gpu)):
            counts.count(kind)
    out = MADE.get(func, func)(*tree_map(_held, args), **tree_map(_held, kwargs))
    if not (claimed or on_gpu):
        return out
    same = {id(_held(one)): one for one in tensors}  # what an operation in place gives back
    return tree_map(lambda one: _claim(one, same, on_gpu), out)


def _held(one):
    if isinstance(one, Claimed):
        return one.held
    return CPU if isinstance(one, torch.device) else one


def _claim(one, same, on_gpu):
    if not isinstance(one, torch.Tensor):
        return one
    if id(one) not in same:
        return Claimed(one) if on_gpu else one
    known = same[id(one)]
    if known.shape != one.shape:
        raise NotImplementedError("an operation that changes a shape in place")
    return known


def _refuse_mixes(func, tensors, claimed):
    name = func.overloadpacket.__name__
    plain = [one for one in tensors if not isinstance(one, Claimed)]
    if not claimed or name in ("copy_", "_to_copy"):
        return
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        # Indices may be on the CPU, where they are copied.
        plain = [] if isinstance(tensors[0], Claimed) else plain
    if torch.Tag.pointwise in func.tags or name in NUMBERS_OF_ANY_DEVICE:
        plain = [one for one in plain if one.ndim]  # numbers may
    if plain:
        shapes = [f"{tuple(one.shape)} on {one.device}" for one in tensors]
        raise MixedDevices(f"{func}: {', '.join(shapes)} at {_place()}")


def _wait(func, args, kwargs, claimed, on_gpu):
    """Which of ``KINDS`` an operation is, "" for one that nothing waits for."""
    name = func.overloadpacket.__name__
    if name in ("copy_", "_to_copy"):
        to_gpu = isinstance(args[0], Claimed) if name == "copy_" else on_gpu
        from_gpu = isinstance(args[name == "copy_"], Claimed)
        if to_gpu == from_gpu:
            return ""
        if from_gpu:
            return "download"
        ahead = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
        return "" if ahead else "upload"
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        indices = [one for one in tree_leaves(args[1]) if isinstance(one, torch.Tensor)]
        if any(one.dtype in (torch.bool, torch.uint8) for one in indices):
            return "nonzero"
        return "upload" if any(not isinstance(one, Claimed) for one in indices) else ""
    if name == "repeat_interleave":
        return "" if kwargs.get("output_size") is not None else "item"
    return VALUES.get(name, "") if claimed else ""


def _place():
    """File and line of the suite that asked for an operation, the innermost."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(PROJECTS):
            return f"{Path(frame.filename).relative_to(PROJECTS)}:{frame.lineno}"
    return "elsewhere"
