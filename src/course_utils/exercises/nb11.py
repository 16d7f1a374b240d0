"""The exercises of 11_train_better_for_less."""

from numbers import Real

import numpy as np

from course_utils.exercises.judging import NOT_YET, by_example, shorter, show

SETTINGS = {  # what early stopping needs, each with why
    "eval_strategy": "Nothing is evaluated, so there is nothing to stop by: set eval_strategy.",
    "save_strategy": "What is not saved can't be loaded again: save as often as you evaluate.",
    "load_best_model_at_end": "Training would end with the last model, `patience` evaluations past the best. Load the best.",
    "metric_for_best_model": "Say which measure is watched: metric_for_best_model.",
}
RISES = {"macro_f1": True, "loss": False}  # whether more is better
PATIENCE = 3  # evaluations without a better one, after which training stops


def padding(answer) -> tuple[bool, str]:
    """11: the share of padding if reports of these lengths are cut into batches in their order."""
    rng = np.random.default_rng(0)
    cases = [(np.array([10, 20, 30, 40]), 2), (np.array([7, 90, 12, 60, 33]), 2)]
    cases += [(rng.integers(5, 150, n), size) for n, size in ((40, 8), (43, 8), (9, 4))]

    def cut(lengths, size):
        return [np.asarray(lengths[i : i + size]) for i in range(0, len(lengths), size)]

    def right(lengths, size):
        return 1 - sum(lengths) / sum(len(batch) * batch.max() for batch in cut(lengths, size))

    def mean_of_shares(lengths, size):
        return np.mean([1 - batch.sum() / (len(batch) * batch.max()) for batch in cut(lengths, size)])

    def over_tokens(lengths, size):
        return sum(len(batch) * batch.max() for batch in cut(lengths, size)) / sum(lengths) - 1

    mistakes = [
        (
            lambda lengths, size: 1 - sum(lengths) / (len(lengths) * max(lengths)),
            "You filled all reports up to the longest of all. A batch is filled up to its own longest.",
        ),
        (
            mean_of_shares,
            "That is the mean of the batches' shares. Batches differ in size: add up tokens first, then divide.",
        ),
        (lambda lengths, size: 1 - right(lengths, size), "That is the share of real tokens; the padding is the rest."),
        (over_tokens, "You divided the padding by the real tokens. Its share is of *all* tokens that are computed."),
        (
            lambda lengths, size: right(np.sort(lengths), size),
            "You sorted the reports by length first. Here the batches are cut in the order that is given.",
        ),
        (
            lambda lengths, size: 1 - sum(lengths) / sum(size * batch.max() for batch in cut(lengths, size)),
            "The last batch may be smaller than the others: count the reports that are in it.",
        ),
    ]
    return by_example(answer, right, mistakes, cases)


def stopping(answer) -> tuple[bool, str]:
    """11: a set of `Trainer` settings with which early stopping works, by macro F1."""
    if not isinstance(answer, dict):
        return False, "Hand over a dict of settings, like the broken one."
    if any(value is ... for value in answer.values()):
        return False, NOT_YET
    wrong = _missing(answer) or _not_the_best(answer) or _too_short(answer)
    if wrong:
        return False, wrong
    said = "evaluated, saved at the same moments, loaded at the end, by a measure that is better when it is higher."
    return True, f"Right: {said}"


def _missing(settings: dict) -> str:
    """Say which setting is missing, or does not go with the others."""
    for name, hint in SETTINGS.items():
        if settings.get(name) in (None, False, "no"):
            return hint
    for name in ("load_best_model_at_end", "greater_is_better"):
        if not isinstance(settings.get(name, True), bool | None):
            return f"{name} is {show(settings[name])}: give True or False."
    for name in ("num_train_epochs", "max_steps", "eval_steps", "save_steps", "logging_steps"):
        if name in settings and not isinstance(settings[name], Real):
            return f"{name} is {show(settings[name])}: give a number."
    when = settings["eval_strategy"]
    if settings["save_strategy"] not in (when, "best"):
        return 'Evaluate and save at the same moments: the two strategies must be equal, or save the "best" alone.'
    if when == "steps" and not (settings.get("eval_steps") or settings.get("logging_steps")):
        return 'With eval_strategy="steps" say after how many: set eval_steps. Left out, it is 500.'
    if when == settings["save_strategy"] == "steps" and not _is_multiple(settings):
        return "Both strategies count steps: make save_steps equal to eval_steps, or a multiple of it."
    return ""


