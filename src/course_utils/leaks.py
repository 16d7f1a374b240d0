"""Find leaks: a label that stands in the text, a word that gives it away, a patient or nearly the same text in two splits.

A stated grade is a leak only if the report would not hold it where the model is used: a model that is to grade from findings
must not read the grade that a doctor wrote. Where the model is to read finished reports, the statement is honest evidence.
"""

import re
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from course_utils import metrics, terms, twins

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd
    from scipy.sparse import csr_matrix

MASK = "[grade]"
# characters that mean the same to the patterns
SAME = str.maketrans("‐‑–—\u00a0，：；（）？", "---- ,:;()?")

_GAP = r"[\s-]*"
_DR = r"(?:diabetic\s+|DM\s+)?(?:retinopathy|retinop\.?|(?-i:DR)|(?-i:dr(?!\.?\s+[A-Z])))"
_DR_ZH = r"(?:糖尿病性?视网膜病变|糖网病?|(?-i:DR))"
_NOT_PROLIFERATIVE = (
    rf"(?:NPDR|N\.P\.D\.R\.?|non{_GAP}prolif(?:erative|\.)?(?:\s+(?:{_DR}|disease|changes))?"
    rf"|非增[殖生][性期型]?{_DR_ZH}?|NPDR期)"
)
_BACKGROUND = rf"(?:BDR|BGDR|(?:background|bkg\.?|bg)\s+{_DR}|(?:背景|单纯)[性期型]{_DR_ZH}?)"
_BEFORE_PROLIFERATIVE = (
    rf"(?:PPDR|pre{_GAP}prolif(?:erative|\.)?(?:\s+(?:{_DR}|disease|changes))?|增[殖生]前期{_DR_ZH}?)"
)
_PROLIFERATIVE = (
    rf"(?:PDR|P\.D\.R\.?|(?<!non)(?<!non[\s-])(?<!pre)(?<!pre[\s-])prolif(?:erative|\.)?\s+"
    rf"(?:{_DR}|(?:diabetic\s+)?(?:disease|changes))|(?<!非)增[殖生][性期型]{_DR_ZH}|PDR期)"
)
_DISEASE = rf"(?:{_NOT_PROLIFERATIVE}|{_BACKGROUND}|{_BEFORE_PROLIFERATIVE}|{_DR}|{_DR_ZH})"
_LIGHTER = (
    r"(?:(?:mild|mod(?:erate|\.)?)(?:\s+to\s+|\s*[-/]\s*)|[轻中]度?[至到-])?"  # "mild to moderate" is the higher one
)
_SEVERITY = {
    3: r"(?:very\s+|extremely\s+)?(?<!moderately )(?:severe|sev\.?)(?![a-z])|极?重度",
    2: r"(?:moderately\s+severe|moderate|mod\.?)(?![a-z])|中度",
    1: r"(?:very\s+)?(?:mild|minimal|slight|early)(?![a-z])|轻度",
}
_EYES = r"bilateral|bilat\.?|right|left|both|either|OU|OD|OS|RE|LE"
_BETWEEN = rf"(?:[\s(:-]*(?:{_EYES}|stable|active|untreated|signs\s+of|features\s+of|degree\s+of|stage|grade)(?![a-z]))?[\s(:-]*"
_THEN = (  # between the disease and its severity
    r"(?:\s*[-,:=(/]+\s*|\s+|(?=[轻中重极]))"
    r"(?:(?:is|of|severity|degree|level|stage|grade|status|currently|type)\s*[:=-]?\s*){0,2}"
)
# "DR, mild cataract" says nothing of the retinopathy
_ENDS = (
    rf"(?=\s*(?:$|[.,;:)/\n\[]|-\s|(?:{_EYES}|in|and|with|without|w/|severity|degree|stage|disease|changes|type|today|now"
    rf"|stable|unchanged|seen|noted|present|on|at|but|high)(?![a-z])|(?-i:M[01]|R[0-3]|NPDR|DR|PDR)))(?![\u3400-\u9fff])|(?<=度)(?=[期型])"
)
_NONE = (
    r"(?:(?:no|without|nil|zero|free\s+(?:of|from)|absence\s+of|negative\s+for)(?:\s+(?:apparent|evidence|e/o|signs?|of|any|visible"
    r"|definite|obvious|detectable|clinical|current|known|background|hypertensive\s+or|diabetic\s+or(?=\s+hypertensive)))*\s+"
    r"|(?:无|未见|未发现|没有|不伴)(?:明显|明确|任何)?)"
)
_ABSENT = r"(?:none|nil|absent|negative|neg|no|not\s+(?:present|seen|detected|found|apparent)|0)(?![a-z0-9])"
_NUMBER = r"(?:(?:grade|level|stage|class|severity|scale|score|分级|级)\s*(?:is\s+)?[:=-]?\s*)"
_DIGIT = r"[0-4](?![\d.,/]*\d|\s*(?:mg|mcg|g|ml|%|x|y|yrs?|years?|weeks?|wks?|months?|days?|hours?|quad\w*|Q)(?![a-z]))"
_ROMAN = {"I": 1, "II": 2, "III": 3, "IV": 4, "V": 4, "VI": 4}
# how other scales stand to the course's. ETDRS levels: Wilkinson et al., as below. UK screening: R1 (background) and R2
# (pre-proliferative) are wider than one step of that scale, so each counts as its lower one. China: stages I to VI of 1985,
# of which IV to VI are proliferative.
_ETDRS = {"10": 0, "14": 1, "15": 1, "20": 1, "35": 2, "43": 2, "47": 2, "53": 3} | dict.fromkeys(
    ("60", "61", "65", "71", "75", "81", "85"), 4
)
_UK = {"R0": 0, "R1": 1, "R2": 2, "R3": 4}
_STAGE = dict(zip("一二三四五六", (1, 2, 3, 4, 4, 4), strict=True)) | dict(
    zip("ⅠⅡⅢⅣⅤⅥ", (1, 2, 3, 4, 4, 4), strict=True)
)
_STAGE |= {str(i): min(i, 4) for i in range(1, 7)} | _ROMAN
# the words of the International Clinical Diabetic Retinopathy scale (Wilkinson et al., Ophthalmology 2003;110:1677-82)
STATEMENTS: list[tuple[str, int | Mapping[str, int]]] = [
    (
        rf"{_NONE}(?:{_NOT_PROLIFERATIVE}|{_BACKGROUND}|{_DR}|{_DR_ZH}"
        rf"|hypertensive\s+retinopathy(?<=diabetic or hypertensive retinopathy))(?:\s*(?:or|nor|and|/)\s*{_PROLIFERATIVE})?",
        0,
    ),
    (rf"(?:{_DR}|{_DR_ZH})(?:\s*[:=(-]+\s*|\s+(?:is\s+|was\s+)?){_ABSENT}", 0),
    (rf"(?:{_DR}|ICDRS?|NPDR|视网膜病变|糖网)\s*,?\s*{_NUMBER}+(?P<scale>{_DIGIT}|(?-i:IV|I{{1,3}})(?![a-z]))", _ROMAN),
    (rf"(?:{_NUMBER}(?P<scale>{_DIGIT}|(?-i:IV|I{{1,3}})))\s+(?:of\s+)?(?:{_NOT_PROLIFERATIVE}|{_DR})", _ROMAN),
    (rf"(?:(?-i:DR)|ICDRS?)(?:\s+scale)?\s*[:=-]?\s*(?P<scale>{_DIGIT})", {}),
    (
        r"(?:ETDRS|DRSS)(?:\s+(?:level|grade|score|severity))*\s*[:=]?\s*(?P<scale>" + "|".join(_ETDRS) + r")[A-E]?",
        _ETDRS,
    ),
    (
        r"(?-i:(?P<scale>R[0-3]))(?:[as](?![a-z]))?(?:\s?-?/?(?-i:M[01]))?(?:\s?/?(?-i:P[01]))?(?!\s*(?:=|resection|margin|\w*resident|lead|rib))",
        _UK,
    ),
    (rf"(?:{_DR_ZH}|视网膜病变)\s*\(?\s*(?P<scale>[一二三四五六ⅠⅡⅢⅣⅤⅥ1-6]|(?-i:VI|IV|V|I{{1,3}}))\s*期\)?", _STAGE),
    *(
        (rf"{_LIGHTER}(?:{words}){_BETWEEN}{_DISEASE}|{_DISEASE}{_THEN}{_LIGHTER}(?:{words})\)?(?:{_ENDS})", grade)
        for grade, words in _SEVERITY.items()
    ),
    (rf"(?:(?:{'|'.join(_SEVERITY.values())}|active|high{_GAP}risk|高危)\s*)?{_PROLIFERATIVE}", 4),
    (rf"{_DR}{_THEN}prolif(?:erative|\.)?(?![a-z])", 4),
    (_BEFORE_PROLIFERATIVE, 3),
    (_BACKGROUND, 1),
]
_EDGE = r"[A-Za-z0-9]"
_PATTERNS = [(re.compile(rf"(?<!{_EDGE})(?:{words})(?!{_EDGE})", re.IGNORECASE), grade) for words, grade in STATEMENTS]
# another retinopathy, or a resident, a ward, a lead
_OTHER_BEFORE = re.compile(
    r"(?:hypertensive|sickle(?:\s+cell)?|radiation|solar|valsalva|serous|arteriosclerotic|leuka?emic|anaemic|purtscher'?s?|toxic"
    r"|(?:hydroxy)?chloroquine|non-?\s?diabetic|pigmentary|stasis|autoimmune|hiv|birdshot|haemorrhagic|ward|room|bed|pgy|高血压性?)"
    r"[\s-]*$",
    re.IGNORECASE,
)
_OTHER_AFTER = re.compile(r"\s+of\s+prematurity|\s*\+?\s*(?:mg|mcg|tab|cap)", re.IGNORECASE)
_RELATIVE = (
    r"(?:grand)?(?:mother|father|mum|mom|dad|parent|son|daughter)s?|sisters?|brothers?|siblings?|twins?|aunts?|uncles?|cousins?"
    r"|nephews?|nieces?|relatives?|famil(?:y|ial)|maternal|paternal|FHx?|父亲?|母亲?|家族|兄|弟|姐|妹|祖"
)
_PAST = r"previous(?:ly)?|prior|past|histor(?:y|ical)|hx|h/o|p?mhx?|old|resolved|formerly|既往|曾|病史"
_UNSURE = (
    r"possib(?:le|ly)|poss|probabl[ey]|likely|suspect(?:ed|s)?|suspicious|query|queried|rule[sd]?\s+out|ruling\s+out|r/o|exclud(?:e[sd]?|ing)"
    r"|may|might|could|if|risk|prevent\w*|screen(?:ing|ed)?|monitor\w*|progress(?:ion|ing)?\s+to|可疑|疑似|可能|怀疑|排除|不除外|预防"
)
_DENIED = (
    r"no(?!\s+(?:change|progression|worsening|improvement))|not|without|nil|denie[sd]|never|neither|nor|negative\s+for"
    r"|无|未见|未发现|没有|否认"
)


