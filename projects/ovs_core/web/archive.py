"""The download: everything that the methods made of a picture, as one zip file."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..files.writing import write_json
from .room import Outcome


def zip_outcomes(outcomes: Sequence[Outcome], stem: str, strength: float) -> bytes:
    """Pack label maps, overlays and segment lists, one folder per method.

    Args:
        outcomes: failed ones are left out.
        stem: begins the file names.
        strength: of the overlays.
    """
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        for outcome in outcomes:
            if outcome.result is None:
                continue
            place = Path(folder) / outcome.choice.name.replace("/", "_")
            outcome.result.save(place, stem, strength=strength)
            about = {
                "method": outcome.choice.name,
                "weights": outcome.choice.weights,
                "trained": outcome.choice.trained,
                "seconds": round(outcome.seconds, 4),
            }
            write_json(place / f"{stem}_about.json", about)
            for file in sorted(place.iterdir()):
                archive.write(file, file.relative_to(folder))
    return packed.getvalue()
