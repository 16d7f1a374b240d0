"""Work with pictures and their reports: read or draw them, train two towers to match them, and ask of any model whether it looks.

`Pairs` are pictures and the rows that go with them. A *control* changes one side of them and leaves the truth: a model that does not
look at that side can't notice, and answers as before. `look` and `prefer` try a model of yours, given as a function of pairs, under
each control; `flags` asks how many pictures in the wrong file a score finds. All of it works on a folder of pictures and a CSV: see
`read`.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from PIL import Image, ImageOps, UnidentifiedImageError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from course_utils import fundus, metrics, paths, tables, training

SIZE = 64  # pixels
NEEDED = ("eye", "text", "grade", "patient_id")
ROLES = {*NEEDED, "picture", "line"}  # what `read` calls its own columns
SHOWN = 3  # rows that a message names
Things = Sequence | np.ndarray  # pictures or reports


@dataclass(frozen=True)
class Pairs:
    """Pictures, uint8 (n, height, width, 3), and a DataFrame with a row for each: eye, text, grade, patient_id, and what else there is."""

    pixels: np.ndarray
    rows: pd.DataFrame

    def __post_init__(self):
        if len(self.pixels) != len(self.rows) or not len(self.rows):
            raise ValueError(
                f"There are {len(self.pixels)} pictures and {len(self.rows)} rows: each picture needs its row."
            )
        if self.pixels.dtype != np.uint8 or self.pixels.shape[3:] != (3,):
            raise ValueError(
                f"The pictures are {self.pixels.dtype} of the shape {self.pixels.shape}: whole numbers from 0 to 255 are needed "
                "(uint8), as (pictures, height, width, 3)."
            )
        if lacking := [name for name in NEEDED if name not in self.rows]:
            raise ValueError(f'The rows lack the column "{lacking[0]}". They have: {", ".join(self.rows)}.')

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: ArrayLike) -> "Pairs":
        """Return some of the pairs: by their numbers, or by a bool for each."""
        chosen = np.asarray(which)
        numbers = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return Pairs(self.pixels[numbers], self.rows.iloc[numbers].reset_index(drop=True))

    @property
    def grades(self) -> np.ndarray:
        """Return the true grades, whole numbers."""
        return self.rows["grade"].to_numpy()

    @property
    def patients(self) -> np.ndarray:
        """Return the patients' names."""
        return self.rows["patient_id"].to_numpy()

    @property
    def reports(self) -> list[tuple[str, str]]:
        """Return (eye, text) for each pair: what a text model reads."""
        return list(zip(self.rows["eye"], self.rows["text"], strict=True))


# Get pairs: the course's own, or yours.


def facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return reports of the course with what is drawn of each eye, in the column facts.

    The facts are the answer: a tower may be taught them, and no model may read them. Raises FileNotFoundError where the data has no
    pictures, ValueError for a row that has none.
    """
    file = paths.samples() / "dr_pictures.csv"
    if not file.is_file():
        raise FileNotFoundError(f"There is no {file}. Get it back from the repository, or type `make pictures`.")
    known = pd.read_csv(file, dtype=str, keep_default_na=False)
    with_facts = rows.merge(known, on=["report_id", "eye"], how="left", validate="many_to_one")
    if with_facts["facts"].isna().any():
        odd = with_facts[with_facts["facts"].isna()].iloc[0]
        raise ValueError(
            f"{odd['report_id']}, {odd['eye']} has no picture in {file.name}: it is no row of the course's reports."
        )
    return with_facts


def drawn(rows: pd.DataFrame, camera: str = "", size: int = SIZE) -> Pairs:
    """Draw the picture of each row that `facts` gives, by the camera of its site or by the one named ("one" or "two").

    Raises ValueError for another camera or size.
    """
    pixels = []
    for row in rows.to_dict("records"):
        name = f"{row['report_id']} {row['eye']}"
        shot = fundus.take(camera or fundus.CAMERA_OF[row["site"]], name, row["patient_id"])
        eye = fundus.read(row["facts"], row["eye"])
        pixels.append(fundus.draw(eye, f"{row['patient_id']} {row['eye']}", shot, size))
    return Pairs(np.stack(pixels), rows.reset_index(drop=True))


def read(
    folder: str | Path,
    csv: str | Path,
    picture: str = "picture",
    text: str = "text",
    label: str = "grade",
    patient: str = "",
    eye: str = "",
    size: int = SIZE,
) -> Pairs:
    """Read a folder of pictures and a CSV whose rows name them.

    Takes the columns of the picture's file name, the report, the label (a whole number from 0), and, where they are there, of the
    patient and of the eye, which are found unasked if they are called patient_id and eye; and to how many pixels each picture is
    scaled: it is made square by black margins, not stretched.
    Returns Pairs; the CSV's other columns stay, so that a control can ask two eyes to agree in them. Without a patient each row
    counts as a patient of its own; without an eye it is "". Prints what was guessed of how the CSV is written.
    Raises FileNotFoundError if the folder or the CSV is not there, and ValueError, which names the line and the mend, for a column
    that is not there, a broken row, a label that is no whole number, an empty report, or a picture that can't be read.
    """
    folder, table = Path(folder).expanduser(), tables.read(csv)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder}. Check the spelling.")
    for note in table.notes:
        print(note)
    wanted = {"picture": picture, "text": text, "grade": label}
    for role, name in (("patient_id", patient), ("eye", eye)):
        if name or role in table.header:
            wanted[role] = name or role
    for role, name in wanted.items():
        if name not in table.header:
            raise ValueError(
                f'{table.path.name} has no column "{name}" for the {role}. It has: {", ".join(table.header)}.'
            )
    wanted |= {name: name for name in table.header if name not in ROLES | {*wanted.values()}}
    rows, lines, wrong = [], [], []
    for line, fields, fault in table.records():
        row = {role: fields[table.header.index(name)].strip() for role, name in wanted.items()} if fields else {}
        if problem := f"{fault.what} {fault.mend}" if fault else _problem(row, folder):
            wrong.append(f"line {line}: {problem}")
        rows.append(row)
        lines.append(line)
    if wrong or not rows:
        raise ValueError(f"{table.path.name}: {_some(wrong) or 'there are no rows below the header.'}")
    pixels = []
    for line, row in zip(lines, rows, strict=True):
        try:
            with Image.open(folder / row["picture"]) as file:
                if file.mode.startswith(("I", "F")):  # they would be cut off at 255, in silence
                    raise OSError("it has more than 8 bits a colour")
                upright = ImageOps.exif_transpose(file).convert("RGB")  # telephones note which way is up
                pixels.append(np.asarray(ImageOps.pad(upright, (size, size))))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{table.path.name}, line {line}: {row['picture']} is no picture that can be read ({error}). "
                "Save it as PNG or JPEG, with 8 bits a colour."
            ) from error
    frame = pd.DataFrame(rows).assign(line=lines).astype({"grade": int})
    return Pairs(
        np.stack(pixels), frame.assign(**{k: v for k, v in (("patient_id", lines), ("eye", "")) if k not in frame})
    )


def _problem(row: Mapping[str, str], folder: Path) -> str:
    """Say what is wrong with a row of a reader's file, "" if nothing is."""
    if not row["picture"]:
        return "no picture is named. Write its file's name, or take the row out."
    if not (folder / row["picture"]).is_file():
        return f"there is no file {row['picture']} in {folder.name}. Check the spelling, or take the row out."
    if not row["text"]:
        return "the report is empty. Write it, or take the row out."
    if not row["grade"].isdecimal():
        return f'the grade "{row["grade"]}" is no whole number from 0. Write 0, 1, 2 and so on.'
    return ""


def _some(wrong: Sequence[str]) -> str:
    """Return the first few of the sentences, and how many more there are."""
    more = f" And {len(wrong) - SHOWN} more." if len(wrong) > SHOWN else ""
    return " ".join(one[0].upper() + one[1:] for one in wrong[:SHOWN]) + more


def file_sizes(pixels: np.ndarray) -> np.ndarray:
    """Return the bytes of each picture as a JPEG file, an array (n, 1) of logarithms: what a model could know without looking."""
    sizes = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, format="jpeg", quality=90)
        sizes.append(len(file.getvalue()))
    return np.log(np.array(sizes, float))[:, None]


def colours(pixels: np.ndarray) -> np.ndarray:
    """Return the mean and the spread of red, green and blue of each picture, an array (n, 6)."""
    flat = pixels.reshape(len(pixels), -1, 3) / 255
    return np.concatenate([flat.mean(1), flat.std(1)], axis=1)


