#!/usr/bin/env bash
# PEFT 0.21.2, transformers 5.23.0, torch 2.13.0, Python 3.11, any processor.
# layers_to_transform says which layers get LoRA, counted from 0. An index that the model lacks is passed over without a
# word as long as another one exists; PEFT raises only if none does. An empty list is no list: every layer gets LoRA.
# Seen, in a tiny random BERT of 12 layers, with LoRA on query and value: [11, 12] and [0, -1] adapt one layer and say
# nothing, [12] and [-1] raise a ValueError, [] adapts all 12. The saved settings repeat what was asked, not what was done.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.13.0 transformers==5.23.0 peft==0.21.2
export HF_HUB_OFFLINE=1
"$work/venv/bin/python" -W always - "$work" 2>"$work/said" <<'PY' || { tail -n 3 "$work/said"; exit 1; }
import json
import sys
from importlib.metadata import version
from pathlib import Path

from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification

print(*(f"{name} {version(name)}" for name in ("torch", "transformers", "peft")))
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}


def adapted(layers):
    """The model, how many modules got LoRA, and in which layers; or the name of the error."""
    config = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], layers_to_transform=layers)
    try:
        model = get_peft_model(BertForSequenceClassification(BertConfig(**SIZES, num_hidden_layers=12)), config)
    except ValueError as error:
        return None, 0, type(error).__name__
    names = [name for name, _ in model.named_modules() if name.endswith("lora_A.default")]
    return model, len(names), sorted({int(name.split(".layer.")[1].split(".")[0]) for name in names})


EXPECTED = [
    ([10, 11], 4, [10, 11]),
    ([11, 12], 2, [11]),
    ([0, -1], 2, [0]),
    ([12], 0, "NoMatchingPeftModuleError"),
    ([-1], 0, "NoMatchingPeftModuleError"),
    ([], 24, list(range(12))),
]
for asked, modules, where in EXPECTED:
    model, found, there = adapted(asked)
    print(f"asked for {asked!s:9}: {found:2} LoRA modules, {there}")
    if (found, there) != (modules, where):
        sys.exit(f"No longer so: {asked} gave {modules} LoRA modules, {where}.")

adapted([11, 12])[0].save_pretrained(sys.argv[1])
saved = json.loads(Path(sys.argv[1], "adapter_config.json").read_text())["layers_to_transform"]
print("saved for [11, 12]:", saved)
if saved != [11, 12]:
    sys.exit("No longer so: the saved settings keep the index that was left out.")
PY
if grep -qiE "layers_to_transform|out of range" "$work/said"; then
  echo "No longer so: nothing is said about it."
  exit 1
fi
echo "As found: an index past the end is left out, and PEFT says so only if no layer is left."
