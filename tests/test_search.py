"""Searching for settings: spaces, what a trial trains, and by how much a winner flatters itself."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import AutoConfig, AutoModel, AutoTokenizer

import stored
from course_utils import adapt, models, paths, search, training
from course_utils.search import Range

BASE = str(paths.ROOT / "data_samples" / "bases" / "tiny-biobert")
SPACE = {"lr": Range(1e-4, 1e-1, log=True), "width": Range(1, 4, whole=True), "pool": ("first", "mean")}
POINT = {"lr": 1e-2, "width": 8, "decay": 0.01, "dropout": 0.0, "batch": 8}


# Spaces.


def test_random_points_lie_in_the_space_and_are_even_on_its_scale():
    points = [search.draw(SPACE, np.random.default_rng(i)) for i in range(400)]
    rates = np.log10([point["lr"] for point in points])
    assert rates.min() >= -4 and rates.max() <= -1
    assert np.histogram(rates, bins=3, range=(-4, -1))[0].min() > 100  # 133 of each decade are expected
    widths = np.bincount([point["width"] for point in points])
    assert len(widths) == 5 and widths[1:].min() > 70 and {type(point["width"]) for point in points} == {int}
    assert {point["pool"] for point in points} == {"first", "mean"}


def test_a_point_is_the_same_from_the_same_seed():
    assert search.draw(SPACE, np.random.default_rng(1)) == search.draw(SPACE, np.random.default_rng(1))


def test_optuna_s_points_are_of_the_same_space():
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [search.suggest(study.ask(), SPACE) for _ in range(30)]
    assert all(set(point) == set(SPACE) for point in points)
    assert all(1e-4 <= point["lr"] <= 1e-1 and point["width"] in (1, 2, 3, 4) for point in points)
    assert study.trials[0].distributions == search.distributions(SPACE)


# A trial.


@pytest.fixture(scope="module")
def rows():
    reports = pd.read_csv(paths.ROOT / "data_samples" / "dr_reports.csv", keep_default_na=False)
    return reports[reports["split"] == "train"].groupby("grade").head(6).reset_index(drop=True)


def test_the_states_of_the_last_block_are_the_features_of_a_probe(rows):
    of = search.states(BASE, rows, batch_size=7)
    model, tokenizer = models.grader(BASE, seed=0)
    for pool in ("first", "mean"):
        wanted = training.features(model, tokenizer, rows, pool=pool)
        assert np.allclose(search.vectors(of, of.shape[1] - 1, pool).numpy(), wanted, atol=1e-5)
    assert of.shape == (len(rows), 13, 2, model.config.hidden_size)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no reports"):
        search.states(BASE, {"eye": [], "text": []})


def test_a_head_learns_what_can_be_learnt_and_another_seed_makes_another():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=60)
    x = torch.from_numpy(100 + np.eye(3)[y] + rng.normal(0, 0.05, (60, 3))).float()
    heads = [list(search.head_epochs(x, y, **POINT, epochs=30, seed=seed, labels=3)) for seed in (0, 0, 1)]
    assert all(len(some) == 30 for some in heads)
    assert (search.answers(heads[0][-1], x) == y).all()
    first, same, other = (some[-1][-1].weight for some in heads)
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_training_epoch_by_epoch_is_the_course_s_training(rows):
    some, trained = rows.head(12), []
    for way in ("by epoch", "in one"):
        model, tokenizer = models.grader(BASE, seed=0)
        model = adapt.prepare(model, "head alone")
        if way == "in one":
            training.fit_grader(model, tokenizer, some, epochs=2, lr=1e-3, batch_size=4, seed=3, bar=False)
        else:
            epochs = search.tuned_epochs(model, tokenizer, some, lr=1e-3, batch=4, decay=0.01, epochs=2, seed=3)
            assert list(epochs) == [1, 2] and not model.training
        trained.append(torch.nn.utils.parameters_to_vector(p for p in model.parameters() if p.requires_grad))
    assert torch.allclose(*trained, atol=1e-7)


@pytest.mark.parametrize("wrong", ["1e-3", None, True])
def test_a_setting_that_is_no_number_is_refused_before_anything_is_trained(wrong):
    x, y = torch.zeros(4, 2), [0, 1, 0, 1]
    with pytest.raises(ValueError, match="lr is .* no number.*YAML"):
        next(search.head_epochs(x, y, **POINT | {"lr": wrong}))


# The winner.


def made_bank(trials=40, rows=1_200, good=0.7, spread=0.0, seed=0):
    """A bank in which each answer is right with a chance of its trial's own: `good`, give or take `spread`."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=rows)
    chance = good + spread * rng.normal(size=trials)

    def answered():
        right = rng.random((trials, rows)) < chance[:, None]
        return np.where(right, truth, 1 - truth)

    return search.Bank(truth, np.arange(rows) // 2, answered(), np.stack([answered(), answered()]))


def test_the_best_of_equals_flatters_itself_as_the_maximum_of_normals_does():
    bank, looks = made_bank(), (1, 4, 40)
    found = search.winners(bank, 100, looks, draws=150, labels=2)
    mean = search.flattery(found, 12).set_index("looks")["mean"]
    # 100 rows with a chance of 0.7: a deviation of 4.6 points; the expected maximum of 4 and of 40 normals is 1.03 and 2.16
    assert mean[1] == pytest.approx(0, abs=1.5)
    assert mean[4] == pytest.approx(1.03 * 4.6, abs=1.5)
    assert mean[40] == pytest.approx(2.16 * 4.6, abs=2.0)


def test_a_second_dev_does_not_flatter_and_the_best_of_three_does_a_little():
    found = search.winners(made_bank(), 100, (40,), draws=150, labels=2)
    second = search.flattery(found, 12, search.SECOND)["mean"][0]
    final = search.flattery(found, 12, search.FINAL, search.FINAL_WORTH)["mean"][0]
    assert second == pytest.approx(0, abs=1.5)
    assert 0.5 < final < search.flattery(found, 12)["mean"][0]


def test_where_trials_differ_the_search_finds_the_good_ones():
    found = search.winners(made_bank(spread=0.1), 100, (1, 40), draws=50, labels=2).groupby("looks").mean()
    assert found[search.SEEDS][40] > found[search.SEEDS][1] + 0.1


def test_patients_stay_whole_and_the_parts_have_their_sizes():
    groups = np.repeat(np.arange(300), 3)
    part = search._parts(groups, 100, np.random.default_rng(0))
    assert all(len(set(part[groups == one])) == 1 for one in range(300))
    assert np.allclose(np.bincount(part), [100, 100, 700], atol=3)


def test_scores_are_macro_f1_over_the_labels_that_occur():
    rng = np.random.default_rng(0)
    truth, given = rng.integers(3, size=90), rng.integers(3, size=(2, 90))
    parts = np.stack([np.arange(90) % 3, np.where(truth == 2, 2, np.arange(90) % 2)])
    found = search.scores(truth, given, parts, labels=5)
    for draw in range(2):
        for part in range(3):
            rows = parts[draw] == part
            labels = sorted(set(truth[rows]))
            for trial in range(2):
                wanted = f1_score(truth[rows], given[trial, rows], labels=labels, average="macro")
                assert found[part, draw, trial] == pytest.approx(wanted)


@pytest.mark.parametrize(("dev", "looks"), [(600, (5,)), (100, (41,))])
def test_a_bank_that_is_too_small_is_refused(dev, looks):
    with pytest.raises(ValueError, match="too few"):
        search.winners(made_bank(), dev, looks, labels=2)


def test_draws_that_overlap_count_as_those_that_do_not():
    values = np.random.default_rng(0).normal(3, 2, 1_000)
    mean, low, high = search.mean_over(values, 16)
    assert mean == pytest.approx(values.mean())
    assert high - mean == pytest.approx(2.131 * values.std(ddof=1) / 4, abs=1e-3) == mean - low
    with pytest.raises(ValueError, match="independent"):
        search.mean_over(values, 1)


# What matters, and what is gained.


def test_the_setting_that_decides_comes_first():
    pytest.importorskip("optuna", reason="needs the extra search")
    points = [search.draw(SPACE, np.random.default_rng(i)) for i in range(60)]
    found = search.importances(SPACE, points, [-abs(np.log10(point["lr"]) + 2) for point in points], n=20)
    assert found["setting"][0] == "lr" and found["first"][0] > 0.9
    assert set(found["setting"]) == set(SPACE) and (found["low"] <= found["high"]).all()
    assert found["low"][0] > found["high"][1]


def test_a_gain_is_told_by_its_interval_and_measured_by_the_seeds():
    rng = np.random.default_rng(0)
    random = rng.normal(0.80, 0.01, 10)
    better = search.gain(random + 0.03, random, seed_noise=0.01)
    assert better["gain"] == pytest.approx(3) and better["low"] > 0
    assert better["verdict"] == "better than random search, by more than the noise of seeds"
    assert search.gain(random + 0.03, random, 0.05)["verdict"].endswith("by less than the noise of seeds")
    assert search.gain(random - 0.03, random, 0.01)["verdict"].startswith("worse than random search")
    assert search.gain(random[::-1], random, 0.01)["verdict"] == "cannot be told from random search with 10 studies"


def test_a_gain_is_that_of_pairs():
    """Studies with one seed begin alike: what moves both of a pair hides no difference between them."""
    rng = np.random.default_rng(0)
    random = rng.normal(0.80, 0.05, 10)
    apart = rng.normal(0.01, 0.002, 10)
    found = search.gain(random + apart, random, 0.01)
    half = 2.262 * 100 * apart.std(ddof=1) / np.sqrt(10)  # Student's t with nine degrees of freedom
    assert found["gain"] == pytest.approx(100 * apart.mean())
    assert found["high"] - found["gain"] == pytest.approx(half, rel=1e-3) and found["low"] > 0
    with pytest.raises(ValueError, match="argument"):
        search.gain(random[1:], random, 0.01)


# The command.


@pytest.fixture(scope="module")
def yours(tmp_path_factory):
    """A file of 240 short texts with two labels, and a base of two narrow layers that has learned nothing."""
    folder, rng = tmp_path_factory.mktemp("yours"), random.Random(0)
    with open(folder / "mine.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "split"])
        for i in range(240):
            late = rng.random() < 0.5
            word = rng.choice(("refund", "broken", "angry") if late else ("thanks", "great", "works"))
            rows.writerow(
                [f"{word}, says customer number {i}", "bad" if late else "good", ("train", "dev", "test")[i % 3]]
            )
    torch.manual_seed(0)
    narrow = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 2}
    AutoModel.from_config(AutoConfig.from_pretrained(BASE, **narrow)).save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(BASE).save_pretrained(folder / "base")
    return folder


def command(folder, out, minutes):
    return [str(folder / "mine.csv"), "--base", str(folder / "base"), "--out", str(out), "--minutes", str(minutes)]


def killed(folder, out, after):
    """Run the command in a process of its own, and kill it for good while it tries what comes after so many trials."""
    whole = [sys.executable, "-u", "-m", "course_utils.search", *command(folder, out, 60)]
    process = subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for line in process.stdout:
        if line.startswith(f"trial {after - 1}:"):
            break
    while trials_in(out)[-1].state.name != "RUNNING":
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def trials_in(out):
    import optuna

    return optuna.load_study(study_name="search", storage=f"sqlite:///{out / search.STORE}").trials


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_search_that_was_killed_goes_on_and_nothing_is_lost(yours, tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna", reason="needs the extra search")
    out = tmp_path / "out"
    killed(yours, out, after=3)
    before = [one for one in trials_in(out) if one.state.name in ("COMPLETE", "PRUNED")]
    assert len(before) == 3
    spent = sum(one.user_attrs["seconds"] for one in before)
    monkeypatch.setattr(search, "FEWEST_TRIALS", 4)
    monkeypatch.setattr(search, "_for_trials", lambda study, seconds: seconds)
    more = 1.2 * spent / 3  # seconds: one or two trials
    minutes = (spent + more) / 60
    assert search.main(command(yours, out, minutes)) == 0
    trials = trials_in(out)
    assert [(one.params, one.value) for one in trials[:3]] == [(one.params, one.value) for one in before]
    assert "RUNNING" not in {one.state.name for one in trials} and trials[3].state.name == "FAIL" and len(trials) >= 5
    points = [json.dumps(one.params) for one in trials if one.state.name != "FAIL"]
    assert len(set(points)) == len(points), "the second sitting proposes what the first had tried"
    total = sum(one.user_attrs.get("seconds", 0) for one in trials)
    assert spent + more <= total < spent + more + trials[-1].user_attrs["seconds"]
    best = json.loads((out / search.BEST).read_text(encoding="utf-8"))["settings"]
    assert best in [one.params for one in trials]
    page = (out / search.PAGE).read_text(encoding="utf-8")
    for words in ("The test rows were not read", "That score was the best of many", "Trained again", "finalist 1"):
        assert words in page
    # the same command again: the time is used up, and the finalists are known
    capsys.readouterr()
    monkeypatch.setattr(search.Search, "trained", None)
    assert search.main(command(yours, out, minutes)) == 0
    assert "trial" not in capsys.readouterr().out and (out / search.PAGE).read_text(encoding="utf-8") == page
    # another file's search is not mixed with it
    assert search.main([*command(yours, out, minutes), "--seed", "5"]) == 1
    assert "is a search over another file" in capsys.readouterr().err


def test_trials_leave_the_finalists_their_time():
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    study = optuna.create_study()
    assert search._for_trials(study, 100) == 75
    for seconds in (2.0, 4.0):
        trial = study.ask()
        trial.set_user_attr("seconds", seconds)
        study.tell(trial, 0.5)
    # eight more trainings of three seconds each: the usual settings and three finalists, with two seeds
    assert search._for_trials(study, 100) == 75 and search._for_trials(study, 40) == 40 - 24


class Told:
    """What a search is to `_finals`: each setting is graded as a table says, with a loss that blows up where there is none."""

    choose, report, answers = [0, 1], [1, 0, 1], {}

    def graded_again(self, point, seed):
        if point["lr"] not in self.answers:
            raise ValueError("The loss is nan in epoch 2.")
        return self.answers[point["lr"]]

    def score(self, rows, given):
        return float(np.mean(np.array(rows) == given))


def test_finalists_are_chosen_on_the_rows_that_choose_and_one_that_blows_up_is_left_out(tmp_path, capsys):
    searched = Told()
    searched.answers = {search.USUAL["lr"]: [[0, 0], [1, 1, 1]], 0.1: [[0, 1], [0, 1, 0]], 0.2: [[1, 0], [1, 0, 1]]}
    best = [SimpleNamespace(params={"lr": lr}, value=value) for lr, value in ((0.3, 0.9), (0.2, 0.8), (0.1, 0.7))]
    for _ in range(2):  # the second time all is kept
        usual, second, third = search._finals(searched, best, tmp_path / "kept.json")
        assert usual["chosen_at"] is None and usual["score"] == 0.5
        assert (second["score"], second["chosen_at"], second["point"]) == (0.0, 0.8, {"lr": 0.2})
        assert (third["score"], third["chosen_at"]) == (1.0, 0.7)
        assert [run.tolist() for run in third["runs"]] == [[0, 1, 0]] * len(search.FINAL_SEEDS)
        searched.answers = None
    assert capsys.readouterr().out.count("left out: The loss is nan") == 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder, out: command(folder, out, 0), "give more than 0"),
        (lambda folder, out: command(folder, folder / "mine.csv", 1), "is a file"),
        (lambda folder, out: [*command(folder, out, 1)[1:], "nothing.csv"], "nothing.csv"),
        (lambda folder, out: command(folder, folder, 1), "holds other files"),
    ],
)
def test_what_has_to_be_mended_is_said(yours, tmp_path, capsys, spoil, words):
    pytest.importorskip("optuna", reason="needs the extra search")
    assert search.main(spoil(yours, tmp_path / "out")) == 1
    assert words in capsys.readouterr().err


