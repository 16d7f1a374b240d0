"""The base models: the runs that make them, and those that ship, still as good on held-out text as their cards say."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partialmethod
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from course_utils import data
from course_utils.generate import bases, cards, curve, english, language, stream, tiny_biobert, tiny_opt, tiny_t5
from course_utils.generate.recipe import changed, wordpiece

ROOT = Path(bases.__file__).parents[3]
SAMPLES = ROOT / "data_samples"
FOLDERS = sorted((SAMPLES / "bases").glob("*/"))
KINDS = {"tiny-opt": "OPTModel", "tiny-t5": "T5Model"}  # all others are a BertModel


def forget():
    """Let no test see the texts of another one's data folder."""
    stream.labelled_texts.cache_clear()
    data.general_english.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small data folder of its own, which the runs read and write."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    forget()
    for name, column, n in (("dr_reports.csv", "split", 40), (data.GENERAL_ENGLISH, "part", 20)):
        rows = pd.read_csv(SAMPLES / name, keep_default_na=False, dtype=str)
        rows.groupby(column).head(n).to_csv(tmp_path / name, index=False)
    corpus = stream.tokenizer_corpus(n=200)
    monkeypatch.setattr(stream, "tokenizer_corpus", lambda: corpus)
    monkeypatch.setattr(bases, "KEEP_EVERY", 10)
    monkeypatch.setattr(bases, "POINTS", 2)
    yield tmp_path
    forget()


SMALL = {"steps": 40, "warm_up": 5, "grow_at": 20, "width": 12, "attention_heads": 2, "inner": 16, "batch": 4}


T5_FIGURES = tiny_t5.T5.evaluate


def small(recipe, monkeypatch):
    """The recipe with a model of a few weights and a run of 40 steps."""
    for name, value in {"WIDTH": 16, "INNER": 16, "BATCH": 2, "LENGTH": 24, "LAYERS": 2}.items():
        for kind in (tiny_opt, tiny_t5):
            monkeypatch.setattr(kind, name, value, raising=False)
    monkeypatch.setattr(tiny_t5.T5, "evaluate", partialmethod(T5_FIGURES, n=8, each=1))
    if isinstance(recipe, tiny_biobert.Bert):
        return replace(recipe, **SMALL, small=1, layers=2)
    return replace(recipe, steps=40, warm_up=5)


def written(target):
    """The bytes of each file of a folder."""
    return {file.name: file.read_bytes() for file in target.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", list(bases.RECIPES.values()), ids=lambda recipe: recipe.name)
def test_two_runs_give_the_same_bytes_though_one_was_stopped(recipe, folder, monkeypatch):
    recipe = small(recipe, monkeypatch)
    bases.train(recipe, folder / "work" / "a", folder / "bases" / "a")
    real = bases.one_step

    def stopped(*some, seed):
        if seed == 36:
            raise KeyboardInterrupt
        return real(*some, seed=seed)

    monkeypatch.setattr(bases, "one_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        bases.train(recipe, folder / "work" / "b", folder / "bases" / "b")
    assert not (folder / "bases" / "b").exists()
    steps = []
    monkeypatch.setattr(bases, "one_step", lambda *some, seed: steps.append(seed) or real(*some, seed=seed))
    bases.train(recipe, folder / "work" / "b", folder / "bases" / "b")
    assert steps == list(range(31, 41))
    assert written(folder / "bases" / "a") == written(folder / "bases" / "b")
    assert [point["step"] for point in json.loads((folder / "bases" / "b" / "curve.json").read_text())] == [0, 20, 40]
    assert "bases/b/model.safetensors" in (folder / "MANIFEST.sha256").read_text()


def test_other_random_weights_or_another_text_give_other_bytes(folder, monkeypatch):
    recipe = small(tiny_biobert.PLAIN, monkeypatch)
    for name, one in {"a": recipe, "b": replace(recipe, share=0.5)}.items():
        bases.train(one, folder / "work" / name, folder / "bases" / name)
    assert written(folder / "bases" / "a")["model.safetensors"] != written(folder / "bases" / "b")["model.safetensors"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (KeyboardInterrupt(), "The same command goes on from the last checkpoint"),
        (ValueError("Mend it so."), "^Mend it so.$"),
    ],
)
def test_a_run_that_ends_early_says_one_sentence(wrong, said, monkeypatch):
    def run(name, settings):
        raise wrong

    monkeypatch.setattr(bases, "run", run)
    monkeypatch.setattr(sys, "argv", ["bases", "tiny-opt"])
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit, match=said):
        bases.main()
    torch.set_num_threads(threads)


