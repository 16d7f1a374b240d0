"""Search for settings, and find out by how much the winner flatters itself: `python -m course_utils.search mine.csv --minutes 10`.

A *space* says what may be tried: {name: Range, or a tuple of choices}. A *trial* is one point of it, trained and scored on
dev. The best of many trials was chosen for its score, so that score is too high: `winners` measures by how much.
Only what proposes points by itself needs Optuna (the extra `search`); random search and the measuring do not.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

from course_utils import adapt, data, figures, fit, metrics, models, page, paths, session, suitability, training

LENGTH = 192  # tokens of a text that the model reads
INSTALL = "pip install -c constraints.txt -e '.[search]'"  # 9 MB beside what the course has


# Spaces, and random points of them.


class Range(NamedTuple):
    """The numbers from low to high that may be tried; on a log scale, if `log`; whole ones, if `whole`."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Space = Mapping[str, Range | tuple]

# of a small head on the vectors of a frozen base: `states` makes these, `head_epochs` trains it
HEAD: dict[str, Range | tuple] = {
    "lr": Range(1e-4, 1e-1, log=True),
    "width": Range(8, 128, log=True, whole=True),
    "decay": Range(1e-4, 1.0, log=True),
    "dropout": Range(0.0, 0.6),
    "batch": (16, 32, 64),
    "depth": Range(2, 12, whole=True),
    "pool": ("first", "mean"),
}


def draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Return a random point of a space, {name: value}: even on the scale of each range, and over the choices."""
    return {name: _drawn(what, rng) for name, what in space.items()}


def _drawn(what: Range | tuple, rng: np.random.Generator):
    if not isinstance(what, Range):
        return what[int(rng.integers(len(what)))]
    low, high = (what.low - 0.5, what.high + 0.5) if what.whole else (what.low, what.high)
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if what.log else rng.uniform(low, high)
    return int(np.clip(round(value), what.low, what.high)) if what.whole else value


def there() -> bool:
    """Say whether Optuna is installed."""
    return find_spec("optuna") is not None


def suggest(trial, space: Space) -> dict[str, Any]:
    """Return the point of a space that Optuna proposes for a trial, {name: value}."""
    return {name: _suggested(trial, name, what) for name, what in space.items()}


def _suggested(trial, name: str, what: Range | tuple):
    if not isinstance(what, Range):
        return trial.suggest_categorical(name, what)
    if what.whole:
        return trial.suggest_int(name, int(what.low), int(what.high), log=what.log)
    return trial.suggest_float(name, what.low, what.high, log=what.log)


def distributions(space: Space) -> dict[str, Any]:
    """Return a space in Optuna's own words."""
    from optuna import distributions as kinds

    def kind(what: Range | tuple):
        if not isinstance(what, Range):
            return kinds.CategoricalDistribution(what)
        if what.whole:
            return kinds.IntDistribution(int(what.low), int(what.high), log=what.log)
        return kinds.FloatDistribution(what.low, what.high, log=what.log)

    return {name: kind(what) for name, what in space.items()}


# One trial: a head on frozen vectors, or a whole model.


@torch.inference_mode()
def states(checkpoint: str, rows, batch_size: int = 64, *, eye: str = "eye", text: str = "text") -> np.ndarray:
    """Return what each block of a frozen encoder makes of each row, an array (rows, blocks + 1, 2, width).

    The third axis is the first token's vector and the mean over the tokens; block 0 is the embeddings. A trial that reads
    these trains in a fraction of a second. Raises ValueError for a missing column or no rows.
    """
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    base = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, use_safetensors=True).eval()
    reports = training.tokenise(tokenizer, rows, eye, text, LENGTH)
    order = sorted(range(len(reports)), key=lambda i: len(reports[i]["input_ids"]))  # little padding
    made: dict[int, np.ndarray] = {}
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        batch = training.collate(tokenizer, reports, some, "cpu")
        hidden = torch.stack(base(**batch, output_hidden_states=True).hidden_states, dim=1)
        real = batch["attention_mask"][:, None, :, None]
        both = torch.stack([hidden[:, :, 0], (hidden * real).sum(2) / real.sum(2)], dim=2)
        made |= dict(zip(some, both.numpy(), strict=True))
    return np.stack([made[i] for i in range(len(reports))])


