"""Measures prompt tuning on tiny-t5, for notebook 04, into data_samples/results/prompt_runs.json: about an hour on one core.

Each setting is varied alone, with three seeds, and judged on dev. Then each method, with the learning rate that was best for
it on dev, grades the test split once, beside a prompt written by hand.
"""

from functools import partial

import numpy as np
import peft
import torch
from sklearn.metrics import roc_auc_score
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import machine, models, results, training

from . import runs

NAME, LABELS, EPOCHS, BATCH = "prompt_runs", 1_000, 5, 16
ASK = "grade <{eye}> : {text}"
WORDS = {
    "findings": ("none", "microaneurysms", "haemorrhages", "shunts", "bleed"),  # the gravest finding of each grade
    "digits": ("0", "1", "2", "3", "4"),
}
WRITTEN = (  # prompts in words, in the forms that the base was taught
    "grade <{eye}> : {text}",
    "list <{eye}> : {text}",
    "grade of retinopathy 0 1 2 3 4 in <{eye}> ? : {text}",
    "gravest of none or microaneurysms or haemorrhages or shunts or bleed in <{eye}> ? : {text}",
    "how many quadrants of haemorrhages in <{eye}> ? : {text}",
)
NAMED = " or ".join(WORDS["findings"])  # a prompt may start from these words
CENTRE = {"lr": 0.3, "init": "vocabulary", "tokens": 10, "words": "findings"}
VARIED = {
    "lr": (3e-5, 1e-3, 3e-2, 0.3, 1.0),
    "init": ("random", "vocabulary", "text"),
    "tokens": (1, 5, 10, 25),
    "words": ("digits", "findings"),
}
TRIED = {  # four learning rates for each method
    "prompt tuning": (1e-3, 3e-2, 0.3, 1.0),
    "prefix tuning": (1e-3, 1e-2, 0.1, 0.3),
    "P-tuning": (1e-3, 3e-3, 1e-2, 3e-2),
    "LoRA": (1e-3, 3e-3, 1e-2, 3e-2),
    "full fine-tuning": (1e-4, 3e-4, 1e-3, 3e-3),
}
LONG = (5_000, 8, {"tokens": 50, "init": "vocabulary", "encoder_only": True})  # 0.5% of the parameters, a long run
QUESTIONS = (  # is the grade at least 1, 2, 3, 4? asked in the words of the base's lessons
    "any microaneurysms or haemorrhages in <{eye}> ? : {text}",
    "any haemorrhages or exudates or cotton wool in <{eye}> ? : {text}",
    "any beading or shunts in <{eye}> ? : {text}",
    "any disc vessels or new vessels or bleed in <{eye}> ? : {text}",
)
SOFT_QUESTION = "in <{eye}> ? : {text}"  # ten tuned rows stand before it


def asked(rows, form=ASK):
    """Return the question of each row as text."""
    return [form.format(eye=eye, text=text) for eye, text in zip(rows["eye"], rows["text"], strict=True)]


def base():
    """Return tiny-t5 and its tokenizer."""
    name = models.base("tiny-t5")
    return AutoModelForSeq2SeqLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)


def soft_prompt(tokens=10, init="vocabulary", encoder_only=False, start=NAMED):
    """Return the PEFT configuration of a prompt; `start` is the text that it starts from where init is "text"."""
    kinds = {"random": "RANDOM", "vocabulary": "SAMPLE_VOCAB", "text": "TEXT"}
    text = {"prompt_tuning_init_text": start, "tokenizer_name_or_path": models.base("tiny-t5")}
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


def trained(method, labels, epochs, seed, lr, words, settings):
    """Return (model, tokenizer, what was measured on dev)."""
    model, tokenizer = base()
    chosen = config(method, settings)
    torch.manual_seed(seed)
    model = model if chosen is None else peft.get_peft_model(model, chosen)
    rows = runs.train_rows(labels, seed)
    answers = [WORDS[words][grade] for grade in rows["grade"]]
    log = training.fit_answers(
        model, tokenizer, asked(rows), answers, epochs=epochs, lr=lr, batch_size=BATCH, seed=seed, bar=False
    )
    dev = runs.score("dev", graded(model, tokenizer, "dev", words))
    return model, tokenizer, {"dev": dev, "seconds": round(log["seconds"], 1)} | size(model)