def _is_multiple(settings: dict, default: int = 500) -> bool:
    """Say whether a model is saved only at steps at which it is evaluated; `default` is the steps that Trainer takes."""
    every = settings.get("eval_steps") or settings["logging_steps"]
    ratio = (settings.get("save_steps") or default) / every
    return ratio >= 1 and abs(ratio - round(ratio)) < 1e-9


def _not_the_best(settings: dict) -> str:
    """Say why another model than the best by macro F1 would be kept."""
    metric = str(settings["metric_for_best_model"]).removeprefix("eval_")
    if metric not in RISES:
        return f'There is no measure "{shorter(metric, 40)}": `trainer` reports loss and macro_f1.'
    more_is_better = settings.get("greater_is_better")  # left out or None, `Trainer` goes by the name of the measure
    if more_is_better is not None and more_is_better is not RISES[metric]:
        return f"With that, the *worst* model is kept: for {metric}, is more better?"
    if metric != "macro_f1":
        return "That stops by the loss, and rightly so. The task is to stop by macro F1."
    return ""


def _too_short(settings: dict) -> str:
    """Say what `TrainingArguments` refuses, or that training is over before it can stop early."""
    from transformers import TrainingArguments  # slow to import, and no other checker needs it

    try:
        found = TrainingArguments(**{"output_dir": "unused", "report_to": "none", "use_cpu": True} | settings)
        epochs, steps = found.num_train_epochs, found.max_steps
    except Exception as error:  # whatever it raises for names and values that it doesn't know
        return f"`TrainingArguments` refuses that, with {type(error).__name__}: {shorter(str(error), 120)}."
    by_epoch = settings["eval_strategy"] == "epoch"
    every = found.eval_steps  # a number of steps, or below 1 the share of all steps
    if steps <= 0 and not epochs > PATIENCE and (by_epoch or every >= 1):
        first = f"training can stop after epoch {PATIENCE + 1} at the earliest, and num_train_epochs is {epochs:g}"
        why = first if by_epoch else f"it takes many reports to stop within {epochs:g} epochs"
        return f"With a patience of {PATIENCE}, {why}: allow more epochs."
    if not by_epoch and (0 < steps <= PATIENCE * every or 1 > every >= 1 / PATIENCE):
        return f"That leaves no room for a patience of {PATIENCE}: evaluate more often, or allow more steps."
    return ""


def mask(answer) -> tuple[bool, str]:
    """11: which token may see which, if texts of these lengths are packed into one row."""
    cases = [([2, 3],), ([1, 1, 1],), ([4],), ([3, 1, 2],)]

    def parts(lengths):
        return np.repeat(np.arange(len(lengths)), lengths)

    def right(lengths, same=True, order=np.greater_equal):
        text, place = parts(lengths), np.arange(sum(lengths))
        sees = order(place[:, None], place[None, :]) if order else np.ones((len(place), len(place)), bool)
        return sees & (text[:, None] == text[None, :]) if same else sees

    mistakes = [
        (lambda lengths: right(lengths, same=False), "Tokens see those of other texts: compare which text each is in."),
        (lambda lengths: right(lengths, order=None), "Tokens see later ones of their text: the answer is given away."),
        (
            lambda lengths: right(lengths, order=np.greater),
            "A token must see itself, too: at least as late, not later.",
        ),
        (lambda lengths: right(lengths, order=np.less_equal), "The wrong way round: rows look, columns are seen."),
        (lambda lengths: ~right(lengths), "The wrong way round: True where a token *may* look."),
    ]
    return by_example(answer, right, mistakes, cases)


CHECKERS = {"11-padding": padding, "11-stopping": stopping, "11-mask": mask}
