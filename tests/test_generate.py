"""The reports come out the same everywhere, and say what their labels say."""

import csv
import hashlib
import random
import re
from collections import Counter

import pytest

from course_utils import paths
from course_utils.generate import language as words
from course_utils.generate import reports, stream
from course_utils.generate.cases import Eye, believable, chance, draw_eye, draw_pair, grade_of, later_pair, pick
from course_utils.generate.compose import DEV_UNSEEN, TEST, Voice, compose, text_of

SAMPLES = paths.ROOT / "data_samples"
SHIPPED = SAMPLES / "dr_reports.csv"
TABLES = {name: table for name, table in vars(words).items() if isinstance(table, dict) and "gloss" in table}


@pytest.fixture(scope="module")
def rows():
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made():
    """Eyes with the pieces of their reports: (voice, eyes, pieces)."""
    rng, some = random.Random(3), []
    for i in range(1500):
        pair = draw_pair(rng) if i % 2 else {s: (draw_eye(rng, s, int(rng.random() * 5)), 0) for s in ("right", "left")}
        sides = ("right", "left") if chance(rng, 0.5) else (pick(rng, ("right", "left")),)
        eyes = {side: pair[side][0] for side in sides}
        fellow = next((eye for side, (eye, _) in pair.items() if side not in eyes), None)
        voice = Voice(rng, words.SITES[i % 3])
        some.append((voice, eyes, compose(voice, eyes, fellow=fellow)))
    return some


def test_same_seed_same_bytes(tmp_path):
    rows = reports.make_rows()
    reports.write_csv(rows, tmp_path / "again.csv")
    digests = [hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "again.csv", SHIPPED)]
    assert digests[0] == digests[1]
    assert reports.datasheet(rows) == (SAMPLES / "dr_reports.md").read_text(encoding="utf-8")


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
    assert grade_of(Eye("right", places, heavy)) == grade


@pytest.mark.parametrize(
    "facts, grade",
    [
        ({"laser": "LASER"}, 4),
        ({"past": ["NVE"], "injected": 3}, 4),
        ({"past": ["VH"]}, 4),
        ({"past": ["CWS"]}, 0),
        ({"laser": "GRID"}, 1),
        ({"dme": "central"}, 1),
        ({"injected": 3}, 1),
        ({"laser": "GRID", "places": {"HE": ("ST",)}}, 2),
        ({"uncertain": ["NVD"]}, 0),
    ],
)
def test_treated_and_swollen_eyes(facts, grade):
    assert grade_of(Eye("right", **facts)) == grade


