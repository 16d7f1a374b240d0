"""Grade reports with an exported folder. Needs onnxruntime, tokenizers and numpy, and nothing else: no torch.

    grader = serve.load("dr-grader-1")
    grader.grade("Haemorrhages in four quadrants of the left eye.", eye="left")

or `python -m course_utils.serve dr-grader-1 reports.csv > graded.csv` for a CSV with the columns `eye,text`, which is
read and answered line by line; `python grade.py reports.csv` does the same inside such a folder, where the package is not
installed. The exit status is 0 if each report was graded, 1 if some were not, 3 if none was, 2 if the folder or the file is
refused. Each report is graded alone. Int8 needs that: it scales a whole batch by its largest numbers, so an answer would
depend on the reports beside it. `export.pack` makes such a folder.
"""

import argparse
import csv
import hashlib
import json
import re
import shutil
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from course_utils import paths, tables

try:
    from tokenizers import Encoding, Tokenizer

    from course_utils import engines
    from course_utils.engines import MODEL, open_model  # noqa: F401 - whoever reads files with `serve` opens them so, too
except ImportError as error:
    needed = "Grading with an exported folder needs onnxruntime and tokenizers"
    raise ImportError(
        f"{needed}: pip install -r requirements.txt of the folder, or 'finetune-course[serve]'"
    ) from error

FORMAT = 2  # of contract.json
MANIFEST, CONTRACT, VOCABULARY = "MANIFEST.sha256", "contract.json", "tokenizer.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOLERANCE = (
    0.05  # how far an example's probability may be from the one in the contract; other processors round otherwise
)
LONGEST = 20_000  # characters of a report that are looked at, more for a model that reads more
AGAIN = "Copy the whole folder again from where it was exported."
IDS = ("report_id", "id")  # the columns that are carried through without being asked for, the first that is there
ALL, SOME, REFUSED, NONE = 0, 1, 2, 3  # exit status: which reports were graded; the folder or the file was refused
STATUS = (
    "Exit status: 0 if each report was graded, 1 if some were not, 3 if none was, 2 if the folder or file is refused."
)
SIDES = {  # how an eye is written, as `tables.plain` has it
    "left": {"left", "l", "lt", "lefteye", "lefteyes", "leye", "lteye", "os", "le", "oculussinister", "左", "左眼"},
    "right": {"right", "r", "rt", "righteye", "righteyes", "reye", "rteye", "od", "re", "oculusdexter", "右", "右眼"},
}
NO_SPACES = "\u3040-\u30ff\u3400-\u9fff"  # Chinese and Japanese, written without spaces between the words
HALF = re.compile("[\ud800-\udfff]")  # JSON may hold such a one
WORDS = re.compile(rf"[{NO_SPACES}]+|[^\W\d_{NO_SPACES}]+")


class Answer(NamedTuple):
    """What a grader says of one report: without a grade where it can't or shall not give one, and then `note` says why.

    Such a note begins with the kind of the reason and a colon: "no text", "wrong eye", "no report", "too long", "broken
    row", "no number". `chances` are of all grades; `calibrated` and `decision` are empty unless the contract has a
    temperature and a decision.
    """

    grade: int | None
    label: str
    probability: float | None
    note: str
    chances: tuple[float, ...] = ()
    calibrated: tuple[float, ...] = ()
    decision: str = ""


def refusal(kind: str, why: str) -> Answer:
    """Return the Answer that gives no grade."""
    return Answer(None, "", None, f"{kind}: {why}")


