"""Measures what a user would pick instead of fine-tuning, for notebook 01, into data_samples/results/rivals.json.

fastText and LightGBM read the words; SetFit and model2vec stand on a base. Each has four tries on dev with 1,000 labels and
seed 0, as the methods of methods.py have, and is compared in pairs with word counts and with full fine-tuning on the same labels.
The extra `rivals` installs them; nothing else of the course needs it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from course_utils import results

from . import methods, runs
from .methods import COUNTS, FULL, NO_BASE, Method
from .runs import Task

NAME = "rivals"
FASTTEXT, BOOSTED, SETFIT, DISTILLED = "fastText", "LightGBM on counts", "SetFit", "model2vec"
PAIRS_A_BATCH = 16
RIVALS = {
    FASTTEXT: Method(tuple({"longest": n, "lr": lr} for n in (2, 3) for lr in (0.1, 1.0)), methods.BENCHMARK, 0.3, 0.1),
    BOOSTED: Method(tuple({"leaves": n, "lr": lr} for n in (15, 31) for lr in (0.05, 0.1)), methods.BENCHMARK, 4, 0.5),
    SETFIT: Method(
        tuple({"pool": pool, "lr": lr} for pool in ("first", "mean") for lr in (3e-4, 1e-3)), methods.BENCHMARK, 18, 6
    ),
    DISTILLED: Method(
        tuple({"weighted": w, "strength": c} for w in (True, False) for c in (0.1, 1.0)), methods.BENCHMARK, 0.5, 0.2
    ),
}
WORDS_ALONE = (FASTTEXT, BOOSTED)  # they have no base


# What each makes of training rows: a function that grades rows.


def tokens(rows) -> list[str]:
    """Return each report as its tokens, in small letters, with spaces between: fastText cuts at spaces alone."""
    cut = methods.tfidf(1, 1)[0].build_tokenizer()
    return [" ".join(cut(text.lower())) for text in methods.with_eye(rows)]


def fasttext(rows, seed: int, longest: int, lr: float) -> Callable:
    """Return a linear model on the mean of learned vectors of words and sequences of up to `longest` words."""
    import fasttext as library

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        lines = [f"__label__{grade} {text}\n" for grade, text in zip(rows["grade"], tokens(rows), strict=True)]
        file.write_text("".join(lines), encoding="utf-8")
        model = library.train_supervised(
            str(file), lr=lr, epoch=100, wordNgrams=longest, thread=1, seed=seed, verbose=0
        )
    return lambda others: np.array(
        [int(labels[0].removeprefix("__label__")) for labels in model.predict(tokens(others))[0]]
    )


def boosted(rows, seed: int, leaves: int, lr: float) -> Callable:
    """Return 200 boosted trees on the counts that the logistic regression reads."""
    from lightgbm import LGBMClassifier

    counts = methods.tfidf(2, 1)[0]
    trees = LGBMClassifier(
        n_estimators=200,
        num_leaves=leaves,
        learning_rate=lr,
        class_weight="balanced",
        n_jobs=1,
        random_state=seed,
        verbose=-1,
    ).fit(counts.fit_transform(methods.with_eye(rows)), rows["grade"])
    return lambda others: trees.predict(counts.transform(methods.with_eye(others)))


def setfit(checkpoint: str, rows, seed: int, pool: str, lr: float) -> Callable:
    """Tune a base so that reports of one grade lie together, then fit a probe on its vectors.

    As many reports are read as in fine-tuning (`runs.epochs`); a step reads two for each pair. SetFit takes no pairs of texts, so
    the eye and the report are one string with the separator between.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from setfit import SetFitModel, Trainer, TrainingArguments

    reader = modules.Transformer(checkpoint, max_seq_length=192)
    pooled = modules.Pooling(reader.get_embedding_dimension(), pooling_mode={"first": "cls"}.get(pool, pool))
    model = SetFitModel(
        SentenceTransformer(modules=[reader, pooled], device="cpu"), model_head=methods.probe(strength=0.1)
    )
    between = f" {reader.tokenizer.sep_token} "

    def texts(some) -> list[str]:
        return (some["eye"] + between + some["text"]).tolist()

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            batch_size=PAIRS_A_BATCH,
            max_steps=max(1, len(rows) * runs.epochs(len(rows)) // (2 * PAIRS_A_BATCH)),
            body_learning_rate=lr,
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        train = Dataset.from_dict({"text": texts(rows), "label": rows["grade"].tolist()})
        Trainer(model, settings, train_dataset=train).train()
    return lambda others: np.asarray(model.predict(texts(others)))


def distilled(checkpoint: str, rows, seed: int, weighted: bool, strength: float) -> Callable:
    """Make one vector of each token of the base, and fit a probe on their mean; `weighted` counts common tokens less."""
    from model2vec.distill import distill_from_model
    from transformers import AutoModel, AutoTokenizer

    base, tokenizer = AutoModel.from_pretrained(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
    table = distill_from_model(base, tokenizer, device="cpu", pca_dims=None, sif_coefficient=1e-4 if weighted else None)

    def vectors(some):
        return table.encode(methods.with_eye(some).tolist())

    model = methods.probe(strength).fit(vectors(rows), rows["grade"])
    return lambda others: model.predict(vectors(others))


FITTED = {FASTTEXT: fasttext, BOOSTED: boosted, SETFIT: setfit, DISTILLED: distilled}


def one(base, method, labels, seed, **setting):
    """Train a rival and grade all splits but train."""
    rows, on = runs.train_rows(labels, seed), [] if method in WORDS_ALONE else [runs.checkpoint(base)]
    return runs.graded(FITTED[method](*on, rows, seed, **setting))


# What is run.


def pairs(bases):
    """Return every rival with every base that it stands on."""
    return [(base, method) for method in RIVALS for base in ([NO_BASE] if method in WORDS_ALONE else bases)]


def task(base, method, labels, seed, setting):
    """Return a run as a task."""
    named = {"base": base, "method": method, "labels": labels, "seed": seed}
    return Task(NAME, one, named | setting, RIVALS[method].seconds(labels))


def tries(base, method):
    """Return the runs among which a rival's setting is chosen."""
    return [task(base, method, methods.CHOSEN_AT, 0, setting) for setting in RIVALS[method].tried]


def recipe(base, method):
    """Return a rival's setting, the best of its tries on dev; its values are None until all tries are there."""
    tried = runs.all_found(tries(base, method))
    best = runs.best(tried) if tried else {}
    return {key: best.get(key) for key in RIVALS[method].tried[0]}


def tested(base, method, labels):
    """Return a rival's runs with its recipe, one a seed."""
    seeds, chosen = runs.seeds(RIVALS[method].seconds(labels)), recipe(base, method)
    return [task(base, method, labels, seed, chosen) for seed in seeds]


def plan():
    """Return all runs: the tries, each rival at its sizes, and the runs of methods.py that they are compared with."""
    bases = runs.present(methods.BASES)
    tried = [one for pair in pairs(bases) for one in tries(*pair)]
    sized = [one for pair in pairs(bases) for n in RIVALS[pair[1]].sizes for one in tested(*pair, n)]
    against = [(NO_BASE, COUNTS), *((base, FULL) for base in bases)]
    known = [one for pair in against for one in methods.tries(*pair)]
    return (
        tried + sized + known + [one for pair in against for n in methods.BENCHMARK for one in methods.tested(*pair, n)]
    )


# What is written.


def of(base, method, labels):
    """Return a rival's runs with its recipe, as they are kept."""
    return runs.needed(tested(base, method, labels))


def compared(base, method, labels, owner):
    """Return the verdicts on a rival, on a base that stands beside it: against word counts, and against full fine-tuning."""
    rival = f"{method}, {labels:,} labels", of(owner, method, labels)
    others = [(other, methods.of(base, other, labels)) for other in (COUNTS, FULL)]
    return [
        {"base": base, "labels": labels, "against": other} | runs.verdict(*rival, f"{other}, {labels:,} labels", done)
        for other, done in others
    ]


def report():
    """Write the file."""
    bases = runs.present(methods.BASES)
    keys = [(*pair, n) for pair in pairs(bases) for n in RIVALS[pair[1]].sizes]
    results.ship(
        NAME,
        [runs.row(method, f"DR grade, test, {n:,} labels", of(base, method, n)) for base, method, n in keys],
        runs=[run for key in keys for run in runs.without_predictions(of(*key))],
        verdicts=[
            verdict
            for owner, method, n in keys
            for base in (bases if owner == NO_BASE else [owner])
            for verdict in compared(base, method, n, owner)
        ],
        recipes=[{"base": base, "method": method, "chosen": recipe(base, method)} for base, method in pairs(bases)],
        tried=[run for pair in pairs(bases) for run in runs.without_predictions(runs.needed(tries(*pair)))],
    )


if __name__ == "__main__":
    runs.main(__spec__.name)
