#!/usr/bin/env bash
# tokenizers 0.23.3, Python 3.11.
# Training a WordPiece vocabulary twice on the same texts gives other ids. The pieces of one character
# that go on with a word (##a) are numbered in the order of a hash table that is seeded anew each time; among pairs that are
# equally frequent the lower numbers win. A pre-training run that is resumed with a
# tokenizer trained again reads other ids than its embeddings were trained for, and nothing says so: the size and the special
# tokens are the same. With a sorted alphabet given as special tokens in a second training the ids are the same each time.
# Control: byte-level BPE with its alphabet given gives the same ids.
# Seen in five trainings each: WordPiece five vocabularies; WordPiece with letters given one; byte-level BPE one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet --disable-pip-version-check "tokenizers==0.23.3"
cat >"$work/train.py" <<'PY'
import sys
from pydoc_data.topics import topics
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

texts, special = [topics[name] for name in sorted(topics)], ["[PAD]", "[UNK]"]


def wordpiece(first, size):
    core = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    core.normalizer, core.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    core.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False))
    return core.get_vocab()


def byte_level():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False))
    return core.get_vocab()


if sys.argv[1] == "plain":
    found = wordpiece(special, 3000)
elif sys.argv[1] == "given":
    letters = sorted(p for p in wordpiece(special, 0) if len(p) == 3 and p.startswith("##"))
    found = wordpiece(special + letters, 3000)
else:
    found = byte_level()
print(len(found), sorted(found.items()))
PY
different() { for _ in 1 2 3 4 5; do "$work/env/bin/python" "$work/train.py" "$1" | sha256sum; done | sort -u | wc -l; }
still() { echo "No longer so: $1"; exit 1; }
plain=$(different plain) given=$(different given) bytes=$(different bytes)
echo "vocabularies in five trainings: WordPiece $plain, with letters given $given, byte-level BPE $bytes"
test "$plain" -gt 1 || still "WordPiece training gives other ids each time."
test "$given" -eq 1 || still "with letters given the ids are the same each time."
test "$bytes" -eq 1 || still "byte-level BPE gives the same ids each time."
echo "As found: the same texts, other ids."
