"""Train in several processes that are one: start them here, share a model out, keep what they have done, and prove that they are one.

    scale.together(work, 2)                    # runs work(rank) in two processes, and returns what each gave
    scale.torchrun("-m", "course_utils.train_many", ...)

Processes started here hear each other over the loopback address alone and end with the call, whatever ends it. What a process
does needs nothing of ours: `torch.distributed` is all, and `Apart`, `tally` and `expect` are detectors to take along.
A kept step (`keep`, `newest`, `take_up`) is a folder of safetensors that any number of processes goes on from.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import psutil
import torch
from torch import distributed, nn
from torch.multiprocessing import start_processes

from course_utils import paths

METHOD = "fork" if sys.platform == "linux" else "spawn"  # a fork has all imports already; elsewhere it is not safe
STORE = (
    "COURSE_STORE"  # the file by which processes on one machine find each other; without it they do as torchrun says
)
LIMIT_S = 600
KEPT, UNFINISHED, FACTS = "step-", ".unfinished", "training.json"
COPIES = {"weights": 1, "gradients": 1, "optimiser": 2}  # of each weight: AdamW keeps two means


# Starting processes on this machine.


def together(work: Callable, processes: int = 2, *arguments: Any, limit_s: float = LIMIT_S) -> list:
    """Run `work(rank, *arguments)` in so many processes that form a group, and return what each gave, in the order of ranks.

    Each has one thread, and a copy of all that the function uses. Raises an error with the traceback of the process that failed
    first, or TimeoutError; the others are ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = cloudpickle.dumps((work, arguments))  # so that a function of a notebook can be sent anywhere
        started = start_processes(_begin, (processes, folder, told), processes, join=False, start_method=METHOD)
        assert started is not None
        until = time.monotonic() + limit_s
        try:
            while not started.join(timeout=1, grace_period=5):
                if time.monotonic() > until:
                    raise TimeoutError(f"The processes have not ended in {limit_s:.0f} s: one may wait for another.")
        finally:
            for one in started.processes:
                one.kill()
                one.join()
        return [cloudpickle.loads((Path(folder) / str(rank)).read_bytes()) for rank in range(processes)]


def _begin(rank: int, processes: int, folder: str, told: bytes) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(os.devnull, "w") as nowhere:  # gloo tells of each connection
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    torch.set_num_threads(1)
    told_by_torchrun = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 0,
    }
    os.environ |= {
        name: str(value) for name, value in told_by_torchrun.items()
    }  # libraries look there; nobody calls the port
    _join(rank, processes, f"{folder}/store")
    work, arguments = cloudpickle.loads(told)
    found = work(rank, *arguments)
    (Path(folder) / str(rank)).write_bytes(cloudpickle.dumps(found))
    leave()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _join(rank: int, processes: int, file: str) -> None:
    """Form a group through a file; what the processes then say goes over the loopback address."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")] if os.name == "posix" else []
    os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0] if names else "")
    store = distributed.FileStore(file, processes)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)


def join() -> None:
    """Join the processes that torchrun has started beside this one, on this machine or on many; alone without torchrun.

    On a GPU numbers go by NCCL, else by gloo.
    """
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if STORE in os.environ:
        # after a restart the file of the last attempt would tell of processes that are gone
        _join(rank, processes, f"{os.environ[STORE]}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}")
    elif "RANK" in os.environ:
        distributed.init_process_group("cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo")
    else:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)


def leave() -> None:
    """Leave the group, together: nobody goes while another still talks."""
    distributed.barrier()
    distributed.destroy_process_group()


def torchrun(*command: str, processes: int = 2, restarts: int = 0, agents: int = 1, limit_s: float = LIMIT_S) -> str:
    """Run a script, or "-m" and a module with its arguments, by torchrun on this machine alone; return what it printed.

    Takes the processes of each agent, how often all are started again when one dies, and the number of agents: torchrun has one
    on each machine, and here several stand for several machines. They find each other through a file, so that nothing
    listens to other machines.
    Raises ValueError for restarts of several agents, RuntimeError with the last lines if it fails, or TimeoutError. Whatever
    ends it, no process is left.
    """
    if restarts and agents > 1:  # the file by which processes find each other has the count in its name
        raise ValueError("Each agent counts its own restarts: their processes would miss each other. Take one agent.")
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--nnodes={agents}", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
        options += ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder}/agents", "--rdzv-conf=store_type=file"]
        options += ["--local-addr=127.0.0.1", "--rdzv-id=here"]
        # with a shared store the processes that are started again would read the addresses of the dead (pytorch issue 135712)
        told = {STORE: f"{folder}/store", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-m", "torch.distributed.run", *options, *command]
        logs = [Path(folder) / f"log-{number}" for number in range(agents)]
        started = [_start(words, os.environ | told, log) for log in logs]
        try:
            until = time.monotonic() + limit_s
            while any(one.poll() is None for one in started):
                if time.monotonic() > until:
                    raise TimeoutError(f"{' '.join(command[:2])} has not ended in {limit_s:.0f} s.")
                time.sleep(0.2)
        finally:
            for one in started:
                _stop(one)
        said = "\n".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)
    if any(one.returncode for one in started):
        traces = re.split(r"^(?=Traceback \(most recent call last\):$)", said, flags=re.MULTILINE)
        own = "".join(
            one for one in traces if "ChildFailedError" not in one
        )  # torchrun's own says only that one failed
        raise RuntimeError(f"{' '.join(command[:2])} failed:\n" + "\n".join(own.splitlines()[-30:]))
    return said


def _start(words: list[str], told: dict[str, str], log: Path) -> subprocess.Popen:
    ends_with_us = _end_with_us if sys.platform == "linux" else None
    with log.open("wb") as file:
        return subprocess.Popen(
            words, env=told, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=ends_with_us
        )


def _end_with_us() -> None:
    """Ask Linux to end this process when the one that started it ends: a kernel that is killed can't say so."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG; torchrun then ends its own


