"""Train one model at several hospitals: rounds of training at each, one set of weights of theirs, and what protects them.

A report never leaves its `Site`. What goes to and fro are `Weights`: all that trains of a model, by its names. Between two rounds a
site keeps nothing, neither Adam's means nor its place in the order: what it sends follows from what it was sent, the number of the
round and its reports. So a site that was killed can do its round again, and a framework can be held to the loop that is here.

Privacy needs the library opacus, of the extra `federated`, and says so if it is not there.
"""

import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch.nn import functional as F

from course_utils import metrics, training

Weights = dict[str, torch.Tensor]
LABELS = {"north": 320, "harbour": 192, "delta": 96}  # of the course's sites: a large, a middling and a small hospital
SKEW = {"north": {3, 4}, "delta": {0, 1}}  # grades that a site lacks where a skew is drawn: a screening, and a clinic
BATCH = 32
DELTA = 1e-4  # chance with which the promise of privacy may fail: less than one in the patients of a site
A, B = "lora_A", "lora_B"  # in PEFT's names


@dataclass(frozen=True)
class Site:
    """A hospital: its name, its reports as token numbers, and their grades. It has as many reports as `len` says."""

    name: str
    reports: list[dict]
    grades: torch.Tensor

    def __len__(self) -> int:
        return len(self.reports)


class Update(NamedTuple):
    """What a site sends after a round: its name, its weights, and on how many reports they rest."""

    site: str
    weights: Weights
    reports: int


Combine = Callable[[Weights, list[Update]], Weights]  # makes the next weights of the last ones and the updates
Between = Callable[[int, Weights, list[Update]], list[Update]]  # what becomes of a round's updates on the way


# Sites and what they train on.


def draw(
    rows, labels: Mapping[str, int], seed: int = 0, without: Mapping[str, Collection[int]] | None = None
) -> dict[str, Any]:
    """Draw each site's labelled rows from its own; with the same seed a smaller draw is part of a larger one.

    Takes a DataFrame with the columns site and grade, how many rows each site gets, and the grades that a site lacks.
    Returns a DataFrame for each site. Raises ValueError if a site has too few rows.
    """
    drawn = {}
    for name, number in labels.items():
        own = rows[(rows["site"] == name) & ~rows["grade"].isin(list((without or {}).get(name, ())))]
        if len(own) < number:
            raise ValueError(f'The site "{name}" has {len(own):,} such rows, and {number:,} are wanted: ask for fewer.')
        drawn[name] = own.sample(frac=1, random_state=seed).head(number)
    return drawn


def site(name: str, tokenizer, rows, max_length: int = 192) -> Site:
    """Return a site of a DataFrame with the columns eye, text and grade.

    Raises ValueError for a missing column, no rows, or a grade that is none.
    """
    reports = training.tokenise(tokenizer, rows, "eye", "text", max_length)
    if "grade" not in list(rows):
        raise ValueError(f'The rows of {name} have no column "grade". They have: {", ".join(map(str, rows))}.')
    wrong = [place for place, grade in enumerate(rows["grade"]) if grade not in range(metrics.GRADES)]
    if wrong:
        raise ValueError(
            f"Row {wrong[0]} of {name} has grade = {list(rows['grade'])[wrong[0]]!r}, and {len(wrong)} row(s) in all are like it. "
            f"A grade is a whole number from 0 to {metrics.GRADES - 1}: mend the file, or leave such rows out."
        )
    return Site(name, reports, torch.tensor([int(grade) for grade in rows["grade"]]))


def rates(lr: float, steps: int) -> list[float]:
    """Return the learning rate of each step: it rises in the first tenth and falls towards 0, over all rounds together."""
    factor = training.warm_up_then_fall(steps)
    return [lr * factor(step) for step in range(steps)]


