"""Measures our exported folder beside what else runs an encoder on a CPU, for notebook 12, into engine_runs.json.

A quarter of an hour on one core of a machine that does nothing else. Needs the extras `onnx` and `engines`; an engine that is
not installed, or that can't run, is named with the reason. Two shapes answer random reports, all engines in turns, one
thread, processor time, each shape in a process of its own. One trained grader grades the test split once by each engine.
Runs of other machines stay in the file, so that it can hold several.
"""

import os
import time
import warnings
from functools import cache
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic
from transformers import AutoModelForSequenceClassification, BertConfig

from course_utils import costs, engines, export, graphs, machine, metrics, models, results, serve, training

from . import runs

NAME, LABELS, EPOCHS, LR = "engine_runs", 1_000, 5, 1e-3
SHAPES = ("tiny-biobert", "BioBERT")
LENGTHS, BATCHES = (16, 64, 128, 256), (1, 8)
FEWEST, MOST, SECONDS = 4, 60, 12  # turns for each batch and length, as many as fit into the seconds
HOPELESS = 6  # an engine that takes so many times as long as PyTorch is asked in one turn alone
OURS, EAGER, COMPILED = "our folder", "PyTorch eager", "PyTorch compiled"
LIBRARIES = ("onnxruntime", "openvino", "nncf", "ctranslate2", "torch", "torchao", "transformers")


def main() -> None:
    """Measure everything and write the file."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    runs.start()
    here = facts()
    graded = runs.kept(NAME, {"machine": here["machine"], "work": "graded"}, lambda: runs.alone(accuracy))
    timed = [one for shape in SHAPES for one in runs.alone(latency, shape, here["machine"])]
    own = {"machine": here} | {"accuracy": graded["engines"], "latency": timed}
    results.ship(NAME, [], machines=[own, *(one for one in _kept() if one["machine"]["machine"] != here["machine"])])


def _kept() -> list[dict]:
    """Return what the shipped file holds, of all machines."""
    try:
        return results.shipped(NAME)["machines"]
    except FileNotFoundError:
        return []


def facts() -> dict:
    """Return what names this machine, and the versions of the engines."""
    found = machine.facts()
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library).split("+")[0]
        except metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return {"machine": machine.name(), "threads": 1, "versions": versions} | found


# --- the engines: each takes the model and a folder to write in, and returns a function of a batch that gives logits


class Made:
    """A model in all the forms that engines want, each written when it is first asked for."""

    def __init__(self, model, tokenizer, folder, reports) -> None:
        """Take the model, its tokenizer, an empty folder, and reports to calibrate with: a list of batches of one."""
        self.model, self.tokenizer, self.folder, self.reports = model.eval(), tokenizer, Path(folder), reports

    @cache  # noqa: B019 - lives as long as its process
    def file(self, form: str) -> Path:
        """Return the path of a form."""
        path = self.folder / f"{form}.onnx"
        if form == "float32":
            return export.to_onnx(self.model, self.tokenizer, path)
        if form == "float32, for one report":
            return graphs.for_one_report(self.file("float32"), path, longest=max(LENGTHS))
        if form == "recipe":
            with export.quiet():
                quantize_dynamic(str(self.file("float32")), str(path))  # all by default
            return path
        source = {"int8": "float32, for one report", "int8, as exported": "float32"}[form]
        return export.quantise(self.file(source), path)


def _one_by_one(session: engines.Session):
    """Ask a session each report of a batch alone, as `serve` does."""
    names = [one.name for one in session.get_inputs()]

    def ask(batch):
        size = len(batch["input_ids"])
        rows = [{name: batch[name][i : i + 1] for name in names} for i in range(size)]
        return np.concatenate([session.run(None, row)[0] for row in rows])

    return ask


def _at_once(session: engines.Session):
    """Ask a session a whole batch."""
    names = [one.name for one in session.get_inputs()]
    return lambda batch: session.run(None, {name: batch[name] for name in names})[0]


def _by_default(file: Path):
    """Return ONNX Runtime's session with one thread and else its defaults: what a user of the library would have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options)


def _by_torch(module):
    def ask(batch):
        with torch.inference_mode():
            return module(**{name: torch.from_numpy(ids) for name, ids in batch.items()}).logits.float().numpy()

    return ask


def _copy(made: Made):
    """Return a copy of the model, which a library may change."""
    same = AutoModelForSequenceClassification.from_config(made.model.config, dtype=torch.float32)
    same.load_state_dict(made.model.state_dict())
    return same.eval()


