"""Each long run's plan and report once, with models of little width, a few reports and answers that follow a script.

Training is real, if short, so that what would crash crashes here. Answers are scripted: how many are right depends on a
run's settings alone, and the setting that is best on dev is the worst on test. So each number that ships is known beforehand,
and a swapped side, a setting chosen on test or a lost method is seen.
"""

import csv
import gc
import json
import shutil
import zlib
from concurrent.futures import Future
from contextlib import nullcontext
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
    EarlyStoppingCallback,
)

import stored
from course_utils import (
    adapt,
    causal,
    context,
    costs,
    data,
    figures,
    metrics,
    models,
    paths,
    results,
    terms,
    trainer,
    training,
)
from course_utils.experiments import context as context_runs
from course_utils.experiments import costs as cost_runs
from course_utils.experiments import (
    frozen,
    lessons,
    losses,
    methods,
    opt,
    plan,
    practice,
    preparation,
    progress,
    prompts,
    real_costs,
    rivals,
    runs,
    stages,
)
from course_utils.experiments import real as real_runs
from course_utils.generate import bases, further

SHIPPED, TEN = paths.ROOT / "data_samples", 10
ROWS = {"train": 3, "dev": 3, "test": 2}  # of each site and grade
BERT = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 12}
SMALL = {  # of each base: the one that it is like, a width of 16
    "tiny-biobert": (AutoModel, "tiny-biobert", BERT),
    "tiny-plain": (AutoModel, "tiny-biobert", BERT),
    "tiny-biobert-two-sites": (AutoModel, "tiny-biobert", BERT),
    "tiny-opt": (
        AutoModelForCausalLM,
        "tiny-opt",
        {"hidden_size": 16, "word_embed_proj_dim": 16, "num_attention_heads": 2, "ffn_dim": 32, "num_hidden_layers": 1},
    ),
    "tiny-t5": (
        AutoModelForSeq2SeqLM,
        "tiny-t5",
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
    for number, (name, (kind, like, sizes)) in enumerate(SMALL.items()):
        torch.manual_seed(number)
        kind.from_config(AutoConfig.from_pretrained(SHIPPED / "bases" / like, **sizes)).save_pretrained(
            folder / "bases" / name
        )
        AutoTokenizer.from_pretrained(SHIPPED / "bases" / like).save_pretrained(folder / "bases" / name)
    return folder


# The script.


def share(settings, split):
    """The share of right answers of a run with these settings; what is good on dev is bad on test."""
    left_out = ("seed", "test", "lr", "first_lr", "strength")
    about = {key: value for key, value in sorted(settings.items()) if key not in left_out}
    good = (
        zlib.crc32(f"{json.dumps(about)}, fifth script".encode()) % 997 / 997
    )  # no two written prompts are equal in it
    good = (good + 0.6 * np.log10(settings.get("lr", settings.get("strength", 1)))) % 1  # two rates are never alike
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


class Here:
    """Stands in for a pool of processes: does the work at once, here."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future

    def shutdown(self, cancel_futures):
        pass


class World:
    """Stands in for what trains and answers; it knows the run that is being made, and takes down what is asked."""

    def __init__(self, monkeypatch):
        self.now, self.fits, self.kept, self.counting, self.asked, self.heads = {}, [], [], [], [], []
        self.trainers = []
        self.real = SimpleNamespace(
            write=runs._write, fit=training.fit_grader, predict=training.predict, answers=training.fit_answers
        )
        self.real.choose, self.real.counted, self.real.probed = training.choose, methods.counted, methods.probed
        monkeypatch.setattr(runs, "_write", self.write)
        monkeypatch.setattr(runs, "pool", lambda jobs: Here())
        monkeypatch.setattr(runs, "alone", lambda function, *arguments: function(*arguments))
        monkeypatch.setattr(models, "grader", partial(self.grader, models.grader))
        monkeypatch.setattr(trainer, "for_grader", partial(self.for_grader, trainer.for_grader))
        monkeypatch.setattr(training, "fit_grader", self.fit_grader)
        monkeypatch.setattr(training, "predict", self.predict)
        monkeypatch.setattr(training, "fit_answers", self.fit_answers)
        monkeypatch.setattr(training, "choose", self.choose)
        monkeypatch.setattr(methods, "counted", self.counted)
        monkeypatch.setattr(methods, "probed", self.probed)

    def write(self, experiment, settings, stands_on, make):
        self.now, self.least = settings, 0
        self.kept.append(settings)
        return self.real.write(experiment, settings, stands_on, make)

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

    def counted(self, rows, **settings):
        real = self.real.counted(rows, **settings)
        self.counting.append({"run": self.now, "by": "counted", "rows": rows, "settings": settings})
        return lambda others: real(others.head(2)) is None or self.answers(others)

    def probed(self, checkpoint, rows, **settings):
        real, size = self.real.probed(checkpoint, rows, **settings)
        self.counting.append({"run": self.now, "by": "probed", "rows": rows, "settings": settings})
        return lambda others: real(others.head(2)) is None or self.answers(others), size

    def fit_answers(self, model, tokenizer, questions, answers, **more):
        self.least += 1  # of four questions, the one that is learned
        model.least = self.least
        self.fits.append({"run": self.now, "questions": questions, "answers": answers} | more)
        return self.real.answers(model, tokenizer, questions[:4], answers[:4], **more | {"epochs": 1})

    def choose(self, model, tokenizer, questions, choices):
        said = self.real.choose(model, tokenizer, questions[:2], choices)
        if len(questions) == 120:  # every report: what a read-out is fitted to
            return np.tile(said[:1], (120, 1)) + np.linspace(0, 0.1, 120)[:, None]
        rows = next(runs.frames()[part] for part, n in (("dev", 45), ("test", 30)) if n == len(questions))
        assert all(text in question for text, question in zip(rows["text"], questions, strict=True))
        grades = self.answers(rows)
        form = questions[0].replace(rows["text"].iloc[0], "{text}").replace(f"<{rows['eye'].iloc[0]}>", "<{eye}>")
        if len(choices) == 5:
            assert (form, choices) == (self.now.get("form", prompts.ASK), prompts.WORDS[self.now["words"]])
            return np.eye(5)[grades]
        least = prompts.QUESTIONS.index(form) + 1 if form in prompts.QUESTIONS else model.least
        assert choices == ("yes", "no")
        return np.stack([grades >= least, grades < least], axis=1).astype(float)

    def of(self, **settings):
        """The settings of the kept runs that have these."""
        return [one for one in self.kept if settings.items() <= one.items()]


SIZES = {100: 6, 250: 8, 500: 12, 1_000: 30, 5_000: 24, 7_507: 45}


@pytest.fixture
def world(monkeypatch, tmp_path, tmp_path_factory, samples):
    monkeypatch.setenv("COURSE_DATA", str(samples))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "arrow")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(runs, "WORK", tmp_path / "build" / "runs")
    shutil.rmtree(samples / "runs", ignore_errors=True)
    monkeypatch.setattr(runs, "SEEDS", (0, 1))
    for name in ("SHORT", "LONG"):
        monkeypatch.setattr(runs, name, 2)
    small = {
        name: method._replace(tried=method.tried[:2], sizes=tuple(SIZES[size] for size in method.sizes))
        for name, method in methods.METHODS.items()
    }
    monkeypatch.setattr(methods, "METHODS", small)
    for name, value in {"FEW": 6, "MIDDLE": 30, "ALL": 45, "CHOSEN_AT": 30, "BENCHMARK": (12, 24)}.items():
        monkeypatch.setattr(methods, name, value)
    for module in (losses, preparation, prompts):
        monkeypatch.setattr(module, "LABELS", 30)
    monkeypatch.setattr(data, "course_reports", cache(data.course_reports))
    monkeypatch.setattr(gc, "collect", lambda: 0)  # most of the time of a short `Trainer` run
    threads = torch.get_num_threads()
    forget()
    yield World(monkeypatch)
    forget()
    torch.set_num_threads(threads)


def forget():
    """Empty what is remembered of the reports."""
    remembered = (runs.frames, runs.train_rows, opt.texts, preparation.graded, frozen.everything, data.general_english)
    for one in remembered:
        one.cache_clear()


@pytest.fixture
def one_base(monkeypatch):
    for module in (methods, stages):
        monkeypatch.setattr(module, "BASES", ("tiny-biobert",))


def measure(experiment):
    """Make the runs of an experiment and write its file."""
    runs.fulfil(experiment.plan, 2)
    assert not runs.pending(experiment.plan())
    experiment.report()


# What each file must hold.


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
        of_run = [one for one in world.kept if without_base(one).items() <= run.items()]
        settings = max(of_run, key=len)  # the settings of a variant hold those of the raw texts
        assert "predicted" not in run
        assert run["dev"] == pytest.approx(macro(grades, scripted(grades, settings, "dev")), abs=6e-5)


def without_base(settings):
    """A run of no base, or of random weights, is shown beside each base."""
    shared = settings.get("base") == "no base" or settings.get("method") == "random weights"
    return {key: value for key, value in settings.items() if key != "base" or not shared}


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


# The experiments.


@pytest.mark.slow
def test_methods(world):
    measure(methods)
    bench, curve, lora = (results.shipped(name) for name in ("base_benchmark", "full_runs", "lora_runs"))
    chosen = {}
    for line in lora["recipes"]:
        base, method = line["base"], line["method"]
        tried = world.of(base=methods.owner(base, method), method=method, labels=30, seed=0)
        tried = [
            one for one in tried if any(setting.items() <= one.items() for setting in methods.METHODS[method].tried)
        ]
        assert line["tries"] == len(methods.METHODS[method].tried) == len(tried) == 2
        chosen[base, method] = best_on_dev(tried)
        assert line["chosen"].items() <= chosen[base, method].items()
        assert ("lr" in line["at_an_end"]) == ("lr" in line["chosen"])  # of two, both are ends
    bases = ("tiny-biobert", "tiny-plain")
    assert set(chosen) == {("no base", methods.COUNTS)} | {
        (base, method) for base in bases for method in methods.METHODS if method != methods.COUNTS
    }
    for shipped in (bench, curve, lora):
        for row in shipped["rows"]:
            labels = int(row["task"].split(" labels")[0].split(", ")[-1])
            check_row(row, chosen[row["base"], row["method"]] | {"labels": labels})
    check_methods_files(bench, curve, lora, bases)
    for line in bench["verdicts"] + curve["verdicts"] + lora["verdicts"]:
        sides = [line[side].removesuffix(f", {line['labels']} labels") for side in ("first", "second")]
        both = [chosen["no base" if side == methods.COUNTS else line["base"], side] for side in sides]
        check_verdict(line, *(value(one | {"labels": line["labels"]}) for one in both))
    check_shipped_runs(world, lora["tried"], lora["tested"], lora["swept"], curve["runs"])
    check_seeds_draw(world)
    check_method_fits(world)


def check_methods_files(bench, curve, lora, bases):
    """Each file has its methods at its sizes, with every seed, and word counts once."""
    of_base = {method: some.sizes for method, some in methods.METHODS.items() if method != methods.COUNTS}
    every = {
        (base, method, n, seed) for base in bases for method, some in of_base.items() for n in some for seed in (0, 1)
    }
    every |= {("no base", methods.COUNTS, n, seed) for n in SIZES.values() for seed in (0, 1)}
    assert {(run["base"], run["method"], run["labels"], run["seed"]) for run in curve["runs"]} == every
    names = (methods.PROBE, "random weights", "full fine-tuning")
    expected = {(base, name, n) for base in bases for name in names for n in (12, 24)}
    expected |= {("no base", methods.COUNTS, n) for n in (12, 24)}
    assert {(run["base"], run["method"], run["labels"]) for run in bench["runs"]} == expected
    assert {(row["base"], row["method"]) for row in lora["rows"]} == {(b, m) for b in bases for m in methods.ADAPTED}
    assert curve["epochs"] == {str(n): runs.epochs(n) for n in methods.METHODS["full fine-tuning"].sizes}
    swept = {(run["base"], run["varied"], run[run["varied"]], run["seed"]) for run in lora["swept"]}
    wanted = {(what, one, seed) for what, some in methods.VARIED.items() for one in some for seed in (0, 1)}
    assert swept == {("tiny-biobert", *one) for one in wanted}
    centre = next(line["chosen"] for line in lora["recipes"] if line["method"] == "LoRA")
    for run in lora["swept"]:
        assert {what for what, usual in centre.items() if run[what] != usual} <= {run["varied"]}


def check_method_fits(world):
    """Each training has the recipe's rate, the rule's epochs, its labels, and what its method trains."""
    for fit in world.fits:
        run = fit["run"]
        assert (fit["lr"], fit["epochs"], len(fit["rows"])) == (run["lr"], runs.epochs(run["labels"]), run["labels"])
    for run, settings in ((one["run"], one["settings"]) for one in world.counting):
        assert settings.items() <= run.items()
    of_base = [fit for fit in world.fits if fit["run"]["base"] == "tiny-plain"]
    trained = {fit["run"]["method"]: frozenset(fit["trained"]) for fit in of_base}
    assert len(set(trained.values())) == len(trained) == 6
    assert not world.of(base="tiny-plain", method="random weights")  # it is tiny-biobert's network


def test_what_is_tried_on_one_size_serves_at_every_size(world, one_base):
    assert all(len(set(map(json.dumps, method.tried))) == 2 for method in methods.METHODS.values())
    waiting = methods.tested("tiny-biobert", "LoRA", 6)
    assert all(task.waits for task in waiting) and not any(task.waits for task in methods.tries("tiny-biobert", "LoRA"))
    for task in methods.tries("tiny-biobert", "LoRA"):
        runs.make(task)
    rates = {task.settings["lr"] for n in (6, 30, 45) for task in methods.tested("tiny-biobert", "LoRA", n)}
    assert len(rates) == 1 and None not in rates


def test_rivals(world, monkeypatch):
    small = {name: rival._replace(tried=rival.tried[:2], sizes=(12, 24)) for name, rival in rivals.RIVALS.items()}
    monkeypatch.setattr(rivals, "RIVALS", small)
    asked = []

    def fitted(name, *arguments, **setting):
        asked.append((world.now, arguments[:-2], len(arguments[-2]), arguments[-1], setting))
        return world.answers

    monkeypatch.setattr(rivals, "FITTED", {name: partial(fitted, name) for name in small})
    measure(rivals)
    shipped = results.shipped("rivals")
    picked = {}
    for line in shipped["recipes"]:
        tried = world.of(base=line["base"], method=line["method"], labels=30, seed=0)
        assert len(tried) == 2
        picked[line["base"], line["method"]] = best_on_dev(tried)
        assert line["chosen"].items() <= picked[line["base"], line["method"]].items()
    bases = ("tiny-biobert", "tiny-plain")
    assert set(picked) == {("no base", name) for name in rivals.WORDS_ALONE} | {
        (base, name) for base in bases for name in (rivals.SETFIT, rivals.DISTILLED)
    }
    assert len(shipped["rows"]) == 2 * len(picked)
    for row in shipped["rows"]:
        labels = int(row["task"].split(" labels")[0].split(", ")[-1])
        check_row(row, picked[row["base"], row["method"]] | {"labels": labels})
    check_rivals_verdicts(world, shipped["verdicts"], picked)
    for run, on, labels, seed, setting in asked:
        assert (labels, seed) == (run["labels"], run["seed"]) and setting.items() <= run.items()
        assert on == (() if run["base"] == "no base" else (str(paths.bases() / run["base"]),))


def check_rivals_verdicts(world, verdicts, picked):
    """Each rival is compared with word counts and with full fine-tuning, beside each base."""
    assert len(verdicts) == 2 * 2 * 2 * 4  # sizes, what it is compared with, bases, rivals
    for line in verdicts:
        base, labels = line["base"], line["labels"]
        name = line["first"].removesuffix(f", {labels} labels")
        owner = "no base" if name in rivals.WORDS_ALONE else base
        other = "no base" if line["against"] == methods.COUNTS else base
        against = best_on_dev(world.of(base=other, method=line["against"], labels=30, seed=0))
        sides = (picked[owner, name], against)
        check_verdict(line, *(value(one | {"labels": labels}) for one in sides))


RIVAL_LIBRARIES = {
    rivals.FASTTEXT: "fasttext",
    rivals.BOOSTED: "lightgbm",
    rivals.SETFIT: "setfit",
    rivals.DISTILLED: "skeletoken",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIVAL_LIBRARIES)
def test_a_rival_reads_the_words(world, name):
    pytest.importorskip(RIVAL_LIBRARIES[name], reason="the extra `rivals` is not installed")
    words = {0: "all clear", 1: "one bulge", 2: "many spots", 3: "beaded veins", 4: "new vessels"}
    rows = pd.DataFrame({"eye": "left", "grade": list(words) * 30, "text": list(words.values()) * 30})
    on = [] if name in rivals.WORDS_ALONE else [runs.checkpoint("tiny-biobert")]
    answer = rivals.FITTED[name](*on, rows, 0, **rivals.RIVALS[name].tried[-1])
    assert answer(rows.head(5)).tolist() == list(words)
    assert answer(rows.iloc[[3, 0]]).tolist() == [3, 0]


MEASURES = {
    "macro F1": macro,
    "kappa": lambda y, p: cohen_kappa_score(y, p, labels=range(5), weights="quadratic"),
    "MAE": mean_absolute_error,
    "sensitivity, grade 2 or more": lambda y, p: recall_score(y >= 2, p >= 2),
    "specificity, grade 2 or more": lambda y, p: recall_score(y < 2, p < 2),
    "share right": accuracy_score,
}


def test_losses(world):
    measure(losses)
    shipped = results.shipped("loss_runs")
    names, bases = ("cross-entropy", "class weights", "ordinal loss"), ("tiny-biobert", "tiny-plain")
    assert {base: set(some) for base, some in shipped["scores"].items()} == dict.fromkeys(bases, set(names))
    chosen = {}
    for base in bases:
        for loss in names:
            own = {"method": "full fine-tuning"} if loss == "cross-entropy" else {"loss": loss}
            tried = [run for run in shipped["tried"] if (run["base"], run["loss"]) == (base, loss)]
            assert [(run["lr"], run["seed"]) for run in tried] == [(1e-4, 0), (3e-4, 0)]
            chosen[base, loss] = best_on_dev(world.of(base=base, seed=0, labels=30, **own))
            for measure_, (middle, low, high) in shipped["scores"][base][loss].items():
                assert middle == pytest.approx(value(chosen[base, loss], metric=MEASURES[measure_]))
                assert low <= middle <= high
    told = [(line["base"], line["first"], line["second"], line["measure"]) for line in shipped["verdicts"]]
    measures = ("macro F1", "kappa", "MAE", "sensitivity, grade 2 or more", "specificity, grade 2 or more")
    assert told == [(base, loss, "cross-entropy", one) for base in bases for loss in names[1:] for one in measures]
    for line in shipped["verdicts"]:
        metric = MEASURES[line["measure"]]
        check_verdict(line, *(value(chosen[line["base"], line[side]], metric=metric) for side in ("first", "second")))
    assert (shipped["labels"], shipped["n"], shipped["seeds"]) == (30, 30, 2)
    assert [(run["base"], run["loss"], run["seed"]) for run in shipped["tested"]] == [
        (base, loss, seed) for base in bases for loss in names for seed in range(2)
    ]
    for base in bases:
        for loss in names:
            its = [run for run in shipped["tested"] if (run["base"], run["loss"]) == (base, loss)]
            for measure_ in measures:
                mean = np.mean([run[measure_] for run in its])
                assert mean == pytest.approx(value(chosen[base, loss], metric=MEASURES[measure_]))
    check_seeds_draw(world)
    for fit in world.fits:
        expected = {"class weights": (True, False), "ordinal loss": (False, True)}
        assert ("class_weights" in fit, "loss" in fit) == expected.get(fit["run"].get("loss"), (False, False))
        assert (fit["lr"], fit["epochs"]) == (fit["run"]["lr"], runs.epochs(30))


@pytest.mark.slow
def test_preparation(world):
    measure(preparation)
    shipped = results.shipped("preparation_runs")
    steps = ["raw, twice", "normalised", "English cues", "augmented", "marked", "all"]
    variants = ["raw", *steps, "normalised, then augmented", "augmented, then normalised"]
    tuned, counts = "full fine-tuning", "TF-IDF + logistic regression"
    named = [("tiny-biobert", tuned, v) for v in variants] + [("tiny-plain", tuned, v) for v in variants[:-2]]
    named += [("no base", counts, v) for v in variants if v != "raw, twice"]
    assert [(row["base"], row["method"]) for row in shipped["rows"]] == [(b, f"{m}, {v}") for b, m, v in named]

    def settings(base, method, variant):
        own = {"base": base, "method": method, "labels": 30}
        if variant == "raw":
            tried = [one for one in world.of(**own, seed=0) if "variant" not in one]
            return max(tried, key=lambda one: share(one, "dev"))
        return world.of(**own, variant=variant)[0]

    for row, key in zip(shipped["rows"], named, strict=True):
        check_row(row, settings(*key))
    assert {(r["base"], r["method"], r["variant"], r["seed"]) for r in shipped["tested"]} == {
        (*key, seed) for key in named for seed in (0, 1)
    }
    check_shipped_runs(world, shipped["tested"])
    for line in shipped["verdicts"]:
        sides = [settings(line["base"], line["method"], line[side]) for side in ("first", "second")]
        check_verdict(line, *map(value, sides))
    by = {base: sum(line["base"] == base for line in shipped["verdicts"]) for base, _, _ in named}
    assert by == {"tiny-biobert": 17, "tiny-plain": 12, "no base": 12}
    check_prepared_texts(world)
    assert [one["seed"] for one in shipped["orders"]] == [0, 1]


def check_prepared_texts(world):
    """Each variant trains on its own texts, for its epochs, and reads dev and test in the same way."""
    fits = [fit for fit in world.fits if fit["run"]["base"] == "tiny-biobert" and fit["seed"] == 1]
    by = {fit["run"].get("variant", "raw"): fit for fit in fits}
    texts = {variant: list(fit["rows"]["text"]) for variant, fit in by.items()}
    raw = list(runs.train_rows(30, 1)["text"])
    assert texts["raw"] == texts["raw, twice"] == raw
    rule = runs.epochs(30)
    assert {variant: fit["epochs"] // rule for variant, fit in by.items() if fit["epochs"] != rule} == {"raw, twice": 2}
    assert texts["normalised"] == [terms.normalise(text) for text in raw] != raw
    assert texts["augmented"][:30] == raw and len(texts["augmented"]) > 30
    both = texts["normalised, then augmented"]
    assert both[:30] == texts["normalised"] and any(text != terms.normalise(text) for text in both[30:])
    assert texts["augmented, then normalised"] == [terms.normalise(text) for text in texts["augmented"]]
    assert texts["marked"] != texts["English cues"] and len(texts["all"]) > 30
    for variant in set(by) - {"raw"}:
        asked = [rows for run, rows in world.asked if run.get("variant") == variant][:2]
        assert [rows["split"].iloc[0] for rows in asked] == ["dev", "test"]
        assert [len(rows) for rows in asked] == [45, 30]
        if "augmented" not in variant and variant != "all":
            change = preparation.VARIANTS[variant][1]
            assert list(asked[1]["text"]) == list(change(runs.frames()["test"], 0)["text"])
    check_seeds_draw(world)


@pytest.mark.slow
def test_stages(world, monkeypatch):
    monkeypatch.setattr(stages, "FIRST", 12)
    monkeypatch.setattr(stages, "SECOND", 8)
    monkeypatch.setattr(
        stages,
        "FROM_BASE",
        {m: (part, n) for (m, (part, _)), n in zip(stages.FROM_BASE.items(), (12, 20, 8), strict=True)},
    )
    cut_rates = {name: (*some[:2], some[2][:2], some[3]) for name, some in stages.SECOND_STAGES.items()}
    monkeypatch.setattr(stages, "SECOND_STAGES", cut_rates)
    measure(stages)
    shipped, chosen = results.shipped("stage_runs"), {}
    site = runs.frames()["test"]["site"].to_numpy()
    places = {"the new site": site == "delta", "the first sites": site != "delta"}
    first_alone = {"two stages, LoRA on layer 12", "two stages, LoRA on all layers"}
    first_alone |= {"stage 1, trained longer", "new site alone"}
    for base in ("tiny-biobert", "tiny-plain", "tiny-biobert-two-sites"):
        own = [row["method"] for row in shipped["rows"] if row["base"] == base]
        assert set(own) == set(stages.order("tiny-biobert")) - (first_alone if base != "tiny-biobert" else set())
        for method in own:
            name = "no base" if method == methods.COUNTS else base
            made = [one for one in world.of(base=name, method=method, seed=0) if "labels" not in one]
            chosen[base, method] = stage_best(made) if method in stages.SECOND_STAGES else made[0]
            if method in stages.SECOND_STAGES:
                tried = [run for run in shipped["tried"] if (run["base"], run["method"]) == (base, method)]
                assert [(run["lr"], run["seed"]) for run in tried] == [(lr, 0) for lr in cut_rates[method][2]]
    for row in shipped["rows"]:
        where = places[row["task"].removeprefix("DR grade, test, ")]
        check_row(row, chosen[row["base"], row["method"]], where=where)
    for line in shipped["verdicts"]:
        sides = [chosen[line["base"], line[side]] for side in ("first", "second")]
        check_verdict(line, *(value(side, where=places[line["where"]]) for side in sides))
    check_shipped_runs(world, shipped["tried"], shipped["tested"], sites=["delta"])
    one = next(run for run in shipped["tested"] if run["method"] == stages.STAGE_1 and run["seed"] == 1)
    said = scripted(runs.frames()["test"]["grade"], chosen[one["base"], one["method"]] | {"seed": 1}, "test")
    truth = runs.frames()["test"]["grade"].to_numpy()
    assert one["by_place"] == {place: pytest.approx(macro(truth[rows], said[rows])) for place, rows in places.items()}
    check_stage_fits(world)
    counted = {
        (one["run"]["method"], one["by"], len(one["rows"])) for one in world.counting if "labels" not in one["run"]
    }
    assert counted == {(methods.COUNTS, "counted", 20), (methods.PROBE, "probed", 20)}


def stage_best(tried):
    """The best rate on the new site's dev rows by the script."""
    dev = runs.frames()["dev"]
    grades = dev.loc[dev["site"] == "delta", "grade"]
    scores = [macro(grades, scripted(grades, one, "dev")) for one in tried]
    assert len(scores) == 2 and scores[0] != scores[1]
    best = tried[int(np.argmax(scores))]
    assert value(best) == min(map(value, tried))
    return best


def check_stage_fits(world):
    """Each stage trains what it should on the labels that it should, from the model of stage 1 with its seed."""
    layers = {"LoRA on layers 11-12": {0, 1}, "LoRA on layer 12": {1}, "LoRA on all layers": set(range(12))}
    for fit in [fit for fit in world.fits if "labels" not in fit["run"]]:
        method, sites, count = fit["run"]["method"], set(fit["rows"]["site"]), len(fit["rows"])
        if method in ("stage 1 alone", "stage 1, trained longer"):
            assert "delta" not in sites and count == 12
        elif method == "one stage on everything":
            assert len(sites) == 3 and count == 20
        else:
            assert sites == {"delta"} and count == 8
        adapted = {int(name.split(".layer.")[1].split(".")[0]) for name in fit["trained"] if "lora_A" in name}
        assert adapted == layers.get(method.removeprefix("two stages, "), set())  # of two blocks on cached states
        frozen_below = adapted or method.endswith("head alone")
        assert any("word_embeddings" in name for name in fit["trained"]) != bool(frozen_below)
        assert any("classifier" in name for name in fit["trained"])
        if method.endswith("head alone"):
            assert fit["trained"] == {"classifier.weight", "classifier.bias"}
        assert fit["epochs"] == (1 if method == "stage 1, trained longer" else runs.epochs(count))
        assert fit["lr"] == fit["run"]["lr"] and fit["seed"] == fit["run"]["seed"]
    recipe = methods.recipe("tiny-plain", "full fine-tuning")["lr"]
    made = world.of(base="tiny-plain")
    assert {one["first_lr"] for one in made if "first_lr" in one} == {recipe}
    assert {one["lr"] for one in made if one["method"] in stages.FROM_BASE} == {recipe}


def test_stage_1_s_model_is_made_again_where_it_was_lost(world, monkeypatch, one_base):
    monkeypatch.setattr(stages, "FIRST", 12)
    folder = stages.stage_1("tiny-biobert", 0, 1e-3)
    assert folder.exists() and len(world.fits) == 1
    assert stages.stage_1("tiny-biobert", 0, 1e-3) == folder and len(world.fits) == 1
    shutil.rmtree(folder)
    assert stages.stage_1("tiny-biobert", 0, 1e-3) == folder and len(world.fits) == 2
    assert stages.stage_1_folder("tiny-biobert", 1, 1e-3) != folder != stages.stage_1_folder("tiny-biobert", 0, 3e-3)


def test_a_model_of_stage_1_that_is_there_stays_for_those_who_read_it(tmp_path):
    class Saves:
        def save_pretrained(self, folder):
            Path(folder).mkdir(exist_ok=True)
            (Path(folder) / "file").write_text("new", encoding="utf-8")

    folder = tmp_path / "runs" / "one"
    stages.leave(Saves(), Saves(), folder)
    (folder / "file").write_text("old", encoding="utf-8")
    stages.leave(Saves(), Saves(), folder)
    assert (folder / "file").read_text(encoding="utf-8") == "old"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_file_that_lacks_its_base_is_not_written_and_the_others_go_on(world, monkeypatch, capsys):
    monkeypatch.setattr(runs, "present", lambda bases: [name for name in bases if name == "tiny-biobert"])
    assert prompts.plan() == [] and not [one for one in practice.plan() if "collator" in one.settings]
    for written_before in paths.shipped_results().glob("pr*_runs.json"):
        written_before.unlink()
    prompts.report()
    practice.report()
    said = capsys.readouterr().out
    assert "prompt_runs: not written, for there is no base model tiny-t5 yet." in said
    assert "practice_runs: not written, for there is no base model tiny-opt yet." in said
    assert not list(paths.shipped_results().glob("pr*_runs.json"))


def test_each_run_names_its_base_so_that_another_base_leaves_it(world):
    assert all(task.settings["base"] for task in lessons.plan())


@pytest.mark.slow
def test_prompts(world, monkeypatch):
    monkeypatch.setattr(prompts, "LONG", (20, 2, prompts.LONG[2]))
    monkeypatch.setattr(prompts, "TRIED", {name: some[:2] for name, some in prompts.TRIED.items()})
    few = {what: some[:2] for what, some in prompts.VARIED.items()} | {"init": prompts.VARIED["init"]}
    monkeypatch.setattr(prompts, "VARIED", few)
    measure(prompts)
    shipped, chosen = results.shipped("prompt_runs"), {}
    for method, rates in prompts.TRIED.items():
        tried = [run for run in shipped["tried"] if run["method"] == method]
        assert [(run["lr"], run["seed"]) for run in tried] == [(lr, 0) for lr in rates]
        wanted = {"method": method, "seed": 0, "labels": 30} | prompts.settings_of(method)
        chosen[method] = best_on_dev([one for one in world.of(**wanted) if one["lr"] in rates])
        tested = [run for run in shipped["tested"] if (run["name"], run.get("labels")) == (method, 30)]
        assert [(run["lr"], run["seed"]) for run in tested] == [(chosen[method]["lr"], seed) for seed in (0, 1)]
    in_words = [run for run in shipped["tried"] if run["method"] == "text prompt"]
    assert {(run["form"], run["words"]) for run in in_words} == set(prompts.WRITTEN)
    chosen["text prompt"] = best_on_dev(world.of(method="text prompt"))
    for name in ("text prompt, four questions", *(f"untuned prompt, {init}" for init in prompts.UNTUNED)):
        chosen[name] = world.of(method=name)[0]
    chosen["prompt tuning, 50 rows"] = world.of(method="prompt tuning", labels=20)[0]
    assert chosen["prompt tuning, 50 rows"]["lr"] == chosen["prompt tuning"]["lr"]
    by_name = {row["method"]: row for row in shipped["rows"]}
    for name, settings in chosen.items():
        check_row(by_name[name], settings, range(by_name[name]["seeds"]))
    alone = {"text prompt", "text prompt, four questions", "untuned prompt, text", "majority class"}
    assert {name for name, row in by_name.items() if row["seeds"] == 1} == alone
    for line in shipped["verdicts"]:
        sides = [line[side].removesuffix(" labels").rpartition(", ") for side in ("first", "second")]
        names = [
            name if n.isdigit() else line[side] for (name, _, n), side in zip(sides, ("first", "second"), strict=True)
        ]
        check_verdict(line, *(by_name[name]["value"] for name in names))
    swept = {(run["varied"], run[run["varied"]], run["seed"]) for run in shipped["swept"]}
    assert swept == {(what, one, seed) for what, some in prompts.VARIED.items() for one in some for seed in (0, 1)}
    check_prompt_fits(world)
    for name in prompts.READ_OUTS:
        of_name = [run for run in shipped["tested"] if run["name"] == name]
        tried = runs.needed(prompts.strengths(name))
        assert len(tried) == 4 and {run["strength"] for run in of_name} == {runs.best(tried)["strength"]}


def check_prompt_fits(world):
    four = [fit for fit in world.fits if "four questions" in fit["run"]["method"]]
    for seed in (0, 1):
        said = [fit["answers"] for fit in four if fit["run"]["seed"] == seed]
        grades = runs.train_rows(30, seed)["grade"]
        wanted = [["yes" if grade >= least else "no" for grade in grades] for least in (1, 2, 3, 4)]
        assert said == wanted * (len(said) // 4)
    for fit in world.fits:
        settings = fit["run"]
        rows = runs.train_rows(settings["labels"], settings["seed"])
        assert all(text in question for text, question in zip(rows["text"], fit["questions"], strict=True))
        assert (fit["lr"], fit["seed"], fit["epochs"]) == (settings["lr"], settings["seed"], settings["epochs"])
        if fit not in four:
            assert fit["answers"] == [prompts.WORDS[settings["words"]][grade] for grade in rows["grade"]]


def test_a_threshold_lies_where_most_answers_are_as_wanted():
    odds = np.array([-2.0, -1.0, 0.5, 3.0])
    assert prompts.best_threshold(odds, np.array([False, True, True, True])) == -1.5
    assert prompts.best_threshold(odds, np.array([False, False, False, False])) == 4
    assert prompts.best_threshold(odds, np.array([True, True, True, True])) == -3


def test_the_state_that_answers_is_the_one_that_choose_reads(world):
    model, tokenizer = prompts.load()
    state = torch.tensor(prompts.states(True))
    words = list(prompts.WORDS["findings"])
    first = [ids[0] for ids in tokenizer(text_target=words, add_special_tokens=False)["input_ids"]]
    with torch.inference_mode():
        scaled = state * model.config.d_model**-0.5 if model.config.tie_word_embeddings else state
        chances = model.lm_head(scaled)[:, first].softmax(-1)
    asked = prompts.asked(frozen.everything())
    wanted = world.real.choose(model, tokenizer, asked, words)
    assert np.allclose(chances.numpy(), wanted, atol=1e-5)


def test_costs(world, monkeypatch):
    monkeypatch.setattr(costs, "apart", lambda task, **settings: {"step_ms": 1.0, "shape": settings["shape"]})
    monkeypatch.setattr(cost_runs, "ROUNDS", 2)
    cost_runs.main()
    shipped = results.shipped("cost_runs")
    shapes, methods = ("tiny-biobert", "BERT 192", "BERT 384", "BioBERT"), ("full fine-tuning", "LoRA", "last layers")
    measured = {(run["shape"], run["method"], run["round"]) for run in shipped["training"]}
    assert measured == {(shape, method, number) for shape in shapes for method in methods for number in (0, 1)}
    assert len(shipped["training"]) == 24
    assert sorted((run["shape"], run["round"]) for run in shipped["latency"]) == sorted(
        (shape, number) for shape in shapes for number in (0, 1)
    )
    assert all({"batch": 8, "length": 128}.items() <= run.items() for run in shipped["training"])
    assert all({"batch": 1, "length": 128}.items() <= run.items() for run in shipped["latency"])
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


REAL_NOTEBOOK = "05_take_it_to_a_real_model"  # which shows what is measured on a real base


@pytest.fixture
def real_base(world, monkeypatch, tmp_path, samples):
    """A small encoder with dropout in the place of the real one, and a few definitions of WordNet."""
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "real"))
    folder, like = tmp_path / "real" / real_runs.BASE, samples / "bases" / "tiny-biobert"
    config = AutoConfig.from_pretrained(like, num_hidden_layers=3, hidden_dropout_prob=0.1)
    torch.manual_seed(9)
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    few = {split: rows.groupby("grade").head(9).reset_index(drop=True) for split, rows in real_runs.defined().items()}
    monkeypatch.setattr(real_runs, "defined", lambda: few)
    monkeypatch.setattr(real_runs, "TRIED", {name: tried[:2] for name, tried in real_runs.TRIED.items()})
    monkeypatch.setattr(real_runs, "SIZES", (6, 12, 30, 24))
    monkeypatch.setattr(real_runs, "AFTER", {methods.PROBE: (6, 30), methods.FULL: (12,)})
    monkeypatch.setattr(real_runs, "STEPS", (1, 2))
    sizes = {100: 6, 500: 12, methods.MIDDLE: 30, 1_000: 30, 5_000: 24}
    for name in ("LESSONS", "ALONE"):
        small = {
            says: tuple(
                one._replace(labels=sizes[one.labels]) if isinstance(one, real_runs.Side) else one for one in sides
            )
            for says, sides in getattr(real_runs, name).items()
        }
        monkeypatch.setattr(real_runs, name, small)
    monkeypatch.setattr(further, "WORK", tmp_path / "build" / "further")
    monkeypatch.setattr(bases, "CHUNK", 2)

    def fitted(checkpoint, rows, seed, **setting):
        run = world.now
        assert (checkpoint, len(rows), seed) == (str(folder), run["labels"], run["seed"])
        assert setting.items() <= run.items() and set(rows["text"]) <= set(real_runs.everything(run["text"])["text"])
        return world.answers

    monkeypatch.setattr(rivals, "FITTED", dict.fromkeys((rivals.SETFIT, rivals.DISTILLED), fitted))
    return folder


def test_real(world, real_base):
    with pytest.raises(FileNotFoundError, match="make results-real"):
        real_runs.checkpoint(1)
    measure(real_runs)
    shipped = results.shipped("real")
    picked = {}
    for line in shipped["recipes"]:
        key = {} if (line["text"], line["method"]) == (real_runs.REPORTS, methods.COUNTS) else {"text": line["text"]}
        tried = [one for one in world.of(method=line["method"], labels=30, seed=0, **key) if "steps" not in one]
        tried = [one for one in tried if key or "text" not in one]
        of_text = real_runs.splits(line["text"])["dev"]
        scores = {json.dumps(one): macro(of_text["grade"], scripted(of_text["grade"], one, "dev")) for one in tried}
        assert len(scores) == 2 and len(set(scores.values())) == 2
        picked[line["text"], line["method"]] = json.loads(max(scores, key=scores.get))
        assert line["chosen"].items() <= picked[line["text"], line["method"]].items()
    check_real_rows(shipped, picked)
    check_real_fits(world)
    check_real_lessons(shipped)
    assert [(line["steps"], line["before"] > 0) for line in shipped["pretrained"]] == [(1, True), (2, True)]
    cells = ("further", "long", "verdicts", "lessons")
    texts = stored.printed_by(
        REAL_NOTEBOOK, *cells, np=np, pd=pd, figures=figures, metrics=metrics, results=results, ENCODER=real_base
    )
    assert texts["further"].count("steps further: loss of masked words") == 2 and "Figure: " in texts["long"]
    assert texts["verdicts"].count(real_runs.DEFINITIONS) == 7 * 4
    assert texts["lessons"].count("our bases: not asked") == len(real_runs.asked())
    sides = {(line["text"], line["first"], line["second"]) for line in shipped["verdicts"]}
    assert (real_runs.DEFINITIONS, "LoRA, 30 labels", f"{methods.FULL}, 30 labels") in sides
    for other in (methods.FULL, methods.COUNTS):
        assert (real_runs.REPORTS, f"{methods.FULL}, 12 labels, 2 steps further", f"{other}, 12 labels") in sides
    assert texts["further"].count("our own bases took 11,500 steps") == 2


def check_real_rows(shipped, picked):
    """Each row has the value that the script gives the recipe on the test rows of its own text."""
    assert len(shipped["rows"]) == 2 * 7 * 4 + 2 * 3
    for row in shipped["rows"]:
        text, _, labels = row["task"].split(", ", 2)
        steps = int(row["base"].split(", ")[1].split()[0]) if "further" in row["base"] else 0
        if steps and row["method"] == methods.PROBE:
            continue  # its setting is chosen anew
        settings = (
            picked[text, row["method"]] | {"labels": int(labels.split()[0])} | ({"steps": steps} if steps else {})
        )
        truth = real_runs.splits(text)["test"]["grade"].to_numpy()
        said = [scripted(truth, settings | {"seed": seed}, "test") for seed in (0, 1)]
        assert row["value"] == pytest.approx(np.mean([macro(truth, one) for one in said]), abs=6e-5)
        assert (row["n"], row["seeds"]) == (len(truth), 2)


def check_real_lessons(shipped):
    """Each lesson is judged on both texts, by the rule; its difference is that of the rows, and of a try for an inherited rate."""
    values = {
        (row["task"], row["method"]): row["value"] for row in shipped["rows"] if "further" not in row.get("base", "")
    }
    lines = {(line["lesson"], line["text"]): line for line in shipped["lessons"]}
    assert len(lines) == len(shipped["lessons"]) == 2 * len(real_runs.asked())
    for (says, text), line in lines.items():
        claim, first, second = real_runs.asked()[says]
        assert line["verdict"] == lessons.verdict(claim, metrics.Interval(*line["difference"]))
        assert line["seeds"] == [2, 1 if second.inherited else 2]
        one, other = (values[f"{text}, test, {side.labels:,} labels", side.method] for side in (first, second))
        if not second.inherited:
            assert line["difference"][0] == pytest.approx(one - other, abs=6e-5)
    own = {lesson.says for lesson in lessons.LESSONS}
    assert set(real_runs.LESSONS) <= own and not set(real_runs.ALONE) & own


def check_real_fits(world):
    """Each training has the labels, the rate and the rule's epochs of its run, and rows of its own text."""
    texts = {text: set(real_runs.everything(text)["text"]) for text in real_runs.TEXTS}
    for fit in world.fits:
        run = fit["run"]
        assert (fit["lr"], fit["epochs"], len(fit["rows"])) == (run["lr"], runs.epochs(run["labels"]), run["labels"])
        assert set(fit["rows"]["text"]) <= texts[run["text"]] and fit["seed"] == run["seed"]
    trained = {fit["run"]["method"]: frozenset(fit["trained"]) for fit in world.fits}
    assert len(set(trained.values())) == len(trained) == 3
    known = [one for one in world.counting if one["by"] == "probed"]
    assert {one["run"].get("steps", 0) for one in known} == {0, 1, 2}


@pytest.fixture
def costs_here(monkeypatch):
    """Time an epoch here, and stand in for what is measured apart."""
    asked = []

    def apart(task, module, **settings):
        asked.append((task, settings))
        if task == "epoch":
            return real_costs.epoch(**settings)
        ms = 3.0 if settings.get("method") == "LoRA" else 5.0
        return {"rate": 0.1, "latency": {"plain": 2.0, "unmerged": 3.0, "unmerged_all": 4.0, "merged": 2.0}}.get(
            task, {"step_ms": ms, "saved_mb": 1.0, "before_mb": 1.0, "peak_mb": 9.0} | settings
        )

    monkeypatch.setattr(costs, "apart", apart)
    for name, small in {"LABELS": 30, "SAMPLE": 12, "TURNS": 2, "EPOCHS": 1}.items():
        monkeypatch.setattr(real_costs, name, small)
    ways = {way: settings | {"pad_to": settings["pad_to"] and 192} for way, settings in real_costs.WAYS.items()}
    monkeypatch.setattr(real_costs, "WAYS", ways)
    return asked


@pytest.mark.slow
def test_real_costs(world, real_base, costs_here):
    for name in ("cost_runs", "practice_runs", "onnx_runs"):  # another test's
        (paths.shipped_results() / f"{name}.json").unlink(missing_ok=True)
    measure(real_costs)
    shipped = results.shipped("real_costs")
    for way in real_costs.WHOLE:
        fits = [one for one in world.trainers if one["run"].get("way") == way and "seed" in one["run"]]
        assert [(len(one["rows"]), one["seed"]) for one in fits] == [(30, 0), (30, 1)]
        wanted = real_costs.WHOLE[way]["learning_rate"] or real_runs.recipe(real_runs.REPORTS, methods.FULL)["lr"]
        assert {one["learning_rate"] for one in fits} == {wanted}
    rows = {row["method"]: row for row in shipped["rows"]}
    for way in real_costs.WHOLE:
        run = next(one for one in world.of(way=way) if one.get("seed") == 0)
        check_row(rows[f"{methods.FULL}, {way}"], {key: value for key, value in run.items() if key != "seed"})
    assert "seconds" in rows[f"{methods.FULL}, ours"] and "seconds" not in rows[f"{methods.FULL}, ours, int8"]
    in_int8 = [one["onnx"] for one in runs.needed(real_costs.whole_tasks("ours"))]
    flips = [sum(a != b for a, b in zip(one["float32"], one["int8"], strict=True)) for one in in_int8]
    assert shipped["told"]["int8"]["flips"] == flips and all(len(one["int8"]) == 30 for one in in_int8)
    assert shipped["told"]["int8"]["mb"]["int8"] < shipped["told"]["int8"]["mb"]["float32"]
    on_two = [one for one in shipped["speed"] if one["threads"] == 2]
    assert [(one["turn"], one["way"]) for one in on_two] == [(turn, way) for turn in (0, 1) for way in real_costs.WAYS]
    by_way = {one["way"]: one for one in on_two}
    assert {one["tokens"] for one in on_two} == {by_way[real_costs.RECIPE]["tokens"]}
    assert by_way[real_costs.RECIPE]["computed"] == 12 * 192 > by_way["filled up to a batch's longest"]["computed"]
    assert all(one["tflop"] >= one["needed_tflop"] > 0 and one["wall_s"] > 0 for one in on_two)
    assert [one["way"] for one in shipped["speed"] if one["threads"] == 1] == [*real_costs.ON_EACH] * 2
    assert [len(shipped[name]) for name in ("steps", "latency")] == [2 * 2 * 3, 2]
    check_lessons_of_cost(shipped, on_two)
    known = {"np": np, "pd": pd, "metrics": metrics, "results": results}
    texts = stored.printed_by(REAL_NOTEBOOK, "costs-long", "speed", **known)
    assert "LoRA unmerged: 1.50 [1.50, 1.50]" in texts["costs-long"] and "aim, 4 times the recipe" in texts["speed"]
    assert f"{real_costs.UNMERGED}\n   our sizes: not measured\n" in texts["costs-long"]
    assert f"   {real_runs.BASE}: holds, 1.500 [1.500, 1.500] times, 2 turns\n" in texts["costs-long"]
    assert texts["costs-long"].count("   our sizes: ") == len(real_costs.CLAIMS) + 1
    assert texts["speed"].count("two threads are") == len(real_costs.ON_EACH)


def check_lessons_of_cost(shipped, on_two):
    """Each lesson of cost is judged by the numbers of its own file; our own sizes were not measured in this world."""
    told = {line["lesson"]: line for line in shipped["lessons"]}
    assert set(told) == {*real_costs.CLAIMS, real_costs.AS_GOOD} and len(told) == len(shipped["lessons"])
    assert {(line["base"], line["holds"], line["of"]) for line in told.values()} == {(real_runs.BASE, 0, 0)}
    step = {real_costs.UNMERGED: 1.5, real_costs.MERGED: 1.0, real_costs.TIME: 0.6, real_costs.MEMORY: 1.0}
    for says, ratio in step.items():
        assert told[says]["interval"] == [pytest.approx(ratio)] * 3 and told[says]["over"] == "2 turns"
    said = [told[says]["verdict"] for says in step]
    assert said == [lessons.HOLDS, lessons.HOLDS, lessons.HOLDS, lessons.FAILS]
    wall = {(one["turn"], one["way"]): one["wall_s"] for one in on_two}
    padding = sorted(wall[turn, real_costs.LONGEST] / wall[turn, real_costs.RECIPE] for turn in (0, 1))
    assert told[real_costs.PADDING]["interval"][1:] == pytest.approx(padding)
    small = shipped["told"]["int8"]
    assert told[real_costs.AS_GOOD]["interval"] == small["difference"] and told[real_costs.AS_GOOD]["over"] == "2 seeds"
    judged = lessons.verdict(lessons.LEVEL, metrics.Interval(*small["difference"]))
    assert told[real_costs.AS_GOOD]["verdict"] == judged


@pytest.mark.parametrize(
    ("claim", "ratios", "verdict"),
    [
        (real_costs.LESS, [0.94, 0.9], "holds"),
        (real_costs.LESS, [0.94, 0.96], "can't tell"),
        (real_costs.LESS, [0.96, 1.3], "does not hold"),
        (real_costs.MORE, [1.06, 1.5], "holds"),
        (real_costs.MORE, [1.06, 1.0], "can't tell"),
        (real_costs.MORE, [1.04, 0.7], "does not hold"),
        (real_costs.AS_MUCH, [0.96, 1.04], "holds"),
        (real_costs.AS_MUCH, [0.94, 1.06], "can't tell"),
        (real_costs.AS_MUCH, [1.06, 1.2], "does not hold"),
        (real_costs.AS_MUCH, [0.94, 0.5], "does not hold"),
    ],
)
def test_a_lesson_of_cost_holds_by_every_turn(claim, ratios, verdict):
    assert real_costs.held(claim, ratios) == verdict


def test_lessons_of_cost_are_counted_at_our_own_sizes(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))

    def steps(name, turns, **more):
        """Lines of LoRA and of all weights; `turns` has LoRA's milliseconds and its MB on top, where all weights take 100 of both."""
        lora = [{name: i, "method": "LoRA", "step_ms": ms, "peak_mb": 50 + mb} for i, (ms, mb) in enumerate(turns)]
        full = [one | {"method": methods.FULL, "step_ms": 100, "peak_mb": 150} for one in lora]
        return [one | {"before_mb": 50} | more for one in [*full, *lora]]

    training = steps("round", [(90, 100), (94, 99)], shape="small")
    training += steps("round", [(60, 50), (97, 60)], shape="large")
    latency = [
        {"shape": shape, "plain": 10, "unmerged": unmerged, "merged": merged}
        for shape, unmerged, merged in (("small", 12, 10), ("small", 13, 10), ("large", 10, 12), ("large", 12, 11))
    ]
    results.ship("cost_runs", training=training, latency=latency)
    alone = [
        {"shape": "small", "practice": practice, "times": times}
        for practice, times in (("dynamic padding", 8.0), ("dynamic padding", 9.0), ("LoRA", 0.5))
    ]
    results.ship("practice_runs", alone=alone)
    results.ship("onnx_runs", int8={"verdict": {"interval": [0.0, -0.01, 0.01]}})
    wall = {real_costs.RECIPE: 10.0, real_costs.LONGEST: 12.0, "batches of 32": 1.0}
    told = real_costs.judged(
        {"difference": [-0.1, -0.15, -0.05], "flips": [9, 8]},
        speed=[{"turn": 0, "way": way, "wall_s": s, "threads": 2} for way, s in wall.items()]
        + [{"turn": 0, "way": "batches of 32", "wall_s": 2.0, "threads": 1}],
        steps=steps("turn", [(50, 20), (50, 40), (40, 30)], precision="float32")
        + steps("turn", [(400, 900)], precision="bfloat16"),
        latency=[{"plain": 10, "unmerged": 10, "merged": 10}],
    )
    found = {line["lesson"]: (line["verdict"], line["holds"], line["of"]) for line in told}
    assert found == {
        real_costs.UNMERGED: ("does not hold", 1, 2),
        real_costs.MERGED: ("holds", 1, 2),
        real_costs.TIME: ("holds", 1, 2),
        real_costs.MEMORY: ("holds", 1, 2),
        real_costs.PADDING: ("does not hold", 1, 1),
        real_costs.AS_GOOD: ("does not hold", 1, 1),
    }
    assert {line["lesson"]: line["interval"] for line in told}[real_costs.MEMORY] == pytest.approx([0.3, 0.2, 0.4])


