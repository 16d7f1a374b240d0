"""The rules of comparison: what is masked, what may differ, and that no metric is ever let through."""

import time

import nbformat
import pytest

from course_utils import session
from course_utils.authoring import bands, compare

FAST = "Time: 41.2 s of processor time, of 60 s; 44.0 s by the clock; peak memory: 1093 MB of 2000 MB"
SLOW = "Time: 70.0 s of processor time, of 60 s; 700.1 s by the clock; peak memory: 950 MB of 2000 MB"
CHEAP = "Cost: LoRA: 41.2 ms a step, 812 MB peak"
DEAR = "Cost: LoRA: 1041.7 ms a step, 1812 MB peak"
QUICK = "Latency: ONNX int8: 1.27 ms a report"
LATE = "Latency: ONNX int8: 31.90 ms a report"
METRICS = [
    "Cost: 0.473% of the weights, macro F1 0.813",
    "LoRA: 41.2 ms a step, 812 MB peak",
    "Cost: LoRA: 41.2 ms a step, 812 MB peak, macro F1 0.813",
    "Cost: LoRA: 0.813 macro F1, 812 MB peak",
    "Latency: ONNX int8: 1.27 ms a report, 4 flips",
    "Latency: ONNX int8: 1.27 times as fast",
    "Latency: 0.813 ms a report",
    "ONNX int8: 1.27 ms a report",
    "macro F1 0.813 (95% interval 0.797 to 0.829)",
    "accuracy 2431/3012 = 80.7%",
    "kappa 0.774, MAE 0.31, loss 1.2345",
    "better by 0.052 (p = 0.0003)",
    "sensitivity 913 of 1,004",
    "650,240 parameters, learning rate 5e-4, 3 epochs, 120 s budget, 12 MB on disk",
]


@pytest.mark.parametrize("line", METRICS)
def test_no_rule_touches_a_metric(line):
    assert compare.mask_timing(line) == line


def test_only_seconds_and_megabytes_of_the_timing_line_are_masked():
    text = f"training: 12.3 s, 900 MB\n{FAST}\nTime: 9.9 s for macro F1 0.813\n"
    line = "Time: # s of processor time, of 60 s; # s by the clock; peak memory: # MB of 2000 MB"
    masked = f"training: 12.3 s, 900 MB\n{line}\nTime: 9.9 s for macro F1 0.813\n"
    assert compare.mask_timing(text) == masked


def test_the_timing_line_is_the_one_that_the_clock_prints(capsys):
    session.Clock(time.perf_counter() - 1000, session.cpu_seconds() - 100).report(budget_s=60, budget_mb=2000)
    line = capsys.readouterr().out
    assert line.startswith("Time: 100")
    assert compare.mask_timing(line) == compare.mask_timing(FAST) + "\n"


BANDS = {0: bands.Band.of(["0.813", "0.819", "0.809"])}  # 0.797 to 0.831


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("loss 0.797", "loss 0.815"),
        ("loss 0.831 of 4", "loss 0.815 of 4"),
        ("{'loss': 0.8}", "{'loss': 0.813}"),  # 0.800, as Python prints a rounded number
        (FAST, SLOW),
        (CHEAP, DEAR),
        (QUICK, LATE),
        ("  F1   n\na  0.801  3", "    F1    n\n a  0.815  3"),
    ],
)
def test_what_moves_may_move_within_its_band_and_a_table_may_shift_with_it(new, old):
    bands = {} if new in (FAST, CHEAP, QUICK) else BANDS
    assert not compare.differences(compare.mask_timing(new), compare.mask_timing(old), bands)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("macro F1 0.796", "macro F1 0.813"),
        ("macro F1 0.8130", "macro F1 0.813"),
        ("macro F1 0.832 of 4", "macro F1 0.813 of 4"),
        ("macro F1 0.813 of 5", "macro F1 0.813 of 4"),
        ("macro F1 0.813 better", "macro F1 0.813 worse"),
        ("macro F1 nan", "macro F1 0.813"),
        ("0.813 0.5", "0.813"),
    ],
)
def test_what_leaves_its_band_is_seen_and_so_is_all_that_may_not_move(new, old):
    assert compare.differences(new, old, BANDS)


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ("macro F1 0.813", "macro F1 0.814"),
        ("-0.000", "0.000"),
        ("80.7%", "80.8%"),
        ("2431/3012", "2432/3012"),
        ("650,240 parameters", "650,241 parameters"),
        ("rate 5e-4", "rate 6e-4"),
        ("torch 2.13.0", "torch 2.13.1"),
        ("better", "worse"),
        ("R05409 right", "R05410 right"),
        ("4Q", "3Q"),
        ("it took 9 s", "it took 10 s"),
        (FAST, FAST.replace("of 60 s", "of 90 s")),
        (CHEAP, CHEAP.replace("LoRA", "last layers")),
        (QUICK, QUICK.replace("int8", "float32")),
    ],
)
def test_without_a_band_every_change_is_seen(new, old):
    assert compare.differences(compare.mask_timing(new), compare.mask_timing(old))


