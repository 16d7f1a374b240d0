"""Measures what each step of preparation is worth, for notebook 07, into data_samples/results/preparation_runs.json.

Each base model, with the learning rate that methods.py chose for it, and word counts with theirs. Every variant has the same
labels, drawn by the seed, and grades the test split once; nothing is chosen on it. The raw texts' runs are those of methods.py.
"""

from functools import cache
from importlib.metadata import version

import pandas as pd

from course_utils import augment, context, models, paths, results, terms, training

from . import methods, origin, runs
from .runs import Task

NAME = "preparation_runs"
BASE, COUNTS, RAW, TWICE = methods.FULL, methods.COUNTS, "raw", "raw, twice"
LABELS = methods.MIDDLE


def english_cues(text):
    """Return the text with its Chinese cues, such as 未见, in English: what the engines of `context` need."""
    return terms.normalise(text, ("cue",))


def with_text(rows, change):
    """Return the rows with each text changed."""
    return rows.assign(text=[change(text) for text in rows["text"]])


def marked(rows):
    """Return the rows with a word before each finding or disease that is not affirmed, for the graded eye."""
    texts = [english_cues(text) for text in rows["text"]]
    spans = [[(one.start, one.end) for one in terms.mentions(text, ("finding", "disease"))] for text in texts]
    states = context.states(texts, spans, "negspacy", list(rows["eye"]))
    return rows.assign(text=[context.mark(*one) for one in zip(texts, spans, states, strict=True)])


def and_copies(rows, seed):
    """Return the rows and a changed copy of each."""
    return pd.concat([rows, augment.augmented(rows, seed).rows], ignore_index=True)


# a variant: times the epochs of the rule, what happens to the training rows (with the seed), and what to the graded rows
VARIANTS = {
    "raw": (1, lambda rows, seed: rows, lambda rows: rows),
    "raw, twice": (2, lambda rows, seed: rows, lambda rows: rows),
    "normalised": (1, lambda rows, seed: normalised(rows), lambda rows: normalised(rows)),
    "English cues": (1, lambda rows, seed: with_text(rows, english_cues), lambda rows: with_text(rows, english_cues)),
    "augmented": (1, and_copies, lambda rows: rows),
    "marked": (1, lambda rows, seed: marked(rows), marked),
    "all": (1, lambda rows, seed: marked(and_copies(normalised(rows), seed)), lambda rows: marked(normalised(rows))),
    "normalised, then augmented": (
        1,
        lambda rows, seed: and_copies(normalised(rows), seed),
        lambda rows: normalised(rows),
    ),
    "augmented, then normalised": (
        1,
        lambda rows, seed: normalised(and_copies(rows, seed)),
        lambda rows: normalised(rows),
    ),
}
ORDERS = ("normalised, then augmented", "augmented, then normalised")  # measured on the first base alone
# compared besides each variant with raw: with raw read as often, at one step of preparation apart, and in the two orders
PAIRS = (
    ("augmented", "raw, twice"),
    ("all", "raw, twice"),
    ("normalised", "raw, twice"),
    ("marked", "raw, twice"),
    ("marked", "English cues"),
    ("all", "normalised"),
    ("all", "normalised, then augmented"),
    ("normalised, then augmented", "normalised"),
    ("augmented, then normalised", "normalised, then augmented"),
)


def normalised(rows):
    """Return the rows with each text normalised."""
    return with_text(rows, terms.normalise)


def as_read(variant):
    """Return the texts of each split that is graded, as the variant reads them."""
    return {
        split: list(VARIANTS[variant][2](rows)["text"]) for split, rows in runs.frames().items() if split != "train"
    }


@cache
def graded(variant):
    """Return the splits that are graded as the variant reads them. The texts are made once for all runs, in build/."""
    file = (
        paths.BUILD
        / "prepared"
        / f"{paths.digest(origin.of(as_read, {'variant': variant, 'base': methods.NO_BASE}))[:16]}.json"
    )
    if not file.exists():
        paths.write_json(file, as_read(variant))
    texts = paths.read_json(file)
    return {split: runs.frames()[split].assign(text=some) for split, some in texts.items()}


def prepared(variant, labels, seed):
    """Return the training rows of a variant."""
    return VARIANTS[variant][1](runs.train_rows(labels, seed), seed)