def test_the_tutorials_padding_changes_no_answer(world, real_base):
    model, tokenizer = models.grader(str(real_base), seed=0)
    rows = runs.train_rows(6, 0)
    logits = [
        model(**tokenizer.pad(trainer.encode(tokenizer, rows, pad_to), return_tensors="pt")).logits
        for pad_to in (None, 150)
    ]
    assert torch.allclose(*logits, atol=1e-5)


def test_operations_are_those_of_the_matrix_products(world, real_base):
    """Six for each weight of a block and token, twelve for each pair of tokens and number of a vector, and the head once."""
    model, _ = models.grader(str(real_base), seed=0)
    width, depth = model.config.hidden_size, model.config.num_hidden_layers
    blocks = sum(p.numel() for name, p in model.named_parameters() if ".layer." in name and p.ndim == 2)
    head = width * width + width * 5
    count = real_costs.Operations(model)
    for n in (7, 20):
        assert count.of(n) * 1e12 == pytest.approx(6 * blocks * n + 12 * n * n * width * depth + 6 * head)


def test_what_stands_on_pre_training_waits_for_it(world, real_base):
    after = real_runs.tested_after(methods.FULL, 12, 1)
    assert all(task.settings["lr"] is None and task.waits for task in after)
    assert all(task.waits for task in real_runs.tries(real_runs.REPORTS, methods.PROBE, 1))
    for task in [real_runs.pretraining(1), *real_runs.tries(real_runs.REPORTS, methods.FULL)]:
        runs.make(task)
    assert not any(task.waits for task in real_runs.tries(real_runs.REPORTS, methods.PROBE, 1))
    assert not any(task.waits for task in real_runs.tested_after(methods.FULL, 12, 1))


