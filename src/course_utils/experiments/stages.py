"""Measures the two stages of the case study, for notebook 09, into data_samples/results/stage_runs.json: an hour on one core.

Stage 1 trains every weight on 5,000 labels of two sites. Stage 2 goes on with 500 labels of a third site, which stage 1 never
saw, in the ways of SECOND_STAGES; beside them stand runs that do without one of the stages, and a classical baseline. Five seeds:
a seed draws the labels, the head and the order. A second stage's learning rate is chosen on the third site's dev rows with seed 0.
Each run grades the whole test split; rows and verdicts are given for the new site and for the sites of stage 1.
"""

import numpy as np
import pandas as pd
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from course_utils import adapt, data, machine, metrics, models, results, training

from . import bases, lora, runs

NAME, SEEDS = "stage_runs", (0, 1, 2, 3, 4)
NEW_SITE, FIRST, SECOND = "delta", 5_000, 500  # labels of each stage
FIRST_EPOCHS, FIRST_LR, SECOND_EPOCHS = 3, 1e-3, 5  # stage 1 as bases.py chose it for 5,000 labels


def lora_on(layers):
    """Return the method and settings that put LoRA on the given layers, or on all where there are none given."""
    return "LoRA", lora.settings_of("LoRA") | {"layers": layers}


SECOND_STAGES = {  # how the model is prepared, the learning rates that are tried, and the site whose labels it sees
    "two stages, LoRA on layers 11-12": (lora_on([10, 11]), (1e-3, 3e-3, 1e-2, 3e-2), "new"),
    "two stages, LoRA on layer 12": (lora_on([11]), (1e-3, 3e-3, 1e-2, 3e-2), "new"),  # what [11, 12] does
    "two stages, LoRA on all layers": (lora_on(None), (1e-3, 3e-3, 1e-2, 3e-2), "new"),
    "two stages, every weight": (("full fine-tuning", {}), (1e-4, 3e-4, 1e-3), "new"),
    "two stages, head alone": (("head alone", {}), (1e-3, 1e-2, 3e-2, 1e-1), "new"),
    "stage 1, trained longer": (("full fine-tuning", {}), (1e-4, 3e-4, 1e-3), "first"),
}
STAGE_1, ONE_STAGE, NEW_ALONE = "stage 1 alone", "one stage on everything", "new site alone"
CLASSICAL, PROBE = "TF-IDF + logistic regression", "frozen base + linear probe"


def labelled(seed, part):
    """Return the labels of a stage ("first", "new"), or of both ("all"), drawn by the seed."""
    if part == "all":
        return pd.concat([labelled(seed, "first"), labelled(seed, "new")], ignore_index=True)
    train = data.load_reports()["train"]
    site = np.array(train["site"])
    rows = train.select(np.flatnonzero((site == NEW_SITE) == (part == "new")))
    return data.sample(rows, SECOND if part == "new" else FIRST, seed=seed).to_pandas()


def train(model, tokenizer, rows, epochs, lr, seed):
    """Train and return the seconds, and what is trained."""
    log = training.fit_grader(model, tokenizer, rows, epochs=epochs, lr=lr, seed=seed, bar=False)
    peak = {"peak_mb": round(machine.peak_mb()), "saved_kb": runs.saved_kb(model)}
    return {"seconds": round(log["seconds"], 1), "trainable": models.count_parameters(model)[0]} | peak


def graded(answer):
    """Return the scores of a function that grades rows: macro F1 on the new site's dev rows, and the test answers."""
    dev, test = runs.frames()["dev"], runs.frames()["test"]
    dev = dev[dev["site"] == NEW_SITE]
    right = metrics.macro_f1(metrics.confusion(dev["grade"], answer(dev)))
    return {"dev": float(right), "predicted": [int(grade) for grade in answer(test)]}


def answers(model, tokenizer):
    return lambda rows: training.predict(model, tokenizer, rows).argmax(1)


