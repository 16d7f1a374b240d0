"""Pre-trains the base models that ship: `make bases` (all), or `python -m course_utils.generate.bases tiny-plain`.

A run that was stopped goes on from its last checkpoint in build/bases/, and ends with the same bytes as one that was not.
`--try share=0.3` runs a variant of a recipe beside it, for its curve alone: nothing of it ships (see curve.py).
"""

import argparse
import json
import os
import random
import sys
import time

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers.utils import logging

from course_utils import paths
from course_utils.data import GENERAL_ENGLISH

from . import cards, curve, tiny_biobert, tiny_opt, tiny_t5
from .recipe import changed
from .reports import write_manifest

WORK = paths.BUILD / "bases"
RECIPES = {
    one.name: one
    for one in (tiny_biobert.TAUGHT, tiny_biobert.PLAIN, tiny_biobert.TWO_SITES, tiny_opt.WRITES, tiny_t5.ANSWERS)
}
CHUNK = 20  # batches made at a time, from a seed of their own, so that a stopped run resumes with the same data
KEEP_EVERY = 200  # steps from checkpoint to checkpoint, a multiple of CHUNK
POINTS = 10  # of the curve, besides that of the first step
SAY_EVERY = 100  # steps from line to line of the log


def learning_rate(step, recipe):
    """Warm-up, then constant, then a straight line to zero over the last quarter. A grown model warms up again, to half the rate."""
    grown = 0 < recipe.grow_at <= step
    since, peak = (step - recipe.grow_at, 0.5) if grown else (step, 1.0)
    warm = peak * min(1.0, (since + 1) / recipe.warm_up)
    down = min(1.0, (recipe.steps - step) / (0.25 * recipe.steps))
    return recipe.rate * warm * down


def optimizer_for(model):
    """AdamW without decay on biases and norms."""
    groups = [[], []]
    for parameter in model.parameters():
        groups[parameter.dim() < 2].append(parameter)
    decayed, others = groups
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        fused=True,
    )


def fingerprints(recipe, tokenizer):
    """What a run stands on, as {what: fingerprint}. A checkpoint that stands on something else is another run's."""
    files = [paths.sha256(paths.samples() / name) for name in ("dr_reports.csv", GENERAL_ENGLISH)]
    first = recipe.batches(tokenizer, random.Random(recipe.name), 1, step=0)[0]
    return {
        "recipe": paths.digest(repr(recipe)),
        "reports or general English": paths.digest(files),
        "tokenizer": paths.digest(sorted(tokenizer.get_vocab().items())),
        "pre-training text": paths.digest({key: values.tolist() for key, values in first.items()}),
    }


def save_checkpoint(folder, model, optimizer, step, seconds, stands_on):
    """Weights, both Adam moments and the step, as safetensors, replaced in one move: a run stopped at any time leaves a whole one."""
    names = {id(p): name for name, p in model.named_parameters()}
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"{key}.{names[id(parameter)]}"] = value.detach().clone()
    facts = {"step": str(step), "seconds": str(seconds), "stands_on": json.dumps(stands_on)}
    save_file(tensors, folder / "new", metadata=facts)
    os.replace(folder / "new", folder / "checkpoint.safetensors")
    paths.sync_folder(folder)


