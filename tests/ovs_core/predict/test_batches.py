"""Pictures that are encoded together: what goes wrong with one is no matter of the others."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.modeling.picture_batches import picture_of
from ovs_core.predict.folder import segment_files
from ovs_core.predict.reading import find_files, read_inputs
from ovs_core.words.vocabulary import Vocabulary

WORDS = "car, sky"


@pytest.fixture
def batches(predictor, monkeypatch):
    """The sizes of the batches that the network was shown."""
    shown, encode = [], predictor.model.encode
    monkeypatch.setattr(predictor.model, "encode", lambda x: shown.append(len(x)) or encode(x))
    return shown


def write(predictor, pictures, out, batch):
    inputs = read_inputs(find_files([pictures]))
    return segment_files(predictor, Vocabulary.parse(WORDS), inputs, out, batch=batch)


def test_a_folder_in_batches_is_the_same_to_the_byte(predictor, pictures, tmp_path, batches):
    (pictures / "bb.png").write_bytes(b"no picture")
    Image.open(pictures / "c.png").rotate(90, expand=True).save(pictures / "c.png")
    for batch in (1, 4):
        tally = write(predictor, pictures, tmp_path / str(batch), batch)
        assert tally.done == 6 and len(tally.failed) == 1
        predictor.forget()
    assert batches == [1] * 6 + [3, 1, 2]  # c.png is of another size
    one, four = (
        {path.name: path.read_bytes() for path in (tmp_path / batch).iterdir()} for batch in "14"
    )
    assert one == four
    assert write(predictor, pictures, tmp_path / "4", 4).skipped == 6


def test_a_picture_that_cannot_be_read_is_told_in_its_turn(predictor, pictures, batches):
    given = [pictures / "a.png", pictures / "none.png", pictures / "b.png", pictures / "c.png"]
    results = predictor(given, WORDS, batch=3)
    assert next(results).source == str(given[0])
    with pytest.raises(UserError, match="none.png"):
        next(results)
    assert [one.source for one in results] == [str(path) for path in given[2:]]
    assert batches == [2, 1]
    skipping = predictor(pictures, WORDS, batch=2, on_error="skip")
    assert len(list(skipping)) == 6 and not skipping.failures
    results = predictor(given, WORDS, batch=4, on_error="skip")
    assert len(list(results)) == 3 and len(results.failures) == 1
    with pytest.raises(UserError, match="batch: 0 is no whole number above 0"):
        predictor(given, WORDS, batch=0)


def test_no_more_than_a_batch_is_read_ahead(predictor, pictures, monkeypatch):
    read, ahead = [], predictor.encode_ahead
    monkeypatch.setattr(predictor, "encode_ahead", lambda x: read.append(len(x)) or ahead(x))
    results = predictor(pictures, WORDS, batch=4)
    for _ in range(4):
        assert read in ([], [4])
        next(results)
    assert read == [4]
    next(results)
    assert read == [4, 2]


def test_a_batch_that_is_too_large_is_taken_one_by_one(
    predictor, pictures, batches, monkeypatch, caplog
):
    encode = predictor.model.encode_pictures

    def full(shown):
        if len(shown) > 1:
            raise RuntimeError("out of memory")
        return encode(shown)

    expected = [one.labels for one in predictor(pictures, WORDS)]
    predictor.forget()
    monkeypatch.setattr(predictor.model, "encode_pictures", full)
    with caplog.at_level(logging.WARNING):
        found = [one.labels for one in predictor(pictures, WORDS, batch=6)]
    assert all(np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    assert "6 pictures are encoded one by one: out of memory" in caplog.text


def test_what_is_encoded_ahead_is_kept_until_it_is_used(predictor, pictures, batches):
    """Also where fewer pictures are remembered than are in a batch."""
    predictor._encoded.remember = 1
    assert len(list(predictor(pictures, WORDS, batch=6))) == 6
    assert batches == [6] and len(predictor._encoded._kept) == 1
    results = predictor(pictures, WORDS, batch=3)
    next(results)  # and the others are never asked for
    list(predictor([pictures / "f.png", pictures / "e.png"], WORDS, batch=2))
    assert len(predictor._encoded._kept) == 1


def test_one_picture_is_taken_out_of_whatever_a_method_encodes():
    maps = torch.arange(6.0).view(3, 2)
    one = picture_of({"maps": (maps, [maps + 1]), "grid": (2, 3), "none": None}, 1)
    assert torch.equal(one["maps"][0], maps[1:2]) and torch.equal(one["maps"][1][0], maps[1:2] + 1)
    assert one["grid"] == (2, 3) and one["none"] is None
    with pytest.raises(TypeError, match="out of a set"):
        picture_of({"maps": {1}}, 0)
