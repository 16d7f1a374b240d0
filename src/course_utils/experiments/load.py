"""Measures the HTTP service under load, into data_samples/results/load_runs.json.

Three minutes on two cores, which the service and its clients share; nothing else should run. A grader as notebook 12 makes
it is exported to int8 and served by a process of its own. 32 clients then ask it for a minute, each over a connection that
it keeps, the next request as soon as the last is answered. One request in ten is malformed, in one of many ways. Each
answer is compared, number by number, with what the grader itself says of that text alone. The service's memory is read
each second. At the end the service gets SIGTERM and has to end by itself.
"""

import http.client
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from course_utils import data, export, graphs, machine, models, results, serve, service, training

from . import runs

NAME, LABELS, EPOCHS, LR = "load_runs", 1_000, 5, 1e-3
SECONDS, CLIENTS, CORES = 60, 32, 2
TEXTS, LISTED, MALFORMED = 500, 0.2, 0.1  # reports asked for; share of requests with a list; share that is malformed
TIMEOUT = 30
JSON = {"Content-Type": "application/json"}
EXAMPLES = [
    ("left", "Left eye: no microaneurysms, no haemorrhages. Right eye: new vessels at the disc."),
    ("right", "OD: MILD NPDR. A FEW MICROANEURYSMS."),
]
BAD = {  # what is malformed, and the status that says so: (method, path, headers, body, status)
    "no JSON": ("POST", "/grade", JSON, b"text=severe", 400),
    "cut off": ("POST", "/grade", JSON, b'{"text": "sev', 400),
    "nothing": ("POST", "/grade", JSON, b"", 400),
    "not a number": ("POST", "/grade", JSON, b'{"text": NaN}', 400),
    "nested deep": ("POST", "/grade", JSON, b"[" * 50_000, 400),
    "not UTF-8": ("POST", "/grade", JSON, b'{"text": "\xe4"}', 400),
    "half a character": ("POST", "/grade", JSON, b'{"text": "\\ud800"}', 422),
    "text missing": ("POST", "/grade", JSON, b'{"eye": "left"}', 422),
    "text of a wrong type": ("POST", "/grade", JSON, b'{"text": ["severe"], "eye": "left"}', 422),
    "unknown field": ("POST", "/grade", JSON, b'{"text": "severe", "side": "left"}', 422),
    "a field twice": ("POST", "/grade", JSON, b'{"text": "a", "text": "b"}', 422),
    "wrong content type": ("POST", "/grade", {"Content-Type": "text/plain"}, b'{"text": "severe"}', 415),
    "too many reports": ("POST", "/grade", JSON, json.dumps([{"text": "severe"}] * 200).encode(), 413),
    "too many bytes": ("POST", "/grade", JSON, b" " * 1_100_000, 413),
    "wrong method": ("DELETE", "/grade", {}, b"", 405),
    "unknown page": ("GET", "/etc/passwd", {}, b"", 404),
}
RAW = {  # what is no HTTP, or stops in the middle: the client then goes away
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    "half a head": b"POST /grade HTTP/1.1\r\nHost: x\r\nContent-Le",
    "half a body": b'POST /grade HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"te',
}
AMONG = "one malformed in a list"
BROKEN = [None, 7, {"eye": "left"}, {"text": 7}, {"text": "severe", "side": "left"}]  # each gets a note and no grade


def exported(folder):
    """Train a grader as notebook 12 does, and return the folder in which it was exported to int8."""
    runs.start()
    train = runs.train_rows(LABELS, 0)
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    training.fit_grader(model, tokenizer, train, epochs=EPOCHS, lr=LR, seed=0, bar=False)
    plain = export.to_onnx(model, tokenizer, f"{folder}/float32.onnx")
    lean = graphs.for_one_report(plain, f"{folder}/lean.onnx")
    return export.pack(
        f"{folder}/grader",
        export.quantise(lean, f"{folder}/int8.onnx"),
        tokenizer,
        labels=data.GRADE_NAMES,
        reports=train.to_dict("list"),
        examples=EXAMPLES,
        figures={},
    )


