"""Notebook 05 with two tiny checkpoints in the place of the real ones, then without: the same is shown. It runs without long runs, too."""

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer, LlamaForCausalLM

import stored
from course_utils import figures, metrics, models, paths, results
from course_utils.generate import from_gguf
from test_real import facts

NAME = "05_take_it_to_a_real_model"
EDITION = paths.ROOT / "data_samples"
LONG = ("further", "long", "verdicts", "lessons", "costs-long", "speed", "gpu")


def of_long(*wanted, **given):
    """Run cells that show long runs."""
    known = {"np": np, "pd": pd, "figures": figures, "metrics": metrics, "results": results}
    return stored.printed_by(NAME, *wanted, ENCODER=paths.real() / models.REAL["tiny-biobert"], **known | given)


@pytest.fixture
def edition(monkeypatch, tmp_path):
    """The data with no results, and nothing measured live."""
    stored.without_results(monkeypatch, tmp_path)
    return tmp_path


def recorded(folder):
    """Write what `make real` notes of a checkpoint."""
    weights = paths.sha256(folder / "model.safetensors")
    paths.write_json(folder / "source.json", {"package": "made-up", "version": "1.2", "weights": weights})


def tiny_checkpoints():
    """Write an encoder with dropout whose tokenizer file cuts and fills up, and a decoder that has its own words."""
    torch.manual_seed(0)
    like, encoder = EDITION / "bases" / "tiny-biobert", paths.real() / models.REAL["tiny-biobert"]
    dropout = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    AutoModel.from_config(AutoConfig.from_pretrained(like, num_hidden_layers=3, **dropout)).save_pretrained(encoder)
    AutoTokenizer.from_pretrained(like).save_pretrained(encoder)
    bare = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    bare.enable_truncation(20)
    bare.enable_padding(length=20)
    bare.save(str(encoder / "tokenizer.json"))
    says = facts() | {"llama.block_count": 6, "llama.context_length": 2048}
    decoder = paths.real() / models.REAL["tiny-opt"]
    LlamaForCausalLM(from_gguf.config_of(says, tied=True, pad=0)).float().save_pretrained(decoder)
    from_gguf.tokenizer_of(says).save_pretrained(decoder)
    for folder in (encoder, decoder):
        recorded(folder)


@pytest.mark.slow
def test_it_shows_the_same_with_the_checkpoints_and_without(edition, monkeypatch):
    tiny_checkpoints()
    live = stored.printed_by(NAME)
    assert "measured now" in live["here"] and "Cost: float32, 1 thread" in live["costs-here"]
    assert all("was not made yet" in live[cell] for cell in ("further", "lessons", "costs-long", "gpu"))
    assert "Not attempted yet." in live["exercise-mean"]
    results.ship_last_run(NAME)
    monkeypatch.setenv("COURSE_REAL", str(edition / "nowhere"))
    monkeypatch.setattr(paths, "BUILD", edition / "another build")
    shown = stored.printed_by(NAME)
    assert "make real" in shown["here"] and shown["costs-here"] == ""
    for cell in ("here", "costs-here", "time"):  # what is of this machine
        del live[cell], shown[cell]
    assert shown == live
    rows = {row["method"]: row for row in results.shipped(NAME)["rows"]}
    assert set(rows) >= {"LoRA", "last layers"} and rows["LoRA"]["k"] <= rows["LoRA"]["n"] == 300


def test_cells_of_long_runs_say_that_these_are_not_there_and_go_on(edition):
    texts = of_long(*LONG)
    for name, cell in (("real", "further"), ("lessons", "lessons"), ("real_costs", "costs-long"), ("gpu_runs", "gpu")):
        assert f"The long run {name} was not made yet" in texts[cell]
    assert texts["long"] == texts["verdicts"] == texts["speed"] == ""


def lesson(says, text, verdict):
    return {
        "lesson": says,
        "claim": "is better",
        "text": text,
        "base": "b",
        "difference": [0.1, 0.0, 0.2],
        "seeds": [5, 1],
        "verdict": verdict,
    }


@pytest.mark.parametrize("turned", [False, True])
def test_the_table_of_lessons_says_which_do_not_carry_over(edition, turned):
    verdicts = ["holds", "does not hold"][:: -1 if turned else 1]
    lines = [
        lesson(says, "the course's reports", verdict) for says, verdict in zip(("One", "Two"), verdicts, strict=True)
    ]
    lines += [
        lesson("Three", "the course's reports", "does not hold"),
        lesson("One", "WordNet's definitions", "can't tell"),
    ]
    results.ship("real", lessons=lines)
    toys = [{"lesson": "One", "holds": 2, "of": 3}, {"lesson": "Two", "holds": 0, "of": 3}]
    results.ship("lessons", lessons=toys)
    text = of_long("further", "lessons")["lessons"]
    assert "One\n   our bases: 2 of 3\n" in text and "Three\n   our bases: not asked\n" in text
    assert f"do NOT carry over: {'One' if turned else 'none that can be told'}\n" in text
    assert f"on none of ours: {'Two' if turned else 'none that can be told'}\n" in text
    assert "Hold on the reports: 1 of 3." in text and "WordNet's definitions: can't tell" in text
    assert "[0.000, 0.200], seeds 5 and 1\n" in text


@pytest.mark.parametrize(("turns", "word"), [((2.0, 2.4), "reached"), ((3.0, 3.0), "missed"), ((2.0, 2.6), "missed")])
def test_the_aim_of_speed_is_reached_in_every_turn_or_missed(edition, turns, word):
    shared = {"threads": 2, "reports": 8, "tflop": 2.0, "needed_tflop": 1.0, "cpu_s": 20.0}
    speed = [
        {"way": way, "turn": turn, "wall_s": wall} | shared
        for turn, ours in enumerate(turns)
        for way, wall in (("the recipe", 10.0), ("ours", ours), ("ours, bfloat16", 20.0))
    ]
    speed.append({"way": "ours", "turn": 0, "wall_s": 4.0} | shared | {"threads": 1})
    told = {"speed": [{"verdict": "ours is level", "difference": "0.0"}]}
    results.ship("real_costs", speed=speed, told=told, matmul_tflops={"float32": 0.1, "bfloat16": 0.2})
    text = of_long("speed", measured=results.shipped("real_costs"))["speed"]
    minutes = max(turns) / 8 * 5_000 / 60
    assert f"15 minutes: {'reached' if minutes <= 15 else 'missed'}, {minutes:.1f} at that pace\n" in text
    assert f"ours: two threads are {4 / np.median(turns):.2f} times as fast as one\n" in text
    assert f"aim, 4 times the recipe: {word} by ours, " in text and "quality: ours is level" in text
    shares = {line.rsplit(maxsplit=3)[0].strip(): line.split()[-3:] for line in text.splitlines() if "  " in line}
    assert shares["the recipe"] == ["1.00", "2.00", "1.00"] and shares["ours, bfloat16"] == ["0.50", "2.00", "0.50"]
