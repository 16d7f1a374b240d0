"""Right and wrong answers to the exercises of notebook 13, each wrong one with words of its hint."""

import hashlib
from math import comb

import numpy as np
import torch
from scipy.stats import binom


def passes(overall, sites, margin, site_margin):
    return overall[0] > -margin and max([-low for low, _ in sites]) < site_margin


def passes_by_steps(overall, sites, margin, site_margin):
    for low, _ in sites:
        if low <= -site_margin:
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


def fine(sites, margin):
    return all(low > -margin for low, _ in sites)


def inverted(content, versions):
    earliest = {versions[version]: version for version in sorted(versions, reverse=True)}
    return earliest.get(digest(content), 0)


def by_bytes(content, versions):
    raw = hashlib.sha256(content).digest()
    return np.int64(min([version for version, known in versions.items() if bytes.fromhex(known) == raw] or [0]))


def emptied(content, versions):
    found = which(content, versions)
    versions.clear()
    return found


def first_found(content, versions):
    return next((version for version, known in versions.items() if known == digest(content)), 0)


def by_start(content, versions):
    return min((version for version, known in versions.items() if known[:8] == digest(content)[:8]), default=0)


def by_end(content, versions):
    return [version for version, known in versions.items() if known.endswith(digest(content)[-16:])]


RIGHT = {
    "13-gate": [
        passes,
        passes_by_steps,
        lambda o, s, m, t: not (o[0] <= -m or any(low <= -t for low, _ in s)),
        lambda o, s, m, t: np.all([low > -t for low, _ in s]) and o[0] + m > 0,
        lambda o, s, m, t: int(passes(o, s, m, t)),
        lambda o, s, m, t: min([o[0] + m] + [low + t for low, _ in s]) > 0,
        lambda o, s, m, t: torch.tensor(passes(o, s, m, t)),
    ],
    "13-luck": [
        lucky,
        lucky_by_sum,
        lambda k, a: -np.expm1(k * np.log1p(-a)),
        lambda n, p: binom.sf(0, n, p),
        lambda k, a: sum(a * (1 - a) ** i for i in range(k)),
        lambda k, a: 1 - np.prod(np.full(k, 1 - a)),
    ],
    "13-trace": [
        which,
        which_by_search,
        inverted,
        by_bytes,
        lambda content, versions: float(which(content, versions)),
        lambda content, versions: torch.tensor(which(content, versions)),
    ],
}

