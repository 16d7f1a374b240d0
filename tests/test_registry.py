"""A version carries all it must, serves only through the gate, and no interruption leaves the registry half way."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import small_models
from course_utils import export, metrics, models, registry, training

mlflow, MlflowException = registry.mlflow, registry.MlflowException  # imported there, with its telemetry off

PHRASES = ["no retinopathy", "mild retinopathy", "two quadrants", "severe retinopathy", "four quadrants"]
ABOUT = {"method": "full fine-tuning", "base": "a tiny BERT", "seed": 0}


def reports(n, first=0):
    """Reports whose grade is in their words: each is on both eyes of a patient, two rows, as the two sites read it."""
    grades = np.random.default_rng(first).integers(0, 5, n)
    return pd.DataFrame(
        {
            "report_id": [f"r{(first + i) // 2}" for i in range(n)],
            "patient_id": [f"p{(first + i) // 2}" for i in range(n)],
            "eye": ["left", "right"] * (n // 2),
            "site": ["north", "south"] * (n // 2),
            "text": [PHRASES[grade] for grade in grades],
            "grade": grades,
        }
    )


TRAIN, JUDGED = reports(200), reports(100, first=1000)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A registry with a model that was never trained (1), one that was (2), and the same weights in half the bytes (3)."""
    folder = tmp_path_factory.mktemp("registry")
    store = registry.open_registry(folder / "store")
    model, tokenizer = models.grader(small_models.bert(folder / "base"), seed=0)
    tokenizer.save_pretrained(folder / "checkpoint")
    for epochs in (0, 10, 0):
        if epochs:
            training.fit_grader(model, tokenizer, TRAIN, epochs=epochs, lr=6e-3, bar=False)
        model.save_pretrained(folder / "checkpoint")
        registry.register(store, folder / "checkpoint", ABOUT, TRAIN, JUDGED)
        if epochs:
            model.half()
    return store


@pytest.fixture
def store(made, tmp_path):
    """A copy of that registry's database, in which nobody serves; the models' files are shared."""
    shutil.copy(made.folder / "registry.db", tmp_path)
    return registry.open_registry(tmp_path)


def record(store, version):
    return store.client.get_model_version(store.name, str(version))


def logged(store, version):
    return store.client.get_run(record(store, version).run_id).data


def file_of(store, version):
    return registry.weights(record(store, version).source)


def serving(store):
    """The version that the champion's file is, by its sha256."""
    return int(registry.trace(store, registry.weights(f"models:/{store.name}@champion")).version)


# Registering


def test_a_version_carries_what_it_must(store):
    found = record(store, 2)
    assert found.tags["data_sha256"] == registry.fingerprint(TRAIN) != registry.fingerprint(JUDGED)
    assert found.tags["judged_sha256"] == registry.fingerprint(JUDGED)
    assert found.tags["code"] == registry.code_version()
    assert logged(store, 2).params == {name: str(value) for name, value in ABOUT.items()}
    model = mlflow.pyfunc.load_model(found.source)
    answers = model.predict(JUDGED[["eye", "text"]])
    f1 = metrics.interval(JUDGED["grade"], answers, groups=JUDGED["patient_id"])
    of_all = [logged(store, 2).metrics[f"all/macro_f1{end}"] for end in ("", "_low", "_high")]
    assert of_all == pytest.approx(list(f1)) and f1.value > 0.9
    south = logged(store, 2).metrics
    assert south["north/reports"] + south["south/reports"] == south["all/reports"] == len(JUDGED)
    assert model.metadata.get_input_schema().input_names() == ["eye", "text"]


def test_a_site_that_lacks_grades_is_measured_on_those_that_it_has(store):
    judged = JUDGED[(JUDGED["site"] == "north") | (JUDGED["grade"] < 3)]
    found = registry.figures(judged, judged["grade"])
    assert found["south/macro_f1"] == found["all/macro_f1"] == 1 > found["south/macro_f1_low"]
    version = registry.register(store, file_of(store, 2).parent, ABOUT, TRAIN, judged)
    text = registry.card(store, version, judged)
    assert "| south (no grade 3, 4: not to be compared) |" in text and "| north |" in text


def test_the_gate_measures_the_grades_that_the_reports_have():
    judged = JUDGED[JUDGED["grade"] < 3]
    right = judged["grade"].to_numpy()
    wrong = np.where(np.arange(len(right)) % 4 == 0, (right + 1) % 3, right)
    expected = f1_score(
        right, wrong, average="macro"
    )  # over three grades, so it is not made smaller by two that are absent
    assert registry.gate(judged, right, wrong).compared["all"].difference.value == pytest.approx(1 - expected)


