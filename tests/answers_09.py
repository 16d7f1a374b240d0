"""Right and wrong answers to the exercises of notebook 09, each wrong one with words of its hint."""

import math

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve


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


def with_duplicates(wanted, how_many):
    if set(wanted) - set(range(1, how_many + 1)):
        raise ValueError(wanted)
    return sorted(number - 1 for number in wanted)


def by_index(wanted, how_many):
    people = list(range(1, how_many + 1))
    return sorted(people.index(number) for number in wanted)


def own_error(wanted, how_many):
    class NoSuchLayer(ValueError):
        pass

    if min(wanted) < 1 or max(wanted) > how_many:
        raise NoSuchLayer
    return tuple(sorted(np.array(wanted) - 1))


def asserted(wanted, how_many):
    assert all(1 <= number <= how_many for number in wanted)
    return sorted(number - 1 for number in wanted)


def returned(wanted, how_many):
    return sorted(n - 1 for n in wanted) if min(wanted) > 0 and max(wanted) <= how_many else ValueError("no layer")


def printed(wanted, how_many):
    if min(wanted) > 0 and max(wanted) <= how_many:
        return sorted(number - 1 for number in wanted)
    print("ValueError")


def sorted_in_place(wanted, how_many):
    wanted.sort()
    return zero_based(wanted, how_many)


def last_refused(wanted, how_many):
    if max(wanted) >= how_many:
        raise ValueError("no such layer")
    return sorted(number - 1 for number in wanted)


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


def first_alone_is_checked(wanted, how_many):
    if not 1 <= wanted[0] <= how_many:
        raise ValueError
    return sorted(number - 1 for number in wanted)


RIGHT = {
    "09-layers": [
        zero_based,
        zero_based_array,
        with_duplicates,
        by_index,
        own_error,
        lambda wanted, n: (number for number in zero_based(wanted, n)),
    ],
    "09-threshold": [
        by_trying,
        by_sorting,
        by_curve,
        by_counting,
        by_ranking,
        lambda c, ill, w: max((t for t in set(c.tolist()) if ((c >= t) & ill).sum() / ill.sum() >= w), default=0.0),
    ],
    "09-abstain": [
        kept,
        kept_loop,
        kept_frame,
        kept_cumulated,
        lambda c, wrong, share: wrong[c >= sorted(c)[-max(1, int(len(c) * share))]].mean(),
        lambda c, wrong, share: pd.Series(wrong).loc[pd.Series(c).nlargest(max(1, int(share * len(c)))).index].mean(),
    ],
}

