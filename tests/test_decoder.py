"""The long runs of notebook 06: planned within their hours, exact where layers are cached, and written down from any runs."""

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

import small_models
from course_utils import chat, records, results
from course_utils.experiments import decoder, methods, prompts, runs

HOURS = 3

pytestmark = pytest.mark.slow


@pytest.fixture
def edition(monkeypatch):
    """The shipped data, and few eyes."""
    caches = (runs.frames, runs.train_rows, records._facts)
    for one in caches:
        one.cache_clear()
    for name, value in {"EYES": 6, "DEV_EYES": 3, "NEW": 8, "STEPS": 1}.items():
        monkeypatch.setattr(decoder, name, value)
    yield
    for one in caches:
        one.cache_clear()


def test_marks_are_digits_that_can_be_read_back(edition):
    rows = decoder.eyes("test")
    texts = [records.write(record) for record in rows["record"]]
    texts[0] = "no record"
    said = decoder.marks(texts, [False] + [True] * 5, rows)
    assert decoder.digits(said, "right").tolist() == decoder.digits(said, "ended").tolist() == [0, 1, 1, 1, 1, 1]
    assert decoder.digits(said, "grades").tolist() == [5, *rows["grade"][1:]]
    assert decoder.digits(said, "there").tolist() == [len(record.findings) for record in rows["record"]]


def test_the_plan_fits_into_its_hours(monkeypatch):
    monkeypatch.setattr(decoder, "there", lambda: [decoder.SMALL, decoder.REAL])
    monkeypatch.setattr(decoder, "rank_at_equal_memory", lambda: 26)
    monkeypatch.setattr(runs, "found", lambda task: None)
    tasks = decoder.plan()
    assert {task.settings["base"] for task in tasks if task.make is decoder.tuned} == {decoder.SMALL, decoder.REAL}
    assert HOURS / 2 < (sum(task.seconds for task in tasks) / 2 + decoder.TIMED_S) / 3600 < HOURS
    assert all(task.waits for task in tasks if task.make is decoder.preferred)  # for the rate of fine-tuning


def test_what_frozen_layers_made_trains_the_same_weights(tmp_path, monkeypatch):
    folder = small_models.checkpoint("Llama", tmp_path)
    monkeypatch.setattr(decoder, "BELOW", 1)
    rows = [
        [{"role": "user", "content": asked}, {"role": "assistant", "content": "two , four"}]
        for asked in ("no retinopathy", "severe haemorrhages in four quadrants seen", "two")
    ]
    losses, weights = [], []
    for base in (decoder.SMALL, decoder.REAL):  # by the plain loop, and with the lower layer's states
        model, tokenizer = chat.load(folder)
        torch.manual_seed(0)
        config = LoraConfig(
            task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "up_proj"], layers_to_transform=[1, 2]
        )
        model = get_peft_model(model, config)
        chats = [chat.encode(tokenizer, one) for one in rows]
        losses.append(decoder.fitted(model, tokenizer, base, chats, epochs=3, lr=0.02, batch_size=2)["losses"])
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]))
        assert len(model.get_base_model().model.layers) == 3
    assert np.abs(np.subtract(*losses)).max() < 1e-5 and losses[0][-1] < losses[0][0]
    assert (weights[0] - weights[1]).abs().max() < 1e-4


def test_the_ways_that_are_timed_learn_from_the_same_loss(edition, tmp_path, monkeypatch):
    pytest.importorskip("trl")
    folder = small_models.checkpoint("Llama", tmp_path)
    monkeypatch.setattr(decoder, "checkpoint", lambda base: folder)
    monkeypatch.setattr(decoder, "BELOW", 1)
    threads = torch.get_num_threads()
    try:
        found = [decoder.sped(way, 4) for way in decoder.WAYS]
    finally:
        torch.set_num_threads(threads)
    first = [one["losses"][0] for one in found]  # all four chats are in the batch, and LoRA has changed nothing yet
    assert max(first) - min(first) < 1e-2
    assert all(len(one["losses"]) == 2 and one["a_second"] > 0 and one["after"] > 0 for one in found)


