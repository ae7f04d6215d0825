"""Reference vectors of CLIPtrase and its baselines: importing this registers the runners."""

from . import baselines, method, training_free

__all__ = ["baselines", "method", "training_free"]
