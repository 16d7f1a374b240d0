"""Make of a trained grader a folder that another program can rely on: ONNX model, tokenizer, contract, card, checksums.

Needs the extra `onnx`. `course_utils.serve` grades with the folder and needs neither torch nor this module; the folder
holds a copy of it, so `python grade.py reports.csv` grades where what its requirements.txt names is installed, and no more.
"""

import ast
import json
import logging
import math
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding

from course_utils import models, paths, tables, training

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from course_utils import engines, serve
except ImportError as error:
    raise ImportError("Exporting needs ONNX: pip install -c constraints.txt -e '.[course,onnx]'") from error

SHARED = 5  # a word is kept if as many training reports have it, of as many patients: a name or a rare word stays here
SLACK = 0.9  # a report is refused if it has fewer known words than this, times those of ...
RARE = 0.005  # ... the training report that only this share of them has fewer than
SOURCES = ("__init__", "paths", "tables", "engines", "serve")  # modules that grade, copied into the folder
APART = 0.3  # a chance that int8 moves farther than this is not int8's doing
PROGRAM, REQUIREMENTS = "grade.py", "requirements.txt"
MADE_WITH = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "numpy")
SERVED_WITH = (
    "onnxruntime",
    "tokenizers",
    "numpy",
)  # what the folder needs, in the versions that its examples were answered with


def to_onnx(model, tokenizer, path: str | Path) -> Path:
    """Write a grader as an ONNX file for any number of reports of any length, weights inside, and return the path.

    Takes the model, which stays as it is, its tokenizer, and the path.
    Raises ValueError, and leaves no file, if torch can't write this kind of model, or the file gives other answers.
    """
    plain = deepcopy(model).cpu().eval()
    plain.set_attn_implementation("eager")  # attention written out as plain matrix products
    for part in plain.modules():
        if hasattr(part, "config"):
            part.config.use_cache = False  # else a decoder hands out what it keeps for the next token
    pair = _inputs(plain, tokenizer, {"left": "a report", "right": "and a longer one"})
    with quiet(), _or_refuse(model, path):
        torch.onnx.export(
            plain,
            (),
            str(path),
            kwargs=pair,  # the exporter follows what happens to these
            input_names=list(pair),
            output_names=["logits"],
            dynamic_shapes={name: {0: "reports", 1: "tokens"} for name in pair},  # else both are frozen
            external_data=False,  # else the weights go to a second file
            opset_version=20,
            dynamo=True,
            verbose=False,
        )
        _tidy(Path(path))
        _compare(plain, _inputs(plain, tokenizer, {"left": "a", "right": "b " * 9, "both": "c"}), path)
    return Path(path)


