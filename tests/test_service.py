"""The HTTP service answers each report as the grader does alone, whatever else it is sent, and bounds what it takes."""

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("fastapi", reason="needs the extra http")
from starlette.testclient import TestClient

from course_utils import serve, service

JSON = {"Content-Type": "application/json"}
LEFT = {"text": "severe", "eye": "left"}


class Stub:
    """A grader whose answer is the length of the text, which notes what it was asked, and fails where it is told to."""

    model, engine = "0123456789ab", "onnxruntime"

    def __init__(self, seconds=0.0):
        self.contract = {
            "labels": ["none", "some"],
            "examples": [{"text": "four", "eye": "left", "probabilities": [0.6, 0.4]}],
        }
        self.seconds, self.asked, self.go = seconds, [], threading.Event()
        self.go.set()

    def grade(self, text, eye="", cut=False):
        return self.answers([(text, eye)])[0]

    def answers(self, reports):
        self.asked.append(list(reports))
        self.go.wait(5)
        time.sleep(self.seconds * len(reports))
        return [self._answer(text) for text, _ in reports]

    def _answer(self, text):
        if text == "boom":
            raise ZeroDivisionError("secret words of a report")
        if not text:
            return serve.refusal("no text", "the report is empty")
        return serve.Answer(len(text), "some", 0.6, "", (0.6, 0.4))

    def record(self, answer, id=None):
        return ({"id": id} if id is not None else {}) | answer._asdict() | {"model": self.model}

    def columns(self, id):
        return ([id] if id else []) + ["grade", "label", "probability", "note", "model"]


@pytest.fixture
def stub():
    return Stub()


@pytest.fixture
def client(stub):
    with TestClient(service.app(stub)) as made:
        yield made


def asked(limits, stub):
    return TestClient(service.app(stub, service.Limits(**limits)))


def error_of(reply, status):
    assert reply.status_code == status, reply.text
    assert set(reply.json()) == {"error"} and reply.json()["error"].endswith(".")
    return reply.json()["error"]


# Answers.


def test_one_report_has_one_answer(client):
    reply = client.post("/grade", json=LEFT | {"id": "a7"})
    assert reply.status_code == 200 and reply.json()["grade"] == 6 and reply.json()["model"] == Stub.model
    assert list(reply.json())[0] == "id" and reply.json()["id"] == "a7"
    assert "id" not in client.post("/grade", json=LEFT).json()
    assert reply.headers["cache-control"] == "no-store"


def test_a_list_is_answered_in_order_and_a_bad_report_in_it_alone_has_no_grade(client):
    bad = [None, 7, [], {}, {"text": 3}, {"text": "a", "eye": 3}, {"text": "a", "age": 3}, {"text": "a" * 100_001}]
    bad += [{"text": "boom"}]
    for place in range(len(bad) + 1):
        reports = [{"text": "x" * (i + 1), "id": i} for i in range(3)]
        reports[place % 3 : place % 3] = bad
        records = client.post("/grade", json=reports).json()
        assert len(records) == len(reports)
        good = [one for one in records if one["grade"] is not None]
        assert [(one["id"], one["grade"], one["note"]) for one in good] == [(0, 1, ""), (1, 2, ""), (2, 3, "")]
        assert all(one["note"] for one in records if one["grade"] is None)
    assert client.post("/grade", json=[]).json() == []


def test_a_sound_id_stays_with_a_report_that_is_at_fault(client):
    said = client.post("/grade", json=[{"id": "a7"}, {"id": 7, "text": 1}, {"id": [1], "text": "a"}]).json()
    assert [one.get("id") for one in said] == ["a7", 7, None]
    assert [one["note"] for one in said] == [
        'broken report: "text" is missing',
        'broken report: "text" must be a text',
        'broken report: "id" must be a short text or a whole number',
    ]


def test_ids_that_are_none_are_refused(client):
    for id in (True, 1.5, "x" * 201, 2**63, {}):
        assert '"id"' in error_of(client.post("/grade", json=LEFT | {"id": id}), 422)
    for id in ("x" * 200, -(2**63), 0, "", "ü"):
        assert client.post("/grade", json=LEFT | {"id": id}).json()["id"] == id


# What is no request.


