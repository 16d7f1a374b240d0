"""What the notebooks' prose says is held to the data, the budgets, the stored outputs and the plans of the long runs.

A notebook works out its verdicts from what was measured, so little is left that only its prose says. Each such sentence is held
here by its own words: if they are no longer there, its test says so.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import transformers

import stored
from course_utils import adapt, context, data, figures, leaks, metrics, models, paths, results, terms
from course_utils.authoring import bands, compare
from course_utils.experiments import losses, methods, onnx, practice, preparation, prompts, rivals, runs, stages

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
CHAPTERS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def sizes():
    reports = data.load_reports()
    return {name: len(rows) for name, rows in reports.items()} | {"all": sum(map(len, reports.values()))}


def prose(path):
    return "\n".join(cell.source for cell in stored.cells(path, "markdown"))


def code(path):
    return "\n".join(cell.source for cell in stored.cells(path, "code"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_quoted_sizes_are_the_data_s(path, sizes):
    text = prose(path)
    assert f"{sizes['all']:,} *synthetic*" in text
    for split in ("dev", "test"):
        quoted = re.findall(rf"(\d+,\d{{3}}) {split}\b", text)  # of smaller numbers a notebook takes some
        assert all(number == f"{sizes[split]:,}" for number in quoted), (split, quoted)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_budget_in_the_glance_is_the_one_that_is_kept(path):
    seconds, memory = re.search(r"under (\d+) s and (?:under )?([\d,]+) MB", prose(path)).groups()
    budget = re.search(r"report\(budget_s=(\d+), budget_mb=(\d+)\)", code(path)).groups()
    assert (seconds, memory.replace(",", "")) == budget


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_stored_run_kept_its_budget(path):
    cells = stored.cells(path, "code")
    line = "".join(o.get("text", "") for o in cells[-1].outputs)
    found = re.search(
        r"Time: ([\d.]+) s of processor time, of (\d+) s; [\d.]+ s by the clock; peak memory: (\d+) MB of (\d+) MB",
        line,
    )
    assert found, f"the last cell prints no timing line but {line!r}"
    seconds, budget_s, memory, budget_mb = map(float, found.groups())
    assert seconds <= budget_s and memory <= budget_mb


def says(notebook, *words):
    """Fail unless a notebook's prose holds these words, of which a test then shows that they are so."""
    (path,) = FOLDER.glob(f"{notebook}_*.ipynb")
    text = " ".join(prose(path).split())
    missing = [one for one in words if one not in text]
    assert not missing, f"notebook {notebook} no longer says {missing}: change or drop the test that holds it"


@pytest.fixture(scope="module")
def train():
    return data.load_reports()["train"].to_pandas()


def test_how_far_a_score_of_notebook_00_moves_is_what_was_seen():
    shipped = bands.load("00_start_here")
    seen = [float(text) for text in shipped["cells"]["after-score"]["moved"]["0"]["runs"]]
    said = f"In {len(seen)} runs with other arithmetic, threads and seeds, the macro F1 after training lay between"
    says("00", f"{said} {min(seen):.2f} and {max(seen):.2f}")


def test_what_notebook_00_says_of_reports_holds(train):
    says("00", "Most reports list findings and name no conclusion, and a short report is mostly that of a healthy eye.")
    concluding = [leaks.stated_grade(*one) is not None for one in zip(train["text"], train["eye"], strict=True)]
    short = train.loc[train["text"].str.len() <= 40, "grade"]
    assert np.mean(concluding) < 0.1 and len(short) > 100 and (short == 0).mean() > 0.6
    says("00", "With treatment, or oedema (a swelling), an eye is never 0.")
    assert (train.loc[(train["dme"] != "none") | (train["treated"] != "none"), "grade"] > 0).all()
    says("00", "(NPDR, *non*-proliferative DR, is the name of grades 1 to 3.)", "The long runs of later notebooks")
    assert set(train.loc[train["impression"].str.contains("NPDR"), "grade"]) == {1, 2, 3}
    assert len(methods.METHODS[methods.FULL].tried) > 1 and runs.LONG >= 3
    says("00", "The lazy answer is right for about half of the eyes.")
    assert 0.45 < (np.array(data.load_reports()["dev"]["grade"]) == 0).mean() < 0.55


