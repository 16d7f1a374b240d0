"""A small model writes records of pictures: what it reads, that it learns from the picture, and its long run in miniature."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from course_utils import chat, metrics, paths, pictures, records, results
from course_utils.experiments import pictures as towers
from course_utils.experiments import pictures_records as measured
from course_utils.experiments import runs

WIDTH = 6


@pytest.fixture(scope="module")
def near():
    """Rows of the first camera's sites, with what is drawn of each eye."""
    rows = pd.read_csv(paths.samples() / "dr_reports.csv", dtype=str, keep_default_na=False, nrows=300)
    return pictures.facts(rows[rows["site"] != towers.NEW_SITE].astype({"grade": int}))


@pytest.fixture
def writer():
    """A writer that was taught nothing, and its tokenizer."""
    decoder, tokenizer = chat.load(runs.checkpoint(measured.BASE))
    torch.manual_seed(0)
    return measured.Writer(decoder, WIDTH, tokenizer.pad_token_id).eval(), tokenizer


def encoded(tokenizer, rows, arm):
    asked = zip(measured.questions(rows, arm), measured.truth(rows), strict=True)
    chats = [chat.encode(tokenizer, one + records.said(record)) for one, record in asked]
    return [measured.with_places(one, tokenizer.pad_token_id, arm) for one in chats]


def vectors(n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32))


# What the decoder reads.


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_picture_stands_in_its_places_and_nowhere_else(writer, near, side):
    model, tokenizer = writer
    rows = near.iloc[np.argsort(near["text"].str.len().to_numpy())[[0, 100, 180]]]
    chats, seen = encoded(tokenizer, rows, "both"), vectors(3)
    batch = chat.collate(chats, tokenizer.pad_token_id, side)
    words = model.decoder.get_input_embeddings()(batch["input_ids"])
    read = model.read(batch, seen)["states"]
    for row, one in enumerate(chats):
        start = 0 if side == "right" else batch["input_ids"].shape[1] - len(one["input_ids"])
        here = slice(start, start + measured.SOFT)
        assert torch.equal(read[row, here].flatten(), model.soft(seen)[row])
        rest = torch.ones(len(read[row]), dtype=bool)
        rest[here] = False
        assert torch.equal(read[row, rest], words[row, rest])
    assert len({len(one["input_ids"]) for one in chats}) == 3  # so that there was padding, which stayed as it is


def test_without_its_side_an_arm_is_not_given_it(writer, near):
    model, tokenizer = writer
    rows = near.head(4)
    asked = [measured.questions(rows, arm) for arm in ("picture alone", "report alone")]
    for eye, text, (short,), (long,) in zip(rows["eye"], rows["text"], *asked, strict=True):
        assert short["content"] == f"Record of the {eye} eye.\n" and long["content"] == short["content"] + text
    batch = chat.collate(encoded(tokenizer, rows, "report alone"), tokenizer.pad_token_id)
    states = [model.read(batch, seen)["states"] for seen in (vectors(4), vectors(4, seed=1))]
    assert torch.equal(*states)


def test_the_loss_of_a_batch_is_that_of_its_rows_and_asks_the_answer_alone(writer, near):
    model, tokenizer = writer
    chats, seen = encoded(tokenizer, near.head(3), "both"), vectors(3)
    pad = tokenizer.pad_token_id
    together = chat.token_losses(model.decoder, model.read(chat.collate(chats, pad), seen))
    each = [
        chat.token_losses(model.decoder, model.read(chat.collate([one], pad), seen[i : i + 1]))
        for i, one in enumerate(chats)
    ]
    assert torch.allclose(together, torch.cat(each), atol=1e-4)
    assert len(together) == sum(sum(one["in_loss"]) for one in chats)
    together.mean().backward()
    assert model.soft.weight.grad.abs().sum() > 0