def _inputs(model, tokenizer, reports: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Return a batch of reports, {eye: text}, padded on the right, without what the model doesn't read."""
    batch = tokenizer(list(reports), list(reports.values()), padding=True, padding_side="right", return_tensors="pt")
    return {name: ids for name, ids in batch.items() if name in signature(model.forward).parameters}


@contextmanager
def _or_refuse(model, path: str | Path) -> Iterator[None]:
    """Say in a sentence that a model can't be exported, where the exporter or the engine writes pages, and leave no file."""
    try:
        yield
    except Exception as error:
        Path(path).unlink(missing_ok=True)
        why = str(error.__cause__ or error).strip().splitlines()[0][:200]
        raise ValueError(
            f"A {type(model).__name__} can't be exported: {why}. Grade with it in PyTorch, or take another checkpoint."
        ) from error


def _compare(model, batch: dict[str, torch.Tensor], path: str | Path) -> None:
    """Raise ValueError if the file gives another answer than the model, to a batch of another shape than it was made with."""
    session = serve.open_model(Path(path))
    given = {one.name: batch[one.name].numpy() for one in session.get_inputs()}
    with torch.inference_mode():
        apart = float(np.abs(session.run(None, given)[0] - model(**batch).logits.numpy()).max())
    if not apart <= torch.finfo(model.dtype).eps ** 0.5:
        raise ValueError(f"the file's logits are {apart:.2g} from the model's")


def _tidy(path: Path) -> None:
    """Name each step after its layer, and drop other outputs and the exporter's notes, which hold this machine's paths."""
    graph = onnx.load(path)
    del graph.graph.output[1:]  # beside the logits, a T5 hands out its encoder's vectors
    times: Counter[str] = Counter()  # how often each name has been given
    for node in graph.graph.node:
        notes = {note.key: note.value for note in node.metadata_props}
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
        layer = next((scope for scope in reversed(scopes[:-1]) if scope), "model")
        name = f"{layer}/{node.op_type}"
        times[name] += 1
        node.name = f"{name}_{times[name]}"
        del node.metadata_props[:]
    for value in graph.graph.value_info:
        del value.metadata_props[:]
    del graph.metadata_props[:], graph.graph.metadata_props[:]
    onnx.save(graph, path)


def quantise(source: str | Path, target: str | Path, leave_out: Sequence[str] = (), **changes) -> Path:
    """Write a float32 ONNX file with whole numbers of 8 bits for its weights; return the new path.

    Linear layers get signed weights and a scale for each column, embedding tables unsigned numbers and one scale; biases,
    norms and the products within attention stay float32. Activations are quantised while the model runs.
    Takes patterns (regular expressions) for the names of layers that stay as they are, such as "pooler", and options of
    `quantize_dynamic` that shall differ.
    Raises ValueError for a pattern that finds no layer.
    """
    names = [node.name for node in onnx.load(source).graph.node]
    for pattern in leave_out:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(f'No layer of {Path(source).name} is called "{pattern}", so nothing would be left out.')
    left = [name for name in names if any(re.search(pattern, name) for pattern in leave_out)]
    options = {
        "weight_type": QuantType.QInt8,  # for linear layers: signed weights have the faster kernel (VNNI)
        "per_channel": True,
        # the quantiser first turns a Gemm into a MatMul of a new name, and skips names that it does not find
        "nodes_to_exclude": left + [f"{name}_MatMul" for name in left],
    }
    with quiet():
        quantize_dynamic(str(source), str(target), **(options | changes))
    return Path(target)


def one_product(weights: np.ndarray, path: str | Path) -> Path:
    """Write x @ weights, one matrix product and nothing else, as a float32 ONNX file from "x" to "y"; return the path.

    Takes the weights (inputs x outputs) and the path. The product's weights are called "w" in the file. Raises ValueError
    for what is no matrix.
    """
    if weights.ndim != 2:
        raise ValueError(f"The weights have the shape {weights.shape}; a matrix has two sides.")
    kept = numpy_helper.from_array(np.ascontiguousarray(weights, dtype=np.float32), "w")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", side])
        for name, side in zip("xy", weights.shape, strict=True)
    ]
    step = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([step], "one product", ends[:1], ends[1:], [kept])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), str(path))
    return Path(path)


def flowing(model, tokenizer, rows) -> dict[str, np.ndarray]:
    """Return what flows into each linear layer while a grader reads reports: {layer: an array of (tokens, inputs)}.

    Takes the grader, its tokenizer and the rows (few: all is kept); the shortest is read first. Raises ValueError as
    `training.predict` does.
    """
    caught: dict[str, list[np.ndarray]] = {name: [] for name in models.linear_layers(model)}

    def catch(name: str) -> Any:
        def keep(layer, given, _) -> None:
            caught[name].append(given[0].detach().cpu().reshape(-1, layer.in_features).numpy())

        return model.get_submodule(name).register_forward_hook(keep)

    hooks = [catch(name) for name in caught]
    try:
        training.predict(model, tokenizer, rows)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: np.concatenate(parts) for name, parts in caught.items()}