def train(
    model,
    tokenizer,
    at: Site,
    each_rate: Sequence[float],
    seed: int,
    *,
    batch_size: int = BATCH,
    proximal: float = 0.0,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
) -> list[float]:
    """Take one step for each rate on a site's reports, in an order that the seed draws; return the losses.

    Also how a site trains alone, and how all reports in one place are trained on: the same steps, without rounds.
    `proximal` is FedProx's mu: it pulls each weight back to where it was at the start, by mu / 2 times the squared distance
    (Li et al., MLSys 2020, equation 2). Gradients are clipped to length 1. The seed also draws what dropout leaves out.
    Raises ValueError if nothing is to be trained, or the loss blows up.
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    if not moving:
        raise ValueError("Every weight is frozen, so there is nothing to train. Leave at least the head trainable.")
    start = [p.detach().clone() for p in moving] if proximal else []
    steps, losses = optimizer(moving, lr=1.0), []
    stream = endless(at.reports, batch_size, seed)
    torch.manual_seed(seed)  # for dropout, so that a round that is done again is the same
    model.train()
    for lr in each_rate:
        rows = next(stream)
        logits = model(**training.collate(tokenizer, at.reports, rows, model.device)).logits
        loss = F.cross_entropy(logits, at.grades[rows].to(model.device))
        if not torch.isfinite(loss):
            raise ValueError(f"The loss at {at.name} is {loss.item()}. Try a lower learning rate.")
        steps.zero_grad()
        loss.backward()
        for p, before in zip(moving, start, strict=False):
            p.grad.add_(p.detach() - before, alpha=proximal)
        torch.nn.utils.clip_grad_norm_(moving, 1.0)
        for group in steps.param_groups:
            group["lr"] = lr
        steps.step()
        losses.append(loss.item())
    model.eval()
    return losses


def endless(reports: list[dict], batch_size: int, seed: int) -> Iterator[list[int]]:
    """Yield batches of row numbers for ever: all rows, then all again in another order."""
    order = torch.Generator().manual_seed(seed)
    while True:
        yield from training.batches(reports, batch_size, order)


# What is sent.


def trained(model) -> Weights:
    """Return a copy of all weights that ask for a gradient, by their names: what a site sends."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@torch.no_grad()
def put(model, weights: Weights) -> None:
    """Write weights into a model, in place. Raises ValueError unless they are those that train there."""
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(
            f"{len(odd)} weights are on one side alone, such as {odd[0]}: the model trains something else."
        )
    for name, p in own.items():
        p.copy_(weights[name])


def size(weights: Weights) -> int:
    """Return the bytes of weights by arithmetic: numbers times the bytes of each."""
    return sum(one.numel() * one.element_size() for one in weights.values())


def file_size(weights: Weights) -> int:
    """Return the bytes of weights as a safetensors file, which also holds their names and shapes."""
    return len(save({name: one.contiguous() for name, one in weights.items()}))


def flat(weights: Weights) -> np.ndarray:
    """Return weights as one row of 32-bit numbers, in the order of their names: what a framework sends without a pickle."""
    return torch.cat([weights[name].flatten() for name in sorted(weights)]).cpu().numpy().astype(np.float32)


def unflat(row: np.ndarray, like: Weights) -> Weights:
    """Return a row of numbers as weights with the names and shapes of others. Raises ValueError for another count."""
    wanted = sum(one.numel() for one in like.values())
    if len(row) != wanted:
        raise ValueError(
            f"{len(row):,} numbers came and the model trains {wanted:,}: the other side has another model."
        )
    parts = torch.from_numpy(np.array(row, np.float32)).split([like[name].numel() for name in sorted(like)])
    return {name: part.view_as(like[name]) for name, part in zip(sorted(like), parts, strict=True)}


# What is made of the updates.


def shares(updates: Sequence[Update]) -> list[float]:
    """Return the share of all reports that each update rests on. Raises ValueError if there is no report, or no update."""
    total = sum(one.reports for one in updates)
    if not total:
        raise ValueError("No update has come, or none that rests on a report. Leave the weights as they are.")
    return [one.reports / total for one in updates]


def mean(_: Weights, updates: list[Update]) -> Weights:
    """Return the mean of the updates, each with the weight of its reports: FedAvg (McMahan et al., AISTATS 2017)."""
    parts = list(zip(shares(updates), (one.weights for one in updates), strict=True))
    return {name: reduce(torch.add, [share * weights[name] for share, weights in parts]) for name in parts[0][1]}


def median(_: Weights, updates: list[Update]) -> Weights:
    """Return the median of each number over the updates (Yin et al., ICML 2018). Reports don't count: a site could lie."""
    return {name: torch.quantile(every, 0.5, dim=0) for name, every in stacked(updates).items()}


