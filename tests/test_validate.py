"""Each defect of a CSV is found, on its line, with its mend; a good file has none; no row vanishes unsaid."""

import gzip
import inspect
import random
import zipfile

import pandas as pd
import pytest

from course_utils import training, twins, validate

GOOD = "".join(f"No beading in report {i} of this patient.,{i % 5},P{i}\n" for i in range(10))
HEADER = "text,label,group\n"


def write(folder, content, encoding="utf-8"):
    path = folder / "mine.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


@pytest.fixture
def check(tmp_path):
    return lambda content, encoding="utf-8", **options: validate.check_csv(
        write(tmp_path, content, encoding), **options
    )


def only(report):
    """Return the one problem of a report."""
    assert len(report.problems) == 1, report.summary(99)
    return report.problems[0]


def adds_up(report, rows):
    return len(report.kept) + report.left_out.total() == rows


def test_a_good_file_has_no_problem(check):
    report = check(HEADER + GOOD)
    assert report.ok and report.problems == [] and report.kept == list(range(2, 12))
    assert report.summary() == "mine.csv: 10 rows can be used, 0 left out.\nNo problem was found."
    assert report.raise_if_bad() is None


@pytest.mark.parametrize(
    ("start", "end"), [("\ufeff" + HEADER, "\n"), (HEADER, "\r\n"), ("text , label,group\n", "\n")]
)
def test_a_byte_order_mark_windows_lines_and_spaces_are_fine(check, start, end):
    report = check((start + GOOD).replace("\n", end))
    assert report.problems == []
    assert next(report.rows()) == {"text": "No beading in report 0 of this patient.", "label": "0", "group": "P0"}


@pytest.mark.parametrize(
    ("row", "kind", "column", "what", "mend"),
    [
        ("a report,5,P", "bad label", "label", 'The label "5" is not allowed.', "Write one of 0, 1, 2, 3, 4."),
        ("a report,moderate,P", "bad label", "label", '"moderate" is not a number.', "Write one of 0, 1, 2, 3, 4."),
        ("a report,2.5,P", "bad label", "label", 'The label "2.5" is not allowed.', "Write one of 0, 1, 2, 3, 4."),
        ("a report,nan,P", "bad label", "label", 'The label "nan" is not allowed.', "Write one of"),
        ("a report,,P", "empty field", "label", "There is no label.", "Fill it in"),
        ("a report,1,", "empty field", "group", "There is no group.", "Fill it in"),
        (",1,P", "empty field", "text", "There is no text.", "delete the row"),
        (" \t\u3000,1,P", "empty field", "text", "There is no text.", "delete the row"),
        ("\u200b\ufeff,1,P", "empty field", "text", "There is no text.", "delete the row"),
        ("NaN,1,P", "empty field", "text", "There is no text.", "delete the row"),
        (
            "a report, with a comma,1,P",
            "wrong number of fields",
            "text",
            "4 fields and the header 3",
            "Put its fields 1 to 2",
        ),
        ("a report,1,P,more", "wrong number of fields", None, "4 fields and the header 3", "in double quotes"),
        ("a report,1", "wrong number of fields", None, "2 fields and the header 3", "in double quotes"),
        ('"a report,1,P', "broken quote", None, "A quote opens here", "Close it"),
        ('"a" report,1,P', "broken quote", None, "A quote opens here", 'twice ("")'),
    ],
)
def test_a_bad_row_is_found_on_its_line_and_left_out(check, row, kind, column, what, mend):
    report = check(f"{HEADER}{GOOD}{row}\n" + GOOD.replace("P", "Q"))
    problem = only(report)
    assert (problem.kind, problem.row, problem.column, problem.severity) == (kind, 12, column, "error")
    assert what in problem.what and mend in problem.mend
    assert not report.ok and report.left_out == {kind: 1} and adds_up(report, 21)
    with pytest.raises(ValueError, match="20 rows can be used, 1 left out"):
        report.raise_if_bad()


