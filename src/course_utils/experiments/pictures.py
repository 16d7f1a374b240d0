"""Measures what pictures add to reports, and which models look at them, for notebook 17: `make results-pictures`.

Into results/picture_runs.json. Each run has its own patients for the tower, its own tower and its own projections; all is judged on
the test rows of the first camera. The text towers are tiny-biobert and, where `make real` has installed it, all-MiniLM-L6-v2.

Each text tower has tries of its own: four rates for each way to match, judged on dev by how many pictures find their own report
first; four strengths for each probe, judged on dev by macro F1. A run chooses by itself, and test decides nothing. How long is
trained, and the image tower's rate, are the notebook's, which were tried on dev, trained longer. The new camera is judged with the
strength that was chosen on the first.
"""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from course_utils import metrics, models, paths, pictures, results, training
from course_utils.pictures import Pairs

from . import runs
from .methods import NO_BASE
from .runs import Task

NAME = "picture_runs"
POOL = {"tiny-biobert": "first", "all-MiniLM-L6-v2": "mean"}  # the text towers, and which vector of theirs is taken
WITHOUT_TEXT = (
    "colours",
    "file size",
    "network from scratch",
    "picture alone",
)  # graders that are the same beside each text tower
SEEDS = range(5)
NEW_SITE, NEW_CAMERA = "delta", "two"
TAUGHT = 0.65  # of the patients: their pictures teach the tower
EPOCHS, PROJECT_EPOCHS = 12, 30
RATES = (1e-3, 3e-3, 1e-2, 3e-2)  # tried for projections
LORA_RATES = (3e-4, 1e-3, 3e-3, 1e-2)  # tried for the epoch more, with LoRA or with frozen towers
STRENGTHS = (0.003, 0.03, 0.3, 3.0)  # tried for probes: a smaller number holds the weights tighter
REPAIR = 100  # labels of the new camera
PLANTED, ALARMS = 0.1, 0.05  # pictures that are swapped; right pairs that are flagged
GALLERY = 100
LENGTH = 192  # tokens of a report, as everywhere in training.py
TIMED = 500  # pictures that are drawn again, to time it
# Expected milliseconds on one core of a fast machine: of drawing a picture and of training on it; of reading a report, and of training
# LoRA on one, by each text tower.
DRAW_MS, STEP_MS = 2, 4
READ_MS, LORA_MS = {"tiny-biobert": 3, "all-MiniLM-L6-v2": 15}, {"tiny-biobert": 9, "all-MiniLM-L6-v2": 60}
FIRST, LORA, LONGER = "two towers", "LoRA on the text tower", "frozen towers, the same epoch more"
PREFERRED = (FIRST, "mirrored as augmentation", "shuffled pairs")  # ways to match of which it is asked what they prefer
# What a grade is called, and the findings that make it: the words of the notebook, held to them by a test.
PROMPTS = {
    "names of the grades": (
        "No diabetic retinopathy.",
        "Mild NPDR.",
        "Moderate NPDR.",
        "Severe NPDR.",
        "Proliferative retinopathy.",
    ),
    "findings in words": (
        "No haemorrhages, no microaneurysms, no new vessels. The macula is flat.",
        "Microaneurysms superotemporally. No haemorrhages, no new vessels.",
        "Microaneurysms and retinal haemorrhages in two quadrants. Hard exudates. No new vessels.",
        "Haemorrhages in all four quadrants. Venous beading in two quadrants. IRMA in one quadrant. No new vessels.",
        "New vessels of the disc and elsewhere. Preretinal haemorrhage. Panretinal laser scars.",
    ),
}


class Parts(NamedTuple):
    """What a run stands on: pictures that teach the tower, pairs to learn from, dev pairs to choose on, the test pairs by either camera."""

    school: Pairs
    pairs: Pairs
    dev: Pairs
    held: Pairs
    by_new_camera: Pairs


class Matcher(NamedTuple):
    """Two towers that match: their projections, what makes vectors of reports for them, and the loss of each step of training."""

    both: pictures.Projections
    read: Callable
    losses: list[float]


