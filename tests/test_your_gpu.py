"""The ten lines of docs/your_gpu.md run as they stand, on a small checkpoint and a CPU."""

import re
import subprocess
import sys

import pandas as pd
import pytest
from torch.distributed.run import get_args_parser

from course_utils import data, models, paths, results

NAMED = "dmis-lab/biobert-v1.1"
AFTER = """
again = transformers.AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=5)
again = peft.PeftModel.from_pretrained(again, "adapter").eval()
asked = tokenizer(["no IRMA"], return_tensors="pt")
losses = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
assert losses[-1] < losses[0], losses
assert torch.equal(again(**asked).logits, model.eval()(**asked).logits)
print("the same logits")
"""


def lines():
    page = (paths.ROOT / "docs" / "your_gpu.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]


def test_it_is_ten_lines_and_none_of_them_is_ours():
    imports, nothing, *rest = lines().splitlines()
    assert imports == "import datasets, peft, torch, transformers" and not nothing and len(rest) == 10
    assert "course_utils" not in lines() and lines().count(NAMED) == 1


def test_the_page_says_what_the_ten_lines_leave_out_and_what_was_seen_on_a_gpu():
    page = (paths.ROOT / "docs" / "your_gpu.md").read_text(encoding="utf-8")
    rows = data.load_reports()["train"].to_pandas()
    assert "or one text has two labels" in page and (rows.groupby("text")["grade"].nunique() == 2).any()
    measured = results.shipped("gpu_runs")
    seen = ", ".join(f"{name} {version.partition('+')[0]}" for name, version in measured["versions"].items())
    assert f"{measured['device']}, with {seen} and an earlier edition" in page


def test_the_command_for_several_gpus_is_one_that_torchrun_reads_and_is_said_to_be_untried():
    section = (paths.ROOT / "docs" / "your_gpu.md").read_text(encoding="utf-8").split("## Several GPUs")[1]
    options = get_args_parser().parse_args(re.search(r"^torchrun (.+)$", section, re.MULTILINE)[1].split())
    assert (options.nproc_per_node, options.training_script) == ("4", "train.py")
    assert "**Not tried here**" in section and "trainer.train()" in lines()
    assert lines().splitlines()[-1].startswith("model.save_pretrained")  # the line that the section replaces


@pytest.mark.slow
def test_they_train_and_what_is_saved_gives_the_same_logits(tmp_path):
    reports = data.load_reports()
    for split, count in (("train", 96), ("dev", 32)):
        rows = data.sample(reports[split], count)
        pd.DataFrame({"text": rows["text"], "label": rows["grade"]}).to_csv(tmp_path / f"{split}.csv", index=False)
    base = str(models.base("tiny-biobert"))
    program = lines().replace(f'"{NAMED}"', repr(base))
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "CUDA_VISIBLE_DEVICES": ""}
    environment = f"import os; os.environ.update({offline!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", environment + program + AFTER],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert "the same logits" in done.stdout, done.stderr[-2000:]
