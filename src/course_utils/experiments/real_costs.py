"""Measures what a base that people use costs to train and to ask, and two ways to train it side by side: `make results-real-costs`.

Into data_samples/results/real_costs.json, on all-MiniLM-L6-v2, which `make real` makes. Nothing else should run on the machine.

Speed: the recipe of the library's tutorial fills each text up to the 512 tokens that the model takes, in batches of 8, and leaves
`Trainer` at its defaults. WAYS change one thing after another. Seconds are the clock's, with two threads; the ways take turns, each
in a process of its own. What limits them is said in operations: those that a way computes, those that the texts alone would need, and
those that this processor does in one large matrix product in the same processor time.

Quality: two whole trainings stand beside each other on test, the tutorial's and ours. The tutorial's is trained without the padding,
which is masked and changes no answer (a test holds it so), for with it a training takes half an hour.

Lessons: what the course says of costs is judged on this base, and on our own sizes from the files of `make results`, as far as they
are there. The claims (CLAIMS) and their rule (`held`) were written before any of it was measured here.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_utils import costs, export, machine, metrics, models, results, serve, trainer, training

from . import lessons, real, runs
from .methods import FULL
from .runs import Task

NAME = "real_costs"
LABELS, EPOCHS = 1_000, 5
RECIPE, OURS, OURS_16 = "the tutorial's recipe", "ours", "ours, bfloat16"
LONGEST = "filled up to a batch's longest"
PADDED = {"pad_to": 512, "batch_size": 8}
GROUPED = {"pad_to": None, "batch_size": 32} | trainer.GROUPED
WAYS = {  # each changes one thing of the one before, but for the second, which is another recipe of the library's
    RECIPE: PADDED,
    "filled up to 128, as its script does": PADDED | {"pad_to": 128},
    LONGEST: PADDED | {"pad_to": None},
    "texts of like length together": PADDED | {"pad_to": None} | trainer.GROUPED,
    "batches of 32": GROUPED,
    "bfloat16": GROUPED | {"bf16": True},
}
SAMPLE, TURNS, THREADS = 128, 3, (1, 2)  # reports of an epoch that is timed
ON_EACH = ("batches of 32", "bfloat16")  # the ways that are timed with each number of threads
WHOLE = {  # whole trainings: the settings of `Trainer`; a rate of None is the one that was chosen on dev
    RECIPE: {"pad_to": None, "batch_size": 8, "learning_rate": 5e-5},
    OURS: GROUPED | {"learning_rate": None, "warmup_steps": training.WARM_UP},
    OURS_16: GROUPED | {"learning_rate": None, "warmup_steps": training.WARM_UP, "bf16": True},
}
INT8 = "ours, int8"
SHAPE, STEPS = "MiniLM", 3
MODULE, OF_COSTS = (
    "course_utils.experiments.real_costs",
    costs.__name__,
)  # where the functions stand that are timed apart


# Speed.


def epoch(way: str, threads: int, reports: int) -> dict:
    """Train for one epoch in a way, on so many of the course's reports; return what it cost.

    Returns wall_s and cpu_s (of all steps), tokens (of the texts), computed (with the padding), tflop and needed_tflop (operations
    in 10^12, of what is computed and of the texts alone), and peak_mb.
    """
    torch.set_num_threads(threads)
    settings = dict(WAYS[way])
    model, tokenizer = models.grader(real.checkpoint(), seed=0)
    rows, stopwatch = runs.train_rows(reports, 0), trainer.Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        made = trainer.for_grader(
            model, tokenizer, rows, folder, callbacks=[stopwatch], num_train_epochs=1, learning_rate=5e-5, **settings
        )
        torch.manual_seed(0)
        batches = list(made.get_train_dataloader())
        model(**batches[0]).loss.backward()  # the libraries load their parts
        model.zero_grad()
        torch.manual_seed(0)
        made.train()
    wall, cpu = stopwatch.seconds()
    masks = [batch["attention_mask"] for batch in batches]
    alone = [int(length) for mask in masks for length in mask.sum(1)]
    count = Operations(model)
    return {
        "wall_s": sum(wall),
        "cpu_s": sum(cpu),
        "peak_mb": round(machine.peak_mb(), 1),
        "tokens": sum(alone),
        "computed": sum(mask.numel() for mask in masks),
        "tflop": sum(len(mask) * count.of(mask.shape[1]) for mask in masks),
        "needed_tflop": sum(map(count.of, alone)),
    }


class Operations:
    """Counts the operations of a training step on one text, in 10^12, from its number of tokens; each number is counted once."""

    def __init__(self, model):
        self.model, self.known = model.train(), {}
        model.set_attn_implementation("eager")  # written out: the counter does not know every fused attention

    def of(self, tokens: int) -> float:
        """Return those of one text, forward and backward: two for each product of two numbers."""
        if tokens not in self.known:
            ids = torch.ones((1, tokens), dtype=torch.long)
            with FlopCounterMode(display=False) as counted:
                self.model(input_ids=ids, attention_mask=ids, labels=torch.tensor([0])).loss.backward()
            self.known[tokens] = counted.get_total_flops() / 1e12
        return self.known[tokens]


def rate(precision: str) -> float:
    """Return how many 10^12 operations this processor does in a processor second of one thread, in a large matrix product."""
    return costs.matmul_tflops("cpu", precision)


def timed(task: str, turn: int, module: str, **settings) -> dict:
    """Return one measurement of one turn, in a process of its own; it is kept."""
    named = {"task": task, "turn": turn} | settings
    return runs.timed(NAME, named, lambda: {"found": costs.apart(task, module=module, **settings)})["found"]


def speeds() -> list[dict]:
    """Return what each way cost with two threads in each turn, and those of ON_EACH with each number of threads."""
    asked = [(way, max(THREADS)) for way in WAYS] + [(way, n) for way in ON_EACH for n in THREADS[:-1]]
    return [
        {"way": way, "threads": threads, "turn": turn, "reports": SAMPLE}
        | timed("epoch", turn, MODULE, way=way, threads=threads, reports=SAMPLE)
        for turn in range(TURNS)
        for way, threads in asked
    ]


def steps() -> list[dict]:
    """Return what a step costs by each method, in two precisions, with one thread, by the processor's clock."""
    size = {"shape": SHAPE, "steps": STEPS, "batch": 8, "length": 128}
    return [
        timed("train", turn, OF_COSTS, method=method, precision=precision, **size) | {"turn": turn}
        for turn in range(TURNS)
        for precision in ("float32", "bfloat16")
        for method in costs.METHODS
    ]