def test_a_real_base_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_REAL", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make real"):
        real_runs.checkpoint()


def test_longer_runs_have_fewer_seeds_but_for_what_the_lessons_stand_on(monkeypatch):
    def counts(method, labels):
        found = []
        for seconds in (10, 100, 300):
            monkeypatch.setattr(real_runs, "expected", lambda *run, seconds=seconds: seconds)
            found.append(len(real_runs.seeds(real_runs.REPORTS, method, labels)))
        return found

    for method, labels in ((methods.PROBE, 1_000), (methods.FULL, 5_000), (rivals.SETFIT, 100)):
        assert counts(method, labels) == [runs.SHORT, 2, 1]
    for method in (methods.FULL, "LoRA", methods.LAST):
        assert counts(method, 100) == counts(method, 1_000) == [runs.SHORT, 3, 3]
    monkeypatch.undo()
    assert len(real_runs.tested_after(methods.FULL, 1_000, real_runs.STEPS[0])) == 3


def test_opt(world, monkeypatch):
    Texts(world, monkeypatch)
    for name, small in {"STEPS": 2, "EVERY": 1, "BATCH": 2, "SIZES": (4, 8), "DEV": 5, "PROMPTS": 3, "NEW": 3}.items():
        monkeypatch.setattr(opt, name, small)
    monkeypatch.setattr(opt, "RATES", opt.RATES[:2])
    monkeypatch.setattr(opt, "ORDERS", (1, 2))
    opt.main()
    shipped = results.shipped("opt_runs")
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


