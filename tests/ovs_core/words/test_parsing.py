"""What a person types, or keeps in a file, as names."""

import json
from pathlib import Path

import pytest

from ovs_core.errors import UserError
from ovs_core.words.vocabulary import Vocabulary

WORDS = Path(__file__).parents[2] / "data" / "cases" / "words"
NAMES = ["house", "car", "sky"]


@pytest.mark.parametrize(
    ("name", "notes"),
    [("oneline.txt", 0), ("semi.txt", 1), ("words.csv", 0), ("words.json", 0), ("bom.txt", 0),
     ("crlf.txt", 0)],
)  # fmt: skip
def test_files_that_people_have(name, notes):
    for words in (WORDS / name, str(WORDS / name)):
        read = Vocabulary.parse(words)
        assert read.names == NAMES and len(read.notes) == notes
    assert Vocabulary.from_text((WORDS / name).read_text()).names == NAMES  # pasted on the page


def test_a_word_is_not_taken_for_the_file_of_that_name(monkeypatch):
    monkeypatch.chdir(WORDS)
    assert Vocabulary.parse("sky").names == ["sky"]
    assert Vocabulary.parse("./sky").names == ["grass", "sand"]
    assert Vocabulary.parse(Path("sky")).names == ["grass", "sand"]
    assert Vocabulary.parse("sky/sea").names == ["sky/sea"]


@pytest.mark.parametrize(
    "text",
    [
        "house, car, sky",
        "house，car，sky",  # noqa: RUF001
        "house، car، sky",
        "house、car、sky",
        "\ufeffhouse,car\r\nsky,,\r\n\r\n",
        " house ,\n car,\nsky\t,\n",
        '["house", "car", "sky"]',
        ' [\n"house",\n"car", "sky"]\n',
        '"house", "car", sky',
        "# mine\nhouse # a home\n\ncar, sky  # both",
        "house\x85car\u2028sky",
    ],
)
def test_separators(text):
    read = Vocabulary.from_text(text)
    assert read.names == NAMES and read.notes == ()


@pytest.mark.parametrize(
    "text", ["house;car;sky", "house; car, sky;", "house\tcar\tsky", "house；car\nsky"]
)  # noqa: RUF001
def test_separators_that_are_told_of(text):
    read = Vocabulary.from_text(text)
    assert read.names == NAMES
    (note,) = read.notes
    assert "was read as a separator, which gives 3 names: house, car, sky" in note


@pytest.mark.parametrize(
    "words",
    ["house/car", "house and car", "house\\ncar", "house & car", ["house, car"], ["sky", "a;b"]],
)
def test_one_name_that_looks_like_several_is_told_of(words):
    read = Vocabulary.parse(words)
    assert len(read) == (2 if words[0] == "sky" else 1)
    (note,) = read.notes
    assert "was read as one name; put several between commas" in note


def test_quotes_keep_a_comma():
    read = Vocabulary.from_text('"door, wooden", "5"" pipe", say "a", b')
    assert read.names == ["door, wooden", '5" pipe', 'say "a"', "b"]


def test_marks_mean_the_same_in_every_form(tmp_path):
    names = ["sofa|couch", "background: wall", "cat"]
    expected = Vocabulary.from_list(names)
    (tmp_path / "a.txt").write_text("\n".join(names))
    (tmp_path / "a.CSV").write_text(",".join(names))
    (tmp_path / "a.json").write_text(json.dumps(names))
    forms = [tmp_path / "a.txt", tmp_path / "a.CSV", tmp_path / "a.json", ", ".join(names)]
    assert all(Vocabulary.parse(form) == expected for form in forms)
    typed = Vocabulary.from_text("sofa｜couch，Background ： wall，cat")  # noqa: RUF001
    assert typed == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("café", "cafe\u0301"),
        ("black cat", "black  \u00a0cat"),
        ("Cat", "cAT"),
        ("ｃａｔ", "cat"),  # noqa: RUF001
        ("salt & pepper", "salt &amp; pepper"),
        ("it's", "it’s"),  # noqa: RUF001
        ("\ufeffcat", "cat"),
        ("background: cat", "cat"),
    ],
)
def test_what_the_tower_cannot_tell_apart_is_repeated(first, second):
    with pytest.raises(UserError, match="more than once"):
        Vocabulary.parse([first, "sea", second])


def test_a_synonym_of_two_classes_is_a_note():
    read = Vocabulary.parse("sofa|couch, settee|Couch")
    assert read.names == ["sofa", "settee"]
    assert read.notes == ("'couch' stands for several classes: sofa, settee",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (None, "no words were given"),
        ([], "empty; give at least one"),
        ("", "empty; give at least one"),
        (" ,\n", "empty; give at least one"),
        ("background: sky, background: sea", "background words alone"),
        (5, "words are 5; give a list"),
        ({"cat", "dog"}, "words are a set; give a list"),
        ([False], "got False; put it in quotes"),
        ("\u200b", "empty name"),
        ("[cat, dog]", "is no JSON list of names"),
        ('"cat, dog', 'a quote opens the name ."cat. but'),
        ('"cat" dog, sea', 'a quote opens the name ."cat" dog. but'),
        ('["cat", 3]', "holds names, but got 3"),
        ("none.txt", "none.txt: cannot read the word list"),
        ("no,such.txt", ""),
    ],
)
def test_mistakes(words, message):
    if not message:
        assert Vocabulary.parse(words).names == ["no", "such.txt"]
        return
    with pytest.raises(UserError, match=message):
        Vocabulary.parse(words)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"cat": 1}', "a.json: holds a dict where a list"),
        ("a.json", b"null", "a.json: holds a NoneType"),
        ("a.json", b"[" * 100_000, "a.json: this is no JSON list"),
        ("a.txt", "cat\n".encode("utf-16"), "a.txt: .*no UTF-8 text"),
        ("a.txt", b"cat\n\ndog\ncat", "a.txt: .*'cat' more than once"),
    ],
)
def test_files_with_mistakes(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        Vocabulary.parse(tmp_path / name)


def test_long_lines_take_no_longer_than_their_length():
    blanks = " " * 100_000
    assert Vocabulary.from_text(f"a{blanks}b,{blanks}c{blanks}").names == ["a b", "c"]
    with pytest.raises(UserError, match="a quote opens the name"):
        Vocabulary.from_text('"' * 50_001)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("name, car", "'name' was read as a name; remove it if it heads a column"),
        ("0, car, 1, sky", "'0' was read as a name, though it is a number"),
        ("name", ""),
        ("car, name", ""),
        ("boeing 747, sky", ""),
    ],
)
def test_notes_on_columns_of_tables(text, note):
    notes = Vocabulary.parse(text).notes
    assert [note in said for said in notes] == ([True] if note else [])


def test_half_a_json_list_is_no_name():
    with pytest.raises(UserError, match="this is no JSON list of names"):
        Vocabulary.parse('["car", "sky"')


def test_words_that_the_tokenizer_tells_apart_are_not_repeated():
    assert Vocabulary.parse("Maße, Masse").names == ["Maße", "Masse"]
