"""Train a decoder to answer, and let it answer: template, answer mask, loss on the answer, generation.

A chat is a list of messages, each {"role": ..., "content": ...}. A *template* turns it into text with marks for who speaks; the model
reads that text and nothing else. What is trained on is the answer and the mark that ends it: the *answer mask* says where they are.
"""

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakSet

import regex
import torch
from peft import PeftModel
from torch.nn import functional as F
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList

from course_utils import models, training

Message = dict[str, str]
# A chat as "input_ids", and "in_loss": 1 where a token is learned, else 0. It may have "states" as well, a tensor (tokens, width):
# what frozen lower layers made of it. Then the model that is trained has the upper layers alone, and reads these.
Encoded = dict[str, Any]
PLAIN: WeakSet[Any] = WeakSet()  # models that were seen to score as their head does, and do no more

# For a checkpoint that has no template of its own. The generation marks tell transformers and trl where an answer is.
TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{{ message['role'] + ':\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)


class Answers(NamedTuple):
    """What a model wrote to each question, whether it ended by itself, the seconds it took in all, and the chats as rows.

    A row is as `encode` returns it, of the very tokens that were read and written: in the loss is what the model wrote, its end mark
    among it only if it wrote one. Text that is tokenised again may have other tokens.
    """

    texts: list[str]
    ended: list[bool]
    seconds: float
    rows: list[Encoded]


def load(checkpoint: str, **settings: Any) -> tuple[Any, Any]:
    """Load a causal model and its tokenizer for chats, in float32 unless `dtype` says otherwise.

    Takes what `models.base` returns; `settings` go to `from_pretrained`. The tokenizer gets TEMPLATE if it has none, and pads with
    its end mark if it has nothing else: here padding is known by its place, so no end mark is taken for it.
    Raises ValueError for a tokenizer without an end mark.
    """
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"The tokenizer of {checkpoint} has no end-of-text token. Set `eos_token`, or take a causal model's."
        )
    tokenizer.chat_template = tokenizer.chat_template or TEMPLATE
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    kind = {"use_safetensors": True, "dtype": torch.float32} | settings
    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint, **kind)
    return model.to(models.device()), tokenizer


def render(tokenizer: Any, chat: Sequence[Message], ask: bool = False, **of_template: Any) -> list[int]:
    """Return a chat's token numbers by the template, marks and all; `ask` adds the mark that an answer follows."""
    return tokenizer.apply_chat_template(
        list(chat), add_generation_prompt=ask, tokenize=True, return_dict=True, **of_template
    )["input_ids"]


def encode(tokenizer: Any, chat: Sequence[Message], max_length: int = 512, **of_template: Any) -> Encoded:
    """Return a chat whose last message is the answer, as {"input_ids", "in_loss"}: 1 on the answer and what ends it.

    `of_template` goes to the template, such as `enable_thinking=False`. Nothing is cut: a cut takes the answer first.
    Raises ValueError for a chat that is longer, whose last message is no answer, or whose template writes the question otherwise
    once the answer is there: then no mask is right.
    """
    if not chat or chat[-1]["role"] != "assistant":
        raise ValueError('The last message is no answer: its role must be "assistant".')
    asked, whole = render(tokenizer, chat[:-1], ask=True, **of_template), render(tokenizer, chat, **of_template)
    if len(whole) > max_length:
        raise ValueError(
            f"A chat has {len(whole)} tokens, and {max_length} are allowed. Shorten its question: a cut would take the answer."
        )
    if whole[: len(asked)] != asked:
        raise ValueError(
            "The template writes a question otherwise once its answer follows, so the model would learn to answer what it is never "
            "asked. Give the template's own switch (such as enable_thinking=False), or a template without that."
        )
    end = len(asked) + 1 + _last_special(tokenizer, whole[len(asked) :])
    return {"input_ids": whole[:end], "in_loss": [0] * len(asked) + [1] * (end - len(asked))}


def _last_special(tokenizer: Any, answer: Sequence[int]) -> int:
    """Return the place of an answer's end mark: its last special token. What a template writes behind it teaches nothing."""
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    places = [place for place, token in enumerate(answer) if token in special]
    if not places:
        raise ValueError("No end mark follows the answer in this template, so a model trained on it would never stop.")
    return places[-1]


