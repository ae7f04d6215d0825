"""GeoTIFFs: their place on the ground, what has no data, and labels wherever windows fall."""

import json
import sys
import warnings

import numpy as np
import pytest

from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.errors import UserError
from ovs_core.predict.geotiff import Colours, segment_geotiff
from ovs_core.words.vocabulary import Vocabulary

WORDS = ["tree", "sky", "background: sea", "background: sand"]
SMALL = {"side": 48, "step": 24}


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio")


@pytest.fixture
def write(rasterio, tmp_path):
    """Write (H, W, C) pixels as a GeoTIFF of pixels of 10 metres, somewhere in zone 32 north."""

    def write(pixels, name="scene.tif", cut=(0, 0), **options):
        height, width, count = pixels.shape
        path = tmp_path / name
        place = (500000 + 10 * cut[1], 5400000 - 10 * cut[0], 10, 10)
        with rasterio.open(
            path, "w", driver="GTiff", height=height, width=width, count=count, dtype=pixels.dtype,
            crs="EPSG:32632", transform=rasterio.transform.from_origin(*place),
            **options,
        ) as out:  # fmt: skip
            out.write(pixels.transpose(2, 0, 1))
        return path

    return write


@pytest.fixture
def pixels():
    return render_scene(seed=8, size=(60, 100)).image


def test_labels_lie_where_the_raster_lies(rasterio, predictor, write, pixels, tmp_path):
    source, target = write(pixels), tmp_path / "out" / "labels.tif"
    segment_geotiff(predictor, source, WORDS, target, **SMALL)
    with rasterio.open(source) as before, rasterio.open(target) as after:
        assert after.crs == before.crs and after.transform == before.transform
        assert after.shape == before.shape and after.dtypes == ("uint8",) and after.nodata == 255
        assert json.loads(after.tags()["names"]) == ["tree", "sky", "sea", "sand"]
        labels, colours = after.read(1), after.colormap(1)
    assert set(np.unique(labels)) <= {0, 1, 2}  # background counts as the first of its words
    assert len({colours[index] for index in range(4)}) == 4


def test_a_raster_of_one_window_has_the_labels_of_a_picture(
    rasterio, predictor, write, pixels, tmp_path
):
    segment_geotiff(predictor, write(pixels), WORDS, tmp_path / "labels.tif")
    with rasterio.open(tmp_path / "labels.tif") as found:
        assert np.array_equal(found.read(1), predictor(pixels, WORDS).labels)


def test_what_has_no_data_has_no_label(rasterio, predictor, write, pixels, tmp_path):
    pixels = np.maximum(pixels, 1)
    pixels[:, :60] = 0
    segment_geotiff(predictor, write(pixels, nodata=0), WORDS, tmp_path / "labels.tif", **SMALL)
    with rasterio.open(tmp_path / "labels.tif") as found:
        labels = found.read(1)
        assert np.array_equal(found.dataset_mask() == 0, (pixels == 0).all(2))
    assert (labels[:, :60] == 255).all() and (labels[:, 60:] < 3).all()


def test_bands_and_values_are_chosen(rasterio, predictor, write, pixels, tmp_path):
    """Blue, green and red of 16 bits, behind one that is none of them."""
    deep = np.dstack([pixels[..., 0] * 0, pixels[..., ::-1]]).astype(np.uint16) * 10 + 500
    source, target = write(deep), tmp_path / "labels.tif"
    with pytest.raises(UserError, match="scene.tif: its values are uint16; say which are black"):
        segment_geotiff(predictor, source, WORDS, target)
    colours = Colours((4, 3, 2), (500, 500 + 2550))
    segment_geotiff(predictor, source, WORDS, target, colours=colours)
    with rasterio.open(target) as found:
        assert np.array_equal(found.read(1), predictor(pixels, WORDS).labels)
    with pytest.raises(UserError, match="has 4 bands"):
        segment_geotiff(predictor, source, WORDS, tmp_path / "b.tif", colours=Colours((4, 5, 1)))
    with pytest.raises(UserError, match="the first must be below the second"):
        segment_geotiff(
            predictor, source, WORDS, tmp_path / "b.tif", colours=Colours(values=(9, 9))
        )
    assert not (tmp_path / "b.tif").exists()


