"""A small drawn world with exact labels and captions, and its datasets.

Import ``ovs_core.data.embedded.register`` to make its datasets known to Detectron2.
"""

from .dataset import ensure_embedded_dataset
from .scenes import Scene, render_object, render_scene, render_stuff

__all__ = ["Scene", "ensure_embedded_dataset", "render_object", "render_scene", "render_stuff"]
