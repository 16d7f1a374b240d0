"""tiny-opt: a small OPT that writes general English and eye-clinic notes. It has never seen a DR report: that is left to notebook 02."""

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from . import stream
from .cases import chance, pick
from .recipe import Recipe

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, BATCH, LENGTH = 4, 128, 4, 512, 4_000, 16, 128


def tokenizer():
    """A byte-level BPE tokenizer with OPT's special tokens; it can spell any text, Chinese included."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(stream.tokenizer_corpus(), trainer)
    core.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", core.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )


class Writer(torch.nn.Module):
    """OPTForCausalLM behind the trainer's interface: a dictionary of losses."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, **batch):
        return {"next_word": self.model(**batch).loss}


@dataclass(frozen=True)
class Opt(Recipe):
    """The settings of a run."""

    notes: float = 0.33  # the share of clinic notes among the texts; the others are general English
    dropout: float = 0.1  # there is little general English: without it the model learns it by heart

    def tokenizer(self):
        """OPT's kind of tokenizer."""
        return tokenizer()

    def build(self, tokenizer, step):
        """The model, from random weights."""
        config = OPTConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            ffn_dim=INNER,
            max_position_embeddings=512,
            dropout=self.dropout,
            attention_dropout=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        return Writer(OPTForCausalLM(config))

    def batches(self, tokenizer, rng, n, step=None):
        """n batches of texts packed end to end, separated by </s>."""
        english, notes = stream.general_english(), stream.clinic_notes(rng)
        rows, running = [], []
        while len(rows) < n * BATCH:
            text = next(notes) if chance(rng, self.notes) else pick(rng, english)
            running += tokenizer(text)["input_ids"]
            while len(running) >= LENGTH:
                rows.append(running[:LENGTH])
                running = running[LENGTH:]
        return [{"input_ids": ids, "labels": ids} for ids in torch.tensor(rows[: n * BATCH]).split(BATCH)]

    def evaluate(self, model, tokenizer):
        """Held-out loss per token on general English (topics never trained on) and on fresh clinic notes."""
        notes = stream.clinic_notes(random.Random("held out"))
        return {
            "loss_general_english": round(mean_loss(model, tokenizer, stream.general_english(held_out=True)), 4),
            "loss_clinic_notes": round(mean_loss(model, tokenizer, [next(notes) for _ in range(200)]), 4),
        }


def mean_loss(model, tokenizer, texts):
    """Loss per predicted token over the texts, padding left out."""
    total = count = 0
    for i in range(0, len(texts), 16):
        batch = tokenizer(texts[i : i + 16], return_tensors="pt", padding=True, truncation=True, max_length=256)
        logits = model.model(**batch).logits[:, :-1]
        target = batch["input_ids"][:, 1:].masked_fill(batch["attention_mask"][:, 1:] == 0, -100)
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), target.flatten(), ignore_index=-100, reduction="sum"
            )
        )
        count += int((target != -100).sum())
    return total / count


# five times as many steps read the clinic's notes a little further and lost the general English (held-out loss 7.30 after 4.89)
WRITES = Opt("tiny-opt", steps=800, warm_up=50, rate=1e-3)
