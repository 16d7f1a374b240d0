"""Each detector fires on a planted leak and is silent where there is none."""

import random

import pandas as pd
import pytest

import work
from course_utils import data, leaks


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


STATED = [
    ("diabetic retinopathy grade moderate", 2),
    ("Severity: moderate NPDR", 2),
    ("NPDR moderate-severe", 3),
    ("NPDR mild-moderate", 2),
    ("mild diabetic retinopathy changes", 1),
    ("R1 M0 P0", 1),
    ("R3S M0", 4),
    ("R2M1 OU", 2),
    ("No DR or DMO", 0),
    ("No diabetic retinopathy or maculopathy", 0),
    ("Diabetic retinopathy - none seen", 0),
    ("DR nil", 0),
    ("PDR, active", 4),
    ("NPDR Mild", 1),
    ("DR=0", 0),
    ("Grade: severe NPDR", 3),
    ("Moderate nonprolif DR", 2),
    ("retinopathy level 2", 2),
    ("NPDR grade moderate", 2),
    ("P.D.R.", 4),
    ("MILD BDR", 1),
    ("severe  non - proliferative  DR", 3),
    ("Stable mild NPDR", 1),
    ("mild stable NPDR", 1),
    ("Now PDR, previously severe NPDR", 4),
    ("bkg DR", 1),
    ("Both eyes have moderate NPDR", 2),
    ("DM retinopathy, mild", 1),
    ("no visible retinopathy", 0),
    ("Dx: PDR", 4),
    ("diabetic retinopathy (severe non-proliferative)", 3),
    ("NPDR / severe", 3),
    ("mild nonproliferative retinopathy", 1),
    ("Mod NPDR", 2),
    ("background DR", 1),
    ("R2", 2),
    ("RE: R1M0", 1),
    ("Right: R3A M1", 4),
    ("R0M0 both eyes", 0),
    ("LE R2 M1", 2),
    ("Background diabetic retinopathy OU", 1),
    ("NPDR, moderate", 2),
    ("NPDR - severe", 3),
    ("NPDR (mild)", 1),
    ("NPDR: moderate", 2),
    ("NPDR, moderate, OU", 2),
    ("Moderate non-proliferative DR", 2),
    ("moderate non proliferative diabetic retinopathy", 2),
    ("MODERATE NPDR", 2),
    ("moderate\nNPDR", 2),
    ("mod. NPDR", 2),
    ("Sev NPDR", 3),
    ("Severe NPDR with DME", 3),
    ("mild-to-moderate NPDR", 2),
    ("mild/mod NPDR", 2),
    ("moderate to severe NPDR", 3),
    ("diabetic retinopathy, proliferative", 4),
    ("DR (proliferative)", 4),
    ("Proliferative diabetic\nretinopathy", 4),
    ("proliferative DR", 4),
    ("prolif DR", 4),
    ("Proliferative retinopathy", 4),
    ("proliferative diabetic disease", 4),
    ("High-risk PDR", 4),
    ("pre-proliferative retinopathy", 3),
    ("preproliferative DR", 3),
    ("Grade 3 DR", 3),
    ("DR grade: 2", 2),
    ("grade 2 diabetic retinopathy", 2),
    ("DR2", 2),
    ("DR 3", 3),
    ("DR stage II", 2),
    ("stage 3 DR", 3),
    ("ICDR 2", 2),
    ("ICDR severity scale: 4", 4),
    ("ETDRS level 53", 3),
    ("ETDRS 47", 2),
    ("DRSS 35", 2),
    ("no evidence of diabetic retinopathy", 0),
    ("No signs of any DR", 0),
    ("without retinopathy", 0),
    ("DR: none", 0),
    ("Retinopathy: nil", 0),
    ("retinopathy absent", 0),
    ("no NPDR or PDR", 0),
    ("No diabetic or hypertensive retinopathy", 0),
    ("no hypertensive or diabetic retinopathy", 0),
    ("no e/o DR", 0),
    ("No background diabetic retinopathy", 0),
    ("diabetic retinopathy of moderate severity", 2),
    ("retinopathy is mild", 1),
    ("diabetic retinopathy: severity moderate", 2),
    ("moderate bilateral NPDR", 2),
    ("Severe (NPDR)", 3),
    ("early NPDR", 1),
    ("minimal background retinopathy", 1),
    ("No change, moderate NPDR", 2),
    ("No progression of moderate NPDR", 2),
    ("h/o mild NPDR, now severe NPDR", 3),
    ("Denies pain. PDR.", 4),
    ("轻度非增殖性糖尿病视网膜病变", 1),
    ("非增生型糖尿病视网膜病变 中度", 2),
    ("重度DR", 3),
    ("双眼糖尿病视网膜病变III期", 3),
    ("糖尿病视网膜病变Ⅳ期", 4),
    ("DR 二期", 2),
    ("增生性糖尿病视网膜病变", 4),
    ("未见糖网", 0),
    ("无明显糖尿病视网膜病变", 0),
    ("轻至中度NPDR", 2),
    ("增殖前期糖尿病视网膜病变", 3),
    ("背景期糖尿病视网膜病变", 1),
    ("右眼PDR", 4),
    ("OD: Moderate NPDR", 2),
    ("A: PDR OU", 4),
    ("IMPRESSION:  severe   NPDR", 3),
    ("npdr, mild", 1),
    ("Impression: Very severe NPDR", 3),
    ("diabetic retinopathy \u2014 moderate", 2),
    ("diabetic retinopathy \u2013 severe", 3),
    ("non\u2011proliferative DR, severe", 3),
    ("moderately severe NPDR", 2),
    ("mild dr", 1),
    ("no dr seen", 0),
    ("Treated PDR, stable", 4),
    ("diabetic retinopathy, mild, non-proliferative", 1),
    ("Nonproliferative diabetic retinopathy, severe, with macular oedema", 3),
]
NOT_STATED = [
    "past h/o severe NPDR OU",
    "Her sister: PDR",
    "He does not have PDR",
    "father's PDR",
    "not yet PDR",
    "severe NPDR may develop",
    "Criteria for severe NPDR not met",
    "PDR is a risk",
    "Worried that PDR could follow",
    "mum has PDR",
    "The aunt had proliferative diabetic retinopathy",
    "resolved PDR",
    "monitor for PDR",
    "neither PDR nor",
    "Maternal grandmother: proliferative DR",
    "DR 40",
    "DR 1/52",
    "PMHx: mild NPDR",
    "family hx of PDR",
    "paternal PDR",
    "hypertensive retinopathy, moderate",
    "moderate hypertensive retinopathy",
    "hx of proliferative diabetic retinopathy",
    "Hx PDR",
    "history of mild NPDR",
    "Family history:\nPDR",
    "FHx: PDR",
    "FHx: glaucoma, PDR",
    "Family history: father, severe NPDR",
    "Mother: PDR",
    "PMH: PDR",
    "Past ocular history:\nsevere NPDR",
    "previous moderate NPDR",
    "Prior PDR",
    "h/o PDR",
    "brother has severe NPDR",
    "PDR in her mother",
    "PDR (father)",
    "PDR ruled out",
    "PDR?",
    "?PDR",
    "PDR not seen",
    "PDR excluded",
    "PDR unlikely",
    "possible PDR",
    "suspected severe NPDR",
    "r/o PDR",
    "rule out PDR",
    "screening for PDR",
    "risk of PDR",
    "may progress to PDR",
    "if PDR develops",
    "no PDR",
    "No proliferative diabetic retinopathy",
    "not severe NPDR",
    "Never had PDR",
    "PDR: no",
    "No Dr. available",
    "Dr Smith",
    "seen by Dr. Mild",
    "duloxetine DR 30 mg",
    "DR 2 mg",
    "DR 3 years",
    "sickle retinopathy, severe",
    "mild radiation retinopathy",
    "severe retinopathy of prematurity",
    "no hypertensive retinopathy",
    "proliferative vitreoretinopathy, severe",
    "proliferative sickle retinopathy",
    "R2 = 0.98",
    "R1 resection",
    "R0 resection margins",
    "ward R2",
    "PGY R2",
    "DR, mild cataract",
    "diabetic retinopathy, moderate cataract",
    "moderate cataract, diabetic retinopathy screening",
    "severe pain; DR clinic",
    "NPDR",
    "diabetic retinopathy",
    "proliferative endometrium",
    "grade 3 heart failure",
    "stage 2 CKD with DR clinic",
    "mild myopia",
    "ETDRS chart",
    "VA 53 ETDRS letters",
    "annual DR appointment",
    "家族史:PDR",
    "父亲患PDR",
    "可疑重度NPDR",
    "既往PDR",
    "否认PDR",
    "排除PDR",
    "PDR待排",
    "母亲:重度NPDR",
    "高血压性视网膜病变 中度",
    "无PDR",
    "R10",
    "XR2",
    "OR2",
    "DRY eyes, moderate",
    "moderate DRUSEN",
    "severe DRy eye",
    "Background noise",
    "background: asthma",
    "background of DM",
    "bg 12.3",
    "BG 7.2 mmol/l",
]


