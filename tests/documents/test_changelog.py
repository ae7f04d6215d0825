"""The list of changes begins with the version of setup.cfg and leads to modules that exist."""

import importlib.util
import re

from .reading import read


def moves():
    return re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \|$", read("CHANGELOG.md"), flags=re.M)


def test_the_newest_version_is_the_stated_one():
    newest = re.search(r"^## (\d+\.\d+\.\d+)", read("CHANGELOG.md"), flags=re.M)[1]
    assert f"\nversion = {newest}\n" in read("setup.cfg")


def test_moved_modules_are_where_the_list_says():
    assert moves()
    for old, new in moves():
        assert importlib.util.find_spec(new), f"{old} did not move to {new}"