BAD = {
    "nothing": (b"", 400, "no JSON"),
    "no JSON": (b"eye=left", 400, "no JSON: Expecting value, line 1, column 1"),
    "cut off": (b'{"text": "a", "eye"', 400, "no JSON"),
    "two": (b"{} {}", 400, "Extra data"),
    "not a number": (b'{"text": NaN}', 400, "not finite"),
    "infinite": (b'{"text": "a", "id": -Infinity}', 400, "not finite"),
    "endless": (b'{"text": "a", "id": ' + b"9" * 5_000 + b"}", 400, "endless"),
    "too large a number": (b'{"text": "a", "id": 1e999}', 422, '"id" must be'),
    "deep": (b"[" * 100_000, 400, "too deep"),
    "deep objects": (b'{"a":' * 100_000, 400, "too deep"),
    "Latin-1": ('{"text": "Netzhautödem"}'.encode("latin-1"), 400, "not UTF-8 from byte 19 on"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), 400, "not UTF-8"),
    "half a character": (b'{"text": "a\\ud800"}', 422, '"text" must be a text'),
    "half a character in an id": (b'{"text": "a", "id": "\\udfff"}', 422, '"id" must be'),
    "half a character in a name": (b'{"text": "a", "\\ud800": 1}', 422, "no field"),
    "text": (b'"severe"', 422, "a report is an object"),
    "null": (b"null", 422, "a report is an object"),
    "missing": (b'{"eye": "left"}', 422, '"text" is missing'),
    "half a character in the eye": (b'{"text": "a", "eye": "\\ud800"}', 422, '"eye" must be a short text'),
    "null text": (b'{"text": null}', 422, '"text" must be a text'),
    "wrong type": (b'{"text": ["a"]}', 422, '"text" must be a text'),
    "unknown field": (b'{"text": "a", "Eye": "left"}', 422, '"Eye" is no field of a report: there are text, eye, id'),
    "twice": (b'{"text": "a", "text": "b"}', 422, "a field stands in it twice"),
    "too long a text": (json.dumps({"text": "a" * 100_001}).encode(), 422, '"text" has more than 100,000 characters'),
    "too many": (json.dumps([LEFT] * 101).encode(), 413, "101 reports; send at most 100"),
    "too large": (b" " * 1_000_001, 413, "more than 1,000,000 bytes"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_request_is_answered_with_a_sentence(client, stub, kind):
    body, status, words = BAD[kind]
    asked_before = len(stub.asked)
    assert words in error_of(client.post("/grade", content=body, headers=JSON), status)
    assert len(stub.asked) == asked_before
    assert client.post("/grade", json=LEFT).json()["grade"] == 6


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/grade", 405), ("PUT", "/grade", 405), ("DELETE", "/health", 405), ("OPTIONS", "/grade", 405)]
    + [("GET", path, 404) for path in ("/", "/grade/", "/redoc", "/../etc/passwd", "/docs/x", "/%ff", "/static/a.js")],
)
def test_other_pages_and_methods_are_named_as_such(client, method, path, status):
    reply = client.request(method, path)
    assert "POST /grade" in error_of(reply, status)
    assert not {name for name in reply.headers if name.startswith(("access-control", "set-cookie", "location"))}


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_a_body_must_say_that_it_is_json(client, kind):
    reply = client.post("/grade", content=json.dumps(LEFT), headers={"Content-Type": kind} if kind else {})
    error_of(reply, 415)
    fine = {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert client.post("/grade", content=b"\xef\xbb\xbf" + json.dumps(LEFT).encode(), headers=fine).status_code == 200


def a_value(draw, depth=0):
    """Some JSON value, odd more often than not."""
    odd = ["severe", "", "\ud800", "\0", "ü" * 300, 7, -1, 1.5, True, None, float("nan"), float("inf"), 10**30]
    if depth > 3 or draw.random() < 0.4:
        return draw.choice(odd)
    if draw.random() < 0.3:
        return [a_value(draw, depth + 1) for _ in range(draw.randrange(5))]
    names = draw.sample(["text", "eye", "id", "Text", "\udc00", "", "x" * 99], draw.randrange(6))
    return {name: draw.choice(odd) if draw.random() < 0.7 else a_value(draw, depth + 1) for name in names}


def a_body(draw):
    """The bytes of a random body: a value as JSON, and then perhaps cut short, changed in one place, or noise."""
    body = json.dumps(a_value(draw)).encode()
    how = draw.random()
    if how < 0.2:
        return body[: draw.randrange(len(body) + 1)]
    if how < 0.4:
        place = draw.randrange(len(body) + 1)
        return body[:place] + draw.randbytes(draw.randrange(3)) + body[place + 1 :]
    return draw.randbytes(draw.randrange(50)) if how < 0.5 else body


def test_no_body_makes_the_service_fail(client):
    draw, seen = random.Random(1), set()
    for _ in range(300):
        reply = client.post("/grade", content=a_body(draw), headers=JSON)
        seen.add(reply.status_code)
        said = reply.json()  # valid JSON in each case
        assert reply.status_code in (200, 400, 422)
        assert reply.status_code == 200 or set(said) == {"error"}
    assert seen == {200, 400, 422}


# The queue.


def together(client, bodies):
    """Send all bodies at once, each from a thread of its own; return their replies."""
    replies = [None] * len(bodies)

    def send(i):
        replies[i] = client.post("/grade", json=bodies[i])

    threads = [threading.Thread(target=send, args=[i]) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    return replies, threads


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def held(client, stub):
    """Return how many reports wait or are being graded, of those that came since `stub.asked` was emptied."""
    return client.app.state.batches.waiting + sum(len(batch) for batch in stub.asked)


def joined(threads):
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_requests_of_many_clients_share_batches_and_each_gets_its_own_answers(stub):
    with asked({"batch": 4}, stub) as client:
        stub.asked.clear()
        stub.go.clear()
        replies, threads = together(client, [[{"text": "x" * (i + 1)}, {"text": "y" * (i + 20)}] for i in range(6)])
        until(lambda: held(client, stub) == 12)
        stub.go.set()
        joined(threads)
    assert [[one["grade"] for one in reply.json()] for reply in replies] == [[i + 1, i + 20] for i in range(6)]
    assert max(len(batch) for batch in stub.asked) == 4 and sum(len(batch) for batch in stub.asked) == 12


def test_a_report_on_which_the_grader_fails_leaves_the_others_of_its_batch_alone(stub, capfd):
    with asked({"batch": 16}, stub) as client:
        stub.asked.clear()
        stub.go.clear()
        replies, threads = together(client, [LEFT, {"text": "boom"}, [LEFT, {"text": "boom"}, LEFT], LEFT])
        until(lambda: held(client, stub) == 6)
        stub.go.set()
        joined(threads)
    first, second, third, fourth = (reply.json() for reply in replies)
    assert [one["grade"] for one in (first, second, *third, fourth)] == [6, None, 6, None, 6, 6]
    assert second["note"] == "failed: the grader failed on this report (ZeroDivisionError)"
    assert "ZeroDivisionError" in (said := capfd.readouterr().err) and "secret" not in said and "boom" not in said


def test_a_full_queue_says_when_to_come_back_and_what_waits_is_answered(stub):
    with asked({"batch": 1, "reports": 3, "waiting": 3}, stub) as client:
        stub.go.clear()
        replies, threads = together(client, [LEFT])
        until(lambda: stub.asked == [[("severe", "left")]])  # it is being graded, and no longer waits
        more, others = together(client, [[LEFT] * 3])
        until(lambda: client.app.state.batches.waiting == 3)
        reply = client.post("/grade", json=LEFT)
        assert "Ask again" in error_of(reply, 503) and reply.headers["retry-after"] == "1"
        stub.go.set()
        joined(threads + others)
        assert replies[0].json()["grade"] == 6 and [one["grade"] for one in more[0].json()] == [6, 6, 6]
        assert client.post("/grade", json=LEFT).status_code == 200


def test_too_many_open_requests_are_refused_before_they_are_read(stub):
    with asked({"requests": 2}, stub) as client:
        stub.asked.clear()
        stub.go.clear()
        replies, threads = together(client, [LEFT] * 2)
        until(lambda: held(client, stub) == 2)
        reply = client.post("/grade", json=LEFT)
        assert "2 requests are open" in error_of(reply, 503) and "retry-after" in reply.headers
        stub.go.set()
        joined(threads)
        assert [one.status_code for one in (*replies, client.post("/grade", json=LEFT))] == [200, 200, 200]


def test_who_waits_too_long_is_told_so_and_is_not_graded_for_nobody(stub):
    with asked({"answer_s": 0.1, "batch": 1}, stub) as client:
        stub.asked.clear()
        stub.go.clear()
        assert "No answer in 0.1 seconds" in error_of(client.post("/grade", json=[LEFT] * 4), 503)
        stub.go.set()
        until(lambda: client.app.state.batches.waiting == 0)
        assert client.post("/grade", json={"text": "four"}).json()["grade"] == 4
    assert stub.asked == [[("severe", "left")], [("four", "")]]


def test_a_queue_must_hold_a_request():
    with pytest.raises(ValueError, match="would never fit"):
        service.Limits(reports=10, waiting=9)


# Health, and the page.


def test_health_asks_the_grader_its_own_examples(client, stub):
    assert client.get("/health").json() == {"status": "ok", "model": Stub.model, "waiting": 0}
    for stated in ([0.5, 0.5], [0.6, float("nan")]):
        stub.contract["examples"][0]["probabilities"] = stated
        assert "otherwise than it should" in error_of(client.get("/health"), 503)
    stub.contract["examples"][0]["probabilities"] = [0.6]
    assert "failed on the examples of its contract (ValueError)" in error_of(client.get("/health"), 503)
    for text, words in (
        ("boom", "failed on the examples of its contract (ZeroDivisionError)"),
        ("", "graded no example"),
    ):
        stub.contract["examples"][0]["text"] = text
        assert words in error_of(client.get("/health"), 503)


def test_health_takes_the_answers_of_the_form_that_serves(client, stub):
    stub.contract["examples"][0] |= {"probabilities": [0.9, 0.1], "float32": [0.6, 0.4]}
    assert client.get("/health").status_code == 503
    stub.engine = "onnxruntime-float32"
    assert client.get("/health").json()["status"] == "ok"


def test_health_of_a_grader_that_hangs(stub):
    with asked({"answer_s": 0.05}, stub) as client:
        stub.go.clear()
        assert "did not answer" in error_of(client.get("/health"), 503)
        stub.go.set()
        until(lambda: client.get("/health").status_code == 200)


def test_the_page_needs_no_network_and_no_script(client):
    reply = client.get("/docs")
    assert reply.status_code == 200 and "POST /grade" in reply.text and "GET /health" in reply.text
    assert not re.search(r"<script|src=|https?:|@import", reply.text)
    assert reply.headers["content-security-policy"] == "default-src 'none'"
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/grade", "/health"}
    one, several = schema["paths"]["/grade"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert set(one["properties"]) == {"text", "eye", "id"} and several["items"] == one and several["maxItems"] == 100


def test_what_a_page_quotes_is_escaped(stub):
    stub.contract["labels"] = ["<script>alert(1)</script>"]
    with asked({}, stub) as client:
        assert "&lt;script&gt;" in client.get("/docs").text


def test_a_fault_of_the_service_says_nothing_of_a_report(client, stub, capfd, monkeypatch):
    def broken(answer, id=None):
        raise KeyError("secret words of a report")

    monkeypatch.setattr(stub, "record", broken)
    assert "failed on this request" in error_of(client.post("/grade", json=LEFT), 500)
    said = capfd.readouterr()
    assert said.err == "A request failed: KeyError.\n" and not said.out


def test_it_needs_neither_torch_nor_the_course():
    heavy = {"torch", "transformers", "pandas", "datasets", "psutil", "onnx", "mlflow"}
    program = f"import sys; from course_utils import service; print(*sys.modules.keys() & {heavy})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


# The address.


def test_an_address_that_is_taken_or_is_none_is_refused_in_words():
    with service.listening("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        with pytest.raises(OSError, match=rf"Can't listen on 127.0.0.1, port {port}.*--port"):
            service.listening("127.0.0.1", port)
    for host, number in (("no.such.host.invalid", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(OSError, match="Can't listen"):
            service.listening(host, number)


def test_it_says_where_it_listens_and_warns_where_others_can_reach_it(capsys):
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        with service.listening(host, 0) as one:
            service.say("dr-grader", one)
            said = capsys.readouterr().err
            assert f"dr-grader: listening on http://{host}:{one.getsockname()[1]} " in said
            assert ("no password" in said) == warned


# The grader itself.

SEEN = "severe retinopathy, haemorrhages in four quadrants seen."
TEXTS = [SEEN, "no retinopathy seen.", "mild retinopathy in two quadrants."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An exported folder of a small model with random weights."""
    import torch  # here, so that a process that needs the stub alone starts at once

    import small_models
    from course_utils import data, export, models

    here = tmp_path_factory.mktemp("export")
    model, tokenizer = models.grader(small_models.bert(here / "bert"), seed=0)
    with torch.no_grad():
        model.classifier.weight.mul_(200)
    return export.pack(
        here / "grader",
        export.to_onnx(model, tokenizer, here / "model.onnx"),
        tokenizer,
        labels=data.GRADE_NAMES,
        reports={"eye": ["right", "left"] * 12, "text": [f"{text} {n}" for text in TEXTS for n in range(8)]},
        examples=[("right", SEEN), ("left", TEXTS[1])],
        figures={},
        max_tokens=32,
    )


@pytest.mark.slow
def test_it_answers_what_the_grader_answers_alone(folder):
    grader = serve.load(folder)
    asked_for = [(text, eye) for text in [*TEXTS, "", ".", SEEN * 9] for eye in ("left", "OD", "up")]
    records = [grader.record(grader.grade(text, eye), i) for i, (text, eye) in enumerate(asked_for)]
    assert {record["grade"] is None for record in records} == {True, False}
    with TestClient(service.app(grader)) as client:
        reply = client.post("/grade", json=[{"id": i, "text": t, "eye": e} for i, (t, e) in enumerate(asked_for)])
        assert reply.json() == records and list(reply.json()[0]) == grader.columns("id")
        assert client.get("/health").json()["status"] == "ok"
        answer = client.get("/openapi.json").json()["paths"]["/grade"]["post"]["responses"]["200"]
        (shown, _) = answer["content"]["application/json"]["schema"]["anyOf"]
        assert list(shown["properties"]) == grader.columns("id")


@pytest.mark.slow
def test_what_can_not_be_served_is_refused_in_words(folder, tmp_path, capsys):
    assert service.main([str(tmp_path / "none")]) == 2
    assert "is no exported folder" in capsys.readouterr().err
    assert service.main([str(folder), "--port", "70000"]) == 2
    assert "Can't listen on 127.0.0.1, port 70000" in capsys.readouterr().err


# A process of its own.

SLOW = """
import sys
sys.path[:0] = {path!r}
import test_service
from course_utils import serve, service
limits = service.Limits(receive_s=2, batch=1)
with service.listening("127.0.0.1", 0) as one:
    service.say("stub", one)
    service.answer(service.app(test_service.Stub(seconds=0.2), limits), one, limits)
print("ended", flush=True)
"""


class Process:
    """A service that runs, and its port."""

    def __init__(self, command):
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = self.popen.stderr.readline()
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)", self.said)[1])

    def ask(self, body, method="POST", path="/grade"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, JSON)
        reply = connection.getresponse()
        found = reply.status, json.loads(reply.read())
        connection.close()
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def slow():
    with Process([sys.executable, "-c", SLOW.format(path=[os.path.dirname(__file__)])]) as made:
        yield made


@pytest.mark.slow
def test_from_the_command_line(folder):
    grader = serve.load(folder)
    with Process([sys.executable, "-m", "course_utils.service", str(folder), "--port", "0"]) as made:
        assert f"grader, model {grader.model}" in made.said
        assert made.ask(json.dumps({"text": SEEN, "eye": "left"})) == (200, grader.record(grader.grade(SEEN, "left")))
        assert made.ask(b"\xff")[0] == 400 and made.ask(None, "GET", "/health")[0] == 200
        made.popen.terminate()
        assert made.popen.communicate(timeout=20) == ("", "") and made.popen.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_when_it_ends_is_answered(slow, end):
    assert slow.ask(json.dumps(LEFT))[0] == 200
    assert slow.ask("{")[0] == 400
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(slow.ask(json.dumps([LEFT] * 2)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: slow.ask(None, "GET", "/health")[1]["waiting"] >= 3)
    slow.popen.send_signal(end)
    joined(threads)
    out, err = slow.popen.communicate(timeout=20)
    assert [(status, [one["grade"] for one in said]) for status, said in replies] == [(200, [6, 6])] * 4
    assert (slow.popen.returncode, out, err) == (0, "ended\n", "")
    with pytest.raises(OSError):
        slow.ask(json.dumps(LEFT))


def all_of(connection):
    """Return what comes until the other side closes the connection."""
    return b"".join(iter(lambda: connection.recv(10_000), b""))


@pytest.mark.slow
def test_a_client_that_sends_too_slowly_is_let_go_and_others_are_answered(slow):
    head = b"POST /grade HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    slowly = {"nothing": b"", "half a head": head, "half a body": head + b"Content-Length: 9\r\n\r\n{"}
    opened = {name: socket.create_connection(("127.0.0.1", slow.port), timeout=20) for name in slowly}
    for name, one in opened.items():
        one.sendall(slowly[name])
    with socket.create_connection(("127.0.0.1", slow.port), timeout=20) as again:
        again.sendall(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n")
        assert again.recv(10_000).startswith(b"HTTP/1.1 200")
        again.sendall(head)
        assert b"HTTP" not in all_of(again)  # a connection that was used before is closed too
    assert slow.ask(json.dumps(LEFT))[0] == 200
    said = {name: all_of(one) for name, one in opened.items()}  # returns when the service closes the connection
    assert said["nothing"] == said["half a head"] == b""
    assert said["half a body"].startswith(b"HTTP/1.1 408") and b"did not arrive in 2 seconds" in said["half a body"]
    with socket.create_connection(("127.0.0.1", slow.port), timeout=20) as one:
        one.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert all_of(one).startswith(b"HTTP/1.1 400")
    assert slow.ask(json.dumps(LEFT))[0] == 200
