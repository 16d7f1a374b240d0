#!/usr/bin/env bash
# transformers 5.23.0, accelerate 1.15.0, torch 2.13.0, Python 3.11, any processor.
# Llama and GPT-2 keep apart the texts that DataCollatorWithFlattening packs: they read from position_ids where one begins.
# They do so only while there is no cache, and use_cache is on by default, in training mode too. So model(**batch), as in
# a training loop of one's own, lets each text read those before it. Trainer turns the cache off and is right.
# Seen, in tiny random models with sdpa attention: one batch, one model, two losses; with use_cache=False, and from
# Trainer, it is the loss of the texts alone. return_flash_attn_kwargs=True in the collator changes nothing. No word is
# said about it. The library's guide to padding-free training asks for FlashAttention (a GPU); that was not tried.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 accelerate==1.15.0
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" -W always - "$work/runs" 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import sys
from importlib.metadata import version

import torch
from transformers import (
    AutoModelForCausalLM,
    DataCollatorWithFlattening,
    GPT2Config,
    LlamaConfig,
    Trainer,
    TrainingArguments,
)

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate")))
SHARED = {"vocab_size": 64, "bos_token_id": 2, "eos_token_id": 2, "initializer_range": 0.3}
LLAMA = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}  # so that training mode gives the same loss
KINDS = {
    "Llama": LlamaConfig(**SHARED, **LLAMA),
    "GPT-2": GPT2Config(**SHARED, **NO_DROPOUT, n_embd=32, n_layer=2, n_head=4),
}


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


torch.manual_seed(1)
texts = [{"input_ids": torch.randint(4, 64, (length,)).tolist()} for length in (12, 7)]
packed = DataCollatorWithFlattening()(texts)
for kind, config in KINDS.items():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    alone = [model(input_ids=ids, labels=ids).loss.item() for ids in (torch.tensor([t["input_ids"]]) for t in texts)]
    one_by_one = (alone[0] * 11 + alone[1] * 6) / 17  # the first token of each is not asked for
    cached, uncached = model(**packed).loss.item(), model(**packed, use_cache=False).loss.item()
    print(f"{kind}: loss one by one {one_by_one:.4f}, model(**batch) {cached:.4f}, with use_cache=False {uncached:.4f}")
    still(abs(cached - one_by_one) > 0.01, f"{kind} with its defaults lets the second text read the first.")
    still(abs(uncached - one_by_one) < 1e-4, f"{kind} without a cache keeps them apart.")
    flash = model(**DataCollatorWithFlattening(return_flash_attn_kwargs=True)(texts)).loss.item()
    print(f"{kind}: model(**batch) with the collator's return_flash_attn_kwargs=True {flash:.4f}")
    still(abs(flash - cached) < 1e-4, "return_flash_attn_kwargs=True changes nothing without FlashAttention.")

    quiet = {"report_to": "none", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    settings = TrainingArguments(sys.argv[1], max_steps=1, learning_rate=0.0, **quiet)
    given = {"train_dataset": texts, "eval_dataset": texts, "data_collator": DataCollatorWithFlattening()}
    trainer = Trainer(model, settings, **given)
    trained, evaluated = trainer.train().training_loss, trainer.evaluate()["eval_loss"]
    print(f"{kind}, Trainer: loss of its step {trained:.4f}, of its evaluation {evaluated:.4f}")
    off = max(abs(trained - one_by_one), abs(evaluated - one_by_one))
    still(off < 1e-4, "Trainer gives the loss of the texts alone.")
PY
if grep -qiE "position_ids|packed|flatten|use_cache" "$work/said"; then
  echo "No longer so: nothing is said about it."
  exit 1
fi
echo "As found: the same packed batch leaks with the cache, which is on by default, and not in Trainer; nothing is said."