@pytest.mark.parametrize("text, grade", STATED)
def test_the_many_ways_to_state_a_grade(text, grade):
    assert [one.grade for one in leaks.stated(text)] == [grade]
    assert not leaks.stated(leaks.mask(text))


@pytest.mark.parametrize("text", NOT_STATED)
def test_what_only_looks_like_a_statement(text):
    assert leaks.stated(text) == []


@pytest.mark.parametrize(
    "text, eyes",
    [
        ("mild NPDR OD, moderate NPDR OS", ["right", "left"]),
        ("OD mild NPDR OS moderate NPDR", ["right", "left"]),
        ("Moderate NPDR in the left eye", ["left"]),
        ("RE R2M1 LE R1M0", ["right", "left"]),
        ("PDR OU", [""]),
    ],
)
def test_the_eye_of_a_statement_may_stand_on_either_side(text, eyes):
    assert [one.eye for one in leaks.stated(text)] == eyes


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


@pytest.fixture(scope="module")
def reports():
    """A part of the training reports, with no grade stated, and labels for each."""
    rows = data.load_reports()["train"].to_pandas()[:1500]
    urgent = ["urgent" if grade >= 3 else "routine" for grade in rows["grade"]]
    return rows.assign(text=[leaks.mask(text) for text in rows["text"]], label=urgent)


