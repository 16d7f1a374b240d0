"""Measures what a loss makes of ordered grades, for notebook 09, into data_samples/results/loss_runs.json.

A quarter of an hour on one core. Cross-entropy, cross-entropy with class weights, and a loss that knows the order of the grades, each
on the same 1,000 labels with three seeds. Each has its own learning rate, chosen on dev with seed 0. Test is graded once with it;
macro F1, kappa, MAE and the sensitivity for referable disease are compared in pairs.
"""

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from course_utils import metrics, models, results, training

from . import runs

NAME, LABELS, EPOCHS, RATES = "loss_runs", 1_000, 5, (5e-4, 1e-3, 2e-3)
MEASURES = {
    "macro F1": metrics.macro_f1,
    "kappa": metrics.kappa,
    "MAE": metrics.mae,
    "sensitivity": metrics.sensitivity_referable,
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
    "cross-entropy": lambda rows: {},
    "class weights": lambda rows: {"class_weights": balanced(rows)},
    "ordinal loss": lambda rows: {"loss": ordinal},
}


def one(loss, seed, lr):
    """Train every weight with a loss and a learning rate; grade dev and test."""
    runs.start()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    rows = runs.train_rows(LABELS, seed)
    log = training.fit_grader(model, tokenizer, rows, epochs=EPOCHS, lr=lr, seed=seed, bar=False, **LOSSES[loss](rows))
    dev, test = (training.predict(model, tokenizer, runs.frames()[split]).argmax(1) for split in ("dev", "test"))
    return {"dev": runs.score("dev", dev), "predicted": test.tolist(), "seconds": round(log["seconds"], 1)}


def run(loss, seed, lr):
    """Return a run, made now or kept."""
    return runs.kept(NAME, {"loss": loss, "seed": seed, "lr": lr}, lambda: runs.alone(one, loss, seed, lr))


def main():
    """Measure everything and write the file."""
    runs.start()
    done, tried = {}, []
    for loss in LOSSES:
        tries = [run(loss, 0, lr) for lr in RATES]
        done[loss], tried = [run(loss, seed, runs.best(tries)["lr"]) for seed in runs.SEEDS], tried + tries
    test = runs.frames()["test"]
    scores = {
        loss: {
            measure: metrics.interval_over_seeds(
                test["grade"], [run["predicted"] for run in some], metric, groups=test["patient_id"]
            )
            for measure, metric in MEASURES.items()
        }
        for loss, some in done.items()
    }
    plain = done.pop("cross-entropy")
    verdicts = [
        {"measure": measure} | runs.verdict(loss, some, "cross-entropy", plain, metric=metric)
        for loss, some in done.items()
        for measure, metric in MEASURES.items()
    ]
    counts = {"labels": LABELS, "n": len(test), "seeds": len(runs.SEEDS)}
    results.ship(NAME, scores=scores, verdicts=verdicts, tried=runs.without_predictions(tried), **counts)


if __name__ == "__main__":
    main()
