"""Measures what a hospital gains by training with others, and what it costs, for notebook 16, into results/federated_runs.json.

Three sites of unequal size, each with labels of its own. Five ways to a grader: alone, federated, federated and then at home,
pooled in one place, and a probe on the frozen base. In all but the probe a site's reports are trained on for SPENT steps, so that
pooling takes as many steps as there are sites times that. Each way has four tries with seed 0; the best has the highest mean over
the sites of macro F1 on the site's own dev rows, a number that sites can report without showing a row. A site's test rows are graded
by the model that the site would have.

On the first base besides, with three seeds: what else can be done with the updates, as the sites are and where they lack grades
(`variant`), what happens when a site is absent, late, broken or hostile (`faulty`), and what privacy costs (`private`).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from course_utils import adapt, federated, metrics, models, paths, results, session, training

from . import methods, runs
from .runs import Task

NAME = "federated_runs"
BASES = ("tiny-biobert", "tiny-plain", "tiny-biobert-two-sites")
ALONE, FEDERATED, HOME = "alone", "federated", "federated, then at home"
POOLED, PROBE = "pooled", methods.PROBE
WAYS = (ALONE, FEDERATED, HOME, POOLED, PROBE)
SKEWED = (ALONE, FEDERATED, POOLED)  # those that are also measured where sites lack grades
ROUNDS, SPENT, AT_HOME = 10, 60, 18  # rounds; a site's steps in all; those of them that HOME takes at home
TRIED = (1e-3, 3e-3, 1e-2, 3e-2)  # learning rates of every way but the probe, whose tries are those of methods.py
SEEDS, FEWER = range(5), range(3)


# The sites.


def labelled(seed: int, skew: bool = False) -> dict[str, pd.DataFrame]:
    """Return each site's labelled rows, drawn by the seed, and with the drawn skew if it is asked for."""
    without = federated.SKEW if skew else None
    return federated.draw(runs.frames()["train"], federated.LABELS, seed, without)


def fresh(base: str, seed: int):
    """Return the base with a new head and LoRA, and its tokenizer; the same for all sites."""
    model, tokenizer = models.grader(folder(base), seed=seed)
    torch.manual_seed(seed)
    return adapt.prepare(model, "LoRA", **methods.LORA), tokenizer


def folder(base: str) -> str:
    """Return the folder of one of our bases, or of a real one that `make real` makes."""
    real = paths.real() / base
    return str(real) if real.is_dir() else runs.checkpoint(base)


def together(tokenizer, rows: dict[str, pd.DataFrame]) -> list[federated.Site]:
    """Return the sites."""
    return [federated.site(name, tokenizer, some) for name, some in rows.items()]


# What is trained.


def graders(base: str, way: str, rows: dict, seed: int, lr: float, first_lr: float | None) -> Iterator[tuple]:
    """Yield (the sites that would have it, a model, its tokenizer): one model for each site, or one for all."""
    model, tokenizer = fresh(base, seed)
    each = federated.rates(lr, SPENT)
    if way == POOLED:
        whole = federated.site(POOLED, tokenizer, pd.concat(rows.values()))
        federated.train(model, tokenizer, whole, federated.rates(lr, SPENT * len(rows)), federated.of_round(seed, 0))
        yield list(rows), model, tokenizer
    elif way == FEDERATED:
        federated.average(model, tokenizer, together(tokenizer, rows), each_rate=each, rounds=ROUNDS, seed=seed)
        yield list(rows), model, tokenizer
    else:
        yield from at_each(model, tokenizer, way, together(tokenizer, rows), seed, lr, first_lr)


def at_each(model, tokenizer, way, sites, seed, lr, first_lr) -> Iterator[tuple]:
    """Yield a model for each site: trained there alone, or there after the rounds that leave AT_HOME steps for it."""
    steps, rounds = SPENT, ROUNDS
    if way == HOME:
        steps, rounds = AT_HOME, ROUNDS * (SPENT - AT_HOME) // SPENT
        first = federated.rates(first_lr, SPENT - AT_HOME)
        federated.average(model, tokenizer, sites, each_rate=first, rounds=rounds, seed=seed)
    start = federated.trained(model)
    for one in sites:
        federated.put(model, start)
        federated.train(model, tokenizer, one, federated.rates(lr, steps), federated.of_round(seed, rounds))
        yield [one.name], model, tokenizer


