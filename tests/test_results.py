"""Results are written the same each time, read back into one table, and refused if they are not whole."""

import json

import numpy as np
import pandas as pd
import pytest

from course_utils import metrics, paths, results

ROW = {
    "method": "TF-IDF + logistic regression",
    "task": "5,000 labels",
    "metric": "macro F1",
    "value": 0.712345,
    "low": 0.69,
    "high": 0.73,
    "k": 2345,
    "n": 3020,
    "seeds": 3,
    "trainable": 650_000,
    "seconds": 12.34,
    "peak_mb": 456.7,
}


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "shipped"))
    monkeypatch.setattr(paths, "BUILD", tmp_path / "live")
    return tmp_path


def stored(folder, kind="live", notebook="01_set_the_bar"):
    return (folder / kind / "results" / f"{notebook}.json").read_text(encoding="utf-8")


def test_a_run_changes_nothing_that_ships_and_is_shown_in_its_place(own_folders):
    results.ship("01_set_the_bar", [ROW | {"value": 0.7}])
    before = stored(own_folders, "shipped")
    results.record("01_set_the_bar", [ROW])
    assert stored(own_folders, "shipped") == before
    assert results.table()["macro F1 [95%]"].tolist() == ["0.71 [0.69, 0.73]"]


def test_what_is_shipped_of_a_second_run_is_the_same_though_times_differ(own_folders):
    results.record("01_set_the_bar", [ROW])
    results.ship_last_run("01_set_the_bar")
    before = stored(own_folders, "shipped")
    results.record("01_set_the_bar", [ROW | {"seconds": 99, "peak_mb": 1}])
    results.ship_last_run("01_set_the_bar")
    assert stored(own_folders, "shipped") == before and "seconds" not in before and "peak_mb" not in before
    assert json.loads(before)["rows"][0]["value"] == ROW["value"]
    assert json.loads(stored(own_folders))["times"] == {
        "5,000 labels | TF-IDF + logistic regression | macro F1": {"peak_mb": 1.0, "seconds": 99.0}
    }
    assert [path.name for path in (own_folders / "shipped" / "results").iterdir()] == ["01_set_the_bar.json"]


def test_a_notebook_that_measured_nothing_ships_nothing(own_folders):
    results.ship("01_set_the_bar", [ROW])
    before = stored(own_folders, "shipped")
    results.ship_last_run("01_set_the_bar")
    results.ship_last_run("02_later")
    assert stored(own_folders, "shipped") == before
    assert [path.name for path in (own_folders / "shipped" / "results").iterdir()] == ["01_set_the_bar.json"]


def test_a_record_replaces_the_rows_and_keeps_the_ledger(own_folders):
    results.record("01_set_the_bar", [ROW, ROW | {"method": "keyword rule"}])
    results.ledger("01_set_the_bar", "C1", "said", "measured", "verdict")
    results.record("01_set_the_bar", [ROW])
    assert list(results.table()["method"]) == [ROW["method"]] and len(results.ledger_table()) == 1


def test_the_table_reads_as_stated():
    rule = {name: value for name, value in ROW.items() if name not in ("trainable", "k")} | {"method": "keyword rule"}
    results.record("02_later", [ROW | {"method": "all weights", "trainable": 0}])
    results.record("01_set_the_bar", [ROW, rule, ROW | {"metric": "kappa"}])
    table = results.table()
    assert list(table.columns) == ["method", "task", "macro F1 [95%]", "k/n right", "seeds", "trainable"]
    assert list(table["method"]) == ["TF-IDF + logistic regression", "keyword rule", "all weights"]
    assert list(table["macro F1 [95%]"]) == ["0.71 [0.69, 0.73]"] * 3  # what one training run can promise
    results.ship("long_runs", [ROW])
    assert list(results.table(notebook="long_runs")["macro F1 [95%]"]) == ["0.712 [0.690, 0.730]"]
    assert list(table["k/n right"]) == ["2,345/3,020", "–", "2,345/3,020"]
    assert list(table["trainable"]) == ["650,000", "–", "0"]
    assert len(results.table("kappa")) == 1 and len(results.table(notebook="02_later")) == 1
    assert results.table("none").empty


