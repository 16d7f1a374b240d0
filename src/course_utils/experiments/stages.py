"""Measures the two stages of the case study, for notebook 09, into data_samples/results/stage_runs.json.

Stage 1 trains every weight on 5,000 labels of two sites. Stage 2 goes on with 500 labels of a third site, which stage 1 never
saw, in the ways of SECOND_STAGES; beside them stand runs that do without one of the stages, a probe and word counts. Of the base
models one has never read the third site either. Every run from a base has the recipe of methods.py (its learning rate, its rule
for epochs); a second stage has four tries on the third site's dev rows with seed 0. A run has as many seeds as stage 1, which it
stands on. Each run grades the whole test split; rows and verdicts are given for the new site and for the sites of stage 1.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from course_utils import adapt, data, machine, metrics, models, paths, results, training

from . import frozen, methods, origin, runs
from .runs import Task

NAME = "stage_runs"
BASES = ("tiny-biobert", "tiny-plain", "tiny-biobert-two-sites")
NEW_SITE, FIRST, SECOND = "delta", 5_000, 500  # labels of each stage
STAGE_1, ONE_STAGE, NEW_ALONE = "stage 1 alone", "one stage on everything", "new site alone"
FROM_BASE = {STAGE_1: ("first", FIRST), ONE_STAGE: ("all", FIRST + SECOND), NEW_ALONE: ("new", SECOND)}
ARTICLE = "two stages, LoRA on layers 11-12"
ADAPTED, TUNED, HEAD = (1e-3, 3e-3, 1e-2, 3e-2), (3e-5, 1e-4, 3e-4, 1e-3), (1e-3, 1e-2, 3e-2, 1e-1)
SECOND_STAGES = {  # method, the blocks that LoRA is on, the learning rates that are tried, the site whose labels it sees
    ARTICLE: ("LoRA", [10, 11], ADAPTED, "new"),
    "two stages, LoRA on layer 12": ("LoRA", [11], ADAPTED, "new"),  # what [11, 12] does
    "two stages, LoRA on all layers": ("LoRA", None, ADAPTED, "new"),
    "two stages, every weight": (methods.FULL, None, TUNED, "new"),
    "two stages, head alone": ("head alone", None, HEAD, "new"),
    "stage 1, trained longer": (methods.FULL, None, TUNED, "first"),
}
FIRST_BASE_ALONE = (
    "two stages, LoRA on layer 12",
    "two stages, LoRA on all layers",
    "stage 1, trained longer",
    NEW_ALONE,
)
ON_TOP = 2  # blocks from which on "head alone" and LoRA on the last ones differ from stage 1
CLASSICAL = (methods.COUNTS, methods.PROBE)
SHORT_MS = (1.2, 0.5)  # expected milliseconds of training on and of reading a report on cached states


def labelled(seed, part):
    """Return the labels of a stage ("first", "new"), or of both ("all"), drawn by the seed."""
    if part == "all":
        return pd.concat([labelled(seed, "first"), labelled(seed, "new")], ignore_index=True)
    train = data.course_reports()["train"]
    site = np.array(train["site"])
    rows = train.select(np.flatnonzero((site == NEW_SITE) == (part == "new")))
    return data.sample(rows, SECOND if part == "new" else FIRST, seed=seed).to_pandas()


def graded(answer):
    """Return the scores of a function that grades rows: macro F1 on the new site's dev rows, and the test answers."""
    dev, test = runs.frames()["dev"], runs.frames()["test"]
    dev = dev[dev["site"] == NEW_SITE]
    right = metrics.macro_f1(metrics.confusion(dev["grade"], answer(dev)))
    return {"dev": float(right), "predicted": [int(grade) for grade in answer(test)]}


def trained(model, tokenizer, rows, epochs, lr, seed):
    """Train, and return what it cost."""
    log = training.fit_grader(model, tokenizer, rows, epochs=epochs, lr=lr, seed=seed, bar=False)
    return {"seconds": round(log["seconds"], 1), "peak_mb": round(machine.peak_mb())}