WHOLE = {"base": "tiny-biobert"}


@pytest.mark.slow
def test_practice(world, monkeypatch):
    Texts(world, monkeypatch)
    monkeypatch.setattr(
        trainer.Stopwatch, "seconds", lambda _: ([1.0, 1.0], [1.0, 3.0 if "our" in str(world.now) else 7.0])
    )
    monkeypatch.setattr(practice, "GROUPS", [])
    for name, small in {"LABELS": TEN, "EPOCHS": 1, "FEW": TEN, "TEXTS": 4, "PACK_EPOCHS": 1}.items():
        monkeypatch.setattr(practice, name, small)
    monkeypatch.setattr(opt, "DEV", 5)
    short = {arm: (how, 1 if epochs == 5 else 2, *more) for arm, (how, epochs, *more) in practice.ARMS.items()}
    monkeypatch.setattr(practice, "ARMS", short)
    measure(practice)
    shipped = results.shipped("practice_runs")
    ours, theirs = "our settings", "the article's settings"
    whole = [row for row in shipped["rows"] if "Trainer" in row["task"]]
    assert [row["method"] for row in whole] == [f"full fine-tuning, {name}" for name in (theirs, ours)]
    for row, name in zip(whole, (theirs, ours), strict=True):
        check_row(row, WHOLE | {"whole": name})
    told = shipped["whole"]["verdict"]
    assert (told["first"], told["second"]) == (ours, theirs)
    check_verdict(told, value(WHOLE | {"whole": ours}), value(WHOLE | {"whole": theirs}))
    check_ratios(shipped["whole"], ours, theirs)
    check_stopping(world, shipped)
    check_trainers(world)
    texts = [row for row in shipped["rows"] if row["metric"] == "perplexity"]
    assert [row["method"] for row in texts] == [f"full fine-tuning, {name}" for name in practice.COLLATORS]
    for row in texts:
        name = row["method"].removeprefix("full fine-tuning, ")
        assert row["value"] == pytest.approx(perplexity(name), abs=1e-3)
        assert shipped["packing"]["against_padded"][name][0] == pytest.approx(perplexity(name) / perplexity("padded"))
    assert not any("scored" in run for run in shipped["packing"]["runs"])


