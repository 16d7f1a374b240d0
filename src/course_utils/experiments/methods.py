"""Measures every method on every base model, against the number of labels, for notebooks 01 to 03.

Into data_samples/results: base_benchmark.json (what a base is worth), full_runs.json (the learning curve) and lora_runs.json
(LoRA and its relatives, and LoRA's settings one at a time).

One recipe for every size of training set. Each method has four tries on dev, with 1,000 labels and seed 0; the best serves at
every size and with every seed. Epochs follow from the number of labels by one rule (`runs.epochs`), the seeds from the expected
seconds (`runs.seeds`). A seed draws the labels, the head and the order. Test answers decide nothing.
"""

from typing import NamedTuple

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_utils import adapt, machine, models, paths, results, training

from . import frozen, runs
from .runs import Task

NAME = "methods"
BASES, NO_BASE = ("tiny-biobert", "tiny-plain"), "no base"
FEW, MIDDLE, ALL = 100, 1_000, 7_507  # ALL: the whole of train where that is less
SIZES = (FEW, 250, 500, MIDDLE, 5_000, ALL)
CHOSEN_AT = MIDDLE  # labels with which a method's setting is chosen, on dev, with seed 0
BENCHMARK = (500, 5_000)  # the sizes of base_benchmark.json
LORA = {"r": 8, "alpha": 16, "targets": "query value", "dropout": 0.0}
VARIED = {  # of LoRA on the first base, each alone; judged on dev
    "lr": (3e-5, 3e-4, 1e-3, 3e-3, 1e-2),
    "r": (1, 8, 16),
    "alpha": (4, 16, 64),
    "targets": ("query", "query value", "all-linear"),
    "dropout": (0.0, 0.1),
}
FULL, LAST, RANDOM = "full fine-tuning", "last layers", "random weights"
COUNTS, PROBE = "TF-IDF + logistic regression", "frozen base + linear probe"


class Method(NamedTuple):
    """The four settings that are tried, the sizes of training set, and the expected milliseconds to train on and to read a report."""

    tried: tuple[dict, ...]
    sizes: tuple[int, ...]
    ms: float
    read_ms: float = runs.READ_MS

    def seconds(self, labels: int) -> float:
        """Return the expected seconds of a run on so many labels."""
        return runs.seconds(labels, self.ms, self.read_ms)


def rates(*tried: float, **shared) -> tuple[dict, ...]:
    """Return learning rates as settings, with what they share."""
    return tuple({"lr": lr} | shared for lr in tried)


METHODS = {
    COUNTS: Method(tuple({"longest": n, "strength": c} for n in (2, 3) for c in (3, 30)), SIZES, 0.2, 0.3),
    PROBE: Method(
        tuple({"pool": pool, "strength": c} for pool in ("first", "mean") for c in (0.1, 1.0)), SIZES, 0.2, 0.1
    ),
    RANDOM: Method(rates(1e-4, 3e-4, 1e-3, 3e-3), BENCHMARK, 6),
    FULL: Method(rates(1e-4, 3e-4, 1e-3, 3e-3), SIZES, 6),
    "LoRA": Method(rates(3e-4, 1e-3, 3e-3, 1e-2, **LORA), (FEW, MIDDLE, ALL), 5.6),
    LAST: Method(rates(3e-4, 1e-3, 3e-3, 1e-2), SIZES, 1.2, 0.4),
    "DoRA": Method(rates(3e-4, 1e-3, 3e-3, 1e-2, **LORA), (MIDDLE,), 6),
    "IA3": Method(rates(3e-3, 1e-2, 3e-2, 1e-1), (MIDDLE,), 5.5),
    "VeRA": Method(rates(1e-3, 3e-3, 1e-2, 3e-2), (MIDDLE,), 17),
}
ADAPTED = (FULL, "LoRA", LAST, "DoRA", "IA3", "VeRA")  # the rows of lora_runs.json
CURVE = (FULL, COUNTS)  # the rows of full_runs.json
LIGHTER = (PROBE, LAST, "LoRA")  # what trains less than all weights


# How a method is trained.


def with_eye(rows):
    """Return the eye as words, then the report: what the classical model reads."""
    return rows["eye"] + " eye. " + rows["text"]


def tfidf(longest, strength, balance="balanced"):
    """Return sequences of up to `longest` tokens, counted and weighted, and a logistic regression."""
    words = TfidfVectorizer(
        ngram_range=(1, longest), sublinear_tf=True, token_pattern=r"[\u4e00-\u9fff]|[A-Za-z]+|\d+|[^\w\s]"
    )
    return make_pipeline(words, LogisticRegression(C=strength, class_weight=balance, max_iter=1000))


