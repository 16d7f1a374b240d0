"""Right and wrong answers to the exercises of notebook 08, each wrong one with words of its hint."""

import re

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATES = rf"\d{{1,2}}/\d{{1,2}}/\d{{4}}|\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}} (?:{MONTHS}) \d{{4}}|\d{{4}}年\d{{1,2}}月\d{{1,2}}日"
NUMBERS = r"((?:MRN|Tel|病历号|电话): *)[\d -]*\d"


def names_of(text):
    header = re.search(r"(?:Name|姓名): *(.+)", text)
    return header[1].split() if header else []


def whole(name):
    """No letter beside it: a name is no part of a word. Chinese has no spaces, so its letters don't count."""
    return rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])"


def cleaned(text, dates=DATES, numbers=NUMBERS, names=names_of, flags=re.IGNORECASE, pattern=whole):
    found = names(text)
    text = re.sub(dates, "[date]", text)
    text = re.sub(numbers, r"\1[number]", text) if numbers else text
    for name in found:
        text = re.sub(pattern(name), "[name]", text, flags=flags)
    return text


def line_by_line(text):
    """Another way: clean the header's fields, remember the names, then clean the body."""
    secrets = re.findall(r"(?:Name|DOB|MRN|Tel|姓名|病历号|电话): *(.+)", text)
    words = [word for secret in secrets for word in ([secret] if secret[0].isdigit() else secret.split())]
    for word in sorted({*words, *re.findall(DATES, text)}, key=len, reverse=True):
        text = re.sub(whole(word), "*", text, flags=re.IGNORECASE)
    return text


def header_only(text):
    return re.sub(r"((?:Name|姓名): *).+", r"\1[name]", cleaned(text, names=lambda text: []))


def without_header(text):
    body = [line for line in text.split("\n") if not re.match("Name|DOB|MRN|Tel|姓名|病历号|电话", line)]
    return re.sub(DATES, "", "\n".join(body))


def without_header_and_names(text):
    kept = without_header(text)
    for name in names_of(text):
        kept = re.sub(whole(name), "X", kept, flags=re.IGNORECASE)
    return kept


RIGHT = {
    "08-deidentify": [
        cleaned,
        line_by_line,
        lambda letter: cleaned(letter).replace("[name]", ""),
        lambda text: cleaned(text.replace("Name: ", "Name:  ")),
        without_header_and_names,
    ],
}

WRONG = [
    ("08-deidentify", lambda text: re.sub(r"\d+", "#", cleaned(text)), "took out 6/12"),
    ("08-deidentify", lambda text: cleaned(text, dates=DATES + r"|\d+/\d+"), "took out 6/12"),
    ("08-deidentify", lambda text: cleaned(text, dates=DATES + r"|\d{4}"), "took out 1200 shots"),
    ("08-deidentify", lambda text: "", "nothing of the medicine"),
    ("08-deidentify", lambda text: text, "the first name in the header is still there"),
    ("08-deidentify", lambda text: cleaned(text, dates=DATES.split("|", 1)[1]), "04/11/1951, with slashes"),
    ("08-deidentify", lambda text: cleaned(text, dates=r"\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}"), "12 March 2024"),
    ("08-deidentify", lambda text: cleaned(text, dates=DATES.replace(r"|\d{4}-\d{2}-\d{2}", "")), "1948-07-30"),
    ("08-deidentify", lambda text: cleaned(text, dates=DATES.split(r"|\d{4}年")[0]), "2024年3月12日"),
    ("08-deidentify", header_only, "the name in the body (Mrs Holloway)"),
    ("08-deidentify", lambda text: cleaned(text, flags=0), "in capitals"),
    ("08-deidentify", lambda text: cleaned(text, pattern=re.escape), "took out inhaled"),
    ("08-deidentify", lambda text: cleaned(text, pattern=r"\b{}\b".format), "the Chinese name"),
    ("08-deidentify", lambda text: cleaned(text, numbers=None), "the record number"),
    ("08-deidentify", lambda text: cleaned(text, numbers=r"((?:MRN): *)\d+"), "the phone number"),
    ("08-deidentify", lambda text: cleaned(text, numbers=r"((?:MRN|Tel): *)[\d -]*\d"), "after 病历号"),
    (
        "08-deidentify",
        lambda text: cleaned(text, names=lambda t: re.findall(r"Name: *(\w+) (\w+)", t)[0] if "Name" in t else []),
        "Chinese name",
    ),
    (
        "08-deidentify",
        lambda text: cleaned(text, names=lambda t: []).lower(),
        "first name in the header is still there",
    ),
    ("08-deidentify", lambda text: None, "returns nothing"),
    ("08-deidentify", "a letter", "Hand over the function itself"),
    ("08-deidentify", lambda text: text.replace("Ada Quill", "X"), "the first name in the header"),
    ("08-deidentify", lambda text: cleaned(text)[:40], "nothing of the medicine"),
    ("08-deidentify", lambda text: [cleaned(text)], "Return the letter as a text"),
    ("08-deidentify", lambda text: cleaned(text).encode(), "Return the letter as a text"),
    ("08-deidentify", lambda text: print(cleaned(text)), "returns nothing"),
    ("08-deidentify", without_header, "the name in the body (Mrs Holloway)"),
    ("08-deidentify", lambda text: re.sub(r"\d+", "", text), "took out 6/12"),
    ("08-deidentify", lambda text: re.sub(r"\b[A-Z]\w+", "X", cleaned(text)), "took out HbA"),
    ("08-deidentify", lambda text: re.sub(r"\d{3,}", "", cleaned(text)), "took out 148/82"),
    ("08-deidentify", lambda text: cleaned(text) if "Name" in text else text, "the Chinese name"),
    ("08-deidentify", lambda text: cleaned(text).split(), "39 in all]. Return the letter as a text"),
    ("08-deidentify", lambda text: text.index("Quill"), "stopped with ValueError"),
]
