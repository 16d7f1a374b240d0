"""Notebook 06 with trl and bitsandbytes and without, on our base and on another. Of the long runs it shows made-up ones."""

import importlib.util
import re

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

import stored
from course_utils import chat, paths, results
from course_utils.experiments import decoder
from test_decoder import made_up

NAME = "06_teach_a_decoder_to_answer"
LIBRARIES = ("trl", "bitsandbytes")
# what they said where they were installed
STORED = {"trl": {"prompt and completion": 50}, "nf4": {"same": 1.0, "apart": 0.0}}
# as many models have it: no start, an end after each message, and no mark of what the assistant says
TURNS = (
    "{% for message in messages %}{{ message['role'] + ':\n' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
)

pytestmark = pytest.mark.slow


@pytest.fixture
def course(monkeypatch, tmp_path):
    """The data with no results but made-up ones of the long run and of the libraries, and nothing measured live."""
    stored.without_results(monkeypatch, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(decoder, "EYES", 6)
        patched.setattr(decoder, "speeds", lambda bases: speeds())
        made_up(patched)
        decoder.report()
    results.ship(NAME, measured=STORED)
    return tmp_path


def speeds():
    """Each way to train, three chats a second for ours and one for the others."""
    losses = {"losses": [3.0, 2.0, 1.0], "after": 1.5}
    return [
        {"way": way, "turn": turn, "a_second": 3.0 if way == decoder.OURS else 1.0} | losses
        for turn in range(decoder.TURNS)
        for way in decoder.WAYS
    ]


def hide(monkeypatch):
    """Let the two libraries not be there."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name in LIBRARIES else find(name, *more)
    )


def right(text):
    """The share of right grades in each line that says one."""
    return [int(k) / int(n) for k, n in re.findall(r"grade right +(\d+)/(\d+)", text)]


@pytest.mark.parametrize("there", [True, False], ids=["with", "without"])
def test_what_is_taught_is_right_more_often_than_what_is_not(course, monkeypatch, there):
    ids = [cell.id for cell in stored.cells(stored.place(NAME), "code")]
    if there:
        for name in LIBRARIES:
            pytest.importorskip(name)
    else:
        hide(monkeypatch)
    texts = stored.printed_by(NAME, *(ids[: ids.index("trap") + 1] if there else ids))
    _, *untaught = right(texts["asked"])  # the first line is one record for all
    assert len(untaught) == 2 and right(texts["taught"])[-1] > max(untaught)
    assert "the labels of " in texts["trl"] and "bitsandbytes': " in texts["nf4-library"]
    assert texts["trap"].count("detector: ") == (2 if there else 0)
    assert there or "ours over trl as it comes: 3.0 to 3.0 times; three times was the aim: reached" in texts["speed"]


def llama(folder):
    """Write a Llama of random weights, with our base's words and a template of its own."""
    tokenizer = AutoTokenizer.from_pretrained(paths.bases() / "tiny-opt")
    tokenizer.chat_template = TURNS
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_another_base_goes_a_shorter_path_at_rates_of_its_own(course, monkeypatch):
    llama(course / "models" / "tiny-opt")
    monkeypatch.setenv("COURSE_MODELS", str(course / "models"))
    hide(monkeypatch)
    fit, asked = chat.fit, []

    def noted(model, tokenizer, rows, **settings):
        asked.append((len(rows), settings["lr"]))
        return fit(model, tokenizer, rows, **settings)

    monkeypatch.setattr(chat, "fit", noted)
    texts = stored.printed_by(NAME)
    assert len(asked) == 5 and max(rows for rows, _ in asked) < 100 and max(lr for _, lr in asked) < 2e-3
    assert "by the tokenizer's template: 0 of" in texts["template"]  # its own, which the lines by hand are not
    assert right(texts["taught"]) and "Time: " in texts["time"]
