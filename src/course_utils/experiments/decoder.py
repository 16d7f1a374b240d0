"""Measures decoders that write a report's record, for notebook 06, into data_samples/results/decoder_runs.json.

On two bases: tiny-opt, and SmolLM2, which `make real` makes. Learning rates are chosen on dev, by the share of right grades; the test eyes,
the same 300 for everything here, decide nothing. What a run says of each eye is kept as strings of digits.

Reading and writing is measured in processor time, since other runs go on beside it. How fast SmolLM2 trains is measured last, by the
clock, when nothing else of this runs: the ways take turns, each in a process of its own.
"""

import copy
import math
import tempfile
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional as F

from course_utils import (
    causal,
    chat,
    costs,
    data,
    decoders,
    machine,
    metrics,
    models,
    paths,
    records,
    results,
    session,
    training,
)

from . import methods, prompts, runs
from .runs import Task

NAME = "decoder_runs"
SMALL, REAL = "tiny-opt", models.REAL["tiny-opt"]
FULL, LORA, QLORA = "full fine-tuning", "LoRA", "QLoRA"
ANSWERS, EVERYTHING = "the answers", "all tokens"
LABELS, EYES, DEV_EYES, NEW = 1_000, 300, 200, 64
TARGETS = {
    SMALL: ["q_proj", "v_proj", "fc1", "fc2"],
    REAL: ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
}
BELOW = 24  # of SmolLM2's 30 layers: frozen, so that what they make of a report is worked out once
RANK = 8
RATES = {
    (SMALL, FULL): (3e-4, 1e-3, 2e-3, 4e-3),
    (SMALL, LORA): (1e-3, 3e-3, 1e-2, 3e-2),
    (SMALL, QLORA): (1e-3, 3e-3, 1e-2, 3e-2),
    (REAL, LORA): (3e-4, 1e-3),
}
EPOCHS = {SMALL: 5, REAL: 2}
CHOSEN_AT = {SMALL: LABELS, REAL: 200}  # labels with which a rate is chosen
SEEDS = {SMALL: range(5), REAL: range(2)}
# Expected milliseconds on one core of training on a chat and of answering one; what SmolLM2's frozen layers take is in the second.
COSTS = {SMALL: (12, 15), REAL: (600, 1_200)}
WATTS = 15  # of a core at work: an assumption, to turn seconds into watt-hours
BETA, STEPS = 0.1, 40
KINDS = ("DPO", "GRPO, right grade", "GRPO, none missed")
BRIEF = 120  # letters of an example, so that three of them and a long report fit into tiny-opt's 512 places
# Ways to train that are timed on as many chats, in turns, with as many threads: trl's settings. Since 1.7 its default makes scores for
# learned tokens alone, as ours does; "nll" makes them for every token, as it did before, and as most loops do.
OURS, TRL, TRL_ALL = "ours", "trl as it comes", "trl, scores for every token"
WAYS: dict[str, dict] = {OURS: {}, TRL: {}, TRL_ALL: {"loss_type": "nll"}}
SPEED, TURNS, THREADS = 32, 2, 2
TIMED_S = 800  # expected seconds of what is timed, alone on the machine
YES = ("valid", "right", "refer", "places", "agrees", "ended")


# The eyes, and what is said of them.


def eyes(split: str) -> pd.DataFrame:
    """Return the rows of dev or test that are answered here, with their records."""
    n = DEV_EYES if split == "dev" else EYES
    rows = runs.frames()[split]
    return records.with_facts(rows.sample(min(n, len(rows)), random_state=0))


def marks(texts, ended, rows) -> dict:
    """Return what is right about answers, a digit an eye: grades (5 for no record), yes or no, and counts in base 16."""
    found = records.counted(texts, list(rows["record"])) | {"ended": np.array(ended)}
    grades = np.where(records.grades(texts) == records.INVALID, metrics.GRADES, records.grades(texts))
    said = {name: "".join(str(int(one)) for one in found[name]) for name in YES}
    said |= {name: "".join(f"{n:x}" for n in found[name]) for name in records.COUNTED}
    return said | {"grades": "".join(map(str, grades))}


