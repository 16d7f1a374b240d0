"""Measures the methods on a base that people use, on the course's reports and on text that people wrote: `make results-real`.

Into data_samples/results/real.json. The base is all-MiniLM-L6-v2, which `make real` makes. What is measured, and how a setting is
chosen on dev, is as in methods.py, whose functions do the work; a real base has learning rates of its own. SetFit and model2vec are
those of rivals.py, and need the extra `rivals`. Besides, the base is pre-trained further on unlabelled reports, with masked words,
before a probe and before fine-tuning.

A run takes minutes here and not seconds, so the seeds are fewer (`seeds`) and the sizes are four. What most lessons stand on has
three at least (`DECISIVE`).
"""

from functools import cache
from typing import NamedTuple

import pandas as pd

from course_utils import paths, results
from course_utils.generate import definitions, further, real, tiny_biobert

from . import frozen, lessons, methods, rivals, runs
from .methods import COUNTS, FULL, LAST, LORA, NO_BASE, PROBE, Method, rates
from .rivals import DISTILLED, SETFIT
from .runs import Task

NAME = "real"
BASE = real.SOURCES[0].name
REPORTS, DEFINITIONS = "the course's reports", "WordNet's definitions"
TEXTS = (REPORTS, DEFINITIONS)
DEFINITIONS_SUM = "3b6b6b0b3427ce1bc1962921b43cfe30ef9266df9cbe09f46a07334cf27ff9b3"  # SHA-256 of the file that ships
SIZES = (100, 500, 1_000, 5_000)
STEPS = (115, 1_150)  # of pre-training further, 32 texts each: a hundredth and a tenth of what our bases read
AFTER = {PROBE: SIZES, FULL: (100, 1_000)}  # what is measured on a base that was pre-trained further
LONG_RUN = 300  # expected seconds from which a run has one seed
DECISIVE = dict.fromkeys(
    (FULL, "LoRA", LAST), (100, 1_000)
)  # what most lessons stand on: methods and their numbers of labels
AT_LEAST = 3  # seeds of these, however long a run takes
STEP_S = 4.0  # expected seconds of a step of pre-training further: one of fine-tuning, and the masked words


class Cost(NamedTuple):
    """Expected milliseconds on one core of training on a text, and of reading one."""

    ms: float
    read_ms: float


# Training and reading a report were measured, on five steps of 32; a definition has 0.28 of a report's tokens, and costs as much less.
# What the others cost is a guess: of SetFit from a step of all weights, of the rest from the course's own bases.
COSTS = {
    REPORTS: {
        FULL: Cost(109, 27),
        "LoRA": Cost(79, 27),
        LAST: Cost(54, 27),
        PROBE: Cost(0.2, 6),
        COUNTS: Cost(0.2, 0.3),
        SETFIT: Cost(125, 27),
        DISTILLED: Cost(0.5, 0.3),
    },
    DEFINITIONS: {
        FULL: Cost(30, 7.5),
        "LoRA": Cost(22, 7.5),
        LAST: Cost(15, 7.5),
        PROBE: Cost(0.2, 2),
        COUNTS: Cost(0.1, 0.1),
        SETFIT: Cost(35, 7.5),
        DISTILLED: Cost(0.5, 0.1),
    },
}
TRIED = {
    COUNTS: methods.METHODS[COUNTS].tried,
    PROBE: methods.METHODS[PROBE].tried,
    FULL: rates(3e-5, 1e-4, 3e-4, 1e-3),
    "LoRA": rates(3e-4, 1e-3, 3e-3, 1e-2, **LORA),
    LAST: rates(1e-4, 3e-4, 1e-3, 3e-3),
    SETFIT: rates(2e-5, 6e-5, 2e-4, 6e-4, pool="mean"),  # the vector that this base was taught with
    DISTILLED: rivals.RIVALS[DISTILLED].tried,
}


# The texts and the base.


def splits(text: str) -> dict:
    """Return the splits of a text as DataFrames, with the columns that a grader reads."""
    return runs.frames() if text == REPORTS else defined()


