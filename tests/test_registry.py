"""A version carries all it must, serves only through the gate, and no interruption leaves the registry half way."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import small_models
from course_utils import export, gate, metrics, models, paths, registry, serve, training

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


TRAIN, JUDGED = reports(200), reports(600, first=1000)  # 300 patients: "not worse by 0.02" takes 189


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
    """A copy of that registry, in which nobody serves: a registry's folder can be copied."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    return registry.open_registry(tmp_path)


def record(store, version):
    return store.client.get_model_version(store.name, str(version))


def logged(store, version):
    return store.client.get_run(record(store, version).run_id).data


def file_of(store, version):
    return registry.weights(record(store, version).source)


def statuses(store):
    """How each registration ended, the latest first."""
    experiment = store.client.get_experiment_by_name(store.name)
    return [run.info.status for run in store.client.search_runs([experiment.experiment_id])]


def files_in(store):
    return sorted(path for path in (store.folder / "models").rglob("*") if path.is_file())


def serving(store):
    """The version that the champion's file is, by its sha256."""
    return int(registry.trace(store, registry.weights(f"models:/{store.name}@champion")).version)


# Registering


def test_a_version_carries_what_it_must(store):
    found = record(store, 2)
    assert found.tags["data_sha256"] == registry.fingerprint(TRAIN) != registry.fingerprint(JUDGED)
    assert found.tags["judged_sha256"] == registry.fingerprint(JUDGED)
    assert found.tags["code"] == paths.code_version()
    assert logged(store, 2).params == {name: str(value) for name, value in ABOUT.items()}
    model = mlflow.pyfunc.load_model(found.source)
    answers = model.predict(JUDGED[["eye", "text"]])
    f1 = metrics.interval(JUDGED["grade"], answers, groups=JUDGED["patient_id"])
    of_all = [logged(store, 2).metrics[f"all/macro_f1{end}"] for end in ("", "_low", "_high")]
    assert of_all == pytest.approx(list(f1)) and f1.value > 0.9
    of_sites = registry.measured(store, 2)
    assert list(of_sites) == ["all", "north", "south"] and logged(store, 2).metrics == registry._metrics(of_sites)
    assert of_sites["north"]["reports"] + of_sites["south"]["reports"] == of_sites["all"]["reports"] == len(JUDGED)
    assert model.metadata.get_input_schema().input_names() == ["eye", "text"]


def test_a_site_that_lacks_grades_is_measured_on_those_that_it_has(store):
    judged = JUDGED[(JUDGED["site"] == "north") | (JUDGED["grade"] < 3)]
    found = gate.figures(judged, judged["grade"], 5)
    assert found["south"]["macro_f1"] == found["all"]["macro_f1"] == 1 > found["south"]["macro_f1_low"]
    version = registry.register(store, file_of(store, 2).parent, ABOUT, TRAIN, judged)
    text = registry.card(store, version, judged)
    assert "| south (no grade 3, 4: not to be compared) |" in text and "| north |" in text


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
    number, word = TRAIN.assign(patient_id=7), JUDGED.assign(patient_id="7")
    with pytest.raises(ValueError, match="1 patients are in both"):
        registry.register(store, checkpoint, ABOUT, number, word)
    with pytest.raises(ValueError, match="judged reports have the grade None"):
        unknown = pd.Series([None, *JUDGED["grade"][1:]], dtype=object)
        registry.register(store, checkpoint, ABOUT, TRAIN, JUDGED.assign(grade=unknown))
    with pytest.raises(ValueError, match='no column "site": add it. If all are of one site, write "all"'):
        registry.register(store, checkpoint, ABOUT, TRAIN, JUDGED.drop(columns="site"))
    with pytest.raises(ValueError, match=r"judged reports have the grade 5; the model knows 0 to 4 \(LABEL_0, "):
        registry.register(store, checkpoint, ABOUT, TRAIN, JUDGED.assign(grade=JUDGED["grade"] + 1))
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3