# Quality.


def whole(base, way, seed, lr):
    """Train to the end in a way; return the grades of dev and test, and of the model in int8 where the way is ours."""
    settings = WHOLE[way] | {"learning_rate": lr, "num_train_epochs": EPOCHS, "seed": seed}
    model, tokenizer = models.grader(real.checkpoint(), seed=seed)
    stopwatch = trainer.Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        rows = runs.train_rows(LABELS, seed)
        trainer.for_grader(model, tokenizer, rows, folder, callbacks=[stopwatch], **settings).train()
        spent = {"seconds": round(sum(stopwatch.seconds()[1]), 1), "peak_mb": round(machine.peak_mb())}
        model.eval()

        def answer(rows):
            return training.predict(model, tokenizer, rows).argmax(1)

        found = {"trainable": models.count_parameters(model)[0]} | spent | runs.graded(answer)
        return found | (in_int8(model, tokenizer, Path(folder)) if way == OURS else {})


def in_int8(model, tokenizer, folder: Path) -> dict:
    """Return the grades that a model gives test in float32 and in int8, both as ONNX, each report alone, as digits; and the MB."""
    file = export.to_onnx(model, tokenizer, folder / "float32.onnx")
    small = export.quantise(file, folder / "int8.onnx")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    reader = serve.open_tokenizer(folder / "tokenizer.json", max_tokens=192)
    test = runs.frames()["test"]
    pairs = reader.encode_batch(list(zip(test["eye"], test["text"], strict=True)))
    said = {
        name: "".join(map(str, serve.logits(serve.open_model(path), pairs).argmax(1)))
        for name, path in (("float32", file), ("int8", small))
    }
    return {"onnx": said, "mb": {"float32": file.stat().st_size / 1e6, "int8": small.stat().st_size / 1e6}}


