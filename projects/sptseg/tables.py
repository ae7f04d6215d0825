"""SPT-SEG beside its baseline and the frozen CLIP."""

from __future__ import annotations

from ovs_core.reports.tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table

KEY = "MODEL.SPTSEG"
# One key at a time: the filter of the spectral prompts, the gate, windows and shares of heads.
SWEEPS = {
    "a filter per layer": (f"{KEY}.SPECTRAL.SHARED_FILTER", "False"),
    "the filter stays random": (f"{KEY}.SPECTRAL.TRAIN", "False"),
    "filter starts at 0": (f"{KEY}.SPECTRAL.INIT_STD", "0.0"),
    "filter starts at std 0.2": (f"{KEY}.SPECTRAL.INIT_STD", "0.2"),
    "windows of 1": (f"{KEY}.HILO.WINDOW", "1"),
    "windows of 5": (f"{KEY}.HILO.WINDOW", "5"),
    "no low-frequency heads": (f"{KEY}.HILO.ALPHA", "0.0"),
    "half of the heads low": (f"{KEY}.HILO.ALPHA", "0.5"),
    "low-frequency heads alone": (f"{KEY}.HILO.ALPHA", "1.0"),
}

# What is taken off seen classes at test; the configs of the embedded world take 0.02.
BIASES = ("0.0", "0.02", "0.05", "0.1")


def _biases(title: str, config: str) -> tuple[Row, ...]:
    """Shipped weights with several biases."""
    return tuple(
        Row(f"{title}, bias {bias}", config, (f"{KEY}.SEEN_BIAS", bias), shipped=True)
        for bias in BIASES
    )


def _sweeps(config: str, gate: str) -> tuple[Row, ...]:
    """The config as it is, then each sweep; ``gate`` is the one that the config does not have."""
    rows = {**SWEEPS, f"gate {gate}": (f"{KEY}.DECODER.GATE", gate)}
    return (
        Row("SPT-SEG", config, trained=True),
        *(
            Row(title, config, options, trained=True, group=title)
            for title, options in rows.items()
        ),
    )


TABLES = {
    "sweeps": Table(
        summary="filter, gate, windows and shares of heads of SPT-SEG, one at a time, on VOC",
        rows=_sweeps("sptseg/sptseg_voc_inductive", "patches"),
        note="The paper prints no figures for these.",
        pictures=False,
    ),
    "tiny-sweeps": Table(
        summary="filter, gate, windows and shares of heads of SPT-SEG, on the embedded world",
        rows=_sweeps("sptseg/tiny", "random"),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
        pictures=False,
    ),
    "tiny-bias": Table(
        summary="what SEEN_BIAS takes from ZegCLIP and SPT-SEG, on the embedded world",
        rows=(
            *_biases("ZegCLIP", "sptseg/tiny_zegclip"),
            *_biases("SPT-SEG", "sptseg/tiny"),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
        pictures=False,
    ),
    "tiny": Table(
        summary="frozen CLIP, ZegCLIP and SPT-SEG, on the embedded world",
        rows=(
            Row("frozen CLIP", "cliptrase/tiny_clip"),
            Row("ZegCLIP", "sptseg/tiny_zegclip", trained=True),
            Row("SPT-SEG", "sptseg/tiny", trained=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
    "demo": Table(
        summary="ZegCLIP and SPT-SEG with the weights that come with them, on the embedded world",
        rows=(
            Row("ZegCLIP", "sptseg/tiny_zegclip", shipped=True),
            Row("SPT-SEG", "sptseg/tiny", shipped=True),
        ),
        caption=EMBEDDED_WORLD,
        note=SPLIT_NOTE,
    ),
}
