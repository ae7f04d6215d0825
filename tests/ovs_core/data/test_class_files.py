"""Class lists and lists of pictures as people have them: right, or refused by file and line."""

import itertools
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from ovs_core.data import dataset_dicts, register_yaml_datasets
from ovs_core.data.checks import check_dataset
from ovs_core.data.mapper import SemanticDatasetMapper
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.words.dataset_words import dataset_vocabulary
from ovs_core.words.vocabulary import Vocabulary

CASES = Path(__file__).parents[2] / "data" / "cases" / "data"
NAMES = (CASES / "csvnames" / "names.txt").read_text().strip().split(",")
NEW_NAMES = {  # of the pictures and labels, where a case has others than the first
    "list_spaces": ("bild {}.png", "bild {}.png"),
    "suf_upper": ("{}.Png", "{}.PNG"),
}
_numbers = itertools.count()


@pytest.fixture
def case(tmp_path):
    """Make the folder of a case, with a dataset name of its own; gives the name and the file."""

    def make(name):
        shutil.copytree(CASES / name, tmp_path / name)
        if not (tmp_path / name / "images").exists():
            renamed = zip(("images", "labels"), NEW_NAMES.get(name, ("{}.png",) * 2), strict=True)
            for kind, form in renamed:
                (tmp_path / name / kind).mkdir()
                for index in range(3):
                    source = CASES / "csvnames" / kind / f"{index}.png"
                    shutil.copy(source, tmp_path / name / kind / form.format(index))
        file = tmp_path / name / "data.yaml"
        unique = f"{name}_{next(_numbers)}"
        file.write_text(file.read_text().replace(f"{name}:\n", f"{unique}:\n"))
        return unique, file

    return make


@pytest.mark.parametrize(
    ("name", "pictures"),
    [
        ("csvnames", ["0", "1", "2"]),
        ("jsonnames", ["0", "1", "2"]),
        ("bomnames", ["0", "1", "2"]),
        ("syn", ["0", "1", "2"]),
        ("bgmark", ["0", "1", "2"]),
        ("suf_upper", ["0", "1", "2"]),
        ("list_bom", ["0", "1"]),
        ("list_ext", ["0", "1"]),
        ("list_spaces", ["bild 0", "bild 1"]),
        ("img16", ["0", "1", "2"]),
        ("img_rgba", ["0", "1", "2"]),
    ],
)
def test_what_is_right_loads(case, name, pictures):
    name, file = case(name)
    register_yaml_datasets(file)
    assert MetadataCatalog.get(name).stuff_classes == NAMES
    records = dataset_dicts([name])
    assert [record["image_id"] for record in records] == pictures
    report = check_dataset(name)
    assert report.passed and not report.warnings
    truth = [np.asarray(Image.open(record["sem_seg_file_name"])) for record in records]
    counted = sum(np.bincount(labels.ravel(), minlength=256) for labels in truth)
    assert report.histogram.tolist() == counted[: len(NAMES)].tolist()
    shown = SemanticDatasetMapper(False, augmentations=[])(records[0])["image"]
    assert np.array_equal(shown.permute(1, 2, 0), read_picture(records[0]["file_name"]))


def test_background_of_a_file(case):
    name, file = case("bgmark")
    register_yaml_datasets(file)
    marked = dataset_vocabulary(MetadataCatalog.get(name)).background_index
    assert [NAMES[i] for i in marked] == ["sky", "wood"]


