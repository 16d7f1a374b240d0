"""Score a causal model on texts, and pack texts for its training: what is needed beside `Trainer`.

A text is scored as the model is trained: its tokens, with the end-of-text token after them. The first token is given,
every later one is predicted.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from course_utils import training
from course_utils.metrics import LEVEL, Interval, patient_numbers

Encoded = dict[str, list[int]]  # the token ids of a text, as "input_ids"
Scores = dict[str, np.ndarray]  # an array for each thing that was counted, an entry a text


def encode(tokenizer, texts: Sequence[str], max_length: int = 192) -> list[Encoded]:
    """Return each text as {"input_ids": ...}, unpadded, with the end-of-text token after it.

    Raises ValueError if the tokenizer has no such token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError(
            "This tokenizer has no end-of-text token. Set `tokenizer.eos_token`, or take a causal model's."
        )
    cut = tokenizer(list(texts), truncation=True, max_length=max_length - 1)["input_ids"]
    # some write the end themselves; some begin with the same token
    return [{"input_ids": ids if len(ids) > 1 and ids[-1] == end else [*ids, end]} for ids in cut]


def pack(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """Lay texts as `encode` returns them end to end in one row with no padding: a collator for `Trainer`.

    Positions begin anew with each text, the attention mask (1, 1, tokens, tokens) lets a token see the earlier ones of its
    own text and no others, and no text's first token is asked for. So the loss is that of the same texts one by one.
    The mask is added to the scores, 0 where a token may look: of the two forms it is the one that any attention takes, but
    for models with ALiBi, such as BLOOM, which count a text's tokens in a mask of two dimensions and refuse this one. Layers that
    see only so many tokens back, as Gemma 3 has them, see all of their text by it: no text may be longer than their window.
    """
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    ids = torch.tensor([token for row in rows for token in row["input_ids"]])
    text = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    position = torch.cat([torch.arange(length) for length in lengths])
    sees = (text[:, None] == text[None, :]) & (position[:, None] >= position[None, :])
    mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)
    return {
        "input_ids": ids[None],
        "position_ids": position[None],
        "attention_mask": mask[None, None],
        "labels": ids.masked_fill(position == 0, -100)[None],
    }


@torch.inference_mode()
def scores(model, tokenizer, texts: Sequence[str], batch_size: int = 32, max_length: int = 192) -> Scores:
    """Return three arrays, an entry a text: the summed `loss`, the `tokens` predicted, and how many were `right`.

    A token is right where the model's first choice is the token that follows. Padding is on the right, behind each text,
    whatever side the tokenizer would pad on. Raises ValueError for no texts, or a model that sees the tokens to come.
    """
    if not len(texts):
        raise ValueError("There are no texts to score. Look at the filter or the split that made them.")
    encoded = encode(tokenizer, texts, max_length)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]["input_ids"]))
    if len(longest := encoded[order[-1]]["input_ids"]) > 1 and training.looks_ahead(model, longest):
        raise ValueError(
            "This model sees the tokens that it should predict, so it can't be scored on them. Load a causal model, such as "
            "a GPT or an OPT, with AutoModelForCausalLM."
        )
    filler = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id  # the mask hides it
    sums = {name: np.zeros(len(encoded)) for name in ("loss", "tokens", "right")}
    model.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids = [torch.tensor(encoded[i]["input_ids"], device=model.device) for i in rows]
        batch = pad_sequence(ids, batch_first=True, padding_value=filler)
        mask = pad_sequence([torch.ones_like(one) for one in ids], batch_first=True)
        logits = model(input_ids=batch, attention_mask=mask).logits[:, :-1].float()
        target, real = batch[:, 1:], mask[:, 1:]
        losses = F.cross_entropy(logits.transpose(1, 2), target, reduction="none") * real
        right = (logits.argmax(-1) == target) * real
        for name, values in (("loss", losses), ("tokens", real), ("right", right)):
            sums[name][rows] = values.sum(1).cpu().numpy()
    return sums


