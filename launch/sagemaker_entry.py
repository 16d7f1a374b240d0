"""Starts the same script where a service starts one container a machine and tells it of the others, as SageMaker does.

    python launch/sagemaker_entry.py /kept 100

The first machine keeps the list of those that have come, the others wait for it ten minutes at most.
SM_HOSTS is a list of machines in JSON, SM_CURRENT_HOST this one, SM_NUM_GPUS and SM_NUM_CPUS what it has. Another service says the
same by other names: change them here.
"""

import json
import os
import sys


def command(told: dict[str, str], folder: str, steps: str) -> list[str]:
    """Return the torchrun command of this machine, from what the service has told it."""
    hosts = sorted(json.loads(told["SM_HOSTS"]))  # in the same order on each
    each = int(told.get("SM_NUM_GPUS") or 0) or int(told["SM_NUM_CPUS"])
    here = told["SM_CURRENT_HOST"]
    options = [f"--nnodes={len(hosts)}", f"--nproc-per-node={each}", "--max-restarts=3", f"--local-addr={here}"]
    options += ["--rdzv-backend=c10d", f"--rdzv-endpoint={hosts[0]}:29500"]
    options += [f"--rdzv-conf=is_host={int(here == hosts[0])},read_timeout=600"]
    script = ["-m", "course_utils.train_many", folder, "--processes", str(len(hosts) * each), "--steps", steps]
    return ["torchrun", *options, *script]


if __name__ == "__main__":
    words = command(dict(os.environ), *sys.argv[1:])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # with a shared store a restart may read the addresses of processes that are gone (pytorch issue 135712)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.execvp(words[0], words)
