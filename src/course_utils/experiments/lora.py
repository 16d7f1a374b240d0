"""Measures LoRA on tiny-biobert, for notebook 03, into data_samples/results/lora_runs.json: about an hour on one core.

Each setting is varied alone, with three seeds, and judged on dev. Then each method, with the learning rate that was best for
it on dev, grades the test split once.
"""

from course_utils import adapt, machine, models, results, training

from . import runs

NAME, LABELS, EPOCHS = "lora_runs", 1_000, 5
CENTRE = {"r": 8, "alpha": 16, "targets": "query value", "dropout": 0.0, "lr": 3e-3}
VARIED = {
    "lr": (3e-5, 3e-4, 1e-3, 3e-3, 1e-2),
    "r": (1, 4, 8, 16),
    "alpha": (4, 16, 64),
    "targets": ("query", "query value", "query key value attention.output.dense", "all-linear"),
    "dropout": (0.0, 0.1),
}
TRIED = {  # five learning rates for each method; four for VeRA, which is slow
    "full fine-tuning": (1e-4, 3e-4, 5e-4, 1e-3, 2e-3),
    "LoRA": VARIED["lr"],
    "last layers": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "DoRA": VARIED["lr"],
    "IA3": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "VeRA": (1e-3, 3e-3, 1e-2, 3e-2),
}


def one(method, labels, epochs, seed, lr, test=False, **settings):
    """Train and grade dev, and test if asked to. Every run is kept; one that is graded on test has a process of its own."""
    named = {"method": method, "labels": labels, "epochs": epochs, "seed": seed, "lr": lr} | settings | {"test": test}
    arguments = (method, labels, epochs, seed, lr, settings)
    return runs.kept(NAME, named, lambda: runs.alone(tested, *arguments) if test else trained(*arguments)[2])


def trained(method, labels, epochs, seed, lr, settings):
    """Return (model, tokenizer, what was measured on dev)."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    model = adapt.prepare(model, method, **settings)
    rows = runs.train_rows(labels, seed)
    log = training.fit_grader(model, tokenizer, rows, epochs=epochs, lr=lr, seed=seed, bar=False)
    dev = runs.score("dev", training.predict(model, tokenizer, runs.frames()["dev"]).argmax(1))
    cost = {"seconds": round(log["seconds"], 1), "trainable": models.count_parameters(model)[0]}
    return model, tokenizer, {"dev": dev} | cost


def tested(*arguments):
    """Return what was measured on dev and on test, with peak memory and the size on disk."""
    runs.start()
    model, tokenizer, found = trained(*arguments)
    peak = {"peak_mb": round(machine.peak_mb())}
    predicted = training.predict(model, tokenizer, runs.frames()["test"]).argmax(1)
    scores = {"predicted": predicted.tolist(), "macro_f1": runs.score("test", predicted)}
    return found | scores | peak | {"saved_kb": runs.saved_kb(model)}


def sweeps():
    """Vary each setting of LoRA alone, every seed."""
    return [
        {"varied": what} | one("LoRA", LABELS, EPOCHS, seed, **(CENTRE | {what: value}))
        for what, values in VARIED.items()
        for value in values
        for seed in runs.SEEDS
    ]


def tries(method):
    """Return the runs of a method with each learning rate, on dev, seed 0."""
    return [one(method, LABELS, EPOCHS, 0, lr, **settings_of(method)) for lr in TRIED[method]]


def settings_of(method):
    """LoRA and DoRA share the settings of the centre."""
    return {key: CENTRE[key] for key in ("r", "alpha", "targets", "dropout")} if method in ("LoRA", "DoRA") else {}


def main():
    """Measure everything and write the file."""
    runs.start()
    tried, few = [], {}
    for method in TRIED:
        found = tries(method)
        lr, tried = runs.best(found)["lr"], tried + found
        few[method] = [one(method, LABELS, EPOCHS, seed, lr, test=True, **settings_of(method)) for seed in runs.SEEDS]
    swept = sweeps()
    task = f"DR grade, test, {LABELS:,} labels, 3 seeds, {EPOCHS} epochs"
    rows = [runs.row(method, task, done) for method, done in few.items()]
    full = "full fine-tuning"
    verdicts = [
        {"labels": LABELS} | runs.verdict(method, done, full, few[full])
        for method, done in few.items()
        if method != full
    ]
    tested = [run for done in few.values() for run in done]
    shipped = {"swept": swept, "tried": tried, "tested": tested}
    results.ship(
        NAME, rows, verdicts=verdicts, **{key: runs.without_predictions(some) for key, some in shipped.items()}
    )


if __name__ == "__main__":
    main()