def test_a_registration_that_fails_is_marked_and_leaves_no_version_and_no_file(store, monkeypatch):
    def broken(*_):
        raise OSError("the disk is full")

    files = files_in(store)
    monkeypatch.setattr(gate, "figures", broken)
    with pytest.raises(OSError, match="disk is full"):
        registry.register(store, file_of(store, 2).parent, ABOUT, TRAIN, JUDGED)
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3
    assert statuses(store) == ["FAILED", "FINISHED", "FINISHED", "FINISHED"] and files_in(store) == files


REGISTER = """
import sys, time
import pandas as pd
from course_utils import gate, registry

def stop(*_):
    print("waiting", flush=True)
    time.sleep(120)

folder, checkpoint, trained, judged, where = sys.argv[1:]
store = registry.open_registry(folder)
if where == "figures":
    gate.figures = stop
else:
    setattr(store.client, where, stop)
registry.register(store, checkpoint, dict(method="m", base="b", seed=0), pd.read_csv(trained), pd.read_csv(judged))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("where", "left"), [("figures", "FAILED"), ("set_terminated", "FINISHED")])
def test_a_killed_registration_is_cleaned_and_one_that_runs_is_not(store, tmp_path, where, left):
    files, checkpoint = files_in(store), tmp_path / "checkpoint"
    shutil.copytree(file_of(store, 2).parent, checkpoint)
    TRAIN.to_csv(tmp_path / "trained.csv", index=False)
    JUDGED.to_csv(tmp_path / "judged.csv", index=False)
    given = [str(tmp_path / name) for name in ("", "checkpoint", "trained.csv", "judged.csv")]
    with subprocess.Popen([sys.executable, "-c", REGISTER, *given, where], stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout.readline() == "waiting\n"
            registry.open_registry(tmp_path)
            assert statuses(store).count("RUNNING") == 1 and len(files_in(store)) > len(files)
        finally:
            child.kill()
    registry.open_registry(tmp_path)
    assert sorted(statuses(store)) == sorted([left, "FINISHED", "FINISHED", "FINISHED"])
    if left == "FAILED":
        assert files_in(store) == files
    else:  # its version had come into being: it stays, whole
        assert registry.audit(store, 4, JUDGED) == []
    assert not list((tmp_path / "running").iterdir())


# The folder

OPEN = "import sys; from course_utils import registry; registry.open_registry(sys.argv[1]); print('open')"


@pytest.mark.slow
def test_eight_processes_may_open_a_new_registry_at_once(tmp_path):
    command = [sys.executable, "-c", OPEN, str(tmp_path / "new")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, **pipes) for _ in range(8)]
    told = [child.communicate() for child in children]
    assert [out for out, _ in told] == ["open\n"] * 8, told
    assert registry.history(registry.open_registry(tmp_path / "new")).table["what"].tolist() == ["opened"]


@pytest.mark.parametrize("name", ["what?/now", "a%20b/c?d", "50% #1"])
def test_a_registry_may_be_in_a_folder_of_any_name(tmp_path, name):
    opened = registry.open_registry(tmp_path / name)
    assert (tmp_path / name / "registry.db").is_file() and registry.champion(opened) is None
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_was_moved_or_copied_serves_from_its_new_place(store, tmp_path_factory):
    registry.promote(store, 2, JUDGED)
    place = tmp_path_factory.mktemp("elsewhere") / "a copy, 50% [new] 病院"
    shutil.copytree(store.folder, place)
    shutil.rmtree(store.folder)
    moved = registry.open_registry(place)
    assert file_of(moved, 2).is_relative_to(place) and serving(moved) == 2
    assert registry.audit(moved, 3, JUDGED) == [] and registry.promote(moved, 3, JUDGED).passed
    assert registry.rollback(moved) == 2 and len(registry.load(moved).predict(JUDGED[["eye", "text"]])) == len(JUDGED)
    assert registry.register(moved, file_of(moved, 2).parent, ABOUT, TRAIN, JUDGED) == 4
    assert registry.history(moved).faults == []


# The files are those that were registered


def flip(file):
    content = bytearray(file.read_bytes())
    content[-8] ^= 1  # in safetensors a bit of the last weight: the file still loads
    file.write_bytes(content)


DAMAGE = {
    "model.safetensors is gone": lambda folder: (folder / "model.safetensors").unlink(),
    "model.safetensors was changed": lambda folder: flip(folder / "model.safetensors"),
    "config.json was changed": lambda folder: flip(folder / "config.json"),
    "tokenizer.json was changed": lambda folder: shutil.copy(folder / "config.json", folder / "tokenizer.json"),
    "added_tokens.json was added": lambda folder: (folder / "added_tokens.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_changed_file_is_refused_on_each_path(store, damage):
    for version in (2, 3):
        registry.promote(store, version, JUDGED)
    for version in (2, 3):
        DAMAGE[damage](file_of(store, version).parent)
    said = damage.replace(".", r"\.").replace("is gone", "(is|are) gone")
    with pytest.raises(ValueError, match=said):
        registry.promote(store, 2, JUDGED)
    with pytest.raises(ValueError, match=said):
        registry.rollback(store)
    for version in (None, 2):
        with pytest.raises(ValueError, match=said):
            registry.load(store, version)
    with pytest.raises(ValueError, match=said):
        mlflow.pyfunc.load_model(f"models:/{store.name}@champion")
    (found,) = registry.audit(store, 2, JUDGED)
    assert damage.split()[0] in found
    assert registry.champion(store) == 3 and registry.served_before(store) == [2]
    told = registry.history(store).table
    assert told["what"].tolist()[-4:] == ["refused", "refused", "load refused", "load refused"]
    assert told["version"].tolist()[-4:] == [2, 2, 3, 2] and told["reason"].iloc[-1].count(damage.split()[0]) == 1


def test_mlflow_s_own_files_and_the_list_are_of_the_model_too(store):
    folder = next(file_of(store, 2).parents[i] for i in range(3) if (file_of(store, 2).parents[i] / "MLmodel").exists())
    record_of = folder / "data" / registry.RECORD
    assert registry.load(store, 2).predict(JUDGED[["eye", "text"]]).tolist()
    lines = record_of.read_text()
    flip(file_of(store, 2))
    forged = registry._files(file_of(store, 2).parent)
    record_of.write_text("".join(f"{digest}  {name}\n" for name, digest in forged.items()))
    with pytest.raises(ValueError, match=r"FILES\.sha256, data/\w+/model\.safetensors was changed"):
        registry.load(store, 2)
    flip(file_of(store, 2))
    record_of.write_text(lines)
    registry.load(store, 2)
    with (folder / "MLmodel").open("a") as file:
        file.write("# a line\n")
    with pytest.raises(ValueError, match="MLmodel was changed"):
        registry.load(store, 2)
    record_of.unlink()
    with pytest.raises(ValueError, match=r"Nothing vouches for .*FILES\.sha256 is gone"):
        mlflow.pyfunc.load_model(str(folder))


def test_a_rollback_may_skip_a_version_that_is_damaged(store):
    for version in (2, 3, 2):
        registry.promote(store, version, JUDGED)
    (file_of(store, 3)).unlink()
    with pytest.raises(ValueError, match=r"Go back further: rollback\(registry, to=2\)"):
        registry.rollback(store)
    assert registry.champion(store) == 2
    with pytest.raises(ValueError, match="Version 1 did not serve before: choose one of 2, 3"):
        registry.rollback(store, to=1)
    assert registry.rollback(store, to=2) == 2 and registry.served_before(store) == []


# Labels are the model's


def relabelled(store, folder, names):
    """A copy of version 2's checkpoint whose labels have these names."""
    shutil.copytree(file_of(store, 2).parent, folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = dict(enumerate(names))
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_other_labels_than_the_champion_s_are_refused_with_a_sentence(store, tmp_path):
    assert registry.labels(store, 2) == [f"LABEL_{i}" for i in range(5)]
    named, others = (list(letters) for letters in ("abcde", "abdce"))
    for names in (named, others):
        registry.register(store, relabelled(store, tmp_path / "".join(names), names), ABOUT, TRAIN, JUDGED)
    registry.promote(store, 2, JUDGED)
    assert registry.promote(store, 4, JUDGED).passed  # LABEL_0 is no name
    assert "one of 5 labels: a; b; c; d; e. " in registry.card(store, 4, JUDGED)
    said = r"Version 5 knows other labels \(a, b, d, c, e\) than version 4, which serves \(a, b, c, d, e\)"
    with pytest.raises(ValueError, match=said):
        registry.promote(store, 5, JUDGED)
    assert registry.champion(store) == 4 and registry.history(store).table["what"].iloc[-1] == "refused"


def test_a_model_of_three_labels_is_measured_over_three(store, tmp_path):
    model, tokenizer = models.grader(small_models.bert(tmp_path / "base"), seed=0, num_labels=3)
    for one in (model, tokenizer):
        one.save_pretrained(tmp_path / "three")
    three = [rows[rows["grade"] < 3] for rows in (TRAIN, JUDGED)]
    version = registry.register(store, tmp_path / "three", ABOUT, *three)
    given = registry.answers(store, version, three[1])
    expected = f1_score(three[1]["grade"], given, average="macro")
    assert registry.measured(store, version)["all"]["macro_f1"] == pytest.approx(expected)
    assert registry.labels(store, version) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    registry.promote(store, 2, JUDGED)
    with pytest.raises(ValueError, match="knows other labels"):
        registry.promote(store, version, three[1])


def test_a_model_s_labels_are_read_from_its_own_files(tmp_path):
    (tmp_path / "config.json").write_text("{}")  # of two labels without names a config says nothing
    assert registry.label_names(tmp_path) == ["LABEL_0", "LABEL_1"]
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"10": "k", "2": "c"}}))
    assert registry.label_names(tmp_path) == ["c", "k"]
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0"}}))
    with pytest.raises(ValueError, match="is no grader: its files name 1 labels"):
        registry.label_names(tmp_path)