def digits(said: dict, name: str) -> np.ndarray:
    """Return an array of what `marks` wrote."""
    return np.array([int(one, 16) for one in said[name]])


def answered(model, tokenizer, rows, before=(), how="", form="") -> dict:
    """Let a model answer rows; return `marks`, and the milliseconds of processor time an answer."""
    asked = [[*before, *records.ask(eye, text, how)] for eye, text in zip(rows["eye"], rows["text"], strict=True)]
    began = session.cpu_seconds()
    out = chat.answer(model, tokenizer, asked, new=NEW, batch_size=16, form=form)
    return marks(out.texts, out.ended, rows) | {"ms": 1000 * (session.cpu_seconds() - began) / len(rows)}


def checkpoint(base: str) -> str:
    """Return the folder of a base. Raises FileNotFoundError, with the mend, if it is not there."""
    if base == SMALL:
        return runs.checkpoint(base)
    if not (paths.real() / base / "model.safetensors").is_file():
        raise FileNotFoundError(f"There is no real base {paths.real() / base}. Make it with `make real`.")
    return str(paths.real() / base)


# How a model is trained.


def adapted(base: str, method: str, rank: int, seed: int):
    """Return a base made ready for a method, and its tokenizer."""
    model, tokenizer = chat.load(checkpoint(base))
    torch.manual_seed(seed)
    if method == FULL:
        return model, tokenizer
    if method == QLORA:
        model = decoders.in_four_bits(checkpoint(base))
    layers = list(range(BELOW, model.config.num_hidden_layers)) if base == REAL else None
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=TARGETS[base], layers_to_transform=layers
    )
    return get_peft_model(model, config), tokenizer


def memory_of(model) -> dict:
    """Return the MB of a model's frozen weights, with the scales of those in 4 bits, and of what is trained, with gradients and means."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    scales = [p.quant_state.absmax for p in frozen if getattr(p, "quant_state", None) is not None]
    held = sum(tensor.numel() * tensor.element_size() for tensor in [*frozen, *scales])
    trained = models.count_parameters(model)[0] * (2 * decoders.BYTES + decoders.MEANS)
    return {"frozen_mb": held / 1e6, "trained_mb": trained / 1e6}


def encoded(tokenizer, rows, loss_on: str = ANSWERS) -> list[chat.Encoded]:
    """Return the chats of rows, with the answers or all tokens in the loss."""
    chats = [
        chat.encode(tokenizer, records.ask(row.eye, row.text) + records.said(row.record), max_length=1024)
        for row in rows.itertuples()
    ]
    if loss_on == ANSWERS:
        return chats
    return [{"input_ids": one["input_ids"], "in_loss": [1] * len(one["input_ids"])} for one in chats]


def fitted(model, tokenizer, base: str, chats, **settings) -> dict:
    """Train; of SmolLM2 the upper layers alone, on what the frozen ones below made of each chat, which is exact."""
    if base != REAL:
        return chat.fit(model, tokenizer, chats, bar=False, **settings)
    began = time.perf_counter()
    stack = model.get_base_model().model
    layers, norm = stack.layers, stack.norm
    try:
        stack.layers, stack.norm = layers[:BELOW], torch.nn.Identity()
        states = lower(stack, chats, tokenizer.pad_token_id)
        stack.layers, stack.norm = layers[BELOW:], norm
        with_states = [one | {"states": state} for one, state in zip(chats, states, strict=True)]
        log = chat.fit(model, tokenizer, with_states, bar=False, **settings)
    finally:
        stack.layers, stack.norm = layers, norm
    return log | {"seconds": time.perf_counter() - began}


@torch.no_grad()
def lower(stack, chats, pad: int, batch_size: int = 8) -> list[torch.Tensor]:
    """Return what a stack of frozen layers makes of each chat: tensors (tokens, width)."""
    order = sorted(range(len(chats)), key=lambda i: len(chats[i]["input_ids"]))
    states: list = [None] * len(chats)
    stack.eval()
    for first in range(0, len(order), batch_size):
        some = order[first : first + batch_size]
        batch = chat.collate([chats[i] for i in some], pad)
        hidden = stack(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
        for i, one in zip(some, hidden.last_hidden_state, strict=True):
            states[i] = one[: len(chats[i]["input_ids"])].clone()
    return states


def rank_at_equal_memory(rank: int = RANK) -> int:
    """Return the rank at which QLoRA on tiny-opt holds as much as LoRA at this one: what 4 bits save buys trained weights."""
    model = chat.load(checkpoint(SMALL))[0]
    linear = [m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]
    saved = sum(m.weight.numel() for m in linear) * (4 - 0.5 - 4 / decoders.BLOCK)
    each = sum(sum(m.weight.shape) for m in linear if any(m is model.get_submodule(n) for n in _adapted(model)))
    return rank + math.floor(saved / (each * (2 * decoders.BYTES + decoders.MEANS)))


def _adapted(model) -> list[str]:
    return [name for name, _ in model.named_modules() if name.split(".")[-1] in TARGETS[SMALL]]


# The runs.


def tuned(base, method, loss_on, labels, seed, lr, rank) -> dict:
    """Train on records, say what was forgotten, and answer dev and test, on the small base also held to the form."""
    model, tokenizer = adapted(base, method, rank, seed)
    sizes = {"trainable": models.count_parameters(model)[0]} | memory_of(model)
    rows = records.with_facts(runs.train_rows(labels, seed))
    log = fitted(model, tokenizer, base, encoded(tokenizer, rows, loss_on), epochs=EPOCHS[base], lr=lr, seed=seed)
    spent = {"seconds": round(log["seconds"], 1), "peak_mb": round(machine.peak_mb()), "steps": log["steps"]}
    dev = answered(model, tokenizer, eyes("dev"))
    said = {"test": answered(model, tokenizer, eyes("test")), "english": forgotten(base, model, tokenizer)}
    if base == SMALL:
        said["held"] = answered(model, tokenizer, eyes("test"), form=records.FORM)
    return sizes | {"dev": float(digits(dev, "right").mean())} | spent | said


def forgotten(base, model, tokenizer) -> float:
    """Return how many times as large the perplexity of general English is as the base's."""
    english = data.general_english(held_out=True)
    before = causal.scores(chat.load(checkpoint(base))[0], tokenizer, english)
    return causal.ratio(causal.scores(model, tokenizer, english), before).value


