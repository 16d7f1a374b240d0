"""Notebooks 07 and 09 run to their end on a file that has nothing to do with eyes, and copy none of its text."""

import csv
import json
import random
from pathlib import Path

import nbformat
import papermill
import pytest

from course_utils import paths

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SECRET = "zebra-secret-word"
NOTES = {
    "minor": ("Cough since {} days, no fever, eating well", "Itchy rash on the arm for {} days, no pain"),
    "soon": ("Fever for {} days, productive cough", "Back pain for {} days, numb left foot"),
    "urgent": ("Chest pain for {} hours, sweating", "Sudden weakness of the left arm {} hours ago"),
}


@pytest.fixture(scope="module")
def triage(tmp_path_factory):
    """80 rows, other columns, three labels in words, and a few very long notes."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("own") / "triage.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["visit", "note", "triage", "who"])
        for i in range(80):
            label = rng.choice(list(NOTES))
            note = rng.choice(NOTES[label]).format(rng.randint(2, 90)) + f"; visit {i}, {SECRET}"
            rows.writerow([i, note + " with many other words" * (400 if i % 9 == 0 else 0), label, f"P{i // 2}"])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["07_prepare_dr_reports", "09_grade_dr_in_two_stages"])
def test_a_notebook_runs_on_a_file_of_another_kind(name, triage, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_THREADS", "1")
    before = {path.name: path.read_bytes() for path in paths.shipped_results().glob("*.json")}
    out, saved = tmp_path / "out.ipynb", tmp_path / "saved"
    mine = {"CSV": str(triage), "TEXT": "note", "LABEL": "triage", "GROUP": "who", "ORDER": ["minor", "soon", "urgent"]}
    mine |= {"SAVE_TO": str(saved)} if name.startswith("09") else {}
    papermill.execute_notebook(FOLDER / f"{name}.ipynb", out, mine, cwd=FOLDER, progress_bar=False)
    cells = [cell for cell in nbformat.read(out, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert {path.name: path.read_bytes() for path in paths.shipped_results().glob("*.json")} == before
    for path in saved.rglob("*"):
        assert SECRET.encode() not in path.read_bytes(), f"{path.name} holds the user's text"
    if name.startswith("09"):
        labels = json.loads((saved / "config.json").read_text(encoding="utf-8"))["id2label"]
        assert list(labels.values()) == ["minor", "soon", "urgent"]
        assert "a file of the user's" in (saved / "README.md").read_text(encoding="utf-8")
