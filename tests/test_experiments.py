"""Each long run's main() once, with models of one layer, a few reports and answers that follow a script.

Training is real, if short, so that what would crash crashes here. Answers are scripted: how many are right depends on a
run's settings alone, and the rate that is best on dev is the worst on test. So each number that ships is known beforehand,
and a swapped side, a rate chosen on test or a lost method is seen.
"""

import csv
import gc
import json
import shutil
import zlib
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error, recall_score
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from course_utils import causal, context, costs, data, models, paths, results, terms, trainer, training
from course_utils.experiments import bases, full, lora, losses, opt, practice, preparation, prompts, runs, stages
from course_utils.experiments import context as context_runs
from course_utils.experiments import costs as cost_runs

SHIPPED, TEN = paths.ROOT / "data_samples", 10
ROWS = {"train": 3, "dev": 3, "test": 2}  # of each site and grade
SMALL = {  # of each base: a width of 16, one layer
    "tiny-biobert": (
        AutoModel,
        {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1},
    ),
    "tiny-opt": (
        AutoModelForCausalLM,
        {"hidden_size": 16, "word_embed_proj_dim": 16, "num_attention_heads": 2, "ffn_dim": 32, "num_hidden_layers": 1},
    ),
    "tiny-t5": (
        AutoModelForSeq2SeqLM,
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "num_layers": 1, "num_decoder_layers": 1},
    ),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A folder like data_samples: 120 reports of all splits, sites and grades, and small random base models."""
    folder = tmp_path_factory.mktemp("samples")
    reports = pd.read_csv(SHIPPED / "dr_reports.csv", dtype=str, keep_default_na=False)
    parts = [reports[reports["split"] == split].groupby(["site", "grade"]).head(n) for split, n in ROWS.items()]
    pd.concat(parts).to_csv(folder / "dr_reports.csv", index=False, quoting=csv.QUOTE_ALL)
    english = pd.read_csv(SHIPPED / "general_english.csv", keep_default_na=False)
    english.groupby("part").head(3).to_csv(folder / "general_english.csv", index=False)
    for name in ("lexicon.csv", "context_cues.csv", "clinical_mentions.csv"):
        shutil.copy(SHIPPED / name, folder / name)
    (folder / "MANIFEST.sha256").write_text("0  all\n", encoding="utf-8")
    for name in SMALL:
        save_base(folder, name)
    return folder


def save_base(folder, name, **changes):
    kind, sizes = SMALL[name]
    torch.manual_seed(1)
    config = AutoConfig.from_pretrained(SHIPPED / "bases" / name, **sizes | changes)
    kind.from_config(config).save_pretrained(folder / "bases" / name)
    AutoTokenizer.from_pretrained(SHIPPED / "bases" / name).save_pretrained(folder / "bases" / name)


# The script.


def share(settings, split):
    """The share of right answers of a run with these settings; what is good on dev is bad on test."""
    about = {key: value for key, value in settings.items() if key not in ("seed", "test", "inputs", "lr")}
    good = (
        zlib.crc32(f"{json.dumps(about)}, fourth script".encode()) % 997 / 997
    )  # no two written prompts are equal in it
    good = (good + 0.6 * np.log10(settings.get("lr", 1))) % 1  # two rates are never alike
    return 0.3 + 0.6 * (good if split == "dev" else 1 - good) - 0.05 * settings.get("seed", 0)


def scripted(truth, settings, split):
    """The answers of a run: as many as `share` says are right, and the others one grade off."""
    truth = np.asarray(truth)
    order = np.random.default_rng(0).permutation(len(truth))
    wrong = order[round(share(settings, split) * len(truth)) :]
    answers = truth.copy()
    answers[wrong] = (truth[wrong] + 1) % 5
    return answers


def macro(truth, answers):
    return f1_score(truth, answers, average="macro", labels=range(5), zero_division=0)


class World:
    """Stands in for what trains and answers; it knows the run that is being made, and takes down what is asked."""

    def __init__(self, monkeypatch):
        self.now, self.fits, self.kept, self.counting, self.asked, self.heads = {}, [], [], [], [], []
        self.trainers = []
        self.real = SimpleNamespace(
            kept=runs.kept, fit=training.fit_grader, predict=training.predict, answers=training.fit_answers
        )
        self.real.choose, self.real.tfidf, self.real.probe = training.choose, bases.run_tfidf, bases.run_probe
        monkeypatch.setattr(runs, "kept", self.keep)
        monkeypatch.setattr(runs, "alone", lambda function, *arguments: function(*arguments))
        monkeypatch.setattr(models, "grader", partial(self.grader, models.grader))
        monkeypatch.setattr(trainer, "for_grader", partial(self.for_grader, trainer.for_grader))
        monkeypatch.setattr(training, "fit_grader", self.fit_grader)
        monkeypatch.setattr(training, "predict", self.predict)
        monkeypatch.setattr(training, "fit_answers", self.fit_answers)
        monkeypatch.setattr(training, "choose", self.choose)
        monkeypatch.setattr(bases, "run_tfidf", partial(self.classical, self.real.tfidf))
        monkeypatch.setattr(bases, "run_probe", partial(self.classical, self.real.probe))

    def keep(self, name, settings, make):
        def made():
            self.now, self.least = settings, 0
            self.kept.append(settings)
            return make()

        return self.real.kept(name, settings, made)

    def grader(self, grader, checkpoint, seed, **more):
        self.heads.append((self.now, seed))
        return grader(checkpoint, seed, **more)

    def for_grader(self, for_grader, model, tokenizer, rows, folder, **more):
        self.trainers.append({"run": self.now, "rows": rows} | more)
        return for_grader(model, tokenizer, rows, folder, **more)

    def fit_grader(self, model, tokenizer, rows, **more):
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        self.fits.append({"run": self.now, "rows": rows, "trained": trained} | more)
        return self.real.fit(model, tokenizer, rows.head(4), **more | {"epochs": 1})

    def predict(self, model, tokenizer, rows, **more):
        self.real.predict(model, tokenizer, rows.head(2))
        self.asked.append((self.now, rows))
        return np.eye(5)[self.answers(rows)]

    def answers(self, rows):
        return scripted(rows["grade"], self.now, rows["split"].iloc[0])

    def classical(self, method, rows, others, seed, settings):
        method(rows, [one.head(2) for one in others], seed, settings)
        self.counting.append({"run": self.now, "by": method.__name__, "rows": rows, "seed": seed, "settings": settings})
        return [self.answers(one) for one in others], 0

    def fit_answers(self, model, tokenizer, questions, answers, **more):
        self.least += 1  # of four questions, the one that is learned
        self.fits.append({"run": self.now, "questions": questions, "answers": answers} | more)
        return self.real.answers(model, tokenizer, questions[:4], answers[:4], **more | {"epochs": 1})

    def choose(self, model, tokenizer, questions, choices):
        self.real.choose(model, tokenizer, questions[:2], choices)
        rows = next(runs.frames()[part] for part, n in (("dev", 45), ("test", 30)) if n == len(questions))
        assert all(text in question for text, question in zip(rows["text"], questions, strict=True))
        grades = self.answers(rows)
        form = questions[0].replace(rows["text"].iloc[0], "{text}").replace(f"<{rows['eye'].iloc[0]}>", "<{eye}>")
        if len(choices) == 5:
            assert (form, choices) == (self.now.get("form", prompts.ASK), prompts.WORDS[self.now["words"]])
            return np.eye(5)[grades]
        least = prompts.QUESTIONS.index(form) + 1 if form in prompts.QUESTIONS else self.least
        assert choices == ("yes", "no")
        return np.stack([grades >= least, grades < least], axis=1).astype(float)

    def of(self, **settings):
        """The settings of the kept runs that have these."""
        return [one for one in self.kept if settings.items() <= one.items()]


@pytest.fixture
def world(monkeypatch, tmp_path, tmp_path_factory, samples):
    monkeypatch.setenv("COURSE_DATA", str(samples))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "arrow")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(runs, "WORK", tmp_path / "build" / "runs")
    monkeypatch.setattr(runs, "SEEDS", (0, 1))
    monkeypatch.setattr(data, "load_reports", cache(data.load_reports))
    monkeypatch.setattr(gc, "collect", lambda: 0)  # most of the time of a short `Trainer` run
    threads = torch.get_num_threads()
    forget()
    yield World(monkeypatch)
    forget()
    torch.set_num_threads(threads)


def forget():
    """Empty what is remembered of the reports."""
    for remembered in (runs.frames, runs.train_rows, opt.texts, preparation.graded, data.general_english):
        remembered.cache_clear()


# What each file must hold.


def written(name):
    """What the experiment wrote; it has the methods and the verdicts' sides of the file that ships."""
    made, real = results.shipped(name), paths.read_json(SHIPPED / "results" / f"{name}.json")
    assert set(made) == set(real)
    assert [row["method"] for row in made["rows"]] == [row["method"] for row in real["rows"]] or name == "full_runs"
    told = [[(line.get("first"), line.get("second")) for line in some.get("verdicts", [])] for some in (made, real)]
    assert told[0] == told[1] or name == "prompt_runs"  # there the names hold the number of labels
    return made