# Sites of any name

ODD = ["St. Mary's", "Klinik (Nord)", "北京医院", "a/b|c", " two\nlines ", ""]


def test_sites_of_any_name_are_kept(store):
    judged = JUDGED.assign(site=(ODD * len(JUDGED))[: len(JUDGED)])
    version = registry.register(store, file_of(store, 2).parent, ABOUT, TRAIN, judged)
    names = {gate.NO_SITE if name == "" else name for name in ODD}
    found = registry.measured(store, version)
    assert set(found) == {"all"} | names and sum(found[name]["reports"] for name in names) == len(judged)
    assert logged(store, version).metrics["site 1/reports"] == list(found.values())[1]["reports"]
    verdict = registry.promote(store, version, judged)
    assert set(verdict.compared) == set(found) and registry.audit(store, version, judged) == []
    card = registry.card(store, version, judged)
    assert all(f"| {name} |" in card for name in ("St. Mary's", "北京医院", "a/b\\|c", "two lines", "(no site)"))
    assert set(registry.history(store).table["proof"].iloc[-1]["gate"]) == set(found)


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
    assert registry.audit(store, version, JUDGED) == [] and "| all | 600 |" in registry.card(store, version, JUDGED)
    assert registry.rollback(store) == serving(store) == 2


def test_an_exported_grader_of_texts_alone_is_not_asked_for_an_eye(monkeypatch):
    class Texts:
        asks_eye = False

        def grade(self, text, eye=""):
            return serve.Answer(None if eye else 1, "", None, "")

    monkeypatch.setattr(serve, "load", lambda folder: Texts())
    assert registry._Exported("any").predict(JUDGED[["eye", "text"]][:2]).tolist() == [1, 1]


