"""A folder of pictures: what goes wrong with one of them, and what another run finds finished."""

import errno
import json
import os
import weakref

import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.files import writing
from ovs_core.files.pictures import LoadedPicture
from ovs_core.predict import folder as folder_module
from ovs_core.predict.folder import segment_files
from ovs_core.predict.reading import find_files, read_inputs
from ovs_core.words.vocabulary import Vocabulary

PARTS = ("labels.png", "overlay.png", "segments.json")


def go(predictor, pictures, out, words="car, sky", **more):
    inputs = read_inputs(find_files([pictures]))
    return segment_files(predictor, Vocabulary.parse(words), inputs, out, **more)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_whatever_goes_wrong_with_a_picture_is_one_line(predictor, pictures, tmp_path, monkeypatch):
    (pictures / "aa.png").write_bytes(b"no picture")
    long = f"{'n' * 245}.png"
    Image.open(pictures / "b.png").save(pictures / long)
    inputs = list(read_inputs(find_files([pictures])))
    (pictures / "d.png").unlink()  # vanishes after it was listed
    segment, seen = predictor._segment, []

    def failing(*arguments):
        seen.append(arguments)
        if len(seen) == 2:
            raise RuntimeError("CUDA error: out of luck\nCompile with a flag\nfor more")
        return segment(*arguments)

    monkeypatch.setattr(predictor, "_segment", failing)
    tally = segment_files(predictor, Vocabulary.parse("car, sky"), inputs, tmp_path / "out")
    assert tally.done == 4 and tally.skipped == 0 and not tally.stopped
    assert len(tally.failed) == 4 and not any("\n" in line for line in tally.failed)
    told = "\n".join(tally.failed)
    assert "aa.png: cannot be decoded" in told and "d.png: cannot be read" in told
    assert "b.png: RuntimeError: CUDA error: out of luck Compile with a flag" in told
    assert f"{'n' * 245}: the name is too long for the names of its results" in told
    assert len(list((tmp_path / "out").glob("*_segments.json"))) == 4


def test_a_name_that_just_fits_has_its_results(predictor, pictures, tmp_path):
    name = "n" * (255 - len("_segment_ids.png"))
    (pictures / "a.png").rename(pictures / f"{name}.png")
    assert not go(predictor, pictures, tmp_path / "out").failed
    assert (tmp_path / "out" / f"{name}_segments.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there only")
