#!/usr/bin/env bash
# trl 1.16.0, transformers 5.23.0, torch 2.13.0, Python 3.11, any processor.
# SFTTrainer sets another `forward` on the model that it is handed, bound to that model. A deep copy that is made later takes it
# along, and it is still the first model's: the copy answers by the first model's weights, with labels and without, and a training
# of the copy moves no weight of it. No word is said about it. A copy made before, and a copy from which that `forward` is taken
# off again, learn and answer by their own weights.
# Seen, with a tiny random Llama that learns one text by heart: a copy made before goes from a loss of 3.41 to 0.00 and writes the
# text; a copy made after stays at 3.41, its weights unmoved, its scores those of the first model; without that `forward` it learns.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 datasets==5.2.0 trl==1.16.0
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" -W always - "$work" 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import copy
import sys
from importlib.metadata import version

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "trl")))
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{number}" for number in range(4, 32))]
TEXT = [4, 9, 5, 8, 6, 7]  # what a copy learns by heart: w4 w9 w5 w8 w6 w7
OFF = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "save_strategy": "no"}


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


def fresh():
    """A tiny model with random weights, the same each time."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), initializer_range=0.2, **sizes, **ends)).eval()


def words():
    """A tokenizer for these words."""
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def learn(model):
    """Train all weights on the text by a plain loop; return the loss at the first and at the last step."""
    ids, losses = torch.tensor([TEXT]), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


@torch.no_grad()
def scores(model):
    return model(input_ids=torch.tensor([TEXT])).logits


def written(model):
    """How a model goes on after the first two tokens of the text."""
    begun = torch.tensor([TEXT[:2]])
    out = model.generate(input_ids=begun, attention_mask=torch.ones_like(begun), max_new_tokens=4, do_sample=False)
    return out[0, 2:].tolist()


def apart(first, second):
    return (first - second).abs().max().item()


rows = Dataset.from_list([{"text": " ".join(WORDS[4 + at : 12 + at])} for at in range(4)])
first = fresh()
copies = {"before": copy.deepcopy(first)}
SFTTrainer(first, SFTConfig(f"{sys.argv[1]}/out", **OFF), train_dataset=rows, processing_class=words())
first.eval()  # the trainer has trained nothing
copies["after"], mended = copy.deepcopy(first), copy.deepcopy(first)
del mended.forward  # its class's own is used again
copies["after, without that forward"] = mended
untaught = written(first)
still(untaught != TEXT[2:], "an untaught model does not write the text.")
for made, one in copies.items():
    began, ended = learn(one)
    moved = max(apart(new, old) for new, old in zip(one.parameters(), first.parameters(), strict=True))
    from_first, says = apart(scores(one), scores(first)), written(one)
    print(
        f"copied {made}: loss {began:.2f} to {ended:.2f}, weights moved by {moved:.2f}; "
        f"scores are {from_first:.2f} from the first model's, and it writes {says} (text: {TEXT[2:]}; first: {untaught})"
    )
    if made == "after":
        still(ended == began and moved == 0, "a copy made after learns nothing.")
        still(from_first == 0 and says == untaught, "a copy made after answers by the first model's weights.")
    else:  # the controls
        still(ended < 0.5 * began and moved > 0.01, f"a copy made {made} is trained: its loss falls.")
        still(from_first > 0.1 and says == TEXT[2:], f"a copy made {made} answers by its own weights.")
PY
if grep -qiE "deepcopy|chunked_nll" "$work/said"; then
  echo "No longer so: no word is said about it."
  exit 1
fi
echo "As found: a copy of the model that trl was given learns nothing, and answers with the first one's weights."