def load_checkpoint(folder, recipe, tokenizer, stands_on):
    """(model, optimizer, step, seconds): from the checkpoint if there is one, else from the start.

    Raises ValueError if the checkpoint is of a run that stands on something else.
    """
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        model = recipe.build(tokenizer, step=0)
        return model, optimizer_for(model), 0, 0.0
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    known = json.loads(facts.get("stands_on", "{}"))
    if other := [what for what in stands_on if known.get(what) != stands_on[what]]:
        raise ValueError(
            f"{path} is a checkpoint of another run: its {', its '.join(other)} is not that of {recipe.name} now. "
            f"Delete the folder {folder} to begin again, or move it away to keep it."
        )
    step, tensors = int(facts["step"]), load_file(path)
    model = recipe.build(tokenizer, step=max(0, step - 1))
    optimizer = optimizer_for(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            if f"exp_avg.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                }
    return model, optimizer, step, float(facts["seconds"])


def train(recipe, folder, target=None):
    """Pre-train one base, with its checkpoints in a folder; write what ships to the folder `target`, if there is one.

    Raises ValueError if the checkpoint in the folder is of another run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = recipe.tokenizer()
    stands_on = fingerprints(recipe, tokenizer)
    model, optimizer, first, seconds = load_checkpoint(folder, recipe, tokenizer, stands_on)
    log, seen = folder / "log.jsonl", folder / "curve.jsonl"
    for file in (log, seen):
        forget_after(file, first)
    if not first:
        add_line(seen, {"step": 0} | watched(recipe, model, tokenizer))
    started = time.time() - seconds
    # as a bar on a terminal; elsewhere the lines of the log are printed
    bar = tqdm(total=recipe.steps, initial=first, desc=recipe.name, unit="step", mininterval=1, disable=None)
    for step in range(first + 1, recipe.steps + 1):
        if step == first + 1 or step % CHUNK == 1:
            chunk = (step - 1) // CHUNK
            batches = recipe.batches(tokenizer, random.Random(f"{recipe.name} {chunk}"), CHUNK, step - 1)
        if (grown := recipe.grow(model, step - 1)) is not None:
            model, optimizer = grown, optimizer_for(grown)
        losses = one_step(model, optimizer, batches[(step - 1) % CHUNK], learning_rate(step - 1, recipe), seed=step)
        bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()}, refresh=False)
        bar.update()
        if step % SAY_EVERY == 0:
            line = {"step": step, "seconds": round(time.time() - started)} | losses
            add_line(log, line)
            if bar.disable:
                print(recipe.name, line, flush=True)
        if step in points_of(recipe):
            add_line(seen, {"step": step} | watched(recipe, model, tokenizer))
        if step % KEEP_EVERY == 0 or step == recipe.steps:
            save_checkpoint(folder, model, optimizer, step, time.time() - started, stands_on)
    bar.close()
    if target is not None:
        ship(recipe, model, target, curve.points(seen), time.time() - started)


def one_step(model, optimizer, batch, rate, seed):
    """One step of training; the losses as {name: number}. What is random in the model (dropout) goes by the step alone."""
    torch.manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = rate
    losses = model.train()(**batch)
    sum(losses.values()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return {name: round(loss.item(), 4) for name, loss in losses.items()}


def points_of(recipe):
    """The steps at which the curve has a point, each at a checkpoint, and the last step."""
    apart = max(KEEP_EVERY, round(recipe.steps / POINTS / KEEP_EVERY) * KEEP_EVERY)
    return {*range(apart, recipe.steps - apart // 2, apart), recipe.steps}


@torch.inference_mode()
def watched(recipe, model, tokenizer):
    """A point of the curve."""
    return recipe.watch(model.eval(), tokenizer)


def add_line(file, content):
    """Add a line of JSON to a file."""
    with file.open("a", encoding="utf-8", newline="\n") as lines:
        lines.write(json.dumps(content) + "\n")


def forget_after(file, step):
    """Take from a file of lines those after a step: the run goes on from there and writes them again."""
    kept = [point for point in curve.points(file) if step > 0 and point["step"] <= step]
    file.write_text("".join(json.dumps(point) + "\n" for point in kept), encoding="utf-8", newline="\n")


def ship(recipe, model, target, points, seconds):
    """Write the folder that ships: the plain model, its tokenizer, its held-out figures, its curve and its card."""
    tokenizer = recipe.tokenizer()  # a new one: one that was used remembers how it padded
    tokenizer.save_pretrained(target)
    with torch.inference_mode():
        held_out = recipe.evaluate(model.eval(), tokenizer)
    plain = recipe.plain(model)
    plain.save_pretrained(target)
    if heads := recipe.heads(model):
        save_file(heads, target / "heads.safetensors")
    facts = {"steps": recipe.steps, "seed": 0, "parameters": plain.num_parameters(), "held_out": held_out}
    (target / "held_out.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8", newline="\n")
    (target / "curve.json").write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8", newline="\n")
    card = cards.card(recipe.name, facts, points)
    (target / "README.md").write_text(card, encoding="utf-8", newline="\n")
    write_manifest()
    print(f"{recipe.name} done in {seconds / 60:.0f} minutes", facts, flush=True)


def asked_for():
    """What the command line asks for: (names, settings to change, threads)."""
    parser = argparse.ArgumentParser(description="Pre-train the base models.")
    parser.add_argument("names", nargs="*", default=list(RECIPES), help="default: all")
    parser.add_argument(
        "--try",
        nargs="+",
        dest="settings",
        default=[],
        metavar="SETTING=VALUE",
        help="run a variant, for its curve alone",
    )
    # a second thread gains little on models this small: it is better spent on a second base, side by side
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    return arguments.names, arguments.settings, arguments.threads


def run(name, settings):
    """Train one base, or a variant of it in a folder of its own that ships nothing.

    Raises ValueError for a base or a setting that there is not, or a checkpoint of another run.
    """
    if name not in RECIPES:
        raise ValueError(f"No base is called {name!r}. Choose from: {', '.join(RECIPES)}.")
    if settings:
        variant = changed(RECIPES[name], settings)
        return train(variant, WORK / ",".join([name, *sorted(settings)]))
    return train(RECIPES[name], WORK / name, paths.bases() / name)


def main():
    """Train the bases named on the command line, or all."""
    names, settings, threads = asked_for()
    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        for name in names:
            run(name, settings)
    except ValueError as wrong:
        sys.exit(str(wrong))
    except KeyboardInterrupt:
        sys.exit(
            f"\nStopped. The same command goes on from the last checkpoint in {WORK}, at most {KEEP_EVERY} steps back."
        )


if __name__ == "__main__":
    main()