@pytest.mark.parametrize(("notebook", "form"), [("01_set_the_bar", ".2f"), ("long_runs", ".3f")])
def test_the_table_prints_a_number_as_it_prints_anywhere_else(notebook, form):
    found = [0.88649, 0.88651, 0.48496, 0.48504, 0.67249999, 0.99996, 0.00004]
    rows = [ROW | {"method": str(value), "value": value, "low": value - 1e-5, "high": value + 1e-5} for value in found]
    results.ship(notebook, rows)
    told = [format(metrics.Interval(row["value"], row["low"], row["high"]), form) for row in rows]
    assert results.table()["macro F1 [95%]"].tolist() == told
    assert all(one in results.markdown() for one in told)


def test_markdown_has_the_times_where_they_are_known(own_folders):
    results.record("01_set_the_bar", [ROW, ROW | {"method": "a|b", "seconds": None, "peak_mb": None}])
    head, rule, first, second = results.markdown().splitlines()
    assert head.endswith("| seconds | peak MB |") and rule.count("---") == 9
    assert first.endswith("| 2,345/3,020 | 3 | 650,000 | – | 12 | 457 |")
    assert second.startswith("| a\\|b |") and second.endswith("| – | – |")


def test_a_file_measured_once_keeps_its_times_and_shows_them(own_folders):
    results.ship("lora_runs", [ROW | {"saved_kb": 118.4}])
    assert {"seconds": 12.34, "peak_mb": 456.7, "saved_kb": 118}.items() <= json.loads(
        stored(own_folders, "shipped", "lora_runs")
    )["rows"][0].items()
    table = results.table()
    assert list(table.columns[-3:]) == ["saved kB", "seconds", "peak MB"]
    assert list(table.iloc[0, -3:]) == ["118", "12", "457"]
    assert results.markdown().splitlines()[-1].endswith("| 118 | 12 | 457 |")


def test_the_long_runs_can_stand_alone():
    results.record("01_set_the_bar", [ROW])
    results.record("lora_runs", [ROW | {"method": "LoRA"}])
    assert len(results.markdown().splitlines()) == 4
    assert "LoRA" in results.markdown(long_runs=True).splitlines()[-1]
    assert len(results.markdown(long_runs=True).splitlines()) == 3


def test_numpy_numbers_are_stored_as_numbers(own_folders):
    results.record("01_set_the_bar", [ROW | {"value": np.float32(0.5), "k": np.int64(7)}])
    row = json.loads(stored(own_folders))["rows"][0]
    assert (row["value"], row["k"]) == (0.5, 7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": None}, "has no value"),
        ({"vlaue": 1}, "has an unknown vlaue"),
        ({"low": float("nan")}, "low = nan"),
        ({"k": 3021}, "3021 of 3020"),
        ({"low": 0.8}, "the wrong way round"),
    ],
)
def test_a_row_that_is_not_whole_is_refused_and_nothing_is_written(own_folders, change, said):
    with pytest.raises(ValueError, match=said):
        results.record("01_set_the_bar", [ROW, ROW | {"method": "other"} | change])
    assert not list(own_folders.iterdir())


def test_the_same_thing_twice_is_refused():
    with pytest.raises(ValueError, match="same task, method and metric"):
        results.record("01_set_the_bar", [ROW, ROW])


def test_the_same_method_on_two_bases_is_two_rows_that_name_them():
    rows = [ROW | {"base": "tiny-biobert"}, ROW | {"base": "tiny-plain", "value": 0.7}]
    results.ship("full_runs", rows)
    assert results.table()["task"].tolist() == ["5,000 labels, tiny-biobert", "5,000 labels, tiny-plain"]
    assert [row["base"] for row in results.shipped("full_runs")["rows"]] == ["tiny-biobert", "tiny-plain"]
    with pytest.raises(ValueError, match="Two rows"):
        results.ship("full_runs", [*rows, rows[0]])


def test_the_ledger_is_in_the_order_of_its_ids():
    for notebook, id in [("08_ship", "C10"), ("08_ship", "C2"), ("03_adapt", "C2"), ("03_adapt", "C9")]:
        results.ledger(notebook, id, "42% faster", "2% slower", "no")
    results.ledger("03_adapt", "C9", "42% faster", "as fast", "no")
    table = results.ledger_table()
    assert list(zip(table["id"], table["notebook"], strict=True)) == [
        ("C2", "03_adapt"),
        ("C2", "08_ship"),
        ("C9", "03_adapt"),
        ("C10", "08_ship"),
    ]
    assert table["measured"][2] == "as fast"


