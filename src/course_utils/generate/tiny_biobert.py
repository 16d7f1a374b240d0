"""tiny-biobert: a 12-layer BERT that learns to read reports.

Three lessons at once, from the unlabelled stream: fill in masked words; say of each mention of a finding whose it is, what state
it is in, and what that means for the eye asked for; and gather at [CLS] how many quadrants each finding is in for that eye.
The grade is never shown. Four layers learn to read first; then eight layers that change nothing are put between them.
"""

import random

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from . import stream
from .cases import chance, pick
from .compose import text_of

STEPS, WARM_UP, LEARNING_RATE = 11_500, 200, 2e-3
GROW_AT, SMALL, LAYERS = 4_000, 4, 12
WIDTH, HEADS, INNER, VOCABULARY, BATCH, LONGEST = 96, 6, 192, 3_000, 32, 192
IGNORE = -100


def tokenizer():
    """A WordPiece tokenizer in lower case, trained on the stream; Chinese is split into characters, as BERT does."""
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    core.train_from_iterator(
        stream.tokenizer_corpus(),
        trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=special, show_progress=False),
    )
    ids = [(t, core.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ids
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=256,
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
    """BertModel with the three pre-training heads; only the BertModel ships."""

    def __init__(self, config):
        super().__init__()
        self.bert = BertModel(config)
        self.word_bias = torch.nn.Parameter(torch.zeros(config.vocab_size))
        self.side = torch.nn.Linear(config.hidden_size, 3)
        self.state = torch.nn.Linear(config.hidden_size, 13)
        self.mention = torch.nn.Linear(config.hidden_size, 13)
        self.gather = torch.nn.Linear(config.hidden_size, stream.FACTS * 5)

    def forward(self, words, sides, states, mentions, found, **inputs):
        """words, sides, states, mentions: (batch, length) targets or -100; found: (batch, FACTS) or -100. Returns the losses."""
        out = self.bert(**inputs)
        hidden, embeddings = out.last_hidden_state, self.bert.embeddings.word_embeddings.weight
        at = words != IGNORE
        logits = hidden[at] @ embeddings.T + self.word_bias
        spot = mentions != IGNORE
        return {
            "words": mean_loss(logits, words[at]),
            "sides": mean_loss(self.side(hidden[spot]), sides[spot]),
            "states": mean_loss(self.state(hidden[spot]), states[spot]),
            "mentions": mean_loss(self.mention(hidden[spot]), mentions[spot]),
            "found": mean_loss(self.gather(out.pooler_output).view(-1, 5), found.view(-1)),
        }


def build(tokenizer, step):
    """The model as it is built at this step: 4 layers, or 12 once grown."""
    layers = SMALL if step < GROW_AT else LAYERS
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=HEADS,
        intermediate_size=INNER,
        max_position_embeddings=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Reader(config)
    model.bert.config.initializer_range = 0.02
    return model


def grow(model, step):
    """At step GROW_AT: 12 layers, each trained one followed by two that start as (almost) the identity. Else None."""
    if step != GROW_AT or len(model.bert.encoder.layer) == LAYERS:
        return None
    config = BertConfig.from_dict(model.bert.config.to_dict() | {"num_hidden_layers": LAYERS})
    torch.manual_seed(1)
    tall = Reader(config)
    state = {k: v for k, v in model.state_dict().items() if ".encoder.layer." not in k}
    tall.load_state_dict(state, strict=False)
    with torch.no_grad():
        for i, layer in enumerate(tall.bert.encoder.layer):
            below = model.bert.encoder.layer[i * SMALL // LAYERS]
            if i % (LAYERS // SMALL) == 0:
                layer.load_state_dict(below.state_dict())
                continue
            for branch in (
                layer.attention.output,
                layer.output,
            ):  # post-norm: x -> norm(x + 0), with the norm below's scale
                branch.dense.weight.zero_()
                branch.dense.bias.zero_()
                branch.LayerNorm.load_state_dict(below.output.LayerNorm.state_dict())
    return tall


def example(tokenizer, rng, reports, english):
    """One training example: token ids and the targets of the three lessons."""
    if chance(rng, 0.08):
        encoded = tokenizer(pick(rng, english), truncation=True, max_length=LONGEST)
        return masked(tokenizer, rng, encoded, [], [IGNORE] * stream.FACTS, share=0.15)
    pieces, eyes = next(reports)
    side = pick(rng, tuple(eyes))
    encoded = tokenizer(side, text_of(pieces), truncation=True, max_length=LONGEST, return_offsets_mapping=True)
    spans, at = [], 0
    for text, meaning in pieces:
        if meaning is not None:
            own = stream.SIDES.index(meaning[0]), stream.state_class(meaning, meaning[0])
            spans.append((at, at + len(text), (*own, stream.state_class(meaning, side))))
        at += len(text)
    start = encoded["input_ids"].index(tokenizer.sep_token_id) + 1
    targets = [(IGNORE,) * 3] * start
    for low, high in encoded["offset_mapping"][start:]:
        targets.append(next((t for a, b, t in spans if a <= low < b and high > low), (IGNORE,) * 3))
    return masked(tokenizer, rng, encoded, targets, stream.counts(eyes[side]), share=0.15 if chance(rng, 0.3) else 0.0)


def masked(tokenizer, rng, encoded, targets, found, share):
    """Mask a share of the tokens for the first lesson. A report with masks in it does not teach counting."""
    ids = list(encoded["input_ids"])
    words = [IGNORE] * len(ids)
    special = set(tokenizer.all_special_ids)
    for i, token in enumerate(ids):
        if token not in special and chance(rng, share):
            words[i] = token
            ids[i] = pick(rng, (tokenizer.mask_token_id, token, int(rng.random() * len(tokenizer))), (8, 1, 1))
    sides, states, mentions = zip(*(targets or [(IGNORE,) * 3] * len(ids)), strict=True)
    found = [IGNORE] * stream.FACTS if share else found
    return {
        "input_ids": ids,
        "token_type_ids": encoded["token_type_ids"],
        "words": words,
        "sides": list(sides),
        "states": list(states),
        "mentions": list(mentions),
        "found": found,
    }


def padded(tokenizer, examples):
    """A batch of tensors; words and mentions padded with -100."""
    longest = max(len(e["input_ids"]) for e in examples)
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": 0} | dict.fromkeys(
        ("words", "sides", "states", "mentions"), IGNORE
    )
    batch = {k: torch.tensor([e[k] + [v] * (longest - len(e[k])) for e in examples]) for k, v in fill.items()}
    batch["found"] = torch.tensor([e["found"] for e in examples])
    batch["attention_mask"] = (batch["input_ids"] != tokenizer.pad_token_id).long()
    return batch


def batches(tokenizer, rng, n):
    """n batches, each of reports of about the same length."""
    reports = stream.dr_reports(rng, stream.labelled_texts())
    made = sorted(
        (example(tokenizer, rng, reports, stream.general_english()) for _ in range(n * BATCH)),
        key=lambda e: len(e["input_ids"]),
    )
    out = [padded(tokenizer, made[i : i + BATCH]) for i in range(0, len(made), BATCH)]
    random.Random(rng.random()).shuffle(out)
    return out


def evaluate(model, tokenizer, n=20):
    """Held-out figures on n fresh batches: the loss of each lesson, and the shares of mentions and of present findings read right."""
    total = {}
    for batch in batches(tokenizer, random.Random("held out"), n):
        losses = model(**batch)
        out = model.bert(**{k: batch[k] for k in ("input_ids", "token_type_ids", "attention_mask")})
        spot = batch["mentions"] != IGNORE
        right = model.mention(out.last_hidden_state[spot]).argmax(-1) == batch["mentions"][spot]
        guess, found = model.gather(out.pooler_output).view(-1, stream.FACTS, 5).argmax(-1), batch["found"]
        figures = {f"loss_{k}": v for k, v in losses.items() if v == v}
        figures |= {
            "mentions_right": right.float().mean(),
            "findings_right": (guess == found)[found > 0].float().mean(),
        }
        for key, value in figures.items():
            total.setdefault(key, []).append(float(value))
    return {
        key: round(sum(v for v in values if v == v) / max(1, sum(v == v for v in values)), 4)
        for key, values in total.items()
    }


def plain(model):
    """The part that ships: a BertModel."""
    return model.bert


def heads(model):
    """The pre-training heads, which ship in a file of their own: no model needs them, a test of the held-out figures does."""
    return {name: value.contiguous() for name, value in model.state_dict().items() if not name.startswith("bert.")}