def test_what_notebook_02_says_of_the_writers_rate_is_so():
    says("02", "The writer's rate is an end of what was tried: a higher one, or more steps, may do better.")
    runs = pd.DataFrame(results.shipped("opt_runs")["runs"]).query("end and seed == 0")
    largest = runs[runs["reports"] == runs["reports"].max()]
    assert largest.loc[largest["dev"].idxmin(), "lr"] == largest["lr"].max() and largest["lr"].nunique() > 1


def test_what_notebook_01_says_of_the_long_runs_is_how_they_are_made():
    says("01", "Here and in the long runs a method with settings gets four tries on dev", "had four tries")
    tried = {name: one.tried for name, one in (methods.METHODS | rivals.RIVALS).items()}
    assert all(len(some) == 4 for some in tried.values())
    says("01", "Where two values were tried, as of `C`, the better one is an end of what was tried")
    assert len({one["strength"] for one in tried[methods.COUNTS]}) == 2
    says("01", "It has no base, so its runs are the same in both figures")
    found = pd.DataFrame(results.shipped("base_benchmark")["runs"]).query("method == @methods.RANDOM")
    by_base = [own.set_index(["labels", "seed"])["macro_f1"] for _, own in found.groupby("base")]
    assert len(by_base) == 2 and by_base[0].equals(by_base[1])


def test_what_notebook_02_says_of_the_curve_is_how_it_is_measured():
    says("02", "Learning rates were chosen on dev with 1,000 labels, and epochs fall as labels grow.")
    assert methods.CHOSEN_AT == 1_000
    epochs = {int(size): times for size, times in results.shipped("full_runs")["epochs"].items()}
    in_order = [epochs[size] for size in sorted(epochs)]
    assert in_order == sorted(in_order, reverse=True) and in_order[0] > in_order[-1]
    says("02", "From 250 to 1,000 labels a model reads equally many rows in all; past that, more.")
    readings = {size: size * times for size, times in epochs.items()}
    assert len({of for size, of in readings.items() if 250 <= size <= 1_000}) == 1
    assert min(of for size, of in readings.items() if size > 1_000) > readings[1_000]
    says("02", "the last two layers")
    assert adapt.LAST == 2
    told = {(line["base"], line["labels"], line["second"]) for line in results.shipped("full_runs")["verdicts"]}
    rivals_at = {one: methods.sizes(one) for one in (methods.COUNTS, *methods.LIGHTER)}
    assert told == {
        (base, n, f"{one}, {n:,} labels") for base in methods.BASES for one, sizes in rivals_at.items() for n in sizes
    }


def code_of(notebook, cell):
    """Return the code of a cell of a chapter."""
    (path,) = FOLDER.glob(f"{notebook}_*.ipynb")
    (found,) = [one.source for one in stored.cells(path, "code") if one["id"] == cell]
    return found


@pytest.mark.parametrize(
    ("won", "measured", "verdict"),
    [
        (
            lambda rival, n: False,
            "each of these at none of 2 sizes",
            "not refuted, all weights do not come to beat TF-IDF",
        ),
        (
            lambda rival, n: (rival, n) in {("LoRA", 500), ("last layers", 100)},
            "last layers at 1 of 2 sizes (not the largest), LoRA from 500 labels on",
            "frozen base + linear probe, last layers with up to 500 labels",
        ),
        (lambda rival, n: n == 500, "each of these from 500 labels on", "wrong, all weights win from 500 labels on"),
        (lambda rival, n: True, "each of these from 100 labels on", "wrong, all weights win from 100 labels on"),
    ],
)
def test_the_verdict_of_notebook_02_on_the_article_turns_with_what_was_measured(monkeypatch, won, measured, verdict):
    rivals_of = (methods.COUNTS, *methods.LIGHTER)
    cases = [(rival, n) for rival in rivals_of for n in (100, 500)]
    lines = [
        {"base": "tiny-plain", "labels": n, "second": f"{rival}, {n} labels", "difference": "0.1 [0.0, 0.2]"}
        | {"verdict": f"full fine-tuning is {'better' if won(rival, n) else 'worse'} than {rival}, with 9 rows"}
        for rival, n in cases
    ]
    run = {"base": "tiny-plain", "method": methods.FULL, "seed": 0}
    runs_of = [run | {"labels": n, "macro_f1": n / 1000} for n in (100, 500)]
    shipped = {"verdicts": lines, "runs": runs_of, "epochs": {"100": 2, "500": 1}, "recipes": []}
    told = []
    monkeypatch.setattr(results, "shipped", lambda name: shipped)
    monkeypatch.setattr(results, "ledger", lambda *_, **line: told.append(line))
    graded = metrics.Interval(0.5, 0.4, 0.6)
    space = {"results": results, "pd": pd, "figures": figures, "BASE": "tiny-plain", "graded": graded}
    space |= {"labelled": [0], "watched": [0]}
    monkeypatch.setattr(figures, "show", lambda figure, text: None)
    for cell in ("enough", "enough-figure", "ledger"):
        exec(code_of("02", cell), space)
    assert measured in told[0]["measured"] and verdict in told[0]["verdict"]