def whole_tasks(way) -> list[Task]:
    """Return a way's whole trainings, two seeds."""
    chosen = WHOLE[way]["learning_rate"] or real.recipe(real.REPORTS, FULL)["lr"]
    seconds = real.expected(real.REPORTS, FULL, LABELS)
    return [Task(NAME, whole, {"base": real.BASE, "way": way, "seed": seed, "lr": chosen}, seconds) for seed in (0, 1)]


def plan() -> list[Task]:
    """Return the whole trainings, and the tries among which the long run on this base chose the rate."""
    return real.tries(real.REPORTS, FULL) + [task for way in WHOLE for task in whole_tasks(way)]


# What is written.


def quality() -> tuple[list[dict], dict]:
    """Return the rows of the whole trainings, and ours beside the tutorial's and beside itself in int8."""
    found = {way: runs.needed(whole_tasks(way)) for way in WHOLE}
    task = f"DR grade, test, {LABELS:,} labels, {EPOCHS} epochs of `Trainer`"
    exact, small = (
        [run | {"predicted": list(map(int, run["onnx"][kind]))} for run in found[OURS]] for kind in ("float32", "int8")
    )
    rows = [runs.row(f"{FULL}, {way}", task, some) for way, some in found.items()]
    rows.append(runs.row(f"{FULL}, {INT8}", task, [without_cost(run) for run in small]))
    flips = [
        sum(a != b for a, b in zip(one["predicted"], other["predicted"], strict=True))
        for one, other in zip(exact, small, strict=True)
    ]
    told = {
        "speed": [runs.verdict(way, found[way], RECIPE, found[RECIPE]) for way in (OURS, OURS_16)],
        "int8": gap("int8", small, "float32", exact) | {"flips": flips, "mb": found[OURS][0]["mb"]},
    }
    return rows, told


def without_cost(run: dict) -> dict:
    """Return a run without what its training cost: int8 is made of it."""
    return {key: value for key, value in run.items() if key not in ("seconds", "peak_mb", "trainable")}


def gap(first: str, a: list[dict], second: str, b: list[dict]) -> dict:
    """Return the paired comparison of two sides on test: its sentences, and the difference with its ends."""
    compared = runs.paired(a, b, names=(first, second))
    return {"verdict": compared.verdict, "difference": list(compared.difference)}


# Lessons of cost.

SLACK = 0.05  # a cost is less, or more, from such a share of the other on: the rule of notebook 11
LESS, MORE, AS_MUCH = "is less", "is more", "is as much"
UNMERGED, MERGED = "LoRA unmerged makes an answer slower", "LoRA merged answers as fast as the plain model"
TIME, MEMORY = "A step of LoRA is faster than one of all weights", "LoRA trains in less memory than all weights"
PADDING = "Filling up to a batch's longest is faster than to 512 tokens"
CLAIMS = {UNMERGED: MORE, MERGED: AS_MUCH, TIME: LESS, MEMORY: LESS, PADDING: LESS}  # of the first cost over the second
AS_GOOD = "int8 grades as well as float32"  # judged as a score is, by lessons.py


def held(claim: str, ratios: Sequence[float]) -> str:
    """Return whether a claim on a cost holds, by its ratio to another cost in each turn.

    "Is less" and "is more", by SLACK: it holds if so in every turn, and does not hold if so in none. "Is as much": it holds if every
    turn lies within SLACK of 1, and does not hold if all lie beyond on one side. In between it can't be told.
    """
    low, high, below, above = min(ratios), max(ratios), 1 - SLACK, 1 + SLACK
    holds, fails = {
        LESS: (high < below, low >= below),
        MORE: (low > above, high <= above),
        AS_MUCH: (low >= below and high <= above, low > above or high < below),
    }[claim]
    return lessons.HOLDS if holds else lessons.FAILS if fails else lessons.OPEN


def of_steps(lines: list[dict], turn: str) -> dict[str, list[float]]:
    """Return what a step of LoRA takes over one of all weights in each turn, from the lines of one size in one precision.

    `turn` is the name of the turn's number. Memory is what comes on top of the process before it had a model.
    """
    at = {(line[turn], line["method"]): line for line in lines}
    pairs = [(at[number, "LoRA"], at[number, FULL]) for number in sorted({number for number, _ in at})]
    return {
        TIME: [lora["step_ms"] / full["step_ms"] for lora, full in pairs],
        MEMORY: [(a["peak_mb"] - a["before_mb"]) / (b["peak_mb"] - b["before_mb"]) for a, b in pairs],
    }


