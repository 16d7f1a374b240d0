"""The pictures come out the same everywhere, show each fact where it belongs, and owe their nuisance to no eye."""

import csv
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from course_utils import fundus, paths
from course_utils.authoring import bands
from course_utils.generate import pictures, reports
from course_utils.generate.cases import Eye

HOME = paths.ROOT / "data_samples"
QUADRANTS = tuple(fundus.QUADRANTS)
IN_QUADRANTS = (*fundus.COUNTED, "VB")
HEALTHY = Eye("left")


def column(name):
    with (HOME / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def shipped():
    """The rows of the reports with the facts that ship: {(report, eye): row}."""
    told = column("dr_pictures.csv")
    rows = column("dr_reports.csv")
    assert [(row["report_id"], row["eye"]) for row in told] == [(row["report_id"], row["eye"]) for row in rows]
    return {(r["report_id"], r["eye"]): r | {"facts": t["facts"]} for r, t in zip(rows, told, strict=True)}


@pytest.fixture(scope="module")
def listed():
    """The sheet's pictures as the datasheet lists them: [((report, eye), digest)]."""
    text = (HOME / "dr_pictures.md").read_text(encoding="utf-8")
    return [((report, eye), digest) for report, eye, digest in re.findall(r"(R\d+) (right|left) \| `(\w{64})`", text)]


def digest_of(pixels):
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def places(size=64):
    """The place in the eye of each pixel of a plain left eye, (x, y), each (size, size)."""
    canvas = fundus.Canvas(size, fundus.Shot())
    at = (np.arange(size) - (size - 1) / 2) / canvas.zoom
    return np.meshgrid(at + fundus.CENTRE[0], -at + fundus.CENTRE[1])


def changed(eye, before=HEALTHY, key="some eye", size=64):
    """Where a plain picture of an eye differs from one without its findings."""
    before = replace(before, side=eye.side)
    return (fundus.draw(eye, key, size=size) != fundus.draw(before, key, size=size)).any(2)


def away(place):
    x, y = places()
    return np.sqrt((x - place[0]) ** 2 + (y - place[1]) ** 2)


def in_quadrant(quadrant):
    sx, sy = fundus.QUADRANTS[quadrant]
    x, y = places()
    return (x * sx > 0) & (y * sy > 0)


# The same bytes.


def test_the_shipped_pictures_are_drawn_again_from_the_shipped_facts(shipped, listed):
    sheet = np.asarray(Image.open(HOME / "dr_pictures.png"))
    assert len(listed) == 5 * len(pictures.SHEET) and len(dict(listed)) == len(listed)
    for i, (row, digest) in enumerate(listed):
        top, left = (pictures.SIZE * k for k in divmod(i, len(pictures.SHEET)))
        tile = sheet[top : top + pictures.SIZE, left : left + pictures.SIZE]
        assert digest_of(fundus.picture(shipped[row])) == digest_of(np.ascontiguousarray(tile)) == digest


def test_facts_of_another_row_are_noticed(shipped, listed):
    known = [(shipped[row], digest) for row, digest in listed]
    shifted = [known[i - 3][0]["facts"] for i in range(len(known))]
    same = [digest_of(fundus.picture(r | {"facts": f})) == d for (r, d), f in zip(known, shifted, strict=True)]
    assert sum(same) == 0


def test_the_sheet_is_of_the_test_split_and_of_each_grade(shipped, listed):
    rows = [shipped[row] for row, _ in listed]
    assert {row["split"] for row in rows} == {"test"}
    assert [int(row["grade"]) for row in rows] == [g for g in range(5) for _ in pictures.SHEET]
    shots = [fundus.shot_of(row) for row in rows]
    assert [shot.camera for shot in shots[:2]] == ["one", "two"]
    assert [bool(shot.ungradable) for shot in shots] == [kind == "ungradable" for kind in pictures.SHEET] * 5


@pytest.mark.parametrize("size", [32, 64, 128])
def test_twice_is_the_same(size):
    eye = Eye("right", {"IRH": QUADRANTS, "VB": ("ST",), "VH": ("ST",)}, True, dme="central", laser="LASER")
    shot = fundus.take("two", "a", "b")
    first, second = fundus.draw(eye, "k", shot, size), fundus.draw(eye, "k", shot, size)
    assert first.shape == (size, size, 3) and first.dtype == np.uint8 and np.array_equal(first, second)
    assert not np.array_equal(first, fundus.draw(eye, "another", shot, size))


PROGRAM = """
import hashlib
from course_utils import fundus
total = hashlib.sha256()
for i in range(12):
    text = "MA 1234;IRH 12;HE 3;CWS 4;VB 13;IRMA 2;NVD;NVE 1;VH;heavy;central;" + ("GRID", "LASER")[i % 2]
    shot = fundus.take(("one", "two")[i % 2], str(i), "p")
    total.update(fundus.draw(fundus.read(text, ("left", "right")[i % 2]), str(i), shot, (64, 128)[i % 2]).tobytes())
print(total.hexdigest())
"""


def test_an_older_processor_s_arithmetic_gives_the_same_bytes():
    said = set()
    for settings in (
        {},
        bands.OLDER,
        bands.OLDER | {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"},
    ):
        run = [sys.executable, "-W", "ignore", "-c", PROGRAM]
        said.add(subprocess.run(run, env=os.environ | settings, capture_output=True, text=True, check=True).stdout)
    assert len(said) == 1 and len(said.pop().strip()) == 64


@pytest.mark.slow
def test_make_pictures_gives_what_ships(tmp_path):
    rows = reports.make_rows()
    pictures.write_facts(rows, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (HOME / "dr_pictures.csv").read_bytes()
    total, _ = pictures.digest(rows[: pictures.SUMMED])
    assert pictures.datasheet(rows, total) == (HOME / "dr_pictures.md").read_text(encoding="utf-8")


# What is drawn, and where.


@pytest.mark.parametrize("quadrant", QUADRANTS)
@pytest.mark.parametrize("finding", IN_QUADRANTS)
def test_a_finding_changes_its_quadrant_alone(finding, quadrant):
    for key in "abcdef":
        where = changed(Eye("left", {finding: (quadrant,)}, heavy=True), key=key)
        assert where.any() and not (where & ~in_quadrant(quadrant)).any()


@pytest.mark.parametrize("finding", IN_QUADRANTS)
def test_a_finding_in_another_quadrant_is_noticed(finding):
    assert (changed(Eye("left", {finding: ("SN",)})) & ~in_quadrant("ST")).any()


def test_a_finding_moves_no_other():
    before = Eye("left", {"MA": QUADRANTS, "IRH": ("IN",)})
    both = replace(before, places=before.places | {"IRH": ("IN", "ST"), "CWS": ("ST",)})
    where = changed(both, before)
    assert where.any() and not (where & ~in_quadrant("ST")).any()


def test_more_than_twenty_haemorrhages_cover_more():
    for key in "abcd":
        few, many = (changed(Eye("left", {"IRH": QUADRANTS}, heavy), key=key).sum() for heavy in (False, True))
        assert many > 1.5 * few


@pytest.mark.parametrize(
    ("eye", "place", "reach"),
    [
        (Eye("left", dme="central"), fundus.FOVEA, 7.5),
        (Eye("left", dme="not central"), fundus.FOVEA, 11),
        (Eye("left", laser="GRID"), fundus.FOVEA, 8),
        (Eye("left", {"NVD": ("ST",)}), (0.0, 0.0), 8),
    ],
    ids=["central oedema", "other oedema", "grid", "new vessels of the disc"],
)
def test_what_belongs_to_the_macula_or_the_disc_stays_there(eye, place, reach):
    for key in "abcdef":
        where = changed(eye, key=key)
        assert where.any() and away(place)[where].max() < reach


def test_oedema_off_the_centre_leaves_the_centre():
    near = away(fundus.FOVEA) < 1.0
    for key in "abcdef":
        assert not (changed(Eye("left", dme="not central"), key=key) & near).any()
        assert changed(Eye("left", dme="central"), key=key)[near].all()


def test_panretinal_scars_leave_the_macula():
    for key in "abcd":
        where = changed(Eye("left", laser="LASER"), key=key)
        assert where.sum() > 300 and away(fundus.FOVEA)[where].min() > 6 and away((0, 0))[where].min() > 4


def test_blood_in_front_of_the_retina_hides_it():
    for key in "abcdef":
        where = changed(Eye("left", {"VH": ("ST",)}), key=key)
        assert where.sum() > 60 and (where & (places()[1] < 0)).sum() > where.sum() / 3


def test_a_right_eye_is_the_mirror_of_a_left_one():
    places = {"MA": ("ST", "IN"), "IRH": ("SN",), "VB": ("ST",), "NVD": ("ST",), "CWS": ("IT",)}
    left, right = (fundus.draw(Eye(side, places, dme="central"), "k") for side in ("left", "right"))
    assert np.array_equal(left, right[:, ::-1]) and not np.array_equal(left, right)


def test_an_eye_on_the_wrong_side_is_noticed():
    where = changed(Eye("right", {"IRH": ("ST",)}))
    assert (where & ~in_quadrant("ST")).any() and not (where[:, ::-1] & ~in_quadrant("ST")).any()


def test_what_does_not_count_is_not_drawn():
    doubtful = Eye("left", uncertain=["IRH"], past=["NVD"], injected=3, planned="LASER")
    assert not changed(doubtful).any()


@pytest.mark.parametrize("camera", fundus.CAMERAS)
def test_the_marks_stand_inside_the_field(camera):
    for i in range(12):
        shot = fundus.take(camera, f"s{i}", "p")
        points, _ = fundus.scene(Eye("left", {f: QUADRANTS for f in fundus.COUNTED}, True), str(i), 64)
        marks = points[:, np.isin(points[0], (fundus.BLOOD, fundus.LIPID, fundus.WOOL))]
        x, y = fundus.Canvas(64, shot).at(marks[1], marks[2])
        field = fundus.frame(64, camera) > 0
        assert field[np.rint(y).astype(int), np.rint(x).astype(int)].all()


# Nuisance.


def looks_at_the_eye(shot_of, row):
    """Whether what a camera does depends on what the eye holds, or can't be known without it."""
    without = {key: row[key] for key in ("report_id", "patient_id", "eye", "site")}
    try:
        return (
            len(
                {
                    repr(shot_of(without | more))
                    for more in ({}, {"facts": "-", "grade": 0}, {"facts": "VH", "grade": 4})
                }
            )
            > 1
        )
    except KeyError:
        return True


def test_nuisance_is_drawn_without_the_eye(shipped):
    row = next(iter(shipped.values()))
    assert not looks_at_the_eye(fundus.shot_of, row)
    assert looks_at_the_eye(lambda one: replace(fundus.shot_of(one), blur=len(one["facts"])), row)
    assert looks_at_the_eye(lambda one: replace(fundus.shot_of(one), light=1 - one.get("grade", 0) / 9), row)


def test_about_the_stated_share_is_ungradable_and_each_fault_occurs():
    faults = [fundus.take("one", str(i), "p").ungradable for i in range(4000)]
    share = sum(map(bool, faults)) / len(faults)
    assert abs(share - fundus.UNGRADABLE) < 4 * (fundus.UNGRADABLE / len(faults)) ** 0.5
    assert set(faults) == {"", *fundus.FAULTS}


def test_the_second_camera_is_the_third_site_s_alone():
    assert [site for site, camera in fundus.CAMERA_OF.items() if camera == "two"] == ["delta"]
    assert set(fundus.CAMERA_OF) == set(reports.words.SITES)
    frames = [fundus.frame(64, camera) for camera in fundus.CAMERAS]
    assert not np.array_equal(*frames)


@pytest.mark.parametrize("fault", fundus.FAULTS)
def test_an_ungradable_picture_hides_much(fault):
    def seen(shot):
        pair = [fundus.draw(eye, "k", shot).astype(int) for eye in (Eye("left", {"MA": QUADRANTS}), HEALTHY)]
        return ((pair[0] - pair[1]) ** 2).sum()

    taken = (fundus.take("one", str(i), "p") for i in range(4000))
    bad = next(shot for shot in taken if shot.ungradable == fault)
    sound = replace(bad, ungradable="", light=max(0.84, bad.light), blur=0.0, glare=fundus.Shot().glare)
    assert seen(bad) < 0.8 * seen(sound)


# The facts as a text.


@pytest.mark.parametrize(
    ("eye", "text"),
    [
        (Eye("left"), "-"),
        (Eye("left", {"MA": ("ST", "IT"), "NVD": ("SN",)}, dme="not central"), "MA 13;NVD;not central"),
        (Eye("left", {"IRH": QUADRANTS}, True, dme="central", laser="GRID"), "IRH 1234;heavy;central;GRID"),
    ],
)
def test_facts_are_read_back_as_they_were_told(eye, text):
    assert fundus.told(eye) == text and fundus.told(fundus.read(text, "left")) == text
    assert not changed(fundus.read(text, "left"), eye).any()


@pytest.mark.parametrize("text", ["", "MA", "MA 5", "MA ST", "laser", "IRH 12,MA 3"])
def test_strange_facts_are_refused(text):
    with pytest.raises(ValueError, match="no finding with its quadrants"):
        fundus.read(text, "left")


@pytest.mark.parametrize(
    ("eye", "size", "said"),
    [
        (Eye("both"), 64, "right or left"),
        (Eye("left", {"XX": ("ST",)}), 64, "no drawing is known for 'XX'"),
        (Eye("left", {"MA": ("UP",)}), 64, "MA stands in 'UP'"),
        (Eye("left", dme="some"), 64, "oedema is"),
        (Eye("left", laser="PRP"), 64, "scars of laser"),
        (Eye("left"), 50, "steps of 32"),
    ],
)
def test_what_can_t_be_drawn_is_said(eye, size, said):
    with pytest.raises(ValueError, match=said):
        fundus.draw(eye, "k", size=size)


def test_a_camera_that_is_none_is_said():
    with pytest.raises(ValueError, match="name one of one, two"):
        fundus.take("three", "a", "b")


def test_the_datasheet_says_first_what_drawn_pictures_can_and_can_t_show():
    first = (HOME / "dr_pictures.md").read_text(encoding="utf-8").splitlines()[0]
    assert "can show" in first and "can't show" in first and "drawn, not photographed" in first


def test_what_ships_is_small():
    assert sum(file.stat().st_size for file in HOME.glob("dr_pictures.*")) <= 400_000
