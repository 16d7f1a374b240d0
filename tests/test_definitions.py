"""WordNet's definitions as labelled text: what is taken of an entry, the same bytes each time, and another source is refused."""

import csv
import gzip

from course_utils import paths
from course_utils.generate import definitions

LICENCE = "  1 This software and database is being provided to you"
ENTRIES = [
    '05216365 08 n 02 living_body 0 flesh 0 001 @ 00001740 n 0000 | the body of a living animal; "the living body"  ',
    "14061805 26 n 01 disease 0 001 @ 00001740 n 0000 | an impairment of health  ",
    "14061806 26 n 01 illness 0 000 | an impairment of health",
    "00001740 03 n 01 entity 0 000 | that which exists",
]


def test_entries_of_the_five_kinds_are_taken_once_each():
    found = definitions.entries("\n".join([LICENCE, *ENTRIES]))
    assert found == [
        {"word": "living body", "text": 'the body of a living animal; "the living body"', "grade": 0},
        {"word": "disease", "text": "an impairment of health", "grade": 3},
    ]


def test_the_same_rows_give_the_same_bytes():
    rows = definitions.entries("\n".join(ENTRIES))
    assert definitions.written(rows) == definitions.written(rows)
    read = list(csv.DictReader(gzip.decompress(definitions.written(rows)).decode().splitlines()))
    assert [row["split"] for row in read] == [definitions.split_of(row["word"]) for row in rows]


def test_another_source_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "data.noun").write_text("\n".join(ENTRIES))
    monkeypatch.setattr("sys.argv", ["definitions", str(tmp_path / "data.noun")])
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert definitions.main() == 1 and "docs/real_text.md" in capsys.readouterr().err
    assert not (tmp_path / "real_text").exists()
    monkeypatch.setattr(definitions, "SOURCE", paths.sha256(tmp_path / "data.noun"))
    assert definitions.main() == 0 and (tmp_path / "real_text" / "definitions.csv.gz").is_file()
