"""Grade reports over HTTP, on this machine: a local service around an exported folder. Needs the extra `http`.

    python -m course_utils.service dr-grader-1

    curl -H 'Content-Type: application/json' -d '{"text": "Cotton wool spots.", "eye": "left"}' http://127.0.0.1:8000/grade

`POST /grade` takes one report or a list of them, `GET /health` asks the grader its own examples, `GET /docs` says what each
request and answer holds, with no script and nothing from another machine. Only this machine can ask it, unless another
host is named. There is no password and no encryption: whoever needs these puts a proxy before it.

Requests of all clients wait in one queue, and one thread grades them in batches. A batch saves changes of thread and no
more: each report is still graded as if alone, since int8 scales a whole batch by its largest numbers, and a patient's
answer must not depend on who else asks. All that can grow has a limit (`Limits`). No text of a report is logged or kept.
"""

import argparse
import asyncio
import html
import ipaddress
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

try:
    import uvicorn
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.responses import HTMLResponse, JSONResponse
    from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError, create_model
    from pydantic_core import ErrorDetails
    from starlette.exceptions import HTTPException as StarletteHTTPException
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise ImportError(
        "The HTTP service needs FastAPI and uvicorn: python -m pip install -c constraints.txt -e '.[http]'"
    ) from error

import course_utils
from course_utils import engines, serve

PLACES = "POST /grade, GET /health, GET /docs and GET /openapi.json"
KINDS = {"text": "a text", "eye": "a short text", "id": "a short text or a whole number"}
SHORT = 200  # characters of an id
AGAIN = {"Retry-After": "1"}  # seconds


@dataclass(frozen=True)
class Limits:
    """What one request, and all that are open at once, may take. Memory is bounded by `requests` times `body`."""

    body: int = 1_000_000  # bytes of a request
    reports: int = 100  # of a request
    characters: int = 100_000  # of a report; the grader itself refuses what its model can't read whole
    requests: int = 200  # open at once
    waiting: int = 1_000  # reports in the queue
    batch: int = 16  # reports that the grader gets at once
    receive_s: float = 10  # for a request to arrive
    answer_s: float = 30  # for a request to be answered

    def __post_init__(self):
        if self.waiting < self.reports:
            raise ValueError(f"A request of {self.reports} reports would never fit into a queue of {self.waiting}.")


class Busy(Exception):
    """The queue is full, or an answer takes too long: the client may ask again later."""


class Waiting(NamedTuple):
    """A report in the queue, and where its answer goes."""

    text: str
    eye: str
    answer: asyncio.Future


