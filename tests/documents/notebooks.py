"""Run notebooks, each from its first cell to its last in a folder of its own, as a person would.

A program, so that what a notebook registers or imports stays out of the tests' process:
``python tests/documents/notebooks.py FOLDER NOTEBOOK ...``. Lines that begin with ``!ovsuite`` are
commands; what else a notebook can do is not known here.
"""

import json
import os
import shlex
import sys
from pathlib import Path


def cells(path):
    """The code cells of a notebook: their numbers and their text."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    for number, cell in enumerate(content["cells"]):
        if cell["cell_type"] == "code":
            yield number, "".join(cell["source"])


def commands_of(text):
    """The command lines of a cell; a cell holds either commands or Python."""
    lines = text.replace("\\\n", " ").splitlines()
    if not lines[0].startswith("!"):
        return []
    assert all(line.startswith("!ovsuite ") for line in lines), text
    return [shlex.split(line)[1:] for line in lines]


def run(path, folder):
    from ovs_core.commands import main

    folder.mkdir()
    os.chdir(folder)
    names = {"__name__": "__main__"}
    for number, text in cells(path):
        if lines := commands_of(text):
            for words in lines:
                assert main(words) == 0, shlex.join(words)
        else:
            exec(compile(text, f"{path.name}[{number}]", "exec"), names)


if __name__ == "__main__":
    target, *books = (Path(name).resolve() for name in sys.argv[1:])
    for book in books:
        run(book, target / book.stem)
