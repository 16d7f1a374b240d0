"""Runs federation/nvflare and holds what comes out to the loop by hand, for notebook 16, into results/federation.json: `make federation`.

The framework runs in a network namespace of its own, with the loopback address alone: NVFlare's server listens on all addresses,
and there nobody else has one; and a run that ends there has shown that nothing needs to leave. Linux alone has such namespaces.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

from course_utils import federated, paths, results, session

from . import federated as measured
from . import runs

NAME = "federation"
FOLDER = paths.ROOT / "federation" / "nvflare"
ROUNDS, STEPS, LR, SEED = 2, 3, 1e-2, 0
TOLERANCE = 1e-3  # of what training has changed: a sum in another order differs in its last digits, which Adam enlarges
LIMIT_S = 1_800
WITHOUT = (
    "A network of its own needs Linux, `unshare` of util-linux, `ip` of iproute2, and a system that lets its users make namespaces. "
    "The run itself does not: `python federation/nvflare/job.py`, on a machine whose network you trust."
)


def by_hand(combine: federated.Combine = federated.mean) -> tuple[np.ndarray, np.ndarray]:
    """Return what the loop by hand begins with, and its last mean, each as one row of numbers."""
    model, tokenizer = measured.fresh("tiny-biobert", SEED)
    first = federated.flat(federated.trained(model))
    sites = measured.together(tokenizer, measured.labelled(SEED))
    each = federated.rates(LR, ROUNDS * STEPS)
    history = federated.average(model, tokenizer, sites, each_rate=each, rounds=ROUNDS, seed=SEED, combine=combine)
    return first, federated.flat(history[-1])


def apart(found: np.ndarray, first: np.ndarray, wanted: np.ndarray) -> float:
    """Return how far weights lie from those that are wanted, as a share of how far training has moved these."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted - first))


def alone_in_a_network(command: list[str]) -> subprocess.CompletedProcess:
    """Run a command where there is no network but the loopback address; its output is returned.

    What it starts has process numbers of its own as well, and ends with it. Raises RuntimeError, with its last lines, if it fails, and
    with the mend, if this system makes no such network.
    """
    for tool in ("unshare", "ip"):
        if not shutil.which(tool):
            raise RuntimeError(f"There is no `{tool}` here. {WITHOUT}")
    apart = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inside = [*apart, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the sites' scripts say `python3`
    home = paths.BUILD / "federation" / "home"  # NVFlare writes a folder of its own into the user's home
    home.mkdir(parents=True, exist_ok=True)
    own = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(paths.ROOT / "src"), "PATH": first, "HOME": str(home)}
    told = os.environ | own
    done = subprocess.run(inside, capture_output=True, text=True, timeout=LIMIT_S, env=told)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        mend = f"\n{WITHOUT}" if done.stderr.startswith("unshare:") else ""
        raise RuntimeError(f"{' '.join(command[:3])} failed:\n{last}{mend}")
    return done


def readable(log: str) -> list[str]:
    """Return of a framework's log what tells a reader how the rounds went, without times and addresses."""
    wanted = re.compile(
        r"(?:^ +|- INFO - )(Start FedAvg|Round \d+ started|Aggregated \d+/\d+ results|Finished FedAvg)", re.MULTILINE
    )
    return wanted.findall(log)


HOW = {"simulator, a process for each site": []}  # and what `job.py` is told


def run(how: str, first: np.ndarray, wanted: np.ndarray) -> dict:
    """Run the job in one of the ways; return how far its last mean lies from the loop by hand, and what it printed."""
    told = ["--rounds", str(ROUNDS), "--steps", str(STEPS), "--lr", str(LR), "--seed", str(SEED), *HOW[how]]
    began = session.cpu_seconds()
    done = alone_in_a_network([sys.executable, str(FOLDER / "job.py"), *told])
    seconds = session.cpu_seconds() - began  # of all its processes, their starts among them
    place = re.search(r"^The last mean: (.+)$", done.stdout, re.MULTILINE)
    if not place:
        raise RuntimeError("The job has not said where its last mean lies. Its last lines: " + done.stdout[-500:])
    found = np.load(Path(place[1]), allow_pickle=False)
    return {
        "framework": "NVFlare",
        "version": version("nvflare"),
        "how": how,
        "rounds": ROUNDS,
        "sites": len(federated.LABELS),
        "apart": apart(found, first, wanted),
        "cpu_s": seconds,
        "log": readable(done.stdout + done.stderr),
    }


def main() -> None:
    """Run each way and write the file. Raises RuntimeError if the framework computes something else."""
    runs.start()
    began = session.cpu_seconds()
    first, wanted = by_hand()
    loop_s = session.cpu_seconds() - began
    unweighted = apart(by_hand(federated.trimmed(0))[1], first, wanted)  # what a forgotten weight would look like
    if unweighted < 10 * TOLERANCE:
        raise RuntimeError(f"The plain mean lies {unweighted} from the weighted one: the check would not see it.")
    found = []
    for how in HOW:
        found.append(run(how, first, wanted))
        print(f"{how}:", *found[-1]["log"], sep="\n  ", flush=True)
        if (off := found[-1]["apart"]) > TOLERANCE:
            raise RuntimeError(f"{how}: the last mean lies {off} from the loop by hand, more than {TOLERANCE}.")
    results.ship(NAME, runs=found, tolerance=TOLERANCE, unweighted=unweighted, loop_cpu_s=loop_s)


if __name__ == "__main__":
    main()
