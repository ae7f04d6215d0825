"""Pictures from shards, Parquet files, lists and addresses are those of a folder."""

import io
import tarfile

import fsspec
import numpy as np
import pytest

from ovs_core.errors import UserError
from ovs_core.files.addresses import list_address, read_place
from ovs_core.predict.folder import segment_files
from ovs_core.predict.reading import count_inputs, find_files, name_files, read_inputs
from ovs_core.words.vocabulary import Vocabulary

WORDS = Vocabulary.parse("car, sky")


def work(predictor, named, out):
    files = find_files(named)
    return segment_files(predictor, WORDS, read_inputs(files), out, total=count_inputs(files))


def labels(folder):
    """Content of the label maps, by the last letter of their pictures' names."""
    return {p.name[0]: p.read_bytes() for p in folder.rglob("*_labels.png")}


def write_tar(path, members):
    with tarfile.open(path, "w") as shard:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            shard.addfile(about, io.BytesIO(data))
    return path


def write_parquet(path, **columns):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    return path


@pytest.fixture
def datas(pictures):
    return {p.name: p.read_bytes() for p in sorted(pictures.iterdir())}


@pytest.fixture
def whole(predictor, pictures, tmp_path):
    work(predictor, [pictures], tmp_path / "whole")
    return labels(tmp_path / "whole")


def test_a_shard_gives_its_pictures_and_nothing_else(predictor, datas, whole, tmp_path):
    others = {"a.json": b"{}", "._a.png": b"a system's own", "a.cls": b"3"}
    shard = write_tar(tmp_path / "shard.tar", {**datas, **others})
    tally = work(predictor, [shard], tmp_path / "out")
    assert (tally.done, tally.failed) == (6, [])
    assert (tmp_path / "out" / "shard" / "a_labels.png").is_file()
    assert labels(tmp_path / "out") == whole
    assert work(predictor, [shard], tmp_path / "out").skipped == 6


