"""Changed copies say the same as their reports, and a copy that does not is dropped."""

import re

import pandas as pd
import pytest

from course_utils import augment, terms

pytest.importorskip("negspacy")

ROWS = pd.DataFrame(
    {
        "text": [
            "Right eye: microaneurysms, no new vessels at the disc. Takes metformin for hypertension.",
            "左眼: 未见视盘新生血管。 有高血压, 服用二甲双胍。",
            "The patient is well.",
        ],
        "eye": ["right", "left", "left"],
        "grade": [1, 0, 0],
        "split": ["train"] * 3,
    }
)


def test_synonyms_and_drugs_of_the_same_class():
    made = [augment.variants(list(ROWS["text"]), seed, share=1.0) for seed in range(8)]
    drugs = {one.standard for texts in made for one in terms.mentions(texts[0], ("drug",))}
    assert "metformin" not in drugs and len(drugs) > 1
    for text, _, untouched in made:
        assert [one.code for one in terms.mentions(text, augment.KINDS)] == ["MA", "NVD", "A10B", "HTN"]
        assert untouched == ROWS["text"][2]
    assert any("HBP" in texts[1] for texts in made)  # the article's 高血压 -> HBP
    assert not any(re.search(f"[{terms.HAN}]", texts[0]) for texts in made)


def test_the_other_direction():
    made = {augment.variants(["患者有HBP"], seed, share=1.0)[0] for seed in range(20)}
    assert "患者有高血压" in made


def test_a_misspelling_is_read_and_never_written():
    misspelt = [row for row in terms.lexicon() if row["source"] == augment.MISSPELT and row["kind"] in augment.KINDS]
    texts = [f"{row['standard']} seen" for row in misspelt]
    written = [set(made) for made in zip(*(augment.variants(texts, seed, 1.0) for seed in range(60)), strict=True)]
    assert misspelt and not any(f"{row['form']} seen" in made for row, made in zip(misspelt, written, strict=True))
    assert any(len(made) > 1 for made in written)


def test_copies_keep_label_and_facts_and_an_unchanged_report_has_none():
    found = augment.augmented(ROWS, share=1.0)
    assert list(found.rows["grade"]) == list(found.of["grade"]) and "The patient is well." not in set(found.of["text"])
    for before, after, eye in zip(found.of["text"], found.rows["text"], found.rows["eye"], strict=True):
        assert before != after
        assert augment.facts([before], [eye]) == augment.facts([after], [eye])


def test_a_copy_that_says_something_else_is_dropped(monkeypatch):
    monkeypatch.setattr(augment, "variants", lambda texts, *_: [text.replace("no new", "new") for text in texts])
    found = augment.augmented(ROWS)
    assert (len(found.rows), found.dropped) == (0, 1)


def test_a_wrong_synonym_is_noticed():
    one = "Right eye: microaneurysms."
    for other in ("Right eye: NVD.", "Left eye: microaneurysms.", "Right eye: no microaneurysms.", "Right eye: well."):
        assert augment.facts([one], ["right"]) != augment.facts([other], ["right"])


def test_rows_without_a_known_term_have_no_copies():
    found = augment.augmented(ROWS[2:])
    assert (len(found.rows), len(found.of), found.dropped, list(found.rows)) == (0, 0, 0, list(ROWS))


def test_test_rows_are_refused():
    with pytest.raises(ValueError, match="hold the split test"):
        augment.augmented(ROWS.assign(split=["train", "test", "test"]))


def test_normalising_afterwards_undoes_synonyms_but_not_drugs():
    before = list(ROWS["text"])
    after = augment.variants(before, 1, share=1.0)
    normal = [[terms.normalise(text) for text in some] for some in (before, after)]
    assert augment.replaced(before, after) == 7
    assert augment.replaced(*normal) == 2


def test_the_same_seed_gives_the_same_copies():
    texts = list(ROWS["text"])
    assert augment.variants(texts, 3) == augment.variants(texts, 3)
    assert augment.variants(texts, 3, 1.0) != augment.variants(texts, 4, 1.0)