def asked(base, shots) -> dict:
    """Let a base answer dev as it is, with so many examples in the chat."""
    model, tokenizer = chat.load(checkpoint(base))
    rows = runs.train_rows(100, 0)
    examples = records.with_facts(rows[rows["text"].str.len() <= BRIEF][:shots])
    before = [m for row in examples.itertuples() for m in records.ask(row.eye, row.text) + records.said(row.record)]
    how = records.HOW if base == REAL or not shots else ""
    return {"dev": answered(model, tokenizer, eyes("dev"), before, how)}


def sped(way: str, chats: int) -> dict:
    """Train LoRA on SmolLM2 in one of WAYS; return the chats a second, the loss of each step, and that on other chats afterwards.

    Rate, its rise and fall, and the size of a batch are the same in all ways, but that trl's first step has the rate 0. trl draws its
    batches without a look at their length, and works out again in the backward pass what the layers made: `gradient_checkpointing`,
    which is on unasked.
    """
    torch.set_num_threads(THREADS)
    model, tokenizer = adapted(REAL, LORA, RANK, 0)
    rows, epochs = records.with_facts(runs.train_rows(chats, 0)), EPOCHS[REAL]
    if way == OURS:
        log = fitted(model, tokenizer, REAL, encoded(tokenizer, rows), epochs=epochs, lr=1e-3, batch_size=4)
    else:
        log = by_trl(model, tokenizer, rows, epochs, WAYS[way])
    others, losses = encoded(tokenizer, eyes("dev")[:chats]), []
    with torch.no_grad():
        for first in range(0, len(others), 8):
            some = chat.collate(others[first : first + 8], tokenizer.pad_token_id)
            losses.append(chat.token_losses(model.eval(), some))
    after = float(torch.cat(losses).mean())
    return {"a_second": epochs * chats / log["seconds"], "losses": log["losses"], "after": after}