@dataclass(frozen=True)
class Grader:
    """An exported model that is loaded and has answered its own examples right. Several threads may ask it at once.

    `model` are the first 12 hex digits of the SHA-256 of the folder's manifest, so they name all that is in the folder.
    `engine` is the one of `engines.ENGINES` that answers.
    """

    session: engines.Session
    tokenizer: Tokenizer
    contract: dict
    model: str = ""
    engine: str = engines.DEFAULT

    @property
    def eyes(self) -> list[str]:
        """Return the eyes that can be graded; none, or only "", for a grader that reads texts alone."""
        return self.contract["eyes"]

    @property
    def asks_eye(self) -> bool:
        """True if a report needs an eye."""
        return any(self.eyes)

    @property
    def longest(self) -> int:
        """Return how many characters of a report are looked at, so that a huge one takes no more time than a long one."""
        return max(LONGEST, 32 * self.contract["max_tokens"])

    def grade(self, text: str, eye: str = "", cut: bool = False) -> Answer:
        """Return the Answer for one report. Whatever the text is, there is an answer.

        A report that is longer than the model reads gets no grade, unless `cut` asks for one by what is read of it.
        """
        unusable = self._unusable(text, eye)
        if unusable:
            return unusable
        encoding = self.encode(text, eye)
        length = self._too_long(text, eye, encoding)
        if length and not cut:
            return refusal("too long", length)
        scores = logits(self.session, [encoding])[0]
        if not np.isfinite(scores).all():
            return refusal("no number", "the model's answer is none; tell whoever exported it")
        return self._answer(scores, f"too long: {length}" if length else "")

    def answers(self, reports: Iterable[tuple[str, str]]) -> list[Answer]:
        """Return the Answer for each (text, eye), in order, each as if it were asked alone."""
        return [self.grade(text, eye) for text, eye in reports]

    def record(self, answer: Answer, id: object = None) -> dict[str, Any]:
        """Return an answer as a CSV, a line of JSON and the HTTP service give it; `columns` names the keys."""
        chances: Iterable[float | None] = answer.chances or [None] * len(self.contract["labels"])
        calm: Iterable[float | None] = answer.calibrated or [None] * len(self.contract["labels"])
        values: list[object] = [] if id is None else [id]
        values += [answer.grade, answer.label, _short(answer.probability), *map(_short, chances)]
        values += map(_short, calm) if self.contract.get("temperature") else []
        values += [answer.decision] if self.contract.get("decision") else []
        return dict(zip(self.columns(None if id is None else "id"), [*values, answer.note, self.model], strict=True))

    def columns(self, id: str | None = None) -> list[str]:
        """Return the keys of a record, in order: with "id" first, unless it is None."""
        names = [*([] if id is None else ["id"]), "grade", "label", "probability"]
        names += [f"chance {label}" for label in self.contract["labels"]]
        names += [f"calibrated {label}" for label in self.contract["labels"] if self.contract.get("temperature")]
        return [*names, *(["decision"] if self.contract.get("decision") else []), "note", "model"]

    def grade_csv(
        self, path: str | Path, bar: bool = False, id: str = "", encoding: str = "", cut: bool = False
    ) -> Iterator[tuple[object, Answer]]:
        """Yield (id, Answer) for each record of a CSV, and hold one at a time.

        Takes a path with the columns `text` and, if the grader asks for it, `eye`; the column of the ids ("": one that is
        called report_id or id, else the ids are the numbers of the rows, from 1 on); and the encoding, if it has to be
        told. `bar` draws a progress bar on stderr. A row that can't be read as one has a note, no grade, and its line as
        its id ("line 7"), so no answer stands beside another row; `tables.read` says what a row is.
        Raises FileNotFoundError if there is no such file, ValueError if it is no table or has no such columns.
        """
        table = tables.read(path, encoding)
        read = ["text", "eye"] if self.asks_eye else ["text"]
        missing = [name for name in [*read, *filter(None, [id])] if table.header.count(name) != 1]
        if missing:
            present = ", ".join(name[:40] for name in table.header[:20]) or "nothing"
            raise ValueError(
                f"{table.path.name} needs the column {' and the column '.join(missing)}, once; it has: {present}."
            )
        ids = id or next((name for name in IDS if table.header.count(name) == 1), "")
        if bar:
            numbered = "there is no column id or report_id, once, so the ids are the numbers of the rows"
            print(f'the column "{ids}" is carried through as the id' if ids else numbered, file=sys.stderr)
        text, eye = table.header.index("text"), table.header.index("eye") if self.asks_eye else None
        for row, (line, fields, fault) in enumerate(
            _watched(table, self.glued(table)) if bar else table.records(self.glued(table)), 1
        ):
            if fields is None:
                why = f"{fault.what} {fault.mend}" if fault else ""
                yield (f"line {line}" if ids else row), refusal("broken row", f"line {line} can't be read: {why}")
            else:
                answer = self.grade(fields[text], "" if eye is None else fields[eye], cut)
                yield (fields[table.header.index(ids)] if ids else row), answer

    def glued(self, table: tables.Table) -> tables.Glued:
        """Return what tells a text of several lines from rows that quotes have glued: of these, each has an eye in its place.

        A line is such a row if it has the columns of the table, no space after the signs between them, and an eye where
        the eye stands. A grader that asks for no eye can't tell.
        """
        header, between = table.header, re.compile(re.escape(table.separator) + "(?! )")
        if not self.asks_eye:
            return lambda lines: False
        first = header.index("eye") < header.index("text")  # else the eye follows a text that ends in the last line
        place = header.index("eye") if first else header.index("eye") - len(header)

        def glued(lines: list[str]) -> bool:
            edge = between.split(lines[0] if first else lines[-1])
            if len(edge) < (place + 1 if first else -place):
                return False  # the first row of several has its eye: here an id or another field has lines
            rows = (between.split(line.rstrip("\r\n")) for line in (lines[1:] if first else lines[:-1]))
            return any(len(row) >= len(header) and row[place] and _eye(row[place]) in self._eyes for row in rows)

        return glued

    def grade_json(self, lines: Iterable[bytes], cut: bool = False) -> Iterator[tuple[object, Answer]]:
        """Yield (id, Answer) for each line of JSON: {"id": ..., "text": ..., "eye": ...}.

        A line that is no such object has a note and no grade. Its id is its number ("line 7"), as for one without an id.
        """
        for number, line in enumerate(lines, 1):
            try:
                report = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), **STRICT)
            except (ValueError, RecursionError) as error:
                yield f"line {number}", refusal("broken row", f"line {number} is no JSON: {str(error)[:100]}")
                continue
            if not isinstance(report, dict) or "text" not in report:
                yield f"line {number}", refusal("broken row", f'line {number} is no object with a "text"')
                continue
            id = report.get("id")
            answer = self.grade(report["text"], report.get("eye", "") if self.asks_eye else "", cut)
            yield (f"line {number}" if id is None else id), answer

    def encode(self, text: str, eye: str = "") -> Encoding:
        """Return a report as the model reads it, cut to the contract's length, with its eye if the grader reads pairs."""
        return self._read(self.tokenizer, text, eye)

    def _read(self, tokenizer: Tokenizer, text: str, eye: str) -> Encoding:
        start = self._looked_at(text)
        return tokenizer.encode(self._eyes[_eye(eye)], start) if self.eyes else tokenizer.encode(start)

    def _looked_at(self, text: str) -> str:
        return text[-self.longest :] if self.contract["truncation_side"] == "left" else text[: self.longest]

    @cached_property
    def _eyes(self) -> dict[str, str]:
        """The eye of the contract that each spelling stands for."""
        known = {_eye(eye): eye for eye in self.eyes}
        for spellings in SIDES.values():
            meant = [eye for eye in self.eyes if _eye(eye) in spellings]
            known |= {spelling: meant[0] for spelling in spellings - set(known) if len(meant) == 1}
        return known

    @cached_property
    def _words(self) -> frozenset[str]:
        """The words of the training reports, hashed."""
        digits = self.contract["words"]["known"]
        return frozenset(digits[i : i + 8] for i in range(0, len(digits), 8))

    @cached_property
    def _whole(self) -> Tokenizer:
        """A tokenizer that cuts nothing: to count with."""
        tokenizer = Tokenizer.from_str(self.tokenizer.to_str())
        tokenizer.no_truncation()
        return tokenizer

    def _unusable(self, text: object, eye: object) -> Answer | None:
        """Return the refusal of what is no report, before any model sees it, or None."""
        if not isinstance(text, str) or tables.no_text(text):
            return refusal("no text", "the report is empty")
        if not isinstance(eye, str) or (_eye(eye) not in self._eyes if self.eyes else eye.strip()):
            wanted = f"write {' or '.join(filter(None, self.eyes))}" if self.asks_eye else "this grader reads none"
            return refusal("wrong eye", f'the eye is "{str(eye)[:20]}"; {wanted}')
        if HALF.search(text):
            return refusal("no report", "there is half a character (a lone surrogate) in it, which no tokenizer reads")
        start = self._looked_at(text)
        odd = sum(c == "\ufffd" or (unicodedata.category(c)[0] == "C" and not c.isspace()) for c in start)
        if 20 * odd > len(start):
            return refusal("no report", f"{odd} of {len(start)} characters are no text: is this a binary file?")
        return self._unknown(words(start))

    def _unknown(self, found: list[str]) -> Answer | None:
        """Return the refusal of a text that has too few of the words of the training reports, or None."""
        limits = self.contract["words"]
        known = [word for word in found if hashed(word) in self._words]
        share = len(known) / max(1, len(found))
        if share < limits["share"]:
            why = (
                f"the training reports had {share:.0%} of these words, and a report has at least {limits['share']:.0%}"
            )
            return refusal("no report", f"{why}: is it one, in a language that the model was trained on?")
        if len(set(known)) < limits["least"]:
            few = f"{len(set(known))} of the training reports' words, and a report has at least {limits['least']}"
            return refusal("no report", f"there {'is' if len(set(known)) == 1 else 'are'} {few}")
        return None

    def _too_long(self, text: str, eye: str, encoding: Encoding) -> str:
        """Say how long a report is that is not read whole, or nothing."""
        part = "last" if self.contract["truncation_side"] == "left" else "first"
        beyond = len(text) > self.longest and "more than "
        if not encoding.overflowing:
            return f"it has more than {self.longest:,} characters; the {part} are read" if beyond else ""
        tokens = len(self._read(self._whole, text, eye).ids)
        return f"it has {beyond or ''}{tokens:,} tokens; the {part} {self.contract['max_tokens']:,} are read"

    def _answer(self, scores: np.ndarray, note: str) -> Answer:
        """Return the Answer that the logits of one report stand for."""
        chances = softmax(scores)
        best = int(chances.argmax())
        temperature, decision = self.contract.get("temperature"), self.contract.get("decision")
        calm = softmax(scores / temperature) if temperature else chances
        decided = ""
        if decision:
            chance = sum(calm[self.contract["labels"].index(label)] for label in decision["labels"])
            decided = f"{decision['name']}: {'yes' if chance >= decision['threshold'] else 'no'}"
        calibrated = tuple(calm.tolist()) if temperature else ()
        label = self.contract["labels"][best]
        return Answer(best, label, float(chances[best]), note, tuple(chances.tolist()), calibrated, decided)