def test_a_checkpoint_of_another_run_is_refused(folder, monkeypatch):
    recipe = small(tiny_biobert.PLAIN, monkeypatch)
    bases.train(recipe, folder / "work")
    with pytest.raises(
        ValueError, match="another run: its recipe is not that of tiny-plain now. Delete the folder .*work"
    ):
        bases.train(replace(recipe, rate=1e-3), folder / "work")
    kept = (folder / "work" / "checkpoint.safetensors").read_bytes()
    with (folder / data.GENERAL_ENGLISH).open("a", encoding="utf-8") as file:
        file.write("pre-training,One more line of text.\n")
    forget()
    with pytest.raises(ValueError, match="its reports or general English"):
        bases.train(recipe, folder / "work")
    assert (folder / "work" / "checkpoint.safetensors").read_bytes() == kept


def test_a_checkpoint_that_says_nothing_of_its_run_is_refused(folder, monkeypatch):
    recipe = small(tiny_biobert.PLAIN, monkeypatch)
    tokenizer = recipe.tokenizer()
    model = recipe.build(tokenizer, 0)
    bases.save_checkpoint(folder, model, bases.optimizer_for(model), 10, 1.0, {})
    with pytest.raises(ValueError, match="its recipe, its reports"):
        bases.load_checkpoint(folder, recipe, tokenizer, bases.fingerprints(recipe, tokenizer))


def in_a_process(code, seed):
    """What the code prints, with Python's hashes seeded so."""
    env = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


TRAIN = """
from course_utils.generate.recipe import wordpiece
texts = [f"{a}{b}{c} {c}{a}眼{b}" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
print(wordpiece(texts, 300, ["[PAD]", "[UNK]"], unknown="[UNK]").to_str())
"""
TRAIN_ALL = """
from course_utils.generate import stream, tiny_biobert, tiny_opt, tiny_t5
texts = stream.tokenizer_corpus(n=300)
stream.tokenizer_corpus = lambda: texts
for kind in (tiny_biobert, tiny_opt, tiny_t5):
    print(kind.tokenizer().backend_tokenizer.to_str())
"""


def test_a_tokenizer_trained_in_two_processes_is_the_same():
    """All the pairs of letters in these texts are equally frequent, so that every choice is between equals."""
    assert len({in_a_process(TRAIN, seed) for seed in ("1", "2", "3")}) == 1


@pytest.mark.slow
def test_each_tokenizer_trained_in_two_processes_is_the_same():
    assert len({in_a_process(TRAIN_ALL, seed) for seed in ("1", "2")}) == 1


