"""The exercises of 06_teach_a_decoder_to_answer."""

from course_utils.exercises.judging import by_example

OUT = -100  # the label of a token that is not learned
NO_FAULT, NOTHING, NO_END, TWO_STARTS = range(4)


def right_labels(asked, whole):
    """Return the labels of a chat: the answer's tokens, and -100 in place of the question's."""
    return [OUT] * len(asked) + list(whole[len(asked) :])


def mask(answer) -> tuple[bool, str]:
    """06: the labels of a chat from the tokens of its question and of the whole."""
    # an answer shares a token with its question, and not the end mark alone
    cases = [([2, 7, 8], [2, 7, 8, 7, 5, 2]), ([2, 9], [2, 9, 4, 4, 6, 2]), ([2, 7, 2, 9], [2, 7, 2, 9, 3, 2])]
    mistakes = [
        (lambda asked, whole: list(whole), "The question is learned too: that is the loss on all tokens."),
        (
            lambda asked, whole: [OUT] * len(whole),
            "Nothing is learned. Mask the question alone.",
        ),
        (
            lambda asked, whole: [*right_labels(asked, whole)[:-1], OUT],
            "The end mark is masked too, so the model would never learn to stop.",
        ),
        (
            lambda asked, whole: list(whole[len(asked) :]),
            "That is the answer alone. Labels are as long as the chat; -100 stands where nothing is learned.",
        ),
        (
            lambda asked, whole: [OUT if token in asked else token for token in whole],
            "You mask by a token's number, so what the answer shares with the question is lost. Mask by place.",
        ),
        (
            lambda asked, whole: [*right_labels(asked, whole)[1:], OUT],
            "You shifted the labels by one. The model does that itself.",
        ),
        (
            lambda asked, whole: [0] * len(asked) + list(whole[len(asked) :]),
            "0 is a token like any other. What is not learned has the label -100.",
        ),
        (
            lambda asked, whole: [0] * len(asked) + [1] * (len(whole) - len(asked)),
            "That is the mask. Labels hold the token itself where it is learned.",
        ),
    ]
    return by_example(answer, right_labels, mistakes, cases)


def right_fault(ids, in_loss, start, end):
    """Return the number of the first fault that applies to a row."""
    if not any(in_loss):
        return NOTHING
    if not (in_loss[-1] and ids[-1] == end):
        return NO_END
    return TWO_STARTS if list(ids[:2]) == [start, start] else NO_FAULT


def fault(answer) -> tuple[bool, str]:
    """06: the detector of a chat's faults."""
    cases = [
        ([1, 7, 8, 5, 2], [0, 0, 0, 1, 1], 1, 2),
        ([1, 7, 8, 5, 2], [0, 0, 0, 0, 0], 1, 2),
        ([1, 7, 8, 5, 2], [0, 0, 0, 1, 0], 1, 2),
        ([1, 7, 8, 5], [0, 0, 0, 1], 1, 2),
        ([1, 1, 7, 5, 2], [0, 0, 0, 1, 1], 1, 2),
        ([1, 1, 7, 5, 2], [0, 0, 0, 1, 0], 1, 2),
        ([3, 7, 3, 5, 3], [0, 0, 0, 1, 1], 3, 3),  # one token is both marks, as in OPT
    ]

    def by_count(ids, in_loss, start, end):
        found = right_fault(ids, in_loss, start, end)
        return TWO_STARTS if found == NO_FAULT and list(ids).count(start) > 1 else found

    def by_token(ids, in_loss, start, end):
        found = right_fault(ids, in_loss, start, end)
        return right_fault(ids, [*in_loss[:-1], 1], start, end) if found == NO_END else found

    def by_mask(ids, in_loss, start, end):
        found = right_fault(ids, in_loss, start, end)
        return right_fault([*ids[:-1], end], in_loss, start, end) if found == NO_END else found

    mistakes = [
        (
            by_count,
            "You count the start mark everywhere. In some models, OPT among them, the end mark is the same token.",
        ),
        (by_token, "The end mark must be there and be learned: look at the mask as well."),
        (by_mask, "The last token must be learned and be the end mark: look at the token as well."),
        (
            lambda ids, in_loss, start, end: NO_END if not any(in_loss) else right_fault(ids, in_loss, start, end),
            "Where nothing is learned that is the first fault: return 1.",
        ),
        (
            lambda ids, in_loss, start, end: right_fault(ids, in_loss, start, end) != NO_FAULT,
            "That says whether there is a fault. Return which: 0, 1, 2 or 3.",
        ),
    ]
    return by_example(answer, right_fault, mistakes, cases)


def right_curve(preferred, other):
    """Return how much the margin grew, and 1 if the preferred answers' log p fell."""
    grew = (preferred[-1] - other[-1]) - (preferred[0] - other[0])
    return [grew, int(preferred[-1] < preferred[0])]


def curve(answer) -> tuple[bool, str]:
    """06: reading a curve of DPO."""
    cases = [
        ([-20.0, -22.0, -25.0], [-21.0, -30.0, -40.0]),
        ([-20.0, -18.0], [-21.0, -21.5]),
        ([-10.0, -9.0, -11.0], [-12.0, -12.5, -11.0]),
        ([-9.0, -9.0], [-9.0, -12.0]),
    ]

    def at_the_end(preferred, other):
        return [preferred[-1] - other[-1], right_curve(preferred, other)[1]]

    def below(preferred, other):
        return [right_curve(preferred, other)[0], int(preferred[-1] < other[-1])]

    mistakes = [
        (at_the_end, "That is the margin at the end. How much has it grown since the first step?"),
        (
            lambda preferred, other: [preferred[-1] - preferred[0], right_curve(preferred, other)[1]],
            "That is what the preferred answers gained. The margin is the preferred minus the other.",
        ),
        (
            lambda preferred, other: [-right_curve(preferred, other)[0], right_curve(preferred, other)[1]],
            "The sign is the wrong way round: what the margin is at the end, minus what it was.",
        ),
        (
            lambda preferred, other: [right_curve(preferred, other)[0], 1 - right_curve(preferred, other)[1]],
            "1 means that the preferred one fell; you return 1 where it did not.",
        ),
        (below, "Compare the preferred one with itself at the first step, not with the other."),
        (
            lambda preferred, other: right_curve(preferred, other)[0],
            "Return two numbers: also whether the preferred one fell.",
        ),
    ]
    return by_example(answer, right_curve, mistakes, cases)


CHECKERS = {"06-mask": mask, "06-fault": fault, "06-curve": curve}
