"""The reports come out the same everywhere, and say what their labels say."""

import csv
import hashlib
import random

import pytest

from course_utils import paths
from course_utils.generate import language as words
from course_utils.generate import reports
from course_utils.generate.cases import draw_eye, grade_of
from course_utils.generate.compose import Voice, compose, text_of

SHIPPED = paths.samples() / "dr_reports.csv"


@pytest.fixture(scope="module")
def rows():
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_same_seed_same_bytes(tmp_path):
    reports.write_csv(reports.make_rows(), tmp_path / "again.csv")
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "again.csv", SHIPPED)]
    assert digests[0] == digests[1]


def test_another_seed_another_file():
    assert reports.make_rows(50, seed=1) != reports.make_rows(50, seed=2)


@pytest.mark.parametrize(
    "places, heavy, grade",
    [
        ({}, False, 0),
        ({"MA": ("ST",)}, False, 1),
        ({"MA": ("ST",), "HE": ("IN",)}, False, 2),
        ({"IRH": words.QUADRANTS}, False, 2),
        ({"IRH": words.QUADRANTS[:3]}, True, 2),
        ({"IRH": words.QUADRANTS}, True, 3),
        ({"VB": ("ST",)}, False, 2),
        ({"VB": ("ST", "IN")}, False, 3),
        ({"IRMA": ("ST",)}, False, 3),
        ({"NVE": ("ST",)}, False, 4),
        ({"VH": ("ST",), "IRMA": ("ST",)}, True, 4),
    ],
)
def test_the_4_2_1_rule(places, heavy, grade):
    assert grade_of(places, heavy) == grade


def test_no_patient_in_two_splits(rows):
    splits = {}
    for row in rows:
        splits.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_held_back_words_stay_in_test(rows):
    names = [term for site in words.SITES for _, kept in words.TERMS[site].values() for term in kept]
    unseen = [n for n in names if sum(n.lower() in r["text"].lower() for r in rows if r["split"] != "test") == 0]
    assert len(unseen) == len(names)
    assert sum(any(n.lower() in r["text"].lower() for n in names) for r in rows if r["split"] == "test") > 500


def test_twelve_thousand_rows_a_row_an_eye(rows):
    assert len(rows) == 12_000
    assert tuple(rows[0]) == tuple(reports.COLUMNS)
    assert len({(r["report_id"], r["eye"]) for r in rows}) == 12_000


def test_every_present_finding_is_written():
    rng = random.Random(3)
    for i in range(300):
        eye = draw_eye(rng, "right", i % 5)
        pieces = compose(Voice(rng, words.SITES[i % 3]), {"right": eye})
        said = {m[1] for _, m in pieces if m and m[0] == "right" and m[2] == "present"}
        assert said == set(eye.places), text_of(pieces)


def test_readers_agree_as_published(rows):
    for i in (1, 2):
        kappa = reports.kappa([(int(r[f"reader_{i}"]), int(r["grade"])) for r in rows])
        assert 0.82 <= kappa <= 0.91
