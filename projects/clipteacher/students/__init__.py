"""Students: any network of dense features, by name or of one's own."""

from . import published  # noqa: F401  fills the registry
from .registry import STUDENT_REGISTRY, Pyramid, Student, build_student

__all__ = ["STUDENT_REGISTRY", "Pyramid", "Student", "build_student"]
