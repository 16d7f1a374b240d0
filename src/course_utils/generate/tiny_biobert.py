"""Three small BERTs that read reports: one that was taught, one on masked words alone, and one that never read the third site.

`tiny-biobert` has three lessons at once, from the unlabelled stream: fill in masked words; say of each mention of a finding whose it
is, what state it is in, and what that means for the eye asked for; and gather at [CLS] what is there in that eye, in how many
quadrants. The grade is never shown. `tiny-plain` has the first lesson alone, on the same text: its batches hold no answer of the
generator. `tiny-biobert-two-sites` has all three on the reports of the first two sites.
A few layers learn to read first; then layers that change nothing are put between them.
"""

import random
from dataclasses import dataclass

import torch
from tokenizers import processors
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from . import curve, language, stream
from .cases import chance, pick
from .compose import text_of
from .recipe import Recipe, wordpiece

VOCABULARY, POSITIONS, LONGEST, SHORT = 3_000, 256, 192, 48
ENGLISH = 0.08  # the share of general English among the examples
IGNORE = -100
STATES = 13  # classes of stream.state_class
QUADRANTS = 5  # 0 to 4


def tokenizer():
    """A WordPiece tokenizer in lower case, trained on the stream of all sites; Chinese is split into characters, as BERT does."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core = wordpiece(stream.tokenizer_corpus(), VOCABULARY, special, unknown="[UNK]")
    ids = [(t, core.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=POSITIONS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def mean_loss(logits, target):
    """Cross-entropy per target; 0 for a batch that has none, where PyTorch's own mean is not a number."""
    return cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum") / max(1, int((target != IGNORE).sum()))


class Reader(torch.nn.Module):
    """BertModel with a head for masked words; only the BertModel ships."""

    def __init__(self, config):
        super().__init__()
        self.bert = BertModel(config)
        self.word_bias = torch.nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, words, **inputs):
        """words: (batch, length) targets or -100. Returns the loss, as {"words": loss}."""
        return {"words": self.word_loss(self.bert(**inputs).last_hidden_state, words)}

    def word_loss(self, hidden, words):
        """The loss of the masked words; what is not masked is not computed."""
        at = words != IGNORE
        return mean_loss(hidden[at] @ self.bert.embeddings.word_embeddings.weight.T + self.word_bias, words[at])


class TaughtReader(Reader):
    """The same with the heads of the lessons whose answers the generator knows."""

    def __init__(self, config):
        super().__init__(config)
        self.side = torch.nn.Linear(config.hidden_size, len(stream.SIDES))
        self.state = torch.nn.Linear(config.hidden_size, STATES)
        self.mention = torch.nn.Linear(config.hidden_size, STATES)
        self.gather = torch.nn.Linear(config.hidden_size, stream.FACTS * QUADRANTS)

    def forward(self, words, sides, states, mentions, found, **inputs):
        """words, sides, states, mentions: (batch, length) targets or -100; found: (batch, stream.FACTS). Returns the losses."""
        out = self.bert(**inputs)
        hidden, spot = out.last_hidden_state, mentions != IGNORE
        return {
            "words": self.word_loss(hidden, words),
            "sides": mean_loss(self.side(hidden[spot]), sides[spot]),
            "states": mean_loss(self.state(hidden[spot]), states[spot]),
            "mentions": mean_loss(self.mention(hidden[spot]), mentions[spot]),
            "found": mean_loss(self.gather(out.pooler_output).view(-1, QUADRANTS), found.view(-1)),
        }


