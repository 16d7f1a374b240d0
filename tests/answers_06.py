"""Right and wrong answers to the exercises of notebook 06, each wrong one with words of its hint."""

import numpy as np


def labels_by_place(asked, whole):
    return np.where(np.arange(len(whole)) < len(asked), -100, whole)


def fault_in_lines(ids, in_loss, start, end):
    if sum(in_loss) == 0:
        return 1
    if ids[-1] != end or in_loss[-1] == 0:
        return 2
    return 3 if ids[0] == ids[1] == start else 0


def read(preferred, other):
    margin = np.subtract(preferred, other)
    return margin[-1] - margin[0], preferred[-1] < preferred[0]


RIGHT = {
    "06-mask": [
        labels_by_place,
        lambda asked, whole: [-100] * len(asked) + whole[len(asked) :],
        lambda asked, whole: [-100 if i < len(asked) else token for i, token in enumerate(whole)],
    ],
    "06-fault": [
        fault_in_lines,
        lambda ids, mask, start, end: (
            1 if not any(mask) else 2 if (ids[-1], mask[-1]) != (end, 1) else 3 * (ids[:2] == [start] * 2)
        ),
    ],
    "06-curve": [
        read,
        lambda p, o: [p[-1] - p[0] - (o[-1] - o[0]), int(p[0] > p[-1])],
        lambda p, o: np.array([p[-1] - o[-1] - p[0] + o[0], p[-1] < p[0]]),
    ],
}

WRONG = [
    ("06-mask", lambda asked, whole: whole, "the loss on all tokens"),
    ("06-mask", lambda asked, whole: [-100] * len(whole), "Nothing is learned"),
    ("06-mask", lambda asked, whole: [-100] * len(asked) + whole[len(asked) : -1] + [-100], "never learn to stop"),
    ("06-mask", lambda asked, whole: whole[len(asked) :], "the answer alone"),
    ("06-mask", lambda asked, whole: [-100 if t in asked else t for t in whole], "Mask by place"),
    ("06-mask", lambda asked, whole: ([-100] * len(asked) + whole[len(asked) :])[1:] + [-100], "shifted"),
    ("06-mask", lambda asked, whole: [0] * len(asked) + whole[len(asked) :], "has the label -100"),
    ("06-mask", lambda asked, whole: [i >= len(asked) for i in range(len(whole))], "That is the mask"),
    ("06-mask", lambda asked, whole: None, "End it with `return`"),
    ("06-mask", lambda asked, whole: whole[:2], "For asked="),
    ("06-mask", -100, "Hand over the function itself"),
    (
        "06-fault",
        lambda i, m, s, e: 3 if fault_in_lines(i, m, s, e) == 0 and i.count(s) > 1 else fault_in_lines(i, m, s, e),
        "count",
    ),
    (
        "06-fault",
        lambda i, m, s, e: 1 if not any(m) else 2 if i[-1] != e else 3 * (i[:2] == [s, s]),
        "look at the mask as well",
    ),
    (
        "06-fault",
        lambda i, m, s, e: 1 if not any(m) else 2 if not m[-1] else 3 * (i[:2] == [s, s]),
        "look at the token as well",
    ),
    ("06-fault", lambda i, m, s, e: max(fault_in_lines(i, m, s, e), 2 * (not any(m))), "the first fault"),
    ("06-fault", lambda i, m, s, e: fault_in_lines(i, m, s, e) > 0, "Return which"),
    ("06-fault", lambda i, m, s, e: 0, "your function gives 0"),
    ("06-curve", lambda p, o: (p[-1] - o[-1], p[-1] < p[0]), "the margin at the end"),
    ("06-curve", lambda p, o: (p[-1] - p[0], p[-1] < p[0]), "what the preferred answers gained"),
    ("06-curve", lambda p, o: (p[0] - o[0] - p[-1] + o[-1], p[-1] < p[0]), "wrong way round"),
    ("06-curve", lambda p, o: (read(p, o)[0], p[-1] >= p[0]), "1 where it did not"),
    ("06-curve", lambda p, o: (read(p, o)[0], p[-1] < o[-1]), "with itself at the first step"),
    ("06-curve", lambda p, o: read(p, o)[0], "Return two numbers"),
]
