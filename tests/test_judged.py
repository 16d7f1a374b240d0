"""The grader that notebook 10 judges: made by the recipe of the long runs, and shipped as any Hugging Face checkpoint."""

import json

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import small_models
import stored
from course_utils import metrics, models, paths
from course_utils.experiments import judged, runs, stages


@pytest.fixture
def made(monkeypatch, tmp_path):
    """What a training would be asked for, and the folder that `main` writes, from an untrained model of twelve blocks."""
    model, tokenizer = models.grader(small_models.bert(tmp_path / "bert", layers=12), seed=0)
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "stage_1")
    asked = {}

    def trained(model, tokenizer, rows, epochs, lr, seed):
        layers = {name.split(".layer.")[1][:2] for name, _ in model.named_parameters() if "lora_A" in name}
        asked.update(layers=layers, sites=set(rows["site"]), rows=len(rows), epochs=epochs, lr=lr, seed=seed)

    for name, value in {"stage_1": lambda *_: tmp_path / "stage_1", "trained": trained}.items():
        monkeypatch.setattr(stages, name, value)
    monkeypatch.setattr(stages, "graded", lambda answer: {"dev": 0.0})
    monkeypatch.setattr(judged, "FOLDER", tmp_path / "judged")
    judged.main()
    return asked, tmp_path / "judged"


def test_it_is_trained_as_the_long_runs_train_the_articles(made):
    asked, folder = made
    rate = stages.chosen_rate(judged.BASE, stages.ARTICLE)
    assert asked == {
        "layers": {"10", "11"},
        "sites": {stages.NEW_SITE},
        "rows": stages.SECOND,
        "epochs": runs.epochs(stages.SECOND),
        "lr": rate,
        "seed": 0,
    }
    assert not [name for name in json.loads((folder / "config.json").read_text()) if "peft" in name]


@pytest.mark.parametrize("where", ["made", "shipped"])
def test_it_is_a_plain_checkpoint_that_says_how_it_was_trained(where, made):
    folder = made[1] if where == "made" else paths.shipped_results() / "judged"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert list(model.config.id2label.values()) == list(metrics.GRADE_NAMES)
    said = "5,000 labels of two sites, then 500 of delta by LoRA on layers 11-12, merged; from tiny-biobert-two-sites"
    assert model.config.trained_on == said
    assert {file.suffix for file in folder.iterdir()} == {".json", ".md", ".safetensors"}


@pytest.mark.parametrize(
    ("names", "kept", "says"),
    [
        (["ill", "well"], "data_samples/results/judged", "answers with .* but the labels are .'ill', 'well'"),
        (list(metrics.GRADE_NAMES), "build/nowhere", "no grader in build/nowhere. Run notebook 09 on your file"),
    ],
)
def test_a_grader_that_is_not_there_or_has_other_labels_is_refused(names, kept, says):
    given = {"GRADER": kept, "own": True, "names": names, "paths": paths}
    given |= {"AutoModelForSequenceClassification": AutoModelForSequenceClassification, "AutoTokenizer": AutoTokenizer}
    (cell,) = (cell for cell in stored.cells(stored.place("10_judge_a_grader"), "code") if cell.id == "grader")
    with pytest.raises((FileNotFoundError, ValueError), match=says):
        exec(compile(cell.source, "grader", "exec"), given)
