"""Train a grader in as many processes as there are: one script for a laptop, Slurm and Kubernetes. torchrun starts it.

    torchrun --nproc-per-node 2 -m course_utils.train_many build/many --processes 2 --steps 100

It trains on the course's reports, or on a CSV of yours (`--reports`). Which rows a step reads, and in which order, follows from the
seed and the number of the step alone: with any number of processes the weights are the same but for rounding, and a run that was
killed goes on from the last step that was kept as if nothing had been.
"""

import argparse
import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from course_utils import data, metrics, models, paths, scale, session, training

DDP, FSDP = "ddp", "fsdp"


def fit(
    model: Any,
    tokenizer: Any,
    reports: list[dict],
    grades: Sequence[int],
    *,
    steps: int,
    batch: int = 32,
    lr: float = 5e-4,
    seed: int = 0,
    way: str = DDP,
    class_weights: Sequence[float] | None = None,
    folder: str | Path | None = None,
    every: int = 0,
    last: int = 2,
    after: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train a grader in all processes of the group; return the loss of each step that was taken, over all rows of its batch.

    Takes the reports as token numbers (`training.tokenise`) and their grades, the steps in all, the rows of a batch over all
    processes, "ddp" or "fsdp", a weight for each grade, and a folder in which every so many steps are kept: with one there, it
    goes on from the last. The `last` so many of these steps stay (0: all). `after` is called with the number of each step. A loss
    that counts over all processes makes uneven batches and weights right.
    Raises ValueError for another way, a loss that blows up, or a step that was kept with other settings.
    """
    if way not in (DDP, FSDP):
        raise ValueError(f'The way is "{way}". Take "{DDP}" or "{FSDP}".')
    labels = torch.tensor(grades)
    importance = torch.ones(metrics.GRADES) if class_weights is None else torch.tensor(class_weights, dtype=torch.float)
    importance = importance.to(next(model.parameters()).dtype)
    net = scale.sharded(model) if way == FSDP else model
    if way == DDP and scale.world() > 1:
        net = DistributedDataParallel(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr)
    kept = scale.newest(folder) if folder and every else None
    settings: dict[str, Any] = {"steps": steps, "batch": batch, "lr": lr, "seed": seed}
    facts = scale.take_up(kept, model, optimizer) if kept else {"step": 0} | settings
    other = ", ".join(
        f"{name} {facts[name]} and not {value}" for name, value in settings.items() if facts[name] != value
    )
    if other:
        raise ValueError(f"{kept} was kept with {other}. Take that again, or another folder.")
    first = facts["step"]
    factor, losses = training.warm_up_then_fall(steps), []
    model.train()
    for step, rows in enumerate(batches(reports, batch, seed, first), first + 1):
        if step > steps:
            break
        mine, counts = share(rows)
        torch.manual_seed(seed + step * scale.world() + scale.rank())  # for dropout: nothing of it need be kept
        logits = net(**training.collate(tokenizer, reports, mine, model.device)).logits
        truth = labels[mine].to(model.device)
        weights = importance.to(model.device)[truth] * counts
        loss = scale.global_mean(F.cross_entropy(logits, truth, reduction="none"), weights)
        over_all = float(scale.over_all(loss)) / scale.world()
        if not math.isfinite(over_all):
            raise ValueError(f"The loss is {over_all} at step {step}. Try a lower learning rate.")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr * factor(
                step - 1
            )  # from the step's number: a scheduler that nobody keeps can't be forgotten
        optimizer.step()
        losses.append(over_all)
        after(step)
        if folder and every and (step % every == 0 or step == steps):
            scale.keep(folder, step, model, optimizer, last, **settings)
    model.eval()
    return losses


def batches(reports: list[dict], size: int, seed: int, first: int = 0) -> Iterator[list[int]]:
    """Yield batches of row numbers for ever, each epoch in an order of its own, from the batch after the first so many."""
    each = math.ceil(len(reports) / size)
    epoch, skip = divmod(first, each)
    while True:
        order = torch.Generator().manual_seed(seed + epoch)
        yield from list(training.batches(reports, size, order))[skip:]
        epoch, skip = epoch + 1, 0


def share(rows: list[int]) -> tuple[list[int], float]:
    """Return this process's rows of a batch, and 1; where the batch has none for it, a row of another, and the weight 0.

    The rows come sorted by length and are dealt out in turn, so that all processes have about as much to read.
    """
    mine = rows[scale.rank() :: scale.world()]
    return (mine, 1.0) if mine else (rows[:1], 0.0)


def graded(model: Any, tokenizer: Any, rows: Any) -> list[int]:
    """Return the grade of each row, in their order, each row graded by one process: nothing is padded, nothing counted twice."""
    mine = range(scale.rank(), len(rows), scale.world())
    said = training.predict(model, tokenizer, rows.select(mine)).argmax(1).tolist() if len(mine) else []
    every = scale.from_all(dict(zip(mine, said, strict=True)))
    together = {place: grade for one in every for place, grade in one.items()}
    return [together[place] for place in range(len(rows))]


def killed(process: int, step: int) -> Callable[[int], None]:
    """Return what kills one process, of which nothing is told, after a step of the first attempt: to try that a run goes on."""

    def after(done: int) -> None:
        if (scale.rank(), done) == (process, step) and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), signal.SIGKILL)

    return after


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what a command line says; the process's own, if none is given."""
    command = argparse.ArgumentParser(prog="torchrun -m course_utils.train_many", description=__doc__)
    command.add_argument("folder", type=Path, help="where steps are kept: on a disk that all machines see")
    command.add_argument(
        "--processes", type=int, required=True, help="how many there should be in all: fewer is an error"
    )
    command.add_argument("--steps", type=int, required=True)
    command.add_argument("--every", type=int, default=100, help="steps between two that are kept")
    command.add_argument("--last", type=int, default=2, help="so many kept steps stay, older ones are deleted; 0: all")
    command.add_argument("--batch", type=int, default=32, help="rows of a step, over all processes")
    command.add_argument("--lr", type=float, default=5e-4)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--way", choices=(DDP, FSDP), default=DDP)
    command.add_argument("--base", default="tiny-biobert")
    command.add_argument("--reports", type=Path, help="a CSV like the course's, in place of it")
    command.add_argument("--labels", type=int, help="so many training rows, drawn by the seed; else all")
    command.add_argument("--kill", type=int, nargs=2, metavar=("PROCESS", "STEP"), help="kill one, to see it go on")
    return command.parse_args(words)


def main() -> None:
    """Train as the command line says; write the score on dev and what else was found into `done.json` in the folder."""
    told = arguments()
    session.start(seed=told.seed, threads=1)
    scale.join()
    scale.expect(told.processes)
    splits = data.load_reports(told.reports)
    rows = data.sample(splits["train"], told.labels, seed=told.seed) if told.labels else splits["train"]
    model, tokenizer = models.grader(models.base(told.base), seed=told.seed)
    # each process has a GPU of its own
    place = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if models.device() == "cuda" else "cpu"
    torch.nn.Module.to(model, place)
    reports = training.tokenise(tokenizer, rows, "eye", "text", 192)
    names = ("steps", "batch", "lr", "seed", "way", "folder", "every", "last")
    settings = {name: getattr(told, name) for name in names}
    after = killed(*told.kill) if told.kill else lambda step: None
    losses = fit(model, tokenizer, reports, rows["grade"], after=after, **settings)
    apart = scale.apart(model) if told.way == DDP else 0.0
    answers = graded(model, tokenizer, splits["dev"])
    if scale.rank() == 0:
        score = float(metrics.macro_f1(metrics.confusion(splits["dev"]["grade"], answers)))
        found = {"processes": scale.world(), "taken": len(losses), "loss": losses[-1:], "dev": score, "apart": apart}
        paths.write_json(told.folder / "done.json", found)
    scale.leave()


if __name__ == "__main__":
    main()
