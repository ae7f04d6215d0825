import errno
import json
import os
import time

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from ovs_core import Predictor
from ovs_core.clip.text_encoder import TextEncoder
from ovs_core.commands import main
from ovs_core.files.locks import hold_folder
from ovs_core.predict.folder import segment_files
from ovs_core.predict.reading import find_files, read_inputs
from ovs_core.predict.result import Result
from ovs_core.predict.tidy import absorb_islands
from ovs_core.words.vocabulary import Vocabulary

METHOD = "cliptrase/tiny_maskclip"


def segment(*arguments, words="car, sky, sand", method=METHOD):
    return main(["segment", *map(str, arguments), "--words", words, "--method", method])


def test_a_folder_and_what_is_written(user, capsys):
    assert segment("pictures", "--output", "out") == 0
    shown = capsys.readouterr().out
    assert "3 segmented" in shown and "pictures/b.jpg: " in shown
    kinds = ("labels.png", "overlay.png", "segments.json")
    expected = {f"{name}_{kind}" for name in "abc" for kind in kinds} | {"run.json"}
    assert {path.name for path in (user / "out").glob("[!.]*")} == expected
    direct = Predictor.from_config(METHOD, device="cpu")("pictures/b.jpg", "car, sky, sand")
    labels = np.asarray(Image.open(user / "out" / "b_labels.png"))
    assert np.array_equal(labels, direct.labels)


def test_an_interrupted_run_goes_on(user, capsys):
    assert segment("pictures", "--output", "out") == 0
    (user / "out" / "b_segments.json").unlink()  # killed before this picture was complete
    before = (user / "out" / "a_labels.png").stat().st_mtime_ns
    capsys.readouterr()
    (user / "out" / "b_labels.png").unlink()
    (user / "out" / "b_overlay.png").unlink()
    assert segment("pictures", "--output", "out") == 0
    shown = capsys.readouterr().out
    assert "1 segmented" in shown and "2 finished earlier and skipped" in shown
    assert (user / "out" / "a_labels.png").stat().st_mtime_ns == before


def test_ctrl_c_keeps_what_is_finished(user, capsys, monkeypatch):
    def interrupt(task, result):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ovs_core.commands.segment._report", interrupt)
        assert segment("pictures", "--output", "out") == 130
    finished = list((user / "out").glob("*_segments.json"))
    assert finished and capsys.readouterr().err.endswith("stopped\n")
    assert segment("pictures", "--output", "out") == 0
    assert f"{len(finished)} finished earlier" in capsys.readouterr().out


def test_a_picture_that_changed_is_segmented_again(user, capsys):
    segment("photo.jpg", "--output", "out")
    Image.new("RGB", (40, 40)).save("photo.jpg")
    later = time.time() + 5
    os.utime("photo.jpg", (later, later))
    assert segment("photo.jpg", "--output", "out") == 0
    assert "1 segmented" in capsys.readouterr().out.splitlines()[-1]
    assert Image.open(user / "out" / "photo_labels.png").size == (40, 40)


def test_other_words_or_another_method_are_refused(user, capsys):
    assert segment("photo.jpg", "--output", "out") == 0
    assert segment("photo.jpg", "--output", "out", words="car, sky") == 1
    assert "out: holds results with other words" in capsys.readouterr().err
    assert segment("photo.jpg", "--output", "out", method="cliptrase/tiny_clip") == 1
    assert "other method" in capsys.readouterr().err
    assert segment("photo.jpg", "--output", "out", "--overwrite", words="car, sky") == 0
    assert json.loads((user / "out" / "photo_segments.json").read_text())["names"] == ["car", "sky"]


def test_the_same_line_with_other_words_in_the_file_makes_all_anew_and_says_so(user, capsys):
    assert segment("pictures", "--output", "out", words="words.txt") == 0
    (user / "words.txt").write_text("car\nsky\ntree\n")
    capsys.readouterr()
    assert segment("pictures", "--output", "out", words="words.txt") == 0
    assert "3 segmented" in (shown := capsys.readouterr().out)
    assert "3 of them anew for other words" in shown
    assert json.loads((user / "out" / "a_segments.json").read_text())["names"][-1] == "tree"
    assert segment("pictures", "--output", "out", words="car,sky,tree") == 0  # as typed otherwise
    assert "3 finished earlier" in capsys.readouterr().out


