"""The long run of notebook 16 in miniature: small random bases and few reports, each run made for real, and what is written of them."""

import csv
import json
import shutil
from functools import cache

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import AutoConfig, AutoModel, AutoTokenizer

from course_utils import data, federated, paths, training
from course_utils.experiments import federated as measured
from course_utils.experiments import frozen, methods, runs

SHIPPED = paths.ROOT / "data_samples"
ROWS = {"train": 6, "dev": 3, "test": 2}  # of each site and grade
SMALL = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A folder like the shipped data: reports of all splits, sites and grades, and a small random base."""
    folder = tmp_path_factory.mktemp("samples")
    reports = pd.read_csv(SHIPPED / "dr_reports.csv", dtype=str, keep_default_na=False)
    reports = reports.drop_duplicates("patient_id")
    parts = [reports[reports["split"] == split].groupby(["site", "grade"]).head(n) for split, n in ROWS.items()]
    pd.concat(parts).to_csv(folder / "dr_reports.csv", index=False, quoting=csv.QUOTE_ALL)
    (folder / "MANIFEST.sha256").write_text("0  all\n", encoding="utf-8")
    torch.manual_seed(0)
    like = SHIPPED / "bases" / "tiny-biobert"
    AutoModel.from_config(AutoConfig.from_pretrained(like, **SMALL)).save_pretrained(folder / "bases" / "tiny-biobert")
    AutoTokenizer.from_pretrained(like).save_pretrained(folder / "bases" / "tiny-biobert")
    return folder


@pytest.fixture
def small(monkeypatch, tmp_path, tmp_path_factory, samples):
    monkeypatch.setenv("COURSE_DATA", str(samples))
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "none"))
    monkeypatch.delenv("COURSE_MODELS", raising=False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "arrow")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(data, "course_reports", cache(data.course_reports))
    monkeypatch.setattr(federated, "LABELS", {"north": 12, "harbour": 8, "delta": 6})
    sizes = {"ROUNDS": 2, "SPENT": 4, "AT_HOME": 2, "PATIENTS": 10, "PRIVATE_STEPS": 2, "TRIED": (1e-3, 1e-2)}
    for name, value in sizes.items():
        monkeypatch.setattr(measured, name, value)
    probe = methods.METHODS[methods.PROBE]
    monkeypatch.setitem(methods.METHODS, methods.PROBE, probe._replace(tried=probe.tried[:2]))
    monkeypatch.setattr(federated, "BATCH", 4)
    for one in (runs.frames, runs.train_rows, frozen.everything):
        one.cache_clear()
    yield
    for one in (runs.frames, runs.train_rows, frozen.everything):
        one.cache_clear()


def make(tasks):
    while ready := runs.pending(tasks()):
        for task in ready:
            runs.make(task)


def macro(truth, answers):
    return f1_score(truth, answers, average="macro", labels=range(5), zero_division=0)


def test_a_sites_rows_are_graded_by_the_model_that_it_would_have(small, monkeypatch):
    """Three models for "alone", whose answers are told apart: each grades its own site's rows and no others."""
    asked = []

    def predict(model, tokenizer, rows, **_):
        asked.append(sorted(set(rows["site"])))
        return np.eye(5)[np.full(len(rows), list(federated.LABELS).index(rows["site"].iloc[0]))]

    monkeypatch.setattr(training, "predict", predict)
    for way, models_trained in ((measured.ALONE, 3), (measured.HOME, 3), (measured.FEDERATED, 1), (measured.POOLED, 1)):
        asked.clear()
        made = measured.one("tiny-biobert", way, 0, 1e-3, first_lr=1e-3)
        test = runs.frames()["test"]
        assert made["predicted"] == [list(federated.LABELS).index(site) for site in test["site"]]
        assert all(len(sites) == 1 for sites in asked), models_trained
        dev = runs.frames()["dev"]
        each = [macro(dev[dev["site"] == name]["grade"], [k] * 15) for k, name in enumerate(federated.LABELS)]
        assert made["dev"] == pytest.approx(np.mean(each))


def test_every_way_takes_the_same_steps_at_a_site(small, monkeypatch):
    taken = []

    def train(model, tokenizer, at, each_rate, seed, **_):
        taken.append((at.name, len(each_rate), seed))

    monkeypatch.setattr(federated, "train", train)
    monkeypatch.setattr(federated.average, "__kwdefaults__", federated.average.__kwdefaults__ | {"at_site": train})
    monkeypatch.setattr(measured, "judged", lambda models, rows: list(models))
    for way in (measured.ALONE, measured.FEDERATED, measured.HOME):
        taken.clear()
        measured.one("tiny-biobert", way, 0, 1e-3, first_lr=1e-3)
        for name in federated.LABELS:
            assert sum(steps for at, steps, _ in taken if at == name) == measured.SPENT, way
        assert len({(at, seed) for at, _, seed in taken}) == len(taken), "no order is drawn twice"
    taken.clear()
    measured.one("tiny-biobert", measured.POOLED, 0, 1e-3)
    assert [steps for _, steps, _ in taken] == [3 * measured.SPENT]


