"""Find texts that are nearly the same: copies of a report, in the same split or in two."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

WORD = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")  # a Chinese character counts as a word


def near_twins(texts: Sequence[str], parts: Sequence, alike: float = 0.9) -> dict[int, int]:
    """Return, for each text that is near-identical to an earlier one of another part, the position of the first such.

    Two texts are near-identical if the Jaccard index of their sets of three-word phrases (Broder, Compression and
    Complexity of Sequences 1997:21-29) is at least `alike`. Nothing is estimated: two such sets share one of their
    rarest phrases, so only those few are looked up (prefix filtering, Bayardo et al., WWW 2007:131-140).
    """
    phrases_of = [_phrases(text) for text in texts]
    frequency = Counter(phrase for phrases in phrases_of for phrase in phrases)
    index: defaultdict[str, list[int]] = defaultdict(list)  # the texts that have a phrase among their rarest
    twins: dict[int, int] = {}
    for i, phrases in enumerate(phrases_of):
        n_rarest = len(phrases) - math.ceil(alike * len(phrases) - 1e-9) + 1
        rarest = sorted(phrases, key=lambda phrase: (frequency[phrase], phrase))[:n_rarest]
        for j in sorted({j for phrase in rarest for j in index[phrase] if parts[j] != parts[i]}):
            shared = len(phrases & phrases_of[j])
            if shared >= alike * (len(phrases) + len(phrases_of[j]) - shared) - 1e-9:
                twins[i] = j
                break
        for phrase in rarest:
            index[phrase].append(i)
    return twins


def _phrases(text: str) -> set[str]:
    words = WORD.findall(text.casefold())
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}