def _word(words: str) -> str:
    """Return a pattern in which the ASCII words stand free."""
    return rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])"


# said before a statement, in its clause, these make it a statement about something else than this eye today
_DOUBT = re.compile(rf"{_word('|'.join((_DENIED, _PAST, _RELATIVE, _UNSURE)))}|\?", re.IGNORECASE)
# said right after it, these do
_DOUBT_AFTER = re.compile(
    rf"\s*(?:\?|\(-\)|[:=-]+\s*(?:no|nil|none|neg|negative|absent)(?![a-z])"
    rf"|[,(-]?\s*(?:(?:is|was|has\s+been|to\s+be|can\s+be)\s+)?(?:ruled\s+out|excluded|unlikely|absent|denied|suspected|possible"
    rf"|not\s+(?:seen|present|found|detected|excluded|met)|may|might|could|is\s+a\s+risk)|[,(-]?\s*(?:in\s+)?(?:his\s+|her\s+|the\s+)?{_word(_RELATIVE)}"
    rf"|[,(]?\s*(?:待排|可能|不除外|已排除))",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.,;。、\n]|\?(?=\s)|\b(?:but|however|now|today|currently)\b", re.IGNORECASE)
# a heading whose list is not about this eye today, until a full stop, an empty line or another heading ends it
_SECTION_END = re.compile(r"[.;。]|\n\s*\n")
_HEADING = re.compile(r"([A-Za-z][A-Za-z /]*|[\u3400-\u9fff]+)\s*:")
_NOT_HERE = re.compile(_word(f"{_RELATIVE}|{_PAST}"), re.IGNORECASE)


