"""Set up `Trainer`, the article's own tool, made quiet: nothing printed, nothing sent, nothing saved unasked.

Its bar is ours, on stderr. `for_grader` sets one up for a grader; `costs.epoch` says what an epoch of it costs.
"""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import EvalPrediction

from course_utils import metrics, models, training

ARTICLE: dict[str, Any] = {"pad_to": 512, "batch_size": 8}  # the article's settings, as `for_grader` takes them
GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}  # reports of like length share a batch
BEST: dict[str, Any] = {"pad_to": None, "batch_size": 8} | GROUPED
QUIET: dict[str, Any] = {  # nothing printed, nothing sent, nothing saved, unless other settings say so
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "dataloader_pin_memory": False,
    "use_cpu": models.device() == "cpu",
    "seed": 0,
}


class Bar(TrainerCallback):
    """A progress bar of `Trainer`'s steps on stderr, where it is seen and not stored."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit="step", mininterval=0.5)

    def on_step_end(self, args, state, control, **kwargs):
        self.bar.update()

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()


class QuietTrainer(Trainer):
    """`Trainer` with our bar on stderr in place of the lines that it prints on stdout, in which times stand."""

    def __init__(self, *arguments, bar: bool = True, **settings):
        super().__init__(*arguments, **settings)
        self.remove_callback(PrinterCallback)
        if bar:
            self.add_callback(Bar())


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


def logged(run: Trainer, key: str) -> tuple[list[int], list[float]]:
    """Return the steps at which a run of `Trainer` noted a number, and the numbers."""
    log = [entry for entry in run.state.log_history if key in entry]
    return [int(entry["step"]) for entry in log], [entry[key] for entry in log]


def losses(run: Trainer) -> dict[str, tuple[list[int], list[float]]]:
    """Return the loss of a run of `Trainer` on train and on dev, each with its steps."""
    return {"train": logged(run, "loss"), "dev": logged(run, "eval_loss")}


def for_grader(
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
) -> QuietTrainer:
    """Return a `Trainer` for a grader that prints nothing and reports to nobody, unless `settings` say otherwise.

    Takes the model, its tokenizer, the training rows, and a folder for what it writes; `dev` rows to evaluate on (loss and
    macro F1); `pad_to`, how many tokens each report is filled up to, on the right (None fills up to the longest of its
    batch); and more settings by the names of `TrainingArguments`. No report is cut short of 192 tokens.
    """
    batches = {"per_device_train_batch_size": batch_size, "per_device_eval_batch_size": 64}
    return QuietTrainer(
        model,
        TrainingArguments(folder, **QUIET | batches | settings),
        train_dataset=encode(tokenizer, train, pad_to, label),
        eval_dataset=None if dev is None else encode(tokenizer, dev, None, label),
        data_collator=partial(tokenizer.pad, padding_side="right", return_tensors="pt"),
        compute_metrics=_macro_f1,
        preprocess_logits_for_metrics=_logits_alone,
        callbacks=list(callbacks),
        bar=bar,
    )


def _macro_f1(answers: EvalPrediction) -> dict[str, float]:
    """Return what `Trainer` wants of `compute_metrics`, from its answers: logits (reports, grades) and true grades."""
    predictions = np.asarray(answers.predictions).argmax(-1)
    return {"macro_f1": float(metrics.macro_f1(metrics.confusion(answers.label_ids, predictions)))}


def _logits_alone(outputs: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor) -> torch.Tensor:
    """Drop what some models hand out beside the logits, such as a T5 its encoder's vectors."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def encode(tokenizer, rows, pad_to: int | None = None, label: str = "grade") -> list[dict]:
    """Return the rows as `Trainer` reads them, one dict of lists each, filled up to `pad_to` tokens if that is given."""
    reports = training.tokenise(tokenizer, rows, "eye", "text", max_length=192)
    inputs = [{name: ids for name, ids in report.items() if name != "cut"} for report in reports]
    if pad_to:
        inputs = [tokenizer.pad(ids, padding="max_length", max_length=pad_to, padding_side="right") for ids in inputs]
    return [dict(ids) | {"labels": int(grade)} for ids, grade in zip(inputs, rows[label], strict=True)]


def lengthen(model: PreTrainedModel, positions: int) -> PreTrainedModel:
    """Let a BERT take texts of up to `positions` tokens, in place, and return it.

    Its table of positions is repeated. Where the new ones hold nothing but padding, no answer changes.
    Raises ValueError for a model that takes fewer and is built in another way.
    """
    if positions <= getattr(model.config, "max_position_embeddings", positions):
        return model
    embeddings: Any = getattr(model.base_model, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    if table is None or table.padding_idx is not None:  # a RoBERTa's positions begin after that of its padding
        raise ValueError(f'A "{model.config.model_type}" can\'t be made to take {positions} tokens: give fewer.')
    longer = table.weight.data.repeat(-(-positions // len(table.weight)), 1)[:positions]
    embeddings.position_embeddings = nn.Embedding.from_pretrained(longer, freeze=False)
    embeddings.register_buffer("position_ids", torch.arange(positions).unsqueeze(0), persistent=False)
    embeddings.register_buffer("token_type_ids", torch.zeros(1, positions, dtype=torch.long), persistent=False)
    model.config.update({"max_position_embeddings": positions})
    return model


def padding(batches: Sequence[Mapping[str, torch.Tensor]]) -> float:
    """Return the share of padding among all tokens of the batches, by their attention masks (1 a token, 0 padding)."""
    masks = [batch["attention_mask"] for batch in batches]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)
