"""What computes a method at test time, and in which numbers: ``MODEL.OVS.RUNTIME``.

``install_runtime`` puts an engine in the place of those methods of a model that are networks.
"""

from .agreement import Agreement, measure_agreement
from .install import eager, install_runtime

__all__ = ["Agreement", "eager", "install_runtime", "measure_agreement"]
