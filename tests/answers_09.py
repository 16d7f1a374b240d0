"""Right and wrong answers to the exercises of notebook 09, each wrong one with words of its hint."""

import numpy as np


def zero_based(wanted, how_many):
    if any(not 1 <= number <= how_many for number in wanted):
        raise ValueError(f"There are {how_many} layers.")
    return sorted({number - 1 for number in wanted})


def none_above(wanted, how_many):
    if max(wanted) > how_many or 0 in wanted:
        raise ValueError
    return sorted({number - 1 for number in wanted})


def zero_based_array(wanted, how_many):
    numbers = np.unique(wanted) - 1
    if numbers.min() < 0 or numbers.max() >= how_many:
        raise ValueError("no such layer")
    return numbers


def by_trying(chances, ill, wanted):
    best = 0.0
    for t in sorted(set(chances)):
        if (chances[ill] >= t).mean() >= wanted:
            best = t
    return best


def by_sorting(chances, ill, wanted):
    among = np.sort(chances[ill])[::-1]
    return among[int(np.ceil(wanted * len(among) - 1e-9)) - 1]


def kept(confidence, wrong, share):
    n = max(1, int(share * len(confidence)))
    return wrong[np.argsort(-confidence)[:n]].mean()


def kept_loop(confidence, wrong, share):
    pairs = sorted(zip(confidence, wrong, strict=True), reverse=True)[: max(1, int(share * len(confidence)))]
    return sum(bad for _, bad in pairs) / len(pairs)


RIGHT = {
    "09-layers": [zero_based, zero_based_array],
    "09-threshold": [by_trying, by_sorting],
    "09-abstain": [kept, kept_loop],
}

WRONG = [
    ("09-layers", none_above, "For [-1] of 6 layers"),
    ("09-layers", lambda wanted, n: sorted(set(wanted)), "people's numbers still"),
    ("09-layers", lambda wanted, n: sorted(i - 1 for i in wanted), "named twice"),
    ("09-layers", lambda wanted, n: [i - 1 for i in wanted], "Sort them"),
    ("09-layers", lambda wanted, n: sorted({i + 1 for i in wanted}), "The other way"),
    ("09-layers", lambda wanted, n: sorted({n - i for i in wanted}), "count from the end"),
    ("09-layers", lambda wanted, n: sorted({i - 1 for i in wanted}), "there is no such layer, so refuse it"),
    ("09-layers", lambda wanted, n: [range(n)[i - 1] for i in sorted(set(wanted))], "raise ValueError, not IndexError"),
    ("09-layers", [10, 11], "Hand over the function itself"),
    ("09-threshold", lambda c, ill, wanted: min(c), "That is the lowest one"),
    ("09-threshold", lambda c, ill, wanted: max(t for t in [0, *c] if (c[ill] > t).mean() >= wanted), ">=, not >"),
    ("09-threshold", lambda c, ill, wanted: by_trying(c, ill, wanted) + 0.05, "right is"),
    (
        "09-threshold",
        lambda c, ill, wanted: min([t for t in c if (c[~ill] < t).mean() >= wanted], default=1.0),
        "That is the specificity",
    ),
    (
        "09-threshold",
        lambda c, ill, wanted: min([t for t in c if ill[c >= t].mean() >= wanted], default=1.0),
        "That is the precision",
    ),
    ("09-threshold", lambda c, ill, wanted: wanted, "is no threshold"),
    ("09-threshold", lambda c, ill, wanted: 1 - wanted, "is no threshold"),
    ("09-threshold", 0.5, "Hand over the function itself"),
    (
        "09-abstain",
        lambda c, wrong, share: wrong[np.argsort(c)[: max(1, int(share * len(c)))]].mean(),
        "least confident",
    ),
    (
        "09-abstain",
        lambda c, wrong, share: wrong[np.argsort(-c)[: max(1, int(share * len(c)))]].sum() / len(c),
        "kept, not by all",
    ),
    (
        "09-abstain",
        lambda c, wrong, share: wrong[np.argsort(-c)[: max(1, int(share * len(c)))]].sum() / max(1, wrong.sum()),
        "not by the errors",
    ),
    ("09-abstain", lambda c, wrong, share: wrong[: max(1, int(share * len(c)))].mean(), "Sort by confidence first"),
    ("09-abstain", lambda c, wrong, share: 1 - kept(c, wrong, share), "the share that is right"),
    (
        "09-abstain",
        lambda c, wrong, share: wrong[c >= share].mean() if (c >= share).any() else 0.0,
        "a share of the reports",
    ),
    ("09-abstain", lambda c, wrong, share: wrong[np.argsort(-c)[: int(share * len(c))]].mean(), "at least one report"),
    ("09-abstain", 0.1, "Hand over the function itself"),
]
