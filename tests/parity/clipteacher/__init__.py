"""Reference vectors of CLIPTeacher and its students."""

from . import parts

__all__ = ["parts"]
