"""Train a model and let it predict: the whole training loop, in a page.

A grader (a model with a classification head) reads each report as a pair, first the eye that is graded, then the text.
A text-to-text model reads a question, which holds both, and answers in words.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

CHUNK = 50  # batches that are sorted by length together
WARM_UP = 0.1  # share of the steps in which the learning rate rises


def fit_grader(
    model,
    tokenizer,
    train,
    *,
    epochs: int,
    lr: float,
    dev=None,
    batch_size: int = 32,
    seed: int = 0,
    class_weights: Sequence[float] | None = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    max_length: int = 192,
    bar: bool = True,
    eye: str = "eye",
    text: str = "text",
    label: str = "grade",
) -> dict:
    """Train every weight that asks for a gradient. The same seed gives the same weights.

    Takes a model with a classification head, its tokenizer and the training rows (a Dataset, a DataFrame or a dict of
    lists); `dev` rows to measure the cross-entropy on after each epoch; one weight a class for the loss, or another
    `loss` than cross-entropy, a function of logits (reports, grades) and grades (reports); and the number of tokens to
    keep of a report.
    Returns a dict: seconds, steps, losses (one a step), dev_losses (one an epoch), cut (reports that were too long).
    Raises ValueError for a missing column, a label out of range, no rows, a report that is longer than the model takes,
    nothing to train, or a loss that blows up.
    """
    if loss and class_weights is not None:
        raise ValueError("Class weights belong to cross-entropy. Put them into your own loss, or leave `loss` out.")
    began = time.perf_counter()
    reports = tokenise(tokenizer, train, eye, text, max_length)
    labels = _labels(train, label, model.config.num_labels).to(model.device)
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32, device=model.device)
    dev_losses: list[float] = []

    def loss_of(rows: list[int]) -> torch.Tensor:
        logits = model(**collate(tokenizer, reports, rows, model.device)).logits
        return loss(logits, labels[rows]) if loss else F.cross_entropy(logits, labels[rows], weight=weights)

    def after_epoch() -> None:
        if dev is not None:
            probabilities = predict(model, tokenizer, dev, max_length=max_length, eye=eye, text=text)
            truth = _labels(dev, label, model.config.num_labels).numpy()
            of_truth = probabilities[np.arange(len(truth)), truth]
            dev_losses.append(float(-np.log(np.maximum(of_truth, 1e-12)).mean()))

    losses = _train(model, reports, loss_of, epochs, lr, batch_size, seed, bar, after_epoch)
    seconds = time.perf_counter() - began
    cut = sum(report["cut"] for report in reports)
    return {"seconds": seconds, "steps": len(losses), "losses": losses, "dev_losses": dev_losses, "cut": cut}


def fit_answers(
    model,
    tokenizer,
    questions: Sequence[str],
    answers: Sequence[str],
    *,
    epochs: int,
    lr: float,
    batch_size: int = 16,
    seed: int = 0,
    max_length: int = 192,
    bar: bool = True,
) -> dict:
    """Train every weight that asks for a gradient of a text-to-text model, such as T5. The same seed, the same weights.

    Takes the model, its tokenizer, and the questions with their answers, as texts.
    Returns a dict: seconds, steps, losses (one a step), cut (questions that were too long).
    Raises ValueError for unequal lengths, no questions, nothing to train, or a loss that blows up.
    """
    if len(questions) != len(answers):
        raise ValueError(f"There are {len(questions)} questions and {len(answers)} answers; each question needs one.")
    began = time.perf_counter()
    encoded = _encode(tokenizer, max_length, list(questions))
    answer_ids = tokenizer(text_target=list(answers), add_special_tokens=False)["input_ids"]
    targets = [torch.tensor(ids) for ids in answer_ids]  # no end-of-text: `choose` compares words only

    def loss_of(rows: list[int]) -> torch.Tensor:
        labels = torch.nn.utils.rnn.pad_sequence([targets[i] for i in rows], batch_first=True, padding_value=-100)
        return model(**collate(tokenizer, encoded, rows, model.device), labels=labels.to(model.device)).loss

    losses = _train(model, encoded, loss_of, epochs, lr, batch_size, seed, bar)
    seconds = time.perf_counter() - began
    cut = sum(question["cut"] for question in encoded)
    return {"seconds": seconds, "steps": len(losses), "losses": losses, "cut": cut}


def _train(
    model,
    encoded: list[dict],
    loss_of: Callable[[list[int]], torch.Tensor],
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    bar: bool,
    after_epoch: Callable[[], None] = lambda: None,
) -> list[float]:
    """Run AdamW over the rows of `encoded` and return the loss of each step; `loss_of` turns row numbers into a loss.

    It runs on one thread: several would add in another order, and the weights would depend on how many there are.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ValueError("Every weight is frozen, so there is nothing to train. Leave at least the head trainable.")
    _check_length(model, encoded)
    torch.manual_seed(seed)  # for dropout
    order = torch.Generator().manual_seed(seed)  # for the batches
    steps = epochs * math.ceil(len(encoded) / batch_size)
    optimizer = torch.optim.AdamW(trained, lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_fall(steps))
    losses: list[float] = []
    with _one_thread(), tqdm(total=steps, desc="training", unit="step", disable=not bar, mininterval=0.5) as progress:
        for _ in range(epochs):
            model.train()
            for rows in batches(encoded, batch_size, order):
                loss = loss_of(rows)
                if not torch.isfinite(loss):
                    raise ValueError(f"The loss is {loss.item()} at step {len(losses) + 1}. Try a lower learning rate.")
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                progress.update()
            after_epoch()
    model.eval()
    return losses


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def predict(
    model, tokenizer, data, batch_size: int = 64, *, max_length: int = 192, eye: str = "eye", text: str = "text"
) -> np.ndarray:
    """Return the probability of each grade for each report, an array (reports, grades) in the order of the rows.

    Raises ValueError for a missing column, no rows, or a report that is longer than the model takes.
    """
    reports = tokenise(tokenizer, data, eye, text, max_length)
    return _forward(model, tokenizer, reports, batch_size, lambda batch: model(**batch).logits.float().softmax(-1))


