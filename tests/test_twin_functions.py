"""What a notebook teaches and a long run uses stands twice, for a notebook shows its code: the two must do the same."""

import ast
import copy
import inspect
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import peft
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

import small_models
import stored
from course_utils import adapt, causal, data, metrics, models, paths, terms, training
from course_utils.exercises import nb01
from course_utils.experiments import losses, methods, opt, preparation, prompts, runs, stages


def cell(notebook, id):
    """Return the code of a notebook's cell as a tree."""
    (path,) = paths.NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    (found,) = [one for one in stored.cells(path, "code") if one["id"] == id]
    return ast.parse(found.source)


def imports(notebook, words):
    """Return the lines by which a notebook imports what has one of these names."""
    (path,) = paths.NOTEBOOKS.glob(f"{notebook}_*.ipynb")
    sources = [one.source for one in stored.cells(path, "code")]
    lines = []
    for source in sources:
        for node in ast.parse(re.sub(r"^[%!].*", "", source, flags=re.MULTILINE)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                node.names = [one for one in node.names if (one.asname or one.name).split(".")[0] in words]
                lines += [ast.unparse(node)] if node.names else []
    return lines


def taught(notebook, id, *names, **given):
    """Return what a cell of a notebook gives these names, run with the imports that it needs and with what is given."""
    kept = [node for node in ast.walk(cell(notebook, id)) if set(names) & defined(node)]
    words = {node.id for one in kept for node in ast.walk(one) if isinstance(node, ast.Name)} - set(given)
    space = dict(given)
    exec("\n".join(imports(notebook, words)), space)
    for node in kept:
        exec(ast.unparse(node), space)
    return SimpleNamespace(**{name: space[name] for name in names})


def defined(node):
    """Return the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.AugAssign):
        return {node.target.id} if isinstance(node.target, ast.Name) else set()
    if isinstance(node, ast.Assign):
        return {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
    return set()


@pytest.fixture(scope="module")
def reports():
    """Some training and dev reports of every site, in both languages."""
    frames = {name: rows.to_pandas() for name, rows in data.load_reports().items()}
    return {
        name: frames[name].groupby(["site", "grade"]).head(n).reset_index(drop=True)
        for name, n in (("train", 12), ("dev", 4))
    }


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory):
    return small_models.bert(tmp_path_factory.mktemp("bert"), layers=12)


# Notebooks 00 and 03: the loop. What `fit_grader` adds to it is taken away here: it clips gradients and, over 00's, has a schedule.


@pytest.fixture
def no_clipping(monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: None)


def short(rows):
    """Return rows as a Dataset, their texts cut to what the small model reads."""
    return Dataset.from_pandas(rows.assign(text=rows["text"].str[:20]), preserve_index=False)


def first_loop():
    """Return the loop of notebook 00, with the functions that it stands on."""
    logits_of = taught("00", "shapes", "logits_of").logits_of
    loss_of = taught("00", "loss", "loss_of", logits_of=logits_of).loss_of
    return taught("00", "loop", "fit_by_hand", logits_of=logits_of, loss_of=loss_of).fit_by_hand


def test_the_first_loop_watches_rows_from_which_it_learns_nothing(reports, small_bert):
    train, dev = (short(reports[part].head(24)) for part in ("train", "dev"))
    (one, tokenizer), (other, _) = (models.grader(small_bert, seed=0) for _ in range(2))

    def logged(model, checked):
        torch.manual_seed(0)  # for dropout
        return first_loop()(model, tokenizer, train, epochs=2, lr=1e-3, checked=checked)

    log, unwatched = logged(one, dev[:]), logged(other, None)
    assert log["losses"] == unwatched["losses"] and not unwatched["dev_losses"] and not unwatched["right"]
    chances, grades = training.predict(one, tokenizer, dev), np.array(dev["grade"])
    of_truth = chances[np.arange(len(grades)), grades]
    assert log["dev_losses"][-1] == pytest.approx(-np.log(of_truth).mean(), abs=1e-4)
    assert log["right"][-1] == pytest.approx((chances.argmax(1) == grades).mean())
    assert len(log["right"]) == len(log["dev_losses"]) == 2


def test_the_first_loop_that_is_taught_is_ours_without_its_care(reports, small_bert, no_clipping, monkeypatch):
    monkeypatch.setattr(training, "warm_up_then_fall", lambda steps: lambda step: 1.0)
    rows = short(reports["train"].head(8))  # one batch: 00's are the same in each epoch
    theirs = first_loop()
    (one, tokenizer), (other, _) = (models.grader(small_bert, seed=0) for _ in range(2))
    for layer in (*one.modules(), *other.modules()):
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0  # it would hit other rows: within a batch the two have other orders
    by_hand = theirs(one, tokenizer, rows, epochs=6, lr=1e-3)["losses"]
    ours = training.fit_grader(other, tokenizer, rows, epochs=6, lr=1e-3, bar=False)["losses"]
    assert by_hand == pytest.approx(ours, abs=1e-4) and by_hand[-1] < by_hand[0]


ALONE = """
import json, sys
sys.modules["course_utils"] = None  # importing it is an error now
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

{logits_of}

folder, rows = json.loads(sys.argv[1])
model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
with torch.inference_mode():
    chances = logits_of(model.eval(), tokenizer, rows).softmax(-1)
print(json.dumps([chances.tolist(), list(model.config.id2label.values())]))
"""


@pytest.mark.slow
def test_the_folder_that_notebook_00_keeps_is_read_without_the_course(reports, small_bert, tmp_path):
    model, tokenizer = models.grader(small_bert, seed=0)
    rows = short(reports["dev"].head(4)).select_columns(["eye", "text"])[:]
    taught("00", "save", "saved_and_reloaded").saved_and_reloaded(model, tokenizer, tmp_path)
    (reading,) = [ast.unparse(node) for node in cell("00", "shapes").body if "logits_of" in defined(node)]
    command = [sys.executable, "-c", ALONE.format(logits_of=reading), json.dumps([str(tmp_path), rows])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert not done.returncode, done.stderr
    chances, names = json.loads(done.stdout.splitlines()[-1])
    assert names == list(data.GRADE_NAMES)
    assert np.abs(np.array(chances) - training.predict(model, tokenizer, rows)).max() < 1e-5


def test_the_loop_that_is_taught_with_lora_is_ours(reports, small_bert, no_clipping):
    train, dev = (short(reports[part].head(40)) for part in ("train", "dev"))
    (one, tokenizer), (other, _) = (models.grader(small_bert, seed=0) for _ in range(2))
    loss_of = taught("03", "whole", "loss_of", tokenizer=tokenizer).loss_of
    theirs = taught("03", "loop", "fit_by_hand", tokenizer=tokenizer, loss_of=loss_of).fit_by_hand
    torch.manual_seed(0)
    by_hand = theirs(one, train, epochs=2, lr=1e-3, watched=dev)
    ours = training.fit_grader(other, tokenizer, train, epochs=2, lr=1e-3, dev=dev, bar=False)
    assert by_hand[0] == pytest.approx(ours["losses"], abs=1e-4) and len(by_hand[0]) > 2
    assert by_hand[1] == pytest.approx(ours["dev_losses"], abs=1e-4) and len(by_hand[1]) == 2


# Notebook 01.


@pytest.mark.parametrize("settings", [(2, 3, "balanced"), (3, 30, None)])
def test_the_classical_model_is_the_one_that_is_taught(reports, settings):
    theirs = taught("01", "tfidf-helper", "with_eye", "tfidf")
    pd.testing.assert_series_equal(theirs.with_eye(reports["dev"]), methods.with_eye(reports["dev"]))
    one, other = theirs.tfidf(*settings), methods.tfidf(*settings)
    assert plain(one, tol=1e-6) == plain(other, tol=1e-4)  # a notebook's digits must be alike on all machines
    other.set_params(logisticregression__tol=1e-6)
    read = [(with_eye(reports["train"]), with_eye(reports["dev"])) for with_eye in (theirs.with_eye, methods.with_eye)]
    said = [
        model.fit(known, reports["train"]["grade"]).predict(new)
        for model, (known, new) in zip((one, other), read, strict=True)
    ]
    assert (said[0] == said[1]).all()


def test_the_linear_probe_is_the_one_that_is_taught():
    one = taught("01", "probe", "probe", strength=10.0, probes={}, vectors={"train": 0}, train={"grade": 0}).probe
    assert plain(one, tol=1e-6) == plain(methods.probe(10.0), tol=1e-4)


def test_the_keyword_rule_that_an_exercise_starts_from_is_the_one_that_is_taught(reports):
    theirs = taught("01", "rule", "GRAVEST_FIRST", "NEGATION", "keyword_rule")
    assert (theirs.GRAVEST_FIRST, theirs.NEGATION) == (nb01.GRAVEST_FIRST, nb01.NEGATION)
    rows = list(zip(reports["train"]["eye"], reports["train"]["text"], strict=True))
    assert [theirs.keyword_rule(*row) for row in rows] == [nb01.keyword_rule(*row) for row in rows]


def plain(model, tol):
    """Return a pipeline's kinds and settings, but for the tolerance, which must be this."""
    settings = {name: item for name, item in model.get_params().items() if name != "steps" and not hasattr(item, "fit")}
    assert settings.pop("logisticregression__tol") == tol
    return [type(step) for step in model], settings


# Notebook 02.


def test_the_labels_of_a_batch_are_those_that_are_taught(reports):
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    theirs = taught("02", "collator", "collate", tokenizer=tokenizer)
    rows = causal.encode(tokenizer, reports["dev"]["text"][:6].tolist())
    one, other = theirs.collate(rows), DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    assert set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)
    assert "DataCollatorForLanguageModeling(tokenizer, mlm=False)" in inspect.getsource(opt.train)


