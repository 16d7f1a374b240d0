"""Draws the picture of each row of dr_reports.csv, from the same facts: `make pictures`. The drawing itself is in `course_utils.fundus`.

What ships beside the reports: the facts as a table (dr_pictures.csv), from which any picture is drawn at need, a sheet of some
test pictures (dr_pictures.png) and a datasheet (dr_pictures.md). `--into FOLDER` writes all pictures there, one file each.
"""

import argparse
import csv
import hashlib
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from course_utils import fundus, paths
from course_utils.fundus import Shot, draw, picture, shot_of, take

from .cases import grade_of
from .reports import make_rows

__all__ = ["Shot", "draw", "picture", "shot_of", "take"]
SIZE = 64
SUMMED = 1000  # the pictures of so many rows, the first, have their sum in the datasheet
FIRST_LINE = (
    "**These pictures are drawn, not photographed: they can show whether a model looks at a picture, and finds in it what the "
    "report says; they can't show how well any model does on a real eye. Do not use them for care.**"
)
SHEET = ("one", "two", "ungradable")  # what stands in the columns of the sheet; its rows are the grades
NAMES = {
    "MA": "microaneurysms",
    "IRH": "haemorrhages",
    "HE": "hard exudates",
    "CWS": "cotton wool spots",
    "VB": "venous beading",
    "IRMA": "IRMA",
    "NVD": "new vessels of the disc",
    "NVE": "new vessels elsewhere",
    "VH": "blood in front of the retina",
    "LASER": "scars of panretinal laser",
    "GRID": "scars of laser at the macula",
    "DME": "oedema of the macula",
}


def of_sheet(rows):
    """The rows whose pictures stand in the sheet, (grades, columns): the first of the test split that fit, none twice."""
    chosen: dict = {}
    for row in rows:
        shot = shot_of(row)
        kind = "ungradable" if shot.ungradable else shot.camera
        place = next((i for i, wanted in enumerate(SHEET) if wanted == kind and (row["grade"], i) not in chosen), None)
        if row["split"] == "test" and place is not None:
            chosen[row["grade"], place] = row
    return [[chosen[grade, i] for i in range(len(SHEET))] for grade in range(5)]


def sheet(chosen):
    """The pictures of `of_sheet` as one, uint8 (5 SIZE, columns * SIZE, 3)."""
    return np.concatenate([np.concatenate([picture(row, SIZE) for row in line], 1) for line in chosen], 0)


def digest(rows):
    """The SHA-256 of the bytes of the pictures of the rows, one after the other, and the processor's seconds for drawing one."""
    total, spent = hashlib.sha256(), 0.0
    for row in rows:
        start = time.process_time()
        pixels = picture(row, SIZE)
        spent += time.process_time() - start
        total.update(pixels.tobytes())
    return total.hexdigest(), spent / len(rows)


def write_all(rows, folder):
    """Write each row's picture as REPORT_EYE.png into a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        Image.fromarray(picture(row, SIZE)).save(folder / f"{row['report_id']}_{row['eye']}.png")


def write_facts(rows, path):
    """Write what each picture shows, a line a row in the order of dr_reports.csv."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["report_id", "eye", "facts"])
        writer.writerows([row["report_id"], row["eye"], fundus.told(row["facts"])] for row in rows)


def share(part, whole):
    """A count with its share: 12 of 40 (30.0%)."""
    return f"{part:,} of {whole:,} ({part / whole:.1%})"


def table(head, lines):
    """A Markdown table; all columns but the first are numbers."""
    rule = "|---|" + "---:|" * (len(head) - 1)
    return "\n".join([*("| " + " | ".join(map(str, line)) + " |" for line in [head]), rule, *map(line_of, lines)])


def line_of(values):
    """A line of a Markdown table."""
    return "| " + " | ".join(map(str, values)) + " |"


def by_grade(rows, holds):
    """How many rows of each adjudicated grade a test holds for."""
    seen = Counter(row["grade"] for row in rows if holds(row))
    return [seen[grade] for grade in range(5)]