def by_trl(model, tokenizer, rows, epochs: int, settings: dict) -> dict:
    """Train by trl on the answers of rows; return the seconds and the loss of each step."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    pairs = [{"prompt": records.ask(r.eye, r.text), "completion": records.said(r.record)} for r in rows.itertuples()]
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "save_strategy": "no"}
    same = {"per_device_train_batch_size": 4, "num_train_epochs": epochs, "learning_rate": 1e-3, "logging_steps": 1}
    same |= {"lr_scheduler_type": "linear", "warmup_steps": training.WARM_UP, "weight_decay": 0.01}  # as ours has them
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model,
            SFTConfig(folder, **quiet | same | settings),
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "losses": [one["loss"] for one in trainer.state.log_history if "loss" in one]}


def preferred(base, kind, seed, lr) -> dict:
    """Teach a model records, then go on by DPO or GRPO; answer test before and after."""
    model, tokenizer = adapted(base, FULL, RANK, seed)
    rows = records.with_facts(runs.train_rows(LABELS, seed))
    taught, more = rows[:700], rows[700:]
    # each pair of another patient, whom the model has not met: a report speaks of two eyes
    more = more[~more["patient_id"].isin(taught["patient_id"])].drop_duplicates("patient_id")
    fitted(model, tokenizer, base, encoded(tokenizer, taught), epochs=EPOCHS[base], lr=lr, seed=seed)
    before = answered(model, tokenizer, eyes("test"))
    if kind == "DPO":
        found = dpo(model, tokenizer, more, seed)
    else:
        rewards = {"GRPO, right grade": right, "GRPO, none missed": none_missed}
        seen = grpo(model, tokenizer, more, rewards[kind], STEPS, seed)
        found = {"rewards": seen[:, 0].tolist(), "alike": seen[:, 1].tolist()}
    return found | {"before": before, "test": answered(model, tokenizer, eyes("test"))}


def drawn(model, tokenizer, rows, seed) -> chat.Answers:
    """Return an answer to each row, drawn by the model's own chances."""
    asked = [records.ask(eye, text) for eye, text in zip(rows["eye"], rows["text"], strict=True)]
    return chat.answer(model, tokenizer, asked, new=NEW, sample=1.0, seed=seed)


def both(model, tokenizer, pairs):
    """Return log p of the preferred answers and of the others: two tensors (pairs,)."""
    return [
        chat.log_probs(model, chat.collate([pair[side] for pair in pairs], tokenizer.pad_token_id)) for side in (0, 1)
    ]


