"""Grade reports with an exported folder. Needs onnxruntime, tokenizers and numpy, and nothing else: no torch.

    grader = serve.load("dr-grader-1")
    grader.grade("Haemorrhages in four quadrants of the left eye.", eye="left")

or `python -m course_utils.serve dr-grader-1 reports.csv > graded.csv` for a CSV with the columns `eye,text`, which is
read and answered line by line. Each report is graded alone. Int8 needs that: it scales a whole batch by its largest
numbers, so an answer would depend on the reports beside it. `export.pack` makes such a folder.
"""

import argparse
import csv
import json
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from course_utils import paths, tables
from course_utils.validate import NO_TEXT

FORMAT = 1  # of contract.json
MANIFEST, CONTRACT, MODEL, VOCABULARY = "MANIFEST.sha256", "contract.json", "model.onnx", "tokenizer.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOLERANCE = (
    0.05  # how far an example's probability may be from the one in the contract; other processors round otherwise
)
LONGEST = 20_000  # characters of a report that are looked at
AGAIN = "Copy the whole folder again from where it was exported."
COLUMNS = ("row", "grade", "label", "probability", "note")


class Answer(NamedTuple):
    """What a grader says of one report: without a grade where it can't read the report, and then `note` says why."""

    grade: int | None
    label: str
    probability: float | None
    note: str


@dataclass(frozen=True)
class Grader:
    """An exported model that is loaded and has answered its own examples right."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer
    contract: dict

    def grade(self, text: str, eye: str = "") -> Answer:
        """Return the Answer for one report. Whatever the text is, there is an answer."""
        refusal = self._unreadable(text, eye)
        if refusal:
            return Answer(None, "", None, refusal)
        encoding = self.tokenizer.encode(eye, text[:LONGEST])
        known = known_words(self.tokenizer, encoding)
        if known < self.contract["known_words"]:
            note = (
                f"the model knows {known:.0%} of these words: is this a report, in a language that it was trained on?"
            )
            return Answer(None, "", None, note)
        probabilities = softmax(logits(self.session, [encoding]))[0]
        best = int(probabilities.argmax())
        read = self.contract["max_tokens"]
        cut = f"too long: the first {read} tokens were read" if encoding.overflowing or len(text) > LONGEST else ""
        return Answer(best, self.contract["labels"][best], float(probabilities[best]), cut)

    def _unreadable(self, text: object, eye: object) -> str:
        """Return what is wrong with a report before any model sees it, or nothing."""
        if not isinstance(text, str) or text.strip().lower() in NO_TEXT:
            return "there is no text"
        eyes = self.contract["eyes"]
        if eye not in eyes:
            return f'the eye is "{str(eye)[:20]}"; write {" or ".join(eyes)}'
        start = text[:LONGEST]
        odd = sum(c == "\ufffd" or (unicodedata.category(c)[0] == "C" and not c.isspace()) for c in start)
        return f"{odd} of {len(start)} characters are no text: is this a binary file?" if 20 * odd > len(start) else ""

    def grade_csv(self, path: str | Path, bar: bool = False) -> Iterator[tuple[int, Answer]]:
        """Yield (row, Answer) for each record of a CSV, row 1 being the first below the header, and hold one at a time.

        Takes a path with the columns `text` and `eye` (the latter only if the contract names eyes). `bar` draws a
        progress bar on stderr. A row that can't be read as one has a note and no grade, so no answer stands beside
        another row; `tables.read` says what a row is.
        Raises FileNotFoundError if there is no such file, ValueError if it is no table or has no such columns.
        """
        table, needed = tables.read(path), ["text"] + (["eye"] if self.contract["eyes"] != [""] else [])
        missing = [name for name in needed if table.header.count(name) != 1]
        if missing:
            present = ", ".join(name[:40] for name in table.header[:20]) or "nothing"
            raise ValueError(
                f"{table.path.name} needs the column {' and the column '.join(missing)}, once; it has: {present}."
            )
        places = [table.header.index(name) for name in needed]
        for row, (line, fields, fault) in enumerate(_watched(table) if bar else table.records(), 1):
            if fault or fields is None:
                yield (
                    row,
                    Answer(None, "", None, f"line {line} can't be read: {fault.what} {fault.mend}" if fault else ""),
                )
            else:
                yield row, self.grade(*(fields[place] for place in places))


def load(folder: str | Path, threads: int = 1) -> Grader:
    """Check an exported folder and return its Grader.

    Each file must be the one that was exported, the parts must fit each other, and the model must answer the contract's
    examples as it did when it was exported.
    Raises FileNotFoundError for a missing folder or file, ValueError for a damaged, strange or mismatched one.
    """
    folder = Path(folder)
    check_files(folder)
    contract = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    if contract.get("format") != FORMAT:
        raise ValueError(
            f"{folder} has format {contract.get('format')}; this version reads format {FORMAT}. Update it."
        )
    session = open_model(folder / MODEL, threads)
    tokenizer = open_tokenizer(folder / VOCABULARY, contract["max_tokens"])
    grader = Grader(session, tokenizer, contract)
    _fits(grader, folder)
    return grader


def check_files(folder: Path) -> None:
    """Raise FileNotFoundError or ValueError unless each file of an exported folder is there and unchanged."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise FileNotFoundError(f"{folder} is no exported folder: it has no {MANIFEST}. {AGAIN}")
    lines = [line.split("  ", 1) for line in manifest.read_text(encoding="utf-8", errors="replace").splitlines()]
    expected = {line[1]: line[0] for line in lines if len(line) == 2}
    for name in sorted({CONTRACT, MODEL, VOCABULARY} | set(expected)):
        if name not in expected:
            raise ValueError(f"{MANIFEST} of {folder} does not name {name}, so nothing vouches for it. {AGAIN}")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}. {AGAIN}")
        if paths.sha256(folder / name) != expected[name]:
            raise ValueError(
                f"{name} in {folder} is not the file that was exported: it was cut short or changed. {AGAIN}"
            )