def from_base(seed, part, epochs, folder=None):
    """Train every weight of the base on one part's labels; save the model if a folder is given."""
    runs.start()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    lr = FIRST_LR if part != "new" else 5e-4  # as notebook 02 has it for few labels
    cost = train(model, tokenizer, labelled(seed, part), epochs, lr, seed)
    if folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return {"lr": lr} | cost | graded(answers(model, tokenizer))


def second(method, seed, lr):
    """Load stage 1's model of the same seed and train it further."""
    runs.start()
    (prepared, settings), _, part = SECOND_STAGES[method]
    tokenizer = AutoTokenizer.from_pretrained(stage_1_folder(seed))
    model = AutoModelForSequenceClassification.from_pretrained(stage_1_folder(seed))
    model = adapt.prepare(model, prepared, **settings)
    epochs = SECOND_EPOCHS if part == "new" else 1  # one epoch of 5,000 has twice the steps of five epochs of 500
    return train(model, tokenizer, labelled(seed, part), epochs, lr, seed) | graded(answers(model, tokenizer))


def word_counts(seed):
    """Fit the classical baseline on the labels of both stages."""
    runs.start()
    rows = labelled(seed, "all")
    return graded(lambda others: bases.run_tfidf(rows, [others], seed, (2, 3, "balanced"))[0][0])


def probe(seed):
    """Fit the linear probe on the labels of both stages; bases.py chose its strength for 5,000 labels."""
    runs.start()
    rows = labelled(seed, "all")
    return graded(lambda others: bases.run_probe(rows, [others], seed, 0.1)[0][0])


def stage_1_folder(seed):
    return str(runs.WORK / NAME / f"stage_1_seed_{seed}")


def measure():
    """Return {method: its runs, one a seed} and the tries of the learning rates."""
    done, tried = {}, []

    def keep(method, seed, make, *arguments, **more):
        return runs.kept(NAME, {"method": method, "seed": seed} | more, lambda: runs.alone(make, *arguments))

    done[STAGE_1] = [keep(STAGE_1, s, from_base, s, "first", FIRST_EPOCHS, stage_1_folder(s)) for s in SEEDS]
    for method, (_, rates, _) in SECOND_STAGES.items():
        tries = [keep(method, 0, second, method, 0, lr, lr=lr) for lr in rates]
        lr, tried = runs.best(tries)["lr"], tried + tries
        done[method] = [keep(method, s, second, method, s, lr, lr=lr) for s in SEEDS]
    done[ONE_STAGE] = [keep(ONE_STAGE, s, from_base, s, "all", FIRST_EPOCHS) for s in SEEDS]
    done[NEW_ALONE] = [keep(NEW_ALONE, s, from_base, s, "new", 8) for s in SEEDS]
    done[CLASSICAL] = [keep(CLASSICAL, s, word_counts, s) for s in SEEDS]
    done[PROBE] = [keep(PROBE, s, probe, s) for s in SEEDS]
    return done, tried


def main():
    """Measure everything and write the file."""
    runs.start()
    done, tried = measure()
    site = runs.frames()["test"]["site"].to_numpy()
    places = {"the new site": site == NEW_SITE, "the first sites": site != NEW_SITE}
    rows, verdicts = [], []
    for place, where in places.items():
        rows += [runs.row(method, f"DR grade, test, {place}", some, where) for method, some in done.items()]
        article = "two stages, LoRA on layers 11-12"
        pairs = [(article, method) for method in done if method != article]
        pairs += [(method, STAGE_1) for method in done if method not in (STAGE_1, article)]
        pairs += [(PROBE, method) for method in done if method not in (STAGE_1, article, PROBE)]
        verdicts += [{"where": place} | runs.verdict(a, done[a], b, done[b], where) for a, b in pairs]
    tested = [run for some in done.values() for run in runs.without_predictions(some)]
    results.ship(NAME, rows, verdicts=verdicts, tried=runs.without_predictions(tried), tested=tested)


if __name__ == "__main__":
    main()
