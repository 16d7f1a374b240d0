"""Measures tiny-opt trained on report texts, for notebook 02, into data_samples/results/opt_runs.json.

About a quarter of an hour on one core. Every run starts from the base and takes the same 200 steps of 16 texts, drawn from 50
to 3,200 reports, with three seeds: a seed draws the reports and the order. Counting (causal.Counts) learns from the same reports.
The learning rate is the best of three on dev, with seed 0 and 3,200 reports. Test texts are scored once, by what learned from
3,200 reports. Two more questions: what each run forgets of general English, and whether texts end when the end-of-text token is
left out of the loss. `seconds` are those of the processor, on one core: a busy machine does not change them.
"""

import json
import tempfile
import time
from functools import cache

import numpy as np
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    TrainerCallback,
    TrainingArguments,
)

from course_utils import causal, data, machine, models, results, trainer

from . import runs

NAME, STEPS, BATCH, EVERY = "opt_runs", 200, 16, 50
SIZES, RATES = (50, 200, 800, 3_200), (3e-5, 3e-4, 1e-3)  # the first rate is the article's
DEV, PROMPTS, FIRST, NEW = 300, 100, 4, 100  # dev texts; texts to go on with, from so many tokens, by so many more
ORDERS = (1, 2, 3, 4)
TASK = "report text, test, {:,} reports"


@cache
def texts(split):
    """Return the distinct reports of a split, a DataFrame; a text that also stands in train is left out elsewhere."""
    frame = runs.frames()[split].drop_duplicates("text")
    return frame if split == "train" else frame[~frame["text"].isin(texts("train")["text"])]


class Watch(TrainerCallback):
    """Scores dev every so many steps, and counts the seconds of training between."""

    def __init__(self, tokenizer):
        self.tokenizer, self.curve, self.seconds = tokenizer, [], 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        self.began = time.process_time()

    def on_step_end(self, args, state, control, model, **kwargs):
        self.seconds += time.process_time() - self.began
        if state.global_step % EVERY == 0:
            self.curve.append(on_dev(model, self.tokenizer))


def train(reports, lr, seed, end=True):
    """Train every weight on `reports` texts and score dev and general English, and test as well for the largest number.

    With `end` False the end-of-text token is left out of the loss, as it is where padding and end are one token.
    """
    model, tokenizer = load()
    library = DataCollatorForLanguageModeling(tokenizer, mlm=False)

    def without_end(rows):
        batch = library(rows)
        return batch | {"labels": batch["labels"].masked_fill(batch["labels"] == tokenizer.eos_token_id, -100)}

    rows = causal.encode(tokenizer, texts("train").sample(reports, random_state=seed)["text"].tolist())
    watch = Watch(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=lr,
            warmup_steps=0.1,
            **trainer.QUIET | {"seed": seed},
        )
        collator = library if end else without_end
        trainer.QuietTrainer(
            model, settings, train_dataset=rows, data_collator=collator, callbacks=[watch], bar=False
        ).train()
    cost = {"seconds": round(watch.seconds, 1), "peak_mb": round(machine.peak_mb()), "saved_kb": runs.saved_kb(model)}
    return measured(model, tokenizer, reports == max(SIZES)) | {"curve": watch.curve, "dev": watch.curve[-1]} | cost


def untouched():
    """Score the base as it comes."""
    model, tokenizer = load()
    return measured(model, tokenizer, True) | {"dev": on_dev(model, tokenizer), "saved_kb": runs.saved_kb(model)}


def count(reports, seed):
    """Count which token follows which in the texts that `train` draws; the order is the best of four on dev."""
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    rows = causal.encode(tokenizer, texts("train").sample(reports, random_state=seed)["text"].tolist())
    dev = causal.encode(tokenizer, texts("dev").sample(DEV, random_state=0)["text"].tolist())
    tables = [causal.Counts(rows, len(tokenizer), order) for order in ORDERS]
    best = min(tables, key=lambda table: value(table.scores(dev)))
    found = {"dev": value(best.scores(dev)), "order": best.order}
    if reports == max(SIZES):
        scored = best.scores(causal.encode(tokenizer, texts("test")["text"].tolist()))
        found["scored"] = {name: [round(float(x), 5) for x in values] for name, values in scored.items()}
    return found


