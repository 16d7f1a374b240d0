"""Fit a grader to a CSV of yours, and write what it is worth: `python -m course_utils.fit mine.csv`.

It reads the file, asks whether it is fit to learn from and whether the base can read it, sets the bar, trains, judges on
the test rows once, and writes a folder: the grader with its card, and page.html with the checks, the bars, the intervals
and the errors. The same file, options and machine give the same page.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from course_utils import data, figures, metrics, models, page, session, suitability, training

RATES = (1e-3, 3e-4, 5e-5)  # what suits the course's small bases, and BERT's own size
TRIED = 1000  # the rows on which the learning rate is chosen
LENGTH = 192  # tokens of a text that the model reads
PAGE, GRADER = "page.html", "grader"
TUNED = "full fine-tuning"
WORST = 20
ORDINAL: dict[str, metrics.Metric] = {"quadratic kappa": metrics.kappa, "mean distance": metrics.mae}
COLUMNS = ("text", "label", "group", "split", "order", "encoding")


class Judged(NamedTuple):
    """What the trained grader answers on test, (rows, labels), and how it was trained."""

    chances: np.ndarray
    rate: float
    epochs: int
    seed: int


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0 if all was written, 1 if the file or an option has to be mended."""
    options = parser().parse_args(arguments)
    clock = session.start(seed=options.seed)
    try:
        out = fit(options)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Open {out / PAGE} in a browser.")
    clock.report(budget_s=600, budget_mb=2000)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    command = argparse.ArgumentParser(prog="python -m course_utils.fit", description="Fit a grader to a CSV of yours.")
    command.add_argument("csv", help="the file: a text and a label in each row")
    for name, what in {
        "text": "the column of the texts (else guessed, and said)",
        "label": "the column of the labels (else guessed, and said)",
        "group": "the column of the patient, or of whoever has several rows (else guessed, and said; none for none)",
        "split": "the column that says train, dev or test (else guessed, and said; none divides the rows anew)",
        "order": "the labels from the least to the gravest, as in mild,severe; words without it have no order",
        "encoding": "the file's encoding, if the guess is wrong",
        "base": "a folder with a checkpoint in safetensors (else the course's own small base)",
        "out": "the folder to write (else the file's name with _grader)",
    }.items():
        command.add_argument(f"--{name}", default="", help=what)
    command.add_argument("--seed", type=int, default=0, help="another seed trains another grader")
    command.add_argument("--anyway", action="store_true", help="train even if the base can't read the text")
    return command


def fit(options: argparse.Namespace) -> Path:
    """Do all of it and return the folder that was written.

    Raises ValueError or OSError, with the mend, if the file, an option or the folder can't be used.
    """
    out = _folder(Path(options.out or f"{Path(options.csv).stem}_grader"))
    graded = data.load_graded(options.csv, **{name: getattr(options, name) for name in COLUMNS})
    checkpoint = options.base or models.base("tiny-biobert")
    model, tokenizer = models.grader(checkpoint, seed=options.seed, num_labels=len(graded.names))
    print("Looking at the file, and setting the bar ...", flush=True)
    found = suitability.findings(graded.frames, graded.names, tokenizer, LENGTH)
    print("\n".join(f"- {one.text}" for one in found))
    bars = suitability.bars(graded.frames, model, tokenizer)
    stopped = any(one.gravity == "stop" for one in found) and not options.anyway
    judged = None if stopped else _train(graded, checkpoint, options.seed, out / GRADER)
    sections: dict[str, list[page.Part]] = {
        "In short": [_in_short(graded, found, bars, judged)],
        "How the file was read": [list(graded.notes), suitability.counts(graded.frames, graded.names)],
        "Before training": [[one.text for one in found]],
        "How good is it?": _scores(graded, bars, judged),
    }
    if judged:
        (out / GRADER / "README.md").write_text(_card(graded, judged), encoding="utf-8")
        sections |= {
            "Label by label": _by_label(graded, judged),
            "The worst errors": _errors(graded, judged),
            "Use it": _use(graded, judged),
        }
    elif (out / GRADER).exists():
        sections["In short"] += [f"The folder {GRADER} is of an earlier run."]
    title = f"{'A grader for' if judged else 'A look at'} {Path(options.csv).name}"
    (out / PAGE).write_text(page.html(title, sections), encoding="utf-8")
    return out


