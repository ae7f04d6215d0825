"""The paper's tables and the ablation on the embedded world, beside the published figures."""

from __future__ import annotations

from ovs_core.methods.configs import list_configs
from ovs_core.reports.paper_figures import PaperRow, paper_tables
from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

METRICS = ("pACC", "mACC", "fwIoU", "mIoU", "mIoU_S", "mIoU_U")
METHODS = ("clip", "sclip", "cliptrase")
DATASETS = (
    "voc21", "context60", "coco_object", "voc20", "cityscapes", "context59", "ade150", "coco_stuff"
)  # fmt: skip
PAPER = paper_tables("cliptrase")
OWN_PROTOCOL = ("clearclip", "naclip", "proxyclip", "resclip")
PRINTED = {"224": PAPER["6"], "336": PAPER["7"]}


def _rows(titles: dict[str, str]) -> tuple[Row, ...]:
    return tuple(Row(title, f"cliptrase/{name}") for title, name in titles.items())


def _printed(row: PaperRow, dataset: str) -> dict[str, float]:
    return {m: values[dataset] for m, values in row.figures.items() if dataset in values}


def _benchmarks(size: str) -> Table:
    """Tables 6 and 7: every benchmark at a short side of ``size`` pixels, three methods each."""
    return Table(
        summary=f"the paper's benchmarks at {size} pixels: CLIP, SCLIP and CLIPtrase",
        rows=tuple(
            Row(
                f"{name} {method}",
                f"cliptrase/benchmarks/{name}_{size}",
                ("MODEL.CLIPTRASE.METHOD", method),
                group=name,
                published=_printed(row, name),
            )
            for name in PRINTED[size].datasets
            for method, row in zip(METHODS, PRINTED[size].rows, strict=True)
        ),
        metrics=METRICS,
        pictures=False,
    )


def _own_protocol(method: str) -> Table:
    """A training-free method on its datasets by its own protocol, with both towers."""
    rows = []
    for row in PAPER[method].rows:
        tower = row.name
        large, plain = tower.startswith("vitl14"), tower.endswith("without refinement")
        rows += [
            Row(
                f"{name} {tower}",
                f"cliptrase/{method}/{name}{'_vitl14' if large else ''}",
                ("MODEL.CLIPTRASE.LAST_STEPS.PAMR_STEPS", "0") if plain else (),
                group=name,
                published=_printed(row, name),
            )
            for name in DATASETS
        ]
    summary = f"{method} on its datasets by its own protocol, with ViT-B/16 and ViT-L/14"
    return Table(summary=summary, rows=tuple(rows), metrics=METRICS, pictures=False)


def _ablations() -> Table:
    prefix = "cliptrase/ablations/"
    printed = {row.alias: row for table in PAPER.values() for row in table.rows}
    names = [c.removeprefix(prefix) for c in list_configs("cliptrase") if c.startswith(prefix)]
    return Table(
        summary="the paper's ablations on ADE-150 (Tables 2, 4 and 5)",
        rows=tuple(
            Row(
                name,
                prefix + name,
                group=name,
                published=_printed(printed[prefix + name], "ade150")
                if prefix + name in printed
                else {},
            )
            for name in names
        ),
        metrics=METRICS,
        pictures=False,
    )


TABLES = {
    "tiny": Table(
        summary="CLIPtrase part by part and other readings of CLIP, on the embedded world",
        rows=_rows(
            {
                "plain CLIP": "tiny_clip",
                "+ recovery": "tiny_scr",
                "+ clustering": "tiny_scr_pc",
                "+ denoising = CLIPtrase": "tiny",
                "MaskCLIP": "tiny_maskclip",
                "SCLIP": "tiny_sclip",
                "CLIP-Surgery": "tiny_surgery",
                "ClearCLIP": "tiny_clearclip",
                "NACLIP": "tiny_naclip",
                "ProxyCLIP": "tiny_proxyclip",
                "ResCLIP": "tiny_resclip",
            }
        ),
        metrics=METRICS,
        pictures=False,
    ),
    "demo": Table(
        summary="four ways to read CLIP without training, on the embedded world",
        rows=_rows(
            {
                "CLIP": "tiny_clip",
                "MaskCLIP": "tiny_maskclip",
                "SCLIP": "tiny_sclip",
                "CLIPtrase": "tiny",
            }
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
    "224": _benchmarks("224"),
    "336": _benchmarks("336"),
    "ablations": _ablations(),
    **{method: _own_protocol(method) for method in OWN_PROTOCOL},
}
