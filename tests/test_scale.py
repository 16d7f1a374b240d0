"""Several processes that are one: what they compute is what one would, what goes wrong shows, and none outlives its call."""

import ast
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
import yaml
from sklearn.metrics import f1_score
from torch import distributed
from torch.distributed.run import get_args_parser
from torch.nn.functional import cross_entropy

import small_models
from course_utils import models, paths, scale, train_many, training
from course_utils.experiments import scale as measured

LAUNCH = paths.ROOT / "launch"
STEPS = 7


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_models.bert(tmp_path_factory.mktemp("bert"))


def rows(n=37, seed=0):
    random = np.random.default_rng(seed)
    grades = random.integers(0, 5, n)
    texts = ["seen . " * int(random.integers(0, 5)) + small_models.PHRASES[grade] for grade in grades]
    return pd.DataFrame({"eye": "left", "text": texts, "grade": grades})


def grader(checkpoint, dtype=torch.float64):
    model, tokenizer = models.grader(checkpoint, seed=0)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    return model.to(dtype), tokenizer


def fit(rank, checkpoint, way="ddp", folder=None, stop=0, dtype=torch.float64):
    """Train in a process of a group; return the weights, the losses and how far the processes are apart."""
    model, tokenizer = grader(checkpoint, dtype)
    reports = training.tokenise(tokenizer, rows(), "eye", "text", 64)

    def after(step):
        if step == stop:
            raise SystemError("stopped on purpose")

    losses = train_many.fit(
        model,
        tokenizer,
        reports,
        list(rows()["grade"]),
        steps=STEPS,
        batch=16,
        lr=1e-2,
        way=way,
        class_weights=[1, 2, 3, 4, 5],
        folder=folder,
        every=2 if folder else 0,
        after=after,
    )
    return scale.weights(model), losses, scale.apart(model) if way == "ddp" else 0.0


def gap(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


# Starting and ending.


def ranks(rank, more):
    return rank, scale.world(), more + float(scale.over_all(torch.tensor(1.0 + rank)))


def test_each_process_has_its_rank_and_what_it_gives_comes_back_in_order():
    assert scale.together(ranks, 2, 10) == [(0, 2, 13.0), (1, 2, 13.0)]
    assert not distributed.is_initialized(), "this process is in no group"


def test_a_function_made_on_the_spot_can_be_sent():
    word = "here"
    assert scale.together(lambda rank: f"{word} {rank}", 1) == ["here 0"]


def fails(rank):
    if rank == 1:
        raise KeyError("the cause")
    scale.over_all(torch.zeros(1))  # waits for the one that failed


def test_an_error_in_one_process_ends_all_and_is_told():
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(Exception, match="the cause"):
        scale.together(fails, 2)
    assert not [one for one in set(psutil.Process().children(recursive=True)) - before if one.is_running()]


def test_processes_that_wait_for_ever_are_ended():
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="have not ended"):
        scale.together(lambda rank: time.sleep(300), 1, limit_s=2)
    assert time.monotonic() - began < 120


def listeners(rank):
    scale.over_all(torch.zeros(1))
    scale.over_all(torch.zeros(1))
    return [one.laddr.ip for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN]


@pytest.mark.skipif(sys.platform != "linux", reason="the addresses of a process are read from /proc")
def test_nothing_listens_beyond_this_machine():
    addresses = [one for found in scale.together(listeners, 2) for one in found]
    assert addresses and {one.removeprefix("::ffff:") for one in addresses} <= {"127.0.0.1", "::1"}


@pytest.mark.slow
def test_without_a_fork_the_same_comes_out(monkeypatch):
    monkeypatch.setattr(scale, "METHOD", "spawn")
    assert scale.together(lambda rank: scale.world(), 2) == [2, 2]