@cache
def defined() -> dict:
    """Return WordNet's definitions by split.

    A grader reads a pair whose first part is called the eye, and the vectors of a text are known by its report and eye. Here the first
    part is the word, and a row is a report. The word is the patient too: its entries are not independent.
    Raises ValueError if the file is not the one that ships.
    """
    file = paths.real_text() / "definitions.csv.gz"
    if (got := paths.sha256(file)) != DEFINITIONS_SUM:
        raise ValueError(f"{file} is not the file that ships (SHA-256 {got[:12]}...). Get it back from the repository.")
    rows = pd.read_csv(file, keep_default_na=False).rename(columns={"word": "eye"})
    rows = rows.assign(report_id=[str(number) for number in range(len(rows))], patient_id=rows["eye"].str.lower())
    return {split: rows[rows["split"] == split].reset_index(drop=True) for split, _ in definitions.PARTS}


def everything(text: str) -> pd.DataFrame:
    """Return the rows of all splits of a text."""
    return frozen.everything() if text == REPORTS else pd.concat(defined().values(), ignore_index=True)


def labelled(text: str, labels: int, seed: int):
    """Return `labels` training rows of a text, drawn by the seed."""
    if text == REPORTS:
        return runs.train_rows(labels, seed)
    return defined()["train"].sample(labels, random_state=seed)


def word_and_text(rows):
    """Return the word, then its definition: what the classical model reads."""
    return rows["eye"] + ": " + rows["text"]


def checkpoint(steps: int = 0) -> str:
    """Return the folder of the base, or of the base after so many steps of pre-training further.

    Raises FileNotFoundError, with the mend, if it is not there.
    """
    start = paths.real() / BASE
    if not (start / "model.safetensors").is_file():
        raise FileNotFoundError(f"There is no real base {start}. Make it with `make real`.")
    if not steps:
        return str(start)
    folder = further.place(str(start), steps)
    if not folder.is_dir():
        kept = runs.place(NAME, {"base": BASE, "steps": steps})
        raise FileNotFoundError(f"There is no {folder}. Delete {kept}, and `make results-real` makes it again.")
    return str(folder)


# The runs.


def pretrained(base, steps):
    """Pre-train the base further and leave it in build/; return the held-out loss of masked words before and after."""
    points = further.made(checkpoint(), steps)
    return {"before": points[0]["loss_words"], "after": points[-1]["loss_words"]}


def one(base, text, method, labels, seed, steps=0, **setting):
    """Train a method and grade all splits but train. `steps` are those of pre-training further."""
    rows, parts = labelled(text, labels, seed), splits(text)
    if method == COUNTS:
        return {"trainable": 0} | runs.graded(methods.counted(rows, **setting, words=word_and_text), of=parts)
    folder = checkpoint(steps)
    if method == PROBE:
        answer, size = methods.probed(folder, rows, **setting, every=everything(text))
        return {"trainable": size} | runs.graded(answer, of=parts)
    answer, cost = methods.tuned_from(folder, method, rows, seed, every=everything(text), **setting)
    return {"epochs": runs.epochs(labels)} | cost | runs.graded(answer, of=parts)


def rival(base, text, method, labels, seed, **setting):
    """Fit SetFit or model2vec on the base and grade all splits but train. model2vec reads the first part as "... eye." on both texts."""
    answer = rivals.FITTED[method](checkpoint(), labelled(text, labels, seed), seed, **setting)
    return runs.graded(answer, of=splits(text))


# What is run.


def expected(text, method, labels):
    """Return the expected seconds of a run."""
    return method_of(text, method).seconds(labels)


def method_of(text, method) -> Method:
    """Return a method's tries, sizes and cost on a text."""
    return Method(TRIED[method], SIZES, *COSTS[text][method])


def seeds(text, method, labels) -> range:
    """Return the seeds of a run by the seconds that it is expected to take: five under a minute, one from LONG_RUN on, else two.

    What is DECISIVE has AT_LEAST as many.
    """
    seconds = expected(text, method, labels)
    number = runs.SHORT if seconds < runs.MINUTE else 1 if seconds >= LONG_RUN else 2
    return range(max(number, AT_LEAST) if labels in DECISIVE.get(method, ()) else number)


def task(text, method, labels, seed, setting, steps=0):
    """Return a run as a task."""
    named = {
        "base": NO_BASE if method == COUNTS else BASE,
        "text": text,
        "method": method,
        "labels": labels,
        "seed": seed,
    }
    after = {"steps": steps} if steps else {}
    make = rival if method in (SETFIT, DISTILLED) else one
    return Task(NAME, make, named | after | setting, expected(text, method, labels))


