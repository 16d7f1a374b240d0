"""A record is made from an eye's facts, written and read back; what is no record is refused; made-up findings are counted."""

import pandas as pd
import pytest
import regex

from course_utils import records
from course_utils.records import Record

FULL = Record(("MA", "IRH 4+", "VB 2", "DME"), 3, True)


def test_the_facts_become_a_record_and_the_record_its_text():
    assert records.told("MA 24;IRH 1234;heavy;VB 12;not central", 3) == FULL
    assert records.told("-", 0) == Record((), 0, False)
    assert records.told("MA 1;central", 1) == Record(("MA", "DME"), 1, True)
    assert records.told("MA 2;GRID", 1) == Record(("MA", "GRID"), 1, False)
    assert records.told("IRH 34;LASER", 4).findings == ("IRH 2", "PRP")
    assert records.write(FULL) == '{"findings":["MA","IRH 4+","VB 2","DME"],"grade":3,"refer":true}'


def test_what_is_written_can_be_read():
    for record in (FULL, Record((), 0, False), Record(tuple(records.told("NVD;VH", 4).findings), 4, True)):
        assert records.read(records.write(record)) == record
    assert records.read(' {"grade": 3, "refer": true, "findings": ["DME", "IRH 4+", "VB 2", "MA"]}\n') == FULL


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "grade 3",
        "3",
        "[]",
        '{"findings":["MA"],"grade":1}',
        '{"findings":["MA"],"grade":1,"refer":false',
        '{"findings":["MA"],"grade":1,"refer":false} and more',
        '{"findings":["MA","MA"],"grade":1,"refer":false}',
        '{"findings":["drusen"],"grade":1,"refer":false}',
        '{"findings":["IRH"],"grade":2,"refer":true}',
        '{"findings":["VB 5"],"grade":3,"refer":true}',
        '{"findings":["VB 2+"],"grade":3,"refer":true}',
        '{"findings":[3],"grade":1,"refer":false}',
        '{"findings":"MA","grade":1,"refer":false}',
        '{"findings":["MA"],"grade":5,"refer":true}',
        '{"findings":["MA"],"grade":"1","refer":false}',
        '{"findings":["MA"],"grade":true,"refer":false}',
        '{"findings":["MA"],"grade":1,"refer":0}',
        '{"findings":["MA"],"grade":1,"refer":false,"note":"x"}',
    ],
)
def test_what_is_no_record_is_none(answer):
    assert records.read(answer) is None
    assert records.grades([answer, records.write(FULL)]).tolist() == [records.INVALID, 3]


def test_the_form_is_every_record_and_its_beginnings():
    form = regex.compile(records.FORM)
    for record in (FULL, Record((), 0, False), Record(("MA",), 1, False), Record(("HE", "CWS"), 2, True)):
        text = records.write(record)
        assert form.fullmatch(text)
        assert all(form.fullmatch(text[:n], partial=True) for n in range(len(text)))
    for wrong in (
        '{"findings":[,',
        '{"findings":["MA""',
        '{"findings":["HE","MA',
        '{"findings":["MA",]',
        '{"grade"',
        " ",
    ):
        assert not form.fullmatch(wrong, partial=True)


def test_the_lowest_grade_follows_the_scale():
    cases = {(): 0, ("MA",): 1, ("DME",): 1, ("IRH 4",): 2, ("IRH 3+",): 2, ("IRH 4+",): 3, ("VB 1",): 2, ("VB 2",): 3}
    cases |= {("IRMA 1",): 3, ("MA", "PRP"): 4, ("NVE",): 4, ("GRID",): 1, ("CWS",): 2}
    for findings, grade in cases.items():
        assert records.least(Record(findings, 0, False)) == grade


def test_what_is_made_up_and_what_is_missed():
    truth = [FULL, FULL, FULL, Record((), 0, False)]
    said = [
        FULL,
        Record(("MA", "IRH 4+", "HE"), 2, True),
        None,
        Record(("VH",), 1, False),
    ]
    found = records.counted([records.write(one) if one else "no record" for one in said], truth)
    assert found["valid"].tolist() == [True, True, False, True]
    assert found["right"].tolist() == [True, False, False, False]
    assert found["refer"].tolist() == [True, True, False, True]
    assert found["places"].tolist() == [True, False, False, False]
    assert found["agrees"].tolist() == [True, False, False, False]
    assert found["named"].tolist() == [4, 3, 0, 1]
    assert found["made_up"].tolist() == [0, 1, 0, 1]
    assert found["missed"].tolist() == [0, 2, 4, 0]
    assert found["there"].tolist() == [4, 4, 4, 0]
    with pytest.raises(ValueError, match="3 answers and 4 true records"):
        records.counted(["", "", ""], truth)


def test_rows_get_their_records_from_the_file_of_facts(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    records._facts.cache_clear()
    rows = pd.DataFrame({"report_id": ["R1", "R1"], "eye": ["right", "left"], "grade": [2, 0]})
    with pytest.raises(FileNotFoundError, match="make pictures"):
        records.with_facts(rows)
    (tmp_path / "dr_pictures.csv").write_text("report_id,eye,facts\nR1,right,IRH 12\nR1,left,-\n", encoding="utf-8")
    assert records.with_facts(rows)["record"].tolist() == [Record(("IRH 2",), 2, True), Record((), 0, False)]
    with pytest.raises(ValueError, match="no facts of 1 rows, such as report R9"):
        records.with_facts(rows.assign(report_id=["R1", "R9"]))
    records._facts.cache_clear()
