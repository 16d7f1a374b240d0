"""Measures what pictures add to reports, and which models look at them, for notebook 17: `make results-pictures`.

Into results/picture_runs.json. Each run has its own patients for the tower, its own tower and its own projections; all is judged on
the test rows of the first camera. The text towers are tiny-biobert and, where `make real` has installed it, all-MiniLM-L6-v2.
Nothing is chosen here: the settings are those of the notebook, which were tried on dev with tiny-biobert, with more epochs. So no dev
score is kept; and MiniLM has had no tries of its own.
"""

import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from course_utils import metrics, models, paths, pictures, results, training
from course_utils.pictures import Pairs

from . import runs
from .methods import NO_BASE
from .runs import Task

NAME = "picture_runs"
POOL = {"tiny-biobert": "first", "all-MiniLM-L6-v2": "mean"}  # the text towers, and which vector of theirs is taken
WITHOUT_TEXT = (
    "colours",
    "file size",
    "network from scratch",
    "picture alone",
)  # graders that are the same beside each text tower
SEEDS = range(5)
NEW_SITE, NEW_CAMERA = "delta", "two"
TAUGHT = 0.65  # of the patients: their pictures teach the tower
EPOCHS, PROJECT_EPOCHS = 12, 30
REPAIR = 100  # labels of the new camera
PLANTED, ALARMS = 0.1, 0.05  # pictures that are swapped; right pairs that are flagged
GALLERY = 100
TIMED = 500  # pictures that are drawn again, to time it
DRAW_MS, STEP_MS, READ_MS = (
    2,
    4,
    3,
)  # of a picture, on one core of a fast machine: drawing it, training on it, reading its report


class Parts(NamedTuple):
    """What a run stands on: pictures that teach the tower, pairs to learn from, and the test pairs by either camera."""

    school: Pairs
    pairs: Pairs
    held: Pairs
    by_new_camera: Pairs


@cache
def parts(seed: int) -> Parts:
    """Return a run's patients, drawn by the seed, with their pictures; test is the same for all."""
    known = {name: pictures.facts(runs.frames()[name]) for name in ("train", "test")}
    train, test = (rows[rows["site"] != NEW_SITE] for rows in known.values())
    patients = train["patient_id"].drop_duplicates().sample(frac=1, random_state=seed)
    of_school = train["patient_id"].isin(patients.head(int(TAUGHT * len(patients))))
    return Parts(
        pictures.drawn(train[of_school]),
        pictures.drawn(train[~of_school]),
        pictures.drawn(test),
        pictures.drawn(test, camera=NEW_CAMERA),
    )


def checkpoint(base: str) -> str:
    """Return the folder of a text tower, ours or one that `make real` makes."""
    return runs.checkpoint(base) if base in models.HUB else str(paths.real() / base)


def present() -> list[str]:
    """Return the text towers that are there."""
    real = [name for name in POOL if (paths.real() / name / "model.safetensors").is_file()]
    return [name for name in POOL if name in [*runs.present(models.HUB), *real]]


def reader(base: str) -> Callable:
    """Return what makes vectors of reports, (eye, text) each, and remembers them."""
    model, tokenizer = models.grader(checkpoint(base), seed=0)

    def read(reports):
        rows = {"eye": [eye for eye, _ in reports], "text": [text for _, text in reports]}
        return training.features(model, tokenizer, rows, pool=POOL[base])

    return pictures.once(read)


def one(base: str, seed: int) -> dict:
    """Train the towers and the graders of a seed, and return what they answer on test: as they are, and under each control."""
    some = parts(seed)
    net = pictures.tower(seed)
    _, went = pictures.teach(net, some.school.pixels, pictures.taught(some.school.rows), epochs=EPOCHS, seed=seed)
    see, read = pictures.once(lambda pixels: pictures.vectors(net, np.stack(pixels))), reader(base)
    found = graded(see, read, some, seed)
    return found | matched(see, read, some, seed) | {"fed": went.fed, "draw_ms": draw_ms(some)}