def test_no_file_is_a_pickle(made):
    names = {path.suffix for path in (made.folder / "models").rglob("*") if path.is_file()}
    assert ".safetensors" in names and not names & {".pkl", ".pickle", ".bin", ".pt", ".joblib"}


def test_the_signature_refuses_a_report_without_its_text(store):
    with pytest.raises(MlflowException, match="text"):
        mlflow.pyfunc.load_model(record(store, 2).source).predict(JUDGED[["eye"]])


def test_what_can_t_be_registered(store, tmp_path):
    checkpoint = file_of(store, 2).parent
    with pytest.raises(ValueError, match="must say its base, seed"):
        registry.register(store, checkpoint, {"method": "LoRA"}, TRAIN, JUDGED)
    with pytest.raises(ValueError, match=r"holds no model\.safetensors or model\.onnx"):
        registry.register(store, tmp_path, ABOUT, TRAIN, JUDGED)
    with pytest.raises(ValueError, match="50 patients are in both"):
        registry.register(store, checkpoint, ABOUT, TRAIN, pd.concat([JUDGED, TRAIN[:100]]))
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3


def test_a_registration_that_fails_leaves_no_version(store, monkeypatch):
    def broken(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(registry, "figures", broken)
    with pytest.raises(OSError, match="disk is full"):
        registry.register(store, file_of(store, 2).parent, ABOUT, TRAIN, JUDGED)
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3


# An exported folder


@pytest.fixture(scope="module")
def exported(made, tmp_path_factory):
    """Version 2 as the int8 folder that notebook 12 ships."""
    here, checkpoint = tmp_path_factory.mktemp("exported"), file_of(made, 2).parent
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    int8 = export.quantise(export.to_onnx(model, tokenizer, here / "float32.onnx"), here / "int8.onnx")
    said = {
        "labels": list("01234"),
        "reports": TRAIN,
        "examples": [("left", PHRASES[0])],
        "figures": {},
        "max_tokens": 64,
    }
    return export.pack(here / "grader", int8, tokenizer, **said)


@pytest.mark.slow
def test_an_exported_folder_is_a_version_like_any_other(store, exported, tmp_path):
    registry.promote(store, 2, JUDGED)
    version = registry.register(store, exported, ABOUT, TRAIN, JUDGED)
    assert serving(store) == 2 and registry.promote(store, version, JUDGED).reason == "not worse by 0.02"
    assert serving(store) == registry.champion(store) == version
    served = mlflow.pyfunc.load_model(f"models:/{store.name}@champion")
    assert file_of(store, version).name == "model.onnx"
    told = served.predict(JUDGED[["eye", "text"]])
    assert told.tolist() == registry.answers(store, version, JUDGED).tolist()
    assert (told == JUDGED["grade"]).mean() > 0.9
    file = tmp_path / "found_on_a_stick.bin"
    shutil.copy(exported / "model.onnx", file)
    assert int(registry.trace(store, file).version) == version
    assert registry.audit(store, version, JUDGED) == [] and "| all | 100 |" in registry.card(store, version, JUDGED)
    assert registry.rollback(store) == serving(store) == 2


@pytest.mark.slow
def test_a_damaged_exported_folder_is_refused(store, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "damaged")
    with (tmp_path / "damaged" / "model.onnx").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ValueError, match=r"model\.onnx in .* is not the file that was exported"):
        registry.register(store, tmp_path / "damaged", ABOUT, TRAIN, JUDGED)
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3

    version = registry.register(store, exported, ABOUT, TRAIN, JUDGED)
    with file_of(store, version).open("ab") as file:  # the registry's own copy
        file.write(b"0")
    assert registry.audit(store, version, JUDGED) == [
        f"the weights of version {version} are not those that were registered"
    ]
    with pytest.raises(ValueError, match="is not the file that was exported"):
        mlflow.pyfunc.load_model(record(store, version).source)


@pytest.mark.slow
def test_a_report_without_a_grade_is_no_answer(store, exported):
    odd = JUDGED.assign(text=["xylophone", *JUDGED["text"][1:]])
    with pytest.raises(ValueError, match="gives no grade to 1 reports"):
        registry.register(store, exported, ABOUT, TRAIN, odd)
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3


@pytest.mark.slow
def test_without_the_onnx_extra_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "course_utils.serve", None)
    monkeypatch.delattr("course_utils.serve")
    with pytest.raises(ImportError, match=r"pip install .*\.\[serve\]"):
        registry._load_pyfunc(str(exported))