def size(model):
    """Return the numbers of trainable and of all parameters."""
    trainable, total = models.count_parameters(model)
    return {"trainable": trainable, "total": total}


def graded(model, tokenizer, split, words, form=ASK):
    """Return the model's grades of a split."""
    return training.choose(model, tokenizer, asked(runs.frames()[split], form), WORDS[words]).argmax(1)


def tested(*arguments):
    """Return what was measured on dev and on test, with peak memory and the size on disk."""
    runs.start()
    words = arguments[5]
    model, tokenizer, found = trained(*arguments)
    peak = {"peak_mb": round(machine.peak_mb())}
    predicted = graded(model, tokenizer, "test", words)
    scores = {"predicted": predicted.tolist(), "macro_f1": runs.score("test", predicted)}
    return found | scores | peak | {"saved_kb": runs.saved_kb(model)}


def one(method, labels, epochs, seed, lr, words="findings", test=False, **settings):
    """Train and grade dev, and test if asked to. Every run is kept; one that is graded on test has a process of its own."""
    named = {"method": method, "labels": labels, "epochs": epochs, "seed": seed, "lr": lr, "words": words}
    arguments = (method, labels, epochs, seed, lr, words, settings)
    make = partial(runs.alone, tested, *arguments) if test else lambda: trained(*arguments)[2]
    return runs.kept(NAME, named | settings | {"test": test}, make)


def sweeps():
    """Vary each setting of prompt tuning alone, every seed."""
    return [
        {"varied": what} | one("prompt tuning", LABELS, EPOCHS, seed, **(CENTRE | {what: value}))
        for what, values in VARIED.items()
        for value in values
        for seed in runs.SEEDS
    ]


def settings_of(method):
    """Return the settings of a method beside its learning rate."""
    return {key: CENTRE[key] for key in ("init", "tokens")} if method == "prompt tuning" else {}


def tries(method):
    """Return the runs of a method with each learning rate, on dev, seed 0."""
    return [one(method, LABELS, EPOCHS, 0, lr, **settings_of(method)) for lr in TRIED[method]]


def by_hand():
    """Return the runs of the prompts written by hand: nothing is trained, the words are chosen on dev."""
    model, tokenizer = base()
    choices = [(form, words) for form in WRITTEN for words in WORDS]
    tried = [
        runs.kept(
            NAME,
            {"method": "text prompt", "form": form, "words": words},
            lambda form=form, words=words: {"dev": runs.score("dev", graded(model, tokenizer, "dev", words, form))},
        )
        for form, words in choices
    ]
    best = runs.best(tried)

    def on_test():
        predicted = graded(model, tokenizer, "test", best["words"], best["form"])
        return {"dev": best["dev"], "predicted": predicted.tolist(), "macro_f1": runs.score("test", predicted)}

    settings = {"method": "text prompt", "form": best["form"], "words": best["words"], "test": True, "seed": 0}
    return tried, [runs.kept(NAME, settings, on_test) | {"trainable": 0, "saved_kb": 0}]


def lazy():
    """Return the run that answers with the commonest grade of training."""
    train, test = runs.frames()["train"], runs.frames()["test"]
    predicted = np.full(len(test), train["grade"].mode()[0])
    return [{"method": "majority class", "seed": 0, "predicted": predicted.tolist(), "trainable": 0, "saved_kb": 0}]


def counted(yes):
    """Return the grade from the chances of yes to "at least 1, 2, 3, 4", an array (reports, 4): how many are above a half."""
    return (np.stack(yes, axis=1) > 0.5).sum(axis=1)


def of_four(dev, test):
    """Return what the chances of yes to the four questions are worth on dev and test."""
    truth, grades = runs.frames()["dev"]["grade"], counted(test)
    auc = [float(roc_auc_score(truth >= least, yes)) for least, yes in enumerate(dev, start=1)]
    scores = {"dev": runs.score("dev", counted(dev)), "macro_f1": runs.score("test", grades)}
    return scores | {"auc_dev": auc, "predicted": grades.tolist()}


def four_written():
    """Return the run of four questions in words: nothing is trained."""
    model, tokenizer = base()

    def yes(split):
        rows = runs.frames()[split]
        return [training.choose(model, tokenizer, asked(rows, q), ("yes", "no"))[:, 0] for q in QUESTIONS]

    def make():
        return of_four(yes("dev"), yes("test")) | {"trainable": 0, "saved_kb": 0}

    return [runs.kept(NAME, {"method": "text prompt, four questions", "test": True, "seed": 0}, make)]


