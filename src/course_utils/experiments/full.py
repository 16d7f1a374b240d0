"""Measures full fine-tuning against the number of labels, for notebook 02, into data_samples/results/full_runs.json.

A quarter of an hour on one core. tiny-biobert is trained on 100, 250, 1,000 and 7,507 labelled reports and grades the test split,
with three seeds: a seed draws the labels, the head and the order. TF-IDF + logistic regression stands beside it. bases.py
has 500 and 5,000; its settings, chosen on dev for these two, serve here: those for 500 up to 1,000 labels, those for 5,000 above.
"""

from course_utils import machine, models, results, training

from . import bases, runs

NAME, TASK = "full_runs", "DR grade, test, {:,} labels, learning curve"
EPOCHS = {100: 20, 250: 12, 1_000: 6, 7_507: 3}  # few labels are seen more often
FEW, RATE, COUNTING = 1_000, (5e-4, 1e-3), ((2, 3, "balanced"), (3, 3, "balanced"))


def all_weights(labels, seed):
    """Train every weight of tiny-biobert and grade dev and test."""
    runs.start()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    rows, lr = runs.train_rows(labels, seed), RATE[labels > FEW]
    log = training.fit_grader(model, tokenizer, rows, epochs=EPOCHS[labels], lr=lr, seed=seed, bar=False)
    dev, test = (training.predict(model, tokenizer, runs.frames()[split]).argmax(1) for split in ("dev", "test"))
    cost = {"seconds": round(log["seconds"], 1), "peak_mb": round(machine.peak_mb()), "saved_kb": runs.saved_kb(model)}
    return graded(dev, test) | cost | {"trainable": models.count_parameters(model)[0], "steps": log["steps"]}


def word_counts(labels, seed):
    """Fit TF-IDF + logistic regression and grade dev and test."""
    runs.start()
    rows, others = runs.train_rows(labels, seed), [runs.frames()[split] for split in ("dev", "test")]
    return graded(*bases.run_tfidf(rows, others, seed, COUNTING[labels > FEW])[0])


def graded(dev, test):
    """Return the scores of both splits, and the test answers."""
    scores = {"dev": runs.score("dev", dev), "macro_f1": runs.score("test", test)}
    return scores | {"predicted": [int(grade) for grade in test]}


def from_benchmark(methods):
    """Return the runs at 500 and 5,000 labels, which bases.py has measured."""
    benchmarked = results.shipped(bases.NAME)["runs"]
    kept = {"method", "labels", "seed", "macro_f1", "dev_macro_f1"}
    chosen = [{key: run[key] for key in kept} for run in benchmarked if run["method"] in methods]
    return [run | {"dev": run.pop("dev_macro_f1"), "from": bases.NAME} for run in chosen]


def main():
    """Measure everything and write the file."""
    runs.start()
    methods = {"full fine-tuning": all_weights, "TF-IDF + logistic regression": word_counts}
    done = {
        (method, labels): [
            runs.kept(
                NAME,
                {"method": method, "labels": labels, "seed": seed},
                lambda make=make, labels=labels, seed=seed: runs.alone(make, labels, seed),
            )
            for seed in runs.SEEDS
        ]
        for labels in EPOCHS
        for method, make in methods.items()
    }
    rows = [runs.row(method, TASK.format(labels), some) for (method, labels), some in done.items()]
    every = [run for some in done.values() for run in runs.without_predictions(some)] + from_benchmark(methods)
    results.ship(NAME, rows, runs=sorted(every, key=lambda run: (run["labels"], run["method"], run["seed"])))


if __name__ == "__main__":
    main()