def value(settings, seeds=(0, 1), where=slice(None), metric=macro):
    """The mean of a measure over the seeds of a run, on test, worked out from the script."""
    truth = runs.frames()["test"]["grade"].to_numpy()
    each = [scripted(truth, settings | {"seed": seed}, "test") for seed in seeds]
    return np.mean([metric(truth[where], one[where]) for one in each])


def check_row(row, settings, seeds=(0, 1), where=slice(None)):
    truth = runs.frames()["test"]["grade"].to_numpy()
    right = [(scripted(truth, settings | {"seed": seed}, "test") == truth)[where].sum() for seed in seeds]
    assert row["value"] == pytest.approx(value(settings, seeds, where), abs=6e-5)
    assert row["low"] <= row["value"] <= row["high"]
    assert (row["k"], row["n"], row["seeds"]) == (round(np.mean(right)), len(truth[where]), len(seeds))


def check_verdict(line, first, second):
    """The difference is the first's value minus the second's, and the words go with it."""
    middle, low, high = numbers(line["difference"])
    assert middle == pytest.approx(first - second, abs=6e-4)
    one, other = line["first"], line["second"]
    better = "better" if low > 0 else "worse"
    sure = low > 0 or high < 0
    if line.get("measure") == "MAE":
        better = "worse" if low > 0 else "better"
    said = f"{one} is {better} than {other}, " if sure else f"cannot tell {one} and {other} apart "
    assert line["verdict"].startswith(said)


def numbers(interval):
    return [float(number) for number in interval.replace("[", "").replace("]", "").replace(",", "").split()]


def best_on_dev(tried):
    """The settings that are best on dev by the script; it must be a trap: on test they are the worst, and none is equal."""
    by_dev = sorted(tried, key=lambda one: share(one, "dev"))
    assert by_dev == sorted(tried, key=lambda one: -share(one, "test"))
    dev = runs.frames()["dev"]
    scores = [macro(dev["grade"], scripted(dev["grade"], one, "dev")) for one in by_dev]
    assert scores[-1] > scores[-2]
    return by_dev[-1]


def check_shipped_runs(world, *lists, sites=("north", "harbour", "delta")):
    """No predictions ship, and each run has the dev score that the script gives it, on the dev rows of these sites."""
    dev = runs.frames()["dev"]
    grades = dev.loc[dev["site"].isin(sites), "grade"]
    for run in [run for some in lists for run in some]:
        settings = next(one for one in world.kept if one.items() <= run.items())
        assert "predicted" not in run
        assert run["dev"] == pytest.approx(macro(grades, scripted(grades, settings, "dev")), abs=6e-5)


def check_seeds_draw(world):
    """Each training and each new head has the seed of its run, and another seed draws other rows."""
    assert all(seed == run["seed"] for run, seed in world.heads)
    for fit in world.fits:
        assert fit["seed"] == fit["run"]["seed"]
    drawn = {}
    for fit in world.fits:
        about = json.dumps({key: item for key, item in fit["run"].items() if key not in ("seed", "inputs")})
        drawn.setdefault(about, {})[fit["seed"]] = tuple(fit["rows"]["text"])
    pairs = [some for some in drawn.values() if len(some) > 1]
    assert pairs and all(some[0] != some[1] for some in pairs)


def cut(table, n=2):
    return {name: values[:n] for name, values in table.items()}


# The experiments.


def test_lora(world, monkeypatch):
    monkeypatch.setattr(lora, "LABELS", TEN)
    monkeypatch.setattr(lora, "EPOCHS", 1)
    monkeypatch.setattr(lora, "TRIED", cut(lora.TRIED))
    monkeypatch.setattr(lora, "VARIED", cut(lora.VARIED))
    lora.main()
    shipped = written("lora_runs")
    chosen = {}
    for method, rates in lora.TRIED.items():
        tried = [run for run in shipped["tried"] if run["method"] == method]
        assert [(run["lr"], run["seed"], run["test"]) for run in tried] == [(lr, 0, False) for lr in rates]
        chosen[method] = best_on_dev([one for one in world.of(method=method, test=False, seed=0) if one["lr"] in rates])
        tested = [run for run in shipped["tested"] if run["method"] == method]
        assert [(run["lr"], run["seed"]) for run in tested] == [(chosen[method]["lr"], seed) for seed in (0, 1)]
        for run in tried + tested:
            shared = {what: run.get(what) for what in ("r", "alpha", "targets", "dropout")}
            assert shared.items() <= lora.CENTRE.items() or method not in ("LoRA", "DoRA")
    assert [row["method"] for row in shipped["rows"]] == list(lora.TRIED)
    for row in shipped["rows"]:
        check_row(row, chosen[row["method"]])
    assert [line["first"] for line in shipped["verdicts"]] == [m for m in lora.TRIED if m != "full fine-tuning"]
    for line in shipped["verdicts"]:
        assert line["second"] == "full fine-tuning" and line["labels"] == TEN
        check_verdict(line, value(chosen[line["first"]]), value(chosen[line["second"]]))
    check_shipped_runs(world, shipped["tried"], shipped["tested"], shipped["swept"])
    check_seeds_draw(world)
    assert all(fit["lr"] == fit["run"]["lr"] and fit["epochs"] == 1 for fit in world.fits)
    trained = {fit["run"]["method"]: frozenset(fit["trained"]) for fit in world.fits}
    assert len(set(trained.values())) == len(lora.TRIED)  # each trains something else
    swept = {(run["varied"], run[run["varied"]], run["seed"]) for run in shipped["swept"]}
    assert swept == {(what, one, seed) for what, some in lora.VARIED.items() for one in some for seed in (0, 1)}
    for run in shipped["swept"]:
        assert {what for what, centre in lora.CENTRE.items() if run[what] != centre} <= {run["varied"]}


