"""Measures what each step of preparation is worth, for notebook 07, into data_samples/results/preparation_runs.json.

About an hour on one core. tiny-biobert with the same settings for all, and word counts with those that notebook 01 chose.
Every variant has the same labels, drawn by the seed, and grades the test split once; nothing is chosen on it.
"""

import zlib
from functools import cache
from importlib.metadata import version

import pandas as pd

from course_utils import augment, context, models, results, terms, training

from . import bases, runs

NAME, LR, SEEDS = "preparation_runs", 5e-4, (0, 1, 2, 3, 4)
BASE, COUNTS = "full fine-tuning", "TF-IDF + logistic regression"
LABELS, FEWER = 1_000, 250


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


# a variant: epochs, what happens to the training rows (with the seed), and what to the rows that are graded
VARIANTS = {
    "raw": (5, lambda rows, seed: rows, lambda rows: rows),
    "raw, twice": (10, lambda rows, seed: rows, lambda rows: rows),
    "normalised": (5, lambda rows, seed: normalised(rows), lambda rows: normalised(rows)),
    "English cues": (5, lambda rows, seed: with_text(rows, english_cues), lambda rows: with_text(rows, english_cues)),
    "augmented": (5, and_copies, lambda rows: rows),
    "marked": (5, lambda rows, seed: marked(rows), marked),
    "all": (5, lambda rows, seed: marked(and_copies(normalised(rows), seed)), lambda rows: marked(normalised(rows))),
    "normalised, then augmented": (
        5,
        lambda rows, seed: and_copies(normalised(rows), seed),
        lambda rows: normalised(rows),
    ),
    "augmented, then normalised": (
        5,
        lambda rows, seed: normalised(and_copies(rows, seed)),
        lambda rows: normalised(rows),
    ),
}
FEW = ("raw", "raw, twice", "normalised", "all")  # measured with fewer labels as well
# compared besides each variant with raw: at equal steps, at one step of preparation apart, and in the two orders
PAIRS = (
    ("augmented", "raw, twice"),
    ("all", "raw, twice"),
    ("marked", "English cues"),
    ("all", "normalised"),
    ("all", "normalised, then augmented"),
    ("normalised, then augmented", "normalised"),
    ("augmented, then normalised", "normalised, then augmented"),
)


def normalised(rows):
    """Return the rows with each text normalised."""
    return with_text(rows, terms.normalise)


@cache
def graded(variant):
    """Return dev and test as the variant reads them."""
    return {split: VARIANTS[variant][2](runs.frames()[split]) for split in ("dev", "test")}


def tuned(variant, train, seed):
    """Fine-tune tiny-biobert on the variant's training rows and grade dev and test."""
    epochs = VARIANTS[variant][0]
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    log = training.fit_grader(model, tokenizer, train, epochs=epochs, lr=LR, seed=seed, bar=False)
    cost = {"seconds": round(log["seconds"], 1), "trainable": models.count_parameters(model)[0]}
    trained = {"rows": len(train), "steps": log["steps"], "cut": log["cut"]}
    return trained | cost | scored(variant, lambda rows: training.predict(model, tokenizer, rows).argmax(1))


def counted(variant, train, seed):
    """Fit the classical model of notebook 01 on the variant's training rows and grade dev and test."""
    return {"rows": len(train)} | scored(
        variant, lambda rows: bases.run_tfidf(train, [rows], seed, (2, 3, "balanced"))[0][0]
    )


def scored(variant, predict):
    """Return macro F1 on dev and test, and the grades of test."""
    dev, test = (predict(graded(variant)[split]) for split in ("dev", "test"))
    return {"dev": runs.score("dev", dev), "macro_f1": runs.score("test", test), "predicted": test.tolist()}


def measured(method, labels, variant):
    """Return the runs of a variant, one a seed."""
    make, found = tuned if method == BASE else counted, []
    for seed in SEEDS:
        train = VARIANTS[variant][1](runs.train_rows(labels, seed), seed)
        named = {"method": method, "labels": labels, "variant": variant, "seed": seed, "inputs": digest(variant, train)}
        found.append(runs.kept(NAME, named, lambda train=train, seed=seed: make(variant, train, seed)))
    return found


def digest(variant, train):
    """Return a number that another text in training, dev or test would change: a kept run is of these very inputs."""
    frames = (train, *graded(variant).values())
    return zlib.crc32("\n".join(text for rows in frames for text in rows["text"]).encode())


def orders(labels):
    """Return, for each seed, how many terms augmentation replaced and how many of them normalisation leaves replaced."""
    found = []
    for seed in SEEDS:
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


def main():
    """Measure everything and write the file."""
    runs.start()
    done = {}
    for method, labels, variants in (
        (BASE, LABELS, VARIANTS),
        (COUNTS, LABELS, VARIANTS),
        (BASE, FEWER, FEW),
        (COUNTS, FEWER, FEW),
    ):
        for variant in variants:
            if (method, variant) != (COUNTS, "raw, twice"):  # word counts have no epochs
                done[method, labels, variant] = measured(method, labels, variant)
    rows = [
        runs.row(f"{method}, {variant}", f"DR grade, test, {labels:,} labels, {len(SEEDS)} seeds, prepared", found)
        for (method, labels, variant), found in done.items()
        if labels == LABELS
    ]
    pairs = [*((variant, "raw") for variant in VARIANTS if variant != "raw"), *PAIRS]
    verdicts = [
        {"method": method, "labels": labels}
        | runs.verdict(first, done[method, labels, first], second, done[method, labels, second])
        for method, labels in dict.fromkeys(key[:2] for key in done)
        for first, second in pairs
        if {(method, labels, first), (method, labels, second)} <= done.keys()
    ]
    shipped = runs.without_predictions([run for found in done.values() for run in found])
    libraries = {name: version(name) for name in ("torch", "transformers", "scikit-learn", "spacy", "negspacy", "nltk")}
    results.ship(NAME, rows, tested=shipped, verdicts=verdicts, orders=orders(LABELS), libraries=libraries)


if __name__ == "__main__":
    main()