def open_model(path: str | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session for a model file, on the CPU, with that many threads.

    Raises ValueError, with the runtime's reason, for a file that it can't load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, so they need not be logged too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would keep a core busy
    try:
        return onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],  # slower on a CPU than its parts: measured in notebook 12
        )
    except Exception as error:  # the runtime's own classes, one for each kind of failure
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"ONNX Runtime {onnxruntime.__version__} can't load {Path(path).name}: {reason}") from error


def open_tokenizer(path: str | Path, max_tokens: int) -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, which cuts a pair of eye and report to `max_tokens` and pads nothing.

    Raises ValueError for a file that is none.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{Path(path).name} is no tokenizer: {error}") from error
    tokenizer.enable_truncation(max_tokens)
    tokenizer.no_padding()
    return tokenizer


def logits(session: onnxruntime.InferenceSession, encodings: Iterable[Encoding]) -> np.ndarray:
    """Return the logits of each report, an array (reports, grades). Each is graded alone, so none needs padding."""
    names = {model_input.name for model_input in session.get_inputs()}
    rows = []
    for encoding in encodings:
        feed = dict(zip(INPUTS, (encoding.ids, encoding.attention_mask, encoding.type_ids), strict=True))
        rows.append(session.run(None, {name: np.array([ids]) for name, ids in feed.items() if name in names})[0][0])
    return np.stack(rows).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    """Return probabilities for logits, over the last axis."""
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def known_words(tokenizer: Tokenizer, encoding: Encoding) -> float:
    """Return the share of a report's words that the vocabulary holds whole: low for a language that it was not made for.

    The report is the second text of a pair, or the only one.
    """
    unknown = getattr(tokenizer.model, "unk_token", None)
    last = encoding.n_sequences - 1
    pieces = [
        (word, token)
        for word, token, sequence in zip(encoding.word_ids, encoding.tokens, encoding.sequence_ids, strict=True)
        if sequence == last
    ]
    counts, missing = Counter(word for word, _ in pieces), {word for word, token in pieces if token == unknown}
    return sum(n == 1 and word not in missing for word, n in counts.items()) / max(1, len(counts))