def test_full(world, monkeypatch, samples):
    monkeypatch.setattr(full, "EPOCHS", {8: 2, 16: 1})
    monkeypatch.setattr(full, "FEW", 8)
    benchmarked = [
        {"method": method, "labels": 12, "seed": 0, "macro_f1": 0.1, "dev_macro_f1": 0.2, "settings": "x"}
        for method in ("full fine-tuning", "random weights")
    ]
    paths.write_json(samples / "results" / "base_benchmark.json", {"runs": benchmarked})
    full.main()
    shipped = written("full_runs")
    methods = ("full fine-tuning", "TF-IDF + logistic regression")
    expected = [(method, f"DR grade, test, {n} labels, learning curve", n) for n in (8, 16) for method in methods]
    for row, (method, task, labels) in zip(shipped["rows"], expected, strict=True):
        assert (row["method"], row["task"]) == (method, task)
        check_row(row, world.of(method=method, labels=labels)[0])
    assert {(fit["run"]["labels"], fit["lr"], fit["epochs"]) for fit in world.fits} == {(8, 5e-4, 2), (16, 1e-3, 1)}
    assert all(len(fit["rows"]) == fit["run"]["labels"] for fit in world.fits)
    counted = {(one["run"]["labels"], one["settings"]) for one in world.counting}
    assert counted == {(8, (2, 3, "balanced")), (16, (3, 3, "balanced"))}
    check_seeds_draw(world)
    check_shipped_runs(world, [run for run in shipped["runs"] if "from" not in run])
    assert {(run["method"], run["labels"], run["seed"]) for run in shipped["runs"]} == {
        (method, labels, seed) for method in methods for labels in (8, 16) for seed in (0, 1)
    } | {("full fine-tuning", 12, 0)}
    (taken,) = (run for run in shipped["runs"] if run["labels"] == 12)
    assert (taken["dev"], taken["macro_f1"], taken["from"]) == (0.2, 0.1, "base_benchmark")


MEASURES = {
    "macro F1": macro,
    "kappa": lambda y, p: cohen_kappa_score(y, p, labels=range(5), weights="quadratic"),
    "MAE": mean_absolute_error,
    "sensitivity": lambda y, p: recall_score(y >= 2, p >= 2),
    "share right": accuracy_score,
}


def test_losses(world, monkeypatch):
    monkeypatch.setattr(losses, "LABELS", 30)
    monkeypatch.setattr(losses, "RATES", losses.RATES[:2])
    losses.main()
    shipped = written("loss_runs")
    names, chosen = ("cross-entropy", "class weights", "ordinal loss"), {}
    assert set(shipped["scores"]) == set(names) and not any("predicted" in run for run in shipped["tried"])
    for loss in names:
        tried = [run for run in shipped["tried"] if run["loss"] == loss]
        assert [(run["lr"], run["seed"]) for run in tried] == [(lr, 0) for lr in losses.RATES]
        chosen[loss] = best_on_dev(world.of(loss=loss, seed=0))
        assert [one["lr"] for one in world.of(loss=loss, seed=1)] == [chosen[loss]["lr"]]
        for measure, (middle, low, high) in shipped["scores"][loss].items():
            assert middle == pytest.approx(value(chosen[loss], metric=MEASURES[measure]))
            assert low <= middle <= high
    measures = ("macro F1", "kappa", "MAE", "sensitivity")
    told = [(line["first"], line["second"], line["measure"]) for line in shipped["verdicts"]]
    assert told == [(loss, "cross-entropy", measure) for loss in names[1:] for measure in measures]
    for line in shipped["verdicts"]:
        metric = MEASURES[line["measure"]]
        check_verdict(line, *(value(chosen[line[side]], metric=metric) for side in ("first", "second")))
    assert (shipped["labels"], shipped["n"], shipped["seeds"]) == (30, 30, 2)
    check_seeds_draw(world)
    for fit in world.fits:
        assert ("class_weights" in fit, "loss" in fit) == {
            "cross-entropy": (False, False),
            "class weights": (True, False),
            "ordinal loss": (False, True),
        }[fit["run"]["loss"]]
        assert fit["lr"] == fit["run"]["lr"]


@pytest.mark.slow
def test_preparation(world, monkeypatch):
    monkeypatch.setattr(preparation, "SEEDS", (0, 1))
    monkeypatch.setattr(preparation, "LABELS", TEN)
    monkeypatch.setattr(preparation, "FEWER", 8)
    preparation.main()
    shipped = written("preparation_runs")
    variants = ["raw", "raw, twice", "normalised", "English cues", "augmented", "marked", "all"]
    variants += ["normalised, then augmented", "augmented, then normalised"]
    tuned, counts = "full fine-tuning", "TF-IDF + logistic regression"
    named = [(tuned, v) for v in variants] + [(counts, v) for v in variants if v != "raw, twice"]
    assert [row["method"] for row in shipped["rows"]] == [f"{method}, {variant}" for method, variant in named]
    for row, (method, variant) in zip(shipped["rows"], named, strict=True):
        check_row(row, {"method": method, "labels": TEN, "variant": variant})
    few = [(m, v) for m, v in named if v in ("raw", "raw, twice", "normalised", "all")]
    expected = {(m, n, v, s) for n, some in ((TEN, named), (8, few)) for m, v in some for s in (0, 1)}
    assert {(r["method"], r["labels"], r["variant"], r["seed"]) for r in shipped["tested"]} == expected
    check_shipped_runs(world, shipped["tested"])
    check_preparation_verdicts(shipped["verdicts"], variants, tuned, counts)
    check_prepared_texts(world)
    assert {fit["run"]["method"] for fit in world.fits} == {tuned}
    assert {(one["run"]["method"], one["settings"]) for one in world.counting} == {(counts, (2, 3, "balanced"))}
    assert [one["seed"] for one in shipped["orders"]] == [0, 1]


def check_preparation_verdicts(verdicts, variants, tuned, counts):
    for line in verdicts:
        sides = [{"method": line["method"], "labels": line["labels"], "variant": line[s]} for s in ("first", "second")]
        check_verdict(line, *map(value, sides))
    against_raw = [line["first"] for line in verdicts if line["second"] == "raw" and line["labels"] == TEN]
    assert against_raw == variants[1:] + variants[2:]  # word counts have no "raw, twice"
    by = {(line["method"], line["labels"]): 0 for line in verdicts}
    for line in verdicts:
        by[line["method"], line["labels"]] += 1
    assert by == {(tuned, TEN): 15, (counts, TEN): 12, (tuned, 8): 5, (counts, 8): 3}


