"""Find texts that are nearly the same: copies of a report, in the same split or in two."""

import heapq
import math
import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby

BUCKETS = 1 << 22
WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")  # a Chinese character counts as a word


def near_twins(texts: Sequence[str], parts: Sequence, alike: float = 0.9) -> dict[int, int]:
    """Return, for each text that is near-identical to an earlier one of another part, the position of the first such.

    Two texts are near-identical if the Jaccard index of their sets of three-word phrases (Broder, Compression and
    Complexity of Sequences 1997:21-29) is at least `alike`. Nothing is estimated: two such sets share one of their
    rarest phrases, so only those few are looked up (prefix filtering, Bayardo et al., WWW 2007:131-140), and only in texts
    where enough phrases come after it (positional filtering, Xiao et al., WWW 2008:131-140). Equal texts are compared once.
    """
    # the phrases are made where they are needed, since they take ten times the room of the words
    words_of = [_words(text) for text in texts]
    counts = _count(words_of)
    index: defaultdict[str, dict] = defaultdict(dict)  # a rare phrase: (part, size, place): the texts
    known: dict[tuple, int] = {}  # the answer for an equal text of the same part
    homes: defaultdict[str, dict] = defaultdict(dict)  # the first text of these words in a part, in two parts at most
    twins: dict[int, int] = {}
    for i, (words, part) in enumerate(zip(words_of, parts, strict=True)):
        if (words, part) in known:
            twins[i] = known[words, part]
            continue
        phrases = _phrases(words)
        size, rarest = len(phrases), _rarest(phrases, counts, alike)
        earlier = [
            found
            for place, phrase in rarest
            for (other, length, spot), found in index.get(phrase, {}).items()
            if other != part and _is_enough(min(size - place, length - spot), size, length, alike)
        ]
        earlier += [[j] for other, j in homes[words].items() if other != part]
        for j, _ in groupby(heapq.merge(*earlier)):
            others = _phrases(words_of[j])
            if _is_enough(len(phrases & others), size, len(others), alike):
                twins[i] = known[words, part] = j
                break
        if len(homes[words]) < 2 and part not in homes[words]:  # a third part would never be the first to be found
            homes[words][part] = i
            for place, phrase in rarest:
                index[phrase].setdefault((part, size, place), []).append(i)
    return twins


def _count(words_of: Sequence[str]) -> array:
    """Return how often each phrase is there, by its hash. Some share a number, so it is at least that often."""
    counts = array("I", bytes(4 * BUCKETS))
    for words in set(words_of):
        for phrase in _phrases(words):
            counts[hash(phrase) % BUCKETS] += 1
    return counts


def _rarest(phrases: set[str], counts: Sequence[int], alike: float) -> list[tuple[int, str]]:
    """Return (place, phrase) of the rarest phrases of a text, the rarest first, but for those that no other text has.

    They are so many that a near-identical text of other words has one of them among its own rarest.
    """
    n = len(phrases) - math.ceil(alike * len(phrases) - 1e-9) + 1
    number = {phrase: counts[hash(phrase) % BUCKETS] for phrase in phrases}
    rarest = heapq.nsmallest(n, phrases, key=lambda phrase: (number[phrase], phrase))
    return [(place, phrase) for place, phrase in enumerate(rarest) if number[phrase] > 1]


def _is_enough(shared: int, size: int, length: int, alike: float) -> bool:
    """Say whether that many shared phrases make two texts of these many phrases near-identical."""
    return shared >= alike * (size + length - shared) - 1e-9


def _words(text: str) -> str:
    return " ".join(WORD.findall(text.casefold()))


def _phrases(words: str) -> set[str]:
    one = words.split(" ")
    return {" ".join(one[i : i + 3]) for i in range(max(1, len(one) - 2))}