@cache
def parts(seed: int) -> Parts:
    """Return a run's patients, drawn by the seed, with their pictures; dev and test are the same for all."""
    known = {name: pictures.facts(runs.frames()[name]) for name in ("train", "dev", "test")}
    train, dev, test = (rows[rows["site"] != NEW_SITE] for rows in known.values())
    patients = train["patient_id"].drop_duplicates().sample(frac=1, random_state=seed)
    of_school = train["patient_id"].isin(patients.head(int(TAUGHT * len(patients))))
    return Parts(
        pictures.drawn(train[of_school]),
        pictures.drawn(train[~of_school]),
        pictures.drawn(dev),
        pictures.drawn(test),
        pictures.drawn(test, camera=NEW_CAMERA),
    )


def checkpoint(base: str) -> str:
    """Return the folder of a text tower, ours or one that `make real` makes."""
    return runs.checkpoint(base) if base in models.HUB else str(paths.real() / base)


def present() -> list[str]:
    """Return the text towers that are there."""
    real = [name for name in POOL if (paths.real() / name / "model.safetensors").is_file()]
    return [name for name in POOL if name in [*runs.present(models.HUB), *real]]


def watcher(some: Parts, seed: int) -> tuple[Callable, float]:
    """Teach a tower what is drawn in the school's pictures.

    Returns what makes vectors of pictures, and remembers them; and the share of the time that went into making batches.
    """
    net = pictures.tower(seed)
    _, went = pictures.teach(net, some.school.pixels, pictures.taught(some.school.rows), epochs=EPOCHS, seed=seed)
    return pictures.once(lambda pixels: pictures.vectors(net, np.stack(pixels))), went.fed


def reader(base: str) -> Callable:
    """Return what makes vectors of reports, (eye, text) each, by a text tower as it is, and remembers them."""
    return reading(*models.grader(checkpoint(base), seed=0), POOL[base])


def reading(model, tokenizer, pool: str) -> Callable:
    """Return what makes vectors of reports, (eye, text) each, and remembers them."""

    def read(reports):
        rows = {"eye": [eye for eye, _ in reports], "text": [text for _, text in reports]}
        return training.features(model, tokenizer, rows, pool=pool)

    return pictures.once(read)


def chosen(tries: Sequence[float], make: Callable, judge: Callable) -> tuple[float, Any]:
    """Return the try of which the most is made by what `judge` says of it, the first of equals, and what was made of it."""
    return max(((one, make(one)) for one in tries), key=lambda pair: judge(pair[1]))


def one(base: str, seed: int) -> dict:
    """Train the towers and the graders of a seed, and return what they answer on test: as they are, and under each control."""
    some = parts(seed)
    see, fed = watcher(some, seed)
    read = reader(base)
    ways = matchers(base, see, read, some, seed)
    found = graded(see, read, ways[FIRST][1].both, some, seed)
    found["chosen"] |= {name: rate for name, (rate, _) in ways.items()}
    found |= matched({name: way for name, (_, way) in ways.items()}, see, some, seed)
    return found | {"fed": fed, "draw_ms": draw_ms(some)}


def draw_ms(some: Parts) -> float:
    """Return the processor's milliseconds for drawing a picture."""
    rows = some.pairs.rows.head(TIMED)
    began = time.process_time()
    pictures.drawn(rows)
    return 1000 * (time.process_time() - began) / len(rows)


# Graders.


def graded(see: Callable, read: Callable, both: pictures.Projections, some: Parts, seed: int) -> dict:
    """Return the grades, as digits: {grader: {control: digits}}, those of the picture's grader on the new camera, and the strengths."""
    pairs, held = some.pairs, some.held
    vectors_of = {
        "colours": lambda of: pictures.colours(of.pixels),
        "file size": lambda of: pictures.file_sizes(of.pixels),
        "picture alone": lambda of: see(of.pixels),
        "report alone": lambda of: read(of.reports),
        "both": lambda of: np.hstack([see(of.pixels), read(of.reports)]),
    }
    probes = {name: probed(vectors, pairs, some.dev) for name, vectors in vectors_of.items()}
    graders: dict[str, Callable] = {
        name: partial(by_probe, vectors_of[name], probe) for name, (_, probe) in probes.items()
    }
    small = pictures.tower(seed + 100)
    head, _ = pictures.teach(small, pairs.pixels, torch.tensor(pairs.grades), epochs=EPOCHS, seed=seed)
    graders["network from scratch"] = partial(by_network, small, head)
    for name, words in PROMPTS.items():
        graders[name] = partial(by_prompts, both, see, read, words)
    answers = {name: under_controls(grade, held, seed) for name, grade in graders.items()}
    stated = pictures.stating(held, held.grades)
    answers["both, the grade is stated"] = under_controls(pictures.believer(see, pairs), stated, seed)
    strengths = {name: strength for name, (strength, _) in probes.items()}
    return {"answers": answers, "camera": on_new_camera(see, some, *probes["picture alone"], seed), "chosen": strengths}


