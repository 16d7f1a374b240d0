"""Find clinical terms in a report, and write each in one standard way: NLTK's `MWETokenizer` and a dictionary.

The dictionary is `data_samples/lexicon.csv`: a surface form in English or Chinese, its standard term, a code, a kind
(finding, disease, place, eye, cue, drug, other), the language, and the source. A row of the kind "guard" is a form that
holds a shorter one and means something else ("mg OD" is no right eye): the longest form wins, and nothing is done to it.
A lexicon of your own in this form can take its place.
"""

import csv
import re
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import NamedTuple

from nltk.tokenize import MWETokenizer

from course_utils import paths

HAN = "\u3400-\u9fff"
# a Chinese character is a token, since Chinese has no spaces; a hyphen inside a word is none, so "dot-blot" is "dot blot"
TOKEN = re.compile(rf"[{HAN}]|[^\W_{HAN}]+|(?!(?<=[^\W\d_])[-\u2010\u2011](?=[^\W\d_]))[^\w\s]|_")
GLUE = " "  # what MWETokenizer puts between the tokens that it joins; no token holds it
HALF_WIDTH = str.maketrans({"、": ",", "。": ".", "，": ",", "；": ";", "：": ":", "（": "(", "）": ")"})
# abbreviations that are words as well: where all is in capitals they count only away from ordinary words
# how a drug is released, where a drug or a dose stands beside it: "duloxetine DR 30 mg" is no disease
RELEASES = {"DR", "ER", "MR", "SR", "XR"}
DOSE = re.compile(
    r"[\s(-]*(?:\d+(?:[.,]\d+)?\s*(?:mg|mcg|µg|ug|g|ml|units?|iu)\b|(?:tab|cap|pill|granule)\w*)", re.IGNORECASE
)
DELAYED = re.compile(  # drugs that are sold so, by the stems of their names
    r"(?:prazole|oxetine|cycline|sal[ai][zm]ine|fenac|proxen|profen|valproex|valproate|aspirin|dronate|sonide|phenolate)[\s(-]*$",
    re.IGNORECASE,
)
WORDS = {"HE", "MA", "RE", "LE", "OD", "OS", "IN", "IT", "ST", "DR", "MI", "PRESENT"}


class Mention(NamedTuple):
    """A term in a text: its place, how it is written there, and the lexicon's standard term, code and kind."""

    start: int
    end: int
    form: str
    standard: str
    code: str
    kind: str


class _Dictionary(NamedTuple):
    """A lexicon by its forms' tokens, the tokenizer that joins them, and the tokens whose case matters."""

    rows: dict[str, dict[str, str]]
    tokenizer: MWETokenizer
    exact: set[str]


def lexicon(path: str | Path | None = None) -> list[dict[str, str]]:
    """Return the rows of a lexicon, the course's own if no path is given.

    Raises FileNotFoundError if there is no such file, ValueError for a missing column, and with its line for a row without
    form, standard or kind and for a form that comes twice.
    """
    path = _file(path).path
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        needed = ("form", "standard", "code", "kind", "language", "source")
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path.name} needs the columns {', '.join(needed)}; {', '.join(missing)} is missing.")
        rows: list[dict[str, str]] = []
        line_of: dict[str, int] = {}
        for row in reader:
            where = f"{path.name}, line {reader.line_num}"
            empty = next((name for name in ("form", "standard", "kind") if not (row[name] or "").strip()), None)
            if empty:
                raise ValueError(f"{where}: {empty} is empty. Fill it, or delete the line.")
            if row["form"] in line_of:
                raise ValueError(f'{where}: the form "{row["form"]}" is in line {line_of[row["form"]]}, too. Keep one.')
            line_of[row["form"]] = reader.line_num
            rows.append({name: row[name] or "" for name in row if name is not None})
    return rows