def test_what_notebook_03_says_of_its_share_of_weights_is_so():
    """Its title counts LoRA and the head, as its first section does."""
    says("03", "train three weights in a hundred")
    model = models.grader(models.base("tiny-biobert"), seed=0)[0]
    adapted = 2 * model.config.num_hidden_layers * 2 * 8 * model.config.hidden_size  # query and value, A and B, rank 8
    head = sum(p.numel() for p in model.classifier.parameters())
    assert round(100 * (adapted + head) / (models.count_parameters(model)[1] + adapted)) == 3


def test_what_notebook_03_says_of_other_sizes_is_how_they_are_measured():
    says("03", "the share at other numbers of labels, each method at the rate that it got above")
    chosen = {(one["base"], one["method"]): one["chosen"] for one in results.shipped("lora_runs")["recipes"]}
    both = [run for run in results.shipped("full_runs")["runs"] if run["method"] in ("LoRA", "full fine-tuning")]
    assert {run["labels"] for run in both if run["method"] == "LoRA"} >= {100, 1_000}
    assert all(run["lr"] == chosen[run["base"], run["method"]]["lr"] for run in both)


def test_what_notebook_04_says_of_prompts_is_how_they_are_measured():
    says(
        "04",
        "with less than half a percent of the parameters",
        "several seeds each, and the best of four settings on dev",
        "a prompt's start was not among them",
        "*50 rows* is a longer prompt with more labels",
        "it had thousands of times as many weights",
    )
    assert all(len(tried) == 4 for tried in prompts.TRIED.values())
    prompted = prompts.size(prompts.peft.get_peft_model(prompts.load()[0], prompts.soft_prompt()))
    assert prompted["trainable"] < 0.005 * prompted["total"]
    assert prompted["total"] < 11e9 / 2000  # the largest T5 has 11e9
    assert prompts.LONG[0] > prompts.LABELS and prompts.LONG[2]["tokens"] == 50
    # each comparison that its cell `why` and its ledger look up is one that is made
    probes = ("probe on the encoder's mean", "probe on the state that answers")
    asked = {(one, "prompt tuning") for one in probes} | {(probes[0], "full fine-tuning")}
    against = ("untuned prompt, vocabulary", "text prompt", "LoRA", "full fine-tuning")
    asked |= {("prompt tuning", other) for other in against}
    asked |= {(prompts.FROM_WORDS, other) for other in ("untuned prompt, text", "text prompt")}
    four = "text prompt, four questions"
    asked |= {("prompt tuning, four questions", other) for other in (four, "text prompt")} | {
        (prompts.THRESHOLDS, four)
    }
    assert asked <= set(prompts.PAIRS)
    shipped = results.shipped("prompt_runs")
    tested = pd.DataFrame(shipped["tested"]).groupby("name")["seed"].nunique()
    assert (tested[list(prompts.TRIED)] >= len(runs.SEEDS)).all()
    assert len(shipped["verdicts"]) == len(prompts.PAIRS)
    says("04", "prompt tuning and P-tuning have rates at an end of what was tried")
    dev = pd.DataFrame([run for run in shipped["tried"] if run["method"] in prompts.TRIED])
    best = dev.groupby(["method", "lr"])["dev"].mean().unstack().idxmax(axis=1)
    assert {one for one in best.index if best[one] in (min(prompts.TRIED[one]), max(prompts.TRIED[one]))} == {
        "prompt tuning",
        "P-tuning",
    }