def load(folder: str | Path, threads: int = 1, engine: str = "") -> Grader:
    """Check an exported folder and return its Grader.

    Each file must be the one that was exported, the parts must fit each other, and the model must answer the contract's
    examples as it did when it was exported. `engine` is one of `engines.ENGINES`, "" being the first, or "fastest", which
    measures for a second or two. Answers name another engine than the first beside the model.
    Raises FileNotFoundError for a missing folder or file, ValueError for a damaged, strange or mismatched one.
    """
    folder = Path(folder)
    check_files(folder)
    contract = json.loads((folder / CONTRACT).read_text(encoding="utf-8"))
    if contract.get("format") != FORMAT:
        mend = "update the package" if contract.get("format", 0) > FORMAT else "export it again"
        raise ValueError(f"{folder} has format {contract.get('format')}; this version reads format {FORMAT}: {mend}.")
    tokenizer = open_tokenizer(folder / VOCABULARY, contract["max_tokens"], contract["truncation_side"])
    measure = engine == engines.FASTEST
    session = engines.open_engine(folder, "" if measure else engine, threads)
    grader = Grader(session, tokenizer, contract, paths.sha256(folder / MANIFEST)[:12])
    if measure:
        reports = [feed(grader.encode(example["text"], example["eye"])) for example in contract["examples"]]
        engine = engines.fastest(folder, reports, threads)[0]
        grader = replace(grader, session=engines.open_engine(folder, engine, threads))
    grader = replace(grader, engine=engine or engines.DEFAULT)
    if grader.engine != engines.DEFAULT:
        grader = replace(grader, model=f"{grader.model} {engine}")
    _fits(grader, folder, engines.ENGINES[grader.engine].form)
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


