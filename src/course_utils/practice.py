"""Train with `Trainer` and one setting changed at a time: what notebook 07 compares.

`trainer` is the article's own tool with quiet settings. `measure` runs it for an epoch over the same reports and says what
that cost. Peak memory is the highest mark of a process, so `apart` measures in a fresh one.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn
from transformers import DataCollatorWithPadding, TrainerCallback, TrainingArguments

from course_utils import causal, costs, data, metrics, models, session, training

ARTICLE = {"pad_to": 512, "batch_size": 8}  # the article's settings, as `measure` takes them
GROUPED = {"train_sampling_strategy": "group_by_length"}  # reports of like length share a batch
BEST = {"pad_to": None, "batch_size": 8} | GROUPED
QUIET = {  # nothing printed, nothing sent, nothing saved, unless other settings say so
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "dataloader_pin_memory": False,
    "use_cpu": models.device() == "cpu",
    "seed": 0,
}


class Stopwatch(TrainerCallback):
    """Takes down the wall-clock and the processor seconds of each step of `Trainer`."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.marks = [(time.perf_counter(), time.process_time())]

    def on_step_end(self, args, state, control, **kwargs):
        self.marks.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> tuple[list[float], list[float]]:
        """Return each step's seconds, by the clock on the wall and by the processor's."""
        wall, cpu = np.diff(np.array(self.marks), axis=0).round(4).T.tolist()
        return wall, cpu


def trainer(
    model,
    tokenizer,
    train,
    folder: str,
    *,
    dev=None,
    pad_to: int | None = None,
    batch_size: int = 8,
    label: str = "grade",
    callbacks: Sequence[TrainerCallback] = (),
    bar: bool = False,
    **settings,
) -> causal.QuietTrainer:
    """Return a `Trainer` for a grader that prints nothing and reports to nobody, unless `settings` say otherwise.

    Takes the model, its tokenizer, the training rows, and a folder for what it writes; `dev` rows to evaluate on (loss and
    macro F1); `pad_to`, how many tokens each report is filled up to (None fills up to the longest of its batch); and more
    settings by the names of `TrainingArguments`. No report is cut short of 192 tokens.
    """
    batches = {"per_device_train_batch_size": batch_size, "per_device_eval_batch_size": 64}
    return causal.QuietTrainer(
        model,
        TrainingArguments(folder, **QUIET | batches | settings),
        train_dataset=encode(tokenizer, train, pad_to, label),
        eval_dataset=None if dev is None else encode(tokenizer, dev, None, label),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_macro_f1,
        callbacks=list(callbacks),
        bar=bar,
    )


def _macro_f1(answers) -> dict[str, float]:
    """Return what `Trainer` wants of `compute_metrics`, from its answers: logits (reports, grades) and true grades."""
    return {"macro_f1": float(metrics.macro_f1(metrics.confusion(answers.label_ids, answers.predictions.argmax(-1))))}


def encode(tokenizer, rows, pad_to: int | None = None, label: str = "grade") -> list[dict]:
    """Return the rows as `Trainer` reads them, one dict of lists each, filled up to `pad_to` tokens if that is given."""
    reports = training.tokenise(tokenizer, rows, "eye", "text", max_length=192)
    rows_of_ids = [{name: ids for name, ids in report.items() if name != "cut"} for report in reports]
    if pad_to:
        rows_of_ids = [tokenizer.pad(ids, padding="max_length", max_length=pad_to) for ids in rows_of_ids]
    return [dict(ids) | {"labels": int(grade)} for ids, grade in zip(rows_of_ids, rows[label], strict=True)]


def lengthen(model: nn.Module, positions: int) -> nn.Module:
    """Let a BERT take texts of up to `positions` tokens, in place, and return it.

    Its table of positions is repeated. Where the new ones hold nothing but padding, no answer changes.
    """
    embeddings = model.base_model.embeddings
    known = embeddings.position_embeddings.weight.data
    if positions > len(known):
        longer = known.repeat(-(-positions // len(known)), 1)[:positions]
        embeddings.position_embeddings = nn.Embedding.from_pretrained(longer, freeze=False)
        embeddings.register_buffer("position_ids", torch.arange(positions).unsqueeze(0), persistent=False)
        embeddings.register_buffer("token_type_ids", torch.zeros(1, positions, dtype=torch.long), persistent=False)
        model.config.max_position_embeddings = positions
    return model


def padding(batches: Sequence[Mapping[str, torch.Tensor]]) -> float:
    """Return the share of padding among all tokens of the batches, by their attention masks (1 a token, 0 padding)."""
    masks = [batch["attention_mask"] for batch in batches]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def measure(
    shape: str = "tiny-biobert",
    reports: int = 256,
    method: str = "full fine-tuning",
    threads: int = 1,
    pad_to: int | None = None,
    **settings,
) -> dict:
    """Train for one epoch and return what it cost; `settings` go to `trainer`.

    Takes "tiny-biobert", or another of `costs.SHAPES` with random weights; how many of the course's training reports;
    and one of `costs.METHODS`.
    Returns wall_s and cpu_s (a list each, one a step), losses (one a step), padding (share of all tokens), before_mb (what
    the process held before it had a model) and peak_mb. A few tokens are computed before the clock
    starts, but for torch.compile.
    """
    torch.set_num_threads(threads)
    before, stopwatch = session.peak_mb(), Stopwatch()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    if shape != "tiny-biobert":
        model = costs.build(shape)
    model = costs.prepare(lengthen(model, pad_to or 0), method)
    rows = data.sample(data.load_reports()["train"], reports, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # torch.compile starts from nothing each time
        once = {"num_train_epochs": 1, "learning_rate": 1e-4, "logging_steps": 1}
        made = trainer(model, tokenizer, rows, folder, pad_to=pad_to, callbacks=[stopwatch], **once | settings)
        torch.manual_seed(0)
        batches = list(made.get_train_dataloader())
        if not settings.get("torch_compile"):  # there the first step is the one to look at
            _warm_up(made.model, batches[0])
        torch.manual_seed(0)  # the batches that were listed
        made.train()
    wall, cpu = stopwatch.seconds()
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "losses": [round(line["loss"], 4) for line in made.state.log_history if "loss" in line],
        "padding": round(padding(batches), 4),
        "before_mb": round(before, 1),
        "peak_mb": round(session.peak_mb(), 1),
    }


def _warm_up(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> None:
    """Compute a few tokens of a batch forward and backward: at the first call the libraries load their parts."""
    few = {name: ids[:1] if ids.ndim == 1 else ids[:1, :8] for name, ids in batch.items()}
    model(**few).loss.backward()
    model.zero_grad()


def apart(settings: Mapping) -> dict:
    """Return what `measure` returns with these settings, from a fresh process."""
    return costs.apart("measure", module="course_utils.practice", **settings)
