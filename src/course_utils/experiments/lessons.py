"""Says of each lesson of the course on how many base models it holds, into data_samples/results/lessons.json.

A lesson is a comparison of two methods' runs, and what is claimed of it. The table LESSONS was written before the runs were
there. Three things were put right afterwards: a prompt that starts from words is the one that is held to these words; dev's
labels train for as many epochs as what they are held against; and early stopping's trainings have learning rates of their own,
for dev's loss jumped at the one that suits larger batches. No claim was changed. The rule (`verdict`) was there before, too: a lesson
holds, does not hold, or can't be told, by the 95% interval of the paired difference on test and one margin. A lesson that holds on
one base and not on another is the interesting one.
"""

from collections.abc import Callable
from typing import NamedTuple

from course_utils import metrics, results

from . import losses, methods, practice, preparation, prompts, runs, stages

MARGIN = 0.02  # of macro F1: a smaller difference would change nobody's choice of method
HOLDS, FAILS, OPEN = "holds", "does not hold", "can't tell"
BETTER, LEVEL, LITTLE = "is better", "is level", "gains little"  # what is claimed of the first against the second
FULL, COUNTS, PROBE, LAST = methods.FULL, methods.COUNTS, methods.PROBE, methods.LAST
STAGE_1, ARTICLE, EVERY = stages.STAGE_1, stages.ARTICLE, "two stages, every weight"
TUNED, WORDED, FOUR = "prompt tuning", prompts.FROM_WORDS, "text prompt, four questions"
STOPPED, STEADY_STOPPED = "20 epochs, stopped by macro F1", "steady rate, stopped by macro F1"


class Lesson(NamedTuple):
    """What the course says, the notebook that says it, the two sides, what is claimed of the first, and the bases.

    A side is a function of a base's name that returns runs.
    """

    says: str
    notebook: str
    first: Callable[[str], list[dict]]
    claim: str
    second: Callable[[str], list[dict]]
    bases: tuple[str, ...] = methods.BASES
    new_site: bool = False  # whether the test rows of the new site alone count


def of(method: str, labels: int) -> Callable:
    """Return the side of a method with so many labels, or with all where there are fewer."""
    return lambda base: methods.of(base, method, min(labels, len(runs.frames()["train"])))


def at_rate(method: str, taken_from: str) -> Callable:
    """Return the side of a method's try, seed 0, at the learning rate that is best for another method."""

    def side(base: str) -> list[dict]:
        rate = methods.recipe(base, taken_from)["lr"]
        tried = runs.needed(methods.tries(base, method))
        return [min(tried, key=lambda run: abs(run["lr"] - rate))]

    return side


def prepared(method: str, variant: str) -> Callable:
    """Return the side of a variant of the texts."""
    return lambda base: preparation.of(base, method, preparation.LABELS, variant)


def stage(method: str) -> Callable:
    """Return the side of a method of the two-stage study."""
    return lambda base: stages.of(base, method)


def loss(name: str) -> Callable:
    """Return the side of a loss."""
    return lambda base: losses.of(base, name)


def arm(name: str, label: str = "grade") -> Callable:
    """Return the side of an arm of early stopping."""
    return lambda base: practice.of_arm(base, name, label)


def prompt(name: str) -> Callable:
    """Return the side of a method of the prompt study."""
    return lambda base: prompts.of(name)


