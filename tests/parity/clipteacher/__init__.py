"""Reference vectors of CLIPTeacher and its students."""

from . import parts, students

__all__ = ["parts", "students"]