def _bfloat16(made: Made):
    return _by_torch(_copy(made).bfloat16())


def _compiled(made: Made):
    return _by_torch(torch.compile(_copy(made), dynamic=True))


def _torchao(made: Made):
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    module = _copy(made)
    quantize_(module, Int8DynamicActivationInt8WeightConfig())
    return _by_torch(module)  # compiled, it was slower still where it was tried, and compiling takes minutes


def _nncf(made: Made):
    import nncf
    import openvino

    plain = openvino.Core().read_model(str(made.file("float32")))
    known = {one.get_any_name() for one in plain.inputs}
    reports = [{name: ids for name, ids in one.items() if name in known} for one in made.reports]
    small = nncf.quantize(plain, nncf.Dataset(reports), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(reports))
    openvino.save_model(small, made.folder / "nncf.xml")
    return _at_once(engines.OpenVino(made.folder / "nncf.xml"))


def _ctranslate2(made: Made, kind: str):
    import ctranslate2

    source, target = made.folder / "hf", made.folder / f"ctranslate2 {kind}"
    made.model.bert.save_pretrained(source)
    made.tokenizer.save_pretrained(source)
    BertConfig.position_embedding_type = "absolute"  # its converter looks for what transformers has dropped
    ctranslate2.converters.TransformersConverter(str(source)).convert(str(target), quantization=kind)
    encoder = ctranslate2.Encoder(str(target), device="cpu", compute_type=kind, inter_threads=1, intra_threads=1)
    weight, bias = (part.detach().numpy() for part in made.model.classifier.parameters())

    def ask(batch):
        lengths = batch["attention_mask"].sum(1)
        ids, types = (
            [row[:n].tolist() for row, n in zip(batch[name], lengths, strict=True)]
            for name in ("input_ids", "token_type_ids")
        )
        return np.array(encoder.forward_batch(ids, token_type_ids=types).pooler_output) @ weight.T + bias

    return ask


ENGINES = {
    OURS: lambda made: _one_by_one(serve.open_model(made.file("int8"))),
    "our folder, float32": lambda made: _one_by_one(serve.open_model(made.file("float32, for one report"))),
    "our folder, OpenVINO": lambda made: _one_by_one(engines.OpenVino(made.file("float32, for one report"))),
    "our int8 of the graph as exported": lambda made: _one_by_one(serve.open_model(made.file("int8, as exported"))),
    "ONNX Runtime float32": lambda made: _at_once(_by_default(made.file("float32"))),
    "ONNX Runtime int8, its recipe": lambda made: _at_once(_by_default(made.file("recipe"))),
    "OpenVINO": lambda made: _at_once(engines.OpenVino(made.file("float32"))),
    "OpenVINO float32": lambda made: _at_once(engines.OpenVino(made.file("float32"), INFERENCE_PRECISION_HINT="f32")),
    "OpenVINO int8 by NNCF": _nncf,
    "CTranslate2 int8": lambda made: _ctranslate2(made, "int8"),
    "CTranslate2 float32": lambda made: _ctranslate2(made, "float32"),
    EAGER: lambda made: _by_torch(made.model),
    "PyTorch bfloat16": _bfloat16,
    COMPILED: _compiled,
    "torchao int8": _torchao,
}