def one(base: str, method: str, seed: int, lr: float, first_lr: float | None = None, skew: bool = False) -> dict:
    """Train in one of the ways and grade each site's rows with the model that it would have."""
    rows = labelled(seed, skew)
    return judged(graders(base, method, rows, seed, lr, first_lr), rows)


def judged(models_of_sites: Iterator[tuple], rows: dict[str, pd.DataFrame], one_each: bool = False) -> dict:
    """Return a run: dev and test macro F1 over the sites, test grades, what was sent, and how well losses tell members.

    Members are told from the test rows of their own site: from one row a patient, if their rows are so.
    """
    dev, test = runs.frames()["dev"], runs.frames()["test"]
    said, known, others, groups = np.zeros(len(test), int), [], [], [[], []]
    score, size = {}, {}
    for names, model, tokenizer in models_of_sites:
        weights = federated.trained(model)
        size = {"trainable": models.count_parameters(model)[0], "saved_kb": round(federated.file_size(weights) / 1000)}
        for name in names:
            own = dev[dev["site"] == name]
            score[name] = macro_f1(own, training.predict(model, tokenizer, own).argmax(1))
            where = (test["site"] == name).to_numpy()
            chances = training.predict(model, tokenizer, test[where])
            said[where] = chances.argmax(1)
            counts = ~test[where].duplicated("patient_id").to_numpy() if one_each else np.ones(len(chances), bool)
            lost = -np.log(np.maximum(chances[np.arange(len(chances)), test["grade"][where]], 1e-12))
            others.append(lost[counts])
            known.append(federated.losses(model, tokenizer, rows[name]))
            for side, some in zip(groups, (rows[name], test[where][counts]), strict=True):
                side += [(patient, name) for patient in some["patient_id"]]
    patients, sites = zip(*groups[0], *groups[1], strict=True)
    member = federated.membership(np.concatenate(known), np.concatenate(others), patients, sites)
    found = {"dev": float(np.mean(list(score.values()))), "macro_f1": macro_f1(test, said)}
    return size | found | {"sites": score, "member": list(member), "predicted": said.tolist()}


def macro_f1(rows: pd.DataFrame, given) -> float:
    """Return macro F1."""
    return float(metrics.macro_f1(metrics.confusion(rows["grade"], given)))


def probe(base: str, method: str, seed: int, pool: str, strength: float) -> dict:
    """Fit a probe on the frozen base's vectors at each site, on its own labels, and grade its rows."""
    dev, test = runs.frames()["dev"], runs.frames()["test"]
    said, score, size = np.zeros(len(test), int), [], 0
    for name, rows in labelled(seed).items():
        answer, size = methods.probed(folder(base), rows, pool, strength)
        own, where = dev[dev["site"] == name], (test["site"] == name).to_numpy()
        score.append(macro_f1(own, answer(own)))
        said[where] = answer(test[where])
    found = {"dev": float(np.mean(score)), "macro_f1": macro_f1(test, said)}
    return {"trainable": size} | found | {"predicted": [int(grade) for grade in said]}


# What is made of the updates, as the sites are and where they lack grades.


class Variant(NamedTuple):
    """The settings that are tried, by the name of the one that varies, and how `federated.average` is told."""

    varied: str
    tried: tuple[float, ...]
    told: Callable[[float], dict]


PLAIN, FROZEN = "FedAvg", "FedAvg, A frozen"  # PLAIN is FEDERATED, as the variants' reference
VARIANTS = {
    FROZEN: Variant("lr", TRIED, lambda _: {}),
    "mean of the products": Variant("lr", TRIED, lambda _: {"combine": federated.mean_of_products}),
    "FedProx": Variant("mu", (1e-3, 1e-2, 1e-1, 1.0), lambda mu: {"proximal": mu}),
    "Adam on the server": Variant(
        "server_lr", (1e-3, 3e-3, 1e-2, 3e-2), lambda lr: {"combine": federated.AdamServer(lr)}
    ),
}