def test_a_run_of_an_earlier_version_goes_on(user, capsys):
    """Its records have no hashes, its pictures no maker."""
    assert segment("pictures", "--output", "out") == 0
    before = {p.name: p.read_bytes() for p in (user / "out").glob("[!.]*")}
    run = json.loads(before["run.json"])
    run["words"] = run.pop("entries")
    (user / "out" / "run.json").write_text(json.dumps(run))
    for path in (user / "out").glob("*.png"):
        Image.open(path).copy().save(path)
    for path in (user / "out").glob("*_segments.json"):
        record = json.loads(path.read_text())
        for key in ("made_with", "files", "check"):
            del record[key]
        path.write_text(json.dumps(record))
    assert segment("pictures", "--output", "out") == 0
    assert "3 segmented" in capsys.readouterr().out.splitlines()[-1]
    assert {p.name: p.read_bytes() for p in (user / "out").glob("[!.]*")} == before


def test_a_file_named_as_that_of_the_run_stays(user, capsys):
    (user / "out").mkdir()
    for mine in ("{}", "[1]", "my run"):
        (user / "out" / "run.json").write_text(mine)
        assert segment("pictures", "--output", "out") == 1
        assert "run.json: " in capsys.readouterr().err
        assert (user / "out" / "run.json").read_text() == mine


def test_one_run_at_a_time_in_a_folder(user, capsys):
    with hold_folder(user / "out", "a segmentation"):
        assert segment("pictures", "--output", "out") == 1
    assert "out: a segmentation of process" in capsys.readouterr().err


def test_a_full_disk_stops_with_a_line_and_the_list_of_failures(user, capsys, monkeypatch):
    (user / "pictures" / "aa.png").write_bytes(b"no picture")
    save = Result.save

    def full(result, folder, stem, **more):
        if stem == "b":
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(result, folder, stem, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Result, "save", full)
        assert segment("pictures", "--output", "out") == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert "aa.png: cannot be decoded" in lines[0] and "b.jpg: No space left" in lines[1]
    assert "out: No space left on device; stopped here, and what is finished is kept" in lines[2]
    assert "1 segmented" in captured.out and len(lines) == 3
    assert segment("pictures", "--output", "out") == 1
    assert "finished earlier and skipped, 1 failed" in capsys.readouterr().out


def test_ctrl_c_lists_the_failures_so_far(user, capsys, monkeypatch):
    (user / "pictures" / "aa.png").write_bytes(b"no picture")

    def interrupt(task, result):
        if task.stem == "b":
            raise KeyboardInterrupt

    monkeypatch.setattr("ovs_core.commands.segment._report", interrupt)
    assert segment("pictures", "--output", "out") == 130
    assert "aa.png: cannot be decoded" in capsys.readouterr().err


def test_what_a_person_made_is_not_overwritten(user, capsys):
    (user / "out").mkdir()
    (user / "out" / "photo_overlay.png").write_text("mine")
    assert segment("photo.jpg", "pictures", "--output", "out") == 1
    captured = capsys.readouterr()
    assert "photo_overlay.png: exists and was not made by the suite" in captured.err
    assert "3 segmented" in captured.out and "1 failed" in captured.out
    assert (user / "out" / "photo_overlay.png").read_text() == "mine"


def test_a_broken_picture_does_not_stop_the_others(user, capsys):
    (user / "pictures" / "aa.png").write_bytes(b"no picture")
    assert segment("pictures", "--output", "out") == 1
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 1 and "aa.png: cannot be decoded" in captured.err
    assert "3 segmented" in captured.out and "1 failed" in captured.out


def test_a_program_reads_what_became_of_a_run(user, capsys):
    (user / "pictures" / "b.jpg").write_bytes(b"no picture")
    assert segment("pictures", "--output", "out", "--json", "-") == 1
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["output"] == "out" and told["method"] == METHOD
    assert told["finished"] == ["a", "c"] and told["segmented"] == 2 and told["skipped"] == 0
    (failed,) = told["failed"]
    assert "b.jpg" in failed and "2 segmented" in shown.err
    assert segment("pictures", "--output", "out", "--status", "--json", "how_far.json") == 1
    assert "2 finished" in capsys.readouterr().out
    assert json.loads((user / "how_far.json").read_text())["to_do"] == 1