def datasheet(rows, total):
    """The datasheet's text, its figures counted from the rows. total: the digest of the first SUMMED pictures."""
    shots = [shot_of(row) for row in rows]
    faults = Counter(shot.ungradable for shot in shots if shot.ungradable)
    bad = {id(row) for row, shot in zip(rows, shots, strict=True) if shot.ungradable}
    findings = [
        [name, *by_grade(rows, lambda row, code=code: code in row["facts"].found)] for code, name in NAMES.items()
    ]
    chosen = of_sheet(rows)
    listed = [
        [
            grade,
            kind,
            f"{row['report_id']} {row['eye']}",
            f"`{hashlib.sha256(picture(row, SIZE).tobytes()).hexdigest()}`",
        ]
        for grade, line in enumerate(chosen)
        for kind, row in zip(SHEET, line, strict=True)
    ]
    return DATASHEET.format(
        first_line=FIRST_LINE,
        n=len(rows),
        size=SIZE,
        quadrants=", ".join(f"{i} {name}" for i, name in enumerate(fundus.QUADRANTS, 1)),
        sum=total,
        summed=min(SUMMED, len(rows)),
        cameras=", ".join(f"{k} {share(v, len(rows))}" for k, v in sorted(Counter(s.camera for s in shots).items())),
        first=", ".join(site for site, camera in fundus.CAMERA_OF.items() if camera == "one"),
        second=", ".join(site for site, camera in fundus.CAMERA_OF.items() if camera == "two"),
        meant=fundus.UNGRADABLE,
        ungradable=share(len(bad), len(rows)),
        faults=", ".join(f"{name} {faults[name]}" for name in fundus.FAULTS),
        bad=table(
            ["pictures", *(f"grade {g}" for g in range(5))],
            [["all", *by_grade(rows, lambda row: True)], ["ungradable", *by_grade(rows, lambda row: id(row) in bad)]],
        ),
        findings=table(["drawn", *(f"grade {g}" for g in range(5))], findings),
        differs=share(sum(row["grade"] != grade_of(row["facts"]) for row in rows), len(rows)),
        uncertain=share(sum(bool(row["facts"].uncertain) for row in rows), len(rows)),
        past=share(sum(bool(row["facts"].past) for row in rows), len(rows)),
        injected=share(sum(bool(row["facts"].injected) for row in rows), len(rows)),
        few=fundus.SOME["IRH"],
        many=(21, fundus.MOST),
        listed=table(["grade", "column", "row of dr_reports.csv", "SHA-256 of its pixels"], listed),
    )


DATASHEET = """{first_line}

# Datasheet: dr_pictures

One picture for each of the {n:,} rows of [dr_reports.csv](dr_reports.md), {size} pixels wide and high, red, green and blue.
It is drawn from the same invented facts as the report's words. No photograph of an eye was used.
Made by `make pictures`. Licence: CC BY 4.0.

| file | what it holds |
|---|---|
| dr_pictures.csv | for each row of dr_reports.csv, in its order, what is drawn: `report_id`, `eye`, `facts` |
| dr_pictures.png | some pictures of the test split: a row a grade; one of each camera, and one that can't be graded |
| dr_pictures.md | this text |

Facts are such as `MA 13;IRH 1234;heavy`: digits are quadrants ({quadrants}), and `-` is nothing.
The other pictures are drawn at need: `fundus.picture(row)`, where a row has `report_id`, `patient_id`, `eye`, `site` and `facts`.
`python -m course_utils.generate.pictures --into FOLDER` writes them all. The facts are the answer: no model may read them.

SHA-256 of the pixels of the first {summed:,} rows' pictures, one after the other: `{sum}`.

## What is drawn

The disc, the macula, arteries and veins, and these, in eyes of each adjudicated grade:

{findings}

- **Where.** The four quadrants meet at the disc. A mark stands in a quadrant that the facts name, clear of its borders, and inside the
  field of both cameras. An eye keeps its vessels and its marks from visit to visit.
- **How many.** Haemorrhages: {few[0]} to {few[1]} in a quadrant, {many[0]} to {many[1]} in an eye with more than 20 in each.
  They may overlap.
- **Larger than life.** At {size} pixels a microaneurysm would be smaller than a pixel. Small marks are drawn several times too large,
  beading too coarse, and new vessels too thick.
- **Oedema** is drawn as a pale raised patch, at the fovea or beside it. A real single photograph hardly shows thickening.
- **Not drawn:** what is uncertain ({uncertain} of the eyes), what is past ({past}), injections ({injected}), the lens, the other eye.
- **The grade** is the adjudicated one of the reports; in {differs} it is one step from what the drawn facts give.

## What a camera does

All of it is drawn from the row's numbers, without looking at the eye: no nuisance is likelier at one grade than at another.
Field, angle, magnification, light and its slope, colour, focus, glare, grain, and how dark the patient's fundus is.
A right eye is the mirror of a left one.

Two cameras: the first at {first}, the second at {second} alone. The second has another colour, a darker rim, a field that is cut at
the top and the bottom, a notch and a softer focus. Pictures: {cameras}.

**Ungradable.** {meant:.0%} are meant to be: {ungradable} are ({faults}). The share is an assumption.

{bad}

The chance of glare, the size of each fault and all colours are assumptions too.

## What they do not show

Real photographs have drusen, myopia, scars of other diseases, dust, eyelashes and vessels that no curve describes. Real marks have more
shapes, and a grader's doubt. A model that reads these pictures has learnt these rules of drawing.
A camera goes with a site here, and a site with a style of writing: what a model gains from that is no finding about eyes.

## The sheet

{listed}
"""


def main(arguments=None):
    """Write the facts, the sheet and the datasheet beside the reports, and each picture into a folder if one is named."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--into", type=Path, help="a folder for all pictures, one file each")
    folder = parser.parse_args(arguments).into
    rows, home = make_rows(), paths.samples()
    total, seconds = digest(rows[:SUMMED])
    write_facts(rows, home / "dr_pictures.csv")
    Image.fromarray(sheet(of_sheet(rows))).save(home / "dr_pictures.png", optimize=True)
    (home / "dr_pictures.md").write_text(datasheet(rows, total), encoding="utf-8", newline="\n")
    print(
        f"the facts of {len(rows)} pictures are in {home / 'dr_pictures.csv'}; one is drawn in {1000 * seconds:.2f} ms of one core"
    )
    if folder:
        write_all(rows, folder)
        print(f"all are in {folder}")


if __name__ == "__main__":
    main()
