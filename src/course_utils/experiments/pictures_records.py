"""Measures a small vision-language model that writes an eye's record, for notebook 17; `make results-pictures` makes it after pictures.py.

Into results/picture_record_runs.json. It is tiny-opt, which wrote records of reports in notebook 06, and reads the picture as well: a
matrix makes a few soft tokens of the vector of the image tower, which stays as it was taught, and they stand in front of the question.
Three arms are trained alike, all of the decoder's weights: on the picture alone, the report alone, and both. Patients, towers and
controls are those of pictures.py. Each arm has four tries for its learning rate with one seed, judged on dev by F1 of the findings;
the test eyes decide nothing.

F1 is of all findings of all eyes together, each without its quadrants; an answer that is no record names none, and its grade is wrong.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from course_utils import chat, metrics, models, pictures, records, results

from . import pictures as towers
from . import runs
from .runs import Task

NAME, BASE = "picture_record_runs", "tiny-opt"


class Arm(NamedTuple):
    """What a model is given, in training and when it is asked."""

    picture: bool
    report: bool


ARMS = {"picture alone": Arm(True, False), "report alone": Arm(False, True), "both": Arm(True, True)}
RATES = (3e-4, 1e-3, 2e-3, 4e-3)
SEEDS = range(5)
EPOCHS, BATCH = 10, 8
SOFT, NEW = 8, 64  # tokens that a picture is; of an answer, at most
CONTROLS = (
    "another eye's picture",
    "another eye's report",
)  # those to trust, each for the arms that are given that side
CODES = tuple(records.NAMES)
TRAIN_MS, ANSWER_MS = (
    {"picture alone": 7, "report alone": 12, "both": 13},
    15,
)  # expected, on one core of a fast machine


class Writer(nn.Module):
    """A decoder that reads a picture in the places of a chat that are kept for it: a matrix makes their embeddings of a tower's vector.

    Such a place is a padding token that the mask does not hide.
    """

    def __init__(self, decoder: Any, width: int, pad: int):
        """Take the decoder, the length of a tower's vector, and the number of the padding token."""
        super().__init__()
        self.decoder, self.pad = decoder, pad
        self.soft = nn.Linear(width, SOFT * decoder.get_input_embeddings().embedding_dim)

    def read(self, batch: dict[str, torch.Tensor], seen: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return a batch of `chat.collate` with "states", (rows, tokens, width): what the decoder reads for each token.

        Takes the tower's vectors, (rows, width of the tower). A row has SOFT places for its picture, or, in all rows, none.
        """
        words = self.decoder.get_input_embeddings()(batch["input_ids"])
        kept = (batch["input_ids"] == self.pad) & batch["attention_mask"].bool()
        return batch | {"states": words.masked_scatter(kept[..., None].expand_as(words), self.soft(seen))}


def questions(rows: pd.DataFrame, arm: str) -> list[list[chat.Message]]:
    """Return what is asked of each row; without the report its eye alone."""
    texts = rows["text"] if ARMS[arm].report else [""] * len(rows)
    return [records.ask(eye, text) for eye, text in zip(rows["eye"], texts, strict=True)]


def with_places(row: chat.Encoded, pad: int, arm: str) -> chat.Encoded:
    """Return a row with the places of its picture in front, if the arm has one."""
    places = SOFT if ARMS[arm].picture else 0
    return {"input_ids": [pad] * places + row["input_ids"], "in_loss": [0] * places + row["in_loss"]}


def truth(rows: pd.DataFrame) -> list[records.Record]:
    """Return the true record of each row that `pictures.facts` gave."""
    return [records.told(facts, grade) for facts, grade in zip(rows["facts"], rows["grade"], strict=True)]


def trained(arm: str, see: Callable, pairs: pictures.Pairs, lr: float, seed: int) -> tuple[Writer, Any, list[float]]:
    """Train a writer on the pairs; return it, its tokenizer, and the loss of each step."""
    decoder, tokenizer = chat.load(runs.checkpoint(BASE))
    pad, device = tokenizer.pad_token_id, decoder.device
    asked = zip(questions(pairs.rows, arm), truth(pairs.rows), strict=True)
    chats = [with_places(chat.encode(tokenizer, one + records.said(record)), pad, arm) for one, record in asked]
    seen = torch.tensor(see(pairs.pixels), device=device)
    torch.manual_seed(seed)
    writer = Writer(decoder, seen.shape[1], pad).to(device)
    writer.soft.requires_grad_(ARMS[arm].picture)

    def batch_of(rows: np.ndarray) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        return chat.collate([chats[i] for i in rows], pad, device=device), seen[rows]

    def loss_of(batch: tuple[dict[str, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return chat.token_losses(decoder, writer.read(*batch)).mean()

    writer.train()
    went = pictures.train(writer, batch_of, loss_of, len(chats), epochs=EPOCHS, lr=lr, batch_size=BATCH, seed=seed)
    return writer.eval(), tokenizer, went.losses


@torch.inference_mode()
def written(writer: Writer, tokenizer: Any, arm: str, rows: pd.DataFrame, vectors: np.ndarray) -> list[str]:
    """Return what a writer answers to each row and its picture's vector, with its first choice each time.

    Batches are of like length and padded on the left, so that all answers start together.
    """
    stop, pad, device = chat.stop_token(tokenizer), tokenizer.pad_token_id, writer.decoder.device
    seen = torch.tensor(vectors, device=device)
    asked = [chat.render(tokenizer, one, ask=True) for one in questions(rows, arm)]
    order, texts = sorted(range(len(asked)), key=lambda i: len(asked[i])), [""] * len(asked)
    for first in range(0, len(order), 32):
        some = order[first : first + 32]
        read = [with_places({"input_ids": asked[i], "in_loss": [0] * len(asked[i])}, pad, arm) for i in some]
        batch = writer.read(chat.collate(read, pad, "left", device), seen[some])
        # of embeddings alone it gives back what it wrote, without the question
        out = writer.decoder.generate(
            inputs_embeds=batch["states"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=pad,
        )
        for i, ids in zip(some, out.tolist(), strict=True):
            texts[i] = tokenizer.decode(ids[: ids.index(stop)] if stop in ids else ids, skip_special_tokens=True)
    return texts


# What is kept of an answer.


def marks(texts: Sequence[str]) -> dict[str, str]:
    """Return the grades of answers, as digits, 5 for no record; and the findings that each names, as three hexadecimal digits."""
    grades = records.grades(texts)
    said = [records.read(text) for text in texts]
    return {
        "grades": towers.digits(np.where(grades == records.INVALID, metrics.GRADES, grades)),
        "found": "".join(f"{_bits(record):03x}" for record in said),
    }


def _bits(record: records.Record | None) -> int:
    named = record.codes() if record else frozenset()
    return sum(1 << place for place, code in enumerate(CODES) if code in named)


def named(found: str) -> np.ndarray:
    """Return which findings answers name, of what `marks` kept: 0 or 1, (answers, findings)."""
    numbers = np.array([int(found[i : i + 3], 16) for i in range(0, len(found), 3)])
    return (numbers[:, None] >> np.arange(len(CODES))) & 1


def there(rows: pd.DataFrame) -> np.ndarray:
    """Return which findings are there: 0 or 1, (rows, findings)."""
    return named(marks([records.write(record) for record in truth(rows)])["found"])


FINDINGS = metrics.macro_f1_of([1])  # F1 of what is there, over 0 and 1
GRADES = metrics.macro_f1_of(range(metrics.GRADES))  # over the grades, with no record as a sixth answer


# The runs.


def one(base: str, arm: str, lr: float, seed: int) -> dict:
    """Train an arm, and return what it writes of the test eyes: as they are, and with another eye's picture or report."""
    some = towers.parts(seed)
    see = towers.watcher(some, seed)[0] if ARMS[arm].picture else lambda pixels: np.zeros((len(pixels), 1), np.float32)
    writer, tokenizer, losses = trained(arm, see, some.pairs, lr, seed)

    def said(of: pictures.Pairs) -> dict[str, str]:
        return marks(written(writer, tokenizer, arm, of.rows, see(of.pixels)))

    controls = {name: pictures.CONTROLS[name] for name in CONTROLS if getattr(ARMS[arm], pictures.SIDE[name])}
    answers = {"as they are": said(some.held)}
    answers |= {name: said(control(some.held, seed)) for name, control in controls.items()}
    is_there, is_named = (side.ravel() for side in (there(some.dev.rows), named(said(some.dev)["found"])))
    return {
        "dev": float(FINDINGS(metrics.confusion(is_there, is_named, labels=2))),
        "trainable": models.count_parameters(writer)[0],
        "losses": [losses[0], float(np.mean(losses[-10:]))],
        "said": answers,
    }


def task(arm: str, lr: float | None, seed: int) -> Task:
    """Return a run as a task."""
    near = {name: int((rows["site"] != towers.NEW_SITE).sum()) for name, rows in runs.frames().items()}
    train, dev, test = (near[name] for name in ("train", "dev", "test"))
    answers = dev + test * (1 + ARMS[arm].picture + ARMS[arm].report)
    ms = (train + dev + 2 * test) * towers.DRAW_MS + answers * ANSWER_MS
    ms += (1 - towers.TAUGHT) * train * EPOCHS * TRAIN_MS[arm]
    ms += towers.TAUGHT * train * towers.EPOCHS * towers.STEP_MS * ARMS[arm].picture
    return Task(NAME, one, {"base": BASE, "arm": arm, "lr": lr, "seed": seed}, runs.START_S + ms / 1000)


def tries(arm: str) -> list[Task]:
    """Return the runs among which an arm's learning rate is chosen."""
    return [task(arm, lr, SEEDS[0]) for lr in RATES]


def recipe(arm: str) -> float | None:
    """Return an arm's learning rate, the best of its tries on dev; None until all tries are there."""
    found = runs.all_found(tries(arm))
    return runs.best(found)["lr"] if found else None


def tested(arm: str) -> list[Task]:
    """Return an arm's runs with the chosen rate, one a seed."""
    lr = recipe(arm)
    return [task(arm, lr, seed) for seed in SEEDS]


def plan() -> list[Task]:
    """Return all runs: the tries, and those with the chosen rates. None if the base is not there."""
    if not runs.present([BASE]):
        return []
    return [one for arm in ARMS for one in tries(arm)] + [one for arm in ARMS for one in tested(arm)]


# What is written.


class Said(NamedTuple):
    """What the runs of an arm say of the test eyes under one control, an array a run: grades (eyes,), and findings (eyes, findings)."""

    grades: list[np.ndarray]
    found: list[np.ndarray]


def said_of(done: list[dict], control: str) -> Said:
    """Return what runs say under a control."""
    kept = [run["said"][control] for run in done]
    return Said([np.array([int(one) for one in some["grades"]]) for some in kept], [named(s["found"]) for s in kept])


def measured(said: Said, held: pictures.Pairs) -> dict[str, metrics.Interval]:
    """Return macro F1 of the grade and F1 of the findings, over the runs, with intervals over patients."""
    of_findings, patients = _flat(held)
    flat = [one.ravel() for one in said.found]
    return {
        "grade": metrics.interval_over_seeds(
            held.grades, said.grades, GRADES, held.patients, labels=metrics.GRADES + 1
        ),
        "findings": metrics.interval_over_seeds(of_findings, flat, FINDINGS, patients, labels=2),
    }


def apart(a: Said, b: Said, held: pictures.Pairs) -> dict[str, metrics.Interval]:
    """Return by how much the first is better than the second, in both measures, paired by eyes."""
    of_findings, patients = _flat(held)
    flat = [[one.ravel() for one in side.found] for side in (a, b)]
    grades = metrics.paired(held.grades, a.grades, b.grades, GRADES, groups=held.patients, labels=metrics.GRADES + 1)
    findings = metrics.paired(of_findings, *flat, FINDINGS, groups=patients, labels=2)
    return {"grade": grades.difference, "findings": findings.difference}


def _flat(held: pictures.Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each finding is there, eye after eye, and the patient of each."""
    return there(held.rows).ravel(), np.repeat(held.patients, len(CODES))


def verdict(gap: metrics.Interval) -> str:
    """Return what a difference shows of the first of two."""
    return "better" if gap.low > 0 else "worse" if gap.high < 0 else "cannot be told apart"


def scores(arm: str, done: list[dict], held: pictures.Pairs) -> list[dict]:
    """Return an arm's scores as it is and under each control, what is lost, and how many records change, in the mean over the runs."""
    own, lines = said_of(done, "as they are"), []
    for control in done[0]["said"]:
        now = said_of(done, control)
        line: dict[str, Any] = {"arm": arm, "control": control, "n": len(held)}
        line["records"] = float(np.mean([(grades < metrics.GRADES).sum() for grades in now.grades]))
        line |= {name: list(value) for name, value in measured(now, held).items()}
        if control != "as they are":
            lost = apart(own, now, held)
            changed = _changed(own, now)
            line |= {"changed": changed} | {f"lost_{name}": list(value) for name, value in lost.items()}
            line["verdict"] = pictures.verdict(lost["findings"], int(changed > 0))
        lines.append(line)
    return lines


def _changed(own: Said, now: Said) -> float:
    """Return of how many eyes the grade or the findings are others, in the mean over the runs."""
    sides = zip(own.grades, own.found, now.grades, now.found, strict=True)
    return float(np.mean([((a != c) | (b != d).any(1)).sum() for a, b, c, d in sides]))


def against(done: dict[str, list[dict]], held: pictures.Pairs) -> list[dict]:
    """Return the arm with both against each alone, in both measures."""
    both, lines = said_of(done["both"], "as they are"), []
    for other in ("picture alone", "report alone"):
        gaps = apart(both, said_of(done[other], "as they are"), held)
        lines += [
            {"against": other, "measure": name, "difference": list(gap), "verdict": verdict(gap)}
            for name, gap in gaps.items()
        ]
    return lines


def row(arm: str, done: list[dict], held: pictures.Pairs) -> dict:
    """Return an arm's row of the results table."""
    said = said_of(done, "as they are")
    found = measured(said, held)["grade"]
    words = {"method": f"small decoder, {arm}", "base": BASE, "metric": "macro F1"}
    words["task"] = "DR grade in a record, test, drawn pictures"
    numbers = {"value": found.value, "low": found.low, "high": found.high, "seeds": len(done), "n": len(held)}
    k = round(float(np.mean([(grades == held.grades).sum() for grades in said.grades])))
    return words | numbers | {"k": k, "trainable": done[0]["trainable"]}


def report() -> None:
    """Write the file."""
    if runs.lacking(NAME, [BASE]):
        return
    held = towers.parts(SEEDS[0]).held
    done = {arm: runs.needed(tested(arm)) for arm in ARMS}
    # what is written without a look at anything: no finding, grade 0
    for_all = marks([records.write(records.Record((), 0, False))] * len(held))
    lines = scores("the same record for all", [{"said": {"as they are": for_all}}], held)
    results.ship(
        NAME,
        [row(arm, some, held) for arm, some in done.items()],
        scores=lines + [line for arm, some in done.items() for line in scores(arm, some, held)],
        against=against(done, held),
        tried=[{"arm": arm, "tried": list(RATES), "chosen": some[0]["lr"]} for arm, some in done.items()],
        epochs=EPOCHS,
        soft=SOFT,
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
