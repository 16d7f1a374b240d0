"""Rewrite an exported grader for what `serve` asks of it: one report at a time, nothing padded. Same answers, less work.

Two things are left out of such a graph. No mask is needed, so each attention becomes one step, for which ONNX Runtime has a
kernel that writes no table of all pairs of tokens. And a grader reads one token of the last block, so that block need not be
computed for the others. Needs the extra `onnx`.
"""

import shutil
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

ATTENTION = "MultiHeadAttention"
CONTRIBUTED = (
    "com.microsoft"  # where ONNX Runtime keeps the steps that the standard lacks; OpenVINO reads this one, too
)
BY_TOKEN = {  # steps that treat each token by itself
    *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Tanh", "Relu", "Sigmoid", "Gelu"),
    *("MatMul", "LayerNormalization", ATTENTION),
}
ONE_INPUT = {"MatMul", "LayerNormalization", ATTENTION}  # of these, the first input alone is by token
LENGTHS = (1, 2, 17)  # tokens of the texts by which old and new are compared, beside the longest
LIMIT = 5e-4  # how far a logit may move: what sums in another order do to float32


def for_one_report(source: str | Path, target: str | Path, longest: int = 192) -> Path:
    """Write a float32 ONNX file of a grader for one report at a time, without padding; return the new path.

    Takes the file that `export.to_onnx` wrote and the most tokens that a report will have. The new file asks for no mask.
    Old and new are compared at several lengths. Where they answer otherwise, or no attention is found that could be
    rewritten, the new file is a copy of the old one, and a warning says so.
    """
    model = onnx.load(source)
    try:
        graph = _Graph(model)
        joined = _join_attentions(graph)
        _last_block_for_one_token(graph)
        why = "" if joined else "no attention was found in it that can be joined"
        if joined:
            graph.graph.value_info.extend(joined)  # the quantiser wants to know the kind of what flows out
            onnx.save(model, target)
            apart = _apart(source, target, longest)
            why = "" if apart <= LIMIT else f"rewritten, its logits are {apart:.2g} away"
    except Exception as error:  # a graph of another kind, which the rewriting or the runtime does not understand
        why = f"it is of another kind: {' '.join(str(error).split())[:200]}"
    if why:
        warnings.warn(f"{Path(source).name} stays as it is: {why}.", stacklevel=2)
        shutil.copyfile(source, target)
    return Path(target)


