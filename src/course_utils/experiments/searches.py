"""Measures what a search is worth, for notebook 14, into data_samples/results/search_runs.json: `make results-searches`.

All rows are of train: those a trial learns from, those it is chosen on, and fresh ones, patients apart. Dev and test are never
read, so a search here spoils no other comparison. Five questions: by how much the winner flatters itself (`bank`, `nested`), which
way of proposing settings gets further in the same processor seconds (`study`), which settings matter (`bank`), what a shallower base
costs and saves (`speed`, `bank`). Needs the extra `search`; and `make real` for the base that people use, without which it is left out.
"""

import math
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import peft
import torch
from sklearn.model_selection import StratifiedGroupKFold
from transformers import AutoConfig, AutoModel, AutoTokenizer

from course_utils import adapt, metrics, models, paths, results, search, training
from course_utils.search import Range

from . import prompts, runs
from .runs import Task

NAME = "search"
TINY, PEOPLES = "tiny-biobert", "all-MiniLM-L6-v2"
HEAD, FULL, LORA, PROMPT = "head alone", "full fine-tuning", "LoRA", "prompt tuning"
LABELS, DEV, EPOCHS = 200, 300, 6
SHARED = {"batch": (8, 16, 32), "decay": Range(1e-4, 1.0, log=True)}
SPACES: dict[str, dict] = {
    HEAD: search.HEAD,
    FULL: {"lr": Range(1e-5, 1e-2, log=True)} | SHARED,
    LORA: {
        "lr": Range(1e-4, 3e-2, log=True),
        "r": Range(1, 32, log=True, whole=True),
        "alpha": Range(2, 64, log=True, whole=True),
        "dropout": Range(0.0, 0.3),
        "targets": ("query", "query value", "all-linear"),
    }
    | SHARED,
    PROMPT: {
        "lr": Range(1e-3, 3.0, log=True),
        "tokens": Range(1, 50, log=True, whole=True),
        "init": ("random", "vocabulary", "text"),
        "words": ("findings", "digits"),
        "batch": (8, 16, 32),
    },
}


class Banked(NamedTuple):
    """A bank of random trials: how many, in how many tasks, on how many rows, the epochs of each, its expected seconds."""

    trials: int
    chunks: int
    pool: int
    epochs: int
    trial_s: float


BANKS = {
    (TINY, HEAD): Banked(200, 1, 3_000, 20, 0.1),
    (PEOPLES, HEAD): Banked(200, 1, 3_000, 20, 0.15),
    (TINY, FULL): Banked(100, 5, 1_200, EPOCHS, 10),
    (TINY, LORA): Banked(100, 5, 1_200, EPOCHS, 9.5),
    ("tiny-t5", PROMPT): Banked(100, 5, 1_200, 2 * EPOCHS, 12.5),
    (PEOPLES, LORA): Banked(24, 4, 840, 5, 101),
}
SEEDS = (0, 1)  # of a trial: the one with which it is chosen, and another
LOOKS = (1, 2, 5, 10, 20, 50, 100, 200)
DEVS = (100, 300)  # rows of dev that are tried
APART = 8  # dev sets without a common row that a bank must have: fewer say nothing of their spread
DRAWS = 200
SAMPLERS = ("random", "TPE", "GP", "TPE and Hyperband")
STUDIES = {(TINY, HEAD): 30, (PEOPLES, HEAD): 30, (TINY, LORA): 200}  # processor seconds of a study
STUDY_SEEDS = range(10)
STUDY_POOL = 1_200
MOMENTS = 20  # at which the best so far is drawn
NESTED, FOLDS, NESTED_LABELS, NESTED_LOOKS = 20, 5, 80, 20
RESAMPLES = 200  # of trials, for the importances


# The rows, and how a trial is trained.


