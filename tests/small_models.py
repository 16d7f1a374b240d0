"""Tiny random checkpoints with the quirks of the real ones, made in a moment."""

from typing import Any, NamedTuple

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizer,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

PHRASES = [
    "no retinopathy seen",
    "mild retinopathy",
    "haemorrhages in two quadrants",
    "severe retinopathy",
    "four quadrants",
]

WORDS = ["right", "left", "no", "mild", "severe", "retinopathy", "haemorrhages", "in", "two", "four", "quadrants"]
WORDS += ["seen", ",", "."]


def bert(folder, pooler=True, layers=2):
    """A BERT with a cased WordPiece vocabulary, with BioBERT's pooler or, as masked-word training saves it, without."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Severe", "##s", *WORDS]
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.1,  # wide, so that it learns in seconds
    )
    (BertModel if pooler else BertForMaskedLM)(config).save_pretrained(folder)
    BertTokenizer(vocab={word: i for i, word in enumerate(vocab)}, do_lower_case=False).save_pretrained(folder)
    return str(folder)


def word_level(special):
    """A word-level tokenizer that begins with the given special tokens."""
    vocab = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
    return tokenizer, vocab


def opt(folder):
    """An OPT like opt-350m: embeddings narrower than the layers, layer norm after each block, no final layer norm."""
    tokenizer, vocab = word_level(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A $B", special_tokens=[("</s>", vocab["</s>"])]
    )
    torch.manual_seed(1)
    config = OPTConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        word_embed_proj_dim=16,
        do_layer_norm_before=False,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=64,
        max_position_embeddings=64,
    )
    OPTForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return str(folder)


def t5(folder):
    """A T5 whose input and output embeddings are one tensor, as in t5-small."""
    tokenizer, vocab = word_level(["<pad>", "</s>", "<unk>"])
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=len(vocab), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return str(folder)


# Other people's checkpoints: each kind with the class, the tokenizer and the tokens of the real one.


def byte_pairs(*special):
    """A byte-level BPE, as RoBERTa and the decoders have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=350, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(WORDS, trainer)
    return tokenizer