def open_tokenizer(path: str | Path, max_tokens: int, side: str = "right") -> Tokenizer:
    """Return the tokenizer of a tokenizer.json, which cuts what it reads to `max_tokens` at a side and pads nothing.

    Raises ValueError for a file that is none.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{Path(path).name} is no tokenizer: {error}") from error
    tokenizer.enable_truncation(max_tokens, direction=side)
    tokenizer.no_padding()
    return tokenizer


def logits(session: engines.Session, encodings: Iterable[Encoding]) -> np.ndarray:
    """Return the logits of each report, an array (reports, grades). Each is graded alone, so none needs padding."""
    names = {model_input.name for model_input in session.get_inputs()}
    rows = []
    for encoding in encodings:
        rows.append(session.run(None, {name: ids for name, ids in feed(encoding).items() if name in names})[0][0])
    return np.stack(rows).astype(np.float32)


def feed(encoding: Encoding) -> dict[str, np.ndarray]:
    """Return a report as what a model may ask for: {input: numbers}, a batch of one."""
    columns = (encoding.ids, encoding.attention_mask, encoding.type_ids)
    return {name: np.array([ids]) for name, ids in zip(INPUTS, columns, strict=True)}


def softmax(values: np.ndarray) -> np.ndarray:
    """Return probabilities for logits, over the last axis."""
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def words(text: str) -> list[str]:
    """Return the words of a text in small letters, without numbers; of a script without spaces, pairs of characters.

    No vocabulary is asked, so a word is the same whatever the model reads it with.
    """
    found: list[str] = []
    for run in WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
        found += [run[i : i + 2] for i in range(max(1, len(run) - 1))] if re.match(f"[{NO_SPACES}]", run) else [run]
    return found


def hashed(word: str) -> str:
    """Return the 8 hex digits by which a contract knows a word."""
    return hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _eye(eye: str) -> str:
    """Return an eye as it is compared."""
    return tables.plain(eye)


def _short(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    return float(digits) if abs(float(digits)) < float("inf") else _no_constant(digits[:20])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands in it twice")  # which one is meant, nobody knows
    return fields


STRICT: dict[str, Any] = {"parse_constant": _no_constant, "parse_float": _finite, "object_pairs_hook": _once}


def _fits(grader: Grader, folder: Path, form: str) -> None:
    """Raise ValueError unless the form of the model that was opened, tokenizer and contract belong together."""
    inputs, labels = {model_input.name for model_input in grader.session.get_inputs()}, len(grader.contract["labels"])
    if not inputs <= set(INPUTS):
        raise ValueError(f"{form} in {folder} asks for {', '.join(sorted(inputs))}: it is no grader. {AGAIN}")
    size = grader.tokenizer.get_vocab_size()
    if size != grader.contract["vocabulary"]:
        raise ValueError(
            f"{VOCABULARY} in {folder} has {size:,} pieces and the model was trained with "
            f"{grader.contract['vocabulary']:,}: it is another model's. {AGAIN}"
        )
    for example in grader.contract["examples"]:
        try:
            answer = logits(grader.session, [grader.encode(example["text"], example["eye"])])
        except Exception as error:  # an id beyond the model's vocabulary, a length that it was not exported for
            raise ValueError(f"{form} in {folder} can't read what {VOCABULARY} writes: {error} {AGAIN}") from error
        if answer.shape[1] != labels:
            raise ValueError(f"{form} in {folder} gives {answer.shape[1]} grades; the contract names {labels}. {AGAIN}")
        off = abs(softmax(answer)[0] - example[engines.EXPECTED[form]]).max()
        if not off <= TOLERANCE:
            raise ValueError(
                f'{folder} answers the example "{example["text"][:40]}" otherwise than when it was exported: '
                "its files don't belong together, or this processor rounds int8 too roughly (README.md says what helps)."
            )


def _watched(table: tables.Table, glued: tables.Glued) -> Iterator[tables.Record]:
    """Yield the records of a table, and draw on stderr how the file was read and how much of it is done."""
    for note in table.notes:
        print(note, file=sys.stderr)
    count, rows = 0, sum(1 for _ in table.records(glued))
    began = drawn = time.monotonic()
    for count, record in enumerate(table.records(glued), 1):
        yield record
        if time.monotonic() - drawn > 0.5:
            drawn = time.monotonic()
            filled = "#" * (30 * count // rows)
            speed = count / (drawn - began)
            print(f"\rgrading {count / rows:4.0%} |{filled:30}| {speed:,.0f} rows/s", end="", file=sys.stderr)
    print(f"\rgrading 100% |{'#' * 30}| {count:,} rows in {time.monotonic() - began:.1f} s", file=sys.stderr)


@contextmanager
def _file(source: str) -> Iterator[Path]:
    """Yield the path of a source, "-" being standard input: a CSV is read more than once, so it is kept in a file."""
    if source != "-":
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "standard input"
        with kept.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield kept


@contextmanager
def _lines(source: str) -> Iterator[Iterable[bytes]]:
    """Yield the lines of a source, "-" being standard input, which is read as it comes."""
    if source == "-":
        yield sys.stdin.buffer
        return
    with Path(source).expanduser().open("rb") as file:
        yield file


@contextmanager
def _asked(grader: Grader, options: argparse.Namespace) -> Iterator[Iterable[tuple[object, Answer]]]:
    """Yield (id, Answer) for the one text of the command line, or for each row or line of its source."""
    if options.text is not None:
        yield [(1, grader.grade(options.text, options.eye, options.cut))]
    elif options.jsonl:
        with _lines(options.source) as lines:
            yield grader.grade_json(lines, options.cut)
    else:
        with _file(options.source) as path:
            yield grader.grade_csv(path, True, options.id, options.encoding, options.cut)


def _write(grader: Grader, answers: Iterable[tuple[object, Answer]], as_json: bool) -> Counter[str]:
    """Write each answer to stdout; return how many reports were graded, and refused for what."""
    counts: Counter[str] = Counter()
    out = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        out.writerow(grader.columns("id"))
    for id, answer in answers:
        counts["graded" if answer.grade is not None else answer.note.partition(":")[0]] += 1
        record = grader.record(answer, id)
        if as_json:
            print(json.dumps(record, ensure_ascii=False), flush=True)  # so that it can stand in a pipe
        else:
            out.writerow(record.values())
    return counts


def summary(counts: Counter[str]) -> tuple[str, int]:
    """Return a line that counts the reports, graded and refused by reason, and the exit status that says as much."""
    reasons = {name: n for name, n in counts.most_common() if name != "graded"}
    refused = sum(reasons.values())
    said = f"{counts.total():,} reports: {counts['graded']:,} graded, {refused:,} without a grade"
    said += f" ({', '.join(f'{n:,} {name}' for name, n in reasons.items())})" if reasons else ""
    return said, status(counts["graded"], refused)


def status(graded: int, refused: int) -> int:
    """Return the exit status that says whether all reports were graded, some, or none."""
    return ALL if not refused else SOME if graded else NONE


def _elsewhere(options: argparse.Namespace) -> int:
    """Start the HTTP service, or grade a folder of files: both are modules of the installed package."""
    try:
        if options.http:
            from course_utils import service

            service.run(options.folder, options.host, options.port, options.threads, engine=options.engine)
            return ALL
        from course_utils import bulk

        done = bulk.grade_folder(
            options.folder, options.source, options.to, id=options.id or None, engine=options.engine
        )
    except ImportError as error:
        extra = "http" if options.http else "bulk"
        raise ValueError(
            f"This needs the package with its extra: pip install 'finetune-course[{extra}]' ({error})"
        ) from error
    except KeyboardInterrupt as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return 130  # the usual one after Ctrl-C
    print(done, file=sys.stderr)
    return status(done.graded, done.refused)


def _options(arguments: list[str] | None, folder: Path | None) -> argparse.Namespace:
    """Return what the command line asks for, or stop with a sentence and status 2."""
    program = "python grade.py" if folder else "python -m course_utils.serve"
    parser = argparse.ArgumentParser(prog=program, description="Grade reports with no torch.", epilog=STATUS)
    if folder:
        parser.set_defaults(folder=folder)
    else:
        parser.add_argument("folder", type=Path, help="what export.pack wrote")
    what = "a CSV with the columns text and eye; with --jsonl, a file of JSON lines; with --to, a folder; - is standard input"
    parser.add_argument("source", nargs="?", help=f"{what}. Answers go to stdout, all else to stderr")
    parser.add_argument("--text", help="one report, in place of a file")
    parser.add_argument("--eye", default="", help="the eye to grade, with --text")
    parser.add_argument(
        "--jsonl",
        action="store_true",
        help='read and write a JSON object a line: {"id": 7, "text": "...", "eye": "left"}',
    )
    parser.add_argument("--id", default="", help=f"the column to carry through as the id; else {' or '.join(IDS)}")
    parser.add_argument("--encoding", default="", help="the CSV's encoding, if it can't be told")
    parser.add_argument("--cut", action="store_true", help="grade a report that is too long by what is read of it")
    parser.add_argument("--threads", type=int, default=1, help="threads for one report")
    parser.add_argument(
        "--engine",
        default="",
        help=f"what runs the model: {', '.join(engines.ENGINES)}; or {engines.FASTEST}, which measures that here",
    )
    parser.add_argument("--to", type=Path, help="grade a folder of files into this folder, and go on where it stopped")
    parser.add_argument("--http", action="store_true", help="answer requests over HTTP, on this machine")
    parser.add_argument("--host", default="127.0.0.1", help="with --http")
    parser.add_argument("--port", type=int, default=8000, help="with --http")
    options = parser.parse_args(arguments)
    given = [options.source is not None, options.text is not None, options.http]
    if sum(given) != 1 or (options.to is not None and options.source is None):
        parser.error("give a file (- is standard input), or one report with --text, or --http")
    if options.id and (options.jsonl or options.source is None):
        parser.error("--id names a column of a CSV")
    if options.eye and options.text is None:
        parser.error("--eye is for one report with --text; in a file each report has its own")
    if options.encoding and (options.jsonl or options.text is not None):
        parser.error("--encoding is for a CSV; JSON lines are UTF-8")
    if (options.http or options.to is not None) and (options.cut or options.jsonl or options.encoding):
        parser.error("--cut, --jsonl and --encoding are for a file or one report")
    if options.source not in (None, "-") and options.to is None and Path(options.source).is_dir():
        parser.error(f"{options.source} is a folder: say with --to which folder shall hold the answers")
    return options


def main(arguments: list[str] | None = None, folder: Path | None = None) -> int:
    """Grade reports from the command line; return the exit status: 0 for all, 1 for some, 3 for none, 2 for a refusal.

    Takes the arguments, the program's own if none are given, and the exported folder if the arguments don't name it.
    """
    options = _options(arguments, folder)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # elsewhere than on Linux it is not always UTF-8
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        if options.http or options.to is not None:
            return _elsewhere(options)
        grader = load(options.folder, options.threads, options.engine)
        with _asked(grader, options) as answers:
            said, ended = summary(_write(grader, answers, options.jsonl))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    print(said, file=sys.stderr)
    return ended


if __name__ == "__main__":
    sys.exit(main())
