"""Notebooks 07 to 10 run to their end on files that have nothing to do with eyes, copy none of their text into what they
save, and show no result of the course's as the reader's.
"""

import csv
import json
import logging
import random
import re
import shlex

import nbformat
import papermill
import pytest

from course_utils import models, paths
from course_utils.authoring import run

CASE_STUDY = ("07_prepare_dr_reports", "08_find_leaks", "09_grade_dr_in_two_stages", "10_judge_a_grader")
SECRET = "zebra-secret-word"
NOTES = {
    "minor": ("Cough since {} days, no fever, eating well", "Itchy rash on the arm for {} days, no pain"),
    "soon": ("Fever for {} days, productive cough", "Back pain for {} days, numb left foot"),
    "urgent": ("Chest pain for {} hours, sweating", "Sudden weakness of the left arm {} hours ago"),
}
REFUNDS = {
    "退款": ("包装破损{}处，要求退款", "商品与描述不符，第{}次投诉"),
    "好评": ("物流很快，{}天就到了", "质量很好，第{}次购买"),
}
# what only the course's own reports can say
OF_THE_COURSE = (
    "eyes",
    "delta",
    "harbour",
    "macular",
    "photograph",
    "retinopathy",
    "C8:",
    "C13:",
    "five seeds",
    "reader_1",
)
# cells that show a tool on invented sentences, whatever the file, or say that they are left out
INVENTED = {
    "lexicon",
    "normalise",
    "mark",
    "augment",
    "stated",
    "stated-real",
    "drawing-splits",
}


def triage(folder):
    """80 rows, other columns, three labels in words, their order given, a few very long notes."""
    rng, path = random.Random(0), folder / "triage.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["visit", "note", "triage", "who"])
        for i in range(80):
            label = rng.choice(list(NOTES))
            note = rng.choice(NOTES[label]).format(rng.randint(2, 90)) + f"; visit {i}, {SECRET}"
            rows.writerow([i, note + " with many other words" * (400 if i % 9 == 0 else 0), label, f"P{i // 2}"])
    order = {"TEXT": "note", "LABEL": "triage", "GROUP": "who", "ORDER": "[minor, soon, urgent]", "REFERABLE": "urgent"}
    return {"CSV": str(path)} | order, ["minor", "soon", "urgent"]


def refunds(folder):
    """120 Chinese rows from Excel, two labels without an order, splits of its own, no patient."""
    rng, path = random.Random(1), folder / "refunds.csv"
    with path.open("w", newline="", encoding="gb18030") as file:
        rows = csv.writer(file)
        rows.writerow(["评论", "标签", "split"])
        for i in range(120):
            label = rng.choice(list(REFUNDS))
            text = rng.choice(REFUNDS[label]).format(i) + f"，{SECRET}"
            rows.writerow([text, label, ("train", "train", "validation", "test")[i % 4]])
    return {"CSV": str(path), "TEXT": "评论", "LABEL": "标签"}, ["好评", "退款"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASE_STUDY)
@pytest.mark.parametrize("make", [triage, refunds])
def test_a_notebook_runs_on_a_file_of_another_kind(name, make, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_THREADS", "1")
    before = {path.name: path.read_bytes() for path in paths.shipped_results().glob("*.json")}
    out, saved = tmp_path / "out.ipynb", tmp_path / "saved"
    mine, labels = make(tmp_path)
    known = parameters(name)
    mine = {key: value for key, value in mine.items() if key in known}
    mine |= {"SAVE_TO": str(saved)} if "SAVE_TO" in known else {}
    mine |= {"GRADER": str(a_grader(labels, tmp_path / "grader"))} if "GRADER" in known else {}
    papermill.execute_notebook(paths.NOTEBOOKS / f"{name}.ipynb", out, mine, cwd=paths.NOTEBOOKS, progress_bar=False)
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert {path.name: path.read_bytes() for path in paths.shipped_results().glob("*.json")} == before
    for path in saved.rglob("*"):
        assert SECRET.encode() not in path.read_bytes(), f"{path.name} holds the user's text"
    assert not speaks_of_the_course(cells)
    if "SAVE_TO" in known:
        config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
        assert sorted(config["id2label"].values()) == sorted(labels)
    if name.startswith("10"):
        card = (saved / "README.md").read_text(encoding="utf-8")
        assert "a file of the user's" in card and not re.search("eye|photograph|macular", card)


def a_grader(labels, folder):
    """Save a grader of these labels, as notebook 09 does."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0, num_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    for part in (model, tokenizer):
        part.save_pretrained(folder)
    return folder


def speaks_of_the_course(cells):
    """Return {cell: words} where a cell printed words that only the course's own data can hold."""
    found = {}
    for cell in cells:
        said = "".join(out.get("text", "") for out in cell.outputs if out.get("name") == "stdout")
        said += "".join(str(out.get("metadata", {}).get("image/png", {})) for out in cell.outputs)
        words = [word for word in OF_THE_COURSE if word in said]
        if words and cell.id not in INVENTED:
            found[cell.id] = words
    return found


def parameters(name):
    return papermill.inspect_notebook(str(paths.NOTEBOOKS / f"{name}.ipynb"))


@pytest.mark.parametrize("name", CASE_STUDY)
def test_papermill_knows_each_parameter(name, tmp_path, caplog):
    """A cell with `A, B = 1, 2` has no parameter that papermill knows, and it warns although it sets them."""
    (cell,) = (
        cell
        for cell in nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        if "parameters" in cell.metadata.get("tags", [])
    )
    names = re.findall(r"^([A-Z_]+)\b", cell.source, re.MULTILINE)
    with caplog.at_level(logging.WARNING):
        papermill.execute_notebook(
            paths.NOTEBOOKS / f"{name}.ipynb", tmp_path / "out.ipynb", dict.fromkeys(names, "x"), prepare_only=True
        )
    assert list(parameters(name)) == names and "unknown parameter" not in caplog.text


def test_the_command_for_a_file_of_yours_names_parameters_that_are_there():
    page = (paths.ROOT / "docs" / "own_reports.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\S*papermill (.*)$", page, re.MULTILINE)
    words = shlex.split(command)
    name = words[0].removesuffix(".ipynb")
    given = [words[i + 1] for i, word in enumerate(words) if word == "-p"]
    assert name in {path.stem for path in run.chapters()} and set(given) <= set(parameters(name))
    # papermill is no part of `make lab`, and the notebook runs in its own folder
    assert (
        "after `make extras`, from a command line:\n\n```\ncd notebooks\n" in page and "-p CSV ../mine.csv" in command
    )
