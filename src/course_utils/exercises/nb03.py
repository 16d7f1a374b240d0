"""The exercises of 03_adapt_with_lora."""

import numpy as np

from course_utils.exercises.judging import NOTHING, Wrong, by_example, called, plain, show


def count(answer) -> tuple[bool, str]:
    """03: how many weights LoRA trains, from the shapes (inputs, outputs) of the adapted layers and the rank."""
    cases = [
        ([(96, 96)] * 3, 8),
        ([(1024, 1024)] * 48, 16),
        ([(512, 2048), (2048, 512), (512, 512)], 4),
        ([(768, 1)], 1),
    ]

    def total(of):
        return lambda shapes, r: sum(of(i, o, r) for i, o in shapes)

    mistakes = [
        (total(lambda i, o, r: r * i), "That is A alone. B, of r x outputs, is trained as well."),
        (total(lambda i, o, r: r * o), "That is B alone. A, of r x inputs, is trained as well."),
        (total(lambda i, o, r: i * o), "Those are the frozen weights W. Count what is trained: A and B."),
        (total(lambda i, o, r: r * (i + o) + i * o), "You counted the frozen weights W too. Count A and B alone."),
        (
            total(lambda i, o, r: i * o * r),
            "A and B are thin: r x inputs and outputs x r. Their sizes add up, they don't multiply.",
        ),
        (
            total(lambda i, o, r: r * i * r * o),
            "A and B are thin: r x inputs and outputs x r. Their sizes add up, they don't multiply.",
        ),
        (total(lambda i, o, r: i + o), "That is for rank 1. Each matrix has r rows or r columns."),
        (
            total(lambda i, o, r: 2 * r * i),
            "You took outputs for inputs. Where a layer is no square the two matrices differ in size.",
        ),
        (
            total(lambda i, o, r: 2 * r * o),
            "You took inputs for outputs. Where a layer is no square the two matrices differ in size.",
        ),
        (
            lambda shapes, r: r * sum(shapes[0]),
            "That is the first layer alone. Add up all of them.",
        ),
        (total(lambda i, o, r: r * (i + o) + o), "You added a bias. LoRA's two matrices have none."),
    ]
    return by_example(answer, total(lambda i, o, r: r * (i + o)), mistakes, cases)


def merge(answer) -> tuple[bool, str]:
    """03: the matrix that does the work of W and of its detour."""
    rng = np.random.default_rng(0)
    sizes = [
        (1, 2, 1, 4),
        (3, 5, 2, 16),
        (6, 2, 3, 3),
        (4, 4, 4, 1),
    ]  # out, in, r, alpha; the first can be shown in full
    cases = [
        (*(rng.choice([-2.0, -1.0, 1.0, 2.0, 3.0], size) for size in ((out, into), (r, into), (out, r))), alpha)
        for out, into, r, alpha in sizes
    ]

    def with_scale(scale):
        return lambda W, A, B, alpha: W + scale(len(A), alpha) * B @ A

    mistakes = [
        (with_scale(lambda r, alpha: 1), "The scale is missing: the detour is multiplied by alpha / r."),
        (with_scale(lambda r, alpha: alpha), "The scale is alpha / r; you multiply by alpha. r is the rows of A."),
        (with_scale(lambda r, alpha: r / alpha), "The scale is the wrong way round: alpha / r."),
        (with_scale(lambda r, alpha: 1 / r), "The scale is alpha / r; you left alpha out."),
        (
            with_scale(lambda r, alpha: alpha / r**0.5),
            "That is the scale of rsLoRA, alpha / √r. Plain LoRA has alpha / r.",
        ),
        (with_scale(lambda r, alpha: -alpha / r), "The detour is added, not taken away."),
        (lambda W, A, B, alpha: alpha / len(A) * B @ A, "That is the detour alone. Add it to W."),
        (lambda W, A, B, alpha: alpha / len(A) * (W + B @ A), "You scaled W as well. Only the detour has a scale."),
        (
            lambda W, A, B, alpha: (W + alpha / len(A) * B @ A).T,
            "That is the transposed matrix. Keep the shape of W.",
        ),
        (
            lambda W, A, B, alpha: W + alpha / A.shape[1] * B @ A,
            "You divide by the inputs. r is the number of rows of A.",
        ),
    ]
    try:
        return by_example(answer, with_scale(lambda r, alpha: alpha / r), mistakes, cases)
    except Wrong as wrong:
        if isinstance(wrong.__cause__, ValueError):
            raise Wrong(f"{wrong} Look at the order: B (out, r) times A (r, in) has the shape of W.") from wrong
        raise


