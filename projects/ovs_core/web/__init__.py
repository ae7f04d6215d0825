"""The local web page: drop a picture, type words, compare methods. Needs the extra ``web``."""

from .server import Settings, serve

__all__ = ["Settings", "serve"]
