"""What is exported is the trained model: same answers at any size, nothing of this machine, a folder whole or not at all."""

import numpy as np
import pytest

pytest.importorskip("onnx", reason="needs the extra onnx")

import onnx
import torch

import small_models
from course_utils import data, export, models, results, serve, training
from course_utils.experiments import onnx as onnx_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    model, tokenizer = models.grader(small_models.bert(folder / "base"), seed=0)
    file = export.to_onnx(model, tokenizer, folder / "plain.onnx")
    return model, tokenizer, file, export.quantise(file, folder / "int8.onnx")


def feed(batch, length):
    ids = np.random.default_rng(0).integers(5, 20, (batch, length))
    return dict(zip(serve.INPUTS, (ids, np.ones_like(ids), ids % 2), strict=True))


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 64), (3, 7), (8, 16)])
def test_any_number_of_reports_of_any_length_gets_the_model_s_logits(made, batch, length):
    model, _, file, _ = made
    asked = feed(batch, length)
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(ids) for name, ids in asked.items()}).logits
    assert np.allclose(serve.open_model(file).run(None, asked)[0], expected, atol=1e-5)


def test_one_product_is_that_product_alone(tmp_path):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(4, 2))
    file = export.one_product(w, tmp_path / "one.onnx")
    assert np.allclose(serve.open_model(file).run(None, {"x": x})[0], x @ w, atol=1e-6)
    assert [node.op_type for node in onnx.load(file).graph.node] == ["MatMul"]
    with pytest.raises(ValueError, match="a matrix has two sides"):
        export.one_product(w[0], tmp_path / "one.onnx")


def test_what_flows_into_a_layer_gives_what_flows_out_of_it(made):
    model, tokenizer, *_ = made
    rows = {"eye": ["left", "right"], "text": ["a report", "and a longer one"]}
    caught = export.flowing(model, tokenizer, rows)
    assert list(caught) == models.linear_layers(model)
    assert caught["classifier"].shape == (2, model.config.hidden_size)
    with torch.inference_mode():
        logits = model.classifier(torch.from_numpy(caught["classifier"]))
    chances = np.log(training.predict(model, tokenizer, rows))
    assert np.allclose(logits - logits.mean(1, keepdims=True), chances - chances.mean(1, keepdims=True), atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_model_stays_as_it_was(made, tmp_path, monkeypatch):
    exported = []

    def stop(model, *_, **__):
        exported.append(model)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.onnx, "export", stop)
    model = made[0].train()
    with pytest.raises(KeyboardInterrupt):
        export.to_onnx(model, made[1], tmp_path / "x.onnx")
    assert model.training and not exported[0].training  # what is exported is another object, with no dropout
    model.eval()
    theirs = {p.data_ptr() for p in exported[0].parameters()}
    assert not any(p.data_ptr() in theirs for p in model.parameters())