# Notebooks 03 and 09: LoRA.


def config(model):
    """Return the settings of a model's LoRA."""
    settings = model.peft_config["default"].to_dict()
    return {name: sorted(item) if isinstance(item, set) else item for name, item in settings.items()}


def trained(model):
    return {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}


def test_lora_at_the_centre_is_the_one_that_is_taught(small_bert):
    theirs = taught(
        "03", "config", "with_lora", models=SimpleNamespace(grader=models.grader, base=lambda _: small_bert)
    )
    one = theirs.with_lora()
    other = adapt.prepare(models.grader(small_bert, seed=0)[0], "LoRA", **methods.LORA)
    assert config(one) == config(other) and trained(one) == trained(other)


def test_the_last_layers_that_train_are_those_that_are_taught(small_bert):
    one = taught("03", "rates", "last_layers").last_layers(models.grader(small_bert, seed=0)[0])
    other = adapt.prepare(models.grader(small_bert, seed=0)[0], "last layers")
    assert trained(one) == trained(other)


@pytest.mark.parametrize("layers", [[10, 11], [11]])
def test_lora_on_layers_is_the_one_that_is_taught(small_bert, layers):
    theirs = taught("09", "layers", "with_lora", "adapted", copy=copy)
    stage_1 = models.grader(small_bert, seed=0)[0]
    one = theirs.with_lora(stage_1, layers)
    other = adapt.prepare(copy.deepcopy(stage_1), "LoRA", **methods.LORA, layers=layers)
    assert theirs.adapted(one) == theirs.adapted(other) == layers
    assert config(one) == config(other) and trained(one) == trained(other)


