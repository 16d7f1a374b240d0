"""Reports load in their splits, whole and in order, from our file and from a user's."""

import re

import datasets
import pandas as pd
import pytest

from course_utils import columns, data, paths, validate


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def write(folder, text, name="mine.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_our_file_loads_row_for_row():
    table = pd.read_csv(paths.samples() / "dr_reports.csv", dtype=str, keep_default_na=False)
    splits = data.load_reports()
    assert list(splits) == ["train", "dev", "test", "dev_unseen"]
    assert sum(map(len, splits.values())) == len(table) == 12_000
    for name, rows in splits.items():
        expected = table[table.split == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows.to_pandas().astype(str), expected, check_dtype=False)
    assert {type(grade) for grade in splits["dev"]["grade"][:]} == {int}


def test_our_file_is_mapped_from_disk_and_no_patient_is_in_two_splits():
    splits = data.load_reports()
    assert all(rows.cache_files for rows in splits.values())
    patients = [set(rows["patient_id"]) for rows in splits.values()]
    assert sum(map(len, patients)) == len(set.union(*patients))


def test_our_file_passes_the_validator():
    report = validate.check_csv(paths.samples() / "dr_reports.csv", label="grade", group="patient_id", split="split")
    report.raise_if_bad()
    assert len(report.kept) == 12_000 and {problem.kind for problem in report.problems} <= {"long text"}


def test_our_file_is_the_same_read_as_a_users():
    path = paths.samples() / "dr_reports.csv"
    ours, theirs = data.load_graded().frames, data.load_graded(path, label="grade").frames
    assert list(ours) == list(theirs) and data.UNSEEN in columns.SPLIT_NAMES
    for name, rows in ours.items():
        pd.testing.assert_frame_equal(theirs[name][["text", "grade", "eye"]], rows[["text", "grade", "eye"]])


def test_a_users_file_gets_the_courses_names_and_patient_splits(tmp_path):
    rows = "".join(f'"Report {i}, with a comma",{i % 5},P{i // 3}\n' for i in range(300))
    path = write(tmp_path, "\ufefftext,label,group\n" + rows)
    splits = data.load_reports(path)
    assert list(splits) == ["train", "dev", "test"]
    where = {row["patient_id"]: name for name, part in splits.items() for row in part}
    graded = data.load_graded(path).frames
    assert len(where) == 100 and where == {who: name for name, rows in graded.items() for who in rows["patient_id"]}
    assert sum(map(len, splits.values())) == 300
    first = next(row for part in splits.values() for row in part if row["text"] == "Report 0, with a comma")
    assert first == {"text": "Report 0, with a comma", "grade": 0, "patient_id": "P0", "eye": "", "split": where["P0"]}


def test_words_that_look_like_missing_values_stay_words_and_zeros_stay(tmp_path):
    splits = data.load_reports(
        write(tmp_path, "text,label,split,id\nNaN,1,train,0\n007,2,train,00166\nNA 7,2,train,3\n")
    )
    assert splits["train"]["text"][:] == ["007", "NA 7"] and splits["train"]["patient_id"][:] == ["00166", "3"]


def test_an_edited_file_is_read_afresh(tmp_path):
    before = data.load_reports(write(tmp_path, "text,label,split\nold,1,train\n"))["train"]["text"][:]
    after = data.load_reports(write(tmp_path, "text,label,split\nnew text,1,train\n"))["train"]["text"][:]
    assert (before, after) == (["old"], ["new text"])


def test_the_splits_of_a_file_are_kept(tmp_path):
    rows = "".join(f"report {i},{i % 2},P{i},{('train', 'dev', 'test')[i // 40]}\n" for i in range(120))
    path = write(tmp_path, "text,label,group,split\n" + rows)
    own = {f"P{i}": ("train", "dev", "test")[i // 40] for i in range(120)}
    assert {row["patient_id"]: name for name, part in data.load_reports(path).items() for row in part} == own
    frames = data.load_graded(path, group="group").frames
    assert {who: name for name, part in frames.items() for who in part["patient_id"]} == own


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="Check the folder"):
        data.load_reports(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="No column can be told to be the text"):
        data.load_reports(write(tmp_path, "1,label\n1,1\n"))
    with pytest.raises(ValueError, match="moderate is no whole number.*validate.check_csv"):
        data.load_reports(write(tmp_path, "text,label\na,moderate\n"))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert paths.samples() == tmp_path
    with pytest.raises(FileNotFoundError, match="make data"):
        data.load_reports()


def test_loading_is_quiet_and_leaves_the_settings_as_they_were(tmp_path, capsys):
    datasets.enable_progress_bars()
    data.load_reports()
    assert capsys.readouterr() == ("", "")
    assert not datasets.utils.are_progress_bars_disabled()


def test_a_sample_is_seeded_nested_and_bounded():
    rows = datasets.Dataset.from_dict({"n": list(range(100))})
    ten, twenty = data.sample(rows, 10, seed=3)["n"][:], data.sample(rows, 20, seed=3)["n"][:]
    assert ten == twenty[:10] and len(set(twenty)) == 20
    assert ten != data.sample(rows, 10, seed=4)["n"][:]
    for n in (0, 101):
        with pytest.raises(ValueError, match="from 1 to 100"):
            data.sample(rows, n)


# The same shape for the course's file and for any file of a user.


def triage(folder, rows=80, **changes):
    words = {"minor": "Cough for {} days", "soon": "Fever of {} days", "urgent": "Chest pain, {} hours"}
    lines = [f'"{words[w].format(i)}",{w},p{i // 2},ward {i % 2}' for i in range(rows) for w in (list(words)[i % 3],)]
    return write(folder, "\n".join(["note,triage,who,place", *lines]) + "\n")


def test_our_file_comes_as_frames_with_the_grades_names_and_nothing_is_said(capsys):
    frames, names, own, ordered, notes = data.load_graded(new_site="delta")
    assert not own and ordered and notes == [] and capsys.readouterr().out == "" and len(names) == 5
    assert {name: len(rows) for name, rows in frames.items()}["test"] == 3_009


TRIAGE = {"text": "note", "label": "triage", "group": "who", "site": "place", "order": ["minor", "soon", "urgent"]}


def test_a_file_with_other_columns_and_labels_takes_the_same_shape(tmp_path, capsys):
    frames, labels, own, ordered, notes = data.load_graded(triage(tmp_path), **TRIAGE)
    assert own and ordered and labels == ["minor", "soon", "urgent"]
    assert notes == capsys.readouterr().out.splitlines() == [DIVIDED]
    rows = pd.concat(frames.values())
    assert len(rows) == 80 and set(rows["site"]) == {"ward 0", "ward 1"} and set(rows["eye"]) == {""}
    assert (rows["grade"] == rows["text"].map(lambda text: "CFC".index(text[0]) if text[1] != "h" else 2)).all()
    assert not {*frames["train"]["patient_id"]} & {*frames["test"]["patient_id"]}
    assert list(rows) == ["report_id", "patient_id", "eye", "site", "language", "text", "grade", "split"]


DIVIDED = "No column names the splits: the 40 patients are divided 70/10/20, label by label (train 28, dev 4, test 8)."


def test_columns_that_nobody_named_are_found_and_said(tmp_path):
    path = triage(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("who,place", "Patient ID,ward"), encoding="utf-8")
    found = data.load_graded(path, order="[minor,soon,urgent]")
    assert found.notes == [
        'Taken by name or content: "note" as the text, "triage" as the label, "Patient ID" as the patient, "ward" as the site.',
        DIVIDED,
    ]
    named = data.load_graded(path, "note", "triage", "Patient ID", "ward", ["minor", "soon", "urgent"])
    assert all(rows.equals(named.frames[name]) for name, rows in found.frames.items()) and named.notes == [DIVIDED]


def test_columns_without_a_usual_name_are_found_by_what_they_hold(tmp_path):
    rows = "".join(f"{i},some words of report {i},{'ab'[i % 2]},{i * 7}\n" for i in range(60))
    found = data.load_graded(write(tmp_path, "number,story,what,other\n" + rows))
    assert found.notes[:2] == [
        'Taken by name or content: "story" as the text, "what" as the label.',
        'Not used: "number", "other".',
    ]
    assert found.names == ["a", "b"] and not found.ordered and "words without an order (a, b)" in found.notes[-1]
    for header, said in (
        ("number,story,what,what else", '"what", "what else" may be the label'),
        ("findings,impression,label,n", '"findings", "impression" may be the text'),
    ):
        rows = "".join(f"{i},words of report {i},{i % 2},{i % 3}\n" for i in range(60))
        with pytest.raises(ValueError, match=said) as refused:
            data.load_graded(write(tmp_path, f"{header}\n{rows}"))
        name = header.split(",")[2]
        assert f'"{name}" (2)' in str(refused.value)


def test_a_column_that_is_another_in_each_row_is_no_patient(tmp_path):
    rows = "".join(f"words of report {i},{i % 2},{i:04}\n" for i in range(60))
    found = data.load_graded(write(tmp_path, "text,label,id\n" + rows))
    assert found.notes[0] == '"id" is another in each row: each row is its own patient.'
    assert "the 60 rows are divided" in found.notes[-1]


def with_splits(folder, names, rows=120):
    lines = [f"report {i},{i // 6 % 2},P{i // 2},{names[i // 2 % len(names)]}" for i in range(rows)]
    return write(folder, "\n".join(["text,label,group,split", *lines]) + "\n")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "dev", "test"),
        ("Training", "validation", "TESTING"),
        ("train", "val", "holdout"),
        ("train", "Valid ", "test"),
    ],
)
def test_a_files_own_split_is_kept_whatever_its_parts_are_called(tmp_path, names):
    path = with_splits(tmp_path, names)
    for parts in (data.load_graded(path).frames, data.load_reports(path)):
        numbers = {name: {int(text.split()[1]) // 2 % 3 for text in rows["text"]} for name, rows in parts.items()}
        assert numbers == {"train": {0}, "dev": {1}, "test": {2}}
        assert all(set(rows["split"]) == {name} for name, rows in parts.items())
    assert set(validate.check_csv(path).parts.values()) == {"train", "dev", "test"}


def test_a_file_with_train_and_test_keeps_its_test_and_dev_comes_from_train(tmp_path, capsys):
    path = with_splits(tmp_path, ("train", "train", "train", "test"))
    found = data.load_graded(path)
    dev = found.frames["dev"]
    said = f"The file names train and test and no dev: {len(dev)} rows of train, an eighth by patient, are dev."
    assert said in found.notes and {int(text.split()[1]) // 2 % 4 for text in found.frames["test"]["text"]} == {3}
    assert len(found.frames["test"]) == 30 and 8 <= len(dev) <= 16 and set(dev["grade"]) == {0, 1}
    assert not {*dev["patient_id"]} & {*found.frames["train"]["patient_id"]}
    assert data.load_reports(path)["dev"]["text"][:] == list(dev["text"]) and said in capsys.readouterr().out


@pytest.mark.parametrize("names", [("train",), ("train", "valid")])
def test_a_split_without_test_rows_is_refused_with_two_ways_out(tmp_path, names):
    with pytest.raises(ValueError, match='into the split .* in some rows of "split", or take it away'):
        data.load_graded(with_splits(tmp_path, names))


def test_names_of_splits_that_nobody_knows_are_refused_alike(tmp_path):
    path = with_splits(tmp_path, ("train", "evaluation", "test"))
    said = 'holds train .40 rows., evaluation .40 rows., test .40 rows.; "evaluation" is not understood'
    for load in (data.load_graded, data.load_reports):
        with pytest.raises(ValueError, match=said):
            load(path)
    assert [problem.kind for problem in validate.check_csv(path).problems] == ["split names"]


@pytest.mark.parametrize(
    "order", [["minor", "soon", "urgent"], "[minor, soon,urgent]", '["minor","soon","urgent"]', "minor,soon;urgent"]
)
def test_an_order_may_be_a_list_or_a_string(tmp_path, order):
    assert data.load_graded(triage(tmp_path), **TRIAGE | {"order": order}).names == ["minor", "soon", "urgent"]


def test_an_order_of_numbers_and_a_site_that_is_a_number(tmp_path):
    rows = "".join(f"report {i},{(10, 9, 2)[i % 3]},{i % 2 + 1}\n" for i in range(90))
    path = write(tmp_path, "text,label,site\n" + rows)
    for order in ([9, 2, 10], "[9,2,10]"):
        assert data.load_graded(path, order=order, new_site=2).names == ["9", "2", "10"]
    with pytest.raises(ValueError, match='No row is of the site "3". The sites are: 1, 2.'):
        data.load_graded(path, new_site=3)
    with pytest.raises(ValueError, match="The sites are: delta, harbour, north"):
        data.load_graded(new_site="Delta clinic")


def test_spellings_of_a_label_are_one_class(tmp_path):
    rows = "".join(f"report {i},{('1', '1.0', '2', '2', 'Soon', 'soon', 'soon ')[i % 7]}\n" for i in range(140))
    found = data.load_graded(write(tmp_path, "text,label\n" + rows))
    assert found.names == ["1", "2", "soon"] and not found.ordered
    assert {'The label "1.0" (20 rows) is read as "1".', 'The label "Soon" (20 rows) is read as "soon".'} < {
        *found.notes
    }


def test_excels_own_export_is_read_with_its_zeros(tmp_path):
    path = tmp_path / "mine.csv"
    rows = "".join(f"Fièvre – {i} jours;{i % 2},0;00{i // 2 % 80:03}\r\n" for i in range(160))
    path.write_bytes(("sep=;\r\ntext;label ;patient\r\n" + rows).encode("cp1252"))
    found = data.load_graded(path)
    assert found.notes[0].startswith('mine.csv is read as Windows-1252 ("Fièvre"')
    assert found.notes[0].endswith(") and with semicolons between the columns.")
    assert found.names == ["0,0", "1,0"] and found.ordered
    assert set(pd.concat(found.frames.values())["patient_id"]) == {f"00{i:03}" for i in range(80)}


def test_a_label_that_is_not_in_all_splits_is_said_before_training(tmp_path):
    rows = "".join(f"report {i},{i % 2}\n" for i in range(60)) + "one more,2\n"
    assert (
        'The label "2" is not in all splits: train 1, dev 0, test 0 rows.'
        in data.load_graded(write(tmp_path, "text,label\n" + rows)).notes
    )


def test_labels_that_are_numbers_are_in_their_order(tmp_path):
    rows = "".join(f"report {i},{(10, 9, 2)[i % 3]}\n" for i in range(90))
    assert data.load_graded(write(tmp_path, "text,label\n" + rows)).names == ["2", "9", "10"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"text": "note", "site": "plaze"}, 'Is it "place"?'),
        (
            {"text": "note", "label": "place", "order": ["ward 0"]},
            "The order lacks ward 1. The file has: ward 0 (40 rows)",
        ),
        ({"text": "note", "label": "who"}, "Is LABEL the right column?"),
        ({"text": "note", "label": "triage", "site": "hospital"}, 'no column "hospital"'),
        ({"text": "note", "label": "triage", "order": ["minor", "soon", "urgent", "dead"]}, "has the label dead"),
        ({"text": "note", "label": "triage", "order": ["minor", "soon", "soon", "urgent"]}, 'names "soon" twice'),
        ({"text": "note", "label": "triage", "group": "place"}, 'those of the column "place"; if it is no'),
    ],
)
def test_what_cannot_work_gets_a_sentence(tmp_path, names, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        data.load_graded(triage(tmp_path), **names)


def test_the_language_goes_by_the_script(tmp_path):
    rows = "".join(f"report {i},0\n右眼出血{i},1\n" for i in range(40))
    found = pd.concat(data.load_graded(write(tmp_path, "text,label\n" + rows)).frames.values())
    assert dict(zip(found["grade"], found["language"], strict=True)) == {0: "en", 1: "zh"}


def test_general_english_has_its_two_parts():
    trained, held_out = data.general_english(), data.general_english(held_out=True)
    assert (len(trained), len(held_out)) == (1433, 132)
    assert trained[0].startswith("Assignment statements") and held_out[0].startswith("Assert statements")


def test_no_paragraph_that_was_held_out_was_trained_on():
    """Notebook 02 measures forgetting on them; Python's topics share paragraphs, so a split by topic alone would not do."""
    assert not {*data.general_english()} & {*data.general_english(held_out=True)}


def test_too_few_rows_for_three_splits_are_refused(tmp_path):
    with pytest.raises(ValueError, match="falls into the split"):
        data.load_graded(triage(tmp_path, rows=4), text="note", label="triage")


def test_texts_of_test_that_stand_in_train_are_counted(tmp_path):
    rows = "".join(f"report {i},{i % 2},{('train', 'dev', 'test')[i % 3]},{i}\n" for i in range(60))
    again = "".join(f"report {i},{i % 2},test,again {i}\n" for i in (0, 3, 4))  # 4 stands in dev
    found = data.load_graded(write(tmp_path, "text,label,split,visit\n" + rows + again))
    assert "2 of 23 texts of test stand word for word in train" in found.notes[-1]
    assert not any(
        "word for word" in note for note in data.load_graded(write(tmp_path, "text,label,split,visit\n" + rows)).notes
    )


def test_rows_that_cannot_be_used_are_named(tmp_path, capsys):
    path = triage(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + ",minor,p99,ward 1\n", encoding="utf-8")
    data.load_graded(path, text="note", label="triage")
    assert "80 rows can be used, 1 left out (1 empty field)" in capsys.readouterr().out


@pytest.mark.parametrize(("role", "column"), [("group", "patient_id"), ("split", "split"), ("site", "site")])
def test_none_says_that_a_column_is_not_what_its_name_says(tmp_path, role, column, capsys):
    lines = [f"cough {i},{i % 2},{('train', 'dev', 'test')[i % 3] if role == 'split' else i // 4}" for i in range(90)]
    path = write(tmp_path, f"text,label,{column}\n" + "\n".join(lines) + "\n")
    guessed, told = data.load_graded(path), data.load_graded(path, **{role: "none"})
    sizes = [{name: len(rows) for name, rows in one.frames.items()} for one in (guessed, told)]
    if role == "split":
        assert sizes == [{"train": 30, "dev": 30, "test": 30}, {"train": 64, "dev": 8, "test": 18}]
    else:
        taken = {"group": "patient_id", "site": "site"}[role]
        assert guessed.frames["train"][taken].nunique() < told.frames["train"]["patient_id"].nunique() == 64
        assert role != "site" or set(told.frames["train"]["site"]) == {"all"}
    assert not any('""' in note for note in told.notes)