def test_an_arm_of_early_stopping_waits_for_the_tries_of_its_rate(world):
    assert all(task.waits for task in practice.stop_tasks("tiny-biobert", "20 epochs, stopped by loss", "grade"))
    assert not any(task.waits for task in practice.rate_tries("tiny-biobert", "20 epochs, stopped by loss"))


def perplexity(collator):
    return np.exp(
        np.mean([3 - 2 * share({"base": "tiny-opt", "collator": collator, "seed": seed}, "test") for seed in (0, 1)])
    )


def check_ratios(whole, ours, theirs):
    by = {(run["whole"], run["seed"]): run for run in whole["runs"]}
    truth = runs.frames()["test"]["grade"]
    for line in whole["ratios"]:
        a, b = by[ours, line["seed"]], by[theirs, line["seed"]]
        assert line["memory"] == round(b["peak_mb"] / a["peak_mb"], 3)
        assert line["times"] == 2  # the script has 4 and 8 seconds
        both = [scripted(truth, WHOLE | {"whole": name, "seed": line["seed"]}, "test") for name in (ours, theirs)]
        assert line["same"] == (both[0] == both[1]).sum()


def check_stopping(world, shipped):
    """One run answers for all rules of a schedule; each arm has its row, and is compared with those before it."""
    rows = [row for row in shipped["rows"] if "10 labels, adj" in row["task"] or "10 labels, one" in row["task"]]
    arms, labels = list(practice.ARMS), {"adjudicated labels": "grade", "one reader's labels": "reader_1"}
    kinds = [("tiny-biobert", "adjudicated labels"), ("tiny-biobert", "one reader's labels")]
    kinds += [("tiny-plain", "adjudicated labels")]
    assert [(row["base"], row["task"].split(", ")[-1], row["method"]) for row in rows] == [
        (*kind, f"full fine-tuning, {arm}") for kind in kinds for arm in arms
    ]
    for row in rows:
        arm = row["method"].removeprefix("full fine-tuning, ")
        schedule, epochs, with_dev, _ = practice.ARMS[arm]
        own = {"base": row["base"], "label": labels[row["task"].split(", ")[-1]]}
        rate = shipped["stopping"]["rates"][row["base"]][arm]
        (settings, *_) = world.of(schedule=schedule, epochs=epochs, with_dev=with_dev, lr=rate, **own)
        check_row(row, settings)
        tried = runs.needed(practice.rate_tries(row["base"], arm))
        assert [run["lr"] for run in tried] == list(practice.RATES) and not any(run["with_dev"] for run in tried)
        assert rate == max(tried, key=lambda run: run["dev_f1"][-1])["lr"]
    first = [arm for arm in arms if arm in ("5 epochs", "20 epochs") or arm.startswith("steady")]
    pairs = [(b, a) for i, a in enumerate(arms) if a in first for b in arms[i + 1 :]]
    told = [(v["base"], v["labels"], v["first"], v["second"], v["measure"]) for v in shipped["stopping"]["verdicts"]]
    assert told == [(*kind, a, b, m) for kind in kinds for a, b in pairs for m in ("macro F1", "share right")]
    made = {(run["base"], run["arm"], run["label"], run["seed"]) for run in shipped["stopping"]["runs"]}
    assert len(made) == len(shipped["stopping"]["runs"]) == 3 * 8 * 2
    assert all(len(run["dev_f1"]) == run["epochs"] and "predicted" not in run for run in shipped["stopping"]["runs"])


