"""An exported folder is graded with no torch, refused where it is not whole, and any input gets an answer."""

import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs the extra onnx")

import torch

import small_models
from course_utils import calibration, data, export, models, paths, serve, tables, training

SEEN = "severe retinopathy, haemorrhages in four quadrants seen."
BLOCKED = ["torch", "transformers", "pandas", "datasets", "peft", "onnx", "sklearn", "tqdm", "matplotlib"]
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
"""
KINDS = [SEEN, "no retinopathy seen.", "mild retinopathy in two quadrants."]
REPORTS = {"eye": ["right", "left"] * 12, "text": [f"{text} {n}" for text in KINDS for n in range(8)]}


@pytest.fixture(scope="module")
def graders(tmp_path_factory):
    """The parts of two exports: models of 5 and of 3 grades, with their tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    made = {}
    for labels in (5, 3):
        model, tokenizer = models.grader(small_models.bert(folder / str(labels)), seed=0, num_labels=labels)
        with torch.no_grad():  # so that the answers depend on the words, and no two grades are level on any processor
            model.classifier.weight.mul_(200)
            model.classifier.bias.sub_(model(**tokenizer("right", SEEN, return_tensors="pt")).logits[0])
            model.classifier.bias.add_(torch.arange(labels) / 2)
        made[labels] = model, tokenizer, export.to_onnx(model, tokenizer, folder / f"{labels}.onnx")
    return made


@pytest.fixture(scope="module")
def whole(graders, tmp_path_factory):
    """An exported folder, float32, that no test may change."""
    _, tokenizer, file = graders[5]
    return pack(tmp_path_factory.mktemp("export") / "grader", file, tokenizer)


def pack(folder, file, tokenizer, **changes):
    settings = {
        "labels": data.GRADE_NAMES,
        "reports": REPORTS,
        "examples": [("right", SEEN), ("left", "no retinopathy seen.")],
        "figures": {"macro F1": "0.9"},
        "max_tokens": 32,
    }
    return export.pack(folder, file, tokenizer, **(settings | changes))


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "grader")


