"""Measures prompt tuning on tiny-t5, for notebook 04, into data_samples/results/prompt_runs.json.

Each setting is varied alone and judged on dev. Then each method, with the best of its four learning rates on dev, grades the test
split, beside prompts written by hand, prompts that nothing has tuned, and read-outs: a classifier that is fitted, on the same
labels, to what the frozen base made of the report. They tell reading from answering: what a read-out gets right, the base has read.
"""

import numpy as np
import peft
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import machine, models, results, training

from . import frozen, runs
from .runs import Task

BASE = "tiny-t5"
NAME, LABELS, BATCH = "prompt_runs", 1_000, 16
ASK = "grade <{eye}> : {text}"
WORDS = {
    "findings": ("none", "microaneurysms", "haemorrhages", "shunts", "bleed"),  # the gravest finding of each grade
    "digits": ("0", "1", "2", "3", "4"),
}
WRITTEN = (  # four prompts in words, in the forms that the base was taught, and the words that may answer each
    ("grade <{eye}> : {text}", "findings"),
    ("list <{eye}> : {text}", "findings"),
    ("how many quadrants of haemorrhages in <{eye}> ? : {text}", "digits"),
    ("gravest of none or microaneurysms or haemorrhages or shunts or bleed in <{eye}> ? : {text}", "findings"),
)
NAMED = " or ".join(WORDS["findings"])  # a prompt may start from these words
CENTRE = {"init": "vocabulary", "tokens": 10, "words": "findings"}
VARIED = {
    "lr": (3e-5, 1e-3, 3e-2, 0.3, 1.0),
    "init": ("random", "vocabulary", "text"),
    "tokens": (1, 10, 25),
    "words": ("digits", "findings"),
}
TRIED = {  # four learning rates for each method
    "prompt tuning": (1e-3, 3e-2, 0.3, 1.0),
    "prefix tuning": (1e-3, 1e-2, 0.1, 0.3),
    "P-tuning": (1e-3, 3e-3, 1e-2, 3e-2),
    "LoRA": (1e-3, 3e-3, 1e-2, 3e-2),
    "full fine-tuning": (1e-4, 3e-4, 1e-3, 3e-3),
    "prompt tuning, four questions": (0.01, 0.05, 0.3, 1.0),
}
MS = {
    "prompt tuning, four questions": 16,
    "full fine-tuning": 7,
}  # expected milliseconds a report of training; else 4.5
READ_MS = 1.3  # and of grading
LONG = (5_000, 5, {"tokens": 50, "init": "vocabulary", "encoder_only": True})  # 0.5% of the parameters, a long run
QUESTIONS = (  # is the grade at least 1, 2, 3, 4? asked in the words of the base's lessons
    "any microaneurysms or haemorrhages in <{eye}> ? : {text}",
    "any haemorrhages or exudates or cotton wool in <{eye}> ? : {text}",
    "any beading or shunts in <{eye}> ? : {text}",
    "any disc vessels or new vessels or bleed in <{eye}> ? : {text}",
)
SOFT_QUESTION = "in <{eye}> ? : {text}"  # ten tuned rows stand before it
SINGLE = ("haemorrhages", "exudates", "cotton wool", "beading", "shunts", "new vessels")
TEN = (*QUESTIONS, *(f"any {finding} in <{{eye}}> ? : {{text}}" for finding in SINGLE))
UNTUNED = ("text", "vocabulary", "random")  # where a soft prompt starts that is left there
READ_OUTS = {  # what a classifier is fitted to, and its four strengths
    "probe on the encoder's mean": ("encoder", (0.01, 0.1, 1.0, 10.0)),
    "probe on the state that answers": ("answer", (0.01, 0.1, 1.0, 10.0)),
    "ten questions, fitted": ("ten", (0.01, 0.1, 1.0, 10.0)),
}
THRESHOLDS = "four questions, fitted thresholds"
FROM_WORDS = "prompt tuning, from the words"


def asked(rows, form=ASK):
    """Return the question of each row as text."""
    return [form.format(eye=eye, text=text) for eye, text in zip(rows["eye"], rows["text"], strict=True)]


def load():
    """Return tiny-t5 and its tokenizer."""
    name = runs.checkpoint(BASE)
    return AutoModelForSeq2SeqLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)