@pytest.mark.parametrize(
    ("scores", "lasted", "best"),
    [
        ([1, 2, 3, 4], 4, 4),
        ([1, 3, 3, 2, 3, 9], 5, 2),
        ([5, 4, 3, 2, 1], 4, 1),
        ([1, 3, 2, 2, 4, 1], 6, 5),
        ([1], 1, 1),
    ],
)
def test_a_run_is_cut_where_the_library_would_stop_it(scores, lasted, best):
    assert practice.stopped(scores, 3) == (lasted, best)
    watch = EarlyStoppingCallback(early_stopping_patience=3)
    arguments = SimpleNamespace(metric_for_best_model="f", greater_is_better=True, load_best_model_at_end=True)
    state, control = SimpleNamespace(best_metric=None), SimpleNamespace(should_training_stop=False)
    for epoch, score in enumerate(scores, start=1):
        watch.on_evaluate(arguments, state, control, metrics={"eval_f": score})
        state.best_metric = max(score, state.best_metric or score)
        if control.should_training_stop or epoch == len(scores):
            break
    assert epoch == lasted


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
    shipped = results.shipped("context_runs")
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
    """Each run has its seed, its label, its schedule and its padding; dev labels are trained on where it says so."""
    for made in world.trainers:
        run, sampled = made["run"], list(runs.train_rows(TEN, made["run"]["seed"])["text"])
        assert made["seed"] == run["seed"] and list(made["rows"]["text"])[:TEN] == sampled
        if "whole" in run:
            assert made["pad_to"] == {"the article's settings": 512, "our settings": None}[run["whole"]]
            assert len(made["rows"]) == TEN and made["num_train_epochs"] == 1
            continue
        dev = made["dev"]
        assert made["label"] == run["label"] and set(dev["split"]) == {"dev"} and len(dev) == TEN
        assert list(made["rows"]["text"])[TEN:] == (list(dev["text"]) if run["with_dev"] else [])
        assert (made["lr_scheduler_type"], made["num_train_epochs"]) == (run["schedule"], run["epochs"])
        assert made["learning_rate"] == run["lr"]
    tries, made = 2 * 3 * 4, 3 * 4 * 2  # (base, training, rate); (base and label, training, seed)
    assert len(world.trainers) == 4 + tries + made - 2 * 3  # of the tries, the best is one of those that count


