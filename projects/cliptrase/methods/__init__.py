"""The training-free methods, one file each; a new file is found by itself."""

from .registry import Parts, find_method, register_method

__all__ = ["Parts", "find_method", "register_method"]