class Batches:
    """The queue before a grader, and the one thread that grades what waits in it."""

    def __init__(self, grader: serve.Grader, limits: Limits):
        self.grader, self.limits, self.waiting = grader, limits, 0
        self.queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self.thread = ThreadPoolExecutor(1, "grader")
        self.checking: asyncio.Future | None = None

    async def answers(self, reports: Sequence[tuple[str, str]]) -> list[serve.Answer]:
        """Return the Answer of each (text, eye), in order. One on which the grader itself fails has a note and no grade.

        Raises Busy if they don't fit into the queue or wait too long in it.
        """
        if self.waiting + len(reports) > self.limits.waiting:
            raise Busy(f"{self.waiting} reports wait already. Ask again in a moment.")
        loop = asyncio.get_running_loop()
        asked = [Waiting(text, eye, loop.create_future()) for text, eye in reports]
        self.waiting += len(asked)
        for one in asked:
            self.queue.put_nowait(one)
        if asked:
            await asyncio.wait([one.answer for one in asked], timeout=self.limits.answer_s)
        if not all(one.answer.done() for one in asked):
            for one in asked:
                one.answer.cancel()  # what still waits is not graded for nobody
            raise Busy(f"No answer in {self.limits.answer_s:g} seconds. Ask again in a moment, for fewer reports.")
        return [one.answer.result() for one in asked]

    async def work(self) -> None:
        """Grade what waits, batch by batch, for ever."""
        while True:
            batch = [await self.queue.get()]
            while len(batch) < self.limits.batch and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            self.waiting -= len(batch)
            batch = [one for one in batch if not one.answer.done()]
            if not batch:
                continue
            reports = [(one.text, one.eye) for one in batch]
            answers = await asyncio.get_running_loop().run_in_executor(self.thread, self._graded, reports)
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(answer)

    def _graded(self, reports: list[tuple[str, str]]) -> list[serve.Answer]:
        """Return the answer of each report. Where the grader fails, only the report at fault has none."""
        try:
            answers = self.grader.answers(reports)
            if len(answers) == len(reports):
                return answers
            raise ValueError(f"{len(answers)} answers to {len(reports)} reports")
        except Exception as error:  # whatever it is, the service goes on; its message may hold a text and isn't printed
            if len(reports) > 1:
                return [answer for report in reports for answer in self._graded([report])]
            kind = type(error).__name__
            print(f"The grader failed on a report: {kind}.", file=sys.stderr, flush=True)
            return [serve.refusal("failed", f"the grader failed on this report ({kind})")]

    async def check(self) -> str:
        """Return what is wrong with the grader, or nothing. Who asks while a check runs gets its result."""
        if self.checking is None or self.checking.done():
            loop = asyncio.get_running_loop()
            self.checking = loop.run_in_executor(self.thread, wrong_with, self.grader)
        try:
            return await asyncio.wait_for(asyncio.shield(self.checking), self.limits.answer_s)
        except TimeoutError:
            return f"the grader did not answer in {self.limits.answer_s:g} seconds"


def wrong_with(grader: serve.Grader) -> str:
    """Ask a grader the examples of its contract; return what is wrong, or nothing."""
    examples = grader.contract["examples"]
    stated = engines.EXPECTED[engines.ENGINES[grader.engine].form]  # each form of the model has answers of its own
    try:
        answers = [grader.grade(example["text"], example["eye"], cut=True) for example in examples]
        pairs = [
            pair
            for answer, example in zip(answers, examples, strict=True)
            if answer.chances  # a text of one word is an example, and is refused
            for pair in zip(answer.chances, example[stated], strict=True)
        ]
    except Exception as error:  # of whatever kind: it can't grade
        return f"the grader failed on the examples of its contract ({type(error).__name__})"
    if not pairs:
        return "the grader graded no example of its contract"
    right = all(abs(chance - expected) <= serve.TOLERANCE for chance, expected in pairs)
    return "" if right else "the grader answers the examples of its contract otherwise than it should"


class Refused(HTTPException):
    """A request that is answered with a sentence on what is wrong with it."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None):
        super().__init__(status, sentence, headers)


def _said(status: int, sentence: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return the answer to what can't be graded."""
    return JSONResponse({"error": sentence}, status, headers)


class Guard:
    """Reads each request within the limits before anything looks at it, and turns any failure into a sentence."""

    def __init__(self, app: ASGIApp, limits: Limits):
        self.app, self.limits, self.open = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
            await send(message)

        self.open += 1
        try:
            body = await self._body(receive)
            if body is not None:
                await self.app(scope, _again(body, receive), send_on)
        except HTTPException as refused:
            await _said(refused.status_code, refused.detail, refused.headers)(scope, receive, send_on)
        except Exception as error:  # a fault of ours. Its message may hold a text, so only its kind is said
            print(f"A request failed: {type(error).__name__}.", file=sys.stderr, flush=True)
            if not started:
                await _said(500, "The service failed on this request. It is not your fault.")(scope, receive, send_on)
        finally:
            self.open -= 1

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body of a request, or None if the client has gone. Raises Refused."""
        if self.open > self.limits.requests:
            raise Refused(503, f"{self.limits.requests} requests are open already. Ask again in a moment.", AGAIN)
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.receive_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self.limits.body:
                        raise Refused(413, f"The body has more than {self.limits.body:,} bytes. Send fewer reports.")
        except TimeoutError:
            seconds = f"{self.limits.receive_s:g} seconds"
            raise Refused(408, f"The body did not arrive in {seconds}.", {"Connection": "close"}) from None
        return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body that has been read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def hand_out() -> Message:
        return messages.pop() if messages else await receive()

    return hand_out


class Patient(H11Protocol):
    """A connection that is closed if a request's first lines take too long; uvicorn itself would wait for ever."""

    limit_s = Limits.receive_s
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, unless a whole head has come; from then on the limits of Guard hold."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self.timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self.timer = self.loop.call_later(self.limit_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Twice(dict):
    """A JSON object in which a field stands twice: which one is meant, nobody knows."""