@pytest.mark.slow
def test_a_damaged_exported_folder_is_refused(store, exported, tmp_path):
    shutil.copytree(exported, tmp_path / "damaged")
    with (tmp_path / "damaged" / "model.onnx").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ValueError, match=r"model\.onnx in .* is not the file that was exported"):
        registry.register(store, tmp_path / "damaged", ABOUT, TRAIN, JUDGED)
    assert len(store.client.search_model_versions(f"name = '{store.name}'")) == 3

    registry.promote(store, 2, JUDGED)
    version = registry.register(store, exported, ABOUT, TRAIN, JUDGED)
    flip(file_of(store, version))  # the registry's own copy
    (found,) = registry.audit(store, version, JUDGED)
    assert found.startswith(f"The files of version {version} are not") and "model.onnx was changed" in found
    for step in (lambda: registry.promote(store, version, JUDGED), lambda: registry.load(store, version)):
        with pytest.raises(ValueError, match=r"model\.onnx was changed"):
            step()
    with pytest.raises(ValueError, match=r"model\.onnx was changed"):
        mlflow.pyfunc.load_model(record(store, version).source)


@pytest.mark.slow
def test_a_report_without_a_grade_is_one_that_is_not_right(store, exported):
    odd = JUDGED.assign(text=["xylophone", *JUDGED["text"][1:]])
    version = registry.register(store, exported, ABOUT, TRAIN, odd)
    answers = registry.answers(store, version, odd)
    assert answers[0] == gate.NO_GRADE and (answers[1:] >= 0).all()
    found = registry.measured(store, version)["all"]
    assert found["no_grade"] == 1 and found["right"] == (answers == odd["grade"]).sum()
    assert registry.audit(store, version, odd) == []