def check_prepared_texts(world):
    """Each variant trains on its own texts, for its epochs, and reads dev and test in the same way."""
    by = {fit["run"]["variant"]: fit for fit in world.fits if fit["run"]["labels"] == TEN and fit["seed"] == 1}
    texts = {variant: list(fit["rows"]["text"]) for variant, fit in by.items()}
    raw = list(runs.train_rows(TEN, 1)["text"])
    assert texts["raw"] == texts["raw, twice"] == raw
    assert {variant for variant, fit in by.items() if fit["epochs"] != 5} == {"raw, twice"}
    assert by["raw, twice"]["epochs"] == TEN
    assert texts["normalised"] == [terms.normalise(text) for text in raw] != raw
    assert texts["augmented"][:TEN] == raw and len(texts["augmented"]) > TEN
    both = texts["normalised, then augmented"]
    assert both[:TEN] == texts["normalised"] and any(text != terms.normalise(text) for text in both[TEN:])
    assert texts["augmented, then normalised"] == [terms.normalise(text) for text in texts["augmented"]]
    assert texts["marked"] != texts["English cues"] and len(texts["all"]) > TEN
    for variant in by:
        asked = [rows for run, rows in world.asked if (run.get("variant"), run["labels"]) == (variant, TEN)][:2]
        assert [rows["split"].iloc[0] for rows in asked] == ["dev", "test"]
        if "augmented" not in variant and variant != "all":
            change = preparation.VARIANTS[variant][1]
            assert list(asked[1]["text"]) == list(change(runs.frames()["test"], 0)["text"])
        else:
            assert [len(rows) for rows in asked] == [45, 30]
    check_seeds_draw(world)


@pytest.mark.slow
def test_stages(world, monkeypatch, samples):
    save_base(samples, "tiny-biobert", num_hidden_layers=12)
    monkeypatch.setattr(stages, "SEEDS", (0, 1))
    monkeypatch.setattr(stages, "FIRST", 12)
    monkeypatch.setattr(stages, "SECOND", 8)
    cut_rates = {name: (how, rates[:2], part) for name, (how, rates, part) in stages.SECOND_STAGES.items()}
    monkeypatch.setattr(stages, "SECOND_STAGES", cut_rates)
    loaded, load = [], stages.AutoModelForSequenceClassification.from_pretrained

    def from_folder(folder):
        loaded.append((world.now, folder))
        return load(folder)

    monkeypatch.setattr(stages, "AutoModelForSequenceClassification", SimpleNamespace(from_pretrained=from_folder))
    try:
        stages.main()
    finally:
        save_base(samples, "tiny-biobert")
    shipped, chosen = written("stage_runs"), {}
    for method, (_, rates, _) in stages.SECOND_STAGES.items():
        tried = [run for run in shipped["tried"] if run["method"] == method]
        assert [(run["lr"], run["seed"]) for run in tried] == [(lr, 0) for lr in rates]
        chosen[method] = stage_best(world.of(method=method, seed=0))
        tested = [run for run in shipped["tested"] if run["method"] == method]
        assert [(run["lr"], run["seed"]) for run in tested] == [(chosen[method]["lr"], seed) for seed in (0, 1)]
    others = ["stage 1 alone", "one stage on everything", "new site alone"]
    others += ["TF-IDF + logistic regression", "frozen base + linear probe"]
    methods = [others[0], *stages.SECOND_STAGES, *others[1:]]
    chosen |= {method: {"method": method} for method in others}
    site = runs.frames()["test"]["site"].to_numpy()
    places = {"the new site": site == "delta", "the first sites": site != "delta"}
    named = [(method, f"DR grade, test, {place}") for place in places for method in methods]
    assert [(row["method"], row["task"]) for row in shipped["rows"]] == named
    for row in shipped["rows"]:
        check_row(row, chosen[row["method"]], where=places[row["task"].removeprefix("DR grade, test, ")])
    for line in shipped["verdicts"]:
        where = places[line["where"]]
        check_verdict(line, *(value(chosen[line[side]], where=where) for side in ("first", "second")))
    article, probe = "two stages, LoRA on layers 11-12", "frozen base + linear probe"
    pairs = [(line["first"], line["second"]) for line in shipped["verdicts"] if line["where"] == "the new site"]
    assert set(pairs) == (
        {(article, one) for one in methods if one != article}
        | {(one, "stage 1 alone") for one in methods if one not in (article, "stage 1 alone")}
        | {(probe, one) for one in methods if one not in (article, probe, "stage 1 alone")}
    )
    check_shipped_runs(world, shipped["tried"], shipped["tested"], sites=["delta"])
    check_seeds_draw(world)
    assert all(folder.endswith(f"stage_1_seed_{run['seed']}") for run, folder in loaded)
    assert len(loaded) == len(stages.SECOND_STAGES) * 3  # two rates with seed 0, one of them with seed 1
    check_stage_fits(world)
    counted = {(one["run"]["method"], one["by"], one["settings"], len(one["rows"])) for one in world.counting}
    tfidf = ("TF-IDF + logistic regression", "run_tfidf", (2, 3, "balanced"), 20)
    assert counted == {tfidf, ("frozen base + linear probe", "run_probe", 0.1, 20)}


def stage_best(tried):
    """The best rate on the new site's dev rows by the script."""
    dev = runs.frames()["dev"]
    grades = dev.loc[dev["site"] == "delta", "grade"]
    scores = [macro(grades, scripted(grades, one, "dev")) for one in tried]
    assert scores[0] != scores[1]
    best = tried[int(np.argmax(scores))]
    assert value(best) == min(map(value, tried))
    return best


def check_stage_fits(world):
    """Each stage trains what it should on the labels that it should."""
    layers = {"LoRA on layers 11-12": {10, 11}, "LoRA on layer 12": {11}, "LoRA on all layers": set(range(12))}
    for fit in world.fits:
        method, sites, count = fit["run"]["method"], set(fit["rows"]["site"]), len(fit["rows"])
        if method in ("stage 1 alone", "stage 1, trained longer"):
            assert "delta" not in sites and count == 12
        elif method == "one stage on everything":
            assert len(sites) == 3 and count == 20
        else:
            assert sites == {"delta"} and count == 8
        adapted = {int(name.split(".layer.")[1].split(".")[0]) for name in fit["trained"] if "lora_A" in name}
        assert adapted == layers.get(method.removeprefix("two stages, "), set())
        frozen = adapted or method.endswith("head alone")
        assert any("word_embeddings" in name for name in fit["trained"]) != bool(frozen)
        assert any("classifier" in name for name in fit["trained"])
        if method.endswith("head alone"):
            assert fit["trained"] == {"classifier.weight", "classifier.bias"}
        epochs = {"new site alone": 8, "stage 1, trained longer": 1}
        assert fit["epochs"] == epochs.get(method, 5 if "two stages" in method else 3)
        assert fit["lr"] == fit["run"].get("lr", 5e-4 if method == "new site alone" else 1e-3)