def trimmed(share: float) -> Combine:
    """Return what leaves out this share of the updates at each end, number by number, and takes the mean of the rest.

    The count is rounded down, as it is in the libraries: a fifth of four sites is none at all.
    Raises ValueError for a share that is not in [0, 0.5).
    """
    if not 0 <= share < 0.5:
        raise ValueError(f"{share} of the updates can't be left out at each end: give a share from 0 to less than 0.5.")

    def combine(_: Weights, updates: list[Update]) -> Weights:
        out = int(share * len(updates))
        return {
            name: every.sort(0).values[out : len(updates) - out].mean(0) for name, every in stacked(updates).items()
        }

    return combine


def stacked(updates: Sequence[Update]) -> Weights:
    """Return all updates' numbers of each weight, an array (updates, ...)."""
    shares(updates)  # says what is wrong if there is none
    return {name: torch.stack([one.weights[name] for one in updates]) for name in updates[0].weights}


def mean_of_products(old: Weights, updates: list[Update]) -> Weights:
    """Return the mean in which LoRA's matrices are made anew from the mean of B A, not from the means of A and B.

    The mean of the products of several sites has a higher rank than one adapter, so what does not fit is cut off: the two
    new matrices are the best of their rank, by singular values (Eckart and Young, Psychometrika 1936;1:211-218).
    """
    found = mean(old, updates)
    for name in [one for one in found if A in one]:
        other = name.replace(A, B)
        product = torch.stack(
            [
                share * one.weights[other] @ one.weights[name]
                for share, one in zip(shares(updates), updates, strict=True)
            ]
        ).sum(0)
        found[other], found[name] = factored(product, len(found[name]))
    return found


def factored(product: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, A) of a rank whose product is nearest to a matrix (out, in): shapes (out, rank) and (rank, in)."""
    left, values, right = torch.linalg.svd(product, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


class AdamServer:
    """Makes a step of Adam of the mean change, instead of taking it whole: FedAdam (Reddi et al., ICLR 2021, algorithm 2).

    It keeps Adam's two means over the rounds; a new run needs a new one.
    """

    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.99), tau: float = 1e-3):
        self.lr, self.betas, self.tau = lr, betas, tau
        self.first: Weights = {}
        self.second: Weights = {}

    def __call__(self, old: Weights, updates: list[Update]) -> Weights:
        """Return the next weights."""
        found, (b1, b2) = mean(old, updates), self.betas
        for name, before in old.items():
            change = found[name] - before
            zero = torch.zeros_like(change)
            self.first[name] = b1 * self.first.get(name, zero) + (1 - b1) * change
            self.second[name] = b2 * self.second.get(name, zero + self.tau**2) + (1 - b2) * change**2
            found[name] = before + self.lr * self.first[name] / (self.second[name].sqrt() + self.tau)
        return found


def freeze_first(model) -> None:
    """Freeze LoRA's A, which all sites then share: the mean of B is that of B A (FFA-LoRA, Sun et al., ICLR 2024)."""
    for name, p in model.named_parameters():
        if A in name:
            p.requires_grad_(False)


# Rounds.


def everything_arrives(_: int, __: Weights, updates: list[Update]) -> list[Update]:
    """Return a round's updates as they are: nothing goes wrong on the way."""
    return updates


def average(
    model,
    tokenizer,
    sites: Sequence[Site],
    *,
    each_rate: Sequence[float],
    rounds: int,
    seed: int = 0,
    combine: Combine = mean,
    between: Between = everything_arrives,
    proximal: float = 0.0,
    at_site: Callable[..., Any] = train,
) -> list[Weights]:
    """Train a model at several sites in rounds, and leave in it what came of it; return the weights after each round.

    Takes the learning rate of every step that a site takes in all, which the rounds divide evenly; what makes one set of
    weights of the updates; what becomes of them on the way; FedProx's mu; and how a site trains, a function that takes what
    `train` takes. If no update arrives, the weights stay.
    Raises ValueError for rounds that don't divide the steps.
    """
    steps, left = divmod(len(each_rate), rounds)
    if left or not steps:
        raise ValueError(f"{len(each_rate)} steps can't be divided evenly among {rounds} rounds.")
    shared, history = trained(model), []
    for number in range(rounds):
        updates = []
        for one in sites:
            put(model, shared)
            at_site(
                model,
                tokenizer,
                one,
                each_rate[number * steps : (number + 1) * steps],
                of_round(seed, number),
                **({"proximal": proximal} if proximal else {}),
            )
            updates.append(Update(one.name, trained(model), len(one)))
        arrived = between(number, shared, updates)
        shared = combine(shared, arrived) if arrived else shared
        put(model, shared)
        history.append(shared)
    model.eval()
    return history


