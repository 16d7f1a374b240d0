"""What a learner has done is written down by notebooks that a person runs, and by nothing else; it is read, told and summed up."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from course_utils import exercises, logbook, paths, progress, session
from course_utils.progress import Chapter, Done, Tries

CHAPTERS = [Chapter("00", "00_start", "Start", ["00-a", "00-b"]), Chapter("01", "01_go_on", "Go on", ["01-a"])]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A learner's own file, in which all is written down."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "mine.jsonl"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    progress._say_once.cache_clear()
    return tmp_path / "mine.jsonl"


class Shell:
    """What IPython is to the module: names, and functions that are called after each cell."""

    def __init__(self, **names):
        self.user_ns, self.called = names, []
        self.events = SimpleNamespace(register=lambda event, function: self.called.append((event, function)))

    def run(self, code, success=True):
        """Run a cell as far as `progress` sees it."""
        exec(code, self.user_ns)
        for event, function in self.called:
            assert event == "post_run_cell"
            function(SimpleNamespace(success=success, info=SimpleNamespace(raw_cell=code)))


def in_a_notebook(monkeypatch, path, **names):
    shell = Shell(**names)
    monkeypatch.setattr(progress, "get_ipython", lambda: shell)
    if path:
        monkeypatch.setenv("JPY_SESSION_NAME", path)
    else:
        monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    return shell


def test_a_command_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/00_start_here.ipynb")  # as in what a notebook starts with `!`
    monkeypatch.setattr(paths, "progress", lambda: tmp_path / "mine.jsonl")
    exercises.check("00-steps", 84)
    session.start(threads=1).report(1, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "names", "number"),
    [
        ("notebooks/03_adapt_with_lora.ipynb", {}, "03"),
        ("", {"__vsc_ipynb_file__": r"C:\course\notebooks\03_adapt_with_lora.ipynb"}, "03"),
        ("notebooks/03_adapt_with_lora-Copy1.ipynb", {}, "03"),
        ("mine.ipynb", {}, ""),
        ("", {}, None),
        ("notebooks/solutions/03_adapt_with_lora.ipynb", {}, None),
    ],
)
def test_a_notebook_that_a_person_runs_is_known_by_its_editor(path, names, number, tmp_path, monkeypatch):
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    monkeypatch.setattr(paths, "progress", lambda: tmp_path / "mine.jsonl")
    in_a_notebook(monkeypatch, path, **names)
    progress.watch()
    progress.finished()
    progress.note("exercise", name="03-count", right=True, said="Right.")
    done = progress.read()
    assert done.started == done.finished == ({number} if number else set())
    assert set(done.exercises) == ({"03-count"} if number is not None else set())


def test_the_prediction_that_counts_is_the_last_before_the_answer(file, monkeypatch):
    shell = in_a_notebook(monkeypatch, "notebooks/00_start.ipynb")
    progress.watch()
    shell.run("x = 1")
    assert progress.read().guesses == {}
    shell.run("my_guess = 0.5")
    shell.run("my_guess = 0.7")
    shell.run("my_guess = 0.1", success=False)
    shell.run("%time\nmy_guess = 0.8".replace("%time", "# my_guess"))
    assert progress.read().guesses == {"00": 0.8} and not progress.read().seen
    shell.run("said = f'You guessed {my_guess}'")
    shell.run("my_guess = 0.94")
    done = progress.read()
    assert done.guesses == {"00": 0.8} and done.seen == {"00"}


def test_a_prediction_of_any_kind_can_be_written(file, monkeypatch):
    shell = in_a_notebook(monkeypatch, "notebooks/00_start.ipynb")
    progress.watch()
    for code, value in (("my_guess = 'delta'", "delta"), ("my_guess = 3", 3), ("my_guess = [1, {2}]", "[1, {2}]")):
        shell.run(code)
        assert progress.read().guesses["00"] == value


def test_tries_are_counted_until_the_first_right_one(file, capsys):
    for answer in (..., 1, 32, 84, 5):
        exercises.check("00-steps", answer)
    tries = progress.read().exercises["00-steps"]
    assert (tries.wrong, tries.right) == (2, True) and tries.said.startswith("Right")
    first = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    assert first["who"] == progress.WHO and "@" not in file.read_text(encoding="utf-8")
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_where_nothing_can_be_written_the_exercise_works_and_says_so_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "a_file").write_text("")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "a_file" / "mine.jsonl"))
    progress._say_once.cache_clear()
    for _ in range(2):
        exercises.check("00-steps", 84)
    said = capsys.readouterr().out
    assert said.count("Right: 21 batches") == 2
    assert said.count("could not be written") == 1 and "COURSE_PROGRESS" in said


def test_two_notebooks_at_once_lose_nothing(file):
    code = (
        "import sys\nfrom course_utils import progress\n"
        "for i in range(40): progress.note('exercise', name=sys.argv[1] + str(i), right=True, said='')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [one.wait(120) for one in both] == [0, 0]
    done = progress.read()
    assert len(done.exercises) == 80 and not done.faults


def test_a_file_that_was_edited_or_cut_is_read_and_told(file, capsys):
    for i in range(3):
        progress.note("exercise", name=f"00-{i}", right=True, said="")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("00-1", "00-7") + '{"n": 4, "cut', encoding="utf-8")
    done = progress.read()
    assert set(done.exercises) == {"00-0", "00-7", "00-2"} and done.faults
    assert progress.main([]) == 0 and "not as it was written" in capsys.readouterr().err


def test_what_is_next():
    right, wrong = Tries(right=True), Tries(wrong=1, said="Look again.")
    steps = [
        (Done(), "open notebooks/00_start.ipynb: Start."),
        (Done(started={"00"}), "exercise 00-a in notebooks/00_start.ipynb."),
        (
            Done(exercises={"00-a": right, "00-b": wrong}),
            "exercise 00-b in notebooks/00_start.ipynb. The last hint was: Look again.",
        ),
        (Done(exercises={"00-a": right, "00-b": right}), "run notebooks/00_start.ipynb to its last cell."),
        (
            Done(finished={"00"}, exercises={"00-a": right, "00-b": right}),
            "open notebooks/01_go_on.ipynb: Go on.",
        ),
        (
            Done(finished={"00", "01"}, exercises={name: right for name in ("00-a", "00-b", "01-a")}),
            "nothing. You are through all of it.",
        ),
    ]
    for done, wanted in steps:
        assert progress.next_step(done, CHAPTERS) == wanted


def test_the_course_s_notebooks_are_found_with_their_exercises():
    chapters = progress.course()
    assert [name for chapter in chapters for name in chapter.exercises]
    assert all(name.startswith(chapter.number) for chapter in chapters for name in chapter.exercises)
    both = {name for folder in (None, paths.ROOT / "coming") for name in _names(folder)}
    assert both == set(exercises.CHECKERS)


def _names(folder):
    return [name for chapter in progress.course(folder) for name in chapter.exercises]


def test_a_record_names_the_commit_and_a_change_of_it_is_noticed(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "course", lambda: CHAPTERS)
    progress.note("exercise", name="00-a", right=True, said="Right.")
    place = tmp_path / "record.html"
    assert progress.main(["--name", "Ada <b>", "--record", str(place)]) == 0
    said = capsys.readouterr().out
    assert "00 Start: begun, 1 of 2 exercises passed" in said
    text = place.read_text(encoding="utf-8")
    assert paths.code_version() in text and "Ada &lt;b&gt;" in text and "does not prove who" in text
    assert progress.main(["--check", str(place)]) == 0
    sum_ = said.split("checksum is ")[1].strip(" .\n")
    assert sum_ in capsys.readouterr().out
    for old, new in (("00-a", "00-b"), (sum_, sum_[::-1]), ("<pre>", "<p>")):
        place.write_text(text.replace(old, new), encoding="utf-8")
        assert progress.main(["--check", str(place)]) == 1
    assert progress.main(["--check", str(tmp_path / "none.html")]) == 1


def test_a_record_that_cannot_be_written_is_told(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "course", lambda: CHAPTERS)
    assert progress.main(["--record", str(tmp_path / "none" / "record.html")]) == 1
    assert "name a file in a folder that is there" in capsys.readouterr().err


def test_a_record_can_be_held_against_the_log_that_it_rests_on(file):
    progress.note("start", notebook="00")
    content = progress.record(progress.read(), CHAPTERS, "git 1")
    progress.note("end", notebook="00")
    assert not logbook.read(file, head=content["log"]["head"]).faults
    assert logbook.read(file, head="0" * 64).faults