def probe(strength):
    """Return a logistic regression on scaled vectors."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))


def counted(rows, longest, strength, words=with_eye):
    """Fit word counts; return a function that grades rows. `words` makes of rows the texts that are counted."""
    model = tfidf(longest, strength).fit(words(rows), rows["grade"])
    return lambda others: model.predict(words(others))


def probed(checkpoint, rows, pool, strength, every=None):
    """Fit a probe on the frozen vectors of a checkpoint; return a function that grades rows, and its number of weights.

    `every` is all that is read if not the course's reports.
    """
    known = frozen.vectors(checkpoint, rows, pool, every)
    model = probe(strength).fit(known, rows["grade"])
    return lambda others: model.predict(frozen.vectors(checkpoint, others, pool, every)), 5 * (known.shape[1] + 1)


def answers(model, tokenizer):
    """Return a function that grades rows."""
    return lambda rows: training.predict(model, tokenizer, rows).argmax(1)


def tuned(base, method, rows, seed, lr, **settings):
    """Train a base model by a method; return a function that grades rows, and what it cost.

    The last layers train on what the frozen layers below made of the reports; their seconds would be no others', so none is given.
    """
    return tuned_from(runs.checkpoint(base), method, rows, seed, lr, **settings)


def tuned_from(checkpoint, method, rows, seed, lr, every=None, **settings):
    """Train the base in a folder by a method, as `tuned` says; `every` is all that is read if not the course's reports."""
    model, tokenizer = models.grader(checkpoint, seed=seed, pretrained=method != RANDOM)
    model = adapt.prepare(model, FULL if method == RANDOM else method, **settings)
    cost = {"trainable": models.count_parameters(model)[0], "saved_kb": runs.saved_kb(model)}
    if method == LAST:
        below = len(model.base_model.encoder.layer) - adapt.LAST
        model, tokenizer = frozen.on_top(
            model, tokenizer, checkpoint, frozen.everything() if every is None else every, below
        )
    log = training.fit_grader(model, tokenizer, rows, epochs=runs.epochs(len(rows)), lr=lr, seed=seed, bar=False)
    spent = {"seconds": round(log["seconds"], 1), "peak_mb": round(machine.peak_mb())}
    return answers(model, tokenizer), cost | (spent if method != LAST else {})


def one(base, method, labels, seed, **setting):
    """Train a method and grade all splits but train."""
    rows = runs.train_rows(labels, seed)
    if method == COUNTS:
        return {"trainable": 0} | runs.graded(counted(rows, **setting))
    if method == PROBE:
        answer, size = probed(runs.checkpoint(base), rows, **setting)
        return {"trainable": size} | runs.graded(answer)
    answer, cost = tuned(base, method, rows, seed, **setting)
    return {"epochs": runs.epochs(labels)} | cost | runs.graded(answer)


# What is run.


def sizes(method):
    """Return the sizes of training set that a method is measured at, none larger than train."""
    return [min(size, len(runs.frames()["train"])) for size in METHODS[method].sizes]


def pairs(bases):
    """Return every base with every method; word counts have no base, and stand there once."""
    return [(NO_BASE, COUNTS), *((base, method) for base in bases for method in METHODS if method != COUNTS)]


def owner(base, method):
    """Return the base that a method's runs are of: none for word counts, for random weights the first of the same shape."""
    if method != RANDOM:
        return NO_BASE if method == COUNTS else base
    there = runs.present([*BASES, base])
    shapes = {name: (paths.bases() / name / "config.json").read_text(encoding="utf-8") for name in there}
    return next(name for name in there if shapes[name] == shapes[base])


def task(base, method, labels, seed, setting):
    """Return a run as a task."""
    named = {"base": owner(base, method), "method": method, "labels": labels, "seed": seed}
    return Task(NAME, one, named | setting, METHODS[method].seconds(labels))


def tries(base, method):
    """Return the runs among which a method's setting is chosen."""
    return [task(base, method, CHOSEN_AT, 0, setting) for setting in METHODS[method].tried]


def recipe(base, method):
    """Return a method's setting on a base, the best of its tries on dev; its values are None until all tries are there."""
    tried = runs.all_found(tries(base, method))
    best = runs.best(tried) if tried else {}
    return {key: best.get(key) for key in METHODS[method].tried[0]}


def tested(base, method, labels):
    """Return a method's runs with its recipe, one a seed."""
    seeds, chosen = runs.seeds(METHODS[method].seconds(labels)), recipe(base, method)
    return [task(base, method, labels, seed, chosen) for seed in seeds]


def of(base, method, labels):
    """Return a method's runs with its recipe, as they are kept."""
    return [run | {"base": base} for run in runs.needed(tested(base, method, labels))]