@dataclass(frozen=True)
class Bert(Recipe):
    """The settings that the three runs differ in, and those that a variant may try."""

    taught: bool = False  # with the answers of the generator, or masked words alone
    sites: tuple = language.SITES  # whose reports are read
    small: int = 4  # layers before the model is grown
    layers: int = 12
    width: int = 96
    attention_heads: int = 6
    inner: int = 192
    batch: int = 32
    share: float = 0.15  # of the words that are masked, in an example that has masks
    span: int = (
        0  # the longest run of whole words that is masked at once; 0 masks pieces of words one by one, as BERT does
    )
    short_until: int = (
        0  # before this step a text is cut at SHORT tokens; for masked words alone, since a cut text counts wrongly
    )

    def tokenizer(self):
        """The one tokenizer of all three."""
        return tokenizer()

    def build(self, tokenizer, step):
        """The model as it is built at this step: with the first layers, or with all once grown."""
        return self.reader(tokenizer, self.small if step < self.grow_at else self.layers)

    def reader(self, tokenizer, layers):
        """The model with so many layers and random weights."""
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.width,
            num_hidden_layers=layers,
            num_attention_heads=self.attention_heads,
            intermediate_size=self.inner,
            max_position_embeddings=POSITIONS,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        )
        return TaughtReader(config) if self.taught else Reader(config)

    def grow(self, model, step):
        """At step grow_at: all layers, each trained one followed by some that start as (almost) the identity. Else None."""
        if not self.grow_at or step != self.grow_at or len(model.bert.encoder.layer) == self.layers:
            return None
        config = BertConfig.from_dict(model.bert.config.to_dict() | {"num_hidden_layers": self.layers})
        torch.manual_seed(1)
        tall = type(model)(config)
        state = {k: v for k, v in model.state_dict().items() if ".encoder.layer." not in k}
        tall.load_state_dict(state, strict=False)
        repeat_layers(model.bert.encoder.layer, tall.bert.encoder.layer)
        return tall

    def batches(self, tokenizer, rng, n, step=None):
        """n batches, each of reports of about the same length."""
        longest = SHORT if step is not None and step < self.short_until else LONGEST
        reports = stream.dr_reports(rng, stream.labelled_texts(), sites=self.sites)
        make = taught_example if self.taught else plain_example
        made = [make(self, tokenizer, rng, reports, longest) for _ in range(n * self.batch)]
        made.sort(key=lambda e: len(e["input_ids"]))
        out = [padded(tokenizer, made[i : i + self.batch]) for i in range(0, len(made), self.batch)]
        random.Random(rng.random()).shuffle(out)
        return out

    def evaluate(self, model, tokenizer, n=20):
        """Held-out figures on n fresh batches: the loss of each lesson, and the shares of mentions and of present findings read right."""
        total = {}
        for batch in self.batches(tokenizer, random.Random("held out"), n):
            for key, value in figures(model, batch).items():
                total.setdefault(key, []).append(float(value))
        known = {key: [v for v in values if v == v] for key, values in total.items()}
        return {key: round(sum(values) / max(1, len(values)), 4) for key, values in known.items()}

    def watch(self, model, tokenizer):
        """The loss of masked words, and what a linear probe reads off the model."""
        return {"loss_words": self.evaluate(model, tokenizer, n=5)["loss_words"]} | curve.probe(model.bert, tokenizer)

    def plain(self, model):
        """The part that ships: a BertModel."""
        return model.bert

    def heads(self, model):
        """The pre-training heads: no model needs them, a test of the held-out figures does."""
        return {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith("bert.")}