Place = tuple[str, int]  # a split and the number of a row in it


Share = tuple[float, float, float]  # a share, and its 95% interval

AVOIDS = 0.9  # a phrase gives a label away if it avoids this share of the errors that guessing would make,
SURELY = 0.7  # at the lower end of its interval this one,
COVERS = 0.05  # and stands in this share of the label's rows
FOLDS, LEAST = 5, 5  # parts of a file, and in how many texts a phrase has to stand


class Giveaway(NamedTuple):
    """How well one phrase tells a label on rows where it wasn't looked for.

    `phrases` are those that were found, the one that most parts agree on first; of `n` held-out rows with the phrase `k` have
    the label, of `rows` with the label it stands in `k`. `precision` is k / n (None if no row has the phrase), `covered`
    k / rows, each with its Wilson interval.
    """

    label: Hashable
    phrases: tuple[str, ...]
    k: int
    n: int
    rows: int
    precision: Share | None
    covered: Share
    leak: bool


class Giveaways(NamedTuple):
    """What `giveaways` found: a line for each label, and how many of `n` held-out rows one phrase a label gets right.

    `majority` is how many are right if each row gets the commonest label, `verdict` a sentence.
    """

    of_labels: list[Giveaway]
    right: int
    majority: int
    n: int
    verdict: str

    @property
    def leaks(self) -> list[Giveaway]:
        """The labels that a phrase gives away."""
        return [one for one in self.of_labels if one.leak]