def test_what_notebook_04_says_of_the_settings_is_how_they_are_measured():
    says("04", "Several seeds for each value", "on the whole of dev", "Lester et al. used 0.3")
    swept = pd.DataFrame(results.shipped("prompt_runs")["swept"])
    assert set(swept["varied"]) == set(prompts.VARIED)
    for what, values in prompts.VARIED.items():
        seeds = swept[swept["varied"] == what].groupby(what)["seed"].nunique()
        assert set(seeds.index) == set(values) and seeds.min() >= len(runs.SEEDS)


def test_what_notebook_07_says_of_its_steps_is_how_they_are_measured():
    says(
        "07",
        "*raw, twice* is raw with twice the epochs",
        "1,000 labels, several seeds",
        "on both bases and for word counts",
    )
    assert preparation.VARIANTS[preparation.TWICE][0] == 2 and preparation.LABELS == 1_000
    shipped = results.shipped("preparation_runs")
    told = {(line["base"], line["first"], line["second"]) for line in shipped["verdicts"]}
    assert {base for base, _, _ in told} == {*methods.BASES, methods.NO_BASE} and len(told) == len(shipped["verdicts"])
    steps = ("normalised", "English cues", "augmented", "marked", "all")
    assert {(base, step, preparation.RAW) for base, _, _ in told for step in steps} <= told
    # the verdicts may hold each step against either raw model, for the better one is chosen on dev
    worth = {"normalised", "augmented", "marked", "all"}
    assert {(base, step, preparation.TWICE) for base in methods.BASES for step in worth} <= told
    says("07", "about as many steps as the augmented ones, which have nearly twice the rows")
    assert all(0.8 * preparation.LABELS < one["copies"] <= preparation.LABELS for one in shipped["orders"])
    says("07", "What is left of the synonyms?", "Nearly nothing", "Most copies are their original again")
    assert all(one["survive"] < 0.05 * one["replaced"] for one in shipped["orders"])


def test_what_notebook_07_says_of_the_sets_of_mentions_is_so():
    says("07", "560 *synthetic* mentions", "all 180 of dev", "judged on 180 others", "A third set holds 200 mentions")
    sizes = {name: sum(map(len, context.mentions(name).spans)) for name in ("dev", "test", "notes")}
    assert sizes == {"dev": 180, "test": 180, "notes": 200}


def test_what_notebook_07_says_of_the_engines_is_what_was_measured():
    says(
        "07",
        "**Dev flatters** the engine whose cues were written there",
        "on the one-line notes our cues scored otherwise",
    )
    shipped = results.shipped("context_runs")
    right = {(row["method"], row["task"].split(", ")[1]): row["value"] for row in shipped["rows"]}
    assert right["negspacy", "clinical dev"] > right["negspacy", "clinical test"]
    assert abs(right["negspacy", "clinical notes"] - right["negspacy", "clinical test"]) > 0.05
    says("07", "The plain lines are right far more often on the generator's reports than on the sentences of test.")
    assert right["plain", "generator"] > right["plain", "clinical test"] + 0.1


def test_what_notebook_07_says_of_longer_reports_is_so(train):
    says("07", "abbreviations become words, so some reports grow")
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    texts = train.loc[train["site"] == "harbour", "text"].head(400).tolist()
    before, after = (
        np.array([len(ids) for ids in tokenizer(some)["input_ids"]])
        for some in (texts, [terms.normalise(text) for text in texts])
    )
    assert (after > before).mean() > 0.5


def printed_by(notebook, cell):
    """Return what a stored cell of a chapter prints."""
    cells = stored.read(FOLDER / f"{notebook}.ipynb").cells
    return "".join(output.get("text", "") for one in cells if one.id == cell for output in one.outputs)