def test_names_that_repeat_are_told_apart(user, capsys):
    (user / "more").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.open("photo.jpg").save(user / "more" / name)
    assert segment("pictures", "more", "--output", "out") == 0
    assert "5 segmented" in capsys.readouterr().out
    assert len(list((user / "out").glob("*_segments.json"))) == 5


def test_frames_of_a_video(user, capsys):
    assert segment("clip.avi", "--every", "5", "--output", "out") == 0
    found = sorted(path.name for path in (user / "out" / "clip").glob("*_labels.png"))
    assert found == ["000000_labels.png", "000005_labels.png", "000010_labels.png"]
    capsys.readouterr()
    assert segment("clip.avi", "--every", "5", "--output", "out") == 0
    assert "0 segmented" in capsys.readouterr().out
    (user / "bad.mp4").write_bytes(b"no video")
    assert segment("bad.mp4", "--output", "out2") == 1
    assert "bad.mp4: cannot be read as a video" in capsys.readouterr().err


def test_texts_are_embedded_once(user, monkeypatch):
    embedded, forward = [], TextEncoder.__call__

    def counting(self, tokens):
        embedded.append(len(tokens))
        return forward(self, tokens)

    monkeypatch.setattr(TextEncoder, "__call__", counting)
    monkeypatch.setenv("OVSUITE_CACHE", str(user / "new_cache"))
    predictor = Predictor.from_config(METHOD, device="cpu")
    words = Vocabulary.parse([f"thing {i}" for i in range(150)])
    work = read_inputs(find_files(["pictures"]))
    assert segment_files(predictor, words, work, user / "out").done == 3
    assert sum(embedded) == 150 * len(predictor.model.templates)


FORMAT = ("--format", "coco,polygons,panoptic,csv")


def test_annotations_of_all_pictures(user, capsys):
    (user / "pictures" / "aa.png").write_bytes(b"no picture")
    assert segment("pictures", "clip.avi", "--every", "5", "--output", "out", *FORMAT) == 1
    assert capsys.readouterr().out.count("annotations  out/annotations") == 4
    for kind in ("coco", "polygons"):
        coco = COCO(str(user / "out" / f"annotations_{kind}.json"))
        files = [image["file_name"] for image in coco.imgs.values()]
        frames = [f"clip.avi#{number}" for number in (0, 5, 10)]
        assert files == ["pictures/a.jpg", "pictures/b.jpg", "pictures/c.jpg", *frames]
        names = {category["id"]: category["name"] for category in coco.cats.values()}
        for image, stem in zip(coco.imgs, ["a", "b", "c", *sorted_frames(user)], strict=True):
            labels = np.asarray(Image.open(user / "out" / f"{stem}_labels.png"))
            drawn = np.full(labels.shape, -1)
            for annotation in coco.loadAnns(coco.getAnnIds([image])):
                word = names[annotation["category_id"]]
                drawn[coco.annToMask(annotation) > 0] = ["car", "sky", "sand"].index(word)
                assert annotation["provenance"]["method"] == METHOD
            assert np.array_equal(drawn, labels)
    panoptic = json.loads((user / "out" / "annotations_panoptic.json").read_text())
    assert all((user / "out" / "annotations_panoptic" / a["file_name"]).is_file()
               for a in panoptic["annotations"])  # fmt: skip


def sorted_frames(user):
    found = (user / "out" / "clip").glob("*_labels.png")
    return sorted(f"clip/{path.name.removesuffix('_labels.png')}" for path in found)