def one(base, method, labels, variant, seed, **setting):
    """Train a method on a variant's training rows and grade what it reads."""
    train = prepared(variant, labels, seed)
    if method == COUNTS:
        return {"rows": len(train)} | scored(variant, methods.counted(train, **setting))
    model, tokenizer = models.grader(runs.checkpoint(base), seed=seed)
    epochs = runs.epochs(labels) * VARIANTS[variant][0]
    log = training.fit_grader(model, tokenizer, train, epochs=epochs, seed=seed, bar=False, **setting)
    cost = {"seconds": round(log["seconds"], 1), "trainable": models.count_parameters(model)[0]}
    done = {"rows": len(train), "steps": log["steps"], "cut": log["cut"]}
    return done | cost | scored(variant, methods.answers(model, tokenizer))


def scored(variant, answer):
    """Return the scores of a function that grades rows, on the rows as the variant reads them."""
    return runs.graded(answer, lambda rows: graded(variant)[rows["split"].iloc[0]])


def expected(method, labels, variant):
    """Return the expected seconds of a run."""
    times = 2 if any(word in variant for word in ("twice", "augmented", "all")) else 1
    return runs.seconds(labels, methods.METHODS[method].ms, methods.METHODS[method].read_ms, times)


def tasks(base, method, labels, variant):
    """Return the runs of a variant, one a seed; the raw texts' are those of methods.py."""
    if variant == RAW:
        return methods.tested(base, method, labels)
    owner, setting = methods.NO_BASE if method == COUNTS else base, methods.recipe(base, method)
    seconds, found = expected(method, labels, variant), []
    for seed in runs.seeds(seconds):
        named = {"base": owner, "method": method, "labels": labels, "variant": variant, "seed": seed}
        found.append(Task(NAME, one, named | setting, seconds))
    return found


def keys(bases):
    """Return (base, method, labels, variant) of all runs; the orders of two steps are not measured on every base."""
    pairs = [*((base, BASE) for base in bases), (methods.NO_BASE, COUNTS)]
    every = [
        (*pair, LABELS, name) for pair in pairs for name in VARIANTS if name not in ORDERS or pair[0] not in bases[1:]
    ]
    return [key for key in every if (key[1], key[3]) != (COUNTS, TWICE)]  # word counts have no epochs


def plan():
    """Return all runs, and the tries that their settings rest on."""
    bases = runs.present(methods.BASES)
    pairs = [*((base, BASE) for base in bases), (methods.NO_BASE, COUNTS)]
    tried = [one for pair in pairs for one in methods.tries(*pair)]
    return tried + [task for key in keys(bases) for task in tasks(*key)]


def of(base, method, labels, variant):
    """Return the runs of a variant, as they are kept."""
    return [run | {"variant": variant} for run in runs.needed(tasks(base, method, labels, variant))]


def orders(labels):
    """Return, for each seed, how many terms augmentation replaced and how many of them normalisation leaves replaced."""
    found = []
    for seed in range(runs.SHORT):
        rows = runs.train_rows(labels, seed)
        after, before = augment.augmented(normalised(rows), seed), augment.augmented(rows, seed)
        pair = [[terms.normalise(text) for text in some["text"]] for some in (before.of, before.rows)]
        found.append(
            {
                "seed": seed,
                "replaced": augment.replaced(before.of["text"], before.rows["text"]),
                "survive": augment.replaced(*pair),
                "replaced_after": augment.replaced(after.of["text"], after.rows["text"]),
                "copies": len(before.rows),
                "dropped": before.dropped,
            }
        )
    return found


def report():
    """Write the file."""
    done = {key: of(*key) for key in keys(runs.present(methods.BASES))}
    rows = [
        runs.row(f"{method}, {variant}", f"DR grade, test, {labels:,} labels, prepared", found)
        for (_, method, labels, variant), found in done.items()
    ]
    pairs = [*((variant, RAW) for variant in VARIANTS if variant != RAW), *PAIRS]
    verdicts = [
        {"base": key[0], "method": key[1], "labels": key[2]}
        | runs.verdict(first, done[*key, first], second, done[*key, second])
        for key in dict.fromkeys(key[:3] for key in done)
        for first, second in pairs
        if {(*key, first), (*key, second)} <= done.keys()
    ]
    shipped = runs.without_predictions([run for found in done.values() for run in found])
    libraries = {name: version(name) for name in ("torch", "transformers", "scikit-learn", "spacy", "negspacy", "nltk")}
    results.ship(NAME, rows, tested=shipped, verdicts=verdicts, orders=orders(LABELS), libraries=libraries)


if __name__ == "__main__":
    runs.main(__spec__.name)