def in_every_run(notebook, cell):
    """Return what a cell of a chapter printed in each run of `make spread`, the stored text among them."""
    stored = printed_by(notebook, cell)
    words, numbers = compare.NUMBER.split(stored), compare.NUMBER.findall(stored)
    moved = bands.load(notebook)["cells"][cell].get("moved", {})
    texts = [stored]
    for run in range(len(bands.load(notebook)["runs"])):
        own = [moved[str(i)]["runs"][run] if str(i) in moved else number for i, number in enumerate(numbers)]
        texts.append("".join(part for pair in zip(words, [*own, ""], strict=True) for part in pair))
    return texts


def test_what_notebook_09_says_of_the_second_stage_is_how_it_is_measured():
    says(
        "09",
        "trains all weights on 5,000 labelled reports",
        "`tiny-biobert-two-sites` at the first two",
        "on three bases",
    )
    assert (stages.FIRST, stages.SECOND, len(stages.BASES)) == (5_000, 500, 3)
    says(
        "09",
        "makes 5,000 readings of all, twice at least; in the long runs three times",
        "each seen five times: half as often as in the long runs",
    )
    assert (runs.READINGS, runs.FEWEST, runs.epochs(stages.SECOND)) == (5_000, 3, 2 * 5)
    shipped = results.shipped("stage_runs")
    told = {(line["base"], line["where"], line["first"], line["second"]) for line in shipped["verdicts"]}
    rivals = (stages.STAGE_1, stages.ONE_STAGE, "two stages, every weight", methods.PROBE, methods.COUNTS)
    pairs = {frozenset((base, place, one, other)) for base, place, one, other in told}
    asked = {(base, "the new site", stages.ARTICLE, rival) for base in stages.BASES for rival in rivals}
    asked |= {(base, "the first sites", stages.ARTICLE, stages.STAGE_1) for base in stages.BASES}
    assert {frozenset(one) for one in asked} <= pairs and len(pairs) == len(told)  # a pair is compared one way round
    says("09", "the first sites, which are three quarters of the eyes")
    test = np.array(data.load_reports()["test"]["site"])
    assert round(4 * (test != stages.NEW_SITE).mean()) == 3
    says("09", "First every way against **stage 1 alone**, on the base that settles it.")
    settles = "tiny-biobert-two-sites"
    ways = {row["method"] for row in shipped["rows"] if row["base"] == settles} - {stages.STAGE_1}
    assert {(settles, place, way, stages.STAGE_1) for way in ways for place in stages.places()} <= told
    says("09", "Some ways were run on the first base only.")
    first = {row["method"] for row in shipped["rows"] if row["base"] == stages.BASES[0]}
    assert first - ways - {stages.STAGE_1} == set(stages.FIRST_BASE_ALONE)


def test_what_notebook_09_says_of_the_losses_is_how_they_are_measured():
    says("09", "The long runs have 1,000 labels", "of four tries", "class weights", "Two measures know the order")
    assert losses.LABELS == 1_000 and all(len(losses.tries(methods.BASES[0], loss)) == 4 for loss in losses.LOSSES)
    shipped = results.shipped("loss_runs")
    told = {(line["base"], line["first"], line["measure"]) for line in shipped["verdicts"]}
    assert told == {(b, loss, m) for b in methods.BASES for loss in losses.LOSSES for m in losses.MEASURES}
    assert {"kappa", "MAE", "specificity, grade 2 or more"} < set(losses.MEASURES)
    each = {(run["base"], run["loss"]) for run in shipped["tested"]}  # a verdict asks every seed
    assert each == {(base, loss) for base in methods.BASES for loss in (losses.PLAIN, *losses.LOSSES)}


def test_what_notebook_10_says_of_its_grader_holds_in_every_run():
    says("10", "So the grader of this notebook ships with its weights")
    name = "10_judge_a_grader"
    least = re.search(r"found least often is grade (\d)", printed_by(name, "guess"))[1]
    for said in in_every_run(name, "grades"):
        recall = dict(re.findall(r"^(\d) .* \d+/\d+ = ([\d.]+) +[\d.]+$", said, re.MULTILINE))
        assert len(recall) == 5 and min(recall, key=lambda grade: float(recall[grade])) == least
    says("10", "Each line says what became of a promise.")
    what = r"chosen on (\w+), wanted ([\d.]+): sensitivity .*: (?:kept|broken|can't tell if kept);"
    wanted = re.findall(what, printed_by(name, "curves"))
    assert wanted == [(part, share) for part in ("dev", "dev_unseen") for share in ("0.95", "0.99")]