@pytest.mark.parametrize("where", ["torch.onnx.export", "course_utils.export._tidy"])
def test_what_cannot_be_exported_is_said_in_a_sentence_and_leaves_nothing(made, tmp_path, monkeypatch, where):
    def fail(*_, **__):
        (tmp_path / "x.onnx").write_text("half a file")
        raise RuntimeError("Found EncoderDecoderCache in output.\nPages of advice.\n" * 50)

    monkeypatch.setattr(where, fail)
    with pytest.raises(ValueError, match="A BertForSequenceClassification can't be exported: Found .{,100}$"):
        export.to_onnx(made[0], made[1], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_answers_is_refused(made):
    model, tokenizer, file, _ = made
    batch = export._inputs(model, tokenizer, {"left": "no retinopathy", "right": "mild"})
    export._compare(model, batch, file)
    other, _ = models.grader(model.name_or_path, seed=1)
    with pytest.raises(ValueError, match=r"the file's logits are [\d.]+ from the model's"):
        export._compare(other, batch, file)


def test_one_file_holds_the_weights_and_no_path_of_this_machine(made):
    for file in made[2:]:
        assert [path.name for path in file.parent.glob(f"{file.name}*")] == [file.name]
        content = file.read_bytes()
        assert b"site-packages" not in content and b"stack_trace" not in content and b'File "' not in content
    names = [node.name for node in onnx.load(made[2]).graph.node]
    assert len(set(names)) == len(names)
    assert "bert.encoder.layer.1.attention.self.query/MatMul_1" in names


def integer_products(file):
    return [node.name for node in onnx.load(file).graph.node if node.op_type == "MatMulInteger"]


def test_every_linear_layer_becomes_an_integer_product(made):
    model, _, _, small = made
    assert len(integer_products(small)) == len(models.linear_layers(model))


@pytest.mark.parametrize(
    ("pattern", "left"), [("classifier", 1), ("pooler", 1), ("layer.1.", 6), (r"\d\.output", 2), ("attention.self", 6)]
)
def test_layers_that_are_left_out_stay_float(made, tmp_path, pattern, left):
    model, _, file, _ = made
    some = export.quantise(file, tmp_path / "some.onnx", leave_out=[pattern])
    assert len(integer_products(some)) == len(models.linear_layers(model)) - left
    serve.open_model(some)


def test_a_pattern_that_finds_nothing_is_an_error(made, tmp_path):
    with pytest.raises(ValueError, match='No layer of plain.onnx is called "q_proj"'):
        export.quantise(made[2], tmp_path / "x.onnx", leave_out=["pooler", "q_proj"])


@pytest.mark.slow
def test_half_precision_cannot_be_quantised_into_a_file_that_loads(made, tmp_path):
    half = export.to_onnx(made[0].half(), made[1], tmp_path / "half.onnx")
    made[0].float()
    small = export.quantise(half, tmp_path / "int8.onnx")
    with pytest.raises(ValueError, match=r"ONNX Runtime [\d.]+ can't load int8.onnx: "):
        serve.open_model(small)


PACKED = {
    "labels": ["none", "mild", "moderate", "severe", "proliferative"],
    "reports": {
        "eye": ["right", "left"] * 6,
        "text": [f"{text} {n}" for n in range(6) for text in ("severe retinopathy seen", "no unheard retinopathy")],
    },
    "examples": [("right", "severe retinopathy")],
    "figures": {"macro F1 on test": "0.901"},
    "max_tokens": 64,
}


def test_the_folder_holds_what_a_server_needs(made, tmp_path):
    folder = export.pack(tmp_path / "grader", made[3], made[1], **PACKED)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    modules = {f"course_utils/{name}.py" for name in export.SOURCES}
    own = {
        "README.md",
        export.PROGRAM,
        export.REQUIREMENTS,
        serve.MANIFEST,
        serve.CONTRACT,
        serve.MODEL,
        serve.VOCABULARY,
    }
    assert files == own | modules
    assert all(name in (folder / serve.MANIFEST).read_text(encoding="utf-8") for name in files - {serve.MANIFEST})
    contract = serve.load(folder).contract
    assert contract["labels"] == PACKED["labels"] and contract["eyes"] == ["left", "right"]
    assert contract["truncation_side"] == "right"
    needed = dict(line.split("==") for line in (folder / export.REQUIREMENTS).read_text(encoding="utf-8").split())
    assert set(needed) == {"onnxruntime", "tokenizers", "numpy"} and needed.items() <= contract["made_with"].items()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| macro F1 on test | 0.901 |" in card and "Not for care" in card
    for text in PACKED["reports"]["text"]:  # no training report leaves
        assert not any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_version_is_never_written_over(made, tmp_path):
    export.pack(tmp_path / "grader", made[3], made[1], **PACKED)
    with pytest.raises(FileExistsError, match="Give each export a new name"):
        export.pack(tmp_path / "grader", made[3], made[1], **PACKED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, "5 grades and there are 2 labels"),
        ({"labels": list("aabcd")}, "Two labels are the same"),
        ({"examples": []}, "one example"),
        ({"examples": [("right", " ")]}, "one example"),
        ({"examples": [("both", "severe")]}, r'of the eye "both"; the reports have \[.left., .right.\]'),
        ({"max_tokens": 65}, "The model can't read 65 tokens, though max_tokens says so .* that it was trained with"),
        ({"temperature": 0}, "The temperature is 0; it must be above 0"),
        ({"decision": {"name": "refer"}}, "look at labels, threshold"),
        (
            {"decision": {"name": "refer", "labels": ["worst"], "threshold": 0.5}},
            "The decision names worst; the labels",
        ),
        ({"decision": {"name": "refer", "labels": ["mild"], "threshold": 1}}, "threshold is 1.0; it must lie between"),
        ({"reports": PACKED["reports"] | {"eye": ["left", "Left"] * 6}}, "The eyes Left, left are spellings of one"),
    ],
)
def test_a_folder_that_cannot_be_made_leaves_nothing(made, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        export.pack(tmp_path / "grader", made[3], made[1], **(PACKED | changes))
    assert not list(tmp_path.iterdir())


def test_the_server_checks_a_short_and_a_long_text_beside_the_examples(made, tmp_path):
    grader = serve.load(export.pack(tmp_path / "grader", made[3], made[1], **PACKED))
    tokens = [grader.encode(example["text"], example["eye"]) for example in grader.contract["examples"]]
    lengths = [len(one.ids) for one in tokens]
    assert (
        len(lengths) == 3 and lengths[0] > lengths[1] and lengths[2] == PACKED["max_tokens"] and tokens[2].overflowing
    )


def test_words_that_few_reports_or_patients_share_do_not_leave():
    texts = [f"severe retinopathy seen by doctor {name}" for name in ("Moss", "Lee", "Hall", "Ng", "Khan", "Diaz")]
    texts[:2] = [f"{text}, Betatown" for text in texts[:2]]

    def kept(owners):
        found = export._shared_words(texts, owners)
        return {word for text in texts for word in serve.words(text) if serve.hashed(word) in found["known"]}

    assert kept(texts) == {"severe", "retinopathy", "seen", "by", "doctor"}
    with pytest.warns(UserWarning, match="4 training reports share too few words .*: none will be refused for them"):
        assert kept(list("aaabcd")) == set()  # six texts of four patients


def test_the_least_that_a_report_has_is_learnt_from_the_shortest_and_strangest_of_many():
    plain = ["severe retinopathy seen in two quadrants"] * 990
    texts = [f"{text} {n}" for n, text in enumerate([*plain, *["no retinopathy seen here"] * 10])]
    found = export._shared_words(texts, texts)
    assert (found["least"], found["share"]) == (3, 0.9)  # of 4 words, 0.9; all 4 are shared
    odd = export._shared_words([*texts, "xylophone"], [*texts, "xylophone"])
    assert odd == found  # one report in a thousand moves nothing


def test_what_was_interrupted_is_no_folder_and_can_be_made_again(made, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(export, "_card", stop)
        export.pack(tmp_path / "grader", made[3], made[1], **PACKED)
    assert not (tmp_path / "grader").exists()
    serve.load(export.pack(tmp_path / "grader", made[3], made[1], **PACKED))


def test_a_setting_that_is_tried_is_one_that_can_be_made(made, tmp_path):
    for changes in onnx_runs.SETTINGS.values():
        if changes.get("leave_out") != ["layer.11."]:  # there are two blocks here
            serve.open_model(export.quantise(made[2], tmp_path / "tried.onnx", **changes))


def test_what_int8_changed_is_counted_by_report(monkeypatch):
    import pandas as pd

    test = pd.DataFrame({"grade": [0, 1, 2, 3, 4, 4], "patient_id": list("abcdef")})
    monkeypatch.setattr(onnx_runs.runs, "frames", lambda: {"test": test})
    predicted = {"PyTorch": [0, 1, 2, 3, 4, 0], "float32": [0, 1, 2, 3, 4, 0], "int8": [0, 1, 2, 0, 3, 4]}
    found = onnx_runs.changed({"seed": 0, "predicted": predicted, "off": {}, "settings": {}})
    assert (found["same_as_pytorch"], found["flips"], found["only_float32"], found["only_int8"]) == (6, 3, 2, 1)
    assert found["recall"]["int8"] == [1, 1, 1, 0, 0.5]


def test_each_runtime_is_asked_once_a_turn_and_another_one_first():
    asked = []
    ways = {name: lambda ids, name=name: asked.append(name) for name in "abc"}
    times = [onnx_runs.turn(ways, {}, number) for number in range(3)]
    assert "".join(asked) == "abcbcacab" and all(set(one) == set("abc") for one in times)


@pytest.fixture(scope="module")
def shipped():
    return results.shipped("onnx_runs")


def test_what_notebook_12_says_of_accuracy_is_how_it_is_measured(shipped):
    seeds, reports = shipped["int8"]["seeds"], data.load_reports()
    assert [one["seed"] for one in seeds] == [0, 1, 2] and all(one["n"] == len(reports["test"]) for one in seeds)
    assert all(len(one["settings"]) == 10 for one in seeds)  # "First ten settings on **dev**"
    assert all(tried["n"] == len(reports["dev"]) for one in seeds for tried in one["settings"].values())
    assert all(
        one["same_as_pytorch"] == one["n"] for one in seeds
    )  # "Export float32, and accept no difference in grades"


def test_what_notebook_12_says_of_settings_is_what_was_measured(shipped):
    """What is left out of int8 stays in 32 bits: the file is larger."""
    for run in shipped["int8"]["seeds"]:
        settings = run["settings"]
        smallest = settings["all layers, a scale a column"]["saved_kb"]
        parts = ("the embeddings", "attention", "feed-forward", "the last block")
        assert all(settings[f"without {part}"]["saved_kb"] > smallest for part in parts)


def test_what_notebook_12_says_of_speed_is_how_it_is_measured(shipped):
    machine = shipped["machine"]
    assert machine["threads"] == 1 and {"float32_gops", "int8_gops", "read_gb_s"} <= set(machine)
    ways = {(run["shape"], run["batch"], run["length"]): run["ways"] for run in shipped["latency"]}
    assert len(ways) == len(onnx_runs.SHAPES) * len(onnx_runs.BATCHES) * len(onnx_runs.LENGTHS) == 16
    needed = {"PyTorch eager", "PyTorch compiled", "ONNX float32", "ONNX int8", "ONNX uint8"}
    assert all(needed | {"LoRA merged, eager", "LoRA unmerged, eager"} <= set(own) for own in ways.values())
    quiet = [abs(way["ms"] / way["cpu_ms"] - 1) for own in ways.values() for way in own.values()]
    assert np.median(quiet) < 0.05  # nothing else ran: the clock and the processor's own time agree


def test_what_notebook_12_says_of_the_limits_is_what_was_measured(shipped):
    """Linear layers are "a small share of the time, as in a narrow model", so there int8 "can save little"."""
    linear = ("MatMul", "Gemm", "FusedGemm", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")
    share = {
        (one["shape"], name): sum(profile.get(step, 0) for step in linear)
        for one in shipped["work"]
        for name, profile in one["profile"].items()
    }
    assert share["tiny-biobert", "ONNX float32"] < share["BioBERT", "ONNX float32"]


def test_what_notebook_12_says_of_one_joining_is_how_it_is_measured(shipped):
    """ "The last line says what that does": `ours` leaves one joining off, and the default is 1."""
    cases = {
        (one["shape"], case["length"], kind): case[kind]
        for one in shipped["fusion"]
        for case in one["cases"]
        for kind in ("float32", "int8")
    }
    assert len(cases) == len(onnx_runs.SHAPES) * len(onnx_runs.FUSED_LENGTHS) * 2
    assert all(way["default"]["times_default"][0] == 1 and "ours" in way for way in cases.values())