def load():
    """Return the base and its tokenizer, in a process that is ready to measure."""
    runs.start()
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    return AutoModelForCausalLM.from_pretrained(models.base("tiny-opt")).to(models.device()), tokenizer


def on_dev(model, tokenizer):
    """Return the perplexity on the dev texts that stand for the split."""
    return value(causal.scores(model, tokenizer, texts("dev").sample(DEV, random_state=0)["text"].tolist()))


def measured(model, tokenizer, with_test):
    """Return the perplexity on general English, how many texts end, and what is scored on the test texts."""
    found = {
        "general": value(causal.scores(model, tokenizer, data.general_english(held_out=True))),
        "ended": causal.ended(model, tokenizer, texts("dev")["text"].tolist()[:PROMPTS], FIRST, NEW),
        "prompts": PROMPTS,
        "trainable": models.count_parameters(model)[0],
    }
    if with_test:
        scored = causal.scores(model, tokenizer, texts("test")["text"].tolist())
        found["scored"] = {name: [round(float(x), 5) for x in values] for name, values in scored.items()}
    return found


def value(scored):
    """Return the perplexity as it is shipped."""
    return float(causal.perplexity(scored).value)


def over_seeds(some):
    """Return what was scored on the test texts, averaged over the seeds."""
    return {name: np.mean([run["scored"][name] for run in some], axis=0) for name in some[0]["scored"]}


def rows_of(method, task, some):
    """Return the rows of the results table for runs that scored the test texts."""
    mean, groups = over_seeds(some), texts("test")["patient_id"]
    more = {"n": int(mean["tokens"].sum()), "seeds": len(some)}
    more |= {key: some[0][key] for key in ("trainable", "saved_kb") if key in some[0]}
    more |= {key: float(min(run[key] for run in some)) for key in ("seconds", "peak_mb") if key in some[0]}
    named = {"method": method, "task": task}
    rows = [named | {"metric": "perplexity"} | causal.perplexity(mean, groups)._asdict() | more]
    if "right" in mean:
        share = causal.accuracy(mean, groups)._asdict() | {"k": round(mean["right"].sum())}
        rows.append(named | {"metric": "next-token accuracy"} | share | more)
    return rows


def main():
    """Measure everything and write the file."""
    runs.start()

    def run(reports, lr, seed, end=True):
        settings = {"reports": reports, "lr": lr, "seed": seed, "end": end}
        return runs.kept(NAME, settings, lambda: runs.alone(train, reports, lr, seed, end))

    before = runs.kept(NAME, {"reports": 0}, lambda: runs.alone(untouched))
    rates = [run(max(SIZES), lr, 0) for lr in RATES]
    best = min(rates, key=lambda one: one["dev"])["lr"]
    curve = [run(reports, best, seed) for reports in SIZES for seed in runs.SEEDS]
    endless = [run(max(SIZES), best, seed, end=False) for seed in runs.SEEDS]
    counted = [
        runs.kept(NAME, {"counted": reports, "seed": seed}, lambda reports=reports, seed=seed: count(reports, seed))
        for reports in SIZES
        for seed in runs.SEEDS
    ]
    last, table = ([one for one in some if "scored" in one] for some in (curve, counted))
    rows = rows_of("full fine-tuning, before", "report text, test", [before])
    rows += rows_of("full fine-tuning, after", TASK.format(max(SIZES)), last)
    rows += rows_of("n-gram counts", TASK.format(max(SIZES)), table)
    against = causal.ratio(over_seeds(last), over_seeds(table), texts("test")["patient_id"])
    every = {json.dumps(short(one)): short(one) for one in rates + curve + endless}
    content = {"runs": list(every.values()), "before": short(before), "counted": [short(one) for one in counted]}
    results.ship(NAME, rows, **content, against_counts=list(against), steps=STEPS, batch=BATCH, every=EVERY)
    print(results.table("perplexity", NAME).to_string(index=False))


def short(run):
    """Return a run without the scores of its texts, and without its cost, which stands in the table's rows."""
    left_out = {"scored", "seconds", "peak_mb", "saved_kb", "trainable"}
    return {key: item for key, item in run.items() if key not in left_out}


if __name__ == "__main__":
    main()