PARENT = """
import sys, time
from course_utils import scale
def work(rank):
    print(1)
    time.sleep(300)
if __name__ == "__main__":
    scale.together(work, 1)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a parent that is killed is noticed so on Linux")
def test_processes_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")])
    children = []
    until = time.monotonic() + 120
    while not children and time.monotonic() < until:
        time.sleep(0.5)
        children = psutil.Process(parent.pid).children(recursive=True)
    time.sleep(2)
    parent.kill()
    parent.wait()
    assert children
    assert not psutil.wait_procs(children, timeout=60)[1]


# That they are one.


@pytest.fixture(scope="module")
def alone(checkpoint):
    return scale.together(fit, 1, checkpoint)[0]


@pytest.mark.parametrize(
    ("processes", "way"), [(2, "ddp"), (2, "fsdp"), pytest.param(3, "ddp", marks=pytest.mark.slow)]
)
def test_a_whole_training_has_the_weights_of_one_process(checkpoint, alone, processes, way):
    found = scale.together(fit, processes, checkpoint, way)
    for weights, losses, apart in found:
        assert gap(weights, alone[0]) < 1e-9 and apart == 0
        assert losses == pytest.approx(alone[1], abs=1e-9)


def test_one_process_trains_as_the_courses_own_loop_does(checkpoint):
    """Every weight, with the class weights in the loss: one step of both."""
    model, tokenizer = grader(checkpoint)
    data, weights = rows(16), torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64)
    log = training.fit_grader(
        model,
        tokenizer,
        data,
        epochs=1,
        lr=1e-2,
        seed=0,
        bar=False,
        class_weights=None,
        batch_size=16,
        loss=lambda logits, truth: cross_entropy(logits, truth, weights),
    )
    own, _ = grader(checkpoint)
    reports = training.tokenise(tokenizer, data, "eye", "text", 64)
    losses = train_many.fit(
        own, tokenizer, reports, list(data["grade"]), steps=1, batch=16, lr=1e-2, class_weights=[1, 2, 3, 4, 5]
    )
    assert losses == pytest.approx(log["losses"]) and gap(scale.weights(own), scale.weights(model)) < 1e-9


def test_batches_depend_on_the_step_alone():
    reports = [{"input_ids": [0] * (one % 7 + 1)} for one in range(21)]
    stream = train_many.batches(reports, 8, seed=1)
    first = [next(stream) for _ in range(9)]
    assert [sorted(sum(first[at : at + 3], [])) for at in (0, 3, 6)] == [list(range(21))] * 3
    assert first[:3] != first[3:6], "each epoch has an order of its own"
    for begin in (1, 4, 6):
        later = train_many.batches(reports, 8, seed=1, first=begin)
        assert [next(later) for _ in range(9 - begin)] == first[begin:]


def test_the_wrong_way_and_a_loss_that_blows_up_are_said(checkpoint):
    model, tokenizer = grader(checkpoint)
    reports = training.tokenise(tokenizer, rows(), "eye", "text", 64)
    with pytest.raises(ValueError, match='The way is "dp"'):
        train_many.fit(model, tokenizer, reports, list(rows()["grade"]), steps=1, way="dp")
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(ValueError, match="The loss is nan at step 1"):
        train_many.fit(model, tokenizer, reports, list(rows()["grade"]), steps=1)


def few_rows(rank):
    return train_many.share([5])


def test_a_process_without_rows_takes_part_and_counts_nothing():
    assert scale.together(few_rows, 2) == [([5], 1.0), ([5], 0.0)]


# Detectors.


def detect(rank):
    same = torch.nn.Linear(3, 2, bias=False)
    torch.nn.init.ones_(same.weight)
    before = scale.apart(same)
    with torch.no_grad():
        same.weight[1, 1] += 0.25 * rank
    halves, both = [0, 1] if rank == 0 else [2, 3], [0, 1]
    with pytest.raises(RuntimeError, match="3 processes were asked for, and this one is in a group of 2"):
        scale.expect(3)
    scale.expect(2)
    return (
        before,
        scale.apart(same),
        scale.tally(halves, 4),
        scale.tally(both, 4),
        scale.spread(torch.tensor(3.0 + rank)),
    )


def test_detectors_see_what_they_are_for():
    for found in scale.together(detect, 2):
        assert found == (0.0, 0.25, (0, 0), (2, 2), 1.0)


def test_alone_the_detectors_say_so():
    assert scale.tally([0, 0, 2], 4) == (2, 1)
    with pytest.raises(RuntimeError, match="in a group of 1"):
        scale.expect(2)


def means(rank):
    losses, weights = (torch.tensor(part[rank]) for part in ([[1.0, 2.0], [6.0]], [[1.0, 1.0], [2.0]]))
    return float(scale.global_mean(losses, weights))


def test_the_mean_over_processes_of_the_global_mean_is_the_weighted_mean():
    found = scale.together(means, 2)
    assert np.mean(found) == pytest.approx((1 + 2 + 12) / 4) and found[0] != found[1]


def cells():
    file = paths.ROOT / "coming" / "15_scale_out.ipynb"
    file = file if file.exists() else paths.NOTEBOOKS / file.name
    return {cell.id: cell.source for cell in nbformat.read(file, 4).cells if cell.cell_type == "code"}


def test_the_notebooks_global_mean_is_the_modules():
    (function,) = [node for node in ast.parse(cells()["repair"]).body if isinstance(node, ast.FunctionDef)]
    source = ast.unparse(function)

    def both(rank):
        space = {"dist": distributed}
        exec(source, space)
        losses, weights = torch.arange(3.0) + rank, torch.ones(3) * (1 + rank)
        return float(space["global_mean"](losses, weights.clone())), float(scale.global_mean(losses, weights))

    for taught, ours in scale.together(both, 2):
        assert taught == pytest.approx(ours)


# What is held.


def hold(rank, checkpoint, out):
    model, tokenizer = grader(checkpoint, torch.float32)
    net = scale.sharded(model) if out else model
    optimizer = torch.optim.AdamW(model.parameters())
    reports = training.tokenise(tokenizer, rows(4), "eye", "text", 64)
    net(**training.collate(tokenizer, reports, range(4), "cpu")).logits.sum().backward()
    optimizer.step()
    return scale.held(model, optimizer)


@pytest.mark.parametrize("out", [False, True])
def test_what_is_counted_is_what_arithmetic_says(checkpoint, out):
    number = models.count_parameters(grader(checkpoint)[0])[1]
    wanted = scale.memory(number, 2, out)
    found = scale.together(hold, 2, checkpoint, out)
    for name, size in wanted.items():
        assert sum(one[name] for one in found) == 2 * size  # whole, but for a row that two can't share evenly
    assert sum(wanted.values()) == 16 * number / (2 if out else 1)


# Killed, and gone on.


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ddp", "fsdp"])
def test_a_run_that_was_stopped_ends_with_the_same_bits_and_one_process_goes_on_too(checkpoint, tmp_path, way):
    with pytest.raises(Exception, match="stopped on purpose"):
        scale.together(fit, 2, checkpoint, way, tmp_path / "cut", 5, torch.float32)
    assert scale.newest(tmp_path / "cut").name == "step-000004"
    shutil.copytree(tmp_path / "cut", tmp_path / "one")
    straight = scale.together(fit, 2, checkpoint, way, tmp_path / "straight", 0, torch.float32)[0]
    again = scale.together(fit, 2, checkpoint, way, tmp_path / "cut", 0, torch.float32)[0]
    assert len(again[1]) == STEPS - 4 and gap(again[0], straight[0]) == 0
    last = [measured.fingerprint(scale.newest(tmp_path / name)) for name in ("cut", "straight")]
    assert last[0] == last[1] and last[0]
    single = scale.together(fit, 1, checkpoint, way, tmp_path / "one", 0, torch.float32)[0]
    assert len(single[1]) == STEPS - 4 and single[1] == pytest.approx(straight[1][4:], abs=1e-3)


def kept(checkpoint, folder, step, **more):
    model, _ = grader(checkpoint, torch.float32)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(float(step))
    optimizer = torch.optim.AdamW(model.parameters())
    return scale.keep(folder, step, model, optimizer, **more), model, optimizer


def test_an_unfinished_step_is_not_taken_and_a_mixed_one_is_refused(checkpoint, tmp_path):
    assert scale.newest(tmp_path) is None
    first, model, optimizer = kept(checkpoint, tmp_path, 3)
    second, *_ = kept(checkpoint, tmp_path, 12)
    (tmp_path / "step-000099.unfinished").mkdir()
    assert scale.newest(tmp_path) == second
    assert scale.take_up(first, model, optimizer)["step"] == 3
    assert all((p == 3).all() for p in model.parameters())
    assert {float(state["step"]) for state in optimizer.state.values()} == {3.0}
    part = next(first.glob("*.safetensors"))
    shutil.copy(part, second / part.name)
    with pytest.raises(ValueError, match="holds a part that was not kept with the others"):
        scale.take_up(second, model, optimizer)
    (first / scale.FACTS).unlink()
    with pytest.raises(ValueError, match="was not kept whole"):
        scale.take_up(first, model, optimizer)


def test_older_steps_are_deleted_once_a_newer_is_whole(checkpoint, tmp_path):
    kept(checkpoint, tmp_path, 1_000_000)  # of another run: never older than what is kept now
    (tmp_path / "step-000001.unfinished").mkdir()

    def there():
        return {path.name.removeprefix("step-") for path in tmp_path.iterdir()} - {"1000000", "000001.unfinished"}

    for step, stay in ((3, {"000003"}), (5, {"000003", "000005"}), *2 * [(7, {"000005", "000007"})]):
        folder, *_ = kept(checkpoint, tmp_path, step)
        assert there() == stay and folder.is_dir()
    kept(checkpoint, tmp_path, 9, last=0)
    assert there() == {"000005", "000007", "000009"}
    kept(checkpoint, tmp_path, 11, last=1)
    assert there() == {"000011"} and len(list(tmp_path.iterdir())) == 3
    assert scale.newest(tmp_path).name == "step-1000000", "by its number, and not by its letters"


def test_a_training_leaves_the_last_steps_that_it_is_told_to(checkpoint, tmp_path):
    model, tokenizer = grader(checkpoint, torch.float32)
    reports, grades = training.tokenise(tokenizer, rows(), "eye", "text", 64), list(rows()["grade"])
    for name, more, stay in (("two", {}, [2, 3]), ("all", {"last": 0}, [1, 2, 3])):
        folder = tmp_path / name
        train_many.fit(model, tokenizer, reports, grades, steps=3, batch=16, folder=folder, every=1, **more)
        assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:06}" for step in stay]
    assert train_many.arguments(["kept", "--processes", "2", "--steps", "1"]).last == 2


def test_a_step_that_was_kept_with_other_settings_is_not_gone_on_from(checkpoint, tmp_path):
    model, tokenizer = grader(checkpoint, torch.float32)
    reports = training.tokenise(tokenizer, rows(), "eye", "text", 64)
    told = {"steps": 2, "batch": 16, "folder": tmp_path, "every": 2}
    train_many.fit(model, tokenizer, reports, list(rows()["grade"]), **told)
    assert train_many.fit(model, tokenizer, reports, list(rows()["grade"]), **told) == [], "all was done"
    with pytest.raises(ValueError, match="was kept with batch 16 and not 8. Take that again"):
        train_many.fit(model, tokenizer, reports, list(rows()["grade"]), **told | {"batch": 8})


def test_what_a_killed_run_left_unfinished_is_overwritten(checkpoint, tmp_path):
    rubbish = tmp_path / "step-000003.unfinished" / "shard-00009-model-00001-of-00001.safetensors"
    rubbish.parent.mkdir()
    rubbish.write_bytes(b"half")
    first, model, optimizer = kept(checkpoint, tmp_path, 3)
    assert not rubbish.exists() and scale.take_up(first, model, optimizer)["parts"].keys() == {
        file.name for file in first.glob("*.safetensors")
    }


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tried on Linux")
def test_torchrun_starts_again_after_a_kill_and_two_agents_are_as_good_as_one(tmp_path):
    words = ("--processes", "2", "--steps", "4", "--every", "2", "--labels", "32", "--batch", "4")
    scale.torchrun("-m", "course_utils.train_many", str(tmp_path / "killed"), *words, "--kill", "1", "3", restarts=1)
    scale.torchrun("-m", "course_utils.train_many", str(tmp_path / "two"), *words, processes=1, agents=2)
    told = [json.loads((tmp_path / name / "done.json").read_text()) for name in ("killed", "two")]
    assert [one["taken"] for one in told] == [2, 4] and [one["apart"] for one in told] == [0, 0]
    assert told[0]["processes"] == told[1]["processes"] == 2 and told[0]["dev"] == told[1]["dev"]
    prints = [measured.fingerprint(scale.newest(tmp_path / name)) for name in ("killed", "two")]
    assert prints[0] == prints[1]


def test_several_agents_are_not_restarted():
    with pytest.raises(ValueError, match="Each agent counts its own restarts"):
        scale.torchrun("nowhere.py", agents=2, restarts=1)


@pytest.mark.slow
def test_torchrun_tells_why_a_script_failed():
    with pytest.raises(RuntimeError, match="3 processes were asked for"):
        scale.torchrun("-m", "course_utils.train_many", "nowhere", "--processes", "3", "--steps", "1", processes=1)


# Rows that don't fit.


def parquet_files(folder, number=2_000, files=4):
    import pyarrow
    from pyarrow import parquet

    found = []
    for place, part in enumerate(np.array_split(np.arange(number), files)):
        found.append(folder / f"{place}.parquet")
        parquet.write_table(pyarrow.table({"row": part}), found[-1])
    return found


def test_a_stream_goes_on_in_mid_epoch_with_no_row_lost_or_doubled(tmp_path):
    files = parquet_files(tmp_path)
    whole = [row["row"] for row in scale.stream(files, 0, block=100)]
    assert sorted(whole) == list(range(2_000)) and whole[:100] != sorted(whole[:100])
    assert whole != [row["row"] for row in scale.stream(files, 1, block=100)], "another epoch, another order"
    for stop in (1, 100, 257):
        stream, seen = scale.stream(files, 0, block=100), []
        for row in stream:
            seen.append(row["row"])
            if len(seen) == stop:
                break
        state = json.loads(json.dumps(stream.state_dict()))  # as it lies on a disk
        rest = scale.stream(files, 0, block=100)
        rest.load_state_dict(state)
        assert seen + [row["row"] for row in rest] == whole


def read(rank, files):
    return [row["row"] for row in scale.stream(files, 0, block=100)]


@pytest.mark.parametrize(
    "processes", [2, pytest.param(3, marks=pytest.mark.slow)]
)  # three don't divide four files evenly
def test_processes_share_a_stream_out(tmp_path, processes):
    found = scale.together(read, processes, parquet_files(tmp_path))
    assert scale.tally(sum(found, []), 2_000) == (0, 0) and all(found)


# The long run, and its plan.


def test_the_long_runs_reader_goes_on_from_its_last_state(tmp_path, monkeypatch):
    files = parquet_files(tmp_path)
    measured.read(tmp_path, files, every=300)
    whole = np.fromfile(tmp_path / "0.rows", np.int64)
    (tmp_path / "0.json").unlink()
    taken, note = [], paths.write_json

    def dies(file, content):
        note(file, content)
        taken.append(content["rows"])
        if len(taken) == 3:
            raise SystemError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(paths, "write_json", dies)
        with pytest.raises(SystemError):
            measured.read(tmp_path, files, every=300)
    with (tmp_path / "0.rows").open("ab") as out:
        out.write(np.arange(50).tobytes())  # rows that were read after the last state
    measured.read(tmp_path, files, every=300)
    assert taken == [300, 600, 900]
    assert np.fromfile(tmp_path / "0.rows", np.int64).tolist() == whole.tolist() and len(set(whole)) == 2_000


def test_the_speeds_are_medians_over_turns():
    times = {"one process, one thread": (18, 20, 30), "two processes": (10, 10, 10)}
    found = [{"way": way, "turn": turn, "seconds": s} for way, all_s in times.items() for turn, s in enumerate(all_s)]
    told = {line["way"]: line for line in measured.speeds(found)}
    assert told["one process, one thread"]["times"] == 2 and told["one process, one thread"]["ends"] == [1.8, 3]
    assert told.keys() == times.keys()


def test_rows_that_are_read_again_move_the_score_as_much_as_by_another_count(monkeypatch):
    truth, said = np.array([0, 1, 2, 3, 4, 0]), np.array([0, 1, 2, 3, 4, 4])
    monkeypatch.setattr(measured.runs, "frames", lambda: {"dev": pd.DataFrame({"grade": truth})})
    monkeypatch.setattr(measured, "PADDED", ((6, 5), (2, 4)))
    monkeypatch.setattr(measured, "DRAWS", 20)
    assert {line["most"] for line in measured.padded("012340")} == {0}, "with every answer right none counts too often"
    for line in measured.padded("".join(map(str, said))):
        off, again = [], -line["rows"] % line["processes"]
        for draw in range(20):
            some = np.random.default_rng([0, draw]).permutation(6)[: line["rows"]]
            of_grade = {"labels": [0, 1, 2, 3, 4], "average": "macro", "zero_division": 0}
            sets = [some, [*some, *some[:again]]]
            right, filled = (f1_score(truth[one], said[one], **of_grade) for one in sets)
            off.append(100 * abs(right - filled))
        assert line["read"] == line["rows"] + again and (max(off) > 0) == (again > 0)
        assert (line["mean"], line["most"]) == pytest.approx((np.mean(off), max(off)))


def test_the_long_run_names_every_part_and_reports_only_on_request():
    parts = {task.make.__name__ for task in measured.tasks()}
    assert parts == {"speed", "same", "held", "survived", "streamed"}
    assert {"graded"} == {task.make.__name__ for task in measured.tasks(1_000)} - parts
    assert [task.settings["turn"] for task in measured.tasks() if task.make is measured.speed] == sorted(
        [0, 1, 2] * len(measured.WAYS)
    )


def halves(rank):
    return measured.halved([5, 6, 7]), measured.halved([5])


def test_the_worse_way_to_deal_out_rows_loses_none():
    assert scale.together(halves, 2) == [(([5, 6], 1.0), ([5], 1.0)), (([7], 1.0), ([5], 0.0))]
    for name, changed in measured.OTHERWISE.items():
        assert name in measured.WAYS and all(hasattr(train_many, what) for what in changed)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_ten_million_reports_in_small_are_killed_once_and_none_is_lost_or_doubled(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    monkeypatch.setattr(measured, "WORK", tmp_path)
    found = measured.graded("bulk", 9_000, 1)
    assert (found["killed"], found["lost"], found["doubled"], found["reports"]) == (1, 0, 0, 9_000)
    assert 0 < found["now"] < 9_000 and found["rows_a_second"] == pytest.approx(
        found["now"] / found["seconds"], rel=0.05
    )
    with pytest.raises(RuntimeError, match="its time was not kept"):
        measured.graded("bulk", 9_000, 1)


def test_the_plan_on_paper_is_the_one_that_the_code_writes():
    text = (paths.ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert text == measured.paper(), "write it anew: python -m course_utils.experiments.scale --paper"
    for power in range(3, 11):
        assert text.count(f"| 10^{power} |") == 2


def test_units_are_those_that_one_reads():
    assert [measured.duration(hours) for hours in (1e-4, 0.5, 5, 50, 9_000)] == [
        "0.4 seconds",
        "30.0 minutes",
        "5.0 hours",
        "2.1 days",
        "1.0 years",
    ]
    assert [measured.size(gigabytes) for gigabytes in (0.0002, 0.02, 2, 2_000)] == [
        "200 kB",
        "20.0 MB",
        "2.0 GB",
        "2.0 TB",
    ]


# The files that start the same script elsewhere.


def understood(words):
    """Return how torchrun and the script read a command: (torchrun's options, the script's)."""
    assert words[0] == "torchrun"
    options = get_args_parser().parse_args(words[1:])
    assert options.module and options.training_script == "course_utils.train_many"
    return options, train_many.arguments(options.training_script_args)


STAND_INS = {
    "scontrol": 'printf "%s\\n" $NODES',
    "srun": 'test "$TORCH_DISABLE_SHARE_RDZV_TCP_STORE" = 1 && printf "%s\\n" "$@"',
}


def by_slurm(tmp_path, nodes, each, folder, steps):
    """Return the words of the command that the Slurm script gives each machine; Slurm's own programs have stand-ins."""
    for name, does in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "EACH": each, "NODES": " ".join(nodes)}
    told |= {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": str(len(nodes)), "SLURM_JOB_ID": "77"}
    done = subprocess.run(["bash", LAUNCH / "slurm.sh", folder, steps], env=told, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(os.name != "posix", reason="a script of bash")
def test_the_slurm_script_starts_what_torchrun_and_the_script_understand(tmp_path):
    options, script = understood(by_slurm(tmp_path, ["node1", "node2"], "3", "/shared/kept", "100"))
    assert (options.nnodes, options.nproc_per_node, options.rdzv_endpoint) == ("2", "3", "node1:29500")
    assert (script.processes, script.steps, str(script.folder)) == (6, 100, "/shared/kept")
    directives = [line for line in (LAUNCH / "slurm.sh").read_text().splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --nodes=2" in directives and "#SBATCH --ntasks-per-node=1" in directives


def by_kubeflow(told):
    """Return the Kubeflow job, and the words of its command with the runtime's variables put in, as Kubernetes does."""
    job = yaml.safe_load((LAUNCH / "kubeflow.yaml").read_text())
    words = [*job["spec"]["trainer"]["command"], *job["spec"]["trainer"]["args"]]
    return job, [re.sub(r"\$\((\w+)\)", lambda found: told[found[1]], word) for word in words]


def test_the_kubeflow_job_is_what_its_models_and_torchrun_understand():
    job, words = by_kubeflow({"PET_MASTER_ADDR": "node1", "PET_MASTER_PORT": "29500"})
    trainer = job["spec"]["trainer"]
    options, script = understood(words)
    assert (options.max_restarts, options.rdzv_endpoint) == (3, "node1:29500")
    assert script.processes == trainer["numNodes"] * trainer["numProcPerNode"]
    assert {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"} in trainer["env"]
    if importlib.util.find_spec("kubeflow_trainer_api"):  # in no extra: it was tried once, by hand, with 2.3.0
        from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

        assert TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job


RAY_JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec"}
RAY_GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def test_the_ray_job_has_known_fields_and_an_entry_point_that_compiles():
    job = yaml.safe_load((LAUNCH / "ray.yaml").read_text())
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and set(spec) == RAY_JOB
    cluster = spec["rayClusterSpec"]
    assert set(cluster) == {"headGroupSpec", "workerGroupSpecs"}
    assert set(cluster["headGroupSpec"]) == {"rayStartParams", "template"}
    (group,) = cluster["workerGroupSpecs"]
    assert set(group) == RAY_GROUP and all(
        isinstance(value, str) for value in cluster["headGroupSpec"]["rayStartParams"].values()
    )
    code = spec["entrypoint"].split("python -c ")[1].strip('"')
    (call,) = [
        node
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "bulk.with_ray"
    ]
    workers = next(word.value.value for word in call.keywords if word.arg == "workers")
    cpus = group["replicas"] * int(group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    assert workers < cpus, "one core must be left for reading and writing"


def by_sagemaker(hosts, each, folder, steps):
    """Return the words of the command of each machine of a service that starts a container a machine."""
    found = importlib.util.spec_from_file_location("sagemaker_entry", LAUNCH / "sagemaker_entry.py")
    entry = importlib.util.module_from_spec(found)
    found.loader.exec_module(entry)
    told = {"SM_HOSTS": json.dumps(hosts), "SM_NUM_GPUS": "0", "SM_NUM_CPUS": each}
    return [entry.command(told | {"SM_CURRENT_HOST": host}, folder, steps) for host in hosts]


def test_a_service_with_a_container_a_machine_is_told_the_same_by_each():
    both = [understood(words) for words in by_sagemaker(["algo-2", "algo-1"], "4", "/kept", "50")]
    own = [(options.local_addr, options.rdzv_conf.split(",")[0]) for options, _ in both]
    assert own == [("algo-2", "is_host=0"), ("algo-1", "is_host=1")]
    assert {(options.rdzv_endpoint, options.nproc_per_node) for options, _ in both} == {("algo-1:29500", "4")}
    assert {(script.processes, script.steps) for _, script in both} == {(8, 50)}


@pytest.mark.skipif(os.name != "posix", reason="a stand-in of sh")
def test_a_service_tells_torchrun_to_share_no_store(tmp_path):
    (tmp_path / "torchrun").write_text('#!/bin/sh\necho "$TORCH_DISABLE_SHARE_RDZV_TCP_STORE" "$1"\n')
    (tmp_path / "torchrun").chmod(0o755)
    told = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SM_HOSTS": '["a"]', "SM_CURRENT_HOST": "a", "SM_NUM_CPUS": "1"}
    words = [sys.executable, LAUNCH / "sagemaker_entry.py", "/kept", "50"]
    assert subprocess.run(words, env=told, capture_output=True, text=True).stdout == "1 --nnodes=1\n"


ADDRESSES = ["127.0.0.1", "127.0.0.2"]  # on Linux both are this machine
SMALL = ["--every", "2", "--labels", "32", "--batch", "4"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return the fingerprints of four small steps of two processes that torchrun starts here, and nobody kills."""
    folder = tmp_path_factory.mktemp("straight")
    words = ["--processes", "2", "--steps", "4", *SMALL]
    scale.torchrun("-m", "course_utils.train_many", str(folder), *words)
    return measured.fingerprint(scale.newest(folder))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def commands(launcher, tmp_path, folder, port):
    """Return for each of ADDRESSES what a launcher's file starts there: four steps of one process each."""
    if launcher == "slurm":
        both = 2 * [by_slurm(tmp_path, ADDRESSES, "1", folder, "4")]
    elif launcher == "sagemaker":
        both = by_sagemaker(ADDRESSES, "1", folder, "4")
    else:
        _, words = by_kubeflow({"PET_MASTER_ADDR": ADDRESSES[0], "PET_MASTER_PORT": port})
        place, smaller = words.index("course_utils.train_many"), ["--nnodes=2", "--nproc-per-node=1"]
        both = 2 * [[words[0], *smaller, *words[1 : place + 1], folder, "--processes", "2", "--steps", "4"]]
    return [[word.replace("29500", port) for word in words] for words in both]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine on Linux alone")
@pytest.mark.parametrize("launcher", ["slurm", "kubeflow", "sagemaker"])
def test_two_machines_meet_as_on_a_cluster_and_go_on_after_a_kill(launcher, straight, tmp_path):
    """Without the file by which processes of `scale.torchrun` find each other: by addresses, as `scale.join` does elsewhere."""
    told = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    told |= {"GLOO_SOCKET_IFNAME": "lo"}  # what the processes say does not leave this machine
    assert scale.STORE not in told
    kept, logs = tmp_path / "kept", [tmp_path / f"log-{address}" for address in ADDRESSES]
    both, started = commands(launcher, tmp_path, str(kept), free_port()), []
    try:
        for address, words, log in zip(ADDRESSES, both, logs, strict=True):
            torchrun = [sys.executable, "-m", "torch.distributed.run", f"--local-addr={address}"]
            started.append(scale._start([*torchrun, *words[1:], *SMALL, "--kill", "1", "3"], told, log))
        codes = [one.wait(300) for one in started]
    finally:
        for one in started:
            scale._stop(one)
    assert codes == [0, 0], "\n".join(log.read_text()[-3_000:] for log in logs)
    done = json.loads((kept / "done.json").read_text())
    assert (done["processes"], done["taken"], done["apart"]) == (2, 2, 0), "killed after step 3, it goes on from step 2"
    assert measured.fingerprint(scale.newest(kept)) == straight
