"""Links, anchors and pictures of the documents lead somewhere."""

import re

import pytest
from draw_results import CONFIGS, FOLDER
from PIL import Image

from ovs_core.methods.projects import project_names

from .reading import DOCUMENTS, ROOT, prose, read


def anchors(document):
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.M)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_resolve(document):
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose(document)):
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), f"{document}: {target} does not exist"
        if anchor:
            assert anchor in anchors(path.relative_to(ROOT)), f"{document}: no heading for {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pictures_can_be_seen(document):
    for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", read(document)):
        with Image.open((ROOT / document).parent / target) as image:
            assert min(image.size) > 100


@pytest.mark.parametrize("project", project_names())
def test_the_readmes_of_the_projects_have_one_shape(project):
    text = read(f"projects/{project}/README.md")
    headings = re.findall(r"^## (.+)$", text, flags=re.M)
    for wanted in ("Use", "Files", "Published figures", "On the embedded world"):
        assert any(heading.startswith(wanted) for heading in headings), wanted
    assert "Where paper and code differ" in headings
    assert "![" in text, "no picture"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_exist(document):
    """Paths below the suite's folders that stand in backquotes or in commands."""
    for name in re.findall(
        r"(?<![\w./])((?:tools|tests|projects|datasets)/[\w./-]+\.\w+)", read(document)
    ):
        if "mymethod" in name or name.startswith("datasets/own/"):  # of the reader
            continue
        assert (ROOT / name).exists(), f"{document}: {name} does not exist"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_figures_have_a_command(document):
    """A table of measured figures stands in a section that names a command."""
    for section in re.split(r"^#+ ", read(document), flags=re.M):
        measured = re.search(r"\b[Oo]n the embedded world|What `make demo` prints", section)
        if measured and re.search(r"^\|.*\d+\.\d+", section, flags=re.M):
            assert re.search(r"python |ovsuite |make ", section), f"{document}: {section[:60]}"


@pytest.mark.parametrize("project", CONFIGS)
def test_a_readme_shows_what_its_methods_make_of_a_scene(project):
    """By a command that draws it anew; the others' pictures are of a training or of masks."""
    text, picture = read(f"projects/{project}/README.md"), FOLDER / f"result_{project}.jpg"
    assert f"](../../docs/{picture.name})" in text
    assert f"`python tools/draw_results.py --only {project}`" in text
    assert picture.stat().st_size < 60_000
