"""Writes data_samples/dr_reports.csv and its datasheet: `make data`. The same seed gives the same bytes on any machine."""

import csv
import io
import random
from collections import Counter

from course_utils import paths

from . import language as words
from .cases import chance, draw_pair, grade_of, pick
from .compose import Voice, compose, text_of

COLUMNS = [
    "report_id",
    "patient_id",
    "eye",
    "site",
    "language",
    "text",
    "impression",
    "reader_1",
    "reader_2",
    "grade",
    "split",
]
MEASURED = {"results", "spread"}  # folders of what is measured, which no checksum fixes
ROWS, SEED = 12_000, 2003
SITE_SHARES = (45, 30, 25)  # north, harbour, delta
SPLIT_SHARES = {"train": 62, "dev": 13, "test": 25}
BOTH_EYES, TWO_VISITS, STATES_GRADE, HELD_OUT = 0.5, 0.1, 0.04, 0.1
OFF_BY_ONE = 0.03  # the adjudicators look at the photographs: in 3% of eyes the words fall one step short or long

# How one reader grades an eye of each adjudicated grade. Shaped after Krause et al., Ophthalmology 2018;125:1264-72: single
# retina specialists reach a quadratic weighted kappa of 0.82 to 0.91 against adjudication, and missed microaneurysms are
# the commonest cause of difference. The datasheet states what these rows give.
READER = (
    (0.90, 0.07, 0.03, 0.00, 0.00),
    (0.30, 0.53, 0.17, 0.00, 0.00),
    (0.06, 0.13, 0.69, 0.10, 0.02),
    (0.00, 0.03, 0.30, 0.57, 0.10),
    (0.01, 0.01, 0.07, 0.10, 0.81),
)


def adjudicated(rng, eye):
    """The true grade: what the words say, but for a step in a few eyes."""
    grade = grade_of(eye.places, eye.heavy)
    if chance(rng, OFF_BY_ONE):
        grade = min(4, max(0, grade + pick(rng, (-1, 1))))
    return grade


def one_report(rng, site, split):
    """A report's rows, without ids: one row an eye that the report describes."""
    pair = draw_pair(rng)
    sides = ("right", "left") if chance(rng, BOTH_EYES) else (pick(rng, ("right", "left")),)
    eyes = {side: pair[side][0] for side in sides}
    held_out = HELD_OUT if split == "test" else 0.0
    voice = Voice(rng, site, held_out, held_out)
    grades = {side: adjudicated(rng, eye) for side, eye in eyes.items()}
    stated = {s: grade_of(e.places, e.heavy) for s, e in eyes.items()} if chance(rng, STATES_GRADE) else None
    text = text_of(compose(voice, eyes, stated))
    language = "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"
    for side in sides:
        grade = grades[side]
        readers = {f"reader_{i}": pick(rng, range(5), READER[grade]) for i in (1, 2)}
        impression = f"{words.IMPRESSIONS[grade]}, {side} eye."
        yield {
            "eye": side,
            "site": site,
            "language": language,
            "text": text,
            "impression": impression,
            "grade": grade,
            "split": split,
        } | readers


def make_rows(n=ROWS, seed=SEED):
    """n rows as dictionaries with the keys of COLUMNS, by patient: no patient stands in two splits."""
    rng, rows, patient, report = random.Random(seed), [], 0, 0
    while len(rows) < n:
        patient += 1
        site = pick(rng, words.SITES, SITE_SHARES)
        split = pick(rng, tuple(SPLIT_SHARES), tuple(SPLIT_SHARES.values()))
        for _ in range(1 + chance(rng, TWO_VISITS)):
            report += 1
            ids = {"report_id": f"R{report:05d}", "patient_id": f"P{patient:05d}"}
            rows += [ids | row for row in one_report(rng, site, split)]
    return rows[:n]


