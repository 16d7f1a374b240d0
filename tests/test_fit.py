"""A file goes in, a folder comes out: a grader that answers as the page says, and sentences that are true of this file."""

import random
import re

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import small_models
from course_utils import data, fit, training

ENGLISH = {
    "routine": "right no mild retinopathy seen in two quadrants",
    "urgent": "left severe haemorrhages in four quadrants",
}
GERMAN = {
    "später": "Kein Hinweis auf eine Fraktur; weiß, regelmäßig",
    "sofort": "Starke Schmerzen in der Brust, kann nicht gehen",
}
CHINESE = {"普通": "患者咳嗽数天，无发热，饮食可", "紧急": "患者突发胸痛，大汗，左侧肢体无力"}


def rows(texts, n=120, shares=None, noise=0.0):
    """n rows of text and label; `noise` is the share whose text is another label's."""
    rng = random.Random(0)
    for i in range(n):
        label = rng.choices(list(texts), shares)[0]
        said = rng.choice(list(texts)) if rng.random() < noise else label
        yield f"{texts[said]} {i}", label


def write(path, lines, encoding="utf-8", separator=",", header=("text", "label")):
    with path.open("w", encoding=encoding, newline="") as file:
        file.write("\r\n".join(separator.join(f'"{cell}"' for cell in line) for line in [header, *lines]) + "\r\n")
    return str(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return small_models.bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def run(tmp_path, tiny, capsys, monkeypatch):
    """Run the command on a file with the tiny base, and return its status, its page and what it printed."""
    monkeypatch.setattr(fit, "RATES", (1e-2, 1e-3))

    def run(path, *options):
        out = tmp_path / "out"
        status = fit.main([path, "--out", str(out), "--base", tiny, *options])
        page = out / fit.PAGE
        return status, page.read_text(encoding="utf-8") if page.exists() else "", "".join(capsys.readouterr())

    return run


def right_of(page):
    k, n = re.search(r"The grader: ([\d,]+) of ([\d,]+) test rows right", page).groups()
    return int(k), int(n)


def test_what_the_page_says_is_what_the_saved_grader_does(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(ENGLISH, noise=0.3))
    status, page, _ = run(path, "--anyway")
    assert status == 0
    folder = tmp_path / "out" / fit.GRADER
    model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    test = data.load_graded(path).frames["test"]
    answers = training.predict(model, tokenizer, test).argmax(1)
    assert right_of(page) == ((answers == test["grade"]).sum(), len(test))
    assert model.config.id2label == {0: "routine", 1: "urgent"}
    grade = pipeline("text-classification", str(folder), truncation=True, max_length=fit.LENGTH)
    said = [grade({"text": "", "text_pair": text})["label"] for text in test["text"]]
    assert said == [model.config.id2label[answer] for answer in answers]
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{right_of(page)[0]:,} right" in card and not any(text in card for text in ENGLISH.values())
    assert not list(folder.glob("*.bin"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["DistilBERT", "RoBERTa", "GPT-2", "T5"])
def test_a_base_of_another_kind_is_fitted_and_answers_after_a_reload(run, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(fit, "LENGTH", 32)
    base = small_models.checkpoint(kind, tmp_path / "base")
    path = write(tmp_path / "mine.csv", rows(ENGLISH, 60))
    status, page, said = run(path, "--anyway", "--base", base)
    assert status == 0, said
    folder = tmp_path / "out" / fit.GRADER
    model, tokenizer = (one.from_pretrained(folder) for one in (AutoModelForSequenceClassification, AutoTokenizer))
    test = data.load_graded(path).frames["test"]
    answers = training.predict(model, tokenizer, test, max_length=fit.LENGTH).argmax(1)
    assert right_of(page)[0] == (answers == test["grade"]).sum()


@pytest.mark.slow
def test_the_same_file_gives_the_same_page_and_loses_nothing(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(ENGLISH, 60))
    first, again = run(path, "--anyway")[1], run(path, "--anyway")[1]
    assert first and first == again


def test_errors_are_shown_with_their_lines_and_texts(run, tmp_path):
    _, page, _ = run(write(tmp_path / "mine.csv", rows(ENGLISH, 200, noise=0.5)), "--anyway")
    k, n = right_of(page)
    assert f"of {n - k:,} errors on test" in page and "haemorrhages in four quadrants" in page


@pytest.mark.slow
def test_words_without_an_order_get_no_ordinal_measure_and_with_one_they_do(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(ENGLISH))
    plain, ordered = run(path, "--anyway")[1], run(path, "--anyway", "--order", "routine,urgent")[1]
    for page, has in ((plain, False), (ordered, True)):
        assert ("quadratic kappa" in page) is has
        assert ("The labels have no order" in page) is not has


def test_a_base_that_cant_read_the_text_is_not_trained_and_the_bars_are_shown(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(CHINESE), "gb18030")
    status, page, said = run(path)
    assert status == 0 and "This base can&#39;t read this text: take another." in page
    assert "So nothing was trained." in page and "The grader:" not in page
    assert not (tmp_path / "out" / fit.GRADER).exists()
    assert "gb18030" in (page + said).lower()


def test_a_grader_of_an_earlier_run_is_said_to_be_one(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(CHINESE), "gb18030")
    assert "of an earlier run" not in run(path)[1]
    assert "A grader for mine.csv" in run(path, "--anyway")[1]
    page = run(path)[1]
    assert "The folder grader is of an earlier run." in page and "A look at mine.csv" in page


def test_german_from_excel_keeps_its_letters(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(GERMAN, noise=0.4), "cp1252", ";")
    _, page, said = run(path, "--anyway")
    assert "später" in page and "sofort" in page and "regelmäßig" in page
    assert "1252" in said and "semicolon" in said.lower()


def test_a_lopsided_file_is_called_one(run, tmp_path):
    path = write(tmp_path / "mine.csv", rows(ENGLISH, 400, shares=(95, 5)))
    _, page, _ = run(path, "--anyway")
    share = re.search(r"&#34;routine&#34; is the label of (\d+)% of the rows", page)
    assert share and 92 <= int(share[1]) <= 98


def test_the_files_own_splits_are_used(run, tmp_path):
    lines = [
        (text, label, ("train", "validation", "test")[i % 3]) for i, (text, label) in enumerate(rows(ENGLISH, 150))
    ]
    _, page, said = run(write(tmp_path / "mine.csv", lines, header=("text", "label", "split")), "--anyway")
    assert right_of(page)[1] == 50
    assert "validation" in said and "dev" in said.lower()


def test_a_few_test_rows_are_said_to_decide_nothing(run, tmp_path):
    _, page, _ = run(write(tmp_path / "mine.csv", rows(ENGLISH, 60)), "--anyway")
    assert "nothing below can be relied on" in page


def test_a_folder_with_other_files_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    status, _, said = run(write(tmp_path / "mine.csv", rows(ENGLISH)))
    assert status == 1 and "thesis.txt" in said and "--out" in said
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "text,label\n", "text,label\na,b\n"])
def test_a_file_from_which_nothing_can_be_learnt_is_refused_in_a_sentence(run, tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    status, page, said = run(str(tmp_path / "mine.csv"))
    assert status == 1 and not page and "Traceback" not in said and "mine.csv" in said


def test_what_was_trained_is_saved_before_it_is_explained(run, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no page today")

    monkeypatch.setattr(fit, "_scores", fail)
    status, _, said = run(write(tmp_path / "mine.csv", rows(ENGLISH, 60)), "--anyway")
    assert status == 1 and "no page today" in said
    assert (tmp_path / "out" / fit.GRADER / "model.safetensors").exists()


@pytest.mark.slow
def test_advice_follows_the_comparison(run, tmp_path):
    """One epoch of a base that learns nothing loses to word counts; the page must say so."""
    path = write(tmp_path / "mine.csv", rows(ENGLISH, 400))
    real = training.fit_grader
    torch.manual_seed(0)
    try:
        training.fit_grader = lambda *arguments, **settings: real(*arguments, **settings | {"lr": 1e-9})
        _, page, _ = run(path, "--anyway")
    finally:
        training.fit_grader = real
    assert "the grader is worse than" in page and "it costs seconds and does better here" in page