def dpo(model, tokenizer, rows, seed) -> dict:
    """Train by DPO, in place, on the true record against a wrong one that was drawn; a quarter of the pairs is held out."""
    answers = drawn(model, tokenizer, rows, seed)
    wrong = np.flatnonzero(records.grades(answers.texts) != rows["grade"].to_numpy())
    true = encoded(tokenizer, rows)
    pairs = [[true[i], answers.rows[i]] for i in wrong]
    held, learned = pairs[: len(pairs) // 4], pairs[len(pairs) // 4 :]
    reference, order = copy.deepcopy(model), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with torch.no_grad():
        start = both(reference, tokenizer, held)
    for _ in range(STEPS):
        some = [learned[i] for i in order.choice(len(learned), 8, replace=False)]
        with torch.no_grad():
            old = both(reference, tokenizer, some)
        plus, minus = (new - was for new, was in zip(both(model, tokenizer, some), old, strict=True))
        loss = -F.logsigmoid(BETA * (plus - minus)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        plus, minus = (new - was for new, was in zip(both(model, tokenizer, held), start, strict=True))
    wins = "".join(str(int(one)) for one in plus > minus)
    patients = [str(one) for one in rows["patient_id"].iloc[wrong[: len(held)]]]
    of_held = {"wins": wins, "patients": patients, "preferred": float(plus.mean()), "other": float(minus.mean())}
    return {"pairs": len(pairs)} | of_held


def right(text, record) -> float:
    """Reward the adjudicated grade."""
    said = records.read(text)
    return float(said is not None and said.grade == record.grade)


def none_missed(text, record) -> float:
    """Reward a record that does not leave out a referral; it may refer everybody."""
    said = records.read(text)
    return float(said is not None and (said.refer or not record.refer))


def grpo(model, tokenizer, rows, reward, steps, seed, questions=4, draws=8) -> np.ndarray:
    """Train by GRPO, in place, one update a draw; return mean reward and share of groups without a difference, a step."""
    optimizer, order, seen = torch.optim.AdamW(model.parameters(), lr=3e-4), np.random.default_rng(seed), []
    for step in range(steps):
        some = rows.iloc[np.repeat(order.choice(len(rows), questions, replace=False), draws)]
        answers = drawn(model, tokenizer, some, 1000 * seed + step)
        each = [reward(text, record) for text, record in zip(answers.texts, some["record"], strict=True)]
        rewards = torch.tensor(each).view(questions, draws)
        spread = rewards.std(dim=1, keepdim=True)
        better = (rewards - rewards.mean(dim=1, keepdim=True)) / (spread + 1e-4)
        seen.append((float(rewards.mean()), float((spread == 0).float().mean())))
        batch = chat.collate(answers.rows, tokenizer.pad_token_id)  # the very tokens that were drawn
        loss = -(better.flatten() * chat.log_probs(model, batch)).mean() / batch["in_loss"].sum(1).float().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(seen)


def read_by(base, method) -> dict:
    """Return the milliseconds of processor time that a classifier takes for a report, with random heads: what it says does not count.

    The shortest of three times that all eyes are read.
    """
    rows = eyes("test")
    if base == prompts.BASE:
        model, tokenizer = prompts.load()
        read = prompts.answers(model, tokenizer, "findings")
    else:
        model, tokenizer = models.grader(runs.checkpoint(base), seed=0)
        read = partial(training.predict, model, tokenizer)
    taken = []
    for _ in range(3):
        began = session.cpu_seconds()
        read(rows)
        taken.append(session.cpu_seconds() - began)
    return {"ms": 1000 * min(taken) / len(rows), "mb": 4 * models.count_parameters(model)[1] / 1e6}


# What is run.


def seconds(base, method, labels, answers) -> float:
    """Return the expected seconds of training on so many labels, and of so many answers; of SmolLM2 with its lower layers."""
    train, read = COSTS[base]
    slower = 1.7 if method == QLORA else 1
    below = labels * 0.4 + 40 if base == REAL else 0  # and to read general English twice
    return runs.START_S + below + (labels * EPOCHS[base] * train * slower + answers * read) / 1000


def task(base, method, loss_on, labels, seed, lr, rank):
    """Return a run of training as a task."""
    named = {"base": base, "method": method, "loss_on": loss_on, "labels": labels, "seed": seed, "lr": lr, "rank": rank}
    answers = DEV_EYES + EYES * (2 if base == SMALL else 1)
    return Task(NAME, tuned, named, seconds(base, method, labels, answers))


def tries(base, method, loss_on):
    """Return the runs among which a learning rate is chosen."""
    return [task(base, method, loss_on, CHOSEN_AT[base], 0, lr, RANK) for lr in RATES[base, method]]


def recipe(base, method, loss_on):
    """Return the learning rate, the best of its tries on dev; None until all tries are there."""
    tried = runs.all_found(tries(base, method, loss_on))
    return runs.best(tried)["lr"] if tried else None


def tested(base, method, loss_on=ANSWERS, rank=RANK):
    """Return the runs with the chosen rate, one a seed."""
    lr = recipe(base, method, loss_on)
    return [task(base, method, loss_on, LABELS, seed, lr, rank) for seed in SEEDS[base]]


def groups(bases):
    """Return {(base, method, what the loss is on, rank)} of all that is trained, in the order in which it is run."""
    wide = rank_at_equal_memory() if SMALL in bases else RANK
    every = [(SMALL, FULL, ANSWERS, RANK), (SMALL, FULL, EVERYTHING, RANK), (SMALL, LORA, ANSWERS, RANK)]
    every += [(SMALL, QLORA, ANSWERS, RANK), (SMALL, QLORA, ANSWERS, wide)]
    every += [(REAL, LORA, ANSWERS, RANK), (REAL, LORA, EVERYTHING, RANK)]
    return [group for group in every if group[0] in bases]


def there() -> list[str]:
    """Return the bases that are there."""
    real = [REAL] if (paths.real() / REAL / "model.safetensors").is_file() else []
    return runs.present([SMALL]) + real


def questions(bases):
    """Return the bases asked as they are, as tasks."""
    return [
        Task(NAME, asked, {"base": base, "shots": shots}, runs.START_S + DEV_EYES * COSTS[base][1] * (1 + shots) / 1000)
        for base in bases
        for shots in (0, 3)
    ]


def preferences(bases):
    """Return DPO and GRPO on the small base, as tasks."""
    lr = recipe(SMALL, FULL, ANSWERS)
    return [
        Task(NAME, preferred, {"base": SMALL, "kind": kind, "seed": seed, "lr": lr}, 60 + STEPS * 1.2)
        for kind in KINDS
        for seed in SEEDS[SMALL]
        if SMALL in bases
    ]


def speeds(bases) -> list[dict]:
    """Return what each way to train SmolLM2 gave in each turn; what is not there is measured now, by the clock."""
    return [
        {"way": way, "turn": turn}
        | runs.timed(
            NAME,
            {"base": REAL, "way": way, "turn": turn, "chats": SPEED},
            partial(costs.apart, "sped", module="course_utils.experiments.decoder", way=way, chats=SPEED),
        )
        for turn in range(TURNS)
        for way in WAYS
        if REAL in bases
    ]


def classifiers():
    """Return the reading speeds of the encoder and the T5, as tasks."""
    return [Task(NAME, read_by, {"base": base, "method": FULL}, 20) for base in (methods.BASES[0], prompts.BASE)]


def plan():
    """Return all runs: the tries, the runs with the chosen rate, then what is asked, preferred and read by classifiers."""
    bases = there()
    tried = [one for base, method, loss_on, _ in groups(bases) for one in tries(base, method, loss_on)]
    sized = [one for group in groups(bases) for one in tested(*group)]
    return tried + sized + questions(bases) + preferences(bases) + classifiers()


# What is written.

MEASURES = {"valid": "a record", "right": "grade right", "ended": "ended"}


def share(some, name, part="test", where=slice(None)) -> str:
    """Return the mean share of eyes over runs, with its interval over patients, as text."""
    rows = eyes("test")[where]
    found = [digits(run[part], name)[where] for run in some]
    ones = np.ones(len(rows), int)
    return f"{metrics.interval_over_seeds(ones, found, metrics.accuracy, rows['patient_id'], labels=2):.3f}"


def compared(part, base, name, first, second, of=("test", "test"), where=slice(None), measure="") -> dict:
    """Return the paired verdict on the share of eyes of two sides, each (what it is called, its runs), or of the eyes `where`."""
    rows = eyes("test")[where]
    sides = [[digits(run[of[i]], name)[where] for run in some] for i, (_, some) in enumerate((first, second))]
    found = metrics.paired(
        np.ones(len(rows), int),
        *sides,
        metrics.accuracy,
        rows["patient_id"],
        labels=2,
        names=(first[0], second[0]),
    )
    return said_of(part, base, measure or MEASURES.get(name, name), found)


def said_of(part, base, measure, found: metrics.Comparison) -> dict:
    """Return a comparison as it is written down."""
    told = {"verdict": found.verdict, "difference": f"{found.difference:.3f}"}
    return {"part": part, "base": base, "measure": measure} | told


def called(method, loss_on, rank) -> str:
    """Return what a group of runs is called."""
    return method if method == FULL else f"{method}, r={rank}"


def grades_of(some) -> list[np.ndarray]:
    """Return the grades of runs on the test eyes, 5 for no record."""
    return [digits(run["test"], "grades") for run in some]


def scored(predictions) -> metrics.Interval:
    """Return macro F1 over the five grades; an answer that is no record is a wrong answer."""
    rows, six = eyes("test"), metrics.GRADES + 1
    measure = metrics.macro_f1_of(range(metrics.GRADES))
    return metrics.interval_over_seeds(rows["grade"], predictions, measure, rows["patient_id"], labels=six)


def row(group, some) -> dict:
    """Return a group's row of the results table."""
    base, method, loss_on, rank = group
    found, rows = scored(grades_of(some)), eyes("test")
    k = round(np.mean([digits(run["test"], "right").sum() for run in some]))
    named = {"method": method, "base": base, "metric": "macro F1", "value": found.value, "low": found.low}
    task = f"DR grade in a record, {len(rows)} test eyes, {LABELS:,} labels, loss on {loss_on}"
    task += f", rank {rank}" if method != FULL else ""
    spent = {key: min(run[key] for run in some) for key in ("seconds", "peak_mb")}
    counts = {"k": k, "n": len(rows), "seeds": len(some), "trainable": some[0]["trainable"]}
    return named | {"high": found.high, "task": task} | counts | spent


class Reader(NamedTuple):
    """A way to grade reports: its base, how it answers, its runs' grades of the test eyes, and what a report costs it."""

    base: str
    how: str
    grades: list[np.ndarray]
    ms: float
    mb: float


def readers(done) -> list[Reader]:
    """Return the classifiers and the decoders that were trained on the same labels."""
    at = eyes("test").index.to_numpy()
    of = {methods.BASES[0]: methods.of(methods.BASES[0], FULL, LABELS), prompts.BASE: prompts.of(FULL)}
    hows = ("encoder, a head", "T5, a word")
    found = []
    for how, spent in zip(hows, runs.needed(classifiers()), strict=True):
        grades = [np.array(run["predicted"])[at] for run in of[spent["base"]]]
        found.append(Reader(spent["base"], how, grades, spent["ms"], spent["mb"]))
    for group in ((SMALL, FULL, ANSWERS, RANK), (REAL, LORA, ANSWERS, RANK)):
        if group in done:
            size = 4 * models.count_parameters(chat.load(checkpoint(group[0]))[0])[1] / 1e6
            ms = min(run["test"]["ms"] for run in done[group])
            found.append(Reader(group[0], "decoder, a record", grades_of(done[group]), ms, size))
    return found


def kinds(found: list[Reader]) -> list[dict]:
    """Return the classifiers and the decoders on the same labels and the same eyes: score, time, size and energy."""
    return [
        {
            "base": one.base,
            "how": one.how,
            "macro F1": f"{scored(one.grades):.3f}",
            "seeds": len(one.grades),
            "s a report": f"{one.ms / 1000:.3f}",
            "MB": f"{one.mb:,.0f}",
            "Wh a thousand": f"{one.ms * WATTS / 3600:.2f}",
        }
        for one in found
    ]


def against_the_first(found: list[Reader]) -> list[dict]:
    """Return the paired verdict on macro F1 of each other reader against the encoder."""
    rows, measure = eyes("test"), metrics.macro_f1_of(range(metrics.GRADES))
    told = []
    for one in found[1:]:
        both_sides = one.grades, found[0].grades
        names, six = (f"{one.base}, {one.how}", f"{found[0].base}, {found[0].how}"), metrics.GRADES + 1
        gap = metrics.paired(rows["grade"], *both_sides, measure, rows["patient_id"], labels=six, names=names)
        told.append(said_of("kinds", one.base, "macro F1", gap))
    return told


WHEN = {"before": "before", "after": "test"}


def judged(some) -> list[dict]:
    """Return what DPO and GRPO changed, a line a kind."""
    must = must_be_referred()
    lines = []
    for kind in KINDS:
        own = [run for run in some if run["kind"] == kind]
        line = {"kind": kind}
        line |= {f"right {when}": share(own, "right", part) for when, part in WHEN.items()}
        for words, where in (("refers the ill", must), ("spares others", ~must)):
            line |= {f"{words} {when}": share(own, "refer", part, where) for when, part in WHEN.items()}
        if kind == "DPO":
            wins = [int(one) for run in own for one in run["wins"]]
            patients = [one for run in own for one in run["patients"]]
            line["held-out pairs won"] = f"{sum(wins)}/{len(wins)}, {metrics.share(wins, patients):.2f}"
            line |= {side: f"{np.mean([run[side] for run in own]):+.1f}" for side in ("preferred", "other")}
        else:
            for words, name in (("reward", "rewards"), ("groups without a difference", "alike")):
                first, last = (np.mean([run[name][at] for run in own]) for at in (slice(5), slice(-5, None)))
                line[words] = f"{first:.2f} to {last:.2f}"
        lines.append(line)
    return lines


def must_be_referred() -> np.ndarray:
    """Return which test eyes must be referred."""
    return np.array([record.refer for record in eyes("test")["record"]])


def verdicts(done, tuned_further) -> list[dict]:
    """Return the comparisons that were planned."""
    found, small = [], (SMALL, FULL, ANSWERS, RANK)
    for base, method in ((SMALL, FULL), (REAL, LORA)):
        pair = [(f"loss on {on}", done.get((base, method, on, RANK))) for on in (ANSWERS, EVERYTHING)]
        found += [compared("mask", base, name, *pair) for name in MEASURES if all(some for _, some in pair)]
    plain = ("LoRA", done[SMALL, LORA, ANSWERS, RANK])
    for group in done:
        if group[1] == QLORA:
            found.append(compared("lora", SMALL, "right", (called(*group[1:]), done[group]), plain))
    for name in ("right", "agrees"):
        sides = ("held to the form", done[small]), ("free", done[small])
        found.append(compared("form", SMALL, name, *sides, of=("held", "test")))
    for kind in KINDS:
        own = [run for run in tuned_further if run["kind"] == kind]
        sides, of = ((kind, own), ("before it", own)), ("test", "before")
        found.append(compared("preferences", SMALL, "right", *sides, of=of))
        if kind != "DPO":  # what a reward may be gamed by
            well = {"where": ~must_be_referred(), "measure": "others not referred"}
            found.append(compared("preferences", SMALL, "refer", *sides, of=of, **well))
    return found


def shares(part, group, some, of="test") -> dict:
    """Return what is right about the answers of a group's runs, and what they make up, as texts."""
    base, method, loss_on, rank = group
    made_up, named = (sum(int(digits(run[of], name).sum()) for run in some) for name in ("made_up", "named"))
    line = {"part": part, "base": base, "method": called(method, loss_on, rank), "loss on": loss_on}
    line |= {words: share(some, name, of) for name, words in MEASURES.items()}
    return line | {"made up": f"{made_up:,}/{named:,}"}


def costs_of(group, some) -> dict:
    """Return what a group's training holds, by part, what a step takes, and what it forgets of general English, as texts."""
    base, method, loss_on, rank = group
    ms = min(1000 * run["seconds"] / run["steps"] for run in some)
    english = [run["english"] for run in some]
    line = {"base": base, "method": called(method, loss_on, rank), "loss on": loss_on}
    line |= {f"{part} MB": f"{some[0][f'{part}_mb']:,.2f}" for part in ("frozen", "trained")}
    return line | {"ms a step": f"{ms:,.0f}", "English": f"{min(english):.2f} to {max(english):.2f}"}


def report():
    """Write the file: rows, shares, costs, verdicts, what classifiers are worth beside, preferences, and what is timed."""
    if runs.lacking(NAME, [SMALL]):
        return
    bases = there()
    done = {group: runs.needed(tested(*group)) for group in groups(bases)}
    further, told = runs.needed(preferences(bases)), runs.needed(questions(bases))
    parts, free = {FULL: "mask", LORA: "lora", QLORA: "lora"}, (SMALL, FULL, ANSWERS, RANK)
    by_part = [shares("mask" if group[0] == REAL else parts[group[1]], group, some) for group, some in done.items()]
    by_part += [
        shares("form", free, done[free], of) | {"method": words}
        for words, of in (("free", "test"), ("held to the form", "held"))
    ]
    known = readers(done)
    results.ship(
        NAME,
        [row(group, some) for group, some in done.items()],
        shares=by_part,
        costs=[costs_of(group, some) for group, some in done.items()],
        verdicts=verdicts(done, further) + against_the_first(known),
        kinds=kinds(known),
        preferences=judged(further),
        asked=[
            {"base": run["base"], "shots": run["shots"]}
            | {words: f"{digits(run['dev'], name).sum()}/{len(run['dev'][name])}" for name, words in MEASURES.items()}
            for run in told
        ],
        speed=speeds(bases),
        watts=WATTS,
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
