"""Find texts that are nearly the same: copies of a report, in the same split or in two."""

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby

WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")  # a Chinese character counts as a word


def near_twins(texts: Sequence[str], parts: Sequence, alike: float = 0.9) -> dict[int, int]:
    """Return, for each text that is near-identical to an earlier one of another part, the position of the first such.

    Two texts are near-identical if the Jaccard index of their sets of three-word phrases (Broder, Compression and
    Complexity of Sequences 1997:21-29) is at least `alike`. Nothing is estimated: two such sets share one of their
    rarest phrases, so only those few are looked up (prefix filtering, Bayardo et al., WWW 2007:131-140), and only in texts
    where enough phrases come after it (positional filtering, Xiao et al., WWW 2008:131-140). Equal texts are compared once.
    """
    phrases_of = [_phrases(text) for text in texts]
    frequency = Counter(phrase for phrases in set(phrases_of) for phrase in phrases)
    index: defaultdict[str, dict[tuple, list[int]]] = defaultdict(
        dict
    )  # by a rare phrase; then by part, size and place
    known: dict[tuple, int] = {}  # the answer for an equal text of the same part
    homes: defaultdict[frozenset[str], set] = defaultdict(set)  # the parts for which a text stands in the index
    twins: dict[int, int] = {}
    for i, (phrases, part) in enumerate(zip(phrases_of, parts, strict=True)):
        if (phrases, part) in known:
            twins[i] = known[phrases, part]
            continue
        size, rarest = len(phrases), _rarest(phrases, frequency, alike)
        earlier = [
            found
            for place, phrase in enumerate(rarest)
            for (other, length, spot), found in index[phrase].items()
            if other != part and _is_enough(min(size - place, length - spot), size, length, alike)
        ]
        for j, _ in groupby(heapq.merge(*earlier)):
            if _is_enough(len(phrases & phrases_of[j]), size, len(phrases_of[j]), alike):
                twins[i] = known[phrases, part] = j
                break
        if len(homes[phrases]) < 2 and part not in homes[phrases]:  # a third part would never be the first to be found
            homes[phrases].add(part)
            for place, phrase in enumerate(rarest):
                index[phrase].setdefault((part, size, place), []).append(i)
    return twins


def _rarest(phrases: frozenset[str], frequency: Counter[str], alike: float) -> list[str]:
    """Return the rarest phrases of a text, so many that a near-identical text has one of them among its own rarest."""
    n = len(phrases) - math.ceil(alike * len(phrases) - 1e-9) + 1
    return heapq.nsmallest(n, phrases, key=lambda phrase: (frequency[phrase], phrase))


def _is_enough(shared: int, size: int, length: int, alike: float) -> bool:
    """Say whether that many shared phrases make two texts of these many phrases near-identical."""
    return shared >= alike * (size + length - shared) - 1e-9


def _phrases(text: str) -> frozenset[str]:
    words = WORD.findall(text.casefold())
    return frozenset(" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2)))