def from_base(base, method, seed, lr):
    """Train every weight of a base on one part's labels and grade; the model of stage 1 is left for the second stages."""
    model, tokenizer = models.grader(runs.checkpoint(base), seed=seed)
    rows = labelled(seed, FROM_BASE[method][0])
    size = {"trainable": models.count_parameters(model)[0], "saved_kb": runs.saved_kb(model)}
    cost = trained(model, tokenizer, rows, runs.epochs(len(rows)), lr, seed)
    if method == STAGE_1:
        leave(model, tokenizer, stage_1_folder(base, seed, lr))
    return size | cost | graded(methods.answers(model, tokenizer))


def leave(model, tokenizer, folder):
    """Save a model beside its place and put it there, so that no other process sees half of it.

    What is there already is the same model, which another process may be reading: it stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        whole = Path(beside) / "model"
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        try:
            os.replace(whole, folder)
        except OSError:
            if not folder.exists():
                raise


def stage_1_folder(base, seed, lr):
    """Return where the model of stage 1 is left: another base, other labels, other code or libraries have another place."""
    weights = paths.sha256(Path(runs.checkpoint(base)) / "model.safetensors")
    stands_on = origin.of(from_base, {"base": base, "method": STAGE_1, "seed": seed, "lr": lr})
    rows = labelled(seed, "first")
    read = paths.digest([weights, stands_on, rows["text"].tolist(), rows["grade"].tolist()])
    return runs.WORK / NAME / f"{base}_seed_{seed}_{read[:12]}"


def stage_1(base, seed, lr):
    """Return the folder of stage 1's model, trained now if it was not left here."""
    folder = stage_1_folder(base, seed, lr)
    if not folder.exists():
        from_base(base, STAGE_1, seed, lr)
    return folder


def second(base, method, seed, first_lr, lr):
    """Load stage 1's model of the same seed, train it further, and grade.

    Where only the last two blocks or the head train, what the blocks below make of the reports is worked out once a seed; the
    seconds of such a run would be no others', so none is given.
    """
    prepared, layers, _, part = SECOND_STAGES[method]
    folder, rows = stage_1(base, seed, first_lr), labelled(seed, part)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model = adapt.prepare(model, prepared, **(methods.LORA | {"layers": layers} if prepared == "LoRA" else {}))
    size = {"trainable": models.count_parameters(model)[0], "saved_kb": runs.saved_kb(model)}
    if quick(method):
        below = model.config.num_hidden_layers - ON_TOP
        read = pd.concat([rows, *(runs.frames()[split] for split in ("dev", "test"))], ignore_index=True)
        model, tokenizer = frozen.on_top(model, tokenizer, str(folder), read, below)
    # one epoch of 5,000 has as many steps as ten of 500
    cost = trained(model, tokenizer, rows, runs.epochs(SECOND) if part == "new" else 1, lr, seed)
    return size | ({} if quick(method) else cost) | graded(methods.answers(model, tokenizer))


def quick(method):
    """Say whether a second stage leaves all blocks but the last two as they are."""
    prepared, layers, _, _ = SECOND_STAGES[method]
    return prepared == "head alone" or layers is not None


def classical(base, method, seed, **setting):
    """Fit word counts, or a probe of the base, to the labels of both stages, and grade."""
    rows = labelled(seed, "all")
    if method == methods.COUNTS:
        return graded(methods.counted(rows, **setting))
    return graded(methods.probed(runs.checkpoint(base), rows, **setting)[0])


# What is run.


def seeds():
    """Return the seeds: as many as stage 1 has, on which the others stand."""
    return runs.seeds(runs.seconds(FIRST))


def tasks(base, method):
    """Return a method's runs, one a seed."""
    lr = methods.recipe(base, methods.FULL)["lr"]
    if method in SECOND_STAGES:
        return [second_task(base, method, seed, chosen_rate(base, method)) for seed in seeds()]
    if method in CLASSICAL:
        owner, setting = base if method == methods.PROBE else methods.NO_BASE, methods.recipe(base, method)
        make, expected, more = classical, methods.METHODS[method].seconds(FIRST), setting
    else:
        owner, make, more, expected = base, from_base, {"lr": lr}, runs.seconds(FROM_BASE[method][1])
    named = {"base": owner, "method": method}
    return [Task(NAME, make, named | {"seed": seed} | more, expected) for seed in seeds()]


