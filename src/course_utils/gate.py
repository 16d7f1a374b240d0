"""Say whether a candidate may take the place of the model that serves: yes, no, or *not shown*, which needs a person.

One hypothesis for all reports and for each site: the candidate is worse by more than a margin. Shown to be false, the
candidate passes; shown to be true, it is refused; and where the reports can't tell, a person has to answer for it. There
is one margin for all reports and a wider one for each site, for a site has fewer reports; set both before anyone looks.
A small loss that is known well, as of 20,000 reports -0.002 [-0.003, -0.001], is within a margin of 0.05 and passes. A
large one that is not, as 7 right where 10 of 12 were, is neither ruled out nor shown: the answer is *not shown*.

An interval by resampling knows nothing of what a sample does not hold: of a dozen reports that two models answer alike
it is [0, 0], and of few losses it is too short. So "not worse" must hold by a count of patients as well: of those who fare
worse with the candidate, less those who fare better, the share could be `net_loss` at most, and that must be below the
margin. It takes enough patients, therefore, even if all fare alike: see `fewest`. And "worse" or "better" takes six patients
at least who fare so: fewer may be luck even if none fares the other way (McNemar's exact test).
"""

from math import floor, hypot
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from course_utils import metrics

ALL = "all"  # what all reports together are called, beside the sites
NO_SITE = "(no site)"  # of reports that say none
MARGIN = 0.02  # of macro F1 over all reports: how much worse a candidate might be and still pass
SITE_MARGIN = 0.05  # of macro F1 at a site
PASSED, REFUSED, NOT_SHOWN = "passed", "refused", "not shown"
MEASURED = (
    "reports",
    "right",
    "no_grade",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
)  # what `figures` gives of each group
NO_GRADE = -1  # among a model's answers: a report that it refuses to grade


class Verdict(NamedTuple):
    """What the gate says of a candidate: passed, refused or not shown, why, and its difference from what serves.

    `compared` holds the paired difference in macro F1 (candidate minus serving) for "all" and for each site.
    """

    answer: str
    reason: str
    compared: dict[str, metrics.Comparison]

    @property
    def passed(self) -> bool:
        """Whether the candidate may serve without a person's word."""
        return self.answer == PASSED


def fewest(margin: float) -> int:
    """Return how many patients "not worse by this margin" needs at least, if all of them fare alike with both models.

    Raises ValueError unless the margin is between 0 and 1.
    """
    if not 0 < margin < 1:
        raise ValueError(f"The margin is {margin}; to be not worse by a margin, it must be between 0 and 1.")
    return floor(metrics.Z**2 * (1 / margin - 1)) + 1


def net_loss(worse: int, better: int, n: int) -> float:
    """Return how large the share of patients who fare worse, less that of those who fare better, could be (95%).

    Takes how many of n patients have fewer, and how many more, of their reports right with the candidate. It is the upper
    end of the interval that Newcombe builds for a difference from Wilson's two (Statistics in Medicine 1998;17:873-890).
    """
    most, least = metrics.wilson(worse, n)[1], metrics.wilson(better, n)[0]
    return (worse - better) / n + hypot(most - worse / n, better / n - least)


def verdict(
    judged_on,
    candidate: ArrayLike,
    serving: ArrayLike,
    labels: int,
    margin: float = MARGIN,
    site_margin: float = SITE_MARGIN,
) -> Verdict:
    """Compare a candidate with the model that serves by their answers to the same reports, and return the gate's word.

    Takes the reports (grade, patient_id and site), both models' grades, how many labels they know, and the margins. A report
    without a grade (`NO_GRADE`) counts as one that is not right: who refuses more finds less. For all reports and for each
    site there is the paired difference in macro F1 over the labels that the reports have, with its 95% interval over
    patients (`metrics.paired`). A group *passes* if the low end is above 0 (better), or above -margin while `net_loss` is
    below the margin; it is *refused* if the high end is below -margin; else it is *not shown*, as it is where too few
    patients fare better, or worse, for McNemar's test. One group refused refuses the candidate; else one that is not shown
    needs a person. With a margin of 0 all reports together must show that the candidate is better.
    Raises ValueError for reports without these columns, or with labels beyond `labels`.
    """
    truth, patients = column(judged_on, "grade"), column(judged_on, "patient_id")
    new, old = (_answers(given, truth, labels) for given in (candidate, serving))
    compared, found = {}, {}
    for name, rows in groups(judged_on).items():
        compared[name] = metrics.paired(
            truth[rows],
            new[rows],
            old[rows],
            metrics.macro_f1_of(metrics.occurring(truth[rows])),
            groups=patients[rows],
            labels=labels + 1,
        )
        allowed = margin if name == ALL else site_margin
        fares = _fares(truth[rows], new[rows], old[rows], patients[rows])
        found[name] = _word(name, compared[name].difference, *fares, allowed)
    for answer in (REFUSED, NOT_SHOWN):
        reasons = [reason for given, reason in found.values() if given == answer]
        if reasons:
            return Verdict(answer, "; ".join(reasons), compared)
    return Verdict(PASSED, found[ALL][1], compared)