def draw_ms(some: Parts) -> float:
    """Return the processor's milliseconds for drawing a picture."""
    rows = some.pairs.rows.head(TIMED)
    began = time.process_time()
    pictures.drawn(rows)
    return 1000 * (time.process_time() - began) / len(rows)


def graded(see: Callable, read: Callable, some: Parts, seed: int) -> dict:
    """Return the grades, as digits: {grader: {control: digits}}, and those of the picture's grader on the new camera."""
    pairs = some.pairs
    x, y = see(pairs.pixels), pairs.grades
    of_picture, of_report = pictures.probe(x, y), pictures.probe(read(pairs.reports), y)
    of_both = pictures.probe(np.hstack([x, read(pairs.reports)]), y)
    small = pictures.tower(seed + 100)
    head, _ = pictures.teach(small, pairs.pixels, torch.tensor(y), epochs=EPOCHS, seed=seed)
    graders = {
        "colours": lambda of: pictures.probe(pictures.colours(pairs.pixels), y, 1.0).predict(
            pictures.colours(of.pixels)
        ),
        "file size": lambda of: pictures.probe(pictures.file_sizes(pairs.pixels), y, 1.0).predict(
            pictures.file_sizes(of.pixels)
        ),
        "network from scratch": lambda of: head(torch.tensor(pictures.vectors(small, of.pixels))).argmax(1).numpy(),
        "picture alone": lambda of: of_picture.predict(see(of.pixels)),
        "report alone": lambda of: of_report.predict(read(of.reports)),
        "both": lambda of: of_both.predict(np.hstack([see(of.pixels), read(of.reports)])),
    }
    answers = {name: under_controls(grade, some.held, seed) for name, grade in graders.items()}
    stated = pictures.stating(some.held, some.held.grades)
    answers["both, the grade is stated"] = under_controls(pictures.believer(see, pairs), stated, seed)
    return {"answers": answers, "camera": on_new_camera(see, some, of_picture, seed)}


def under_controls(grade: Callable, of: Pairs, seed: int) -> dict[str, str]:
    """Return what a grader answers, as it is and under each control, as digits."""
    controls = {"as they are": lambda pairs, _: pairs} | pictures.CONTROLS
    return {name: digits(grade(control(of, seed))) for name, control in controls.items()}


def on_new_camera(see: Callable, some: Parts, of_picture, seed: int) -> dict[str, str]:
    """Return what the picture's grader answers on the new camera's pictures of the same eyes: as it is, and repaired."""
    rows = some.pairs.rows.sample(REPAIR, random_state=seed)
    few, new = pictures.drawn(rows, camera=NEW_CAMERA), some.by_new_camera
    x = np.vstack([see(some.pairs.pixels), see(few.pixels)])
    more = pictures.probe(x, np.concatenate([some.pairs.grades, few.grades]))
    alone = pictures.probe(see(few.pixels), few.grades)
    recoloured = pictures.recoloured(new.pixels, few.pixels, some.pairs.pixels)
    return {
        "as it is": digits(of_picture.predict(see(new.pixels))),
        "colours matched": digits(of_picture.predict(see(recoloured))),
        "a hundred labels more": digits(more.predict(see(new.pixels))),
        "a hundred labels alone": digits(alone.predict(see(new.pixels))),
    }


def digits(grades) -> str:
    """Return grades as one string."""
    return "".join(str(int(grade)) for grade in grades)