def _once(pairs: list[tuple[str, Any]]) -> dict:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Twice(fields)


def _no_number(_: str) -> float:
    raise ValueError


def parsed(body: bytes) -> Any:
    """Return what a JSON body holds. Raises Refused, with what is wrong and where, for what is no JSON."""
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise Refused(400, f"The body is not UTF-8 from byte {error.start + 1} on.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, f"The body is no JSON: {error.msg}, {where}.") from None
    except RecursionError:
        raise Refused(400, "The body is nested too deep: send a report, or a list of reports.") from None
    except ValueError:
        raise Refused(400, "The body is no JSON: a number in it is not finite, or endless.") from None


def report_of(limits: Limits) -> type[BaseModel]:
    """Return the class of a report as a request holds it, within the limits."""
    number = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
    short = Annotated[StrictStr, Field(max_length=SHORT)]
    return create_model(
        "Report",
        __config__=ConfigDict(extra="forbid", strict=True),
        text=(StrictStr, Field(max_length=limits.characters, description="the report")),
        eye=(short, Field("", description="the eye to grade, as the contract names it")),
        id=(short | number | None, Field(None, description="yours: it comes back with the answer")),
    )


class Item(NamedTuple):
    """A report of a request: what is to be graded, or what is wrong with it."""

    text: str
    eye: str
    id: str | int | None
    fault: str


def item(value: Any, report: type[BaseModel]) -> Item:
    """Return the Item of one JSON value. Whatever the value is, there is one; an id that is sound stays with a fault."""
    if not isinstance(value, dict):
        return Item("", "", None, 'a report is an object, such as {"text": "...", "eye": "left"}')
    known = {name: field for name, field in value.items() if name in KINDS}
    strange = next((name for name in value if name not in KINDS), None)
    fault = "" if strange is None else f'"{_shown(strange)}" is no field of a report: there are {", ".join(KINDS)}'
    fault = "a field stands in it twice" if isinstance(value, _Twice) else fault
    try:
        fields = report.model_validate(known).model_dump()
    except ValidationError as error:
        bad = {str(one["loc"][0]): one for one in error.errors(include_input=False, include_url=False)[::-1]}
        fault = fault or _sentence(*next(reversed(bad.items())))
        fields = {"text": "", "eye": "", "id": None if "id" in bad else known.get("id")}
    return Item(**fields, fault=fault)


def _shown(name: str) -> str:
    """Return a name as it can be quoted: short, and without halves of characters, which JSON can hold and UTF-8 can't."""
    return name[:40].encode("utf-8", "replace").decode("utf-8")


def _sentence(name: str, error: ErrorDetails) -> str:
    """Return what is wrong with a field of a report, in our words."""
    if error["type"] == "missing":
        return f'"{name}" is missing'
    if error["type"] == "string_too_long" and name == "text":
        return f'"text" has more than {error["ctx"]["max_length"]:,} characters'
    return f'"{name}" must be {KINDS[name]}'


def app(grader: serve.Grader, limits: Limits | None = None) -> FastAPI:
    """Return the service around a loaded grader, for any server that speaks ASGI. One process holds one grader."""
    limits = limits or Limits()
    batches, report = Batches(grader, limits), report_of(limits)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(batches.work())
        yield
        worker.cancel()
        batches.thread.shutdown()

    made = FastAPI(
        title="Grader",
        version=course_utils.__version__,
        description=f"Model {grader.model}. It grades: {'; '.join(grader.contract['labels'])}. Not for care.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from another machine
        redoc_url=None,
        redirect_slashes=False,
    )
    made.state.batches = batches
    made.add_middleware(Guard, limits=limits)

    @made.exception_handler(StarletteHTTPException)
    async def refuse(_: Request, error: StarletteHTTPException) -> JSONResponse:
        sentences = {
            404: f"There is no such page. There are {PLACES}.",
            405: f"Not by this method. There are {PLACES}.",
        }
        return _said(error.status_code, sentences.get(error.status_code, error.detail), dict(error.headers or {}))

    @made.post(
        "/grade", summary="Grade one report, or a list of reports", openapi_extra=_schemas(report, grader, limits)
    )
    async def grade(request: Request) -> JSONResponse:
        _check_type(request.headers.get("content-type", ""))
        asked = parsed(await request.body())
        many = isinstance(asked, list)
        if many and len(asked) > limits.reports:
            raise Refused(413, f"These are {len(asked):,} reports; send at most {limits.reports} at once.")
        items = [item(value, report) for value in (asked if many else [asked])]
        if not many and items[0].fault:
            raise Refused(422, f"This can't be graded: {items[0].fault}.")
        try:
            answers = iter(await batches.answers([(one.text, one.eye) for one in items if not one.fault]))
        except Busy as busy:
            raise Refused(503, str(busy), AGAIN) from None
        records = [
            grader.record(serve.refusal("broken report", one.fault) if one.fault else next(answers), one.id)
            for one in items
        ]
        return JSONResponse(records if many else records[0])

    @made.get("/health", summary="Does the grader answer its own examples as it should?")
    async def health() -> JSONResponse:
        wrong = await batches.check()
        if wrong:
            raise Refused(503, f"Not fit to grade: {wrong}.", AGAIN)
        return JSONResponse({"status": "ok", "model": grader.model, "waiting": batches.waiting})

    @made.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(made.openapi()), headers={"Content-Security-Policy": "default-src 'none'"})

    return made