def of_round(seed: int, number: int) -> int:
    """Return the seed of a round: another in each, and no two of different runs alike."""
    return 1_000 * seed + number


def absent(name: str, rounds: Collection[int]) -> Between:
    """Return what loses a site's update in these rounds, counted from 0."""
    return lambda number, _, updates: [one for one in updates if one.site != name or number not in rounds]


def late(name: str) -> Between:
    """Return what lets a site's update arrive a round late; in the first round nothing of it is there. Use it for one run."""
    waiting: list[Update] = []

    def between(_: int, __: Weights, updates: list[Update]) -> list[Update]:
        arrived = [one for one in updates if one.site != name] + waiting
        waiting[:] = [one for one in updates if one.site == name]
        return arrived

    return between


def spoilt(name: str, how: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Between:
    """Return what spoils a site's update: `how` makes of each weight's old value and new one what is sent instead."""

    def between(_: int, old: Weights, updates: list[Update]) -> list[Update]:
        return [
            one._replace(weights={key: how(old[key], new) for key, new in one.weights.items()})
            if one.site == name
            else one
            for one in updates
        ]

    return between


def negative(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return the way back: as far from the old weight as the new one is, on the other side."""
    return 2 * old - new


def noise(scale: float, seed: int = 0) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return what sends noise in place of the change, `scale` times as large as that was. Use it for one run."""
    generator = torch.Generator().manual_seed(seed)

    def how(old: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        return old + scale * (new - old).std() * torch.randn(old.shape, generator=generator)

    return how


# What leaks, and what protects.


def membership(inside, outside, groups: Sequence, sites: Sequence | None = None) -> metrics.Interval:
    """Return how well a report's loss tells whether it was trained on: the area under the curve, 0.5 for not at all.

    Takes the loss of reports that were trained on, of reports that were not, the patients of both in that order, and, where there are
    several sites, those of both. A report is then compared with others of its own site, and the areas' mean is taken: else a site whose
    reports are harder, and of which one side has more, would move the area without any memory. The interval is over patients.
    The test is the simplest there is (Yeom et al., CSF 2018): a better one may find more.
    Raises ValueError if one side is empty.
    """
    from scipy.stats import rankdata  # slow to import, and little of the course needs it

    if not len(inside) or not len(outside):
        raise ValueError("The losses of some reports that were trained on are needed, and of some that were not.")
    losses = np.concatenate([inside, outside])
    member = np.arange(len(losses)) < len(inside)
    at = np.zeros(len(losses), int) if sites is None else np.unique(list(sites), return_inverse=True)[1]

    def area(rows: np.ndarray) -> float:
        """The chance that a member has the lower loss of two reports, one of each kind (Mann and Whitney)."""
        these, ranks = member[rows], rankdata(-losses[rows])
        k, n = these.sum(), len(these) - these.sum()
        return float((ranks[these].sum() - k * (k + 1) / 2) / (k * n)) if k and n else float("nan")

    def of_sites(rows: np.ndarray) -> float:
        return float(np.mean([area(rows[at[rows] == one]) for one in range(at.max() + 1)]))

    return metrics.resampled(of_sites, groups)


def losses(model, tokenizer, rows) -> np.ndarray:
    """Return the cross-entropy of each row, an array (reports)."""
    chances = training.predict(model, tokenizer, rows)
    return -np.log(np.maximum(chances[np.arange(len(chances)), np.array(rows["grade"])], 1e-12))


def has_privacy() -> bool:
    """Say whether opacus is there."""
    return find_spec("opacus") is not None


def _needs_privacy() -> None:
    if not has_privacy():
        raise ImportError("opacus is not installed. Type `pip install -c constraints.txt -e '.[federated]'`.")


@contextmanager
def _quiet_hooks() -> Iterator[None]:
    """Silence torch on opacus' hooks: the first adapted layer has an input without a gradient, which opacus does not need."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield


def gradient_gap(model, tokenizer, at: Site) -> float:
    """Return how far the gradients that opacus has of single reports lie at most from autograd's, one report at a time.

    LoRA's B is moved from zero first, in place: while it is zero, A has no gradient.
    """
    _needs_privacy()
    from opacus import GradSampleModule

    moving = {name: p for name, p in model.named_parameters() if p.requires_grad}
    torch.manual_seed(0)
    for name, p in moving.items():
        if B in name:
            torch.nn.init.normal_(p, std=0.02)

    def loss_of(module, rows: list[int]) -> torch.Tensor:
        logits = module(**training.collate(tokenizer, at.reports, rows, model.device)).logits
        return F.cross_entropy(logits, at.grades[rows].to(model.device))

    model.train()
    alone = [torch.autograd.grad(loss_of(model, [row]), list(moving.values())) for row in range(len(at))]
    wrapped = GradSampleModule(model, loss_reduction="mean")
    with _quiet_hooks():
        loss_of(wrapped, list(range(len(at)))).backward()
    gap = max(
        float((p.grad_sample[row] - of_row).abs().max())
        for row, of_report in enumerate(alone)
        for p, of_row in zip(moving.values(), of_report, strict=True)
    )
    wrapped.to_standard_module()
    model.zero_grad()
    model.eval()
    return gap


def epsilon(noise_multiplier: float, rate: float, steps: int, delta: float = DELTA) -> float:
    """Return the epsilon that so many noisy steps promise, by opacus' Renyi accountant (Mironov, CSF 2017).

    Takes the noise as a multiple of the length that gradients are clipped to, and the chance of a record to be in a step.
    """
    _needs_privacy()
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, rate, steps)]
    return float(accountant.get_epsilon(delta=delta, alphas=ORDERS))


ORDERS = [1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [2**k for k in range(6, 12)]


def noise_for(target: float, rate: float, steps: int, delta: float = DELTA) -> float:
    """Return the least noise, to a hundredth, whose epsilon is no more than the target. Takes the rest as `epsilon` does."""
    low, high = 0.2, 0.4
    while epsilon(high, rate, steps, delta) > target:
        low, high = high, 2 * high
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon(middle, rate, steps, delta) > target else (low, middle)
    return high


def privately(noise_multiplier: float, clip: float, batch_size: int = BATCH) -> Callable[..., list[float]]:
    """Return how a site trains with DP-SGD (Abadi et al., CCS 2016): use it as `at_site`.

    Each step takes each report by itself with the same chance, so that `batch_size` come on average; clips the gradient of
    every report to the length `clip`, all trained weights together; and adds normal noise of `noise_multiplier` times that to
    the sum. What is protected is a row: give each patient one. Here a seed draws the noise, so that a run can be made again;
    where there are patients it must come from what nobody can draw again, and no seed be kept.
    """
    _needs_privacy()

    def at_site(model, tokenizer, at: Site, each_rate: Sequence[float], seed: int) -> list[float]:
        from opacus import GradSampleModule
        from opacus.optimizers import DPOptimizer

        torch.manual_seed(seed)  # for dropout
        model.train()
        # each site draws noise of its own: with the same at two sites, whoever sees both takes it off by a subtraction
        generator = torch.Generator().manual_seed(zlib.crc32(f"{at.name} {seed}".encode()))
        wrapped = GradSampleModule(model, loss_reduction="mean")
        steps = DPOptimizer(
            torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1.0),
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip,
            expected_batch_size=batch_size,
            generator=generator,
        )
        found = []
        try:
            for lr in each_rate:
                drawn = torch.rand(len(at), generator=generator) < batch_size / len(at)
                rows = drawn.nonzero().flatten().tolist()
                if not rows:
                    raise ValueError(f"No report of {at.name} came into a step: give a larger batch than {batch_size}.")
                logits = wrapped(**training.collate(tokenizer, at.reports, rows, model.device)).logits
                loss = F.cross_entropy(logits, at.grades[rows].to(model.device))
                steps.zero_grad()
                with _quiet_hooks():
                    loss.backward()
                for group in steps.param_groups:
                    group["lr"] = lr
                steps.step()
                found.append(loss.item())
        finally:
            wrapped.to_standard_module()
        model.eval()
        return found

    return at_site
