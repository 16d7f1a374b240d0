"""Find clinical terms in a report, and write each in one standard way: NLTK's `MWETokenizer` and a dictionary.

The dictionary is `data_samples/lexicon.csv`: a surface form in English or Chinese, its standard term, a code, a kind
(finding, disease, place, eye, cue, drug, other), the language, and the source. A row of the kind "guard" is a form that
holds a shorter one and means something else ("mg OD" is no right eye): the longest form wins, and nothing is done to it.
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
WORDS = {"HE", "MA", "RE", "LE", "OD", "OS", "IN", "IT", "ST", "DR", "MI", "PRESENT"}


class Mention(NamedTuple):
    """A term in a text: its place, how it is written there, and the lexicon's standard term, code and kind."""

    start: int
    end: int
    form: str
    standard: str
    code: str
    kind: str


def lexicon(path: str | Path | None = None) -> list[dict[str, str]]:
    """Return the rows of a lexicon, the course's own if no path is given.

    Raises FileNotFoundError if there is no such file, ValueError for a missing column, an empty form or a form twice.
    """
    path = Path(path or paths.samples() / "lexicon.csv").expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no lexicon {path}. Get data_samples/lexicon.csv back from the repository.")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    needed = {"form", "standard", "code", "kind", "language", "source"}
    missing = needed - set(rows[0] if rows else ())
    if missing:
        raise ValueError(
            f"{path.name} needs the columns {', '.join(sorted(needed))}; {', '.join(sorted(missing))} is missing."
        )
    forms = [row["form"] for row in rows]
    wrong = next((form for form in forms if not form.strip() or forms.count(form) > 1), None)
    if wrong is not None:
        raise ValueError(
            f'{path.name} has the form "{wrong}" {"empty" if not wrong.strip() else "twice"}; each row needs its own.'
        )
    return rows


def mentions(text: str, kinds: Collection[str] | None = None) -> list[Mention]:
    """Return the terms in a text, in their order: longest match first, none inside a word, none overlapping.

    An abbreviation counts only as the lexicon writes it (NVD, not nvd); everything else in any case.
    `kinds` keeps only terms of these kinds.
    """
    by_key, tokenizer, exact = _dictionary()
    tokens = list(TOKEN.finditer(text))
    keys = [token.group() if token.group() in exact else token.group().lower() for token in tokens]
    in_text: list[Mention] = []
    at = 0  # the number of the next token
    for joined in tokenizer.tokenize(keys):
        size = joined.count(GLUE) + 1
        first, last = tokens[at], tokens[at + size - 1]
        row = by_key.get(joined)
        form = text[first.start() : last.end()]
        if row and row["kind"] != "guard" and not _is_word(form, text, tokens, at, size):
            in_text.append(Mention(first.start(), last.end(), form, row["standard"], row["code"], row["kind"]))
        at += size
    return in_text if kinds is None else [mention for mention in in_text if mention.kind in kinds]


def normalise(text: str, kinds: Collection[str] | None = None) -> str:
    """Return the text with each term in its standard form, and with Chinese punctuation as English.

    `kinds` restricts it to terms of these kinds. Doing it twice changes nothing more.
    """
    parts: list[str] = []
    written = 0  # letters of the text that are in `parts`
    for mention in mentions(text, kinds):
        _join(parts, text[written : mention.start])
        _join(parts, mention.standard)
        written = mention.end
    _join(parts, text[written:])
    return re.sub(r"([、。，；：])(?=\S)", r"\1 ", "".join(parts)).translate(HALF_WIDTH)


def same_code(mention: Mention) -> list[dict[str, str]]:
    """Return the lexicon's rows with a mention's kind and code: all ways to write it, and for a drug those of its class."""
    return _by_code()[mention.kind, mention.code]


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


def _is_word(form: str, text: str, tokens: list[re.Match[str]], at: int, size: int) -> bool:
    """Say if an abbreviation is rather a word: all of the text is in capitals, and a neighbour is an ordinary word."""
    if form not in WORDS or any(letter.islower() for letter in text):
        return False
    by_key = _dictionary()[0]
    beside = [tokens[i].group() for i in (at - 1, at + size) if 0 <= i < len(tokens)]
    return any(word.isascii() and word.isalpha() and not {word, word.lower()} & by_key.keys() for word in beside)


@cache
def _dictionary() -> tuple[dict[str, dict[str, str]], MWETokenizer, set[str]]:
    """Return the lexicon by its forms' tokens, the tokenizer that joins them, and the tokens whose case matters."""
    rows = {row["form"]: [token.group() for token in TOKEN.finditer(row["form"])] for row in lexicon()}
    exact = {token for tokens in rows.values() for token in tokens if is_abbreviation(token)}
    by_key: dict[str, dict[str, str]] = {}
    tokenizer = MWETokenizer(separator=GLUE)
    for row in lexicon():
        key = [token if token in exact else token.lower() for token in rows[row["form"]]]
        tokenizer.add_mwe(key)
        by_key[GLUE.join(key)] = row
    return by_key, tokenizer, exact


@cache
def _by_code() -> dict[tuple[str, str], list[dict[str, str]]]:
    rows = lexicon()
    keys = {(row["kind"], row["code"]) for row in rows}
    return {key: [row for row in rows if (row["kind"], row["code"]) == key] for key in keys}
