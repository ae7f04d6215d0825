"""Writing the folder of a new method from the suite's template."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from ..errors import UserError
from ..files.writing import atomic_write
from .projects import SOURCE_ROOT

TEMPLATE = Path(__file__).resolve().parent / "template"
PLACEHOLDER = "mymethod"  # in the template's files, also as Mymethod and MYMETHOD
LONGEST = 16  # letters of a name; with more, lines of the template would have to be wrapped


def template_files(name: str) -> dict[str, str]:
    """Give the files of a new method.

    Args:
        name: of its folder, lower case.

    Returns:
        Path below the suite's folder -> content.
    """
    files = {}
    for path in sorted(TEMPLATE.rglob("*.txt")):
        place = path.relative_to(TEMPLATE).with_suffix("")
        test = place.parts[0] == "tests"
        target = f"tests/{name}/{place.name}" if test else f"projects/{name}/{place.as_posix()}"
        files[target] = _named(path.read_text(encoding="utf-8"), name)
    return files


def suite_folder() -> Path:
    """Give the folder that holds ``projects/`` and ``tests/``.

    Raises:
        UserError: if the suite was installed as a package, which has none.
    """
    if SOURCE_ROOT.name != "projects" or not (SOURCE_ROOT.parent / "tests").is_dir():
        raise UserError(
            f"the suite is installed as a package in {SOURCE_ROOT}, where a method would have to "
            "lie as well; give --folder, and put what is written in its projects/ there"
        )
    return SOURCE_ROOT.parent


def write_new_method(name: str, folder: str | Path) -> list[Path]:
    """Write a method that segments, trains and is tested, for a person to change.

    Args:
        name: of the method, its folder and its config keys.
        folder: gets ``projects/<name>`` and ``tests/<name>``.

    Returns:
        The files.

    Raises:
        UserError: if the name cannot be one, is taken, or a file is there already.
    """
    folder = Path(folder)
    _check_name(name)
    for path in (folder / "projects" / name, folder / "tests" / name):
        if path.exists():
            raise UserError(f"{path}: exists already; choose another name, or move it away")
    files = {folder / target: content for target, content in template_files(name).items()}
    for path, content in files.items():
        atomic_write(path, content)
    return list(files)


def _named(text: str, name: str) -> str:
    class_name = "".join(part.capitalize() for part in name.split("_"))
    text = text.replace("Mymethod", class_name).replace("MYMETHOD", name.upper())
    return text.replace(PLACEHOLDER, name)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UserError(
            f"'{name}' cannot name a method: use small letters, digits and _, no word of Python"
        )
    if len(name) > LONGEST:
        raise UserError(f"'{name}' is too long for a method; use {LONGEST} letters at most")
    if importlib.util.find_spec(name) is not None:
        raise UserError(f"'{name}' is a Python package or method already; choose another name")
