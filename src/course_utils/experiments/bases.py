"""Measures what the base models are worth, into data_samples/results/base_benchmark.json: `make results`, about half an hour.

tiny-biobert graded against the same network from random weights, TF-IDF + logistic regression, and a linear probe, with 500 and
5,000 labels, three seeds each: a seed draws the labels, the head and the order. Settings are chosen on dev with seed 0, for each
method and size by itself; test is graded once. tiny-opt and tiny-t5 are fine-tuned for at most 90 seconds each.
"""

import os
import time

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from course_utils import data, metrics, models, results, session, training

NAME, SEEDS, EPOCHS = "base_benchmark", (0, 1, 2), {500: 8, 5_000: 3}


def with_eye(rows):
    """The eye as words, then the report: what the classical model reads."""
    return rows["eye"] + " eye. " + rows["text"]


def tfidf(longest, strength, balance):
    """Sequences of up to `longest` tokens, counted and weighted, and a logistic regression."""
    words = TfidfVectorizer(
        ngram_range=(1, longest), sublinear_tf=True, token_pattern=r"[\u4e00-\u9fff]|[A-Za-z]+|\d+|[^\w\s]"
    )
    return make_pipeline(words, LogisticRegression(C=strength, class_weight=balance, max_iter=1000))


def probe(strength):
    """A logistic regression on scaled vectors."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))


def run_tfidf(train, others, seed, settings):
    """TF-IDF + logistic regression; settings are (longest sequence, C, class weights)."""
    model = tfidf(*settings).fit(with_eye(train), train["grade"])
    return [model.predict(with_eye(rows)) for rows in others], 0


def run_probe(train, others, seed, settings):
    """The frozen base's [CLS] vectors and a logistic regression; settings is C."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed)
    vectors = [training.features(model, tokenizer, rows) for rows in (train, *others)]
    model = probe(settings).fit(vectors[0], train["grade"])
    return [model.predict(v) for v in vectors[1:]], 5 * (vectors[0].shape[1] + 1)


def run_all_weights(train, others, seed, settings, pretrained=True):
    """All weights of tiny-biobert, or of the same network from random weights; settings is the learning rate."""
    model, tokenizer = models.grader(models.base("tiny-biobert"), seed=seed, pretrained=pretrained)
    training.fit_grader(model, tokenizer, train, epochs=EPOCHS[len(train)], lr=settings, seed=seed, bar=False)
    return [training.predict(model, tokenizer, rows).argmax(1) for rows in others], models.count_parameters(model)[0]


def run_random(train, others, seed, settings):
    """The same network, the same steps, from random weights."""
    return run_all_weights(train, others, seed, settings, pretrained=False)


METHODS = {
    "TF-IDF + logistic regression": (
        run_tfidf,
        [(n, c, b) for n in (2, 3) for c in (3, 30) for b in ("balanced", None)],
    ),
    "frozen base + linear probe": (run_probe, [0.1, 1.0, 10.0]),
    "random weights": (run_random, [5e-4, 1e-3]),
    "full fine-tuning": (run_all_weights, [5e-4, 1e-3]),
}


def compare(frames):
    """Every method, size and seed: (runs, rows for the results table, predictions on test)."""
    runs, rows, kept = [], [], {}
    truth, patients = frames["test"]["grade"].to_numpy(), frames["test"]["patient_id"]
    for labels in EPOCHS:
        for name, (method, choices) in METHODS.items():
            tried = []
            for settings in choices:
                tried.append((one_run(method, frames, labels, 0, settings), settings))
                print(name, labels, settings, f"dev {tried[-1][0]['dev_macro_f1']:.3f}", flush=True)
            first, settings = max(tried, key=lambda pair: pair[0]["dev_macro_f1"])
            done = [first] + [one_run(method, frames, labels, seed, settings) for seed in SEEDS[1:]]
            predictions = kept[name, labels] = [run.pop("predicted") for run in done]
            runs += [
                {"method": name, "labels": labels, "seed": s, "settings": str(settings)} | run
                for s, run in zip(SEEDS, done, strict=True)
            ]
            ci = metrics.interval_over_seeds(truth, predictions, metrics.macro_f1, groups=patients)
            rows.append(
                {
                    "method": name,
                    "task": f"DR grade, test, {labels:,} labels, 3 seeds",
                    "metric": "macro F1",
                    "value": ci.value,
                    "low": ci.low,
                    "high": ci.high,
                    "k": round(np.mean([(p == truth).sum() for p in predictions])),
                    "n": len(truth),
                    "seeds": len(SEEDS),
                    "trainable": done[0]["trainable"],
                }
            )
            print(name, labels, ci, [run["seconds"] for run in done], flush=True)
    return runs, rows, kept


def one_run(method, frames, labels, seed, settings):
    """Train on `labels` rows drawn by the seed; grade dev and test. `seconds` covers both."""
    train = data.sample(frames["all_train"], labels, seed=seed).to_pandas()
    began = time.perf_counter()
    (dev, test), trainable = method(train, (frames["dev"], frames["test"]), seed, settings)
    scores = [
        float(metrics.macro_f1(metrics.confusion(frames[s]["grade"], p))) for s, p in (("dev", dev), ("test", test))
    ]
    return {
        "dev_macro_f1": scores[0],
        "macro_f1": scores[1],
        "seconds": round(time.perf_counter() - began),
        "trainable": trainable,
        "predicted": test,
    }