def test_lines_are_counted_right_after_texts_of_several_lines(check):
    report = check(HEADER + '"one\ntwo, and ""three""\n",1,P\n' + GOOD + "bad,9,P\n")
    assert only(report).row == 15 and report.kept[:2] == [2, 5]
    assert next(report.rows())["text"] == 'one\ntwo, and "three"\n'


def test_a_quote_open_to_the_end_costs_one_line(check):
    report = check(HEADER + GOOD + '"never closed,1,P\n' + GOOD.replace("P", "Q"))
    assert only(report).row == 12 and len(report.kept) == 20


def test_a_blank_line_is_a_warning(check):
    report = check(HEADER + GOOD + "\n")
    assert only(report).kind == "blank line" and report.ok and adds_up(report, 11)


def test_a_repeated_row_is_left_out_and_said(check):
    report = check(HEADER + GOOD + GOOD.splitlines()[3] + "\n")
    problem = only(report)
    assert (problem.kind, problem.row, problem.severity) == ("duplicate row", 12, "warning")
    assert "Line 5 has the same text, label, group." in problem.what
    assert report.ok and len(report.kept) == 10 and adds_up(report, 11)


def test_the_same_text_for_the_other_eye_or_another_patient_is_no_repeat(check):
    rows = "".join(f"right,MA,1,P{i}\nleft,MA,1,P{i}\n" for i in range(3))
    assert len(check("eye,text,label,group\n" + rows).kept) == 6
    assert len(check("eye,text,label,group\n" + rows, key=[]).kept) == 3
    assert len(check("visit,text,label\n1,MA,1\n2,MA,1\n").kept) == 2
    assert len(check("side,text,label,group\nR,MA,1,P\nL,MA,1,P\nL,MA,1,P\n").kept) == 2
    assert len(check("visit,text,label\n1,MA,1\n2,MA,1\n", key=["visit"]).kept) == 2


def test_a_misspelt_column_is_asked_for(check):
    problem = only(check("txt,label\na,1\n"))
    assert (problem.kind, problem.row, problem.column) == ("columns", 1, "text")
    assert problem.what == 'There is no column "text".' and 'Is it "txt"?' in problem.mend
    assert 'different values each has: "txt" (1), "label" (1).' in problem.mend


@pytest.mark.parametrize("header", ["text,Label", "text, LABEL ", "report,label", "note,grade", "Report Text,label"])
def test_a_column_in_another_spelling_or_under_a_usual_name_is_taken_and_said(check, header):
    report = check(header + "\na,1\nb,1\n", labels=[1])
    assert report.problems == [] and len(report.kept) == 2 and "is taken for it." in report.notes[0]
    assert f"- note: {report.notes[0]}" in report.summary().splitlines()


def test_every_named_column_is_looked_for_and_none_may_be_there_twice(check):
    report = check("text,text,label\na,b,1\n", group="patient", split="fold", key=["eye"])
    assert [problem.column for problem in report.problems] == ["text", "patient", "fold", "eye"]
    assert report.problems[0].what == '2 columns are named "text".'


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_taken_and_said(check, separator, name):
    report = check((HEADER + GOOD).replace(",", separator))
    assert report.problems == [] and len(report.kept) == 10
    assert report.notes == [f"mine.csv is read with {name} between the columns."]


