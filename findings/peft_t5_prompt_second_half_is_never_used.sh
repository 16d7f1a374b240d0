#!/usr/bin/env bash
# PEFT 0.21.2, transformers 5.23.0, torch 2.13.0, Python 3.11, any processor.
# A soft prompt of 10 rows for T5, with PEFT's defaults, makes 20: num_transformer_submodules is 2 for "SEQ_2_SEQ_LM", one
# half for the encoder and one for the decoder. All 20 are counted as trainable and saved. In the forward pass only the
# first 10 go before the encoder's input; the decoder gets none. So half of the count that one reports trains nothing.
# Seen, in a tiny random T5: rows 10 to 19 get no gradient; overwritten, they change no answer; and with
# num_transformer_submodules=1 the first 10 rows alone give the same logits with half the count. No word is said about it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" -W always - 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import sys
from importlib.metadata import version

import torch
from peft import PromptTuningConfig, get_peft_model, get_peft_model_state_dict
from transformers import T5Config, T5ForConditionalGeneration

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "peft")))


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


def prompted(**settings):
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    base = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0))
    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=10, **settings)
    model = get_peft_model(base, config).eval()
    return model, model.prompt_encoder["default"].embedding.weight


def trainable(model):
    return model.get_nb_trainable_parameters()[0]


torch.manual_seed(1)
questions = {"input_ids": torch.randint(2, 64, (4, 9)), "attention_mask": torch.ones(4, 9, dtype=torch.long)}
labels = torch.randint(2, 64, (4, 5))


@torch.no_grad()
def answers(model):
    return model(**questions, labels=labels).logits, model.generate(**questions, max_new_tokens=8, do_sample=False)


model, rows = prompted()
print(f"asked for 10 rows; trainable: {trainable(model)} numbers = {len(rows)} rows of {rows.shape[1]}")
still(trainable(model) == 20 * 32, "20 rows are counted as trainable.")
saved = get_peft_model_state_dict(model)["prompt_embeddings"]
print("rows in the saved adapter:", len(saved))
still(len(saved) == 20, "20 rows are saved.")

model(**questions, labels=labels).loss.backward()
reached = (rows.grad.abs().sum(dim=1) > 0).int().tolist()
print("rows with a gradient:", *reached)
still(reached == [1] * 10 + [0] * 10, "the first 10 rows get a gradient, the last 10 none.")

logits, written = answers(model)
first = rows.detach()[:10].clone()
with torch.no_grad():
    rows[10:] = 1e6
moved, same = (answers(model)[0] - logits).abs().max().item(), torch.equal(answers(model)[1], written)
print(f"rows 10 to 19 overwritten with 1e6: logits move by {moved}, the same text is generated: {same}")
still(moved == 0 and same, "overwriting rows 10 to 19 changes no answer.")
with torch.no_grad():
    rows[9] += 1
moved = (answers(model)[0] - logits).abs().max().item()
print(f"row 9 moved by 1: logits move by {moved:.2f}")
still(moved > 0.01, "the first 10 rows are used.")

honest, its_rows = prompted(num_transformer_submodules=1)
with torch.no_grad():
    its_rows.copy_(first)
moved = (answers(honest)[0] - logits).abs().max().item()
print(f"num_transformer_submodules=1: {trainable(honest)} numbers, with the same 10 rows logits differ by {moved}")
still(trainable(honest) == 10 * 32 and moved < 1e-5, "10 rows give the answers of the 20.")
PY
if grep -qiE "submodules|virtual" "$work/said"; then
  echo "No longer so: nothing is said about it."
  exit 1
fi
echo "As found: 20 rows are counted and saved, 10 are used, and nothing is said about it."
