"""Writes data_samples/dr_reports.csv and its datasheet: `make data`. The same seed gives the same bytes on any machine."""

import csv
import io
import random
from collections import Counter

from course_utils import paths

from . import language as words
from .cases import chance, draw_pair, fellow_of, grade_of, later_pair, pick
from .compose import DEV_UNSEEN, TEST, Voice, compose, habits, text_of

COLUMNS = ["report_id", "patient_id", "eye", "site", "language", "text", "gloss", "impression", "dme", "treated"]
COLUMNS += ["reader_1", "reader_2", "grade", "split"]
MEASURED = {"results", "runs", "spread"}  # folders of what is measured, which no checksum fixes
ROWS, SEED = 12_000, 2003
SITE_SHARES = (45, 30, 25)  # north, harbour, delta
SPLIT_SHARES = {"train": 58, "dev": 10, "dev_unseen": 7, "test": 25}
KEPT = {"test": TEST, "dev_unseen": DEV_UNSEEN}  # the splits that have words of their own
BOTH_EYES, TWO_VISITS, STATES_GRADE, HELD_OUT = 0.5, 0.1, 0.04, 0.1
OFF_BY_ONE = 0.25  # the adjudicators look at photographs: of eyes near a border, this share falls a step short or long

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


def steps(eye):
    """By how much the adjudicators may differ from the words: eyes near a border, or with a finding in doubt."""
    grade, size = grade_of(eye), {finding: len(quadrants) for finding, quadrants in eye.places.items()}
    up = down = False
    if grade < 2:
        up, down = bool(eye.uncertain), eye.lowest == 0 and size.get("MA") == 1
    elif grade == 2:
        up = size.get("VB") == 1 or eye.heavy and size["IRH"] == 3
        down = set(size) <= {"MA", "IRH"} and not eye.heavy
    elif grade == 3:
        severe = [eye.heavy and size.get("IRH") == 4, size.get("VB", 0) >= 2, size.get("IRMA", 0) >= 1]
        down = sum(severe) == 1 and (size.get("VB") == 2 or size.get("IRMA") == 1)
    return [*([-1] if down else []), *([1] if up else [])]


def differences(rng):
    """By how much the adjudicators differ from the words, {side: step}: drawn once, for they look at the same eyes at each visit."""
    return {side: pick(rng, (-1, 1)) if chance(rng, OFF_BY_ONE) else 0 for side in ("right", "left")}


def adjudicated(eye, step):
    """The true grade: what the words say, and the step by which the adjudicators differ, if a photograph can show that."""
    return grade_of(eye) + (step if step in steps(eye) else 0)


def impression(eye, grade):
    """The conclusion that a clinician signs: grade, treatment, oedema, and the eye."""
    parts = [words.IMPRESSIONS[grade]]
    if eye.treated != "none":
        parts.append(f"treated with {'laser and injections' if eye.treated == 'both' else eye.treated}")
    if eye.dme != "none":
        parts.append(f"{'centre-involving' if eye.dme == 'central' else 'non-central'} macular oedema")
    return ", ".join([*parts, f"{eye.side} eye."])


def wording(rng, site, split, eyes, stated, fellow, patient):
    """A report's text, its English gloss if it is Chinese, and how many words of its split's own it has."""
    held_out = HELD_OUT if split in KEPT else 0.0
    state, said = rng.getstate(), []
    for gloss in (True, False):  # the same draws give the same report in the other language
        rng.setstate(state)
        voice = Voice(rng, site, held_out, held_out, (KEPT.get(split, TEST),), gloss=gloss and site == "delta")
        said.append(text_of(compose(voice, eyes, stated, fellow, patient)))
    gloss, text = said
    chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
    return {"language": "zh" if chinese else "en", "text": text, "gloss": gloss if chinese else ""}, voice.unseen


def one_report(rng, site, split, pair, differ, patient):
    """A report's rows, without ids: one row an eye that the report describes. differ: {side: the adjudicators' step}; patient: its habits.

    Beside the columns, `unseen` counts its words of the split's own, `differs` tells an adjudicated grade that is not the words',
    and `facts` is the Eye.
    """
    sides = ("right", "left") if chance(rng, BOTH_EYES) else (pick(rng, ("right", "left")),)
    eyes = {side: pair[side][0] for side in sides}
    fellow = fellow_of(pair, eyes)
    said = {side: grade_of(eye) for side, eye in eyes.items()}
    sure = not any(eye.uncertain and not said[side] for side, eye in eyes.items())
    stated = said if chance(rng, STATES_GRADE) and sure else None
    grades = stated or {side: adjudicated(eye, differ[side]) for side, eye in eyes.items()}
    worded, unseen = wording(rng, site, split, eyes, stated, fellow, patient)
    for side, eye in eyes.items():
        grade = grades[side]
        readers = {f"reader_{i}": pick(rng, range(5), READER[grade]) for i in (1, 2)}
        told = {"impression": impression(eye, grade), "dme": eye.dme, "treated": eye.treated, "grade": grade}
        extra = {"unseen": unseen, "differs": grade != said[side], "facts": eye}
        yield {"eye": side, "site": site, "split": split} | extra | worded | told | readers


