"""`make real`: what is not as published is refused, what is made is whole, and a GGUF becomes the model that it holds."""

import hashlib
import json
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import regex
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from course_utils import models, paths
from course_utils.generate import from_gguf, real

TEXTS = [
    "a  1 and\n 12",
    "HbA1c 72 mmol, 2026-11",
    "  two  spaces 1 2\n\nand lines",
    "it's 3.5 mm², don't",
    "右眼:轻度 NPDR 12",
    "",
]
NEEDS_GGUF = pytest.mark.skipif(find_spec("gguf") is None, reason="the package gguf comes with `make real`")
MADE = all((paths.real() / source.name).is_dir() for source in real.SOURCES)
NEEDS_REAL = pytest.mark.skipif(not MADE, reason="`make real` was not run")


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    for name in ("COURSE_MODELS", "PIP_TARGET"):
        monkeypatch.delenv(name, raising=False)


def test_no_report_has_the_spaces_before_a_number_that_smollm_s_tokenizer_is_mended_for():
    page = (paths.ROOT / "docs" / "real_models.md").read_text(encoding="utf-8")
    assert "where two spaces, or a new line and a space, stand before a number, as in a table" in page
    assert "No report of the course is written so." in page
    texts = pd.read_csv(paths.samples() / "dr_reports.csv")["text"]
    assert len(texts) and not texts.str.contains(r"\s\s\d").any()


# Packages and their files.


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A made-up package that is installed, and what it is expected to hold."""
    site = tmp_path / "site"
    (site / "made_up").mkdir(parents=True)
    contents = {"made_up/model.safetensors": b"weights", "made_up/config.json": b"{}"}
    for name, content in contents.items():
        (site / name).write_bytes(content)
    info = site / "made_up-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.2\n")
    monkeypatch.syspath_prepend(site)
    sums = {name: digest(content) for name, content in contents.items()}
    return real.Source("a-model", "made-up", "1.2", sums, real.copy, "It is made up.")


def test_files_with_the_published_sums_become_a_folder_with_a_card(source, tmp_path):
    folder = real.make(source, tmp_path / "real")
    assert {file.name for file in folder.iterdir()} == {"model.safetensors", "config.json", "README.md", "source.json"}
    card = (folder / "README.md").read_text()
    assert "made-up` 1.2" in card and "It is made up." in card and "apache-2.0" in card
    assert all(published in card for published in source.files.values())
    assert real.is_made(source, tmp_path / "real")


def test_a_flipped_byte_is_refused(source, tmp_path):
    (tmp_path / "site" / "made_up" / "model.safetensors").write_bytes(b"weighty")
    with pytest.raises(ValueError, match="model.safetensors of made-up is not the published file.*uninstall made-up"):
        real.make(source, tmp_path / "real")
    assert not (tmp_path / "real").exists()


def test_another_version_a_missing_file_and_a_missing_package_are_refused(source, tmp_path):
    with pytest.raises(ValueError, match="made-up 1.2 is installed, and 1.3 was checked.*uninstall"):
        real.verified(source._replace(version="1.3"))
    (tmp_path / "site" / "made_up" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="no config.json: it is not whole"):
        real.verified(source)
    with pytest.raises(FileNotFoundError, match="no-such-package is not installed. Type `make real`"):
        real.verified(source._replace(package="no-such-package"))


def stopped(files, folder):
    """Write half a checkpoint, then be stopped as by Ctrl-C."""
    (folder / "config.json").write_text("{")
    raise KeyboardInterrupt


def test_an_interrupted_run_leaves_nothing_half_made(source, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        real.make(source._replace(fill=stopped), tmp_path / "real")
    assert not list((tmp_path / "real").iterdir())


def test_an_interrupted_run_leaves_the_older_folder_as_it_was(source, tmp_path):
    real.make(source, tmp_path / "real")
    with pytest.raises(KeyboardInterrupt):
        real.make(source._replace(fill=stopped), tmp_path / "real")
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["a-model"]
    assert real.is_made(source, tmp_path / "real")


def test_what_a_killed_run_left_is_not_taken_over(source, tmp_path):
    left = tmp_path / "real" / ".a-model.part"
    left.mkdir(parents=True)
    (left / "stray.bin").write_text("half")
    folder = real.make(source, tmp_path / "real")
    assert not left.exists() and not (folder / "stray.bin").exists()


def test_a_folder_that_was_changed_or_made_of_something_else_is_made_again(source, tmp_path):
    assert not real.is_made(source, tmp_path)
    folder = real.make(source, tmp_path)
    assert not real.is_made(source._replace(version="1.3"), tmp_path)
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert not real.is_made(source, tmp_path)


def test_the_command_says_where_things_are_and_fetches_once(source, tmp_path, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(real, "SOURCES", (source,))
    monkeypatch.setattr(real, "install", lambda: fetched.append(1))
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "real"))
    assert real.main() == 0 and real.main() == 0 and fetched == [1]
    assert capsys.readouterr().out.count(str(tmp_path / "real" / "a-model")) == 2


def test_the_command_says_a_refusal_in_words(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(real, "SOURCES", (source._replace(version="1.3"),))
    monkeypatch.setattr(real, "install", lambda: None)
    monkeypatch.setenv("COURSE_REAL", str(tmp_path / "real"))
    assert real.main() == 1
    assert capsys.readouterr().err.startswith("made-up 1.2 is installed")


# pip.


def wheel(folder, name="made_up"):
    """Write a wheel that pip installs; return its path."""
    path = folder / f"{name}-1.2-py3-none-any.whl"
    info = f"{name}-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\nRequires-Dist: no-such-package\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
def test_pip_installs_a_wheel_of_the_right_sum_alone_and_refuses_a_flipped_byte(tmp_path):
    package = wheel(tmp_path)
    sums = tmp_path / "sums.txt"
    sums.write_text(f"--require-hashes\n--only-binary :all:\nmade-up==1.2 --hash=sha256:{paths.sha256(package)}\n")
    options = ("--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "site"))
    content = bytearray(package.read_bytes())
    content[-1] ^= 1  # in the archive's comment length: any byte counts
    package.write_bytes(content)
    with pytest.raises(
        RuntimeError, match="download of made-up==1.2 is not the file whose sum stands in sums.txt.*make real"
    ):
        real.install(sums, *options)
    assert not (tmp_path / "site").exists()
    content[-1] ^= 1
    package.write_bytes(content)
    real.install(sums, *options)
    assert (tmp_path / "site" / "made_up" / "__init__.py").exists()


def test_a_network_that_is_down_is_said_with_pips_last_line():
    said = real.refusal("WARNING: retrying\nERROR: No matching distribution found for gguf==0.19.0\n\n", "real.txt")
    assert "PIP_INDEX_URL" in said and "No matching distribution found for gguf==0.19.0" in said


def test_what_is_fetched_is_what_is_checked():
    lines = real.REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = dict(
        regex.fullmatch(r"([\w-]+)==([\w.]+) --hash=sha256:\w{64}", line).groups() for line in lines if "==" in line
    )
    assert "--require-hashes" in lines and "--only-binary :all:" in lines
    locked = dict(
        line.split("==") for line in (paths.ROOT / "constraints.txt").read_text().splitlines() if "==" in line[:40]
    )
    assert pins == {source.package: source.version for source in real.SOURCES} | {"gguf": locked["gguf"]}


def test_no_source_holds_a_pickle():
    kinds = {Path(name).suffix for source in real.SOURCES for name in source.files}
    assert kinds == {".safetensors", ".gguf", ".json", ".txt", ""}


def test_models_finds_what_is_made():
    assert set(models.REAL.values()) == {source.name for source in real.SOURCES}


# From GGUF.

WORDS = ["ab", "Ġa", "Ġab", "ĠĠ"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = [*range(33, 127), *range(161, 173), *range(174, 256)]  # those that stand for themselves
ALPHABET = {byte: chr(byte) for byte in BYTES}
ALPHABET |= {byte: chr(256 + i) for i, byte in enumerate(sorted(set(range(256)) - set(BYTES)))}


def facts():
    """What a GGUF file of a tiny model of SmolLM2's kind says of itself."""
    tokens = [*CONTROL, *ALPHABET.values(), *WORDS]
    return {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.freq_base": 100000.0,
        "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in CONTROL else 1 for token in tokens],
        "tokenizer.ggml.merges": ["a b", "Ġ a", "Ġa b", "Ġ Ġ"],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] + '<|im_end|>' }}{% endfor %}",
    }


