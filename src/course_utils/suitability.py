"""Is a file fit to learn from, can a base read it, and what is the bar? Asked before anything is trained.

Every sentence is made from the file's own numbers, so another file gets other sentences.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_utils import data, leaks, metrics, models, training, twins

if TYPE_CHECKING:
    import pandas as pd

MAJORITY, COUNTS, PROBE = "majority class", "TF-IDF + logistic regression", "frozen base + linear probe"
UNREADABLE = 0.2  # the share of unknown tokens from which on training on the rest makes no sense
UNKNOWN = 0.01  # and from which on it is worth a look
# of words: with tiny-biobert's vocabulary English takes 1.2 to 2.0, French 2.8, German 3.3 (tests/test_suitability.py)
PIECES = 2.5
CUT = 0.1  # the share of texts longer than the model reads that is worth a look
WIDE, ROUGH = 10, 5  # an interval of plus or minus so many points says nothing, or little
RIGHT = 0.8  # the share of right answers for which these intervals are worked out
LOPSIDED = 0.9  # the share of the commonest label from which on accuracy says nothing
FEW = 50  # dev rows from which on a threshold or a temperature can be chosen on them


class Reading(NamedTuple):
    """How a tokenizer reads texts: four figures that need no training."""

    unknown: float  # the share of tokens that are the unknown token
    touched: float  # the share of texts with at least one
    pieces: float  # tokens a word; a Chinese character counts as a word
    cut: float  # the share of texts that are longer than the model reads


class Finding(NamedTuple):
    """A sentence about a file, and how grave it is: "stop" (don't train), "look" or "fine"."""

    gravity: str
    text: str


def patients_repeat(frames: Mapping[str, "pd.DataFrame"]) -> bool:
    """Return True if some patient has several rows in a split: then a score is known over patients, not over rows."""
    return any(rows["patient_id"].duplicated().any() for rows in frames.values())


def counts(frames: Mapping[str, "pd.DataFrame"], names: Sequence[str]) -> "pd.DataFrame":
    """Return a table of labels and splits: how many rows, and of how many patients, as "12 of 7", where some have several."""
    import pandas as pd

    several = patients_repeat(frames)

    def cell(rows: "pd.DataFrame") -> str:
        return f"{len(rows):,}" + (f" of {rows['patient_id'].nunique():,}" if several else "")

    table = {
        part: [cell(rows[rows["grade"] == grade]) for grade in range(len(names))] + [cell(rows)]
        for part, rows in frames.items()
    }
    return pd.DataFrame(table, index=pd.Index([*names, "all"], name="rows of patients" if several else "rows"))


def reading(rows: "pd.DataFrame", tokenizer, max_length: int = 192) -> Reading:
    """Return how a tokenizer reads the rows' texts; they are read with their eyes, as the model gets them.

    A vocabulary without an unknown token, such as a byte-level one, has 0 unknown; it then takes more pieces a word.
    """
    read = training.tokenise(tokenizer, rows, "eye", "text", max_length)
    ids = [np.array(one) for one in tokenizer(list(rows["text"]), add_special_tokens=False)["input_ids"]]
    unknown = np.array([int((one == tokenizer.unk_token_id).sum()) for one in ids])
    words = sum(len(twins.WORD.findall(text)) for text in rows["text"])
    total = max(sum(map(len, ids)), 1)
    cut = np.mean([one["cut"] for one in read])
    return Reading(unknown.sum() / total, float((unknown > 0).mean()), total / max(words, 1), float(cut))


def bars(frames: Mapping[str, "pd.DataFrame"], model, tokenizer) -> dict[str, dict[str, np.ndarray]]:
    """Return what three simple methods answer, {method: {split: label of each row}}, for dev and test.

    The commonest label; words and pairs of words, weighted (TF-IDF) into a logistic regression; and a linear probe: the
    same on the vectors of the frozen base, each the mean over a text's tokens, which any kind of model has. Nothing is
    tuned, and class weights are balanced.
    """
    train = frames["train"]
    fixed = {"class_weight": "balanced", "max_iter": 2000}
    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=rf"{twins.WORD.pattern}|[^\w\s]", lowercase=True
    )
    counting = make_pipeline(words, LogisticRegression(C=3, **fixed))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1, **fixed))
    vectors = {part: training.features(model, tokenizer, rows, pool="mean") for part, rows in frames.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bar that is a little too low still is one
        counting.fit(_read(train), train["grade"])
        probe.fit(vectors["train"], train["grade"])
    common = int(train["grade"].mode()[0])
    others = ("dev", "test")
    return {
        MAJORITY: {part: np.full(len(frames[part]), common) for part in others},
        COUNTS: {part: counting.predict(_read(frames[part])) for part in others},
        PROBE: {part: probe.predict(vectors[part]) for part in others},
    }


def macro_f1(truth: Sequence) -> metrics.Metric:
    """Return macro F1 over the labels that some row has: one that is not there can't be found, nor missed."""
    return metrics.macro_f1_of(metrics.occurring(truth))


def points(n: int) -> int:
    """Return the half width, in points (hundredths), of the 95% interval of a share right of n independent rows.

    By Wilson (metrics.wilson), for a share of RIGHT. Raises ValueError for no rows.
    """
    low, high = metrics.wilson(round(RIGHT * n), n)
    return round(50 * (high - low))


def findings(
    frames: Mapping[str, "pd.DataFrame"], names: Sequence[str], tokenizer, max_length: int = 192
) -> list[Finding]:
    """Return a sentence on each question: can the base read it, are the texts whole, are there enough rows, how even,
    and does a phrase give a label away.

    Takes the splits with the labels' names, and the tokenizer of the base with the number of tokens that it reads.
    """
    return [
        *_of_reading(reading(frames["train"], tokenizer, max_length)),
        _of_size(frames["test"]),
        *_of_dev(frames["dev"]),
        *_of_labels(frames, names),
        _of_giveaways(frames["train"], names),
    ]


def _read(rows: "pd.DataFrame") -> list[str]:
    """What word counts read: the eye, where a row names one, then the text."""
    return [f"{eye} eye. {text}" if eye else text for eye, text in zip(rows["eye"], rows["text"], strict=True)]


def _of_reading(read: Reading) -> list[Finding]:
    told = f"{read.unknown:.1%} of the tokens are unknown to this base, and {read.pieces:.1f} tokens make a word"
    if read.unknown >= UNREADABLE:
        found = [Finding("stop", f"This base can't read this text: take another. {told}.")]
    elif read.unknown >= UNKNOWN:
        found = [Finding("look", f"{told}: {read.touched:.0%} of the texts hold words that the model never sees.")]
    elif read.pieces >= PIECES:
        found = [Finding("look", f"{told}: this vocabulary was hardly made for this language. Try another base.")]
    else:
        found = [Finding("fine", f"The base reads this text: {told}.")]
    if read.cut:
        gravity = "look" if read.cut >= CUT else "fine"
        found.append(Finding(gravity, f"{read.cut:.1%} of the texts are longer than the model reads, and are cut."))
    return found


def _of_size(test: "pd.DataFrame") -> Finding:
    rows, patients = len(test), test["patient_id"].nunique()
    of = f"{rows:,} test rows" + (f" of {patients:,} patients" if patients < rows else "")
    width = points(patients)
    if width > WIDE:
        return Finding(
            "look",
            f"{of}: nothing below can be relied on, a score is known to plus or minus {width} points; "
            f"200 would give plus or minus {points(200)} points.",
        )
    if width > ROUGH:
        return Finding("look", f"{of}: a score is known to plus or minus {width} points, so small gains don't show.")
    return Finding("fine", f"{of}: a score is known to plus or minus {max(width, 1)} point{'s' * (width > 1)}.")


def _of_dev(dev: "pd.DataFrame") -> list[Finding]:
    if len(dev) >= FEW:
        return []
    return [Finding("look", f"{len(dev):,} dev rows: too few to choose a threshold or a temperature on.")]


def _of_labels(frames: Mapping[str, "pd.DataFrame"], names: Sequence[str]) -> list[Finding]:
    found = []
    rows = sum(map(len, frames.values()))
    each = np.sum([np.bincount(part["grade"], minlength=len(names)) for part in frames.values()], axis=0)
    top = int(np.argmax(each))
    if each[top] >= LOPSIDED * rows:
        found.append(
            Finding(
                "look",
                f'"{names[top]}" is the label of {each[top] / rows:.0%} of the rows: who always says so is right as often. '
                "Go by macro F1 and by the recall of each label, not by the share that is right.",
            )
        )
    for part in ("dev", "test"):
        absent = [f'"{name}"' for i, name in enumerate(names) if i not in set(frames[part]["grade"])]
        if absent:
            text = (
                f"The split {part} has no row of {', '.join(absent)}: macro F1 there is the mean over the other labels."
            )
            found.append(Finding("look", text))
    tested = np.bincount(frames["test"]["grade"], minlength=len(names))
    rare = [f'"{name}" {n}' for name, n in zip(names, tested, strict=True) if 0 < n < 10]
    if rare:
        found.append(
            Finding("look", f"Labels with fewer than ten test rows: {', '.join(rare)}. Their scores are chance.")
        )
    return found


def _of_giveaways(train: "pd.DataFrame", names: Sequence[str]) -> Finding:
    try:
        found = leaks.giveaways(
            train["text"].tolist(), [names[grade] for grade in train["grade"]], train["patient_id"].tolist()
        )
    except ValueError as error:  # too few rows, or words, to look among
        return Finding("look", f"Whether a phrase gives a label away can't be told: {error}")
    return Finding("look" if found.leaks else "fine", found.verdict)


def report(graded: "data.Graded", checkpoint: str, max_length: int = 192) -> None:
    """Print what decides whether to go on with a file: its rows, what `findings` says, and the bars on dev.

    Takes what `data.load_graded` returns, and the base as `models.base` names it.
    """
    model, tokenizer = models.grader(checkpoint, seed=0, num_labels=len(graded.names))
    print(counts(graded.frames, graded.names).to_string())
    for one in findings(graded.frames, graded.names, tokenizer, max_length):
        print(f"{'!' if one.gravity != 'fine' else ' '} {one.text}")
    dev = graded.frames["dev"]
    for name, given in bars(graded.frames, model, tokenizer).items():
        measure = macro_f1(dev["grade"])
        found = metrics.interval(dev["grade"], given["dev"], measure, dev["patient_id"], labels=len(graded.names))
        print(f"  on dev, {name}: {(given['dev'] == dev['grade']).sum():,}/{len(dev):,} right, macro F1 {found:.2f}")


def referred(graded: "data.Graded", label: object) -> list[int]:
    """Return the numbers of the labels that are referred: from the named one on, or it alone where labels have no order.

    "" refers none. Raises ValueError for a name that is no label, and for a line that leaves a split without rows on
    either side, on which nothing could be chosen or counted.
    """
    if label in ("", None):
        return []
    if str(label) not in graded.names:
        raise ValueError(f'REFERABLE is "{label}", which is no label. There are: {", ".join(graded.names)}.')
    first = graded.names.index(str(label))
    chosen = list(range(first, len(graded.names))) if graded.ordered else [first]
    for part, rows in graded.frames.items():
        n = int(rows["grade"].isin(chosen).sum())
        if n in (0, len(rows)):
            raise ValueError(
                f'With REFERABLE "{label}" {n:,} of {len(rows):,} rows of the split "{part}" are referred. '
                "Name another label, or leave it empty."
            )
    return chosen
