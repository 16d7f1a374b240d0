"""tiny-t5: a small T5 that answers questions about reports, taught on span corruption and several text-to-text tasks.

The tasks are about findings: their state, their number of quadrants, which of a few are there. None asks for a grade, or for what
decides a referral: those are left to notebook 04. The encoder also learns, as tiny-biobert does, to say of each mention of a finding
whose it is, what state it is in, and what that means for the eye asked for.
"""

import random

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from . import language as words
from . import stream
from .cases import chance, pick, shuffled
from .compose import text_of
from .tiny_biobert import IGNORE, mean_loss

STEPS, WARM_UP, LEARNING_RATE = 4_000, 200, 2e-3
LAYERS, WIDTH, HEADS, INNER, VOCABULARY, BATCH, LONGEST = 4, 128, 8, 256, 3_000, 16, 192
SENTINELS = 32
ASKED = {
    "right": "<right>",
    "left": "<left>",
}  # the eye asked for is a token of its own, unlike the eyes that the report names
READING = {"sides": 3, "states": 13, "mentions": 13}
NAMES = {
    "MA": "microaneurysms",
    "IRH": "haemorrhages",
    "HE": "exudates",
    "CWS": "cotton wool",
    "VB": "beading",
    "IRMA": "shunts",
    "NVD": "disc vessels",
    "NVE": "new vessels",
    "VH": "bleed",
}


def tokenizer():
    """A WordPiece tokenizer with T5's special tokens: <pad>, </s>, and sentinels <extra_id_0> ..."""
    core = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=60))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    extra = [*ASKED.values(), *(f"<extra_id_{i}>" for i in range(SENTINELS))]
    special = ["<pad>", "</s>", "<unk>", *extra]
    asked = [
        " ".join(NAMES.values())
        + " yes no past possible none heavy any of how many quadrants list read in the eye right left : ; ? 0 1 2 3 4 grade"
    ] * 50
    core.train_from_iterator(
        stream.tokenizer_corpus() + asked,
        trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False),
    )
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", core.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=extra,
        model_input_names=["input_ids", "attention_mask"],
    )


class Answerer(torch.nn.Module):
    """T5ForConditionalGeneration with the encoder's reading heads; only the T5 ships."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.heads = torch.nn.ModuleDict(
            {name: torch.nn.Linear(model.config.d_model, n) for name, n in READING.items()}
        )

    def forward(self, sides=None, states=None, mentions=None, **batch):
        """sides, states, mentions: (batch, length) targets of the encoder's words, or -100, or None for the answer's loss alone."""
        out = self.model(**batch)
        losses, hidden = {"answer": out.loss}, out.encoder_last_hidden_state
        for name, target in (("sides", sides), ("states", states), ("mentions", mentions)):
            if target is not None:
                spot = target != IGNORE
                losses[name] = mean_loss(self.heads[name](hidden[spot]), target[spot])
        return losses


def build(tokenizer, step):
    """The model, from random weights."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=INNER,
        num_layers=LAYERS,
        num_decoder_layers=2,
        num_heads=HEADS,
        dropout_rate=0.0,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
    )
    model = T5ForConditionalGeneration(config)
    look_back(model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
    return Answerer(model)


@torch.no_grad()
def look_back(bias):
    """Let half of the encoder's heads start by looking at words before, the nearest most (slopes: Press et al., ALiBi, 2022).

    A report names an eye and then speaks of it. T5's position biases start near zero and would take thousands of steps to get here.
    bias: (32 buckets, heads); the first 16 buckets are distances back, the others forward.
    """
    distance = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 9, 13, 19, 27, 38, 54, 77, 110.0])
    for head, slope in enumerate((0.01, 0.05, 0.2, 1.0)):
        bias[:16, head] = -slope * distance
        bias[16:, head] = -8.0


def state_word(meaning, side):
    """What a mention says about the eye asked for, in a word or two."""
    kind = stream.state_class(meaning, side)
    if kind < 5:
        return ("no", "past", "possible", "family", "other")[kind]
    return f"{(kind - 5) % 4 + 1}" + (" heavy" if kind > 8 else "")


def read_mentions(rng, pieces, eyes, side):
    """Every mention in order, with what it says: of whom, or about the eye asked for."""
    if chance(rng, 0.5):
        said = [f"{NAMES[m[1]]} {m[0]} {state_word(m, m[0])}" for _, m in pieces if m]
        return "read all", "; ".join(said) or "none"
    said = [f"{NAMES[m[1]]} {state_word(m, side)}" for _, m in pieces if m]
    return f"read {ASKED[side]}", "; ".join(said) or "none"


def list_present(rng, pieces, eyes, side):
    """The findings that are there, with their quadrants."""
    found = [f"{NAMES[f]} {len(eyes[side].places[f])}" for f in words.FINDINGS if f in eyes[side].places]
    return f"list {ASKED[side]}", "; ".join(found) or "none"


