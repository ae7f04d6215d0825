import pytest
from lowest_versions import lowest_versions

SETUP = """
[metadata]
name = suite
[options]
install_requires =
    torch>=2.6
    fvcore>=0.1.5.post1,<0.1.6
[options.extras_require]
test =
    {test}
dev =
    suite[test]
"""


def write(folder, test):
    path = folder / "setup.cfg"
    path.write_text(SETUP.format(test=test))
    return path


def test_every_requirement_has_its_minimum(tmp_path):
    lowest = lowest_versions(write(tmp_path, "ruff==0.17.5\n    mkdocs-x[python]>=1.2"))
    assert lowest == {
        "torch": "2.6",
        "fvcore": "0.1.5.post1",
        "ruff": "0.17.5",
        "mkdocs-x": "1.2",
    }


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("pytest", "'pytest' states no lowest version"),
        ("pytest<9", "'pytest<9' states no lowest version"),
        ("torch>=2.7", "torch has two minima, 2.6 and 2.7"),
    ],
)
def test_a_missing_or_second_minimum_is_refused(tmp_path, test, said):
    with pytest.raises(ValueError, match=said):
        lowest_versions(write(tmp_path, test))


def test_the_suite_states_a_minimum_of_everything():
    assert {"torch", "numpy", "pytest", "ruff"} <= lowest_versions().keys()
