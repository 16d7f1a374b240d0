"""The exercise of 07_prepare_dr_reports."""

from course_utils.exercises.judging import by_example


def longest(answer) -> tuple[bool, str]:
    """07: how many tokens the longest form has that stands at the start of a list of tokens."""
    known = {
        "new vessels at the disc seen": ["new vessels", "new vessels at the disc", "disc"],
        "new vessels at the macula": ["new vessels", "new vessels at the disc"],
        "new growth": ["new vessels"],
        "vessels are new": ["new vessels"],
        "at the disc": ["disc", "the disc"],
        "hard ex . in 2 quadrants": ["hard ex .", "hard"],
        "new vessels": ["new vessels at the disc", "new vessels"],
        "IRMA new vessels": ["new vessels", "IRMA"],
        "discs seen": ["disc"],
        "": ["disc"],
        "IRMA": [],
    }
    cases = [(text.split(), [tuple(form.split()) for form in forms]) for text, forms in known.items()]

    def at_start(tokens, forms):
        return [len(form) for form in forms if tuple(tokens[: len(form)]) == form]

    def step_by_step(tokens, forms):
        size = 0
        while size < len(tokens) and tuple(tokens[: size + 1]) in forms:
            size += 1
        return size

    def anywhere(tokens, forms):
        ends = range(len(tokens))
        return max((len(form) for form in forms for i in ends if tuple(tokens[i : i + len(form)]) == form), default=0)

    def in_letters(tokens, forms):
        return max((len(" ".join(form)) for form in forms if tuple(tokens[: len(form)]) == form), default=0)

    def by_words(tokens, forms):
        return max((len(form) for form in forms if set(form) <= set(tokens)), default=0)

    mistakes = [
        (lambda t, f: min(at_start(t, f), default=0), "That is the shortest form. Of all that fit, take the longest."),
        (lambda t, f: (at_start(t, f) or [0])[0], "You stop at the first form that fits. A longer one may come later."),
        (lambda t, f: (at_start(t, f) or [0])[-1], "You take the last form that fits. Compare their lengths."),
        (
            step_by_step,
            '"new" alone is no form, and "new vessels" is one: look further than the first step that fails.',
        ),
        (anywhere, "You look anywhere in the text. The form must stand at the start."),
        (in_letters, "Count tokens, not letters."),
        (by_words, "All words of the form are there, but not side by side at the start."),
        (lambda t, f: len(at_start(t, f)), "That is how many forms fit. Return the length of the longest."),
    ]
    return by_example(answer, lambda tokens, forms: max(at_start(tokens, forms), default=0), mistakes, cases)


CHECKERS = {"07-longest": longest}