def _fits(grader: Grader, folder: Path) -> None:
    """Raise ValueError unless model, tokenizer and contract belong together."""
    inputs, labels = {model_input.name for model_input in grader.session.get_inputs()}, len(grader.contract["labels"])
    if not inputs <= set(INPUTS):
        raise ValueError(f"{MODEL} in {folder} asks for {', '.join(sorted(inputs))}: it is no grader. {AGAIN}")
    size = grader.tokenizer.get_vocab_size()
    if size != grader.contract["vocabulary"]:
        raise ValueError(
            f"{VOCABULARY} in {folder} has {size:,} pieces and the model was trained with "
            f"{grader.contract['vocabulary']:,}: it is another model's. {AGAIN}"
        )
    for example in grader.contract["examples"]:
        try:
            answer = logits(grader.session, [grader.tokenizer.encode(example["eye"], example["text"])])
        except Exception as error:  # an id beyond the model's vocabulary, a length that it was not exported for
            raise ValueError(f"{MODEL} in {folder} can't read what {VOCABULARY} writes: {error} {AGAIN}") from error
        if answer.shape[1] != labels:
            raise ValueError(
                f"{MODEL} in {folder} gives {answer.shape[1]} grades; the contract names {labels}. {AGAIN}"
            )
        off = abs(softmax(answer)[0] - example["probabilities"]).max()
        if off > TOLERANCE:
            raise ValueError(
                f'{folder} answers the example "{example["text"][:40]}" otherwise than when it was exported: '
                "its files don't belong together, or this processor rounds int8 too roughly (README.md says what helps)."
            )


def _watched(table: tables.Table) -> Iterator[tables.Record]:
    """Yield the records of a table, and draw on stderr how the file was read and how much of it is done."""
    for note in table.notes:
        print(note, file=sys.stderr)
    count, rows = 0, sum(1 for _ in table)
    began = drawn = time.monotonic()
    for count, record in enumerate(table.records(), 1):
        yield record
        if time.monotonic() - drawn > 0.5:
            drawn = time.monotonic()
            filled = "#" * (30 * count // rows)
            speed = count / (drawn - began)
            print(f"\rgrading {count / rows:4.0%} |{filled:30}| {speed:,.0f} rows/s", end="", file=sys.stderr)
    print(f"\rgrading 100% |{'#' * 30}| {count:,} rows in {time.monotonic() - began:.1f} s", file=sys.stderr)


def _answers(grader: Grader, options: argparse.Namespace) -> Iterable[tuple[int, Answer]]:
    """Return (row, Answer) for the one text of the command line, or for each row of its CSV."""
    if options.text is None:
        return grader.grade_csv(options.csv, bar=True)
    return [(1, grader.grade(options.text, options.eye))]


def main(arguments: list[str] | None = None) -> int:
    """Grade a CSV or one text from the command line; return the exit status, 2 if the folder or the file is refused."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.serve", description="Grade reports with no torch.")
    parser.add_argument("folder", type=Path, help="what export.pack wrote")
    parser.add_argument("csv", type=Path, nargs="?", help="a CSV with the columns eye and text; answers go to stdout")
    parser.add_argument("--text", help="one report, in place of a CSV")
    parser.add_argument("--eye", default="", help="the eye to grade, with --text")
    options = parser.parse_args(arguments)
    if (options.csv is None) == (options.text is None):
        parser.error("give a CSV, or one report with --text")
    try:
        grader = load(options.folder)
        answers = _answers(grader, options)
        out = csv.writer(sys.stdout, lineterminator="\n")
        out.writerow(COLUMNS)
        for row, (grade, label, probability, note) in answers:
            printed = "" if probability is None else f"{probability:.4f}"
            out.writerow([row, "" if grade is None else grade, label, printed, note])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