@pytest.mark.slow
def test_prompts(world, monkeypatch):
    monkeypatch.setattr(prompts, "LABELS", TEN)
    monkeypatch.setattr(prompts, "EPOCHS", 1)
    monkeypatch.setattr(prompts, "LONG", (20, 2, prompts.LONG[2]))
    monkeypatch.setattr(prompts, "TRIED", cut(prompts.TRIED))
    monkeypatch.setattr(prompts, "VARIED", cut(prompts.VARIED) | {"init": prompts.VARIED["init"]})
    monkeypatch.setattr(prompts, "four_tuned", partial(prompts.four_tuned, labels=TEN, epochs=1))
    prompts.main()
    shipped, chosen = written("prompt_runs"), {}
    for method, rates in prompts.TRIED.items():
        tried = [run for run in shipped["tried"] if run["method"] == method]
        assert [(run["lr"], run["seed"]) for run in tried] == [(lr, 0) for lr in rates]
        wanted = {"method": method, "seed": 0, "test": False, "labels": TEN, "words": "findings"}
        wanted |= prompts.settings_of(method)
        chosen[method, TEN] = best_on_dev([one for one in world.of(**wanted) if one["lr"] in rates])
        tested = [run for run in shipped["tested"] if (run["name"], run.get("labels")) == (method, TEN)]
        assert [(run["lr"], run["seed"]) for run in tested] == [(chosen[method, TEN]["lr"], seed) for seed in (0, 1)]
    in_words = [run for run in shipped["tried"] if run["method"] == "text prompt"]
    assert {(run["form"], run["words"]) for run in in_words} == {(f, w) for f in prompts.WRITTEN for w in prompts.WORDS}
    by_hand = [one for one in world.of(method="text prompt") if "test" not in one]
    chosen["text prompt", 0] = best_on_dev(by_hand)
    (text,) = (run for run in shipped["tested"] if run["name"] == "text prompt")
    assert (text["form"], text["words"]) == (chosen["text prompt", 0]["form"], chosen["text prompt", 0]["words"])
    chosen["text prompt, four questions", 0] = world.of(method="text prompt, four questions")[0]
    chosen["prompt tuning, four questions", TEN] = world.of(method="prompt tuning, four questions")[0]
    chosen["prompt tuning, 50 rows", 20] = world.of(method="prompt tuning", labels=20)[0]
    assert chosen["prompt tuning, 50 rows", 20]["lr"] == chosen["prompt tuning", TEN]["lr"]
    check_prompt_rows(shipped, chosen)
    pairs = [(name_of(line, "first"), name_of(line, "second")) for line in shipped["verdicts"]]
    tuned, rows_50, four = (
        ("prompt tuning", TEN),
        ("prompt tuning, 50 rows", 20),
        ("prompt tuning, four questions", TEN),
    )
    text, four_text = ("text prompt", 0), ("text prompt, four questions", 0)
    adapted, every = ("LoRA", TEN), ("full fine-tuning", TEN)
    expected = [(tuned, ("majority class", 0)), (tuned, text), (rows_50, text), (four, four_text), (tuned, adapted)]
    assert pairs == [*expected, (tuned, every), (rows_50, adapted), (four, text), (adapted, every)]
    for line, (first, second) in zip(shipped["verdicts"], pairs, strict=True):
        check_verdict(line, prompt_value(first, chosen), prompt_value(second, chosen))
        assert line["labels"] == [first[1], second[1]]
    check_shipped_runs(world, shipped["tried"], shipped["swept"], [run for run in shipped["tested"] if "lr" in run])
    swept = {(run["varied"], run[run["varied"]], run["seed"]) for run in shipped["swept"]}
    assert swept == {(what, one, seed) for what, some in prompts.VARIED.items() for one in some for seed in (0, 1)}
    check_prompt_fits(world)


def name_of(line, side):
    """The method's name and its labels of a verdict's side, "LoRA, 10 labels"."""
    name, _, labels = line[side].removesuffix(" labels").rpartition(", ")
    return (name, int(labels)) if labels.isdigit() else (line[side], 0)


def prompt_value(name, chosen):
    truth = runs.frames()["test"]["grade"]
    if name[0] == "majority class":
        return macro(truth, np.full(len(truth), runs.frames()["train"]["grade"].mode()[0]))
    return value(chosen[name], (0, 1) if name[1] else (0,))


def check_prompt_rows(shipped, chosen):
    named = [("majority class", 0), ("text prompt", 0), ("text prompt, four questions", 0)]
    named += [(method, TEN) for method in prompts.TRIED]
    named += [("prompt tuning, four questions", TEN), ("prompt tuning, 50 rows", 20)]
    for row, name in zip(shipped["rows"], named, strict=True):
        task = f"DR grade as text, test, {f'{name[1]} labels' if name[1] else 'nothing trained'}"
        assert (row["method"], row["task"]) == (name[0], task)
        if name[0] == "majority class":
            assert row["value"] == pytest.approx(prompt_value(name, chosen), abs=6e-5)
        else:
            check_row(row, chosen[name], (0, 1) if name[1] else (0,))


def check_prompt_fits(world):
    four = [fit for fit in world.fits if "four questions" in fit["run"]["method"]]
    for seed in (0, 1):
        said = [fit["answers"] for fit in four if fit["run"]["seed"] == seed]
        grades = runs.train_rows(TEN, seed)["grade"]
        assert said == [["yes" if grade >= least else "no" for grade in grades] for least in (1, 2, 3, 4)]
    for fit in world.fits:
        settings = fit["run"]
        rows = runs.train_rows(settings["labels"], settings["seed"])
        assert all(text in question for text, question in zip(rows["text"], fit["questions"], strict=True))
        assert fit["lr"] == settings["lr"]
        if fit not in four:  # the four tuned questions take the order of seed 0 in each run
            assert fit["seed"] == settings["seed"] and fit["epochs"] == settings["epochs"]
            assert fit["answers"] == [prompts.WORDS[settings["words"]][grade] for grade in rows["grade"]]