def write_csv(rows, path):
    """Write the rows as UTF-8 CSV with Unix line ends."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(out.getvalue(), encoding="utf-8", newline="\n")


def kappa(pairs):
    """Quadratic weighted kappa of (a, b) pairs (Cohen 1968), without numpy so that the bytes stay the same everywhere."""
    n, seen = len(pairs), Counter(pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    observed = sum(count * (a - b) ** 2 for (a, b), count in seen.items()) / n
    expected = sum(left[a] * right[b] * (a - b) ** 2 for a in left for b in right) / n**2
    return 1 - observed / expected


def datasheet(rows):
    """The datasheet's text, its figures counted from the rows."""
    n = len(rows)
    share = lambda key: ", ".join(f"{k} {v} ({v / n:.1%})" for k, v in sorted(Counter(r[key] for r in rows).items()))  # noqa: E731
    both = sum(c == 2 for c in Counter(r["report_id"] for r in rows).values())
    reports = len({r["report_id"] for r in rows})
    length = sorted(len(r["text"]) for r in rows)
    agreement = {i: kappa([(r[f"reader_{i}"], r["grade"]) for r in rows]) for i in (1, 2)}
    between = kappa([(r["reader_1"], r["reader_2"]) for r in rows])
    exact = sum(r["reader_1"] == r["reader_2"] for r in rows) / n
    return DATASHEET.format(
        n=n,
        reports=reports,
        patients=len({r["patient_id"] for r in rows}),
        both=both / reports,
        grades=share("grade"),
        sites=share("site"),
        languages=share("language"),
        splits=share("split"),
        median=length[n // 2],
        longest=length[-1],
        k1=agreement[1],
        k2=agreement[2],
        between=between,
        exact=exact,
        seed=SEED,
        held=HELD_OUT,
        off=OFF_BY_ONE,
        states=STATES_GRADE,
    )


DATASHEET = """**These reports are synthetic. They describe no patient, no hospital and no reader. Do not use them for care.**

# Datasheet: dr_reports.csv

{n:,} rows from {reports:,} invented reports on {patients:,} invented patients; {both:.0%} of the reports describe both eyes.
One row an eye: a report that describes both eyes stands in two rows. Made by `make data` (seed {seed}); the same bytes on any machine.
Licence: CC BY 4.0.

| column | what it holds |
|---|---|
| report_id, patient_id | invented numbers |
| eye | the eye that the row grades: right or left |
| site | north (English prose), harbour (abbreviations), delta (partly Chinese) |
| language | zh if the text holds Chinese characters, else en |
| text | the report |
| impression | the grade in words: an answer, not an input |
| reader_1, reader_2 | two single readers' grades, 0-4 |
| grade | the adjudicated grade, 0-4: the truth |
| split | train, dev or test, by patient |

Grades: {grades}.
Sites: {sites}.
Languages: {languages}.
Splits: {splits}.
Length of the text: median {median} characters, at most {longest}.

## Where the difficulty comes from

Settled before any model was trained, and not changed since.

- **The grade** follows the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003;110:1677-82), with
  the 4-2-1 rule for severe: more than 20 haemorrhages in each of 4 quadrants, venous beading in 2, or IRMA in 1.
  Only definite and current findings of the graded eye count. Uncertain, regressed, retracted, and other people's findings don't.
- **The mix of grades** is that of the public APTOS 2019 training photographs (1805, 370, 999, 193 and 295 of 3,662).
- **The readers** are shaped after Krause et al., Ophthalmology 2018;125:1264-72: single retina specialists had a quadratic weighted
  kappa of 0.82 to 0.91 against adjudication. Here: reader 1 {k1:.3f}, reader 2 {k2:.3f}; between the two {between:.3f}, same grade
  {exact:.1%}.
- **The rest is our assumption**, since we found no published figure: {off:.0%} of eyes where the adjudicated grade is one step
  from what the words say (adjudicators see photographs, not words); {states:.0%} of reports that state their grade; a correction
  in at most 6% of the sections on an eye; an uncertain finding in about 12% of eyes, and a past one too; the second eye takes the
  first one's grade in 60% of patients and is drawn anew in the others.
- **Kept for the test split alone**: one name or phrasing in {held:.0%} of the choices comes from a list that train and dev never see.
  The base models' pre-training text uses those *names* of findings, and none of those *phrasings*.

## What it does not show

Real reports are longer, worse spelt and less regular. A result here is a result about these rules of writing.
Nothing here says how a model would do on a hospital's reports.
"""


def write_manifest(folder=None):
    """List the sha256 of every shipped file in MANIFEST.sha256, in the format of `sha256sum`."""
    folder = folder or paths.samples()
    files = sorted(
        p for p in folder.rglob("*") if p.is_file() and p.name != "MANIFEST.sha256" and not MEASURED & set(p.parts)
    )
    lines = [f"{paths.sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / "MANIFEST.sha256").write_text("".join(lines), encoding="utf-8", newline="\n")


def main():
    """Make the file, its datasheet and the manifest."""
    folder = paths.samples()
    folder.mkdir(exist_ok=True)
    rows = make_rows()
    write_csv(rows, folder / "dr_reports.csv")
    (folder / "dr_reports.md").write_text(datasheet(rows), encoding="utf-8", newline="\n")
    write_manifest()
    print(f"{len(rows)} rows written to {folder / 'dr_reports.csv'}")


if __name__ == "__main__":
    main()