def choose(
    model, tokenizer, questions: Sequence[str], choices: Sequence[str], batch_size: int = 64, *, max_length: int = 192
) -> np.ndarray:
    """Return the probability of each choice as the answer to each question, an array (questions, choices).

    Takes a text-to-text model. It compares the choices by their first token, the way a multiple-choice question is put
    to such a model (rank classification; Sanh et al., ICLR 2022, section 5): no other answer is possible.
    Raises ValueError if two choices begin with the same token.
    """
    first = [ids[0] for ids in tokenizer(text_target=list(choices), add_special_tokens=False)["input_ids"]]
    if len(set(first)) < len(first):
        raise ValueError(f"Two of the choices {', '.join(choices)} begin with the same token. Choose other words.")

    def probabilities(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        start = torch.full((len(batch["input_ids"]), 1), model.config.decoder_start_token_id, device=model.device)
        return model(**batch, decoder_input_ids=start).logits[:, 0, first].float().softmax(-1)

    return _forward(model, tokenizer, _encode(tokenizer, max_length, list(questions)), batch_size, probabilities)


def features(
    model,
    tokenizer,
    data,
    batch_size: int = 64,
    *,
    pool: str = "first",
    max_length: int = 192,
    eye: str = "eye",
    text: str = "text",
) -> np.ndarray:
    """Return the base's vector for each report, an array (reports, hidden size): what a linear probe is fitted on.

    `pool` is "first" for the first token's vector ([CLS] in a BERT), "last" for the last token's, or "mean" for the mean
    over the report's tokens. Of a T5 the vectors are the encoder's; of a model with an adapter, the adapted base's.
    Raises ValueError for another `pool`, or "first" in a model that reads from left to right: its first token has seen
    nothing of the report.
    """
    if pool not in ("first", "last", "mean"):
        raise ValueError(f'pool is "{pool}"; it can be "first", "last" or "mean".')
    reports = tokenise(tokenizer, data, eye, text, max_length)
    _check_length(model, reports)
    base = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
    base = base.get_encoder() if base.config.is_encoder_decoder else base
    longest = max((report["input_ids"] for report in reports), key=len)
    if pool == "first" and not looks_ahead(base, longest):
        raise ValueError(
            "This model reads from left to right, so the vector of a report's first token knows nothing of the report. "
            'Take pool="last" or pool="mean".'
        )

    def vectors(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        hidden = base(**batch).last_hidden_state.float()
        real = batch["attention_mask"].unsqueeze(-1)
        if pool == "mean":
            return (hidden * real).sum(1) / real.sum(1)
        return (
            hidden[:, 0]
            if pool == "first"
            else hidden.gather(1, (real.sum(1, keepdim=True) - 1).expand_as(hidden))[:, 0]
        )

    return _forward(model, tokenizer, reports, batch_size, vectors)


@torch.inference_mode()
def looks_ahead(model, ids: Sequence[int]) -> bool:
    """Say whether what a model makes of a text's first token depends on the tokens after it, as in a BERT.

    Takes a model, which is left in evaluation mode, and the token numbers of a text. One token by itself tells nothing:
    True.
    """
    text = torch.tensor([list(ids)], device=model.device)
    model.eval()
    whole, alone = (model(input_ids=part)[0][0, 0] for part in (text, text[:, :1]))
    rounding = torch.finfo(alone.dtype).eps ** 0.5 * alone.abs().max()
    return len(ids) < 2 or bool((whole - alone).abs().max() > rounding)


def tokenise(tokenizer, data, eye: str, text: str, max_length: int) -> list[dict]:
    """Turn each row into token ids, unpadded, and note in "cut" whether the report was longer than `max_length`."""
    eyes, texts = _column(data, eye), _column(data, text)
    return _encode(tokenizer, max_length, eyes, texts)


def _encode(tokenizer, max_length: int, *texts: list[str]) -> list[dict]:
    if not texts[0]:
        raise ValueError("There are no reports in this data. Look at the filter or the split that made it.")
    encoded = tokenizer(*texts, truncation=True, max_length=max_length)
    if encoded.encodings:
        cut = [bool(encoding.overflowing) for encoding in encoded.encodings]
    else:  # a tokenizer that is written in Python does not tell
        cut = [len(ids) > max_length for ids in tokenizer(*texts)["input_ids"]]
    return [{name: column[i] for name, column in encoded.items()} | {"cut": cut[i]} for i in range(len(texts[0]))]


def _check_length(model, reports: list[dict]) -> None:
    """Refuse reports with more tokens than the model has positions, before it stumbles over one of them on the way."""
    positions = getattr(model.config, "max_position_embeddings", None) or math.inf
    longest = max(len(report["input_ids"]) for report in reports)
    if 0 < positions < longest:  # XLNet says -1: it has no end
        raise ValueError(
            f"A report has {longest} tokens, and the model takes {positions}: give `max_length={positions}` or less."
        )


def collate(tokenizer, reports: list[dict], rows: Sequence[int], device):
    """Make a batch of the given rows, padded to the longest of them and no further, on the right.

    There each report keeps its place, whatever side the tokenizer would pad on. Raises ValueError for no padding token.
    """
    if tokenizer.pad_token_id is None:
        raise ValueError(
            "This tokenizer has no padding token, so reports of unequal length can't share a batch. `models.grader` gives it "
            "one; by hand it is `tokenizer.pad_token = tokenizer.eos_token`."
        )
    chosen = [{name: value for name, value in reports[i].items() if name != "cut"} for i in rows]
    return tokenizer.pad(chosen, padding_side="right", return_tensors="pt").to(device)


def batches(reports: list[dict], batch_size: int, order: torch.Generator) -> Iterator[list[int]]:
    """Yield every row once, in batches of reports of like length, in random order.

    The rows are shuffled and cut into chunks; each chunk is sorted by length; all batches are shuffled again.
    """
    rows = torch.randperm(len(reports), generator=order).tolist()
    size = CHUNK * batch_size
    chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
    by_length = [i for chunk in chunks for i in sorted(chunk, key=lambda i: len(reports[i]["input_ids"]))]
    batches_of_rows = [by_length[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    for i in torch.randperm(len(batches_of_rows), generator=order).tolist():
        yield batches_of_rows[i]


def warm_up_then_fall(steps: int) -> Callable[[int], float]:
    """Return the learning rate's factor at each step: it rises to 1 in the first tenth and falls towards 0."""
    warm = max(1, round(WARM_UP * steps))
    return lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _forward(
    model,
    tokenizer,
    reports: list[dict],
    batch_size: int,
    compute: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
) -> np.ndarray:
    """Run `compute` on batches sorted by length and put the rows back in their order."""
    _check_length(model, reports)
    rows = sorted(range(len(reports)), key=lambda i: len(reports[i]["input_ids"]))
    model.eval()
    with torch.inference_mode():
        outputs = [
            compute(collate(tokenizer, reports, rows[i : i + batch_size], model.device)).cpu().numpy()
            for i in range(0, len(rows), batch_size)
        ]
    return np.concatenate(outputs)[np.argsort(rows)]


def _column(data, name: str) -> list:
    columns = getattr(data, "column_names", None) or list(data)
    if name not in columns:
        raise ValueError(f'There is no column "{name}" in this data. It has: {", ".join(columns)}.')
    return list(data[name])


def _labels(data, label: str, classes: int) -> torch.Tensor:
    labels = _column(data, label)
    wrong = [i for i, value in enumerate(labels) if value not in range(classes)]
    if wrong:
        raise ValueError(
            f"Row {wrong[0]} has {label} = {labels[wrong[0]]!r}, and {len(wrong)} row(s) in all are like it. "
            f"The model knows the grades 0 to {classes - 1}."
        )
    return torch.tensor([int(value) for value in labels])