def test_what_comes_next_is_the_same_with_padding_on_the_left(writer, near):
    model, tokenizer = writer
    rows = near.iloc[np.argsort(near["text"].str.len().to_numpy())[[0, 150]]]
    pad, seen = tokenizer.pad_token_id, vectors(2)
    asked = [chat.render(tokenizer, one, ask=True) for one in measured.questions(rows, "both")]
    chats = [measured.with_places({"input_ids": one, "in_loss": [0] * len(one)}, pad, "both") for one in asked]

    def last(some, of):
        batch = model.read(chat.collate(some, pad, "left"), of)
        with torch.no_grad():
            found = model.decoder(inputs_embeds=batch["states"], attention_mask=batch["attention_mask"])
        return found.logits[:, -1]

    alone = torch.cat([last([one], seen[i : i + 1]) for i, one in enumerate(chats)])
    assert torch.allclose(last(chats, seen), alone, atol=1e-3)


@pytest.mark.slow
def test_it_learns_pictures_by_heart_and_follows_them_to_other_eyes(near, monkeypatch):
    monkeypatch.setattr(measured, "EPOCHS", 200)
    ill = near[(near["eye"] == "right") & (near["grade"] > 0)].drop_duplicates("facts").head(4)
    pairs = pictures.drawn(pd.concat([ill, ill]))
    codes = dict(zip((one.tobytes() for one in pairs.pixels), np.tile(3 * np.eye(4), (2, 1)), strict=True))

    def see(pixels):
        return np.stack([codes[one.tobytes()] for one in pixels]).astype(np.float32)

    model, tokenizer, losses = measured.trained("picture alone", see, pairs, 2e-3, 0)
    assert losses[-1] < losses[0] / 10 and len(losses) == 200
    expected = [records.write(record) for record in measured.truth(ill)]
    assert len(set(expected)) == 4
    # the question is the same for all, so that only the picture can tell them apart
    said = measured.written(model, tokenizer, "picture alone", ill, see(pairs.pixels[:4]))
    turned = measured.written(model, tokenizer, "picture alone", ill, see(pairs.pixels[:4])[::-1].copy())
    assert said == expected and turned == expected[::-1]


# What is kept of an answer, and what is made of it.


def test_what_is_kept_of_answers_can_be_read_back(near):
    texts = [records.write(record) for record in measured.truth(near)]
    kept = measured.marks([*texts, "no record"])
    assert kept["grades"] == "".join(map(str, near["grade"])) + "5" and len(kept["found"]) == 3 * (len(near) + 1)
    found = measured.named(kept["found"])
    for line, record in zip(found, measured.truth(near), strict=False):
        assert {code for code, is_named in zip(measured.CODES, line, strict=True) if is_named} == record.codes()
    assert not found[-1].any() and np.array_equal(found[:-1], measured.there(near))


def test_the_score_of_findings_is_f1_of_them_all():
    is_there, is_named = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 1, 0, 0])
    assert measured.FINDINGS(metrics.confusion(is_there, is_named, labels=2)) == pytest.approx(2 * 2 / (3 + 4))


@pytest.fixture
def small(near, monkeypatch):
    """Few eyes, a tower that knows their colours, one epoch, short answers."""
    some = [near.iloc[:4], near.iloc[4:20], near.iloc[20:26], near.iloc[26:38]]
    parts = towers.Parts(*map(pictures.drawn, some), pictures.drawn(some[3], camera=towers.NEW_CAMERA))
    monkeypatch.setattr(towers, "parts", lambda seed: parts)
    monkeypatch.setattr(
        towers, "watcher", lambda some, seed: (lambda pixels: pictures.colours(np.stack(pixels)).astype(np.float32), 0)
    )
    for name, value in {"EPOCHS": 1, "NEW": 4}.items():
        monkeypatch.setattr(measured, name, value)
    return parts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arm", "controls"),
    [
        ("picture alone", ["another eye's picture"]),
        ("report alone", ["another eye's report"]),
        ("both", ["another eye's picture", "another eye's report"]),
    ],
)
def test_a_run_of_each_arm_in_miniature(small, arm, controls):
    run = measured.one(measured.BASE, arm, 1e-3, 0)
    assert list(run["said"]) == ["as they are", *controls]
    assert {len(said["grades"]) for said in run["said"].values()} == {len(small.held)}
    assert {len(said["found"]) for said in run["said"].values()} == {3 * len(small.held)}
    assert 0 <= run["dev"] <= 1 and len(run["losses"]) == 2
    decoder = sum(p.numel() for p in chat.load(runs.checkpoint(measured.BASE))[0].parameters())
    soft = (6 + 1) * measured.SOFT * 128  # six numbers of colours, and the width of tiny-opt
    assert run["trainable"] == decoder + (soft if measured.ARMS[arm].picture else 0)