def variant(
    base: str, method: str, seed: int, lr: float, mu: float = 0.0, server_lr: float = 0.0, skew: bool = False
) -> dict:
    """Train with another mean, another loss or another server, and grade."""
    rows = labelled(seed, skew)
    model, tokenizer = fresh(base, seed)
    if method == FROZEN:
        federated.freeze_first(model)
    told = VARIANTS[method].told(mu or server_lr)
    each = federated.rates(lr, SPENT)
    federated.average(model, tokenizer, together(tokenizer, rows), each_rate=each, rounds=ROUNDS, seed=seed, **told)
    return judged(iter([(list(rows), model, tokenizer)]), rows)


# What goes wrong.

AWAY, LIAR = "delta", "harbour"  # the site that is absent or late, and the one that is broken or hostile
COMBINES = {"mean": federated.mean, "median": federated.median}  # of three sites the trimmed mean is the median
FAULTS: dict[str, Callable[[], federated.Between]] = {
    "nothing": lambda: federated.everything_arrives,
    f"{AWAY} absent in the second half": lambda: federated.absent(AWAY, range(ROUNDS // 2, ROUNDS)),
    f"{AWAY} a round late": lambda: federated.late(AWAY),
    f"{LIAR} sends noise": lambda: federated.spoilt(LIAR, federated.noise(10.0)),
    f"{LIAR} sends the negative": lambda: federated.spoilt(LIAR, federated.negative),
}


def faulty(base: str, fault: str, combine: str, seed: int, lr: float) -> dict:
    """Train with a fault and one of the means, and grade."""
    rows = labelled(seed)
    model, tokenizer = fresh(base, seed)
    federated.average(
        model,
        tokenizer,
        together(tokenizer, rows),
        each_rate=federated.rates(lr, SPENT),
        rounds=ROUNDS,
        seed=seed,
        between=FAULTS[fault](),
        combine=COMBINES[combine],
    )
    return judged(iter([(list(rows), model, tokenizer)]), rows)


# What privacy costs.

PATIENTS, PRIVATE_STEPS, CLIP = (
    1_024,
    120,
    0.5,
)  # of each site, one row a patient; a site's steps; the length of a gradient
EPSILONS = ("none", "clipped", "8", "3", "1")  # no protection; clipped without noise; and what is promised
PRIVATE_TRIED = (1e-3, 3e-3, 1e-2)


def private(base: str, epsilon: str, seed: int, lr: float) -> dict:
    """Train with DP-SGD at every site, one row a patient, and grade; "none" is the same without clipping and noise."""
    train = runs.frames()["train"].drop_duplicates("patient_id")
    rows = federated.draw(train, dict.fromkeys(federated.LABELS, PATIENTS), seed)
    model, tokenizer = fresh(base, seed)
    noise = (
        0.0
        if epsilon in ("none", "clipped")
        else federated.noise_for(float(epsilon), federated.BATCH / PATIENTS, PRIVATE_STEPS)
    )
    how = {} if epsilon == "none" else {"at_site": federated.privately(noise, CLIP)}
    each = federated.rates(lr, PRIVATE_STEPS)
    federated.average(model, tokenizer, together(tokenizer, rows), each_rate=each, rounds=ROUNDS, seed=seed, **how)
    return {"noise": noise} | judged(iter([(list(rows), model, tokenizer)]), rows, one_each=True)


# What is run.

# Expected milliseconds on one core of training on a report and of reading one; a private step works out a gradient for each report,
# and its reports are not of like length.
MS, READ_MS, PRIVATE_MS = 6, 2, 10


def expected(steps: int, ms: float = MS, read_ms: float = READ_MS) -> float:
    """Return the expected seconds of a run in which each site takes so many steps, and dev, test and what it learnt are read."""
    read = len(runs.frames()["dev"]) + len(runs.frames()["test"]) + sum(federated.LABELS.values())
    return runs.START_S + (len(federated.LABELS) * steps * federated.BATCH * ms + read * read_ms) / 1000


def task(base: str, way: str, seed: int, setting: dict, skew: bool = False) -> Task:
    """Return a run of one of the ways as a task; HOME waits for the learning rate of FEDERATED."""
    named = {"base": base, "method": way, "seed": seed} | setting
    if way == PROBE:
        return Task(NAME, probe, named, expected(0))
    first = {"first_lr": recipe(base, FEDERATED)["lr"]} if way == HOME else {}
    return Task(NAME, one, named | first | ({"skew": True} if skew else {}), expected(SPENT))


def settings(way: str) -> tuple[dict, ...]:
    """Return the four settings that are tried of one of the ways."""
    return methods.METHODS[PROBE].tried if way == PROBE else methods.rates(*TRIED)


def tries(base: str, way: str, skew: bool = False) -> list[Task]:
    """Return the runs among which a way's setting is chosen."""
    return [task(base, way, 0, setting, skew) for setting in settings(way)]


def recipe(base: str, way: str, skew: bool = False) -> dict:
    """Return a way's setting, the best of its tries; its values are None until all tries are there."""
    return best_of(tries(base, way, skew), settings(way)[0])


def best_of(tried: list[Task], keys) -> dict:
    """Return the setting with the best dev score, or None for each key until all tries are there."""
    found = runs.all_found(tried)
    return {key: runs.best(found)[key] if found else None for key in keys}


def tested(base: str, way: str, skew: bool = False) -> list[Task]:
    """Return a way's runs with its setting, one a seed."""
    seeds = FEWER if skew else SEEDS
    return [task(base, way, seed, recipe(base, way, skew), skew) for seed in seeds]


def variant_tries(base: str, method: str, skew: bool) -> list[Task]:
    """Return the runs among which a variant's setting is chosen. All but the learning rate is tried at that of PLAIN."""
    how = VARIANTS[method]
    fixed = {} if how.varied == "lr" else recipe(base, FEDERATED, skew)
    return [variant_task(base, method, 0, {how.varied: value} | fixed, skew) for value in how.tried]


def variant_task(base: str, method: str, seed: int, setting: dict, skew: bool) -> Task:
    """Return a run of a variant as a task."""
    named = {"base": base, "method": method, "seed": seed} | setting | ({"skew": True} if skew else {})
    return Task(NAME, variant, named, expected(SPENT))


def variant_tested(base: str, method: str, skew: bool) -> list[Task]:
    """Return a variant's runs with its setting, one a seed."""
    tried = variant_tries(base, method, skew)
    keys = [key for key in tried[0].settings if key not in ("base", "method", "seed", "skew")]
    return [variant_task(base, method, seed, best_of(tried, keys), skew) for seed in FEWER]


def fault_tasks(base: str) -> dict[tuple[str, str], list[Task]]:
    """Return the runs of each fault under each mean that is asked about: an honest site's faults under the mean alone."""
    pairs = [(fault, combine) for fault in FAULTS for combine in COMBINES if AWAY not in fault or combine == "mean"]
    lr = recipe(base, FEDERATED)["lr"]
    named = [{"base": base, "fault": fault, "combine": combine} for fault, combine in pairs]
    return {
        pair: [Task(NAME, faulty, some | {"seed": seed, "lr": lr}, expected(SPENT)) for seed in FEWER]
        for pair, some in zip(pairs, named, strict=True)
    }


def private_task(base: str, epsilon: str, seed: int, lr: float | None) -> Task:
    """Return a private run as a task."""
    named = {"base": base, "epsilon": epsilon, "seed": seed, "lr": lr}
    return Task(NAME, private, named, expected(PRIVATE_STEPS, MS if epsilon == "none" else PRIVATE_MS))


def private_tested(base: str, epsilon: str) -> list[Task]:
    """Return the runs at an epsilon with its learning rate, one a seed."""
    lr = best_of(private_tries(base, epsilon), ["lr"])["lr"]
    return [private_task(base, epsilon, seed, lr) for seed in FEWER]


def private_tries(base: str, epsilon: str) -> list[Task]:
    """Return the runs among which the learning rate at an epsilon is chosen.

    The choice reads dev rows and is not covered by epsilon: the dev rows are other patients'.
    """
    return [private_task(base, epsilon, 0, lr) for lr in PRIVATE_TRIED]


def of_ways(bases: list[str]) -> list[Task]:
    """Return the runs of the five ways on some bases."""
    tried = [one for base in bases for way in WAYS for one in tries(base, way)]
    return tried + [one for base in bases for way in WAYS for one in tested(base, way)]


def plan() -> list[Task]:
    """Return all runs. Those of privacy are left out where opacus is not there; `report` says so."""
    bases = runs.present(BASES)
    listed = of_ways(bases)
    for base in bases[:1]:
        listed += [one for way in SKEWED for one in tries(base, way, skew=True) + tested(base, way, skew=True)]
        for skew in (False, True):
            listed += [one for name in VARIANTS for one in variant_tries(base, name, skew)]
            listed += [one for name in VARIANTS for one in variant_tested(base, name, skew)]
        listed += [task for some in fault_tasks(base).values() for task in some]
        if federated.has_privacy():
            listed += [task for name in EPSILONS for task in private_tries(base, name) + private_tested(base, name)]
    return listed


# What is written.


def places() -> dict[str, np.ndarray]:
    """Return which test rows are of each site, and of all."""
    where = runs.frames()["test"]["site"].to_numpy()
    return {name: where == name for name in federated.LABELS} | {"all sites": np.ones(len(where), bool)}


def of(base: str, tasks: list[Task]) -> list[dict]:
    """Return runs as they are kept, with the base that they stand beside."""
    return [run | {"base": base} for run in runs.needed(tasks)]


PAIRS = (
    (FEDERATED, ALONE),
    (HOME, ALONE),
    (HOME, FEDERATED),
    (POOLED, FEDERATED),
    (FEDERATED, PROBE),
    (HOME, PROBE),
    (ALONE, PROBE),
)


def verdicts(done: dict[str, list[dict]], pairs, base: str) -> list[dict]:
    """Return the paired comparisons at each site: sentences, and the difference with its ends as numbers."""
    told = []
    for place, where in places().items():
        for a, b in pairs:
            gap = runs.paired(done[a], done[b], where, names=(a, b))
            said = {"first": a, "second": b, "verdict": gap.verdict, "difference": str(gap.difference)}
            told.append({"base": base, "site": place} | said | {"gap": list(gap.difference)})
    return told


def rows_of(done: dict[str, list[dict]], what: str = "") -> list[dict]:
    """Return a row of the results table for each way and site."""
    return [
        runs.row(name, f"DR grade, test, {place}{what}", some, where)
        for place, where in places().items()
        for name, some in done.items()
    ]


def by_way(bases: list[str]) -> dict:
    """Return what is written of the five ways: rows, verdicts, runs and recipes."""
    found: dict[str, list] = {"rows": [], "verdicts": [], "tried": [], "tested": [], "recipes": []}
    for base in bases:
        done = {way: of(base, tested(base, way)) for way in WAYS}
        found["rows"] += rows_of(done)
        found["verdicts"] += verdicts(done, PAIRS, base)
        for way, some in done.items():
            found["tested"] += [run for run in runs.without_predictions(some)]
            tried = of(base, tries(base, way))
            found["tried"] += [run for run in runs.without_predictions(tried)]
            grid = sorted({run.get("lr", run.get("strength")) for run in tried})
            chosen = recipe(base, way)
            at_an_end = chosen.get("lr", chosen.get("strength")) in (grid[0], grid[-1])
            found["recipes"].append({"base": base, "method": way, "chosen": chosen, "at_an_end": at_an_end})
    return found


def of_variants(base: str, skew: bool) -> dict:
    """Return what is written of the variants: each with its verdict against plain FedAvg, site by site.

    Where sites lack grades, so is what training alone and pooling come to there.
    """
    done = {PLAIN: of(base, tested(base, FEDERATED, skew)[: len(FEWER)])}
    done |= {name: of(base, variant_tested(base, name, skew)) for name in VARIANTS}
    if skew:
        done |= {f"{way}, skewed": of(base, tested(base, way, skew)) for way in SKEWED if way != FEDERATED}
    pairs = [(name, PLAIN) for name in done if name != PLAIN]
    some = {name: runs.without_predictions(made) for name, made in done.items()}
    # without a skew the rows would stand beside those of the five ways, and be of fewer seeds
    rows = rows_of(done, ", drawn skew") if skew else []
    return {"rows": rows, "verdicts": verdicts(done, pairs, base), "tested": some}


def of_faults(base: str) -> list[dict]:
    """Return the score with each fault under each mean, and how far it is from nothing going wrong under the mean."""
    done = {pair: of(base, tasks) for pair, tasks in fault_tasks(base).items()}
    quiet = done["nothing", "mean"]
    everyone = places()["all sites"]
    lines = []
    for (fault, combine), some in done.items():
        row = runs.row(combine, fault, some, everyone)
        gap = runs.paired(some, quiet, everyone, names=("with it", "without it"))
        score = [row["value"], row["low"], row["high"]]
        lines.append({"fault": fault, "combine": combine, "macro_f1": score, "gap": list(gap.difference)})
    return lines


def of_privacy(base: str) -> list[dict]:
    """Return, for each epsilon: the noise, the score, how far it is from no protection, and the membership test."""
    done = {name: of(base, private_tested(base, name)) for name in EPSILONS}
    everyone = places()["all sites"]
    lines = []
    for name, some in done.items():
        row = runs.row(name, "private", some, everyone)
        gap = runs.paired(some, done["none"], everyone, names=("with it", "without it"))
        lines.append(
            {
                "epsilon": name,
                "noise": some[0]["noise"],
                "lr": some[0]["lr"],
                "macro_f1": [row["value"], row["low"], row["high"]],
                "gap": list(gap.difference),
                "member": [run["member"] for run in some],
            }
        )
    return lines


def gradient_gap(base: str, reports: int = 4) -> float:
    """Return how far a report's own gradient, as opacus has it, lies at most from autograd's, for a few reports."""
    model, tokenizer = fresh(base, 0)
    at = federated.site("", tokenizer, runs.frames()["train"].head(reports))
    return federated.gradient_gap(model, tokenizer, at)


def overhead(base: str, turns: int = 3) -> float:
    """Return the processor seconds of a round at all sites, over those of the same steps without rounds: the median of turns."""
    model, tokenizer = fresh(base, 0)
    sites, each = together(tokenizer, labelled(0)), federated.rates(1e-3, SPENT // ROUNDS)
    start, ratios = federated.trained(model), []
    for _ in range(turns):
        federated.put(model, start)
        began = session.cpu_seconds()
        for one in sites:
            federated.train(model, tokenizer, one, each, federated.of_round(0, 0))
        plain = session.cpu_seconds() - began
        federated.put(model, start)
        federated.average(model, tokenizer, sites, each_rate=each, rounds=1)
        ratios.append((session.cpu_seconds() - began - plain) / plain)
    return float(np.median(ratios))


def accounts(base: str) -> dict:
    """Return what the accountant says of noise of a tenth, and of three clients that are protected as wholes."""
    rate = federated.BATCH / PATIENTS
    return {
        "gradient_gap": gradient_gap(base),
        "patients": PATIENTS,
        "steps": PRIVATE_STEPS,
        "rate": rate,
        "delta": federated.DELTA,
        "clip": CLIP,
        "epsilon_of_a_tenth": federated.epsilon(0.1, rate, PRIVATE_STEPS),
        # a whole site is protected if its update is clipped and the sum of the three is noisy, in each of the rounds
        "client_noise": {name: federated.noise_for(float(name), 1.0, ROUNDS) for name in ("8", "3", "1")},
    }


def report() -> None:
    """Write the file. Where opacus is not there, what a file that ships says of privacy stays."""
    if runs.lacking(NAME, BASES[:1]):
        return
    base = BASES[0]
    found = by_way(runs.present(BASES))
    content = {"variants": of_variants(base, skew=False), "skew": of_variants(base, skew=True)}
    found["rows"] += [row for part in content.values() for row in part.pop("rows")]
    content["faults"] = of_faults(base)
    if federated.has_privacy():
        content |= {"privacy": of_privacy(base), "accounts": accounts(base)}
    else:
        print(f"{NAME}: privacy is not measured, for opacus is not installed. `make results-federated` installs it.")
        before = paths.read_json(paths.shipped_results() / f"{NAME}.json")
        content |= {key: before[key] for key in ("privacy", "accounts") if key in before}
    budget = {
        "rounds": ROUNDS,
        "steps": SPENT,
        "at_home": AT_HOME,
        "labels": federated.LABELS,
        "batch": federated.BATCH,
    }
    content["overhead"] = overhead(base)
    results.ship(NAME, found.pop("rows"), budget=budget, **found, **content)


if __name__ == "__main__":
    runs.main(__spec__.name)
