"""The shipped base models are plain checkpoints, and still as good on held-out text as their cards say."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import data, models, paths
from course_utils.generate import stream, tiny_biobert, tiny_opt, tiny_t5
from course_utils.generate.bases import load_checkpoint, optimizer_for, save_checkpoint

FACTS = {name: json.loads((paths.bases() / name / "held_out.json").read_text()) for name in models.HUB}


@pytest.mark.parametrize(
    "name, kind", [("tiny-biobert", "BertModel"), ("tiny-opt", "OPTModel"), ("tiny-t5", "T5Model")]
)
def test_plain_auto_classes_load_it(name, kind):
    model = AutoModel.from_pretrained(models.base(name), use_safetensors=True)
    assert type(model).__name__ == kind
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert AutoTokenizer.from_pretrained(models.base(name))("right eye")["input_ids"]


@pytest.mark.parametrize("name", models.HUB)
def test_at_most_12_megabytes_and_no_pickles(name):
    files = [p for p in (paths.bases() / name).iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 12e6
    assert not [p.name for p in files if p.suffix in (".bin", ".pt", ".pkl", ".pth")]


@pytest.mark.parametrize("name", models.HUB)
def test_the_card_says_what_it_is(name):
    text = (paths.bases() / name / "README.md").read_text(encoding="utf-8")
    assert "Not for care" in text and "make bases" in text and "Licence" in text
    for value in FACTS[name]["held_out"].values():
        assert str(value) in text


@pytest.fixture(scope="module")
def biobert():
    """tiny-biobert as it ships, under the pre-training heads that ship beside it."""
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    model = tiny_biobert.build(tokenizer, step=tiny_biobert.GROW_AT).eval()
    model.bert = AutoModel.from_pretrained(models.base("tiny-biobert")).eval()
    missing = model.load_state_dict(load_file(Path(models.base("tiny-biobert")) / "heads.safetensors"), strict=False)
    assert all(name.startswith("bert.") for name in missing.missing_keys) and not missing.unexpected_keys
    return model, tokenizer


@pytest.mark.slow
def test_tiny_biobert_has_12_layers_and_its_held_out_figures(biobert):
    model, tokenizer = biobert
    with torch.inference_mode():
        found = tiny_biobert.evaluate(model, tokenizer)
    assert model.bert.config.num_hidden_layers == 12
    assert found == pytest.approx(FACTS["tiny-biobert"]["held_out"], abs=2e-3)
    assert found["mentions_right"] > 0.9 and found["findings_right"] > 0.5


def test_a_blank_network_has_other_figures(biobert):
    _, tokenizer = biobert
    torch.manual_seed(0)
    with torch.inference_mode():
        found = tiny_biobert.evaluate(tiny_biobert.build(tokenizer, step=tiny_biobert.GROW_AT).eval(), tokenizer, n=2)
    assert found["mentions_right"] < 0.5 and found["findings_right"] < 0.3


def test_tiny_opt_has_its_held_out_loss():
    model = AutoModelForCausalLM.from_pretrained(models.base("tiny-opt")).eval()
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    notes = stream.clinic_notes(random.Random("held out"))
    texts = {"clinic_notes": [next(notes) for _ in range(200)], "general_english": data.general_english(held_out=True)}
    with torch.inference_mode():
        losses = {
            f"loss_{kind}": tiny_opt.mean_loss(tiny_opt.Writer(model), tokenizer, some) for kind, some in texts.items()
        }
    assert losses == pytest.approx(FACTS["tiny-opt"]["held_out"], abs=2e-3)


@pytest.mark.slow
def test_tiny_t5_has_its_held_out_loss_and_beats_the_commoner_answer():
    model = AutoModelForSeq2SeqLM.from_pretrained(models.base("tiny-t5")).eval()
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-t5"))
    with torch.inference_mode():
        found = tiny_t5.evaluate(tiny_t5.Answerer(model), tokenizer)
    assert found["loss"] == pytest.approx(FACTS["tiny-t5"]["held_out"]["loss"], abs=2e-3)
    assert found["yes_no_right"] > found["yes_no_commoner"] + 0.1


def test_t5_is_never_asked_the_question_that_notebook_04_asks():
    heads = {q.split(" : ")[0] for q, _, _ in tiny_t5.pairs(random.Random(5), 3000)}
    asked = [q for q in heads if any(eye in q for eye in tiny_t5.ASKED.values())]
    questions = [q for q in asked if q.startswith("any ")]
    assert questions and all(q.count(" or ") <= 3 for q in questions)
    assert not [q for q in asked if "grade" in q or "refer" in q]


def test_the_stream_holds_no_labelled_report_and_no_grade():
    labelled, reports = stream.labelled_texts(), stream.dr_reports(random.Random(1), stream.labelled_texts())
    for _ in range(2000):
        pieces, _ = next(reports)
        text = "".join(t for t, _ in pieces)
        assert text not in labelled
        assert "NPDR" not in text and "DR grade" not in text and "Proliferative DR" not in text


def test_a_stopped_run_goes_on_with_the_same_weights(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    torch.manual_seed(0)
    model = tiny_biobert.build(tokenizer, step=0)
    optimizer = optimizer_for(model)
    batch = tiny_biobert.batches(tokenizer, random.Random(0), 1)[0]

    def step(model, optimizer):
        sum(model(**batch).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step(model, optimizer)
    save_checkpoint(tmp_path, model, optimizer, step=20, seconds=1.0)
    again, resumed, at, _ = load_checkpoint(tmp_path, tiny_biobert, tokenizer)
    step(model, optimizer)
    step(again, resumed)
    assert at == 20
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