def test_the_labels_of_the_stages_are_drawn_as_they_are_taught():
    train = data.load_graded().frames["train"].assign(new=lambda rows: rows["site"] == stages.NEW_SITE)
    theirs = taught("09", "draw", "draw", "first", "second", train=train)
    for rows, part in ((theirs.first, "first"), (theirs.second, "new")):
        assert list(rows["report_id"]) == list(stages.labelled(0, part)["report_id"])


@pytest.mark.parametrize("rows", [64, 500, 1_000, 5_000])
def test_a_stage_is_as_long_as_it_is_taught(rows):
    """Notebook 09 shows the rule; there 5,000 reports are read twice, not three times, and a second stage half as often."""
    asked = []
    stand_in = SimpleNamespace(fit_grader=lambda *_, **settings: asked.append(settings["epochs"]))
    given = {"training": stand_in, "dev": pd.DataFrame({"new": [False]}), "tokenizer": None}
    fitted = taught("09", "stage-1", "fitted", **given).fitted
    for readings in (5_000, 2_500):
        fitted(None, range(rows), 0.1, readings=readings)
    assert asked[0] == (2 if rows == stages.FIRST else runs.epochs(rows)) and 2 <= asked[1] <= asked[0]


# Notebook 09: losses.


def test_the_ordinal_loss_is_the_one_that_is_taught():
    theirs = taught("09", "order", "ordinal")
    logits, grades = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    assert torch.equal(theirs.ordinal(logits, grades), losses.ordinal(logits, grades))
    assert losses.ordinal(torch.eye(5)[[4]] * 99, torch.tensor([0])).item() == pytest.approx(4)  # four grades off


