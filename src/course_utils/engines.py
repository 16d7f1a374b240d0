"""How a model file is opened and asked: by ONNX Runtime, or by another engine that is installed and faster here.

An exported folder holds one or two forms of its model: `model.onnx` in int8, which ONNX Runtime runs and which needs nothing
more, and perhaps `float32.onnx`. Which engine is the fastest depends on the processor, so `fastest` asks each that this
machine can run and measures. The default never depends on a measurement: two loads give the same answers.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime

MODEL, FLOAT32 = "model.onnx", "float32.onnx"
EXPECTED = {MODEL: "probabilities", FLOAT32: "float32"}  # where a contract's examples hold the answers of each form
DEFAULT, FASTEST = "onnxruntime", "fastest"
SECONDS, FEWEST, MOST = 1.5, 3, 200  # to measure with: turns as many as fit, but some at least
MARGIN = 1.05  # another engine must be so many times as fast as the default: a tie stays with the default


class Session(Protocol):
    """What an opened model can do: ONNX Runtime's own session is one."""

    def get_inputs(self) -> Iterable[Any]:
        """Return the inputs that it asks for; each has a name."""

    def run(self, names: None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs, of which the first are the logits."""


def open_model(path: str | Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """Return an ONNX Runtime session for a model file, on the CPU, with that many threads.

    Raises ValueError, with the runtime's reason, for a file that it can't load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, so they need not be logged too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would keep a core busy
    try:
        return onnxruntime.InferenceSession(
            path,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],  # slower on a CPU than its parts: measured in notebook 12
        )
    except Exception as error:  # the runtime's own classes, one for each kind of failure
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"ONNX Runtime {onnxruntime.__version__} can't load {Path(path).name}: {reason}") from error


class _Input(NamedTuple):
    name: str


class OpenVino:
    """A model file run by OpenVINO, in the precision that it takes on this processor: bfloat16 where there is hardware for it."""

    def __init__(self, path: str | Path, threads: int = 1, **settings: str) -> None:
        """Take the file, the threads, and settings of OpenVINO that shall differ. Raises ValueError if it can't load the file."""
        import openvino

        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"} | settings
        try:
            self.model = openvino.Core().compile_model(str(path), "CPU", options)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"OpenVINO {openvino.__version__} can't load {Path(path).name}: {reason}") from error
        self.names = [one.get_any_name() for one in self.model.inputs]

    def get_inputs(self) -> list[_Input]:
        """Return the inputs that the model asks for."""
        return [_Input(name) for name in self.names]

    def run(self, names: None, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs. Each call has a request of its own, so threads may call at once."""
        answer = self.model.create_infer_request().infer(dict(feed))
        return [np.array(answer[place]) for place in range(len(self.model.outputs))]


class Engine(NamedTuple):
    """A way to run a folder's model: the form that it reads, the library that it needs, and what opens a file."""

    form: str
    library: str
    open: Callable[[Path, int], Session]


ENGINES = {
    DEFAULT: Engine(MODEL, "onnxruntime", open_model),
    "onnxruntime-float32": Engine(FLOAT32, "onnxruntime", open_model),
    "openvino": Engine(FLOAT32, "openvino", OpenVino),
}


def present(folder: str | Path) -> list[str]:
    """Return the engines that can run a folder's model on this machine, the default first."""
    return [name for name, one in ENGINES.items() if (Path(folder) / one.form).is_file() and find_spec(one.library)]


def open_engine(folder: str | Path, name: str = "", threads: int = 1) -> Session:
    """Return a folder's model, opened by an engine; "" stands for the default.

    Raises ValueError for an engine that there is not, whose library is not installed, or whose form the folder lacks.
    """
    name = name or DEFAULT
    if name not in ENGINES:
        raise ValueError(f'There is no engine "{name}". Choose one of: {", ".join([*ENGINES, FASTEST])}.')
    form, library, opened_by = ENGINES[name]
    if not (Path(folder) / form).is_file():
        raise ValueError(f"{folder} has no {form}, which {name} runs. Choose one of: {', '.join(present(folder))}.")
    if not find_spec(library):
        raise ValueError(f"The engine {name} needs {library}: pip install {library}, or leave the engine out.")
    return opened_by(Path(folder) / form, threads)


def fastest(
    folder: str | Path, feeds: Iterable[Mapping[str, np.ndarray]], threads: int = 1
) -> tuple[str, dict[str, float]]:
    """Measure on this machine which engine answers reports the fastest; return its name, and of each the milliseconds.

    Takes the folder and the reports as the model reads them, short and long ones: {input: array} each. All engines are
    asked in turns for a second or two, so that other work on the machine slows all alike. The time of an engine is that
    of all the reports; the median over the turns counts, and another than the default must be faster by a margin. An
    engine that can't run the model is left out.
    """
    asked = list(feeds)
    ways = {name: way for name in present(folder) if (way := _way(folder, name, asked, threads))}
    times: dict[str, list[float]] = {name: [] for name in ways}
    began = time.perf_counter()
    while len(times[DEFAULT]) < FEWEST or (time.perf_counter() - began < SECONDS and len(times[DEFAULT]) < MOST):
        for name, way in ways.items():
            at = time.perf_counter()
            way()
            times[name].append(1000 * (time.perf_counter() - at))
    gain = {name: float(np.median(np.divide(times[DEFAULT], taken))) for name, taken in times.items()}
    best = max(gain, key=lambda name: gain[name])
    shown = {name: float(np.median(taken)) for name, taken in times.items()}
    return (best if gain[best] >= MARGIN else DEFAULT), shown


def _way(
    folder: str | Path, name: str, feeds: list[Mapping[str, np.ndarray]], threads: int
) -> Callable[[], None] | None:
    """Return a function that asks an engine all reports, once it has answered them; None if it can't and is not the default."""
    try:
        session = open_engine(folder, name, threads)
        names = [one.name for one in session.get_inputs()]

        def ask() -> None:
            for feed in feeds:
                session.run(None, {input: feed[input] for input in names})

        ask()  # the first call prepares
    except Exception:
        if name == DEFAULT:
            raise
        return None
    return ask
