"""Pre-trains the three base models into data_samples/bases/: `make bases` (all), or `python -m course_utils.generate.bases tiny-opt`.

A run that was stopped goes on from its last checkpoint in build/bases/. Progress is a line every 100 steps.
"""

import argparse
import json
import os
import random
import sys
import time

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

from course_utils import paths

from . import cards, tiny_biobert, tiny_opt, tiny_t5
from .reports import write_manifest

WORK = paths.BUILD / "bases"
RECIPES = {"tiny-biobert": tiny_biobert, "tiny-opt": tiny_opt, "tiny-t5": tiny_t5}
CHUNK = 20  # batches made at a time, from a seed of their own, so that a stopped run resumes with the same data


def learning_rate(step, recipe):
    """Warm-up, then constant, then a straight line to zero over the last quarter. A grown model warms up again, to half the rate."""
    grow_at = getattr(recipe, "GROW_AT", recipe.STEPS)
    since, peak = (step, 1.0) if step < grow_at else (step - grow_at, 0.5)
    warm = peak * min(1.0, (since + 1) / recipe.WARM_UP)
    down = min(1.0, (recipe.STEPS - step) / (0.25 * recipe.STEPS))
    return recipe.LEARNING_RATE * warm * down


def optimizer_for(model):
    """AdamW without decay on biases and norms."""
    groups = [[], []]
    for parameter in model.parameters():
        groups[parameter.dim() < 2].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.01}, {"params": groups[1], "weight_decay": 0.0}], betas=(0.9, 0.98)
    )


def save_checkpoint(folder, model, optimizer, step, seconds):
    """Weights, both Adam moments and the step, as safetensors, replaced in one move."""
    names = {id(p): name for name, p in model.named_parameters()}
    tensors = {f"model.{n}": p.detach().clone() for n, p in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            tensors[f"{key}.{names[id(parameter)]}"] = value.detach().clone()
    save_file(tensors, folder / "new", metadata={"step": str(step), "seconds": str(seconds)})
    os.replace(folder / "new", folder / "checkpoint.safetensors")


def load_checkpoint(folder, recipe, tokenizer):
    """(model, optimizer, step, seconds): from the checkpoint if there is one, else from the start."""
    path = folder / "checkpoint.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        model = recipe.build(tokenizer, step=0)
        return model, optimizer_for(model), 0, 0.0
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        step, seconds = int(file.metadata()["step"]), float(file.metadata()["seconds"])
    tensors = load_file(path)
    model = recipe.build(tokenizer, step=max(0, step - 1))
    optimizer = optimizer_for(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
            if f"exp_avg.{name}" in tensors:
                optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                }
    return model, optimizer, step, seconds


def kept_tokenizer(recipe, folder):
    """The run's tokenizer, made once: training one again breaks ties differently, and a resumed model would read other ids."""
    if not folder.exists():
        recipe.tokenizer().save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def train(name, threads):
    """Pre-train one base, and write its folder and card."""
    torch.set_num_threads(threads)
    recipe, folder = RECIPES[name], WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = kept_tokenizer(recipe, folder / "tokenizer")
    model, optimizer, step, seconds = load_checkpoint(folder, recipe, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    log, started, shown = folder / "log.jsonl", time.time(), {}
    while step < recipe.STEPS:
        grown = recipe.grow(model, step) if hasattr(recipe, "grow") else None
        if grown is not None:
            model, optimizer = grown.to(device), optimizer_for(grown)
        for batch in recipe.batches(tokenizer, random.Random(f"{name} {step // CHUNK}"), CHUNK)[step % CHUNK :]:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, recipe)
            losses = model(**{k: v.to(device) for k, v in batch.items()})
            sum(losses.values()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            for key, value in losses.items():
                shown[key] = 0.98 * shown.get(key, value.item()) + 0.02 * value.item()
            if step % 100 == 0:
                line = {"step": step, "seconds": round(seconds + time.time() - started)} | {
                    k: round(v, 4) for k, v in shown.items()
                }
                print(name, line, flush=True)
                with log.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            if step >= recipe.STEPS:
                break
        if step % (CHUNK * 10) == 0 or step >= recipe.STEPS:
            save_checkpoint(folder, model, optimizer, step, seconds + time.time() - started)
    finish(name, recipe, model.cpu(), tokenizer, seconds + time.time() - started)


def finish(name, recipe, model, tokenizer, seconds):
    """Write the checkpoint folder that ships, with its held-out figures and its card."""
    target = paths.bases() / name
    model.eval()
    with torch.inference_mode():
        held_out = recipe.evaluate(model, tokenizer)
    plain = recipe.plain(model)
    plain.save_pretrained(target)
    tokenizer.save_pretrained(target)
    if hasattr(recipe, "heads"):
        save_file(recipe.heads(model), target / "heads.safetensors")
    facts = {"steps": recipe.STEPS, "seed": 0, "parameters": plain.num_parameters(), "held_out": held_out}
    (target / "held_out.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (target / "README.md").write_text(cards.card(name, facts, minutes=seconds / 60), encoding="utf-8")
    write_manifest()
    print(name, "done", facts, flush=True)


def main():
    """Train the bases named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Pre-train the base models.")
    parser.add_argument("names", nargs="*", default=list(RECIPES), help="default: all three")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    unknown = [n for n in arguments.names if n not in RECIPES]
    if unknown:
        sys.exit(f"No base is called {unknown[0]!r}. Choose from: {', '.join(RECIPES)}.")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for name in arguments.names:
        train(name, arguments.threads)


if __name__ == "__main__":
    main()
