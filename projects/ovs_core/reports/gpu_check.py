"""What a GPU does with the suite, part by part: a table to keep.

Every part runs in a process of its own with a limit of time, so that one that fails, hangs or
breaks the GPU's context takes no other with it. Rows are written down as they are made.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

import torch
from tabulate import tabulate

from ..errors import UserError, check_choice
from ..files.writing import atomic_write, write_json
from .gpu_parts import PARTS, Part, Shown, Trial

GOOD, FAILED, NOT_REACHED, NOT_HERE = "good", "failed", "not reached", "not here"
GRACE = 60  # seconds for starting a process and for the row that is being made


@dataclass(frozen=True)
class GpuRow:
    """One line of the table.

    Attributes:
        part: name of the part.
        name: what was run.
        state: ``good``, ``failed``, ``not reached`` (the part's time was up) or ``not here``, for
            what needs files that are not on this machine.
        figures: name -> value.
        note: what went wrong, or is missing.
    """

    part: str
    name: str
    state: str
    figures: Shown = field(default_factory=dict)
    note: str = ""


def check_gpu(
    device: str,
    only: Sequence[str] = (),
    seconds: float = 540,
    parts: Mapping[str, Part] = PARTS,
) -> Iterator[GpuRow]:
    """Run the parts one after the other.

    Args:
        device: ``cuda``, ``cuda:1``, or ``cpu`` for the same at a reduced size.
        only: names of parts; none for all.
        seconds: for all parts together; each gets its share.
        parts: name -> part.

    Yields:
        The rows of a part, when it has ended.

    Raises:
        UserError: for a part that does not exist, or a device that this machine lacks.
    """
    for name in only:
        check_choice("--only", name, parts)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "no GPU can be used here (`ovsuite doctor` says why); --device cpu runs the same at a "
            "reduced size"
        )
    chosen = [name for name in parts if not only or name in only]
    total = sum(parts[name].share for name in chosen)
    for name in chosen:
        yield from _in_a_process(name, parts[name], device, seconds * parts[name].share / total)


def gpu_rows(name: str, part: Part, device: str, seconds: float) -> Iterator[GpuRow]:
    """Make the rows of a part, here.

    Args:
        name: of the part.
        part: what it runs.
        device: where.
        seconds: after which no further row is begun.
    """
    ends = time.monotonic() + seconds
    try:
        trials = list(part.trials(device))
    except Exception as error:
        yield GpuRow(name, "all", FAILED, note=_one_line(error))
        return
    for trial in trials:
        if time.monotonic() > ends:
            yield GpuRow(name, trial.name, NOT_REACHED, note=f"the {seconds:.0f} s were up")
        elif trial.missing:
            yield GpuRow(name, trial.name, NOT_HERE, note=trial.missing)
        else:
            yield _row(name, trial)


def write_table(rows: Sequence[GpuRow], folder: Path, device: str) -> list[Path]:
    """Write the rows as ``gpu_check.md`` and ``gpu_check.json``.

    Args:
        rows: of all parts.
        folder: made if need be; files of these names in it are replaced.
        device: that was checked.
    """
    about = describe_device(device)
    head = "\n".join(f"{key}: {value}  " for key, value in about.items())
    text = f"# What a GPU does with OVSuite\n\n{head}\n\n{format_rows(rows, 'github')}\n"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "gpu_check.md", folder / "gpu_check.json"]
    atomic_write(files[0], text)
    write_json(files[1], {**about, "rows": [asdict(row) for row in rows]})
    return files


def describe_device(device: str) -> dict[str, str]:
    """Name the machine and the versions."""
    from .. import __version__

    where = torch.device(device)
    on_gpu = where.type == "cuda"
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(where) if on_gpu else f"CPU, {platform.machine()}",
        "ovsuite": __version__,
        "torch": torch.__version__,
        "cuda": str(torch.version.cuda),
        "python": platform.python_version(),
    }


def format_rows(rows: Sequence[GpuRow], style: str = "simple") -> str:
    """Lay the rows out as a table.

    Args:
        rows: in their order.
        style: of ``tabulate``.
    """
    lines = [
        (row.part, row.name, row.state, ", ".join(f"{k} {v}" for k, v in row.figures.items()),
         row.note)
        for row in rows
    ]  # fmt: skip
    return tabulate(lines, headers=("part", "what", "state", "figures", "note"), tablefmt=style)


def _in_a_process(name: str, part: Part, device: str, seconds: float) -> list[GpuRow]:
    """Run a part apart; a last row says so if it did not end by itself."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_write_rows, args=(name, part, device, seconds, file))
        process.start()
        process.join(seconds + GRACE)
        code, late = process.exitcode, process.is_alive()
        if late:
            process.kill()
            process.join()
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [GpuRow(**json.loads(line)) for line in lines]
    if late:
        rows.append(GpuRow(name, "the rest", FAILED, note=f"stopped after {seconds + GRACE:.0f} s"))
    elif code:
        rows.append(GpuRow(name, "the rest", FAILED, note=f"the process ended with {code}"))
    return rows


def _write_rows(name: str, part: Part, device: str, seconds: float, file: Path) -> None:
    with open(file, "a", encoding="utf-8") as out:
        for row in gpu_rows(name, part, device, seconds):
            print(json.dumps(asdict(row)), file=out, flush=True)


def _row(part: str, trial: Trial) -> GpuRow:
    try:
        figures = trial.run()
    except UserError as error:  # such as a training that needs the weights of another
        return GpuRow(part, trial.name, NOT_HERE, note=_one_line(error))
    except Exception as error:
        return GpuRow(part, trial.name, FAILED, note=_one_line(error))
    return GpuRow(part, trial.name, GOOD, figures)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