FEW, MIDDLE, ALL = methods.FEW, methods.MIDDLE, methods.ALL
T5, STAGED, NONE = (prompts.BASE,), stages.BASES, (methods.NO_BASE,)
LESSONS = (
    Lesson("Pre-training pays: the same network from random weights is worse", "01", of(FULL, 500), BETTER, of("random weights", 500)),
    Lesson("Pre-training still pays with 5,000 labels", "01", of(FULL, 5_000), BETTER, of("random weights", 5_000)),
    Lesson("A frozen base with a probe beats word counts at 500 labels", "01", of(PROBE, 500), BETTER, of(COUNTS, 500)),
    Lesson("A frozen base with a probe beats word counts at 5,000 labels", "01", of(PROBE, 5_000), BETTER, of(COUNTS, 5_000)),
    Lesson("The probe wins where labels are few: 100", "01", of(PROBE, FEW), BETTER, of(FULL, FEW)),
    Lesson("Fine-tuning beats the probe at 1,000 labels", "01", of(FULL, MIDDLE), BETTER, of(PROBE, MIDDLE)),
    Lesson("Fine-tuning beats the probe with all labels", "01", of(FULL, ALL), BETTER, of(PROBE, ALL)),
    Lesson("Fine-tuning beats word counts at 100 labels", "02", of(FULL, FEW), BETTER, of(COUNTS, FEW)),
    Lesson("Fine-tuning beats word counts at 1,000 labels", "02", of(FULL, MIDDLE), BETTER, of(COUNTS, MIDDLE)),
    Lesson("Fine-tuning beats word counts with all labels", "02", of(FULL, ALL), BETTER, of(COUNTS, ALL)),
    Lesson("Few labels are enough: 250 beat word counts with all", "02", of(FULL, 250), BETTER, of(COUNTS, ALL)),
    Lesson("The curve is flat past 1,000: all labels gain little", "02", of(FULL, ALL), LITTLE, of(FULL, MIDDLE)),
    Lesson("LoRA needs a learning rate of its own", "03", of("LoRA", MIDDLE), BETTER, at_rate("LoRA", FULL)),
    Lesson("LoRA is level with all weights at 1,000 labels", "03", of("LoRA", MIDDLE), LEVEL, of(FULL, MIDDLE)),
    Lesson("LoRA is level with all weights at 100 labels", "03", of("LoRA", FEW), LEVEL, of(FULL, FEW)),
    Lesson("LoRA is level with all weights with all labels", "03", of("LoRA", ALL), LEVEL, of(FULL, ALL)),
    Lesson("The last layers are level with all weights", "03", of(LAST, MIDDLE), LEVEL, of(FULL, MIDDLE)),
    Lesson("DoRA is level with LoRA", "03", of("DoRA", MIDDLE), LEVEL, of("LoRA", MIDDLE)),
    Lesson("IA3 is level with LoRA", "03", of("IA3", MIDDLE), LEVEL, of("LoRA", MIDDLE)),
    Lesson("VeRA is level with LoRA", "03", of("VeRA", MIDDLE), LEVEL, of("LoRA", MIDDLE)),
    Lesson("A tuned prompt lags LoRA", "04", prompt("LoRA"), BETTER, prompt(TUNED), T5),
    Lesson("LoRA lags all weights", "04", prompt(FULL), BETTER, prompt("LoRA"), T5),
    Lesson("Tuning a prompt beats the words that it starts from", "04", prompt(WORDED), BETTER, prompt("untuned prompt, text"), T5),
    Lesson("A prompt tuned from rows of the vocabulary beats the best one by hand", "04", prompt(TUNED), BETTER, prompt("text prompt"), T5),
    Lesson("The base reads more than a prompt brings out: a probe", "04", prompt("probe on the encoder's mean"), BETTER, prompt(TUNED), T5),
    Lesson("A probe of the state that answers beats a prompt", "04", prompt("probe on the state that answers"), BETTER, prompt(TUNED), T5),
    Lesson("Thresholds are what four questions lack", "04", prompt(prompts.THRESHOLDS), BETTER, prompt(FOUR), T5),
    Lesson("Normalising helps a fine-tuned model", "07", prepared(FULL, "normalised"), BETTER, prepared(FULL, "raw")),
    Lesson("Normalising helps word counts", "07", prepared(COUNTS, "normalised"), BETTER, prepared(COUNTS, "raw"), NONE),
    Lesson("Augmentation helps", "07", prepared(FULL, "augmented"), BETTER, prepared(FULL, "raw")),
    Lesson("Augmentation helps at equal steps", "07", prepared(FULL, "augmented"), BETTER, prepared(FULL, "raw, twice")),
    Lesson("Marking negations helps", "07", prepared(FULL, "marked"), BETTER, prepared(FULL, "English cues")),
    Lesson("All of the preparation helps", "07", prepared(FULL, "all"), BETTER, prepared(FULL, "raw")),
    Lesson("A second stage on the last two layers helps on the new site", "09", stage(ARTICLE), BETTER, stage(STAGE_1), STAGED, True),
    Lesson("It forgets nothing that matters on all sites", "09", stage(ARTICLE), LEVEL, stage(STAGE_1), STAGED),
    Lesson("A second stage on every weight helps on the new site", "09", stage(EVERY), BETTER, stage(STAGE_1), STAGED, True),
    Lesson("Two stages are level with one on everything", "09", stage(EVERY), LEVEL, stage(stages.ONE_STAGE), STAGED, True),
    Lesson("The probe wins on the new site", "09", stage(PROBE), BETTER, stage(ARTICLE), STAGED, True),
    Lesson("Class weights help", "09", loss("class weights"), BETTER, loss(losses.PLAIN)),
    Lesson("A loss that knows the order of the grades helps", "09", loss("ordinal loss"), BETTER, loss(losses.PLAIN)),
    Lesson("Early stopping helps where the schedule ends by itself", "11", arm(STOPPED), BETTER, arm("20 epochs")),
    Lesson("Early stopping helps where the schedule knows no end", "11", arm(STEADY_STOPPED), BETTER, arm("steady rate, 20 epochs")),
    Lesson("A schedule that ends beats a steady rate that is stopped", "11", arm("20 epochs"), BETTER, arm(STEADY_STOPPED)),
    Lesson("Dev labels are worth more as training labels", "11", arm("20 epochs, dev labels too"), BETTER, arm(STOPPED)),
)  # fmt: skip