def stop_token(tokenizer: Any, **of_template: Any) -> int:
    """Return the number of the token that ends an answer in this template."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    return encode(tokenizer, chat, **of_template)["input_ids"][-1]


def collate(rows: Sequence[Encoded], pad: int, side: str = "right", device: Any = "cpu") -> dict[str, torch.Tensor]:
    """Return rows as a batch of tensors (rows, tokens): input_ids, attention_mask, in_loss, and states if the rows have them.

    All are filled up to the longest row; states on the right alone.
    """
    longest = max(len(row["input_ids"]) for row in rows)

    def filled(values: list[int], filler: int) -> list[int]:
        rest = [filler] * (longest - len(values))
        return rest + values if side == "left" else values + rest

    columns = {"input_ids": [filled(row["input_ids"], pad) for row in rows]}
    columns["attention_mask"] = [filled([1] * len(row["input_ids"]), 0) for row in rows]
    columns["in_loss"] = [filled(row["in_loss"], 0) for row in rows]
    batch = {name: torch.tensor(column, device=device) for name, column in columns.items()}
    if "states" in rows[0]:
        states = torch.nn.utils.rnn.pad_sequence([row["states"] for row in rows], batch_first=True)
        batch["states"] = states.to(device)
    return batch


def token_losses(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return -log p of every token that is in the loss, row after row: a tensor (tokens in the loss,).

    The scores over the vocabulary, the largest tensor of a decoder's training, are made for these tokens alone.
    Raises ValueError if no token of the batch is in the loss, for its mean would be NaN; and for a model that scales or caps its
    scores, as Granite and Gemma 2 do, for that is left out here.
    """
    whole: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    asks = batch["in_loss"][:, 1:].bool()  # a token is predicted from the one before it
    if not asks.any():
        raise ValueError(
            "No token of this batch is in the loss. Look at the mask: is an answer cut off, or a mask all zeros?"
        )
    read = {"inputs_embeds": batch["states"]} if "states" in batch else {"input_ids": batch["input_ids"]}
    _must_score_plainly(whole, read)
    hidden = whole.base_model(**read, attention_mask=batch["attention_mask"], use_cache=False).last_hidden_state
    logits = whole.get_output_embeddings()(hidden[:, :-1][asks])  # (tokens in the loss, vocabulary)
    return F.cross_entropy(logits.float(), batch["input_ids"][:, 1:][asks], reduction="none")


@torch.no_grad()
def _must_score_plainly(whole: Any, read: dict[str, torch.Tensor]) -> None:
    """Raise ValueError for a model whose scores are not what its head gives. Two tokens are tried, once a model.

    The model stays in the mode that it is in, and no random number is used up, so what is trained next is as without.
    """
    if whole in PLAIN:
        return
    states: list[torch.Tensor] = []
    watch = whole.get_decoder().register_forward_hook(lambda module, given, out: states.append(out[0]))
    try:
        with torch.random.fork_rng(devices=[whole.device] if whole.device.type == "cuda" else []):
            scores = whole(**{name: values[:1, :2] for name, values in read.items()}, use_cache=False).logits
    finally:
        watch.remove()
    if not states:
        raise ValueError(
            "This model answers with another model's layers, as a copy of one does that trl was given: load it anew."
        )
    plain = whole.get_output_embeddings()(states[0])
    if plain.shape != scores.shape or not torch.allclose(plain.float(), scores.float(), rtol=1e-5, atol=1e-6):
        raise ValueError(
            f"A {type(whole).__name__} does more for its scores than its head: it scales or caps them (look for logit_scale, "
            "logits_scaling or final_logit_softcapping in its configuration), which this loss leaves out. Take another decoder, "
            "or train with the model's own loss: `model(..., labels=...)`."
        )
    PLAIN.add(whole)


