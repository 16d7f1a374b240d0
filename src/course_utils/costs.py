"""Measure what a method costs at a model's size: milliseconds a step, peak memory, milliseconds for one report.

Weights are random and so are the reports, for a step's cost does not depend on what they say. Peak memory is the highest
mark of a process, so `apart` measures in a fresh one; `python -m course_utils.costs` is that process. On a CPU it has one
thread and counts processor time: what a clock would show on a machine that does nothing else. On a GPU the clock counts.

In bfloat16 and float16 the weights stay float32 and the matrix products are computed in 16 bits (`torch.autocast`).
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from statistics import median

import torch
from torch import distributed, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from course_utils import adapt, data, machine, metrics, models, session, trainer

METHODS = ("full fine-tuning", "LoRA", "last layers")  # of `adapt.METHODS`, those whose cost is compared
SHAPES = ("tiny-biobert", "BERT 192", "BERT 384", "BioBERT", "opt-350m", "MiniLM", "SmolLM2")
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def apart(task: str, module: str = "course_utils.costs", **settings) -> dict:
    """Return what a function such as `train` or `latency` returns, from a fresh process with one thread.

    Takes the function's name, its module and its arguments. Raises RuntimeError with the last line of the process's error.
    """
    call = json.dumps({"task": task, "module": module} | settings)
    process = subprocess.run([sys.executable, "-m", "course_utils.costs", call], capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"Measuring {task} of {settings} failed: {last}")
    return json.loads(process.stdout.splitlines()[-1])


def train(
    method: str,
    shape: str,
    steps: int = 3,
    batch: int = 8,
    length: int = 128,
    device: str = "cpu",
    precision: str = "float32",
    sharded: bool = False,
) -> dict:
    """Train for some steps on random reports and return what it cost.

    Takes one of METHODS, one of SHAPES and one of PRECISIONS; `sharded` trains as FSDP2 does, with one process.
    A first step warms up and is not counted. Returns device, method, shape, precision, sharded, batch, length, parameters,
    trainable, step_ms (the median), tokens_per_s, tflop (what a step computes, in 10^12 operations, counted in its matrix
    products), saved_mb (what the forward pass keeps for the backward pass; None if sharded), before_mb (what the process
    held before it had a model) and peak_mb.
    Raises ValueError for an unknown method, shape or precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f'There is no precision "{precision}". Choose one of: {", ".join(PRECISIONS)}.')
    before = _held_mb(device)
    built = build(shape)
    model = adapt.prepare(built, method).to(device).train()
    if sharded:
        _shard(model, PRECISIONS[precision])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=precision == "float16")  # float16 loses small gradients otherwise
    reports = _reports(built.config, batch, length, device)
    labels = torch.arange(batch, device=device) % metrics.GRADES

    def loss(rows: int = batch) -> torch.Tensor:
        with torch.autocast(device, PRECISIONS[precision], enabled=precision != "float32" and not sharded):
            some = {name: ids[:rows] for name, ids in reports.items()}
            return nn.functional.cross_entropy(model(**some).logits, labels[:rows])

    def step() -> None:
        optimizer.zero_grad()
        scaler.scale(loss()).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        scaler.step(optimizer)
        scaler.update()

    times = [_ms(step, device) for _ in range(steps + 1)][1:]
    peak = machine.peak_mb() if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
    saved = None if sharded else round(_saved_mb(model, loss), 1)
    built.set_attn_implementation("eager")  # written out: the counter does not know every fused attention
    with FlopCounterMode(display=False) as counted:
        loss(1).backward()  # one report: the others of a batch compute as much each
    if sharded:
        distributed.destroy_process_group()
    trainable, parameters = models.count_parameters(model)
    return {
        "device": device_name(device),
        "method": method,
        "shape": shape,
        "precision": precision,
        "sharded": sharded,
        "batch": batch,
        "length": reports["input_ids"].shape[1],
        "parameters": parameters,
        "trainable": trainable,
        "step_ms": round(median(times), 2),
        "tokens_per_s": round(1000 * reports["input_ids"].numel() / median(times)),
        "tflop": round(batch * counted.get_total_flops() / 1e12, 4),
        "saved_mb": saved,
        "before_mb": round(before, 1),
        "peak_mb": round(peak, 1),
    }