@cache
def asked():
    """Return the reports that are asked for, as the service reads them, each with an id of its own."""
    rows = runs.frames()["test"].sample(TEXTS, random_state=0)
    return [
        {"text": text, "eye": eye, "id": id}
        for id, text, eye in zip(rows.index.tolist(), rows["text"], rows["eye"], strict=True)
    ]


def expected(folder):
    """Return {id: the record} that the grader itself gives, as JSON gives it back."""
    grader = serve.load(folder)
    records = [grader.record(grader.grade(one["text"], one["eye"]), one["id"]) for one in asked()]
    return {record["id"]: record for record in json.loads(json.dumps(records))}


@dataclass
class Tally:
    """What one client saw."""

    requests: int = 0
    reports: int = 0
    malformed: Counter = field(default_factory=Counter)
    statuses: Counter = field(default_factory=Counter)
    wrong: int = 0  # answers that differ from the grader's own
    wrong_statuses: Counter = field(default_factory=Counter)  # of malformed requests: (kind, status)
    broken: int = 0  # connections that ended without an answer
    milliseconds: list = field(default_factory=list)  # of requests that are well formed


class Client:
    """One client: it sends requests drawn by its number until the time is over."""

    def __init__(self, port, number, records):
        self.port, self.records, self.draw, self.tally = port, records, random.Random(number), Tally()
        self.connection = self._connect()

    def _connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)

    def until(self, end):
        """Send requests until a moment of the clock; return the Tally."""
        while time.perf_counter() < end:
            self.tally.requests += 1
            if self.draw.random() < MALFORMED:
                self.send_malformed(self.draw.choice([*BAD, *RAW, AMONG]))
            else:
                count = self.draw.randint(2, 8) if self.draw.random() < LISTED else 1
                self.send([self.draw.choice(asked()) for _ in range(count)])
        self.connection.close()
        return self.tally

    def send(self, reports):
        """Send reports that are well formed, one as an object; compare their answers, and keep the milliseconds."""
        body = json.dumps(reports if len(reports) > 1 else reports[0])
        began = time.perf_counter()
        status, answer = self.ask("POST", "/grade", JSON, body)
        self.tally.milliseconds.append(1000 * (time.perf_counter() - began))
        answers = answer if len(reports) > 1 else [answer]
        self.compare(answers if status == 200 else [], [self.records[one["id"]] for one in reports])

    def compare(self, answers, records):
        """Count the answers that are not the grader's own. Without any, all are wrong."""
        self.tally.reports += len(records)
        same = sum(a == b for a, b in zip(answers, records, strict=False)) if len(answers) == len(records) else 0
        self.tally.wrong += len(records) - same

    def send_malformed(self, kind):
        """Send what is malformed, and count it as wrong unless the status says what it should."""
        self.tally.malformed[kind] += 1
        if kind in RAW:
            with socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT) as raw:
                raw.sendall(RAW[kind])
            return
        if kind == AMONG:
            return self.send_among([self.draw.choice(asked()) for _ in range(3)], self.draw.choice(BROKEN))
        *request, right = BAD[kind]
        status, answer = self.ask(*request)
        if status != right or set(answer) != {"error"}:
            self.tally.wrong_statuses[f"{kind}: {status}"] += 1

    def send_among(self, reports, broken):
        """Send a list in whose middle stands what is no report: the others have their answers, and it has a note alone."""
        place = len(reports) // 2
        status, answer = self.ask("POST", "/grade", JSON, json.dumps([*reports[:place], broken, *reports[place:]]))
        if status != 200 or answer[place]["grade"] is not None or not answer[place]["note"]:
            self.tally.wrong_statuses[f"{AMONG}: {status}"] += 1
            return
        self.compare(answer[:place] + answer[place + 1 :], [self.records[one["id"]] for one in reports])

    def ask(self, method, path, headers, body):
        """Return (status, what the JSON holds), or (0, {}) if the connection broke; the next request then has a new one."""
        try:
            self.connection.request(method, path, body, headers)
            reply = self.connection.getresponse()
            status, answer = reply.status, json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError):
            self.tally.broken += 1
            self.connection.close()
            self.connection = self._connect()
            return 0, {}
        self.tally.statuses[status] += 1
        return status, answer


