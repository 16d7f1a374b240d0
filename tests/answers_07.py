"""Right and wrong answers to the exercises of notebook 07, each wrong one with words of its hint."""

import re

import numpy as np

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATES = rf"\d{{1,2}}/\d{{1,2}}/\d{{4}}|\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}} (?:{MONTHS}) \d{{4}}|\d{{4}}年\d{{1,2}}月\d{{1,2}}日"
NUMBERS = r"((?:MRN|Tel|病历号|电话): *)[\d -]*\d"


def names_of(text):
    header = re.search(r"(?:Name|姓名): *(.+)", text)
    return header[1].split() if header else []


def cleaned(text, dates=DATES, numbers=NUMBERS, names=names_of, flags=re.IGNORECASE):
    found = names(text)
    text = re.sub(dates, "[date]", text)
    text = re.sub(numbers, r"\1[number]", text) if numbers else text
    for name in found:
        text = re.sub(re.escape(name), "[name]", text, flags=flags)
    return text


def line_by_line(text):
    """Another way: clean the header's fields, remember the names, then clean the body."""
    secrets = re.findall(r"(?:Name|DOB|MRN|Tel|姓名|病历号|电话): *(.+)", text)
    words = [word for secret in secrets for word in ([secret] if secret[0].isdigit() else secret.split())]
    for word in sorted({*words, *re.findall(DATES, text)}, key=len, reverse=True):
        text = re.sub(re.escape(word), "*", text, flags=re.IGNORECASE)
    return text


def header_only(text):
    return re.sub(r"((?:Name|姓名): *).+", r"\1[name]", cleaned(text, names=lambda text: []))


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


def without_header(text):
    body = [line for line in text.split("\n") if not re.match("Name|DOB|MRN|Tel|姓名|病历号|电话", line)]
    return re.sub(DATES, "", "\n".join(body))


def without_header_and_names(text):
    kept = without_header(text)
    for name in names_of(text):
        kept = re.sub(name, "X", kept, flags=re.IGNORECASE)
    return kept


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
    "07-deidentify": [
        cleaned,
        line_by_line,
        lambda letter: cleaned(letter).replace("[name]", ""),
        lambda text: cleaned(text.replace("Name: ", "Name:  ")),
        without_header_and_names,
    ],
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
    ("07-deidentify", lambda text: re.sub(r"\d+", "#", cleaned(text)), "took out 6/12"),
    ("07-deidentify", lambda text: cleaned(text, dates=DATES + r"|\d+/\d+"), "took out 6/12"),
    ("07-deidentify", lambda text: cleaned(text, dates=DATES + r"|\d{4}"), "took out 1200 shots"),
    ("07-deidentify", lambda text: "", "nothing of the medicine"),
    ("07-deidentify", lambda text: text, "the first name in the header is still there"),
    ("07-deidentify", lambda text: cleaned(text, dates=DATES.split("|", 1)[1]), "04/11/1951, with slashes"),
    ("07-deidentify", lambda text: cleaned(text, dates=r"\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}"), "12 March 2024"),
    ("07-deidentify", lambda text: cleaned(text, dates=DATES.replace(r"|\d{4}-\d{2}-\d{2}", "")), "1948-07-30"),
    ("07-deidentify", lambda text: cleaned(text, dates=DATES.split(r"|\d{4}年")[0]), "2024年3月12日"),
    ("07-deidentify", header_only, "the name in the body (Mrs Holloway)"),
    ("07-deidentify", lambda text: cleaned(text, flags=0), "in capitals"),
    ("07-deidentify", lambda text: cleaned(text, numbers=None), "the record number"),
    ("07-deidentify", lambda text: cleaned(text, numbers=r"((?:MRN): *)\d+"), "the phone number"),
    ("07-deidentify", lambda text: cleaned(text, numbers=r"((?:MRN|Tel): *)[\d -]*\d"), "after 病历号"),
    (
        "07-deidentify",
        lambda text: cleaned(text, names=lambda t: re.findall(r"Name: *(\w+) (\w+)", t)[0] if "Name" in t else []),
        "Chinese name",
    ),
    (
        "07-deidentify",
        lambda text: cleaned(text, names=lambda t: []).lower(),
        "first name in the header is still there",
    ),
    ("07-deidentify", lambda text: None, "returns nothing"),
    ("07-deidentify", "a letter", "Hand over the function itself"),
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
    ("07-deidentify", lambda text: text.replace("Ada Quill", "X"), "the first name in the header"),
    ("07-deidentify", lambda text: cleaned(text)[:40], "nothing of the medicine"),
    ("07-deidentify", lambda text: [cleaned(text)], "Return the letter as a text"),
    ("07-deidentify", lambda text: cleaned(text).encode(), "Return the letter as a text"),
    ("07-deidentify", lambda text: print(cleaned(text)), "returns nothing"),
    ("07-deidentify", without_header, "the name in the body (Mrs Holloway)"),
    ("07-deidentify", lambda text: re.sub(r"\d+", "", text), "took out 6/12"),
    ("07-deidentify", lambda text: re.sub(r"\b[A-Z]\w+", "X", cleaned(text)), "took out HbA"),
    ("07-deidentify", lambda text: re.sub(r"\d{3,}", "", cleaned(text)), "took out 148/82"),
    ("07-deidentify", lambda text: cleaned(text) if "Name" in text else text, "the Chinese name"),
    ("07-deidentify", lambda text: cleaned(text).split(), "39 in all]. Return the letter as a text"),
    ("07-deidentify", lambda text: text.index("Quill"), "stopped with ValueError"),
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
