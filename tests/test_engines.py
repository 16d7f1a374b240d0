"""The graph for one report at a time answers as before, and the engine that runs a folder is the one that was asked for."""

import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")

import onnx
from onnx import helper

import small_models
from course_utils import data, engines, export, graphs, models, paths, results, serve
from course_utils.experiments import engines as measured
from course_utils.experiments import runs

LAYERS, LONGEST = 2, 64  # of small_models.bert
SEEN = "severe retinopathy, haemorrhages in four quadrants seen."
EXAMPLES = [("right", SEEN), ("left", "no retinopathy seen.")]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A grader's tokenizer and files: as exported, rewritten for one report, and the latter in int8."""
    folder = tmp_path_factory.mktemp("bert")
    model, tokenizer = models.grader(small_models.bert(folder / "base"), seed=0)
    plain = export.to_onnx(model, tokenizer, folder / "plain.onnx")
    lean = graphs.for_one_report(plain, folder / "lean.onnx", longest=LONGEST)
    return tokenizer, plain, lean, export.quantise(lean, folder / "int8.onnx")


def feed(length, batch=1):
    ids = np.random.default_rng(length).integers(5, 20, (batch, length))
    return dict(zip(serve.INPUTS, (ids, np.ones_like(ids), ids % 2), strict=True))


def ask(file, batch):
    session = engines.open_model(file)
    return session.run(None, {one.name: batch[one.name] for one in session.get_inputs()})[0]


@pytest.mark.parametrize("length", [1, 2, 9, LONGEST])
def test_one_report_gets_the_same_logits_from_the_rewritten_graph(made, length):
    _, plain, lean, _ = made
    assert np.allclose(ask(lean, feed(length)), ask(plain, feed(length)), atol=1e-5)


def test_each_attention_is_one_step_and_no_mask_is_asked_for(made):
    graph = onnx.load(made[2]).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count(graphs.ATTENTION) == LAYERS and "Softmax" not in kinds
    assert [one.name for one in graph.input] == ["input_ids", "token_type_ids"]
    with pytest.raises(Exception, match="attention_mask"):  # so nobody can give it a padded batch with its mask
        engines.open_model(made[2]).run(None, feed(4))


def test_the_last_block_is_computed_for_one_token_and_the_others_for_all(made, tmp_path):
    model = onnx.load(made[2])
    products = {
        layer: next(n for n in model.graph.node if f"layer.{layer}.intermediate.dense/MatMul" in n.name).output[0]
        for layer in range(LAYERS)
    }
    for value in products.values():
        model.graph.output.append(helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "shown.onnx")
    batch = {name: ids for name, ids in feed(9).items() if name != "attention_mask"}
    shapes = [out.shape for out in engines.open_model(tmp_path / "shown.onnx").run(list(products.values()), batch)]
    assert shapes == [(1, 9, 64), (1, 1, 64)]


def test_every_linear_layer_of_the_rewritten_graph_becomes_an_integer_product(made):
    kinds = [node.op_type for node in onnx.load(made[3]).graph.node]
    assert kinds.count("MatMulInteger") == 6 * LAYERS + 2 and "MatMul" not in kinds
    off = np.abs(ask(made[3], feed(30)) - ask(made[1], feed(30))).max()
    assert off < 0.1


def test_a_graph_that_would_answer_otherwise_stays_as_it_is(made, tmp_path):
    causal, tokenizer = models.grader(small_models.bert(tmp_path / "base"), seed=0)
    causal.config.is_decoder = causal.bert.config.is_decoder = True  # a token sees those before it alone
    plain = export.to_onnx(causal, tokenizer, tmp_path / "plain.onnx")
    assert not np.allclose(ask(plain, feed(9)), ask(made[1], feed(9)), atol=1e-3)
    with pytest.warns(UserWarning, match=r"plain.onnx stays as it is: rewritten, its logits are .* away"):
        same = graphs.for_one_report(plain, tmp_path / "lean.onnx", longest=LONGEST)
    assert same.read_bytes() == plain.read_bytes()


def test_a_graph_of_another_kind_stays_as_it_is(tmp_path):
    for kinds, said in ((["Relu"], "no attention was found"), (["Softmax", "Relu"], "it is of another kind")):
        value, nodes = "input_ids", []
        for number, kind in enumerate(kinds):
            nodes.append(helper.make_node(kind, [value], [f"v{number}"], f"{number}/{kind}"))
            value = f"v{number}"
        ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("input_ids", value)]
        onnx.save(helper.make_model(helper.make_graph(nodes, "other", ends[:1], ends[1:])), tmp_path / "other.onnx")
        with pytest.warns(UserWarning, match=f"stays as it is: {said}"):
            same = graphs.for_one_report(tmp_path / "other.onnx", tmp_path / "lean.onnx")
        assert same.read_bytes() == (tmp_path / "other.onnx").read_bytes()