@pytest.mark.parametrize("content", [b"", b" \n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_an_empty_file(check, content):
    assert only(check(content)).kind == "empty file"


def test_a_header_alone(check):
    report = check(HEADER)
    assert only(report).kind == "no rows" and not report.ok


@pytest.mark.parametrize("start", ["\ntext,label\na,1\n", '"text,label\na,1\n'])
def test_a_broken_first_line(check, start):
    assert only(check(start)).what == "The first line is blank, or opens a quote that is not closed."


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped, "an Excel workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (b"%PDF-1.7\n", "a PDF"),
        (gzip.compress(GOOD.encode()), "a gzip archive"),
        (b'[{"text": "a", "label": 1}]', "JSON"),
        (b'\xef\xbb\xbf\n{"text": "a"}', "JSON"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (random.Random(0).randbytes(5000), "binary"),
        (b"text,label\n\0\0\0\0\0\0\0", "binary"),
    ],
)
def test_a_file_that_is_no_csv(check, tmp_path, content, kind):
    problem = only(check(content(tmp_path / "book.xlsx") if callable(content) else content))
    assert problem.kind == "not a CSV" and kind in problem.what


FRENCH = "text,label\n" + "".join(f"Rétine décollée à l’œil droit {i},1\n" for i in range(40))


def test_a_stray_byte_costs_its_row_and_the_mend_works(check, tmp_path, monkeypatch):
    good = FRENCH.encode()
    report = check(good.replace("l’œil droit 17".encode(), b"l\x92oeil droit 17"), labels=[1])
    problem = only(report)
    assert (problem.kind, problem.row, problem.column) == ("wrong encoding", 19, "text") and len(report.kept) == 39
    assert problem.what == 'The byte 0x92 here is not UTF-8, as the rest of the file is; in Windows-1252 it is "’".'
    assert "leaves 1 replacement character in the file" in problem.mend
    monkeypatch.chdir(tmp_path)
    exec("from pathlib import Path\n" + problem.mend.split("or ")[1].split(", which")[0])
    mended = validate.check_csv("new.csv", labels=[1])
    assert (
        mended.problems == [] and len(mended.kept) == 40 and (tmp_path / "new.csv").read_text("utf-8").count("�") == 1
    )


def test_one_windows_byte_late_in_a_long_plain_file_is_windows(check):
    rows = b"".join(b"%d long report about nothing,1\n" % i for i in range(60_000))
    report = check(b"text,label\n" + rows + b"caf\xe9 noir,1\n", labels=[1])
    assert report.problems == [] and report.notes[0].startswith('mine.csv is read as Windows-1252 ("café"')
    assert list(report.rows())[-1]["text"] == "café noir"


def test_texts_that_the_model_cuts_are_counted(check):
    long = "".join(f"{'word ' * 191}end {i},1,P\n" for i in range(3))  # 193 words
    report = check(HEADER + GOOD + long + f"{'word ' * 191}end,1,P\n")
    problem = only(report)
    assert (problem.kind, problem.row, problem.severity) == ("long text", 12, "warning") and len(report.kept) == 14
    assert "3 of 14 texts (21%) have more than 192 words and signs" in problem.what
    assert only(check(HEADER + GOOD + "字" * 193 + ",1,P\n")).kind == "long text"
    assert check(HEADER + GOOD + long, count=lambda text: 192).problems == []
    assert (
        "2 of 10 texts"
        in only(check(HEADER + GOOD, tokens=8, count=lambda text: 9 if "0" in text or "1" in text else 8)).what
    )


def test_the_stated_number_of_tokens_is_what_training_reads():
    stated = inspect.signature(validate.check_csv).parameters["tokens"].default
    assert stated == inspect.signature(training.fit_grader).parameters["max_length"].default


def test_a_label_with_no_or_one_example(check):
    report = check("text,label\na b,0\nb c,0\nc d,1\n", labels=range(3))
    assert [problem.what for problem in report.problems] == [
        "The label 1 has one example.",
        "The label 2 has no example.",
    ]
    assert report.ok and {problem.severity for problem in report.problems} == {"warning"}


def test_labels_are_counted_in_each_split(check):
    report = check("text,label,split\na b,0,train\nb c,0,train\nc d,0,test\n", labels=[0])
    assert only(report).what == 'The label 0 has one example in the split "test".'


def test_other_labels_than_numbers(check):
    report = check("text,label\na b,yes\nb c,yes\nc d,no\nd e,no\ne f,maybe\n", labels=["yes", "no"])
    assert str(only(report)) == 'error: line 6, column "label": The label "maybe" is not allowed. Write one of yes, no.'


def test_spellings_of_a_label_are_one_label_and_said(check):
    rows = "".join(f"report {i},{('urgent', 'Urgent', 'urgent ', 'soon', 'soon', '1')[i % 6]}\n" for i in range(12))
    report = check("text,label\n" + rows, labels=None)
    assert report.problems == [] and set(report.labels.values()) == {"urgent", "soon", "1"}
    assert report.notes == ['The label "Urgent" (2 rows) is read as "urgent".']
    both = check("text,label\n" + rows, labels=["urgent", "Urgent", "soon", "1"])
    assert both.notes == [] and both.labels["Urgent"] == "Urgent"
    assert check("text,label\na,2.0\nb,2\n").labels == {"2.0": "2", "2": "2"}


@pytest.mark.parametrize(
    ("cells", "several"),
    [
        (("cough;fever", "cough", "fever"), True),
        (("cough|fever", "fever|rash", "rash|cough"), True),
        (("['a', 'b']", "['a']", "['b', 'c']", "['c']"), True),
        (("mild/moderate", "severe", "none"), False),
        (("N/A or none", "1/2", "3/4"), False),
    ],
)
def test_several_labels_in_a_cell_are_refused(check, cells, several):
    rows = "".join(f'report {i},"{cells[i % len(cells)]}"\n' for i in range(12))
    report = check("text,label\n" + rows, labels=None)
    assert ["several labels"] * several == [problem.kind for problem in report.problems] and report.ok != several
    assert check("text,label\n" + rows, labels=cells).ok


def test_two_labels_for_one_text_are_named_with_both_lines(check):
    report = check("text,label\nMA,1\nMA,2\nno,0\nno,0,\nno,1\n", labels=None)
    found = [problem for problem in report.problems if problem.kind == "two labels"]
    assert [problem.row for problem in found] == [3, 6] and report.ok is False
    assert found[0].what == 'The text of line 2, labelled "1", is here labelled "2".'
    eyes = check("eye,text,label\nright,MA,1\nleft,MA,2\nright,no,1\nleft,no,2\n", labels=None)
    assert eyes.problems == [] and len(eyes.kept) == 4


def test_names_of_splits_that_people_use_are_understood_and_others_refused(check):
    rows = "a b,0,{}\nb c,0,{}\nc d,0,{}\nd e,0,{}\n"
    report = check("text,label,Fold\n" + rows.format("Training", "Training", "VAL", "VAL"), labels=[0], split="")
    assert report.ok and set(report.parts.values()) == {"train", "dev"}
    assert report.notes == [
        'Taken by name or content: "Fold" as the split.',
        'In the column for the split "Training" is train, "VAL" is dev.',
    ]
    problem = only(check("text,label,split\n" + rows.format("train", "train", "a", "b"), labels=[0]))
    assert problem.kind == "split names" and "rename the column" in problem.mend
    assert (
        problem.what
        == 'The column for the split holds train (2 rows), a (1 row), b (1 row); "a", "b" is not understood.'
    )


def test_a_patient_in_two_splits(check):
    rows = "a b c,0,P1,train\nd e f,0,P1,train\ng h i,0,P2,test\nj k l,0,P2,test\nm n o,0,P1,test\n"
    report = check("text,label,group,split\n" + rows, labels=[0])
    problem = only(report)
    assert (problem.kind, problem.row, problem.severity) == ("patient in two splits", 6, "error")
    assert problem.what == '"P1" is in train (line 2) and test (line 6).' and len(report.kept) == 5


def shared(check, one, other):
    rows = f"{one},0,train\nx y z,0,train\n{other},0,test\nu v w,0,test\n"
    return check("text,label,split\n" + rows, labels=[0])


def test_a_near_identical_text_in_two_splits(check):
    many = " ".join(f"word{i}" for i in range(80))
    for other in (many, many.upper() + " !", many.replace("word40", "otherword")):
        problem = only(shared(check, many, other))
        assert (problem.kind, problem.row, problem.severity) == ("text in two splits", 4, "warning")
        assert "nearly repeats line 2, which is in train; this one is in test." in problem.what


def test_texts_that_differ_in_a_number_or_in_much_are_not_near_identical(check):
    assert shared(check, "venous beading in 2 quadrants", "venous beading in 3 quadrants").problems == []
    assert shared(check, "右眼出血", "左眼出血").problems == []


def test_the_first_of_equal_texts_in_another_part_is_named():
    assert twins.near_twins(["no beading seen today"] * 5, "xxyxz") == {2: 0, 3: 2, 4: 0}


def test_a_text_of_one_or_two_words_is_one_phrase():
    texts = ["MA", "no MA", "ma.", "No MA!", "NVD", "no NVD", "MA NVD", "no new MA"]
    assert twins.near_twins(texts, range(len(texts)), 0.3) == {2: 0, 3: 1}  # part of another phrase is not the phrase
    assert twins.near_twins(["", "MA", "."], range(3)) == {2: 0}  # no word at all is a phrase, too


def three_words(text):
    words = text.split()
    return set(zip(words, words[1:], words[2:], strict=False))


def test_near_twins_finds_what_comparing_all_pairs_finds():
    rng = random.Random(3)
    texts = [" ".join(rng.choice("abcdefgh") * 3 for _ in range(40)) for _ in range(40)]
    for text in texts[:40]:
        words = text.split()
        words[rng.randrange(40)] = "other"
        texts.append(" ".join(words))
    parts = [rng.choice(["train", "test"]) for _ in texts]
    for alike in (0.5, 0.7, 0.85, 0.9, 1.0):
        expected = {}
        for i, one in enumerate(map(three_words, texts)):
            for j, other in enumerate(map(three_words, texts[:i])):
                if parts[i] != parts[j] and len(one & other) / len(one | other) >= alike:
                    expected.setdefault(i, j)
        assert twins.near_twins(texts, parts, alike) == expected
        assert expected or alike > 0.9


def test_a_summary_is_short_and_counts_everything(check):
    report = check(HEADER + GOOD + "".join(f"report {i},seven,P\n" for i in range(50)))
    lines = report.summary().splitlines()
    assert lines[0] == "mine.csv: 10 rows can be used, 50 left out (50 bad label)."
    assert len(lines) == 5 and lines[-1] == "- error: 47 more of the kind: bad label."
    assert len(report.problems) == 50 and report.summary(most=100).count('"seven"') == 50


def test_the_usable_rows_make_a_clean_file(check, tmp_path):
    report = check(HEADER + GOOD + "bad,9,P\n" + '"never closed,1,P\n')
    pd.DataFrame(report.rows()).to_csv(tmp_path / "clean.csv", index=False)
    again = validate.check_csv(tmp_path / "clean.csv")
    assert again.problems == [] and len(again.kept) == len(report.kept) == 10
    assert list(check(b"").rows()) == []


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="Check the folder"):
        validate.check_csv(tmp_path / "none.csv")


