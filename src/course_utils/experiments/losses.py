"""Measures what a loss makes of ordered grades, for notebook 09, into data_samples/results/loss_runs.json.

Cross-entropy (the runs of methods.py), cross-entropy with class weights, and a loss that knows the order of the grades, each on
the same 1,000 labels and on each base model. Each has its own learning rate, chosen on dev among the same four with seed 0. Macro
F1, kappa, MAE and the sensitivity for grade 2 or more are compared in pairs.
"""

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from course_utils import metrics, models, results, training

from . import methods, runs
from .runs import Task

NAME, LABELS, PLAIN = "loss_runs", methods.MIDDLE, "cross-entropy"
MEASURES = {
    "macro F1": metrics.macro_f1,
    "kappa": metrics.kappa,
    "MAE": metrics.mae,
    "sensitivity, grade 2 or more": metrics.sensitivity_referable,  # oedema, too, is referred: a grade can't say it
    "specificity, grade 2 or more": metrics.specificity_referable,
}


def ordinal(logits, grades):
    """Squared earth mover's distance between the predicted and the true grade (Hou, Yu & Samaras, arXiv:1611.05916, equation 5).

    The chance of "at most grade k" is compared for each k, so an error of two grades costs more than an error of one.
    """
    at_most = logits.softmax(-1).cumsum(-1)
    true = (torch.arange(logits.shape[-1], device=logits.device) >= grades[:, None]).float()
    return (at_most - true).square().sum(-1).mean()


def balanced(rows):
    """Return a weight for each grade, larger for a rarer one."""
    return compute_class_weight("balanced", classes=np.arange(metrics.GRADES), y=rows["grade"]).tolist()


LOSSES = {
    "class weights": lambda rows: {"class_weights": balanced(rows)},
    "ordinal loss": lambda rows: {"loss": ordinal},
}


def one(base, loss, labels, seed, lr):
    """Train every weight with a loss and a learning rate, and grade."""
    model, tokenizer = models.grader(runs.checkpoint(base), seed=seed)
    rows = runs.train_rows(labels, seed)
    settings = {"epochs": runs.epochs(labels), "lr": lr, "seed": seed, "bar": False}
    log = training.fit_grader(model, tokenizer, rows, **settings, **LOSSES[loss](rows))
    return {"seconds": round(log["seconds"], 1)} | runs.graded(methods.answers(model, tokenizer))


def task(base, loss, seed, lr):
    """Return a run as a task."""
    named = {"base": base, "loss": loss, "labels": LABELS, "seed": seed, "lr": lr}
    return Task(NAME, one, named, runs.seconds(LABELS))


def tries(base, loss):
    """Return the runs among which a loss's learning rate is chosen."""
    if loss == PLAIN:
        return methods.tries(base, methods.FULL)
    return [task(base, loss, 0, setting["lr"]) for setting in methods.METHODS[methods.FULL].tried]


def tested(base, loss):
    """Return a loss's runs with its learning rate, one a seed."""
    if loss == PLAIN:
        return methods.tested(base, methods.FULL, LABELS)
    tried = runs.all_found(tries(base, loss))
    lr = runs.best(tried)["lr"] if tried else None
    return [task(base, loss, seed, lr) for seed in runs.seeds(runs.seconds(LABELS))]


def plan():
    """Return all runs."""
    pairs = [(base, loss) for base in runs.present(methods.BASES) for loss in (PLAIN, *LOSSES)]
    return [one for pair in pairs for some in (tries(*pair), tested(*pair)) for one in some]


def of(base, loss):
    """Return a loss's runs, as they are kept."""
    return [run | {"loss": loss} for run in runs.needed(tested(base, loss))]


def report():
    """Write the file."""
    test, scores, verdicts, tested, tried = runs.frames()["test"], {}, [], [], []
    for base in runs.present(methods.BASES):
        done = {loss: of(base, loss) for loss in (PLAIN, *LOSSES)}
        scores[base] = {loss: measures(some) for loss, some in done.items()}
        verdicts += [
            {"base": base, "measure": measure} | runs.verdict(loss, done[loss], PLAIN, done[PLAIN], metric=metric)
            for loss in LOSSES
            for measure, metric in MEASURES.items()
        ]
        tested += [each(base, loss, run) for loss, some in done.items() for run in some]
        tried += [run | {"loss": loss} for loss in done for run in runs.needed(tries(base, loss))]
    seeds = len(runs.seeds(runs.seconds(LABELS)))
    counts = {"labels": LABELS, "n": len(test), "seeds": seeds}
    results.ship(NAME, scores=scores, verdicts=verdicts, tested=tested, tried=runs.without_predictions(tried), **counts)


def each(base, loss, run):
    """Return each measure of one run on test: a verdict on the seeds' mean may not be that of every seed."""
    matrix = metrics.confusion(runs.frames()["test"]["grade"], run["predicted"])
    scores = {measure: float(metric(matrix)) for measure, metric in MEASURES.items()}
    return {"base": base, "loss": loss, "seed": run["seed"]} | scores


def measures(some):
    """Return each measure of runs on test, with its interval."""
    test = runs.frames()["test"]
    said = [run["predicted"] for run in some]
    return {
        measure: metrics.interval_over_seeds(test["grade"], said, metric, groups=test["patient_id"])
        for measure, metric in MEASURES.items()
    }


if __name__ == "__main__":
    runs.main(__spec__.name)
