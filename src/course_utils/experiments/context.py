"""Measures the engines of context.py, for notebook 07, into data_samples/results/context_runs.json: half a minute.

Four sets of mentions. `clinical_mentions.csv` has a split "dev", on which the cues were made, and two that are read here and
nowhere else: "test", of sentences, and "notes", of one-line notes. "generator" is one mention, drawn at random, of each of
4,000 new reports that the course's generator composes in English; the cues were made on other reports of it, so it shows what
they do on the course's own reports and nothing about a clinic's. A finding that an addendum takes back counts as negated where
it is first named, too.
"""

import random
import time
from importlib.metadata import version

from course_utils import context, metrics, results
from course_utils.generate import language as words
from course_utils.generate.cases import chance, draw_pair, pick
from course_utils.generate.compose import Voice, compose

from . import runs

NAME, REPORTS, SEED = "context_runs", 4_000, 5
ENGINES = ("plain", "negspacy", "negspacy alone", "medspacy")
PAIRS = [("negspacy", other) for other in ENGINES if other != "negspacy"] + [
    ("negspacy alone", "medspacy"),
    ("negspacy alone", "plain"),
    ("medspacy", "plain"),
]
SITES = ("north", "harbour")  # in English
STATE_OF = {
    "present": "affirmed",
    "absent": "negated",
    "uncertain": "uncertain",
    "past": "historical",
    "family": "family",
}
NAMES = {  # of the findings, the longest first, none of those that are kept for the test split
    site: sorted({name.lower() for common, *_ in words.TERMS[site].values() for name in common}, key=len, reverse=True)
    for site in SITES
}


def generated(reports: int, seed: int) -> context.Mentions:
    """Return the mentions of new reports that name a finding."""
    rng = random.Random(seed)
    made = (one(rng, pick(rng, SITES)) for _ in range(reports))
    return context.Mentions(*(list(column) for column in zip(*(some for some in made if some[1]), strict=True)))


def one(rng, site):
    """Return a report, its mentions, their states, and the eye it grades."""
    pair = draw_pair(rng)
    sides = ("right", "left") if chance(rng, 0.5) else (pick(rng, ("right", "left")),)
    graded, text, line, spans, states = pick(rng, sides), "", None, [], []
    for said, meaning in compose(Voice(rng, site), {side: pair[side][0] for side in sides}):
        finding = said.removesuffix(": ")
        if meaning:
            side, _, state, *_ = meaning
            span = line or named(said, len(text), site)
            if span and (not line or side == graded):
                spans.append(span)
                states.append(STATE_OF[state] if side in (graded, "family") else "other eye")
        elif said != finding and finding.lower() in NAMES[site]:
            line = len(text), len(text) + len(finding)  # "NVD: right eye none, left eye 2 quadrants"
        elif said == " ":  # between sentences
            line = None
        text += said
    return text, spans, states, graded


def named(said, start, site):
    """Return where the finding's name stands in "fewer than 20 retinal haemorrhages in two quadrants", None if it has none."""
    name = next((name for name in NAMES[site] if name in said.lower()), None)
    if name is None:
        return None  # "The macula is flat."
    start += said.lower().index(name)
    return start, start + len(name)


def drawn(whole: context.Mentions, seed: int) -> context.Mentions:
    """Return one mention of each text, so that no two of them are of one report."""
    rng = random.Random(seed)
    chosen = [pick(rng, range(len(some))) for some in whole.spans]
    spans, states = (
        [[some[i]] for some, i in zip(column, chosen, strict=True)] for column in (whole.spans, whole.states)
    )
    return whole._replace(spans=spans, states=states)


def milliseconds(engine: str, whole: context.Mentions, rounds: int = 3) -> float:
    """Return the milliseconds of processor time that an engine takes for a report with all its mentions: the shortest round's mean."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        context.states(whole.texts, whole.spans, engine, whole.eyes)
        seconds.append(time.process_time() - began)
    return round(1000 * min(seconds) / len(whole.texts), 2)


def compared(
    name: str, truth: list[str], found: dict, texts: list[str], first: str, second: str, state: str = ""
) -> dict:
    """Return the paired comparison of two engines on the same mentions: by all states, or by one state against the rest.

    Mentions of one text are drawn together, as reports of one patient are.
    """

    def codes(column):
        return [int(one == state) if state else context.STATES.index(one) for one in column]

    sides = [codes(found[engine]) for engine in (first, second)]
    labels = 2 if state else len(context.STATES)
    pair = metrics.paired(codes(truth), *sides, metrics.accuracy, groups=texts, names=(first, second), labels=labels)
    counts = {"only_first": pair.only_first, "only_second": pair.only_second, "n": pair.n, "p": pair.p}
    verdict = pair.verdict.replace("rows", "mentions")
    named = {"set": name, "states": state or "all", "first": first, "second": second}
    return named | counts | {"verdict": verdict, "difference": str(pair.difference)}


def flat(columns) -> list[str]:
    """Return the states of all texts in one list."""
    return [state for column in columns for state in column]


def main():
    """Measure everything and write the file."""
    runs.start()
    whole = generated(REPORTS, SEED)
    timed = context.Mentions(*(column[:1000] for column in whole))
    speed = {engine: milliseconds(engine, timed) for engine in ENGINES}
    rows, scores, verdicts = [], [], []
    sets = {
        "clinical dev": context.mentions("dev"),
        "clinical test": context.mentions("test"),
        "clinical notes": context.mentions("notes"),
        "generator": drawn(whole, SEED),
    }
    for name, some in sets.items():
        found = {engine: context.states(some.texts, some.spans, engine, some.eyes) for engine in ENGINES}
        truth = flat(some.states)
        texts = [text for text, spans in zip(some.texts, some.spans, strict=True) for _ in spans]  # of each mention
        for engine, states in found.items():
            lines = context.scores(some.states, states)
            scores += [{"set": name, "engine": engine} | line for line in lines]
            right = [one == known for one, known in zip(flat(states), truth, strict=True)]
            measured = metrics.share(right, texts)._asdict() | {"k": sum(right), "n": len(truth), "seeds": 1}
            rows.append({"method": engine, "task": f"state of a mention, {name}", "metric": "accuracy"} | measured)
        found = {engine: flat(states) for engine, states in found.items()}
        for first, second in PAIRS:
            verdicts += [compared(name, truth, found, texts, first, second, state) for state in ("", "negated")]
    versions = {library: version(library) for library in ("spacy", "negspacy", "medspacy")}
    results.ship(NAME, rows, scores=scores, verdicts=verdicts, ms_a_text=speed, versions=versions)


if __name__ == "__main__":
    main()