def test_no_patient_in_two_splits(rows):
    splits = {}
    for row in rows:
        splits.setdefault(row["patient_id"], set()).add(row["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_no_text_in_two_splits(rows):
    splits = {}
    for row in rows:
        splits.setdefault(row["text"], set()).add(row["split"])
    assert all(len(s) == 1 for s in splits.values())


def test_twelve_thousand_rows_a_row_an_eye(rows):
    assert len(rows) == 12_000
    assert tuple(rows[0]) == tuple(reports.COLUMNS)
    assert len({(r["report_id"], r["eye"]) for r in rows}) == 12_000


# what is true of an eye


def test_no_grade_0_with_laser_injections_or_oedema(rows):
    assert not [r["report_id"] for r in rows if r["grade"] == "0" and (r["treated"], r["dme"]) != ("none", "none")]


def test_treated_and_quiet_eyes_stay_proliferative():
    rng = random.Random(5)
    eyes = [draw_eye(rng, "right", i % 5) for i in range(5000)]
    assert all(eye.treated != "none" and grade_of(eye) == 4 for eye in eyes if eye.quiet)
    assert sum(eye.quiet for eye in eyes) > 200
    assert all(grade_of(eye) == i % 5 for i, eye in enumerate(eyes))


def test_a_second_visit_forgets_no_treatment_and_never_gets_better():
    rng = random.Random(6)
    for _ in range(2000):
        first = draw_pair(rng)
        second = later_pair(rng, first)
        for side, (eye, grade) in first.items():
            later, later_grade = second[side]
            assert later_grade >= grade and later.quiet >= eye.quiet
            assert grade_of(later) == later_grade
            if eye.treated != "none":
                assert later.laser == eye.laser and later.injected >= eye.injected
            if eye.planned:
                assert later.treated != "none"
            for finding, quadrants in eye.places.items():
                assert finding in later.past or set(quadrants) <= set(later.places[finding])


def test_lesions_that_do_not_stand_alone():
    rng = random.Random(7)
    assert all(believable(draw_eye(rng, "left", i % 5).places) for i in range(3000))
    assert (
        not believable({"VB": ("ST",)})
        and not believable({"CWS": ("ST",)})
        and believable({"HE": ("ST",), "MA": ("ST",)})
    )


def test_two_eyes_keep_the_mix_of_grades_and_are_seldom_far_apart():
    rng = random.Random(8)
    pairs = [[grade for _, grade in draw_pair(rng).values()] for _ in range(20_000)]
    for side in (0, 1):
        seen = Counter(pair[side] for pair in pairs)
        for grade, share in enumerate((0.493, 0.101, 0.273, 0.053, 0.081)):
            assert abs(seen[grade] / 20_000 - share) < 0.012
    assert sum(abs(a - b) >= 3 for a, b in pairs) / 20_000 < 0.02


def test_a_diseased_eye_is_never_said_to_have_no_microaneurysms(made):
    for _, eyes, pieces in made:
        if any(grade_of(eye) for eye in eyes.values()) and len(eyes) == 1:
            taken_back = any("ddend" in said or "orrec" in said for said, _ in pieces)
            assert taken_back or not [m for _, m in pieces if m and m[1:3] == ("MA", "absent")], text_of(pieces)


def test_every_healthy_eye_is_said_to_be_healthy(made):
    normal = {form for site in words.SITES for forms in words.NORMAL[site] for form in forms}
    for _, eyes, pieces in made:
        for side, eye in eyes.items():
            if grade_of(eye) == 0 and not eye.uncertain:
                early = {m[1] for _, m in pieces if m and m[0] == side and m[2] in ("absent", "past")}
                assert {"MA", "IRH"} <= early or any(said in normal for said, _ in pieces), text_of(pieces)


def test_acuities_are_lines_of_a_chart(rows):
    lines = {"6/5", "6/6", "6/7.5", "6/9", "6/12", "6/18", "6/24", "6/36", "6/60"}
    said = [m for r in rows if r["site"] != "delta" for m in re.findall(r"\b6/[\d.]*\d", r["text"])]
    assert len(said) > 500 and set(said) <= lines


@pytest.mark.parametrize(
    "pattern, low, high",
    [(r"(?:Intraocular pressure|IOP) (\d+)", 8, 21), (r"HbA1c ([\d.]+)%", 5, 14), (r"HbA1c (\d+) mmol", 31, 130)]
    + [(r"(?:Blood pressure|BP) (\d+)/", 90, 180), (r"(?:Blood pressure|BP) \d+/(\d+)", 50, 110)],
)
def test_values_are_possible(rows, pattern, low, high):
    said = [float(m) for r in rows for m in re.findall(pattern, r["text"])]
    assert said and low <= min(said) and max(said) <= high


def test_asides_decide_nothing(rows):
    """The share of reports with each aside is the same below and from grade 2, but for chance."""
    north = [r for r in rows if r["site"] == "north"]
    for start in {text.split("{")[0] for text in words.ASIDES["north"]}:
        parts = [[r for r in north if (int(r["grade"]) >= 2) is above] for above in (False, True)]
        a, b = (sum(start in r["text"] for r in part) / len(part) for part in parts)
        assert abs(a - b) < 4 * (0.1 * 0.9 * sum(1 / len(part) for part in parts)) ** 0.5, start


# what the words say


def test_every_present_finding_is_written(made):
    for _, eyes, pieces in made:
        for side, eye in eyes.items():
            said = {m[1] for _, m in pieces if m and m[0] == side and m[2] == "present"}
            facts = {*eye.present, *(["DME"] if eye.dme != "none" else []), *(["INJ"] if eye.injected else [])}
            assert said == facts, text_of(pieces)


def test_oedema_in_the_column_and_in_the_words_agree(made):
    levels = {"none": set(), "not central": {1}, "central": {2}}
    for _, eyes, pieces in made:
        for side, eye in eyes.items():
            said = {m[3] for _, m in pieces if m and m[:3] == (side, "DME", "present")}
            assert said == levels[eye.dme], text_of(pieces)


def test_oedema_in_the_file_and_in_its_plain_words_agree(rows):
    """One eye, no addendum, no other eye, nobody else: oedema that is named and not denied is in the column, and only that."""
    centre, off = (
        ("involving the fovea", "Centre-involving", "at the centre on OCT"),
        ("sparing", "not involving", "Extrafoveal"),
    )
    checked = Counter()
    both = {i for i, n in Counter(r["report_id"] for r in rows).items() if n == 2}
    for r in rows:
        text = r["text"]
        if r["site"] != "north" or r["report_id"] in both or re.search("Addendum|orrection|second look|Amended", text):
            continue
        if r["split"] in reports.KEPT or re.search("fellow|comparison|other|ather|sister|Family", text):
            continue
        said = "central" if any(w in text for w in centre) else "not central" if any(w in text for w in off) else "none"
        assert said == r["dme"], text
        checked[said] += 1
    assert min(checked[level] for level in ("none", "central", "not central")) > 20


def test_held_back_words_stay_in_their_split(rows):
    for split, kept in reports.KEPT.items():
        names = [term for site in words.SITES for entry in words.TERMS[site].values() for term in entry[kept]]
        has = lambda r, n: n.lower() in r["text"].lower()  # noqa: E731
        elsewhere = [n for n in names if any(has(r, n) for r in rows if r["split"] != split)]
        assert not elsewhere
        assert sum(any(has(r, n) for n in names) for r in rows if r["split"] == split) > 150


def test_kept_words_are_in_one_list_only():
    def entries(table):
        return [e for v in table.values() for e in entries(v)] if isinstance(table, dict) else [table]

    for name, table in TABLES.items():
        for site in words.SITES:
            for entry in entries({site: table[site]}):
                if isinstance(entry, tuple) and isinstance(entry[0], list):
                    flat = [form for forms in entry for form in forms]
                    assert len(entry) == 3 and len(set(flat)) == len(flat), (name, site, flat)


@pytest.mark.parametrize("kept", [TEST, DEV_UNSEEN])
def test_a_voice_counts_the_kept_words_it_uses(kept):
    rng = random.Random(1)
    voice = Voice(rng, "north", 1.0, 1.0, (kept,))
    before = voice.unseen
    assert voice.term("VH") in words.TERMS["north"]["VH"][kept] and voice.unseen == before + 1
    assert voice.term("VH") == voice.term("VH") and voice.unseen == before + 1
    voice = Voice(rng, "north")
    assert voice.term("VH") in words.TERMS["north"]["VH"][0] and voice.unseen == 0


def test_a_gloss_says_what_the_chinese_says():
    """The same draws in both languages: the same meanings, in the same order."""
    rng = random.Random(4)
    for i in range(500):
        eyes = {side: draw_eye(rng, side, i % 5) for side in ("right", "left")}
        state, said = rng.getstate(), []
        for gloss in (False, True):
            rng.setstate(state)
            said.append(compose(Voice(rng, "delta", gloss=gloss), eyes))
        chinese, english = ([meaning for _, meaning in pieces if meaning] for pieces in said)
        assert chinese == english
        assert not re.search("[\u4e00-\u9fff|{}]", text_of(said[1]))


def test_every_chinese_report_has_a_gloss_and_no_other(rows):
    assert all(bool(r["gloss"]) == (r["language"] == "zh") for r in rows)
    assert not [r["gloss"] for r in rows if re.search("[\u4e00-\u9fff|{}]", r["gloss"])]
    assert not [r["text"] for r in rows if re.search("[|{}]", r["text"])]


def test_every_abbreviation_is_in_the_table(rows):
    with (SAMPLES / "abbreviations.csv").open(encoding="utf-8", newline="") as file:
        known = {row["abbreviation"] for row in csv.DictReader(file)}
    said = Counter(m for r in rows for m in re.findall(r"[A-Za-z0-9]*[A-Z][A-Z]+[a-z]*(?![a-z])", r["text"]))
    assert not set(said) - known


def test_the_stream_can_leave_out_a_site():
    made = stream.dr_reports(random.Random(2), set(), sites=words.SITES[:2])
    texts = [text_of(next(made)[0]) for _ in range(500)]
    assert not [text for text in texts if re.search("[\u4e00-\u9fff]", text)]


def test_what_the_stream_counts():
    eye = Eye("left", {"IRH": words.QUADRANTS, "NVD": ("ST",)}, True, dme="central", laser="LASER", injected=3)
    assert stream.counts(eye) == [0, 4, 0, 0, 0, 0, 1, 0, 0, 4, 2, 2, 1, 0]
    assert stream.counts(None) == [0] * stream.FACTS
    assert stream.counts(Eye("left", past=["VH"]))[-1] == 1


def test_readers_agree_as_published(rows):
    for i in (1, 2):
        kappa = reports.kappa([(int(r[f"reader_{i}"]), int(r["grade"])) for r in rows])
        assert 0.82 <= kappa <= 0.91
