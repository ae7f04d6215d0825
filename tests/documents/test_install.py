"""INSTALL.md and setup.cfg name the same extras."""

import configparser
import re

from .reading import ROOT, read


def test_every_extra_is_explained():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    section = read("INSTALL.md").split("## Extras")[1].split("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", section, flags=re.M)
    extras = setup["options.extras_require"]
    assert sorted(explained) == sorted(extras)
    assert all(name in extras["dev"] for name in explained if name != "dev")
