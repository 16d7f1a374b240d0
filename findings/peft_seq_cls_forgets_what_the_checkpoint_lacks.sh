#!/usr/bin/env bash
# PEFT 0.21.2, transformers 5.23.0, torch 2.13.0, Python 3.11, any processor.
# task_type="SEQ_CLS" saves the classification head beside the adapter, so that a reload on the same base answers the same.
# It knows the head by two names, "classifier" and "score". Weights of other names that the checkpoint lacks are drawn anew
# at each loading, are not saved with the adapter, and nothing is said after the first load: another seed, other answers.
# Seen, with tiny random models, nothing trained: a BERT saved with its pooler moves by 0; one saved by masked-word training,
# which has none, a ModernBERT ("head") and a DeBERTa-v2 ("pooler") move. With what from_pretrained names in missing_keys
# as modules_to_save, each moves by 0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" - "$work" 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    ModernBertConfig,
    ModernBertModel,
)

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "peft")))
work = Path(sys.argv[1])
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "initializer_range": 0.5,
}
BASES = {  # name: a base that was never a classifier, and whether SEQ_CLS alone is enough
    "BERT with its pooler": (BertModel, BertConfig(**SIZES), True),
    "BERT from masked words": (BertForMaskedLM, BertConfig(**SIZES), False),
    "ModernBERT": (
        ModernBertModel,
        ModernBertConfig(
            **SIZES, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
            classifier_activation="gelu",
        ),
        False,
    ),
    "DeBERTa-v2": (DebertaV2Model, DebertaV2Config(**SIZES), False),
}
words = torch.arange(3, 19).reshape(2, 8)


def loaded(folder, seed):
    """The base with a new head, and what its checkpoint lacks."""
    torch.manual_seed(seed)
    model, said = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, output_loading_info=True)
    return model.eval(), sorted({key.rsplit(".", 1)[0] for key in said["missing_keys"]})


def moved(folder, saved):
    """How far a probability moves if the adapter is saved, and loaded on the base with another seed."""
    config = LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", r=2, modules_to_save=saved and [*saved])  # PEFT adds names to the list it gets
    first = get_peft_model(loaded(folder, 0)[0], config).eval()
    first.save_pretrained(folder / "adapter")
    again = PeftModel.from_pretrained(loaded(folder, 1)[0], folder / "adapter").eval()
    with torch.no_grad():
        one, other = (model(input_ids=words).logits.softmax(-1) for model in (first, again))
    return (one - other).abs().max().item()


for name, (kind, config, enough) in BASES.items():
    folder = work / name.replace(" ", "_")
    torch.manual_seed(2)
    kind(config).save_pretrained(folder)
    lacking = loaded(folder, 0)[1]
    alone, with_them = moved(folder, None), moved(folder, lacking)
    print(f"{name:24s} lacks {lacking}; SEQ_CLS alone moves {alone:.2f}, with them saved {with_them:.2f}")
    if (alone == 0) != enough:
        sys.exit(f"No longer so: {name} moves by {alone:.2f} with SEQ_CLS alone.")
    if with_them != 0:
        sys.exit(f"No longer so: {name} moves by {with_them:.2f} with all saved that it lacks.")
PY
echo "As found"