def pack(
    folder: str | Path,
    model_file: str | Path,
    tokenizer,
    *,
    labels: Sequence[str],
    reports: Mapping[str, Sequence[str]],
    examples: Sequence[tuple[str, str]],
    figures: Mapping[str, str],
    max_tokens: int = 192,
    temperature: float | None = None,
    decision: Mapping[str, Any] | None = None,
    float32: str | Path | None = None,
) -> Path:
    """Write the folder that `serve.load` reads, and return its path. It appears whole or not at all.

    Takes a new folder, the ONNX file, the tokenizer, the grades' names from 0 on, the training reports, `examples` of (eye,
    text) whose answers the server will check, and figures for the model card, as {what: value}. The examples leave with
    the folder: invent them, take no patient's.
    Of the reports' columns, "eye" is what the model reads first; without it, it reads texts alone. "patient_id" says whose
    they are. Of the "text" go into the folder hashes of the words that at least five of them, or of the patients, share,
    and how many of these words a report has at least.
    `temperature` divides the logits before they become the calibrated chances. `decision` is {"name", "labels",
    "threshold"}: yes, if these grades have at least that chance together, calibrated if there is a temperature.
    `float32` is the same model's file before it was quantised, for engines that want it; the folder is four times as large.
    Raises FileExistsError if the folder is there, ValueError for no examples, other labels than the model's, a decision
    that the labels don't allow, or more tokens than the model can read.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(
            f"{folder} is there already. Give each export a new name: what was shipped must not change."
        )
    if not examples or not all(text.strip() for _, text in examples):
        raise ValueError(
            "Give at least one example, with a text: the server checks by it that model and tokenizer fit."
        )
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        shutil.copyfile(model_file, part / serve.MODEL)
        if float32 is not None:
            shutil.copyfile(float32, part / engines.FLOAT32)
        tokenizer.backend_tokenizer.save(str(part / serve.VOCABULARY))
        contract = _contract(part, tokenizer.truncation_side, list(labels), reports, max_tokens, temperature, decision)
        contract["forms"] = [form for form in engines.EXPECTED if (part / form).is_file()]
        contract["examples"] = _answered(part, contract, examples)
    except Exception:
        shutil.rmtree(part)
        raise
    _write(part / serve.CONTRACT, json.dumps(contract, indent=1, ensure_ascii=False) + "\n")
    _write(part / "README.md", _card(folder.name, contract, figures))
    _copy_program(part)
    _write(part / REQUIREMENTS, "".join(f"{name}=={contract['made_with'][name]}\n" for name in SERVED_WITH))
    files = sorted(path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file())
    _write(part / serve.MANIFEST, "".join(f"{paths.sha256(part / name)}  {name}\n" for name in files))
    part.rename(folder)
    return folder


def _contract(
    part: Path,
    side: str,
    labels: list[str],
    reports: Mapping[str, Sequence[str]],
    max_tokens: int,
    temperature: float | None,
    decision: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return what the server relies on, but for the examples, or raise ValueError for what can't be."""
    columns: Any = getattr(reports, "column_names", reports)  # of a Dataset, or of what knows its columns itself
    eyes = sorted(set(reports["eye"])) if "eye" in columns else []
    if len({tables.plain(eye) for eye in eyes}) < len(eyes):
        raise ValueError(f"The eyes {', '.join(eyes)} are spellings of one another: write each one way, then train.")
    if len(set(labels)) < len(labels):
        raise ValueError(f"Two labels are the same: {', '.join(labels)}. Name each grade once.")
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"The temperature is {temperature}; it must be above 0.")
    return {
        "format": serve.FORMAT,
        "labels": labels,
        "eyes": eyes,
        "max_tokens": max_tokens,
        "truncation_side": side,
        "vocabulary": serve.open_tokenizer(part / serve.VOCABULARY, max_tokens).get_vocab_size(),
        "words": _shared_words(reports["text"], reports["patient_id"] if "patient_id" in columns else reports["text"]),
        "temperature": temperature,
        "decision": _decision(decision, labels),
        "normaliser": "none beside the tokenizer's own, which is part of tokenizer.json",
        "made_with": {name: metadata.version(name).split("+")[0] for name in MADE_WITH},
    }


