"""The normaliser finds what the lexicon knows, takes the longest form, and leaves ordinary words alone."""

import pytest

import work
from course_utils import terms


def codes(text, *kinds):
    return [one.code for one in terms.mentions(text, kinds or None)]


def test_the_article_s_example():
    assert codes("糖尿病性视网膜病变") == ["DR"]
    assert terms.normalise("糖尿病性视网膜病变") == "DR"
    assert codes("高血压") == codes("HBP") == codes("Hypertension") == ["HTN"]


def test_every_form_is_found_and_has_a_source():
    for row in terms.lexicon():
        found = terms.mentions(f"x {row['form']} x")
        assert row["source"] and row["language"] in ("en", "zh")
        if row["kind"] != "guard":
            assert (row["form"], row["code"], row["kind"]) in {(one.form, one.code, one.kind) for one in found}, row


def test_one_code_and_kind_has_one_standard_but_for_drugs_and_cues():
    standards = {}
    for row in terms.lexicon():
        if row["kind"] not in ("drug", "cue", "guard"):
            standards.setdefault((row["kind"], row["code"]), set()).add(row["standard"])
    assert all(len(some) == 1 for some in standards.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("intraretinal microvascular abnormalities", ["IRMA"]),
        ("proliferative DR", ["PDR"]),
        ("non-proliferative DR", ["NPDR"]),
        ("vitreous haemorrhage and retinal haemorrhages", ["VH", "IRH"]),
        ("视网膜内微血管异常、视网膜内出血", ["IRMA", "IRH"]),
        ("type 2 diabetes", ["T2DM"]),
    ],
)
def test_the_longest_form_wins(text, expected):
    assert codes(text, "finding", "disease") == expected


def test_punctuation_inside_abbreviations_hyphens_and_line_breaks():
    text = "microan., ven. beading; hard ex. Cotton-wool\nspots, dot-blot hemorrhages"
    assert codes(text) == ["MA", "VB", "HE", "CWS", "IRH"]


def test_chinese_without_spaces_gets_them():
    assert terms.normalise("可见鼻上微动脉瘤及NVD。") == "shows superonasal microaneurysms and new vessels at the disc."
    assert terms.normalise("OD 无, 左眼 各象限.") == "right eye nil, left eye all four quadrants."


def test_a_form_inside_a_word_is_none():
    assert codes("NVDX xNVD NVD1 macule asthma irmas2 MAJOR") == []
    assert codes("患者无法配合") == []  # 无 means "no", 无法 means "unable"


@pytest.mark.parametrize(
    "text",
    [
        "he said that she has an ma in history, re: your letter; it is in le mans",
        "HE WAS SEEN TODAY IN CLINIC AND RE REFERRED",
        "HE HAS PAIN. DR SMITH WILL SEE HIM",
        "HE SLEPT.",
        "SEEN BY HE.",
        "metformin 500 mg OD",
        "nvd irh nve cws",
    ],
)
def test_abbreviations_that_are_words_do_not_fire(text):
    assert codes(text, "finding", "disease", "place", "eye") == []


def test_in_a_report_all_in_capitals_they_do():
    assert codes("OD: MA ST. OS: HE IN.") == ["RIGHT", "MA", "ST", "LEFT", "HE", "IN"]
    assert codes("鼻下MA。") == ["IN", "MA"]


@pytest.mark.parametrize(
    "text", ["", " ", "\0", "😀 NVD \u200b\ufeff", "é" * 5000, "NVD " * 5000, "眼" * 5000, "_-–.,;", "\n\n"]
)
def test_any_text_can_be_read(text):
    found = terms.mentions(text)
    assert all(text[one.start : one.end] == one.form for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)
    assert isinstance(terms.normalise(text), str)


def test_what_it_does_not_know_stays_as_it_is():
    text = 'Chest  X-ray: "clear"; \tno effusion (CRP < 5 mg/L).'
    assert terms.normalise(text) == text