def figures(judged_on, predicted: ArrayLike, labels: int) -> dict[str, dict[str, float]]:
    """Return what is kept of a model's answers, for all reports and for each site: {group: {what: value}}.

    How many reports there are, how many are right and how many have no grade, macro F1 and the ends of its 95% interval
    (`MEASURED`). Macro F1 is over the labels that the group's reports have. Raises ValueError as `verdict` does.
    """
    truth, patients = column(judged_on, "grade"), column(judged_on, "patient_id")
    given = _answers(predicted, truth, labels)
    measured = {}
    for name, rows in groups(judged_on).items():
        measure = metrics.macro_f1_of(metrics.occurring(truth[rows]))
        f1 = metrics.interval(truth[rows], given[rows], measure, groups=patients[rows], labels=labels + 1)
        values = (rows.sum(), (given == truth)[rows].sum(), (given == labels)[rows].sum(), *f1)
        measured[name] = dict(zip(MEASURED, map(float, values), strict=True))
    return measured


def groups(judged_on) -> dict[str, np.ndarray]:
    """Return which rows belong to "all" and to each site, in the order of the sites' names, whatever is in these.

    Reports that name no site are a group of their own. Where all are of a site called "all", there is that one group.
    Raises ValueError without a column `site`, or if one site of several is called "all".
    """
    sites = np.array([_site(name) for name in column(judged_on, "site")], dtype=object)
    names = sorted(set(sites))
    everyone = {ALL: np.ones(len(sites), bool)}
    if names == [ALL]:
        return everyone
    if ALL in names:
        raise ValueError(f'A site is called "{ALL}", which means all reports together: give it another name.')
    return everyone | {name: sites == name for name in names}


def shown(site: str) -> str:
    """Return a site's name for a line of text: without line breaks, and not longer than 60 characters."""
    name = " ".join(site.split())
    return name if len(name) <= 60 else f"{name[:57]}..."


def _answers(given: ArrayLike, truth: np.ndarray, labels: int) -> np.ndarray:
    """Return a model's answers, a refusal being one label more; raise ValueError for others and for a report of such a label."""
    answers = np.asarray(given)
    strays = [answer for answer in answers.ravel().tolist() if not isinstance(answer, Real)]
    if strays:
        raise ValueError(f"The answers hold {strays[0]!r}; each is a grade, or {NO_GRADE} for a report without one.")
    refused = answers == NO_GRADE
    metrics.confusion(truth, np.where(refused, 0, answers), labels)
    return np.where(refused, labels, answers)


def _site(name: object) -> str:
    return NO_SITE if str(name).strip().lower() in metrics.MISSING else str(name)


def _fares(truth: np.ndarray, new: np.ndarray, old: np.ndarray, patients: np.ndarray) -> tuple[int, int, int]:
    """Return how many patients have fewer of their reports right with the new answers, how many more, and how many there are."""
    change = np.bincount(metrics.patient_numbers(patients, len(truth)), (new == truth) * 1.0 - (old == truth))
    return int((change < 0).sum()), int((change > 0).sum()), len(change)


def _word(name: str, difference: metrics.Interval, worse: int, better: int, n: int, margin: float) -> tuple[str, str]:
    """Return the answer for one group, and why."""
    where = "" if name == ALL else f" at {shown(name)}"
    if difference.high < -margin and _tells(worse):
        return REFUSED, f"worse{where}"
    if difference.low > 0 and _tells(better):
        return PASSED, f"better{where}"
    if not margin:
        return NOT_SHOWN, f"not shown to be better{where}"
    if difference.low > -margin and net_loss(worse, better, n) < margin:
        return PASSED, f"not worse by {margin}{where}"
    if n < fewest(margin):
        why = f" ({n:,} patients; it takes {fewest(margin):,})"
    else:
        why = f" (of {n:,} patients {worse:,} fare worse, {better:,} better)"
    return NOT_SHOWN, f"not shown to be no worse than by {margin}{where}{why}"


def _tells(patients: int) -> bool:
    """Say whether so many patients who fare one way are more than luck, if none fares the other way."""
    return metrics.mcnemar(patients, 0) < 1 - metrics.LEVEL


def column(reports, name: str) -> np.ndarray:
    """Return a column of reports; raise ValueError, with what to do, if there is none."""
    try:
        return np.asarray(reports[name])
    except KeyError as error:
        hint = ' If all are of one site, write "all" into it.' if name == "site" else ""
        raise ValueError(f'The reports have no column "{name}": add it.{hint}') from error