def probed(vectors_of: Callable, pairs: Pairs, dev: Pairs) -> tuple[float, Any]:
    """Return the strength that was chosen on dev, and the probe that was fitted on pairs with it."""
    x, of_dev = vectors_of(pairs), vectors_of(dev)
    return chosen(
        STRENGTHS,
        lambda strength: pictures.probe(x, pairs.grades, strength),
        lambda made: metrics.macro_f1(metrics.confusion(dev.grades, made.predict(of_dev))),
    )


def by_probe(vectors_of: Callable, probe, of: Pairs) -> np.ndarray:
    """Return a probe's grades of pairs."""
    return probe.predict(vectors_of(of))


def by_network(net: pictures.Tower, head: nn.Module, of: Pairs) -> np.ndarray:
    """Return the grades of a network's head."""
    return head(torch.tensor(pictures.vectors(net, of.pixels))).argmax(1).numpy()


def by_prompts(
    both: pictures.Projections, see: Callable, read: Callable, words: Sequence[str], of: Pairs
) -> np.ndarray:
    """Return for each picture the grade whose words lie nearest; the words are read for the eye that is asked about."""
    answers = np.empty(len(of), int)
    for eye in sorted(set(of.rows["eye"])):
        rows = np.flatnonzero(of.rows["eye"] == eye)
        seen, said = pictures.projected(both, see(of.pixels[rows]), read([(eye, text) for text in words]))
        answers[rows] = (seen @ said.T).argmax(1)
    return answers


