"""Read a CSV strictly: what it takes without asking it says in a note, and what it refuses it refuses with a mend.

    table = tables.read("my_reports.csv")
    for line, fields in table: ...  # fields is None where the row is broken; table.records() says why

Commas, semicolons, tabs and bars between the columns; UTF-8, UTF-16, Windows-1252, GB18030, Big5 and Shift-JIS; Excel's
own exports. Validation, loading and serving all read with this. A file is streamed: however long, it is never in memory.
"""

import codecs
import csv
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

FILE_STARTS = {  # the first bytes of files that are sometimes renamed to .csv
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "a web page (HTML or XML)",
}
MARKS = {  # byte order marks, the longer of two that begin alike first
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8 = "utf-8-sig"  # the mark at the start is optional
WESTERN = {"cp1252": "Windows-1252"}
EASTERN = {"gb18030": "GB18030", "big5hkscs": "Big5", "cp932": "Shift-JIS"}
GUESSED = WESTERN | EASTERN
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
BLOCK = 1 << 20  # bytes
SAMPLE = 200_000  # bytes of lines that are not plain ASCII: what an encoding is guessed from
NO_TEXT = {"", "na", "n/a", "nan", "none", "null"}  # what programs write for an empty cell
BROKEN_QUOTE = (
    "A quote opens here and is not closed as it should, or a field has more than {:,} characters.",
    'Close it, or write each quote inside a text twice (""). This line is left out.',
)


class Fault(NamedTuple):
    """What is wrong with a file or a row: the kind, as `validate.KINDS` names it, what it is, and how to mend it.

    `found` are the fields of a row that has too many or too few.
    """

    kind: str
    what: str
    mend: str
    column: str | None = None
    found: Sequence[str] = ()


Glued = Callable[[list[str]], bool]


class Record(NamedTuple):
    """A record of a file: its first line, and either its fields or what makes it no row of the table."""

    line: int
    fields: list[str] | None
    fault: Fault | None


class TableError(ValueError):
    """A file that can't be read as a table. Has the `fault` and the `line` (None: it is about the whole file)."""

    def __init__(self, path: Path, fault: Fault, line: int | None = None):
        super().__init__(f"{path.name}{f', line {line}' if line else ''}: {fault.what} {fault.mend}")
        self.fault, self.line = fault, line


@dataclass(frozen=True)
class Table:
    """A file that can be read as a table: how it is written, the names of its columns, and what had to be guessed."""

    path: Path
    header: list[str]
    encoding: str
    separator: str
    notes: list[str] = field(default_factory=list)  # a sentence each; empty for UTF-8 with commas
    skipped: int = 0  # lines above the header: Excel's "sep=;"
    stray_mend: str = ""  # how to mend the few bytes that are not UTF-8, where the rest of the file is

    def __iter__(self) -> Iterator[tuple[int, list[str] | None]]:
        """Yield (line, fields) for each record below the header, fields being None where it is no row of the table."""
        return ((line, fields) for line, fields, _ in self.records())

    def records(self, glued: Glued | None = None) -> Iterator[Record]:
        """Yield a Record for each row below the header and for each broken one.

        A row has as many fields as the header; they are as they are written, spaces and all. `glued` is what `split` takes.
        """
        with _opened(self.path, self.encoding, "surrogateescape" if self.stray_mend else "strict") as lines:
            for line, fields in itertools.islice(split(lines, self.separator, glued), self.skipped + 1, None):
                fault = self._fault(fields)
                yield Record(line, None if fault else fields, fault)

    def _fault(self, fields: list[str] | None) -> Fault | None:
        """Return what makes a record no row of the table, or None."""
        if fields is None:
            what, mend = BROKEN_QUOTE
            return Fault("broken quote", what.format(csv.field_size_limit()), mend)
        if not fields:
            return Fault("blank line", "The line is blank.", "Delete it.")
        if len(fields) != len(self.header):
            what = f"The row has {len(fields)} fields and the header {len(self.header)}."
            mend = f"Put a text that holds {self._sign()} in double quotes."
            return Fault("wrong number of fields", what, mend, found=fields)
        for name, value in zip(self.header, fields, strict=True):
            if "\0" in value:
                return Fault("wrong encoding", "Zero bytes stand here, which are no text.", "Take them out.", name)
            if self.stray_mend and (stray := re.search("[\udc80-\udcff]", value)):
                return Fault("wrong encoding", _stray(stray[0]), self.stray_mend, name)
        return None

    def _sign(self) -> str:
        return SEPARATORS.get(self.separator, f'"{self.separator}"')


def read(path: str | Path, encoding: str = "", separator: str = "") -> Table:
    """Look at a whole file and return the Table that it is.

    Takes the file and, to overrule what is found, its encoding (a name that Python knows) and the sign between its columns.
    Raises FileNotFoundError if there is no such file, TableError if it is no table or not in the encoding that is named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check the folder and the spelling.")
    _refuse_other_files(path)
    notes, stray_mend = [], ""
    if encoding:
        _try_named(path, encoding)
        name, marked = codecs.lookup(encoding).name, _marked(path)
        encoding = (
            UTF8 if name == "utf-8" else marked if marked and name in (f"{marked}-le", f"{marked}-be") else encoding
        )
    else:
        encoding, stray_mend, hint = _find_encoding(path)
        if encoding != UTF8:
            notes.append(f"as {GUESSED.get(encoding, encoding.upper())}{hint}")
    errors = "surrogateescape" if stray_mend else "strict"
    with _opened(path, encoding, errors) as lines:
        head = list(itertools.islice(lines, 200))
    announced = re.fullmatch(r'"?sep=(.)"?\s*', head[0]) if head else None  # Excel writes it, and reads it, as line 1
    skipped = 1 if announced else 0
    sign = separator or (announced[1] if announced else _find_separator(head))
    if not separator and sign != ",":
        notes.append(f"with {SEPARATORS.get(sign, repr(sign))} between the columns")
    header = next((fields for _, fields in itertools.islice(split(head, sign), skipped, None)), None)
    said = [f"{path.name} is read {' and '.join(notes)}."] if notes else []
    return Table(path, [name.strip() for name in header or []], encoding, sign, said, skipped, stray_mend)


def split(
    lines: Iterable[str], separator: str = ",", glued: Glued | None = None
) -> Iterator[tuple[int, list[str] | None]]:
    """Yield (line, fields) for each record of a CSV, and (line, None) where a quote opens that is not closed.

    Reading goes on at the line after a broken quote, so that one stray quote does not swallow the rest of the file. A
    quote is broken, too, if it is closed some lines further on and each of these lines is a row by itself, or
    if `glued`, which knows what the columns hold, says of the lines that they are several rows.
    """
    unread, again, used, size = iter(lines), [], [], 0  # type: Iterator[str], list[str], list[str], int
    tight = re.compile(re.escape(separator) + "(?! )")  # between columns; a comma inside a text has a space after it

    def feed() -> Iterator[str]:
        while (text := again.pop() if again else next(unread, None)) is not None:
            used.append(text)
            yield text

    line, reader = 1, csv.reader(feed(), delimiter=separator, strict=True)
    while True:
        used.clear()
        try:
            fields = next(reader, None)
            size = size or len(fields or ())  # of the first record, the header
            rows = len(used) > 1 and size > 1 and all(len(tight.findall(text)) == size - 1 for text in used)
            if rows or (len(used) > 1 and glued and glued(used)):
                raise csv.Error("rows that a quote has glued together")
        except csv.Error:
            again.extend(reversed(used[1:]))
            del used[1:]
            fields, reader = None, csv.reader(feed(), delimiter=separator, strict=True)
        if not used:
            return
        yield line, fields
        line += len(used)


def no_text(field: str) -> bool:
    """Say whether a field holds nothing, or what programs write for nothing."""
    return field.strip().strip("\u200b\ufeff").strip().casefold() in NO_TEXT


def plain(name: str) -> str:
    """Return a name of a column, a part or an eye as it is compared: no case, no spaces, no signs."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _opened(path: Path, encoding: str, errors: str = "strict"):
    return path.open(encoding=encoding, errors=errors, newline="")  # the csv module wants the line ends as they are


def _refuse_other_files(path: Path) -> None:
    """Raise TableError for an empty file, and for one whose first bytes say that it is something else."""
    with path.open("rb") as file:
        start = file.read(BLOCK).removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        raise TableError(path, Fault("empty file", "The file is empty.", "Save it again from its source."))
    for magic, kind in FILE_STARTS.items():
        if start.startswith(magic):
            mend = "In the program that made it, save or export it as CSV UTF-8."
            raise TableError(path, Fault("not a CSV", f"This is not a CSV but {kind}.", mend))


def _try_named(path: Path, encoding: str) -> None:
    """Raise TableError if a file is not in the encoding that the reader has named, with one that it can be read in."""
    try:
        if _decodes(path, encoding):
            return
        what = f"Not all of the file is {encoding}."
    except LookupError:
        what = f'Python knows no encoding "{encoding}".'
    found, *_ = _find_encoding(path)
    raise TableError(path, Fault("wrong encoding", what, f'As encoding="{found}" all of it can be read.'))


def _find_encoding(path: Path) -> tuple[str, str, str]:
    """Return a file's encoding, how to mend stray bytes in it ("" if there are none), and a hint by which to judge a guess.

    Each encoding was tried on the whole file. Raises TableError if there is none that fits.
    """
    with path.open("rb") as file:
        head = file.read(BLOCK)
    marked = _marked(path)
    if marked and marked != UTF8:
        return _whole(path, marked), "", ""
    if head.count(0) > len(head) / 1000:  # in UTF-16 every second byte of a comma or a Latin letter is 0
        even, odd = head[::2].count(0), head[1::2].count(0)
        if max(even, odd) < len(head) / 20 or min(even, odd) > max(even, odd) / 10:
            raise _binary(path)
        return _whole(path, "utf-16-be" if even > odd else "utf-16-le"), "", ""
    if _decodes(path, UTF8):
        return UTF8, "", ""
    good, bad, sample = _count_lines(path)
    if good > bad or marked:
        return UTF8, _stray_mend(path), ""
    return _guess(path, sample)


def _marked(path: Path) -> str | None:
    """Return the encoding that a byte order mark at a file's start names, if there is one."""
    with path.open("rb") as file:
        head = file.read(4)
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), None)


