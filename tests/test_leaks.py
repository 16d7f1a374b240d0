"""Each detector fires on a planted leak and is silent where there is none."""

import pandas as pd
import pytest

from course_utils import leaks


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("No DR.", 0),
        ("No apparent diabetic retinopathy", 0),
        ("RE: nil DR", 0),
        ("OD: 无DR。", 0),
        ("未见糖尿病视网膜病变", 0),
        ("Mild NPDR", 1),
        ("轻度NPDR", 1),
        ("background retinopathy, mild", 1),
        ("NPDR moderate", 2),
        ("mild to moderate NPDR", 2),
        ("中度非增殖期糖尿病视网膜病变", 2),
        ("NPDR severe", 3),
        ("very severe non-proliferative diabetic retinopathy", 3),
        ("重度NPDR", 3),
        ("非增殖期糖尿病视网膜病变(重度)", 3),
        ("DR grade 3", 3),
        ("ICDR level 2", 2),
        ("PDR", 4),
        ("active proliferative diabetic retinopathy", 4),
        ("增殖期糖尿病视网膜病变", 4),
        ("No vitreous haemorrhage, moderate NPDR", 2),
        ("CWS ?? OD: DR grade 4.", 4),
        ("Minimal BDR", 1),
        ("ICDRS: 3", 3),
    ],
)
def test_a_stated_grade_is_found_and_masked(text, grade):
    assert [one.grade for one in leaks.stated(text)] == [grade]
    assert leaks.MASK in leaks.mask(text) and not leaks.stated(leaks.mask(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no PDR",
        "father had PDR",
        "可疑PDR",
        "history of severe NPDR",
        "Diabetic retinopathy screening.",
        "Microaneurysms in one quadrant, no new vessels.",
        "grade 2 systolic murmur, seen by Dr Smith",
        "severe asthma; moderate pain",
        "PDRN injection",
    ],
)
def test_other_texts_state_none(text):
    assert leaks.stated(text) == [] and leaks.mask(text) == text


@pytest.mark.parametrize(
    "text", ["active PDR", "high-risk PDR", "high risk PDR", "early proliferative DR", "very severe BDR"]
)
def test_the_words_of_a_statement_are_masked_with_it(text):
    assert leaks.mask(text) == leaks.MASK


DOUBT = "no not without nil denies previous history h/o father mother brother sister family FHx possible poss r/o ?"
DOUBT_ZH = "无 未见 既往 曾 父亲 母亲 家族 可疑"


@pytest.mark.parametrize("word", [*DOUBT.split(), "rule out", *DOUBT_ZH.split()])
def test_each_word_of_doubt_makes_a_statement_none(word):
    assert leaks.stated(f"{word} very severe BDR" if word != "?" else "?severe NPDR") == []
    assert leaks.stated(f"{word}. Severe NPDR") and leaks.stated(
        f"{word}, severe NPDR"
    )  # in another clause it does not


def test_each_eye_has_its_own_statement_and_the_last_one_counts():
    text = "RE: DR grade 4. LE: DR grade 1. Right eye: severe NPDR."
    assert leaks.stated_grade(text, "right") == 3
    assert leaks.stated_grade(text, "left") == 1
    assert leaks.stated_grade("Moderate NPDR.", "left") == 2
    assert leaks.stated_grade("LE: DR grade 1.", "right") is None


def test_of_statements_that_overlap_one_counts_and_all_are_in_their_order():
    text = "LE: severe NPDR, DR grade 3. OU: mild NPDR. RE: no DR."
    assert [(text[one.start : one.end], one.grade, one.eye) for one in leaks.stated(text)] == [
        ("severe NPDR", 3, "left"),
        ("DR grade 3", 3, "left"),
        ("mild NPDR", 1, ""),  # both eyes
        ("no DR", 0, "right"),
    ]


def frames(**patients):
    return {
        name: pd.DataFrame({"patient_id": some, "text": [f"report of {one}" for one in some]})
        for name, some in patients.items()
    }


def test_a_patient_in_two_splits():
    assert leaks.shared_patients(frames(train=["a", "b"], dev=["c", "a"], test=["d"])) == {"a": ["train", "dev"]}
    assert leaks.shared_patients(frames(train=["a", "a"], dev=["b"])) == {}


def test_a_near_duplicate_in_two_splits():
    words = " ".join(f"word{i}" for i in range(40))
    train = pd.DataFrame({"text": ["Normal fundus in both eyes today.", f"{words} seen"]})
    planted = pd.DataFrame({"text": ["Something else was written here today.", f"{words} noted"]})
    assert leaks.near_duplicates({"train": train, "test": planted}) == [(("train", 1), ("test", 1))]
    assert leaks.near_duplicates({"train": train, "test": planted[:1]}) == []
    assert leaks.near_duplicates({"train": pd.concat([train, train])}) == []  # inside one split it is no leak