class Counts:
    """A table of which token followed which: the baseline that a language model has to beat.

    The chance of a token after the last few mixes how often it came after just those (70%) with its chance after one
    fewer, down to the share of the token by itself, and one in the vocabulary's size (Jelinek & Mercer, 1980).
    """

    TRUST = 0.7

    def __init__(self, encoded: Sequence[Encoded], vocabulary: int, order: int):
        """Take texts as `encode` returns them, and the longest run of tokens to count (1 looks at no token before)."""
        self.vocabulary, self.order = vocabulary, order
        self.seen: Counter[tuple[int, ...]] = Counter()  # runs of tokens
        self.before: Counter[tuple[int, ...]] = Counter()  # the same runs, without their last token
        for text in encoded:
            ids = text["input_ids"]
            for i in range(1, len(ids)):
                for back in range(min(order, i + 1)):
                    self.seen[tuple(ids[i - back : i + 1])] += 1
                    self.before[tuple(ids[i - back : i])] += 1

    def scores(self, encoded: Sequence[Encoded]) -> Scores:
        """Return the summed `loss` and the `tokens` predicted of each text, two arrays, as `scores` does for a model."""
        losses = [
            -sum(math.log(self._chance(ids, i)) for i in range(1, len(ids)))
            for ids in (text["input_ids"] for text in encoded)
        ]
        return {"loss": np.array(losses), "tokens": np.array([len(text["input_ids"]) - 1.0 for text in encoded])}

    def _chance(self, ids: Sequence[int], i: int) -> float:
        chance = 1 / self.vocabulary
        for back in range(min(self.order, i + 1)):
            times = self.before[tuple(ids[i - back : i])]
            if times:
                chance = self.TRUST * self.seen[tuple(ids[i - back : i + 1])] / times + (1 - self.TRUST) * chance
        return chance


@torch.inference_mode()
def ended(model, tokenizer, texts: Sequence[str], first: int = 4, new: int = 100) -> int:
    """Let the model go on from the first tokens of each text, always with its first choice; return how many texts end.

    Takes how many tokens of each text to begin with, the first of all included, and how many more may follow. All texts
    begin with equally many, so that none needs padding. Raises ValueError for a text that is shorter.
    """
    beginnings = [ids[:first] for ids in tokenizer(list(texts))["input_ids"]]
    if min(map(len, beginnings)) < first:
        raise ValueError(f"A text has fewer than {first} tokens: leave it out, or begin with fewer.")
    model.eval()
    prompts = torch.tensor(beginnings, device=model.device)
    continuations = model.generate(
        input_ids=prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=new, do_sample=False
    )[:, first:]
    return int((continuations == tokenizer.eos_token_id).any(1).sum())


def perplexity(found: Scores, groups: ArrayLike | None = None) -> Interval:
    """Return exp(summed loss / predicted tokens) of what `scores` found, with its 95% interval."""
    return Interval(*np.exp(_ratio(found["loss"], found["tokens"], groups)))


def accuracy(found: Scores, groups: ArrayLike | None = None) -> Interval:
    """Return the share of next tokens that were right, with its 95% interval."""
    return _ratio(found["right"], found["tokens"], groups)


def ratio(after: Scores, before: Scores, groups: ArrayLike | None = None) -> Interval:
    """Return the perplexity after over that before, on the same texts, with the interval of a paired bootstrap."""
    if not np.array_equal(after["tokens"], before["tokens"]):
        raise ValueError("The two were not scored on the same texts, so they can't be paired.")
    return Interval(*np.exp(_ratio(after["loss"] - before["loss"], before["tokens"], groups)))


def _ratio(
    parts: np.ndarray, wholes: np.ndarray, groups: ArrayLike | None = None, n: int = 2000, seed: int = 0
) -> Interval:
    """Return sum(parts) / sum(wholes) with its 95% percentile interval, drawing texts, or groups of texts, anew.

    The tokens of one text are not independent of one another, so whole texts are drawn, and all texts of a patient
    together (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8).
    """
    group = patient_numbers(groups, len(parts))
    sums = np.stack([np.bincount(group, weights=values) for values in (parts, wholes)])
    rng = np.random.default_rng(seed)
    size = sums.shape[1]
    counts = rng.multinomial(size, np.full(size, 1 / size), size=n)
    top, bottom = counts @ sums.T[:, 0], counts @ sums.T[:, 1]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(top / bottom, (tail, 1 - tail))
    return Interval(float(sums[0].sum() / sums[1].sum()), float(low), float(high))