def how_many(rng, pieces, eyes, side):
    """In how many quadrants is one finding?"""
    finding = pick(rng, tuple(eyes[side].places) or words.FINDINGS) if chance(rng, 0.5) else pick(rng, words.FINDINGS)
    return f"how many quadrants of {NAMES[finding]} in {ASKED[side]} ?", str(len(eyes[side].places.get(finding, ())))


def any_of(rng, pieces, eyes, side):
    """Is any of one to four findings there?"""
    asked = shuffled(rng, words.FINDINGS)[: 1 + int(rng.random() * 4)]
    there = any(f in eyes[side].places for f in asked)
    return f"any {' or '.join(NAMES[f] for f in asked)} in {ASKED[side]} ?", "yes" if there else "no"


def corrupt(rng, text_words):
    """Span corruption: spans of words give way to sentinels, and the answer spells them out."""
    source, target, i, n = [], [], 0, 0
    while i < len(text_words):
        if n < SENTINELS and chance(rng, 0.06):
            length = 1 + int(rng.random() * 4)
            source.append(f"<extra_id_{n}>")
            target += [f"<extra_id_{n}>", *text_words[i : i + length]]
            i, n = i + length, n + 1
        else:
            source.append(text_words[i])
            i += 1
    return " ".join(source), " ".join(target) or "<extra_id_0>"


def example(rng, reports, english):
    """One (question, answer, spans) example; spans are (start, end, (side, state, mention)) of the question's characters."""
    kind = pick(rng, (read_mentions, list_present, how_many, any_of, corrupt), (4, 2, 3, 5, 2))
    if kind is corrupt:
        text = pick(rng, english) if chance(rng, 0.4) else text_of(next(reports)[0])
        return *corrupt(rng, text.split()[:90]), []
    pieces, eyes = next(reports)
    side = pick(rng, tuple(eyes))
    question, answer = kind(rng, pieces, eyes, side)
    at, spans = len(question) + 3, []
    for text, meaning in pieces:
        if meaning:
            mention = IGNORE if question == "read all" else stream.state_class(meaning, side)
            spans.append(
                (at, at + len(text), (stream.SIDES.index(meaning[0]), stream.state_class(meaning, meaning[0]), mention))
            )
        at += len(text)
    return f"{question} : {text_of(pieces)}", answer, spans


def pairs(rng, n):
    """n (question, answer, spans) examples."""
    reports = stream.dr_reports(rng, stream.labelled_texts())
    return [example(rng, reports, stream.general_english()) for _ in range(n)]


def encoded(tokenizer, some):
    """A batch of examples as tensors; labels and the encoder's targets padded with -100."""
    batch = tokenizer(
        [q for q, _, _ in some],
        padding=True,
        truncation=True,
        max_length=LONGEST,
        return_tensors="pt",
        return_offsets_mapping=True,
    )
    answers = tokenizer([a for _, a, _ in some], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
    labels = answers["input_ids"].masked_fill(answers["attention_mask"] == 0, IGNORE)
    targets = torch.full((*batch["input_ids"].shape, 3), IGNORE)
    for row, ((_, _, spans), offsets) in enumerate(zip(some, batch["offset_mapping"].tolist(), strict=True)):
        for column, (low, high) in enumerate(offsets):
            found = next((t for a, b, t in spans if a <= low < b and high > low), None)
            if found:
                targets[row, column] = torch.tensor(found)
    reading = {name: targets[..., i].contiguous() for i, name in enumerate(READING)}
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels} | reading


def batches(tokenizer, rng, n):
    """n batches, each of questions of about the same length."""
    made = sorted(pairs(rng, n * BATCH), key=lambda p: len(p[0]))
    groups = [made[i : i + BATCH] for i in range(0, len(made), BATCH)]
    random.Random(rng.random()).shuffle(groups)
    return [encoded(tokenizer, group) for group in groups]


def evaluate(model, tokenizer, n=600):
    """Held-out loss, and for the yes/no questions the share answered right beside the share of the commoner answer."""
    some = pairs(random.Random("held out"), n)
    loss = sum(answer_loss(model, tokenizer, some[i : i + BATCH]) for i in range(0, n, BATCH)) / -(-n // BATCH)
    asked = [e for e in some if e[1] in ("yes", "no")]
    batch = encoded(tokenizer, asked)
    wrote = model.model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=3)
    said = tokenizer.batch_decode(wrote, skip_special_tokens=True)
    right = sum(s.strip() == a for s, (_, a, _) in zip(said, asked, strict=True)) / len(asked)
    yes = sum(a == "yes" for _, a, _ in asked) / len(asked)
    return {"loss": round(loss, 4), "yes_no_right": round(right, 4), "yes_no_commoner": round(max(yes, 1 - yes), 4)}


def answer_loss(model, tokenizer, some):
    """The loss of the answers alone, as a number."""
    batch = encoded(tokenizer, some)
    return float(model(**{key: batch[key] for key in ("input_ids", "attention_mask", "labels")})["answer"])


def plain(model):
    """The part that ships."""
    return model.model