def test_synonyms_and_splits_of_a_file(case):
    name, file = case("syn")
    register_yaml_datasets(file)
    assert dataset_vocabulary(MetadataCatalog.get(name)).texts[:3] == ["car", "car toy", "boat"]
    name, file = case("bomnames")
    register_yaml_datasets(file)
    assert MetadataCatalog.get(name).unseen_classes == [0, NAMES.index("cup")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blankline", "names.txt: line 2 holds no name, but each line names the class of one"),
        ("comment", "names.txt: line 2 holds no name, but each line names the class of one"),
        ("dupkey", "data.yaml: line 5: the key 'dupkey"),
    ],
)
def test_what_is_wrong_names_file_and_line(case, name, message):
    name, file = case(name)
    with pytest.raises(UserError) as caught:
        register_yaml_datasets(file)
    assert message in str(caught.value)
    assert name not in DatasetCatalog


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\nc\n\n# end\n", ["a", "b", "c"]),
        ("a  # first\r\nb,\r\nc", ["a", "b", "c"]),
        ('"a, b"\nc', ["a, b", "c"]),
        ("a; b; c", ["a", "b", "c"]),
        ("a\n  \nb", "line 2 holds no name"),
        ("# head\na\nb", "line 1 holds no name"),
        ("\na\nb", "line 1 holds no name"),
        ("a\nb, c\nd", r"line 2 holds 2 names \(b, c\), the others one"),
        ("a\nb;c", "line 2 holds 2 names"),
        ("a\nb\na", "'a' more than once"),
        ("a\nb|\nc", "empty name"),
        ("", "empty"),
    ],
)
def test_each_line_is_a_class(tmp_path, text, expected):
    path = tmp_path / "names.txt"
    path.write_text(text, newline="")
    if isinstance(expected, list):
        assert Vocabulary.from_class_file(path).names == expected
    else:
        with pytest.raises(UserError, match=f"names.txt: .*{expected}"):
            Vocabulary.from_class_file(path)


def test_a_missing_picture_of_a_list_is_named(case):
    name, file = case("list_ext")
    (file.parent / "val.txt").write_text("0.png 1\n7.png 1\n")
    register_yaml_datasets(file)
    with pytest.raises(UserError, match="no picture file for 1 names: 7.png"):
        dataset_dicts([name])


def mutated(text, chance):
    """A class list with one thing changed, as editors, exports and accidents do."""
    lines = text.split("\n")
    place = chance.randrange(len(lines))
    change = chance.randrange(12)
    if change < 5:
        lines.insert(place, ("", "# note", "   ", lines[place], "\t")[change])
    elif change == 5:
        del lines[place]
    elif change == 6:
        lines[place] += chance.choice(
            ("  # what", ",", " ", "\r", "|other", "|", ", more", "\ufeff")
        )
    elif change == 7:
        lines[place] = chance.choice(("background: ", '"', "#", ",", "  ")) + lines[place]
    elif change == 8:
        return "\ufeff" + text
    elif change == 9:
        return text.replace("\n", chance.choice(("\r\n", "\r", ",", ";")))
    elif change == 10:
        return json.dumps(lines)
    else:
        text = text.encode()
        place = chance.randrange(len(text))
        return text[:place] + bytes([chance.randrange(256)]) + text[place + 1 :]
    return "\n".join(lines)


def counted(content):
    """What a careful reader takes for the classes, by place; None where the place is unclear."""
    try:
        text = content.decode("utf-8-sig").replace("\ufeff", "")
    except UnicodeDecodeError:
        return None
    if text.lstrip().startswith("["):
        return [bare(name.replace("\ufeff", "").partition("|")[0]) for name in json.loads(text)]
    lines = [before_comment(line).strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) == 1:
        lines = lines[0].replace(";", ",").rstrip(", ").split(",")
    names = [line.rstrip(",;").partition("|")[0].strip().strip('"') for line in lines]
    return [bare(name) for name in names]


def bare(name):
    return " ".join(name.removeprefix("background:").split())


def before_comment(line):
    for place, letter in enumerate(line):
        if letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place]
    return line


def test_a_thousand_changes_of_class_lists(tmp_path):
    path = tmp_path / "names.txt"
    refused = 0
    for seed in range(1000):
        chance = random.Random(seed)
        content = "\n".join(NAMES[: chance.randrange(2, 12)])
        for _ in range(chance.randrange(1, 3)):
            content = content if isinstance(content, bytes) else mutated(content, chance)
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(content)
        try:
            read = Vocabulary.from_class_file(path)
        except UserError as error:
            assert str(error).startswith(f"{path}: "), content
            assert any(part in str(error) for part in ("line", "'", "UTF-8", "JSON", "empty")), (
                error
            )
            refused += 1
            continue
        assert read.names == counted(content), content
    assert 200 < refused < 800
