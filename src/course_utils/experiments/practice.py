"""Measures what each practice of notebook 11 saves and costs, into data_samples/results/practice_runs.json.

Three hours on one core. Four questions. What does one practice alone change, against the article's settings: seconds and
memory, at two sizes of model, in turns, each in a process of its own? What do the article's settings and ours take for a
whole training, and which grades come out? What does early stopping do, over seeds? What does packing do to a causal model?
Seconds are the processor's, which other work on the machine moves little, but for threads and loader workers: theirs are
the clock's, so nothing else should run beside them.
"""

import tempfile
from itertools import combinations

import numpy as np
import pandas as pd
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithFlattening,
    EarlyStoppingCallback,
    TrainingArguments,
)

from course_utils import causal, costs, data, machine, metrics, models, results, trainer, training

from . import opt, runs

NAME = "practice_runs"
BASELINE, PADDED = "the article's settings", trainer.ARTICLE
ALONE = {  # one change each to the article's settings
    BASELINE: PADDED,
    "dynamic padding": PADDED | {"pad_to": None},
    "length grouping": PADDED | trainer.GROUPED,
    "dynamic padding and length grouping": trainer.BEST,
    "gradient checkpointing": PADDED | {"activation_checkpointing": True},
    "accumulation, 8 = 2 x 4": PADDED | {"batch_size": 2, "gradient_accumulation_steps": 4},
    "batches of 32": PADDED | {"batch_size": 32},
    "bfloat16": PADDED | {"bf16": True},
    "torch.compile": PADDED | {"torch_compile": True},
    "LoRA": PADDED | {"method": "LoRA"},
    "LoRA, gradient checkpointing": PADDED | {"method": "LoRA", "activation_checkpointing": True},
    "two threads": PADDED | {"threads": 2},
    "two loader workers": PADDED | {"dataloader_num_workers": 2},
}
CLOCKED = (BASELINE, "two threads", "two loader workers")  # these need a machine that does nothing else
LARGE = (BASELINE, "dynamic padding", "gradient checkpointing", "accumulation, 8 = 2 x 4", "bfloat16", "torch.compile")
LARGE += ("LoRA", "LoRA, gradient checkpointing")
GROUPS = [  # shape, reports, turns, practices, whose seconds count
    ("tiny-biobert", 256, 3, tuple(name for name in ALONE if name not in CLOCKED[1:]), "cpu_s"),
    ("BioBERT", 16, 2, LARGE, "cpu_s"),
    ("tiny-biobert", 256, 3, CLOCKED, "wall_s"),
]
LABELS, EPOCHS, LR = 1_000, 5, 5e-4
WHOLE = {BASELINE: PADDED, "our settings": trainer.BEST}
TASK = f"DR grade, test, {LABELS:,} labels, 3 seeds, {EPOCHS} epochs"
SEEDS, FEW, MANY, PATIENCE = (0, 1, 2, 3, 4), 250, 20, 3
ARMS = {  # of early stopping: epochs, the measure that stops, whether dev labels are trained on
    "5 epochs": (5, None, False),
    "20 epochs": (MANY, None, False),
    "20 epochs, stopped by loss": (MANY, "loss", False),
    "20 epochs, stopped by macro F1": (MANY, "macro_f1", False),
    "5 epochs, dev labels too": (5, None, True),
}
MEASURES = {"macro F1": metrics.macro_f1, "share right": metrics.accuracy}
LABELLERS = {"grade": "adjudicated labels", "reader_1": "one reader's labels"}
TEXTS, PACK_LR, PACK_EPOCHS = 1_200, 1e-3, 2
COLLATORS = ("padded", "padded, grouped", "packed, masked", "packed by the library")


