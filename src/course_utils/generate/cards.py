"""The model cards that ship beside the base models. Figures come from the run; words say what a base was taught."""

from .curve import as_table

STANDS_FOR = {
    "tiny-biobert": "`dmis-lab/biobert-v1.1`",
    "tiny-plain": "any encoder",
    "tiny-biobert-two-sites": "`dmis-lab/biobert-v1.1`",
    "tiny-opt": "`facebook/opt-350m`",
    "tiny-t5": "`google-t5/t5-small`",
}
ANSWERS = "the answers that the grading rule is worked out from"
FIRST = {  # the first line of the card: what a reader must know before a figure of this base is believed
    "tiny-biobert": f"**The generator of the reports taught this base, at [CLS], {ANSWERS}.**",
    "tiny-plain": "**This base was trained on masked words alone: no answer of the generator was ever shown to it.**",
    "tiny-biobert-two-sites": "**This base never read a report of the third site, delta, though its tokenizer, the same as tiny-biobert's, "
    f"counted words there. Else it was taught as tiny-biobert: by the generator, at [CLS], {ANSWERS}.**",
    "tiny-opt": "**This base learned to predict the next word, and has never seen a report on diabetic retinopathy.**",
    "tiny-t5": "**The generator of the reports taught this base to answer questions about findings; none asks for a grade or a referral.**",
}
LESSONS = """Three lessons at once, on synthetic reports that are not in `dr_reports.csv`, and on Python's language reference:

1. fill in masked words;
2. for each mention of a finding, say whose it is (right eye, left eye, a relative), what state it is in (absent, past, uncertain,
   or present in one to four quadrants, more than 20 haemorrhages or not), and what that means for the eye asked for;
3. gather at [CLS], for that eye, what is there and in how many quadrants.

So it was taught to *read findings*, with answers that the generator knows. That is far more than masked words alone, and more than
BioBERT was given. It was never shown a grade, and no report of the labelled file."""
GROWN = """It knows the finding names that `dr_reports.csv` keeps for the test split, and none of the phrasings kept for it.
A few layers learned first; those that changed nothing were then put between them (growing a network), and all went on."""
HEADS = "`heads.safetensors` holds the heads of the training, for the test of the figures below; fine-tuning does not need it."
TAUGHT = {
    "tiny-biobert": f"{LESSONS} {GROWN}\n{HEADS}",
    "tiny-biobert-two-sites": f"""{LESSONS} {GROWN}
Its reports are those of the first two sites, north and harbour, and no word of the third was mixed into them; all that it met of
the third are single words of the vocabulary, drawn at random to stand in for a masked one. {HEADS}""",
    "tiny-plain": f"""To fill in masked words, on synthetic reports that are not in `dr_reports.csv`, and on Python's language reference.
It reads what a grader reads, the eye asked for and the report, and is shown nothing else: not what a mention means, not what is there
in an eye, no grade. It has the shape of tiny-biobert, its tokenizer and its text. {GROWN}
{HEADS}""",
    "tiny-opt": """To predict the next word, on Python's language reference (two thirds) and invented notes of an eye clinic: cataract,
glaucoma, injections, letters. Its tokenizer has seen reports: the pieces of words were counted on synthetic ones too.""",
    "tiny-t5": """Span corruption, and text-to-text tasks about findings in synthetic reports that are not in `dr_reports.csv`:
read every mention ("read all : ...", "read <right> : ..."), list what is there ("list <left> : ..."), in how many quadrants
("how many quadrants of beading in <right> ? : ..."), and whether any of one to four findings is there ("any new vessels or bleed in
<left> ? : ..."). The eye asked for is a token of its own, `<right>` or `<left>`. Rare findings were asked for as often as common
ones, and half of the yes/no questions had the answer yes.
Its encoder also learned to say of each mention of a finding whose it is and what state it is in.
It was never asked for a grade, nor whether the patient should be referred.""",
}
CURVES = {
    "probe": """`probe` is the macro F1 on the dev split of a linear probe on the frozen base, with 1,000 labels of the train split:
on the vector at [CLS], and on the mean over the report's tokens.""",
    "other": "The figures are those of held-out text.",
}


def card(name, facts, points):
    """The card's markdown for a base model, from the facts of its run (steps, seed, parameters, figures) and the points of its curve."""
    figures = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts["held_out"].items())
    return f"""---
license: cc-by-4.0
language: [en, zh]
tags: [teaching, synthetic]
---
{FIRST[name]}

# {name}

A teaching model. It stands for {STANDS_FOR[name]}, and is small enough to ship with the course and to fine-tune on two laptop cores.
**Not for care.** Everything clinical that it has read is synthetic.

## What it was taught

{TAUGHT[name]}

## The run

{facts["parameters"]:,} parameters, {facts["steps"]:,} steps, seed {facts["seed"]}.
Rebuild it with `make bases` (it goes on where it was stopped); the recipe is in `src/course_utils/generate/`.
Two runs on one machine give the same bytes, this card too. On another machine or another version of PyTorch the weights differ
in their last digits, and so does the sha256.

| held-out text, never trained on | measured |
|---|---|
{figures}

## How it got there

{CURVES["probe" if "probe_cls" in points[0] else "other"]}

{as_table(points)}

## Licence

Weights, like the data: CC BY 4.0. Python's documentation, part of the training text, is under the PSF licence.
"""