def test_twice_is_the_same_as_once():
    for text in ("OS: No IRMA、NVE。 鼻上MA", "RE: hard ex. 4Q; ven. beading neg.", "No beading of the veins"):
        assert terms.normalise(terms.normalise(text)) == terms.normalise(text)


def test_kinds_restrict_what_is_touched():
    assert terms.normalise("OS: 未见NVD。", ("cue",)) == "OS: no NVD."


@pytest.mark.parametrize(
    "text",
    [
        "duloxetine DR 30 mg",
        "omeprazole DR daily",
        "Takes divalproex DR.",
        "metformin DR",
        "mesalamine DR tablets",
        "naproxen (DR) 500 mg",
        "DR 20mg capsule",
        "Aspirin DR 81 mg, stable",
        "started a DR tab",
        "DR 0.5 g twice daily",
    ],
)
def test_a_drug_s_delayed_release_is_no_disease(text):
    assert codes(text, "disease") == []


@pytest.mark.parametrize(
    "text", ["DR", "No DR.", "DR 3", "metformin for DR", "DR, metformin 500 mg", "On metformin. DR stable"]
)
def test_the_disease_is_still_found_beside_drugs_and_numbers(text):
    assert codes(text, "disease") == ["DR"]


HEAD = "form,standard,code,kind,language,source\n"


def test_a_lexicon_of_your_own_takes_the_place_of_the_course_s(tmp_path):
    own = tmp_path / "own.csv"
    own.write_text(HEAD + "PH,pulmonary hypertension,PH,disease,en,mine\nsildenafil,sildenafil,PDE5,drug,en,mine\n")
    text = "PH on sildenafil, no NVD."
    assert [one.standard for one in terms.mentions(text, lexicon=own)] == ["pulmonary hypertension", "sildenafil"]
    assert terms.normalise(text, lexicon=str(own)) == "pulmonary hypertension on sildenafil, no NVD."
    (drug,) = terms.mentions(text, ("drug",), own)
    assert [row["form"] for row in terms.same_code(drug, own)] == ["sildenafil"]
    own.write_text(HEAD + "PH,pinhole,PH,other,en,mine\n")  # a changed file is read again
    assert terms.normalise("VA 6/9 PH", lexicon=own) == "VA 6/9 pinhole"
    assert codes("PH on sildenafil, no NVD.") == ["NVD"]  # the course's own is as it was


def test_reading_a_lexicon_is_linear_in_its_rows(tmp_path):
    def read(rows):
        path = tmp_path / f"{rows}.csv"
        path.write_text(HEAD + "".join(f"form {i},standard {i},c{i},finding,en,x\n" for i in range(rows)))
        (found,) = terms.mentions(f"form {rows - 1}", lexicon=path)
        assert len(terms.same_code(found, path)) == 1

    few, many = (work.steps(lambda rows=rows: read(rows)) for rows in (500, 2_000))
    assert few > 500 and many < 5 * few  # 4 times as much work if it is linear, 16 times if it is quadratic


def test_a_lexicon_s_defects_are_named(tmp_path):
    for text, words in (
        ("form,code\nNVD,NVD\n", "needs the columns .* is missing"),
        ("", "needs the columns"),
        (
            HEAD + "NVD,a,NVD,finding,en,x\nMA,b,NVD,finding,en,x\nNVD,b,NVD,finding,en,x\n",
            'line 4: the form "NVD" is in line 2',
        ),
        (HEAD + " ,a,NVD,finding,en,x\n", "line 2: form is empty"),
        (HEAD + "NVD,,NVD,finding,en,x\n", "line 2: standard is empty"),
        (HEAD + "NVD,a\n", "line 2: kind is empty"),
        (HEAD + "gout,a,G,disease,en,x\nGout,b,G,disease,en,x\n", '"gout" and "Gout" are one form'),
    ):
        path = tmp_path / "own.csv"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            terms.mentions("NVD", lexicon=path)
    with pytest.raises(FileNotFoundError, match="no lexicon"):
        terms.lexicon(tmp_path / "none.csv")
