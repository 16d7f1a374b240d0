"""What runs at a site: weights come, a round of training on the site's own reports, weights go. No report leaves this process.

NVFlare starts it; its name for the site decides which reports are the site's. FEDERATION_CSV names a file of the site's own; without
it the course's reports of that site are drawn.
"""

import argparse
import os

import nvflare.client as flare
import pandas as pd
import torch

from course_utils import adapt, data, federated, models, session

KEY = "numpy_key"  # under which NVFlare keeps one row of numbers, which needs no pickle


def own_rows(name: str) -> pd.DataFrame:
    """Return the rows that this site trains on: of a file of its own those of the split train, which `data` finds or makes."""
    own = os.environ.get("FEDERATION_CSV")
    train = data.load_reports(own or None)["train"].to_pandas()
    if own:
        return train
    if name not in federated.LABELS:
        raise ValueError(
            f'The course has no site "{name}", only {", ".join(federated.LABELS)}. To train on a file of your own, set '
            "FEDERATION_CSV to it before the site is started."
        )
    return federated.draw(train, {name: federated.LABELS[name]}, seed=0)[name]


def start(seed: int):
    """Return the base with a new head and LoRA, the same at every site and at the server, and its tokenizer."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    torch.manual_seed(seed)
    return adapt.prepare(model, "LoRA"), tokenizer


def settings() -> argparse.Namespace:
    """Return what the job tells every site."""
    told = argparse.ArgumentParser()
    told.add_argument("--rounds", type=int)
    told.add_argument("--steps", type=int, help="of a round")
    told.add_argument("--lr", type=float)
    told.add_argument("--seed", type=int)
    return told.parse_args()


def main() -> None:
    """Take part until the job is over."""
    told = settings()
    session.start(seed=told.seed, threads=1)
    flare.init()
    model, tokenizer = start(told.seed)
    name = flare.get_site_name()
    site = federated.site(name, tokenizer, own_rows(name))
    each = federated.rates(told.lr, told.rounds * told.steps)
    like = federated.trained(model)
    while flare.is_running():
        arrived = flare.receive()
        if arrived is None:
            break
        number = arrived.current_round
        federated.put(model, federated.unflat(arrived.params[KEY], like))
        of_round = each[number * told.steps : (number + 1) * told.steps]
        federated.train(model, tokenizer, site, of_round, federated.of_round(told.seed, number))
        mine = {KEY: federated.flat(federated.trained(model))}
        # the count by which NVFlare weighs a site in the mean; it calls it steps
        flare.send(flare.FLModel(params=mine, meta={"NUM_STEPS_CURRENT_ROUND": len(site)}))


if __name__ == "__main__":
    main()
