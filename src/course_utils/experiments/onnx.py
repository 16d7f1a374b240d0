"""Measures what ONNX Runtime and int8 save and cost, for notebook 12, into data_samples/results/onnx_runs.json.

Ten minutes on one core, of a machine that does nothing else: the second half is latency. Needs the extra `onnx` and, for
`torch.compile`, a C++ compiler. First three trained graders grade the test split, as float32 and as int8. Then the two
shapes answer random reports, all runtimes in turns, one thread, each shape in a process of its own. So do the ways to
join steps of the graph into one.
"""

import json
import os
import time
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

from course_utils import adapt, costs, export, machine, metrics, models, results, serve, training

from . import runs

NAME, BASE, LABELS, EPOCHS = "onnx_runs", "tiny-biobert", 1_000, 5
LR = 1e-3  # as dev chose for every weight of this base (methods.py)
SHAPES = ("tiny-biobert", "BioBERT")
LENGTHS, BATCHES = (16, 64, 128, 256), (1, 8)
FEWEST, MOST, SECONDS = 5, 100, 8  # turns for each batch and length, as many as fit into the seconds
EAGER, FLOAT32 = "PyTorch eager", "ONNX float32"
FUSED_LENGTHS, DEFAULT = (16, 128), "default"
JOINED = {  # which steps the runtime itself joins: (optimisations, those left out)
    "none": (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, []),
    DEFAULT: (onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL, []),
}
SETTINGS = {  # of `export.quantise`, each tried on dev
    "all layers, a scale a column": {},
    "one scale a matrix": {"per_channel": False},
    "7 bits (reduce_range)": {"reduce_range": True},
    "7 bits, one scale a matrix": {"reduce_range": True, "per_channel": False},
    "unsigned weights": {"weight_type": export.QuantType.QUInt8},
    "without the embeddings": {"leave_out": ["embeddings"]},
    "without attention": {"leave_out": ["attention"]},
    "without feed-forward": {"leave_out": ["intermediate", r"\d\.output"]},
    "without the last block": {"leave_out": ["layer.11."]},
    "without pooler and head": {"leave_out": ["pooler", "classifier"]},
}
TASK = f"DR grade, test, {LABELS:,} labels, {EPOCHS} epochs"


def graded(seed):
    """Return what the files of one trained grader say: float32 and int8 of test, and each setting of int8 of dev."""
    runs.start()
    model, tokenizer = models.grader(models.base(BASE), seed=seed)
    training.fit_grader(model, tokenizer, runs.train_rows(LABELS, seed), epochs=EPOCHS, lr=LR, seed=seed, bar=False)
    with TemporaryDirectory() as folder:
        tokenizer.backend_tokenizer.save(f"{folder}/tokenizer.json")
        reader = serve.open_tokenizer(f"{folder}/tokenizer.json", 192)
        plain = export.to_onnx(model, tokenizer, f"{folder}/float32.onnx")
        dev, test = (_encoded(reader, split) for split in ("dev", "test"))
        settings = tried(plain, dev)
        said = {"PyTorch": training.predict(model, tokenizer, runs.frames()["test"])}
        files = {"float32": plain, "int8": export.quantise(plain, f"{folder}/int8.onnx")}
        for name, file in files.items():
            said[name] = serve.softmax(serve.logits(serve.open_model(file), test))
        sizes = {name: round(file.stat().st_size / 1000) for name, file in files.items()}
    off = {name: round(float(abs(chances - said["PyTorch"]).max()), 6) for name, chances in said.items()}
    predicted = {name: chances.argmax(1).tolist() for name, chances in said.items()}
    return {"saved_kb": sizes, "off": off, "settings": settings, "predicted": predicted}


def _encoded(reader, split):
    rows = runs.frames()[split]
    return reader.encode_batch(list(zip(rows["eye"], rows["text"], strict=True)))


def tried(plain, dev):
    """Return what each setting of int8 changes on dev: the file's size, flips, reports graded right."""
    truth, found = runs.frames()["dev"]["grade"].to_numpy(), {}
    before = serve.logits(serve.open_model(plain), dev)
    for name, changes in SETTINGS.items():
        file = export.quantise(plain, plain.with_name("tried.onnx"), **changes)
        after = serve.logits(serve.open_model(file), dev)
        found[name] = {
            "saved_kb": round(file.stat().st_size / 1000),
            **flipped(truth, before.argmax(1), after.argmax(1)),
            "largest": round(float(abs(after - before).max()), 3),
            "mean": round(float(abs(after - before).mean()), 4),
        }
    return found


