"""A CSV is read as it is written, whatever wrote it; what can't be read is named with its line and a mend that works."""

import random
import tracemalloc

import pytest

from course_utils import columns, tables

CHINESE = ["右眼视网膜多发微血管瘤，散在出血。", "左眼未见明显异常。", "双眼后极部可见硬性渗出，黄斑水肿。"]
TAIWAN = ["右眼視網膜多發微血管瘤，散在出血。", "左眼未見明顯異常。", "雙眼後極部可見硬性滲出，黃斑水腫。"]
JAPANESE = ["右眼網膜に多発する毛細血管瘤、点状出血あり。", "左眼は異常なし。", "両眼に硬性白斑、黄斑浮腫を認める。"]
FRENCH = ["Œdème maculaire de l’œil droit, hémorragies.", "Pas de rétinopathie à gauche."]
GERMAN = ["Rechtes Auge: Blutungen, Ödem.", "Größere Gefäßneubildungen", "Links keine Auffälligkeiten"]


@pytest.fixture
def write(tmp_path):
    def write(content, encoding="utf-8"):
        path = tmp_path / "mine.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def file_of(texts, rows=1, separator=",", end="\n"):
    lines = [f'"{texts[i % len(texts)]}"{separator}0{i % 3}' for i in range(rows)]
    return end.join([f"text{separator}label", *lines, ""])


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize(
    ("texts", "encoding", "said"),
    [
        (CHINESE, "utf-8", None),
        (CHINESE, "utf-8-sig", None),
        (CHINESE, "gbk", "GB18030"),
        (CHINESE, "gb18030", "GB18030"),
        (TAIWAN, "big5", "Big5"),
        (JAPANESE, "cp932", "Shift-JIS"),
        (CHINESE, "utf-16", "UTF-16"),
        (CHINESE, "utf-16-le", "UTF-16-LE"),
        (CHINESE, "utf-16-be", "UTF-16-BE"),
        (FRENCH, "cp1252", "Windows-1252"),
        (GERMAN, "cp1252", "Windows-1252"),
        (["Sjögren, naïve café – œdème"], "cp1252", "Windows-1252"),
    ],
)
def test_each_encoding_is_found_and_said(write, texts, encoding, said, rows):
    for separator, end in ((",", "\n"), (";", "\r\n"), ("\t", "\r")):
        table = tables.read(write(file_of(texts, rows, separator, end), encoding))
        assert [fields for _, fields in table] == [[texts[i % len(texts)], f"0{i % 3}"] for i in range(rows)]
        assert table.header == ["text", "label"] and table.separator == separator
        assert len(table.notes) == (0 if separator == "," and not said else 1)
        assert said is None or f"is read as {said}" in table.notes[0]


def test_a_named_encoding_and_separator_are_taken_and_nothing_is_said(write):
    polish = "text;label\n" + "Obrzęk plamki żółtej, krwotoki w siatkówce;1\n" * 2
    table = tables.read(write(polish, "cp1250"), encoding="cp1250", separator=";")
    assert (
        table.notes == []
        and [fields for _, fields in table] == [["Obrzęk plamki żółtej, krwotoki w siatkówce", "1"]] * 2
    )
    assert tables.read(write(polish, "utf-8-sig"), encoding="UTF8").header == ["text", "label"]
    guessed = tables.read(write(polish, "cp1250"))
    assert 'Windows-1252 ("Obrzêk"; if that is wrong, name the encoding: cp1250 makes it "Obrzęk")' in guessed.notes[0]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "UTF-32LE"])
def test_a_byte_order_mark_is_no_part_of_the_first_column_s_name(write, encoding):
    table = tables.read(write("\ufefftext,label\na,1\n", encoding), encoding=encoding)
    assert table.header == ["text", "label"] and [fields for _, fields in table] == [["a", "1"]]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "klingon", "rot13", "zip", "hex"])