def second_task(base, method, seed, lr):
    """Return a second stage as a task. It waits for stage 1 of its seed."""
    named = {"base": base, "method": method, "seed": seed}
    rate = methods.recipe(base, methods.FULL)["lr"]
    first = Task(NAME, from_base, {"base": base, "method": STAGE_1, "seed": seed, "lr": rate}, 0)
    ready = runs.found(first) is not None
    return Task(
        NAME,
        second,
        named | {"first_lr": rate if ready else None, "lr": lr},
        runs.seconds(SECOND, *(SHORT_MS if quick(method) else ())),
    )


def tries(base, method):
    """Return the runs among which a second stage's learning rate is chosen, on the new site's dev rows."""
    return [second_task(base, method, 0, lr) for lr in SECOND_STAGES[method][2]]


def chosen_rate(base, method):
    """Return the learning rate of a second stage, or None until its tries are there."""
    tried = runs.all_found(tries(base, method))
    return runs.best(tried)["lr"] if tried else None


def order(base):
    """Return a base's methods in the order in which they are shown; not all of them are measured on every base."""
    every = [STAGE_1, *SECOND_STAGES, ONE_STAGE, NEW_ALONE, *CLASSICAL]
    return [method for method in every if base == BASES[0] or method not in FIRST_BASE_ALONE]


def plan():
    """Return all runs: the recipes that they need, stage 1, the tries of the second stages, and every method."""
    bases = runs.present(BASES)
    recipes = [one for base in bases for name in (methods.FULL, *CLASSICAL) for one in methods.tries(base, name)]
    first = [one for base in bases for one in tasks(base, STAGE_1)]
    tried = [one for base in bases for method in seconds(base) for one in tries(base, method)]
    return (
        recipes + first + tried + [one for base in bases for method in order(base)[1:] for one in tasks(base, method)]
    )


def seconds(base):
    """Return the second stages of a base."""
    return [method for method in order(base) if method in SECOND_STAGES]


# What is written.


def of(base, method):
    """Return a method's runs, as they are kept, with the base that they stand beside."""
    return [run | {"base": base} for run in runs.needed(tasks(base, method))]


def places():
    """Return which test rows are of the new site, and which of the sites of stage 1."""
    new = runs.frames()["test"]["site"].to_numpy() == NEW_SITE
    return {"the new site": new, "the first sites": ~new}


def pairs(base):
    """Return the methods that are compared: the article's with all, stage 1 with all, the probe with all."""
    probe, names = methods.PROBE, order(base)
    found = [(ARTICLE, method) for method in names if method != ARTICLE]
    found += [(method, STAGE_1) for method in names if method not in (STAGE_1, ARTICLE)]
    return found + [(probe, method) for method in names if method not in (STAGE_1, ARTICLE, probe)]


def by_place(run):
    """Return a run as it is shipped, with macro F1 on the test rows of each place: one seed may fail where the mean does not."""
    truth, said = runs.frames()["test"]["grade"].to_numpy(), np.array(run["predicted"])
    scores = {
        place: float(metrics.macro_f1(metrics.confusion(truth[where], said[where])))
        for place, where in places().items()
    }
    return runs.without_predictions([run])[0] | {"by_place": scores}


def report():
    """Write the file."""
    rows, verdicts, tested, tried = [], [], [], []
    for base in runs.present(BASES):
        done = {method: of(base, method) for method in order(base)}
        for place, where in places().items():
            rows += [runs.row(method, f"DR grade, test, {place}", some, where) for method, some in done.items()]
            told = [runs.verdict(a, done[a], b, done[b], where) for a, b in pairs(base)]
            verdicts += [{"base": base, "where": place} | line for line in told]
        tested += [by_place(run) for some in done.values() for run in some]
        tried += [run for method in seconds(base) for run in runs.needed(tries(base, method))]
    results.ship(NAME, rows, verdicts=verdicts, tried=runs.without_predictions(tried), tested=tested)


if __name__ == "__main__":
    runs.main(__spec__.name)