@torch.no_grad()
def repeat_layers(below, above):
    """Give each of the layers below to its place above, and let those between change (almost) nothing."""
    each = len(above) // len(below)
    for i, layer in enumerate(above):
        source = below[i // each]
        if i % each == 0:
            layer.load_state_dict(source.state_dict())
            continue
        for branch in (
            layer.attention.output,
            layer.output,
        ):  # post-norm: x -> norm(x + 0), with the norm below's scale
            branch.dense.weight.zero_()
            branch.dense.bias.zero_()
            branch.LayerNorm.load_state_dict(source.output.LayerNorm.state_dict())


def figures(model, batch):
    """The losses of one batch, and of a taught model the shares that it reads right."""
    found = {f"loss_{k}": v for k, v in model(**batch).items()}
    if "found" not in batch:
        return found
    out = model.bert(**{k: batch[k] for k in ("input_ids", "token_type_ids", "attention_mask")})
    spot, truth = batch["mentions"] != IGNORE, batch["found"]
    right = model.mention(out.last_hidden_state[spot]).argmax(-1) == batch["mentions"][spot]
    guess = model.gather(out.pooler_output).view(-1, stream.FACTS, QUADRANTS).argmax(-1)
    return found | {
        "mentions_right": right.float().mean(),
        "findings_right": (guess == truth)[truth > 0].float().mean(),
    }


def plain_example(recipe, tokenizer, rng, reports, longest):
    """An example for masked words alone: the eye and the report, as a grader gets them, and nothing that the generator knows."""
    if chance(rng, ENGLISH):
        encoded = tokenizer(pick(rng, stream.general_english()), truncation=True, max_length=longest)
    else:
        pieces, eyes = next(reports)
        encoded = tokenizer(pick(rng, tuple(eyes)), text_of(pieces), truncation=True, max_length=longest)
    return masked(recipe, tokenizer, rng, encoded)


def taught_example(recipe, tokenizer, rng, reports, longest):
    """An example of all lessons. A report with masks in it does not teach counting."""
    if chance(rng, ENGLISH):
        encoded = tokenizer(pick(rng, stream.general_english()), truncation=True, max_length=longest)
        return masked(recipe, tokenizer, rng, encoded) | answers([], len(encoded["input_ids"]))
    pieces, eyes = next(reports)
    side = pick(rng, tuple(eyes))
    encoded = tokenizer(side, text_of(pieces), truncation=True, max_length=longest, return_offsets_mapping=True)
    start = encoded["input_ids"].index(tokenizer.sep_token_id) + 1
    offsets = [(0, 0)] * start + encoded["offset_mapping"][start:]
    known = answers(targets(pieces, side, offsets), len(offsets))
    if chance(rng, 0.3):
        return masked(recipe, tokenizer, rng, encoded) | known
    return unmasked(encoded) | known | {"found": stream.counts(eyes[side])}


def targets(pieces, side, offsets):
    """For each token of a report (side, state, what it means for the eye asked for), or -100 where it is no mention."""
    spans, at = [], 0
    for text, meaning in pieces:
        if meaning is not None:
            own = stream.SIDES.index(meaning[0]), stream.state_class(meaning, meaning[0])
            spans.append((at, at + len(text), (*own, stream.state_class(meaning, side))))
        at += len(text)
    none = (IGNORE,) * 3
    return [next((t for a, b, t in spans if a <= low < b and high > low), none) for low, high in offsets]


def answers(some, length):
    """The generator's answers as columns, -100 where there is none."""
    sides, states, mentions = zip(*(some or [(IGNORE,) * 3] * length), strict=True)
    return {
        "sides": list(sides),
        "states": list(states),
        "mentions": list(mentions),
        "found": [IGNORE] * stream.FACTS,
    }


def unmasked(encoded):
    """An example whose words all stand there."""
    ids = list(encoded["input_ids"])
    return {"input_ids": ids, "token_type_ids": encoded["token_type_ids"], "words": [IGNORE] * len(ids)}


def masked(recipe, tokenizer, rng, encoded):
    """An example with a share of its words masked: of ten, eight give way to [MASK], one to any word, and one stays."""
    out = unmasked(encoded)
    for token in chosen(recipe, rng, encoded):
        word = out["words"][token] = out["input_ids"][token]
        replacement = (tokenizer.mask_token_id, word, int(rng.random() * len(tokenizer)))
        out["input_ids"][token] = pick(rng, replacement, (8, 1, 1))
    return out


def chosen(recipe, rng, encoded):
    """The places of the tokens to mask: single pieces, or runs of 1 to `span` whole words."""
    places = [(part, word) for part, word in zip(encoded.sequence_ids(), encoded.word_ids(), strict=True)]
    if not recipe.span:
        return [i for i, (part, _) in enumerate(places) if part is not None and chance(rng, recipe.share)]
    length = (1 + recipe.span) / 2  # of a run, on average
    starts = recipe.share / (length - recipe.share * (length - 1))  # at words that no run has taken
    taken, left, before = [], 0, None
    for i, place in enumerate(places):
        if place[0] is None:
            left = 0
        elif place != before:
            left = left - 1 if left > 1 else (1 + int(rng.random() * recipe.span) if chance(rng, starts) else 0)
        if left:
            taken.append(i)
        before = place
    return taken


def padded(tokenizer, examples):
    """A batch of tensors; targets are padded with -100."""
    longest = max(len(e["input_ids"]) for e in examples)
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": 0}
    batch = {
        key: torch.tensor(
            [e[key] + [fill.get(key, IGNORE)] * (longest - len(e[key]) if key != "found" else 0) for e in examples]
        )
        for key in examples[0]
    }
    batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
    return batch


TAUGHT = Bert("tiny-biobert", steps=11_500, warm_up=200, rate=2e-3, grow_at=4_000, taught=True)
# twice BERT's share of masked words: with a few layers and 1,600 steps it read further than the usual 15% did (loss 1.73 after 2.26)
PLAIN = Bert("tiny-plain", steps=11_500, warm_up=200, rate=2e-3, grow_at=4_000, share=0.3)
TWO_SITES = Bert(
    "tiny-biobert-two-sites", steps=11_500, warm_up=200, rate=2e-3, grow_at=4_000, taught=True, sites=language.SITES[:2]
)