def test_a_named_encoding_that_does_not_fit_is_refused_with_one_that_does(write, encoding):
    path = write(file_of(CHINESE, 40), "gbk")
    with pytest.raises(tables.TableError, match='As encoding="gb18030" all of it can be read') as refused:
        tables.read(path, encoding=encoding)
    assert refused.value.fault.kind == "wrong encoding"
    assert len(list(tables.read(path, encoding="gb18030"))) == 40


def test_an_encoding_that_is_not_taken_without_asking_is_named_and_reads_the_file(write):
    path = write(file_of(["Отёк макулы правого глаза, кровоизлияния."], 3), "cp1251")
    with pytest.raises(tables.TableError, match='line 2: .* Name it: encoding="cp1251" reads all of it'):
        tables.read(path)
    assert [fields[0][:4] for _, fields in tables.read(path, encoding="cp1251")] == ["Отёк"] * 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_utf8_with_some_stray_bytes_loses_those_rows_alone(write, end):
    lines = file_of(FRENCH, 40).encode().split(b"\n")
    lines[17], lines[30] = b'"l\x92oeil",1', b"x\x85,1"
    table = tables.read(write(end.join(lines)))
    faults = [record for record in table.records() if record.fault]
    assert table.notes == [] and [(record.line, record.fault.column) for record in faults] == [
        (18, "text"),
        (31, "text"),
    ]
    assert (
        faults[0].fault.what
        == 'The byte 0x92 here is not UTF-8, as the rest of the file is; in Windows-1252 it is "’".'
    )
    assert "leaves 2 replacement characters" in faults[0].fault.mend and len(list(table)) == 40


def test_zero_bytes_in_a_text_cost_its_row_and_many_make_a_file_no_csv(write):
    rows = [f"report {i} of some words,1\n" for i in range(100)]
    rows[7] = "report\0,1\n"
    faults = [record for record in tables.read(write("text,label\n" + "".join(rows))).records() if record.fault]
    assert [(record.line, record.fault.column) for record in faults] == [(9, "text")]
    with pytest.raises(tables.TableError, match="binary"):
        tables.read(write("text,label\n" + "a\0b\0\0,1\n" * 9))


def test_excels_first_line_names_the_separator(write):
    table = tables.read(write('sep=;\ntext;label;id\n"a;b";0,5;00166\nc, d;1;2\n', "utf-8-sig"))
    assert table.separator == ";" and list(table) == [(3, ["a;b", "0,5", "00166"]), (4, ["c, d", "1", "2"])]


@pytest.mark.parametrize(
    ("content", "separator"),
    [
        ("text,label\na; b; c,1\nd; e; f,2\n", ","),
        ("text, free;label\na, b;1\nc;2\n", ";"),
        ("text\tlabel\na, b, c;\t1\n", "\t"),
        ("text,label\na, b,1\nc, d,2\n", ","),
        ("text\na, b\nc; d\n", ","),
    ],
)
def test_the_separator_is_the_one_that_makes_rows_alike(write, content, separator):
    assert tables.read(write(content)).separator == separator


def test_a_row_has_as_many_fields_as_the_header_or_a_fault(write):
    table = tables.read(write('a,b\n1,2\n1, 2,3\n\n1\n"open,2\n3,"four\nfive"\n6,7'))
    kinds = [(record.line, record.fault and record.fault.kind) for record in table.records()]
    assert kinds == [
        (2, None),
        (3, "wrong number of fields"),
        (4, "blank line"),
        (5, "wrong number of fields"),
        (6, "broken quote"),
        (7, None),
        (9, None),
    ]
    assert dict(table)[7] == ["3", "four\nfive"] and dict(table)[6] is None and dict(table)[9] == ["6", "7"]