# What frozen layers share.


@pytest.mark.parametrize("method", ["last layers", "head alone", "LoRA"])
def test_training_on_cached_states_is_training(world, method):
    base, rows = runs.checkpoint("tiny-biobert"), runs.train_rows(30, 0)
    losses_of, said = [], []
    for cached in (False, True):
        model, tokenizer = models.grader(base, seed=0)
        settings = {"targets": "query value", "layers": [10, 11]} if method == "LoRA" else {}
        model = adapt.prepare(model, method, **settings)
        if cached:
            model, tokenizer = frozen.on_top(model, tokenizer, base, frozen.everything(), 10)
            assert len(model.get_submodule(block_list(model))) == 2
        log = world.real.fit(model, tokenizer, rows, epochs=3, lr=1e-2, batch_size=4, seed=0, bar=False)
        losses_of.append(log["losses"])
        said.append(world.real.predict(model, tokenizer, runs.frames()["test"]))
    assert np.allclose(*losses_of, atol=1e-5) and np.allclose(*said, atol=1e-5)
    assert np.ptp(losses_of[0]) > 0.01  # it has learned something


def block_list(model):
    return next(name for name, part in model.named_modules() if isinstance(part, torch.nn.ModuleList))


def test_a_model_with_dropout_is_not_cached(world):
    model, tokenizer = models.grader(runs.checkpoint("tiny-biobert"), seed=0)
    model.config.hidden_dropout_prob = 0.1
    same = frozen.on_top(model, tokenizer, runs.checkpoint("tiny-biobert"), frozen.everything(), 10)
    assert same == (model, tokenizer) and len(model.bert.encoder.layer) == 12


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_a_probe_s_vectors_are_the_base_s_whatever_rows_are_asked(world, pool):
    base, rows = runs.checkpoint("tiny-plain"), runs.train_rows(8, 1)
    model, tokenizer = models.grader(base, seed=0)
    wanted = training.features(model, tokenizer, rows, pool=pool)
    assert np.allclose(frozen.vectors(base, rows, pool), wanted, atol=1e-5)
    assert not np.allclose(frozen.vectors(runs.checkpoint("tiny-biobert"), rows, pool), wanted, atol=1e-3)


