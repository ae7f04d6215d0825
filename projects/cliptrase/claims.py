"""What the paper claims of reading CLIP without training."""

from __future__ import annotations

from ovs_core.reports.claims import Claim
from ovs_core.reports.tables import Row

CLIP = Row("CLIP", "cliptrase/tiny_clip")
MASKCLIP = Row("MaskCLIP", "cliptrase/tiny_maskclip")
SCLIP = Row("SCLIP", "cliptrase/tiny_sclip")
CLIPTRASE = Row("CLIPtrase", "cliptrase/tiny")
RECOVERY = Row("recovery alone", "cliptrase/tiny_scr")
CLUSTERING = Row("recovery and clustering", "cliptrase/tiny_scr_pc")
COARSER = Row(
    "CLIPtrase, clusters of 3 patches or more",
    "cliptrase/tiny",
    ("MODEL.CLIPTRASE.CLUSTER.MIN_SAMPLES", "3"),
)
NAMES_208 = ("DATASETS.TEST", '("embedded_sem_seg_208_val",)')

SMALL_THINGS = (
    "clusters lose things of two patches, which a picture of 16 x 12 patches is full of; the row "
    "with larger ones shows it"
)


def _on_208_names(row: Row) -> Row:
    return Row(f"{row.title}, 208 names", row.config, NAMES_208)


CLAIMS = (
    Claim("MaskCLIP is better than CLIP", "CLIPtrase, Table 1", MASKCLIP, CLIP),
    Claim("SCLIP is better than MaskCLIP", "CLIPtrase, Table 1", SCLIP, MASKCLIP),
    Claim(
        "CLIPtrase is better than SCLIP", "CLIPtrase, Table 1", CLIPTRASE, SCLIP,
        reason=SMALL_THINGS,
    ),
    Claim("recovery adds to CLIP", "CLIPtrase, Table 2", RECOVERY, CLIP),
    Claim(
        "clustering adds to recovery", "CLIPtrase, Table 2", CLUSTERING, RECOVERY,
        reason=SMALL_THINGS,
    ),
    Claim("denoising adds to clustering", "CLIPtrase, Table 2", CLIPTRASE, CLUSTERING),
    Claim(
        "small clusters matter", "a check of the above",
        CLIPTRASE, COARSER,
    ),
    Claim(
        "CLIPtrase is better than CLIP on 208 names", "CLIPtrase, Table 1",
        _on_208_names(CLIPTRASE), _on_208_names(CLIP),
    ),
    Claim(
        "SCLIP is better than CLIP on 208 names", "CLIPtrase, Table 1",
        _on_208_names(SCLIP), _on_208_names(CLIP),
    ),
)  # fmt: skip