@cache
def parts(pool: int) -> dict[str, pd.DataFrame]:
    """Return rows of train, patients apart: LABELS or so to learn from, "train"; DEV or so, "dev"; and the rest of `pool`, "fresh"."""
    rows = runs.frames()["train"]
    order = np.random.default_rng(0).permutation(rows["patient_id"].unique())
    ends = rows.groupby("patient_id").size()[order].cumsum()
    part = np.searchsorted([LABELS, LABELS + DEV, LABELS + pool], ends.to_numpy() - 1, side="right")
    of = dict(zip(order, part, strict=True))
    chosen = rows["patient_id"].map(of)
    return {name: rows[chosen == i].reset_index(drop=True) for i, name in enumerate(("train", "dev", "fresh"))}


def pooled(pool: int) -> pd.DataFrame:
    """Return the rows that a bank's trials grade: dev, then the fresh ones."""
    return pd.concat([parts(pool)["dev"], parts(pool)["fresh"]], ignore_index=True)


def checkpoint(base: str) -> str:
    """Return the folder of a base, ours or the one that `make real` makes."""
    return str(paths.real() / base) if base == PEOPLES else runs.checkpoint(base)


def is_there(base: str) -> bool:
    """Say whether a base can be loaded."""
    folder = (paths.real() if base == PEOPLES else paths.bases()) / base
    return (folder / "model.safetensors").is_file()


@cache
def frozen_states(base: str, pool: int) -> dict[str, np.ndarray]:
    """Return what each block of a frozen base makes of the rows of each part."""
    return {name: search.states(checkpoint(base), rows) for name, rows in parts(pool).items()}


def space(base: str, method: str) -> dict:
    """Return what may be tried; a base has as many blocks as it has."""
    if method != HEAD:
        return SPACES[method]
    return SPACES[HEAD] | {
        "depth": Range(1, AutoConfig.from_pretrained(checkpoint(base)).num_hidden_layers, whole=True)
    }


def trained(base: str, method: str, point: dict, seed: int, pool: int, epochs: int) -> Iterator[Callable]:
    """Train a trial, and yield after each epoch a function of a part's name that grades its rows."""
    way = {HEAD: _head, PROMPT: _prompt}.get(method, _tuned)
    return way(base, method, dict(point), seed, pool, epochs)


def _head(base, method, point, seed, pool, epochs):
    of, depth, how = frozen_states(base, pool), point.pop("depth"), point.pop("pool")
    x = search.vectors(of["train"], depth, how)
    for head in search.head_epochs(x, parts(pool)["train"]["grade"], **point, seed=seed, epochs=epochs):
        yield lambda name, head=head: search.answers(head, search.vectors(of[name], depth, how))


def _tuned(base, method, point, seed, pool, epochs):
    given = {key: point.pop(key) for key in ("lr", "batch", "decay")}
    grader, tokenizer = models.grader(checkpoint(base), seed=seed)
    model = adapt.prepare(grader, method, **point)
    for _ in search.tuned_epochs(model, tokenizer, parts(pool)["train"], **given, epochs=epochs, seed=seed):
        yield lambda name: training.predict(model, tokenizer, parts(pool)[name]).argmax(1)


def _prompt(base, method, point, seed, pool, epochs):
    words, rows = prompts.WORDS[point["words"]], parts(pool)["train"]
    model, tokenizer = prompts.load()
    torch.manual_seed(seed)
    model = peft.get_peft_model(model, prompts.soft_prompt(point["tokens"], point["init"]))
    said = [words[grade] for grade in rows["grade"]]
    given = {"epochs": epochs, "lr": point["lr"], "batch_size": point["batch"], "seed": seed, "bar": False}
    training.fit_answers(model, tokenizer, prompts.asked(rows), said, **given)
    yield lambda name: prompts.answers(model, tokenizer, point["words"])(parts(pool)[name])


# What is made.


def bank(base, method, chunk, trials, pool, epochs):
    """Train random points of the space with each of SEEDS, and keep what they answer on all rows of the pool."""
    points = [search.draw(space(base, method), np.random.default_rng([chunk, i])) for i in range(trials)]
    answered = []
    for point in points:
        for seed in SEEDS:
            for answer in trained(base, method, point, seed, pool, epochs):
                last = answer
            answered.append("".join(str(int(grade)) for part in ("dev", "fresh") for grade in last(part)))
    return {"points": points, "answers": answered}