# The plan, the page and the lessons.


PAGE = (paths.ROOT / "docs" / "results.md").read_text(encoding="utf-8")


@pytest.fixture
def shipped_sizes(monkeypatch):
    """The plan of the whole course, on as many reports as there are, without reading them."""
    monkeypatch.setattr(runs, "frames", lambda: {"train": range(6_876)})
    monkeypatch.setattr(runs, "present", lambda bases: list(bases))


def test_all_runs_fit_into_four_hours_of_two_cores(shipped_sizes, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / "MANIFEST.sha256").write_text("", encoding="utf-8")
    for base in ("tiny-biobert", "tiny-plain"):
        (tmp_path / "bases" / base).mkdir(parents=True)
        (tmp_path / "bases" / base / "config.json").write_text("{}", encoding="utf-8")
    lines = plan.everything()
    assert 600 < len(lines) < 1_200 and plan.hours(lines) < plan.BUDGET_H
    assert plan.table(lines)["there"].sum() == 0
    told = f"expected to take {plan.hours(lines):.1f} hours, and what is timed {plan.TIMED_H:.1f} hours more"
    assert f"On two cores of a fast machine the runs that train are {told}" in PAGE and plan.CORES == 2
    assert f"the slowest machine that we met takes {runs.SLOWEST} times as long." in PAGE


def test_the_page_says_the_rules_of_the_code():
    words = {3: "three", 4: "four", 5: "five"}
    (tries,) = {len(method.tried) for method in methods.METHODS.values()}
    assert f"Each method has {words[tries]} tries: with {methods.CHOSEN_AT:,} labels and one seed" in PAGE
    assert {task.settings["seed"] for task in methods.tries("tiny-plain", "LoRA")} == {0}
    told = f"as many as make {runs.READINGS:,} readings, no fewer than {runs.FEWEST} and no more than {runs.MOST}"
    assert told in PAGE
    told = f"less than a minute on the slowest machine that we met, {runs.SLOWEST} times as long as on a fast one"
    assert f"{told}, has {words[runs.SHORT]}, another {words[runs.LONG]}." in PAGE and runs.MINUTE == 60
    swept = [methods.METHODS["LoRA"].seconds(methods.MIDDLE)]
    assert {len(runs.seeds(seconds)) for seconds in swept} == {3} and "and have three seeds." in PAGE


def test_the_plan_of_another_experiment_says_how_long_it_takes(shipped_sizes, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for names, told in ((["real"], "hours of 2 cores of a fast machine.\n"), (["costs"], "costs lists no runs")):
        monkeypatch.setattr("sys.argv", ["plan", *names])
        with pytest.raises(SystemExit) if names == ["costs"] else nullcontext():
            plan.main()
        printed = capsys.readouterr()
        assert told in printed.out + printed.err


def test_the_runs_on_a_real_base_fit_into_seven_hours(shipped_sizes, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    lines = plan.everything([real_runs])
    assert 100 < len(lines) < 300 and plan.hours(lines) < 7


def test_a_waiting_run_counts_once_and_the_best_of_its_tries_is_one(world, one_base):
    lines = [line.task.settings for line in plan.everything() if line.task.settings.get("method") == "IA3"]
    assert [(one["lr"], one["seed"]) for one in lines] == [(3e-3, 0), (1e-2, 0), (None, 1)]


def test_the_page_shows_what_is_there_and_what_is_to_come(world, one_base, monkeypatch):
    monkeypatch.setattr(plan, "EXPERIMENTS", (losses,))
    for task in losses.plan()[:3]:
        if not task.waits:
            runs.make(task)
    progress.main()
    text = (paths.BUILD / "results.html").read_text(encoding="utf-8")
    lines = plan.everything()
    there = sum(line.took is not None for line in lines)
    assert there == 2 and f"2 of {len(lines)} runs are there" in text
    assert "The lessons are judged when all runs are there" in text and "data:image/png" in text


@pytest.mark.parametrize(
    ("claim", "low", "high", "verdict"),
    [
        ("is better", 0.001, 0.010, "holds"),
        ("is better", -0.001, 0.030, "can't tell"),
        ("is better", -0.030, 0.019, "does not hold"),
        ("is better", -0.050, -0.010, "does not hold"),
        ("is level", -0.019, 0.019, "holds"),
        ("is level", -0.030, 0.010, "can't tell"),
        ("is level", 0.021, 0.050, "does not hold"),
        ("is level", -0.050, -0.021, "does not hold"),
        ("gains little", -0.100, 0.019, "holds"),
        ("gains little", 0.010, 0.030, "can't tell"),
        ("gains little", 0.021, 0.030, "does not hold"),
    ],
)
def test_a_lesson_holds_by_its_interval_and_one_margin(claim, low, high, verdict):
    assert lessons.MARGIN == 0.02
    assert lessons.verdict(claim, metrics.Interval((low + high) / 2, low, high)) == verdict


def test_a_lesson_says_on_how_many_bases_it_holds_and_whether_it_turns_round(world, monkeypatch):
    truth = runs.frames()["test"]["grade"].to_numpy()
    right, wrong = ([{"predicted": some.tolist()}] for some in (truth, (truth + 1) % 5))
    sides = {"tiny-biobert": (right, wrong), "tiny-plain": (wrong, right)}
    lesson = lessons.Lesson("One wins", "01", lambda base: sides[base][0], "is better", lambda base: sides[base][1])
    told = lessons.judged(lesson)
    assert (told["holds"], told["of"], told["turns_round"]) == (1, 2, True)
    assert [one["verdict"] for one in told["bases"]] == ["holds", "does not hold"]
    assert [one["difference"][0] for one in told["bases"]] == [1, -1]
    alone = lessons.judged(lesson._replace(bases=("tiny-biobert",)))
    assert (alone["holds"], alone["of"], alone["turns_round"]) == (1, 1, False)


def test_each_lesson_stands_on_runs_that_the_plan_lists(shipped_sizes, monkeypatch):
    """The sides of every lesson ask for runs of the plan, and no lesson compares a side with itself."""
    asked = []

    def needed(tasks):
        asked.append([runs.place(task.experiment, task.settings) for task in tasks])
        return [{"predicted": [], "said": {"": "", "loss": "", "macro_f1": ""}, "lasted": {"": 1, "loss": 1, "macro_f1": 1},
                 "lr": 1e-3, **dict.fromkeys(("base", "label", "seed", "dev_loss", "dev_f1", "trainable"))} for _ in tasks]  # fmt: skip

    monkeypatch.setattr(runs, "needed", needed)
    monkeypatch.setattr(methods, "recipe", lambda base, method: methods.METHODS[method].tried[1])
    monkeypatch.setattr(stages, "chosen_rate", lambda base, method: 1e-3)
    monkeypatch.setattr(prompts, "rate", lambda method: prompts.TRIED[method][1])
    monkeypatch.setattr(prompts, "best_by_hand", lambda: prompts.by_hand()[:1])
    monkeypatch.setattr(methods, "owner", lambda base, method: methods.NO_BASE if method == methods.COUNTS else base)
    listed = {runs.place(task.experiment, task.settings) for task in lessons.plan()}
    assert len({lesson.says for lesson in lessons.LESSONS}) == len(lessons.LESSONS) > 40
    for lesson in lessons.LESSONS:
        for base in lesson.bases:
            asked.clear()
            sides = lesson.first(base), lesson.second(base)
            assert all(sides) and len(asked) == 2
            assert {place for places in asked for place in places} <= listed, lesson.says


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
    shipped = results.shipped("onnx_runs")
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


def test_every_way_to_ask_the_t5_has_as_many_tries():
    assert {len(rates) for rates in prompts.TRIED.values()} == {len(prompts.WRITTEN)}