def soft_prompt(tokens=10, init="vocabulary", encoder_only=False, start=NAMED):
    """Return the PEFT configuration of a prompt; `start` is the text that it starts from where init is "text"."""
    kinds = {"random": "RANDOM", "vocabulary": "SAMPLE_VOCAB", "text": "TEXT"}
    text = {"prompt_tuning_init_text": start, "tokenizer_name_or_path": runs.checkpoint(BASE)}
    return peft.PromptTuningConfig(
        task_type="SEQ_2_SEQ_LM",
        num_virtual_tokens=tokens,
        prompt_tuning_init=kinds[init],
        num_transformer_submodules=1 if encoder_only else 2,
        **(text if init == "text" else {}),
    )


def config(method, settings):
    """Return the PEFT configuration of a method, or None for all weights."""
    same = {"task_type": "SEQ_2_SEQ_LM"}
    return {
        "prompt tuning": lambda: soft_prompt(**settings),
        "prefix tuning": lambda: peft.PrefixTuningConfig(**same, num_virtual_tokens=10),
        "P-tuning": lambda: peft.PromptEncoderConfig(**same, num_virtual_tokens=10, encoder_hidden_size=128),
        "LoRA": lambda: peft.LoraConfig(**same, r=8, lora_alpha=16, target_modules=["q", "v"]),
        "full fine-tuning": lambda: None,
    }[method]()


def size(model):
    """Return the numbers of trainable and of all parameters."""
    trainable, total = models.count_parameters(model)
    return {"trainable": trainable, "total": total}


def answers(model, tokenizer, words, form=ASK):
    """Return a function that grades rows: the likeliest of the words as the answer to the question."""
    return lambda rows: training.choose(model, tokenizer, asked(rows, form), WORDS[words]).argmax(1)


# What is made.


def one(base, method, labels, epochs, seed, lr, words, **settings):
    """Train by a method and grade."""
    model, tokenizer = load()
    chosen = config(method, settings)
    torch.manual_seed(seed)
    model = model if chosen is None else peft.get_peft_model(model, chosen)
    rows = runs.train_rows(labels, seed)
    said = [WORDS[words][grade] for grade in rows["grade"]]
    given = {"epochs": epochs, "lr": lr, "batch_size": BATCH, "seed": seed, "bar": False}
    log = training.fit_answers(model, tokenizer, asked(rows), said, **given)
    spent = {"seconds": round(log["seconds"], 1), "peak_mb": round(machine.peak_mb()), "saved_kb": runs.saved_kb(model)}
    return size(model) | spent | runs.graded(answers(model, tokenizer, words))


def untuned(base, method, seed, init, words):
    """Grade with a soft prompt that stands where it starts."""
    model, tokenizer = load()
    torch.manual_seed(seed)
    model = peft.get_peft_model(model, soft_prompt(init=init))
    return {"trainable": 0, "saved_kb": 0} | runs.graded(answers(model, tokenizer, words))


def written(base, method, form, words, seed):
    """Grade with a prompt in words: nothing is trained."""
    return {"trainable": 0, "saved_kb": 0} | runs.graded(answers(*load(), words, form))


def lazy():
    """Return the run that answers with the commonest grade of training."""
    train, test = runs.frames()["train"], runs.frames()["test"]
    predicted = np.full(len(test), train["grade"].mode()[0])
    named = {"base": BASE, "method": "majority class", "seed": 0, "trainable": 0, "saved_kb": 0}
    return [named | {"predicted": predicted.tolist()}]


def counted(yes):
    """Return the grade from the chances of yes to "at least 1, 2, 3, 4", an array (reports, 4): how many are above a half."""
    return (np.stack(yes, axis=1) > 0.5).sum(axis=1)


def of_four(yes):
    """Return what the chances of yes to the four questions are worth; takes a function of rows that returns all four."""
    truth, dev = runs.frames()["dev"]["grade"], yes(runs.frames()["dev"])
    auc = [float(roc_auc_score(truth >= least, chance)) for least, chance in enumerate(dev, start=1)]
    return {"auc_dev": auc} | runs.graded(lambda rows: counted(yes(rows)))


def yes_to(model, tokenizer, rows, question):
    """Return the chance of yes as the answer to a question, against no."""
    return training.choose(model, tokenizer, asked(rows, question), ("yes", "no"))[:, 0]