# --- a folder with two forms


def pack(folder, made, **changes):
    tokenizer, _, lean, small = made
    reports = {"eye": ["right", "left"] * 12, "text": [f"{text} {n}" for _, text in EXAMPLES for n in range(12)]}
    settings = {"labels": data.GRADE_NAMES, "reports": reports, "examples": EXAMPLES, "figures": {}, "max_tokens": 32}
    return export.pack(folder, small, tokenizer, **(settings | {"float32": lean} | changes))


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    """An exported folder with both forms, that no test may change."""
    return pack(tmp_path_factory.mktemp("export") / "grader", made)


def test_a_folder_names_its_forms_the_default_first(made, folder, tmp_path):
    contract = json.loads((folder / serve.CONTRACT).read_text(encoding="utf-8"))
    assert contract["forms"] == ["model.onnx", "float32.onnx"]
    assert engines.present(folder)[:2] == ["onnxruntime", "onnxruntime-float32"]
    alone = pack(tmp_path / "alone", made, float32=None)
    assert json.loads((alone / serve.CONTRACT).read_text(encoding="utf-8"))["forms"] == ["model.onnx"]
    assert engines.present(alone) == ["onnxruntime"]
    assert set(json.loads((alone / serve.CONTRACT).read_text(encoding="utf-8"))["examples"][0]) == {
        *("eye", "text", "probabilities")
    }


def test_each_engine_gives_the_answers_of_its_form_and_is_named_in_them(made, folder):
    expected = {"": made[3], "onnxruntime": made[3], "onnxruntime-float32": made[2]}
    asked = serve.load(folder).encode(SEEN, "right")
    hashed = paths.sha256(folder / serve.MANIFEST)[:12]
    for name, file in expected.items():
        grader = serve.load(folder, engine=name)
        answer = grader.grade(SEEN, "right")
        chances = serve.softmax(serve.logits(engines.open_model(file), [asked]))[0]
        assert np.array_equal(np.array(answer.chances, np.float32), chances)
        assert grader.record(answer)["model"] == (f"{hashed} {name}" if name == "onnxruntime-float32" else hashed)


def test_openvino_gives_the_answers_of_the_float32_form(made, folder):
    pytest.importorskip("openvino")
    session = engines.OpenVino(folder / engines.FLOAT32, INFERENCE_PRECISION_HINT="f32")
    batch = {one.name: feed(9)[one.name] for one in session.get_inputs()}
    assert np.allclose(session.run(None, batch)[0], ask(made[2], feed(9)), atol=1e-4)
    assert serve.load(folder, engine="openvino").grade(SEEN, "right").grade is not None


def test_an_engine_that_is_not_there_is_refused_with_what_helps(made, folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match='There is no engine "gpu". Choose one of: onnxruntime, .*openvino, fastest'):
        serve.load(folder, engine="gpu")
    with pytest.raises(ValueError, match=r"has no float32.onnx, which openvino runs. Choose one of: onnxruntime\."):
        serve.load(pack(tmp_path / "alone", made, float32=None), engine="openvino")
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "openvino" else find_spec(name))
    with pytest.raises(ValueError, match="The engine openvino needs openvino: pip install openvino"):
        serve.load(folder, engine="openvino")


def test_another_model_s_float32_file_is_refused_by_pack_and_by_the_examples(made, folder, tmp_path):
    model, tokenizer = models.grader(small_models.bert(tmp_path / "base"), seed=1)
    model.classifier.weight.data.mul_(500)
    other = export.to_onnx(model, tokenizer, tmp_path / "other.onnx")
    with pytest.raises(ValueError, match=r"float32.onnx answers the examples otherwise than model.onnx"):
        pack(tmp_path / "mixed", made, float32=other)
    assert not list(tmp_path.glob("mixed*"))
    spoilt = shutil.copytree(folder, tmp_path / "spoilt")
    shutil.copy(other, spoilt / engines.FLOAT32)
    sums = (spoilt / serve.MANIFEST).read_text(encoding="utf-8")
    sums = sums.replace(paths.sha256(folder / engines.FLOAT32), paths.sha256(other))
    (spoilt / serve.MANIFEST).write_text(sums, encoding="utf-8")
    serve.load(spoilt)
    with pytest.raises(ValueError, match="otherwise than when it was exported"):
        serve.load(spoilt, engine="onnxruntime-float32")


# --- which engine is taken