def test_a_trained_tokenizer_is_of_the_kind_that_bert_has():
    texts = ["retinal haemorrhages 视网膜出血", "retinal haem"] * 20
    core = wordpiece(texts, 48, ["[PAD]", "[UNK]"], unknown="[UNK]")
    assert core.get_vocab_size() == 48 and core.token_to_id("[UNK]") == 1
    assert core.encode("Retinal 出血").tokens == ["retinal", "出", "血"]
    assert core.encode("retinal", add_special_tokens=True).special_tokens_mask == [0]
    assert core.decode(core.encode("haemorrhages retinal").ids, skip_special_tokens=True) == "haemorrhages retinal"


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of the encoders' kind, with the course's own words."""
    return AutoTokenizer.from_pretrained(SAMPLES / "bases" / "tiny-biobert")


def test_the_plain_base_is_shown_no_answer_of_the_generator(tokenizer, monkeypatch):
    recipe, real = replace(tiny_biobert.PLAIN, batch=8), stream.dr_reports
    shown = recipe.batches(tokenizer, random.Random(3), 5)

    def without_answers(*some, **named):
        for pieces, eyes in real(*some, **named):
            yield [(text, None) for text, _ in pieces], dict.fromkeys(eyes)

    monkeypatch.setattr(stream, "dr_reports", without_answers)
    again = recipe.batches(tokenizer, random.Random(3), 5)
    assert {key for batch in shown for key in batch} == {"input_ids", "token_type_ids", "attention_mask", "words"}
    assert all(torch.equal(a[key], b[key]) for a, b in zip(shown, again, strict=True) for key in a)
    assert sum(int((batch["words"] != -100).sum()) for batch in shown)
    taught = replace(tiny_biobert.TAUGHT, batch=8).batches(tokenizer, random.Random(3), 5)
    assert all((batch["mentions"] == -100).all() for batch in taught)  # so the answers are gone from this stream


def test_the_plain_base_has_no_head_for_answers(tokenizer):
    model = tiny_biobert.PLAIN.build(tokenizer, 0)
    assert set(tiny_biobert.PLAIN.heads(model)) == {"word_bias"}
    assert {"gather.weight", "mention.weight"} <= set(
        tiny_biobert.TAUGHT.heads(tiny_biobert.TAUGHT.build(tokenizer, 0))
    )


def read(batch):
    """The ids of a batch as they were before words were masked."""
    return torch.where(batch["words"] == -100, batch["input_ids"], batch["words"])


@pytest.mark.parametrize(("recipe", "reads"), [(tiny_biobert.TWO_SITES, False), (tiny_biobert.TAUGHT, True)])
def test_the_base_of_two_sites_never_reads_chinese(recipe, reads, tokenizer):
    text = " ".join(
        token
        for batch in recipe.batches(tokenizer, random.Random(4), 20)
        for token in tokenizer.batch_decode(read(batch))
    )
    assert any("\u4e00" <= character <= "\u9fff" for character in text) == reads
    assert "intraretinal" in text and "dbh" in text  # the first two sites


def test_the_three_encoders_have_one_shape_and_one_tokenizer():
    taught = tiny_biobert.TAUGHT
    for other in (tiny_biobert.PLAIN, tiny_biobert.TWO_SITES):
        assert type(other).tokenizer is type(taught).tokenizer
        assert (other.layers, other.width, other.inner) == (taught.layers, taught.width, taught.inner)
    assert tiny_biobert.TWO_SITES.sites == language.SITES[:2] and tiny_biobert.PLAIN.sites == language.SITES


@pytest.mark.parametrize(("span", "share"), [(0, 0.15), (0, 0.4), (1, 0.15), (3, 0.3)])
def test_so_many_words_are_masked_as_the_recipe_says(span, share, tokenizer):
    recipe = replace(tiny_biobert.PLAIN, span=span, share=share)
    encoded = tokenizer("right", "No new vessels elsewhere, unremarkablyish veins 视网膜出血 in 3 of 4 quadrants.")
    rng, runs = random.Random(5), [tiny_biobert.chosen(recipe, random.Random(i), encoded) for i in range(3_000)]
    words = sum(part is not None for part in encoded.sequence_ids())
    assert sum(map(len, runs)) / len(runs) / words == pytest.approx(share, rel=0.15)
    if span:  # whole words
        of = encoded.word_ids()
        parts = encoded.sequence_ids()
        pieces = Counter((part, word) for part, word in zip(parts, of, strict=True) if part is not None)
        assert max(pieces.values()) > 1
        for run in runs:
            assert all(pieces[at] == n for at, n in Counter((parts[i], of[i]) for i in run).items())
    assert not set(tiny_biobert.chosen(replace(recipe, share=1.0, span=0), rng, encoded)) & {
        0,
        len(encoded["input_ids"]) - 1,
    }


def test_short_texts_come_first_if_the_recipe_says_so(tokenizer):
    recipe = replace(tiny_biobert.PLAIN, short_until=100)
    lengths = [
        max(b["input_ids"].shape[1] for b in recipe.batches(tokenizer, random.Random(1), 10, step))
        for step in (99, 100)
    ]
    assert lengths[0] == tiny_biobert.SHORT < lengths[1]


def test_a_grown_model_says_the_same_but_for_a_little(tokenizer):
    torch.manual_seed(0)
    recipe = tiny_biobert.PLAIN
    model = recipe.build(tokenizer, step=0).eval()
    tall = recipe.grow(model, recipe.grow_at).eval()
    batch = recipe.batches(tokenizer, random.Random(0), 1)[0]
    with torch.inference_mode():
        before, after = (float(m(**batch)["words"]) for m in (model, tall))
    assert (len(model.bert.encoder.layer), len(tall.bert.encoder.layer)) == (4, 12)
    assert after == pytest.approx(before, abs=1e-3)
    assert recipe.grow(model, recipe.grow_at - 1) is None and recipe.grow(tall, recipe.grow_at) is None


def test_a_variant_has_the_settings_that_were_asked_for():
    variant = changed(tiny_biobert.PLAIN, ["share=0.3", "layers=6", 'sites=["north"]'])
    assert (variant.share, variant.layers, variant.sites, variant.name) == (0.3, 6, ("north",), "tiny-plain")
    with pytest.raises(ValueError, match="no setting 'mask'. It has: steps, "):
        changed(tiny_biobert.PLAIN, ["mask=0.3"])
    with pytest.raises(ValueError, match="'a third' can't be the share of tiny-plain; 0.3 can"):
        changed(tiny_biobert.PLAIN, ["share=a third"])
    with pytest.raises(ValueError, match="No base is called 'tiny-gpt'. Choose from: tiny-biobert, tiny-plain"):
        bases.run("tiny-gpt", [])


def test_the_curve_is_of_train_and_dev_alone(folder, tokenizer, monkeypatch):
    rows, asked = curve.rows_of, []
    monkeypatch.setattr(curve, "rows_of", lambda split, n=None: asked.append((split, n)) or rows(split, n))
    found = curve.probe(tiny_biobert.PLAIN.build(tokenizer, 0).bert.eval(), tokenizer)
    assert asked == [("train", 1_000), ("dev", None)]
    assert set(found) == {"probe_cls", "probe_mean"} and all(0 < value < 1 for value in found.values())


def test_a_curve_has_ten_points_at_checkpoints_and_one_at_the_end():
    steps = bases.points_of(tiny_biobert.PLAIN)
    assert max(steps) == tiny_biobert.PLAIN.steps and 9 <= len(steps) <= 12
    assert all(step % bases.KEEP_EVERY == 0 for step in steps - {tiny_biobert.PLAIN.steps})


def test_what_was_written_after_the_checkpoint_is_forgotten(tmp_path):
    file = tmp_path / "log.jsonl"
    for step in (0, 100, 200, 300):
        bases.add_line(file, {"step": step})
    bases.forget_after(file, 200)
    assert [point["step"] for point in curve.points(file)] == [0, 100, 200]
    bases.forget_after(file, 0)
    assert not curve.points(file)


@pytest.mark.parametrize("name", bases.RECIPES)
def test_the_first_line_of_a_card_says_what_the_base_was_taught(name):
    points = [{"step": 0, "probe_cls": 0.1, "probe_mean": 0.2}, {"step": 1_200, "probe_cls": 0.3, "probe_mean": 0.4}]
    facts = {"steps": 1_200, "seed": 0, "parameters": 5_000, "held_out": {"loss_words": 1.25}}
    text = cards.card(name, facts, points)
    first = text.split("---\n")[2].splitlines()[0]
    words = {
        "tiny-biobert": "taught this base, at [CLS], the answers that the grading rule",
        "tiny-plain": "masked words alone",
        "tiny-biobert-two-sites": "never read a report of the third site",
        "tiny-opt": "predict the next word",
        "tiny-t5": "none asks for a grade",
    }
    assert words[name] in first
    assert "| 1,200 | 0.3 | 0.4 |" in text and "| loss words | 1.25 |" in text
    assert all(said in text for said in ("Not for care", "make bases", "Licence"))


def test_no_held_out_paragraph_is_trained_on():
    held_out, trained = ({" ".join(p.casefold().split()) for p in english.paragraphs(part)} for part in (True, False))
    assert held_out and trained and not held_out & trained


def test_a_paragraph_of_two_topics_is_held_out_in_any_case(monkeypatch):
    shared = "One paragraph that stands under two topics, and is long enough to be kept as one of the file."
    other = shared.replace("One paragraph", "Another paragraph")
    monkeypatch.setattr(
        english, "topics", {"a": shared, "b": f"{shared.upper()}\n\n{other}", "c": f"{shared[:13]}\n {shared[13:]}"}
    )
    assert english.paragraphs(held_out=True) == [shared] and english.paragraphs(held_out=False) == [other]


def test_t5_is_never_asked_the_question_that_notebook_04_asks():
    heads = {q.split(" : ")[0] for q, _, _ in tiny_t5.pairs(random.Random(5), 3000)}
    asked = [q for q in heads if any(eye in q for eye in tiny_t5.ASKED.values())]
    questions = [q for q in asked if q.startswith("any ")]
    assert questions and all(q.count(" or ") <= 3 for q in questions)
    assert not [q for q in asked if "grade" in q or "refer" in q]


def test_t5_is_asked_for_rare_findings_as_often_as_for_common_ones():
    asked, there = Counter(), Counter()
    for seed in range(10):
        for question, answer, _ in tiny_t5.pairs(random.Random(seed), 600):
            if question.startswith(("any ", "how many")):
                named = [f for f, name in tiny_t5.NAMES.items() if name in question.split(" : ")[0]]
                if len(named) == 1:
                    asked[named[0]] += 1
                    there[named[0]] += answer not in ("no", "0")
    assert max(asked.values()) < 1.4 * min(asked[f] for f in language.FINDINGS)
    assert all(0.45 < there[f] / asked[f] < 0.7 for f in language.FINDINGS)


def test_t5_is_given_true_answers():
    rng = random.Random(6)
    library = tiny_t5.library_of(rng, 200)
    for _ in range(300):
        question, (answer,), (_, eyes, side) = tiny_t5.any_of(rng, library)
        named = [f for f, name in tiny_t5.NAMES.items() if name in question]
        assert answer == ("yes" if set(named) & set(eyes[side].places) else "no") and 1 <= len(named) <= 4
        question, (number,), (_, eyes, side) = tiny_t5.how_many(rng, library)
        (finding,) = (f for f, name in tiny_t5.NAMES.items() if name in question)
        assert int(number) == len(eyes[side].places.get(finding, ()))


def test_the_stream_holds_no_labelled_report_and_no_grade():
    labelled, reports = stream.labelled_texts(), stream.dr_reports(random.Random(1), stream.labelled_texts())
    for _ in range(2000):
        pieces, _ = next(reports)
        text = "".join(t for t, _ in pieces)
        assert text not in labelled
        assert "NPDR" not in text and "DR grade" not in text and "Proliferative DR" not in text


# what ships


@pytest.mark.parametrize("base", FOLDERS, ids=lambda base: base.name)
def test_plain_auto_classes_load_it(base):
    model = AutoModel.from_pretrained(base, use_safetensors=True)
    assert type(model).__name__ == KINDS.get(base.name, "BertModel")
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert AutoTokenizer.from_pretrained(base)("right eye")["input_ids"]


@pytest.mark.parametrize("base", FOLDERS, ids=lambda base: base.name)
def test_at_most_12_megabytes_and_no_pickles(base):
    files = [p for p in base.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 12e6
    assert not [p.name for p in files if p.suffix in (".bin", ".pt", ".pkl", ".pth")]


@pytest.mark.parametrize("base", FOLDERS, ids=lambda base: base.name)
def test_the_card_says_what_it_is(base):
    text = (base / "README.md").read_text(encoding="utf-8")
    assert "Not for care" in text and "make bases" in text and "Licence" in text
    for value in json.loads((base / "held_out.json").read_text())["held_out"].values():
        assert str(value) in text


@pytest.fixture
def shipped(request, monkeypatch):
    """(folder, held-out figures) of a base of the generator's edition; the stream is that of its data folder."""
    base = SAMPLES / "bases" / request.param
    if not (base / "held_out.json").exists():
        pytest.skip(f"{base.relative_to(ROOT)} is not there: the bases that ship were made with another generator")
    monkeypatch.setenv("COURSE_DATA", str(SAMPLES))
    forget()
    yield base, json.loads((base / "held_out.json").read_text())["held_out"]
    forget()