def accuracy():
    """Return the rows of the results table, and what int8 changed, seed by seed and as a paired verdict."""
    found = [runs.kept(NAME, {"seed": seed}, lambda seed=seed: runs.alone(graded, seed)) for seed in runs.SEEDS]
    by_file = {
        name: [{"base": BASE} | {key: run[key][name] for key in ("predicted", "saved_kb")} for run in found]
        for name in ("float32", "int8")
    }
    rows = [
        runs.row(method, TASK, by_file[name])
        for method, name in (("full fine-tuning, ONNX float32", "float32"), ("int8, ONNX", "int8"))
    ]
    verdict = runs.verdict("int8", by_file["int8"], "float32", by_file["float32"])
    return rows, {"verdict": verdict, "seeds": [changed(run) for run in found]}


def changed(run):
    """Return what int8 changed in one run: flips, which way they went, and recall of each grade."""
    truth = runs.frames()["test"]["grade"].to_numpy()
    torch_s, plain, small = (np.array(run["predicted"][name]) for name in ("PyTorch", "float32", "int8"))
    cms = {"float32": metrics.confusion(truth, plain), "int8": metrics.confusion(truth, small)}
    return {
        "seed": run["seed"],
        "same_as_pytorch": int((plain == torch_s).sum()),
        **flipped(truth, plain, small),
        "macro_f1": {name: float(metrics.macro_f1(cm)) for name, cm in cms.items()},
        "recall": {name: metrics.recall_per_grade(cm).tolist() for name, cm in cms.items()},
        "off": run["off"],
        "settings": run["settings"],
    }


def flipped(truth, float32, int8):
    """Return how many reports int8 grades otherwise than float32, and how many only one of the two grades right."""
    return {
        "n": len(truth),
        "flips": int((float32 != int8).sum()),
        "only_float32": int(((float32 == truth) & (int8 != truth)).sum()),
        "only_int8": int(((float32 != truth) & (int8 == truth)).sum()),
    }


@cache
def exported(shape, folder):
    """Return {name: ONNX file} of one model of random weights: float32, and int8 with signed and unsigned weights."""
    tokenizer = models.grader(models.base(BASE), seed=0)[1]
    plain = export.to_onnx(costs.build(shape), tokenizer, f"{folder}/plain.onnx")
    return {
        FLOAT32: plain,
        "ONNX int8": export.quantise(plain, f"{folder}/int8.onnx"),
        "ONNX uint8": export.quantise(plain, f"{folder}/uint8.onnx", weight_type=export.QuantType.QUInt8),
    }


@cache
def runtimes(shape, folder):
    """Return {name: a function of a batch of ids} for all ways to run that model."""
    model = costs.build(shape).eval()
    modules = {
        EAGER: model,
        "PyTorch compiled": torch.compile(model, dynamic=True),
        "LoRA unmerged, eager": adapt.prepare(costs.build(shape), "LoRA").eval(),
        "LoRA merged, eager": adapt.prepare(costs.build(shape), "LoRA").merge_and_unload().eval(),
    }
    sessions = {name: serve.open_model(file) for name, file in exported(shape, folder).items()}
    of_torch = {name: lambda batch, module=module: _ask_torch(module, batch) for name, module in modules.items()}
    return of_torch | {name: lambda batch, one=one: one.run(None, batch) for name, one in sessions.items()}


def _ask_torch(module, batch):
    with torch.inference_mode():
        return module(**{name: torch.from_numpy(ids) for name, ids in batch.items()}).logits


def reports(batch, length):
    """Return a batch of random ids that both shapes know, none of them padding."""
    ids = np.random.default_rng(0).integers(10, 3_000, (batch, length))
    return dict(zip(serve.INPUTS, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True))


def timed(shape, batch, length, folder):
    """Return for each runtime its milliseconds for one batch, and how many times as fast it was, in the same turn, as
    eager PyTorch and as the float32 file: the median over the turns, and the ends of their middle 90%.
    """
    ways = runtimes(shape, folder)
    turns, wall, cpu = _in_turns(ways, reports(batch, length))
    return {
        "turns": turns,
        "ways": {
            name: {
                "ms": round(float(np.median(wall[name])), 3),
                "p95_ms": round(float(np.quantile(wall[name], 0.95)), 3),
                "cpu_ms": round(float(np.median(cpu[name])), 3),
                "times_eager": _spread(cpu[EAGER] / cpu[name]),
                "times_float32": _spread(cpu[FLOAT32] / cpu[name]),
            }
            for name in ways
        },
    }