def test_equal_texts_and_lines_that_differ_in_a_number_take_no_time(monkeypatch):
    enough, asked = twins._is_enough, []
    monkeypatch.setattr(twins, "_is_enough", lambda *args: asked.append(1) or enough(*args))
    line = "No diabetic retinopathy is seen in the right eye and the macula is flat today"
    parts = ["train", "dev", "test"] * 3_000
    assert len(twins.near_twins([line] * 9_000, parts)) == 8_999 and len(asked) < 100
    assert twins.near_twins([f"{line} report {i}" for i in range(9_000)], parts) == {} and len(asked) < 100_000


def test_three_thousand_rows_are_not_compared_in_pairs(check, monkeypatch):
    compared, real = [], twins._phrases

    class Phrases(set):
        def __and__(self, other):
            compared.append(1)
            assert len(compared) < 3_000  # of 4.5 million pairs
            return set.__and__(self, other)

    monkeypatch.setattr(twins, "_phrases", lambda words: Phrases(real(words)))
    rng = random.Random(0)
    words = [f"term{i}" for i in range(300)]
    rows = "".join(
        f"{' '.join(rng.choices(words, k=30))},{i % 5},P{i},{rng.choice(['train', 'test'])}\n" for i in range(3_000)
    )
    assert check("text,label,group,split\n" + rows).problems == []