def four_tuned(seed, labels=LABELS, epochs=3, lr=0.05):
    """Return the run of four tuned prompts of ten rows each, one a question, each started from the question's words."""

    def make():
        yes, cost = {"dev": [], "test": []}, {"seconds": 0.0, "trainable": 0, "saved_kb": 0}
        rows = runs.train_rows(labels, seed)
        for least, question in enumerate(QUESTIONS, start=1):
            model, tokenizer = base()
            torch.manual_seed(seed)
            words = question.split(" in <")[0]
            model = peft.get_peft_model(model, soft_prompt(10, "text", encoder_only=True, start=f"{words} {words}"))
            answers = ["yes" if grade >= least else "no" for grade in rows["grade"]]
            log = training.fit_answers(
                model, tokenizer, asked(rows, SOFT_QUESTION), answers, epochs=epochs, lr=lr, batch_size=BATCH, bar=False
            )
            for split, found in yes.items():
                questions = asked(runs.frames()[split], SOFT_QUESTION)
                found.append(training.choose(model, tokenizer, questions, ("yes", "no"))[:, 0])
            spent = {"seconds": log["seconds"], "saved_kb": runs.saved_kb(model)} | size(model)
            cost |= {key: cost[key] + spent[key] for key in ("seconds", "trainable", "saved_kb")}
        return of_four(yes["dev"], yes["test"]) | cost | {"total": size(model)["total"]}

    settings = {"method": "prompt tuning, four questions", "labels": labels, "epochs": epochs, "seed": seed, "lr": lr}
    return runs.kept(NAME, settings | {"test": True}, make)


def main():
    """Measure everything and write the file."""
    runs.start()
    tried, text = by_hand()
    tests, rate = {("majority class", 0): lazy(), ("text prompt", 0): text}, {}
    tests["text prompt, four questions", 0] = four_written()
    for method in TRIED:
        found = tries(method)
        rate[method], tried = runs.best(found)["lr"], tried + found
        tests[method, LABELS] = [
            one(method, LABELS, EPOCHS, seed, rate[method], test=True, **settings_of(method)) for seed in runs.SEEDS
        ]
    tests["prompt tuning, four questions", LABELS] = [four_tuned(seed) for seed in runs.SEEDS]
    swept = sweeps()
    labels, epochs, settings = LONG
    tests["prompt tuning, 50 rows", labels] = [
        one("prompt tuning", labels, epochs, seed, rate["prompt tuning"], test=True, **settings) for seed in runs.SEEDS
    ]
    report(tests, tried, swept)


def report(tests, tried, swept):
    """Write the file: rows, paired verdicts, and every run."""
    task = "DR grade as text, test, {}"
    named = {0: "nothing trained"}
    rows = [
        runs.row(method, task.format(named.get(labels, f"{labels:,} labels")), done)
        for (method, labels), done in tests.items()
    ]
    pairs = [
        (("prompt tuning", LABELS), ("majority class", 0)),
        (("prompt tuning", LABELS), ("text prompt", 0)),
        (("prompt tuning, 50 rows", LONG[0]), ("text prompt", 0)),
        (("prompt tuning, four questions", LABELS), ("text prompt, four questions", 0)),
        (("prompt tuning", LABELS), ("LoRA", LABELS)),
        (("prompt tuning", LABELS), ("full fine-tuning", LABELS)),
        (("prompt tuning, 50 rows", LONG[0]), ("LoRA", LABELS)),
        (("prompt tuning, four questions", LABELS), ("text prompt", 0)),
        (("LoRA", LABELS), ("full fine-tuning", LABELS)),
    ]
    called = {(name, n): f"{name}, {n:,} labels" if n else name for name, n in tests}
    verdicts = [{"labels": [a[1], b[1]]} | runs.verdict(called[a], tests[a], called[b], tests[b]) for a, b in pairs]
    results.ship(
        NAME,
        rows,
        verdicts=verdicts,
        tried=runs.without_predictions(tried),
        swept=runs.without_predictions(swept),
        tested=[{"name": name} | run for (name, _), done in tests.items() for run in runs.without_predictions(done)],
    )


if __name__ == "__main__":
    main()