def _check_type(given: str) -> None:
    """Raise Refused unless a body says that it is JSON. No web page of others can send that without asking first."""
    kind, _, rest = given.partition(";")
    name, _, charset = rest.strip().partition("=")
    if kind.strip().lower() != "application/json":
        raise Refused(415, 'Send JSON, with the header "Content-Type: application/json".')
    if name.lower() == "charset" and charset.strip('"').lower() not in ("utf-8", "utf8"):
        raise Refused(415, "Send the JSON in UTF-8.")


def _schemas(report: type[BaseModel], grader: serve.Grader, limits: Limits) -> dict:
    """Return what the OpenAPI page says of /grade: the shapes of requests and answers, and when there is no answer."""
    one = report.model_json_schema()
    answer = {"type": "object", "title": "Answer", "properties": {name: {} for name in grader.columns("id")}}
    error = {"type": "object", "title": "Error", "properties": {"error": {"type": "string"}}}
    faults = {
        400: "the body is no JSON",
        408: f"the body did not arrive in {limits.receive_s:g} seconds",
        413: f"more than {limits.body:,} bytes or {limits.reports} reports",
        415: "the body does not say that it is JSON",
        422: "one report that is none; in a list, such a report gets a note and no grade",
        503: "too much to do; Retry-After says when to ask again",
    }

    def both(schema: dict) -> dict:
        several = {"type": "array", "items": schema, "maxItems": limits.reports}
        return {"application/json": {"schema": {"anyOf": [schema, several]}}}

    said = {
        str(code): {"description": why, "content": {"application/json": {"schema": error}}}
        for code, why in faults.items()
    }
    good = {"200": {"description": "an answer a report, in order", "content": both(answer)}}
    return {"requestBody": {"required": True, "content": both(one)}, "responses": good | said}


