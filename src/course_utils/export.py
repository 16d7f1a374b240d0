"""Make of a trained grader a folder that another program can rely on: ONNX model, tokenizer, contract, card, checksums.

Needs the extra `onnx`. `course_utils.serve` grades with the folder and needs neither torch nor this module.
"""

import ast
import json
import logging
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
from tokenizers import Encoding, Tokenizer

from course_utils import paths

try:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from course_utils import serve
except ImportError as error:
    raise ImportError("Exporting needs ONNX: pip install -c constraints.txt -e '.[onnx]'") from error

SLACK = 0.8  # a report is refused if it has fewer known words than this, times the least that a training report has
MADE_WITH = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers")


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
) -> Path:
    """Write the folder that `serve.load` reads, and return its path. It appears whole or not at all.

    Takes a new folder, the ONNX file, the tokenizer, the grades' names from 0 on, the training reports (columns "eye" and
    "text", of which only the eyes and the share of known words go into the folder), `examples` of (eye, text) whose
    answers the server will check, and figures for the model card, as {what: value}. The examples leave with the folder:
    invent them, take no patient's.
    Raises FileExistsError if the folder is there, ValueError for no examples or other labels than the model's.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(
            f"{folder} is there already. Give each export a new name: what was shipped must not change."
        )
    if not examples:
        raise ValueError("Give at least one example: the server checks by them that model and tokenizer fit.")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    shutil.copyfile(model_file, part / serve.MODEL)
    tokenizer.backend_tokenizer.save(str(part / serve.VOCABULARY))
    reader = serve.open_tokenizer(part / serve.VOCABULARY, max_tokens)
    session = serve.open_model(part / serve.MODEL)
    known_shares = [serve.known_words(reader, encoding) for encoding in _pairs(reader, reports)]
    probabilities = serve.softmax(serve.logits(session, [reader.encode(*example) for example in examples]))
    if probabilities.shape[1] != len(labels):
        shutil.rmtree(part)
        raise ValueError(
            f"The model gives {probabilities.shape[1]} grades and there are {len(labels)} labels: name each once."
        )
    contract: dict[str, Any] = {
        "format": serve.FORMAT,
        "labels": list(labels),
        "eyes": sorted(set(reports["eye"])),
        "max_tokens": max_tokens,
        "vocabulary": reader.get_vocab_size(),
        "known_words": round(SLACK * min(known_shares), 3),
        "normaliser": "none beside the tokenizer's own, which is part of tokenizer.json",
        "examples": [
            {"eye": eye, "text": text, "probabilities": [round(float(p), 4) for p in answer]}
            for (eye, text), answer in zip(examples, probabilities, strict=True)
        ],
        "made_with": {name: metadata.version(name).split("+")[0] for name in MADE_WITH},
    }
    _write(part / serve.CONTRACT, json.dumps(contract, indent=1, ensure_ascii=False) + "\n")
    _write(part / "README.md", _card(folder.name, contract, figures))
    files = sorted(path.name for path in part.iterdir())
    _write(part / serve.MANIFEST, "".join(f"{paths.sha256(part / name)}  {name}\n" for name in files))
    part.rename(folder)
    return folder


def _pairs(reader: Tokenizer, reports: Mapping[str, Sequence[str]]) -> list[Encoding]:
    return reader.encode_batch(list(zip(reports["eye"], reports["text"], strict=True)))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _card(name: str, contract: dict[str, Any], figures: Mapping[str, str]) -> str:
    measured = "\n".join(f"| {what} | {value} |" for what, value in figures.items())
    made = ", ".join(f"{library} {version}" for library, version in contract["made_with"].items())
    return f"""# {name}

Grades a report of an eye examination, for one eye. **Not for care**: it was trained on synthetic reports.

- **It reads** the eye ({" or ".join(contract["eyes"])}) and the report's text, up to {contract["max_tokens"]} tokens.
  What is longer is cut, and the answer says so. A report with fewer than {contract["known_words"]:.0%} known words gets no grade.
- **It answers** one of: {"; ".join(contract["labels"])}.
- **To use it**: `python -m course_utils.serve {name} reports.csv > graded.csv`, with onnxruntime, tokenizers and numpy.
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
