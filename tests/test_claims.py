"""Numbers that the notebooks' prose quotes are held to the data, the budgets and the stored outputs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import transformers

import stored
from course_utils import data, models, results, terms
from course_utils.authoring import bands, compare

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
        quoted = re.findall(rf"([\d,]+) {split}\b", text)
        assert all(number == f"{sizes[split]:,}" for number in quoted), (split, quoted)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_the_budget_in_the_glance_is_the_one_that_is_kept(path):
    seconds, memory = re.search(r"under (\d+) s and under ([\d,]+) MB", prose(path)).groups()
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


def test_what_notebook_00_says_of_short_texts_holds_in_every_run():
    for text in in_every_run("00_start_here", "typed"):
        assert re.findall(r"grade (\d), with a chance of ([\d.]+)", text)
        assert all(
            grade == "0" and float(chance) > 0.6 for grade, chance in re.findall(r"grade (\d), .* of ([\d.]+)", text)
        )
        healthy, short = map(int, re.search(r"(\d+) of (\d+) are of an eye with grade 0", text).groups())
        assert healthy > 0.8 * short  # "nearly all are of healthy eyes"


def test_what_notebook_04_says_of_prompts_is_what_was_measured():
    shipped = results.shipped("prompt_runs")
    rows = {row["method"]: row for row in shipped["rows"]}
    told = {(line["first"].split(",")[0], line["second"]): line["verdict"] for line in shipped["verdicts"]}
    prompts = [row for method, row in rows.items() if "prompt" in method]
    for many in ("prompt tuning, 50 rows", "prompt tuning, four questions"):
        run = next(run for run in shipped["tested"] if run["name"] == many)
        assert run["trainable"] <= 0.005 * run["total"]
        assert rows[many]["low"] > max(rows["text prompt"]["high"], rows["majority class"]["high"])
    assert max(row["high"] for row in prompts) < min(rows["LoRA"]["low"], rows["full fine-tuning"]["low"])
    assert told["prompt tuning", "text prompt, four questions"].startswith("cannot tell")
    ten_rows = "cannot tell prompt tuning, 1,000 labels and text prompt apart"
    assert any(line["verdict"].startswith(ten_rows) for line in shipped["verdicts"])
    four = [np.array(run["auc_dev"]) for run in shipped["tested"] if "auc_dev" in run]
    assert max(abs(auc - four[0]).max() for auc in four) < 0.01  # tuning does not sort the reports better


def test_what_notebook_04_says_of_the_settings_is_what_was_measured():
    shipped = results.shipped("prompt_runs")
    median = {
        (what, value): np.median([r["dev"] for r in shipped["swept"] if r["varied"] == what and r[what] == value])
        for what in ("lr", "init", "tokens", "words")
        for value in {run[what] for run in shipped["swept"] if run["varied"] == what}
    }
    assert abs(median["lr", 3e-5] - median["lr", 1e-3]) < 0.02 < 0.1 < median["lr", 0.3] - median["lr", 1e-3]
    assert median["tokens", 1] < median["tokens", 10] < median["tokens", 25]
    assert np.ptp([value for (what, _), value in median.items() if what == "init"]) < 0.02


def test_what_notebook_09_says_of_the_second_stage_is_what_was_measured():
    shipped = results.shipped("stage_runs")
    told = {(line["where"], line["first"], line["second"]): line["verdict"] for line in shipped["verdicts"]}
    article, stage_1 = "two stages, LoRA on layers 11-12", "stage 1 alone"
    wide = ("two stages, LoRA on all layers", "two stages, every weight")
    new, first = "the new site", "the first sites"
    for second in (stage_1, "two stages, head alone", "two stages, LoRA on layer 12"):
        assert told[new, article, second].startswith("cannot tell")
    for method in (*wide, "one stage on everything"):
        assert told[new, method, stage_1].startswith(f"{method} is better than")
    for method in (article, *wide, "two stages, LoRA on layer 12", "two stages, head alone"):  # nothing is forgotten
        assert told[first, method, stage_1].startswith("cannot tell")
    probe = "frozen base + linear probe"
    assert told[first, probe, stage_1].startswith("cannot tell") and told[new, probe, stage_1].startswith(
        f"{probe} is better"
    )
    there = {row["method"]: row for row in shipped["rows"] if row["task"].endswith(new)}
    assert all(row["value"] < there[probe]["low"] for method, row in there.items() if method != probe)


def test_what_notebook_09_says_of_the_losses_is_what_was_measured():
    shipped = results.shipped("loss_runs")
    told = {(line["first"], line["measure"]): line["verdict"] for line in shipped["verdicts"]}
    measures = ("macro F1", "kappa", "MAE", "sensitivity")
    assert all(told["class weights", measure].startswith("cannot tell") for measure in measures)
    worse = "ordinal loss is worse than cross-entropy"
    assert [told["ordinal loss", measure].startswith(worse) for measure in measures] == [True, False, True, True]
    assert told["ordinal loss", "kappa"].startswith("cannot tell")


def test_what_notebook_07_says_of_its_steps_is_what_was_measured():
    shipped = results.shipped("preparation_runs")
    told = {(v["method"], v["labels"], v["first"], v["second"]): v["verdict"] for v in shipped["verdicts"]}
    tuned, counts = "full fine-tuning", "TF-IDF + logistic regression"
    for step in ("normalised", "augmented", "marked", "English cues"):
        assert told[tuned, 1000, step, "raw"].startswith("cannot tell")
    assert "all is better" in told[tuned, 1000, "all", "raw"]
    assert "is worse" in told[tuned, 1000, "raw, twice", "raw"]
    assert "is better" in told[tuned, 1000, "augmented", "raw, twice"]
    for step in ("normalised", "marked", "all"):
        assert "is better" in told[counts, 1000, step, "raw"]
    assert "is better" in told[counts, 1000, "marked", "English cues"]
    assert "is better" not in told[tuned, 250, "all", "raw, twice"]
    for method in (tuned, counts):
        order = told[method, 1000, "augmented, then normalised", "normalised, then augmented"]
        assert order.startswith("cannot tell")
    means = {row["method"]: row["value"] for row in shipped["rows"]}
    assert means[f"{tuned}, all"] - means[f"{tuned}, raw"] == pytest.approx(0.01, abs=0.005)
    assert means[f"{counts}, normalised"] - means[f"{counts}, raw"] == pytest.approx(0.07, abs=0.005)
    assert all(one["survive"] < 0.02 * one["replaced"] for one in shipped["orders"])
    assert len(shipped["verdicts"]) > 30


def test_what_notebook_07_says_of_the_engines_is_what_was_measured():
    shipped = results.shipped("context_runs")
    right = {(row["method"], row["task"].split(", ")[1]): row["value"] for row in shipped["rows"]}
    told = {
        (v["first"], v["second"], v["states"]): v["verdict"] for v in shipped["verdicts"] if v["set"] == "clinical test"
    }
    assert right["negspacy", "clinical dev"] > 0.95
    assert 0.15 < 1 - right["negspacy", "clinical test"] < 0.25  # "about two in ten are still wrong"
    for library in ("medspacy", "negspacy alone"):
        assert told[library, "plain", "negated"].startswith("cannot tell")
    assert "is better" in told["medspacy", "plain", "all"]
    assert told["negspacy alone", "plain", "all"].startswith("cannot tell")


def test_notebook_07_says_rightly_that_normalising_lengthens_harbour_by_a_third():
    tokenizer = transformers.AutoTokenizer.from_pretrained(models.base("tiny-biobert"))
    texts = [row["text"] for row in data.load_reports()["train"].select(range(2000)) if row["site"] == "harbour"]
    before, after = (
        sum(len(ids) for ids in tokenizer(some)["input_ids"]) for some in (texts, [terms.normalise(t) for t in texts])
    )
    assert 0.25 < after / before - 1 < 0.4


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


def test_what_notebook_09_says_of_its_own_run_holds_in_every_run():
    name = "09_grade_dr_in_two_stages"
    for said in in_every_run(name, "c1"):
        tuned = [float(share) for share in re.findall(r"= ([\d.]+)%", said)][1:]
        assert min(tuned) > 89  # "higher than the article's 89%"
    assert all("worse" not in said for said in in_every_run(name, "test-paired"))


def test_what_notebook_10_says_of_its_grader_holds_in_every_run():
    name = "10_judge_a_grader"
    for said, scored in zip(
        in_every_run(name, "confusion"), in_every_run("09_grade_dr_in_two_stages", "c1"), strict=True
    ):
        (right,) = re.findall(r"([\d,]+) on the diagonal", said)
        assert f"layers 11-12   {right}/" in scored  # "the same to the last digit" as notebook 09's
    least = re.search(r"least often is grade (\d)", printed_by(name, "guess"))[1]
    for said in in_every_run(name, "grades"):
        recall = dict(re.findall(r"^(\d) .* \d+/\d+ = ([\d.]+) +[\d.]+$", said, re.MULTILINE))
        assert len(recall) == 5 and min(recall, key=lambda grade: float(recall[grade])) == least
    for said in in_every_run(name, "sheet-check"):
        assert int(re.search(r"worst (\d+) hold", said)[1]) > 10  # "most of the worst hold a heading or a correction"
        heading = next(line for line in said.splitlines() if "heading" in line)
        with_it, without = map(int, re.findall(r"(\d+)/[\d,]+", heading.split("wrong on test")[1]))
        assert with_it < without  # "most wrong answers have no such heading"
    for said in in_every_run(name, "abstain"):
        wrong = {share: int(k) for share, k in re.findall(r"surest (\d+)%: (\d+)/", said)}
        assert 1 - wrong["90"] / wrong["100"] > 0.3  # "a large part of the errors goes with" the least sure tenth
    wanted = re.findall(r"wanted ([\d.]+): .*: (?:kept|broken|can't tell if kept);", printed_by(name, "curves"))
    assert wanted == ["0.95", "0.99"]  # "each line says what became of a promise"


def test_what_notebook_11_says_of_each_practice_is_what_was_measured():
    shipped = results.shipped("practice_runs")
    runs = pd.DataFrame(shipped["alone"])
    runs = runs[runs["practice"] != "the article's settings"]
    small, large = (
        rows.groupby("practice")[["times", "memory", "loss_off"]] for _, rows in runs.groupby("shape", sort=False)
    )
    least, most, middle = small.min(), small.max(), small.median()
    assert (
        least.loc["dynamic padding", "times"]
        > 5 * most.drop(index=["dynamic padding", "dynamic padding and length grouping"])["times"].max()
    )
    assert least.loc["length grouping", "times"] > 0.9 and most.loc["length grouping", "times"] < 1.1
    assert least.loc["dynamic padding and length grouping", "times"] > most.loc["dynamic padding", "times"]
    for practice in ("gradient checkpointing", "accumulation, 8 = 2 x 4"):
        assert most.loc[practice, "memory"] < 0.9
    assert round(middle.loc["gradient checkpointing", "times"], 2) == 0.73  # about 4/3 of the time
    assert middle.loc["accumulation, 8 = 2 x 4", "times"] > 0.9
    assert least.loc["batches of 32", "memory"] > 1.5 and most.loc["batches of 32", "times"] < 1
    assert most.loc[["gradient checkpointing", "dynamic padding"], "loss_off"].max() < 1e-3  # the same training
    assert 0.95 < middle.loc["bfloat16", "times"] < 1.1 and large.min().loc["bfloat16", "times"] > 1.5
    for found in (small, large):  # "no gain that we can tell from noise"
        assert found.min().loc["torch.compile", "times"] < 1 < found.max().loc["torch.compile", "times"] < 1.2
    assert large.max().loc["gradient checkpointing", "memory"] < 0.5
    assert large.min().loc["accumulation, 8 = 2 x 4", "times"] > 1
    assert runs[runs["practice"] == "torch.compile"]["first_step_s"].min() > 20


def test_what_notebook_11_says_of_both_settings_is_what_was_measured():
    whole = results.shipped("practice_runs")["whole"]
    assert whole["verdict"]["verdict"].startswith("cannot tell")
    assert all(ratio["times"] > 8 and 1.2 < ratio["memory"] < 1.45 for ratio in whole["ratios"])


def test_what_notebook_11_says_of_early_stopping_is_what_was_measured():
    stopping = results.shipped("practice_runs")["stopping"]
    told = {(v["labels"], v["measure"], v["first"], v["second"]): v["verdict"] for v in stopping["verdicts"]}
    both = ("adjudicated labels", "one reader's labels")
    by_loss, by_f1 = "20 epochs, stopped by loss", "20 epochs, stopped by macro F1"
    for labels in both:
        for arm in ("20 epochs", by_loss, by_f1):
            assert "is worse" in told[labels, "share right", arm, "5 epochs"]
        for measure in ("macro F1", "share right"):
            assert "is better" in told[labels, measure, "5 epochs, dev labels too", "5 epochs"]
    assert "is worse" in told[both[0], "macro F1", by_f1, "20 epochs"]
    assert told[both[1], "macro F1", by_f1, "20 epochs"].startswith("cannot tell")
    assert "is better" in told[both[1], "share right", by_loss, "20 epochs"]
    assert "is worse" in told[both[1], "macro F1", by_loss, "20 epochs"]
    assert stopping["patience"] == 3


def test_what_notebook_11_says_of_packing_is_what_was_measured():
    packing = results.shipped("practice_runs")["packing"]
    ratio = packing["against_padded"]
    speed = pd.DataFrame(packing["runs"]).groupby("collator")["reports_s"].median()
    assert ratio["packed, masked"][2] < 1.005 and 1.3 < speed["packed, masked"] / speed["padded"] < 1.6
    assert ratio["packed by the library"][1] > 1.2 and ratio["padded, grouped"][1] > 1.05
    assert speed.idxmax() == "padded, grouped"


def test_each_line_of_the_article_s_section_4_has_a_measured_line():
    known = set(results.ledger_table()["id"])
    assert known >= {"C2", "C9", "C10", "C11", "C12", "C13", "23", "24", "26", "27", "28", "29"}
    engines = results.shipped("context_runs")["rows"]
    assert "medspacy" in {row["method"] for row in engines}