def test_a_run_of_each_kind_in_miniature(edition):
    small = decoder.tuned(decoder.SMALL, decoder.LORA, decoder.EVERYTHING, 4, 0, 1e-3, 2)
    assert set(small) > {"dev", "test", "held", "english", "seconds", "trainable"}
    assert small["trained_mb"] == 16 * small["trainable"] / 1e6 < small["frozen_mb"] and small["test"]["ms"] > 0
    assert {len(small[part]["right"]) for part in ("test", "held")} == {6}
    told = decoder.asked(decoder.SMALL, 1)
    assert len(told["dev"]["valid"]) == 3
    model, tokenizer = chat.load(decoder.checkpoint(decoder.SMALL))
    rows = records.with_facts(runs.train_rows(12, 0))
    assert decoder.grpo(model, tokenizer, rows, decoder.right, 1, 0, questions=2, draws=2).tolist() == [[0.0, 1.0]]
    found = decoder.dpo(model, tokenizer, rows, 0)
    assert found["pairs"] == 12 and set(found["wins"]) <= {"0", "1"}
    assert len(found["wins"]) == len(found["patients"]) == 3


def test_rewards():
    ill, well = records.Record(("IRH 2",), 2, True), records.Record((), 0, False)
    assert [decoder.right(records.write(one), ill) for one in (ill, well)] == [1, 0]
    assert [decoder.none_missed(records.write(ill), one) for one in (ill, well)] == [1, 1]
    assert [decoder.none_missed(records.write(well), one) for one in (ill, well)] == [0, 1]
    assert decoder.right("", ill) == decoder.none_missed("", well) == 0


def made_up(monkeypatch):
    """Let the report be written from runs that are made up: every answer the true record, but for that of the seed's own eye."""
    rows = decoder.eyes("test")

    def made(task):
        settings, texts = task.settings, [records.write(record) for record in rows["record"]]
        texts[settings.get("seed", 0)] = "none"
        said = decoder.marks(texts, [True] * len(rows), rows) | {"ms": 5.0}
        spent = {"seconds": 1.0, "steps": 4, "peak_mb": 10, "trainable": 7, "mb": 5.0, "ms": 1.0}
        spent |= {"frozen_mb": 3.0, "trained_mb": 1.0, "english": 1.5 + settings.get("seed", 0) / 10}
        dpo = {"wins": "110", "patients": ["a", "b", "c"], "preferred": -1.0, "other": -2.0}
        dpo |= {"rewards": [0.1] * 5 + [0.3] * 5, "alike": [1.0] * 10}
        return (
            settings
            | spent
            | dpo
            | {"dev": said if task.make is decoder.asked else 0.5}
            | dict.fromkeys(("test", "held", "before"), said)
        )

    graded = [{"predicted": runs.frames()["test"]["grade"].tolist(), "base": "x"}]
    monkeypatch.setattr(decoder, "there", lambda: [decoder.SMALL])
    monkeypatch.setattr(runs, "all_found", lambda tasks: [made(task) for task in tasks])
    monkeypatch.setattr(runs, "needed", lambda tasks: [made(task) for task in tasks])
    monkeypatch.setattr(methods, "of", lambda *key: graded)
    monkeypatch.setattr(prompts, "of", lambda name: graded)


def test_the_report_is_written_from_the_runs(edition, monkeypatch):
    made_up(monkeypatch)
    shipped = {}
    monkeypatch.setattr(results, "ship", lambda name, rows, **content: shipped.update(content, name=name, rows=rows))
    decoder.report()
    assert shipped["name"] == "decoder_runs" and len(shipped["rows"]) == len(shipped["costs"]) == 5
    assert len(shipped["shares"]) == 7 and shipped["speed"] == []  # the free and the held answers besides
    assert results._clean(shipped["rows"])
    assert shipped["shares"][0]["a record"].startswith("0.833")
    assert {line["part"] for line in shipped["verdicts"]} == {"mask", "lora", "form", "preferences", "kinds"}
    assert {line["measure"] for line in shipped["verdicts"] if line["part"] == "preferences"} == {
        "grade right",
        "others not referred",
    }
    assert (shipped["costs"][0]["ms a step"], shipped["costs"][0]["English"]) == ("250", "1.50 to 1.90")
    counts = {"a record": "5/6", "grade right": "5/6", "ended": "6/6"}
    assert shipped["asked"][0] == {"base": "tiny-opt", "shots": 0} | counts
    assert [line["base"] for line in shipped["kinds"]] == ["tiny-biobert", "tiny-t5", "tiny-opt"]
    assert shipped["preferences"][0]["held-out pairs won"].startswith("10/15, 0.67")
    assert shipped["preferences"][1]["reward"] == "0.10 to 0.30"