def _decision(decision: Mapping[str, Any] | None, labels: list[str]) -> dict[str, Any] | None:
    """Return a decision as the contract keeps it, or raise ValueError for one that the labels don't allow."""
    if decision is None:
        return None
    strange = set(decision) ^ {"name", "labels", "threshold"}
    if strange:
        raise ValueError(f"A decision has a name, labels and a threshold; look at {', '.join(sorted(strange))}.")
    kept: dict[str, Any] = {
        "name": str(decision["name"]),
        "labels": list(decision["labels"]),
        "threshold": float(decision["threshold"]),
    }
    unknown = [label for label in kept["labels"] if label not in labels]
    if unknown or not kept["labels"]:
        raise ValueError(f"The decision names {', '.join(unknown) or 'no label'}; the labels are {', '.join(labels)}.")
    if not 0 < kept["threshold"] < 1:
        raise ValueError(f"The decision's threshold is {kept['threshold']}; it must lie between 0 and 1.")
    return kept


def _shared_words(texts: Sequence[str], owners: Sequence[str]) -> dict[str, Any]:
    """Return the words that training reports share, hashed, and how many of them a report has at least.

    A hash hides no word from who guesses it, so a word is kept only if `SHARED` owners have it. Of each report it is asked
    which of its words the *others* would have kept, as of a report that is new.
    """
    found = [serve.words(text) for text in texts]
    owned = {(owner, word) for owner, own in zip(owners, found, strict=True) for word in own}
    owners_of = Counter(word for _, word in owned)
    known = [[word for word in own if owners_of[word] > SHARED] for own in found]
    shares = [len(own) / max(1, len(all_words)) for own, all_words in zip(known, found, strict=True)]
    counts = [len(set(own)) for own in known]
    share, count = np.quantile([shares, counts], RARE, axis=1, method="lower").tolist()
    if not count:
        few = f"{len(set(owners)):,} training reports share too few words to tell a report from any other text by its words"
        warnings.warn(f"{few}: none will be refused for them. Give more reports.", stacklevel=4)
    kept = sorted(serve.hashed(word) for word, n in owners_of.items() if n >= SHARED)
    least = max(min(int(count), 2), int(SLACK * count))  # one word repeated is no report
    return {"share": round(SLACK * share, 3), "least": least, "shared_by": SHARED, "known": "".join(kept)}


