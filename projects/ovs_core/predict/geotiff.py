"""GeoTIFFs of any size: read and written window by window, with their place on the ground kept.

``rasterio`` is an extra. Letters: K words, H x W raster.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..draw import palette
from ..errors import UserError
from ..files.extras import needed
from ..files.pictures import LoadedPicture
from ..files.writing import atomic_path
from ..words.label_space import fold_background
from ..words.vocabulary import Vocabulary
from .overlapping import Box, Windows, label_windows
from .predictor import Predictor, Words

if TYPE_CHECKING:
    from rasterio.io import DatasetReader, DatasetWriter

CACHE_MB = 64  # of blocks that GDAL keeps


@dataclass(frozen=True)
class Colours:
    """Which numbers of a raster are its colours.

    Attributes:
        bands: of red, green and blue, from 1 on; one may stand for several.
        values: (lowest, highest), which become 0 and 255; None for bands of 8 bits as they are.
    """

    bands: tuple[int, int, int] = (1, 2, 3)
    values: tuple[float, float] | None = None

    def check(self, raster: DatasetReader) -> None:
        """Refuse a raster that has other bands or numbers.

        Raises:
            UserError: names the raster.
        """
        if not set(self.bands) <= set(raster.indexes):
            raise UserError(
                f"{raster.name}: has {raster.count} bands, and none of some of {self.bands}; "
                "name those of red, green and blue, one may stand three times"
            )
        kinds = {raster.dtypes[band - 1] for band in self.bands}
        if self.values is None and kinds != {"uint8"}:
            raise UserError(
                f"{raster.name}: its values are {', '.join(sorted(kinds))}; say which are black "
                "and white, such as 0 and 3000. One range for all windows keeps labels the same"
            )
        if self.values is not None and not self.values[0] < self.values[1]:
            raise UserError(f"the range {self.values}: the first must be below the second")

    def of(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn (3, h, w) numbers into an (h, w, 3) picture; what is no number is black."""
        if self.values is not None:
            low, high = self.values
            shares = (np.nan_to_num(pixels.astype(np.float32), nan=low) - low) / (high - low)
            pixels = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def segment_geotiff(
    predictor: Predictor,
    source: str | Path,
    words: Words,
    target: str | Path,
    *,
    colours: Colours | None = None,
    side: int = 512,
    step: int = 128,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Label a GeoTIFF of any size, and write its label map as one.

    It has the source's coordinate system, its transform or control points, a colour to each word,
    and the words as its tag ``names`` (JSON). Where the source has no data, neither has it: the
    value is 255, or 65535 with more than 255 words.

    Windows lie on a lattice that is fixed to the ground, so that a cut out of a raster has the
    labels of the whole one, but for ``side`` pixels along its edges.

    Args:
        predictor: a method that scores pixels; one that decides per region cannot join windows.
        source: the raster, a local file.
        words: see ``Predictor``.
        target: the file to write, ``.tif``.
        colours: which bands and values are shown; default the first three, of 8 bits.
        side: of a window, in pixels.
        step: from one window to the next, in pixels.
        overwrite: replace a target that is there.

    Returns:
        What a reader of the labels should know: the notes of the first window.

    Raises:
        UserError: if rasterio is not installed, the source is no GeoTIFF of such bands, the target
            exists, or the method has no scores.
    """
    rasterio = needed("rasterio", "geo")
    vocabulary = Vocabulary.parse(words)
    colours, target = colours or Colours(), Path(target)
    if target.exists() and not overwrite:
        raise UserError(f"{target}: exists; choose another name, or say overwrite")
    notes: tuple[str, ...] | None = None
    with _quiet(rasterio), _open(rasterio, source) as raster:
        colours.check(raster)
        read = _Reader(rasterio, raster, colours)

        def score(box: Box) -> NDArray[np.float32] | None:
            nonlocal notes
            if not read.mask(box).any():
                return None
            picture = LoadedPicture(read.picture(box))
            if notes is None:
                notes = predictor(picture, vocabulary).notes
            return predictor.scores(picture.rgb, vocabulary)

        windows = Windows(side, step, _ground_origin(raster))
        pieces = label_windows(score, raster.shape, len(vocabulary), windows)
        with atomic_path(target) as part, _create(rasterio, part, raster, vocabulary) as out:
            for top, left, labels in pieces:
                box = (top, left, *labels.shape)
                labels = fold_background(labels, tuple(vocabulary.background_index))
                labels[read.mask(box) == 0] = out.nodata
                out.write(labels.astype(out.dtypes[0]), 1, window=read.window(box))
    return notes or ()


@dataclass(frozen=True)
class _Reader:
    rasterio: ModuleType
    raster: DatasetReader
    colours: Colours

    def window(self, box: Box) -> Any:
        top, left, height, width = box
        return self.rasterio.windows.Window(left, top, width, height)

    def mask(self, box: Box) -> NDArray[np.uint8]:
        mask: NDArray[np.uint8] = self.raster.dataset_mask(window=self.window(box))
        return mask

    def picture(self, box: Box) -> NDArray[np.uint8]:
        return self.colours.of(self.raster.read(self.colours.bands, window=self.window(box)))


@contextmanager
def _quiet(rasterio: ModuleType) -> Iterator[None]:
    """Bound GDAL's cache, and let a raster without a place on the ground be none to talk about."""
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MB), warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


@contextmanager
def _open(rasterio: ModuleType, source: str | Path) -> Iterator[DatasetReader]:
    """Open a local GeoTIFF; other kinds of raster may name further files, or hold code."""
    if not Path(source).is_file():
        raise UserError(f"{source}: no such file")
    try:
        with rasterio.open(Path(source), driver="GTiff") as raster:
            yield raster
    except rasterio.errors.RasterioIOError as error:
        raise UserError(f"{source}: cannot be read as a GeoTIFF ({error})") from error


def _ground_origin(raster: DatasetReader) -> tuple[int, int]:
    """Row and column where the coordinates are 0, however far away; (0, 0) without any."""
    if raster.transform.is_identity or not raster.transform.is_rectilinear:
        return 0, 0
    inverse = ~raster.transform  # its shift is where it takes (0, 0)
    return round(inverse.f), round(inverse.c)


def _create(
    rasterio: ModuleType, path: Path, raster: DatasetReader, vocabulary: Vocabulary
) -> DatasetWriter:
    names: Sequence[str] = vocabulary.names
    small = len(names) <= 255
    points, system = raster.gcps
    place = {"gcps": points, "crs": system} if points else {
        "transform": raster.transform, "crs": raster.crs
    }  # fmt: skip
    out: DatasetWriter = rasterio.open(
        path, "w", driver="GTiff", height=raster.height, width=raster.width, count=1,
        dtype="uint8" if small else "uint16", nodata=255 if small else 65535, tiled=True,
        blockxsize=256, blockysize=256, compress="deflate", BIGTIFF="IF_SAFER", **place,
    )  # fmt: skip
    out.update_tags(names=json.dumps(names, ensure_ascii=False))
    if small:
        out.write_colormap(1, {i: (*map(int, rgb), 255) for i, rgb in enumerate(palette(names))})
    return out