def test_a_dev_that_is_too_small_to_divide_is_refused(yours, tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna", reason="needs the extra search")
    monkeypatch.setattr(search, "FEWEST_DEV", 81)
    assert search.main(command(yours, tmp_path / "out", 1)) == 1
    assert "The dev split has 80 rows" in capsys.readouterr().err


def test_a_base_that_cannot_read_the_text_is_refused(yours, tmp_path, capsys, monkeypatch):
    pytest.importorskip("optuna", reason="needs the extra search")
    monkeypatch.setattr(search.suitability, "UNREADABLE", -1)
    assert search.main(command(yours, tmp_path / "out", 1)) == 1
    assert "unknown to this base" in capsys.readouterr().err


def test_two_searches_in_one_folder_are_refused(yours, tmp_path, capsys):
    pytest.importorskip("optuna", reason="needs the extra search")
    from filelock import FileLock

    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / search.LOCK):
        assert search.main(command(yours, tmp_path / "out", 1)) == 1
    assert "Another search is at work" in capsys.readouterr().err


def test_without_optuna_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    assert search.main(["mine.csv"]) == 1
    assert search.INSTALL in capsys.readouterr().err


# Many processes, and a server.

WORKER = """
import sys, optuna
url, seed = sys.argv[1:]
optuna.logging.set_verbosity(optuna.logging.ERROR)
sampler = optuna.samplers.RandomSampler(seed=int(seed))
study = optuna.load_study(study_name="shared", storage=url, sampler=sampler)
study.optimize(lambda trial: trial.suggest_float("lr", 1e-5, 1e-1, log=True), n_trials=5)
"""