def vectors(of: np.ndarray, depth: int, pool: str) -> torch.Tensor:
    """Return the vectors of one block of `states`, pooled by "first" or "mean": a tensor (rows, width)."""
    return torch.from_numpy(of[:, depth, ("first", "mean").index(pool)])


def head_epochs(
    x: torch.Tensor,
    y: Sequence[int],
    *,
    lr: float,
    width: int,
    decay: float,
    dropout: float,
    batch: int,
    epochs: int = 20,
    seed: int = 0,
    labels: int = metrics.GRADES,
) -> Iterator[nn.Module]:
    """Train a head with one hidden layer on vectors (rows, width), and yield it after each epoch, ready to answer.

    Takes the labels of the rows, the settings by the names of HEAD, and the seed of the head's start and the order. Vectors
    are scaled to mean 0 and deviation 1 by the rows it trains on. Stop asking, and the training has stopped: so a trial is
    pruned. Raises ValueError for a setting that is text: YAML reads 1e-3 as text.
    """
    numbers(lr=lr, decay=decay, dropout=dropout)
    torch.manual_seed(seed)
    head = nn.Sequential(
        Scale(x), nn.Linear(x.shape[1], width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, labels)
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=decay)
    steps = epochs * math.ceil(len(x) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, training.warm_up_then_fall(steps))
    truth = torch.tensor(np.array(y))
    for _ in range(epochs):
        head.train()
        for rows in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(head(x[rows]), truth[rows]).backward()
            optimizer.step()
            schedule.step()
        yield head.eval()


class Scale(nn.Module):
    """Takes away the mean of the vectors that it was made from, and divides by their deviation."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, x: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", x.mean(0))
        self.register_buffer("deviation", x.std(0).clamp(min=1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.deviation


@torch.inference_mode()
def answers(head: nn.Module, x: torch.Tensor) -> np.ndarray:
    """Return a head's label for each vector, (rows,)."""
    return head(x).argmax(1).numpy()


def tuned_epochs(
    model, tokenizer, rows, *, lr: float, batch: int, decay: float, epochs: int, seed: int = 0, label: str = "grade"
) -> Iterator[int]:
    """Train every weight of a grader that asks for a gradient, as `training.fit_grader` does, and yield after each epoch.

    Takes what that takes, and the weight decay. The model is then ready to answer; what is yielded is the epoch's number,
    from 1. Raises ValueError for a setting that is text, and for a loss that blows up.
    """
    numbers(lr=lr, decay=decay)
    reports = training.tokenise(tokenizer, rows, "eye", "text", LENGTH)
    truth = torch.tensor(list(rows[label]), device=model.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=decay, fused=True)
    steps = epochs * math.ceil(len(reports) / batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, training.warm_up_then_fall(steps))
    for epoch in range(1, epochs + 1):
        model.train()
        for some in training.batches(reports, batch, order):
            logits = model(**training.collate(tokenizer, reports, some, model.device)).logits
            loss = F.cross_entropy(logits, truth[some])
            if not torch.isfinite(loss):
                raise ValueError(f"The loss is {loss.item()} in epoch {epoch}. Try a lower learning rate.")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
        model.eval()
        yield epoch


def numbers(**settings) -> None:
    """Raise ValueError if a setting that has to be a number is none."""
    for name, value in settings.items():
        if isinstance(value, str | bool) or not isinstance(value, int | float | np.number):
            raise ValueError(
                f"{name} is {value!r}, which is no number. A file in YAML reads 1e-3 as text: write 1.0e-3, or float()."
            )


# The winner, and what it is worth.


class Bank(NamedTuple):
    """Trials that all graded the same rows.

    `truth` and `groups` (rows,) are the right labels and the patients; `first` (trials, rows) is what each trial answered
    when it was tried, `again` (seeds, trials, rows) what the same settings answer when they are trained with other seeds.
    """

    truth: np.ndarray
    groups: np.ndarray
    first: np.ndarray
    again: np.ndarray


DEV, ROWS, SEEDS = "on the dev rows", "the same weights, fresh rows", "other seeds, fresh rows"
SECOND, FINAL, FINAL_WORTH = "on a second dev", "finalists: on a second dev", "finalists: other seeds, fresh rows"