def test_members_of_one_name_are_told_apart_and_none_leads_out(predictor, datas, tmp_path):
    one = datas["a.png"]
    names = ("x/a.png", "x/a.jpg", "x/a.png", "../b.png", "/c.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for name in names:
            about = tarfile.TarInfo(name)
            about.size = len(one)
            shard.addfile(about, io.BytesIO(one))
    tally = work(predictor, [tmp_path / "shard.tar"], tmp_path / "out")
    assert tally.finished == ["shard/x/a", "shard/x/a_jpg", "shard/x/a_png"]
    assert ["shard.tar#../b.png: leads out" in line for line in tally.failed] == [True, False]
    assert "shard.tar#/c.png: leads out" in tally.failed[1]
    assert not list(tmp_path.glob("*_labels.png"))


def test_pickled_members_are_refused_and_the_pictures_beside_them_are_made(
    predictor, datas, tmp_path
):
    names = {"a.png": datas["a.png"], "a.pyd": b"cos\nsystem\n", "b.pkl": b"x"}
    tally = work(predictor, [write_tar(tmp_path / "s.tar", names)], tmp_path / "out")
    assert tally.finished == ["s/a"]
    (line,) = tally.failed
    assert "s.tar#a.pyd: holds pickled Python objects" in line


def test_a_shard_that_ends_early_gives_what_it_holds(predictor, datas, tmp_path):
    shard = write_tar(tmp_path / "s.tar", datas)
    half = len(datas["a.png"]) + 1024 + 512
    shard.write_bytes(shard.read_bytes()[:half])
    tally = work(predictor, [shard], tmp_path / "out")
    assert tally.finished == ["s/a"]
    assert len(tally.failed) == 1 and "s.tar: cannot be read on" in tally.failed[0]


@pytest.mark.parametrize("in_struct", [False, True])
def test_a_parquet_file_gives_a_picture_per_row(predictor, datas, whole, tmp_path, in_struct):
    images = list(datas.values())
    rows = [{"bytes": data, "path": None} for data in images] if in_struct else images
    path = write_parquet(tmp_path / "p.parquet", image=rows, text=["t"] * 6, mask=[b""] * 6)
    assert work(predictor, [path], tmp_path / "out").done == 6
    found = [p.read_bytes() for p in sorted((tmp_path / "out" / "p").glob("*_labels.png"))]
    assert found == [whole[letter] for letter in "abcdef"]


def test_a_parquet_file_says_which_column_it_lacks(predictor, tmp_path):
    tallies = [
        work(predictor, [write_parquet(tmp_path / f"{n}.parquet", **columns)], tmp_path / "out")
        for n, columns in enumerate([{"text": ["t"]}, {"left": [b"1"], "right": [b"2"]}])
    ]
    assert "0 of its columns hold bytes (none)" in tallies[0].failed[0]
    assert "2 of its columns hold bytes (left, right)" in tallies[1].failed[0]
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (line,) = work(predictor, [tmp_path / "bad.parquet"], tmp_path / "out").failed
    assert "bad.parquet: cannot be read as a Parquet file" in line


def test_types_that_a_library_builds_are_refused_before_it_sees_them(predictor, tmp_path):
    """Ray's tensor type, among others, unpickles what the file says of it."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    built = []

    class Own(pyarrow.ExtensionType):
        def __init__(self):
            super().__init__(pyarrow.binary(), "of.a.library")

        def __arrow_ext_serialize__(self):
            return b"what to do"

        @classmethod
        def __arrow_ext_deserialize__(cls, storage, serialized):
            built.append(serialized)
            return cls()

    pyarrow.register_extension_type(Own())
    try:
        column = pyarrow.ExtensionArray.from_storage(Own(), pyarrow.array([b"1", b"2"]))
        parquet.write_table(pyarrow.table({"image": column}), tmp_path / "p.parquet")
        built.clear()
        (line,) = work(predictor, [tmp_path / "p.parquet"], tmp_path / "out").failed
        assert "columns of types that a library has to build" in line and not built
        parquet.ParquetFile(tmp_path / "p.parquet")
        assert built  # else the test would see nothing
    finally:
        pyarrow.unregister_extension_type("of.a.library")


def test_a_list_names_pictures_and_what_is_lost_fails_alone(
    predictor, pictures, whole, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    address = f"file://{pictures}/b.png"
    (tmp_path / "list.txt").write_text(f"pictures/a.png\n\n{address}\npictures/none.png\n")
    tally = work(predictor, ["list.txt"], tmp_path / "out")
    assert tally.finished == ["a", "b"] and "none.png" in tally.failed[0]
    assert labels(tmp_path / "out") == {name: whole[name] for name in "ab"}
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt: names no picture"):
        find_files(["empty.txt"])


def test_addresses_are_read_as_files_are(predictor, datas, whole, tmp_path):
    store = fsspec.filesystem("memory")
    for name, data in {**datas, "notes.md": b"-", ".hidden.png": b"-"}.items():
        store.pipe(f"/ovs-test/in/{name}", data)
    store.pipe("/ovs-test/s.tar", write_tar(tmp_path / "s.tar", datas).read_bytes())
    try:
        assert work(predictor, ["memory://ovs-test/in"], tmp_path / "out").done == 6
        assert labels(tmp_path / "out") == whole
        assert work(predictor, ["memory://ovs-test/in"], tmp_path / "out").skipped == 6
        assert work(predictor, ["memory://ovs-test/*.tar"], tmp_path / "shard").done == 6
        assert labels(tmp_path / "shard") == whole
        tally = work(predictor, ["memory://ovs-test/none.png"], tmp_path / "none")
        assert "memory://ovs-test/none.png: cannot be read" in tally.failed[0]
        with pytest.raises(UserError, match="no such files"):
            list_address("memory://ovs-test/*.jpg", [".jpg"])
    finally:
        store.rm("/ovs-test", recursive=True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("reference://a", "scheme of reference://a: 'reference' is unknown"),
        ("simplecache::s3://b/a.png", "no plain address"),
        ("s4://b/a.png", "Did you mean 's3'"),
    ],
)
def test_addresses_that_would_be_more_than_an_address_are_refused(address, said):
    with pytest.raises(UserError, match=said):
        read_place(address)


def test_names_of_results_differ(tmp_path):
    places = ["s3://b/x/a.jpg", "s3://b/y/a.jpg", tmp_path / "a.png", "s3://b/c.jpg"]
    stems = [one.stem for one in name_files(places)]
    assert stems[:2] == ["s3_b_x_a_jpg", "s3_b_y_a_jpg"] and stems[3] == "c"
    assert len(set(stems)) == 4
    assert np.all(["/" not in stem for stem in stems])