def _decodes(path: Path, encoding: str) -> bool:
    """Say whether a whole file can be decoded, read block by block. Raises LookupError for an unknown encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        " ".encode(encoding)  # LookupError for a codec that is none of text: rot13, hex, zip
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _whole(path: Path, encoding: str) -> str:
    """Return the encoding that a file's first bytes show, if all of it can be read so; else raise TableError."""
    if _decodes(path, encoding):
        return encoding
    what = f"The file begins as {encoding} and does not go on so: it was cut short or glued together."
    raise TableError(path, Fault("wrong encoding", what, "Save it again from its source."))


def _binary(path: Path, line: int | None = None) -> TableError:
    mend = "In the program that made it, save or export it as CSV UTF-8."
    return TableError(path, Fault("not a CSV", "This is no text: it holds binary data.", mend), line)


def _count_lines(path: Path) -> tuple[int, int, bytes]:
    """Return how many lines beyond plain ASCII are UTF-8 and how many are not, and the first of the latter, as they are."""
    good, bad, size, sample = 0, 0, 0, []
    with path.open("rb") as file:
        for line in (line for part in file for line in part.splitlines(keepends=True)):  # a line may end in CR alone
            if line.isascii():
                continue
            if _is_utf8(line):
                good += 1
                continue
            bad += 1
            if size < SAMPLE:
                sample.append(line[:SAMPLE])
                size += len(line)
    return good, bad, b"".join(sample)


