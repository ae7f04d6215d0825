"""The GPU that is not there."""

import pytest
import torch

from .claims import claimed_gpu

NEEDED = ("_ensureCUDADeviceGuardSet", "_set_only_lift_cpu_tensors")


@pytest.fixture
def gpu():
    """What counts the waits; inside the test ``cuda:0`` is there."""
    if not all(hasattr(torch._C, name) for name in NEEDED):
        pytest.skip(f"PyTorch {torch.__version__} has no {' or '.join(NEEDED)}")
    with claimed_gpu() as counts:
        yield counts
