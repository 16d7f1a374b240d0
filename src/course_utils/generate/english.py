"""Writes data_samples/general_english.csv, the general English that the bases were trained on: `python -m course_utils.generate.english`.

The paragraphs are Python's own language reference, as the Python that runs this holds it. What ships is that of Python 3.11:
another version has other texts, and a model would be scored on those. The base models were pre-trained on nine topics in
ten; every tenth is held out, to measure what a model forgets. Topics share paragraphs: one that is held out is left out of the
others.
"""

import csv
from pydoc_data.topics import topics

from course_utils import data, paths

from .reports import write_manifest


def of_topics(held_out: bool) -> list[str]:
    """Return the paragraphs of the topics that are held out, or of the others, white space made single."""
    chosen = [topics[name] for i, name in enumerate(sorted(topics)) if (i % 10 == 0) == held_out]
    cleaned = [" ".join(paragraph.split()) for text in chosen for paragraph in text.split("\n\n")]
    return [paragraph for paragraph in cleaned if 60 <= len(paragraph) <= 600 and paragraph.count(" ") > 8]


def paragraphs(held_out: bool) -> list[str]:
    """Return the held-out paragraphs, or those for pre-training: none of them is held out, in whatever case it is written."""
    kept_back = of_topics(held_out=True)
    if held_out:
        return kept_back
    known = {paragraph.casefold() for paragraph in kept_back}
    return [paragraph for paragraph in of_topics(held_out=False) if paragraph.casefold() not in known]


def main():
    """Write the file and the manifest."""
    with (paths.samples() / data.GENERAL_ENGLISH).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["part", "text"])
        rows.writerows((part, text) for part in data.PARTS for text in paragraphs(part == "held out"))
    write_manifest()


if __name__ == "__main__":
    main()
