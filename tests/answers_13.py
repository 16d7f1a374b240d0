"""Right and wrong answers to the exercises of notebook 13, each wrong one with words of its hint."""

import hashlib
from math import comb


def passes(overall, sites, margin):
    return overall[0] > -margin and max([-high for _, high in sites]) <= 0


def passes_by_steps(overall, sites, margin):
    for _, high in sites:
        if high < 0:
            return False
    low, _ = overall
    return low + margin > 0


def lucky(k, alpha):
    return 1 - (1 - alpha) ** k


def lucky_by_sum(k, alpha):
    return sum(comb(k, i) * alpha**i * (1 - alpha) ** (k - i) for i in range(1, k + 1))


def digest(content):
    return hashlib.sha256(content).hexdigest()


def which(content, versions):
    return min((version for version, known in versions.items() if known == digest(content)), default=0)


def which_by_search(content, versions):
    for version in sorted(versions):
        if versions[version] == digest(content):
            return version
    return 0


def fine(sites):
    return all(high >= 0 for _, high in sites)


RIGHT = {
    "13-gate": [passes, passes_by_steps],
    "13-luck": [lucky, lucky_by_sum],
    "13-trace": [which, which_by_search],
}

WRONG = [
    ("13-gate", lambda o, s, m: o[0] > -m, "You leave out the sites"),
    ("13-gate", lambda o, s, m: o[0] > 0 and fine(s), "You ask for better. Not worse"),
    ("13-gate", lambda o, s, m: o[0] > m and fine(s), "mind its sign"),
    ("13-gate", lambda o, s, m: o[1] > -m and fine(s), "You look at the high end"),
    ("13-gate", lambda o, s, m: (o[0] + o[1]) / 2 > -m and fine(s), "by the middle of the interval"),
    ("13-gate", lambda o, s, m: o[0] > -m and all(low > 0 for low, _ in s), "not shown to be better"),
    ("13-gate", lambda o, s, m: o[0] > -m and all(low > -m for low, _ in s), "hold the sites to the margin"),
    ("13-gate", lambda o, s, m: o[0] > -m and all(high > -m for _, high in s), "give the sites the margin"),
    ("13-gate", lambda o, s, m: o[0] > -m and any(high > 0 for _, high in s), "if *one* site is fine"),
    ("13-gate", lambda o, s, m: fine(s), "at the sites alone"),
    ("13-gate", lambda o, s, m: not passes(o, s, m), "the wrong way round"),
    ("13-gate", lambda o, s, m: True, "For -0.03"),
    ("13-gate", True, "Hand over the function itself"),
    ("13-luck", lambda k, a: k * a, "goes beyond 1"),
    ("13-luck", lambda k, a: min(1.0, k * a), "counts twice where two pass together."),
    ("13-luck", lambda k, a: (1 - a) ** k, "*none* passes"),
    ("13-luck", lambda k, a: a**k, "*all* pass"),
    ("13-luck", lambda k, a: 1 - a**k, "does *not* pass"),
    ("13-luck", lambda k, a: a, "of one candidate"),
    ("13-luck", lambda k, a: 1 - a, "one candidate does not pass"),
    ("13-luck", lambda k, a: k * a * (1 - a) ** (k - 1), "*exactly* one"),
    ("13-luck", lambda k, a: None, "returns nothing"),
    ("13-luck", 0.4, "Hand over the function itself"),
    ("13-trace", lambda content, versions: max(versions, default=0), "Compare the sha256, not the order"),
    (
        "13-trace",
        lambda content, versions: which(content, versions) or max(versions, default=0),
        "not one bit may differ",
    ),
    ("13-trace", lambda content, versions: list(versions)[-1], "Compare the sha256, not the order"),
    ("13-trace", lambda content, versions: which(content.lower(), versions), "the bytes as they are"),
    ("13-trace", lambda content, versions: digest(content), "You return the sha256"),
    ("13-trace", lambda content, versions: which(content, versions) or None, "return 0"),
    (
        "13-trace",
        lambda content, versions: max((v for v in versions if versions[v] == digest(content)), default=0),
        "Return the earliest",
    ),
    (
        "13-trace",
        lambda content, versions: {known: v for v, known in versions.items()}.get(hashlib.md5(content).hexdigest(), 0),
        "hashlib.sha256(content).hexdigest()",
    ),
    ("13-trace", lambda content, versions: digest(content) in versions.values(), "which is no version"),
    ("13-trace", lambda content, versions: "the third", "which is no version"),
    ("13-trace", lambda content, versions: which(content, versions) or False, "You return False, which is no version"),
    ("13-trace", 3, "Hand over the function itself"),
]