def test_a_difference_is_a_sentence():
    stored, band = "LoRA: macro F1 0.89, right 9 of 10", {0: bands.Band.of(["0.89", "0.88", "0.90"])}
    (said,) = compare.differences("LoRA: macro F1 0.71, right 9 of 10", stored, band)
    assert said.startswith("0.71, expected 0.89 [0.85, 0.93] over 3 runs, in the line: LoRA: macro F1 0.71")
    (said,) = compare.differences("LoRA: macro F1 0.89, right 8 of 10", stored, band)
    assert said.startswith("8, expected 9, a number that no run has moved")
    (said,) = compare.differences("one\nLoRA is worse", "one\nLoRA is better")
    assert said == 'It says "LoRA is worse", and "LoRA is better" is stored.'
    assert compare.differences("one", "one\ntwo") == ["It says 1 lines, and 2 are stored."]


def test_numbers_are_told_from_digits_in_words():
    text = "right 1,381/1,473 = 83.9% [0.861, -0.910], 3e-05, x=-1, grades 0-4; tiny-t5, 4Q, R05409, 2.13.0, F1."
    found = ["1,381", "1,473", "83.9", "0.861", "-0.910", "3e-05", "-1", "0", "4"]
    assert compare.NUMBER.findall(text) == found


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def notebook(*cell_outputs, source="train()"):
    cell = nbformat.v4.new_code_cell(source, id="train", execution_count=7, outputs=list(cell_outputs))
    cell.metadata = {"execution": {"iopub.execute_input": "2026"}, "tags": ["raises-exception"]}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# T", id="t"), cell])


def test_normalise_leaves_nothing_of_the_run():
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["File /home/me/x.py"])
    stored = compare.normalise(notebook(stream("50%", name="stderr"), stream("0.813\n"), error))
    cell = stored.cells[1]
    assert cell.execution_count == 1
    assert [output.output_type for output in cell.outputs] == ["stream", "error"]
    assert cell.outputs[1].traceback == ["ValueError: no"]
    assert cell.metadata == {"tags": ["raises-exception"]}
    assert cell.id == "train"
    assert set(stored.metadata) == {"kernelspec", "language_info"}


def test_an_unchanged_cell_keeps_its_stored_text():
    stored = notebook(stream(f"loss 0.813\n{FAST}\n"))
    fresh = notebook(stream(f"loss 0.799\n{SLOW}\n"))
    compare.keep_stored(fresh, stored, lambda cell: BANDS)
    assert fresh.cells[1].outputs == stored.cells[1].outputs


def test_a_picture_stays_with_the_words_of_its_run():
    def drawn(text, picture):
        return notebook(stream(text), nbformat.v4.new_output("display_data", data={"image/png": picture}))

    for text, picture in (("loss 0.813", "new look"), ("loss 0.799", "old")):
        fresh = compare.keep_stored(drawn(text, "new look"), drawn("loss 0.813", "old"), lambda cell: BANDS)
        assert [fresh.cells[1].outputs[0].text, fresh.cells[1].outputs[1].data["image/png"]] == ["loss 0.813", picture]


def test_only_an_unchanged_cell_about_the_machine_keeps_an_output_that_differs():
    def about_the_machine(text, source):
        made = notebook(stream(text), source=source)
        made.cells[1].metadata.tags = [compare.IGNORE]
        return made

    fresh, stored = about_the_machine("3 GB free", "check()"), about_the_machine("2 GB free", "check()")
    assert compare.keep_stored(fresh, stored).cells[1].outputs[0].text == "2 GB free"
    fresh = about_the_machine("3 GB free", "check()")
    new_code = compare.keep_stored(
        fresh, stored, known=lambda cell: False
    )  # both have it: it was edited before this run
    assert new_code.cells[1].outputs[0].text == "3 GB free"
    fresh = about_the_machine("3 GB free", "check(more=True)")
    assert compare.keep_stored(fresh, stored).cells[1].outputs[0].text == "3 GB free"


@pytest.mark.parametrize(("text", "source"), [("0.900", "train()"), ("0.814", "train(more=True)")])
def test_a_changed_cell_gets_its_new_text(text, source):
    fresh = compare.keep_stored(notebook(stream(text), source=source), notebook(stream("0.813")), lambda cell: BANDS)
    assert fresh.cells[1].outputs[0].text == text
