"""Federated averaging in NVFlare on this machine, in its simulator: `python federation/nvflare/job.py`.

`--processes` starts a server and the sites as programs of their own instead, with start-up folders and certificates as real sites get
them. The server then listens on all addresses of the machine: `make federation` gives it a network in which there is only this machine.
`--export --export-dir my_job` writes the job as a folder instead, to be given to a server that real sites have joined.
The last mean is build/federation/last.npy, one row of numbers: `federated.unflat` makes weights of it.
"""

import argparse
import os
import shutil
from pathlib import Path

import client
import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe import PocEnv, SimEnv

from course_utils import federated, paths

NAME = "federated_adapter"
WORK = paths.BUILD / "federation"


def recipe(rounds: int, steps: int, lr: float, seed: int) -> NumpyFedAvgRecipe:
    """Return the job: the weights that it begins with, the rounds, and what each site runs."""
    first = WORK / "first.npy"
    first.parent.mkdir(parents=True, exist_ok=True)
    np.save(first, federated.flat(federated.trained(client.start(seed)[0])), allow_pickle=False)
    return NumpyFedAvgRecipe(
        name=NAME,
        initial_ckpt=str(first),
        min_clients=len(federated.LABELS),
        num_rounds=rounds,
        train_script=str(Path(client.__file__)),
        train_args=f"--rounds {rounds} --steps {steps} --lr {lr} --seed {seed}",
    )


def simulator() -> SimEnv:
    """Return the simulator, with the sites' names."""
    return SimEnv(clients=list(federated.LABELS), workspace_root=str(WORK), log_config="concise")


def processes() -> PocEnv:
    """Return a server and sites with certificates, whose folders lie in build/federation/processes."""
    os.environ["NVFLARE_POC_WORKSPACE"] = str(WORK / "processes")
    names = list(federated.LABELS)
    return PocEnv(clients=names, num_clients=len(names), extra={"login_timeout": 60})


def main() -> None:
    """Run it, and say where the result lies."""
    told = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    told.add_argument("--rounds", type=int, default=5)
    told.add_argument("--steps", type=int, default=6, help="of a site in a round")
    told.add_argument("--lr", type=float, default=1e-2)
    told.add_argument("--seed", type=int, default=0)
    told.add_argument("--processes", action="store_true", help="a program for the server and for each site")
    # NVFlare reads these two by itself, and takes them away when it is imported; here they are for --help
    told.add_argument("--export", action="store_true", help="write the job as a folder, and run nothing")
    told.add_argument("--export-dir", help="that folder")
    given = told.parse_args()
    last = WORK / "last.npy"
    last.unlink(missing_ok=True)  # so that no earlier run is taken for this one
    shutil.rmtree(WORK / NAME, ignore_errors=True)
    where = processes() if given.processes else simulator()
    try:
        done = recipe(given.rounds, given.steps, given.lr, given.seed).execute(where)
        # else NVFlare takes the folder of the processes away, and the weights with it, before it says where they are
        place = done.get_result(clean_up=False) if given.processes else done.get_result()
        found = sorted(Path(place).rglob("server.npy")) if place else []
        if not found:
            raise SystemExit(f"No weights came out. The logs of the server and the sites below {WORK} say why.")
        shutil.copyfile(found[-1], last)
    finally:
        if given.processes:
            where.stop()
    print(f"The last mean: {last}")


if __name__ == "__main__":
    main()