@pytest.mark.slow
def test_without_the_onnx_extra_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "course_utils.serve", None)
    monkeypatch.delattr("course_utils.serve")
    with pytest.raises(ImportError, match=r"pip install .*\.\[serve\]"):
        registry._Exported(str(exported))


# The fingerprints


def test_the_fingerprint_sees_each_change():
    swapped, relabelled, moved = TRAIN.copy(), TRAIN.copy(), TRAIN[::-1]
    swapped.loc[[0, 1], "text"] = swapped.loc[[1, 0], "text"].to_numpy()
    relabelled.loc[0, "grade"] = (relabelled.loc[0, "grade"] + 1) % 5
    glued = TRAIN.assign(eye=TRAIN["eye"] + TRAIN["text"].str[:1], text=TRAIN["text"].str[1:])
    elsewhere, another = TRAIN.assign(site="all"), TRAIN.assign(patient_id=TRAIN["report_id"])
    changed = (TRAIN, swapped, relabelled, moved, glued, elsewhere, another)
    prints = {registry.fingerprint(rows) for rows in changed}
    assert len(prints) == len(changed) and registry.fingerprint(TRAIN.copy()) in prints


def test_the_code_s_version_is_a_commit_or_without_git_the_release(monkeypatch):
    assert paths.code_version().startswith(("git ", "finetune-course "))
    monkeypatch.setenv("PATH", "")
    assert paths.code_version() == f"finetune-course {paths.__version__}"


# Promotion


def test_only_what_passes_serves(store):
    assert registry.champion(store) is None and registry.judged_so_far(store, JUDGED) == 0
    constant = mlflow.pyfunc.load_model(record(store, 1).source).predict(JUDGED[["eye", "text"]])
    assert len(set(constant)) == 1  # never trained: it gives one grade to all
    assert not registry.promote(store, 1, JUDGED).passed and registry.champion(store) is None
    assert registry.promote(store, 2, JUDGED).passed and registry.champion(store) == 2
    assert not registry.promote(store, 1, JUDGED).passed and registry.champion(store) == 2
    assert record(store, 1).tags["gate"].startswith("refused against version 2: worse; worse at north")
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
    assert (calls[0], calls[-1]) == ("locked", "free") and calls.count("locked") == 1  # the log has a lock of its own
    assert {"get_registered_model", "set_registered_model_tag", "set_registered_model_alias"} <= set(calls)