def four_written(base, method, seed):
    """Grade by the four questions in words: nothing is trained."""
    model, tokenizer = load()
    return of_four(lambda rows: [yes_to(model, tokenizer, rows, q) for q in QUESTIONS]) | {
        "trainable": 0,
        "saved_kb": 0,
    }


def four_tuned(base, method, labels, epochs, seed, lr):
    """Grade by four tuned prompts of ten rows each, one a question, each started from the question's words."""
    tuned, cost = [], {"seconds": 0.0, "trainable": 0, "saved_kb": 0}
    rows = runs.train_rows(labels, seed)
    for least, question in enumerate(QUESTIONS, start=1):
        model, tokenizer = load()
        torch.manual_seed(seed)
        words = question.split(" in <")[0]
        model = peft.get_peft_model(model, soft_prompt(10, "text", encoder_only=True, start=f"{words} {words}"))
        said = ["yes" if grade >= least else "no" for grade in rows["grade"]]
        given = {"epochs": epochs, "lr": lr, "batch_size": BATCH, "seed": seed, "bar": False}
        log = training.fit_answers(model, tokenizer, asked(rows, SOFT_QUESTION), said, **given)
        spent = {"seconds": round(log["seconds"], 1), "saved_kb": runs.saved_kb(model)} | size(model)
        cost |= {key: cost[key] + spent[key] for key in ("seconds", "trainable", "saved_kb")}
        tuned.append((model, tokenizer))
    total = {"total": size(tuned[0][0])["total"]}
    return of_four(lambda rows: [yes_to(*pair, rows, SOFT_QUESTION) for pair in tuned]) | cost | total


def read_out(base, method, labels, seed, strength):
    """Fit a classifier to what the frozen base made of the labelled reports, and grade."""
    what = READ_OUTS[method][0]
    rows = runs.train_rows(labels, seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))
    known = frozen.of_rows(rows, read(what))
    model.fit(known, rows["grade"])
    answer = runs.graded(lambda others: model.predict(frozen.of_rows(others, read(what))))
    return answer | {"trainable": 5 * (known.shape[1] + 1)}


def thresholds(base, method, labels, seed):
    """Fit a threshold to each of the four questions' log-odds on the labelled reports, and grade by how many are passed."""
    rows, four = runs.train_rows(labels, seed), len(QUESTIONS)
    odds, truth = frozen.of_rows(rows, read("ten"))[:, :four], rows["grade"].to_numpy()
    ends = [best_threshold(odds[:, k], truth > k) for k in range(four)]
    answer = runs.graded(lambda others: (frozen.of_rows(others, read("ten"))[:, :four] > ends).sum(axis=1))
    return answer | {"trainable": four}


def best_threshold(odds, wanted):
    """Return the threshold above which most answers are as wanted, the lowest of equals. It lies between two of the odds."""
    known = np.unique(odds)
    middles = [known[0] - 1, *((known[1:] + known[:-1]) / 2), known[-1] + 1]
    return middles[int(np.argmax([((odds > middle) == wanted).mean() for middle in middles]))]


def read(what):
    """Return what the frozen base makes of every report, worked out once: a vector each, or the log-odds of yes to TEN."""
    make = {"encoder": lambda: states(False), "answer": lambda: states(True), "ten": ten_odds}[what]
    return frozen.kept(runs.checkpoint(BASE), frozen.everything(), f"t5-{what}", make)


def ten_odds():
    """Return the log-odds of yes against no to each of TEN, an array (reports, questions)."""
    model, tokenizer = load()
    chances = np.stack([yes_to(model, tokenizer, frozen.everything(), question) for question in TEN], axis=1)
    inside = np.clip(chances.astype(float), 1e-6, 1 - 1e-6)
    return np.log(inside / (1 - inside))


