"""Measures what each practice of notebook 11 saves and costs, into data_samples/results/practice_runs.json.

Four questions. What does one practice alone change, against the article's settings: seconds and
memory, at two sizes of model, in turns, each in a process of its own? What do the article's settings and ours take for a
whole training, and which grades come out? What does early stopping do, over seeds and bases, where the
learning rate falls to a known end and where it knows none? What does packing do to a causal model?
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
    TrainerCallback,
    TrainingArguments,
)

from course_utils import causal, costs, data, machine, metrics, models, results, trainer, training

from . import methods, opt, runs
from .runs import Task

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
LABELS, EPOCHS, LR = 250, 5, 5e-4
WHOLE = {BASELINE: PADDED, "our settings": trainer.BEST}
TASK = f"DR grade, test, {LABELS:,} labels, {EPOCHS} epochs of `Trainer`"
FEW, MANY, PATIENCE = 250, 20, 3
RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # tried for each schedule and number of epochs, and chosen on dev
EPOCH_MS, GRADED = 9, 3_020  # expected milliseconds a report of `Trainer`; the rows of test
FALLING, STEADY = (
    "linear",
    "constant_with_warmup",
)  # a schedule that falls to 0 at the last epoch; one that knows no end
ARMS = {  # of early stopping: schedule, epochs, whether dev labels are trained on, the measure that stops
    "5 epochs": (FALLING, 5, False, ""),
    "20 epochs": (FALLING, MANY, False, ""),
    "20 epochs, stopped by loss": (FALLING, MANY, False, "loss"),
    "20 epochs, stopped by macro F1": (FALLING, MANY, False, "macro_f1"),
    "20 epochs, dev labels too": (FALLING, MANY, True, ""),
    "steady rate, 20 epochs": (STEADY, MANY, False, ""),
    "steady rate, stopped by loss": (STEADY, MANY, False, "loss"),
    "steady rate, stopped by macro F1": (STEADY, MANY, False, "macro_f1"),
}
MEASURES = {"macro F1": metrics.macro_f1, "share right": metrics.accuracy}
LABELLERS = {"grade": "adjudicated labels", "reader_1": "one reader's labels"}  # the second on the first base alone
TEXTS, PACK_LR, PACK_EPOCHS, PACKED = 1_200, 1e-3, 2, "tiny-opt"  # PACKED: the base that `opt.load` loads
COLLATORS = ("padded", "padded, grouped", "packed, masked", "packed by the library")


def train_whole(base, whole, seed):
    """Train a grader to the end with one of the two settings; return its grades of test, and what it cost."""
    settings = dict(WHOLE[whole])
    model, tokenizer = models.grader(runs.checkpoint(base), seed=seed)
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


class Keeper(TrainerCallback):
    """Keeps the weights after each epoch, in memory: whichever rule would have stopped there, they are the model's."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.weights = []

    def on_epoch_end(self, args, state, control, model, **kwargs):
        self.weights.append({name: value.clone() for name, value in model.state_dict().items()})


def stopping(base, schedule, epochs, with_dev, label, seed, lr):
    """Train on few labels; return the grades of test at the end and where each rule of STOPS ends, and dev's curve.

    A rule that stops a run changes nothing before it stops. So one run answers for all rules.
    """
    dev = data.sample(data.course_reports()["dev"], FEW, seed=seed).to_pandas()
    train = runs.train_rows(FEW, seed)
    train = pd.concat([train, dev]) if with_dev else train
    model, tokenizer = models.grader(runs.checkpoint(base), seed=seed)
    settings = trainer.BEST | {"num_train_epochs": epochs, "learning_rate": lr, "warmup_steps": 0.1, "seed": seed}
    settings |= {"eval_strategy": "epoch", "lr_scheduler_type": schedule}
    keeper = Keeper()
    with tempfile.TemporaryDirectory() as folder:
        made = trainer.for_grader(model, tokenizer, train, folder, dev=dev, label=label, callbacks=[keeper], **settings)
        made.train()
    seen = [line for line in made.state.log_history if "eval_loss" in line]
    curves = {"loss": [-line["eval_loss"] for line in seen], "macro_f1": [line["eval_macro_f1"] for line in seen]}
    found = {"": (len(seen), len(seen))} | {rule: stopped(curve, PATIENCE) for rule, curve in curves.items()}
    said = {}
    for rule, (_, best) in found.items():
        model.load_state_dict(keeper.weights[best - 1])
        grades = training.predict(model, tokenizer, runs.frames()["test"]).argmax(1)
        said[rule] = "".join(map(str, grades.tolist()))
    return {
        "said": said,
        "lasted": {rule: lasted for rule, (lasted, _) in found.items()},
        "dev_loss": [-value for value in curves["loss"]],
        "dev_f1": curves["macro_f1"],
        "trainable": models.count_parameters(model)[0],
    }


