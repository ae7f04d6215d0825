"""The parts of `ovsuite doctor --gpu` on the GPU that is not there."""

from ovs_core.reports import gpu_parts
from ovs_core.reports.gpu_check import gpu_rows

SMALL = [("hclip/tiny_catseg", 48)]


def states(part):
    rows = list(gpu_rows(part, gpu_parts.PARTS[part], "cuda", 300))
    assert rows and all(row.state == "good" for row in rows), rows
    return rows


def test_labels_in_bfloat16(gpu, monkeypatch):
    monkeypatch.setattr(gpu_parts, "_tiny", lambda wanted, device: ["cliptrase/tiny_clip"])
    (row,) = states("agreement")
    assert row.figures["same labels"] > 0.9


def test_steps_of_a_training(gpu, monkeypatch):
    monkeypatch.setattr(gpu_parts, "AMP", [])  # bfloat16 takes a CPU long
    monkeypatch.setattr(gpu_parts, "STEPS", 2)
    monkeypatch.setattr(gpu_parts, "_real", lambda device: SMALL)
    monkeypatch.setattr(gpu_parts, "UNTRAINED", [])
    monkeypatch.setattr(gpu_parts, "WORD_COUNT", 5)
    (row,) = states("shapes")
    assert row.figures.keys() == {"s/step", "peak MiB"}


def test_pictures_per_second(gpu, monkeypatch):
    monkeypatch.setattr(gpu_parts, "_real", lambda device: SMALL)
    monkeypatch.setattr(gpu_parts, "UNTRAINED", [])
    monkeypatch.setattr(gpu_parts, "WORD_COUNT", 5)
    monkeypatch.setattr(gpu_parts, "BATCHES", (2,))
    monkeypatch.setattr(gpu_parts, "STEPS", 1)
    (row,) = states("throughput")
    assert row.figures["pictures/s"] > 0
