"""Before a workshop: each check that fails says how to mend it, the exit code tells, and one sheet holds a class of machines."""

import json
from types import SimpleNamespace

import pytest

from course_utils import machine, paths, preflight
from course_utils.preflight import Check

FINE, SLOW, BAD = (
    Check("a", "x", "ok", False),
    Check("b", "y", f"{machine.RUNS}, slowly.", False),
    Check("c", "z", "Mend it.", True),
)


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return tmp_path / "build"


@pytest.mark.parametrize(("checks", "status"), [([FINE, SLOW], 0), ([FINE, BAD], 1)])
def test_the_exit_code_and_the_page_say_whether_it_is_ready(checks, status, build, monkeypatch, capsys):
    monkeypatch.setattr(preflight, "check_all", lambda: checks)
    assert preflight.main(["--name", "desk 4"]) == status
    said, page = capsys.readouterr().out, (build / "preflight.html").read_text(encoding="utf-8")
    assert ("Not ready: c." in said) == ("Mend it." in page) == bool(status)
    assert ("Ready:" in said) == ("Read what is said of: b." in said) == (not status)
    handed_in = json.loads((build / "desk 4.json").read_text(encoding="utf-8"))
    assert [Check(**one) for one in handed_in["checks"]] == checks and handed_in["code"] == paths.code_version()


def test_a_check_that_breaks_is_one_that_stops_and_the_others_go_on(monkeypatch):
    def broken():
        raise ImportError("libtorch is not there")

    for part in ("of_machine", "of_extras", "of_notebooks", "of_folder", "of_kernel"):
        monkeypatch.setattr(preflight, part, lambda: [FINE])
    monkeypatch.setattr(preflight, "of_machine", broken)
    first, *rest = preflight.check_all()
    assert first == Check("this machine", "ImportError: libtorch is not there", preflight.AGAIN, True)
    assert rest == [FINE] * 4


def test_what_only_slows_the_course_stops_nothing(monkeypatch):
    rows = [
        ("cores", "1", f"{machine.RUNS}, at half the speed."),
        ("disk", "0.1 GB", "Make room."),
        ("Python", "3", "ok"),
    ]
    monkeypatch.setattr(machine, "check", lambda: rows)
    assert [check.stops for check in preflight.of_machine()] == [False, True, False]


def test_missing_libraries_are_named_with_the_command_that_installs_them(monkeypatch):
    assert preflight.of_extras()[0].verdict == "ok"
    monkeypatch.setattr(preflight, "_installed", lambda name: name not in ("wandb", "optuna"))
    (check,) = preflight.of_extras()
    assert check.found == "missing: optuna, wandb" and "-e '.[search,tracking]'" in check.verdict
    assert not check.stops  # the first notebooks run without
    monkeypatch.setattr(preflight, "_installed", lambda name: name != "ipykernel")
    assert preflight.of_extras()[0].stops


def test_notebooks_that_are_broken_or_gone_are_named(tmp_path, monkeypatch):
    assert preflight.of_notebooks()[0].verdict == "ok"
    monkeypatch.setattr(paths, "NOTEBOOKS", tmp_path)
    assert preflight.of_notebooks()[0].stops
    (tmp_path / "00_cut.ipynb").write_text('{"cells": [')
    assert preflight.of_notebooks()[0].found == "broken: 00_cut.ipynb"


def test_a_folder_where_nothing_can_be_written_is_told(tmp_path, monkeypatch):
    assert preflight.of_folder()[0].verdict == "ok"
    monkeypatch.setattr(paths, "ROOT", tmp_path / "none")
    assert preflight.of_folder()[0].stops


@pytest.mark.slow
def test_a_kernel_trains_a_step_here():
    (check,) = preflight.of_kernel()
    assert check.verdict == "ok" and check.found.startswith("trained 1 step")


@pytest.mark.parametrize(
    ("status", "python", "found"),
    [("ok", "elsewhere", "is another Python"), ("error", "", "OSError: no model")],
)
def test_a_kernel_that_is_another_python_or_fails_is_told(status, python, found, monkeypatch):
    import jupyter_client.manager as jupyter

    def execute(code, timeout, output_hook):
        output_hook({"msg_type": "stream", "content": {"name": "stdout", "text": f"{python}|1|5\n"}})
        return {"content": {"status": status, "ename": "OSError", "evalue": "no model"}}

    client = SimpleNamespace(execute_interactive=execute, stop_channels=lambda: None)
    kernel = SimpleNamespace(shutdown_kernel=lambda now: None)
    monkeypatch.setattr(jupyter, "start_new_kernel", lambda **settings: (kernel, client))
    (check,) = preflight.of_kernel()
    assert check.stops and check.found.startswith(found) and check.verdict != "ok"


def test_a_sheet_holds_the_newest_report_of_each_machine(build, tmp_path, capsys):
    def hand_in(file, name, when, *checks):
        about = preflight.report(checks, name) | {"when": when}
        (tmp_path / file).write_text(json.dumps(about), encoding="utf-8")

    hand_in("a.json", "desk 1", "2026-01-01", BAD)
    hand_in("b.json", "desk 1", "2026-01-02", FINE, SLOW)
    hand_in("c.json", "desk 2", "2026-01-01", FINE, BAD)
    hand_in("d.json", "desk 3", "2026-01-01", FINE, BAD)
    (tmp_path / "e.json").write_text('{"machine": "desk 4", "when": "2026-01-01", "checks": []}')
    assert preflight.main(["--gather", str(tmp_path)]) == 1
    said, page = capsys.readouterr().out, (build / "preflights.html").read_text(encoding="utf-8")
    assert "1 of 3 machines are ready." in said and "e.json" in said
    assert "c: Mend it. (2: desk 2, desk 3)" in page and "not looked at" in page
    assert said.index("\nc: Mend it.") < said.index("\nb (can wait): ") and "(1: desk 1)" in said
    assert preflight.main(["--gather", str(tmp_path / "none")]) == 1


def test_a_machine_s_own_name_says_nothing_of_its_owner():
    name = preflight.nickname()
    assert name == preflight.nickname() and name.removeprefix("machine-").isalnum() and len(name) == 14