@contextmanager
def served(folder):
    """Yield the process of a service, and its port; end it, if it still runs."""
    command = [sys.executable, "-m", service.__name__, str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, int(re.search(r"http://127\.0\.0\.1:(\d+)", process.stderr.readline())[1])
        finally:
            process.kill()


def watched(process, end):
    """Return the megabytes that a process holds, each second, and the seconds of processor time that it took."""
    memory, seen = [], psutil.Process(process.pid)
    while time.perf_counter() < end and process.poll() is None:
        memory.append(round(seen.memory_info().rss / 2**20, 2))
        time.sleep(min(1, max(0, end - time.perf_counter())))
    times = seen.cpu_times() if process.poll() is None else None
    return memory, round(times.user + times.system, 1) if times else 0


def loaded():
    """Serve a grader under load, and return what was seen."""
    use_cores()
    with TemporaryDirectory() as folder:
        return under_load(exported(folder))


def use_cores():
    """Leave this process, and those that it starts, no more than `CORES` cores, where the system can."""
    if hasattr(psutil.Process, "cpu_affinity"):
        psutil.Process().cpu_affinity(psutil.Process().cpu_affinity()[:CORES])


def under_load(folder):
    """Ask the service of a folder from all clients; return what was seen."""
    records = expected(folder)
    with served(folder) as (process, port), ThreadPoolExecutor(CLIENTS + 1) as pool:
        end = time.perf_counter() + SECONDS
        watching = pool.submit(watched, process, end)
        clients = [pool.submit(Client(port, number, records).until, end) for number in range(CLIENTS)]
        tallies, (memory, cpu) = [client.result() for client in clients], watching.result()
        alive = process.poll() is None
        process.terminate()
        status = process.wait(TIMEOUT)
        said = process.stderr.read()
    return counted(tallies) | {
        "memory_mb": memory_of(memory),
        "service_cpu_s": cpu,
        "crashed": not alive or status != 0,
        "exit_status": status,
        "said": said[-1000:],
    }


def counted(tallies):
    """Return the sums over the clients, and the quantiles of the milliseconds."""
    statuses, malformed, wrong_statuses = (
        sum((getattr(one, name) for one in tallies), Counter()) for name in ("statuses", "malformed", "wrong_statuses")
    )
    milliseconds = np.concatenate([one.milliseconds for one in tallies])
    requests, reports = (sum(getattr(one, name) for one in tallies) for name in ("requests", "reports"))
    quantiles = zip(("p50", "p95", "p99"), np.quantile(milliseconds, (0.5, 0.95, 0.99)), strict=True)
    return {
        "requests": requests,
        "reports": reports,
        "malformed": dict(malformed),
        "wrong": sum(one.wrong for one in tallies),
        "wrong_statuses": dict(wrong_statuses),
        "broken": sum(one.broken for one in tallies),
        "statuses": {str(status): count for status, count in statuses.items()},
        "server_errors": sum(count for status, count in statuses.items() if status >= 500),
        "requests_s": round(requests / SECONDS, 1),
        "reports_s": round(reports / SECONDS, 1),
        "ms": {name: round(float(value), 1) for name, value in quantiles},
    }


def memory_of(seen):
    """Return the megabytes at the start, half-way and at the end, and how many a minute the second half added."""
    half = len(seen) // 2
    later = seen[half:]
    slope = float(np.polyfit(np.arange(len(later)), later, 1)[0]) if len(later) > 1 else 0.0
    return {
        "start": seen[0],
        "half_way": seen[half],
        "end": seen[-1],
        "most": max(seen),
        "a_minute": round(60 * slope, 2),
        "each_second": seen,
    }


def main():
    """Measure, and write the file."""
    runs.start()
    settings = {"seconds": SECONDS, "clients": CLIENTS, "cores": CORES}
    run = runs.timed(NAME, settings, lambda: runs.alone(loaded))
    facts = machine.facts() | {name: version(name) for name in ("onnxruntime", "fastapi", "uvicorn")}
    results.ship(NAME, load=run, machine=facts)


if __name__ == "__main__":
    main()
