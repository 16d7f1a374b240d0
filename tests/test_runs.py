"""What the long runs share: rows, verdicts and choices on six reports, worked out by hand; and when a kept run is made again."""

import json
import os
import re
from concurrent.futures import Future

import numpy as np
import pandas as pd
import pytest

from course_utils import metrics, paths
from course_utils.authoring import imports
from course_utils.experiments import origin, runs

# Two patients of three reports each. Drawn anew, two of two, they are (a, a), (a, b) or (b, b), so the ends of an interval
# are the least and the most of these three, or what the reports of z² patients MORE make of it, all graded alike.
TEST = pd.DataFrame({"patient_id": list("aaabbb"), "grade": [0, 1, 2, 2, 3, 4]})
DEV = pd.DataFrame({"patient_id": list("cdefgh"), "grade": [0, 0, 0, 0, 0, 1]})
RIGHT, MISSED, WRONG = [0, 1, 2, 2, 3, 4], [0, 1, 2, 2, 3, 0], [1, 2, 3, 3, 4, 0]  # of TEST; MISSED calls the 4 a 0
OF_B = np.array([False] * 3 + [True] * 3)
MORE = 3 * metrics.Z**2
SLIP = 2 / (2 + MORE)  # F1 of a grade with one hit, if MORE reports of it, or called so, are wrong


@pytest.fixture(autouse=True)
def six_rows(monkeypatch):
    monkeypatch.setattr(runs, "frames", lambda: {"dev": DEV, "test": TEST})


def predicted(*some):
    return [{"seed": seed, "predicted": list(one)} for seed, one in enumerate(some)]


# A row. Macro F1 of MISSED: grade 0 has one hit in three (true and said), 2/3; grades 1, 2, 3 have 1; grade 4 has 0: 11/15.


def test_a_row_is_the_mean_over_seeds_with_the_interval_over_patients():
    row = runs.row("LoRA", "DR grade", predicted(MISSED, RIGHT, RIGHT))
    assert (row["method"], row["task"], row["metric"]) == ("LoRA", "DR grade", "macro F1")
    assert row["value"] == pytest.approx((11 / 15 + 1 + 1) / 3)
    # MORE reports of grade 0 are called 1: two grades slip, in MISSED beside the 4 that it never finds
    assert row["low"] == pytest.approx(((2 + 2 / (3 + MORE) + SLIP) / 5 + 2 * (3 + 2 * SLIP) / 5) / 3)
    assert row["high"] == pytest.approx((4 / 5 + 1 + 1) / 3)  # (a, a), whose 3 is right and whose 4 is wrong as ever
    assert (row["k"], row["n"], row["seeds"]) == (6, 6, 3)  # right: 5, 6 and 6, whose mean is nearer to 6 than to 5
    assert isinstance(row["k"], int)


def test_a_row_of_some_reports_counts_these_alone():
    with pytest.warns(UserWarning, match="one patient"):
        row = runs.row("LoRA", "DR grade", predicted(MISSED, RIGHT), OF_B)
    assert row["value"] == pytest.approx(0.5)  # 2/5 and 3/5
    assert row["low"] == pytest.approx((2 * SLIP / 5 + (1 + 2 * SLIP) / 5) / 2)  # MORE reports of grade 2 are called 3
    assert row["high"] == pytest.approx(
        ((2 + 2 * MORE / (2 * MORE + 1)) / 5 + 3 / 5) / 2
    )  # or MORE of grade 4 are right
    assert (row["k"], row["n"], row["seeds"]) == (2, 3, 2)  # right: 2 and 3; a half goes to the even number


def test_a_row_has_the_size_of_the_first_run_and_the_shortest_time():
    costs = ((9.0, 300, 7), (4.0, 250, 8), (6.0, 200, 9))
    some = [
        one | {"seconds": s, "peak_mb": mb, "trainable": n, "saved_kb": n + 1, "steps": 5}
        for one, (s, mb, n) in zip(predicted(RIGHT, RIGHT, RIGHT), costs, strict=True)
    ]
    row = runs.row("LoRA", "DR grade", some)
    assert (row["seconds"], row["peak_mb"], row["trainable"], row["saved_kb"]) == (4.0, 200, 7, 8)
    assert "steps" not in row
    assert not {"seconds", "peak_mb", "trainable", "saved_kb"} & set(runs.row("LoRA", "DR grade", predicted(RIGHT)))


# A verdict. WRONG has no hit, so its macro F1 is 0 whatever is drawn; RIGHT has 1. So the far end is that of MORE reports of
# grade 1 that RIGHT calls 2 and WRONG grades right.