# The fingerprints


def test_the_fingerprint_sees_each_change():
    swapped, relabelled, moved = TRAIN.copy(), TRAIN.copy(), TRAIN[::-1]
    swapped.loc[[0, 1], "text"] = swapped.loc[[1, 0], "text"].to_numpy()
    relabelled.loc[0, "grade"] = (relabelled.loc[0, "grade"] + 1) % 5
    glued = TRAIN.assign(eye=TRAIN["eye"] + TRAIN["text"].str[:1], text=TRAIN["text"].str[1:])
    prints = {registry.fingerprint(rows) for rows in (TRAIN, swapped, relabelled, moved, glued)}
    assert len(prints) == 5 and registry.fingerprint(TRAIN.copy()) in prints


def test_the_code_s_version_is_a_commit_or_without_git_the_release(monkeypatch):
    assert registry.code_version().startswith(("git ", "finetune-course "))
    monkeypatch.setenv("PATH", "")
    assert registry.code_version() == f"finetune-course {registry.course_utils.__version__}"


# The gate


def wrong_at(*rows):
    """The right answers to JUDGED, but for some rows."""
    answers = JUDGED["grade"].to_numpy().copy()
    answers[list(rows)] = (answers[list(rows)] + 1) % 5
    return answers


@pytest.mark.parametrize(
    ("candidate", "serving", "passed", "reason"),
    [
        (wrong_at(), wrong_at(*range(40)), True, "better"),
        (wrong_at(*range(40)), wrong_at(), False, "worse at north, south"),
        (wrong_at(0, 1), wrong_at(0, 1), True, "not worse by 0.02"),
        (wrong_at(*range(10)), wrong_at(*range(10, 20)), False, "not shown to be no worse than by 0.02"),
        # better in all, and worse at south, the odd rows
        (wrong_at(*range(1, 30, 2)), wrong_at(*range(0, 100, 2)), False, "worse at south"),
    ],
)
def test_the_gate(candidate, serving, passed, reason):
    verdict = registry.gate(JUDGED, candidate, serving)
    assert (verdict.passed, verdict.reason) == (passed, reason)
    assert list(verdict.compared) == ["all", "north", "south"]


def test_without_a_margin_a_candidate_has_to_be_better():
    verdict = registry.gate(JUDGED, wrong_at(0), wrong_at(0), margin=0)
    assert (verdict.passed, verdict.reason) == (False, "not shown to be better")


def test_a_wider_margin_lets_more_through():
    candidate, serving = wrong_at(*range(10)), wrong_at(*range(10, 20))
    assert registry.gate(JUDGED, candidate, serving, margin=0.2).passed


# Promotion


def test_only_what_passes_serves(store):
    assert registry.champion(store) is None and registry.judged_so_far(store, JUDGED) == 0
    constant = mlflow.pyfunc.load_model(record(store, 1).source).predict(JUDGED[["eye", "text"]])
    assert len(set(constant)) == 1  # never trained: it gives one grade to all
    assert not registry.promote(store, 1, JUDGED).passed and registry.champion(store) is None
    assert registry.promote(store, 2, JUDGED).passed and registry.champion(store) == 2
    assert not registry.promote(store, 1, JUDGED).passed and registry.champion(store) == 2
    assert record(store, 1).tags["gate"].startswith("refused against version 2: worse at")
    assert registry.promote(store, 3, JUDGED).reason == "not worse by 0.02" and registry.champion(store) == 3
    assert registry.judged_so_far(store, JUDGED) == 3 and registry.judged_so_far(store, TRAIN) == 0
    served = mlflow.pyfunc.load_model(f"models:/{store.name}@champion").predict(JUDGED[["eye", "text"]])
    assert (served == JUDGED["grade"]).mean() > 0.9


def test_what_can_t_be_promoted(store):
    registry.promote(store, 2, JUDGED)
    with pytest.raises(ValueError, match="Version 2 serves already"):
        registry.promote(store, 2, JUDGED)
    with pytest.raises(ValueError, match="judged on other reports"):
        registry.promote(store, 3, reports(100, first=2000))
    with pytest.raises(ValueError, match="There is no version 9"):
        registry.promote(store, 9, JUDGED)
    assert registry.champion(store) == 2


def test_a_typed_metric_opens_no_gate(store):
    registry.promote(store, 2, JUDGED)
    store.client.log_metric(record(store, 1).run_id, "all/macro_f1", 1.0)
    assert not registry.promote(store, 1, JUDGED).passed and registry.champion(store) == 2