def test_costs(world, monkeypatch):
    monkeypatch.setattr(costs, "apart", lambda task, **settings: {"step_ms": 1.0, "shape": settings["shape"]})
    monkeypatch.setattr(cost_runs, "ROUNDS", 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cost_runs.main()
    shipped = written("cost_runs")
    shapes, methods = ("tiny-biobert", "BERT 192", "BERT 384", "BioBERT"), ("full fine-tuning", "LoRA", "last layers")
    measured = {(run["shape"], run["method"], run["round"]) for run in shipped["training"]}
    assert measured == {(shape, method, number) for shape in shapes for method in methods for number in (0, 1)}
    assert len(shipped["training"]) == 24
    assert sorted((run["shape"], run["round"]) for run in shipped["latency"]) == sorted(
        (shape, number) for shape in shapes for number in (0, 1)
    )
    assert all({"device": "cpu", "batch": 8, "length": 128}.items() <= run.items() for run in shipped["training"])
    assert all({"device": "cpu", "batch": 1, "length": 128}.items() <= run.items() for run in shipped["latency"])
    assert all("task" not in run for run in shipped["training"] + shipped["latency"])


# The tiny causal model: what texts lose is scripted.


class Texts:
    """Scripts the loss of texts: the better a run, the less they lose; good on dev is bad on test."""

    def __init__(self, world, monkeypatch):
        self.world, self.real = world, causal.scores
        monkeypatch.setattr(causal, "scores", self.scores)

    def scores(self, model, tokenizer, given):
        self.real(model, tokenizer, given[:2])
        split = "test" if set(given) <= set(opt.texts("test")["text"]) else "dev"
        tokens = np.array([len(row["input_ids"]) - 1.0 for row in causal.encode(tokenizer, given)])
        return {"loss": tokens * (3 - 2 * share(self.world.now, split)), "tokens": tokens, "right": tokens // 3}


def test_opt(world, monkeypatch):
    Texts(world, monkeypatch)
    for name, small in {"STEPS": 2, "EVERY": 1, "BATCH": 2, "SIZES": (4, 8), "DEV": 5, "PROMPTS": 3, "NEW": 3}.items():
        monkeypatch.setattr(opt, name, small)
    monkeypatch.setattr(opt, "RATES", opt.RATES[:2])
    monkeypatch.setattr(opt, "ORDERS", (1, 2))
    opt.main()
    shipped = written("opt_runs")
    best = max(world.of(reports=8, seed=0, end=True), key=lambda one: share(one, "dev"))
    assert share(best, "test") == min(share(one, "test") for one in world.of(reports=8, seed=0, end=True))
    made = {(run["reports"], run["lr"], run["seed"], run["end"]) for run in shipped["runs"]}
    rates = {(8, lr, 0, True) for lr in opt.RATES}
    curve = {(reports, best["lr"], seed, True) for reports in (4, 8) for seed in (0, 1)}
    assert made == rates | curve | {(8, best["lr"], seed, False) for seed in (0, 1)}
    assert [(run["counted"], run["seed"]) for run in shipped["counted"]] == [(4, 0), (4, 1), (8, 0), (8, 1)]
    check_opt_rows(shipped, best)
    for run in shipped["runs"]:
        assert "scored" not in run and len(run["curve"]) == 2 and run["dev"] == run["curve"][-1]


def check_opt_rows(shipped, best):
    names = ["full fine-tuning, before"] * 2 + ["full fine-tuning, after"] * 2 + ["n-gram counts"]
    assert [row["method"] for row in shipped["rows"]] == names
    before, after, counts = (row for row in shipped["rows"] if row["metric"] == "perplexity")
    assert before["value"] == pytest.approx(np.exp(3 - 2 * share({"reports": 0}, "test")), abs=1e-3)
    shares = [share(best | {"seed": seed}, "test") for seed in (0, 1)]
    assert after["value"] == pytest.approx(np.exp(3 - 2 * np.mean(shares)), abs=1e-3)
    assert shipped["against_counts"][0] == pytest.approx(after["value"] / counts["value"], rel=1e-3)
    assert (before["seeds"], after["seeds"], counts["seeds"]) == (1, 2, 2)


def test_practice_alone(world, monkeypatch):
    """Twice as fast and half the memory above the start is what `times` 2 and `memory_above` 0.5 say."""
    asked = []

    def apart(task, **settings):
        asked.append(settings)
        fast = settings != {"shape": settings["shape"], "reports": settings["reports"]} | practice.PADDED
        steps = [9.0, 1.0, 1.0, 1.0] if "torch_compile" in settings else [1.0] * 4
        return {
            "cpu_s": [one / (1 + fast) for one in steps],
            "wall_s": [5.0 / (1 + fast)] * 4,
            "losses": [1.0, 0.5 + fast / 4],
            "padding": 0.5,
            "peak_mb": 200.0 - 50 * fast,
            "before_mb": 100.0,
        }

    monkeypatch.setattr(costs, "apart", apart)
    shape, reports, turns, practices, clock = practice.GROUPS[0]
    some = practice.against_baseline(practice.alone(shape, reports, turns, practices, clock), clock)
    assert [(one["practice"], one["turn"]) for one in some] == [(p, turn) for turn in range(turns) for p in practices]
    for one in some:
        base = one["practice"] == "the article's settings"
        assert (one["times"], one["memory"], one["memory_above"]) == ((1, 1, 1) if base else (2, 0.75, 0.5))
        assert (one["reports_s"], one["loss_off"]) == ((64, 0) if base else (128, 0.25))
    assert [one["reports"] for one in asked] == [reports] * len(some)
    shape, reports, turns, practices, clock = practice.GROUPS[2]
    some = practice.against_baseline(practice.alone(shape, reports, turns, practices, clock), clock)
    assert {(one["practice"], one["times"]) for one in some} == {("two threads", 2), ("two loader workers", 2)}


@pytest.mark.slow
def test_practice(world, monkeypatch):
    Texts(world, monkeypatch)
    monkeypatch.setattr(
        trainer.Stopwatch, "seconds", lambda _: ([1.0, 1.0], [1.0, 3.0 if "our" in str(world.now) else 7.0])
    )
    monkeypatch.setattr(practice, "GROUPS", [])
    monkeypatch.setattr(practice, "SEEDS", (0, 1))
    for name, small in {"LABELS": TEN, "EPOCHS": 1, "FEW": TEN, "TEXTS": 4, "PACK_EPOCHS": 1}.items():
        monkeypatch.setattr(practice, name, small)
    monkeypatch.setattr(opt, "DEV", 5)
    monkeypatch.setattr(
        practice, "ARMS", {arm: (2 if m else 1, m, with_dev) for arm, (_, m, with_dev) in practice.ARMS.items()}
    )
    practice.main()
    shipped = written("practice_runs")
    ours, theirs = "our settings", "the article's settings"
    by_task = {}
    for row in shipped["rows"]:
        by_task.setdefault((row["task"], row["metric"]), []).append(row)
    whole, stopped, one_reader, texts, _ = by_task.values()
    assert [row["method"] for row in whole] == [f"full fine-tuning, {name}" for name in (theirs, ours)]
    for row, name in zip(whole, (theirs, ours), strict=True):
        check_row(row, {"whole": name})
    told = shipped["whole"]["verdict"]
    assert (told["first"], told["second"]) == (ours, theirs)
    check_verdict(told, value({"whole": ours}), value({"whole": theirs}))
    check_ratios(shipped["whole"], ours, theirs)
    for rows, label in ((stopped, "grade"), (one_reader, "reader_1")):
        assert [row["method"] for row in rows] == [f"full fine-tuning, {arm}" for arm in practice.ARMS]
        for row, arm in zip(rows, practice.ARMS, strict=True):
            check_row(row, {"arm": arm, "label": label})
    check_stopping(shipped["stopping"])
    check_trainers(world)
    assert [row["method"] for row in texts] == [f"full fine-tuning, {name}" for name in practice.COLLATORS]
    for row in texts:
        name = row["method"].removeprefix("full fine-tuning, ")
        assert row["value"] == pytest.approx(perplexity(name), abs=1e-3)
        assert shipped["packing"]["against_padded"][name][0] == pytest.approx(perplexity(name) / perplexity("padded"))
    assert not any("scored" in run for run in shipped["packing"]["runs"])


def perplexity(collator):
    return np.exp(np.mean([3 - 2 * share({"collator": collator, "seed": seed}, "test") for seed in (0, 1)]))


def check_ratios(whole, ours, theirs):
    by = {(run["whole"], run["seed"]): run for run in whole["runs"]}
    truth = runs.frames()["test"]["grade"]
    for line in whole["ratios"]:
        a, b = by[ours, line["seed"]], by[theirs, line["seed"]]
        assert line["memory"] == round(b["peak_mb"] / a["peak_mb"], 3)
        assert line["times"] == 2  # the script has 4 and 8 seconds
        both = [scripted(truth, {"whole": name, "seed": line["seed"]}, "test") for name in (ours, theirs)]
        assert line["same"] == (both[0] == both[1]).sum()


def check_stopping(stopped):
    labels = {"adjudicated labels": "grade", "one reader's labels": "reader_1"}
    for line in stopped["verdicts"]:
        arms = [{"arm": line[side], "label": labels[line["labels"]]} for side in ("first", "second")]
        check_verdict(line, *(value(one, metric=MEASURES[line["measure"]]) for one in arms))
    names = list(practice.ARMS)
    pairs = {(later, first) for first in names[:2] for later in names[names.index(first) + 1 :]}
    expected = {(label, a, b, m) for label in labels for a, b in pairs for m in ("macro F1", "share right")}
    told = [(line["labels"], line["first"], line["second"], line["measure"]) for line in stopped["verdicts"]]
    assert set(told) == expected and len(told) == len(expected)
    made = {(run["arm"], run["label"], run["seed"]) for run in stopped["runs"]}
    assert made == {(arm, label, seed) for arm in names for label in labels.values() for seed in (0, 1)}
    assert not any("predicted" in run for run in stopped["runs"])
    assert {run["epochs"] for run in stopped["runs"]} == {1, 2}


def test_context(world, monkeypatch):
    pytest.importorskip("medspacy")
    real, engines = context.states, ("plain", "negspacy", "negspacy alone", "medspacy")

    def states(texts, spans, engine, eyes):
        real(texts[:2], spans[:2], engine, eyes[:2])
        truth = known[tuple(texts), sum(map(len, spans))]
        asked.append(tuple(texts))
        return [[said(engine, i, state) for state in some] for i, some in enumerate(truth)]

    def said(engine, i, state):
        """Right in three of four texts for the first engine, two of four for the second, and so on."""
        wrong = "negated" if state != "negated" else "affirmed"
        return state if i % 5 >= engines.index(engine) + 1 else wrong

    monkeypatch.setattr(context_runs, "REPORTS", 30)
    known, asked = {}, []
    whole = context_runs.generated(30, context_runs.SEED)
    sets = {f"clinical {split}": context.mentions(split) for split in ("dev", "test", "notes")}
    sets["generator"] = context_runs.drawn(whole, context_runs.SEED)
    for some in (*sets.values(), whole):
        known[tuple(some.texts), sum(map(len, some.spans))] = some.states
    monkeypatch.setattr(context, "states", states)
    context_runs.main()
    shipped = written("context_runs")
    assert asked[-16:] == [tuple(some.texts) for some in sets.values() for _ in engines]
    truth = {name: [state for part in some.states for state in part] for name, some in sets.items()}
    found = {
        (name, engine): [said(engine, i, state) for i, part in enumerate(some.states) for state in part]
        for name, some in sets.items()
        for engine in engines
    }
    named = [(engine, f"state of a mention, {name}") for name in sets for engine in engines]
    assert [(row["method"], row["task"]) for row in shipped["rows"]] == named
    for row in shipped["rows"]:
        name = row["task"].removeprefix("state of a mention, ")
        right = sum(a == b for a, b in zip(truth[name], found[name, row["method"]], strict=True))
        assert (row["k"], row["n"]) == (right, len(truth[name]))
        assert row["value"] == pytest.approx(right / len(truth[name]), abs=6e-5)
    check_context_verdicts(shipped["verdicts"], truth, found)
    assert set(shipped["ms_a_text"]) == set(engines)
    assert {(line["set"], line["engine"]) for line in shipped["scores"]} == {(n, e) for n in sets for e in engines}


def check_context_verdicts(verdicts, truth, found):
    pairs = [("negspacy", "plain"), ("negspacy", "negspacy alone"), ("negspacy", "medspacy")]
    pairs += [("negspacy alone", "medspacy"), ("negspacy alone", "plain"), ("medspacy", "plain")]
    expected = [(name, *pair, states) for name in truth for pair in pairs for states in ("all", "negated")]
    assert [(line["set"], line["first"], line["second"], line["states"]) for line in verdicts] == expected
    for line in verdicts:
        right = []
        for side in ("first", "second"):
            both = zip(truth[line["set"]], found[line["set"], line[side]], strict=True)
            by_state = line["states"] == "negated"
            right.append([(a == "negated") == (b == "negated") if by_state else a == b for a, b in both])
        alone = [sum(a and not b for a, b in zip(*some, strict=True)) for some in (right, right[::-1])]
        assert (line["only_first"], line["only_second"], line["n"]) == (*alone, len(right[0]))
        check_verdict(line, np.mean(right[0]), np.mean(right[1]))


def check_trainers(world):
    """Each run has its seed, its label, its padding, and stops by its measure; dev labels are trained on where it says so."""
    for made in world.trainers:
        run, sampled = made["run"], list(runs.train_rows(TEN, made["run"]["seed"])["text"])
        assert made["seed"] == run["seed"] and list(made["rows"]["text"])[:TEN] == sampled
        if "whole" in run:
            assert made["pad_to"] == {"the article's settings": 512, "our settings": None}[run["whole"]]
            assert len(made["rows"]) == TEN and made["num_train_epochs"] == 1
            continue
        dev, with_dev = made["dev"], run["arm"] == "5 epochs, dev labels too"
        assert made["label"] == run["label"] and set(dev["split"]) == {"dev"} and len(dev) == TEN
        assert list(made["rows"]["text"])[TEN:] == (list(dev["text"]) if with_dev else [])
        measures = {"20 epochs, stopped by loss": "loss", "20 epochs, stopped by macro F1": "macro_f1"}
        assert made.get("metric_for_best_model") == measures.get(run["arm"])
        assert len(made["callbacks"]) == (run["arm"] in measures)
    assert len(world.trainers) == 4 + 20


@pytest.mark.slow
def test_bases(world, monkeypatch):
    """Its runs are not kept, so the settings of the script are put beside each method."""

    def with_script(name, method):
        def graded(train, others, seed, settings):
            world.now = {"method": name, "labels": len(train), "settings": settings, "seed": seed}
            world.kept.append(world.now)
            predicted, trainable = method(train, [one.head(2).assign(split="dev") for one in others], seed, settings)
            return [world.answers(rows) for rows in others], trainable

        return graded

    monkeypatch.setattr(
        bases, "METHODS", {name: (with_script(name, method), some) for name, (method, some) in bases.METHODS.items()}
    )
    monkeypatch.setattr(bases, "EPOCHS", {12: 2, 24: 1})
    monkeypatch.setattr(bases, "SEEDS", (0, 1))
    monkeypatch.setattr(bases.os, "cpu_count", lambda: 1)
    monkeypatch.setattr(bases, "fine_tune_opt", partial(bases.fine_tune_opt, steps=2))
    monkeypatch.setattr(bases, "fine_tune_t5", partial(bases.fine_tune_t5, labels=8, epochs=1))
    bases.main()
    shipped, chosen = written("base_benchmark"), {}
    for labels in (12, 24):
        for name, (_, choices) in bases.METHODS.items():
            tried = world.of(method=name, labels=labels, seed=0)
            assert [one["settings"] for one in tried] == choices
            chosen[name, labels] = best_on_dev(tried)
            assert [one["settings"] for one in world.of(method=name, labels=labels, seed=1)] == [
                chosen[name, labels]["settings"]
            ]
            said = [run for run in shipped["runs"] if (run["method"], run["labels"]) == (name, labels)]
            assert [(run["seed"], run["settings"]) for run in said] == [
                (seed, str(chosen[name, labels]["settings"])) for seed in (0, 1)
            ]
    named = [(name, f"DR grade, test, {n} labels, 3 seeds") for n in (12, 24) for name in bases.METHODS]
    assert [(row["method"], row["task"]) for row in shipped["rows"]] == named
    for row, key in zip(shipped["rows"], [(name, n) for n in (12, 24) for name in bases.METHODS], strict=True):
        check_row(row, chosen[key])
    others = ("TF-IDF + logistic regression", "random weights", "frozen base + linear probe")
    for line, (n, other) in zip(shipped["verdicts"], [(n, o) for n in (12, 24) for o in others], strict=True):
        names = {"first": f"full fine-tuning, {n} labels", "second": f"{other}, {n} labels"}
        check_verdict(line | names, value(chosen["full fine-tuning", n]), value(chosen[other, n]))
    assert {(fit["epochs"], fit["lr"] == fit["run"]["settings"]) for fit in world.fits} == {(2, True), (1, True)}
    check_seeds_draw(world)
    assert set(shipped["others"]) == {"tiny-opt", "tiny-t5"} and shipped["others"]["tiny-t5"]["n"] == 30


class Session:
    """An ONNX Runtime session that knows its file, so that its answers can follow the script."""

    def __init__(self, session, file):
        self.session, self.file = session, str(file)

    def __getattr__(self, name):
        return getattr(self.session, name)


FILES = {"float32": 24, "int8": 15, "tried": 36}  # reports graded right, of the 30 of test and the 45 of dev


@pytest.mark.slow
def test_onnx(world, monkeypatch, tmp_path):
    pytest.importorskip("onnxruntime")
    from course_utils import export, serve
    from course_utils.experiments import onnx

    open_model, logits = serve.open_model, serve.logits
    monkeypatch.setattr(serve, "open_model", lambda file: Session(open_model(file), file))

    def scripted_logits(session, encodings):
        logits(session, encodings[:2])
        split = "dev" if len(encodings) == 45 else "test"
        truth = runs.frames()[split]["grade"].to_numpy()
        right = next(count for name, count in FILES.items() if name in session.file.rsplit("/", 1)[1])
        return 9.0 * np.eye(5)[np.where(np.arange(len(truth)) < right, truth, (truth + 1) % 5)]

    monkeypatch.setattr(serve, "logits", scripted_logits)
    monkeypatch.setattr(export, "to_onnx", partial(exported_once, export.to_onnx, tmp_path / "first.onnx"))
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    monkeypatch.setattr(costs, "build", small_shape)
    monkeypatch.setitem(onnx.SETTINGS, "without the last block", {"leave_out": ["layer.0."]})
    for name, small in {
        "LABELS": TEN,
        "EPOCHS": 1,
        "LENGTHS": (16,),
        "BATCHES": (1,),
        "SECONDS": 0,
        "FEWEST": 3,
    }.items():
        monkeypatch.setattr(onnx, name, small)
    monkeypatch.setattr(onnx, "FUSED_LENGTHS", (16,))
    monkeypatch.setattr(onnx, "_best_seconds", lambda work: work() is None or 0.5)
    onnx.main()
    shipped = written("onnx_runs")
    check_int8(shipped)
    ways = {"PyTorch eager", "PyTorch compiled", "LoRA unmerged, eager", "LoRA merged, eager"}
    ways |= {"ONNX float32", "ONNX int8", "ONNX uint8"}
    assert [(one["shape"], one["batch"], one["length"]) for one in shipped["latency"]] == [
        ("tiny-biobert", 1, 16),
        ("BioBERT", 1, 16),
    ]
    for one in shipped["latency"]:
        assert set(one["ways"]) == ways and one["turns"] == 3
        assert one["ways"]["PyTorch eager"]["times_eager"] == one["ways"]["ONNX float32"]["times_float32"] == [1, 1, 1]
    assert (
        [one["shape"] for one in shipped["work"]]
        == [one["shape"] for one in shipped["fusion"]]
        == ["tiny-biobert", "BioBERT"]
    )
    for one in shipped["work"]:
        assert set(one["saved_kb"]) == {"ONNX float32", "ONNX int8"}
    for one in shipped["fusion"]:
        (case,) = one["cases"]
        assert set(case["float32"]) == set(case["int8"]) == {"none", "default", "ours", "attention"}
        assert case["float32"]["default"]["times_default"] == [1, 1, 1]


def exported_once(to_onnx, first, model, tokenizer, path):
    """Export the first model; the others have its shape, and none of their answers counts."""
    if not first.exists():
        to_onnx(model, tokenizer, first)
    return shutil.copy(first, Path(path))


def small_shape(shape):
    config = AutoConfig.from_pretrained(paths.bases() / "tiny-biobert", num_labels=5)
    return AutoModelForSequenceClassification.from_config(config)


def check_int8(shipped):
    truth = runs.frames()["test"]["grade"].to_numpy()
    said = {name: np.where(np.arange(30) < FILES[name], truth, (truth + 1) % 5) for name in ("float32", "int8")}
    assert [row["method"] for row in shipped["rows"]] == ["full fine-tuning, ONNX float32", "int8, ONNX"]
    for row, name in zip(shipped["rows"], said, strict=True):
        assert (row["k"], row["n"], row["seeds"]) == (FILES[name], 30, 2)
        assert row["value"] == pytest.approx(macro(truth, said[name]), abs=6e-5)
    told = shipped["int8"]["verdict"]
    assert (told["first"], told["second"]) == ("int8", "float32")
    check_verdict(told, macro(truth, said["int8"]), macro(truth, said["float32"]))
    assert [one["seed"] for one in shipped["int8"]["seeds"]] == [0, 1]
    for one in shipped["int8"]["seeds"]:
        assert (one["flips"], one["only_float32"], one["only_int8"], one["n"]) == (9, 9, 0, 30)
        assert set(one["settings"]) >= {"all layers, a scale a column", "without pooler and head", "unsigned weights"}
        assert len(one["settings"]) == 10
        for tried in one["settings"].values():  # on dev: float32 has 24 of 45 right, "tried" 36
            assert (tried["flips"], tried["only_float32"], tried["only_int8"], tried["n"]) == (12, 0, 12, 45)