def test_annotations_that_are_written_are_datasets_of_the_suite(user, capsys):
    assert segment("pictures", "--output", "out", *FORMAT) == 0
    own = {
        f"made_{kind}": {
            "images": "pictures", "names": ["car", "sky", "sand"],
            "annotations": f"out/annotations_{kind}.json",
        }
        for kind in ("coco", "polygons", "panoptic")
    }  # fmt: skip
    own["made_panoptic"]["segments"] = "out/annotations_panoptic"
    (user / "made.yaml").write_text(yaml.safe_dump(own))
    capsys.readouterr()
    assert main(["check-dataset", "--yaml", "made.yaml"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name}: good" in shown for name in own)


def test_annotations_follow_from_finished_results(user, capsys):
    """They need no second look at the pictures, and are the same after a run that was cut."""
    assert segment("pictures", "--output", "out", *FORMAT) == 0
    before = {p.name: p.read_bytes() for p in (user / "out").glob("annotations*.*")}
    assert len(before) == 4
    assert segment("pictures", "--output", "two") == 0
    (user / "two" / "b_segments.json").unlink()
    capsys.readouterr()
    assert segment("pictures", "--output", "two", *FORMAT) == 0
    assert "1 segmented" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in (user / "two").glob("annotations*.*")} == before
    (user / "words.txt").write_text("tree\nsky\n")
    assert segment("pictures", "--output", "three", *FORMAT, words="words.txt") == 0
    (user / "words.txt").write_text("car\nsky\nsand\n")
    assert segment("pictures", "--output", "three", *FORMAT, words="words.txt") == 0
    assert {p.name: p.read_bytes() for p in (user / "three").glob("annotations*.*")} == before


def test_annotation_files_of_a_person_are_seen_before_any_work(user, capsys, monkeypatch):
    (user / "out").mkdir()
    mine = '{"images": [], "annotations": [], "categories": []}'
    (user / "out" / "annotations_coco.json").write_text(mine)
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "from_config", lambda *a, **k: pytest.fail("a model is built"))
        assert segment("pictures", "--output", "out", *FORMAT) == 1
        assert "annotations_coco.json: exists, and holds" in capsys.readouterr().err
        assert segment("pictures", "--output", "out", "--merge") == 1
        assert "name them with --format" in capsys.readouterr().err
        assert segment("pictures", "--output", "out", "--format", "coco,voc") == 1
        assert "format: 'voc' is unknown" in capsys.readouterr().err
    assert (user / "out" / "annotations_coco.json").read_text() == mine
    assert segment("pictures", "--output", "out", "--format", "coco", "--merge") == 0
    assert len(json.loads((user / "out" / "annotations_coco.json").read_text())["images"]) == 3


def test_shards_and_how_far_they_are(user, capsys):
    assert segment("pictures", "--output", "out", "--shard", "2/2") == 0
    assert "shard 2/2: 1 segmented" in capsys.readouterr().out
    assert segment("pictures", "--output", "out", "--status") == 1
    assert capsys.readouterr().out == "1 finished, 0 unfinished, 2 to do\n"
    assert segment("pictures", "--output", "out", "--shard", "1/2", *FORMAT) == 1
    assert "--format needs the results of all shards" in capsys.readouterr().err
    assert segment("pictures", "--output", "out", "--shard", "1/2") == 0
    assert segment("pictures", "--output", "out", "--status") == 0
    capsys.readouterr()
    assert segment("pictures", "--output", "out", *FORMAT) == 0
    assert "0 segmented" in (shown := capsys.readouterr().out)
    assert "3 finished earlier" in shown and shown.count("annotations  ") == 4
    assert segment("photo.jpg", "--output", "out", "--shard", "3/2") == 1
    assert "shard '3/2' is no NUMBER/COUNT" in capsys.readouterr().err


