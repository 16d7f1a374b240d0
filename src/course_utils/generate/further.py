"""Pre-trains a real encoder further, with masked words, on the unlabelled reports that our own bases read.

The text, the masking and the run are those of `tiny-plain`; the model, its tokenizer and its words are the real one's. Nothing ships: the
checkpoint lies in build/further/, and a run that was stopped goes on from there.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from transformers import AutoTokenizer, BertModel

from course_utils import paths

from . import bases, curve, tiny_biobert

WORK = paths.BUILD / "further"
RATE, WARM_UP = 2e-4, 0.06  # the highest learning rate, and the share of the steps in which it rises


@dataclass(frozen=True)
class Further(tiny_biobert.Bert):
    """A run that begins with the weights of a checkpoint, where our bases begin with random ones."""

    start: str = field(default="", repr=False)  # the folder of the checkpoint, which may be moved
    weights: str = ""  # the SHA-256 of its weights: other weights make another run

    def tokenizer(self):
        """The checkpoint's own."""
        return AutoTokenizer.from_pretrained(self.start)

    def build(self, tokenizer, step):
        """The checkpoint with a head for masked words, whose table is that of the words that it reads."""
        bert = BertModel.from_pretrained(self.start)
        reader = tiny_biobert.Reader(bert.config)
        reader.bert = bert
        return reader

    def watch(self, model, tokenizer):
        """The loss of masked words on held-out text: a probe at each point would cost more than the steps between."""
        return self.evaluate(model, tokenizer, n=5)


def recipe(start: str, steps: int) -> Further:
    """Return the run of so many steps that begins with a checkpoint."""
    folder = Path(start)
    return Further(
        f"{folder.name}-further-{steps}",
        steps=steps,
        warm_up=max(1, round(WARM_UP * steps)),
        rate=RATE,
        start=str(folder),
        weights=paths.sha256(folder / "model.safetensors"),
    )


def place(start: str, steps: int) -> Path:
    """Return where the checkpoint lies that was pre-trained further for so many steps; other weights have another place."""
    run = recipe(start, steps)
    return WORK / f"{run.name}-{run.weights[:8]}" / run.name


def made(start: str, steps: int) -> list[dict]:
    """Pre-train a checkpoint further for so many steps, if that is not done yet; return the points of the run's curve.

    Raises ValueError if a run lies in its place that stands on something else.
    """
    folder = place(start, steps)
    if not folder.exists():
        run = recipe(start, steps)
        bases.train(run, folder.parent)
        leave(run, folder.parent, folder)
    return curve.points(folder.parent / "curve.jsonl")


def leave(run: Further, work: Path, folder: Path) -> None:
    """Write the plain model of a run that is done, whole or not at all."""
    tokenizer = run.tokenizer()
    model, *_ = bases.load_checkpoint(work, run, tokenizer, bases.fingerprints(run, tokenizer))
    part = work / ".part"
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    run.plain(model).save_pretrained(part)
    run.tokenizer().save_pretrained(part)  # a new one: one that was used remembers how it padded
    os.replace(part, folder)