def whole(name, seed):
    """Train a grader to the end with one of the two settings; return its grades of test, and what it cost."""
    runs.start()
    settings = dict(WHOLE[name])
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    trainer.lengthen(model, settings.get("pad_to") or 0)
    stopwatch = trainer.Stopwatch()
    settings |= {"num_train_epochs": EPOCHS, "learning_rate": LR, "warmup_steps": 0.1, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        rows = runs.train_rows(LABELS, seed)
        trainer.for_grader(model, tokenizer, rows, folder, callbacks=[stopwatch], **settings).train()
    peak, (wall, cpu) = round(machine.peak_mb()), stopwatch.seconds()
    predicted = training.predict(model, tokenizer, runs.frames()["test"]).argmax(1)
    return {
        "predicted": predicted.tolist(),
        "macro_f1": runs.score("test", predicted),
        "seconds": round(sum(cpu), 1),
        "wall_s": round(sum(wall), 1),
        "reports_s": round(LABELS * EPOCHS / sum(cpu), 2),
        "peak_mb": peak,
        "trainable": models.count_parameters(model)[0],
    }


def stopping(arm, label, seed):
    """Train on few labels by one of ARMS; return the grades of test, and dev's curve."""
    runs.start()
    epochs, measure, with_dev = ARMS[arm]
    dev = data.sample(data.load_reports()["dev"], FEW, seed=seed).to_pandas()
    train = runs.train_rows(FEW, seed)
    train = pd.concat([train, dev]) if with_dev else train
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    settings = trainer.BEST | {"num_train_epochs": epochs, "learning_rate": LR, "warmup_steps": 0.1, "seed": seed}
    settings |= {"eval_strategy": "epoch"}
    callbacks = []
    if measure:
        settings |= {"save_strategy": "epoch", "save_total_limit": 1, "load_best_model_at_end": True}
        settings |= {"metric_for_best_model": measure}
        callbacks = [EarlyStoppingCallback(early_stopping_patience=PATIENCE)]
    with tempfile.TemporaryDirectory() as folder:
        made = trainer.for_grader(
            model, tokenizer, train, folder, dev=dev, label=label, callbacks=callbacks, **settings
        )
        made.train()
    seen = [line for line in made.state.log_history if "eval_loss" in line]
    predicted = training.predict(model, tokenizer, runs.frames()["test"]).argmax(1)
    return {
        "predicted": predicted.tolist(),
        "macro_f1": runs.score("test", predicted),
        "epochs": len(seen),
        "dev_loss": [line["eval_loss"] for line in seen],
        "dev_f1": [line["eval_macro_f1"] for line in seen],
        "trainable": models.count_parameters(model)[0],
    }


def packing(collator, seed):
    """Train tiny-opt on report texts with one of COLLATORS; return what it scores on test texts, and what it cost."""
    model, tokenizer = opt.load()
    texts = opt.texts("train").sample(TEXTS, random_state=seed)["text"].tolist()
    rows, stopwatch = causal.encode(tokenizer, texts), trainer.Stopwatch()
    padded = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    make = {"packed, masked": causal.pack, "packed by the library": DataCollatorWithFlattening()}.get(collator, padded)
    settings = {"num_train_epochs": PACK_EPOCHS, "learning_rate": PACK_LR, "warmup_steps": 0.1, "seed": seed}
    settings |= trainer.GROUPED if collator == "padded, grouped" else {}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(folder, **trainer.QUIET | settings, per_device_train_batch_size=8)
        trainer.QuietTrainer(
            model, arguments, train_dataset=rows, data_collator=make, callbacks=[stopwatch], bar=False
        ).train()
    peak, cpu = round(machine.peak_mb()), sum(stopwatch.seconds()[1])
    scored = causal.scores(model, tokenizer, opt.texts("test")["text"].tolist())
    return {
        "scored": {name: [round(float(x), 5) for x in values] for name, values in scored.items()},
        "dev": opt.on_dev(model, tokenizer),
        "seconds": round(cpu, 2),
        "reports_s": round(TEXTS * PACK_EPOCHS / cpu, 1),
        "peak_mb": peak,
        "trainable": models.count_parameters(model)[0],
    }


def alone(shape, reports, turns, practices, clock):
    """Return what each practice of a group costs, a dict for each practice and turn."""
    by = {"by": "clock"} if clock == "wall_s" else {}
    return [
        runs.kept(
            NAME,
            {"shape": shape, "practice": name, "turn": turn} | by,
            lambda name=name: (
                costs.apart("epoch", **{"shape": shape, "reports": reports} | ALONE[name]) | {"reports": reports}
            ),
        )
        for turn in range(turns)
        for name in practices
    ]


def against_baseline(some, clock):
    """Return the costs of a group as they are shipped: speed and memory, alone and against the article's of the turn."""
    found = []
    for run in some:
        base = next(one for one in some if one["practice"] == BASELINE and one["turn"] == run["turn"])
        if run is base and clock == "wall_s":
            continue  # the other group has it
        compiled = run["practice"] == "torch.compile"
        seconds, base_seconds = (_seconds(one[clock], compiled) for one in (run, base))
        above, base_above = (one["peak_mb"] - one["before_mb"] for one in (run, base))
        named = {key: run[key] for key in ("shape", "practice", "turn", "padding", "peak_mb")}
        cost = {
            "reports_s": round(run["reports"] / seconds, 3),
            "times": round(base_seconds / seconds, 3),
            "memory": round(run["peak_mb"] / base["peak_mb"], 3),
            "memory_above": round(above / base_above, 3),
            "first_step_s": run["wall_s"][0],
        }
        found.append(named | cost | {"loss_off": _largest_difference(run["losses"], base["losses"])})
    return found


def _seconds(steps, compiled):
    """Return the seconds of all steps; where the first of them compile, as if all were like those of the second half."""
    return len(steps) * float(np.median(steps[len(steps) // 2 :])) if compiled else sum(steps)


def _largest_difference(losses, others):
    """Return how far two runs' losses are apart at most, or None if they took another number of steps."""
    return round(float(np.abs(np.subtract(losses, others)).max()), 4) if len(losses) == len(others) else None


def of_whole():
    """Return the runs of the two settings, their rows of the results table, and the verdict."""
    found = {
        name: [
            runs.kept(NAME, {"whole": name, "seed": seed}, lambda name=name, seed=seed: runs.alone(whole, name, seed))
            for seed in runs.SEEDS
        ]
        for name in WHOLE
    }
    rows = [runs.row(f"full fine-tuning, {name}", TASK, some) for name, some in found.items()]
    ours, theirs = found["our settings"], found[BASELINE]
    ratios = [
        {
            "seed": a["seed"],
            "times": round(b["seconds"] / a["seconds"], 2),
            "memory": round(b["peak_mb"] / a["peak_mb"], 3),
            "same": int(np.sum(np.array(a["predicted"]) == b["predicted"])),
        }
        for a, b in zip(ours, theirs, strict=True)
    ]
    told = runs.verdict("our settings", ours, BASELINE, theirs)
    return rows, {"runs": runs.without_predictions(ours + theirs), "ratios": ratios, "verdict": told}


def of_stopping():
    """Return the runs of early stopping, their rows, and paired verdicts against five epochs and against twenty."""
    rows, kept, verdicts = [], [], []
    for label, labels in LABELLERS.items():
        found = {
            arm: [
                runs.kept(
                    NAME,
                    {"arm": arm, "label": label, "seed": seed},
                    lambda arm=arm, seed=seed, label=label: runs.alone(stopping, arm, label, seed),
                )
                for seed in SEEDS
            ]
            for arm in ARMS
        }
        task = f"DR grade, test, {FEW} labels, {labels}"
        rows += [runs.row(f"full fine-tuning, {arm}", task, some) for arm, some in found.items()]
        kept += runs.without_predictions([run for some in found.values() for run in some])
        pairs = [(b, a) for a, b in combinations(ARMS, 2) if a in ("5 epochs", "20 epochs")]
        verdicts += [
            {"labels": labels, "measure": name} | runs.verdict(a, found[a], b, found[b], metric=metric)
            for a, b in pairs
            for name, metric in MEASURES.items()
        ]
    return rows, {"runs": kept, "verdicts": verdicts, "patience": PATIENCE, "dev": FEW}


def of_packing():
    """Return the runs of packing and their rows, and each one's perplexity as a ratio to that of padding."""
    found = {
        name: [
            runs.kept(
                NAME, {"collator": name, "seed": seed}, lambda name=name, seed=seed: runs.alone(packing, name, seed)
            )
            for seed in runs.SEEDS
        ]
        for name in COLLATORS
    }
    task = f"report text, test, {TEXTS:,} reports, 8 a step"
    rows = [row for name, some in found.items() for row in opt.rows_of(f"full fine-tuning, {name}", task, some)]
    groups = opt.texts("test")["patient_id"]
    over = opt.over_seeds
    against = {name: list(causal.ratio(over(some), over(found["padded"]), groups)) for name, some in found.items()}
    kept = [{key: value for key, value in run.items() if key != "scored"} for some in found.values() for run in some]
    return rows, {"runs": kept, "against_padded": against}


def main():
    """Measure everything and write the file."""
    runs.start()
    whole_rows, trained = of_whole()
    stop_rows, stopped = of_stopping()
    pack_rows, packed = of_packing()
    some = [one for group in GROUPS for one in against_baseline(alone(*group), group[-1])]
    results.ship(
        NAME,
        rows=whole_rows + stop_rows + pack_rows,
        alone=some,
        whole=trained,
        stopping=stopped,
        packing=packed,
        machine=machine.facts(),
    )


if __name__ == "__main__":
    main()
