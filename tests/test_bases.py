"""The shipped base models are plain checkpoints, and still as good on held-out text as their cards say."""

import json
import random

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import models
from course_utils.build import opt, reader, stream, t5
from course_utils.build.bases import load_checkpoint, optimizer_for, save_checkpoint

FACTS = {name: json.loads((models.SAMPLES / "bases" / name / "held_out.json").read_text()) for name in models.HUB}


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
    files = [p for p in (models.SAMPLES / "bases" / name).iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 12e6
    assert not [p.name for p in files if p.suffix in (".bin", ".pt", ".pkl", ".pth")]


@pytest.mark.parametrize("name", models.HUB)
def test_the_card_says_what_it_is(name):
    text = (models.SAMPLES / "bases" / name / "README.md").read_text(encoding="utf-8")
    assert "Not for care" in text and "make bases" in text and "Licence" in text
    for value in FACTS[name]["held_out"].values():
        assert str(value) in text


def test_tiny_biobert_still_knows_masked_words_and_has_12_layers():
    """The heads do not ship, so: the loss of a fresh linear layer for words would not show it. The mention states do."""
    model = AutoModel.from_pretrained(models.base("tiny-biobert"))
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    assert model.config.num_hidden_layers == 12
    train, test = (reader_vectors(model, tokenizer, seed) for seed in ("probe", "check"))
    assert probe_accuracy(train, test) > 0.9
    torch.manual_seed(0)
    blank = reader.build(tokenizer, step=reader.GROW_AT).bert
    assert probe_accuracy(*(reader_vectors(blank, tokenizer, seed) for seed in ("probe", "check"))) < 0.8


def reader_vectors(model, tokenizer, seed, n=6):
    """The vectors of mentions in fresh reports, and what each mention says."""
    vectors, states = [], []
    for batch in reader.batches(tokenizer, random.Random(seed), n):
        with torch.inference_mode():
            hidden = model(**{k: batch[k] for k in ("input_ids", "token_type_ids", "attention_mask")}).last_hidden_state
        spot = batch["mentions"] != reader.IGNORE
        vectors.append(hidden[spot])
        states.append(batch["mentions"][spot])
    return torch.cat(vectors).numpy(), torch.cat(states).numpy()


def probe_accuracy(train, test):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(*train).score(*test)


def test_tiny_opt_has_its_held_out_loss():
    model = AutoModelForCausalLM.from_pretrained(models.base("tiny-opt")).eval()
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    notes = stream.clinic_notes(random.Random("held out"))
    with torch.inference_mode():
        loss = opt.mean_loss(opt.Writer(model), tokenizer, [next(notes) for _ in range(200)])
    assert loss == pytest.approx(FACTS["tiny-opt"]["held_out"]["loss_clinic_notes"], abs=2e-3)


def test_tiny_t5_has_its_held_out_loss_and_beats_the_commoner_answer():
    model = AutoModelForSeq2SeqLM.from_pretrained(models.base("tiny-t5")).eval()
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-t5"))
    with torch.inference_mode():
        found = t5.evaluate(t5.Answerer(model), tokenizer)
    assert found["loss"] == pytest.approx(FACTS["tiny-t5"]["held_out"]["loss"], abs=2e-3)
    assert found["yes_no_right"] > found["yes_no_commoner"] + 0.1


def test_t5_is_never_asked_the_question_that_notebook_04_asks():
    asked = {q.split(" : ")[0] for q, _, _ in t5.pairs(random.Random(5), 3000)}
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
    model = reader.build(tokenizer, step=0)
    optimizer = optimizer_for(model)
    batch = reader.batches(tokenizer, random.Random(0), 1)[0]

    def step(model, optimizer):
        sum(model(**batch).values()).backward()
        optimizer.step()
        optimizer.zero_grad()

    step(model, optimizer)
    save_checkpoint(tmp_path, model, optimizer, step=20, seconds=1.0)
    again, resumed, at, _ = load_checkpoint(tmp_path, reader, tokenizer)
    step(model, optimizer)
    step(again, resumed)
    assert at == 20
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