def test_the_class_weights_are_those_that_are_taught(reports):
    first = reports["train"].drop(index=range(30))  # grades of unequal number
    theirs = taught("09", "weights", "balance", first=first, classes=metrics.GRADES).balance
    assert losses.balanced(first) == pytest.approx(list(theirs)) and len(set(theirs)) > 1


# Notebook 04.


@pytest.mark.parametrize(
    ("ours", "settings"),
    [
        ({"init": "vocabulary"}, {"prompt_tuning_init": "SAMPLE_VOCAB"}),
        ({"init": "random"}, {"prompt_tuning_init": "RANDOM"}),
        (
            {"init": "vocabulary", "encoder_only": True},
            {"prompt_tuning_init": "SAMPLE_VOCAB", "num_transformer_submodules": 1},
        ),
    ],
)
def test_a_soft_prompt_is_the_one_that_is_taught(ours, settings):
    theirs = taught("04", "peft", "soft_prompt", name=models.base("tiny-t5"))
    one = theirs.soft_prompt(seed=3, num_virtual_tokens=10, **settings)
    model = prompts.load()[0].to(models.device())
    torch.manual_seed(3)
    other = peft.get_peft_model(model, prompts.soft_prompt(10, **ours))
    assert models.count_parameters(one) == models.count_parameters(other)
    rows = [m.prompt_encoder["default"].embedding.weight for m in (one, other)]
    assert torch.equal(*rows)


def test_questions_answers_and_grades_are_those_that_are_taught(reports):
    dev = reports["dev"].head(16)
    ask, words = taught("04", "load", "ask").ask, taught("04", "written", "WORDS").WORDS
    assert {name: tuple(some) for name, some in words.items()} == prompts.WORDS
    forms = {form for form, _ in prompts.WRITTEN}
    for form in (*forms, *prompts.QUESTIONS, prompts.SOFT_QUESTION):
        assert ask(dev, form) == prompts.asked(dev, form)
    assert set(taught("04", "written", "forms").forms) <= forms
    model, tokenizer = prompts.load()
    asked = taught("04", "written", "ASK", "FINDINGS", WORDS=words)
    assert asked.ASK == prompts.ASK
    theirs = taught("04", "written-scores", "grades", ask=ask, tokenizer=tokenizer, **vars(asked))
    one, other = theirs.grades(model, dev), prompts.answers(model, tokenizer, "findings")(dev)
    assert (one == other).all() and len(set(one)) > 1


def test_answers_are_trained_as_it_is_taught(reports):
    """The notebook's training call, word for word, and ours hand the same to `fit_answers`."""
    asked = []
    stand_in = SimpleNamespace(fit_answers=lambda *given, **more: asked.append((given, more)))
    ask, words = taught("04", "load", "ask").ask, taught("04", "written", "WORDS").WORDS
    words_of = vars(taught("04", "written", "ASK", "FINDINGS", WORDS=words))
    theirs = taught("04", "first", "train", ask=ask, tokenizer="tokenizer", training=stand_in, **words_of)
    theirs.train("model", reports["dev"], 5, 0.3)
    (_, _, questions, answers), settings = asked[0]
    assert questions == prompts.asked(reports["dev"])
    assert answers == [prompts.WORDS["findings"][grade] for grade in reports["dev"]["grade"]]
    usual = inspect.signature(training.fit_answers).parameters
    assert settings == {"epochs": 5, "lr": 0.3} and usual["batch_size"].default == prompts.BATCH