def test_a_verdict_says_which_side_is_first():
    told = runs.verdict("ours", predicted(RIGHT), "theirs", predicted(WRONG))
    assert (told["first"], told["second"]) == ("ours", "theirs")
    assert told["verdict"] == "ours is better than theirs, with 6 rows"
    least = (3 + 2 * SLIP) / 5 - 2 * MORE / (2 * MORE + 2) / 5
    assert told["difference"] == f"1.000 [{least:.3f}, 1.000]"
    assert told["interval"] == [1, pytest.approx(least), 1]
    told = runs.verdict("theirs", predicted(WRONG), "ours", predicted(RIGHT))
    assert told["verdict"] == "theirs is worse than ours, with 6 rows"
    assert told["difference"] == f"-1.000 [-1.000, {-least:.3f}]"


def test_a_verdict_takes_the_mean_over_each_sides_seeds():
    told = runs.verdict("ours", predicted(MISSED, RIGHT, RIGHT), "theirs", predicted(WRONG))
    assert told["difference"] == "0.911 [0.867, 0.933]"  # (b, b): 3/5, 1 and 1; (a, a): 4/5, 1 and 1


def test_a_verdict_goes_by_its_measure():
    told = runs.verdict("ours", predicted(RIGHT), "theirs", predicted(WRONG), metric=metrics.mae)
    # WRONG is off by 1 in five reports and by 4 in one: 9/6 in all, 3/3 for patient a, 6/3 for patient b
    assert told["difference"] == "-1.500 [-2.000, -1.000]"
    assert told["verdict"] == "ours is better than theirs, with 6 rows"


def test_a_verdict_on_some_reports_counts_these_alone():
    with pytest.warns(UserWarning, match="one patient"):
        told = runs.verdict("ours", predicted(RIGHT), "theirs", predicted(MISSED), OF_B)
    assert told["difference"].startswith("0.200 [-")  # grade 4 of five, for patient b
    assert told["verdict"] == "cannot tell ours and theirs apart with 3 rows"


# Choices and scores.


def test_the_best_run_is_the_best_on_dev_whatever_test_says():
    some = [{"lr": 1, "dev": 0.5, "macro_f1": 0.9}, {"lr": 2, "dev": 0.7, "macro_f1": 0.1}]
    some += [{"lr": 3, "dev": 0.6, "macro_f1": 0.95}]
    assert runs.best(some)["lr"] == 2
    assert runs.best(some[::-1])["lr"] == 2


def test_a_score_is_of_its_own_split():
    assert runs.score("test", MISSED) == pytest.approx(11 / 15)
    # of DEV grade 0 has one hit, five true and two said, 2/7, and no other grade has any
    assert runs.score("dev", MISSED) == pytest.approx(2 / 7 / 5)


def test_the_grades_of_every_split_are_kept(monkeypatch):
    frames = {name: part.assign(split=name) for name, part in runs.frames().items()}
    monkeypatch.setattr(runs, "frames", lambda: frames | {"dev_unseen": frames["dev"].head(2)})
    made = runs.graded(lambda rows: rows["grade"])
    assert made["predicted"] == RIGHT and made["graded"] == {"dev": "000001", "dev_unseen": "00"}
    assert not {"predicted", "graded"} & set(runs.without_predictions([made])[0])


def test_predictions_are_left_out_of_what_ships_and_stay_in_the_run():
    some = [{"seed": 0, "dev": 0.5, "predicted": [1]}, {"seed": 1, "dev": 0.6}]
    assert runs.without_predictions(some) == [{"seed": 0, "dev": 0.5}, {"seed": 1, "dev": 0.6}]
    assert some[0]["predicted"] == [1]


def test_a_run_alone_has_a_process_of_its_own():
    assert runs.alone(os.getpid) != os.getpid()


# A kept run: one experiment, which imports two modules, one of them in a function and through the other.

SOURCES = {
    "experiments/mine": '''"""Mine."""

from course_utils import near

NAME, LABELS = "my_runs", 5
SHOWN = 3


def one(seed, **more):
    return near.far_one() * LABELS


def report():
    return SHOWN
''',
    "experiments/other": 'from . import mine\n\nNAME = "other_runs"\nFOUND = mine.one\n',
    "near": "def far_one():\n    from course_utils.deep.far import value\n\n    return value\n\n\ndef unused():\n    return 0\n",
    "deep/far": "value = 1  # one\n",
    "apart": "value = 1\n",
}
MINE = "course_utils.experiments.mine"