def _guess(path: Path, sample: bytes) -> tuple[str, str, str]:
    """Return the likeliest of the encodings that are taken without asking, "", and a hint: a word that shows the choice.

    `charset-normalizer` ranks them on the lines that are not plain ASCII, those of the likelier family first. Raises
    TableError if none of them fits the file; the message then names another that fits, if there is one.
    """
    try:
        from charset_normalizer import from_bytes  # only a file that is not UTF-8 needs it
    except ImportError as error:
        what = "This is not UTF-8, and the package charset-normalizer, which tells encodings, is not installed."
        mend = 'Name the encoding (--encoding cp1252, or encoding="cp1252"), save the file as UTF-8, or install the package.'
        raise TableError(path, Fault("wrong encoding", what, mend)) from error
    western = _accents_stand_alone(sample)
    families = (WESTERN, EASTERN) if western else (EASTERN, WESTERN)
    likely = [match.encoding for family in families for match in from_bytes(sample, cp_isolation=list(family))]
    ranked = [match.encoding for match in from_bytes(sample) if _decodes(path, match.encoding)]
    for encoding in (*likely, *(WESTERN if western else ())):  # of a few words the library may find nothing likely
        if _decodes(path, encoding):
            return encoding, "", _hint(sample, encoding, ranked)
    with path.open("rb") as file:
        line = next(number for number, bad in enumerate(file, 1) if not _is_utf8(bad))
    if not ranked:
        raise _binary(path, line)
    what = f"This is neither UTF-8 nor {', '.join(GUESSED.values())}. It looks like {ranked[0]}."
    mend = f'Name it: encoding="{ranked[0]}" reads all of it. Or save it as UTF-8: {_as_utf8(path, ranked[0])}.'
    raise TableError(path, Fault("wrong encoding", what, mend), line)