def study(base, method, sampler, seed, budget_s, pool, epochs):
    """Search for so many processor seconds, the sampler's own among them, and keep when each trial ended and what it was worth.

    What a trial is worth on the fresh rows is worked out outside the clock, and nothing is chosen by it.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(
        study_name=f"{sampler}, {seed}",  # Hyperband sorts trials by it: a name drawn at random makes another study each time
        direction="maximize",
        sampler=proposing(sampler, seed),
        pruner=pruning(sampler, epochs),
    )
    tried = space(base, method)
    if method == HEAD:
        frozen_states(base, pool)  # once, before the clock starts
    told: list[dict] = []
    began, aside = time.process_time(), 0.0
    while time.process_time() - began - aside < budget_s:
        trial = made.ask()
        point = search.suggest(trial, tried)
        pruned = False
        for epoch, answer in enumerate(trained(base, method, point, seed, pool, epochs), start=1):
            if sampler != SAMPLERS[3] and epoch < epochs:
                continue
            dev = scored(answer, "dev", pool)
            trial.report(dev, epoch)
            pruned = epoch < epochs and trial.should_prune()
            if pruned:
                break
        made.tell(trial, None if pruned else dev, state=optuna.trial.TrialState.PRUNED if pruned else None)
        at, paused = time.process_time() - began - aside, time.process_time()
        told.append({"at": round(at, 2), "dev": dev, "pruned": bool(pruned), "fresh": scored(answer, "fresh", pool)})
        aside += time.process_time() - paused
    # a trial that was at work when the time was up comes too late, unless there is no other
    won = best_in(told, budget_s) or best_in(told, math.inf)
    assert won is not None
    point = made.trials[told.index(won)].params
    return {
        "trials": told,
        "point": point,
        "worth": [worth(base, method, point, 100 + i, pool, epochs) for i in range(3)],
    }


def best_in(told: list[dict], seconds: float) -> dict | None:
    """Return the trial that is best on dev of those that had ended by then and were not pruned; None before the first."""
    done = [one for one in told if one["at"] <= seconds and not one["pruned"]]
    return max(done, key=lambda one: one["dev"], default=None)


def proposing(sampler: str, seed: int):
    """Return Optuna's sampler of this name."""
    from optuna import samplers

    kinds = {"random": samplers.RandomSampler, "TPE": samplers.TPESampler, "GP": samplers.GPSampler}
    return kinds[sampler.split(" and ")[0]](seed=seed)


def pruning(sampler: str, epochs: int):
    """Return Hyperband where the sampler's name says so, else what never prunes."""
    from optuna import pruners

    if sampler != SAMPLERS[3]:
        return pruners.NopPruner()
    return pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


def scored(answer: Callable, part: str, pool: int) -> float:
    """Return macro F1 on a part, over the grades that it has."""
    truth = parts(pool)[part]["grade"]
    measure = metrics.macro_f1_of(metrics.occurring(truth))
    return float(measure(metrics.confusion(truth, answer(part))))


def worth(base, method, point, seed, pool, epochs) -> float:
    """Train settings with another seed, and return what they are worth on the fresh rows."""
    for answer in trained(base, method, point, seed, pool, epochs):
        last = answer
    return scored(last, "fresh", pool)


