"""Figures that knew the truth are marked, in all that is written of them."""

import csv
import json

import numpy as np
import pytest
import torch

from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.evaluation.oracle import TRUTH_WORDS, TruthWords
from ovs_core.export.shared_weights import export_weights
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.reports.comparison import run_table
from ovs_core.reports.tables import Row, Table

CHOOSING = [
    "TEST.EVAL_PERIOD", "1", "SOLVER.MAX_ITER", "1", "TEST.BEST_METRIC", "sem_seg/mIoU_union",
    "SOLVER.IMS_PER_BATCH", "2",
]  # fmt: skip


def evaluate(world, tmp_path, *options):
    """Results, and the written JSON, of an evaluation."""
    folder = tmp_path / "evaluation"
    results = run(
        str(world / "toy.yaml"), ["OUTPUT_DIR", str(folder), *options], eval_only=True
    )["sem_seg"]  # fmt: skip
    return results, folder / "inference" / "toy_val"


def written(folder):
    return json.loads((folder / "sem_seg_evaluation.json").read_text())


def test_a_plain_evaluation_is_not_marked(world, tmp_path):
    results, folder = evaluate(world, tmp_path)
    assert "oracle" not in results and written(folder)["oracle"] == []
    assert "oracle" not in (folder / "sem_seg_evaluation.md").read_text()
    assert written(folder)["protocol"].startswith("SemanticDatasetMapper, then Whole(")


def test_words_of_the_truth(world, tmp_path):
    plain, _ = evaluate(world, tmp_path)
    results, folder = evaluate(world, tmp_path, "TEST.ORACLE_VOCABULARY", "True")
    assert results["oracle"] == 1.0 and written(folder)["oracle"] == [TRUTH_WORDS]
    assert results["mIoU"] >= plain["mIoU"]
    assert TRUTH_WORDS in (folder / "sem_seg_evaluation.md").read_text()
    rows = list(csv.DictReader((folder / "sem_seg_evaluation.csv").open()))
    assert {row["oracle"] for row in rows} == {TRUTH_WORDS}


def test_a_set_that_was_trained_with_the_best_of_itself(world, tmp_path):
    run(str(world / "toy.yaml"), CHOOSING)
    kept = tmp_path / "run"
    chosen = ["MODEL.WEIGHTS", str(kept / "model_best.pth")]
    results, folder = evaluate(world, tmp_path, *chosen)
    assert results["oracle"] == 1.0
    assert written(folder)["oracle"] == ["the weights were chosen by figures on toy_val"]
    last, _ = evaluate(world, tmp_path, "MODEL.WEIGHTS", str(kept / "model_final.pth"))
    assert "oracle" not in last
    # It stays in what is made of them: a training from them, a file to share, a table.
    options = [*CHOOSING, *chosen, "OUTPUT_DIR", str(tmp_path / "second"), "TEST.BEST_METRIC", ""]
    run(str(world / "toy.yaml"), options)
    assert read_checkpoint(tmp_path / "second" / "model_final.pth")["chosen_on"] == ["toy_val"]
    card = export_weights(kept, tmp_path / "s.safetensors", checkpoint=kept / "model_best.pth")
    assert "| chosen by figures on" in card.read_text() and "toy_val" in card.read_text()
    shared = evaluate(world, tmp_path, "MODEL.WEIGHTS", str(tmp_path / "s.safetensors"))
    assert shared[0]["oracle"] == 1.0
    row = Row("best", str(world / "toy.yaml"), tuple(chosen))
    table = Table("s", (row,), metrics=("mIoU",), pictures=False)
    result = run_table(table, tmp_path / "table")
    assert "best (oracle)" in result.markdown
    assert json.loads(result.files["json"].read_text())[0]["runs"][0]["oracle"] == 1.0


class Words(torch.nn.Module):
    """Labels every pixel with the last of its words."""

    unseen, outside = (2,), ()

    def set_vocabulary(self, words, *, unseen, outside):
        self.vocabulary, self.unseen = words, tuple(unseen)

    def forward(self, inputs):
        labels = torch.full((48, 40), len(self.vocabulary) - 1)
        scores = torch.arange(len(self.vocabulary)).float()[:, None, None].expand(-1, 48, 40)
        return [{"sem_seg_labels": labels} if self.labels else {"sem_seg": scores}]


@pytest.mark.parametrize("labels", [True, False])
def test_labels_are_those_of_all_words(world, monkeypatch, labels):
    from ovs_core.words.vocabulary import Vocabulary

    model = Words()
    model.labels, model.vocabulary = labels, Vocabulary.parse("red, green, blue")
    seen = TruthWords(model, "toy_val")
    record = next(iter(seen._records.values()))
    monkeypatch.setattr(
        "ovs_core.evaluation.oracle.load_labels", lambda *_: np.array([[1, 65535, 0]])
    )
    (output,) = seen([{"file_name": record["file_name"]}])
    found = output["sem_seg_labels"] if labels else output["sem_seg"].argmax(0)
    assert set(found.unique().tolist()) == {1}
    assert model.vocabulary.names == ["red", "green", "blue"] and model.unseen == (2,)


def test_only_for_labelled_pixels(world):
    model = Words()
    model.vocabulary = type("V", (list,), {})("abc")
    with pytest.raises(UserError, match=r"TEST.ORACLE_VOCABULARY: the model gave 'panoptic_seg'"):
        TruthWords(model, "toy_val")._renumbered("panoptic_seg", torch.zeros(2, 2), [0])