@torch.inference_mode()
def states(answering, batch_size=64):
    """Return a vector for each report's question: the encoder's mean over its tokens, or the very state that `choose` reads."""
    model, tokenizer = load()
    questions, found = asked(frozen.everything()), []
    for start in range(0, len(questions), batch_size):
        some = questions[start : start + batch_size]
        batch = tokenizer(some, padding=True, truncation=True, max_length=frozen.LENGTH, return_tensors="pt")
        first = torch.full((len(some), 1), model.config.decoder_start_token_id)
        made = model.eval()(**batch, decoder_input_ids=first, output_hidden_states=True)
        real = batch["attention_mask"].unsqueeze(-1)
        mean = (made.encoder_last_hidden_state * real).sum(1) / real.sum(1)
        found.append((made.decoder_hidden_states[-1][:, 0] if answering else mean).numpy())
    return np.concatenate(found)


# What is run.


def expected(method, labels, epochs):
    """Return the expected seconds of a run."""
    graded = 4 if "four questions" in method else 1
    return runs.START_S + (labels * epochs * MS.get(method, 4.5) + graded * runs.GRADED * READ_MS) / 1000


def settings_of(method):
    """Return the settings of a method beside its learning rate."""
    if method == "prompt tuning, four questions":
        return {}
    return {"words": CENTRE["words"]} | ({"init": CENTRE["init"], "tokens": 10} if method == "prompt tuning" else {})


def task(method, labels, epochs, seed, lr, settings):
    """Return a training as a task."""
    make = four_tuned if method == "prompt tuning, four questions" else one
    named = {"base": BASE, "method": method, "labels": labels, "epochs": epochs, "seed": seed, "lr": lr}
    return Task(NAME, make, named | settings, expected(method, labels, epochs))


def tries(method):
    """Return the runs with each learning rate of a method, seed 0."""
    return [task(method, LABELS, runs.epochs(LABELS), 0, lr, settings_of(method)) for lr in TRIED[method]]


def rate(method):
    """Return the learning rate of a method, the best of its tries on dev, or None until they are there."""
    tried = runs.all_found(tries(method))
    return runs.best(tried)["lr"] if tried else None


def tested(method, labels=None, epochs=None, settings=None):
    """Return a method's runs with its learning rate, one a seed."""
    labels = labels or LABELS
    epochs, settings = epochs or runs.epochs(labels), settings or settings_of(method)
    seeds = runs.seeds(expected(method, labels, epochs))
    return [task(method, labels, epochs, seed, rate(method), settings) for seed in seeds]


def long_runs():
    """Return the runs of a longer prompt, trained longer on more labels."""
    labels, epochs, settings = LONG
    return tested("prompt tuning", labels, epochs, settings | {"words": CENTRE["words"]})


def from_words():
    """Return the runs of a prompt that starts from the answer words: the sweep has them."""
    return tested("prompt tuning", settings=CENTRE | {"init": "text"})


def swept():
    """Return (what is varied, a run), each of prompt tuning's settings alone."""
    centre, epochs = CENTRE | {"lr": rate("prompt tuning")}, runs.epochs(LABELS)
    seeds, found = runs.seeds(expected("prompt tuning", LABELS, epochs)), []
    for what, value in ((key, one) for key, values in VARIED.items() for one in values):
        settings = centre | {what: value}
        lr = settings.pop("lr")
        found += [(what, task("prompt tuning", LABELS, epochs, seed, lr, settings)) for seed in seeds]
    return found


def small_task(make, settings, graded=1):
    """Return a run that trains nothing, or a classifier, as a task."""
    return Task(NAME, make, {"base": BASE} | settings, runs.START_S + graded * runs.GRADED * READ_MS / 1000)


def by_hand():
    """Return the prompts written by hand as tries, as many as a trained method has."""
    named = {"method": "text prompt", "seed": 0}
    return [small_task(written, named | {"form": form, "words": words}) for form, words in WRITTEN]


def best_by_hand():
    """Return the best of the prompts written by hand, on dev, as the one run of its kind; none until all are there."""
    tried = runs.all_found(by_hand())
    if not tried:
        return []
    best = runs.best(tried)
    return [small_task(written, {key: best[key] for key in ("method", "seed", "form", "words")})]


def strengths(method):
    """Return the runs among which a read-out's strength is chosen."""
    named = {"method": method, "labels": LABELS, "seed": 0}
    return [small_task(read_out, named | {"strength": strength}, 0) for strength in READ_OUTS[method][1]]


