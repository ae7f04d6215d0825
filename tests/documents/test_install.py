"""What the documents and CI say about installing is what setup.cfg states."""

import configparser
import re

import yaml
from lowest_versions import lowest_versions
from packaging.version import Version

from .reading import ROOT, read


def setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_extra_is_explained():
    section = read("INSTALL.md").split("## Extras")[1].split("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", section, flags=re.M)
    extras = setup()["options.extras_require"]
    assert sorted(explained) == sorted(extras)
    assert all(name in extras["dev"] for name in explained if name != "dev")


def test_ci_runs_the_oldest_and_the_newest_python():
    stated = re.findall(r"Python :: (3\.\d+)", setup()["metadata"]["classifiers"])
    assert setup()["options"]["python_requires"] == f">={stated[0]}"
    test = yaml.safe_load(read(".github/workflows/test.yml"))["jobs"]["test"]
    oldest, newest = test["strategy"]["matrix"]["include"]
    assert [oldest["python"], newest["python"]] == [stated[0], stated[-1]]
    assert oldest["torch"] == f"torch=={lowest_versions()['torch']}.*"
    assert newest["torch"] == "torch"
    assert test["steps"][-1]["run"].startswith("make test ")


def test_the_tested_versions_meet_the_stated_minima():
    """A package of an extra that was not installed has no line."""
    lines = [line for line in read("tools/constraints.txt").splitlines() if line[0] != "#"]
    pinned = {re.sub(r"[-_.]+", "-", n).lower(): v for n, v in (s.split("==") for s in lines)}
    needed = {re.sub(r"[-_.]+", "-", name).lower(): low for name, low in lowest_versions().items()}
    assert len(needed.keys() & pinned.keys()) > 20
    for name in needed.keys() & pinned.keys():
        assert Version(pinned[name]) >= Version(needed[name]), name