def verdict(claim: str, gap: metrics.Interval) -> str:
    """Return whether a claim on the first against the second holds, by the interval of their difference.

    "Is better": the interval lies above 0; it fails where it lies below MARGIN, for then the first gains little at most. "Is
    level": the interval lies within MARGIN of 0; it fails where it lies beyond. "Gains little": it lies below MARGIN; it
    fails where it lies above. In between it can't be told.
    """
    holds, fails = {
        BETTER: (gap.low > 0, gap.high < MARGIN),
        LEVEL: (gap.low > -MARGIN and gap.high < MARGIN, gap.low > MARGIN or gap.high < -MARGIN),
        LITTLE: (gap.high < MARGIN, gap.low > MARGIN),
    }[claim]
    return HOLDS if holds else FAILS if fails else OPEN


def judged(lesson: Lesson) -> dict:
    """Return a lesson with the difference and the verdict on each base that is there, and on how many it holds."""
    where = stages.places()["the new site"] if lesson.new_site else slice(None)
    there = [base for base in lesson.bases if base == methods.NO_BASE or runs.present([base])]
    found = []
    for base in there:
        gap = runs.paired(lesson.first(base), lesson.second(base), where).difference
        found.append({"base": base, "difference": list(gap), "verdict": verdict(lesson.claim, gap)})
    holds = sum(one["verdict"] == HOLDS for one in found)
    turns = len({one["verdict"] for one in found} & {HOLDS, FAILS}) == 2
    named = {"lesson": lesson.says, "notebook": lesson.notebook, "claim": lesson.claim}
    return named | {"bases": found, "holds": holds, "of": len(found), "turns_round": turns}


def plan() -> list[runs.Task]:
    """Return all runs that the lessons rest on."""
    return [task for module in (methods, prompts, preparation, stages, losses, practice) for task in module.plan()]


def report() -> None:
    """Write the table, as it can be told from the runs that are kept."""
    results.ship("lessons", lessons=[judged(lesson) for lesson in LESSONS], margin=MARGIN)


if __name__ == "__main__":
    runs.start()
    report()