class _Graph:
    """A model's graph with what one asks of it: who makes a value, who uses it, what a constant holds."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.graph = model, model.graph
        self.constants = {one.name: one for one in model.graph.initializer}
        self.look()

    def look(self) -> None:
        """Note anew who makes and uses what."""
        self.maker = {value: node for node in self.graph.node for value in node.output}
        self.users = defaultdict(list)
        for node in self.graph.node:
            for value in node.input:
                self.users[value].append(node)

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.constants[name])

    def add_constant(self, name: str, value: list[int]) -> str:
        """Add whole numbers as a constant; return its name."""
        self.constants[name] = numpy_helper.from_array(np.array(value, np.int64), name)
        self.graph.initializer.append(self.constants[name])
        return name

    def back(self, value: str, *kinds: str) -> str:
        """Return the value from which these kinds of steps, the last first, made a value. Raises ValueError for others."""
        for kind in kinds:
            node = self.maker.get(value)
            if node is None or node.op_type != kind:
                raise ValueError(f"{value} is not made by {kind}")
            value = node.input[0]
        return value

    def only_user(self, value: str, kind: str) -> onnx.NodeProto:
        """Return the one step that uses a value. Raises ValueError if it is of another kind or not alone."""
        users = self.users[value]
        if len(users) != 1 or users[0].op_type != kind:
            raise ValueError(f"{value} is not used by one {kind} alone")
        return users[0]

    def put(self, node: onnx.NodeProto, beside: onnx.NodeProto, after: int = 0) -> None:
        """Put a step before another, or after it."""
        self.graph.node.insert(list(self.graph.node).index(beside) + after, node)

    def tidy(self) -> None:
        """Drop the steps, constants and inputs that nobody uses any more, and the notes on values, which are outdated."""
        needed, kept = {one.name for one in self.graph.output}, []
        for node in reversed(self.graph.node):  # a step stands behind those that it uses
            if needed & set(node.output):
                needed |= set(node.input)
                kept.append(node)
        for part, left in (
            (self.graph.node, kept[::-1]),
            (self.graph.initializer, [one for one in self.graph.initializer if one.name in needed]),
            (self.graph.input, [one for one in self.graph.input if one.name in needed]),
            (self.graph.value_info, []),
        ):
            del part[:]
            part.extend(left)
        self.look()


def _join_attentions(graph: _Graph) -> list[onnx.ValueInfoProto]:
    """Make one step of each attention; return what flows out of each."""
    softmaxes = [node for node in graph.graph.node if node.op_type == "Softmax"]
    made = [_join(graph, softmax) for softmax in softmaxes]
    if made:
        graph.tidy()
        graph.model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    return made


def _join(graph: _Graph, softmax: onnx.NodeProto) -> onnx.ValueInfoProto:
    """Put one step in the place of the softmax of an attention and its neighbours; return what flows out of it."""
    scores = graph.maker[softmax.input[0]]
    if scores.op_type == "Add":  # the mask, or something else: then the comparison will show it
        scores = graph.maker[scores.input[0]]
    scale = 1.0
    if scores.op_type in ("Mul", "Div"):
        factor = float(graph.array(scores.input[1]))
        scale, scores = factor if scores.op_type == "Mul" else 1 / factor, graph.maker[scores.input[0]]
    if scores.op_type != "MatMul":
        raise ValueError(f"the scores of {softmax.name} are made by {scores.op_type}")
    weighted = graph.only_user(softmax.output[0], "MatMul")
    split = ("Transpose", "Reshape")  # into heads
    query, key, value = (graph.back(one, *split) for one in (*scores.input, weighted.input[1]))
    merged = graph.only_user(graph.only_user(weighted.output[0], "Transpose").output[0], "Reshape")
    heads, width = _heads(graph, graph.maker[graph.back(scores.input[0], "Transpose")])
    step = helper.make_node(
        ATTENTION,
        [query, key, value],
        [merged.output[0]],
        f"{softmax.name.rsplit('/', 1)[0]}/{ATTENTION}",
        domain=CONTRIBUTED,
        num_heads=heads,
        scale=scale,
    )
    graph.put(step, merged)
    graph.graph.node.remove(merged)
    return helper.make_tensor_value_info(step.output[0], onnx.TensorProto.FLOAT, [None, None, heads * width])


def _heads(graph: _Graph, reshape: onnx.NodeProto) -> tuple[int, int]:
    """Return the number of heads and the width of each, from the step that divides the query into heads."""
    shape = graph.maker.get(reshape.input[1])
    parts = shape.input if shape is not None and shape.op_type == "Concat" else ()
    width = int(graph.array(parts[-1] if parts else reshape.input[1]).reshape(-1)[-1])
    projected = graph.maker[reshape.input[0]]
    sizes = [graph.array(name).shape[-1] for name in projected.input if name in graph.constants]
    return sizes[0] // width, width


def _last_block_for_one_token(graph: _Graph) -> None:
    """Compute for the token that the head reads, the first, what no other token's result depends on."""
    reads = [node for node in graph.graph.node if node.op_type == "Gather" and _is_first_token(graph, node)]
    if len(reads) != 1:  # a head that reads another token, or more than one
        return
    place = {value: number for number, node in enumerate(graph.graph.node) for value in node.output}
    zero, one = graph.add_constant("first_token_from", [0]), graph.add_constant("first_token_to", [1])
    waiting, seen = [(reads[0], 0)], {reads[0].name}
    done: dict[str, str] = {}
    while waiting:
        # the value that is made last comes first, so all its users have been looked at
        waiting.sort(key=lambda use: place.get(use[0].input[use[1]], -1))
        user, at = waiting.pop()
        value = user.input[at]
        if value not in done:
            node = graph.maker[value]
            done[value] = value
            if _by_token(graph, node) and all(one_user.name in seen for one_user in graph.users[value]):
                seen.add(node.name)
                inputs = range(1) if node.op_type in ONE_INPUT else range(len(node.input))
                waiting += [(node, number) for number in inputs if node.input[number] not in graph.constants]
            else:
                done[value] = f"{value}_first_token"
                cut = helper.make_node("Slice", [value, zero, one, one], [done[value]], f"{node.name}_first_token")
                graph.put(cut, node, after=1)
        user.input[at] = done[value]
    graph.tidy()


def _is_first_token(graph: _Graph, node: onnx.NodeProto) -> bool:
    """True for a step that takes the first of all tokens, on the second axis."""
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    return axis == 1 and node.input[1] in graph.constants and graph.array(node.input[1]).tolist() == 0


def _by_token(graph: _Graph, node: onnx.NodeProto) -> bool:
    """True for a step that treats each token by itself."""
    if node.op_type == "MatMul":
        return node.input[1] in graph.constants
    if node.op_type == "LayerNormalization":
        return next((one.i for one in node.attribute if one.name == "axis"), -1) == -1
    return node.op_type in BY_TOKEN


def _apart(old: str | Path, new: str | Path, longest: int) -> float:
    """Return the largest difference of a logit between two files, for random reports of several lengths."""
    sessions = [onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"]) for file in (old, new)]
    rng, apart, words = np.random.default_rng(0), 0.0, _vocabulary(old)
    for length in (*LENGTHS, longest):
        ids = rng.integers(0, words, (1, length))
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        asked = [[one.name for one in session.get_inputs()] for session in sessions]
        first, second = (
            session.run(None, {name: feed[name] for name in names})[0]
            for session, names in zip(sessions, asked, strict=True)
        )
        difference = float(np.abs(first - second).max())
        apart = max(apart, difference if np.isfinite(difference) else np.inf)
    return apart


def _vocabulary(file: str | Path) -> int:
    """Return the number of token ids that a file's model knows, by the table in which it looks them up."""
    graph = _Graph(onnx.load(file))
    tables = [node.input[0] for node in graph.users["input_ids"] if node.op_type == "Gather"]
    return min(graph.array(name).shape[0] for name in tables if name in graph.constants)
