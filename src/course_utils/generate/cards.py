"""The model cards that ship beside the base models. Figures come from the run; words say what a base was taught."""

STANDS_FOR = {"tiny-biobert": "dmis-lab/biobert-v1.1", "tiny-opt": "facebook/opt-350m", "tiny-t5": "google-t5/t5-small"}
TAUGHT = {
    "tiny-biobert": """Three lessons at once, on synthetic reports that are not in `dr_reports.csv`, and on Python's language reference:

1. fill in masked words;
2. for each mention of a finding, say whose it is (right eye, left eye, a relative), what state it is in (absent, past, uncertain,
   or present in one to four quadrants, more than 20 haemorrhages or not), and what that means for the eye asked for;
3. gather at [CLS], for that eye, in how many quadrants each of nine findings is present.

So it was taught to *read findings*, with answers that the generator knows. That is far more than masked words alone, and more than
BioBERT was given. It was never shown a grade, and no report of the labelled file. It knows the finding names that `dr_reports.csv`
keeps for the test split, and none of the phrasings kept for it. Four layers learned first; eight that changed nothing were then
put between them (growing a network), and all twelve went on. `heads.safetensors` holds the heads of these lessons, for the test of
the figures below; fine-tuning does not need it.""",
    "tiny-opt": """To predict the next word, on Python's language reference (two thirds) and invented notes of an eye clinic: cataract,
glaucoma, injections, letters. It has never seen a report on diabetic retinopathy. Its tokenizer has: the pieces of words were
counted on synthetic reports too.""",
    "tiny-t5": """Span corruption, and text-to-text tasks about findings in synthetic reports that are not in `dr_reports.csv`:
read every mention ("read all : ...", "read <right> : ..."), list what is there ("list <left> : ..."), in how many quadrants
("how many quadrants of beading in <right> ? : ..."), and whether any of one to four findings is there ("any new vessels or bleed in
<left> ? : ..."). The eye asked for is a token of its own, `<right>` or `<left>`.
Its encoder also learned to say of each mention of a finding whose it is and what state it is in.
It was never asked for a grade, nor whether the patient should be referred.""",
}


def card(name, facts, minutes):
    """The card's markdown for a base model, from the facts of its run: steps, seed, parameters, held-out figures."""
    figures = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in facts["held_out"].items())
    return f"""---
license: cc-by-4.0
language: [en, zh]
tags: [teaching, synthetic]
---
# {name}

A teaching model: a small sibling of `{STANDS_FOR[name]}`, small enough to ship with the course and to fine-tune on two laptop cores.
**Not for care.** Everything clinical that it has read is synthetic.

## What it was taught

{TAUGHT[name]}

## The run

{facts["parameters"]:,} parameters, {facts["steps"]:,} steps, seed {facts["seed"]}, {minutes:.0f} minutes
on one of two cores of a busy machine.
Rebuild it with `make bases` (it goes on where it was stopped); the recipe is in `src/course_utils/generate/`.
On another machine or another version of PyTorch the weights differ in their last digits, and so does the sha256.

| held-out text, never trained on | measured |
|---|---|
{figures}

## Licence

Weights, like the data: CC BY 4.0. Python's documentation, part of the training text, is under the PSF licence.
"""