def _in_turns(ways, ids):
    """Return the number of turns, as many as fit into the time, and {name: milliseconds of each turn}, wall and processor."""
    for ask in ways.values():
        ask(ids)  # the first call compiles
    began = time.perf_counter()
    turn(ways, ids, 0)
    turns = int(np.clip(SECONDS / (time.perf_counter() - began), FEWEST, MOST))
    clock = [turn(ways, ids, number) for number in range(turns)]
    return turns, *({name: np.array([one[name][i] for one in clock]) for name in ways} for i in (0, 1))


def _spread(ratios):
    return [round(float(q), 2) for q in np.quantile(ratios, (0.5, 0.05, 0.95))]


def turn(ways, ids, number):
    """Ask each runtime once, another one first in each turn; return {name: (wall ms, processor ms)}."""
    names = list(ways)
    start, times = number % len(names), {}
    for name in names[start:] + names[:start]:
        wall, cpu = time.perf_counter(), time.process_time()
        ways[name](ids)
        times[name] = 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu)
    return times


def latency(shape):
    """Return what was measured of one shape at each batch and length, and what it has to do at the least; all of it is kept."""
    runs.start()
    cases = [{"shape": shape, "batch": batch, "length": length} for batch in BATCHES for length in LENGTHS]
    with TemporaryDirectory() as folder:
        return {
            "cases": [runs.timed(NAME, named, lambda named=named: timed(**named, folder=folder)) for named in cases],
            "work": runs.kept(NAME, {"shape": shape, "work": "counted"}, lambda: work(shape, folder)),
        }


def fusion(shape):
    """Return the processor time of one report, float32 and int8, by the steps that are joined into one: none, the default,
    the default without SkipLayerNormFusion (as `serve` does), and all of attention, by onnxruntime.transformers.
    """
    runs.start()
    with TemporaryDirectory() as folder:
        plain, small = (exported(shape, folder)[name] for name in (FLOAT32, "ONNX int8"))
        whole = attention_joined(shape, folder)
        whole_small = export.quantise(
            whole, f"{folder}/whole8.onnx", extra_options={"DefaultTensorType": TensorProto.FLOAT}
        )
        sessions = {}
        for kind, file, joined in (("float32", plain, whole), ("int8", small, whole_small)):
            sessions |= {(kind, name): _session(file, *how) for name, how in JOINED.items()}
            sessions |= {(kind, "ours"): serve.open_model(file), (kind, "attention"): serve.open_model(joined)}
        ways = {at: lambda ids, one=one: one.run(None, ids) for at, one in sessions.items()}
        return {"cases": [_fused(ways, length) for length in FUSED_LENGTHS]}


def _fused(ways, length):
    """Return for each way its milliseconds, and how many times as fast it was, in the same turn, as the default."""
    turns, _, cpu = _in_turns(ways, reports(1, length))
    found = {"length": length, "turns": turns, "float32": {}, "int8": {}}
    for (kind, name), times in cpu.items():
        ratio = _spread(cpu[kind, DEFAULT] / times)
        found[kind][name] = {"cpu_ms": round(float(np.median(times)), 3), "times_default": ratio}
    return found


def attention_joined(shape, folder):
    """Return a float32 ONNX file with one step for each attention. The optimiser knows only the older exporter's graphs."""
    model, pair = costs.build(shape).eval(), reports(2, 16)
    model.set_attn_implementation("eager")
    path = f"{folder}/older.onnx"
    with export.quiet():
        torch.onnx.export(
            model,
            (),
            path,
            kwargs={name: torch.from_numpy(ids) for name, ids in pair.items()},
            input_names=list(pair),
            output_names=["logits"],
            dynamic_axes={name: {0: "reports", 1: "tokens"} for name in pair},
            opset_version=17,
            dynamo=False,
        )
        options = FusionOptions("bert")
        options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = options.enable_bias_gelu = False
        sizes = model.config.num_attention_heads, model.config.hidden_size
        joined = optimizer.optimize_model(path, "bert", *sizes, options, opt_level=0)
    done = joined.get_fused_operator_statistics()["Attention"]
    if done != model.config.num_hidden_layers:
        raise RuntimeError(f"The optimiser joined {done} of {model.config.num_hidden_layers} attentions.")
    joined.save_model_to_file(f"{folder}/attention.onnx")
    return f"{folder}/attention.onnx"