@pytest.fixture
def make(monkeypatch, tmp_path):
    """Return a function that asks for the run and says whether it was made; it has what can be changed as attributes."""
    sources, samples, made = tmp_path / "src", tmp_path / "data", []
    for module, text in SOURCES.items():
        file = sources / "course_utils" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    samples.mkdir()
    (samples / "MANIFEST.sha256").write_text(
        "12ab  dr_reports.csv\n34cd  spread/one.json\n56ef  bases/one/model.safetensors\n78ab  dr_reports.md\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("COURSE_DATA", str(samples))
    monkeypatch.setattr(imports, "SOURCES", sources)
    monkeypatch.setattr(origin, "version", lambda library: ask.versions[library])

    def forget():
        """As in a new process."""
        for remembered in (origin.code, origin.read, origin.versions, runs.module_of):
            remembered.cache_clear()

    def one(**settings):
        return {"dev": 0.5, "number": made.append(1) or len(made)}

    one.__module__, one.__qualname__ = MINE, "one"

    def ask(name="", **settings):
        forget()
        before, settings = len(made), {"seed": 0} | settings
        if name:
            run = runs.kept(name, settings, one)
        else:
            task = runs.Task("my_runs", one, settings, 1)
            if runs.found(task) is None:
                monkeypatch.setattr(runs, "start", lambda: None)
                runs.make(task)
            run = runs.found(task)
        assert run == settings | {"dev": 0.5, "number": run["number"]}
        return len(made) > before

    def change(module, old, new):
        file = sources / "course_utils" / f"{module}.py"
        assert old in file.read_text(encoding="utf-8")
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    ask.versions, ask.change = dict.fromkeys(origin.LIBRARIES.values(), "1.0"), change
    ask.manifest, ask.samples = samples / "MANIFEST.sha256", samples
    yield ask
    forget()


def test_a_kept_run_is_made_once(make):
    assert make() and not make()
    assert make(lr=0.1) and not make(lr=0.1) and not make()
    assert make("my_runs", lr=0.2) and not make("my_runs", lr=0.2)


def test_what_is_timed_is_made_once_on_each_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    made = []
    monkeypatch.setattr(runs.origin, "of", lambda module, settings: {"settings": settings})
    for name in ("old", "new", "old"):
        monkeypatch.setattr(runs.machine, "name", lambda name=name: name)
        run = runs.timed("cost_runs", {"round": 0}, lambda name=name: made.append(name) or {"ms": len(made)})
        assert run == {"round": 0, "ms": ["old", "new"].index(name) + 1}  # the results say once what machine it was
    assert made == ["old", "new"]


def test_a_run_is_a_small_file_beside_the_data_with_what_it_took(make):
    make(lr=0.1)
    (file,) = (make.samples / "runs" / "my_runs").glob("*.json")
    content = paths.read_json(file)
    assert file.stat().st_size < 3_000 and content["took_s"] >= 0
    assert set(content["stands_on"]) == {"settings", "libraries", "code", "data"}


def test_settings_are_the_same_in_any_order_and_two_with_one_name_are_two_runs(make):
    assert make(lr=0.1, form="a ?") and not make(form="a ?", lr=0.1)
    assert make(form="a ?") and make(form="a :") and not make(form="a ?")


def test_grades_and_scores_come_back_from_the_file_as_they_were():
    run = {"predicted": [0, 4, 2], "scored": {"loss": [0.25, 1.5], "tokens": [3, 4]}, "dev": 0.5}
    assert runs.packed(run)["predicted"] == "042"
    assert runs.unpacked(json.loads(json.dumps(runs.packed(run)))) == run


def test_other_versions_make_it_again(make):
    make.change("near", "def far_one():\n", "def far_one():\n    import torch\n\n    torch.zeros(1)\n")
    for library, again in {"torch": True, "spacy": False}.items():
        make()
        make.versions[library] = "2.0"
        assert make() == again and not make()


def test_a_library_that_is_not_installed_is_no_version(make, monkeypatch):
    def version(library):
        raise origin.PackageNotFoundError(library)

    monkeypatch.setattr(origin, "version", version)
    assert make() and not make()


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("experiments/mine", "5", "6"),
        ("experiments/mine", "* LABELS", "+ LABELS"),
        ("near", "return value", "return 2 * value"),
        ("deep/far", "value = 1", "value = 2"),
    ],
)
def test_other_code_makes_it_again_however_far_away(make, module, old, new):
    make()
    make.change(module, old, new)
    assert make() and not make()