def make_rows(n=ROWS, seed=SEED):
    """n rows by patient, as dictionaries with the keys of COLUMNS and those that `one_report` adds.

    No patient and no text stands in two splits.
    """
    rng, rows, patient, report, home = random.Random(seed), [], 0, 0, {}
    while len(rows) < n:
        patient += 1
        site = pick(rng, words.SITES, SITE_SHARES)
        split = pick(rng, tuple(SPLIT_SHARES), tuple(SPLIT_SHARES.values()))
        pair, differ, same = draw_pair(rng), differences(rng), habits(rng)
        for visit in range(1 + chance(rng, TWO_VISITS)):
            pair = later_pair(rng, pair) if visit else pair
            report += 1
            ids = {"report_id": f"R{report:05d}", "patient_id": f"P{patient:05d}"}
            made = list(one_report(rng, site, split, pair, differ, same))
            while home.setdefault(made[0]["text"], split) != split:  # a short text that another split has
                made = list(one_report(rng, site, split, pair, differ, same))
            rows += [ids | row for row in made]
    return rows[:n]


def write_csv(rows, path):
    """Write the rows as UTF-8 CSV with Unix line ends."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
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


def shares(rows, key):
    """How often each value of a column stands in the rows, as text."""
    return ", ".join(f"{k} {v} ({v / len(rows):.1%})" for k, v in sorted(Counter(r[key] for r in rows).items()))


def crossed(rows, key):
    """A Markdown table of a column against the grade: eyes."""
    seen, values = Counter((r[key], r["grade"]) for r in rows), sorted({r[key] for r in rows})
    lines = [f"| {value} | " + " | ".join(str(seen[value, grade]) for grade in range(5)) + " |" for value in values]
    return "\n".join([f"| {key} | grade 0 | 1 | 2 | 3 | 4 |", "|---|---:|---:|---:|---:|---:|", *lines])


def unseen_share(rows, split):
    """The share of a split's reports that hold at least one of the words kept for it."""
    reports = {r["report_id"]: r["unseen"] > 0 for r in rows if r["split"] == split}
    return sum(reports.values()) / max(1, len(reports))