@pytest.mark.slow
def test_two_processes_share_a_study_on_a_real_server():
    optuna = pytest.importorskip("optuna", reason="needs the extra search")
    psycopg = pytest.importorskip("psycopg", reason="needs the extra postgres")
    if not (shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        pytest.skip("needs a PostgreSQL server")
    with search.postgres() as url:
        with psycopg.connect(url.replace("+psycopg", "")) as asked:
            assert asked.execute("show listen_addresses").fetchone() == ("",)
        optuna.create_study(study_name="shared", storage=url, direction="maximize")
        workers = [subprocess.Popen([sys.executable, "-c", WORKER, url, seed]) for seed in ("1", "2")]
        assert [one.wait() for one in workers] == [0, 0]
        trials = optuna.load_study(study_name="shared", storage=url).trials
        assert [one.number for one in trials] == list(range(10))
        assert len({one.params["lr"] for one in trials}) == 10 and {one.state.name for one in trials} == {"COMPLETE"}
    assert not os.path.exists(url.split("host=")[1])


@pytest.mark.slow
def test_ray_s_workers_try_what_optuna_proposes(tmp_path, capsys):
    """The notebook's own cell, with an objective that is known."""
    pytest.importorskip("ray.tune", reason="needs the extra ray")
    pytest.importorskip("optuna", reason="needs the extra search")
    (cell,) = [one for one in stored.cells(stored.place("14_search_for_settings"), "code") if one.id == "ray"]
    known = "def scored(point):\n    import time\n\n    time.sleep(1)\n    return -point['lr']\n\n\n"
    space = {"__name__": "__main__", "search": search, "here": tmp_path}  # of a notebook, so that its functions travel
    exec(known + cell.source.replace("RAY = False", "RAY = True"), space)
    assert capsys.readouterr().out.startswith("Ray Tune: 12 trials by ")
    tried = [one.metrics for one in space["grid"]]
    assert all(set(one["config"]) == set(search.HEAD) and one["score"] == -one["config"]["lr"] for one in tried)
    assert len({one["config"]["lr"] for one in tried}) == 12, "each is another point"
    processes = {one["pid"] for one in tried}
    assert len(processes) >= 2 and os.getpid() not in processes


def test_a_server_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(search.shutil, "which", lambda name: None)
    monkeypatch.setattr(search.Path, "glob", lambda *_: iter(()))
    with pytest.raises(FileNotFoundError, match="apt install postgresql"), search.postgres():
        pass