def _stop(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    if process.poll() is None:
        process.terminate()  # an agent ends its own
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()
    process.wait()


# In a process of a group. Alone, without a group, each does what one process would.


def rank() -> int:
    """Return this process's number in its group; 0 alone."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Return how many processes are in the group; 1 alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def over_all(number: torch.Tensor, how: Any = None) -> torch.Tensor:
    """Return the sum of a tensor over all processes, or another `distributed.ReduceOp` of it; the given one stays as it is."""
    total = number.detach().clone()
    if world() > 1:
        distributed.all_reduce(total, how or distributed.ReduceOp.SUM)
    return total


def from_all(thing: Any) -> list:
    """Return what each process has given, in the order of ranks."""
    every: list[Any] = [thing]
    if world() > 1:
        every = [None] * world()
        distributed.all_gather_object(every, thing)
    return every


def global_mean(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the loss whose gradient, averaged over processes as DDP and FSDP do, is that of the weighted mean over all rows.

    Takes each row's loss and its weight in this process. The divisor is the sum of all processes' weights, and not of its own.
    """
    return (losses * weights).sum() * world() / over_all(weights.sum())


def sharded(model: nn.Module) -> nn.Module:
    """Share a model's weights out by FSDP2, block by block and then the rest, in place, and return it."""
    from torch.distributed.fsdp import fully_shard  # not every build of torch has it

    for block in next(module for module in model.modules() if isinstance(module, nn.ModuleList)):
        fully_shard(block)
    fully_shard(model)
    return model


def local(tensor: torch.Tensor) -> torch.Tensor:
    """Return the part of a tensor that this process holds: all of it, if it is not sharded."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Return a sharded tensor whole, in every process."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of all weights, whole, by their names."""
    return {name: whole(p.detach()).clone() for name, p in model.named_parameters()}


def gradients(model: nn.Module) -> torch.Tensor:
    """Return all gradients, whole, as one row."""
    return torch.cat([whole(p.grad).flatten() for p in model.parameters() if p.grad is not None])


# Detectors: one line each in a training script.


def expect(processes: int) -> None:
    """Raise RuntimeError unless this process is in a group of so many: a launcher that starts one tells nobody."""
    if world() != processes:
        raise RuntimeError(
            f"{processes} processes were asked for, and this one is in a group of {world()}: each such group trains a model of its "
            "own. Start the script with torchrun, and let it join the group before anything else."
        )


def apart(model: nn.Module) -> float:
    """Return the largest difference of any weight between two processes: 0 unless they train apart. All must call it."""
    return spread(torch.cat([local(p.detach()).flatten() for p in model.parameters()]))


def spread(numbers: torch.Tensor) -> float:
    """Return by how much a number, or the worst of several, differs between processes: 0 if it is the same. All must call it."""
    op = distributed.ReduceOp
    return float((over_all(numbers, op.MAX) - over_all(numbers, op.MIN)).abs().max())


class Tally(NamedTuple):
    """Of the rows that should be read once: how many nobody has read, and how many times too often rows were read."""

    lost: int
    doubled: int


def tally(rows: Iterable[int], total: int) -> Tally:
    """Count what all processes have read, given the numbers of the rows that this one has, of 0 to total - 1. All must call it."""
    counted = Counter(row for one in from_all(list(rows)) for row in one)
    return Tally(total - len(counted), sum(counted.values()) - len(counted))


# What a process holds.


def held(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    """Return the bytes that this process holds of weights, gradients and the optimiser's means, counted tensor by tensor."""

    def size(tensors: Iterable[torch.Tensor | None]) -> int:
        return sum(local(one).numel() * one.element_size() for one in tensors if one is not None)

    parameters = list(model.parameters())
    means = [one for p in parameters for name, one in optimizer.state[p].items() if name != "step"]
    return {"weights": size(parameters), "gradients": size(p.grad for p in parameters), "optimiser": size(means)}


def memory(parameters: int, processes: int, shared_out: bool, bytes_each: int = 4) -> dict[str, float]:
    """Return by arithmetic the bytes that each process holds to train so many weights with AdamW.

    `shared_out` is FSDP, of which each holds a part; else DDP, of which each holds all.
    """
    parts = processes if shared_out else 1
    return {name: copies * bytes_each * parameters / parts for name, copies in COPIES.items()}


# Keeping a step, and going on from it.


def keep(
    folder: str | Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, last: int = 2, **facts: Any
) -> Path:
    """Keep the weights and AdamW's means after a step in a folder of its own; return it. All processes must call it.

    Each process writes its own part as safetensors. The folder has another name until all parts are there, so one that is
    found under its own is whole. Then earlier steps are deleted but for so many as make `last` with this one: two, so that one
    is left if the last turns out to be broken; 0 deletes none.
    """
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    target = Path(folder) / f"{KEPT}{step:06}"
    beside = target.with_name(target.name + UNFINISHED)
    if rank() == 0:
        shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed while it wrote
        beside.mkdir(parents=True)
    _wait()
    with warnings.catch_warnings(action="ignore"):  # it says when one process does this alone
        writer = HuggingFaceStorageWriter(str(beside), save_distributed=True)
        checkpoint.save(_state(model, optimizer), storage_writer=writer)
    _wait()
    if rank() == 0:
        told = {"step": step, "processes": world(), "parts": _fingerprints(beside)} | facts
        (beside / FACTS).write_text(json.dumps(told), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(beside, target)
        until_now = [path for path in _steps(folder) if _number(path) <= step]
        for old in until_now[:-last] if last > 0 else []:
            shutil.rmtree(old)
    _wait()
    return target


def newest(folder: str | Path) -> Path | None:
    """Return the folder of the last step that was kept whole; None if there is none."""
    return next(reversed(_steps(folder)), None)


def _steps(folder: str | Path) -> list[Path]:
    """Return the folders of the steps that were kept whole, the first step first."""
    whole = [path for path in Path(folder).glob(f"{KEPT}*") if path.name.removeprefix(KEPT).isdecimal()]
    return sorted(whole, key=_number)


def _number(kept: Path) -> int:
    return int(kept.name.removeprefix(KEPT))


def take_up(kept: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """Put a kept step into a model and its optimizer, shared out over however many processes; return its facts.

    Raises ValueError for one that is not whole, or whose parts are not those that were kept together.
    """
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    if not (Path(kept) / FACTS).is_file():
        raise ValueError(f"{kept} was not kept whole: it has no {FACTS}. Take the one that `newest` finds.")
    facts = json.loads((Path(kept) / FACTS).read_text(encoding="utf-8"))
    if rank() == 0 and facts["parts"] != _fingerprints(Path(kept)):
        raise ValueError(f"{kept} holds a part that was not kept with the others. Take an earlier step.")
    with warnings.catch_warnings(action="ignore"):
        checkpoint.load(_state(model, optimizer), storage_reader=HuggingFaceStorageReader(str(kept)))
    for state in optimizer.state.values():
        state["step"].fill_(facts["step"])
    return facts


def _fingerprints(folder: Path) -> dict[str, str]:
    return {file.name: paths.sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return all tensors that training goes on from, by name; AdamW's means are made where it has taken no step yet."""
    found: dict[str, torch.Tensor] = {}
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if not optimizer.state[p]:
            optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p)}
            optimizer.state[p]["exp_avg_sq"] = torch.zeros_like(p)
        found |= {name: p.detach()}
        found |= {f"{mean}.{name}": optimizer.state[p][mean] for mean in ("exp_avg", "exp_avg_sq")}
    return found


def _wait() -> None:
    if world() > 1:
        distributed.barrier()


# Rows that don't fit into memory.


def stream(files: Sequence[str | Path], epoch: int, seed: int = 0, block: int = 1_000) -> Any:
    """Return the rows of Parquet files as an IterableDataset, shuffled, that this process reads its share of.

    Files come in an order that the seed and the epoch draw, and rows are shuffled within blocks of so many. Unlike a shuffle buffer,
    whose rows are lost when a state is kept and taken up, this leaves nothing in the air: `state_dict` says where it stands.
    """
    import datasets
    import numpy as np
    from datasets.distributed import split_dataset_by_node

    order = np.random.default_rng([seed, epoch]).permutation(len(files))
    names = [str(files[place]) for place in order]
    rows = datasets.load_dataset("parquet", data_files=names, split="train", streaming=True)

    def mixed(columns: dict[str, list], place: list[int]) -> dict[str, list]:
        of_block = np.random.default_rng([seed, epoch, place[0]]).permutation(len(place))
        return {name: [values[one] for one in of_block] for name, values in columns.items()}

    shuffled = rows.map(mixed, batched=True, batch_size=block, with_indices=True)
    return split_dataset_by_node(shuffled, rank=rank(), world_size=world())