WRONG = [
    ("13-gate", lambda o, s, m, t: o[0] > -m, "You leave out the sites"),
    ("13-gate", lambda o, s, m, t: o[0] > 0 and fine(s, t), "You ask for better. Not worse"),
    ("13-gate", lambda o, s, m, t: o[0] > m and fine(s, t), "mind its sign"),
    ("13-gate", lambda o, s, m, t: o[1] > -m and fine(s, t), "You look at the high end"),
    ("13-gate", lambda o, s, m, t: (o[0] + o[1]) / 2 > -m and fine(s, t), "by the middle of the interval"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and all(low > 0 for low, _ in s), "ask each site for better"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and fine(s, m), "to the margin of all reports"),
    ("13-gate", lambda o, s, m, t: o[0] > -t and fine(s, t), "the margin of the sites"),
    ("13-gate", lambda o, s, m, t: o[0] > -t and fine(s, m), "margins the wrong way round"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and all(high >= 0 for _, high in s), "it is for a person"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and all(high > -t for _, high in s), "it is for a person"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and any(low > -t for low, _ in s), "if *one* site is fine"),
    ("13-gate", lambda o, s, m, t: fine(s, t), "at the sites alone"),
    ("13-gate", lambda o, s, m, t: not passes(o, s, m, t), "the wrong way round: True"),
    ("13-gate", lambda o, s, m, t: True, "gives True; right is False. It gives that in all 12 cases"),
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
    ("13-trace", lambda content, versions: max(versions, default=0), "Return the earliest"),
    (
        "13-trace",
        lambda content, versions: which(content, versions) or max(versions, default=0),
        "not one bit may differ",
    ),
    ("13-trace", lambda content, versions: list(versions)[-1] if versions else 0, "Compare the sha256, not the order"),
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
    ("13-gate", lambda o, s, m, t: False, "gives False; right is True. It gives that in all 12 cases"),
    ("13-gate", lambda o, s, m, t: "yes" if passes(o, s, m, t) else "no", "gives 'no'; right is False"),
    ("13-gate", lambda o, s, m, t: passes(o, s[:1], m, t), "gives True; right is False"),
    ("13-gate", lambda o, s, m, t: o[0] > -m or fine(s, t), "gives True; right is False"),
    ("13-gate", lambda o, s, m, t: passes(o, s, 0.02, t), "m=0.04, t=0.1 your function gives False; right is True"),
    ("13-gate", lambda o, s, m, t: passes(o, s, m, 0.05), "m=0.04, t=0.1 your function gives False; right is True"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and all(sum(pair) >= 0 for pair in s), "right is"),
    ("13-gate", lambda o, s, m, t: passes(o, s, m, t) or None, "your function returns nothing"),
    ("13-gate", lambda o, s, m, t: passes(o, [s.pop()], m, t), "changes what it is given (s)"),
    ("13-luck", lambda k, a: 100 * lucky(k, a), "in percent"),
    ("13-luck", lambda k, a: 1 - (1 - a) * k, "For k=2, a=0.1 your function gives -0.8; right is 0.19"),
    ("13-luck", lambda k, a: lucky(k - 1, a), "gives 0.1; right is 0.19"),
    ("13-luck", lambda k, a: 1 - np.exp(-k * a), "gives 0.181269; right is 0.19"),
    ("13-luck", lambda k, a: lucky(k, 0.025), "gives 0.049375; right is 0.19"),
    ("13-luck", lambda k, a: round(lucky(k, a), 1), "gives 0.2; right is 0.19. You round"),
    ("13-luck", lambda k, a: f"{lucky(k, a):.1%}", "gives '19.0%'; right is 0.19"),
    ("13-luck", lambda k, a: 0.4, "in all 5 cases"),
    ("13-trace", first_found, "Versions 1 and 4 are the same file. Return the earliest"),
    ("13-trace", by_start, "not one bit may differ"),
    ("13-trace", lambda content, versions: which(content.strip(), versions), "not one bit may differ"),
    (
        "13-trace",
        lambda content, versions: min(v for v in versions if versions[v] == digest(content)),
        "stopped with ValueError",
    ),
    (
        "13-trace",
        lambda content, versions: dict(zip(versions.values(), versions, strict=True))[digest(content)],
        "Return the earliest",
    ),
    ("13-trace", lambda content, versions: [which(content, versions)], "You return [3], which is no version"),
    ("13-trace", lambda content, versions: str(which(content, versions)), "You return '3', which is no version"),
    ("13-trace", lambda content, versions: which(content, versions) or -1, "You return -1, which is no version"),
    ("13-trace", lambda content, versions: hashlib.sha256(content.encode()), "stopped with AttributeError"),
    ("13-trace", lambda content, versions: print(which(content, versions)), "returns nothing"),
    ("13-trace", lambda content, versions: 0, "You don't find version 3"),
    ("13-trace", emptied, "changes what it is given (versions)"),
    ("13-gate", lambda o, s, m, t: o[0] > -2 * m and fine(s, t), "gives True; right is False"),
    ("13-gate", lambda o, s, m, t: o[0] > -m / 2 and fine(s, t), "gives False; right is True"),
    ("13-gate", lambda o, s, m, t: o[0] > -m and s[-1][0] > -t, "gives True; right is False"),
    ("13-gate", lambda o, s, m, t: o > -m, "stopped with TypeError"),
    ("13-luck", lambda k, a: bool(k * a > 0.5), "gives False; right is 0.19."),
    ("13-luck", lambda k, a: lucky(k, a) / k, "gives 0.095; right is 0.19"),
    ("13-trace", lambda content, versions: min(by_end(content, versions), default=0), "not one bit may differ"),
    ("13-trace", lambda content, versions: np.zeros(2), "which is no version"),
]