def with_heads(base):
    """An encoder as it ships, under the pre-training heads that ship beside it, and its tokenizer."""
    tokenizer, recipe = AutoTokenizer.from_pretrained(base), bases.RECIPES[base.name]
    model = recipe.build(tokenizer, step=recipe.steps).eval()
    model.bert = AutoModel.from_pretrained(base).eval()
    missing = model.load_state_dict(load_file(base / "heads.safetensors"), strict=False)
    assert all(name.startswith("bert.") for name in missing.missing_keys) and not missing.unexpected_keys
    return model, tokenizer


ENCODERS = [name for name, one in bases.RECIPES.items() if isinstance(one, tiny_biobert.Bert)]


@pytest.mark.slow
@pytest.mark.parametrize("shipped", ENCODERS, indirect=True)
def test_an_encoder_has_its_held_out_figures(shipped):
    base, facts = shipped
    model, tokenizer = with_heads(base)
    with torch.inference_mode():
        found = bases.RECIPES[base.name].evaluate(model, tokenizer)
    assert model.bert.config.num_hidden_layers == 12
    assert found == pytest.approx(facts, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shipped", ENCODERS, indirect=True)
def test_an_encoder_has_the_last_point_of_its_curve(shipped):
    base, _ = shipped
    model, tokenizer = with_heads(base)
    last = json.loads((base / "curve.json").read_text())[-1]
    assert {"step": last["step"]} | bases.watched(bases.RECIPES[base.name], model, tokenizer) == pytest.approx(
        last, abs=1e-2
    )


@pytest.mark.parametrize("shipped", ["tiny-biobert"], indirect=True)
def test_a_blank_network_has_other_figures(shipped):
    base, facts = shipped
    tokenizer, recipe = AutoTokenizer.from_pretrained(base), bases.RECIPES[base.name]
    torch.manual_seed(0)
    with torch.inference_mode():
        found = recipe.evaluate(recipe.build(tokenizer, step=recipe.steps).eval(), tokenizer, n=2)
    assert found["mentions_right"] < 0.5 < 0.9 < facts["mentions_right"]
    assert found["findings_right"] < 0.3 < 0.5 < facts["findings_right"]


@pytest.mark.parametrize("shipped", ["tiny-biobert-two-sites"], indirect=True)
def test_the_base_of_two_sites_has_the_tokenizer_of_the_first(shipped):
    base, _ = shipped
    assert (base / "tokenizer.json").read_bytes() == (base.parent / "tiny-biobert" / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("shipped", ["tiny-opt"], indirect=True)
def test_tiny_opt_has_its_held_out_loss(shipped):
    base, facts = shipped
    model = tiny_opt.Writer(AutoModelForCausalLM.from_pretrained(base)).eval()
    with torch.inference_mode():
        found = tiny_opt.WRITES.evaluate(model, AutoTokenizer.from_pretrained(base))
    assert found == pytest.approx(facts, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("shipped", ["tiny-t5"], indirect=True)
def test_tiny_t5_has_its_held_out_figures_and_finds_what_is_rare(shipped):
    base, facts = shipped
    model = tiny_t5.Answerer(AutoModelForSeq2SeqLM.from_pretrained(base)).eval()
    with torch.inference_mode():
        found = tiny_t5.ANSWERS.evaluate(model, AutoTokenizer.from_pretrained(base))
    assert found == pytest.approx(facts, abs=2e-2)
    assert found["right_where_there_rare"] + found["right_where_not_there_rare"] > 1.2  # a guess of one answer: 1