def _answered(part: Path, contract: dict[str, Any], examples: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the examples, a short and a long one beside them, with the model's answers; else raise ValueError."""
    session = serve.open_model(part / serve.MODEL)
    reader = serve.open_tokenizer(part / serve.VOCABULARY, contract["max_tokens"], contract["truncation_side"])
    grader = serve.Grader(session, reader, contract)
    strange = sorted({eye for eye, _ in examples} - set(contract["eyes"] or [""]))
    if strange:
        raise ValueError(f'An example is of the eye "{strange[0]}"; the reports have {contract["eyes"] or "no eyes"}.')
    eye, text = examples[0]
    every = " ".join(text for _, text in examples)
    long = every
    while not grader.encode(long, eye).overflowing and len(long) < grader.longest:
        long += f" {every}"
    _try_length(grader, long, eye)
    asked = [*examples, (eye, text.split()[0]), (eye, long)]
    encodings = [grader.encode(text, eye) for eye, text in asked]
    sessions = {form: session if form == serve.MODEL else serve.open_model(part / form) for form in contract["forms"]}
    answers = {form: _probabilities(one, encodings, contract["labels"]) for form, one in sessions.items()}
    for form, answer in answers.items():
        if np.abs(answer - answers[serve.MODEL]).max() > APART:
            raise ValueError(f"{form} answers the examples otherwise than {serve.MODEL}: it is another model's file.")
    return [
        {"eye": eye, "text": text} | {engines.EXPECTED[form]: answer[row].tolist() for form, answer in answers.items()}
        for row, (eye, text) in enumerate(asked)
    ]


def _probabilities(session: engines.Session, encodings: Sequence[Encoding], labels: list[str]) -> np.ndarray:
    """Return the chances that a model gives to reports, rounded; raise ValueError if they can't be those of the labels."""
    scores = serve.logits(session, encodings)
    if scores.shape[1] != len(labels):
        raise ValueError(
            f"The model gives {scores.shape[1]} grades and there are {len(labels)} labels: name each once."
        )
    if not np.isfinite(scores).all():
        raise ValueError("The model answers an example with no number: look at its weights.")
    return serve.softmax(scores).astype(float).round(4)


def _try_length(grader: serve.Grader, text: str, eye: str) -> None:
    """Raise ValueError if the model can't read a text that is as long as the contract allows."""
    try:
        serve.logits(grader.session, [grader.encode(text, eye)])
    except Exception as error:  # the runtime's own classes
        reason = str(error).strip().splitlines()[0][-200:]
        raise ValueError(
            f"The model can't read {grader.contract['max_tokens']} tokens, though max_tokens says so ({reason}). Give the "
            "max_tokens that it was trained with."
        ) from error


def _copy_program(part: Path) -> None:
    """Copy into a folder the modules that grade, and a program that starts them."""
    package = part / paths.PACKAGE.name
    package.mkdir()
    for name in SOURCES:
        shutil.copyfile(paths.PACKAGE / f"{name}.py", package / f"{name}.py")
    _write(part / PROGRAM, GRADE)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


GRADE = '''"""Grade reports with this folder: python grade.py reports.csv > graded.csv

Needs what requirements.txt names. `python grade.py --help` says what else it can do.
"""

import sys

sys.dont_write_bytecode = True  # the folder stays as it was exported

from course_utils import paths, serve  # noqa: E402 - the folder's own copy

if __name__ == "__main__":
    sys.exit(serve.main(folder=paths.PACKAGE.parent))
'''


def _card(name: str, contract: dict[str, Any], figures: Mapping[str, str]) -> str:
    measured = "\n".join(f"| {what} | {value} |" for what, value in figures.items())
    words, decision = contract["words"], contract["decision"]
    reads = f"the eye ({' or '.join(contract['eyes'])}) and the report's text" if any(contract["eyes"]) else "a text"
    decides = ""
    if decision:
        of = f"{'; '.join(decision['labels'])} have a chance of at least {decision['threshold']:g} together"
        decides = f"\n- **{decision['name']}** is yes if {of}."
    made = ", ".join(f"{library} {version}" for library, version in contract["made_with"].items())
    return f"""# {name}

Grades a report of an eye examination, for one eye. **Not for care**: it was trained on synthetic reports.

- **It reads** {reads}, up to {contract["max_tokens"]} tokens. A longer one gets no grade, unless `--cut` asks for one
  by its {"last" if contract["truncation_side"] == "left" else "first"} tokens.
- **It gives no grade** to a text in which fewer than {words["share"]:.0%} of the words, or fewer than {words["least"]} different
  ones, are among those that {words["shared_by"]} training reports share. `{serve.CONTRACT}` knows them by their hashes.
  What these words say is not asked: an empty form and "no view of the fundus" get a grade.
- **It answers** one of: {"; ".join(contract["labels"])}.{decides}
- **To use it**, in this folder: `pip install -r {REQUIREMENTS}`, which has the versions that the examples were answered with,
  then `python grade.py reports.csv > graded.csv`. The exit status is 0 if each report got a grade, 1 if some did not, 3 if none
  did, 2 if a file is refused.
  A CSV that is neither UTF-8 nor UTF-16 needs `charset-normalizer`, or `--encoding`.
- **If the server says that this processor rounds int8 too roughly**: it has no 8-bit dot product (VNNI). Quantise again with
  `reduce_range=True`, or ship the float32 file.

| measured | |
|---|---|
{measured}

Made with {made}. `{serve.MANIFEST}` holds the files' checksums, `{serve.CONTRACT}` what the server relies on.
"""


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back the exporters' warnings: they speak of torchvision, and of steps that these models don't need."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