def _accents_stand_alone(sample: bytes) -> bool:
    """Say whether most bytes beyond ASCII stand in short runs, as accents do. A Chinese character is two such bytes."""
    runs = re.findall(rb"[\x80-\xff]+", sample)
    return 2 * sum(len(run) for run in runs if len(run) < 4) > sum(map(len, runs))


def _hint(sample: bytes, encoding: str, ranked: list[str]) -> str:
    """Return a word by which to judge an encoding, and how the one that the library ranks first would have it."""
    word, other = _first_word(sample, encoding), _first_word(sample, ranked[0] if ranked else encoding)
    doubt = f'; if that is wrong, name the encoding: {ranked[0]} makes it "{other}"' if word != other else ""
    return f' ("{word}"{doubt})'


def _first_word(sample: bytes, encoding: str) -> str:
    """Return the first word of a sample that is not plain ASCII, at most 20 letters of it."""
    word = re.search(r"\w*[^\W\x00-\x7f]\w*|[^\x00-\x7f]", sample.decode(encoding, errors="ignore"))
    return word[0][:20] if word else ""


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(path: Path, encoding: str, errors: str = "strict") -> str:
    """Return a line of Python that writes a file anew as UTF-8."""
    more = "" if errors == "strict" else f', errors="{errors}"'
    return f'Path("new.csv").write_text(Path("{path.name}").read_text(encoding="{encoding}"{more}), encoding="utf-8")'


def _stray_mend(path: Path) -> str:
    """Return how to mend a file that is UTF-8 but for a few bytes. It was tried: the number is that of this file."""
    with _opened(path, UTF8, "surrogateescape") as lines:
        replaced = sum(len(re.findall("[\udc80-\udcff]", line)) for line in lines)
    signs = "1 replacement character" if replaced == 1 else f"{replaced:,} replacement characters"
    return f"Write that sign again in an editor, or {_as_utf8(path, 'utf-8', 'replace')}, which leaves {signs} in the file."


def _stray(sign: str) -> str:
    """Say what a byte is that is not UTF-8, given as Python's surrogate for it."""
    byte = bytes([ord(sign) - 0xDC00])
    windows = byte.decode("cp1252", errors="ignore")
    known = f'; in Windows-1252 it is "{windows}"' if windows else ""
    return f"The byte 0x{byte[0]:02X} here is not UTF-8, as the rest of the file is{known}."


def _find_separator(head: list[str]) -> str:
    """Return the sign that splits the first lines into the most alike rows; of two, the one that makes more columns."""

    def likeness(sign: str) -> tuple[float, int]:
        sizes = [len(fields or ()) for _, fields in split(head, sign) if fields != []]
        if not sizes or sizes[0] < 2:
            return (0.0, 0)
        return (sizes[1:].count(sizes[0]) + 1) / len(sizes), sizes[0]

    return max(SEPARATORS, key=likeness)