def pretraining(steps):
    """Return pre-training further as a task."""
    return Task(NAME, pretrained, {"base": BASE, "steps": steps}, steps * STEP_S)


def tries(text, method, steps=0):
    """Return the runs among which a method's setting on a text is chosen; after pre-training further they wait for that."""
    tried = [setting if ready(steps) else dict.fromkeys(setting) for setting in TRIED[method]]
    return [task(text, method, methods.CHOSEN_AT, 0, setting, steps) for setting in tried]


def recipe(text, method, steps=0):
    """Return a method's setting on a text, the best of its tries on dev; its values are None until all tries are there."""
    tried = runs.all_found(tries(text, method, steps))
    best = runs.best(tried) if tried else {}
    return {key: best.get(key) for key in TRIED[method][0]}


def tested(text, method, labels):
    """Return a method's runs with its recipe, one a seed. Word counts of the reports are those of methods.py."""
    if (text, method) == (REPORTS, COUNTS):
        return methods.tested(NO_BASE, COUNTS, labels)
    chosen = recipe(text, method)
    return [task(text, method, labels, seed, chosen) for seed in seeds(text, method, labels)]


def ready(steps):
    """Say whether the base that was pre-trained further for so many steps is there."""
    return not steps or runs.found(pretraining(steps)) is not None


def tested_after(method, labels, steps):
    """Return a method's runs on the reports after pre-training further, one a seed.

    A probe's setting is chosen anew; fine-tuning keeps the rate of the base itself, for four tries would cost more than all its runs.
    """
    chosen = recipe(REPORTS, method, steps if method == PROBE else 0)
    setting = chosen if ready(steps) else dict.fromkeys(chosen)
    return [task(REPORTS, method, labels, seed, setting, steps) for seed in seeds(REPORTS, method, labels)]


def plan():
    """Return all runs: the tries, each method at its sizes, then pre-training further and what stands on it."""
    tried = [
        one for text in TEXTS for method in TRIED if (text, method) != (REPORTS, COUNTS) for one in tries(text, method)
    ]
    tried += methods.tries(NO_BASE, COUNTS)
    sized = [one for text in TEXTS for method in TRIED for n in SIZES for one in tested(text, method, n)]
    longer = [pretraining(steps) for steps in STEPS]
    again = [one for steps in STEPS for one in tries(REPORTS, PROBE, steps)]
    after = [
        one
        for steps in STEPS
        for method, sizes in AFTER.items()
        for n in sizes
        for one in tested_after(method, n, steps)
    ]
    return longer + tried + sized + again + after


# What is written.


def named(steps):
    """Return the base's name in a row."""
    return f"{BASE}, {steps:,} steps further" if steps else BASE


def of(text, method, labels, steps=0):
    """Return a method's runs with its recipe, as they are kept, with the base that they stand beside."""
    some = tested_after(method, labels, steps) if steps else tested(text, method, labels)
    return [run | {"base": named(steps)} for run in runs.needed(some)]


def compared(text, labels, first, second):
    """Return the verdict on two sides, each a method and its steps of pre-training further, and how many seeds each has."""
    sides = []
    for method, steps in (first, second):
        after = f", {steps:,} steps further" if steps else ""
        sides += [f"{method}, {labels:,} labels{after}", of(text, method, labels, steps)]
    seeds_of = [len(some) for some in sides[1::2]]
    return {"text": text, "labels": labels, "seeds": seeds_of} | runs.verdict(*sides, of=splits(text))


def comparisons():
    """Return what is compared: the text, the labels, and two sides. After pre-training further: with before, and with word counts."""
    pairs = [(FULL, COUNTS), (PROBE, COUNTS), (FULL, PROBE), ("LoRA", FULL), (LAST, FULL)]
    pairs += [(SETFIT, FULL), (DISTILLED, COUNTS)]
    found = [(text, n, (a, 0), (b, 0)) for text in TEXTS for n in SIZES for a, b in pairs]
    after = [(n, (method, steps)) for steps in STEPS for method, sizes in AFTER.items() for n in sizes]
    return found + [(REPORTS, n, side, (other, 0)) for n, side in after for other in (side[0], COUNTS)]