def test_rollback_goes_back_step_by_step(store):
    with pytest.raises(ValueError, match="no earlier model"):
        registry.rollback(store)
    registry.promote(store, 2, JUDGED)
    registry.promote(store, 3, JUDGED)
    assert registry.rollback(store) == registry.champion(store) == 2
    with pytest.raises(ValueError, match="no earlier model"):
        registry.rollback(store)
    assert registry.champion(store) == 2


def test_rollback_does_not_go_round_in_a_circle(store):
    for version in (2, 3, 2, 3):
        assert registry.promote(store, version, JUDGED).passed
    assert registry.served_before(store) == [2, 3, 2]
    assert [registry.rollback(store) for _ in range(2)] == [2, 3]
    assert registry.promote(store, 2, JUDGED).passed and registry.served_before(store) == [2, 3]
    assert [registry.rollback(store) for _ in range(2)] == [3, 2]
    with pytest.raises(ValueError, match="no earlier model"):
        registry.rollback(store)


def test_a_rollback_that_stops_before_its_last_step_changes_nothing(store, monkeypatch):
    for version in (2, 3, 2):
        registry.promote(store, version, JUDGED)
    with monkeypatch.context() as broken:
        broken.setattr(store.client, "set_registered_model_alias", lambda *_: 1 / 0)
        for step in (registry.rollback, lambda store: registry.promote(store, 3, JUDGED)) * 2:
            with pytest.raises(ZeroDivisionError):
                step(store)
            assert registry.champion(store) == 2 and registry.served_before(store) == [2, 3]
    assert [registry.rollback(store) for _ in range(2)] == [3, 2]


@pytest.mark.parametrize("step", [registry.rollback, lambda store: registry.promote(store, 2, JUDGED)])
def test_a_step_asks_and_writes_under_the_lock(store, monkeypatch, step):
    for version in (2, 3):
        registry.promote(store, version, JUDGED)
    calls = []

    class Lock:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            calls.append("locked")

        def __exit__(self, *error):
            calls.append("free")

    monkeypatch.setattr(registry, "FileLock", Lock)
    for name in ("get_registered_model", "set_registered_model_tag", "set_registered_model_alias"):
        real = getattr(store.client, name)
        monkeypatch.setattr(store.client, name, lambda *some, real=real, name=name: calls.append(name) or real(*some))
    step(store)
    assert (calls[0], calls[-1]) == ("locked", "free") and calls.count("locked") == 1
    assert {"get_registered_model", "set_registered_model_tag", "set_registered_model_alias"} <= set(calls)


def test_latest_is_no_alias(store):
    with pytest.raises(MlflowException):
        store.client.set_registered_model_alias(store.name, "latest", "2")


# The interrupted promotion: a process of its own is killed at a step, while 2 serves and 3 is to take its place.

