"""tiny-t5: a small T5 that answers questions about reports, taught on span corruption and several text-to-text tasks.

The tasks are about findings: their state, their number of quadrants, which of a few are there. None asks for a grade, or for what
decides a referral: those are left to notebook 04. The encoder also learns, as tiny-biobert does, to say of each mention of a finding
whose it is, what state it is in, and what that means for the eye asked for.
"""

import random
from dataclasses import dataclass
from functools import partial

import torch
from tokenizers import processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from . import language as words
from . import stream
from .cases import chance, pick, shuffled
from .compose import text_of
from .recipe import Recipe, wordpiece
from .tiny_biobert import IGNORE, STATES, mean_loss

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, BATCH, LONGEST = 4, 128, 8, 256, 3_000, 16, 192
SENTINELS = 32
ASKED = {
    "right": "<right>",
    "left": "<left>",
}  # the eye asked for is a token of its own, unlike the eyes that the report names
READING = {"sides": len(stream.SIDES), "states": STATES, "mentions": STATES}
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
    "DME": "oedema",
    "LASER": "laser",
    "GRID": "macular laser",
    "INJ": "injections",
}
RARE = ("VB", "IRMA", "NVD", "NVE", "VH")  # what only severe and proliferative disease has
COMMON = tuple(name for name in words.FINDINGS if name not in RARE)


def tokenizer():
    """A WordPiece tokenizer with T5's special tokens: <pad>, </s>, and sentinels <extra_id_0> ..."""
    extra = [*ASKED.values(), *(f"<extra_id_{i}>" for i in range(SENTINELS))]
    special = ["<pad>", "</s>", "<unk>", *extra]
    asked = [
        " ".join(NAMES.values())
        + " yes no past possible none heavy any of how many quadrants list read in the eye right left : ; ? 0 1 2 3 4 grade"
    ] * 50
    core = wordpiece(stream.tokenizer_corpus() + asked, VOCABULARY, special, unknown="<unk>", longest_word=60)
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


class Library:
    """Some reports and their eyes, by what is there: rare findings can be asked for as often as common ones.

    A finding is drawn first, every one as often, and then whether it shall be there: had an eye been drawn first, new vessels at
    the disc would be there in one question of thirty that ask for them, and "no" would be the answer to learn.
    """

    def __init__(self, reports):
        """reports: (pieces, eyes) as the stream has them."""
        self.cases = [(pieces, eyes, side) for pieces, eyes in reports for side in eyes]
        self.there = {f: [c for c in self.cases if f in c[1][c[2]].places] for f in words.FINDINGS}
        self.not_there = {f: [c for c in self.cases if f not in c[1][c[2]].places] for f in words.FINDINGS}

    def draw(self, rng, finding, there):
        """A (pieces, eyes, side) in which the finding is there, or is not; any, if these reports have none such."""
        return pick(rng, (self.there if there else self.not_there)[finding] or self.cases)

    def some(self, rng):
        """Any (pieces, eyes, side), but half of the time one that has a finding drawn evenly."""
        return self.draw(rng, pick(rng, words.FINDINGS), True) if chance(rng, 0.5) else pick(rng, self.cases)


def read_mentions(rng, library):
    """Every mention in order, with what it says: of whom, or about the eye asked for."""
    pieces, eyes, side = library.some(rng)
    mentions = [m for _, m in pieces if m and m[1] in NAMES]
    if chance(rng, 0.5):
        said = [f"{NAMES[m[1]]} {m[0]} {state_word(m, m[0])}" for m in mentions]
        return "read all", said, (pieces, eyes, side)
    said = [f"{NAMES[m[1]]} {state_word(m, side)}" for m in mentions]
    return f"read {ASKED[side]}", said, (pieces, eyes, side)


def list_present(rng, library):
    """The findings that are there, with their quadrants."""
    pieces, eyes, side = library.some(rng)
    places = eyes[side].places
    said = [f"{NAMES[f]} {len(places[f])}" for f in words.FINDINGS if f in places]
    return f"list {ASKED[side]}", said, (pieces, eyes, side)


def how_many(rng, library):
    """In how many quadrants is one finding?"""
    finding = pick(rng, words.FINDINGS)
    pieces, eyes, side = library.draw(rng, finding, chance(rng, 0.6))
    number = len(eyes[side].places.get(finding, ()))
    return f"how many quadrants of {NAMES[finding]} in {ASKED[side]} ?", [str(number)], (pieces, eyes, side)


