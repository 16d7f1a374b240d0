"""The run under load sees what it is there to see: wrong answers, wrong statuses, broken connections, a crash, growing memory."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("fastapi", reason="needs the extra http")
import psutil

from course_utils import results
from course_utils.experiments import load, runs

RECORDS = {i: {"id": i, "grade": i % 5, "note": ""} for i in range(6)}
REPORTS = [{"text": "a" * i, "eye": "left", "id": i} for i in range(6)]
NOTHING = {"grade": None, "note": "broken report: why"}


@pytest.fixture
def client(monkeypatch):
    """A client whose requests are answered by `client.says`, in place of a service."""
    made = load.Client(1, 0, RECORDS)
    made.says = lambda method, path, headers, body: (200, json.loads(body))

    def ask(*request):
        status, answer = made.says(*request)
        made.tally.statuses[status] += 1
        return status, answer

    monkeypatch.setattr(made, "ask", ask)
    monkeypatch.setattr(load, "asked", lambda: REPORTS)
    return made


def right(method, path, headers, body):
    """The answers that a faultless service gives."""
    for bad in load.BAD.values():
        if bad[:4] == (method, path, headers, body):
            return bad[4], {"error": "Why."}
    asked = json.loads(body)
    found = [RECORDS[one["id"]] if isinstance(one, dict) and "id" in one else NOTHING for one in asked]
    return 200, found


def test_right_answers_are_none_that_is_wrong(client):
    client.says = lambda *request: (200, RECORDS[json.loads(request[3])["id"]])
    client.send(REPORTS[:1])
    client.says = right
    client.send(REPORTS[:3])
    for kind in [*load.BAD, load.AMONG]:
        client.send_malformed(kind)
    tally = client.tally
    assert (tally.reports, tally.wrong, tally.wrong_statuses) == (7, 0, {}) and len(tally.milliseconds) == 2
    assert tally.malformed == Counter([*load.BAD, load.AMONG])


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda found: found[::-1], 2),  # three answers, of which the middle one is at its place
        (lambda found: found[:2], 3),
        (lambda found: [*found, found[0]], 3),
        (lambda found: [found[0], found[1] | {"grade": 9}, found[2]], 1),
        (lambda found: [found[0], found[1] | {"note": "x"}, found[2]], 1),
    ],
)
def test_wrong_answers_are_counted(client, change, wrong):
    client.says = lambda *request: (200, change(right(*request)[1]))
    client.send(REPORTS[:3])
    assert (client.tally.reports, client.tally.wrong) == (3, wrong)


@pytest.mark.parametrize(("status", "errors"), [(500, 1), (503, 1), (0, 0), (400, 0)])
def test_a_good_request_without_an_answer_is_wrong(client, status, errors):
    client.says = lambda *_: (status, {"error": "Why."})
    client.send(REPORTS[:2])
    assert client.tally.wrong == 2 and load.counted([client.tally])["server_errors"] == errors


@pytest.mark.parametrize("kind", load.BAD)
def test_another_status_than_the_right_one_is_counted(client, kind):
    for said in ((200, {"error": "Why."}), (500, {"error": "Why."}), (load.BAD[kind][4], {"grade": 1})):
        client.tally.wrong_statuses.clear()
        client.says = lambda *_, said=said: said
        client.send_malformed(kind)
        assert client.tally.wrong_statuses == {f"{kind}: {said[0]}": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda found: [*found[:1], RECORDS[0], *found[2:]],  # a grade for what is no report
        lambda found: [*found[:1], {"grade": None, "note": ""}, *found[2:]],
    ],
)
def test_a_broken_report_in_a_list_must_have_a_note_and_no_grade(client, change):
    client.says = lambda *request: (200, change(right(*request)[1]))
    client.send_malformed(load.AMONG)
    assert client.tally.wrong_statuses == {f"{load.AMONG}: 200": 1}


def test_its_neighbours_must_have_their_own_answers(client):
    client.says = lambda *request: (200, [one | {"grade": 9} if "id" in one else one for one in right(*request)[1]])
    client.send_malformed(load.AMONG)
    assert (client.tally.wrong, client.tally.wrong_statuses) == (3, {})


def test_a_broken_connection_is_counted_and_the_next_request_has_a_new_one():
    client = load.Client(1, 0, RECORDS)  # nobody listens there
    for _ in range(2):
        client.send(REPORTS[:1])
    assert (client.tally.broken, client.tally.wrong, client.tally.statuses) == (2, 2, {})


def test_the_counts_of_all_clients_are_added(monkeypatch):
    monkeypatch.setattr(load, "SECONDS", 10)
    tallies = [load.Tally(requests=30, reports=50, wrong=1, broken=2, milliseconds=[1.0] * 50) for _ in range(2)]
    tallies[0].statuses, tallies[1].statuses = Counter({200: 28, 500: 2}), Counter({200: 30, 503: 1})
    tallies[1].malformed, tallies[1].milliseconds = Counter(nothing=3), [1.0] * 40 + [9.0] * 10
    found = load.counted(tallies)
    assert (found["requests"], found["reports"], found["wrong"], found["broken"]) == (60, 100, 2, 4)
    assert (found["server_errors"], found["malformed"]) == (3, {"nothing": 3})
    assert (found["requests_s"], found["reports_s"]) == (6.0, 10.0)
    assert found["ms"] == {"p50": 1.0, "p95": 9.0, "p99": 9.0}


def test_memory_that_grows_has_a_slope_and_the_first_half_has_none():
    flat = load.memory_of([50.0 + i for i in range(10)] + [60.0] * 50)
    assert (flat["start"], flat["half_way"], flat["end"], flat["most"], flat["a_minute"]) == (50, 60, 60, 60, 0)
    assert load.memory_of([60.0 + i / 10 for i in range(60)])["a_minute"] == pytest.approx(6)


STUB = """
import sys
sys.path[:0] = [{tests!r}]
import test_service
from course_utils import service
with service.listening("127.0.0.1", 0) as one:
    service.say("stub", one)
    service.answer(service.app(test_service.Stub()), one, service.Limits())