def of_answers(lines: list[dict]) -> dict[str, list[float]]:
    """Return how long LoRA's answer takes over the plain model's in each turn, from the lines of one size."""
    kinds = {UNMERGED: "unmerged", MERGED: "merged"}
    return {says: [line[kind] / line["plain"] for line in lines] for says, kind in kinds.items()}


def here(speed: list[dict], steps: list[dict], latency: list[dict]) -> dict[str, list[float]]:
    """Return for each of CLAIMS its ratios on this base, one a turn."""
    seconds = {(line["turn"], line["way"]): line["wall_s"] for line in speed if line["threads"] == max(THREADS)}
    padding = [wall / seconds[turn, RECIPE] for (turn, way), wall in seconds.items() if way == LONGEST]
    exact = [line for line in steps if line["precision"] == "float32"]
    return of_steps(exact, "turn") | of_answers(latency) | {PADDING: padding}


def at_our_sizes() -> dict[str, list[list[float]]]:
    """Return for each of CLAIMS its ratios at each of our own sizes where it was measured."""
    found: dict[str, list[list[float]]] = {says: [] for says in CLAIMS}
    cost, practice = results.found("cost_runs"), results.found("practice_runs")
    for lines in by_size(cost.get("training", [])):
        for says, ratios in of_steps(lines, "round").items():
            found[says].append(ratios)
    for lines in by_size(cost.get("latency", [])):
        for says, ratios in of_answers(lines).items():
            found[says].append(ratios)
    padded = [line for line in practice.get("alone", []) if line["practice"] == "dynamic padding"]
    found[PADDING] = [[1 / line["times"] for line in lines] for lines in by_size(padded)]
    return found


def by_size(lines: list[dict]) -> list[list[dict]]:
    """Return lines in groups of one size, in their order."""
    groups: dict[str, list[dict]] = {}
    for line in lines:
        groups.setdefault(line["shape"], []).append(line)
    return list(groups.values())


def judged(int8: dict, **measured) -> list[dict]:
    """Return each lesson of cost: what was measured here, whether it holds, and at how many of our own sizes it does.

    Takes what int8 changed, and what was measured, as `report` writes them. Of a ratio the interval is the median of the turns, the
    smallest and the largest.
    """
    others, found = at_our_sizes(), []
    for says, ratios in here(**measured).items():
        spread = [median(ratios), min(ratios), max(ratios)]
        known = [held(CLAIMS[says], own) for own in others[says]]
        line = {"lesson": says, "claim": CLAIMS[says], "verdict": held(CLAIMS[says], ratios), "interval": spread}
        found.append(line | {"unit": "times", "over": f"{len(ratios)} turns"} | counted(known))
    ours = results.found("onnx_runs").get("int8")
    known = [as_good(ours["verdict"]["interval"])] if ours else []
    line = {"lesson": AS_GOOD, "claim": lessons.LEVEL, "verdict": as_good(int8["difference"])}
    line |= {"interval": int8["difference"], "unit": "of macro F1", "over": f"{len(int8['flips'])} seeds"}
    return [*found, line | counted(known)]


def as_good(difference: Sequence[float]) -> str:
    """Return whether two graders are level, by the interval of their difference."""
    return lessons.verdict(lessons.LEVEL, metrics.Interval(*difference))


def counted(verdicts: list[str]) -> dict:
    """Return the base that the verdict is of, and at how many of our own sizes, of how many, the lesson holds."""
    return {"base": real.BASE, "holds": verdicts.count(lessons.HOLDS), "of": len(verdicts)}


def report() -> None:
    """Measure what is timed, one thing after the other, and write the file."""
    rows, told = quality()
    latency = [
        timed("latency", turn, OF_COSTS, shape=SHAPE, repeats=10, batch=1, length=128) | {"turn": turn}
        for turn in range(TURNS)
    ]
    rates = {name: timed("rate", 0, MODULE, precision=name) for name in ("float32", "bfloat16")}
    measured = {"speed": speeds(), "steps": steps(), "latency": latency}
    results.ship(
        NAME,
        rows,
        **measured,
        matmul_tflops=rates,
        told=told,
        lessons=judged(told["int8"], **measured),
        machine=machine.facts(),
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