SMOLLM = [r"\p{N}", r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"]


def pieces(text):
    """Split a text as the name "smollm" says: each digit alone, then words with the space before them."""
    parts = regex.split(f"({SMOLLM[0]})", text)
    return [piece for part in parts for piece in regex.findall(SMOLLM[1], part)]


def by_hand(text, numbers, ranks):
    """Return the numbers of a text's tokens: its bytes, merged pair by pair, the pair of the lowest rank first."""
    found = []
    for piece in pieces(text):
        parts = [ALPHABET[byte] for byte in piece.encode()]
        while pairs := [
            (ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:], strict=False)) if pair in ranks
        ]:
            at = min(pairs)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        found += [numbers[part] for part in parts]
    return found


@pytest.mark.parametrize("text", [*TEXTS, "ab abab 12ab 1 2"])
def test_the_tokenizer_is_what_the_file_says(text):
    says = facts()
    numbers = {token: number for number, token in enumerate(says["tokenizer.ggml.tokens"])}
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(says["tokenizer.ggml.merges"])}
    tokenizer = from_gguf.tokenizer_of(says)
    assert tokenizer(text)["input_ids"] == by_hand(text, numbers, ranks)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_padding_is_not_the_end_and_control_tokens_are_whole(tmp_path):
    from_gguf.tokenizer_of(facts()).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == (
        "<|endoftext|>",
        "<|im_end|>",
        "<|im_start|>",
    )
    assert tokenizer.model_max_length == 64
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], return_dict=True)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["ab", "<|im_end|>"]