def test_what_is_not_shown_needs_a_person_who_is_named(store, tmp_path):
    few = JUDGED[JUDGED["patient_id"].isin(JUDGED["patient_id"].unique()[:40])]
    for version in (2, 3):
        registry.register(store, file_of(store, version).parent, ABOUT, TRAIN, few)
    assert registry.promote(store, 4, few).answer == gate.PASSED  # shown to be better than one grade for all
    verdict = registry.promote(store, 5, few)
    assert verdict.answer == gate.NOT_SHOWN and not verdict.passed and registry.champion(store) == 4
    assert "not shown to be no worse than by 0.05 at north (40 patients; it takes 73)" in verdict.reason
    for given in (
        {"approved_by": "Dr. Ana"},
        {"reason": "tried for a week"},
        {"approved_by": "Dr. Ana", "reason": " "},
    ):
        with pytest.raises(ValueError, match="give both"):
            registry.promote(store, 5, few, **given)
    verdict = registry.promote(store, 5, few, approved_by="Dr. Ana", reason="half the bytes, same answers")
    assert verdict.answer == gate.NOT_SHOWN and registry.champion(store) == 5
    registry.load(store)
    told = registry.history(store).table
    assert told["what"].tolist()[-3:] == ["not shown", "moving", "approved"]
    assert (told["approved_by"].iloc[-1], told["because"].iloc[-1]) == ("Dr. Ana", "half the bytes, same answers")
    assert (
        record(store, 5).tags["gate"].startswith("approved by Dr. Ana (half the bytes, same answers) against version 4")
    )
    registry.register(store, file_of(store, 1).parent, ABOUT, TRAIN, few)
    refused = registry.promote(store, 6, few, approved_by="Dr. Ana", reason="I like it")
    assert refused.answer == gate.REFUSED and registry.champion(store) == 5  # nobody can approve what was refused


# The log


def test_the_log_says_who_did_what_and_on_which_proof(store):
    registry.promote(store, 2, JUDGED)
    registry.promote(store, 1, JUDGED)
    registry.promote(store, 3, JUDGED)
    registry.rollback(store)
    found = registry.history(store)
    assert found.faults == []
    done = [(what, version) for what, version in found.table[["what", "version"]].values.tolist() if what != "moving"]
    registered = [("registered", 1), ("registered", 2), ("registered", 3)]
    assert done[1:] == [*registered, ("promoted", 2), ("refused", 1), ("promoted", 3), ("rolled back", 2)]
    promoted = found.table[found.table["what"] == "promoted"].iloc[1]
    assert promoted["against"] == 2 and "@" in promoted["who"] and promoted["when"].endswith("+00:00")
    proof = promoted["proof"]
    assert proof["judged"] == registry.fingerprint(JUDGED) and proof["margins"] == [0.02, 0.05]
    assert proof["files"] == registry._digest(json.loads(record(store, 3).tags["files"]))
    low, high = proof["gate"]["all"][1:3]
    assert low <= proof["gate"]["all"][0] <= high and proof["gate"]["all"][3] == len(JUDGED)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda lines: [*lines[:4], lines[4].replace(b'"version": 2', b'"version": 1'), *lines[5:]], "line 6 of"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4 of the log does not follow"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2 of the log does not follow"),
        (lambda lines: lines[:-1], "the end of the log"),
        (lambda lines: [*lines[:-1], lines[-1].replace(b"promoted", b"approved")], "the end of the log"),
        (lambda lines: [*lines[:2], b"?\n", *lines[3:]], "line 3 of the log is no line"),
    ],
)
def test_a_log_that_was_changed_is_noticed(store, break_it, said):
    registry.promote(store, 2, JUDGED)
    file = store.folder / registry.LOG
    assert registry.history(store).faults == []
    file.write_bytes(b"".join(break_it(file.read_bytes().splitlines(keepends=True))))
    assert any(said in fault for fault in registry.history(store).faults)