CHILD = """
import sys, time
import pandas as pd
from sqlalchemy import event
from sqlalchemy.engine import Engine
from course_utils import registry

folder, judged, step, call = sys.argv[1:]
store = registry.open_registry(folder)
real, calls = getattr(store.client, step), []

def stop(*_):
    print("waiting", flush=True)
    time.sleep(120)

def stopped(*arguments):
    calls.append(1)
    if call == "commit":
        event.listen(Engine, "commit", stop)  # the row is written; SQLite has not been told to keep it
    if call == str(len(calls)):
        stop()
    real(*arguments)
    if call == "after":
        stop()

setattr(store.client, step, stopped)
registry.promote(store, 3, pd.read_csv(judged))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "call", "serves"),
    [
        ("set_model_version_tag", "1", 2),
        ("set_registered_model_tag", "1", 2),
        ("set_registered_model_alias", "1", 2),
        ("set_registered_model_alias", "commit", 2),
        ("set_registered_model_alias", "after", 3),
    ],
)
def test_a_killed_promotion_leaves_one_whole_model_serving(store, tmp_path, step, call, serves):
    registry.promote(store, 2, JUDGED)
    JUDGED.to_csv(tmp_path / "judged.csv", index=False)
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(tmp_path / "judged.csv"), step, call]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "waiting\n"
        child.kill()
    if sys.platform != "win32":
        assert child.returncode == -signal.SIGKILL
    assert registry.champion(store) == serves
    mlflow.pyfunc.load_model(f"models:/{store.name}@champion").predict(JUDGED[["eye", "text"]])
    if serves == 2:
        assert registry.promote(store, 3, JUDGED).passed  # no lock and no half-written row is in the way
    assert registry.served_before(store) == [2]
    assert registry.rollback(store) == 2 and registry.served_before(store) == []


def test_of_two_promotions_at_once_the_second_meets_the_first(store):
    """Without the lock both would be compared with nobody: three pairs, for a race need not show each time."""
    for _ in range(3):
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda version: registry.promote(store, version, JUDGED), (2, 3)))
        first, second = sorted((2, 3), key=lambda v: record(store, v).tags["gate"].startswith("passed against version"))
        assert record(store, first).tags["gate"] == "passed against the most frequent grade: better"
        assert record(store, second).tags["gate"] == f"passed against version {first}: not worse by 0.02"
        assert registry.champion(store) == second and registry.served_before(store) == [first]
        store.client.delete_registered_model_alias(store.name, registry.CHAMPION)


# From a file back to its training


def test_a_file_leads_back_to_its_reports(store, tmp_path):
    file = tmp_path / "found_on_a_stick.bin"
    shutil.copy(file_of(store, 2), file)
    found = registry.trace(store, file)
    assert int(found.version) == 2
    rows = registry.training_rows(store, 2).merge(TRAIN, on=["report_id", "eye"])  # a report's id alone names two rows
    assert registry.fingerprint(rows) == found.tags["data_sha256"]
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    with pytest.raises(LookupError, match=r"found_on_a_stick\.bin is no model of this registry"):
        registry.trace(store, file)


def test_a_file_that_was_registered_twice_leads_to_the_first_time(store):
    again = record(store, 2)
    version = store.client.create_model_version(store.name, again.source, again.run_id, tags=again.tags).version
    assert int(version) == 4 and int(registry.trace(store, file_of(store, 2)).version) == 2


# Audit and card


def test_a_sound_record_has_a_card_with_its_own_figures(store):
    registry.promote(store, 2, JUDGED)
    assert registry.audit(store, 2, JUDGED) == []
    text, found = registry.card(store, 2, JUDGED), logged(store, 2).metrics
    for group in ("all", "north", "south"):
        n, right, f1, low, high = (
            found[f"{group}/{what}"] for what in ("reports", "right", "macro_f1", "macro_f1_low", "macro_f1_high")
        )
        assert f"| {group} | {n:.0f} | {right:.0f} | {f1:.3f} | {low:.3f} to {high:.3f} |" in text
    assert "- method: full fine-tuning" in text and "- trained on 200 reports" in text and "*synthetic*" in text
    assert "- gate: passed against the most frequent grade: better" in text
    assert "The gate chose by these same reports" in text


def test_a_metric_typed_by_hand_is_found_out(store):
    store.client.log_metric(record(store, 1).run_id, "all/macro_f1", 0.95)
    (found,) = registry.audit(store, 1, JUDGED)
    assert "version 1 says all/macro_f1 = 0.950, its answers give 0." in found
    with pytest.raises(ValueError, match=r"No card is written: version 1 says"):
        registry.card(store, 1, JUDGED)


def test_forged_answers_and_changed_weights_are_found_out(made):
    answers = registry.Path(made.client.get_run(record(made, 1).run_id).info.artifact_uri[7:]) / "judged.csv"
    for file, forged, hint in (
        (answers, JUDGED.rename(columns={"grade": "predicted"}).to_csv(index=False).encode(), "reports otherwise"),
        (file_of(made, 1), file_of(made, 2).read_bytes(), "the weights of version 1 are not those"),
    ):
        kept = file.read_bytes()
        try:
            file.write_bytes(forged)
            assert hint in registry.audit(made, 1, JUDGED)[-1]
        finally:
            file.write_bytes(kept)
    assert registry.audit(made, 1, JUDGED) == []


# Nothing is sent

ALONE = """
import socket, sys

def told(name):
    def call(*arguments, **more):
        print("asked for", name, arguments[-1], flush=True)
        raise OSError("no network")
    return call

socket.getaddrinfo, socket.socket.connect = told("an address"), told("a connection")
from course_utils import registry

store = registry.open_registry(sys.argv[1])
print(registry.champion(store), registry.mlflow.telemetry.get_telemetry_client() is None)
"""


@pytest.mark.slow
def test_the_registry_needs_no_network_and_sends_nothing(store, tmp_path):
    # a bare environment, for MLflow sends nothing where it sees a test or a build server
    bare = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT", "TEMP") if name in os.environ}
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=bare)
    assert done.stdout == "None True\n"