def test_a_write_that_is_interrupted_leaves_the_old_file_whole(own_folders, monkeypatch):
    results.record("01_set_the_bar", [ROW])
    before = stored(own_folders)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(paths.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        results.record("01_set_the_bar", [ROW | {"value": 0.7}])
    assert stored(own_folders) == before


def test_a_checksum_is_of_the_whole_file(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)  # the long example of the standard, FIPS 180-2
    assert paths.sha256(tmp_path / "a") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"


def test_the_shipped_results_can_be_read(monkeypatch):
    monkeypatch.delenv("COURSE_DATA")
    for path in paths.shipped_results().glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        assert [results._row(row) for row in content.get("rows", [])] == content.get("rows", [])
    results.markdown(), results.ledger_table()


def test_a_verdict_that_all_bases_share_is_said_once_and_another_for_each_base():
    def line(base, second, verdict):
        return {
            "base": base,
            "first": "a",
            "second": second,
            "verdict": f"a {verdict} {second}",
            "difference": f"{base}!",
        }

    shared = [line("one", "b", "is better than"), line("two", "b", "is better than")]
    split = [line("one", "c", "is better than"), line("two", "c", "is worse than")]
    assert results.by_base([shared[0], *split, shared[1]]) == [
        "on one and two: a is better than b; difference: one one!; two two!",
        "on one: a is better than c; difference one!",
        "on two: a is worse than c; difference two!",
    ]
    assert results.by_base(shared[:1]) == ["on one: a is better than b; difference one!"] and results.by_base([]) == []


def test_a_pair_is_told_by_its_word_and_by_its_names_without_their_labels():
    verdicts = {
        ("prompt, 50 rows, 5,000 labels", "LoRA, 1,000 labels"): "a is worse than b, with 9 rows",
        ("prompt, from words, 100 labels", "text prompt"): "a is better than b, with 9 rows",
        ("text prompt", "LoRA, 1,000 labels"): "cannot tell a and b apart with 9 rows",
    }
    lines = [{"first": first, "second": second, "verdict": said} for (first, second), said in verdicts.items()]
    assert results.compared(lines) == {
        ("prompt, 50 rows", "LoRA"): "worse",
        ("prompt, from words", "text prompt"): "better",
        ("text prompt", "LoRA"): "not told apart",
    }
    assert [results.told(line) for line in lines] == ["worse", "better", "not told apart"]
    with pytest.raises(ValueError, match="prompt, 50 rows and LoRA are compared twice"):
        results.compared([*lines, lines[0]])


@pytest.mark.parametrize(
    ("values", "said"), [([0.93, 1.1], "more"), ([0.5, 0.91], "less"), ([0.9, 0.95], "about"), ([0.92, 0.95], "about")]
)
def test_numbers_are_held_to_one_that_is_said(values, said):
    assert results.held_to(0.92, pd.Series(values)) == results.held_to(0.92, values)
    assert results.held_to(0.92, values).startswith(said)


def test_ways_that_stand_below_one_another_are_put_side_by_side_in_the_order_of_their_rows():
    rows = [("small", "all", 16, 8), ("small", "few", 16, 2), ("large", "few", 16, 3), ("small", "few", 32, 5)]
    rows = pd.DataFrame(rows, columns=["shape", "method", "bits", "ms"])
    ways = {"few": {"method": "few", "bits": 16}, "all": {"method": "all"}}
    found = results.side_by_side(rows, "shape", ways, {"time": "ms", "width": "bits"})
    assert list(found.columns) == ["few time", "few width", "all time", "all width"]
    assert list(found.index) == ["small", "large"] and found["few time"].tolist() == [2, 3]
    assert found["all time"].isna().tolist() == [False, True] and found.loc["small", "all time"] == 8
    with pytest.raises(ValueError):
        results.side_by_side(rows, "shape", {"few": {"method": "few"}}, {"time": "ms"})


def test_each_number_is_told_over_that_of_the_row_it_is_held_against():
    rows = [("small", "all", 1, 8), ("small", "few", 1, 2), ("large", "few", 2, 3), ("large", "all", 2, 4)]
    rows = pd.DataFrame([*rows, ("odd", "few", 3, 5)], columns=["shape", "method", "round", "ms"])
    found = results.ratios(rows, {"method": "all"}, ["ms"], ["shape", "round"])
    assert found["ms_ratio"].tolist() == [1, 0.25, 0.75, 1] and list(found["shape"]) == [*["small"] * 2, *["large"] * 2]
    assert list(found.columns) == [*rows.columns, "ms_ratio"]
    assert results.ratios(rows, {"method": "all", "round": 2}, ["ms"], ["shape"])["ms_ratio"].tolist() == [0.75, 1]
    with pytest.raises(ValueError):
        results.ratios(rows, {"method": "few"}, ["ms"], ["method"])


def test_a_setting_at_the_end_of_its_grid_is_named_with_its_method_and_base():
    recipes = [
        {"base": "one", "method": "LoRA", "at_an_end": ["lr"]},
        {"base": "other", "method": "LoRA", "at_an_end": []},
        {"base": "one", "method": "IA3", "at_an_end": ["lr"]},
        {"base": "other", "method": "probe", "at_an_end": ["pool", "strength"]},
    ]
    assert results.at_an_end(recipes, ["LoRA", "probe"]) == "LoRA on one (lr); probe on other (pool, strength)"
    assert results.at_an_end(recipes[1:2], ["LoRA"]) == results.at_an_end([], ["LoRA"]) == "none"


def test_a_part_that_was_measured_comes_back_as_from_its_file_and_ships_when_stored(own_folders):
    made = results.measured("05_real", "probe", lambda: {"sizes": (1, 2), 3: 0.1})
    assert made == {"sizes": [1, 2], "3": 0.1} and list(made) == ["3", "sizes"]  # the order of the file, now and later
    results.measured("05_real", "tokens", lambda: {"unknown": 7})
    with pytest.raises(FileNotFoundError, match="There is no .*05_real.json"):
        results.measured("05_real", "probe")
    results.record("05_real", [ROW])
    results.ship_last_run("05_real")
    assert results.measured("05_real", "probe") == made
    assert results.measured("05_real", "tokens") == {"unknown": 7}
    assert len(results.shipped("05_real")["rows"]) == 1
    with pytest.raises(FileNotFoundError, match="Nothing ships of the part speed of 05_real"):
        results.measured("05_real", "speed")


def test_a_part_is_measured_anew_and_the_others_stay(own_folders):
    for value in (1, 2):
        results.measured("05_real", "probe", lambda value=value: {"right": value})
        results.measured("05_real", f"part {value}", lambda: {})
    assert json.loads(stored(own_folders, notebook="05_real"))["measured"] == {
        "part 1": {},
        "part 2": {},
        "probe": {"right": 2},
    }


def test_a_long_run_that_is_not_there_is_said_and_is_empty(own_folders, capsys):
    assert results.found("real") == {}
    assert "long run real was not made yet" in capsys.readouterr().out
    results.ship("real", [ROW], verdicts=[])
    assert results.found("real") == results.shipped("real")
    assert capsys.readouterr().out == ""


def test_from_how_many_labels_on_a_method_is_better_is_said_in_words():
    def said(*won):
        return results.better_from(pd.DataFrame(won, columns=["labels", "won"]))

    assert said((100, False), (1000, True), (5000, True)) == "from 1,000 labels on"
    assert said((100, True), (100, False), (1000, True)) == "from 1,000 labels on"  # two rivals at 100
    assert said((100, True), (1000, False)) == "at 1 of 2 sizes (not the largest)"
    assert said((100, False), (1000, False)) == "at none of 2 sizes"


def test_the_lessons_of_a_notebook_are_told_with_each_base():
    base = {"base": "tiny-plain", "difference": [0.01, -0.02, 0.04], "verdict": "can't tell"}
    one = {"notebook": "02", "lesson": "Few labels are enough", "holds": 0, "of": 1, "bases": [base]}
    results.ship("lessons", lessons=[one, one | {"notebook": "03"}])
    assert results.lessons("02") == [
        "Few labels are enough: holds on 0 of 1 bases",
        "   tiny-plain     difference 0.010 [-0.020, 0.040]: can't tell",
    ]
    assert results.lessons("04") == []


def test_a_row_is_one_that_the_table_takes():
    made = results.row("LoRA", "a task", "macro F1", metrics.Interval(0.5, 0.4, 0.6), 10, k=5, base="tiny-plain")
    assert made["seeds"] == 1 and (made["value"], made["low"], made["high"]) == (0.5, 0.4, 0.6)
    assert results._clean([made])