def test_a_recipe_is_the_best_of_its_tries_on_dev_and_home_waits_for_it(small, monkeypatch):
    scores = {1e-3: 0.2, 1e-2: 0.7}
    monkeypatch.setattr(runs, "all_found", lambda tasks: [])
    assert measured.recipe("tiny-biobert", measured.FEDERATED) == {"lr": None}
    assert all(task.waits for task in measured.tries("tiny-biobert", measured.HOME))
    monkeypatch.setattr(
        runs, "all_found", lambda tasks: [t.settings | {"dev": scores[t.settings["lr"]], "macro_f1": 0} for t in tasks]
    )
    assert measured.recipe("tiny-biobert", measured.FEDERATED) == {"lr": 1e-2}
    for way in measured.WAYS[:-1]:
        assert len(measured.tries("tiny-biobert", way)) == len(measured.TRIED)
    for way in measured.SKEWED:  # where sites lack grades each way has tries of its own
        assert all(task.settings["skew"] for task in measured.tries("tiny-biobert", way, skew=True))
    for skew in (False, True):
        for name, how in measured.VARIANTS.items():
            tried = measured.variant_tries("tiny-biobert", name, skew)
            assert len(tried) == 4 and all(task.settings.get("skew", False) == skew for task in tried)
            assert how.varied == "lr" or {task.settings["lr"] for task in tried} == {1e-2}
    assert {task.settings["first_lr"] for task in measured.tries("tiny-biobert", measured.HOME)} == {1e-2}


def test_members_are_told_from_others_of_their_own_site_one_row_a_patient(small, monkeypatch):
    told = {}

    def membership(inside, outside, patients, sites):
        told.update(outside=len(outside), patients=patients, sites=sites)
        return [0.5, 0.4, 0.6]

    frames = runs.frames()
    twice = frames | {"test": pd.concat([frames["test"]] * 2, ignore_index=True)}
    monkeypatch.setattr(runs, "frames", cache(lambda: twice))
    monkeypatch.setattr(federated, "membership", membership)
    measured.private("tiny-biobert", "none", 0, 1e-3)
    of_site = dict(zip(frames["test"]["patient_id"], frames["test"]["site"], strict=True))
    inside = measured.PATIENTS * len(federated.LABELS)
    assert told["outside"] == len(of_site)
    assert [of_site[patient] for patient in told["patients"][inside:]] == list(told["sites"][inside:])
    assert list(told["sites"][:inside]) == [name for name in federated.LABELS for _ in range(measured.PATIENTS)]


@pytest.mark.slow
def test_the_five_ways_are_made_and_written_with_a_verdict_for_each_site(small):
    make(lambda: measured.of_ways(["tiny-biobert"]))
    found = measured.by_way(["tiny-biobert"])
    assert len(found["rows"]) == len(measured.WAYS) * 4
    for line in found["verdicts"]:
        sides = {way: measured.of("tiny-biobert", measured.tested("tiny-biobert", way)) for way in measured.WAYS}
        where = measured.places()[line["site"]]
        truth = runs.frames()["test"]["grade"].to_numpy()[where]
        mean = {
            way: np.mean([macro(truth, np.array(run["predicted"])[where]) for run in some])
            for way, some in sides.items()
        }
        assert line["gap"][0] == pytest.approx(mean[line["first"]] - mean[line["second"]], abs=1e-6)
        assert ("apart" in line["verdict"]) == (line["gap"][1] <= 0 <= line["gap"][2])
    assert not [run for run in found["tested"] if "predicted" in run]


@pytest.mark.slow
def test_the_whole_is_planned_made_and_written(small, monkeypatch):
    for name in ("SEEDS", "FEWER"):
        monkeypatch.setattr(measured, name, range(1))
    monkeypatch.setattr(measured, "PRIVATE_TRIED", (1e-3,))
    monkeypatch.setattr(measured, "EPSILONS", ("none", "8"))
    monkeypatch.setattr(measured, "WAYS", (measured.ALONE, measured.FEDERATED, measured.POOLED))
    monkeypatch.setattr(measured, "PAIRS", ((measured.FEDERATED, measured.ALONE),))
    make(measured.plan)
    measured.report()
    content = json.loads((paths.shipped_results() / "federated_runs.json").read_text(encoding="utf-8"))
    assert {line["fault"] for line in content["faults"]} == set(measured.FAULTS)
    base = next(line for line in content["faults"] if line["fault"] == "nothing" and line["combine"] == "mean")
    assert base["gap"][0] == 0, "nothing went wrong in it"
    assert {line["first"] for line in content["skew"]["verdicts"]} >= {"FedProx", "FedAvg, A frozen", "alone, skewed"}
    assert {line["first"] for line in content["variants"]["verdicts"]} == set(measured.VARIANTS)
    assert all("drawn skew" in row["task"] for row in content["rows"] if row["method"] in measured.VARIANTS)
    if federated.has_privacy():
        assert [line["epsilon"] for line in content["privacy"]] == ["none", "8"]
        assert content["privacy"][0]["noise"] == 0 < content["privacy"][1]["noise"]
        assert content["accounts"]["epsilon_of_a_tenth"] > 8
    shutil.rmtree(paths.shipped_results())
