"""Starts the same script where a service starts one container a machine and tells it of the others, as SageMaker does.

    python launch/sagemaker_entry.py /kept 100

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
    options = [
        f"--nnodes={len(hosts)}",
        f"--nproc-per-node={each}",
        f"--node-rank={hosts.index(told['SM_CURRENT_HOST'])}",
    ]
    options += [f"--master-addr={hosts[0]}", "--master-port=29500", "--max-restarts=3"]
    script = ["-m", "course_utils.train_many", folder, "--processes", str(len(hosts) * each), "--steps", steps]
    return ["torchrun", *options, *script]


if __name__ == "__main__":
    words = command(dict(os.environ), *sys.argv[1:])
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execvp(words[0], words)