class Side(NamedTuple):
    """A side of a lesson: a method, with so many labels, on a text; or that one of LoRA's tries whose rate is nearest to the one that is
    best for all weights.
    """

    method: str
    labels: int
    inherited: bool = False

    def on(self, text) -> list[dict]:
        """Return its runs on a text."""
        if not self.inherited:
            return of(text, self.method, self.labels)
        best = recipe(text, FULL)["lr"]
        return [min(runs.needed(tries(text, self.method)), key=lambda run: abs(run["lr"] - best))]


# The lessons of the course that these runs can judge, in the words of lessons.py, and a few of this base alone.
MIDDLE = methods.MIDDLE
LESSONS = {
    "A frozen base with a probe beats word counts at 500 labels": (Side(PROBE, 500), Side(COUNTS, 500)),
    "A frozen base with a probe beats word counts at 5,000 labels": (Side(PROBE, 5_000), Side(COUNTS, 5_000)),
    "The probe wins where labels are few: 100": (Side(PROBE, 100), Side(FULL, 100)),
    "Fine-tuning beats the probe at 1,000 labels": (Side(FULL, MIDDLE), Side(PROBE, MIDDLE)),
    "Fine-tuning beats word counts at 100 labels": (Side(FULL, 100), Side(COUNTS, 100)),
    "Fine-tuning beats word counts at 1,000 labels": (Side(FULL, MIDDLE), Side(COUNTS, MIDDLE)),
    "LoRA needs a learning rate of its own": (Side("LoRA", MIDDLE), Side("LoRA", MIDDLE, inherited=True)),
    "LoRA is level with all weights at 1,000 labels": (Side("LoRA", MIDDLE), Side(FULL, MIDDLE)),
    "LoRA is level with all weights at 100 labels": (Side("LoRA", 100), Side(FULL, 100)),
    "The last layers are level with all weights": (Side(LAST, MIDDLE), Side(FULL, MIDDLE)),
}
ALONE = {  # the course's own say it of all labels, and of 250
    "The curve is flat past 1,000: 5,000 labels gain little": (lessons.LITTLE, Side(FULL, 5_000), Side(FULL, MIDDLE)),
    "Few labels are enough: 500 beat word counts with 5,000": (lessons.BETTER, Side(FULL, 500), Side(COUNTS, 5_000)),
}


def asked():
    """Return what is judged: each lesson's words, what is claimed, and its sides."""
    known = {lesson.says: lesson.claim for lesson in lessons.LESSONS}
    return {says: (known[says], *sides) for says, sides in LESSONS.items()} | ALONE


def judged(text) -> list[dict]:
    """Return each lesson with the paired difference on a text's test rows, how many seeds its sides have, and whether it holds, by the
    rule of lessons.py.
    """
    found = []
    for says, (claim, *both) in asked().items():
        first, second = (side.on(text) for side in both)
        gap = runs.paired(first, second, of=splits(text)).difference
        found.append(
            {"lesson": says, "claim": claim, "text": text, "base": BASE, "seeds": [len(first), len(second)]}
            | {"difference": list(gap), "verdict": lessons.verdict(claim, gap)}
        )
    return found


def report():
    """Write the file."""
    keys = [(text, method, n, 0) for text in TEXTS for method in TRIED for n in SIZES]
    keys += [(REPORTS, method, n, steps) for steps in STEPS for method, sizes in AFTER.items() for n in sizes]
    rows = [
        runs.row(method, f"{text}, test, {n:,} labels", of(text, method, n, steps), of=splits(text))
        for text, method, n, steps in keys
    ]
    results.ship(
        NAME,
        rows,
        verdicts=[compared(*sides) for sides in comparisons()],
        recipes=[
            {"text": text, "method": method, "chosen": chosen(text, method)} for text in TEXTS for method in TRIED
        ],
        lessons=[line for text in TEXTS for line in judged(text)],
        pretrained=[
            {"steps": steps, "ours": tiny_biobert.PLAIN.steps} | runs.needed([pretraining(steps)])[0] for steps in STEPS
        ],
        tested=[run for key in keys for run in runs.without_predictions(of(*key))],
    )


def chosen(text, method):
    """Return the setting that was chosen."""
    return methods.recipe(NO_BASE, COUNTS) if (text, method) == (REPORTS, COUNTS) else recipe(text, method)


if __name__ == "__main__":
    runs.main(__spec__.name)