def test_a_log_that_is_gone_is_noticed_and_proves_nothing(store):
    registry.promote(store, 2, JUDGED)
    (store.folder / registry.LOG).unlink()
    store = registry.open_registry(store.folder)
    assert any("the log before it is gone" in fault for fault in registry.history(store).faults)
    with pytest.raises(ValueError, match="Version 2 became the champion past the gate"):
        registry.load(store)


def test_an_alias_that_was_moved_past_the_gate_serves_nothing(store):
    for version in (2, 3):
        registry.promote(store, version, JUDGED)
    store.client.set_registered_model_alias(store.name, registry.CHAMPION, "1")
    with pytest.raises(ValueError, match="Version 1 became the champion past the gate"):
        registry.load(store)
    for _ in range(2):  # it is written down once
        store = registry.open_registry(store.folder)
    assert registry.history(store).table["what"].tolist().count("past the gate") == 1
    assert registry.history(store).faults == ["version 1 became the champion past the gate"]
    assert registry.rollback(store) == 3 and registry.served_before(store) == [2] and registry.load(store)
    store.client.set_registered_model_alias(store.name, registry.CHAMPION, "1")
    assert registry.promote(store, 2, JUDGED).passed  # compared with 3, which the gate let serve
    assert record(store, 2).tags["gate"].startswith("passed against version 3")
    assert registry.served_before(store) == [2, 3] and registry.rollback(store) == 3


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
        ("set_registered_model_tag", "1", 2),  # the hash of the log's line that the alias will move
        ("set_registered_model_tag", "2", 2),  # who served before
        ("set_registered_model_tag", "3", 3),  # the hash of the line that it has moved
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
    registry.load(store)  # before anything is made good
    mlflow.pyfunc.load_model(f"models:/{store.name}@champion").predict(JUDGED[["eye", "text"]])
    registry.open_registry(store.folder)
    told = registry.history(store)
    begun = step != "set_model_version_tag"
    assert told.faults == [] and told.table["what"].iloc[-1] == (
        "promoted" if serves == 3 or not begun else "not moved"
    )
    assert told.table["version"].iloc[-1] == (3 if begun else 2)
    if serves == 2:
        assert registry.promote(store, 3, JUDGED).passed  # no lock and no half-written row is in the way
    assert registry.served_before(store) == [2]
    assert registry.rollback(store) == 2 and registry.served_before(store) == []


def test_of_two_promotions_at_once_the_second_meets_the_first(made, tmp_path):
    """Without the lock both would be compared with nobody: three pairs, for a race need not show each time."""
    for turn in range(3):
        shutil.copytree(made.folder, tmp_path / str(turn))
        store = registry.open_registry(tmp_path / str(turn))
        with ThreadPoolExecutor(2) as both:
            list(both.map(lambda version, store=store: registry.promote(store, version, JUDGED), (2, 3)))
        first, second = sorted(
            (2, 3), key=lambda v, store=store: record(store, v).tags["gate"].startswith("passed against version")
        )
        assert record(store, first).tags["gate"] == "passed against the most frequent grade: better"
        assert record(store, second).tags["gate"] == f"passed against version {first}: not worse by 0.02"
        assert registry.champion(store) == second and registry.served_before(store) == [first]
        assert registry.history(store).faults == []


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
    text, found = registry.card(store, 2, JUDGED), registry.measured(store, 2)
    for group in ("all", "north", "south"):
        n, right, f1, low, high = (
            found[group][what] for what in ("reports", "right", "macro_f1", "macro_f1_low", "macro_f1_high")
        )
        assert f"| {group} | {n:.0f} | {right:.0f} | 0 | {f1:.3f} | {low:.3f} to {high:.3f} |" in text
    assert "- method: full fine-tuning" in text and "- trained on 200 reports" in text and "Not for patients" in text
    assert "- gate: passed against the most frequent grade: better" in text
    assert "The gate chose by these same reports" in text


def test_a_metric_typed_by_hand_is_found_out(store):
    store.client.log_metric(record(store, 1).run_id, "all/macro_f1", 0.95)
    (found,) = registry.audit(store, 1, JUDGED)
    assert "version 1 says all/macro_f1 = 0.950, its answers give 0." in found
    with pytest.raises(ValueError, match=r"No card is written: version 1 says"):
        registry.card(store, 1, JUDGED)


