"""Right and wrong answers to the exercises of notebook 07, each wrong one with words of its hint."""

import numpy as np


def by_length(tokens, forms):
    for form in sorted(forms, key=len, reverse=True):
        if list(form) == tokens[: len(form)]:
            return len(form)
    return 0


def fits(tokens, forms):
    return [len(form) for form in forms if tuple(tokens[: len(form)]) == form]


def while_it_is_a_form(tokens, forms):
    size = 0
    while size < len(tokens) and tuple(tokens[: size + 1]) in forms:
        size += 1
    return size


def in_a_set(tokens, forms):
    known = set(forms)
    return next((n for n in range(len(tokens), 0, -1) if tuple(tokens[:n]) in known), 0)


def token_by_token(tokens, forms):
    best = 0
    for form in forms:
        if len(form) <= len(tokens) and all(a == b for a, b in zip(form, tokens, strict=False)):
            best = max(best, len(form))
    return best


def by_text(tokens, forms):
    return max((len(form) for form in forms if " ".join(tokens).startswith(" ".join(form))), default=0)


def cut_off(tokens, forms):
    size = by_length(tokens, forms)
    del tokens[:size]
    return size


def by_tree(tokens, forms):
    tree = {}
    for form in forms:
        place = tree
        for token in form:
            place = place.setdefault(token, {})
        place["size"] = len(form)
    best, place = 0, tree
    for token in tokens:
        if token not in place:
            break
        place = place[token]
        best = place.get("size", best)
    return best


RIGHT = {
    "07-longest": [
        by_length,
        lambda tokens, forms: max(fits(tokens, forms), default=0),
        in_a_set,
        token_by_token,
        lambda t, forms: max([0, *(len(f) for f in forms if f == tuple(t[: len(f)]))]),
        lambda t, forms: np.max([0, *fits(t, forms)]),
        by_tree,
    ],
}

WRONG = [
    ("07-longest", lambda tokens, forms: min(fits(tokens, forms), default=0), "the shortest form"),
    ("07-longest", lambda tokens, forms: next(iter(fits(tokens, forms)), 0), "You stop at the first form that fits"),
    ("07-longest", while_it_is_a_form, "look further"),
    ("07-longest", lambda tokens, forms: len(fits(tokens, forms)), "how many forms fit"),
    (
        "07-longest",
        lambda tokens, forms: max((len(f) for f in forms if set(f) <= set(tokens)), default=0),
        "side by side",
    ),
    (
        "07-longest",
        lambda t, forms: max(
            (len(f) for f in forms for i in range(len(t)) if tuple(t[i : i + len(f)]) == f), default=0
        ),
        "anywhere",
    ),
    (
        "07-longest",
        lambda t, forms: max((len(" ".join(f)) for f in forms if tuple(t[: len(f)]) == f), default=0),
        "not letters",
    ),
    ("07-longest", lambda tokens, forms: None, "returns nothing"),
    ("07-longest", 3, "Hand over the function itself"),
    ("07-longest", lambda t, forms: (fits(t, forms) or [0])[-1], "You take the last form"),
    ("07-longest", by_text, "For tokens=['discs', 'seen'], forms=[['disc']] your function gives 1; right is 0"),
    ("07-longest", lambda t, forms: max(fits(t, forms)), "max() "),
    ("07-longest", lambda t, forms: max((len(f) for f in forms if f[0] == t[0]), default=0), "stopped with IndexError"),
    ("07-longest", lambda t, forms: max((len(f) for f in forms if t[: len(f)] == f), default=0), "in all 11 cases"),
    (
        "07-longest",
        lambda t, forms: max((f for f in forms if tuple(t[: len(f)]) == f), key=len, default=()),
        "gives []",
    ),
    ("07-longest", lambda t, forms: max(map(len, forms), default=0), "gives 1; right is 0"),
    ("07-longest", lambda t, forms: by_length(t, forms) or -1, "gives -1; right is 0"),
    ("07-longest", lambda t, forms: str(by_length(t, forms)), "gives '0'; right is 0"),
    ("07-longest", lambda t, forms: by_length(t, forms) or None, "returns nothing"),
    ("07-longest", lambda t, forms: by_length([one.lower() for one in t], forms), "For t=['IRMA', 'new', 'vessels']"),
    ("07-longest", lambda t, forms: 2, "in all 11 cases"),
    ("07-longest", lambda t, forms: "long", "gives 'long'; right is 0"),
    ("07-longest", cut_off, "changes what it is given (tokens)"),
    ("07-longest", lambda t, forms: sum(fits(t, forms)), "gives 4; right is 3"),
    ("07-longest", lambda t, forms: bool(fits(t, forms)), "gives True; right is 3"),
    ("07-longest", lambda t, forms: max((len(f) for f in forms if f == tuple(t)), default=0), "right is"),
    ("07-longest", lambda t, forms: forms.sort() or by_length(t, forms), "changes what it is given (forms)"),
]