def stopped(scores, patience):
    """Return after which epoch a run stops, and which epoch's model it hands back: the best so far, the first of equals.

    Takes the score after each epoch. It stops when so many epochs in a row were no better than the best before them.
    """
    best = 0
    for epoch in range(1, len(scores)):
        if scores[epoch] > scores[best]:
            best = epoch
        elif epoch - best >= patience:
            return epoch + 1, best + 1
    return len(scores), best + 1


def packing(base, collator, seed):
    """Train `base`, which is tiny-opt, on report texts with one of COLLATORS; return what it scores on test texts, and what it cost."""
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
        runs.timed(
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
    found = {name: runs.needed(whole_tasks(name)) for name in WHOLE}
    rows = [runs.row(f"full fine-tuning, {name}", TASK, some) for name, some in found.items()]
    ours, theirs = found["our settings"], found[BASELINE]
    ratios = [
        {
            "seed": a["seed"],
            "times": round(b["seconds"] / a["seconds"], 2),
            "memory": round(b["peak_mb"] / a["peak_mb"], 3),
            "same": int(np.sum(np.array(a["predicted"]) == b["predicted"])),
        }
        for a, b in zip(ours, theirs, strict=False)  # one of them may have more seeds
    ]
    told = runs.verdict("our settings", ours, BASELINE, theirs)
    return rows, {"runs": runs.without_predictions(ours + theirs), "ratios": ratios, "verdict": told}


def stop_task(base, schedule, epochs, with_dev, label, seed, lr):
    """Return the run of one seed that answers for the arms of a training."""
    seconds = runs.START_S + (FEW * epochs * EPOCH_MS + 3 * GRADED * runs.READ_MS) / 1000
    named = {"base": base, "schedule": schedule, "epochs": epochs, "with_dev": with_dev, "label": label}
    return Task(NAME, stopping, named | {"seed": seed, "lr": lr}, seconds)


def rate_tries(base, arm):
    """Return the runs among which an arm's learning rate is chosen: nothing stops them, and dev labels train none."""
    schedule, epochs, _, _ = ARMS[arm]
    return [stop_task(base, schedule, epochs, False, "grade", 0, lr) for lr in RATES]


def rate(base, arm):
    """Return an arm's learning rate, the best of its tries by macro F1 on dev at the end; None until all are there."""
    tried = runs.all_found(rate_tries(base, arm))
    return max(tried, key=lambda run: run["dev_f1"][-1])["lr"] if tried else None


def stop_tasks(base, arm, label):
    """Return the runs that answer for an arm, one a seed."""
    training, lr = ARMS[arm][:3], rate(base, arm)
    seeds = runs.seeds(stop_task(base, *training, label, 0, lr).seconds)
    return [stop_task(base, *training, label, seed, lr) for seed in seeds]


def labellers():
    """Return (base, label) of what early stopping is measured with."""
    bases = runs.present(methods.BASES)
    return [(base, label) for base in bases for label in LABELLERS if label == "grade" or base == bases[0]]


def of_arm(base, arm, label):
    """Return an arm's runs, as they are kept."""
    rule = ARMS[arm][3]
    return [
        {key: run[key] for key in ("base", "label", "seed", "lr", "dev_loss", "dev_f1", "trainable")}
        | {"arm": arm, "epochs": run["lasted"][rule], "predicted": [int(grade) for grade in run["said"][rule]]}
        for run in runs.needed(stop_tasks(base, arm, label))
    ]


def of_stopping():
    """Return the runs of early stopping, their rows, and paired verdicts, each arm against those before it."""
    rows, kept, verdicts = [], [], []
    first = [arm for arm in ARMS if arm in ("5 epochs", "20 epochs") or arm.startswith("steady")]
    pairs = [(b, a) for a, b in combinations(ARMS, 2) if a in first]
    for base, label in labellers():
        found, labels = {arm: of_arm(base, arm, label) for arm in ARMS}, LABELLERS[label]
        task = f"DR grade, test, {FEW} labels, {labels}"
        rows += [runs.row(f"full fine-tuning, {arm}", task, some) for arm, some in found.items()]
        kept += [run for some in found.values() for run in scored(some)]
        verdicts += [
            {"base": base, "labels": labels, "measure": name} | runs.verdict(a, found[a], b, found[b], metric=metric)
            for a, b in pairs
            for name, metric in MEASURES.items()
        ]
    rates = {base: {arm: rate(base, arm) for arm in ARMS} for base in runs.present(methods.BASES)}
    tried = {"rates": rates, "tried": RATES}
    return rows, {"runs": kept, "verdicts": verdicts, "patience": PATIENCE, "dev": FEW} | tried


def scored(some):
    """Return runs with macro F1 on test in place of their grades; dev's curve ends where the run does."""
    cut = [run | {key: run[key][: run["epochs"]] for key in ("dev_loss", "dev_f1")} for run in some]
    scores = [{"macro_f1": runs.score("test", run["predicted"])} for run in some]
    return runs.without_predictions([run | score for run, score in zip(cut, scores, strict=True)])


def of_packing():
    """Return the runs of packing and their rows, and each one's perplexity as a ratio to that of padding."""
    found = {name: runs.needed(pack_tasks(name)) for name in COLLATORS}
    task = f"report text, test, {TEXTS:,} reports, 8 a step"
    rows = [row for name, some in found.items() for row in opt.rows_of(f"full fine-tuning, {name}", task, some)]
    groups = opt.texts("test")["patient_id"]
    over = opt.over_seeds
    against = {name: list(causal.ratio(over(some), over(found["padded"]), groups)) for name, some in found.items()}
    kept = [{key: value for key, value in run.items() if key != "scored"} for some in found.values() for run in some]
    return rows, {"runs": kept, "against_padded": against}


def whole_tasks(name):
    """Return the runs of one of the two settings, one a seed."""
    per_report = {BASELINE: 100, "our settings": 8}[name]
    seconds = runs.START_S + LABELS * EPOCHS * per_report / 1000
    return [
        Task(NAME, train_whole, {"base": methods.BASES[0], "whole": name, "seed": seed}, seconds)
        for seed in runs.seeds(seconds)
    ]


def pack_tasks(name):
    """Return the runs of a way to pack, one a seed."""
    seconds = runs.START_S + TEXTS * PACK_EPOCHS * 8 / 1000
    return [
        Task(NAME, packing, {"base": PACKED, "collator": name, "seed": seed}, seconds) for seed in runs.seeds(seconds)
    ]


def plan():
    """Return all runs but those of `alone`, which are timed and want the machine for themselves."""
    bases = runs.present(methods.BASES)
    rates = [one for base in bases for arm in ARMS for one in rate_tries(base, arm)]
    stops = [one for base, label in labellers() for arm in ARMS for one in stop_tasks(base, arm, label)]
    trained = [one for name in WHOLE for one in whole_tasks(name)]
    packed = [one for name in COLLATORS for one in pack_tasks(name)] if runs.present([PACKED]) else []
    return rates + stops + trained + packed


def report():
    """Measure each practice alone, one after the other, and write the file; neither without the base that is packed."""
    if runs.lacking(NAME, [PACKED]):
        return
    some = [one for group in GROUPS for one in against_baseline(alone(*group), group[-1])]
    whole_rows, trained = of_whole()
    stop_rows, stopped = of_stopping()
    pack_rows, packed = of_packing()
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
    runs.main(__spec__.name)
