import pytest

from ovs_core.errors import UserError
from ovs_core.words.vocabulary import Vocabulary


def test_a_persons_words():
    words = Vocabulary.parse(" sofa|couch , black cat,background: wall|sky ")
    assert words.names == ["sofa", "black cat", "wall"]
    assert words.texts == ["sofa", "couch", "black cat", "wall", "sky"]
    assert words.class_index == [0, 0, 1, 2, 2]
    assert words.background_index == [2]
    assert words.prompts(["a {}", "the {}"])[:3] == ["a sofa", "the sofa", "a couch"]


def test_list_file_and_string_agree(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# my words\nsofa|couch\n\nblack cat  # not white\n", encoding="utf-8")
    expected = Vocabulary.parse(["sofa|couch", "black cat"])
    assert Vocabulary.parse(path) == Vocabulary.parse(str(path)) == expected
    assert Vocabulary.parse("sofa|couch,black cat") == expected
    assert Vocabulary.parse("sofa|couch,\n\nblack cat,") == expected


def test_any_script_is_a_word():
    assert Vocabulary.parse("猫, собака, 🐶").names == ["猫", "собака", "🐶"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "empty"),
        ([], "empty"),
        ("cat,,dog", "empty name"),
        ("cat|,dog", "empty name"),
        (["cat", "Cat"], "'cat' more than once"),
        (["cat", 3], "holds names, but got 3"),
    ],
)
def test_bad_words_are_quoted(words, message):
    with pytest.raises(UserError, match=message):
        Vocabulary.parse(words)


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(UserError, match="cannot read the word list"):
        Vocabulary.parse(tmp_path / "none.txt")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(UserError, match=r"empty\.txt: the vocabulary is empty"):
        Vocabulary.parse(tmp_path / "empty.txt")


def test_dataset_classes_may_share_synonyms_and_hold_commas():
    words = Vocabulary.from_names(
        ["door, entrance", "door"],
        synonyms=[["door", "entrance"], ["door"]],
        background_words=["sky"],
    )
    assert words.names == ["door, entrance", "door", "sky"]
    assert words.shared_synonyms() == {"door": ["door, entrance", "door"]}
    assert words.background_index == [2]