def sign_again(folder):
    """Write the manifest anew, as somebody would who swaps a file and wants the checksums to agree."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names.remove(serve.MANIFEST)
    lines = [f"{paths.sha256(folder / name)}  {name}\n" for name in names]
    (folder / serve.MANIFEST).write_text("".join(lines), encoding="utf-8")


def test_the_answers_are_those_of_the_model_that_was_trained(graders, whole):
    model, tokenizer, _ = graders[5]
    rows = {"eye": ["right", "left", "left"], "text": [SEEN, "mild retinopathy in two quadrants.", SEEN * 9]}
    expected = training.predict(model, tokenizer, rows, max_length=32)
    grader = serve.load(whole)
    for eye, text, chances in zip(rows["eye"], rows["text"], expected, strict=True):
        answer = grader.grade(text, eye, cut=True)
        assert answer.grade == chances.argmax() and answer.label == data.GRADE_NAMES[answer.grade]
        assert answer.probability == max(answer.chances)
        assert np.allclose(answer.chances, chances, atol=1e-4)


def test_it_needs_no_torch_and_no_other_library(whole, tmp_path):
    (tmp_path / "reports.csv").write_text(f'eye,text\nright,"{SEEN}"\nleft,\n', encoding="utf-8")
    program = BLOCKER.format(blocked=BLOCKED) + "from course_utils import serve\nsys.exit(serve.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, str(whole), str(tmp_path / "reports.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == serve.SOME, done.stderr
    head, first, second = csv.reader(done.stdout.splitlines())
    grader = serve.load(whole)
    expected = grader.grade(SEEN, "right")
    assert head == grader.columns("id")
    assert first == ["" if value is None else str(value) for value in grader.record(expected, 1).values()]
    assert second == ["2", *[""] * 8, "no text: the report is empty", grader.model]
    assert "100%" in done.stderr and "2 reports: 1 graded, 1 without a grade (1 no text)" in done.stderr


@pytest.mark.parametrize(
    ("text", "eye", "note"),
    [
        ("", "left", "no text: the report is empty"),
        ("  \n\t", "left", "no text: the report is empty"),
        (None, "left", "no text: the report is empty"),
        (float("nan"), "left", "no text: the report is empty"),
        ("N/A", "left", "no text: the report is empty"),
        ("\x00\x01\x02PK\x03\x04" * 50, "left", "is this a binary file"),
        ("\ufffd\ufffd severe", "left", "2 of 9 characters are no text"),
        (SEEN, "", 'the eye is ""; write left or right'),
        (SEEN, "both", 'the eye is "both"; write left or right'),
        (SEEN, None, 'the eye is "None"; write left or right'),
        ("\u200b\ufeff", "left", "no text: the report is empty"),
        (
            "Schwere Retinopathie mit Blutungen in vier Quadranten",
            "left",
            "in a language that the model was trained on",
        ),
        ("重度视网膜病变", "left", "no report: the training reports had 0% of these words"),
        (".", "left", "no report: the training reports had 0% of these words"),
        ("12 / 34", "left", "no report: the training reports had 0% of these words"),
        ("No.", "left", "there is 1 of the training reports' words, and a report has at least 2"),
        ("in in in", "left", "there is 1 of the training reports' words"),
        ("The knee is seen in two views", "left", "the training reports had 43% of these words"),
        ("\u202e\u202d", "left", "are no text"),
        (SEEN + "\ud800", "left", "no report: there is half a character"),
        (SEEN, "\ud800", "wrong eye"),
        (b"no retinopathy seen", "left", "no text: the report is empty"),
        (SEEN, ["left"], "wrong eye"),
    ],
)
def test_what_cannot_be_read_gets_a_reason_and_no_grade(whole, text, eye, note):
    answer = serve.load(whole).grade(text, eye)
    assert answer.grade is None and answer.probability is None and answer.label == "" and note in answer.note


@pytest.mark.parametrize(("times", "length"), [(10, "94 tokens"), (100_000, "more than ")])
def test_a_report_that_is_cut_gets_a_grade_only_if_that_is_asked_for(whole, times, length):
    grader = serve.load(whole)
    answer = grader.grade(SEEN * times, "left")
    assert answer.grade is None and answer.chances == () and answer.note.startswith("too long: it has ")
    assert length in answer.note and answer.note.endswith(" tokens; the first 32 are read")
    assert grader.grade(SEEN * times, "left", cut=True).grade is not None
    assert grader.grade(SEEN * times, "left", cut=True).note == answer.note


def test_a_csv_is_answered_row_by_row_whatever_is_in_it(whole, tmp_path):
    rows = [f'left,"{SEEN}"', "left", "", 'right,"no\nretinopathy"', "left,\x00\x00\x00", "left," + "x" * 200_000]
    rows += [f"left,{SEEN}", 'left,"never closed', f'left,"{SEEN}"', "left,", "right,caf\u00e9"]
    path = tmp_path / "reports.csv"
    path.write_bytes(("\ufeffeye,text\r\n" + "\r\n".join(rows)).encode() + b" \xff\xfe")
    answers = dict(serve.load(whole).grade_csv(path))
    assert list(answers) == list(range(1, 12))  # one for each row, each beside its own
    assert [row for row, answer in answers.items() if answer.grade is not None] == [1, 4, 9]
    assert {answers[row].note.split(":")[0] for row in (2, 3, 6, 7, 8, 11)} == {"broken row"}
    notes = {row: answer.note for row, answer in answers.items()}
    assert "line 3 can't be read: The row has 1 fields" in notes[2] and "The line is blank" in notes[3]
    assert "no text" in notes[5] and "more than 131,072 characters" in notes[6]
    assert "line 9 can't be read: The row has 3 fields and the header 2. Put a text that holds commas" in notes[7]
    assert "line 10 can't be read: A quote opens here" in notes[8] and notes[10] == "no text: the report is empty"
    assert "line 13 can't be read: The byte 0xFF here is not UTF-8" in notes[11]


@pytest.mark.parametrize("stray", ['"{}', '"{}"x', '{}"', '"{}\n'])
def test_a_stray_quote_moves_no_answer_to_another_row(whole, tmp_path, stray):
    texts = [f"severe retinopathy seen {n}" for n in range(8)]
    texts[2] = stray.format(texts[2])
    path = tmp_path / "reports.csv"
    path.write_text("eye,text\n" + "".join(f"left,{text}\n" for text in texts), encoding="utf-8")
    grader = serve.load(whole)
    answers = dict(grader.grade_csv(path))
    after = 1 if stray.endswith("\n") else 0  # the text's second line is a broken row of its own
    for n in (0, 1, 3, 4, 5, 6, 7):
        assert answers[n + 1 + after * (n > 2)] == grader.grade(texts[n], "left")
    assert answers[3].grade is None or stray == '{}"'


def test_other_encodings_and_separators_are_graded_alike(whole, tmp_path, capsys):
    path = tmp_path / "reports.csv"
    odd = "no retinopathy in four quadrants, seen in two, no haemorrhages, œdème"
    path.write_text(f"eye;text\nleft;{SEEN}\nright;{odd}\n", encoding="cp1252")
    grader = serve.load(whole)
    answers = [answer for _, answer in grader.grade_csv(path, bar=True)]
    assert answers == [grader.grade(SEEN, "left"), grader.grade(odd, "right")] and answers[1].grade is not None
    assert "is read as Windows-1252" in capsys.readouterr().err


def test_a_csv_is_read_as_it_is_answered(whole, tmp_path, monkeypatch):
    path, graded = tmp_path / "reports.csv", []
    path.write_text("eye,text\n" + f'left,"{SEEN}"\n' * 300, encoding="utf-8")
    grader = serve.load(whole)
    monkeypatch.setattr(serve.Grader, "grade", lambda self, text, eye, cut: graded.append(text))
    answers = grader.grade_csv(path)
    assert [next(answers)[0] for _ in range(3)] == [1, 2, 3]
    assert len(graded) == 3  # none is graded before it is asked for
    answers.close()


def test_the_model_has_the_threads_it_was_given_and_none_spins(whole):
    for threads in (1, 3):
        options = serve.open_model(whole / serve.MODEL, threads).get_session_options()
        assert options.intra_op_num_threads == threads
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert serve.load(whole).session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The file is empty"),
        (b"\n", "The file is empty"),
        (b"eye,report\nleft,no\n", "needs the column text, once; it has: eye, report"),
        (b"text\nno\n", "needs the column eye, once"),
        (b"eye,text,text\n", "needs the column text, once"),
        ("eye,report\nleft,no\n".encode("utf-16"), "needs the column text, once; it has: eye, report"),
        (b"PK\x03\x04\x00\xff" * 9999, "an Excel workbook or a zip archive"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(whole, tmp_path, content, message):
    path = tmp_path / "reports.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(serve.load(whole).grade_csv(path))
    with pytest.raises(FileNotFoundError, match="There is no file"):
        list(serve.load(whole).grade_csv(tmp_path / "other.csv"))


def test_an_answer_does_not_depend_on_the_other_reports(graders, tmp_path):
    _, tokenizer, file = graders[5]
    small = export.quantise(file, tmp_path / "int8.onnx")
    grader = serve.load(pack(tmp_path / "grader", small, tokenizer))
    texts = [SEEN, "no retinopathy.", "mild retinopathy", "", "mild retinopathy, no haemorrhages"]
    alone = [grader.grade(text, "left") for text in texts]
    assert [answer.grade is None for answer in alone] == [False, False, False, True, False]
    assert grader.answers((text, "left") for text in reversed(texts)) == alone[::-1]


@pytest.mark.parametrize("name", [serve.MODEL, serve.VOCABULARY, serve.CONTRACT, "README.md", "course_utils/serve.py"])
@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[: len(b) // 2], lambda b: b[:-1], lambda b: b"", lambda b: b[:99] + bytes([b[99] ^ 1]) + b[100:]],
    ids=["half", "less one byte", "empty", "one bit"],
)
def test_a_damaged_file_is_refused(copy, name, spoil):
    path = copy / name
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{name} in .* was cut short or changed. Copy the whole folder again"):
        serve.load(copy)


@pytest.mark.parametrize("name", [serve.MODEL, serve.VOCABULARY, serve.CONTRACT, serve.MANIFEST])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
        serve.load(copy)


def test_a_file_that_nothing_vouches_for_is_refused(copy):
    manifest = copy / serve.MANIFEST
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if serve.MODEL not in line), encoding="utf-8")
    with pytest.raises(ValueError, match=f"does not name {serve.MODEL}"):
        serve.load(copy)


def change_contract(folder, **changes):
    path = folder / serve.CONTRACT
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def with_words(folder, swap):
    path = folder / serve.VOCABULARY
    content = json.loads(path.read_text(encoding="utf-8"))
    swap(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def fewer_words(content):
    del content["model"]["vocab"]["."]


def other_order(content):
    words = {word: i for word, i in content["model"]["vocab"].items() if i > 4}
    content["model"]["vocab"] |= dict(zip(words, reversed(words.values()), strict=True))


def swap_in(file):
    return lambda copy, graders: shutil.copyfile(graders[file][2], copy / serve.MODEL)


MISMATCHES = [
    (lambda copy, graders: with_words(copy, fewer_words), "it is another model's"),
    (lambda copy, graders: with_words(copy, other_order), "its files don't belong together"),
    (swap_in(3), "gives 3 grades; the contract names 5"),
    (lambda copy, graders: change_contract(copy, format=1), "has format 1; this version reads format 2: export it"),
    (lambda copy, graders: change_contract(copy, format=3), "has format 3; this version reads format 2: update"),
    (lambda copy, graders: (copy / serve.MODEL).write_bytes(b"not a model"), "can't load model.onnx"),
    (lambda copy, graders: (copy / serve.VOCABULARY).write_text("{}"), "tokenizer.json is no tokenizer"),
]


@pytest.mark.parametrize(("mismatch", "message"), MISMATCHES)
def test_parts_that_do_not_fit_are_refused_though_the_checksums_agree(copy, graders, mismatch, message):
    mismatch(copy, graders)
    sign_again(copy)
    with pytest.raises(ValueError, match=message):
        serve.load(copy)


def test_signing_again_is_not_what_is_refused(copy):
    sign_again(copy)
    serve.load(copy)


def test_a_folder_that_is_none_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="is no exported folder"):
            serve.load(folder)


def test_the_command_line_grades_one_text_and_refuses_with_a_sentence(whole, copy, capsys):
    assert serve.main([str(whole), "--text", SEEN, "--eye", "left"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].startswith("1,")
    (copy / serve.MODEL).write_bytes(b"")
    assert serve.main([str(copy), "--text", SEEN, "--eye", "left"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "was cut short or changed" in said.err
    with pytest.raises(SystemExit):
        serve.main([str(whole)])


def test_a_long_report_is_cut_where_training_cuts_it(graders, whole):
    tokenizer, reader = graders[5][1], serve.load(whole).tokenizer
    for text in (SEEN * 20, SEEN, "no"):
        expected = training.tokenise(tokenizer, {"eye": ["left"], "text": [text]}, "eye", "text", 32)[0]["input_ids"]
        assert reader.encode("left", text).ids == expected


def test_what_lies_beyond_the_characters_that_are_read_is_not_left_out_in_silence(whole):
    answer = serve.load(whole).grade("severe retinopathy" + " " * serve.LONGEST + "seen", "left")
    assert answer.grade is None and answer.note == "too long: it has more than 20,000 characters; the first are read"


@pytest.mark.parametrize(("off", "loads"), [(0.02, True), (0.1, False)])
def test_an_example_may_be_a_little_off_and_no_more(copy, off, loads):
    contract = json.loads((copy / serve.CONTRACT).read_text(encoding="utf-8"))
    contract["examples"][0]["probabilities"][0] += off
    change_contract(copy, examples=contract["examples"])
    sign_again(copy)
    if loads:
        serve.load(copy)
    else:
        with pytest.raises(ValueError, match="don't belong together"):
            serve.load(copy)


def test_softmax_bears_large_numbers():
    assert np.allclose(serve.softmax(np.array([[1000.0, 1000.0], [0.0, -1000.0]])), [[0.5, 0.5], [1, 0]])


# Rows, ids and what is written


def written(path, rows, header="report_id,eye,text"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("seed", range(20))
def test_no_answer_stands_beside_another_row_s_id_whatever_is_broken(whole, tmp_path, seed):
    rng, spoil = random.Random(seed), ['"', '""', ",", '",', ',"', "\n", '"\n', "\r", '"x', ' "', "\t", ";"]
    rows, own = [], {}
    for n in range(30):
        text = rng.choice(KINDS).replace(",", "")
        broken = rng.random() < 0.2
        at = rng.randrange(len(text))
        rows.append(f"r{n},{rng.choice(['left', 'right'])},{text[:at]}{rng.choice(spoil) if broken else ''}{text[at:]}")
        own[f"r{n}"] = None if broken else tuple(rows[-1].split(",")[:0:-1])
    grader = serve.load(whole)
    answers = list(grader.grade_csv(written(tmp_path / "reports.csv", rows)))
    ids = [id for id, _ in answers]
    assert len(set(ids)) == len(ids) and {id for id, fields in own.items() if fields} <= set(ids)
    assert all(answer == grader.grade(*own[id]) for id, answer in answers if own.get(id))
    assert all(answer.grade is None for id, answer in answers if id not in own)


@pytest.mark.parametrize(("header", "row"), [("eye,text", 'left,"{}"'), ("text,eye", '"{}",left')])
def test_a_text_of_several_lines_is_one_row_and_rows_that_are_glued_are_not(whole, tmp_path, header, row):
    grader = serve.load(whole)
    text = "right: no retinopathy seen, no haemorrhages\nleft: severe retinopathy,mild haemorrhages\nright, left"
    path = written(tmp_path / "reports.csv", [row.format(text), row.format(SEEN)], header)
    assert [answer for _, answer in grader.grade_csv(path)] == [grader.grade(text, "left"), grader.grade(SEEN, "left")]
    lines = ['left,"', "no retinopathy", f"left,{KINDS[1]}", 'right,mild"', "retinopathy"]
    if header == "text,eye":
        lines = ['"', "no retinopathy", f"{KINDS[1]},left", 'mild",right', "retinopathy"]
    answers = [answer for _, answer in grader.grade_csv(written(path, lines, header))]
    assert [answer.grade is None for answer in answers] == [True, True, False, True, True]
    assert answers[2] == grader.grade(KINDS[1], "left")


@pytest.mark.parametrize(
    ("header", "row"), [("report_id,eye,text", '"a\n1",left,{}'), ("text,eye,report_id", '{},left,"a\n1"')]
)
def test_an_id_may_have_lines(whole, tmp_path, header, row):
    path = written(tmp_path / "reports.csv", [row.format(f'"{SEEN}"')], header)
    grader = serve.load(whole)
    assert list(grader.grade_csv(path)) == [("a\n1", grader.grade(SEEN, "left"))]


def test_an_id_column_is_carried_through_and_named(whole, tmp_path, capsys):
    rows = [f"a 1,left,{KINDS[1]}", "b,left", f"c,right,{KINDS[2]}", f",left,{KINDS[2]}"]
    path = written(tmp_path / "reports.csv", rows)
    grader = serve.load(whole)
    assert [id for id, _ in grader.grade_csv(path, bar=True)] == ["a 1", "line 3", "c", ""]
    assert 'the column "report_id" is carried through as the id' in capsys.readouterr().err
    assert [id for id, _ in grader.grade_csv(path, id="eye")] == ["left", "line 3", "right", "left"]
    with pytest.raises(ValueError, match="needs the column patient, once; it has: report_id, eye, text"):
        list(grader.grade_csv(path, id="patient"))
    bare = written(tmp_path / "bare.csv", [row.partition(",")[2] for row in rows], "eye,text")
    assert [id for id, _ in grader.grade_csv(bare, bar=True)] == [1, 2, 3, 4]
    assert "the ids are the numbers of the rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("texts", "status", "said"),
    [
        (KINDS[1:], serve.ALL, "2 reports: 2 graded, 0 without a grade"),
        ([*KINDS[1:], "No.", "", "No."], serve.SOME, "5 reports: 2 graded, 3 without a grade (2 no report, 1 no text)"),
        (["No.", "No."], serve.NONE, "2 reports: 0 graded, 2 without a grade (2 no report)"),
        ([], serve.ALL, "0 reports: 0 graded, 0 without a grade"),
    ],
)
def test_the_exit_status_and_a_line_say_how_many_were_refused_and_for_what(
    whole, tmp_path, capsys, texts, status, said
):
    path = written(tmp_path / "reports.csv", [f'{n},left,"{text}"' for n, text in enumerate(texts)])
    assert serve.main([str(whole), str(path)]) == status
    assert capsys.readouterr().err.splitlines()[-1] == said


def test_a_record_holds_all_that_is_known_and_columns_names_it(graders, whole, tmp_path):
    _, tokenizer, file = graders[5]
    plain, labels = serve.load(whole), data.GRADE_NAMES
    chances = [f"chance {label}" for label in labels]
    assert plain.columns() == ["grade", "label", "probability", *chances, "note", "model"]
    assert plain.model == paths.sha256(whole / serve.MANIFEST)[:12] == plain.record(plain.grade(""))["model"]
    decision = {"name": "refer", "labels": labels[2:], "threshold": 0.5}
    calm = serve.load(pack(tmp_path / "grader", file, tokenizer, temperature=2.5, decision=decision))
    calibrated = [f"calibrated {label}" for label in labels]
    assert calm.columns("id") == [
        *("id", "grade", "label", "probability"),
        *chances,
        *calibrated,
        *("decision", "note", "model"),
    ]
    decided = set()
    for text in KINDS:
        answer = calm.grade(text, "left")
        expected = calibration.tempered([answer.chances], 2.5)[0]
        assert (
            np.allclose(answer.calibrated, expected, atol=1e-6) and answer.chances == plain.grade(text, "left").chances
        )
        assert answer.decision == f"refer: {'yes' if expected[2:].sum() >= 0.5 else 'no'}"
        decided.add(answer.decision)
        record = calm.record(answer, "x")
        assert list(record) == calm.columns("id") and record["id"] == "x" and record["decision"] == answer.decision
        assert [record[name] for name in calibrated] == [round(chance, 4) for chance in answer.calibrated]
    assert len(decided) == 2
    refused = calm.record(calm.grade("No.", "left"))
    assert list(refused) == calm.columns() and refused["decision"] == "" and refused["grade"] is None


# JSON lines, and standard input


class Input:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def test_a_line_of_json_gets_a_line_of_json_and_a_malformed_one_a_reason(whole, capsys, monkeypatch):
    good = [
        {"id": 7, "text": KINDS[1], "eye": "left"},
        {"text": KINDS[2], "eye": "OD"},
        {"id": [1], "text": None, "eye": ""},
    ]
    bad = [b"{", b"", b"[1]", b'{"id": 7}', b'{"id": "\\ud800"}', b"\xff", b'{"id": NaN, "text": ""}', b"[" * 100_000]
    lines = [json.dumps(one).encode() for one in good] + bad
    monkeypatch.setattr(sys, "stdin", Input(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n"))
    assert serve.main([str(whole), "-", "--jsonl"]) == serve.SOME
    said = capsys.readouterr()
    answers = [json.loads(line) for line in said.out.splitlines()]
    grader = serve.load(whole)
    assert [answer["id"] for answer in answers] == [7, "line 2", [1], *(f"line {n}" for n in range(4, 12))]
    assert answers[0] == grader.record(grader.grade(KINDS[1], "left"), 7)
    assert answers[1] == grader.record(grader.grade(KINDS[2], "right"), "line 2")
    assert {answer["note"].split(":")[0] for answer in answers[3:]} == {"broken row"}
    assert said.err == "11 reports: 2 graded, 9 without a grade (8 broken row, 1 no text)\n"


@pytest.mark.parametrize(
    "odd", ['"eye": "left", "eye": "right"', '"eye": "left", "id": 1e999', '"eye": "left", "text": "a"']
)
def test_json_that_can_be_read_in_two_ways_or_not_be_written_gets_no_grade(whole, odd):
    ((id, answer),) = serve.load(whole).grade_json([f'{{"text": {json.dumps(SEEN)}, {odd}}}'.encode()])
    assert id == "line 1" and answer.grade is None and answer.note.startswith("broken row: line 1 is no JSON: ")


def test_in_a_pipe_each_line_is_answered_before_the_next_is_asked(whole):
    command = [sys.executable, "-m", "course_utils.serve", str(whole), "-", "--jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as program:
        for n, text in enumerate(KINDS):
            program.stdin.write(json.dumps({"id": n, "text": text, "eye": "left"}).encode() + b"\n")
            program.stdin.flush()
            assert json.loads(program.stdout.readline())["id"] == n
        program.stdin.close()
        assert program.wait() == serve.ALL


def test_a_csv_on_standard_input_is_answered_as_a_file_is(whole, tmp_path, capsys, monkeypatch):
    path = written(tmp_path / "reports.csv", [f'{n},left,"{text}"' for n, text in enumerate([*KINDS, "No."])])
    serve.main([str(whole), str(path)])
    by_file = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", Input(path.read_bytes()))
    assert serve.main([str(whole), "-"]) == serve.SOME and capsys.readouterr().out == by_file


# What is refused


@pytest.mark.parametrize(
    "eye", ["Left", " left", "LEFT EYE", "L", "lt.", "OS", "O.S.", "le", "左眼", "oculus sinister"]
)
def test_an_eye_may_be_written_in_any_usual_way(whole, eye):
    grader = serve.load(whole)
    assert grader.grade(KINDS[1], eye) == grader.grade(KINDS[1], "left") != grader.grade(KINDS[1], "right")


def test_the_spellings_of_an_eye_are_those_of_the_lexicon():
    with (paths.samples() / "lexicon.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if {"left eye", "right eye"} & set(row.values())]
    assert len(rows) > 20
    for row in rows:
        term, side = list(row.values())[:2]
        assert tables.plain(term) in serve.SIDES[side.partition(" ")[0]]


@pytest.mark.parametrize(("eyes", "asked", "read"), [(["OD", "OS"], "left", "OS"), (["A", "B"], " b", "B")])
def test_the_eyes_are_those_of_the_training_reports(graders, tmp_path, eyes, asked, read):
    reports = REPORTS | {"eye": eyes * 12}
    grader = serve.load(pack(tmp_path / "g", graders[5][2], graders[5][1], reports=reports, examples=[(eyes[0], SEEN)]))
    assert grader.eyes == eyes and grader.grade(SEEN, asked) == grader.grade(SEEN, read)
    assert grader.grade(SEEN, read).grade is not None
    assert grader.grade(SEEN, "C").note == f'wrong eye: the eye is "C"; write {eyes[0]} or {eyes[1]}'


@pytest.mark.parametrize("pair", [True, False])
def test_without_eyes_a_text_is_read_as_in_training_and_no_eye_is_asked(graders, tmp_path, pair):
    model, tokenizer, file = graders[5]
    reports = {"text": REPORTS["text"]} | ({"eye": [""] * 24} if pair else {})
    folder = pack(tmp_path / "grader", file, tokenizer, reports=reports, examples=[("", SEEN)])
    grader = serve.load(folder)
    theirs = tokenizer("", SEEN) if pair else tokenizer(SEEN)
    assert grader.encode(SEEN).ids == theirs["input_ids"] and not grader.asks_eye
    path = written(tmp_path / "reports.csv", [f'"{SEEN}"'], "text")
    assert [answer for _, answer in grader.grade_csv(path)] == [grader.grade(SEEN)] and grader.grade(SEEN).chances
    assert grader.grade(SEEN, "left").note == 'wrong eye: the eye is "left"; this grader reads none'


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_report_is_cut_on_the_side_that_training_cut(graders, tmp_path, side):
    tokenizer = models.grader(graders[5][0].name_or_path, seed=0)[1]
    tokenizer.truncation_side = side
    grader = serve.load(pack(tmp_path / "grader", graders[5][2], tokenizer))
    texts = [SEEN * 20, "no " * 50 + SEEN, SEEN]
    theirs = training.tokenise(tokenizer, {"eye": ["left"] * 3, "text": texts}, "eye", "text", 32)
    assert [grader.encode(text, "left").ids for text in texts] == [one["input_ids"] for one in theirs]
    assert grader.grade(texts[1], "left", cut=True).note.endswith(
        f"the {'last' if side == 'left' else 'first'} 32 are read"
    )


class Answers:
    """A session that gives each report the same logits."""

    def __init__(self, *logits):
        self.logits = np.array([logits], dtype=np.float32)

    def get_inputs(self):
        return []

    def run(self, outputs, feed):
        return [self.logits]


def contract(**changes):
    usual = {"labels": ["a", "b"], "eyes": [], "max_tokens": 32, "truncation_side": "right"}
    return usual | {"words": export._shared_words(REPORTS["text"], REPORTS["text"])} | changes


TOKENIZERS = [small_models.wordpiece, small_models.gpt_bytes, small_models.t5_pieces, small_models.roberta_pieces]


@pytest.mark.parametrize("vocabulary", TOKENIZERS, ids=lambda one: one.__name__)
def test_no_report_is_told_from_one_with_a_vocabulary_of_any_kind(tmp_path, vocabulary):
    vocabulary().backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    reader = serve.open_tokenizer(tmp_path / "tokenizer.json", 99)
    grader = serve.Grader(Answers(1, 0), reader, contract(max_tokens=99))
    for text in (".", "No.", "the the the", "a knee of two parts", "膝关节", "Schwere Retinopathie in vier Quadranten"):
        assert grader.grade(text).note.startswith("no report: ")
    assert all(grader.grade(text).grade == 0 for text in (*KINDS, SEEN.upper(), "two haemorrhages"))


def test_an_answer_that_is_no_number_is_no_grade(tmp_path):
    small_models.wordpiece().backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    reader = serve.open_tokenizer(tmp_path / "tokenizer.json", 32)
    assert serve.Grader(Answers(float("nan"), 0), reader, contract()).grade(SEEN).note.startswith("no number: ")


def test_words_are_read_in_any_script():
    assert serve.words("Mäßige NPDR, 2 ＮＥＷ x2") == ["mässige", "npdr", "new", "x"]
    assert serve.words("未见出血。no 血") == ["未见", "见出", "出血", "no", "血"]


# The folder alone


def test_the_folder_grades_without_the_package(whole, tmp_path):
    (tmp_path / "site").mkdir()
    blocked = BLOCKER.format(blocked=[*BLOCKED, "charset_normalizer"])
    (tmp_path / "site" / "sitecustomize.py").write_text(blocked, encoding="utf-8")
    path = written(tmp_path / "reports.csv", [f'{n},left,"{text}"' for n, text in enumerate([*KINDS, "No."])])
    folder = shutil.copytree(whole, tmp_path / "grader")
    before = sorted(folder.rglob("*"))

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
        command = [sys.executable, str(folder / export.PROGRAM), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=tmp_path)

    done = run(path)
    assert done.returncode == serve.SOME, done.stderr
    grader = serve.load(whole)
    expected = [grader.record(answer, id) for id, answer in grader.grade_csv(path)]
    read = list(csv.DictReader(done.stdout.splitlines()))
    assert read == [{name: "" if v is None else str(v) for name, v in one.items()} for one in expected]
    path.write_bytes("eye,text\nleft,no r\u00e9tinopathie\n".encode("cp1252"))
    done = run(path)
    assert done.returncode == serve.REFUSED and "Name the encoding (--encoding cp1252" in done.stderr
    assert run(path, "--encoding", "cp1252").returncode == serve.NONE
    done = run("--http")
    assert done.returncode == serve.REFUSED and "pip install 'finetune-course[http]'" in done.stderr
    assert sorted(folder.rglob("*")) == before  # nothing is written into it


def test_a_package_at_the_root_of_a_disk_can_be_imported():
    source = (paths.PACKAGE / "paths.py").read_text(encoding="utf-8")
    space = {"__file__": os.path.abspath(os.sep + "course_utils" + os.sep + "paths.py"), "__name__": "paths"}
    exec(compile(source, "paths.py", "exec"), space)
    assert space["ROOT"] == space["PACKAGE"].parent


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["x.csv", "--text", "y"], "give a file"),
        (["--to", "y"], "give a file"),
        (["."], "is a folder: say with --to"),
        ([".", "--to", "y", "--cut"], "--cut, --jsonl and --encoding are for a file or one report"),
        (["x", "--jsonl", "--id", "y"], "--id names a column of a CSV"),
    ],
)
def test_what_can_not_be_meant_is_refused(whole, capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        serve.main([str(whole), *arguments])
    assert stopped.value.code == serve.REFUSED and said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "arguments", "extra"), [("service", ["--http"], "http"), ("bulk", [".", "--to", "x"], "bulk")]
)
def test_what_another_extra_brings_is_named(whole, capsys, monkeypatch, module, arguments, extra):
    monkeypatch.setitem(sys.modules, f"course_utils.{module}", None)
    monkeypatch.delattr(f"course_utils.{module}", raising=False)
    assert serve.main([str(whole), *arguments]) == serve.REFUSED
    assert f"pip install 'finetune-course[{extra}]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["reports.csv", "--eye", "left"], "--eye is for one report"),
        (["reports.jsonl", "--jsonl", "--encoding", "cp1252"], "--encoding is for a CSV"),
        (["--text", SEEN, "--encoding", "cp1252"], "--encoding is for a CSV"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(whole, arguments, why, capsys):
    with pytest.raises(SystemExit) as ended:
        serve.main([str(whole), *arguments])
    assert ended.value.code == serve.REFUSED and why in capsys.readouterr().err


def test_inside_a_folder_the_program_asks_for_no_folder(whole):
    done = subprocess.run([sys.executable, "grade.py", "--help"], cwd=whole, capture_output=True, text=True)
    assert done.returncode == 0 and "grade.py [-h]" in done.stdout and "what export.pack wrote" not in done.stdout