def test_rows_that_a_quote_has_glued_together_are_taken_apart(write):
    glued = 'eye,text\nleft,"haemorrhages\nright,no retinopathy\nleft,disc 3"\nright,mild\n'
    records = list(tables.read(write(glued)).records())
    assert [record.fields for record in records] == [
        None,
        ["right", "no retinopathy"],
        ["left", 'disc 3"'],
        ["right", "mild"],
    ]
    whole = 'eye,text\nleft,"Right eye:\nMA, drusen\nno CME"\n"left","two\nlines"\n'
    assert [record.fault for record in tables.read(write(whole)).records()] == [None, None]


def test_a_field_without_end_does_not_fill_the_memory(write):
    table = tables.read(write("a,b\nx,1\n" + '"never closed,1\n' + "y,2\n" * 200_000))
    records = list(table.records())
    assert len(records) == 200_002 and [record.line for record in records if record.fault] == [3]


def test_memory_does_not_grow_with_the_file(write):
    def peak(rows):
        path = write("text,label\n" + "a report of some words,1\n" * rows)
        tracemalloc.start()
        assert sum(fields is not None for _, fields in tables.read(path)) == rows
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    small, large = peak(1_000), peak(100_000)
    assert large < 5_000_000 and large < small + 4_000_000  # the file has 2.5 MB; a block of it is 1 MiB


@pytest.mark.parametrize(
    ("order", "labels"), [("", []), ("[]", []), (["a"], ["a"]), ("[1, 2]", ["1", "2"]), ((2, 1), ["2", "1"])]
)
def test_an_order_is_read_as_it_comes(order, labels):
    assert columns.order_of(order) == labels


def shares(patients, labels):
    homes = columns.divide(patients, labels, columns.SPLITS)
    return {name: [who for who, home in homes.items() if home == name] for name in columns.SPLITS}


def test_patients_are_divided_70_10_20_within_each_label():
    patients = [f"P{i // 2}" for i in range(2_000)]
    labels = ["rare" if i // 2 < 10 else "some" if i // 2 < 210 else "usual" for i in range(2_000)]
    parts = shares(patients, labels)
    for first, last in ((0, 10), (10, 210), (210, 1_000)):
        sizes = [sum(first <= int(who[1:]) < last for who in parts[name]) for name in columns.SPLITS]
        assert sizes == [round((last - first) * share / 100) for share in (70, 10, 20)]
    assert not {*parts["train"]} & {*parts["test"]} and sum(map(len, parts.values())) == 1_000


def test_a_patient_counts_for_the_rarest_label_and_a_rare_label_reaches_each_split():
    rng = random.Random(0)
    patients = [f"P{i % 100}" for i in range(200)]
    labels = ["grave" if i in (3, 50, 199) else rng.choice(["none", "mild"]) for i in range(200)]
    parts = shares(patients, labels)
    assert [len({"P3", "P50", "P99"} & {*who}) for who in parts.values()] == [1, 1, 1]
    assert shares(patients[:2], ["a", "a"]) == {"train": ["P0", "P1"], "dev": [], "test": []}


def test_the_names_decide_so_the_order_of_the_rows_does_not():
    patients, labels = [f"P{i}" for i in range(50)], ["ab"[i % 2] for i in range(50)]
    there = columns.divide(patients, labels, columns.SPLITS)
    assert there == columns.divide(patients[::-1], labels[::-1], columns.SPLITS)
    # by hand: the SHA-256 of "c" begins with 2e7d, of "b" with 3e23, of "a" with ca97: dev takes the first, test the next
    assert columns.divide("abc", "xxx", columns.SPLITS) == {"a": "train", "b": "test", "c": "dev"}


def test_dev_is_taken_from_train_though_the_file_names_the_courses_fourth_split():
    parts = ["train"] * 16 + ["test", "test", "dev_unseen", "dev_unseen"]
    split, said = columns.assign(parts, [f"P{i}" for i in range(20)], ["a"] * 20)
    assert split[16:] == parts[16:] and set(split[:16]) == {"train", "dev"} and "no dev" in said[0]
    assert columns.assign(["train", "dev", "test", "dev_unseen"], list("abcd"), ["a"] * 4)[1] == []