def matched(see: Callable, read: Callable, some: Parts, seed: int) -> dict:
    """Return what two towers match: who is found first, what is preferred, and how many pictures in the wrong file are flagged."""
    pairs, held = some.pairs, some.held
    seen, said, random = see(pairs.pixels), read(pairs.reports), np.random.default_rng(seed)
    mirrored = np.vstack([seen, see(pictures.wrong_side(pairs).pixels)])
    ways = {
        "two towers": (seen, said),
        "mirrored as augmentation": (mirrored, np.vstack([said, said])),
        "shuffled pairs": (seen, said[random.permutation(len(said))]),
    }
    hits: dict[str, str] = {}
    preferred: dict[str, dict] = {}
    losses: dict[str, list[float]] = {}
    flagged: dict = {}
    for name, (a, b) in ways.items():
        both, went = pictures.project(a, b, epochs=PROJECT_EPOCHS, seed=seed)
        hits[name] = digits(
            pictures.found_first(*pictures.projected(both, see(held.pixels), read(held.reports)), GALLERY)
        )
        losses[name] = [went.losses[0], float(np.mean(went.losses[-10:]))]

        def fit(of, both=both):
            one_side, other = pictures.projected(both, see(of.pixels), read(of.reports))
            return (one_side * other).sum(1)

        preferred[name] = {line.control: list(line.share) for line in pictures.prefer(fit, held, seed)}
        if name == "two towers":
            flagged = flags(fit, held, seed)
    return {"hits": hits, "preferred": preferred, "losses": losses, "flags": flagged}