def winners(
    bank: Bank,
    dev: int,
    looks: Sequence[int],
    draws: int = 200,
    seed: int = 0,
    labels: int = metrics.GRADES,
    finalists: int = 3,
) -> pd.DataFrame:
    """Search over and over in a bank of trials, and return what each winner is worth, a row for each draw and number of looks.

    A draw divides the patients at random: the first `dev` rows are dev, as many the second dev, the rest are fresh. It
    shuffles the trials, and looks at the first n of them, for each n of `looks`. The winner is the best on dev by macro F1
    over the labels that occur. The columns: `looks`, `draw`; the winner's score on dev (DEV), of the same weights on fresh
    rows (ROWS), of other seeds there (SEEDS); and two repairs: the winner's score with other seeds on the second dev
    (SECOND); and the best of the first `finalists`, trained with other seeds, on the second dev (FINAL), with what that one
    is worth on the fresh rows (FINAL_WORTH).
    Raises ValueError if the bank has too few rows or trials.
    """
    trials, rows = bank.first.shape
    if 2 * dev >= rows or max(looks) > trials:
        raise ValueError(
            f"The bank has {trials} trials on {rows:,} rows: too few for {max(looks)} looks and twice {dev} rows of dev."
        )
    rng = np.random.default_rng(seed)
    parts = np.stack(
        [_parts(bank.groups, dev, rng) for _ in range(draws)]
    )  # (draws, rows): 0 dev, 1 second dev, 2 fresh
    first = scores(bank.truth, bank.first, parts, labels)
    again = np.mean([scores(bank.truth, one, parts, labels) for one in bank.again], axis=0)
    found = []
    for number in range(draws):
        order = rng.permutation(trials)
        for n in looks:
            seen = order[:n]
            ranked = seen[np.argsort(-first[0, number, seen], kind="stable")]
            won, last = ranked[0], max(ranked[:finalists], key=lambda i: again[1, number, i])
            found.append(
                {"looks": n, "draw": number}
                | {DEV: first[0, number, won], ROWS: first[2, number, won], SEEDS: again[2, number, won]}
                | {SECOND: again[1, number, won], FINAL: again[1, number, last], FINAL_WORTH: again[2, number, last]}
            )
    return pd.DataFrame(found)


def _parts(groups: np.ndarray, dev: int, rng: np.random.Generator) -> np.ndarray:
    """Return which part each row is in, patients whole: the parts 0 and 1 have about `dev` rows."""
    patient = metrics.patient_numbers(groups, len(groups))
    order = rng.permutation(patient.max() + 1)
    ends = np.cumsum(np.bincount(patient)[order])
    part = np.empty(len(order), int)
    part[order] = np.searchsorted([dev, 2 * dev], ends - 1, side="right")
    return part[patient]


def scores(truth: np.ndarray, given: np.ndarray, parts: np.ndarray, labels: int = metrics.GRADES) -> np.ndarray:
    """Return macro F1 of each trial on each part of each draw, (3, draws, trials), over the labels that the part has.

    Takes the truth (rows,), what the trials answered (trials, rows), and the part of each row in each draw (draws, rows).
    """
    trials, rows = given.shape
    cell = truth * labels + given
    hot = np.zeros((rows, trials, labels**2), np.float32)
    hot[np.arange(rows)[:, None], np.arange(trials)[None, :], cell.T] = 1
    found = []
    for part in range(3):
        matrices = ((parts == part).astype(np.float32) @ hot.reshape(rows, -1)).reshape(-1, trials, labels, labels)
        each, occurs = metrics.f1_per_grade(matrices), matrices.sum(-1) > 0
        found.append((each * occurs).sum(-1) / occurs.sum(-1))
    return np.stack(found)


def mean_over(values: Sequence[float], independent: int) -> metrics.Interval:
    """Return the mean of overlapping draws with a 95% interval that counts them as so many independent ones.

    Draws from one set of rows share rows. As many as there are dev sets without a common row are independent; so the interval
    is mean ± t · deviation / √independent (Student's t). It speaks of other rows, not of other settings.
    Raises ValueError if fewer than two are independent.
    """
    if independent < 2:
        raise ValueError(
            "Fewer than two draws are independent, so nothing is known of their spread: take a smaller dev."
        )
    mean = float(np.mean(values))
    half = float(
        student.ppf((1 + metrics.LEVEL) / 2, independent - 1) * np.std(values, ddof=1) / math.sqrt(independent)
    )
    return metrics.Interval(mean, mean - half, mean + half)


