"""Reference vectors of CLIPtrase and its baselines: importing this registers the runners."""

from . import baselines, method

__all__ = ["baselines", "method"]