def planted(rows, share=1.0, seed=0):
    rng = random.Random(seed)
    lines = [f" Assessment: {label if rng.random() < share else 'see letter'}." for label in rows["label"]]
    return [text + line for text, line in zip(rows["text"], lines, strict=True)]


def test_reports_that_state_no_label_give_none_away(reports):
    for labels in (reports["label"], reports["grade"]):
        found = leaks.giveaways(list(reports["text"]), list(labels), list(reports["patient_id"]))
        assert not found.leaks and "No phrase alone" in found.verdict
        assert found.right < 1.1 * found.majority < found.n


@pytest.mark.parametrize("share", [1.0, 0.2])
def test_a_label_in_the_text_is_called_a_leak(reports, share):
    found = leaks.giveaways(planted(reports, share), list(reports["label"]), list(reports["patient_id"]))
    assert {(one.label, one.phrases[0]) for one in found.leaks} == {("urgent", "urgent"), ("routine", "routine")}
    for one in found.leaks:
        assert one.k == one.n and one.precision[1] > 0.9 and one.covered[1] < share <= one.covered[2] + 0.02
    assert found.right == found.n if share == 1 else found.majority < found.right < found.n
    assert '"urgent" means urgent' in found.verdict


def test_a_phrase_that_only_one_label_has_is_found(reports):
    texts = [
        text + (" book laser" if label == "urgent" else "")
        for text, label in zip(reports["text"], reports["label"], strict=True)
    ]
    found = leaks.giveaways(texts, list(reports["label"]))
    assert [(one.label, one.phrases) for one in found.leaks] == [("urgent", ("book",))] and found.right == found.n


def test_stated_grades_are_given_away_until_they_are_masked(reports):
    words = ("No DR", "mild NPDR", "moderate NPDR", "severe NPDR", "PDR")
    texts = [
        f"{text} Impression: {words[grade]}." for text, grade in zip(reports["text"], reports["grade"], strict=True)
    ]
    labels = list(reports["grade"])
    assert {one.label for one in leaks.giveaways(texts, labels).leaks} == {0, 1, 2, 3, 4}
    assert not leaks.giveaways([leaks.mask(text) for text in texts], labels).leaks


def test_a_small_file_and_a_chinese_one():
    labels = ["urgent"] * 15 + ["routine"] * 85
    found = leaks.giveaways([f"seen in clinic {i}. Triage: {label}" for i, label in enumerate(labels)], labels)
    assert "urgent" in {one.label for one in found.leaks}
    chinese = [f"眼底检查。诊断:{'急诊' if label == 'urgent' else '常规'}。" for label in labels]
    assert leaks.giveaways(chinese, labels).right == 100


def test_what_fits_by_chance_is_no_leak():
    rng = random.Random(1)
    words = [f"word{i}" for i in range(200)]
    texts = [" ".join(rng.choices(words, k=20)) for _ in range(400)]
    found = leaks.giveaways(texts, [rng.choice("abc") for _ in texts])
    assert not found.leaks


def test_a_phrase_of_one_patient_is_none_where_the_patients_are_known():
    rng = random.Random(2)
    patients = ["p0"] * 120 + [f"p{1 + i % 40}" for i in range(280)]
    labels = ["ill" if patient == "p0" or int(patient[1:]) % 4 == 0 else "well" for patient in patients]
    texts = [" ".join(rng.choices("abcdefgh", k=6)) + (" room nine" if patient == "p0" else "") for patient in patients]
    assert [one.label for one in leaks.giveaways(texts, labels).leaks] == ["ill"]
    assert not leaks.giveaways(texts, labels, patients).leaks


def test_looking_for_giveaways_is_linear_in_the_rows(reports):
    def look(times):
        leaks.giveaways(list(reports["text"][:200]) * times, list(reports["label"][:200]) * times)

    few, many = (work.steps(lambda times=times: look(times)) for times in (1, 4))
    assert few > 200 and many < 5 * few  # 16 times as much work if it were quadratic


def test_a_file_that_giveaways_can_not_judge_is_named():
    with pytest.raises(ValueError, match="2 texts, 1 labels"):
        leaks.giveaways(["a", "b"], [0])
    with pytest.raises(ValueError, match="1 labels and 9 groups"):
        leaks.giveaways(["a"] * 9, [0] * 9)
    with pytest.raises(ValueError, match="2 labels and 3 groups"):
        leaks.giveaways(["a"] * 9, [0, 1, 0] * 3, ["x", "y", "z"] * 3)
    with pytest.raises(ValueError, match="No word stands in 5 of the 10 texts"):
        leaks.giveaways(["..."] * 10, [0, 1] * 5)