class Statement(NamedTuple):
    """A grade that a text states: its place, the grade, and the eye ("right", "left" or "" if it names none)."""

    start: int
    end: int
    grade: int
    eye: str


def stated(text: str) -> list[Statement]:
    """Return the grades that a text states, in its order: "No DR", "severe NPDR", "NPDR, severe", "DR grade 3", 重度NPDR.

    Other scales are read as the course's, 0 to 4: ETDRS levels, R0 to R3 of the UK's screening (R1 and R2 are wider than one
    step and count as 1 and 2), stages I to VI (一 to 六期) of China's. "Background" alone is 1, "pre-proliferative" 3.
    A denied, past, possible or a relative's grade ("no PDR", "father had PDR") is none, and so is another retinopathy's.
    """
    grades = _grades(text)
    eyes = terms.mentions(text, ("eye",)) if grades else []
    return sorted(Statement(start, end, grade, _eye(text, start, end, eyes)) for (start, end), grade in grades.items())


def stated_grade(text: str, eye: str = "") -> int | None:
    """Return the grade that the text states for an eye, the last one if it states several; None if it states none."""
    grades = [statement.grade for statement in stated(text) if eye in ("", statement.eye) or not statement.eye]
    return grades[-1] if grades else None


def mask(text: str) -> str:
    """Return the text with each stated grade replaced by MASK."""
    for statement in reversed(stated(text)):
        text = text[: statement.start] + MASK + text[statement.end :]
    return text