def channels_swapped(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with red and blue swapped in each picture, as one library's files are to another."""
    return replace(pairs, pixels=np.ascontiguousarray(pairs.pixels[..., ::-1]))


CONTROLS = pictures.CONTROLS | {"red and blue swapped": channels_swapped}


def under_controls(grade: Callable, of: Pairs, seed: int) -> dict[str, str]:
    """Return what a grader answers, as it is and under each control, as digits."""
    controls = {"as they are": lambda pairs, _: pairs} | CONTROLS
    return {name: digits(grade(control(of, seed))) for name, control in controls.items()}


def on_new_camera(see: Callable, some: Parts, strength: float, of_picture, seed: int) -> dict[str, str]:
    """Return what the picture's grader answers on the new camera's pictures of the same eyes: as it is, and repaired."""
    rows = some.pairs.rows.sample(REPAIR, random_state=seed)
    few, new = pictures.drawn(rows, camera=NEW_CAMERA), some.by_new_camera
    x = np.vstack([see(some.pairs.pixels), see(few.pixels)])
    more = pictures.probe(x, np.concatenate([some.pairs.grades, few.grades]), strength)
    alone = pictures.probe(see(few.pixels), few.grades, strength)
    recoloured = pictures.recoloured(new.pixels, few.pixels, some.pairs.pixels)
    return {
        "as it is": digits(of_picture.predict(see(new.pixels))),
        "colours matched": digits(of_picture.predict(see(recoloured))),
        "a hundred labels more": digits(more.predict(see(new.pixels))),
        "a hundred labels alone": digits(alone.predict(see(new.pixels))),
    }


def digits(grades) -> str:
    """Return grades as one string."""
    return "".join(str(int(grade)) for grade in grades)


# Ways to match.


def one_way(seen: torch.Tensor, said: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the contrastive loss in one direction: each picture must find its report."""
    return F.cross_entropy(scale.exp() * seen @ said.T, torch.arange(len(seen)))


def frozen_scale(seen: torch.Tensor, said: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the contrastive loss with the temperature as it was at the start."""
    return pictures.contrastive(seen, said, scale.detach())


def matchers(base: str, see: Callable, read: Callable, some: Parts, seed: int) -> dict[str, tuple[float, Matcher]]:
    """Return each way to match: {its name: (the rate that was chosen on dev, the Matcher)}."""
    pairs = some.pairs
    seen, said, random = see(pairs.pixels), read(pairs.reports), np.random.default_rng(seed)
    mirrored = np.vstack([seen, see(pictures.wrong_side(pairs).pixels)])
    few = {"batch_size": 16, "epochs": max(1, round(PROJECT_EPOCHS * 16 / 128))}
    alike = {"kinds": pd.factorize(pairs.rows["facts"] + pairs.rows["eye"])[0]}  # the same drawn on the same side
    ways: dict[str, tuple[np.ndarray, np.ndarray, dict]] = {
        FIRST: (seen, said, {}),
        "mirrored as augmentation": (mirrored, np.vstack([said, said]), {}),
        "shuffled pairs": (seen, said[random.permutation(len(said))], {}),
        "one direction": (seen, said, {"loss": one_way}),
        "temperature frozen": (seen, said, {"loss": frozen_scale}),
        "batches of 16, about as many steps": (seen, said, few),
        "false negatives left out": (seen, said, alike),
    }

    def judge(made: Matcher) -> float:
        return own_first(made, see, some.dev).mean()

    done = {name: chosen(RATES, partial(projected, a, b, read, seed, how), judge) for name, (a, b, how) in ways.items()}
    start = done[FIRST][1]
    done[LORA] = chosen(LORA_RATES, partial(adapted, base, start, seen, pairs, seed), judge)
    done[LONGER] = chosen(LORA_RATES, partial(longer, start, seen, said, seed), judge)
    return done


def projected(a: np.ndarray, b: np.ndarray, read: Callable, seed: int, how: dict, lr: float) -> Matcher:
    """Train projections on the vectors of frozen towers; `how` goes to `pictures.project`."""
    both, went = pictures.project(a, b, lr=lr, seed=seed, **{"epochs": PROJECT_EPOCHS} | how)
    return Matcher(both, read, went.losses)


def adapted(base: str, start: Matcher, seen: np.ndarray, pairs: Pairs, seed: int, lr: float) -> Matcher:
    """Train LoRA on the queries and values of the text tower for an epoch, with projections that go on from where they are.

    The image tower stays as it is, so its vectors are given. Nothing is dropped out.
    """
    grader, tokenizer = models.grader(checkpoint(base), seed=0)
    torch.manual_seed(seed)
    model = get_peft_model(grader, LoraConfig(r=8, target_modules=["query", "value"])).eval()
    text, both, see = model.get_base_model().base_model, deepcopy(start.both), torch.tensor(seen)
    tokens = training.tokenise(tokenizer, pairs.rows, "eye", "text", LENGTH)

    def loss_of(rows: np.ndarray) -> torch.Tensor:
        batch = training.collate(tokenizer, tokens, rows, "cpu")
        states, real = text(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1)
        said = states[:, 0] if POOL[base] == "first" else (states * real).sum(1) / real.sum(1)
        return pictures.contrastive(*both(see[rows], said), both.scale)

    trained = nn.ModuleList([model, both])
    went = pictures.train(trained, lambda rows: rows, loss_of, len(pairs), epochs=1, lr=lr, seed=seed)
    return Matcher(both, reading(model, tokenizer, POOL[base]), went.losses)


def longer(start: Matcher, seen: np.ndarray, said: np.ndarray, seed: int, lr: float) -> Matcher:
    """Train the projections of frozen towers an epoch more, in the batches of `adapted`: what LoRA is held against."""
    both, a, b = deepcopy(start.both), torch.tensor(seen), torch.tensor(said)

    def loss_of(rows: np.ndarray) -> torch.Tensor:
        return pictures.contrastive(*both(a[rows], b[rows]), both.scale)

    went = pictures.train(both, lambda rows: rows, loss_of, len(seen), epochs=1, lr=lr, seed=seed)
    return Matcher(both, start.read, went.losses)


def own_first(way: Matcher, see: Callable, of: Pairs) -> np.ndarray:
    """Say for each picture of the galleries whether its own report is found first."""
    return pictures.found_first(*pictures.projected(way.both, see(of.pixels), way.read(of.reports)), GALLERY)


def matched(ways: dict[str, Matcher], see: Callable, some: Parts, seed: int) -> dict:
    """Return what two towers match: who is found first, what is preferred, and how many pictures in the wrong file are flagged."""

    def fit(way: Matcher, of: Pairs) -> np.ndarray:
        one_side, other = pictures.projected(way.both, see(of.pixels), way.read(of.reports))
        return (one_side * other).sum(1)

    fits = {name: partial(fit, ways[name]) for name in PREFERRED}
    asked = {name: pictures.prefer(one, some.held, seed) for name, one in fits.items()}
    return {
        "hits": {name: digits(own_first(way, see, some.held)) for name, way in ways.items()},
        "preferred": {name: {line.control: list(line.share) for line in lines} for name, lines in asked.items()},
        "losses": {name: [way.losses[0], float(np.mean(way.losses[-10:]))] for name, way in ways.items()},
        "flags": flags(fits[FIRST], some.held, seed),
    }


def flags(fit: Callable, held: Pairs, seed: int) -> dict:
    """Return how well swapped pictures are found in one half of the patients, with the threshold of the other half."""
    names = held.rows["patient_id"].drop_duplicates().sample(frac=1, random_state=seed)
    calm = held.rows["patient_id"].isin(names.head(len(names) // 2)).to_numpy()
    threshold, tried = float(np.quantile(fit(held.take(calm)), ALARMS)), held.take(~calm)
    found: dict[str, dict] = {}
    for how, alike in (("among all", ()), ("of one side and site", ("eye", "site"))):
        flag = pictures.flags(fit, *pictures.misfiled(tried, PLANTED, seed, alike), threshold)
        found[how] = {key: list(value) if isinstance(value, tuple) else value for key, value in flag._asdict().items()}
    return found


def task(base: str, seed: int) -> Task:
    """Return a run as a task."""
    train, dev, test = (len(runs.frames()[name]) for name in ("train", "dev", "test"))
    ms = (train + dev + 4 * test) * DRAW_MS + train * EPOCHS * STEP_MS
    ms += (train + dev + 4 * test) * READ_MS[base]
    ms += len(LORA_RATES) * ((1 - TAUGHT) * train * LORA_MS[base] + dev * READ_MS[base])
    return Task(NAME, one, {"base": base, "seed": seed}, runs.START_S + ms / 1000)


def plan() -> list[Task]:
    """Return all runs."""
    return [task(base, seed) for base in present() for seed in SEEDS]


# What is written.


def looks(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return for each grader and control the score over the seeds, what is lost, and the verdict."""
    lines = []
    for grader in done[0]["answers"]:
        own = grades_of(done, "answers", grader, "as they are")
        for control in done[0]["answers"][grader]:
            now = grades_of(done, "answers", grader, control)
            score = metrics.interval_over_seeds(held.grades, now, metrics.macro_f1, groups=held.patients)
            tower = "none" if grader in WITHOUT_TEXT else base
            line = {"text_tower": tower, "grader": grader, "control": control, "score": list(score)}
            if control != "as they are":
                lost = metrics.paired(held.grades, own, now, groups=held.patients).difference
                changed = float(np.mean([(a != b).sum() for a, b in zip(own, now, strict=True)]))
                line |= {
                    "changed": changed,
                    "n": len(held),
                    "lost": list(lost),
                    "verdict": pictures.verdict(lost, int(changed > 0)),
                }
            lines.append(line)
    return lines


def grades_of(done: list[dict], *keys: str) -> list[np.ndarray]:
    """Return the grades that stand under some keys of each run."""
    found = []
    for run in done:
        for key in keys:
            run = run[key]
        found.append(np.array([int(grade) for grade in run]))
    return found


def retrieval(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return how many pictures find their own report first, over the seeds, with an interval over patients, and paired with another way.

    LoRA is paired with frozen towers that had the same epoch more, all else with the two towers.
    """
    patients = held.patients[np.concatenate(pictures.dealt(len(held), GALLERY))]
    means = {what: np.mean(grades_of(done, "hits", what), axis=0) for what in done[0]["hits"]}
    lines = []
    for what, mean in means.items():
        line = {
            "text_tower": base,
            "what": what,
            "right": round(float(mean.sum())),
            "of": len(mean),
            "share": list(pictures.mean_over_patients(mean, patients)),
        }
        if what != FIRST:
            other = LONGER if what == LORA else FIRST
            gap = pictures.mean_over_patients(mean - means[other], patients)
            word = "better" if gap.low > 0 else "worse" if gap.high < 0 else "cannot be told apart"
            line |= {"against": other, "difference": list(gap), "verdict": word}
        lines.append(line | {"losses": [run["losses"][what] for run in done]})
    return lines


def tried(done: list[dict], base: str) -> list[dict]:
    """Return what was chosen on dev for each grader and each way to match, in each run, and among what."""
    lines = []
    for what in done[0]["chosen"]:
        among = LORA_RATES if what in (LORA, LONGER) else RATES if what in done[0]["hits"] else STRENGTHS
        line = {"text_tower": "none" if what in WITHOUT_TEXT else base, "what": what, "tried": list(among)}
        lines.append(line | {"chosen": [run["chosen"][what] for run in done]})
    return lines


def fused(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return the grader that has both against each alone, over the seeds."""
    both, lines = grades_of(done, "answers", "both", "as they are"), []
    for other in ("picture alone", "report alone"):
        alone = grades_of(done, "answers", other, "as they are")
        pair = metrics.paired(held.grades, both, alone, groups=held.patients, names=("both", other))
        lines.append(
            {"text_tower": base, "against": other, "difference": list(pair.difference), "verdict": pair.verdict}
        )
    return lines


def preferred(done: list[dict], base: str) -> list[dict]:
    """Return for each matcher and control the share of own pairs that it prefers, in each run: trainings differ by luck."""
    return [
        {"text_tower": base, "what": what, "control": name, "shares": [run["preferred"][what][name] for run in done]}
        for what, under in done[0]["preferred"].items()
        for name in under
    ]


def flagged(done: list[dict], base: str) -> list[dict]:
    """Return how well swapped pictures are found, each number in each run."""
    return [
        {"text_tower": base, "how": how} | {name: [run["flags"][how][name] for run in done] for name in of}
        for how, of in done[0]["flags"].items()
    ]


def camera(done: list[dict], held: Pairs) -> list[dict]:
    """Return the picture's grader on the new camera over the seeds: its score, and that against the first camera's and unrepaired."""
    first, lines = grades_of(done, "answers", "picture alone", "as they are"), []
    as_it_is = grades_of(done, "camera", "as it is")
    for how in done[0]["camera"]:
        now = grades_of(done, "camera", how)
        score = metrics.interval_over_seeds(held.grades, now, metrics.macro_f1, groups=held.patients)
        gap = metrics.paired(held.grades, now, first, groups=held.patients, names=("the new camera", "the first"))
        line = {"how": how, "score": list(score), "gap": list(gap.difference), "verdict": gap.verdict}
        if how != "as it is":
            gain = metrics.paired(held.grades, now, as_it_is, groups=held.patients, names=(how, "no repair"))
            line |= {"gain": list(gain.difference), "repair": gain.verdict}
        lines.append(line)
    return lines


def table_rows(done: list[dict], base: str, held: Pairs) -> list[dict]:
    """Return a row of the results table for each grader."""
    rows = []
    for grader in done[0]["answers"]:
        own = grades_of(done, "answers", grader, "as they are")
        score = metrics.interval_over_seeds(held.grades, own, metrics.macro_f1, groups=held.patients)
        row = {"method": grader, "task": "DR grade, test, drawn pictures", "metric": "macro F1"}
        row["base"] = NO_BASE if grader in WITHOUT_TEXT else base
        row |= {"value": score.value, "low": score.low, "high": score.high, "seeds": len(own), "n": len(held)}
        rows.append(row | {"k": round(float(np.mean([(one == held.grades).sum() for one in own])))})
    return rows


def report() -> None:
    """Write the file."""
    if runs.lacking(NAME, ["tiny-biobert"]):
        return
    rows: list[dict] = []
    held = parts(0).held
    names = ("looks", "fused", "retrieval", "preferred", "flags", "camera", "tried", "fed", "draw_ms")
    content: dict[str, list] = {name: [] for name in names}
    for base in present():
        done = runs.needed([task(base, seed) for seed in SEEDS])
        content["fused"] += fused(done, base, held)
        content["camera"] = content["camera"] or camera(done, held)
        graders = done
        if rows:  # those without a text tower are there
            graders = [{"answers": {k: v for k, v in run["answers"].items() if k not in WITHOUT_TEXT}} for run in done]
        rows += table_rows(graders, base, held)
        content["looks"] += looks(graders, base, held)
        content["retrieval"] += retrieval(done, base, held)
        content["preferred"] += preferred(done, base)
        content["flags"] += flagged(done, base)
        content["tried"] += [line for line in tried(done, base) if line not in content["tried"]]
        content["fed"] += [run["fed"] for run in done]
        content["draw_ms"] += [run["draw_ms"] for run in done]
    results.ship(NAME, rows, planted=PLANTED, alarms=ALARMS, gallery=GALLERY, **content)


if __name__ == "__main__":
    runs.main(__spec__.name)