def any_of(rng, library, longest=4):
    """Is any of one to four findings there? As often yes as no."""
    finding, there = pick(rng, words.FINDINGS), chance(rng, 0.5)
    pieces, eyes, side = library.draw(rng, finding, there)
    others = [f for f in words.FINDINGS if f != finding and (there or f not in eyes[side].places)]
    asked = shuffled(rng, [finding, *shuffled(rng, others)[: int(rng.random() * longest)]])
    answer = "yes" if any(f in eyes[side].places for f in asked) else "no"
    return f"any {' or '.join(NAMES[f] for f in asked)} in {ASKED[side]} ?", [answer], (pieces, eyes, side)


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


def corrupted(rng, library):
    """Span corruption of a report or of general English: (question, answer, no spans)."""
    text = pick(rng, stream.general_english()) if chance(rng, 0.4) else text_of(pick(rng, library.cases)[0])
    return *corrupt(rng, text.split()[:90]), []


def asked_of(rng, kind, library):
    """A (question, answer, spans) example of one kind; spans are (start, end, (side, state, mention)) of the question's characters."""
    question, said, (pieces, _, side) = kind(rng, library)
    at, spans = len(question) + 3, []
    for text, meaning in pieces:
        if meaning:
            mention = IGNORE if question == "read all" else stream.state_class(meaning, side)
            spans.append(
                (at, at + len(text), (stream.SIDES.index(meaning[0]), stream.state_class(meaning, meaning[0]), mention))
            )
        at += len(text)
    return f"{question} : {text_of(pieces)}", "; ".join(said) or "none", spans


KINDS = {
    read_mentions: 4,
    list_present: 2,
    how_many: 3,
    any_of: 5,
    None: 2,
}  # how often each is asked; None: span corruption


def library_of(rng, n):
    """A Library of n reports."""
    reports = stream.dr_reports(rng, stream.labelled_texts())
    return Library([next(reports) for _ in range(n)])


def pairs(rng, n):
    """n (question, answer, spans) examples, about as many reports."""
    library = library_of(rng, n)
    kinds = [pick(rng, tuple(KINDS), tuple(KINDS.values())) for _ in range(n)]
    return [asked_of(rng, kind, library) if kind else corrupted(rng, library) for kind in kinds]


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


@dataclass(frozen=True)
class T5(Recipe):
    """The settings of a run."""

    def tokenizer(self):
        """T5's kind of tokenizer."""
        return tokenizer()

    def build(self, tokenizer, step):
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

    def batches(self, tokenizer, rng, n, step=None):
        """n batches, each of questions of about the same length."""
        made = sorted(pairs(rng, n * BATCH), key=lambda p: len(p[0]))
        groups = [made[i : i + BATCH] for i in range(0, len(made), BATCH)]
        random.Random(rng.random()).shuffle(groups)
        return [encoded(tokenizer, group) for group in groups]

    def evaluate(self, model, tokenizer, n=600, each=40):
        """The held-out loss, and of the yes/no questions about one finding the shares answered right, by how rare the finding is."""
        some = pairs(random.Random("held out"), n)
        loss = sum(answer_loss(model, tokenizer, some[i : i + BATCH]) for i in range(0, n, BATCH)) / -(-n // BATCH)
        rng = random.Random("held out questions")
        library = library_of(rng, n)
        return {"loss": round(loss, 4)} | {
            f"right_where_{where}_{group}": share_right(model, tokenizer, rng, library, findings, there, each)
            for group, findings in (("common", COMMON), ("rare", RARE))
            for where, there in (("there", True), ("not_there", False))
        }


def share_right(model, tokenizer, rng, library, findings, there, each):
    """The share answered right of `each` questions a finding, "any new vessels in <right> ?", all with the same true answer."""
    ask = partial(asked_of, rng)
    some = [ask(partial(about_one, finding=f, there=there), library) for f in findings for _ in range(each)]
    said = [word for i in range(0, len(some), 64) for word in replies(model, tokenizer, some[i : i + 64])]
    return round(sum(word == answer for word, (_, answer, _) in zip(said, some, strict=True)) / len(some), 4)


def about_one(rng, library, finding, there):
    """Is this finding there?"""
    pieces, eyes, side = library.draw(rng, finding, there)
    answer = "yes" if finding in eyes[side].places else "no"
    return f"any {NAMES[finding]} in {ASKED[side]} ?", [answer], (pieces, eyes, side)


def replies(model, tokenizer, some):
    """The model's answers in a word or two, as a list of texts."""
    batch = encoded(tokenizer, some)
    wrote = model.model.generate(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=3)
    return [text.strip() for text in tokenizer.batch_decode(wrote, skip_special_tokens=True)]


def answer_loss(model, tokenizer, some):
    """The loss of the answers alone, as a number."""
    batch = encoded(tokenizer, some)
    return float(model(**{key: batch[key] for key in ("input_ids", "attention_mask", "labels")})["answer"])


ANSWERS = T5("tiny-t5", steps=9_000, warm_up=200, rate=2e-3)