@pytest.fixture(scope="module")
def read_out(reports):
    """Some dev reports, the small T5 and its tokenizer, and the questions about them."""
    return reports["dev"].head(16), *prompts.load(), taught("04", "load", "ask").ask


def test_the_states_of_the_frozen_base_are_those_that_are_taught(read_out, monkeypatch):
    rows, model, tokenizer, ask = read_out
    monkeypatch.setattr(prompts.frozen, "everything", lambda: rows)
    given = {"ask": ask, "ASK": prompts.ASK, "tokenizer": tokenizer, "base": model.eval()}
    theirs = taught("04", "states", "states", **given).states(rows)
    for place, answering in (("encoder's mean", False), ("state that answers", True)):
        assert abs(theirs[place] - prompts.states(answering)).max() < 1e-4
    assert abs(theirs["encoder's mean"] - theirs["state that answers"]).max() > 0.1


def test_the_odds_of_yes_are_those_that_are_taught(read_out, monkeypatch):
    rows, model, tokenizer, ask = read_out
    monkeypatch.setattr(prompts.frozen, "everything", lambda: rows)
    theirs = taught("04", "four", "QUESTIONS", "log_odds", ask=ask, tokenizer=tokenizer, base=model)
    assert tuple(theirs.QUESTIONS) == prompts.QUESTIONS
    one, other = theirs.log_odds(rows), prompts.ten_odds()[:, : len(prompts.QUESTIONS)]
    assert abs(one - other).max() < 1e-3 and one.std() > 0.1


def test_a_threshold_is_the_one_that_is_taught():
    """Theirs is one of the odds and ours lies between two, so they are the same in what they say."""
    theirs, rng = taught("04", "four", "threshold").threshold, np.random.default_rng(0)
    for _ in range(20):
        odds = rng.normal(size=50).round(1)  # some are equal
        wanted = odds + rng.normal(size=50) > 0.5
        assert ((odds > theirs(odds, wanted)) == (odds > prompts.best_threshold(odds, wanted))).all()


# Notebooks 07 and 08.


def test_marks_are_those_that_are_taught(reports):
    pytest.importorskip("negspacy")
    diseases = pd.DataFrame({"eye": ["left", "left"], "text": ["Left eye: no PDR.", "OS: 父亲曾患PDR。"]})
    rows = pd.concat([reports["dev"].groupby("site").head(6), diseases], ignore_index=True)
    found = taught("07", "context-file", "states_of", LEXICON="", CUES="")
    theirs = taught("07", "mark", "marked", states_of=found.states_of).marked(rows)
    assert list(theirs["text"]) == list(preparation.marked(rows)["text"]) != list(rows["text"])
    assert {"en", "zh"} <= set(rows["language"])


def test_cues_are_put_into_english_as_it_is_taught(reports):
    changed = [(preparation.english_cues(text), terms.normalise(text, ("cue",))) for text in reports["dev"]["text"]]
    assert all(one == other for one, other in changed)
    assert any(one != text for (one, _), text in zip(changed, reports["dev"]["text"], strict=True))


def test_counting_words_is_as_it_is_taught(reports):
    known, new = reports["train"], reports["dev"]
    theirs = taught("08", "break-it", "counts_score", K=metrics.GRADES, **import_names("08", "break-it"))
    found = methods.counted(known, 2, 3)(new)
    assert theirs.counts_score(known, new) == metrics.macro_f1(metrics.confusion(new["grade"], found))


def import_names(notebook, id):
    """Return what a cell itself imports."""
    space = {}
    for node in cell(notebook, id).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(ast.unparse(node), space)
    return {name: item for name, item in space.items() if not name.startswith("__")}


# Notebook 12.


def test_reports_are_encoded_as_it_is_taught(reports, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")
    from course_utils import serve
    from course_utils.experiments import onnx

    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    reader = serve.open_tokenizer(tmp_path / "tokenizer.json", 192)
    theirs = taught("12", "parity", "encoded", reader=reader)
    monkeypatch.setattr(runs, "frames", lambda: {"dev": reports["dev"]})
    pairs = zip(theirs.encoded(reports["dev"]), onnx._encoded(reader, "dev"), strict=True)
    assert all(one.ids == other.ids and one.type_ids == other.type_ids for one, other in pairs)
