"""The class board: files are merged, predictions lie beside the stored answer, and stuck exercises are named with their hint."""

import json

import nbformat
import pytest

from course_utils import board, paths, progress

CHAPTERS = [progress.Chapter("00", "00_start", "Start", ["00-a", "00-b"])]


@pytest.fixture
def class_of_three(tmp_path, monkeypatch):
    """A folder with the files of three learners, one of whom typed a name, and a file of something else."""

    def learner(name, *lines):
        monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / f"{name}.jsonl"))
        monkeypatch.setattr(progress, "notebook", lambda: None)
        for what, said in lines:
            progress.note(what, **said)

    def tried(name, right, said="Look again."):
        return "exercise", {"name": name, "right": right, "said": said}

    guess = "guess", {"notebook": "00", "value": 0.5}
    learner("one", guess, tried("00-a", False), tried("00-a", True), ("end", {"notebook": "00"}))
    learner("two", ("guess", {"notebook": "00", "value": 0.8}), tried("00-a", False), ("name", {"name": "Ada"}))
    learner("three", ("guess", {"notebook": "00", "value": 0.8}), tried("00-a", False, "Other."), tried("00-a", False))
    (tmp_path / "notes.jsonl").write_text("{}\n")
    return tmp_path


def test_files_are_merged_and_a_stranger_among_them_is_named(class_of_three):
    learners, empty = board.read_class(class_of_three)
    assert len(learners) == 3 and empty == ["notes.jsonl"]
    first, second = board.exercise_states(learners, CHAPTERS)
    assert first == board.Exercise("00-a", 1, 2, 0, 1, "Look again.", ["Ada"])
    assert second == board.Exercise("00-b", 0, 0, 3, None, "", [])


def test_the_page_counts_and_names_nobody_who_typed_no_name(class_of_three, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "course", lambda: CHAPTERS)
    monkeypatch.setattr(board, "questions", lambda: {"00": board.Question(0.5, "It was 0.94.", 0.94)})
    file = tmp_path / "build" / "board.html"
    assert board.make(class_of_three, file, every=10) == 3
    text = file.read_text(encoding="utf-8")
    assert "3 learners." in text and "notes.jsonl" in text and 'http-equiv="refresh" content="10"' in text
    assert "2 tried and did not pass (Ada). Their last hint, most often: Look again." in text
    assert "2 predictions, from 0.8 to 0.8, the middle one 0.8, 1 left at 0.5" in text and "It was 0.94." in text
    for name in ("one.jsonl", "two", "three"):
        assert f">{name}" not in text
    board.make(class_of_three, file)
    assert "refresh" not in file.read_text(encoding="utf-8")


def test_who_hands_in_twice_counts_once_as_the_longer_file_says(class_of_three):
    whole = (class_of_three / "one.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (class_of_three / "again.jsonl").write_text("".join(whole), encoding="utf-8")
    (class_of_three / "early.jsonl").write_text("".join(whole[:2]), encoding="utf-8")
    learners, _ = board.read_class(class_of_three)
    assert len(learners) == 3 and sum("00" in one.finished for one in learners) == 1


def test_two_who_begin_in_the_same_second_are_two(class_of_three, monkeypatch):
    monkeypatch.setattr(progress, "notebook", lambda: None)
    for name in ("four", "five"):
        monkeypatch.setenv("COURSE_PROGRESS", str(class_of_three / f"{name}.jsonl"))
        progress.note("start", notebook="00")
    assert len(board.read_class(class_of_three)[0]) == 5


def test_a_file_that_cannot_be_read_stops_nothing(class_of_three):
    (class_of_three / "copied.jsonl").mkdir()  # reading it is an OSError on every system
    learners, empty = board.read_class(class_of_three)
    assert len(learners) == 3 and empty == ["copied.jsonl", "notes.jsonl"]


def test_predictions_that_are_words_are_counted():
    drawn = board.draw_guesses("16", board.Question("delta", "", None), ["north", "north", "delta"])
    assert [bar.get_height() for bar in drawn.figure.axes[0].patches] == [2]
    assert "1 left at delta" in drawn.text and "No answer is stored" in drawn.text


def test_the_answer_is_drawn_where_it_is_a_number():
    asked = board.Question(0.5, "It was 0.94.", 0.94)
    (line,) = [
        one for one in board.draw_guesses("00", asked, [0.7, 0.7]).figure.axes[0].lines if one.get_linestyle() == "--"
    ]
    assert list(line.get_xdata()) == [0.94, 0.94]


@pytest.mark.parametrize(
    ("code", "printed", "answer", "value"),
    [
        ('f"You guessed {my_guess:.2f}; with {n:,} it was {x:.2f}."', "You guessed 0.50; with 1,000 it was 1.01.", None, 1.01),
        ('f"You guessed {my_guess} of {n}; {k} right."', "You guessed 5 of 300; 41 right.", "41 right.", 41),
        ('f"You guessed {my_guess}; it was {x} times."', "You guessed 4; it was 6.4 [6.3, 6.6] times.", None, 6.4),
        ('f"You guessed {my_guess}; {said}."', "You guessed 4; on layer 3 it was 2.", "On layer 3 it was 2.", None),
        ('f"You guessed that {my_guess} gains most; it is", "north on 0.5"', "You guessed that delta gains most; it is north", None, None),
        ('f"Other {my_guess}"', "Other 3", "", None),
        ('f"You guessed {my_guess}; x"', "", "", None),
    ],
)  # fmt: skip
def test_the_answer_s_number_is_the_value_that_answers(code, printed, answer, value, tmp_path):
    cells = [nbformat.v4.new_code_cell("%time\nmy_guess = 4"), nbformat.v4.new_code_cell(f"print({code})")]
    cells[1].outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"before\n{printed}\nafter\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "00_start.ipynb")
    asked = board.questions(tmp_path)["00"]
    assert asked.default == 4 and asked.value == value
    assert answer is None or asked.answer == answer


def test_each_notebook_that_asks_for_a_prediction_shows_its_answer():
    asked = board.questions()
    assert all(question.answer for question in asked.values())
    for number, question in asked.items():
        if question.value is not None:
            (file,) = paths.NOTEBOOKS.glob(f"{number}_*.ipynb")
            assert str(question.value).removesuffix(".0") in json.dumps(question.answer), file


def test_a_folder_that_is_not_there_is_told(tmp_path, capsys):
    assert board.main([str(tmp_path / "none")]) == 1
    assert "gather the learners' progress.jsonl" in capsys.readouterr().err
