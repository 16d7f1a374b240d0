"""Checkers of notebook 13: the gate's rule, what luck does to it, and the version that a file is."""

from hashlib import sha256

from course_utils.exercises.judging import NOTHING, alike, by_example, called, show


def gate(answer) -> tuple[bool, str]:
    """13: may a candidate serve without a person's word, by the intervals of its difference overall and at each site?"""
    cases = [  # (low, high) overall, those of the sites, the margin, the sites' margin
        ((0.01, 0.05), [(-0.01, 0.06), (0.02, 0.09)], 0.02, 0.05),
        ((-0.01, 0.03), [(-0.04, 0.04), (-0.03, 0.06)], 0.02, 0.05),
        ((-0.03, 0.04), [(-0.01, 0.05), (0.0, 0.09)], 0.02, 0.05),
        ((0.03, 0.06), [(-0.09, -0.06), (0.05, 0.12), (0.0, 0.05)], 0.02, 0.05),
        ((0.03, 0.06), [(0.02, 0.12), (-0.3, 0.1)], 0.02, 0.05),
        ((0.03, 0.06), [(-0.03, -0.01), (0.02, 0.05)], 0.02, 0.05),
        ((-0.04, -0.01), [(-0.04, 0.01), (-0.04, 0.02)], 0.02, 0.05),
        ((-0.03, 0.04), [(-0.05, 0.04), (-0.06, 0.09)], 0.04, 0.1),
        ((-0.035, -0.025), [(-0.01, 0.01), (-0.04, 0.02)], 0.02, 0.05),
        ((-0.09, -0.06), [(-0.04, 0.01)], 0.02, 0.05),
        ((0.03, 0.05), [(-0.08, 0.04), (-0.07, 0.05)], 0.02, 0.05),
        ((-0.004, -0.002), [(0.01, 0.03), (0.02, 0.05)], 0.02, 0.05),
    ]

    def each(sites, margin):
        return all(low > -margin for low, _ in sites)

    person = "You pass a site that *might* be good enough. That is not shown: it is for a person."
    mistakes = [
        (lambda o, s, m, t: o[0] > -m, "You leave out the sites: a candidate that fails one of them passes."),
        (lambda o, s, m, t: o[0] > 0 and each(s, t), "You ask for better. Not worse by the margin is enough."),
        (lambda o, s, m, t: o[0] > m and each(s, t), "You ask for better *by* the margin: mind its sign."),
        (
            lambda o, s, m, t: o[1] > -m and each(s, t),
            "You look at the high end: that it *might* be good enough. The low end says how bad it might be.",
        ),
        (
            lambda o, s, m, t: sum(o) / 2 > -m and each(s, t),
            "You judge by the middle of the interval. The low end says how bad it might be.",
        ),
        (
            lambda o, s, m, t: o[0] > -m and all(low >= 0 for low, _ in s),
            "You ask each site for better. Not worse by the sites' margin is enough.",
        ),
        (
            lambda o, s, m, t: o[0] > -m and each(s, m),
            "You hold the sites to the margin of all reports. Theirs is wider.",
        ),
        (lambda o, s, m, t: o[0] > -t and each(s, t), "You give all reports together the margin of the sites."),
        (lambda o, s, m, t: o[0] > -t and each(s, m), "You have the two margins the wrong way round."),
        (lambda o, s, m, t: o[0] > -m and all(high >= 0 for _, high in s), person),
        (lambda o, s, m, t: o[0] > -m and all(high > -t for _, high in s), person),
        (
            lambda o, s, m, t: o[0] > -m and any(low > -t for low, _ in s),
            "You let it pass if *one* site is fine. All must be.",
        ),
        (lambda o, s, m, t: each(s, t), "You look at the sites alone. It must not be worse overall, either."),
        (
            lambda o, s, m, t: not (o[0] > -m and each(s, t)),
            "That is the wrong way round: True where it may serve.",
        ),
    ]
    return by_example(answer, lambda o, s, m, t: o[0] > -m and each(s, t), mistakes, cases)


def luck(answer) -> tuple[bool, str]:
    """13: the chance that at least one of k candidates, none of them better, passes by luck."""
    mistakes = [
        (lambda k, a: k * a, "Adding up counts twice where two pass together, and goes beyond 1."),
        (lambda k, a: min(1, k * a), "Adding up counts twice where two pass together."),
        (lambda k, a: (1 - a) ** k, "That is the chance that *none* passes."),
        (lambda k, a: a**k, "That is the chance that *all* pass."),
        (lambda k, a: 1 - a**k, "That is the chance that at least one does *not* pass."),
        (lambda k, a: a, "That is the chance of one candidate. There are k."),
        (lambda k, a: 1 - a, "That is the chance that one candidate does not pass."),
        (lambda k, a: k * a * (1 - a) ** (k - 1), "That is the chance that *exactly* one passes."),
    ]
    cases = [(1, 0.025), (2, 0.1), (20, 0.025), (60, 0.025), (3, 0.5)]
    return by_example(answer, lambda k, a: 1 - (1 - a) ** k, mistakes, cases)


def trace(answer) -> tuple[bool, str]:
    """13: the version that a file's content is, by its sha256."""
    old, new = b"weights of March", b"weights of May"
    known = {3: sha256(new).hexdigest(), 1: sha256(old).hexdigest(), 2: sha256(b"others").hexdigest()}
    again = {4: known[1]} | known | {5: known[1]}
    near = {1: known[1][:-8] + known[3][-8:], 2: known[3][:8] + known[1][8:]}  # the old file but for a few digits
    cases = [(new, known, 3), (old, again, 1), (old + b"\n", known, 0), (old, near, 0), (b"", {}, 0)]
    for content, versions, expected in cases:
        given = called(answer, (content, versions))
        if isinstance(given, bool) or not alike(given, expected):
            return False, _wrong_version(given, content, versions, expected)
    return True, f"Right, in all {len(cases)} cases."


def _wrong_version(given, content: bytes, versions: dict[int, str], expected: int) -> str:
    """Say what is wrong with the version that was given for a content."""
    if given is None:
        return "For a file that nobody registered, return 0." if not expected else NOTHING
    if isinstance(given, str) and given in (*versions.values(), sha256(content).hexdigest()):
        return "You return the sha256. Return the version that has it."
    found = [one for one in (0, *versions) if alike(given, one)]
    if isinstance(given, bool) or not found:
        known = ", ".join(map(str, versions)) or "none"
        return f"You return {show(given)}, which is no version. The versions are {known}."
    (given,) = found
    if not expected:
        return f"You take a file for version {given}, and not one bit may differ. For an unknown file, return 0."
    if versions.get(given) == versions[expected]:
        return f"Versions {expected} and {given} are the same file. Return the earliest."
    if not given:
        return (
            f"You don't find version {expected}. "
            "The key is hashlib.sha256(content).hexdigest(), of the bytes as they are."
        )
    return f"You return version {given}; the file is version {expected}. Compare the sha256, not the order."


CHECKERS = {"13-gate": gate, "13-luck": luck, "13-trace": trace}