def datasheet(rows):
    """The datasheet's text, its figures counted from the rows."""
    n = len(rows)
    both = sum(c == 2 for c in Counter(r["report_id"] for r in rows).values())
    reports = len({r["report_id"] for r in rows})
    length = sorted(len(r["text"]) for r in rows)
    agreement = {i: kappa([(r[f"reader_{i}"], r["grade"]) for r in rows]) for i in (1, 2)}
    eyes: dict = {}
    for r in rows:
        eyes.setdefault(r["report_id"], []).append(r["grade"])
    gaps = [abs(grades[0] - grades[1]) for grades in eyes.values() if len(grades) == 2]
    swollen = sum(r["grade"] < 2 and r["dme"] != "none" for r in rows)
    return DATASHEET.format(
        n=n,
        reports=reports,
        patients=len({r["patient_id"] for r in rows}),
        both=both / reports,
        grades=shares(rows, "grade"),
        sites=shares(rows, "site"),
        languages=shares(rows, "language"),
        splits=shares(rows, "split"),
        dme=crossed(rows, "dme"),
        treated=crossed(rows, "treated"),
        referable=sum(r["grade"] >= 2 or r["dme"] != "none" for r in rows) / n,
        swollen=swollen,
        alike=sum(d == 0 for d in gaps) / len(gaps),
        apart=sum(d >= 3 for d in gaps) / len(gaps),
        median=length[n // 2],
        longest=length[-1],
        k1=agreement[1],
        k2=agreement[2],
        between=kappa([(r["reader_1"], r["reader_2"]) for r in rows]),
        exact=sum(r["reader_1"] == r["reader_2"] for r in rows) / n,
        seed=SEED,
        held=HELD_OUT,
        off=sum(r["differs"] for r in rows) / n,
        states=STATES_GRADE,
        unseen_test=unseen_share(rows, "test"),
        unseen_dev=unseen_share(rows, "dev_unseen"),
    )


DATASHEET = """**These reports are synthetic. They describe no patient, no hospital and no reader. Do not use them for care.**

# Datasheet: dr_reports.csv

{n:,} rows from {reports:,} invented reports on {patients:,} invented patients; {both:.0%} of the reports describe both eyes.
One row per eye: a report that describes both eyes stands in two rows. Made by `make data` (seed {seed}); the same bytes on any machine.
Licence: CC BY 4.0.

**How an eye is graded.** By the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology
2003;110:1677-82), with the 4-2-1 rule for severe. The scale has no place for treated disease. There these reports follow the
English screening programme (NHS Diabetic Eye Screening Programme, grading definitions for referable disease, 2021), whose R3S is
stable treated proliferative disease: **an eye whose proliferative disease was treated and is quiet, with scars of panretinal laser or with
new vessels or a vitreous haemorrhage of the past, stays grade 4**. `treated` says what was done; an active eye may have been
treated as well, and no column tells the two apart. An eye with oedema or with any treatment is never grade 0.
**Referable** is what a clinic wants to see: grade 2 or more, or oedema of the macula. That is {referable:.1%} of the eyes; {swollen}
of them are referable by oedema alone. An eye that is quiet after treatment counts as referable, for it is grade 4: that is this course's
rule. The English programme has a class of its own for it, and programmes differ in whom they send to a clinic.

| column | what it holds |
|---|---|
| report_id, patient_id | invented numbers |
| eye | the eye that the row grades: right or left |
| site | north (English prose), harbour (abbreviations), delta (partly Chinese) |
| language | zh if the text holds Chinese characters, else en |
| text | the report |
| gloss | a Chinese report in English, from the same facts; else empty |
| impression | the conclusion in words: an answer, not an input |
| dme | diabetic macular oedema in that eye: none, not central, central (the centre of the macula is involved) |
| treated | what the eye has had: none, laser, injections, both |
| reader_1, reader_2 | two single readers' grades, 0-4 |
| grade | the adjudicated grade, 0-4: the truth |
| split | train, dev, dev_unseen or test, by patient; no text stands in two |

Grades: {grades}.
Sites: {sites}.
Languages: {languages}.
Splits: {splits}.
Length of the text: median {median} characters, at most {longest}.
The abbreviations stand in [abbreviations.csv](abbreviations.csv).

{dme}

{treated}

## How dev and test differ in kind

One name or phrasing in {held:.0%} of the choices in test comes from a list that no other split has: {unseen_test:.0%} of the test
reports hold at least one such wording, and none of dev. So a score on dev says nothing about unseen words, and a choice made on dev
may favour what knows the seen words well. `dev_unseen` is for such choices: {unseen_dev:.0%} of its reports hold a wording from a
third list, which neither train, dev nor test has.
The base models' pre-training text uses all *names* of findings, and none of the kept *phrasings*.

## Where the difficulty comes from

Settled before any model was trained, and not changed since.

- **Only definite and current findings of the graded eye count.** Uncertain, resolved and retracted findings, treatment that is only
  planned, and what other people or the other eye have, don't. Past new vessels do, as above: time matters, and it depends on the finding.
- **The mix of grades** is drawn from that of the public APTOS 2019 training photographs (1805, 370, 999, 193 and 295 of 3,662). Second
  visits, at which grades only rise, and the adjudicators' differences move it a little.
- **The readers** are shaped after Krause et al., Ophthalmology 2018;125:1264-72: single retina specialists had a quadratic weighted
  kappa of 0.82 to 0.91 against adjudication. Here: reader 1 {k1:.3f}, reader 2 {k2:.3f}; between the two {between:.3f}, same grade
  {exact:.1%}.
- **The rest is our assumption**, since we found no published figure for reports: how often each finding, oedema and treatment
  occurs at a grade (`generate/cases.py`); {off:.1%} of eyes where the adjudicated grade is one step from what the words say
  (adjudicators see photographs, not words), never where that would be absurd; {states:.0%} of reports that state their grade; a correction
  of at most 4% of the eyes; an uncertain finding in at most 12% of eyes; two eyes that are seldom far apart (the same
  grade in {alike:.0%} of the reports on both, three or four grades apart in {apart:.1%}); one patient in ten has a second visit, at
  which lesions and treatment stay, grades stay or rise, and what was planned is done.
- **Sentences that decide nothing** (acuity, pressure, drugs, lens) are drawn without looking at the eye, so none is likelier at one
  grade than at another.

## How it was read

In three draws of 300 rows, every report was read against its columns and its gloss, looking for what is impossible, contradicts
itself, or would not be written. No practising ophthalmologist has done so. Faults of earlier readings were mended in the
generator; in the last three draws nothing impossible and no contradiction was found. What was found there and stays:

- a first finding that opens with "Also" or "另见", as if a line were lost;
- an eye with haemorrhages or oedema whose report denies microaneurysms: possible, and seldom seen;
- a severe eye whose report says nothing of new vessels: a grader would deny them;
- two very unequal eyes without a comment;
- a relative's finding ("mother had vitreous haemorrhage") where one would write the disease;
- wordings that are right and that graders do not use: "saccular capillary dilatations", "peripheral new vessels", "脂质沉着",
  "made out", "could not be found".

## What it does not show

Real reports are longer, worse spelt and less regular. A result here is a result about these rules of writing.
Nothing here says how a model would do on a hospital's reports.
Scars of panretinal laser decide the grade here: only a proliferative eye has them. In life an eye may have them that was never
proliferative, lasered for severe disease before it, or for a vein occlusion.
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