def _folder(out: Path) -> Path:
    """Return the folder, made if need be; refuse one that holds what this command has not written."""
    strangers = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if set(strangers) - {PAGE, GRADER}:
        raise ValueError(f"The folder {out} holds other files ({', '.join(strangers[:3])}). Name a new one with --out.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _train(graded: data.Graded, checkpoint: str, seed: int, folder: Path) -> Judged:
    """Choose the learning rate on dev, train on all of train, save, and grade test once."""
    train, dev, test = (graded.frames[part] for part in ("train", "dev", "test"))
    some = train.sample(min(TRIED, len(train)), random_state=seed)

    def trained(rows: pd.DataFrame, epochs: int, rate: float):
        model, tokenizer = models.grader(checkpoint, seed=seed, num_labels=len(graded.names))
        training.fit_grader(model, tokenizer, rows, epochs=epochs, lr=rate, seed=seed, max_length=LENGTH)
        return model, tokenizer

    def on_dev(rate: float) -> float:
        model, tokenizer = trained(some, _epochs(2 * TRIED, some), rate)
        answers = training.predict(model, tokenizer, dev, max_length=LENGTH).argmax(1)
        return float(suitability.macro_f1(dev["grade"])(metrics.confusion(dev["grade"], answers, len(graded.names))))

    print(f"Choosing the learning rate on dev, from {len(RATES)}, with up to {TRIED:,} rows ...", flush=True)
    rate = max(RATES, key=on_dev)
    epochs = _epochs(6 * TRIED, train)
    print(f"Training on {len(train):,} rows, {epochs} times over, learning rate {rate:g} ...", flush=True)
    model, tokenizer = trained(train, epochs, rate)
    model.config.id2label = dict(enumerate(graded.names))
    model.config.label2id = {name: i for i, name in enumerate(graded.names)}
    model.save_pretrained(folder)  # before anything is explained
    tokenizer.save_pretrained(folder)
    return Judged(training.predict(model, tokenizer, test, max_length=LENGTH), rate, epochs, seed)


def _epochs(rows_wanted: int, rows: pd.DataFrame) -> int:
    """Return how often to go over the rows: a few times, and a small file more often."""
    return int(np.clip(rows_wanted / len(rows), 2 if rows_wanted < 3 * TRIED else 3, 20))


def _best_bar(graded: data.Graded, bars: dict) -> str:
    """Return the name of the bar with the highest macro F1 on dev."""
    truth = graded.frames["dev"]["grade"]
    scores = {
        name: suitability.macro_f1(truth)(metrics.confusion(truth, given["dev"], len(graded.names)))
        for name, given in bars.items()
    }
    return max(scores, key=scores.__getitem__)


def _in_short(
    graded: data.Graded, found: Sequence[suitability.Finding], bars: dict, judged: Judged | None
) -> list[str]:
    """Return the verdict: what is wrong with the file, and whether the grader is worth its training."""
    grave = [one.text for one in found if one.gravity != "fine"]
    test, k = graded.frames["test"], len(graded.names)
    best = _best_bar(graded, bars)
    if judged is None:
        how = f"{(bars[best]['test'] == test['grade']).sum():,} of {len(test):,} test rows"
        return [*grave, f"So nothing was trained. The best of the simple methods on dev is {best}: {how} right."]
    truth, answers = test["grade"].to_numpy(), judged.chances.argmax(1)
    measure, whose = suitability.macro_f1(truth), test["patient_id"]
    compared = metrics.paired(truth, answers, bars[best]["test"], measure, whose, names=("the grader", best), labels=k)
    score = metrics.interval(truth, answers, measure, whose, labels=k)
    right = f"{(answers == truth).sum():,} of {len(truth):,} test rows right, macro F1 {score:.2f}"
    gap = compared.difference
    advice = (
        "So the training was worth it."
        if gap.low > 0
        else f"So take {best}: it costs seconds and does better here."
        if gap.high < 0
        else f"So {best}, which costs seconds, will do until more rows show a difference."
    )
    return [
        *grave,
        f"The grader: {right}.",
        f"Against the best of the simple methods on dev: {compared.verdict}.",
        advice,
    ]


def _scores(graded: data.Graded, bars: dict, judged: Judged | None) -> list[page.Part]:
    """Return the table of all methods on test: right, macro F1, and for labels with an order how far off."""
    test, k = graded.frames["test"], len(graded.names)
    truth, groups = test["grade"].to_numpy(), test["patient_id"]
    answers = {name: given["test"] for name, given in bars.items()}
    if judged:
        answers[TUNED] = judged.chances.argmax(1)
    measures: dict[str, metrics.Metric] = {"share right": metrics.accuracy, "macro F1": suitability.macro_f1(truth)} | (
        ORDINAL if graded.ordered else {}
    )
    scores = {
        name: {what: metrics.interval(truth, given, measure, groups, labels=k) for what, measure in measures.items()}
        for name, given in answers.items()
    }
    rows = {
        name: {"rows right": f"{(answers[name] == truth).sum():,} of {len(truth):,}"}
        | {what: f"{score:.2f}" for what, score in found.items()}
        for name, found in scores.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("on test")
    words = (
        "The labels have an order, so how far off an answer is counts as well: kappa is better if higher, distance if lower."
        if graded.ordered
        else "The labels have no order, so no answer is further off than another."
    )
    marks = [(name, *found["macro F1"]) for name, found in scores.items()]
    whose = "patients" if suitability.patients_repeat(graded.frames) else "rows"
    drawn = figures.intervals(marks, f"Macro F1 on {len(truth):,} test rows", "macro F1")
    return [
        table,
        page.Drawn(drawn, f"Macro F1, the mean of the labels' F1, with 95% intervals over {whose}. {words}"),
    ]


def _by_label(graded: data.Graded, judged: Judged) -> list[page.Part]:
    """Return what became of each label: how many are found, how many answers are right, and what was said instead."""
    cm = metrics.confusion(graded.frames["test"]["grade"], judged.chances.argmax(1), len(graded.names))
    right, said, true = np.diag(cm), cm.sum(0), cm.sum(1)
    table = pd.DataFrame(
        {
            "found, of those there are": [f"{k:,} of {n:,}" for k, n in zip(right, true, strict=True)],
            "right, of those it says": [f"{k:,} of {n:,}" for k, n in zip(right, said, strict=True)],
        },
        index=pd.Index(graded.names, name="label"),
    )
    matrix = pd.DataFrame(
        cm, index=pd.Index(graded.names, name="the label, and what the grader says"), columns=graded.names
    )
    return [table, matrix]


def _errors(graded: data.Graded, judged: Judged) -> list[page.Part]:
    """Return the worst errors with their texts: the furthest off where labels have an order, then the surest."""
    test = graded.frames["test"]
    truth, answers, sure = test["grade"].to_numpy(), judged.chances.argmax(1), judged.chances.max(1)
    wrong = np.flatnonzero(truth != answers)
    if not len(wrong):
        return ["No test row was graded wrong."]
    off = abs(truth - answers) if graded.ordered else np.zeros(len(truth), int)
    worst = sorted(wrong, key=lambda i: (-off[i], -sure[i].round(3), i))[:WORST]
    table = pd.DataFrame(
        {
            "label": [graded.names[truth[i]] for i in worst],
            "answer": [graded.names[answers[i]] for i in worst],
            "chance": [f"{sure[i]:.2f}" for i in worst],
            "text": [test["text"].iloc[i] for i in worst],
        },
        index=pd.Index([test["report_id"].iloc[i] for i in worst], name="row"),
    )
    how = "the furthest off first, then the surest" if graded.ordered else "the surest first"
    return [
        f"{len(worst)} of {len(wrong):,} errors on test, {how}. Read them: a figure says how many there are, only reading "
        "says what they are. This table holds texts of your file: mind to whom you give the page.",
        table,
    ]


def _use(graded: data.Graded, judged: Judged) -> list[page.Part]:
    """Return how the grader was made, how it is loaded, and what this page doesn't show."""
    eye = graded.frames["test"]["eye"].iloc[0]  # "" where the file has no such column: the grader reads a pair
    return [
        f"Trained on {len(graded.frames['train']):,} rows, {judged.epochs} times over, learning rate {judged.rate:g} (chosen "
        f"on dev), seed {judged.seed}. It reads at most {LENGTH} tokens of a text.",
        "    from transformers import pipeline\n"
        f'    grade = pipeline("text-classification", "{GRADER}", truncation=True, max_length={LENGTH})\n'
        f'    grade({{"text": "{eye}", "text_pair": "a text of yours"}})',
        [
            "One training run with one seed: another seed gives another grader, and a score that differs in the second decimal.",
            "The intervals speak of new rows of the same kind, not of another source, another year or another language.",
            "The test rows have now been looked at. What they suggest has to be confirmed on fresh ones.",
        ],
    ]


def _card(graded: data.Graded, judged: Judged) -> str:
    """Return the model card that lies with the weights; it holds no text of the file."""
    test = graded.frames["test"]
    truth, answers = test["grade"].to_numpy(), judged.chances.argmax(1)
    score = metrics.interval(truth, answers, suitability.macro_f1(truth), test["patient_id"], labels=len(graded.names))
    recall = metrics.recall_per_grade(metrics.confusion(truth, answers, len(graded.names)))
    lowest = int(np.nanargmin(recall))
    hit, all_of = ((answers == lowest) & (truth == lowest)).sum(), (truth == lowest).sum()
    several = suitability.patients_repeat(graded.frames)
    of = f" of {test['patient_id'].nunique():,} patients" if several else ""
    order = (
        f"in this order: {' < '.join(graded.names)}"
        if graded.ordered
        else f"without an order: {', '.join(graded.names)}"
    )
    return f"""# A grader with {len(graded.names)} labels

The labels, {order}.

Trained on {len(graded.frames["train"]):,} rows of a file of the user's: seed {judged.seed}, {judged.epochs} epochs,
learning rate {judged.rate:g}.
It reads at most {LENGTH} tokens.

Measured on {len(test):,} test rows{of}, which it never saw:
{(answers == truth).sum():,} right, macro F1 {score:.2f}. The label that is found least: "{graded.names[lowest]}", {hit} of {all_of}.

## Not to be used

- For any decision about a person without someone who looks at the case.
- On texts of another source or language than those it was measured on.
- Its chances are as they come from training: nobody has shown that 0.9 means 90%.
"""


if __name__ == "__main__":
    sys.exit(main())