def verdicts(kept, frames):
    """The paired comparisons that the course rests on, as sentences with intervals."""
    truth, patients = frames["test"]["grade"].to_numpy(), frames["test"]["patient_id"]
    out = []
    for labels in EPOCHS:
        for other in ("TF-IDF + logistic regression", "random weights", "frozen base + linear probe"):
            names = (f"full fine-tuning, {labels:,} labels", f"{other}, {labels:,} labels")
            found = metrics.paired(
                truth, kept["full fine-tuning", labels], kept[other, labels], groups=patients, names=names
            )
            out.append({"verdict": found.verdict, "difference": str(found.difference)})
    return out


def fine_tune_opt(frames, steps=300):
    """Perplexity of tiny-opt on dev reports before and after next-word training on train reports, with a text of each."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-opt"))
    model = AutoModelForCausalLM.from_pretrained(models.base("tiny-opt"))
    texts, held_out = (list(dict.fromkeys(frames[name]["text"])) for name in ("train", "dev"))
    optimizer, order, began = (
        torch.optim.AdamW(model.parameters(), lr=1e-3),
        torch.Generator().manual_seed(0),
        time.perf_counter(),
    )
    before, wrote_before = measured(model, tokenizer, held_out)
    for step in range(steps):
        chosen = [texts[i] + tokenizer.eos_token for i in torch.randint(len(texts), (16,), generator=order)]
        batch = tokenizer(
            chosen, return_tensors="pt", padding=True, padding_side="right", truncation=True, max_length=192
        )
        loss = model(**batch, labels=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)).loss
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.perf_counter() - began
    after, wrote_after = measured(model, tokenizer, held_out)
    print("tiny-opt", before, after, f"{seconds:.0f} s", flush=True)
    return {
        "perplexity_before": before,
        "perplexity_after": after,
        "text_before": wrote_before,
        "text_after": wrote_after,
        "seconds": round(seconds),
    }


def measured(model, tokenizer, texts):
    """Perplexity on the texts, and what the model writes after a prompt."""
    from course_utils.generate import tiny_opt

    model.eval()
    with torch.inference_mode():
        perplexity = float(np.exp(tiny_opt.mean_loss(tiny_opt.Writer(model), tokenizer, texts[:400])))
        prompt = tokenizer("Right eye:", return_tensors="pt")
        ids = model.generate(
            **prompt, min_new_tokens=20, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
    model.train()
    return round(perplexity, 2), tokenizer.decode(ids[0], skip_special_tokens=True)


def fine_tune_t5(frames, labels=2_000, epochs=3):
    """tiny-t5 on a report task that it was never taught: is the eye referable (grade 2 or more)? Answered as text, on test."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(models.base("tiny-t5"))
    model = AutoModelForSeq2SeqLM.from_pretrained(models.base("tiny-t5"))
    rows = data.sample(frames["all_train"], labels, seed=0).to_pandas()
    asked = lambda rows: ("refer <" + rows["eye"] + "> ? : " + rows["text"]).tolist()  # noqa: E731
    questions, answers = asked(rows), np.where(rows["grade"] >= metrics.REFERABLE, "yes", "no")
    optimizer, order, began = (
        torch.optim.AdamW(model.parameters(), lr=1e-3),
        torch.Generator().manual_seed(0),
        time.perf_counter(),
    )
    for _ in range(epochs):
        for chosen in torch.randperm(labels, generator=order).split(16):
            batch = tokenizer(
                [questions[i] for i in chosen],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=192,
            )
            wanted = tokenizer([answers[i] for i in chosen], return_tensors="pt")["input_ids"]
            model(**batch, labels=wanted).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    seconds = time.perf_counter() - began
    test = frames["test"]
    truth, said = np.where(test["grade"] >= metrics.REFERABLE, "yes", "no"), []
    model.eval()
    with torch.inference_mode():
        questions = asked(test)
        for i in range(0, len(questions), 64):
            batch = tokenizer(
                questions[i : i + 64],
                return_tensors="pt",
                padding=True,
                padding_side="right",
                truncation=True,
                max_length=192,
            )
            said += tokenizer.batch_decode(model.generate(**batch, max_new_tokens=3), skip_special_tokens=True)
    right = np.array([s.strip() for s in said]) == truth
    k, n, (_, *ends) = int(right.sum()), len(truth), metrics.share(right, test["patient_id"])
    majority = int(max((truth == "yes").sum(), (truth == "no").sum()))
    print("tiny-t5", k, majority, n, f"{seconds:.0f} s", flush=True)
    return {"right": k, "n": n, "interval": ends, "majority_right": majority, "seconds": round(seconds)}


def main():
    """Measure everything and write the file."""
    session.start(seed=0, threads=os.cpu_count())
    reports = data.load_reports()
    frames = {name: rows.to_pandas() for name, rows in reports.items()} | {"all_train": reports["train"]}
    runs, rows, kept = compare(frames)
    small = {"tiny-opt": fine_tune_opt(frames), "tiny-t5": fine_tune_t5(frames)}
    compared = verdicts(kept, frames)
    results.ship(NAME, rows, runs=runs, verdicts=compared, others=small, threads=os.cpu_count())


if __name__ == "__main__":
    main()
