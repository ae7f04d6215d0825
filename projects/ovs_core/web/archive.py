"""The download: everything that the methods made of a picture, as one zip file."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..files.writing import write_json
from .attempts import Attempt


def zip_attempts(attempts: Sequence[Attempt], stem: str, strength: float) -> bytes:
    """Pack label maps, overlays and segment lists, one folder per method.

    Args:
        attempts: failed ones are left out.
        stem: begins the file names.
        strength: of the overlays.
    """
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        for attempt in attempts:
            if attempt.result is None:
                continue
            place = Path(folder) / attempt.choice.name.replace("/", "_")
            attempt.result.save(place, stem, strength=strength)
            about = {
                "method": attempt.choice.name,
                "weights": attempt.choice.weights,
                "trained": attempt.choice.trained,
                "seconds": round(attempt.seconds, 4),
            }
            write_json(place / f"{stem}_about.json", about)
            for file in sorted(place.iterdir()):
                archive.write(file, file.relative_to(folder))
    return packed.getvalue()
