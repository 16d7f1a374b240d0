"""The exercises of 15_scale_out."""

from course_utils.exercises.judging import FUNCTION, NOTHING, Wrong, by_example, called, show


def share(answer) -> tuple[bool, str]:
    """15: a process's rows of a list, so that none is lost, none read twice, and all have about as many."""
    if not callable(answer):
        raise Wrong(FUNCTION)
    cases = [(10, 2), (11, 2), (7, 3), (4, 4), (3, 4), (64, 8)]
    for number, processes in cases:
        rows = [100 + row for row in range(number)]
        shares = [_rows(called(answer, (rows, rank, processes))) for rank in range(processes)]
        read = [row for one in shares for row in one]
        words = f"Of {number} rows for {processes} processes,"
        strange = [row for row in read if row not in rows]
        if strange:
            hint = (
                "give the rows themselves, not their places."
                if set(read) <= set(range(number))
                else "where is it from?"
            )
            return False, f"{words} {show(strange[0])} is none: {hint}"
        if len(set(read)) < len(read):
            return (
                False,
                f"{words} {len(read) - len(set(read))} are read twice. Do the shares overlap, or are rows repeated?",
            )
        if len(read) < number:
            hint = "What becomes of the rest of the division?" if number % processes else "Who reads them?"
            return False, f"{words} {number - len(read)} are lost. {hint}"
        if max(map(len, shares)) - min(map(len, shares)) > 1:
            counts = ", ".join(str(len(one)) for one in shares)
            return (
                False,
                f"{words} the processes have {counts}: no more than one apart is asked for. All wait for the last.",
            )
    return True, f"Right, in all {len(cases)} cases: none lost, none twice."


def _rows(given) -> list[int]:
    """Return what a learner's function gives as a list of whole numbers. Raises Wrong for anything else."""
    if given is None:
        raise Wrong(NOTHING)
    try:
        found = [row.item() if hasattr(row, "item") else row for row in given]
    except (TypeError, ValueError, RuntimeError) as error:
        raise Wrong(f"Your function gives {show(given)}. A list of rows is asked for.") from error
    odd = [row for row in found if not isinstance(row, int)]
    if odd:
        raise Wrong(f"Your function gives {show(odd[0])} among the rows, which are whole numbers here.")
    return found


def mean(answer) -> tuple[bool, str]:
    """15: the weighted mean loss over all rows, from each process's sum of losses and of weights."""
    cases = [([8.0, 6.0], [16.0, 4.0]), ([3.0, 9.0, 1.0], [2.0, 12.0, 4.0]), ([5.0], [4.0]), ([0.0, 7.0], [0.0, 7.0])]

    def each(sums, weights):
        return [one / of for one, of in zip(sums, weights, strict=True) if of]

    mistakes = [
        (
            lambda sums, weights: sum(each(sums, weights)) / len(sums),
            "That is the mean of the processes' means. One with few rows then counts as much as one with many.",
        ),
        (
            lambda sums, weights: sum(each(sums, weights)) / len(each(sums, weights)),
            "That is the mean of the processes' means. One with few rows then counts as much as one with many.",
        ),
        (lambda sums, weights: sum(sums) / len(sums), "You divide by the number of processes. Divide by all weights."),
        (lambda sums, weights: sum(sums), "That is the sum over all. Divide it by the sum of all weights."),
        (lambda sums, weights: sum(each(sums, weights)), "You add means up. Add the sums up, and then divide."),
        (
            lambda sums, weights: sum(sums) * len(sums) / sum(weights),
            "The factor for DDP's mean is not asked for here: the loss itself is.",
        ),
    ]
    return by_example(
        answer,
        lambda sums, weights: sum(sums) / sum(weights),
        mistakes,
        cases,
        zero="A process may have no weight at all: divide once, by the sum over all.",
    )


def memory(answer) -> tuple[bool, str]:
    """15: the gigabytes that each process holds under DDP or FSDP, with AdamW in 32 bits."""
    cases = [(10**9, 4, True), (10**9, 4, False), (25 * 10**7, 2, True), (7 * 10**9, 8, False), (10**9, 1, True)]

    def held(numbers):
        return lambda weights, processes, shared_out: numbers * 4 * weights / 1e9 / (processes if shared_out else 1)

    right = held(4)

    def optimiser_alone(weights, processes, shared_out):
        return (8 + 8 / (processes if shared_out else 1)) * weights / 1e9

    mistakes = [
        (held(1), "Those are the weights alone. To train one takes its gradient and AdamW's two means as well."),
        (held(2), "AdamW keeps two means of each weight's gradient: they count as well."),
        (held(3), "Four numbers for each weight: itself, its gradient, and two means. You count three."),
        (lambda w, n, s: 16 * w / 1e9, "Under FSDP each process holds its part alone."),
        (lambda w, n, s: 16 * w / n / 1e9, "Under DDP each process holds all of it: nothing is shared out."),
        (lambda w, n, s: right(w, n, not s), "The wrong way round: FSDP shares out, DDP does not."),
        (optimiser_alone, "FSDP shares out weights and gradients as well, and not the optimiser's means alone."),
        (lambda w, n, s: 16 * w / (n if s else 1) / 2**30, "A gigabyte is 10^9 bytes here, not 2^30."),
        (lambda w, n, s: 16 * w / (n if s else 1), "Those are bytes. Gigabytes are asked for."),
        (lambda w, n, s: right(w, n, s) * n, "That is what all processes hold together. Each one is asked for."),
        (lambda w, n, s: right(w, n, s) / 2, "In 32 bits a number takes four bytes."),
    ]
    return by_example(answer, right, mistakes, cases)


CHECKERS = {"15-share": share, "15-mean": mean, "15-memory": memory}