def giveaways(
    texts: Sequence[str], labels: Sequence[Hashable], groups: Sequence[Hashable] | None = None, seed: int = 0
) -> Giveaways:
    """Say for each label of a file, any file, whether one phrase of one to three words gives it away: "Assessment: urgent".

    Takes the texts, their labels, their patients if they are known, and the seed of the split. The rows are split in five
    parts, a patient's all in one. For each label the phrase that tells it best in four parts is judged on the fifth, so a
    phrase that fits by chance is found out. A phrase gives a label away if it makes almost no errors (AVOIDS, SURELY) and
    stands in enough of the label's rows (COVERS). Such a phrase may be honest evidence: whether it would stand in the text
    where the model is used, only you know. A Chinese character is a word.
    Raises ValueError for lists of unequal length, fewer than two labels, or fewer patients than parts.
    """
    names = sorted(set(labels), key=str)
    patients = range(len(texts)) if groups is None else groups
    if not len(texts) == len(labels) == len(patients):
        raise ValueError(
            f"There are {len(texts)} texts, {len(labels)} labels and {len(patients)} groups; each text needs one."
        )
    if len(names) < 2 or len(set(patients)) < FOLDS:
        raise ValueError(
            f"There are {len(names)} labels and {len(set(patients))} groups; it takes 2 labels or more, and {FOLDS} groups."
        )
    has, words = _phrase_table(texts)
    code_of = {name: code for code, name in enumerate(names)}
    y = np.array([code_of[label] for label in labels])
    right = majority = 0
    chosen: list[list[str]] = [[] for _ in names]
    k, n = np.zeros(len(names), int), np.zeros(len(names), int)
    for train, held in _folds(y, patients, seed):
        commonest = np.bincount(y[train]).argmax()
        best, score = _best_phrases(has[train], y[train], len(names))
        said = has[held][:, best].toarray() > 0
        guess = np.where(said.any(1), (said * score).argmax(1), commonest)
        right += int((guess == y[held]).sum())
        majority += int((y[held] == commonest).sum())
        n += said.sum(0)
        k += said[np.arange(len(held)), y[held]] @ np.eye(len(names), dtype=int)[y[held]]
        for code, column in enumerate(best):
            chosen[code].append(words[column])
    rows = np.bincount(y)
    of_labels = [
        _giveaway(name, chosen[code], int(k[code]), int(n[code]), int(rows[code]), len(y))
        for code, name in enumerate(names)
    ]
    return Giveaways(of_labels, right, majority, len(y), _verdict(of_labels, right, majority, len(y)))


def shared_patients(frames: Mapping[str, "pd.DataFrame"], group: str = "patient_id") -> dict[str, list[str]]:
    """Return the patients with rows in several splits, each with the names of those splits."""
    homes: dict[str, list[str]] = {}
    for name, rows in frames.items():
        for patient in rows[group].unique():
            homes.setdefault(patient, []).append(name)
    return {patient: names for patient, names in homes.items() if len(names) > 1}


def near_duplicates(
    frames: Mapping[str, "pd.DataFrame"], alike: float = 0.9, text: str = "text"
) -> list[tuple[Place, Place]]:
    """Return pairs ((split, row), (split, row)) of texts of different splits that are near-identical.

    Takes how much of their three-word phrases two texts must share. It is exact: `twins.near_twins` does the work.
    """
    places = [(name, i) for name, rows in frames.items() for i in range(len(rows))]
    reports = [report for rows in frames.values() for report in rows[text]]
    pairs = twins.near_twins(reports, [name for name, _ in places], alike)
    return [(places[early], places[late]) for late, early in pairs.items()]


def _phrase_table(texts: Sequence[str]) -> tuple["csr_matrix", list[str]]:
    """Return which text (row) has which phrase (column), and the phrases, the shorter ones first."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(
        binary=True, ngram_range=(1, 3), token_pattern=twins.WORD.pattern, min_df=min(LEAST, len(texts))
    )
    try:
        table = counter.fit_transform(texts)
    except ValueError as error:
        raise ValueError(
            f"No word stands in {LEAST} of the {len(texts)} texts; this needs more, or longer, texts."
        ) from error
    words = counter.get_feature_names_out()
    order = sorted(range(len(words)), key=lambda i: (words[i].count(" "), words[i]))
    return table.tocsc()[:, order].tocsr(), [str(words[i]) for i in order]


def _folds(y: np.ndarray, groups: Sequence[Hashable], seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to look in and the rows to judge on, for each part. A patient is in one part alone."""
    from sklearn.model_selection import StratifiedGroupKFold

    code_of: dict[Hashable, int] = {}
    codes = [code_of.setdefault(group, len(code_of)) for group in groups]
    with warnings.catch_warnings():  # a label with fewer rows than parts is missing in some, which its counts show
        warnings.simplefilter("ignore", UserWarning)
        return list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(codes, y, codes))