def test_a_name_that_is_no_text_has_its_results(predictor, pictures, tmp_path):
    odd = os.path.join(os.fsencode(pictures), b"\xff\xfe.png")
    try:
        os.rename(pictures / "a.png", odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    tally = go(predictor, pictures, tmp_path / "out")
    assert tally.done == 6 and not tally.failed
    assert go(predictor, pictures, tmp_path / "out").skipped == 6


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(
    predictor, pictures, tmp_path, monkeypatch
):
    (pictures / "aa.png").write_bytes(b"no picture")
    out, move = tmp_path / "out", os.replace

    def full(part, path):
        if path.name >= "c":
            raise OSError(errno.ENOSPC, "No space left on device")
        move(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "replace", full)
        tally = go(predictor, pictures, out)
    assert tally.done == 2 and "No space left on device" in tally.stopped
    assert "aa.png: cannot be decoded" in tally.failed[0]
    assert not [p for p in out.iterdir() if ".part" in p.name]
    again = go(predictor, pictures, out)
    assert (again.done, again.skipped, len(again.failed)) == (4, 2, 1)


def test_results_are_not_pictures_of_the_next_run(predictor, pictures):
    mine = pictures / "street_labels.png"  # a person's, in spite of its name
    Image.new("L", (64, 48), 7).save(mine)
    assert go(predictor, pictures, pictures).done == 7
    assert go(predictor, pictures, pictures).skipped == 7
    assert len(find_files([pictures])) == 7
    results = predictor(pictures, "car, sky")
    assert len(list(results)) == 7
    assert len(find_files([pictures / "a_overlay.png"])) == 1  # named by a person, and meant


def test_a_folder_with_nothing_but_results_says_so(predictor, pictures, tmp_path):
    go(predictor, pictures, tmp_path / "out")
    with pytest.raises(UserError, match="out: holds no picture but results of the suite"):
        find_files([tmp_path / "out"])


def test_a_broken_video_is_one_line(predictor, pictures, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    inputs = read_inputs(find_files([tmp_path / "bad.mp4", pictures]))
    tally = segment_files(predictor, Vocabulary.parse("car, sky"), inputs, tmp_path / "out")
    assert tally.done == 6
    assert len(tally.failed) == 1 and "bad.mp4: cannot be read as a video" in tally.failed[0]


def test_a_run_holds_few_pictures_at_a_time(predictor, pictures, tmp_path, monkeypatch):
    for number in range(10):
        os.link(pictures / "a.png", pictures / f"{number:03d}.png")
    held, most = [], []

    class Held(np.ndarray):
        pass

    load = folder_module.Input.load

    def counting(one):
        image = load(one).rgb.view(Held)
        held.append(weakref.ref(image))
        most.append(sum(one() is not None for one in held))
        return LoadedPicture(image)

    monkeypatch.setattr(folder_module.Input, "load", counting)
    predictor._encoded.remember = 1
    assert go(predictor, pictures, tmp_path / "out").done == 16
    assert max(most) <= 3 * folder_module.AHEAD


# Python


def test_python_raises_or_lists_what_cannot_be_segmented(predictor, pictures):
    (pictures / "bb.png").write_bytes(b"no picture")
    given = [pictures / "a.png", np.zeros((0, 4, 3), np.uint8), pictures / "bb.png"]
    given += [pictures / "b.png", pictures / "none.png"]
    results = predictor(given, "car, sky", on_error="skip")
    assert results.failures == []
    assert [r.source for r in results] == [str(pictures / "a.png"), str(pictures / "b.png")]
    assert [line.split(": ")[0] for line in results.failures] == [
        "picture 2", str(pictures / "bb.png"), str(pictures / "none.png")
    ]  # fmt: skip
    from_folder = predictor(pictures, "car, sky", on_error="skip")
    assert len(list(from_folder)) == 6 and len(from_folder.failures) == 1
    results = predictor(pictures, "car, sky")
    assert [next(results).source[-5:] for _ in "ab"] == ["a.png", "b.png"]
    with pytest.raises(UserError, match="bb.png"):
        next(results)
    assert next(results).source.endswith("c.png")  # the others are still there
    with pytest.raises(UserError, match=r"on_error: 'skp' is unknown.*'skip'"):
        predictor(pictures, "car, sky", on_error="skp")


def test_a_list_is_segmented_one_by_one(predictor, pictures, monkeypatch):
    seen, segment = [], predictor._segment
    monkeypatch.setattr(predictor, "_segment", lambda *a: seen.append(a) or segment(*a))
    results = predictor(sorted(pictures.iterdir()), "car, sky")
    assert not seen
    assert next(results).source == str(pictures / "a.png") and len(seen) == 1


# Finished means finished with this


def test_the_same_again_changes_nothing(predictor, pictures, tmp_path):
    go(predictor, pictures, tmp_path / "out")
    before = contents(tmp_path / "out")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert go(predictor, pictures, tmp_path / "out").skipped == 6
    assert contents(tmp_path / "out") == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == stamps


def change_words(predictor, pictures):
    return "car|automobile, sky"


def change_config(predictor, pictures):
    predictor._config = "second"
    predictor.__dict__.pop("_fixed")


def change_weights(predictor, pictures):
    with torch.no_grad():
        next(predictor.model.parameters()).add_(0.5)
    predictor.forget()
    predictor.__dict__.pop("_fixed")


@pytest.mark.parametrize("change", [change_words, change_config, change_weights])
def test_a_change_makes_everything_anew_and_says_so(predictor, pictures, tmp_path, change):
    go(predictor, pictures, tmp_path / "out")
    words = change(predictor, pictures) or "car, sky"
    tally = go(predictor, pictures, tmp_path / "out", words)
    what = change.__name__.removeprefix("change_")
    assert tally.done == 6 and tally.anew == {f"other {what}": 6}
    go(predictor, pictures, tmp_path / "fresh", words)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert go(predictor, pictures, tmp_path / "out", words).skipped == 6


def test_a_picture_with_other_content_is_made_anew_whatever_its_date(predictor, pictures, tmp_path):
    go(predictor, pictures, tmp_path / "out")
    stamp = (pictures / "b.png").stat()
    Image.new("RGB", (64, 48), "red").save(pictures / "b.png")
    os.utime(pictures / "b.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    os.utime(pictures / "c.png")  # touched, and the same
    tally = go(predictor, pictures, tmp_path / "out")
    assert (tally.done, tally.skipped, tally.anew) == (1, 5, {"other picture": 1})


def test_moved_pictures_are_known_by_their_content(predictor, pictures, tmp_path):
    go(predictor, pictures, tmp_path / "out")
    pictures.rename(tmp_path / "moved")
    assert go(predictor, tmp_path / "moved", tmp_path / "out").skipped == 6


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(bytes(content))


DAMAGES = {
    "cut": cut,
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x00garbage" * 9),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_missing_or_damaged_part_is_made_again(predictor, pictures, tmp_path, damage):
    go(predictor, pictures, tmp_path / "out")
    before = contents(tmp_path / "out")
    for name, part in zip("abc", PARTS, strict=True):
        DAMAGES[damage](tmp_path / "out" / f"{name}_{part}")
    tally = go(predictor, pictures, tmp_path / "out")
    assert (tally.done, tally.skipped, tally.failed) == (3, 3, [])
    assert sum(tally.anew.values()) == 3
    assert contents(tmp_path / "out") == before


def test_a_flipped_bit_of_a_picture_is_seen(predictor, pictures, tmp_path):
    go(predictor, pictures, tmp_path / "out")
    before = contents(tmp_path / "out")
    for part in ("labels.png", "overlay.png"):
        flip(tmp_path / "out" / f"c_{part}")
    assert go(predictor, pictures, tmp_path / "out").done == 1
    assert contents(tmp_path / "out") == before


def test_half_of_a_set_is_completed(predictor, pictures, tmp_path):
    """As a kill leaves it, before the list of segments is written."""
    out = tmp_path / "out"
    go(predictor, pictures, out)
    before = contents(out)
    for name, left in zip("abc", (PARTS[:1], PARTS[1:2], PARTS[:2]), strict=True):
        for part in set(PARTS) - set(left):
            (out / f"{name}_{part}").unlink()
    half = out / ".0123456789ab.part.png"
    half.write_bytes(b"half")
    tally = go(predictor, pictures, out)
    assert (tally.done, tally.skipped, tally.failed) == (3, 3, [])
    assert contents(out) == before and not half.exists()


def test_a_kill_while_a_set_is_replaced_is_completed(predictor, pictures, tmp_path, monkeypatch):
    out = tmp_path / "out"
    go(predictor, pictures, out)
    replace = os.replace

    def killed(part, path):
        if str(path).endswith("c_overlay.png"):
            raise KeyboardInterrupt
        replace(part, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing.os, "replace", killed)
        go(predictor, pictures, out, "tree, sky, sea")
    tally = go(predictor, pictures, out, "tree, sky, sea")
    assert not tally.failed and tally.done >= 1
    go(predictor, pictures, tmp_path / "fresh", "tree, sky, sea")
    assert contents(out) == contents(tmp_path / "fresh")


def test_parts_that_a_new_result_has_not_are_removed(predictor, pictures, tmp_path):
    result = next(predictor(pictures, "car, sky"))
    out = tmp_path / "out"
    object.__setattr__(result, "segment_ids", np.ones_like(result.labels))
    object.__setattr__(
        result, "segments_info", [{"id": 1, "category_id": 0, "isthing": True, "area": 1}]
    )
    result.save(out)
    assert (out / "a_segment_ids.png").exists()
    next(predictor(pictures, "car, sky")).save(out)
    assert not (out / "a_segment_ids.png").exists()


def test_what_a_person_put_or_changed_there_stays(predictor, pictures, tmp_path):
    out = tmp_path / "out"
    go(predictor, pictures, out)
    mine = dict(zip("abc", PARTS, strict=True))
    for name, part in mine.items():
        if part.endswith(".json"):
            content = {**json.loads((out / f"{name}_{part}").read_text()), "reviewed": True}
            (out / f"{name}_{part}").write_text(json.dumps(content))
        else:
            Image.new("L", (64, 48), 1).save(out / f"{name}_{part}")
    before = contents(out)
    for words in ("car, sky", "tree, sky"):
        tally = go(predictor, pictures, out, words)
        assert len(tally.failed) == 3 and contents(out)["a_labels.png"] == before["a_labels.png"]
        for line, (name, part) in zip(tally.failed, mine.items(), strict=True):
            assert f"{name}_{part}: exists and was not made by the suite" in line
            assert contents(out)[f"{name}_{part}"] == before[f"{name}_{part}"]
    assert not go(predictor, pictures, out, overwrite=True).failed
    assert not any(
        contents(out)[f"{n}_{part}"] == before[f"{n}_{part}"] for n, part in mine.items()
    )


def test_a_person_s_hidden_files_stay(predictor, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in (".mine.part", ".my.notes.part.txt", ".partial"):
        (out / name).write_text("mine")
    go(predictor, pictures, out)
    assert len([p for p in out.iterdir() if p.read_bytes() == b"mine"]) == 3


def test_the_hash_of_weights_does_not_hang_on_words(predictor, pictures):
    before = predictor.made_with(Vocabulary.parse("car"))
    next(predictor(pictures, "tree, sky, sea"))
    predictor.__dict__.pop("_fixed")
    assert predictor.made_with(Vocabulary.parse("car")) == before