WRONG = [
    ("09-layers", none_above, "For [-1] of 6 layers"),
    ("09-layers", lambda wanted, n: sorted(set(wanted)), "people's numbers still"),
    ("09-layers", lambda wanted, n: [i - 1 for i in wanted], "Sort them"),
    ("09-layers", lambda wanted, n: sorted({i + 1 for i in wanted}), "The other way"),
    ("09-layers", lambda wanted, n: sorted({n - i for i in wanted}), "count from the end"),
    ("09-layers", lambda wanted, n: sorted({i - 1 for i in wanted}), "there is no such layer: raise ValueError"),
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
    ("09-layers", asserted, "raise ValueError, not AssertionError"),
    ("09-layers", returned, "Raise it: `raise`, not `return`"),
    ("09-layers", printed, "gives None; there is no such layer"),
    ("09-layers", sorted_in_place, "changes what it is given (wanted)"),
    (
        "09-layers",
        last_refused,
        "For wanted=[11, 12], how_many=12 your function stopped with ValueError: no such layer.",
    ),
    ("09-layers", lambda w, n: [i - 1 for i in w if 1 <= i <= n], "Sort them"),
    (
        "09-layers",
        lambda w, n: sorted(i - 1 for i in w if 1 <= i <= n),
        "For [12, 13] of 12 layers your function gives [11]",
    ),
    ("09-layers", lambda w, n: set(zero_based(w, n)), "gives {0}; right is [0]"),
    ("09-layers", lambda w, n: str(zero_based(w, n)), "gives '[0]'; right is [0]"),
    ("09-layers", lambda w, n: [10, 11], "in all 5 cases"),
    ("09-layers", lambda w, n: zero_based(w, 12), "For w=[24, 1], n=24 your function stopped with ValueError"),
    ("09-threshold", lambda c, ill, w: min(c[ill]), "gives 0.4; right is 0.6"),
    ("09-threshold", lambda c, ill, w: max(c[ill]), "gives 0.9; right is 0.6"),
    ("09-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w), "gives 0.56; right is 0.6"),
    ("09-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w, method="lower"), "gives 0.4; right is 0.6"),
    ("09-threshold", lambda c, ill, w: np.quantile(c[ill], 1 - w, method="higher"), "right is"),
    ("09-threshold", lambda c, ill, w: max(t for t in c if (c >= t).mean() >= w), "right is"),
    ("09-threshold", lambda c, ill, w: by_counting(c, ill, w) + 1e-4, "gives 0.6001; right is 0.6"),
    ("09-threshold", lambda c, ill, w: round(by_counting(c, ill, w), 1), "You round"),
    (
        "09-threshold",
        lambda c, ill, w: [t for t in c if (c[ill] >= t).mean() >= w],
        "gives [0.6, 0.4, 0.2]; right is 0.6",
    ),
    ("09-threshold", lambda c, ill, w: 0.5, "in all 4 cases"),
    ("09-abstain", lambda c, wrong, share: first(c, wrong, max(1, round(share * len(c)))).mean(), "Round down"),
    ("09-abstain", lambda c, wrong, share: first(c, wrong, max(1, int(share * len(c) + 0.5))).mean(), "Round down"),
    ("09-abstain", lambda c, wrong, share: first(c, wrong, math.ceil(share * len(c))).mean(), "Round down"),
    ("09-abstain", lambda c, wrong, share: first(c, wrong, int(share * len(c)) + 1).mean(), "Round down"),
    (
        "09-abstain",
        lambda c, wrong, share: wrong[c >= np.quantile(c, 1 - share)].mean(),
        "gives 0.5; right is 0.333333",
    ),
    ("09-abstain", lambda c, wrong, share: wrong.mean(), "You count all reports"),
    ("09-abstain", lambda c, wrong, share: 100 * kept(c, wrong, share), "in percent"),
    (
        "09-abstain",
        lambda c, w, s: w[np.argsort(-c)[: int(s * len(c))]].sum() / max(1, int(s * len(c))),
        "gives 0; right is 1",
    ),
    ("09-abstain", lambda c, wrong, share: kept(c, wrong, share) / share, "right is 0.333333"),
    ("09-abstain", lambda c, wrong, share: 0.25, "in all 4 cases"),
    ("09-abstain", sorts_its_input, "changes what it is given (confidence)"),
    ("09-layers", first_alone_is_checked, "For [12, 13] of 12 layers your function gives [11, 12]"),
    (
        "09-layers",
        lambda w, n: "ValueError" if max(w) > n else zero_based(w, n),
        "gives 'ValueError'; there is no such layer",
    ),
    ("09-layers", lambda w, n: [str(number) for number in zero_based(w, n)], "gives ['0']; right is [0]"),
    ("09-threshold", lambda c, ill, w: by_counting(c, ~ill, w), "gives 0.2; right is 0.6"),
    (
        "09-threshold",
        lambda c, ill, w: max(t for t in np.arange(0, 1, 0.1) if (c[ill] >= t).mean() >= w),
        "right is 0.6",
    ),
    ("09-threshold", lambda c, ill, w: (by_counting(c, ill, w), w), "gives [0.6, 0.6]; right is 0.6"),
    ("09-abstain", lambda c, wrong, share: kept(c, wrong, share) * share, "gives 0.25; right is 0.333333"),
    (
        "09-abstain",
        lambda c, wrong, share: first(c, wrong, max(2, int(share * len(c)))).mean(),
        "gives 0.5; right is 1",
    ),
    (
        "09-abstain",
        lambda c, wrong, share: np.sort(wrong)[::-1][: int(share * len(c)) or 1].mean(),
        "right is 0.333333",
    ),
]