def fitted(method):
    """Return the runs of a read-out, one a seed."""
    seeds, named = range(runs.SHORT), {"method": method, "labels": LABELS}
    if method == THRESHOLDS:
        return [small_task(thresholds, named | {"seed": seed}, 0) for seed in seeds]
    tried = runs.all_found(strengths(method))
    strength = runs.best(tried)["strength"] if tried else None
    return [small_task(read_out, named | {"seed": seed, "strength": strength}, 0) for seed in seeds]


def left_alone(init):
    """Return the runs of a soft prompt that nothing has tuned, one a seed; what it starts from may be drawn."""
    named = {"method": f"untuned prompt, {init}", "init": init, "words": CENTRE["words"]}
    return [small_task(untuned, named | {"seed": seed}) for seed in range(1 if init == "text" else runs.SHORT)]


def groups():
    """Return {(name, labels): its runs} of all that grades test, in the order of the rows; 0 labels: nothing is trained."""
    four = small_task(four_written, {"method": "text prompt, four questions", "seed": 0}, 4)
    found = {("text prompt", 0): best_by_hand(), ("text prompt, four questions", 0): [four]}
    found |= {(f"untuned prompt, {init}", 0): left_alone(init) for init in UNTUNED}
    found |= {(method, LABELS): fitted(method) for method in (*READ_OUTS, THRESHOLDS)}
    found |= {(method, LABELS): tested(method) for method in TRIED}
    return found | {(FROM_WORDS, LABELS): from_words(), ("prompt tuning, 50 rows", LONG[0]): long_runs()}


def plan():
    """Return all runs."""
    if not runs.present([BASE]):
        return []
    tried = [*by_hand(), *(one for method in TRIED for one in tries(method))]
    tried += [one for method in READ_OUTS for one in strengths(method)]
    return tried + [one for some in groups().values() for one in some] + [one for _, one in swept()]


# What is written.

PAIRS = (
    ("prompt tuning", "majority class"),
    ("prompt tuning", "text prompt"),
    ("prompt tuning", "untuned prompt, vocabulary"),
    (FROM_WORDS, "untuned prompt, text"),
    (FROM_WORDS, "text prompt"),
    ("prompt tuning, 50 rows", "text prompt"),
    ("prompt tuning, four questions", "text prompt, four questions"),
    ("prompt tuning", "LoRA"),
    ("prompt tuning", "full fine-tuning"),
    ("prompt tuning, 50 rows", "LoRA"),
    ("prompt tuning, four questions", "text prompt"),
    ("LoRA", "full fine-tuning"),
    ("probe on the encoder's mean", "prompt tuning"),
    ("probe on the state that answers", "prompt tuning"),
    ("probe on the encoder's mean", "full fine-tuning"),
    (THRESHOLDS, "text prompt, four questions"),
    ("ten questions, fitted", "prompt tuning"),
)


def tests():
    """Return {(name, labels): its runs, as they are kept}, the majority class first."""
    return {("majority class", 0): lazy()} | {key: runs.needed(some) for key, some in groups().items()}


def of(name):
    """Return the runs of one name, as they are kept."""
    return runs.needed(next(some for key, some in groups().items() if key[0] == name))


def report():
    """Write the file: rows, paired verdicts, and every run. Without the base there is nothing to write."""
    if runs.lacking(NAME, [BASE]):
        return
    done = tests()
    labels, task = {name: n for name, n in done}, "DR grade as text, test, {}"
    called = {name: f"{name}, {n:,} labels" if n else name for name, n in done}
    side = {name: some for (name, _), some in done.items()}
    rows = [
        runs.row(name, task.format(f"{n:,} labels" if n else "nothing trained"), some)
        for (name, n), some in done.items()
    ]
    verdicts = [
        {"labels": [labels[a], labels[b]]} | runs.verdict(called[a], side[a], called[b], side[b]) for a, b in PAIRS
    ]
    varied = swept()
    found = runs.needed([one for _, one in varied])
    tried = runs.needed([*by_hand(), *(one for method in TRIED for one in tries(method))])
    results.ship(
        NAME,
        rows,
        verdicts=verdicts,
        tried=runs.without_predictions(tried),
        swept=runs.without_predictions([{"varied": what} | run for (what, _), run in zip(varied, found, strict=True)]),
        tested=[{"name": name} | run for (name, _), some in done.items() for run in runs.without_predictions(some)],
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