def test_code_that_it_does_not_reach_leaves_it(make):
    make()
    make.change("apart", "1", "2")
    make.change("experiments/other", "from . import mine", "from . import mine\n\nSEEDS = 3")
    make.change("experiments/mine", "SHOWN = 3", "SHOWN = 4")
    make.change("experiments/mine", "return SHOWN", "return SHOWN + 1")
    make.change("near", "return 0", "return 1")
    assert not make()


def test_all_of_a_module_counts_for_what_is_not_listed_as_tasks(make):
    make("my_runs")
    make.change("experiments/mine", "SHOWN = 3", "SHOWN = 4")
    assert make("my_runs")


def test_an_experiment_stands_on_another_that_it_uses(make):
    make("other_runs")
    make.change("experiments/mine", "5", "6")
    assert make("other_runs")


def test_comments_docstrings_and_blank_lines_leave_it(make):
    make()
    make.change("deep/far", "value = 1  # one", "# two\n\nvalue = 1")
    make.change("experiments/mine", "Mine.", "Ours.")
    make.change("near", "def far_one():\n", 'def far_one():\n    """Return it."""\n')
    assert not make()


def test_other_data_makes_it_again_and_what_no_run_reads_leaves_it(make):
    make()
    for old, new, again in (
        ("34cd", "99cd", False),
        ("78ab", "99ab", False),
        ("12ab", "99ab", True),
        ("56ef", "99ef", True),
    ):
        make.manifest.write_text(make.manifest.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        assert make() == again and not make()


def test_another_base_leaves_a_run_of_this_one(make):
    make(base="two")
    make.manifest.write_text(make.manifest.read_text(encoding="utf-8").replace("56ef", "99ef"), encoding="utf-8")
    assert not make(base="two") and make(base="one")


def test_a_run_that_does_not_say_what_it_stands_on_is_made_again(make):
    make()
    (file,) = (make.samples / "runs").rglob("*.json")
    file.write_text('{"run": {"seed": 0, "dev": 0.5, "number": 1}}', encoding="utf-8")
    assert make()


def test_an_unknown_or_doubled_name_is_refused(make):
    with pytest.raises(ValueError, match='NAME = "their_runs"; it is none'):
        make("their_runs")
    make.change("experiments/other", "other_runs", "my_runs")
    with pytest.raises(ValueError, match="it is mine, other"):
        make("my_runs")


# The rules that are fixed before any run.


@pytest.mark.parametrize(("labels", "epochs"), [(100, 20), (250, 20), (500, 10), (1_000, 5), (5_000, 3), (7_507, 3)])
def test_epochs_follow_from_the_number_of_labels(labels, epochs):
    assert runs.epochs(labels) == epochs


@pytest.mark.parametrize(("seconds", "seeds"), [(1, 5), (23.9, 5), (24, 3), (500, 3)])
def test_a_run_under_a_minute_has_five_seeds(seconds, seeds):
    assert list(runs.seeds(seconds)) == list(range(seeds))


def test_expected_seconds_grow_with_labels_and_with_the_method():
    assert runs.seconds(1_000) == pytest.approx(3 + 30 + 9)  # starting, 5,000 readings, 4,500 reports graded
    assert runs.seconds(1_000, 17) > runs.seconds(1_000, times=2) > runs.seconds(1_000) > runs.seconds(100)


# A plan: tries, and then the best of them.


def slow_square(lr, seed=0):
    return {"dev": -((lr - 3) ** 2), "process": os.getpid()}


def planned(monkeypatch, tmp_path):
    """A plan of three tries, and then the best with two more seeds."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / "MANIFEST.sha256").write_text("", encoding="utf-8")
    monkeypatch.setattr(origin, "of", lambda make, settings: {"settings": paths.digest(sorted(settings.items()))})

    def plan():
        tries = [runs.Task("squares", slow_square, {"seed": 0, "lr": lr}, 1) for lr in (1, 3, 4)]
        known = runs.all_found(tries)
        lr = runs.best(known)["lr"] if known else None
        return tries + [runs.Task("squares", slow_square, {"seed": seed, "lr": lr}, 1) for seed in (0, 1, 2)]

    return plan


def test_a_run_that_another_command_kept_meanwhile_is_not_made_again(monkeypatch, tmp_path):
    task = planned(monkeypatch, tmp_path)()[0]
    monkeypatch.setattr(runs, "start", lambda: None)
    runs.make(task)
    before = runs.place(task.experiment, task.settings).stat().st_mtime_ns
    runs.make(task)
    assert runs.place(task.experiment, task.settings).stat().st_mtime_ns == before


class Dies:
    """A pool whose second task fails, as where memory ran out."""

    def __init__(self, jobs):
        self.given = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, task):
        future = Future()
        self.given += 1
        if self.given == 2:
            future.set_exception(MemoryError("no room"))
        else:
            future.set_result(function(task))
        return future

    def shutdown(self, cancel_futures):
        pass


def test_a_plan_that_was_stopped_goes_on_and_what_failed_is_said(monkeypatch, tmp_path):
    plan = planned(monkeypatch, tmp_path)
    monkeypatch.setattr(runs, "start", lambda: None)
    monkeypatch.setattr(runs, "pool", Dies)
    with pytest.raises(RuntimeError, match=r"1 runs could not be made:\n.*'lr': 3.*no room"):
        runs.fulfil(plan, 2)
    there = set((tmp_path / "runs" / "squares").glob("*.json"))
    assert len(there) == 2  # the other tries; the rest waits for all three
    monkeypatch.setattr(runs, "pool", Lives)
    stamps = {file: file.stat().st_mtime_ns for file in there}
    runs.fulfil(plan, 2)
    made = runs.needed(plan())
    assert [run["lr"] for run in made] == [1, 3, 4, 3, 3, 3] and [run["seed"] for run in made[3:]] == [0, 1, 2]
    assert {file: file.stat().st_mtime_ns for file in there} == stamps and not runs.pending(plan())


class Lives(Dies):
    """A pool in which nothing fails."""

    def __init__(self, jobs):
        self.given = 2


def test_a_run_whose_code_changed_meanwhile_is_said_and_not_made_for_ever(monkeypatch, tmp_path):
    plan, made = planned(monkeypatch, tmp_path), []
    monkeypatch.setattr(runs, "start", lambda: None)
    monkeypatch.setattr(runs, "pool", Lives)
    monkeypatch.setattr(origin, "of", lambda make, settings: made.append(1) or {"number": len(made)})
    with pytest.raises(RuntimeError, match="3 runs could not be made:\n.*changed while it was made"):
        runs.fulfil(plan, 2)


def test_needed_runs_that_are_not_there_are_named(monkeypatch, tmp_path):
    plan = planned(monkeypatch, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"6 runs are not there, such as squares with .*make results"):
        runs.needed(plan())


def test_each_task_has_a_process_of_its_own():
    with runs.pool(2) as workers:
        found = {future.result() for future in [workers.submit(os.getpid) for _ in range(3)]}
    assert len(found) == 3 and os.getpid() not in found


NAMES = {
    "opt_runs": "opt",
    "cost_runs": "costs",
    "context_runs": "context",
    "onnx_runs": "onnx",
    "load_runs": "load",
    "bulk_runs": "bulk",
    "engine_runs": "engines",
    "practice_runs": "practice",
    "real_costs": "real_costs",
    "decoder_runs": "decoder",
}


def test_each_experiment_that_keeps_runs_is_found_by_its_name():
    folder = imports.SOURCES / "course_utils" / "experiments"
    keeping = {
        file.stem
        for file in folder.glob("*.py")
        if re.search(r"runs\.(kept|timed)\(", file.read_text(encoding="utf-8"))
    }
    assert keeping <= set(NAMES.values())
    assert {name: runs.module_of(name).removeprefix("course_utils.experiments.") for name in NAMES} == NAMES


def test_a_run_of_the_stages_stands_on_what_trains_and_judges_it(monkeypatch):
    seen, read = set(), origin.read
    monkeypatch.setattr(origin, "read", lambda module: seen.add(module.removeprefix("course_utils.")) or read(module))
    origin.code.cache_clear()
    reached = origin.code("course_utils.experiments.stages", "second")
    origin.code.cache_clear()
    assert seen > {f"experiments.{name}" for name in ("stages", "methods", "runs", "frozen")}
    assert seen > {"adapt", "data", "metrics", "models", "training"}
    assert not seen & {"results", "figures", "page", "experiments.lessons", "experiments.plan", "export"}
    assert {"torch", "transformers", "peft"} <= set(reached.libraries)


def test_what_reads_a_user_s_file_leaves_the_runs_as_they_are(monkeypatch):
    seen, read = set(), origin.read
    monkeypatch.setattr(origin, "read", lambda module: seen.add(module.removeprefix("course_utils.")) or read(module))
    for module, name in (("methods", "one"), ("stages", "second"), ("practice", "stopping"), ("prompts", "one")):
        origin.code.cache_clear()
        origin.code(f"course_utils.experiments.{module}", name)
    origin.code.cache_clear()
    assert "data" in seen and not seen & {"validate", "tables", "twins"}