def page(schema: dict) -> str:
    """Return an OpenAPI description as one web page with no script, which needs no network."""
    parts = [f"<h1>{html.escape(schema['info']['title'])}</h1><p>{html.escape(schema['info']['description'])}</p>"]
    for path, methods in schema["paths"].items():
        for method, what in methods.items():
            parts.append(f"<h2>{method.upper()} {html.escape(path)}</h2><p>{html.escape(what['summary'])}</p>")
            parts.append(f"<pre>{html.escape(json.dumps(what.get('requestBody', {}), indent=1))}</pre>")
            rows = "".join(
                f"<dt>{code}</dt><dd>{html.escape(one['description'])}</dd>" for code, one in what["responses"].items()
            )
            parts.append(f"<dl>{rows}</dl>")
    whole = '<p>All of it, for programs: <a href="openapi.json">openapi.json</a></p>'
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Grader</title>{"".join(parts)}{whole}</html>\n'


def run(
    folder: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 1,
    limits: Limits | None = None,
    engine: str = "",
) -> None:
    """Load an exported folder and answer requests until SIGINT or SIGTERM; then answer what is in flight, and return.

    Takes the address to listen on (port 0 is any free one), and the threads and the engine of the grader. Says on stderr
    what it listens on. Call it in the main thread.
    Raises FileNotFoundError or ValueError as `serve.load` does, OSError for an address that can't be listened on.
    """
    limits = limits or Limits()
    grader = serve.load(folder, threads, engine)
    with listening(host, port) as one:
        say(f"{Path(folder).name}, model {grader.model}", one)
        answer(app(grader, limits), one, limits)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address. Raises OSError, with what helps, if it can't."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family)
    except (OSError, OverflowError) as error:
        raise OSError(f"Can't listen on {host}, port {port}: {error}. Take another with --port.") from error


def say(what: str, one: socket.socket) -> None:
    """Say on stderr what is served, and where."""
    host, port = one.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"{what}: listening on http://{shown}:{port} ({PLACES}). Ctrl-C ends it.", file=sys.stderr, flush=True)
    if not ipaddress.ip_address(host).is_loopback:
        print("Whoever reaches this machine can ask it: no password, no encryption.", file=sys.stderr, flush=True)


def answer(service: FastAPI, one: socket.socket, limits: Limits) -> None:
    """Answer requests on a socket until SIGINT or SIGTERM, and then those in flight."""
    config = uvicorn.Config(
        service,
        http=type("Patient", (Patient,), {"limit_s": limits.receive_s}),
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(limits.receive_s) or 1,
        timeout_graceful_shutdown=int(limits.answer_s) + 1,
    )
    server = uvicorn.Server(config)

    def end(*_: Any) -> None:  # for a signal before uvicorn listens to it, and after, when uvicorn raises it again
        server.should_exit = True

    before: dict[int, Any] = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run([one])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """Serve a folder from the command line; return the exit status, 2 if the folder or the address is refused."""
    parser = argparse.ArgumentParser(prog="python -m course_utils.service", description="Grade reports over HTTP.")
    parser.add_argument("folder", type=Path, help="what export.pack wrote")
    parser.add_argument("--host", default="127.0.0.1", help="listen on another address than this machine's own")
    parser.add_argument("--port", type=int, default=8000, help="0 takes any free one")
    parser.add_argument("--threads", type=int, default=1, help="of the grader")
    parser.add_argument("--engine", default="", help="what runs the model, as `serve` takes it")
    options = parser.parse_args(arguments)
    try:
        run(options.folder, options.host, options.port, options.threads, engine=options.engine)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