def flags(fit: Callable, held: Pairs, seed: int) -> dict:
    """Return how well swapped pictures are found in one half of the patients, with the threshold of the other half."""
    names = held.rows["patient_id"].drop_duplicates().sample(frac=1, random_state=seed)
    calm = held.rows["patient_id"].isin(names.head(len(names) // 2)).to_numpy()
    threshold, tried = float(np.quantile(fit(held.take(calm)), ALARMS)), held.take(~calm)
    found: dict[str, dict] = {}
    for how, alike in (("among all", ()), ("of one side and site", ("eye", "site"))):
        flag = pictures.flags(fit, *pictures.misfiled(tried, PLANTED, seed, alike), threshold)
        found[how] = {key: list(value) if isinstance(value, tuple) else value for key, value in flag._asdict().items()}
    return found


def task(base: str, seed: int) -> Task:
    """Return a run as a task."""
    train, test = len(runs.frames()["train"]), len(runs.frames()["test"])
    ms = (train + 4 * test) * DRAW_MS + train * EPOCHS * STEP_MS + (train + 3 * test) * READ_MS
    return Task(NAME, one, {"base": base, "seed": seed}, runs.START_S + ms / 1000)


def plan() -> list[Task]:
    """Return all runs."""
    return [task(base, seed) for base in present() for seed in SEEDS]


# What is written.


def looks(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return for each grader and control the score over the seeds, what is lost, and the verdict."""
    lines = []
    for grader in done[0]["answers"]:
        own = grades_of(done, "answers", grader, "as they are")
        for control in done[0]["answers"][grader]:
            now = grades_of(done, "answers", grader, control)
            score = metrics.interval_over_seeds(held.grades, now, metrics.macro_f1, groups=held.patients)
            tower = "none" if grader in WITHOUT_TEXT else base
            line = {"text_tower": tower, "grader": grader, "control": control, "score": list(score)}
            if control != "as they are":
                lost = metrics.paired(held.grades, own, now, groups=held.patients).difference
                changed = float(np.mean([(a != b).sum() for a, b in zip(own, now, strict=True)]))
                line |= {
                    "changed": changed,
                    "n": len(held),
                    "lost": list(lost),
                    "verdict": pictures.verdict(lost, int(changed > 0)),
                }
            lines.append(line)
    return lines


def grades_of(done: list[dict], *keys: str) -> list[np.ndarray]:
    """Return the grades that stand under some keys of each run."""
    found = []
    for run in done:
        for key in keys:
            run = run[key]
        found.append(np.array([int(grade) for grade in run]))
    return found


def retrieval(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return how many pictures find their own report first, over the seeds, with an interval over patients."""
    patients = held.patients[np.concatenate(pictures.dealt(len(held), GALLERY))]
    lines = []
    for what in done[0]["hits"]:
        mean = np.mean(grades_of(done, "hits", what), axis=0)
        share = pictures.mean_over_patients(mean, patients)
        line = {
            "text_tower": base,
            "what": what,
            "right": round(float(mean.sum())),
            "of": len(mean),
            "share": list(share),
        }
        lines.append(line | {"losses": [run["losses"][what] for run in done]})
    return lines


def fused(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return the grader that has both against each alone, over the seeds."""
    both, lines = grades_of(done, "answers", "both", "as they are"), []
    for other in ("picture alone", "report alone"):
        alone = grades_of(done, "answers", other, "as they are")
        pair = metrics.paired(held.grades, both, alone, groups=held.patients, names=("both", other))
        lines.append(
            {"text_tower": base, "against": other, "difference": list(pair.difference), "verdict": pair.verdict}
        )
    return lines


def preferred(done: list[dict], base: str) -> list[dict]:
    """Return for each matcher and control the share of own pairs that it prefers, in each run: trainings differ by luck."""
    return [
        {"text_tower": base, "what": what, "control": name, "shares": [run["preferred"][what][name] for run in done]}
        for what, under in done[0]["preferred"].items()
        for name in under
    ]


def flagged(done: list[dict], base: str) -> list[dict]:
    """Return how well swapped pictures are found, each number in each run."""
    return [
        {"text_tower": base, "how": how} | {name: [run["flags"][how][name] for run in done] for name in of}
        for how, of in done[0]["flags"].items()
    ]


def camera(done: list[dict], held: Pairs) -> list[dict]:
    """Return the picture's grader on the new camera over the seeds: its score, and that against the first camera's and unrepaired."""
    first, lines = grades_of(done, "answers", "picture alone", "as they are"), []
    as_it_is = grades_of(done, "camera", "as it is")
    for how in done[0]["camera"]:
        now = grades_of(done, "camera", how)
        score = metrics.interval_over_seeds(held.grades, now, metrics.macro_f1, groups=held.patients)
        gap = metrics.paired(held.grades, now, first, groups=held.patients, names=("the new camera", "the first"))
        line = {"how": how, "score": list(score), "gap": list(gap.difference), "verdict": gap.verdict}
        if how != "as it is":
            gain = metrics.paired(held.grades, now, as_it_is, groups=held.patients, names=(how, "no repair"))
            line |= {"gain": list(gain.difference), "repair": gain.verdict}
        lines.append(line)
    return lines


def table_rows(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return a row of the results table for each grader."""
    rows = []
    for grader in done[0]["answers"]:
        own = grades_of(done, "answers", grader, "as they are")
        score = metrics.interval_over_seeds(held.grades, own, metrics.macro_f1, groups=held.patients)
        row = {"method": grader, "task": "DR grade, test, drawn pictures", "metric": "macro F1"}
        row["base"] = NO_BASE if grader in WITHOUT_TEXT else base
        row |= {"value": score.value, "low": score.low, "high": score.high, "seeds": len(own), "n": len(held)}
        rows.append(row | {"k": round(float(np.mean([(one == held.grades).sum() for one in own])))})
    return rows


def report() -> None:
    """Write the file."""
    if runs.lacking(NAME, ["tiny-biobert"]):
        return
    rows: list[dict] = []
    held, names = parts(0).held, ("looks", "fused", "retrieval", "preferred", "flags", "camera", "fed", "draw_ms")
    content: dict[str, list] = {name: [] for name in names}
    for base in present():
        done = runs.needed([task(base, seed) for seed in SEEDS])
        content["fused"] += fused(done, base, held)
        content["camera"] = content["camera"] or camera(done, held)
        graders = done
        if rows:  # those without a text tower are there
            graders = [{"answers": {k: v for k, v in run["answers"].items() if k not in WITHOUT_TEXT}} for run in done]
        rows += table_rows(graders, base, held)
        content["looks"] += looks(graders, base, held)
        content["retrieval"] += retrieval(done, base, held)
        content["preferred"] += preferred(done, base)
        content["flags"] += flagged(done, base)
        content["fed"] += [run["fed"] for run in done]
        content["draw_ms"] += [run["draw_ms"] for run in done]
    results.ship(NAME, rows, planted=PLANTED, alarms=ALARMS, gallery=GALLERY, **content)


if __name__ == "__main__":
    runs.main(__spec__.name)
