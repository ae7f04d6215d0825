"""CLIPTeacher: frozen CLIP teaches any per-pixel segmenter to name classes it never saw."""

from .config import add_clipteacher_config
from .model import CLIPTeacher
from .students import STUDENT_REGISTRY, Student

__all__ = ["STUDENT_REGISTRY", "CLIPTeacher", "Student", "add_clipteacher_config"]
