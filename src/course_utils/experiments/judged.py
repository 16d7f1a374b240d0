"""Trains the grader that notebook 10 judges, into data_samples/results/judged: the article's two stages, by stages.py's recipe.

It ships with its weights, so that every reader judges the same one: such a training ends elsewhere on each kind of processor.
"""

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from course_utils import adapt, metrics, paths

from . import methods, runs, stages

BASE, SEED = "tiny-biobert-two-sites", 0
FOLDER = paths.shipped_results() / "judged"

CARD = """# The grader that notebook 10 judges

Trained on {trained_on}.
It reads the eye and the report, at most 192 tokens, and answers with a chance for each grade of diabetic retinopathy.

All reports are synthetic: it is teaching material, tested on no patient, and no medical device. Notebook 10 measures what it is worth.
"""


def main() -> None:
    """Train both stages and save the plain model, with its grades' names and a card."""
    runs.start()
    first = stages.stage_1(BASE, SEED, methods.recipe(BASE, methods.FULL)["lr"])
    tokenizer = AutoTokenizer.from_pretrained(first)
    kind, layers, _, part = stages.SECOND_STAGES[stages.ARTICLE]
    model = adapt.prepare(
        AutoModelForSequenceClassification.from_pretrained(first), kind, **methods.LORA | {"layers": layers}
    )
    rows, lr = stages.labelled(SEED, part), stages.chosen_rate(BASE, stages.ARTICLE)
    stages.trained(model, tokenizer, rows, runs.epochs(len(rows)), lr, SEED)
    plain = model.merge_and_unload()
    plain.config.id2label = dict(enumerate(metrics.GRADE_NAMES))
    plain.config.label2id = {name: grade for grade, name in enumerate(metrics.GRADE_NAMES)}
    plain.config.trained_on = (
        f"{stages.FIRST:,} labels of two sites, then {len(rows):,} of {stages.NEW_SITE} "
        f"by LoRA on layers 11-12, merged; from {BASE}"
    )
    plain.save_pretrained(FOLDER)
    tokenizer.save_pretrained(FOLDER)
    (FOLDER / "README.md").write_text(CARD.format(trained_on=plain.config.trained_on), encoding="utf-8")
    right = stages.graded(methods.answers(plain, tokenizer))
    print(f"macro F1 {right['dev']:.3f} on the new site's dev rows; saved in {FOLDER}")


if __name__ == "__main__":
    main()