def epoch(
    shape: str = "tiny-biobert",
    reports: int = 256,
    method: str = "full fine-tuning",
    threads: int = 1,
    pad_to: int | None = None,
    **settings,
) -> dict:
    """Train for one epoch with `Trainer` and return what it cost; `settings` go to `trainer.for_grader`.

    Takes "tiny-biobert", or another of SHAPES with random weights; how many of the course's training reports;
    and one of METHODS.
    Returns wall_s and cpu_s (a list each, one a step), losses (one a step), padding (share of all tokens), before_mb (what
    the process held before it had a model) and peak_mb. A few tokens are computed before the clock
    starts, but for torch.compile.
    """
    torch.set_num_threads(threads)
    before, stopwatch = machine.peak_mb(), trainer.Stopwatch()
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=0)
    if shape != "tiny-biobert":
        model = build(shape)
    prepared = adapt.prepare(trainer.lengthen(model, pad_to or 0), method)
    rows = data.sample(data.load_reports()["train"], reports, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # torch.compile starts from nothing each time
        once = {"num_train_epochs": 1, "learning_rate": 1e-4, "logging_steps": 1}
        grader_trainer = trainer.for_grader(
            prepared, tokenizer, rows, folder, pad_to=pad_to, callbacks=[stopwatch], **once | settings
        )
        torch.manual_seed(0)
        batches = list(grader_trainer.get_train_dataloader())
        if not settings.get("torch_compile"):  # there the first step is the one to look at
            _warm_up(prepared, batches[0])
        torch.manual_seed(0)  # the batches that were listed
        grader_trainer.train()
    wall, cpu = stopwatch.seconds()
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "losses": [round(line["loss"], 4) for line in grader_trainer.state.log_history if "loss" in line],
        "padding": round(trainer.padding(batches), 4),
        "before_mb": round(before, 1),
        "peak_mb": round(machine.peak_mb(), 1),
    }


def latency(shape: str, repeats: int = 10, batch: int = 1, length: int = 128, device: str = "cpu") -> dict:
    """Time the forward pass of four models that answer the same task, in turns, so that noise meets all alike.

    Returns device, shape, and the median milliseconds of each: plain (no LoRA; what full fine-tuning leaves), unmerged
    (LoRA on query and value), unmerged_all (LoRA on every linear layer), merged.
    """
    plain = build(shape)
    answering = {
        "plain": plain,
        "unmerged": adapt.with_lora(build(shape)),
        "unmerged_all": adapt.with_lora(build(shape), targets="all-linear"),
        "merged": adapt.with_lora(build(shape)).merge_and_unload(),
    }
    answering = {name: model.to(device).eval() for name, model in answering.items()}
    reports = _reports(plain.config, batch, length, device)
    times: dict[str, list[float]] = {name: [] for name in answering}
    with torch.inference_mode():
        for turn in range(repeats + 2):  # two turns to warm up
            names = list(answering)
            for name in names[turn % 4 :] + names[: turn % 4]:
                times[name].append(_ms(partial(answering[name], **reports), device))
    medians = {name: round(median(ms[2:]), 3) for name, ms in times.items()}
    return {"device": device_name(device), "shape": shape} | medians


def say(name: str, cost: dict) -> None:
    """Print what `train` found. The form is fixed, for the tests mask its milliseconds and megabytes and nothing else."""
    print(f"Cost: {name}: {cost['step_ms']:.1f} ms a step, {cost['peak_mb']:.0f} MB peak")


