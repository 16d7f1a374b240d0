"""The text that people wrote, as the runs on a real base read it, and the page that says what ships."""

import pytest

from course_utils import paths
from course_utils.experiments import real
from course_utils.generate import definitions


def test_no_word_and_no_definition_is_in_two_splits():
    splits = real.defined()
    assert list(splits) == ["train", "dev", "test"] and len(splits["train"]) >= max(real.SIZES)
    for column in ("patient_id", "text"):
        seen = [set(rows[column]) for rows in splits.values()]
        assert sum(map(len, seen)) == len(set().union(*seen))
    assert all(set(rows["grade"]) == set(range(len(definitions.KINDS))) for rows in splits.values())


def test_a_file_that_was_changed_is_refused(monkeypatch):
    monkeypatch.setattr(real, "DEFINITIONS_SUM", "0" * 64)
    with pytest.raises(ValueError, match="not the file that ships"):
        real.defined.__wrapped__()


def test_the_page_names_what_ships():
    page = (paths.ROOT / "docs" / "real_text.md").read_text(encoding="utf-8")
    rows = {split: len(some) for split, some in real.defined().items()}
    assert all(f"{n:,}" in page for n in (sum(rows.values()), *rows.values()))
    assert definitions.SOURCE in page and real.DEFINITIONS_SUM in page
    kilobytes = round((paths.real_text() / "definitions.csv.gz").stat().st_size / 1000)
    assert f"{kilobytes} kB" in page