def unigram(*special):
    """A SentencePiece Unigram, as T5, XLM-R, ALBERT and DeBERTa-v2 have it."""
    pieces = {name: 0.0 for name in special} | {f"▁{word}": -2.0 for word in WORDS} | {"▁": -4.0, "s": -6.0, "e": -6.0}
    unknown = next(i for i, name in enumerate(special) if "unk" in name.lower())
    tokenizer = Tokenizer(models.Unigram(list(pieces.items()), unk_id=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def wordpiece():
    """A WordPiece, as the BERTs have it."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return BertTokenizer(vocab={word: i for i, word in enumerate(vocab)}, do_lower_case=False)


def finished(core, single="", pair="", **settings):
    """A tokenizer of transformers around a core, with the template of one text and of two."""
    if single:
        marks = {part.split(":")[0] for part in f"{single} {pair}".split() if not part.startswith("$")}
        core.post_processor = processors.TemplateProcessing(
            single=single, pair=pair, special_tokens=[(mark, core.token_to_id(mark)) for mark in marks]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, **settings)


BARE = {"model_input_names": ["input_ids", "attention_mask"]}
ROBERTA = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
ROBERTA_S = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
ROBERTA_IS = (
    dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), ROBERTA_S, strict=True)) | BARE
)
PIECES = ("[CLS] $A [SEP]", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1")
PIECES_S = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
PIECES_ARE = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), PIECES_S, strict=True))


def roberta_bytes():
    return finished(byte_pairs(*ROBERTA_S), *ROBERTA, **ROBERTA_IS)


def roberta_pieces():
    return finished(unigram(*ROBERTA_S), *ROBERTA, **ROBERTA_IS)


def albert_pieces():
    return finished(unigram(*PIECES_S), *PIECES, **PIECES_ARE)


def t5_pieces():
    core = unigram("<pad>", "</s>", "<unk>")
    return finished(core, "$A </s>", "$A </s> $B </s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **BARE)


def opt_bytes():
    core = byte_pairs("<s>", "<pad>", "</s>", "<unk>")
    return finished(core, "</s> $A", "</s> $A $B", bos_token="</s>", eos_token="</s>", pad_token="<pad>", **BARE)


def gpt_bytes():
    """No padding, and each token gets a number of its text, which Falcon does not read."""
    return finished(byte_pairs("<|endoftext|>"), bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def llama_bytes():
    """No padding, and it would stand on the left."""
    core, begin = byte_pairs("<|begin|>", "<|end|>"), "<|begin|> $A"
    return finished(
        core, begin, f"{begin} <|begin|> $B", bos_token="<|begin|>", eos_token="<|end|>", padding_side="left", **BARE
    )


def qwen_bytes():
    return finished(
        byte_pairs("<|pad|>", "<|end|>"), pad_token="<|pad|>", eos_token="<|end|>", padding_side="left", **BARE
    )


def gemma_bytes():
    """As Llama's, and with a token of its own for padding."""
    core, begin = byte_pairs("<pad>", "<eos>", "<bos>"), "<bos> $A"
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"}
    return finished(core, begin, f"{begin} <bos> $B", padding_side="left", **names, **BARE)


def bloom_bytes():
    core = byte_pairs("<unk>", "<s>", "</s>", "<pad>")
    return finished(core, eos_token="</s>", pad_token="<pad>", unk_token="<unk>", padding_side="left", **BARE)


class Kind(NamedTuple):
    """A kind of checkpoint, and what of a grader of it is meant to be trained."""

    model: str  # the class that it was saved from
    tokenizer: Any
    sizes: dict
    head: set[str]
    lora: set[str]  # the adapted layers' own names
    after: set[str] = frozenset()  # what works between the blocks and the head
    stack: str = ""  # where the blocks are of which "last layers" trains the last two


WIDE = {"initializer_range": 0.2}  # weights so wide that each of them shows in the answer
SMALL = WIDE | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
NARROW = SMALL | {"embedding_size": 16}
GROUPED = SMALL | {"num_key_value_heads": 1, "pad_token_id": None, "bos_token_id": 0, "eos_token_id": 1}
ROBERTA_SIZES = SMALL | {"pad_token_id": 1, "type_vocab_size": 1}
DEBERTA = SMALL | {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "type_vocab_size": 0,
}
MODERN = SMALL | {"local_attention": 8, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None}
MODERN |= {"cls_token_id": 2, "sep_token_id": 3}
GPT2 = WIDE | {"n_embd": 32, "n_layer": 3, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
OPT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "ffn_dim": 64, "word_embed_proj_dim": 16}
OPT |= {"max_position_embeddings": 64, "do_layer_norm_before": False, "init_std": 0.2}
# heads wider than the layers' share of them, and layers that see only so many tokens back: fewer than a chat has, more than a text
GEMMA = GROUPED | {"head_dim": 16, "sliding_window": 24, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
GEMMA |= {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
BLOOM = WIDE | {"hidden_size": 32, "n_layer": 3, "n_head": 2, "pad_token_id": 3}
FALCON = WIDE | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
ALIBI = FALCON | {"alibi": True, "multi_query": False}
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_heads": 2, "decoder_start_token_id": 0}
DISTIL = WIDE | {"dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 64, "max_position_embeddings": 64}
QV, QV_PROJ, FUSED, CLASSIFIER, SCORE = (
    {"query", "value"},
    {"q_proj", "v_proj"},
    {"query_key_value"},
    {"classifier"},
    {"score"},
)
DISTIL_LINEAR = {"q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"}
LAST_NORM = {"transformer.ln_f"}

KINDS = {
    "BERT": Kind("BertModel", wordpiece, SMALL, CLASSIFIER, QV, {"bert.pooler.dense"}, "bert.encoder.layer"),
    "BERT of masked words": Kind(
        "BertForMaskedLM",
        wordpiece,
        SMALL,
        CLASSIFIER | {"bert.pooler"},
        QV,
        stack="bert.encoder.layer",
    ),
    "DistilBERT": Kind(
        "DistilBertForMaskedLM",
        wordpiece,
        DISTIL,
        CLASSIFIER | {"pre_classifier"},
        DISTIL_LINEAR,
        stack="distilbert.transformer.layer",
    ),
    "RoBERTa": Kind("RobertaForMaskedLM", roberta_bytes, ROBERTA_SIZES, CLASSIFIER, QV, stack="roberta.encoder.layer"),
    "XLM-R": Kind(
        "XLMRobertaForMaskedLM", roberta_pieces, ROBERTA_SIZES, CLASSIFIER, QV, stack="roberta.encoder.layer"
    ),
    "ELECTRA": Kind("ElectraForPreTraining", wordpiece, NARROW, CLASSIFIER, QV, stack="electra.encoder.layer"),
    "ALBERT": Kind(
        "AlbertForMaskedLM",
        albert_pieces,
        NARROW,
        CLASSIFIER | {"albert.pooler"},
        QV,
        stack="albert.encoder.albert_layer_groups",
    ),
    "DeBERTa-v2": Kind(
        "DebertaV2ForMaskedLM",
        albert_pieces,
        DEBERTA,
        CLASSIFIER | {"pooler"},
        {"query_proj", "value_proj"},
        stack="deberta.encoder.layer",
    ),
    "ModernBERT": Kind(
        "ModernBertForMaskedLM",
        wordpiece,
        MODERN,
        CLASSIFIER | {"head"},
        {"Wqkv"},
        {"model.final_norm"},
        "model.layers",
    ),
    "ModernBERT, its body": Kind(
        "ModernBertModel", wordpiece, MODERN, CLASSIFIER | {"head"}, {"Wqkv"}, {"model.final_norm"}, "model.layers"
    ),
    "GPT-2": Kind("GPT2LMHeadModel", gpt_bytes, GPT2, SCORE, {"c_attn"}, LAST_NORM, "transformer.h"),
    "OPT": Kind(
        "OPTForCausalLM", opt_bytes, OPT, SCORE, QV_PROJ, {"model.decoder.project_out"}, "model.decoder.layers"
    ),
    "Llama": Kind("LlamaForCausalLM", llama_bytes, GROUPED, SCORE, QV_PROJ, {"model.norm"}, "model.layers"),
    "Qwen2": Kind("Qwen2ForCausalLM", qwen_bytes, GROUPED, SCORE, QV_PROJ, {"model.norm"}, "model.layers"),
    "Qwen3": Kind(
        "Qwen3ForCausalLM", qwen_bytes, GROUPED | {"head_dim": 16}, SCORE, QV_PROJ, {"model.norm"}, "model.layers"
    ),
    "Gemma 3": Kind("Gemma3ForCausalLM", gemma_bytes, GEMMA, SCORE, QV_PROJ, {"model.norm"}, "model.layers"),
    "BLOOM": Kind("BloomForCausalLM", bloom_bytes, BLOOM, SCORE, FUSED, LAST_NORM, "transformer.h"),
    "Falcon": Kind("FalconForCausalLM", gpt_bytes, FALCON, SCORE, FUSED, LAST_NORM, "transformer.h"),
    "Falcon with ALiBi": Kind("FalconForCausalLM", gpt_bytes, ALIBI, SCORE, FUSED, LAST_NORM, "transformer.h"),
    "T5": Kind(
        "T5ForConditionalGeneration",
        t5_pieces,
        T5,
        {"classification_head"},
        {"q", "v"},
        {"transformer.decoder.final_layer_norm"},
        "transformer.decoder.block",
    ),
    "mT5": Kind(
        "MT5ForConditionalGeneration",
        t5_pieces,
        T5 | {"tie_word_embeddings": False},
        {"classification_head"},
        {"q", "v"},
        {"transformer.decoder.final_layer_norm"},
        "transformer.decoder.block",
    ),
}
DECODERS = [name for name, kind in KINDS.items() if kind.model.endswith(("CausalLM", "LMHeadModel"))]


def checkpoint(name, folder):
    """A checkpoint of one of KINDS."""
    kind, tokenizer = KINDS[name], KINDS[name].tokenizer()
    model = getattr(transformers, kind.model)
    torch.manual_seed(1)
    model(model.config_class(vocab_size=len(tokenizer), **kind.sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