def test_what_notebook_10_says_of_language_and_words_is_so(train):
    says("10", "Only one site writes Chinese: language and site are one column here.")
    assert set(train.loc[train["language"] == "zh", "site"]) == {"delta"} == set(train["site"]) - {"north", "harbour"}
    assert set(train.loc[train["site"] == "delta", "language"]) == {"zh"}
    says("10", "Reports are short, middle or long for their site, since Chinese takes fewer characters.")
    length = train["text"].str.len().groupby(train["site"]).median()
    assert length["delta"] < length.drop("delta").min()
    says("10", "`dev_unseen` holds other such words, to choose on.")
    parts, known = data.load_reports(), words(train["text"])
    unseen = {part: words(parts[part]["text"]) - known for part in ("dev", "dev_unseen", "test")}
    assert not unseen["dev"] and unseen["dev_unseen"] and unseen["test"] - unseen["dev_unseen"]


def words(texts):
    """Return the English words of texts in small letters, and each Chinese character."""
    return set(re.findall(r"[\u4e00-\u9fff]|[a-z']+", " ".join(texts).lower()))


def test_what_notebook_11_says_of_each_practice_is_what_was_measured():
    says("11", "**Length grouping** alone has nothing to save", "The same gradient, from fewer activations")
    alone = pd.DataFrame(results.shipped("practice_runs")["alone"])
    assert set(alone["practice"]) == set(practice.ALONE)
    grouped, plain = (alone[alone["practice"] == name] for name in ("length grouping", practice.BASELINE))
    assert set(grouped["padding"]) <= set(plain["padding"]) and grouped["times"].min() < 1 < grouped["times"].max()
    assert alone.loc[alone["practice"] == "gradient checkpointing", "loss_off"].max() < 1e-3
    says("11", "The long run took three with `tiny-biobert` and two at BioBERT's own size")
    turns = alone.groupby(["shape", "practice"]).size()
    assert set(turns["tiny-biobert"]) == {3} and set(turns["BioBERT"]) == {2}
    says("11", "its first step, a minute or two, is not counted")
    compiled = alone.loc[alone["practice"] == "torch.compile", "first_step_s"]
    assert compiled.between(30, 180).all()


def test_what_notebook_11_says_of_both_settings_is_how_they_are_measured():
    says("11", "the same labels, epochs, batches of 8 and one thread, on `tiny-biobert`")
    whole = results.shipped("practice_runs")["whole"]
    assert {run["whole"] for run in whole["runs"]} == set(practice.WHOLE)
    assert {run["base"] for run in whole["runs"]} == {"tiny-biobert"} and whole["ratios"]
    assert practice.WHOLE["our settings"].get("batch_size") == practice.PADDED.get("batch_size")


def test_what_notebook_11_says_of_early_stopping_is_so():
    says(
        "11",
        "With the article's three epochs, a patience of 3 never stops anything.",
        "two against five planned epochs",
    )
    stopping = results.shipped("practice_runs")["stopping"]
    says("11", "The long run has 250 labels, 250 dev reports and a patience of 3; it went on to epoch 20")
    assert stopping["patience"] == practice.PATIENCE == 3 and stopping["dev"] == practice.FEW == 250
    says("11", "The steady rate on `tiny-biobert` is the smallest that was tried.")
    assert stopping["rates"]["tiny-biobert"]["steady rate, 20 epochs"] == min(stopping["tried"])
    told = {(line["first"], line["second"]) for line in stopping["verdicts"]}
    stopped = {(f"20 epochs, stopped by {by}", "20 epochs") for by in ("loss", "macro F1")}
    stopped |= {(f"steady rate, stopped by {by}", "steady rate, 20 epochs") for by in ("loss", "macro F1")}
    planned = {("20 epochs, stopped by loss", "5 epochs"), ("steady rate, stopped by loss", "5 epochs")}
    others = {("20 epochs, dev labels too", "20 epochs"), ("steady rate, 20 epochs", "20 epochs")}
    assert stopped | planned | others <= told
    says(
        "11",
        "has the best of four learning rates",
        "or that learns from dev's labels or one reader's, has the rate of the plain run",
    )
    assert len(stopping["tried"]) == 4 and set(stopping["rates"]) == {run["base"] for run in stopping["runs"]}
    for rates in stopping["rates"].values():
        trainings = {(practice.ARMS[arm][:2], rate) for arm, rate in rates.items()}
        assert len(trainings) == 3 == len({training for training, _ in trainings})
    assert all(run["lr"] == stopping["rates"][run["base"]][run["arm"]] for run in stopping["runs"])
    says("11", "Look at the third: without `load_best_model_at_end` it *runs*.")
    printed = printed_by("11_train_better_for_less", "stop-broken").splitlines()
    assert printed[2].endswith(": runs") and "load_best_model_at_end" not in printed[2]