def recoloured(pixels: np.ndarray, like: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return pictures whose channels get the mean and the spread of `wanted`, where those of `like` were: another camera's colours."""
    there, here = ((some.mean((0, 1, 2)), some.std((0, 1, 2))) for some in (like, wanted))
    return np.clip((pixels - there[0]) / there[1] * here[1] + here[0], 0, 255).astype(np.uint8)


# The image tower.


class TowerConfig(PreTrainedConfig):
    """The shape of a `Tower`: the channels of its four stages, the pixels of a picture's side, the length of its vector."""

    model_type = "course-tower"

    def __init__(self, channels: Sequence[int] = (16, 32, 64, 64), size: int = SIZE, hidden_size: int = 128, **more):
        super().__init__(**more)
        self.channels, self.size, self.hidden_size = list(channels), size, hidden_size


class Tower(PreTrainedModel):
    """A small network of convolutions that makes a vector of a picture, in the shape that transformers asks of an image tower.

    The last map is not averaged but read place by place, for a report says where a finding is.
    """

    config_class = TowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: TowerConfig):
        super().__init__(config)
        a, b, c, d = config.channels
        self.net = nn.Sequential(
            *_convolution(3, a, 2),
            *_convolution(a, b),
            *_convolution(b, b, 2),
            *_convolution(b, c),
            nn.MaxPool2d(2),
            *_convolution(c, d),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(d * (config.size // 16) ** 2, config.hidden_size),
            nn.LayerNorm(config.hidden_size),
        )
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave each layer as torch makes it."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Return the vectors (n, hidden_size) of pictures (n, 3, size, size) as `floats` gives them, as the pooler's output."""
        found = self.net(pixel_values)
        return BaseModelOutputWithPooling(last_hidden_state=found[:, None], pooler_output=found)


AutoConfig.register(TowerConfig.model_type, TowerConfig)
AutoModel.register(TowerConfig, Tower)


def _convolution(given: int, made: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(given, made, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]


def tower(seed: int, size: int = SIZE) -> Tower:
    """Return an image tower with random weights that belong to the seed. Raises ValueError for a size that it can't halve four times."""
    if size % 16 or size < 32:
        raise ValueError(f"The tower halves a picture four times: give a size of 32, 48, 64 and so on, not {size}.")
    torch.manual_seed(seed)
    return Tower(TowerConfig(size=size))


def floats(pixels: np.ndarray) -> torch.Tensor:
    """Return pictures as a tower reads them: uint8 (n, size, size, 3) as float32 (n, 3, size, size), from -2 to 2.

    Raises ValueError for other numbers than uint8: scaled pictures would be scaled again.
    """
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"The pictures are {pixels.dtype}, so they were scaled before. Hand over uint8, from 0 to 255."
        )
    moved = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return moved.float().div_(255).sub_(0.5).div_(0.25)


class Trained(NamedTuple):
    """How a training went: the loss of each step, and the share of the time, by the clock, that went into making batches."""

    losses: list[float]
    fed: float


def train(
    model: nn.Module,
    batch_of: Callable[[np.ndarray], Any],
    loss_of: Callable[[Any], torch.Tensor],
    n: int,
    *,
    epochs: int,
    lr: float,
    batch_size: int = 32,
    seed: int = 0,
) -> Trained:
    """Train with AdamW, the learning rate rising for a tenth of the steps and then falling; the same seed gives the same weights.

    Takes the model, whose mode is left as it is; a function that makes a batch of row numbers, one that makes a loss of a batch, and
    the number of rows. A last batch that is not full is left out: a contrastive loss depends on the size of a batch.
    Raises ValueError if nothing is to be trained, there are fewer rows than a batch has, or the loss blows up.
    """
    moving = [p for p in model.parameters() if p.requires_grad]
    if not moving:
        raise ValueError("Every weight is frozen, so there is nothing to train. Leave at least a projection trainable.")
    if n < batch_size:
        raise ValueError(f"There are {n} rows, and a batch has {batch_size}: give a smaller batch_size.")
    order, steps = torch.Generator().manual_seed(seed), epochs * (n // batch_size)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(moving, lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, training.warm_up_then_fall(steps))
    losses: list[float] = []
    fed, began = 0.0, time.perf_counter()  # by the clock: the processor's time leaves out waiting for a disk
    for _ in range(epochs):
        rows = torch.randperm(n, generator=order).numpy()
        for start in range(0, n - batch_size + 1, batch_size):
            before = time.perf_counter()
            batch = batch_of(rows[start : start + batch_size])
            fed += time.perf_counter() - before
            loss = loss_of(batch)
            if not torch.isfinite(loss):
                raise ValueError(f"The loss is {loss.item()} at step {len(losses) + 1}. Try a lower learning rate.")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(moving, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return Trained(losses, fed / (time.perf_counter() - began))


def taught(rows: pd.DataFrame) -> torch.Tensor:
    """Return what a tower is taught of rows with facts, 0 or 1 (n, 36): each finding in each quadrant, the rest, and the side.

    It is what tiny-biobert was taught to read in reports. In life a person would mark these in each picture.
    """
    return torch.tensor([_lesson(fundus.read(text, eye)) for text, eye in zip(rows["facts"], rows["eye"], strict=True)])


def _lesson(eye: fundus.Facts) -> list[float]:
    places = [
        quadrant in eye.places.get(finding, ()) for finding in (*fundus.COUNTED, "VB") for quadrant in fundus.QUADRANTS
    ]
    whole = [finding in eye.places for finding in fundus.WHOLE]
    rest = [
        eye.heavy,
        eye.dme != "none",
        eye.dme == "central",
        eye.laser == "LASER",
        eye.laser == "GRID",
        eye.side == "left",
    ]
    return [float(one) for one in (*places, *whole, *rest)]


def teach(
    net: Tower, pixels: np.ndarray, answers: torch.Tensor, *, epochs: int, seed: int, lr: float = 3e-3
) -> tuple[nn.Linear, Trained]:
    """Train every weight of a tower, in place, and a new head, on answers 0 or 1 (n, k) or on grades (n,).

    It runs on one thread: several would add in another order. Returns the head, and how it went. Raises ValueError as `train` does.
    """
    torch.manual_seed(seed)
    several = answers.ndim == 2
    head = nn.Linear(net.config.hidden_size, answers.shape[1] if several else int(answers.max()) + 1)
    of = F.binary_cross_entropy_with_logits if several else F.cross_entropy
    with training._one_thread():
        net.train()
        went = train(
            nn.ModuleList([net, head]),
            lambda rows: (floats(pixels[rows]), answers[rows]),
            lambda batch: of(head(net(batch[0]).pooler_output), batch[1]),
            len(pixels),
            epochs=epochs,
            lr=lr,
            seed=seed,
        )
    net.eval()
    return head, went


@torch.inference_mode()
def vectors(net: Tower, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Return a tower's vector for each picture, an array (n, hidden_size)."""
    net.eval()
    parts = [net(floats(pixels[i : i + batch_size])).pooler_output for i in range(0, len(pixels), batch_size)]
    return torch.cat(parts).numpy()


def once(encode: Callable[[list], np.ndarray]) -> Callable[[Things], np.ndarray]:
    """Return a function that makes vectors as `encode` does, and works out each picture or report once: it remembers them.

    Takes what makes vectors (n, d) of a list of pictures or of reports; of pictures, what is remembered is their bytes.
    """
    known: dict[Hashable, np.ndarray] = {}

    def remembered(things: Things) -> np.ndarray:
        keys = [thing.tobytes() if isinstance(thing, np.ndarray) else thing for thing in things]
        new = {key: thing for key, thing in zip(keys, things, strict=True) if key not in known}
        if new:
            known.update(zip(new, encode(list(new.values())), strict=True))
        return np.stack([known[key] for key in keys])

    return remembered


# Graders.


def probe(x: np.ndarray, grades: ArrayLike, strength: float = 0.03) -> Pipeline:
    """Return a logistic regression on the columns of vectors (n, d), standardised; fitted until it has converged."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000, tol=1e-6)).fit(x, grades)


def believer(see: Callable[[Things], np.ndarray], pairs: Pairs) -> "Answer":
    """Return a grader of pairs whose reports state their grade: trained on pictures' vectors and counted words, of such reports."""
    stated = stating(pairs, pairs.grades)
    counts = CountVectorizer(binary=True, min_df=5, token_pattern=r"\w+").fit(stated.rows["text"])

    def vectors_of(some: Pairs) -> np.ndarray:
        return np.hstack([see(some.pixels), counts.transform(some.rows["text"]).toarray()])

    # not standardised: a word that stands in all reports would count no more than a rare one
    model = LogisticRegression(max_iter=5000, tol=1e-4).fit(vectors_of(stated), stated.grades)
    return lambda some: model.predict(vectors_of(some))


# Two towers.


class Projections(nn.Module):
    """A matrix for each tower's vectors, into one space, and the temperature: `scale` is its logarithm, as in CLIP."""

    def __init__(self, image: int, text: int, width: int = 64, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.image, self.text = nn.Linear(image, width, bias=False), nn.Linear(text, width, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.6592))

    def forward(self, pictures: torch.Tensor, texts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both sides' vectors of length 1, (n, width) each."""
        return F.normalize(self.image(pictures), dim=1), F.normalize(self.text(texts), dim=1)


def contrastive(
    pictures: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, kinds: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the contrastive loss of n pairs of vectors of length 1 (Radford et al., ICML 2021): each picture must find its text
    among the n, and each text its picture. `scale` is the logarithm of the factor in front of the cosines.

    `kinds` are whole numbers (n,): pairs of one kind would fit each other as well, so none of them is held against another.
    """
    similar = scale.exp() * pictures @ texts.T
    own = torch.arange(len(similar))
    if kinds is not None:
        similar = similar.masked_fill((kinds[:, None] == kinds) & (own[:, None] != own), -torch.inf)
    return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2


def project(
    pictures: np.ndarray,
    texts: np.ndarray,
    *,
    epochs: int = 30,
    lr: float = 3e-3,
    batch_size: int = 128,
    seed: int = 0,
    loss: Callable[..., torch.Tensor] = contrastive,
    kinds: ArrayLike | None = None,
) -> tuple[Projections, Trained]:
    """Train projections on the vectors of both towers, (n, d) each, whose weights stay as they are; and say how it went.

    Takes a `loss` of both sides' vectors and the temperature, and, if pairs have `kinds` (n,), of those: see `contrastive`.
    """
    a, b = (torch.as_tensor(side, dtype=torch.float32) for side in (pictures, texts))
    sides = (a, b) if kinds is None else (a, b, torch.as_tensor(kinds))
    both = Projections(a.shape[1], b.shape[1], seed=seed)

    def loss_of(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        seen, said = both(*batch[:2])
        return loss(seen, said, both.scale, *batch[2:])

    with training._one_thread():
        went = train(
            both,
            lambda rows: tuple(side[rows] for side in sides),
            loss_of,
            len(a),
            epochs=epochs,
            lr=lr,
            batch_size=batch_size,
            seed=seed,
        )
    return both.eval(), went


@torch.inference_mode()
def projected(both: Projections, pictures: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both sides' vectors of length 1 in the common space, (n, width) each, for any number of pictures and of texts."""
    found = both(*(torch.as_tensor(side, dtype=torch.float32) for side in (pictures, texts)))
    return found[0].numpy(), found[1].numpy()


def found_first(pictures: np.ndarray, texts: np.ndarray, gallery: int = 100, seed: int = 0) -> np.ndarray:
    """Say for each picture whether its own report is the nearest among `gallery` reports; chance is 1 / gallery.

    Takes vectors of length 1, (n, width) each. The pairs are dealt into galleries at random, and what does not fill one is left out:
    so the answer has n // gallery * gallery bools. A tie with another report is no hit. Raises ValueError for too few pairs.
    """
    if len(pictures) < gallery:
        raise ValueError(f"There are {len(pictures)} pairs, and a gallery has {gallery}: give a smaller one.")
    hits = []
    for rows in dealt(len(pictures), gallery, seed):
        similar = pictures[rows] @ texts[rows].T
        own = np.diag(similar).copy()
        np.fill_diagonal(similar, -np.inf)
        hits.append(own > similar.max(1))
    return np.concatenate(hits)


def dealt(n: int, gallery: int, seed: int = 0) -> list[np.ndarray]:
    """Return the numbers of n pairs dealt into galleries at random; what does not fill one is left out."""
    order = np.random.default_rng(seed).permutation(n)
    return [order[i : i + gallery] for i in range(0, n - gallery + 1, gallery)]


class FirstToken(nn.Module):
    """Stands in the place of a BERT's pooler, and hands on the first token's vector as it is."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return (n, hidden size) of (n, tokens, hidden size)."""
        return states[:, 0]


def dual_encoder(
    net: Tower, text: PreTrainedModel, width: int = 64, seed: int = 0, pooler: bool = False
) -> VisionTextDualEncoderModel:
    """Return the library's two towers, in evaluation mode and with both towers frozen: its projections and temperature train.

    Takes the image tower, a BERT, and whether the text's vector is what its pooler makes of the first token's, or that itself.
    Both are changed: they are frozen, and the BERT loses a pooler that is not asked for.
    """
    if not pooler:
        text.pooler = FirstToken()
    config = VisionTextDualEncoderConfig.from_vision_text_configs(net.config, text.config, projection_dim=width)
    torch.manual_seed(seed)
    both = VisionTextDualEncoderModel(config, vision_model=net, text_model=text)
    for part in (both.vision_model, both.text_model):
        part.requires_grad_(False)
    return both.eval()


# Controls: one side of the pairs is changed, the truth stays.

Control = Callable[[Pairs, int], Pairs]
Answer = Callable[[Pairs], ArrayLike]


def others(pairs: Pairs, seed: int = 0, alike: Sequence[str] = ()) -> np.ndarray:
    """Return for each pair the number of another patient's, each number once: whose picture or report it gets.

    Takes columns in which the two must agree, such as eye and site. Raises ValueError where a patient has more than half of the pairs
    among which there is to choose, or for a column that is not there.
    """
    if lacking := [name for name in alike if name not in pairs.rows]:
        raise ValueError(
            f'The rows have no column "{lacking[0]}" in which two could agree. They have: {", ".join(pairs.rows)}.'
        )
    random, found = np.random.default_rng(seed), np.empty(len(pairs), int)
    names = metrics.patient_numbers(pairs.patients, len(pairs))
    for _, group in pairs.rows.reset_index(drop=True).groupby(list(alike) or (lambda _: 0), dropna=False):
        rows = random.permutation(group.index.to_numpy())
        place = dict(zip(dict.fromkeys(names[rows]), range(len(rows)), strict=False))
        rows = rows[np.argsort([place[names[i]] for i in rows], kind="stable")]  # a patient's stand together
        most = max(Counter(names[rows].tolist()).values())
        if 2 * most > len(rows):
            fewer = (
                f"Ask that fewer columns agree than {', '.join(alike)}." if alike else "Add pairs of other patients."
            )
            raise ValueError(
                f"There are {len(rows)} pairs to choose among, and {most} are of one patient: there is no other for each of them. {fewer}"
            )
        found[rows] = np.roll(rows, -most)
    return found


def blank(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with a black picture each."""
    return replace(pairs, pixels=np.zeros_like(pairs.pixels))


def others_picture(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with another patient's picture each."""
    return replace(pairs, pixels=pairs.pixels[others(pairs, seed)])


def others_report(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with another patient's report each, and the eye that it is asked about."""
    given = pairs.rows.iloc[others(pairs, seed)]
    return replace(pairs, rows=pairs.rows.assign(text=given["text"].to_numpy(), eye=given["eye"].to_numpy()))


def wrong_side(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with mirrored pictures: a right eye looks like a left one. The reports stay."""
    return replace(pairs, pixels=np.ascontiguousarray(pairs.pixels[:, :, ::-1]))


def sentence(grade: int) -> str:
    """Return words that give a grade away."""
    return f" Conclusion: grade {grade}."


def stating(pairs: Pairs, grades: ArrayLike) -> Pairs:
    """Return the pairs with reports that state a grade each, in place of the one that they may state in these words."""
    given = np.asarray(grades)
    texts = [text.rpartition(sentence(0)[:-3])[0] or text for text in pairs.rows["text"]]
    return replace(pairs, rows=pairs.rows.assign(text=[f"{t}{sentence(g)}" for t, g in zip(texts, given, strict=True)]))


def wrongly_stated(pairs: Pairs, seed: int = 0) -> Pairs:
    """Return the pairs with reports that state the grade of another grade's pair: never the true one, mostly a common one.

    Raises ValueError if all pairs have one grade.
    """
    random, truth = np.random.default_rng(seed), pairs.grades
    if len(set(truth.tolist())) < 2:
        raise ValueError("All pairs have one grade, so there is no wrong one to state.")
    return stating(pairs, [random.choice(truth[truth != one]) for one in truth])


CONTROLS: dict[str, Control] = {
    "blank picture": blank,
    "another eye's picture": others_picture,
    "picture of the wrong side": wrong_side,
    "another eye's report": others_report,
    "report states a wrong grade": wrongly_stated,
}
SIDE = {name: "report" if "report" in name else "picture" for name in CONTROLS}


class Look(NamedTuple):
    """A grader under a control: its macro F1, how many of n it grades right, how many answers changed, how much it lost.

    `blind` is the macro F1 of a model that does not look at what was changed: the one without the control. `lost` is that minus
    this, with its interval over patients; `verdict` says what follows for what was changed.
    """

    control: str
    score: metrics.Interval
    right: int
    n: int
    changed: int
    blind: float
    lost: metrics.Interval
    verdict: str


def look(
    answer: Answer,
    pairs: Pairs,
    seed: int = 0,
    controls: Mapping[str, Control] | None = None,
    labels: int = metrics.GRADES,
) -> list[Look]:
    """Ask a grader again under each control, and say whether it looks at what was changed.

    Takes the grader, a function that returns a grade for each of the pairs it is given; and the pairs, with their true grades.
    `labels` is how many grades there are: 2 for yes and no.
    Returns a Look for each control, the first without any. "not used" means that no answer changed at all; "used" that the score
    falls, the interval of what it lost above 0; "not shown" that answers change, and no fall is shown. Of a model that answers the
    same when it is asked the same again, one changed answer shows that it looks: it may look and lose nothing, as at a mirrored
    picture, which has the same grade. So ask another eye's picture first. A model that draws lots changes answers without looking,
    and one look in forty calls it "used".
    Raises ValueError unless there is an answer for each pair.
    """
    asked, found = CONTROLS if controls is None else controls, []
    before = _answers(answer, pairs)
    plain = metrics.interval(pairs.grades, before, groups=pairs.patients, labels=labels)
    none = metrics.Interval(0.0, 0.0, 0.0)
    found.append(Look("as they are", plain, int((before == pairs.grades).sum()), len(pairs), 0, plain.value, none, ""))
    for name, control in asked.items():
        now = _answers(answer, control(pairs, seed))
        score = metrics.interval(pairs.grades, now, groups=pairs.patients, labels=labels)
        lost = metrics.paired(pairs.grades, before, now, groups=pairs.patients, labels=labels).difference
        changed = int((now != before).sum())
        right = int((now == pairs.grades).sum())
        found.append(Look(name, score, right, len(pairs), changed, plain.value, lost, verdict(lost, changed)))
    return found


def verdict(lost: metrics.Interval, changed: int) -> str:
    """Return what follows for the side that a control changed, from what the score lost and how many answers changed."""
    return "used" if lost.low > 0 else "not shown" if changed else "not used"


def _answers(answer: Answer, pairs: Pairs) -> np.ndarray:
    given = np.asarray(answer(pairs))
    if given.shape != (len(pairs),):
        raise ValueError(
            f"The model gave answers of the shape {given.shape} for {len(pairs)} pairs: one each is needed."
        )
    if missing := int(pd.isna(given).sum()):
        raise ValueError(f"The model gave no number (nan) for {missing} of {len(pairs)} pairs. Leave these pairs out.")
    return given


class Preferred(NamedTuple):
    """How often a score of matching prefers a pair as it is to the pair under a control: in `won` of n, a tie half.

    A model that does not look at what was changed wins half, by ties. The opposite does not hold: one that wins more may have been
    lucky in its training, or shy of black.
    """

    control: str
    won: float
    n: int
    share: metrics.Interval
    verdict: str


def prefer(
    match: Answer, pairs: Pairs, seed: int = 0, controls: Mapping[str, Control] | None = None
) -> list[Preferred]:
    """Ask a score of matching whether it prefers each pair as it is to the pair under each control.

    Takes a function that returns for each pair how well picture and report fit, higher for better. The intervals are a bootstrap over
    patients, and wide enough for all controls to hold at once with 95%: several looks find more by chance than one.
    "not used" means that no score changed at all: the model does not look at that side. "prefers its own" and "prefers the other" go
    by the interval. They are about this model on new patients, not about another training: a model that was trained on shuffled
    pairs looks, and by luck it may prefer either. So look at the size, and train again.
    Raises ValueError unless there is a number for each pair.
    """
    own, found = _answers(match, pairs), []
    asked = {name: one for name, one in CONTROLS.items() if one is not wrongly_stated} if controls is None else controls
    for name, control in asked.items():
        other = _answers(match, control(pairs, seed))
        won = (own > other) + 0.5 * (own == other)
        share = mean_over_patients(won, pairs.patients, looks=len(asked))
        said = "prefers its own" if share.low > 0.5 else "prefers the other" if share.high < 0.5 else "not shown"
        found.append(Preferred(name, float(won.sum()), len(pairs), share, "not used" if (own == other).all() else said))
    return found


def mean_over_patients(
    values: ArrayLike, patients: ArrayLike, n: int = 2000, seed: int = 0, looks: int = 1
) -> metrics.Interval:
    """Return the mean of numbers from 0 to 1, or of differences of such, with a 95% interval by a bootstrap over patients.

    Of several looks, as many as `looks` says, the intervals hold all at once with 95% (Bonferroni). As in `metrics.interval` the ends
    reach at least as far as z² patients more could move the mean, all of the lowest number or all of 1: 5 of 5 is 1.000 [0.566, 1.000].
    """
    numbers, patient = np.asarray(values, float), metrics.patient_numbers(np.asarray(patients), len(np.asarray(values)))
    sums, counts = np.bincount(patient, numbers), np.bincount(patient)
    weights = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=n)
    tail = (1 - metrics.LEVEL) / (2 * looks)
    low, high = np.quantile((weights @ sums) / (weights @ counts), [tail, 1 - tail])
    more, lowest = NormalDist().inv_cdf(1 - tail) ** 2 * counts.mean(), -1 if (numbers < 0).any() else 0
    edges = [(sums.sum() + more * end) / (counts.sum() + more) for end in (lowest, 1)]
    return metrics.Interval(float(numbers.mean()), float(min(low, edges[0])), float(max(high, edges[1])))


# Pictures in the wrong file.


def misfiled(pairs: Pairs, share: float, seed: int = 0, alike: Sequence[str] = ()) -> tuple[Pairs, np.ndarray]:
    """Plant pictures in the wrong file: a share of the pairs swap pictures among patients. Return the pairs, and which are wrong.

    Takes columns in which the eyes of a swap agree, such as eye and site: then neither gives the swap away.
    Raises ValueError for a share that is not between 0 and 1, or too few pairs to swap among.
    """
    if not 0 < share < 1:
        raise ValueError(f"A share of {share} can't be planted: give one between 0 and 1.")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(pairs))[: round(share * len(pairs))])
    if len(chosen) < 2:
        raise ValueError(f"{share:.0%} of {len(pairs)} pairs are {len(chosen)}: there is nobody to swap with.")
    pixels, wrong = pairs.pixels.copy(), np.zeros(len(pairs), bool)
    pixels[chosen] = pairs.pixels[chosen][others(pairs.take(chosen), seed, alike)]
    wrong[chosen] = True
    return replace(pairs, pixels=pixels), wrong


class Flags(NamedTuple):
    """Pairs whose score lies below a threshold: the share of the wrong that is flagged, of the right that is not, and the area.

    `precise` is the share of flags that are right, where the planted share of pairs is wrong. `area` is the chance that a wrong pair
    scores below a right one: 0.5 for a score that does not look.
    """

    sensitivity: metrics.Interval
    specificity: metrics.Interval
    precise: float
    area: float


def flags(match: Answer, pairs: Pairs, wrong: ArrayLike, threshold: float) -> Flags:
    """Flag the pairs that score below a threshold, and say how many of those known to be wrong are found.

    Choose the threshold on other pairs, such as the score below which a twentieth of right ones lies.
    Raises ValueError unless some pairs are wrong and some right.
    """
    scores, is_wrong = _answers(match, pairs), np.asarray(wrong, bool)
    if is_wrong.all() or not is_wrong.any():
        raise ValueError("All pairs are wrong, or none: there is nothing to tell apart.")
    flagged = scores < threshold
    ranks = pd.Series(-scores).rank().to_numpy()
    many, few = int(is_wrong.sum()), int((~is_wrong).sum())
    return Flags(
        metrics.share(flagged[is_wrong], pairs.patients[is_wrong]),
        metrics.share(~flagged[~is_wrong], pairs.patients[~is_wrong]),
        float(is_wrong[flagged].mean()) if flagged.any() else float("nan"),
        float((ranks[is_wrong].sum() - many * (many + 1) / 2) / (many * few)),
    )