def _session(file, level, disabled):
    """Return a session of one thread with these optimisations of the graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.graph_optimization_level = 1, level
    return onnxruntime.InferenceSession(file, options, disabled_optimizers=disabled)


def work(shape, folder, length=128):
    """Return what one report of `length` tokens needs at the least, and how the runtime's time divides."""
    model = costs.build(shape)
    linear = {name: m.weight.numel() for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    per_token = sum(size for name, size in linear.items() if ".layer." in name)  # pooler and head read one token
    files = {name: file for name, file in exported(shape, folder).items() if name != "ONNX uint8"}
    return {
        "length": length,
        "linear_weights": sum(linear.values()),
        "linear_operations": 2 * per_token * length,
        "attention_operations": 4 * length**2 * model.config.hidden_size * model.config.num_hidden_layers,
        "saved_kb": {name: round(file.stat().st_size / 1000) for name, file in files.items()},
        "profile": {name: _profile(file, reports(1, length), folder) for name, file in files.items()},
    }


def _profile(file, ids, folder, repeats=20):
    """Return the share of the time of each kind of step, by ONNX Runtime's own profiler, the largest first.

    A step's time is its median over the repeats; steps between query, key and value are marked "(attention)".
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.enable_profiling = 1, True
    options.profile_file_prefix = f"{folder}/profile"
    session = onnxruntime.InferenceSession(file, options, disabled_optimizers=["SkipLayerNormFusion"])
    for _ in range(repeats):
        session.run(None, ids)
    steps = defaultdict(list)
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            inside = " (attention)" if "attention.self/" in event["name"] else ""
            steps[event["args"]["op_name"] + inside, event["args"]["node_index"]].append(event["dur"])
    spent = Counter()
    for (kind, _), times in steps.items():
        spent[kind] += float(np.median(times))
    return {kind: round(time / spent.total(), 3) for kind, time in spent.most_common()}


def rates(rows=128, inputs=768, outputs=3072):
    """Return the machine's own rates: billions of operations a second in the matrix product of BERT-base's feed-forward
    layer, by PyTorch, by ONNX Runtime and by the latter in int8, and gigabytes a second read from memory.
    """
    runs.start()
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(rows, inputs)).astype(np.float32), rng.normal(size=(inputs, outputs)).astype(np.float32)
    x8, w8 = rng.integers(0, 255, x.shape).astype(np.uint8), rng.integers(-127, 127, w.shape).astype(np.int8)
    plain = _one_product("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, w)
    integer = _one_product("MatMulInteger", TensorProto.UINT8, TensorProto.INT32, w8)
    large = torch.ones(64 * 2**20)  # 256 MB, more than any cache
    in_torch = [torch.from_numpy(one) for one in (x, w)]
    products = {
        "pytorch_gops": lambda: torch.mm(*in_torch),
        "float32_gops": lambda: plain.run(None, {"x": x}),
        "int8_gops": lambda: integer.run(None, {"x": x8}),
    }
    found = {name: round(2 * rows * w.size / _best_seconds(work) / 1e9, 1) for name, work in products.items()}
    return found | {"read_gb_s": round(4 * large.numel() / _best_seconds(large.sum) / 1e9, 1)}


def _one_product(kind, x_type, y_type, w):
    """Return a session of one matrix product with constant weights."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", x_type, [None, w.shape[0]])],
        [helper.make_tensor_value_info("y", y_type, [None, w.shape[1]])],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def _best_seconds(work, repeats=30):
    """Return the shortest processor time of some work: other work on the machine can only make it longer."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def main():
    """Measure everything and write the file."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    runs.start()
    rows, int8 = accuracy()
    found = [runs.alone(latency, shape) for shape in SHAPES]
    joined = [
        runs.timed(NAME, {"shape": shape, "work": "fusion"}, lambda shape=shape: runs.alone(fusion, shape))
        for shape in SHAPES
    ]
    facts = machine.facts() | {"threads": 1, "onnxruntime": onnxruntime.__version__}
    facts |= runs.timed(NAME, {"work": "rates"}, lambda: runs.alone(rates))
    results.ship(
        NAME,
        rows,
        int8=int8,
        latency=[run for one in found for run in one["cases"]],
        work=[one["work"] for one in found],
        fusion=joined,
        machine=facts,
    )


if __name__ == "__main__":
    main()
