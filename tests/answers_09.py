"""Right and wrong answers to the exercise of notebook 09, each wrong one with words of its hint."""

import numpy as np


def zero_based(wanted, how_many):
    if any(not 1 <= number <= how_many for number in wanted):
        raise ValueError(f"There are {how_many} layers.")
    return sorted({number - 1 for number in wanted})


def none_above(wanted, how_many):
    if max(wanted) > how_many or 0 in wanted:
        raise ValueError
    return sorted({number - 1 for number in wanted})


def zero_based_array(wanted, how_many):
    numbers = np.unique(wanted) - 1
    if numbers.min() < 0 or numbers.max() >= how_many:
        raise ValueError("no such layer")
    return numbers


def with_duplicates(wanted, how_many):
    if set(wanted) - set(range(1, how_many + 1)):
        raise ValueError(wanted)
    return sorted(number - 1 for number in wanted)


def by_index(wanted, how_many):
    people = list(range(1, how_many + 1))
    return sorted(people.index(number) for number in wanted)


def own_error(wanted, how_many):
    class NoSuchLayer(ValueError):
        pass

    if min(wanted) < 1 or max(wanted) > how_many:
        raise NoSuchLayer
    return tuple(sorted(np.array(wanted) - 1))


def asserted(wanted, how_many):
    assert all(1 <= number <= how_many for number in wanted)
    return sorted(number - 1 for number in wanted)


def returned(wanted, how_many):
    return sorted(n - 1 for n in wanted) if min(wanted) > 0 and max(wanted) <= how_many else ValueError("no layer")


def printed(wanted, how_many):
    if min(wanted) > 0 and max(wanted) <= how_many:
        return sorted(number - 1 for number in wanted)
    print("ValueError")


def sorted_in_place(wanted, how_many):
    wanted.sort()
    return zero_based(wanted, how_many)


def last_refused(wanted, how_many):
    if max(wanted) >= how_many:
        raise ValueError("no such layer")
    return sorted(number - 1 for number in wanted)


def first_alone_is_checked(wanted, how_many):
    if not 1 <= wanted[0] <= how_many:
        raise ValueError
    return sorted(number - 1 for number in wanted)


RIGHT = {
    "09-layers": [
        zero_based,
        zero_based_array,
        with_duplicates,
        by_index,
        own_error,
        lambda wanted, n: (number for number in zero_based(wanted, n)),
    ],
}

WRONG = [
    ("09-layers", none_above, "For [-1] of 6 layers"),
    ("09-layers", lambda wanted, n: sorted(set(wanted)), "people's numbers still"),
    ("09-layers", lambda wanted, n: [i - 1 for i in wanted], "Sort them"),
    ("09-layers", lambda wanted, n: sorted({i + 1 for i in wanted}), "The other way"),
    ("09-layers", lambda wanted, n: sorted({n - i for i in wanted}), "count from the end"),
    ("09-layers", lambda wanted, n: sorted({i - 1 for i in wanted}), "there is no such layer: raise ValueError"),
    ("09-layers", lambda wanted, n: [range(n)[i - 1] for i in sorted(set(wanted))], "raise ValueError, not IndexError"),
    ("09-layers", [10, 11], "Hand over the function itself"),
    ("09-layers", asserted, "raise ValueError, not AssertionError"),
    ("09-layers", returned, "Raise it: `raise`, not `return`"),
    ("09-layers", printed, "gives None; there is no such layer"),
    ("09-layers", sorted_in_place, "changes what it is given (wanted)"),
    (
        "09-layers",
        last_refused,
        "For wanted=[11, 12], how_many=12 your function stopped with ValueError: no such layer.",
    ),
    ("09-layers", lambda w, n: [i - 1 for i in w if 1 <= i <= n], "Sort them"),
    (
        "09-layers",
        lambda w, n: sorted(i - 1 for i in w if 1 <= i <= n),
        "For [12, 13] of 12 layers your function gives [11]",
    ),
    ("09-layers", lambda w, n: set(zero_based(w, n)), "gives {0}; right is [0]"),
    ("09-layers", lambda w, n: str(zero_based(w, n)), "gives '[0]'; right is [0]"),
    ("09-layers", lambda w, n: [10, 11], "in all 5 cases"),
    ("09-layers", lambda w, n: zero_based(w, 12), "For w=[24, 1], n=24 your function stopped with ValueError"),
    ("09-layers", first_alone_is_checked, "For [12, 13] of 12 layers your function gives [11, 12]"),
    (
        "09-layers",
        lambda w, n: "ValueError" if max(w) > n else zero_based(w, n),
        "gives 'ValueError'; there is no such layer",
    ),
    ("09-layers", lambda w, n: [str(number) for number in zero_based(w, n)], "gives ['0']; right is [0]"),
]
