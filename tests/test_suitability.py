"""What is said of a file before training comes from its numbers, and turns around with them."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from course_utils import models, suitability

ENGLISH = ["Cough since three days, no fever, eating well.", "Chest pain for two hours, sweating, known hypertension."]
FRENCH = ["Le patient se plaint de céphalées depuis trois jours, sans fièvre ni vomissements."]
GERMAN = ["Kein Hinweis auf eine Fraktur, regelmäßige Kontrolle beim Hausarzt empfohlen."]
CHINESE = ["入选标准：年龄十八岁以上，签署知情同意书，肝肾功能正常。"]


def frame(texts, grades=None, patients=None):
    n = len(texts)
    return pd.DataFrame(
        {
            "text": texts,
            "eye": [""] * n,
            "grade": [0] * n if grades is None else grades,
            "patient_id": [f"p{i}" for i in range(n)] if patients is None else patients,
        }
    )


def frames(n=300, of_test=300, labels=(0, 1), texts=ENGLISH, patients=None):
    def rows(size, who=None):
        return frame([texts[i % len(texts)] for i in range(size)], [labels[i % len(labels)] for i in range(size)], who)

    return {"train": rows(n), "dev": rows(60), "test": rows(of_test, patients)}


@pytest.fixture(scope="module")
def base():
    return models.grader(models.base("tiny-biobert"), seed=0, num_labels=2)


def told(found, gravity=None):
    return " | ".join(one.text for one in found if gravity in (None, one.gravity))


@pytest.mark.parametrize(
    ("texts", "gravity", "says"),
    [
        (ENGLISH, "fine", "The base reads this text"),
        (FRENCH, "look", "hardly made for this language"),
        (GERMAN, "look", "words that the model never sees"),
        (CHINESE, "stop", "can't read this text: take another"),
    ],
)
def test_a_base_says_whether_it_reads_a_language(base, texts, gravity, says):
    assert says in told(suitability.findings(frames(texts=texts), ["a", "b"], base[1]), gravity)


def test_reading_counts_by_hand(base):
    _, tokenizer = base
    (words,) = (tokenizer.tokenize(text) for text in CHINESE)
    read = suitability.reading(frame(CHINESE), tokenizer)
    assert read.unknown == pytest.approx(words.count(tokenizer.unk_token) / len(words))
    assert read.touched == 1 and read.cut == 0
    assert suitability.reading(frame(ENGLISH), tokenizer, max_length=8).cut == 1
    assert suitability.reading(frame([*CHINESE, *ENGLISH]), tokenizer).touched == pytest.approx(1 / 3)


def test_a_vocabulary_with_no_unknown_token_has_none_unknown():
    tokenizer = models.grader(models.base("tiny-opt"), seed=0)[1]
    read = suitability.reading(frame(CHINESE), tokenizer)
    assert read.unknown == read.touched == 0 and read.pieces > 2  # what it has no word for it spells out


def test_cut_texts_are_counted(base):
    long = ["word " * 400, *ENGLISH]
    assert "33.3% of the texts are longer" in told(
        suitability.findings(frames(texts=long), ["a", "b"], base[1]), "look"
    )


@pytest.mark.parametrize(
    ("rows", "gravity", "says"),
    [
        (13, "look", "13 test rows: nothing below can be relied on, a score is known to plus or minus 21 points"),
        (13, "look", "200 would give plus or minus 6 points"),
        (120, "look", "plus or minus 7 points, so small gains don't show"),
        (3000, "fine", "3,000 test rows: a score is known to plus or minus 1 point."),
    ],
)
def test_few_test_rows_are_said(base, rows, gravity, says):
    assert says in told(suitability.findings(frames(of_test=rows), ["a", "b"], base[1]), gravity)


def test_rows_of_few_patients_are_few_rows(base):
    found = suitability.findings(
        frames(of_test=3000, patients=[f"p{i % 13}" for i in range(3000)]), ["a", "b"], base[1]
    )
    assert "3,000 test rows of 13 patients: nothing below can be relied on" in told(found, "look")


def test_a_lopsided_file_and_a_rare_label_are_said(base):
    found = told(suitability.findings(frames(labels=[0] * 19 + [1]), ["well", "ill"], base[1]), "look")
    assert '"well" is the label of 95% of the rows' in found
    found = told(suitability.findings(frames(of_test=100, labels=[0] * 19 + [1]), ["well", "ill"], base[1]), "look")
    assert 'Labels with fewer than ten test rows: "ill" 5' in found
    lacking = frames() | {"dev": frame(ENGLISH * 30, [0] * 60)}
    found = told(suitability.findings(lacking, ["well", "ill"], base[1]), "look")
    assert 'The split dev has no row of "ill"' in found and "The split test" not in found
    even = told(suitability.findings(frames(), ["well", "ill"], base[1]))
    assert "of the rows: who always" not in even and "fewer than ten" not in even


def test_a_phrase_that_gives_a_label_away_is_said(base):
    texts = [f"{ENGLISH[i % 2][:30]} day {i}. Assessment: {('routine', 'urgent')[i % 2]}" for i in range(200)]
    rows = frame(texts, [i % 2 for i in range(200)])
    rng = np.random.default_rng(0)
    honest = frame([" ".join(rng.permutation(ENGLISH[0].split())) for _ in range(200)], [i % 2 for i in range(200)])
    for train, gravity, says in ((rows, "look", "Phrases give labels away"), (honest, "fine", "No phrase alone")):
        assert says in told(suitability.findings(frames() | {"train": train}, ["routine", "urgent"], base[1]), gravity)


def test_counts_are_rows_of_patients():
    table = suitability.counts(frames(of_test=10, patients=[f"p{i // 2}" for i in range(10)]), ["well", "ill"])
    assert table["test"].tolist() == ["5 of 5", "5 of 5", "10 of 5"] and table.index.name == "rows of patients"
    assert suitability.counts(frames(of_test=10), ["well", "ill"])["test"].tolist() == ["5", "5", "10"]


def test_the_bars_are_learnt_on_train_alone(base):
    parts = frames(texts=["Chest pain now.", "A cough."])
    given = suitability.bars(parts, *base)
    assert list(given) == [suitability.MAJORITY, suitability.COUNTS, suitability.PROBE]
    for name in (suitability.COUNTS, suitability.PROBE):
        assert np.array_equal(given[name]["test"], parts["test"]["grade"])
    turned = parts | {"test": parts["test"].assign(grade=1 - parts["test"]["grade"])}
    again = suitability.bars(turned, *base)
    assert all(np.array_equal(given[name]["test"], again[name]["test"]) for name in given)
    assert set(given[suitability.MAJORITY]["dev"]) == {0}


def graded(ordered=True, labels=(0, 1, 2)):
    return SimpleNamespace(frames=frames(labels=labels), names=["mild", "soon", "grave"], ordered=ordered)


def test_the_line_for_referral_is_a_label_and_those_after_it_where_they_have_an_order():
    assert suitability.referred(graded(), "") == []
    assert suitability.referred(graded(), "soon") == [1, 2]
    assert suitability.referred(graded(ordered=False), "soon") == [1]


@pytest.mark.parametrize("label", ["urgent", 7])
def test_a_line_that_is_no_label_is_refused(label):
    with pytest.raises(ValueError, match="no label. There are: mild, soon, grave"):
        suitability.referred(graded(), label)


def test_a_line_that_a_split_lacks_is_refused_before_training():
    with pytest.raises(ValueError, match='0 of 300 rows of the split "train"'):
        suitability.referred(graded(labels=(0, 1)), "grave")
    with pytest.raises(ValueError, match='300 of 300 rows of the split "train"'):
        suitability.referred(graded(), "mild")
