"""Right and wrong answers to the exercises of notebook 10, each wrong one with words of its hint."""

import math

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve


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


def by_curve(chances, ill, wanted):
    _, found, cuts = roc_curve(ill, chances, drop_intermediate=False)
    return cuts[np.argmax(found >= wanted)]


def by_counting(chances, ill, wanted):
    return max(t for t in chances if ((chances >= t) & ill).sum() >= wanted * ill.sum())


def by_ranking(chances, ill, wanted):
    among = pd.Series(chances[ill]).sort_values(ascending=False, ignore_index=True)
    return float(among[(among.index + 1) / len(among) >= wanted].iloc[0])


def kept_frame(confidence, wrong, share):
    rows = pd.DataFrame({"sure": confidence, "wrong": wrong}).sort_values("sure", ascending=False)
    return rows["wrong"].head(max(int(len(rows) * share), 1)).mean()


def kept_cumulated(confidence, wrong, share):
    n = math.floor(share * len(confidence)) or 1
    return np.cumsum(wrong[confidence.argsort()[::-1]])[n - 1] / n


def first(confidence, wrong, n):
    return wrong[np.argsort(-confidence)[:n]]


def sorts_its_input(confidence, wrong, share):
    error = kept(confidence, wrong, share)
    confidence.sort()
    return error


RIGHT = {
    "10-threshold": [
        by_trying,
        by_sorting,
        by_curve,
        by_counting,
        by_ranking,
        lambda c, ill, w: max((t for t in set(c.tolist()) if ((c >= t) & ill).sum() / ill.sum() >= w), default=0.0),
    ],
    "10-abstain": [
        kept,
        kept_loop,
        kept_frame,
        kept_cumulated,
        lambda c, wrong, share: wrong[c >= sorted(c)[-max(1, int(len(c) * share))]].mean(),
        lambda c, wrong, share: pd.Series(wrong).loc[pd.Series(c).nlargest(max(1, int(share * len(c)))).index].mean(),
    ],
}

WRONG = [
    ("10-threshold", lambda c, ill, wanted: min(c), "That is the lowest one"),
    ("10-threshold", lambda c, ill, wanted: max(t for t in [0, *c] if (c[ill] > t).mean() >= wanted), ">=, not >"),
    ("10-threshold", lambda c, ill, wanted: by_trying(c, ill, wanted) + 0.05, "right is"),
    (
        "10-threshold",
        lambda c, ill, wanted: min([t for t in c if (c[~ill] < t).mean() >= wanted], default=1.0),
        "That is the specificity",
    ),
    (
        "10-threshold",
        lambda c, ill, wanted: min([t for t in c if ill[c >= t].mean() >= wanted], default=1.0),
        "That is the precision",
    ),
    ("10-threshold", lambda c, ill, wanted: wanted, "is no threshold"),
    ("10-threshold", lambda c, ill, wanted: 1 - wanted, "is no threshold"),
    ("10-threshold", 0.5, "Hand over the function itself"),
    (
        "10-abstain",
        lambda c, wrong, share: wrong[np.argsort(c)[: max(1, int(share * len(c)))]].mean(),
        "least confident",
    ),
    (
        "10-abstain",
        lambda c, wrong, share: wrong[np.argsort(-c)[: max(1, int(share * len(c)))]].sum() / len(c),
        "kept, not by all",
    ),
    (
        "10-abstain",
        lambda c, wrong, share: wrong[np.argsort(-c)[: max(1, int(share * len(c)))]].sum() / max(1, wrong.sum()),
        "not by the errors",
    ),
    ("10-abstain", lambda c, wrong, share: wrong[: max(1, int(share * len(c)))].mean(), "Sort by confidence first"),
    ("10-abstain", lambda c, wrong, share: 1 - kept(c, wrong, share), "the share that is right"),
    (
        "10-abstain",
        lambda c, wrong, share: wrong[c >= share].mean() if (c >= share).any() else 0.0,
        "a share of the reports",
    ),
    ("10-abstain", lambda c, wrong, share: wrong[np.argsort(-c)[: int(share * len(c))]].mean(), "at least one report"),
    ("10-abstain", 0.1, "Hand over the function itself"),
    ("10-threshold", lambda c, ill, w: min(c[ill]), "gives 0.4; right is 0.6"),
    ("10-threshold", lambda c, ill, w: max(c[ill]), "gives 0.9; right is 0.6"),
    ("10-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w), "gives 0.56; right is 0.6"),
    ("10-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w, method="lower"), "gives 0.4; right is 0.6"),
    ("10-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w, method="higher"), "right is"),
    ("10-threshold", lambda c, ill, w: max(t for t in c if (c >= t).mean() >= w), "right is"),
    ("10-threshold", lambda c, ill, w: by_counting(c, ill, w) + 1e-4, "gives 0.6001; right is 0.6"),
    ("10-threshold", lambda c, ill, w: round(by_counting(c, ill, w), 1), "You round"),
    (
        "10-threshold",
        lambda c, ill, w: [t for t in c if (c[ill] >= t).mean() >= w],
        "gives [0.6, 0.4, 0.2]; right is 0.6",
    ),
    ("10-threshold", lambda c, ill, w: 0.5, "in all 4 cases"),
    ("10-abstain", lambda c, wrong, share: first(c, wrong, max(1, round(share * len(c)))).mean(), "Round down"),
    ("10-abstain", lambda c, wrong, share: first(c, wrong, max(1, int(share * len(c) + 0.5))).mean(), "Round down"),
    ("10-abstain", lambda c, wrong, share: first(c, wrong, math.ceil(share * len(c))).mean(), "Round down"),
    ("10-abstain", lambda c, wrong, share: first(c, wrong, int(share * len(c)) + 1).mean(), "Round down"),
    (
        "10-abstain",
        lambda c, wrong, share: wrong[c >= np.quantile(c, 1 - share)].mean(),
        "gives 0.5; right is 0.333333",
    ),
    ("10-abstain", lambda c, wrong, share: wrong.mean(), "You count all reports"),
    ("10-abstain", lambda c, wrong, share: 100 * kept(c, wrong, share), "in percent"),
    (
        "10-abstain",
        lambda c, w, s: w[np.argsort(-c)[: int(s * len(c))]].sum() / max(1, int(s * len(c))),
        "gives 0; right is 1",
    ),
    ("10-abstain", lambda c, wrong, share: kept(c, wrong, share) / share, "right is 0.333333"),
    ("10-abstain", lambda c, wrong, share: 0.25, "in all 4 cases"),
    ("10-abstain", sorts_its_input, "changes what it is given (confidence)"),
    ("10-threshold", lambda c, ill, w: by_counting(c, ~ill, w), "gives 0.2; right is 0.6"),
    (
        "10-threshold",
        lambda c, ill, w: max(t for t in np.arange(0, 1, 0.1) if (c[ill] >= t).mean() >= w),
        "right is 0.6",
    ),
    ("10-threshold", lambda c, ill, w: (by_counting(c, ill, w), w), "gives [0.6, 0.6]; right is 0.6"),
    ("10-abstain", lambda c, wrong, share: kept(c, wrong, share) * share, "gives 0.25; right is 0.333333"),
    (
        "10-abstain",
        lambda c, wrong, share: first(c, wrong, max(2, int(share * len(c)))).mean(),
        "gives 0.5; right is 1",
    ),
    (
        "10-abstain",
        lambda c, wrong, share: np.sort(wrong)[::-1][: int(share * len(c)) or 1].mean(),
        "right is 0.333333",
    ),
]
