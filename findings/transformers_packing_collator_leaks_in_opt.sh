#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0, Python 3.11, any processor.
# DataCollatorWithFlattening lays several texts end to end in one row, with position_ids that begin anew at each text and
# no attention mask. GPT-2 reads from those positions where a text begins. OPT uses them for its position embeddings
# only, and builds its mask without them, with sdpa as with eager attention: the second text reads the first.
# Seen, in tiny random models, with use_cache=False: the loss of two packed texts is not that of the two alone; with an
# explicit block mask it is. GPT-2, given the same batch, keeps them apart. The library's guide to padding-free training
# asks for FlashAttention (a GPU), which was not tried; nothing checks for it, and no word is said about it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" -W always - 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import sys
from importlib.metadata import version

import torch
from transformers import AutoModelForCausalLM, DataCollatorWithFlattening, GPT2Config, OPTConfig

print(*(f"{name} {version(name)}" for name in ("torch", "transformers")))
SHARED = {"vocab_size": 64, "bos_token_id": 2, "eos_token_id": 2}
OPT = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
KINDS = {
    "OPT": OPTConfig(**SHARED, **OPT, init_std=0.3),
    "GPT-2": GPT2Config(**SHARED, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3),
}


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


@torch.no_grad()
def run(model, **batch):
    return model(**batch, use_cache=False)


def loss(model, ids):
    ids = torch.tensor([ids])
    return run(model, input_ids=ids, labels=ids).loss.item()


torch.manual_seed(1)
texts = [{"input_ids": torch.randint(4, 64, (length,)).tolist()} for length in (12, 7)]
packed = DataCollatorWithFlattening()(texts)
print("the collator gives:", *packed, "| positions", *packed["position_ids"][0].tolist())
still("attention_mask" not in packed, "the collator gives no attention mask.")

text = torch.tensor([0] * 12 + [1] * 7)
sees = (text[:, None] == text[None, :]) & torch.ones(19, 19).tril().bool()
block = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
other = packed | {"input_ids": packed["input_ids"].clone()}
other["input_ids"][0, 3] = (other["input_ids"][0, 3] + 1) % 64  # one token of the first text is another

for kind, attention in (("OPT", "sdpa"), ("OPT", "eager"), ("GPT-2", "sdpa"), ("GPT-2", "eager")):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind], attn_implementation=attention).eval()
    alone = [loss(model, one["input_ids"]) for one in texts]
    one_by_one = (alone[0] * 11 + alone[1] * 6) / 17  # the first token of each is not asked for
    library, masked = run(model, **packed).loss.item(), run(model, **packed, attention_mask=block).loss.item()
    leak = (run(model, **other).logits - run(model, **packed).logits)[0, 12:].abs().max().item()
    print(
        f"{kind}, {attention}: loss one by one {one_by_one:.4f}, packed by the collator {library:.4f}, "
        f"with the block mask {masked:.4f}; a token changed in text 1 moves the logits of text 2 by {leak:.4f}"
    )
    still(abs(masked - one_by_one) < 1e-4, f"{kind} with a block mask gives the loss of the texts alone.")
    if kind == "OPT":
        still(abs(library - one_by_one) > 0.01 and leak > 0.01, "OPT lets the second text read the first.")
        bare = run(model, input_ids=packed["input_ids"], labels=packed["labels"]).loss.item()
        print(f"{kind}, {attention}: without position_ids the loss is {bare:.4f}")
        still(abs(bare - library) > 1e-4, "OPT does use position_ids, for its position embeddings.")
    else:
        still(abs(library - one_by_one) < 1e-4 and leak == 0, "GPT-2 keeps the texts apart.")
PY
if grep -qiE "position_ids|packed|flatten" "$work/said"; then
  echo "No longer so: nothing is said about it."
  exit 1
fi
echo "As found: packed by the collator, OPT reads on from one text into the next, and nothing is said about it."