sys.exit({status})
"""


def a_stub(monkeypatch, status=0):
    """Let `under_load` serve a stub whose answers are known, in a process that ends with a status."""
    import test_service

    stub = test_service.Stub()
    records = {one["id"]: json.loads(json.dumps(stub.record(stub.grade(one["text"]), one["id"]))) for one in REPORTS}

    @contextmanager
    def served(_):
        program = STUB.format(tests=os.path.dirname(__file__), status=status)
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
            yield process, int(re.search(r":(\d+) ", process.stderr.readline())[1])

    for name, value in {"served": served, "SECONDS": 2, "CLIENTS": 4, "MALFORMED": 0.5}.items():
        monkeypatch.setattr(load, name, value)
    monkeypatch.setattr(load, "asked", lambda: REPORTS)
    monkeypatch.setattr(load, "expected", lambda _: records)
    return records


@pytest.mark.slow
def test_a_real_service_under_load(monkeypatch):
    a_stub(monkeypatch)
    found = load.under_load("")
    assert (found["wrong"], found["wrong_statuses"], found["broken"], found["server_errors"]) == (0, {}, 0, 0)
    assert (found["crashed"], found["exit_status"], found["said"]) == (False, 0, "")
    assert found["requests"] > 50 and found["reports"] > 10 and found["memory_mb"]["start"] > 10
    assert set(found["statuses"]) >= {"200", "400", "422"}


@pytest.mark.slow
def test_a_service_that_crashes_or_answers_otherwise_is_seen(monkeypatch):
    records = a_stub(monkeypatch, status=3)
    records[4] |= {"label": "other"}
    found = load.under_load("")
    assert found["crashed"] and found["exit_status"] == 3
    assert 0 < found["wrong"] < found["reports"]


@pytest.mark.slow
def test_the_whole_run(monkeypatch, tmp_path):
    shipped = {}
    monkeypatch.setattr(runs, "WORK", tmp_path / "runs")
    monkeypatch.setattr(runs, "place", lambda experiment, settings: tmp_path / f"{experiment}.json")
    monkeypatch.setattr(runs, "alone", lambda function: function())
    monkeypatch.setattr(results, "ship", lambda name, **content: shipped.update({name: content}))
    for name, small in {"SECONDS": 2, "CLIENTS": 4, "LABELS": 100, "EPOCHS": 1, "TEXTS": 40}.items():
        monkeypatch.setattr(load, name, small)
    load.asked.cache_clear()
    cores = psutil.Process().cpu_affinity() if hasattr(psutil.Process, "cpu_affinity") else None
    try:
        load.main()
        assert cores is None or len(psutil.Process().cpu_affinity()) <= 2
    finally:
        load.asked.cache_clear()
        if cores:
            psutil.Process().cpu_affinity(cores)
    content = shipped["load_runs"]
    assert (content["load"]["wrong"], content["load"]["wrong_statuses"], content["load"]["crashed"]) == (0, {}, False)
    assert content["load"]["reports"] > 4 and {"fastapi", "uvicorn", "cores"} <= set(content["machine"])
    real = results.shipped("load_runs")
    assert set(real) - {"rows"} == set(content) and set(real["load"]) == set(content["load"])