def test_nothing_is_overwritten_and_no_half_is_left(
    predictor, write, pixels, tmp_path, monkeypatch
):
    source, target = write(pixels), tmp_path / "labels.tif"
    target.write_text("mine")
    with pytest.raises(UserError, match="labels.tif: exists"):
        segment_geotiff(predictor, source, WORDS, target)
    assert target.read_text() == "mine"
    with monkeypatch.context() as patch:  # it begins well, and ends in the second window
        first = [predictor.scores(pixels[:48, :48], Vocabulary.parse(WORDS))]
        patch.setattr(predictor, "scores", lambda *_: first.pop())
        with pytest.raises(IndexError):
            segment_geotiff(predictor, source, WORDS, target, overwrite=True, **SMALL)
    assert target.read_text() == "mine"
    segment_geotiff(predictor, source, WORDS, target, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.tif", "scene.tif"]


def test_what_is_no_geotiff_is_refused(rasterio, predictor, tmp_path):
    """Of rasters that GDAL knows, some name other files or hold code."""
    (tmp_path / "a.vrt").write_text('<VRTDataset rasterXSize="2" rasterYSize="2"></VRTDataset>')
    for name, said in (("a.vrt", "cannot be read as a GeoTIFF"), ("none.tif", "no such file")):
        with pytest.raises(UserError, match=f"{name}: {said}"):
            segment_geotiff(predictor, tmp_path / name, WORDS, tmp_path / "labels.tif")


def test_a_missing_rasterio_is_named(predictor, monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(UserError, match=r"needs the package rasterio; pip install -e '.\[geo\]'"):
        segment_geotiff(predictor, "a.tif", WORDS, "b.tif")


def labels_of(rasterio, path):
    with rasterio.open(path) as found:
        return found.read(1)


def test_a_cut_has_the_labels_of_the_whole_raster(rasterio, predictor, write, tmp_path):
    """Wherever it begins: its windows are the same places on the ground."""
    pixels = np.hstack([render_scene(seed=seed, size=(150, 90)).image for seed in (8, 34)])
    whole, part = tmp_path / "whole.tif", tmp_path / "part.tif"
    segment_geotiff(predictor, write(pixels), WORDS, whole, **SMALL)
    cut = write(pixels[7:140, 13:170], "cut.tif", (7, 13))
    segment_geotiff(predictor, cut, WORDS, part, **SMALL)
    inside = np.s_[48:-48, 48:-48]
    expected, found = labels_of(rasterio, whole)[7:140, 13:170], labels_of(rasterio, part)
    assert len(np.unique(expected[inside])) > 1
    assert np.array_equal(found[inside], expected[inside])


def test_control_points_in_place_of_a_transform_are_kept(rasterio, predictor, pixels, tmp_path):
    source, target = tmp_path / "points.tif", tmp_path / "labels.tif"
    points = [
        rasterio.control.GroundControlPoint(row=r, col=c, x=11 + c / 100, y=48 - r / 100)
        for r, c in ((0, 0), (0, 100), (60, 0))
    ]
    with rasterio.open(
        source, "w", driver="GTiff", height=60, width=100, count=3, dtype="uint8", gcps=points,
        crs="EPSG:4326",
    ) as out:  # fmt: skip
        out.write(pixels.transpose(2, 0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # there is nothing to say of such a raster
        segment_geotiff(predictor, source, WORDS, target)
    with rasterio.open(source) as before, rasterio.open(target) as after:
        assert [(p.row, p.col, p.x, p.y) for p in after.gcps[0]] == [
            (p.row, p.col, p.x, p.y) for p in before.gcps[0]
        ]
        assert after.gcps[0] and after.gcps[1] == before.gcps[1]


def test_the_command(rasterio, write, pixels, tmp_path, capsys):
    target = tmp_path / "labels.tif"
    line = ["geotiff", str(write(pixels)), "--words", "tree, sky, sand", "--device", "cpu",
            "--method", "cliptrase/tiny_sclip", "--output", str(target)]  # fmt: skip
    assert main([*line, "--window", "48", "--step", "32"]) == 0
    assert capsys.readouterr().out == f"{target}\n"
    assert set(np.unique(labels_of(rasterio, target))) <= {0, 1, 2}
    assert main(line) == 1
    assert "labels.tif: exists" in capsys.readouterr().err
    assert main([*line, "--overwrite", "--method", "cliptrase/tiny"]) == 1
    assert "decides per region" in capsys.readouterr().err
