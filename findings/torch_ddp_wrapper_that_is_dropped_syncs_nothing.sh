#!/usr/bin/env bash
# torch 2.13.0, gloo, two processes on one machine, Python 3.11, any processor.
# `DistributedDataParallel(model)` averages the gradients of all processes during `backward()`. Where the wrapper is made inside a function
# that returns the loss, nothing holds it any more when `backward()` begins: each process keeps the gradient of its own rows, and no
# warning is given. The loss is right, training goes on, and the processes' weights part. A wrapper that is kept until
# `backward()` has ended averages, also if it is dropped then.
# Seen, with rows of ones in one process and of twos in the other: gradients 1.10 apart, of the right one's size; kept, 0.00.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  numpy==2.4.6 torch==2.13.0
cd "$work"
cat > check.py <<'PY'
import json
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import distributed, nn
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

KEPT, DROPPED, LATER = "kept", "dropped before backward", "dropped after backward"


def loss_of(model, rows):
    """The loss by a wrapper that ends with this function."""
    return DistributedDataParallel(model)(rows).pow(2).mean()


def gradient(way, rank):
    """Return this process's gradient after one backward pass on its own rows."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    rows = torch.full((8, 4), float(rank + 1))
    if way == DROPPED:
        loss_of(model, rows).backward()
    else:
        wrapper = DistributedDataParallel(model)
        wrapper(rows).pow(2).mean().backward()
        if way == LATER:
            del wrapper
    return model.weight.grad.flatten().tolist()


def work(rank, folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = {way: gradient(way, rank) for way in (KEPT, DROPPED, LATER)}
    Path(folder, f"{rank}.json").write_text(json.dumps([found, [str(one.message) for one in said]]))
    distributed.barrier()
    distributed.destroy_process_group()


def still(so, what):
    if not so:
        sys.exit(f"No longer so: {what}")


if __name__ == "__main__":
    print("torch", torch.__version__.split("+")[0])
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, (folder,), nprocs=2)
        (one, said), (other, more) = (json.loads(Path(folder, f"{rank}.json").read_text()) for rank in (0, 1))
    size = max(map(abs, one[KEPT]))
    for way in one:
        apart = max(abs(a - b) for a, b in zip(one[way], other[way], strict=True)) / size
        print(f"{way}: the gradients of the two processes are {apart:.2f} apart")
        if way == DROPPED:
            still(apart > 0.5, "a wrapper that is dropped leaves each process its own gradient.")
        else:  # the controls
            still(apart < 1e-6, f"a wrapper that is {way} averages.")
    still(not said + more, "no warning is given.")
    print("As found")
PY
GLOO_SOCKET_IFNAME=lo "$work/venv/bin/python" check.py