def opened(made: Made, names=tuple(ENGINES)) -> tuple[dict, dict[str, str]]:
    """Return {name: a function of a batch} of the engines that run here, and {name: the reason} of the others."""
    ways, without, probe = {}, {}, random_reports(1, 16)
    for name, build in [(name, ENGINES[name]) for name in names]:
        try:
            with warnings.catch_warnings(), export.quiet():
                warnings.simplefilter("ignore")
                way = build(made)
                way(probe)
        except Exception as error:  # not installed, or no such processor: each library has its own classes
            without[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            continue
        ways[name] = way
    return ways, without


# --- accuracy


def accuracy() -> dict:
    """Return what each engine's answers to the test split are, beside PyTorch's: flips, shifts, macro F1."""
    runs.start()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    training.fit_grader(model, tokenizer, runs.train_rows(LABELS, 0), epochs=EPOCHS, lr=LR, seed=0, bar=False)
    with TemporaryDirectory() as folder:
        calibrate = _batches(tokenizer, runs.train_rows(LABELS, 0)[:64])
        names = [
            name for name in ENGINES if name != COMPILED
        ]  # it does the sums of PyTorch, and takes minutes to begin
        ways, without = opened(Made(model, tokenizer, folder, calibrate), names)
        asked = _batches(tokenizer, runs.frames()["test"])
        chances = {name: serve.softmax(np.concatenate([way(one) for one in asked])) for name, way in ways.items()}
    truth, plain = runs.frames()["test"]["grade"].to_numpy(), chances[EAGER]
    found = {name: changed(truth, plain, own) for name, own in chances.items()}
    return {"engines": found | {name: {"without": why} for name, why in without.items()}}


def changed(truth, before, after) -> dict:
    """Return how the chances of an engine differ from PyTorch's."""
    old, new = before.argmax(1), after.argmax(1)
    scores = [100 * float(metrics.macro_f1(metrics.confusion(truth, grades))) for grades in (old, new)]
    return {
        "n": len(truth),
        "flips": int((old != new).sum()),
        "largest_shift": round(float(np.abs(after - before).max()), 4),
        "right": int((new == truth).sum()),
        "macro_f1_lost": round(scores[0] - scores[1], 3),  # points
    }


def _batches(tokenizer, rows) -> list[dict[str, np.ndarray]]:
    """Return reports as batches of one, cut as notebook 12 cuts them."""
    return [
        {name: np.array(ids) for name, ids in tokenizer([eye], [text], truncation=True, max_length=192).items()}
        for eye, text in zip(rows["eye"], rows["text"], strict=True)
    ]


# --- latency


def random_reports(batch: int, length: int) -> dict[str, np.ndarray]:
    """Return a batch of random ids that both shapes know, none of them padding."""
    ids = np.random.default_rng(0).integers(10, 3_000, (batch, length))
    return dict(zip(serve.INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def latency(shape: str, where: str) -> list[dict]:
    """Return what was measured of one shape at each batch and length; all of it is kept, under the machine's name."""
    runs.start()
    with TemporaryDirectory() as folder:
        return [
            runs.kept(
                NAME,
                {"machine": where, "shape": shape, "batch": batch, "length": length},
                lambda batch=batch, length=length: timed(shape, batch, length, folder),
            )
            for batch in BATCHES
            for length in LENGTHS
        ]


@cache
def ways_of(shape: str, folder: str) -> tuple[dict, dict[str, str]]:
    """Return what `opened` does, of a model of random weights."""
    tokenizer = models.grader(models.base("tiny-biobert"), seed=0)[1]
    return opened(Made(costs.build(shape), tokenizer, folder, [random_reports(1, 64)] * 8))


def timed(shape: str, batch: int, length: int, folder: str) -> dict:
    """Return for each engine its milliseconds for one batch, and how many times as fast as it our folder was, and as eager
    PyTorch it was, in the same turn: the median over the turns, and the ends of their middle 90%.
    """
    ways, without = ways_of(shape, folder)
    turns, cpu = in_turns(ways, random_reports(batch, length))
    found = {
        name: {
            "cpu_ms": round(float(np.median(own)), 3),
            "times_eager": _spread(cpu[EAGER][: len(own)] / own),
            "ours_times_this": _spread(own / cpu[OURS][: len(own)]),
        }
        for name, own in cpu.items()
    }
    return {"turns": turns, "engines": found, "without": without}


def in_turns(ways: dict, ids: dict) -> tuple[int, dict[str, np.ndarray]]:
    """Return the number of turns, as many as fit into the time, and {name: milliseconds of processor time of each}.

    In each turn another engine is asked first. A hopelessly slow one has one turn.
    """
    for ask in ways.values():
        ask(ids)  # the first call of a shape prepares
    first = turn(ways, ids, 0)
    slow = {name for name, took in first.items() if took > HOPELESS * first[EAGER]}
    quick = {name: ask for name, ask in ways.items() if name not in slow}
    began = time.perf_counter()
    every = [first, turn(quick, ids, 1)]
    turns = int(np.clip(SECONDS / (time.perf_counter() - began), FEWEST, MOST))
    every += [turn(quick, ids, number) for number in range(2, turns)]
    return turns, {name: np.array([one[name] for one in every if name in one]) for name in ways}


def turn(ways: dict, ids: dict, number: int) -> dict[str, float]:
    """Ask each engine once; return {name: milliseconds of processor time}."""
    names = list(ways)
    start, times = number % len(names), {}
    for name in names[start:] + names[:start]:
        began = time.process_time()
        ways[name](ids)
        times[name] = 1000 * (time.process_time() - began)
    return times


def _spread(ratios) -> list[float]:
    return [round(float(q), 2) for q in np.quantile(ratios, (0.5, 0.05, 0.95))]


if __name__ == "__main__":
    main()