def log_probs(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return log p of each row's answer, summed over its tokens: a tensor (rows,)."""
    owner = torch.arange(len(batch["in_loss"]), device=batch["in_loss"].device)
    rows = owner.repeat_interleave(batch["in_loss"][:, 1:].sum(1))
    sums = torch.zeros(len(owner), device=rows.device)
    return sums.index_add(0, rows, -token_losses(model, batch))


def fit(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Encoded],
    *,
    epochs: int,
    lr: float,
    batch_size: int = 8,
    seed: int = 0,
    bar: bool = True,
) -> dict:
    """Train every weight that asks for a gradient on what is in the loss. The same seed gives the same weights.

    Takes rows as `encode` returns them. A step's loss is the mean over the batch's tokens in the loss.
    Returns a dict: seconds, steps, losses (one a step), tokens (read), in_loss (learned).
    Raises ValueError for no rows, nothing to train, a batch with nothing in the loss, or a loss that blows up.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained or not rows:
        raise ValueError("There is nothing to train: no rows, or every weight is frozen.")
    began = time.perf_counter()
    losses: list[float] = []
    torch.manual_seed(seed)  # for dropout
    order = torch.Generator().manual_seed(seed)  # for the batches
    steps = epochs * -(-len(rows) // batch_size)
    optimizer = torch.optim.AdamW(trained, lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, training.warm_up_then_fall(steps))
    model.train()
    with tqdm(total=steps, desc="training", unit="step", disable=not bar, mininterval=0.5) as progress:
        for _ in range(epochs):
            for some in training.batches(list(rows), batch_size, order):
                batch = collate([rows[i] for i in some], tokenizer.pad_token_id, device=model.device)
                loss = token_losses(model, batch).mean()
                if not torch.isfinite(loss):
                    raise ValueError(f"The loss is {loss.item()} at step {len(losses) + 1}. Try a lower learning rate.")
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                progress.update()
    model.eval()
    read = epochs * sum(len(row["input_ids"]) for row in rows)
    learned = epochs * sum(sum(row["in_loss"][1:]) for row in rows)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "steps": steps, "losses": losses, "tokens": read, "in_loss": learned}


class InForm(LogitsProcessor):
    """Allow only tokens after which the answer can still become what a regular expression describes.

    The first that is allowed, from the likeliest down, is the only one left: greedy search within the form.
    """

    def __init__(self, tokenizer: Any, form: str, start: int, stop: int):
        """Take the form, where the answers start in the batch, and the token that ends them."""
        self.tokenizer, self.form, self.start, self.stop = tokenizer, regex.compile(form), start, stop
        self.special = set(tokenizer.all_special_ids)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores that leave one token in each row."""
        left = torch.full_like(scores, float("-inf"))
        for row, ids in enumerate(input_ids[:, self.start :].tolist()):
            token = self.stop if self.stop in ids else self._first(ids, scores[row])
            left[row, token] = 0
        return left

    def _first(self, ids: list[int], scores: torch.Tensor) -> int:
        written = self.tokenizer.decode(ids)
        for token in scores.argsort(descending=True).tolist():
            if token == self.stop:
                fits = self.form.fullmatch(written)
            elif token in self.special:
                continue
            else:  # decoded with what stands before it: alone, a token of SentencePiece loses its blank
                longer = self.tokenizer.decode([*ids, token])
                fits = len(longer) > len(written) and self.form.fullmatch(longer, partial=True)
            if fits:
                return token
        return self.stop


@torch.inference_mode()
def answer(
    model: Any,
    tokenizer: Any,
    chats: Sequence[Sequence[Message]],
    *,
    new: int = 64,
    batch_size: int = 32,
    form: str = "",
    sample: float = 0.0,
    seed: int = 0,
    **of_template: Any,
) -> Answers:
    """Let a model answer chats that end with a question: with its first choice each time, or drawn.

    Takes the most tokens of an answer, a regular expression that every answer must fit (""; none), and a temperature to draw with
    (0: the likeliest token each time). Batches are of like length and padded on the left, so that all answers start together; keys
    and values of what was read are kept. An answer that reaches the model's last place is cut there.
    Raises ValueError for a question that leaves no place for an answer.
    """
    began = time.perf_counter()
    stop = stop_token(tokenizer, **of_template)
    asked = [render(tokenizer, chat, ask=True, **of_template) for chat in chats]
    places = getattr(model.config, "max_position_embeddings", None) or math.inf
    if (longest := max(map(len, asked), default=0)) >= places:
        raise ValueError(
            f"A question has {longest} tokens, and the model has {places} places for question and answer. Shorten its text, or show "
            "fewer examples before it."
        )
    order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
    texts, ended = [""] * len(asked), [False] * len(asked)
    rows: list[Encoded] = [{}] * len(asked)
    drawn = {"do_sample": True, "temperature": sample, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    torch.manual_seed(seed)
    model.eval()
    for first in range(0, len(order), batch_size):
        some = order[first : first + batch_size]
        read = [{"input_ids": asked[i], "in_loss": [0] * len(asked[i])} for i in some]
        batch = collate(read, tokenizer.pad_token_id, "left", model.device)
        start = batch.pop("in_loss").shape[1]
        only = LogitsProcessorList([InForm(tokenizer, form, start, stop)] if form else [])
        marks = {"eos_token_id": stop, "pad_token_id": tokenizer.pad_token_id}
        # of a checkpoint's own settings none may change what is likeliest, as one against repetition does
        most = {"max_new_tokens": min(new, places - start), "repetition_penalty": 1.0}
        out = model.generate(**batch, **marks, **most, **drawn, logits_processor=only)[:, start:]
        for i, ids in zip(some, out.tolist(), strict=True):
            ended[i] = stop in ids
            said = ids[: ids.index(stop)] if ended[i] else ids
            texts[i] = tokenizer.decode(said, skip_special_tokens=True)
            written = [*said, stop] if ended[i] else said
            rows[i] = {"input_ids": asked[i] + written, "in_loss": [0] * len(asked[i]) + [1] * len(written)}
    return Answers(texts, ended, time.perf_counter() - began, rows)