@pytest.fixture
def tiny():
    """A tiny model with the shapes that the facts say, its words going in and out by one table."""
    torch.manual_seed(0)
    return LlamaForCausalLM(from_gguf.config_of(facts(), tied=True, pad=0)).float().eval()


def as_gguf(model, file, **changed):
    """Write a model into a GGUF file as llama.cpp does: rows of queries and keys in its order, the words' table in 8 bits."""
    import gguf

    says = facts() | changed
    writer = gguf.GGUFWriter(file, says.pop("general.architecture"))
    for name, value in says.items():
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        else:
            writer.add_uint32(name, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    for name, weight in model.named_parameters():
        numbers, theirs = weight.detach().numpy(), names.get_name(name, (".weight",))
        for part, heads in (("q_proj", model.config.num_attention_heads), ("k_proj", model.config.num_key_value_heads)):
            if part in name:
                turned = numbers.reshape(heads, 2, len(numbers) // heads // 2, numbers.shape[1]).swapaxes(1, 2)
                numbers = np.ascontiguousarray(turned.reshape(numbers.shape))
        if "embed" in name:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(theirs, gguf.quantize(numbers, kind), raw_dtype=kind)
        else:
            writer.add_tensor(theirs, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@NEEDS_GGUF
def test_a_gguf_becomes_the_model_that_it_was_made_of(tiny, tmp_path):
    from_gguf.convert(as_gguf(tiny, tmp_path / "tiny.gguf"), tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.dtype == torch.bfloat16 and model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.rms_norm_eps == 1e-5 and model.config.pad_token_id == 0 and model.config.eos_token_id == 2
    for name, weight in tiny.named_parameters():
        near = 0.01 if "embed" in name else 0.004  # 8 bits; bfloat16
        assert (model.get_parameter(name) - weight).abs().max() <= near * weight.abs().max()
    ids = torch.arange(3, 40)[None]
    assert torch.allclose(model.float()(ids).logits, tiny(ids).logits, atol=0.01)


@NEEDS_GGUF
@pytest.mark.slow
def test_the_weights_are_those_that_transformers_reads(tiny, tmp_path):
    file = as_gguf(tiny, tmp_path / "tiny.gguf")
    from_gguf.convert(file, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, weight in ours.named_parameters():
        assert torch.equal(weight, theirs.get_parameter(name).to(torch.bfloat16)), name


@NEEDS_GGUF
def test_another_kind_of_file_is_refused_before_anything_is_written(tiny, tmp_path):
    file = as_gguf(tiny, tmp_path / "tiny.gguf", **{"tokenizer.ggml.pre": "qwen2"})
    with pytest.raises(ValueError, match='tokenizer.ggml.pre = "qwen2", and only "smollm"'):
        from_gguf.convert(file, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.gguf"]


@NEEDS_GGUF
def test_weights_of_another_shape_are_refused(tiny, tmp_path):
    file = as_gguf(tiny, tmp_path / "tiny.gguf", **{"llama.feed_forward_length": 64})
    with pytest.raises(ValueError, match=r"no model.layers.0.mlp.gate_proj.weight of the shape \(64, 64\)"):
        from_gguf.convert(file, tmp_path)


def test_without_the_package_that_reads_gguf_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(RuntimeError, match="package gguf is missing.*make real"):
        from_gguf.convert(tmp_path / "tiny.gguf", tmp_path)


# What `make real` made.


@NEEDS_REAL
@pytest.mark.slow
def test_the_real_decoder_goes_on_as_it_should():
    folder = paths.real() / models.REAL["tiny-opt"]
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    assert models.count_parameters(model)[1] == 134_515_008
    prompt = tokenizer("The capital of France is", return_tensors="pt")
    assert torch.isfinite(model(**prompt).logits).all()
    said = tokenizer.decode(model.generate(**prompt, max_new_tokens=2, do_sample=False)[0])
    assert said == "The capital of France is Paris."


@NEEDS_REAL
@pytest.mark.slow
def test_the_real_decoders_tokenizer_is_what_its_file_says_on_200_reports():
    folder = paths.real() / models.REAL["tiny-opt"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inner = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    ranks = {tuple(merge): rank for rank, merge in enumerate(inner["merges"])}
    texts = pd.read_csv(paths.samples() / "dr_reports.csv")["text"].drop_duplicates().sample(200, random_state=0)
    assert texts.str.contains(r"\d\d").any() and texts.str.contains("[\u4e00-\u9fff]").any()
    for text in [*texts, *TEXTS]:
        assert tokenizer(text)["input_ids"] == by_hand(text, inner["vocab"], ranks)


@NEEDS_REAL
@pytest.mark.slow
def test_the_real_encoder_puts_like_beside_like():
    folder = paths.real() / models.REAL["tiny-biobert"]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(
        ["A man is eating food.", "A man eats something.", "The sky is blue."], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
    like, unlike = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert models.count_parameters(model)[1] == 22_713_216 and like > 0.7 > 0.3 > unlike