def nested(base, method, number, labels, looks, folds, pool):
    """Search with few labels by cross-validation, plain and nested, and keep what each says and what the winner is worth.

    Plain: the best of the settings, by the answers on the parts left out. Nested: each outer part is graded by a winner that was
    chosen without it. A row is answered once in either, and macro F1 is of all answers together.
    """
    rng = np.random.default_rng(number)
    whole, of = parts(pool), frozen_states(base, pool)
    known = pd.concat([whole["train"], whole["dev"]], ignore_index=True)
    both = np.concatenate([of["train"], of["dev"]])
    patients = rng.permutation(known["patient_id"].unique())
    chosen = np.flatnonzero(known["patient_id"].isin(patients[: labels // 2]))[:labels]
    rows, states = known.iloc[chosen].reset_index(drop=True), both[chosen]
    points = [search.draw(space(base, method), rng) for _ in range(looks)]
    said, best = crossed(points, rows, states, folds, number)
    outer = np.zeros(len(rows), int)
    for learn, held in _folds(rows, folds, number):
        inner = rows.iloc[learn].reset_index(drop=True)
        _, winner = crossed(points, inner, states[learn], folds, number)
        outer[held] = fitted(winner, states[learn], inner["grade"], states[held], number)
    grades = metrics.occurring(rows["grade"])
    given = fitted(best, states, rows["grade"], of["fresh"], number + 1_000)
    return {
        "said": said,
        "nested": float(metrics.macro_f1_of(grades)(metrics.confusion(rows["grade"], outer))),
        "worth": scored(lambda _: given, "fresh", pool),
        "rows": len(rows),
    }


def crossed(points: list[dict], rows: pd.DataFrame, states: np.ndarray, folds: int, seed: int) -> tuple[float, dict]:
    """Return the highest macro F1 by cross-validation, and the settings that have it."""
    measure = metrics.macro_f1_of(metrics.occurring(rows["grade"]))
    found = []
    for point in points:
        answer = np.zeros(len(rows), int)
        for learn, held in _folds(rows, folds, seed):
            answer[held] = fitted(point, states[learn], rows["grade"].iloc[learn], states[held], seed)
        found.append(float(measure(metrics.confusion(rows["grade"], answer))))
    return max(found), points[int(np.argmax(found))]


def _folds(rows: pd.DataFrame, folds: int, seed: int) -> list:
    """Return (rows to learn from, rows held out), patients whole."""
    way = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(way.split(rows, rows["grade"], rows["patient_id"]))


def fitted(point: dict, states: np.ndarray, grades, others: np.ndarray, seed: int) -> np.ndarray:
    """Train a head with these settings, and return its answers to other rows."""
    point = dict(point)
    depth, how = point.pop("depth"), point.pop("pool")
    for head in search.head_epochs(search.vectors(states, depth, how), grades, **point, seed=seed):
        last = head
    return search.answers(last, search.vectors(others, depth, how))


def speed(base, texts, turns):
    """Return the processor's milliseconds to read a report with the first blocks of a base alone, for each number of blocks.

    One report at a time, one thread; of several turns the shortest, for other work can only make one longer.
    """
    rows = parts(DEV + LABELS)["dev"].head(texts)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint(base))
    reports = training.tokenise(tokenizer, rows, "eye", "text", search.LENGTH)
    model = AutoModel.from_pretrained(checkpoint(base), dtype=torch.float32, use_safetensors=True).eval()
    blocks, found = list(model.encoder.layer), []
    one_by_one = [training.collate(tokenizer, reports, [i], "cpu") for i in range(len(reports))]
    for depth in range(1, len(blocks) + 1):
        model.encoder.layer = torch.nn.ModuleList(blocks[:depth])
        spent = []
        for _ in range(turns):
            began = time.process_time()
            with torch.inference_mode():
                for batch in one_by_one:
                    model(**batch)
            spent.append((time.process_time() - began) / len(one_by_one))
        found.append(round(1000 * min(spent), 3))
    return {"ms": found}


# What is run.


def banked(base, method):
    """Return the tasks of a bank."""
    sizes = BANKS[base, method]
    settings = {"trials": sizes.trials // sizes.chunks, "pool": sizes.pool, "epochs": sizes.epochs}
    expected = settings["trials"] * len(SEEDS) * sizes.trial_s + 60
    chunks = range(sizes.chunks)
    return [Task(NAME, bank, {"base": base, "method": method, "chunk": i} | settings, expected) for i in chunks]


def studied(base, method, sampler):
    """Return the tasks of a sampler's studies."""
    budget = STUDIES[base, method]
    settings = {"base": base, "method": method, "sampler": sampler, "budget_s": budget, "pool": STUDY_POOL}
    settings["epochs"] = BANKS[base, method].epochs
    expected = 1.4 * budget + 20
    return [Task(NAME, study, settings | {"seed": seed}, expected) for seed in STUDY_SEEDS]


def crossings(base):
    """Return the tasks of nested cross-validation."""
    settings = {"labels": NESTED_LABELS, "looks": NESTED_LOOKS, "folds": FOLDS, "pool": STUDY_POOL}
    named = {"base": base, "method": HEAD}
    return [Task(NAME, nested, named | {"number": number} | settings, 35) for number in range(NESTED)]


def timed(base):
    """Return the task that times a base block by block."""
    return Task(NAME, speed, {"base": base, "texts": 60, "turns": 5}, 40)


def plan():
    """Return all runs whose base is there, the shorter ones first."""
    tasks = [task for pair in BANKS for task in banked(*pair)]
    tasks += [task for base in (TINY, PEOPLES) for task in [*crossings(base), timed(base)]]
    tasks += [task for pair in STUDIES for sampler in SAMPLERS for task in studied(*pair, sampler)]
    return sorted((task for task in tasks if is_there(task.settings["base"])), key=lambda task: task.seconds)


# What is written.


def whole(base, method) -> tuple[search.Bank, list[dict]]:
    """Return a bank as it is kept, and the settings of its trials."""
    kept = runs.needed(banked(base, method))
    rows = pooled(BANKS[base, method].pool)
    every = np.array([[int(grade) for grade in one] for run in kept for one in run["answers"]])
    by_seed = every.reshape(-1, len(SEEDS), len(rows)).transpose(1, 0, 2)
    points = [point for run in kept for point in run["points"]]
    return search.Bank(rows["grade"].to_numpy(), rows["patient_id"].to_numpy(), by_seed[0], by_seed[1:]), points


def flattered(base, method) -> list[dict]:
    """Return by how much the winner flatters itself, for each size of dev and each number of looks, with each repair."""
    known, _ = whole(base, method)
    trials, rows = known.first.shape
    looks = [n for n in LOOKS if n <= trials]
    lines = []
    for dev in (dev for dev in DEVS if APART * dev <= rows):
        found = search.winners(known, dev, looks, DRAWS)
        mean = found.groupby("looks").mean()
        for way, said, worth_ in WAYS:
            for line in search.flattery(found, rows // dev, said, worth_).to_dict("records"):
                held = {"said": mean[said][line["looks"]], "worth": mean[worth_][line["looks"]]}
                lines.append({"base": base, "method": method, "dev": dev, "way": way, "trials": trials} | line | held)
    return lines


WAYS = (  # what is said of a winner, and what it is worth
    ("as it was chosen", search.DEV, search.SEEDS),
    ("as it was chosen, the same weights", search.DEV, search.ROWS),
    ("trained again, on a second dev", search.SECOND, search.SEEDS),
    ("the best of three, trained again, on a second dev", search.FINAL, search.FINAL_WORTH),
)


def seed_noise(base, method) -> float:
    """Return the deviation of what a setting is worth from seed to seed, of the better half of a bank's trials."""
    known, _ = whole(base, method)
    measure = metrics.macro_f1_of(metrics.occurring(known.truth))
    both = np.array(
        [[float(measure(metrics.confusion(known.truth, one))) for one in some] for some in (known.first, *known.again)]
    )
    better = both[:, both.mean(0) >= np.median(both.mean(0))]
    return float(np.sqrt(better.var(0, ddof=1).mean()))


def important(base, method) -> list[dict]:
    """Return the importance of each setting, with an interval over resampled trials, and how often it comes first."""
    known, points = whole(base, method)
    measure = metrics.macro_f1_of(metrics.occurring(known.truth))
    value = [float(measure(metrics.confusion(known.truth, one))) for one in known.first]
    named = {"base": base, "method": method, "trials": len(points)}
    return [
        named | line for line in search.importances(space(base, method), points, value, RESAMPLES).to_dict("records")
    ]


def best_so_far(run: dict, budget: float) -> dict:
    """Return the best on dev at MOMENTS moments of a study, and what that trial is worth on the fresh rows; None before the first."""
    moments = np.linspace(0, budget, MOMENTS + 1)[1:]
    dev: list[float | None] = []
    fresh: list[float | None] = []
    for moment in moments:
        best = best_in(run["trials"], moment)
        dev.append(best and best["dev"])
        fresh.append(best and best["fresh"])
    return {"at": moments.tolist(), "dev": dev, "fresh": fresh}


def compared(base, method) -> dict[str, Any]:
    """Return every study of a base and method with its best so far, and each sampler against random search."""
    shipped, ends = [], {}
    for sampler in SAMPLERS:
        kept = runs.needed(studied(base, method, sampler))
        ends[sampler] = [float(np.mean(run["worth"])) for run in kept]
        for run in kept:
            line = {key: run[key] for key in ("base", "method", "sampler", "seed", "budget_s", "point", "worth")}
            counts = {"trials": len(run["trials"]), "pruned": sum(one["pruned"] for one in run["trials"])}
            shipped.append(line | counts | best_so_far(run, run["budget_s"]))
    noise = seed_noise(base, method)
    against = [
        {"base": base, "method": method, "sampler": one, "seed_noise": noise}
        | search.gain(ends[one], ends["random"], noise)
        for one in SAMPLERS[1:]
    ]
    return {"studies": shipped, "against": against}


def fronts(base) -> list[dict]:
    """Return for each number of blocks the milliseconds, and what its best trial is worth: chosen on dev, by other seeds on fresh rows."""
    known, points = whole(base, HEAD)
    ms = runs.needed([timed(base)])[0]["ms"]
    dev = len(parts(BANKS[base, HEAD].pool)["dev"])
    lines = []
    for depth in sorted({point["depth"] for point in points}):
        some = [i for i, point in enumerate(points) if point["depth"] == depth]
        measure = metrics.macro_f1_of(metrics.occurring(known.truth))
        chosen = max(some, key=lambda i: float(measure(metrics.confusion(known.truth[:dev], known.first[i, :dev]))))
        truth, given, whose = known.truth[dev:], known.again[0, chosen, dev:], known.groups[dev:]
        score = metrics.interval(truth, given, measure, whose)
        right = {"k": int((truth == given).sum()), "n": len(truth)}
        lines.append({"base": base, "depth": depth, "ms": ms[depth - 1], "trials": len(some)} | score._asdict() | right)
    return lines


def nestings(base) -> dict:
    """Return what plain and nested cross-validation say too much, in points, with intervals over the draws."""
    kept = runs.needed(crossings(base))
    gaps = {way: [100 * (run[way] - run["worth"]) for run in kept] for way in ("said", "nested")}
    # draws of rows from one pool overlap: as many count as independent as the pool has sets of so many rows
    known = len(parts(STUDY_POOL)["train"]) + len(parts(STUDY_POOL)["dev"])
    means = {way: search.mean_over(gap, known // NESTED_LABELS)._asdict() for way, gap in gaps.items()}
    return {"base": base, "labels": NESTED_LABELS, "looks": NESTED_LOOKS, "draws": len(kept), "gaps": gaps} | means


def report():
    """Write the file: what there is no base for is left out, and said."""
    there = [base for base in (TINY, PEOPLES, "tiny-t5") if is_there(base)]
    if left := [base for base in (TINY, PEOPLES, "tiny-t5") if base not in there]:
        print(f"{NAME}: without {', '.join(left)}, which is not there.", flush=True)
    banks = [pair for pair in BANKS if pair[0] in there]
    told = [compared(*pair) for pair in STUDIES if pair[0] in there]
    results.ship(
        "search_runs",
        flattery=[line for pair in banks for line in flattered(*pair)],
        importances=[line for pair in banks for line in important(*pair)],
        studies=[line for one in told for line in one["studies"]],
        against=[line for one in told for line in one["against"]],
        front=[line for base in (TINY, PEOPLES) if base in there for line in fronts(base)],
        nested=[nestings(base) for base in (TINY, PEOPLES) if base in there],
        sizes={"labels": LABELS, "dev": DEV, "draws": DRAWS, "resamples": RESAMPLES},
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
