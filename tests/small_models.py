"""Tiny random checkpoints with the quirks of the real ones, made in a moment."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
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
