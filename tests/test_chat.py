"""A decoder of any kind is trained on its answers and no other token, and answers a batch as it answers each question alone."""

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import decoders

import small_models
from course_utils import chat
from small_models import DECODERS, GEMMA, GROUPED, KINDS, byte_pairs, finished

ASKED = ["no retinopathy", "severe haemorrhages in four quadrants , mild retinopathy seen .", "two"]
SAID = ["no", "severe , four", "two two two"]
CHATS = [
    [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    for asked, said in zip(ASKED, SAID, strict=True)
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A function from a kind to the folder of its checkpoint, made when it is first asked for."""
    made = {}

    def find(name):
        made[name] = made.get(name) or small_models.checkpoint(name, tmp_path_factory.mktemp("checkpoint"))
        return made[name]

    return find


def load(folder):
    """A model and its tokenizer, which writes bytes back as letters, as real ones do."""
    model, tokenizer = chat.load(folder)
    return model, spelling(tokenizer)


def spelling(tokenizer):
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def lora(name):
    """LoRA on the layers of attention, by the names that this kind gives them."""
    return LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=sorted(KINDS[name].lora))


@pytest.mark.parametrize("name", DECODERS)
def test_the_loss_is_the_library_s_on_the_answers_alone(checkpoints, name):
    model, tokenizer = load(checkpoints(name))
    rows = [chat.encode(tokenizer, one) for one in CHATS]
    for row, said in zip(rows, SAID, strict=True):
        learned = [token for token, inside in zip(row["input_ids"], row["in_loss"], strict=True) if inside]
        assert tokenizer.decode(learned[:-1]).strip() == said and learned[-1] == tokenizer.eos_token_id
    batch = chat.collate(rows, tokenizer.pad_token_id)
    labels = batch["input_ids"].masked_fill(batch["in_loss"] == 0, -100)
    with torch.no_grad():
        found = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        assert abs(chat.token_losses(model, batch).mean() - found) < 1e-5
        alone = [chat.log_probs(model, chat.collate([row], tokenizer.pad_token_id)) for row in rows]
        assert (chat.log_probs(model, batch) - torch.cat(alone)).abs().max() < 1e-4


@pytest.mark.parametrize("name", DECODERS)
def test_it_trains_saves_loads_and_merges(checkpoints, name, tmp_path):
    model, tokenizer = load(checkpoints(name))
    rows = [chat.encode(tokenizer, one) for one in CHATS]
    batch = chat.collate(rows, tokenizer.pad_token_id)
    adapted = get_peft_model(model, lora(name))
    log = chat.fit(adapted, tokenizer, rows, epochs=4, lr=0.02, batch_size=3, bar=False)
    assert log["steps"] == 4 and log["losses"][-1] < log["losses"][0]
    assert log["in_loss"] == 4 * sum(sum(row["in_loss"]) for row in rows) < log["tokens"]
    adapted.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(load(checkpoints(name))[0], tmp_path).eval()
    with torch.no_grad():
        before = chat.log_probs(adapted.eval(), batch)
        assert (chat.log_probs(loaded, batch) - before).abs().max() == 0
        assert (chat.log_probs(adapted.merge_and_unload(), batch) - before).abs().max() < 1e-3
        assert (chat.log_probs(load(checkpoints(name))[0].eval(), batch) - before).abs().max() > 1e-2


@pytest.mark.parametrize("name", DECODERS)
def test_a_batch_is_answered_as_each_question_alone(checkpoints, name):
    model, tokenizer = load(checkpoints(name))
    asked = [one[:-1] for one in CHATS]
    together = chat.answer(model, tokenizer, asked, new=6)
    alone = [chat.answer(model, tokenizer, [one], new=6) for one in asked]
    assert together.texts == [one.texts[0] for one in alone] and together.ended == [one.ended[0] for one in alone]


@pytest.fixture
def opt(checkpoints):
    return load(checkpoints("OPT"))


def test_an_answer_keeps_to_its_form(opt):
    model, tokenizer = opt
    form = r"(?:yes|no|(?:two )*[0-4])"
    free = chat.answer(model, tokenizer, [one[:-1] for one in CHATS], new=8)
    held = chat.answer(model, tokenizer, [one[:-1] for one in CHATS], new=8, form=form)
    fits = chat.regex.compile(form)
    assert not all(fits.fullmatch(text) for text in free.texts)
    assert all(fits.fullmatch(text, partial=not ended) for text, ended in zip(held.texts, held.ended, strict=True))


def test_a_row_holds_the_very_tokens_that_were_read_and_written(opt):
    model, tokenizer = opt
    asked = [one[:-1] for one in CHATS]
    answers = chat.answer(model, tokenizer, asked, new=6, sample=1.0)
    for one, text, ended, row in zip(asked, answers.texts, answers.ended, answers.rows, strict=True):
        read = chat.render(tokenizer, one, ask=True)
        written = row["input_ids"][len(read) :]
        assert row["input_ids"][: len(read)] == read and 0 < len(written) <= 6
        assert row["in_loss"] == [0] * len(read) + [1] * len(written)
        assert (tokenizer.eos_token_id in written) == ended
        assert tokenizer.decode(written, skip_special_tokens=True) == text


def test_an_answer_ends_at_the_last_place_and_a_question_that_takes_all_is_refused(opt):
    model, tokenizer = opt
    places = model.config.max_position_embeddings
    question = [{"role": "user", "content": "two"}]
    while len(chat.render(tokenizer, question, ask=True)) < places - 4:
        question[0]["content"] += " two"
    row = chat.answer(model, tokenizer, [question], new=50).rows[0]
    assert len(row["input_ids"]) <= places
    with pytest.raises(ValueError, match="fewer examples"):
        chat.answer(model, tokenizer, [[{"role": "user", "content": "two " * places}]])


def test_drawn_answers_depend_on_the_seed_alone(opt):
    model, tokenizer = opt
    drawn = [chat.answer(model, tokenizer, [CHATS[0][:-1]] * 4, new=5, sample=1.0, seed=s).texts for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2] and len(set(drawn[0])) > 1


def test_the_same_seed_gives_the_same_weights(checkpoints):
    models = [load(checkpoints("OPT"))[0] for _ in range(3)]
    tokenizer = load(checkpoints("OPT"))[1]
    rows = [chat.encode(tokenizer, one) for one in CHATS]
    # the scores of the first were tried before, those of the others while they train
    chat.token_losses(models[0], chat.collate(rows, tokenizer.pad_token_id))
    for model, seed in zip(models, (0, 0, 1), strict=True):
        chat.fit(model, tokenizer, rows, epochs=2, lr=0.01, batch_size=2, seed=seed, bar=False)
    first, second, other = (torch.cat([p.flatten() for p in model.parameters()]) for model in models)
    assert torch.equal(first, second) and not torch.equal(first, other)


CHANGED = {  # what is done with the scores behind the head, and a setting with which nothing is
    "Granite": (GROUPED | {"logits_scaling": 8.0}, {"logits_scaling": 1.0}),
    "Cohere": (GROUPED | {"logit_scale": 0.0625}, {"logit_scale": 1.0}),
    "Gemma3Text": (GEMMA | {"final_logit_softcapping": 5.0}, {"final_logit_softcapping": None}),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_scores_that_are_scaled_or_capped_are_refused(kind):
    config, (sizes, without) = getattr(transformers, f"{kind}Config"), CHANGED[kind]
    batch = chat.collate([{"input_ids": [3, 4, 5], "in_loss": [0, 1, 1]}], 0)
    torch.manual_seed(1)
    changed, plain = (
        transformers.AutoModelForCausalLM.from_config(config(vocab_size=40, **one)).eval()
        for one in (sizes, sizes | without)
    )
    with pytest.raises(ValueError, match="it scales or caps them"):
        chat.token_losses(changed, batch)
    library = plain(input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
    assert abs(chat.token_losses(plain, batch).mean() - library) < 1e-5


def test_a_copy_that_answers_with_the_layers_of_another_is_refused(opt):
    model, tokenizer = opt
    batch = chat.collate([chat.encode(tokenizer, CHATS[0])], tokenizer.pad_token_id)
    other = copy.deepcopy(model)
    other.forward = model.forward  # as a copy of a model has it that trl was given
    with pytest.raises(ValueError, match="another model's layers"):
        chat.token_losses(other, batch)


def test_what_can_t_be_trained_is_refused(opt):
    model, tokenizer = opt
    row = chat.encode(tokenizer, CHATS[0])
    with pytest.raises(ValueError, match="No token of this batch is in the loss"):
        chat.token_losses(model, chat.collate([row | {"in_loss": [0] * len(row["in_loss"])}], 1))
    with pytest.raises(ValueError, match="nothing to train"):
        chat.fit(model.requires_grad_(False), tokenizer, [row], epochs=1, lr=0.1, bar=False)
    with pytest.raises(ValueError, match="a cut would take the answer"):
        chat.encode(tokenizer, CHATS[0], max_length=5)
    with pytest.raises(ValueError, match='role must be "assistant"'):
        chat.encode(tokenizer, CHATS[0][:1])


# Templates of other people: the marks that end a turn are no end-of-text tokens.

TURNS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
)


# What the templates of Gemma and Qwen 3 do, in a few lines: they are tried where trl, which ships the real ones, is not installed.
LIKE = {
    "gemma": "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "qwen3": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
}


# And what SmolLM2's does: it greets a model that nobody has greeted.
SMOL = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nno retinopathy<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def with_template(template, end):
    tokenizer = spelling(finished(byte_pairs(*TURNS), pad_token="<pad>", eos_token=end, bos_token="<bos>"))
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(params=["in a few lines", "as trl ships it"])
def templated(request):
    """A function from a name to a tokenizer with that template."""

    def make(name):
        template = LIKE[name]
        if request.param == "as trl ships it":
            file = Path(pytest.importorskip("trl").__file__).parent / "chat_templates" / f"{name}.jinja"
            template = file.read_text(encoding="utf-8")
        return with_template(template, "<|im_end|>" if name.startswith("qwen") else "<eos>")

    return make


def learned(tokenizer, row):
    return tokenizer.decode([t for t, inside in zip(row["input_ids"], row["in_loss"], strict=True) if inside])


def test_a_template_that_writes_a_system_message_of_its_own():
    tokenizer = with_template(SMOL, "<|im_end|>")
    row = chat.encode(tokenizer, CHATS[1])
    assert learned(tokenizer, row) == "severe , four<|im_end|>"
    assert tokenizer.decode(row["input_ids"]).startswith("<|im_start|>system\nno retinopathy<|im_end|>")


def test_a_template_that_forbids_a_system_message(templated):
    tokenizer = templated("gemma")
    assert learned(tokenizer, chat.encode(tokenizer, CHATS[1])) == "severe , four<end_of_turn>"
    assert tokenizer.decode([chat.stop_token(tokenizer)]) == "<end_of_turn>" != tokenizer.eos_token
    with pytest.raises(Exception, match="(?i)system role"):
        chat.encode(tokenizer, [{"role": "system", "content": "no"}, *CHATS[1]])


def test_a_template_with_thinking_blocks(templated):
    tokenizer = templated("qwen3")
    assert learned(tokenizer, chat.encode(tokenizer, CHATS[1], enable_thinking=False)) == "severe , four<|im_end|>"
    thinking = learned(tokenizer, chat.encode(tokenizer, CHATS[1]))
    assert thinking == "<think>\n\n</think>\n\nsevere , four<|im_end|>"  # trained so, it learns never to think


def test_a_template_that_rewrites_the_question_is_refused(opt):
    tokenizer = opt[1]
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    with pytest.raises(ValueError, match="writes a question otherwise"):
        chat.encode(tokenizer, CHATS[0])


def test_a_template_without_an_end_mark_is_refused(opt):
    tokenizer = opt[1]
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
    with pytest.raises(ValueError, match="No end mark"):
        chat.encode(tokenizer, CHATS[0])


def test_a_tokenizer_without_an_end_is_refused(monkeypatch):
    monkeypatch.setattr(chat.AutoTokenizer, "from_pretrained", lambda name: SimpleNamespace(eos_token_id=None))
    with pytest.raises(ValueError, match="no end-of-text token"):
        chat.load("somewhere")