@pytest.mark.parametrize(("launched", "code"), [(False, 1), (True, 0)])
def test_a_bad_picture_of_one_shard_does_not_end_the_others(
    user, capsys, monkeypatch, launched, code
):
    """torchrun and srun end all processes when one ends with 1."""
    (user / "pictures" / "a.jpg").write_bytes(b"no picture")
    for name, value in {"RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    shard = "auto" if launched else "1/3"
    assert segment("pictures", "--output", "out", "--shard", shard) == code
    captured = capsys.readouterr()
    assert "a.jpg: cannot be decoded" in captured.err and "1 failed" in captured.out


@pytest.mark.parametrize(
    ("arguments", "words", "method", "message"),
    [
        (["photo.jpg"], " ", METHOD, "the vocabulary is empty"),
        (["photo.jpg"], "car,,sky", METHOD, "empty name"),
        (["photo.jpg"], "car, sky, Car", METHOD, "names 'car' more than once"),
        (["photo.jpg"], "none.txt", METHOD, "none.txt: cannot read the word list"),
        (["none.jpg"], "car", METHOD, "none.jpg: no such picture, video or folder"),
        (["street"], "car", METHOD, "street: holds no picture"),
        (["photo.jpg"], "car", "cliptrase/tinny", "Did you mean 'cliptrase/tiny'?"),
        (["photo.jpg"], "car", "pictures", "no config.yaml in it"),
        (
            ["photo.jpg", "--weights", "none.pth"],
            "car",
            "hclip/tiny",
            "none.pth: no such checkpoint",
        ),
        (
            ["photo.jpg", "--min-area", "2"],
            "car",
            METHOD,
            "min_area 2.0: is a share of the picture",
        ),
        (["photo.jpg", "--device", "tpu9"], "car", METHOD, "device 'tpu9' cannot be used"),
        (["photo.jpg", "--output", "photo.jpg"], "car", METHOD, "cannot write into this folder"),
    ],
)
def test_mistakes_give_one_line(user, capsys, arguments, words, method, message):
    assert segment(*arguments, words=words, method=method) == 1
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def odd_pictures(folder):
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((96, 64))
    folder.mkdir()
    base.resize((1, 1)).save(folder / "pixel.png")
    base.convert("L").save(folder / "grey.png")
    base.convert("RGBA").save(folder / "rgba.png")
    Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    exif = base.getexif()
    exif[0x0112] = 6
    base.save(folder / "turned.jpg", exif=exif)
    base.save(folder / "animated.gif", save_all=True, append_images=[base.rotate(90)])


def test_pictures_of_every_kind(user, capsys):
    odd_pictures(user / "odd")
    words = "car, собака, 猫, 😀, " + "very " * 60 + "long"
    assert segment("odd", "--output", "out", words=words) == 0
    captured = capsys.readouterr()
    assert "6 segmented" in captured.out
    assert Image.open(user / "out" / "turned_labels.png").size == (64, 96)
    assert Image.open(user / "out" / "pixel_labels.png").size == (1, 1)
    listed = json.loads((user / "out" / "grey_segments.json").read_text(encoding="utf-8"))
    assert listed["names"][1:4] == ["собака", "猫", "😀"]
    assert "too long for CLIP" in listed["notes"][0]


@pytest.mark.slow
def test_a_strip_of_20000_pixels(user, capsys):
    rng = np.random.default_rng(0)
    strip = Image.fromarray(rng.integers(0, 255, (2, 200, 3), dtype=np.uint8)).resize((20000, 20))
    strip.save(user / "strip.png")
    assert segment("strip.png", "--output", "out") == 0
    assert Image.open(user / "out" / "strip_labels.png").size == (20000, 20)


@pytest.mark.slow
def test_five_thousand_words(user, capsys):
    (user / "many.txt").write_text("\n".join(f"thing number {i}" for i in range(5000)))
    assert segment("photo.jpg", "--output", "out", words="many.txt") == 0
    labels = np.asarray(Image.open(user / "out" / "photo_labels.png"))
    assert labels.dtype == np.uint16 and labels.max() < 5000


def test_a_picture_above_the_limit_of_pixels_is_one_line(user, capsys, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setenv("OVSUITE_MAX_PIXELS", "1")  # is put back after the test
    assert segment("pictures", "--output", "out", "--max-pixels", "0.0001") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 3 and all("more than 0.0001 million pixels" in line for line in lines)


def test_weights_of_a_method_that_has_none_are_refused(user, capsys):
    """Mostly those of a CLIP are meant; it is said before any CLIP is loaded."""
    line = ["segment", "photo.jpg", "--words", "car, sky", "--method", "cliptrase/tiny"]
    assert main([*line, "--weights", "ViT-B-16.pt"]) == 1
    error = capsys.readouterr().err
    assert "trains nothing and has no weights of its own" in error
    assert "--opts MODEL.CLIP.PRETRAINED ViT-B-16.pt" in error


def test_small_islands_are_taken_out_on_demand(user, capsys):
    for share, folder in (("0", "all"), ("0.2", "large")):
        assert segment("photo.jpg", "--min-area", share, "--output", folder) == 0
    maps = [np.asarray(Image.open(user / f / "photo_labels.png")) for f in ("all", "large")]
    assert np.array_equal(absorb_islands(maps[0], 0.2), maps[1])
    capsys.readouterr()
    for share, folder in (("0.2", "all"), ("0", "large")):  # not mixed with the other ones
        assert segment("photo.jpg", "--min-area", share, "--output", folder) == 1
        assert "holds results with other options" in capsys.readouterr().err