def mentions(text: str, kinds: Collection[str] | None = None, lexicon: str | Path | None = None) -> list[Mention]:
    """Return the terms in a text, in their order: longest match first, none inside a word, none overlapping.

    An abbreviation counts only as the lexicon writes it (NVD, not nvd); everything else in any case.
    `kinds` keeps only terms of these kinds. `lexicon` is a file in place of the course's, which is read again when it has
    changed; it raises what the function `lexicon` raises.
    """
    known = _dictionary(_file(lexicon))
    tokens = list(TOKEN.finditer(text))
    keys = [token.group() if token.group() in known.exact else token.group().lower() for token in tokens]
    in_capitals = not any(letter.islower() for letter in text)
    in_text: list[Mention] = []
    at = 0  # the number of the next token
    for joined in known.tokenizer.tokenize(keys):
        size = joined.count(GLUE) + 1
        first, last = tokens[at], tokens[at + size - 1]
        row = known.rows.get(joined)
        form = text[first.start() : last.end()]
        word = in_capitals and form in WORDS and _has_word_beside(tokens, at, size, known)
        if row and row["kind"] != "guard" and not word and not _is_release(form, text, first.start(), in_text):
            in_text.append(Mention(first.start(), last.end(), form, row["standard"], row["code"], row["kind"]))
        at += size
    return in_text if kinds is None else [mention for mention in in_text if mention.kind in kinds]


def normalise(text: str, kinds: Collection[str] | None = None, lexicon: str | Path | None = None) -> str:
    """Return the text with each term in its standard form, and with Chinese punctuation as English.

    `kinds` restricts it to terms of these kinds; `lexicon` is a file in place of the course's. Doing it twice changes
    nothing more.
    """
    parts: list[str] = []
    written = 0  # letters of the text that are in `parts`
    for mention in mentions(text, kinds, lexicon):
        _join(parts, text[written : mention.start])
        _join(parts, mention.standard)
        written = mention.end
    _join(parts, text[written:])
    return re.sub(r"([、。，；：])(?=\S)", r"\1 ", "".join(parts)).translate(HALF_WIDTH)


def same_code(mention: Mention, lexicon: str | Path | None = None) -> list[dict[str, str]]:
    """Return the lexicon's rows with a mention's kind and code: all ways to write it, and for a drug those of its class."""
    return _by_code(_file(lexicon))[mention.kind, mention.code]


def is_abbreviation(token: str) -> bool:
    """Say if a word's case matters: it has two capitals, as NVD and IRMAs have."""
    return sum(letter.isupper() for letter in token) > 1


def _join(parts: list[str], text: str) -> None:
    """Append a text, with a space before it where two words would stick together."""
    if not text:
        return
    if parts and re.match(r"\w", text) and re.search(r"[\w,.;)]$", parts[-1]):
        parts.append(" ")
    parts.append(text)


def _has_word_beside(tokens: list[re.Match[str]], at: int, size: int, known: _Dictionary) -> bool:
    """Say if a neighbour is an ordinary word: beside one, an abbreviation in a text of capitals is rather a word."""
    beside = [tokens[i].group() for i in (at - 1, at + size) if 0 <= i < len(tokens)]
    return any(word.isascii() and word.isalpha() and not {word, word.lower()} & known.rows.keys() for word in beside)


def _is_release(form: str, text: str, start: int, before: list[Mention]) -> bool:
    """Say if an abbreviation tells how a drug is released: it stands before a dose, or after a drug."""
    if form not in RELEASES:
        return False
    drug = before and before[-1].kind == "drug" and not text[before[-1].end : start].strip(" (-")
    return bool(drug or DOSE.match(text, start + len(form)) or DELAYED.search(text[max(0, start - 40) : start]))


def _file(path: str | Path | None) -> paths.File:
    """Return a lexicon's file, the course's own if no path is given, as it is now."""
    return paths.file(path, "lexicon.csv", "lexicon")


@cache
def _dictionary(file: paths.File) -> _Dictionary:
    """Return a lexicon, ready to find its terms.

    Raises ValueError if two forms of it differ in case or white space alone and mean different things.
    """
    rows = lexicon(file.path)
    tokens_of = [[token.group() for token in TOKEN.finditer(row["form"])] for row in rows]
    exact = {token for tokens in tokens_of for token in tokens if is_abbreviation(token)}
    known = _Dictionary({}, MWETokenizer(separator=GLUE), exact)
    for row, tokens in zip(rows, tokens_of, strict=True):
        key = [token if token in exact else token.lower() for token in tokens]
        same = known.rows.setdefault(GLUE.join(key), row)
        if any(same[name] != row[name] for name in ("standard", "code", "kind")):
            raise ValueError(
                f'{file.path.name}: "{same["form"]}" and "{row["form"]}" are one form to the course. Keep one.'
            )
        known.tokenizer.add_mwe(key)
    return known


@cache
def _by_code(file: paths.File) -> dict[tuple[str, str], list[dict[str, str]]]:
    """Return the rows of a lexicon by kind and code."""
    rows_of: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in lexicon(file.path):
        rows_of.setdefault((row["kind"], row["code"]), []).append(row)
    return rows_of