def test_a_figure_that_does_not_follow_from_the_answers_is_found_out(store):
    file = kept(store, 2) / "figures.json"
    told = json.loads(file.read_text())
    told["south"]["macro_f1"] = 1.0 - told["south"]["macro_f1"]
    file.write_text(json.dumps(told))
    (found,) = registry.audit(store, 2, JUDGED)
    assert found.startswith("version 2 says south/macro_f1 = ")


def test_forged_answers_are_found_out_by_their_hash_and_by_asking_again(store):
    forged = JUDGED.rename(columns={"grade": "predicted"})[["report_id", "eye", "predicted"]].to_csv(index=False)
    (kept(store, 1) / "judged.csv").write_text(forged)
    said = "The kept answers of version 1 are not those that it gave: register it again."
    assert registry.audit(store, 1, JUDGED) == [said]
    with pytest.raises(ValueError, match="kept answers of version 1"):
        registry.promote(store, 1, JUDGED)
    tags = registry.paths.digest(forged)
    store.client.set_model_version_tag(store.name, "1", "answers_sha256", tags)
    assert "of 200 reports otherwise" in registry.audit(store, 1, JUDGED)[-1]
    (kept(store, 1) / "judged.csv").unlink()
    assert registry.audit(store, 1, JUDGED) == ["judged.csv of version 1 is gone: register it again."]


def kept(store, version):
    """The folder of what was kept of a version, beside its model."""
    return registry.Path(
        mlflow.artifacts.download_artifacts(store.client.get_run(record(store, version).run_id).info.artifact_uri)
    )


# A tracking server


def test_a_server_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(
        ValueError, match=r"The tracking server http://127\.0\.0\.1:9 does not answer: start it, or unset"
    ):
        registry.open_registry(tmp_path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The address of a real MLflow server on this machine, with a SQLite file behind it."""
    if importlib.util.find_spec("flask") is None:
        pytest.skip("mlflow-skinny has no server: pip install mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [
        "--backend-store-uri",
        f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination",
        str(tmp_path / "files"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *places,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    with (tmp_path / "server.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            while process.poll() is None:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.2)
            assert process.poll() is None, (tmp_path / "server.log").read_text()
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@pytest.mark.slow
def test_on_a_tracking_server_the_same_rules_hold(server, made, tmp_path, capsys):
    checkpoints = {version: file_of(made, version).parent for version in (1, 2, 3)}
    store = registry.open_registry(tmp_path / "mine")
    assert f"The registry is at {server}, by MLFLOW_TRACKING_URI" in capsys.readouterr().err
    for version, checkpoint in checkpoints.items():
        assert registry.register(store, checkpoint, ABOUT, TRAIN, JUDGED) == version
    assert registry.promote(store, 2, JUDGED).passed and not registry.promote(store, 1, JUDGED).passed
    assert registry.promote(store, 3, JUDGED).passed and registry.champion(store) == 3
    assert len(registry.load(store).predict(JUDGED[["eye", "text"]])) == len(JUDGED)
    elsewhere = registry.open_registry(tmp_path / "another machine")
    assert registry.rollback(elsewhere) == registry.champion(store) == 2
    assert registry.audit(store, 2, JUDGED) == [] and "| all | 600 |" in registry.card(store, 2, JUDGED)
    assert int(registry.trace(store, file_of(made, 3)).version) == 3
    real = store.client.set_registered_model_tag
    store.client.set_registered_model_tag = lambda *given: (
        elsewhere.client.set_registered_model_alias(store.name, registry.CHAMPION, "1"),
        real(*given),
    )
    with pytest.raises(ValueError, match="Another process made version 1 the champion meanwhile"):
        registry.promote(store, 3, JUDGED)
    with pytest.raises(ValueError, match="past the gate"):
        registry.load(store)


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