def test_the_plan_tries_each_arm_alike_and_fits_into_two_hours(monkeypatch):
    monkeypatch.setattr(runs, "found", lambda task: None)
    runs.frames.cache_clear()  # another test may have left a few rows
    tasks = measured.plan()
    tried = [one for one in tasks if not one.waits]
    assert {(one.settings["arm"], one.settings["lr"]) for one in tried} == {
        (arm, lr) for arm in measured.ARMS for lr in measured.RATES
    }
    assert len(tried) == 12 and len(tasks) == 12 + 15 and {one.settings["seed"] for one in tasks} == set(range(5))
    made = sum(
        one.seconds for one in tasks if one.settings["seed"] or not one.waits
    )  # a try is a run with the first seed
    assert 1 < made / 2 / 3600 < 2
    assert runs.module_of(measured.NAME) == "course_utils.experiments.pictures_records"


def test_an_arm_takes_the_rate_that_is_best_on_dev(monkeypatch):
    monkeypatch.setattr(
        runs, "all_found", lambda tasks: [one.settings | {"dev": -abs(one.settings["lr"] - 2e-3)} for one in tasks]
    )
    assert {one.settings["lr"] for one in measured.tested("both")} == {2e-3}
    monkeypatch.setattr(runs, "all_found", lambda tasks: [])
    assert all(one.waits for one in measured.tested("both"))


@pytest.mark.slow
def test_the_file_is_written_from_the_runs(small, monkeypatch):
    """With runs that are made up: with both, all is right; alone, each seed misses its own eye; another's picture spoils each record."""
    right = [records.write(record) for record in measured.truth(small.held.rows)]
    wrong = ["none"] * len(right)

    def made(task):
        arm, seed = task.settings["arm"], task.settings["seed"]
        own = [*right[:seed], "none", *right[seed + 1 :]] if arm != "both" else right
        said = {"as they are": measured.marks(own)}
        said |= {name: measured.marks(wrong) for name in measured.CONTROLS if measured.ARMS[arm].picture}
        return task.settings | {"dev": 0.5, "trainable": 7, "said": said}

    content = {}
    monkeypatch.setattr(results, "ship", lambda name, rows, **more: content.update(more, name=name, rows=rows))
    monkeypatch.setattr(runs, "lacking", lambda name, bases: False)
    monkeypatch.setattr(runs, "all_found", lambda tasks: [made(one) for one in tasks])
    monkeypatch.setattr(runs, "needed", lambda tasks: [made(one) for one in tasks])
    measured.report()
    shipped = json.loads(json.dumps(content))
    assert shipped["name"] == measured.NAME and results._clean(shipped["rows"])
    assert {row["method"]: row["k"] for row in shipped["rows"]} == {
        "small decoder, picture alone": 11,
        "small decoder, report alone": 11,
        "small decoder, both": 12,
    }
    lines = {(line["arm"], line["control"]): line for line in shipped["scores"]}
    assert lines["the same record for all", "as they are"]["findings"][0] == 0
    own, other = (lines["both", control] for control in ("as they are", "another eye's picture"))
    assert own["findings"][0] == 1
    assert (own["records"], other["records"], other["changed"]) == (12, 0, 12)
    assert other["lost_findings"][0] == 1
    assert other["verdict"] == (
        "used" if other["lost_findings"][1] > 0 else "not shown"
    )  # few of the twelve have a finding
    assert lines["picture alone", "as they are"]["records"] == 11
    assert ("report alone", "another eye's picture") not in lines
    told = {(line["against"], line["measure"]): line["difference"][0] for line in shipped["against"]}
    assert set(told) == {(arm, of) for arm in ("picture alone", "report alone") for of in ("grade", "findings")}
    assert min(told.values()) > 0 and told["picture alone", "grade"] == told["report alone", "grade"]
    assert [line["tried"] for line in shipped["tried"]] == 3 * [list(measured.RATES)]
