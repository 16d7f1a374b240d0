"""What a pre-training run needs: a recipe says how its model is built, what it reads and how it is judged; `bases` runs it."""

import json
from dataclasses import dataclass, fields, replace

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers


@dataclass(frozen=True)
class Recipe:
    """The settings of a run, and what depends on them. Each kind of model adds its own settings and gives its own methods."""

    name: str
    steps: int
    warm_up: int
    rate: float  # the highest learning rate
    grow_at: int = 0  # the step at which the model gets its other layers; 0: it has all of them from the start

    def tokenizer(self):
        """The tokenizer, made anew: the same bytes each time."""
        raise NotImplementedError

    def build(self, tokenizer, step):
        """The model, with random weights, as it is at this step. Given a batch, it returns a dictionary of losses."""
        raise NotImplementedError

    def grow(self, model, step):
        """The model with more layers if this is the step for it, else None."""
        return None

    def batches(self, tokenizer, rng, n, step=None):
        """n batches as they are at this step, or as they are at the end of the run."""
        raise NotImplementedError

    def evaluate(self, model, tokenizer):
        """Figures on held-out text, as {name: number}."""
        raise NotImplementedError

    def watch(self, model, tokenizer):
        """The figures of the run's curve, as {name: number}; none of them is of the test split."""
        return self.evaluate(model, tokenizer)

    def plain(self, model):
        """The part that ships."""
        return model.model

    def heads(self, model):
        """Weights that ship beside it, as {name: tensor}."""
        return {}


def changed(recipe, settings):
    """The recipe with some settings changed, from texts such as "share=0.3". Raises ValueError for one that it does not have."""
    known, changes = {field.name: getattr(recipe, field.name) for field in fields(recipe)}, {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known or key == "name":
            raise ValueError(
                f"{recipe.name} has no setting {key!r}. It has: {', '.join(k for k in known if k != 'name')}."
            )
        try:
            changes[key] = type(known[key])(json.loads(value))
        except (ValueError, TypeError):
            raise ValueError(f"{value!r} can't be the {key} of {recipe.name}; {known[key]!r} can.") from None
    return replace(recipe, **changes)


def wordpiece(texts, size, special, unknown, longest_word=100):
    """A WordPiece tokenizer in lower case that splits Chinese into characters, trained on texts: the same each time.

    The library numbers the pieces of one character that go on with a word (##a) in the order of a hash table, and among pairs that
    are equally frequent the lower numbers win. So it is trained twice: to see which of these pieces there are, and then with
    their numbers given, as if they were special.
    """

    def model(**known):
        return models.WordPiece(**known, unk_token=unknown, max_input_chars_per_word=longest_word)

    def vocabulary(first, n):
        core = blank_wordpiece(model())
        core.train_from_iterator(
            texts, trainers.WordPieceTrainer(vocab_size=n, special_tokens=first, show_progress=False)
        )
        return core.get_vocab()

    letters = sorted(piece for piece in vocabulary(special, n=0) if len(piece) == 3 and piece.startswith("##"))
    core = blank_wordpiece(model(vocab=vocabulary(special + letters, n=size)))
    core.add_special_tokens(special)
    return core


def blank_wordpiece(model):
    """A tokenizer around a WordPiece model that splits and joins text as BERT's does."""
    core = Tokenizer(model)
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return core