def build(shape: str) -> PreTrainedModel:
    """Return a five-grade model of one of SHAPES with random weights, on the CPU."""
    if shape not in SHAPES:
        raise ValueError(f'There is no shape "{shape}". Choose one of: {", ".join(SHAPES)}.')
    if shape == "tiny-biobert":
        config = AutoConfig.from_pretrained(models.base(shape))
    elif shape == "MiniLM":  # all-MiniLM-L6-v2
        config = BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)
    elif shape == "SmolLM2":  # SmolLM2-135M
        config = LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        )
    else:
        config = models.real_config("tiny-opt" if shape == "opt-350m" else "tiny-biobert")
    if shape.startswith("BERT "):  # a narrower BioBERT
        config.hidden_size = int(shape.split()[1])
        config.num_attention_heads, config.intermediate_size = config.hidden_size // 64, 4 * config.hidden_size
    config.num_labels = metrics.GRADES
    if config.pad_token_id is None:
        config.pad_token_id = config.eos_token_id
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def device_name(device: str) -> str:
    """Return the GPU's name, or what we use of a CPU."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU, 1 thread"


def _warm_up(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> None:
    """Compute a few tokens of a batch forward and backward: at the first call the libraries load their parts."""
    a_few_tokens = {name: ids[:1] if ids.ndim == 1 else ids[:1, :8] for name, ids in batch.items()}
    model(**a_few_tokens).loss.backward()
    model.zero_grad()


def _held_mb(device: str) -> float:
    """Return the MB that are held before a model is built, and begin a GPU's highest mark there."""
    if device == "cpu":
        return machine.peak_mb()
    gc.collect()  # what an earlier measurement left
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 2**20


def _shard(model: nn.Module, dtype: torch.dtype) -> None:
    """Shard a model's blocks, and its rest, over the processes of a group: here, over one.

    Source: Zhao and others, PyTorch FSDP, 2023, in torch's second form, `fully_shard`. The shards stay float32.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # not every build of torch has it

    distributed.init_process_group(store=distributed.HashStore(), rank=0, world_size=1)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    blocks = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    for block in blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy)


def _saved_mb(model: nn.Module, loss: Callable[[], torch.Tensor]) -> float:
    """Return how many MB a forward pass keeps for the backward pass, each piece of memory once, the weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # else a layer that keeps its own output holds itself for ever

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        held = loss()
    del held
    return sum(kept.values()) / 2**20


def matmul_tflops(device: str = "cpu", precision: str = "float32", size: int = 1024) -> float:
    """Return how many 10^12 operations a second this device does in products of square matrices, 2 size^3 each.

    It is the rate that a training step could reach at most. Takes one of PRECISIONS; the median of ten products counts.
    """
    a, b = torch.randn(2, size, size, device=device, dtype=PRECISIONS[precision])
    times = [_ms(lambda: a @ b, device) for _ in range(13)][3:]
    return round(2 * size**3 / median(times) / 1e9, 3)


def _reports(config: PreTrainedConfig, batch: int, length: int, device: str) -> dict[str, torch.Tensor]:
    """Return a batch of random token ids, none of them padding, as long as the model's positions allow."""
    length = min(length, getattr(config, "max_position_embeddings", length + 2) - 2)
    ids = torch.randint(10, config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))
    if config.is_encoder_decoder:
        ids[:, -1] = config.eos_token_id  # where such a head reads
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}


def _ms(work: Callable[[], object], device: str) -> float:
    """Return the milliseconds that some work takes. A GPU works on after the call, so it is waited for."""
    on_gpu = device == "cuda"
    wait: Callable[[], None] = torch.cuda.synchronize if on_gpu else lambda: None
    clock = time.perf_counter if on_gpu else time.process_time
    wait()
    began = clock()
    work()
    wait()
    return 1000 * (clock() - began)


def main() -> None:
    """Read one call, a JSON object, from the command line and print what it measured as JSON."""
    call = json.loads(sys.argv[1])
    session.quiet()
    torch.set_num_threads(1)
    task = getattr(importlib.import_module(call.pop("module")), call.pop("task"))
    print(json.dumps(task(**call)))


if __name__ == "__main__":
    main()
