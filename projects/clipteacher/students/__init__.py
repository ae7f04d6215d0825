"""Students: any network of dense features, by name or of one's own."""

from . import families  # noqa: F401  fills the registry
from .registry import STUDENT_REGISTRY, find_student
from .student import Pyramid, Student

__all__ = ["STUDENT_REGISTRY", "Pyramid", "Student", "find_student"]