def _bert(blocks: int = 2) -> list[str]:
    parts = (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    )
    names = [f"bert.encoder.layer.{i}.{part}" for i in range(blocks) for part in parts]
    return [*names, "bert.pooler.dense", "classifier"]


def _opt(blocks: int = 2) -> list[str]:
    parts = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2")
    names = [f"model.decoder.layers.{i}.{part}" for i in range(blocks) for part in parts]
    return ["model.decoder.project_out", "model.decoder.project_in", *names, "score"]


def _t5(blocks: int = 2) -> list[str]:
    parts = ["layer.0.SelfAttention." + part for part in "qkvo"]
    encoder = [*parts, "layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo"]
    decoder = [*parts, *("layer.1.EncDecAttention." + part for part in "qkvo"), "layer.2.DenseReluDense.wi"]
    sides = (("encoder", encoder), ("decoder", decoder))
    return [f"{side}.block.{i}.{part}" for side, own in sides for i in range(blocks) for part in own] + ["lm_head"]


MODELS = {
    "BERT": (_bert(), ["query", "value"]),
    "OPT": (_opt(), ["q_proj", "v_proj"]),
    "T5": (_t5(), ["q", "v"]),
}


def targets(answer) -> tuple[bool, str]:
    """03: the last parts of the names that project the query or the value, in three architectures."""
    for model, (names, expected) in MODELS.items():
        given = called(answer, (names,))
        if given is None:
            return False, NOTHING
        wrong = _wrong_targets(given, expected, names, model)
        if wrong:
            return False, wrong
    return True, "Right, for BERT, OPT and T5."


def _wrong_targets(given, expected: list[str], names: list[str], model: str) -> str:
    """Return what is wrong with the targets given for a model, or nothing."""
    if isinstance(given, set | frozenset | dict):
        return f"For {model} your function gives a {type(given).__name__}, which has no order. Return a sorted list."
    given = plain(given)
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return f"For {model} your function gives {show(given)}. A list of names is asked for."
    last = {name.split(".")[-1] for name in names}
    if any("." in name for name in given):
        return f"For {model} you give whole names, such as {given[0]}. Give the last part, after the last dot."
    if len(given) > len(set(given)):
        return f"For {model} a name is there more than once. Give each once: a set helps."
    strange, extra = sorted(set(given) - last), sorted(set(given) - set(expected))
    if strange:
        return f"For {model} you give {strange[0]}, and no layer's name ends so. PEFT would skip it without a word."
    if extra:
        others = f", and {len(extra) - 1} more that are not asked for" if len(extra) > 1 else ""
        return f"For {model} you take {extra[0]} as well, which {_role(extra[0])}{others}."
    missing = [name for name in expected if name not in given]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        return f"For {model} {' and '.join(missing)} {are} missing. Its layers end in: {', '.join(sorted(last))}."
    return "" if given == expected else f"For {model} you have the right names; sort them."


def _role(name: str) -> str:
    """Say what a layer does that is no target."""
    if name in ("key", "k_proj", "k"):
        return "projects the key"
    if name in ("classifier", "score", "lm_head"):
        return "is the head: it is trained whole"
    return "is no projection of the query or the value"


CHECKERS = {"03-count": count, "03-merge": merge, "03-targets": targets}