def flattery(found: pd.DataFrame, independent: int, said: str = DEV, worth: str = SEEDS) -> pd.DataFrame:
    """Return by how much a score says too much, for each number of looks, in points: hundredths of macro F1.

    Takes what `winners` returned, how many of its draws are independent (see `mean_over`), the column that is said, and the
    one that says what the winner is worth. Columns: `looks`; `mean`, `low`, `high`, the average with its interval; and `from`,
    `to`, between which the middle 95% of single searches lie.
    """
    gaps = 100 * (found[said] - found[worth])
    rows = []
    for n, some in gaps.groupby(found["looks"]):
        mean = mean_over(some, independent)
        low, high = np.percentile(some, [2.5, 97.5])
        rows.append({"looks": n, "mean": mean.value, "low": mean.low, "high": mean.high, "from": low, "to": high})
    return pd.DataFrame(rows)


# What matters, and what a better way of proposing gains.


def importances(
    space: Space, points: Sequence[Mapping], values: Sequence[float], n: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return how much each setting matters, by PED-ANOVA (Watanabe et al., IJCAI 2023), with an interval over resampled trials.

    Takes the points of a random search and their scores, and the number of resamples. A row for each setting, the most
    important first: its share of the whole (`value`), `low`, `high`, and in which share of the resamples it came first
    (`first`). An importance is of this space: widen a range, and it changes. Needs Optuna.
    """
    import optuna

    kinds = distributions(space)
    trials = [
        optuna.trial.create_trial(params=dict(point), distributions=kinds, value=float(value))
        for point, value in zip(points, values, strict=True)
    ]
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def of(chosen: Iterable[int]) -> dict[str, float]:
        study = optuna.create_study(direction="maximize")
        study.add_trials([trials[i] for i in chosen])
        return optuna.importance.get_param_importances(study)

    rng = np.random.default_rng(seed)
    drawn = pd.DataFrame([of(rng.integers(len(trials), size=len(trials))) for _ in range(n)])
    whole = of(range(len(trials)))
    first = drawn.idxmax(axis=1)
    rows = [
        {"setting": name, "value": value, "low": low, "high": high, "first": float((first == name).mean())}
        for name, value in whole.items()
        for low, high in [np.percentile(drawn[name], [2.5, 97.5])]
    ]
    return pd.DataFrame(rows)


def gain(scores_of: Sequence[float], random: Sequence[float], seed_noise: float) -> dict[str, Any]:
    """Return what a way of searching gains over random search, from the ends of several studies of each, in the order of seeds.

    Two studies with one seed train with that seed, and many samplers begin with the points that random search draws from it: so
    they are pairs, and the interval is that of the mean difference in a pair (Student's t). `gain` with `low`, `high` in points;
    `verdict` says whether it is more than 0, and whether it is more than the deviation from seed to seed, `seed_noise`.
    Raises ValueError unless there are as many of each, and at least two.
    """
    pairs = [100 * (one - other) for one, other in zip(scores_of, random, strict=True)]
    value, low, high = mean_over(pairs, len(pairs))
    if low <= 0 <= high:
        verdict = f"cannot be told from random search with {len(scores_of)} studies"
    else:
        size = "more" if abs(value) > 100 * seed_noise else "less"
        verdict = f"{'better' if low > 0 else 'worse'} than random search, by {size} than the noise of seeds"
    return {"gain": value, "low": low, "high": high, "verdict": verdict}


# A storage that many machines share.


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server of our own while the block lasts, and yield its address, for Optuna's storage.

    Its data go with it. It listens on a socket in a folder that only its owner can enter, and on no network. Run by root, who
    may not run such a server, it belongs to the account "postgres". Raises FileNotFoundError, with the mend, if there is none.
    """
    known = [shutil.which("initdb"), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    found = next((Path(one).resolve().parent for one in known if one), None)
    if found is None:
        raise FileNotFoundError("There is no PostgreSQL server here. On Debian and Ubuntu: apt install postgresql.")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with TemporaryDirectory(prefix="pg-") as folder:
        if root:
            shutil.chown(folder, "postgres")

        def run(program: str, *words: str) -> None:
            line = [str(found / program), "-D", f"{folder}/data", *words]
            subprocess.run(line, check=True, cwd=folder, stdout=subprocess.DEVNULL, user="postgres" if root else None)

        run("initdb", "-U", "course", "--auth=trust", "--no-sync")
        listening = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -F"
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", listening, "start")
        try:
            yield f"postgresql+psycopg://course@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-m", "fast", "stop")


# The command: a search over a CSV of yours.

PAGE, STORE, BEST, LOCK, WORTH = "page.html", "search.db", "best.json", "search.lock", "finalists.json"
USUAL: dict[str, Any] = {"method": "full fine-tuning", "lr": 3e-4, "batch": 32, "decay": 0.01}  # what `fit` starts from
YOURS: dict[str, Range | tuple] = {
    "method": ("full fine-tuning", "LoRA"),
    "lr": Range(1e-5, 1e-2, log=True),
    "batch": (8, 16, 32),
    "decay": Range(1e-4, 1.0, log=True),
}
FINALISTS, FINAL_SEEDS = 3, (101, 102)
FOR_TRIALS = 0.75  # of the minutes, at most; the rest is for the finalists
FEWEST_DEV = 40  # rows of dev: half of them choose, half report
FEWEST_TRIALS = 50  # before a word is said of what matters: PED-ANOVA looks at the best tenth, and wants five of them


class Search(NamedTuple):
    """What the command searches over: the file as it was read, the rows that train, choose and report, and how often to go over them."""

    graded: data.Graded
    checkpoint: str
    train: pd.DataFrame
    choose: pd.DataFrame
    report: pd.DataFrame
    epochs: int

    def score(self, rows: pd.DataFrame, given: np.ndarray) -> float:
        """Return macro F1 of answers to rows, over the labels that they have."""
        cm = metrics.confusion(rows["grade"], given, len(self.graded.names))
        return float(suitability.macro_f1(rows["grade"])(cm))

    def trained(self, point: Mapping, seed: int) -> Iterator[Any]:
        """Train with these settings, and yield after each epoch a function that grades rows."""
        base, tokenizer = models.grader(self.checkpoint, seed=seed, num_labels=len(self.graded.names))
        model = adapt.prepare(base, point["method"])
        given = {name: point[name] for name in ("lr", "batch", "decay")}
        for _ in tuned_epochs(model, tokenizer, self.train, **given, epochs=self.epochs, seed=seed):
            yield lambda rows: training.predict(model, tokenizer, rows, max_length=LENGTH).argmax(1)

    def graded_again(self, point: Mapping, seed: int) -> list[list[int]]:
        """Train with these settings and a seed; return the grades of the rows that choose, and of those that report."""
        *_, last = self.trained(point, seed)
        return [last(rows).tolist() for rows in (self.choose, self.report)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if all was written, 1 if the file or an option has to be mended."""
    options = parser().parse_args(arguments)
    if not there():
        print(f"This command needs Optuna: {INSTALL}", file=sys.stderr)
        return 1
    clock = session.start(seed=options.seed, threads=1)
    try:
        out = look(options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 1
    print(f"Open {out / PAGE} in a browser.")
    clock.report(budget_s=60 * options.minutes, budget_mb=2000)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command's options: those of `fit`, and the minutes."""
    command = argparse.ArgumentParser(
        prog="python -m course_utils.search",
        description="Search for settings on a CSV of yours.",
        parents=[fit.parser()],
        conflict_handler="resolve",
        add_help=False,
    )
    command.add_argument(
        "--minutes", type=float, default=10, help="for all training, all runs of this command together"
    )
    command.add_argument("--out", default="", help="the folder to write (else the file's name with _search)")
    return command


def look(options: argparse.Namespace) -> Path:
    """Do all of it and return the folder that was written. It goes on where an earlier run of the same command was stopped.

    Raises ValueError or OSError, with the mend, if the file, an option or the folder can't be used.
    """
    from filelock import FileLock, Timeout

    if not options.minutes > 0:
        raise ValueError(f"--minutes is {options.minutes}: give more than 0.")
    out = _folder(Path(options.out or f"{Path(options.csv).stem}_search"))
    try:
        with FileLock(out / LOCK, timeout=0):
            return _look(options, out)
    except Timeout:
        raise ValueError(
            f"Another search is at work in {out}. Wait for it, or name another folder with --out."
        ) from None


def _look(options: argparse.Namespace, out: Path) -> Path:
    searched = _prepared(options)
    named = {name: str(getattr(options, name)) for name in (*fit.COLUMNS, "base", "seed")}
    study = _opened(out / STORE, paths.digest([paths.sha256(options.csv), named]), options.seed, searched.epochs)
    _try(study, searched, 60 * options.minutes)
    done = sorted((one for one in study.trials if one.state.name == "COMPLETE"), key=lambda one: -one.value)
    if not done:
        raise ValueError(
            "No trial came to an end with a score; above it says why. Give more --minutes: the same command goes on from here."
        )
    final = _finals(searched, done[:FINALISTS], out / WORTH)
    if len(final) == 1:
        raise ValueError(
            "With other seeds none of the best settings came to an end. Give more --minutes: the search goes on from here."
        )
    best = max(range(1, len(final)), key=lambda i: final[i]["score"])
    paths.write_json(
        out / BEST, {"settings": final[best]["point"], "epochs": searched.epochs, "rows": len(searched.train)}
    )
    title = f"A search for settings on {Path(options.csv).name}"
    sections = _sections(searched, study, final, best) | {"Use it": _use(options)}
    (out / PAGE).write_text(page.html(title, sections), encoding="utf-8")
    return out


def _folder(out: Path) -> Path:
    """Return the folder, made if need be; refuse one that holds what this command has not written."""
    own = {PAGE, BEST, LOCK, WORTH, STORE, f"{STORE}-journal"}
    if out.is_file():
        raise ValueError(f"{out} is a file. Name a folder with --out.")
    strangers = sorted(path.name for path in out.iterdir() if path.name not in own) if out.is_dir() else []
    if strangers:
        raise ValueError(f"The folder {out} holds other files ({', '.join(strangers[:3])}). Name a new one with --out.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _prepared(options: argparse.Namespace) -> Search:
    """Read the file and divide dev in two, patients whole. The test rows are left where they are."""
    graded = data.load_graded(options.csv, **{name: getattr(options, name) for name in fit.COLUMNS})
    train, dev = graded.frames["train"], graded.frames["dev"]
    if len(dev) < FEWEST_DEV:
        raise ValueError(
            f"The dev split has {len(dev)} rows. One half chooses and the other reports, so {FEWEST_DEV} are needed: "
            "add rows, or take the usual settings with `python -m course_utils.fit`."
        )
    checkpoint = options.base or models.base("tiny-biobert")
    read = suitability.reading(train, AutoTokenizer.from_pretrained(checkpoint), LENGTH)
    if read.unknown >= suitability.UNREADABLE and not options.anyway:
        raise ValueError(
            f"{read.unknown:.0%} of the tokens are unknown to this base. Take another with --base, or search with --anyway."
        )
    half = _parts(dev["patient_id"].to_numpy(), len(dev) // 2, np.random.default_rng(options.seed))
    rows = train.sample(min(fit.TRIED, len(train)), random_state=options.seed).reset_index(drop=True)
    halves = (dev[half == 0].reset_index(drop=True), dev[half > 0].reset_index(drop=True))
    epochs = int(np.clip(3 * fit.TRIED / len(rows), 3, 20))
    return Search(graded, checkpoint, rows, *halves, epochs)


def _opened(file: Path, about: str, seed: int, epochs: int):
    """Return the study in a file, a new one or the one to go on with. Raises ValueError if it is of another search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name="search",  # Hyperband sorts trials by it, so it is always the same
        storage=f"sqlite:///{file}",
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3),
    )
    if not study.trials:
        study.set_user_attr("about", about)
    if study.user_attrs.get("about") != about:
        raise ValueError(
            f"{file} is a search over another file, base or choice of columns. Name a new folder with --out."
        )
    for one in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(
            one.number, state=optuna.trial.TrialState.FAIL
        )  # of a run that was killed: the lock says that none is at work
    # the file keeps trials and no sampler; one with the seed of the first sitting would propose its points again
    study.sampler = optuna.samplers.TPESampler(seed=(seed * 1_000_003 + len(study.trials)) % 2**32)
    return study


def _try(study, searched: Search, seconds: float) -> None:
    """Try settings until the trials of all sittings together have taken their part of so many seconds."""
    from optuna.trial import TrialState

    def spent() -> float:
        return sum(one.user_attrs.get("seconds", 0.0) for one in study.get_trials(deepcopy=False))

    while (used := spent()) < (most := _for_trials(study, seconds)):
        began, trial, score, state, why = time.perf_counter(), study.ask(), None, TrialState.COMPLETE, ""
        point = suggest(trial, YOURS)
        try:
            for epoch, answer in enumerate(searched.trained(point, seed=0), start=1):
                score = searched.score(searched.choose, answer(searched.choose))
                trial.report(score, epoch)
                if epoch < searched.epochs and trial.should_prune():
                    state = TrialState.PRUNED
                    break
        except ValueError as error:  # a loss that blew up, or a base that does not know the method
            score, state, why = None, TrialState.FAIL, f"; {error}"
        trial.set_user_attr("seconds", time.perf_counter() - began)
        study.tell(trial, score if state == TrialState.COMPLETE else None, state=state)
        said = "no score" if score is None else f"{score:.3f}"
        print(
            f"trial {trial.number}: {said}, {state.name.lower()}, {used / 60:.1f} of {most / 60:.1f} minutes{why}",
            flush=True,
        )


def _for_trials(study, seconds: float) -> float:
    """Return how many of the seconds trials may take: FOR_TRIALS of them, or fewer if the finalists will need more than the rest."""
    took = [one.user_attrs["seconds"] for one in study.get_trials(deepcopy=False) if one.state.name == "COMPLETE"]
    finals = (1 + FINALISTS) * len(FINAL_SEEDS) * float(np.mean(took)) if took else 0.0
    return min(FOR_TRIALS * seconds, seconds - finals)


def _finals(searched: Search, best: Sequence, file: Path) -> list[dict]:
    """Train the usual settings and each of the best trials' with other seeds, and grade both halves of dev: what was done is kept.

    Return the usual first: its `point`, `chosen_at` (what the trial said; None of the usual), `score`, the mean over seeds on the
    rows that choose, and `runs`, the answers to those that report. Settings whose loss blows up with another seed are left out.
    """
    kept = paths.read_json(file)
    tried: list[tuple[Mapping, float | None]] = [(USUAL, None), *((one.params, one.value) for one in best)]
    found = []
    for point, chosen_at in tried:
        key = json.dumps(point, sort_keys=True)
        if key not in kept:
            print(f"again, with other seeds: {said(point)}", flush=True)
            try:
                kept[key] = [searched.graded_again(point, seed) for seed in FINAL_SEEDS]
            except ValueError as error:
                if point is USUAL:
                    raise
                print(f"left out: {error}", flush=True)
                kept[key] = []
            paths.write_json(file, kept)
        if kept[key]:
            chose, told = ([np.array(run[half]) for run in kept[key]] for half in (0, 1))
            score = float(np.mean([searched.score(searched.choose, one) for one in chose]))
            found.append({"point": dict(point), "chosen_at": chosen_at, "score": score, "runs": told})
    return found


def said(point: Mapping) -> str:
    """Write settings in words."""
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}" for name, value in point.items()
    )


def _sections(searched: Search, study, final: list[dict], best: int) -> dict[str, list[page.Part]]:
    """Return the page's headings, each with its parts."""
    rows, k, chosen_at = searched.report, len(searched.graded.names), final[best]["chosen_at"]
    truth, whose, measure = rows["grade"].to_numpy(), rows["patient_id"], suitability.macro_f1(rows["grade"])
    score = metrics.interval_over_seeds(truth, final[best]["runs"], measure, whose, labels=k)
    compared = metrics.paired(
        truth,
        final[best]["runs"],
        final[0]["runs"],
        measure,
        whose,
        names=("what was found", "the usual setting"),
        labels=k,
    )
    advice = (
        "Take what was found." if compared.difference.low > 0 else "Take the usual setting: nothing better was shown."
    )
    states = pd.Series([one.state.name.lower() for one in study.trials]).value_counts()
    table = pd.DataFrame(
        {
            "settings": [said(one["point"]) for one in final],
            "macro F1 on the rows that report": [
                f"{metrics.interval_over_seeds(truth, one['runs'], measure, whose, labels=k):.2f}" for one in final
            ],
        },
        index=pd.Index(["usual", *(f"finalist {i}" for i in range(1, len(final)))], name="trained again"),
    )
    return {
        "In short": [
            [
                f"Found: {said(final[best]['point'])}. On {len(rows):,} rows that chose nothing, with {len(FINAL_SEEDS)} other "
                f"seeds: macro F1 {score:.2f}.",
                f"When it was chosen, on {len(searched.choose):,} other rows, it scored {chosen_at:.2f}: "
                f"{100 * (chosen_at - score.value):+.0f} points. That score was the best of many, so quote the other.",
                f"Against the usual setting: {compared.verdict}. {advice}",
                "The test rows were not read. Train with these settings, then test once.",
            ]
        ],
        "How the file was read": [
            list(searched.graded.notes),
            suitability.counts(searched.graded.frames, searched.graded.names),
        ],
        "The search": [
            "Trials: "
            + ", ".join(f"{count} {state}" for state, count in states.items())
            + ". To go on, give more minutes.",
            _drawn_best(study),
        ],
        "What mattered": _mattered(study),
        "Trained again": [
            table,
            f"What is called found is finalist {best}: the best with other seeds on the rows that choose, so these rows chose nothing.",
        ],
    }


def _use(options: argparse.Namespace) -> list[page.Part]:
    """Return how to train with what was found, and to test once."""
    named = "".join(f", {name}={getattr(options, name)!r}" for name in fit.COLUMNS if getattr(options, name))
    base = repr(options.base) if options.base else 'models.base("tiny-biobert")'
    return [
        "On all rows of train; after the last line the test rows have been looked at.",
        "    import json\n"
        "    from course_utils import adapt, data, models, search, training\n\n"
        f'    found = json.load(open("{BEST}"))\n'
        '    point = found["settings"]\n'
        f"    graded = data.load_graded({options.csv!r}{named})\n"
        f"    model, tokenizer = models.grader({base}, seed=0, num_labels=len(graded.names))\n"
        '    model = adapt.prepare(model, point["method"])\n'
        '    given = {name: point[name] for name in ("lr", "batch", "decay")}\n'
        '    list(search.tuned_epochs(model, tokenizer, graded.frames["train"], **given, epochs=found["epochs"]))\n'
        '    test = graded.frames["test"]\n'
        f"    answers = training.predict(model, tokenizer, test, max_length={LENGTH}).argmax(1)\n"
        '    print((answers == test["grade"]).sum(), "of", len(test), "right")',
    ]


def _drawn_best(study) -> page.Drawn:
    """Return the best so far against the minutes."""
    done = [one for one in study.trials if "seconds" in one.user_attrs]
    minutes = np.cumsum([one.user_attrs["seconds"] for one in done]) / 60
    whole = [one.value if one.state.name == "COMPLETE" else -math.inf for one in done]
    best = np.maximum.accumulate(whole)
    shown = np.isfinite(best)
    lines = {"best so far": (minutes[shown].tolist(), best[shown].tolist())}
    title = f"The best of {len(done)} trials scored {best.max():.2f} on the rows that choose"
    drawn = figures.panels({"search": lines}, {"search": ("minutes of trials", "macro F1, rows that choose")}, title)
    return page.Drawn(
        drawn,
        f"The best macro F1 so far over {minutes[-1]:.1f} minutes, from {best[shown][0]:.2f} to {best.max():.2f}.",
    )


def _mattered(study) -> list[page.Part]:
    """Return what the settings' importances are, or why nothing is said of them."""
    done = [one for one in study.trials if one.state.name == "COMPLETE"]
    if len(done) < FEWEST_TRIALS:
        return [f"{len(done)} trials came to an end; of fewer than {FEWEST_TRIALS} nothing is said."]
    found = importances(YOURS, [one.params for one in done], [one.value for one in done])
    table = found.set_index("setting")[["value", "low", "high"]].round(2)
    return [
        "The share of each setting, with a 95% interval over resampled trials. The search did not try all alike.",
        table,
    ]


if __name__ == "__main__":
    sys.exit(main())