def _best_phrases(has: "csr_matrix", y: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each label the column of the phrase that tells it best, and how well.

    Of n texts with a phrase k have the label: k / (n + 4), close to the lower end of Wilson's interval.
    """
    one_hot = np.eye(labels)[y]
    scores = (has.T @ one_hot) / (np.asarray(has.sum(0)).reshape(-1, 1) + 4)
    best = scores.argmax(0)
    return best, scores[best, np.arange(labels)]


def _giveaway(label: Hashable, phrases: Sequence[str], k: int, n: int, rows: int, total: int) -> Giveaway:
    """Return a label's line."""
    ordered = tuple(phrase for phrase, _ in Counter(phrases).most_common())
    precision = (k / n, *metrics.wilson(k, n)) if n else None
    covered = (k / rows, *metrics.wilson(k, rows))
    errors = 1 - rows / total  # of guessing this label
    leak = bool(precision and 1 - precision[0] <= (1 - AVOIDS) * errors and 1 - precision[1] <= (1 - SURELY) * errors)
    return Giveaway(label, ordered, k, n, rows, precision, covered, leak and covered[0] >= COVERS)


def _verdict(of_labels: Sequence[Giveaway], right: int, majority: int, n: int) -> str:
    """Return the sentence on a file."""
    given = [f'"{one.phrases[0]}" means {one.label} in {one.k:,} of {one.n:,} rows' for one in of_labels if one.leak]
    found = f"Phrases give labels away: {'; '.join(given)}." if given else "No phrase alone gives a label away."
    return f"{found} One phrase a label gets {right:,} of {n:,} right, the commonest label {majority:,}."


def _grades(text: str) -> dict[tuple[int, int], int]:
    """Return each stated grade by its place, (start, end). Of two that overlap, the one of the earlier pattern counts."""
    text = text.translate(SAME)
    grades: dict[tuple[int, int], int] = {}
    taken: list[tuple[int, int]] = []
    for pattern, grade in _PATTERNS:
        for match in pattern.finditer(text):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            if not _is_elsewhere(text, *match.span()):
                grades[match.span()] = grade if isinstance(grade, int) else _number(match["scale"], grade)
    return grades


def _is_elsewhere(text: str, start: int, end: int) -> bool:
    """Say if what stands at a place is not about diabetic retinopathy of this eye today."""
    before, after = text[max(0, start - 300) : start], text[end : end + 60]
    clause = _CLAUSE_END.split(before)[-1]
    headings = _HEADING.findall(_SECTION_END.split(before)[-1])
    return bool(
        _OTHER_BEFORE.search(before)
        or _OTHER_AFTER.match(after)
        or _DOUBT.search(clause)
        or _DOUBT_AFTER.match(after)
        or headings
        and _NOT_HERE.search(headings[-1])
    )


def _number(written: str, scale: Mapping[str, int]) -> int:
    """Return the grade for what is written, on a scale of its own or as the grade itself."""
    return scale[written.upper()] if written.upper() in scale else int(written)


def _eye(text: str, start: int, end: int, eyes: Sequence[terms.Mention]) -> str:
    """Return a statement's eye, "right", "left", or "" for both eyes or none.

    It is the last one named before it in its clause, or the one right after it ("mild NPDR OD"), or the last one before.
    """
    clause = start - len(re.split(r"[.,;。，；\n]", text[max(0, start - 300) : start])[-1])
    before = [mention for mention in eyes if mention.start < start]
    after = [mention for mention in eyes if mention.start >= end][:1]
    after = [mention for mention in after if _follows(text[end : mention.start])]
    here = [mention for mention in before if mention.start >= clause]
    code = next((some[-1].code.lower() for some in (here, after, before) if some), "")
    return code if code in ("right", "left") else ""


def _follows(between: str) -> bool:
    """Say if an eye that stands after these words belongs to what stands before them."""
    return re.fullmatch(r"[\s(-]*(?:(?:in|of|on)\s+)?(?:the\s+)?", between, re.IGNORECASE) is not None