def test_what_notebook_11_asks_of_a_gpu_of_8_gb_is_a_need_that_was_measured():
    says(
        "11",
        "You get a GPU with 8 GB, and BioBERT in its true size with batches of 32 texts of some 500 tokens does not fit.",
    )
    shape = {"shape": "BioBERT", "method": "full fine-tuning", "precision": "float32", "batch": 32}
    steps = [
        run for run in results.shipped("gpu_runs")["training"] if shape.items() <= run.items() and not run["sharded"]
    ]
    assert steps and all(one["length"] > 480 and one["peak_mb"] - one["before_mb"] > 8 * 1024 for one in steps)


def test_what_notebook_11_says_of_packing_is_what_was_measured():
    says("11", "With the mask, packing computes what padding computes. A leak does not, and it shows")
    ratio = results.shipped("practice_runs")["packing"]["against_padded"]
    assert 0.99 < ratio["packed, masked"][1] < ratio["packed, masked"][2] < 1.01
    assert ratio["packed by the library"][1] > 1.01


def test_what_notebook_12_says_of_its_long_run_is_how_it_is_measured():
    says("12", "First ten settings on **dev**", "seeds 0 to 2", "`BATCH` is 1 or 8", "asked the service for a minute")
    assert len(onnx.SETTINGS) == 10 and runs.SEEDS == (0, 1, 2) and onnx.BATCHES == (1, 8)
    assert results.shipped("load_runs")["load"]["seconds"] == 60


def test_the_long_run_of_notebook_12_trains_its_graders_as_the_notebook_does():
    says("12", "`make results` trained three graders as above, from `tiny-biobert`")
    (path,) = FOLDER.glob("12_*.ipynb")
    assert f'BASE, LABELS = "{onnx.BASE}", {onnx.LABELS:_}' in code(path)
    epochs, rate = re.search(r"epochs=(\d+), lr=([\d.e-]+)\)", code(path)).groups()
    assert (int(epochs), float(rate)) == (onnx.EPOCHS, onnx.LR)


def test_each_line_of_the_article_s_section_4_has_a_measured_line():
    known = set(results.ledger_table()["id"])
    assert known >= {"C2", "C9", "C10", "C11", "C12", "C13", "23", "24", "26", "27", "28", "29"}
    engines = results.shipped("context_runs")["rows"]
    assert "medspacy" in {row["method"] for row in engines}


def test_what_the_readme_says_is_in_the_box_is_there(sizes):
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    reports = {one for part in data.load_reports().values() for one in part["report_id"]}
    assert (
        f"**{len(reports):,} synthetic reports** of diabetic retinopathy, {sizes['all']:,} graded eyes in all" in readme
    )
    assert f"**A lexicon** of {len(terms.lexicon())} forms" in readme and "**560 labelled mentions**" in readme
    bases = sorted(base.name for base in paths.bases().glob("*/"))
    assert "**Five small base models**" in readme and len(bases) == 5
    assert "of about 5 MB, with a card" in readme
    assert {round((base / "model.safetensors").stat().st_size / 1e6) for base in paths.bases().glob("*/")} == {5}
