"""What CLIPtrase's queries do for SAN: the comparison of CLIPtrase's figure 8, as a table."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

QUERIES = "queries.safetensors"
STARTS = {"random queries": (), "CLIPtrase's queries": ("MODEL.SAN.QUERY_INIT", QUERIES)}
NOTE = f"""\
A row is a training of its own, whose learning rate falls to its end. CLIPtrase's queries are those
of {QUERIES} in this folder, see the read-me of projects/san. Figure 8 is a plot: the
paper prints no figures of it."""


def _rows(config: str, steps: tuple[int, ...], test: tuple[str, ...] = ()) -> tuple[Row, ...]:
    return tuple(
        Row(
            f"{start}, {count} steps",
            config,
            (*options, "SOLVER.MAX_ITER", str(count), *test),
            trained=True,
            group=str(count),
        )
        for count in steps
        for start, options in STARTS.items()
    )


TABLES = {
    "figure-8": Table(
        summary="Figure 8 of CLIPtrase: SAN from random queries and from CLIPtrase's, on ADE-150",
        rows=_rows(
            "san/vitb16",
            (15000, 30000, 60000),
            ("DATASETS.TEST", '("ade20k_150_test_sem_seg",)'),
        ),
        metrics=("mIoU", "mIoU_union", "pACC"),
        note=NOTE,
        pictures=False,
    ),
    "tiny-figure-8": Table(
        summary="SAN from random queries and from CLIPtrase's, on the embedded world",
        rows=_rows("san/tiny", (50, 100, 200)),
        caption=EMBEDDED_WORLD,
        note=f"{NOTE}\n{SPLIT_NOTE}",
        pictures=False,
    ),
}