def swept(base):
    """Return (what is varied, a run), each of LoRA's settings alone around the recipe."""
    centre, values = recipe(base, "LoRA"), [(what, value) for what in VARIED for value in VARIED[what]]
    seeds = runs.seeds(METHODS["LoRA"].seconds(MIDDLE))
    return [
        (what, task(base, "LoRA", MIDDLE, seed, centre | {what: value})) for what, value in values for seed in seeds
    ]


def plan():
    """Return all runs: the tries, then each method at its sizes, then LoRA's settings one at a time."""
    bases = runs.present(BASES)
    tried = [one for pair in pairs(bases) for one in tries(*pair)]
    sized = [one for pair in pairs(bases) for n in sizes(pair[1]) for one in tested(*pair, n)]
    return tried + sized + [one for base in bases[:1] for _, one in swept(base)]


# What is written.


def chosen(base, method):
    """Return how a method's setting was chosen: what was tried, what was best, and which was an end of its grid."""
    tried = runs.needed(tries(base, method))
    best, grids = runs.best(tried), {key: [run[key] for run in tried] for key in METHODS[method].tried[0]}
    graded = {key: sorted(set(grid)) for key, grid in grids.items() if key in ("lr", "strength")}
    return {
        "base": base,
        "method": method,
        "labels": CHOSEN_AT,
        "tries": len(tried),
        "chosen": {key: best[key] for key in grids},
        "grid": graded,
        "at_an_end": [key for key, grid in graded.items() if best[key] in (grid[0], grid[-1])],
    }


def row(base, method, labels, what=""):
    """Return the row of the results table of a method with its recipe."""
    task = ", ".join(filter(None, [f"DR grade, test, {labels:,} labels", what]))
    return runs.row(method, task, of(base, method, labels))


def compared(base, first, second, labels):
    """Return the verdict on two methods with so many labels."""
    sides = [one for method in (first, second) for one in (f"{method}, {labels:,} labels", of(base, method, labels))]
    return {"base": base, "labels": labels} | runs.verdict(*sides)


def report():
    """Write the three files."""
    bases = runs.present(BASES)
    report_benchmark(bases)
    report_curve(bases)
    report_lora(bases)


def report_benchmark(bases):
    """Write what the bases are worth at two sizes."""
    names = (COUNTS, PROBE, RANDOM, FULL)
    keys = [(*pair, n) for n in BENCHMARK for pair in pairs(bases) if pair[1] in names]
    shipped = [
        {"base": base, "method": method, "labels": n, "seed": run["seed"], "settings": str(recipe(base, method))}
        | {"dev_macro_f1": run["dev"], "macro_f1": run["macro_f1"], "trainable": run["trainable"]}
        for base, method, n in keys
        for run in of(base, method, n)
    ]
    told = [compared(base, FULL, other, n) for base in bases for n in BENCHMARK for other in (COUNTS, RANDOM, PROBE)]
    results.ship("base_benchmark", [row(*key) for key in keys], runs=shipped, verdicts=told)


def report_curve(bases):
    """Write the scores of every method at every size that it is measured at, and the rows of two of them."""
    keys = [(*pair, n) for pair in pairs(bases) for n in sizes(pair[1])]
    every = [run for key in keys for run in runs.without_predictions(of(*key))]
    every.sort(key=lambda run: (run["base"], run["labels"], run["method"], run["seed"]))
    shown = [key for key in keys if key[1] in CURVE and key[2] not in BENCHMARK]
    rivals = [(base, other, n) for base in bases for other in (COUNTS, *LIGHTER) for n in sizes(other)]
    told = [compared(base, FULL, other, n) for base, other, n in rivals]
    rows = [row(*key, "learning curve") for key in shown]
    results.ship("full_runs", rows, runs=every, verdicts=told, epochs={str(n): runs.epochs(n) for n in sizes(FULL)})


def report_lora(bases):
    """Write what LoRA and its relatives are worth at 1,000 labels, all tries, and LoRA's settings one at a time."""
    keys = [(base, method, MIDDLE) for base in bases for method in ADAPTED]
    told = [
        {"base": base, "labels": n} | runs.verdict(method, of(base, method, n), FULL, of(base, FULL, n))
        for base, method, n in keys
        if method != FULL
    ]
    varied = [one for base in bases[:1] for one in swept(base)]
    found = runs.needed([task for _, task in varied])
    shipped = {
        "tried": [run for base, method, _ in keys for run in runs.needed(tries(base, method))],
        "tested": [run for key in keys for run in of(*key)],
        "swept": [{"varied": what} | run for (what, _), run in zip(varied, found, strict=True)],
    }
    results.ship(
        "lora_runs",
        [row(*key, f"{runs.epochs(MIDDLE)} epochs") for key in keys],
        verdicts=told,
        recipes=[chosen(*pair) for pair in pairs(bases)],
        **{name: runs.without_predictions(some) for name, some in shipped.items()},
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