class Clock:
    """A clock that goes on when a session runs, and not else."""

    def __init__(self, monkeypatch, **milliseconds):
        self.now, self.asked = 0.0, []
        monkeypatch.setattr(engines.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(engines, "present", lambda folder: list(milliseconds))
        monkeypatch.setattr(engines, "open_engine", lambda folder, name, threads: self.session(name))
        self.milliseconds = milliseconds

    def session(self, name):
        clock = self

        class Fake:
            def get_inputs(self):
                return [engines._Input("input_ids")]

            def run(self, names, batch):
                took = clock.milliseconds[name]
                if took is None:
                    raise RuntimeError("this processor can't")
                clock.now += took / 1000
                clock.asked.append(name)

        return Fake()


@pytest.mark.parametrize(
    ("other", "taken"), [(50.0, "openvino"), (96.0, "onnxruntime"), (150.0, "onnxruntime"), (None, "onnxruntime")]
)
def test_the_fastest_is_taken_if_it_is_so_by_a_margin_and_runs_at_all(monkeypatch, other, taken):
    clock = Clock(monkeypatch, onnxruntime=100.0, openvino=other)
    name, took = engines.fastest("folder", [{"input_ids": np.ones((1, 3))}] * 2)
    assert name == taken
    expected = {"onnxruntime": 200.0} | ({"openvino": 2 * other} if other else {})
    assert took == pytest.approx(expected)
    if other:  # in turns
        assert clock.asked[4:10] == ["onnxruntime"] * 2 + ["openvino"] * 2 + ["onnxruntime"] * 2


def test_load_takes_the_fastest_when_asked_and_measures_nothing_else(folder, monkeypatch):
    asked = []

    def choose(where, reports, threads):
        asked.append((where, len(reports), threads))
        return "onnxruntime-float32", {}

    monkeypatch.setattr(engines, "fastest", choose)
    assert serve.load(folder).model == paths.sha256(folder / serve.MANIFEST)[:12] and not asked
    grader = serve.load(folder, threads=2, engine="fastest")
    assert asked == [(folder, len(grader.contract["examples"]), 2)]
    assert grader.model.endswith(" onnxruntime-float32")


# --- the long run


def test_turns_are_fair_and_a_hopeless_engine_has_one(monkeypatch):
    now, asked = [0.0], []
    monkeypatch.setattr(measured.time, "process_time", lambda: now[0])
    monkeypatch.setattr(measured.time, "perf_counter", lambda: now[0])
    took = {measured.OURS: 1.0, measured.EAGER: 2.0, "hopeless": 20.0}

    def way(name):
        def ask(_):
            asked.append(name)
            now[0] += took[name]

        return ask

    monkeypatch.setattr(measured, "ways_of", lambda *_: ({name: way(name) for name in took}, {"absent": "why"}))
    found = measured.timed("BioBERT", 1, 16, "")
    assert found["turns"] == measured.FEWEST and asked.count("hopeless") == 2  # once to prepare
    assert asked.count(measured.OURS) == 1 + measured.FEWEST
    assert found["engines"][measured.OURS]["times_eager"] == [2, 2, 2]
    assert found["engines"]["hopeless"]["ours_times_this"] == [20, 20, 20]
    assert found["without"] == {"absent": "why"}


def test_an_engine_that_is_not_installed_is_named_with_the_reason(monkeypatch):
    def missing(made):
        raise ImportError("No module named 'openvino'")

    monkeypatch.setattr(measured, "ENGINES", {"there": lambda made: lambda batch: None, "absent": missing})
    ways, without = measured.opened(None, ["there", "absent"])
    assert list(ways) == ["there"] and without == {"absent": "ImportError: No module named 'openvino'"}


def test_what_an_engine_changes_is_counted():
    truth = np.array([0, 1, 2, 3, 4, 4])
    before = np.eye(5)[[0, 1, 2, 3, 4, 0]] * 0.9
    after = np.eye(5)[[0, 1, 2, 3, 3, 4]] * 0.9
    found = measured.changed(truth, before, after)
    assert (found["n"], found["flips"], found["right"], found["largest_shift"]) == (6, 2, 5, 0.9)
    assert measured.changed(truth, before, before)["macro_f1_lost"] == 0


def test_the_run_of_another_machine_stays_in_the_file(monkeypatch):
    shipped = {"machines": [{"machine": {"machine": "here"}}, {"machine": {"machine": "elsewhere"}, "latency": [7]}]}
    written = {}
    monkeypatch.setattr(runs, "start", lambda: None)
    monkeypatch.setattr(runs, "kept", lambda name, settings, make: settings | {"engines": {"ours": 1}})
    monkeypatch.setattr(runs, "alone", lambda function, *arguments: [arguments])
    monkeypatch.setattr(measured, "facts", lambda: {"machine": "here"})
    monkeypatch.setattr(results, "shipped", lambda name: shipped)
    monkeypatch.setattr(results, "ship", lambda name, rows, **content: written.update(content))
    measured.main()
    assert [one["machine"]["machine"] for one in written["machines"]] == ["here", "elsewhere"]
    assert written["machines"][0]["latency"] == [("tiny-biobert", "here"), ("BioBERT", "here")]
    assert written["machines"][1]["latency"] == [7]
