"""Version models: what a registered model must carry, and the rules by which one may serve.

The registry is MLflow's, in a folder: a SQLite file, the models' files and a log. There is no server, and nothing is sent,
unless MLFLOW_TRACKING_URI names one. What this module adds: figures are measured here, never handed in; a model serves
only if it passes a gate (`course_utils.gate`), or a person answers for what the gate calls not shown, and if its files
are those that were registered, each time it is promoted, rolled back to or loaded; promotion and rollback are one write
each, so they happen or they don't; and a log that is only added to says who did what, when and on which proof (`history`).
"""

import io
import json
import logging
import os
import platform
import re
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

import course_utils
from course_utils import gate, logbook, metrics, paths, tracking

os.environ |= tracking.SILENT  # before MLflow is imported, which reads them then
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each small file
try:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PyFuncModel
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.types import ColSpec, Schema
except ImportError as error:
    raise ImportError("The registry needs MLflow: pip install -c constraints.txt -e '.[registry]'") from error
from filelock import FileLock, Timeout

CHAMPION = "champion"  # the alias of the model that serves
WEIGHTS = ("model.safetensors", "model.onnx")  # of `save_pretrained`, and of `export.pack`
PAST = "served_before"  # the tag that holds who served before the champion, the latest last
KEPT_PAST = 500  # how many of them: a tag is no longer than 5,000 characters
NEEDED = ("method", "base", "seed")  # what nobody can measure afterwards
ROW = ("report_id", "eye")  # what names a row: a report of both eyes is two rows
INPUTS = ("eye", "text")  # what a grader reads
JUDGED_ON = (*ROW, "text", "grade", "patient_id", "site")  # what a gate's word rests on
RECORD = "FILES.sha256"  # beside a model's files: what they are
LEFT_BY_MLFLOW = {"registered_model_meta"}  # it writes this into a model's folder when it loads it by name
LOG = "log.jsonl"
HEAD = "log_head"  # the tag that holds the hash of the log's last line
REGISTERING = "registering"  # the tag of a run whose registration has begun: the machine
SERVERS = re.compile(r"(https?|postgresql|mysql|mssql)(\+\w+)?://")
MOVES = {"promoted", "approved", "rolled back"}  # lines of the log after which another version serves
TOLD = ("against", "reason", "proof", "approved_by", "because")  # what such a line says, and the one before the move


@dataclass(frozen=True)
class Registry:
    """One named model in a registry: MLflow's client, the model's name, and the folder with its lock and its log.

    Without a `server` (its address, without a password) the folder holds everything else, too.
    """

    client: mlflow.MlflowClient
    name: str
    folder: Path
    server: str = ""


class History(NamedTuple):
    """What was done in a registry, one row a line of its log, and what is wrong with the log; nothing if all is well."""

    table: pd.DataFrame
    faults: list[str]


def open_registry(folder: str | Path, name: str = "dr-grader") -> Registry:
    """Open the registry in a folder, or make one there. MLflow's own calls in this process then use it, too.

    The folder may have been moved or copied since: the addresses in it are set right. What a killed process left is made
    good: a registration that never ended is marked FAILED and its copy of the model deleted, and a promotion that was cut
    off gets its line in the log. Several processes may do this at once.
    Where MLFLOW_TRACKING_URI names a server (http, https) or a server's database (postgresql, mysql, mssql), versions and
    aliases are kept there, and a line on stderr says so. The folder still holds the lock and the log, so they are this
    machine's, unless the folder is on a disk that all who promote share.
    Raises ValueError if that server does not answer.
    """
    folder = Path(folder).resolve()
    (folder / "running").mkdir(parents=True, exist_ok=True)
    logging.getLogger("alembic").setLevel(logging.ERROR)  # it tells of each table that it makes
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    server = re.sub(r"//[^/@]*@", "//***@", address) if SERVERS.match(address) else ""
    with FileLock(folder / "registry.lock"):
        if server:
            os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # else minutes pass before it gives up
            mlflow.set_tracking_uri(address)
            print(
                f"The registry is at {server}, by MLFLOW_TRACKING_URI; its lock and log are in {folder}.",
                file=sys.stderr,
            )
        else:
            _move_in(folder)
            mlflow.set_tracking_uri(f"sqlite:///{_escaped(folder)}/registry.db")
        try:
            client = mlflow.MlflowClient()
            _set_up(client, name, None if server.startswith("http") else (folder / "models").as_uri())
        except (MlflowException, OSError) as error:
            if not server:
                raise
            hint = "start it, or unset MLFLOW_TRACKING_URI to keep the registry in the folder"
            raise ValueError(f"The tracking server {server} does not answer: {hint}. {error}") from error
        if not server and _escaped(folder) != folder.as_posix():
            with suppress(OSError):  # MLflow makes a folder of the name that stands in the address; nothing is in it
                os.removedirs(_escaped(folder))
        registry = Registry(client, name, folder, server)
        _make_good(registry)
        _clean(registry)
    return registry


def register(registry: Registry, checkpoint: str | Path, about: dict, trained_on, judged_on) -> int:
    """Put a model into the registry, with all that it must carry, and return its version.

    Takes a folder that `save_pretrained` made of a grader and its tokenizer, or one that `export.pack` made; `about`, what
    can't be measured (method, base and seed at least); the reports it was trained on; and those it is judged on. Both need
    report_id, patient_id, site, eye, text and grade. The model is read back from the registry's own copy and grades
    `judged_on`, here. Its labels are those that it says itself. The version comes into being in the last step, complete;
    a registration that fails leaves a run marked FAILED and none of its files. Raises ValueError if something is missing,
    if a patient is among both reports, or if the model does not know a report's label. A report that the model refuses to
    grade counts as one that is not right.
    """
    missing = [name for name in NEEDED if name not in about]
    if missing:
        raise ValueError(f"A registered model must say its {', '.join(missing)}: add it to `about`.")
    checkpoint = Path(checkpoint).resolve()
    if not any((checkpoint / name).is_file() for name in WEIGHTS):
        raise ValueError(f"{checkpoint} holds no {' or '.join(WEIGHTS)}: use `save_pretrained` or `export.pack`.")
    names = label_names(checkpoint)
    for what, reports in (("training", trained_on), ("judged", judged_on)):
        _can_be_judged(what, reports, names)
    shared = _patients(trained_on) & _patients(judged_on)
    if shared:
        raise ValueError(f"{len(shared)} patients are in both the training and the judged reports: split by patient.")
    with _run(registry, str(about["method"])) as run:
        return _fill(registry, run, checkpoint, about, trained_on, judged_on, names)


def promote(
    registry: Registry,
    version: int,
    judged_on,
    margin: float = gate.MARGIN,
    site_margin: float = gate.SITE_MARGIN,
    approved_by: str = "",
    reason: str = "",
) -> gate.Verdict:
    """Let a version serve if it passes the gate against the model that serves now; return the verdict.

    Where the gate says *not shown*, it serves only if a person answers for it: `approved_by` and `reason` are written down.
    Nobody can approve what was refused. The first model has to be better than the most frequent grade.
    Only one promotion runs at a time on this folder, and none acts on an older comparison. All is written down before the
    last step, which moves the alias in one transaction: until it is done the old model serves. It compares the kept answers
    and does not ask the model again: `audit` does.
    Raises ValueError for a version that serves already, that was judged on other reports, that knows other labels than
    the model that serves, or whose files are not those that were registered; the log has a line of it.
    """
    if bool(approved_by.strip()) != bool(reason.strip()):
        raise ValueError("To approve, give both: approved_by, who answers for it, and reason, why.")
    with FileLock(registry.folder / "registry.lock"):
        _make_good(registry)
        alias, serving = champion(registry), _serving(registry)
        try:
            proof = _proof(registry, version, judged_on, serving, alias)
            verdict, against = _compared(registry, version, judged_on, serving, margin, site_margin)
        except ValueError as error:
            _note(registry, gate.REFUSED, version, against=serving, reason=str(error))
            raise
        proof |= {"margins": [margin, site_margin], "gate": _differences(verdict)}
        approved = verdict.answer == gate.NOT_SHOWN and bool(approved_by)
        word = f"approved by {approved_by} ({reason})" if approved else verdict.answer
        tag = f"{word} against {against}: {verdict.reason}"
        registry.client.set_model_version_tag(registry.name, str(version), "gate", tag)
        if verdict.passed or approved:
            step = "approved" if approved else "promoted"
            by = {"approved_by": approved_by, "because": reason} if approved else {}
            past = [*served_before(registry), serving] if serving else []
            _move(registry, step, version, alias, past, against=serving, reason=verdict.reason, proof=proof, **by)
        else:
            _note(registry, verdict.answer, version, against=serving, reason=verdict.reason, proof=proof)
    return verdict


def rollback(registry: Registry, to: int | None = None) -> int:
    """Let a version serve again that served before the present one, and return it.

    It is the one just before, or `to`, an earlier one of `served_before`. Where the alias was moved past the gate, it is the
    version that the gate let serve. Raises ValueError if there is none, or if its files are not those that were registered.
    """
    with FileLock(registry.folder / "registry.lock"):
        _make_good(registry)
        alias, serving, past = champion(registry), _serving(registry), served_before(registry)
        astray = serving is not None and alias != serving
        past = [*past, serving] if astray and serving is not None else past
        if not past:
            raise ValueError("There is no earlier model to go back to.")
        target = past[-1] if to is None else to
        if target not in past:
            raise ValueError(f"Version {target} did not serve before: choose one of {', '.join(map(str, past))}.")
        kept = past[: len(past) - past[::-1].index(target)]
        try:
            files = _digest(_proved(registry, target)[1])
        except ValueError as error:
            _note(registry, gate.REFUSED, target, against=alias, reason=str(error))
            older = [f"rollback(registry, to={one})" for one in dict.fromkeys(kept[::-1]) if one != target]
            raise ValueError(f"{error} Go back further: {' or '.join(older) or 'there is none'}.") from error
        _move(registry, "rolled back", target, alias, kept, against=alias, reason="", proof={"files": files})
    return target


def load(registry: Registry, version: int | None = None) -> PyFuncModel:
    """Return a version's model, or the champion's, ready to `predict`, if each of its files is the one that was registered.

    This is the way to load what serves. MLflow's own `models:/name@champion` checks the weights, the config and the
    tokenizer as well, by a list that was saved with them; this compares all files with the registry's record, and asks
    whether the champion came to serve through the gate.
    Raises ValueError if it did not, if a file is gone, changed or added, or if none serves; the log has a line of it.
    """
    asked = version
    version = champion(registry) if asked is None else asked
    if version is None:
        raise ValueError("No version serves yet: promote one.")
    try:
        if asked is None and not _through_the_gate(registry, version):
            raise ValueError(
                f"Version {version} became the champion past the gate: promote it, or go back with `rollback`."
            )
        folder, _ = _proved(registry, version)
    except ValueError as error:
        with suppress(OSError, MlflowException):  # who may only read still gets the refusal
            _note(registry, "load refused", version, reason=str(error))
        raise
    return mlflow.pyfunc.load_model(str(folder))


def history(registry: Registry) -> History:
    """Return what was registered, promoted, approved, refused, not shown and rolled back, by whom, when and on which proof.

    `faults` says if a line of the log was changed or lines are missing, and if what serves is not what the log says.
    """
    log = _log(registry)
    rows = [line for line in log.lines if line.get("model", registry.name) == registry.name]
    columns = ["n", "when", "who", "what", "version", "against", "reason", "approved_by", "because", "proof"]
    table = pd.DataFrame(rows, columns=columns).astype({"version": "Int64", "against": "Int64"})
    faults = list(log.faults)
    if any(line.get("lost") for line in rows):
        faults.append("the log was begun anew, and the log before it is gone")
    serves = champion(registry)
    if serves is not None and not _through_the_gate(registry, serves):
        faults.append(f"version {serves} became the champion past the gate")
    return History(table, faults)


def champion(registry: Registry) -> int | None:
    """Return the version that has the alias, or None."""
    aliases = registry.client.get_registered_model(registry.name).aliases
    return int(aliases[CHAMPION]) if CHAMPION in aliases else None


def served_before(registry: Registry) -> list[int]:
    """Return the versions that served before the champion, the latest last, without those that a rollback left."""
    past = json.loads(registry.client.get_registered_model(registry.name).tags.get(PAST, "[]"))
    # the list is written before the alias moves: where its last entry serves, the step was not taken, or taken back
    return past[:-1] if past and past[-1] == _serving(registry) else past


def judged_so_far(registry: Registry, judged_on) -> int:
    """Return how many versions the gate has judged on these reports."""
    versions = registry.client.search_model_versions(f"name = '{registry.name}'")
    gated = (version.tags for version in versions if "gate" in version.tags)
    return sum(tags["judged_sha256"] == fingerprint(judged_on) for tags in gated)


def answers(registry: Registry, version: int, judged_on) -> np.ndarray:
    """Return the answers to `judged_on` that were kept when a version was registered.

    Raises ValueError if it was judged on other reports, or if the kept answers were changed.
    """
    tags = _version(registry, version).tags
    if tags["judged_sha256"] != fingerprint(judged_on):
        raise ValueError(f"Version {version} was judged on other reports than these: register it again with these.")
    content = _artifact(registry, version, "judged.csv")
    if paths.digest(content) != tags.get("answers_sha256"):
        raise ValueError(f"The kept answers of version {version} are not those that it gave: register it again.")
    return pd.read_csv(io.StringIO(content))["predicted"].to_numpy()


def measured(registry: Registry, version: int) -> dict[str, dict[str, float]]:
    """Return the figures that were measured when a version was registered, as `gate.figures` gives them."""
    return json.loads(_artifact(registry, version, "figures.json"))


def labels(registry: Registry, version: int) -> list[str]:
    """Return the names of a version's labels, in the order of their numbers."""
    return json.loads(_version(registry, version).tags["labels"])


def trace(registry: Registry, file: str | Path):
    """Return MLflow's record of the version that a model file is, whatever the file is called, by its sha256.

    Raises LookupError if the registry does not know the file.
    """
    query = f"name = '{registry.name}' and tags.weights_sha256 = '{paths.sha256(file)}'"
    versions = registry.client.search_model_versions(query)
    if not versions:
        raise LookupError(f"{Path(file).name} is no model of this registry: it was changed, or never registered.")
    return min(versions, key=lambda version: int(version.version))


def weights(address: str) -> Path:
    """Return the file of a model's weights, for MLflow's address of the model: a version's `source`, or one by alias."""
    return _weights(Path(mlflow.artifacts.download_artifacts(address)))


def training_rows(registry: Registry, version: int) -> pd.DataFrame:
    """Return the report_id and the eye of each row that a version was trained on, in their order."""
    table = io.StringIO(_artifact(registry, version, "trained_on.csv"))
    return pd.read_csv(table, dtype=str, keep_default_na=False)


def audit(registry: Registry, version: int, judged_on, again: int = 200) -> list[str]:
    """Return what in a version's record does not hold, as sentences; none if all is well.

    Its files and its kept answers must be those that were registered, each figure and each of MLflow's metrics must follow
    from the answers, and the first `again` reports, when the model grades them again, must get the answers that were kept.
    """
    try:
        folder, _ = _proved(registry, version)
        kept = answers(registry, version, judged_on)
    except ValueError as error:
        return [str(error)]
    follows = gate.figures(judged_on, kept, len(labels(registry, version)))
    told = {f"{group}/{what}": value for group, of in measured(registry, version).items() for what, value in of.items()}
    wrong = _differ(
        version, told, {f"{group}/{what}": value for group, of in follows.items() for what, value in of.items()}
    )
    logged = registry.client.get_run(_version(registry, version).run_id).data.metrics
    wrong += _differ(version, logged, _metrics(follows))
    first_reports = _columns(judged_on, INPUTS)[:again]
    changed = int((mlflow.pyfunc.load_model(str(folder)).predict(first_reports) != kept[:again]).sum())
    if changed:
        wrong.append(f"version {version} answers {changed} of {len(first_reports)} reports otherwise")
    return wrong


def card(registry: Registry, version: int, judged_on) -> str:
    """Return a version's model card in Markdown, each figure of it read from the registry.

    Raises ValueError if `audit` finds anything wrong: a card is not written from figures that don't hold.
    """
    wrong = audit(registry, version, judged_on)
    if wrong:
        raise ValueError(f"No card is written: {'; '.join(wrong)}.")
    record = _version(registry, version)
    run = registry.client.get_run(record.run_id).data
    found, names = measured(registry, version), labels(registry, version)
    scores = ["| reports | n | right | no grade | macro F1 | 95% interval |", "|---|---|---|---|---|---|"]
    truth = np.asarray(judged_on["grade"])
    for group, rows in gate.groups(judged_on).items():
        n, right, refused, value, low, high = (found[group][what] for what in gate.MEASURED)
        lacks = sorted(set(metrics.occurring(truth)) - set(metrics.occurring(truth[rows])))
        said = gate.shown(group).replace("|", "\\|")
        if lacks:
            said += f" (no grade {', '.join(map(str, lacks))}: not to be compared)"
        scores.append(f"| {said} | {n:,.0f} | {right:,.0f} | {refused:,.0f} | {value:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(
        [
            f"# {registry.name}, version {version}",
            "",
            f"Gives a report one of {len(names)} labels: {'; '.join(map(gate.shown, names))}. Not for patients.",
            "",
            *(f"- {name}: {value}" for name, value in sorted(run.params.items())),
            f"- trained on {len(training_rows(registry, version)):,} reports, sha256 {record.tags['data_sha256'][:12]}",
            f"- judged on {found[gate.ALL]['reports']:,.0f} reports, sha256 {record.tags['judged_sha256'][:12]}",
            f"- gate: {record.tags.get('gate', 'not asked yet')}",
            f"- weights: sha256 {record.tags['weights_sha256'][:12]}",
            f"- code: {record.tags['code']}",
            "",
            *scores,
            "",
            "The gate chose by these same reports, so they may flatter this version. Reports that nobody chose by tell the truth.",
        ]
    )


def fingerprint(reports) -> str:
    """Return the sha256 of reports in their order: of each one's id, eye, text, grade, patient and site.

    Raises ValueError for reports that lack one of these columns.
    """
    rows = zip(*(map(str, gate.column(reports, name)) for name in JUDGED_ON), strict=True)
    return paths.digest(list(rows))


def label_names(checkpoint: str | Path) -> list[str]:
    """Return the names of the labels that a model's own files give, in the order of their numbers.

    Takes a folder that `save_pretrained` made (its config's id2label) or `export.pack` (its contract's labels).
    Raises ValueError if it names fewer than two.
    """
    folder = Path(checkpoint)
    if (folder / WEIGHTS[1]).is_file():
        names = paths.read_json(folder / "contract.json").get("labels", [])
    else:
        # of two labels without names a config says nothing
        of_config = paths.read_json(folder / "config.json").get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
        names = [of_config[number] for number in sorted(of_config, key=int)]
    if len(names) < 2:
        raise ValueError(f"{folder} is no grader: its files name {len(names)} labels, and it takes two at least.")
    return list(map(str, names))


class _Grader:
    """What MLflow calls to grade: it knows nothing of registries."""

    def __init__(self, checkpoint: str):
        from transformers import AutoModelForSequenceClassification, AutoTokenizer  # slow, and promotion needs no model

        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            checkpoint, dtype="float32", use_safetensors=True
        )

    def predict(self, reports: pd.DataFrame) -> np.ndarray:
        from course_utils import training

        return training.predict(self.model, self.tokenizer, reports).argmax(1)


class _Exported:
    """The same for a folder that `export.pack` made. It needs no torch, and its files are checked when it is loaded."""

    def __init__(self, folder: str):
        try:
            from course_utils import serve
        except ImportError as error:
            raise ImportError("This model needs ONNX Runtime: pip install -c constraints.txt -e '.[serve]'") from error

        self.grader = serve.load(folder)

    def predict(self, reports: pd.DataFrame) -> np.ndarray:
        pairs = zip(reports["eye"], reports["text"], strict=True)
        grades = [self.grader.grade(text, eye if self.grader.asks_eye else "").grade for eye, text in pairs]
        return np.array([gate.NO_GRADE if grade is None else grade for grade in grades])


def _load_pyfunc(checkpoint: str) -> _Grader | _Exported:
    """Load a grader: MLflow calls a loader module's function of this name, however the model was asked for.

    Raises ValueError if its files are not those of the list that was saved beside them.
    """
    folder = Path(checkpoint)
    record = folder.with_name(RECORD)
    if not record.is_file():
        raise ValueError(f"Nothing vouches for {folder}: {RECORD} is gone. Register the model again.")
    listed = (line.split("  ", 1) for line in record.read_text(encoding="utf-8").splitlines())
    wrong = _changes({name: digest for digest, name in listed}, _files(folder))
    if wrong:
        raise ValueError(f"The model in {folder} is not the one that was registered: {wrong}.")
    return _Exported(checkpoint) if (folder / WEIGHTS[1]).is_file() else _Grader(checkpoint)


def _save(checkpoint: Path, to: Path) -> None:
    """Write a model in MLflow's format, with its signature and a list of its files.

    It names this module as its loader, so nothing is pickled.
    """
    columns = Schema([ColSpec("string", name) for name in INPUTS])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*input example")  # the signature is written out here
        mlflow.pyfunc.save_model(
            to,
            loader_module=__name__,
            data_path=str(checkpoint),
            signature=ModelSignature(inputs=columns, outputs=Schema([ColSpec("long", "grade")])),
            pip_requirements=[f"finetune-course=={course_utils.__version__}"],
        )
    (copy,) = (to / "data").iterdir()
    lines = (f"{digest}  {name}\n" for name, digest in _files(copy).items())
    (to / "data" / RECORD).write_text("".join(lines), encoding="utf-8", newline="\n")


def _fill(registry: Registry, run, checkpoint: Path, about: dict, trained_on, judged_on, names: list[str]) -> int:
    """Put everything into a run, let the model grade, and make a version of it as the last step; return its number."""
    client, run_id = registry.client, run.info.run_id
    for name, value in about.items():
        client.log_param(run_id, name, value)
    with TemporaryDirectory() as folder:
        _save(checkpoint, Path(folder) / "model")
        _columns(trained_on, ROW).to_csv(Path(folder) / "trained_on.csv", index=False)
        client.log_artifacts(run_id, folder)
    source = f"{run.info.artifact_uri}/model"
    copy = Path(mlflow.artifacts.download_artifacts(source))
    files = _files(copy)
    predicted = mlflow.pyfunc.load_model(str(copy)).predict(_columns(judged_on, INPUTS))
    kept = _columns(judged_on, ROW).assign(predicted=predicted).to_csv(index=False, lineterminator="\n")
    client.log_text(run_id, kept, "judged.csv")
    found = gate.figures(judged_on, predicted, len(names))
    client.log_text(run_id, json.dumps(found, ensure_ascii=False, indent=1), "figures.json")
    for name, value in _metrics(found).items():
        client.log_metric(run_id, name, value)
    tags = {
        "files": json.dumps(files),
        "labels": json.dumps(names, ensure_ascii=False),
        "weights_sha256": paths.sha256(_weights(copy)),
        "data_sha256": fingerprint(trained_on),
        "judged_sha256": fingerprint(judged_on),
        "answers_sha256": paths.digest(kept),
        "code": paths.code_version(),
    }
    version = int(client.create_model_version(registry.name, source, run_id, tags=tags).version)
    _note(registry, "registered", version, proof={"files": _digest(files), "judged": tags["judged_sha256"]})
    return version


@contextmanager
def _run(registry: Registry, name: str) -> Iterator:
    """Give a run for a registration: afterwards it is FINISHED, or FAILED with its files deleted.

    While this process lives it holds the run's own lock, so that no other takes the registration for a dead one.
    """
    client = registry.client
    with FileLock(registry.folder / "registry.lock"):
        _clean(registry)
        experiment = client.get_experiment_by_name(registry.name)
        if experiment is None:
            raise ValueError(f"The registry in {registry.folder} is not set up: open it with `open_registry`.")
        run = client.create_run(experiment.experiment_id, run_name=name, tags={REGISTERING: _here(registry)})
        lock = _running(registry, run.info.run_id)
        lock.acquire()
    try:
        yield run
        client.set_terminated(run.info.run_id)
    except BaseException:
        with suppress(Exception):  # the disk that is full, the server that is gone: `_clean` tries again
            _end(registry, run.info.run_id)
        raise
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _clean(registry: Registry) -> None:
    """End the registrations that a killed process left. Of another machine's, on a server, nothing is known."""
    experiment = registry.client.get_experiment_by_name(registry.name)
    if experiment is None:
        return
    for run in registry.client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        host = run.data.tags.get(REGISTERING)
        if host is None or (registry.server and host != _here(registry)):
            continue
        lock = _running(registry, run.info.run_id)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue  # its process lives
        _end(registry, run.info.run_id)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _end(registry: Registry, run_id: str) -> None:
    """Mark a run that did not end as FAILED and delete its files; if its version is there already, as FINISHED."""
    if registry.client.search_model_versions(f"run_id = '{run_id}'"):
        registry.client.set_terminated(run_id)
        return
    run = registry.client.get_run(run_id)
    get_artifact_repository(run.info.artifact_uri).delete_artifacts()
    registry.client.set_terminated(run_id, "FAILED")


def _running(registry: Registry, run_id: str) -> FileLock:
    return FileLock(registry.folder / "running" / f"{run_id}.lock")


def _here(registry: Registry) -> str:
    return f"{platform.node()} {registry.folder}"


def _escaped(folder: Path) -> str:
    """Return a folder as it stands in a database's address, which is read as a URL: a ? ends it, and %20 is a space."""
    return re.sub(r"%(?=[0-9a-fA-F]{2})", "%25", folder.as_posix()).replace("?", "%3F")


def _set_up(client: mlflow.MlflowClient, name: str, models: str | None) -> None:
    """Make the experiment and the registered model, where they are not there yet; another machine may do the same."""
    if client.get_experiment_by_name(name) is None:
        with _unless_there():
            client.create_experiment(name, artifact_location=models)
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        with _unless_there():
            client.create_registered_model(name)


@contextmanager
def _unless_there() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _move_in(folder: Path) -> None:
    """Set right the addresses of a registry's files, which hold the folder that they were written in, if it was another."""
    database, now = folder / "registry.db", (folder / "models").as_uri()
    if not database.is_file():
        return
    places = {
        "experiments": ("artifact_location",),
        "runs": ("artifact_uri",),
        "model_versions": ("source", "storage_location"),
        "logged_models": ("artifact_location",),
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in there:
            return
        found = connection.execute("SELECT DISTINCT artifact_location FROM experiments")
        olds = [old for (old,) in found if old and old.startswith("file:") and old.endswith("/models") and old != now]
        for old in olds:
            for table in places.keys() & there:
                for column in places[table]:
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                        (now, len(old) + 1, old, len(old) + 1, f"{old}/"),
                    )


def _can_be_judged(what: str, reports, names: list[str]) -> None:
    """Raise ValueError unless reports have all columns and no grade that the model does not know."""
    for name in JUDGED_ON:
        gate.column(reports, name)
    gate.groups(reports)
    strays = [grade for grade in np.asarray(reports["grade"]).tolist() if grade not in range(len(names))]
    if strays:
        known = f"0 to {len(names) - 1} ({', '.join(map(gate.shown, names))})"
        raise ValueError(f"The {what} reports have the grade {strays[0]!r}; the model knows {known}.")


def _patients(reports) -> set[str]:
    """Return the patients of reports as text, so that 7 in one file is "7" of the other; a missing one is nobody."""
    named = {str(patient).strip() for patient in reports["patient_id"]}
    return {patient for patient in named if patient.lower() not in metrics.MISSING}


def _proof(registry: Registry, version: int, judged_on, serving: int | None, alias: int | None) -> dict:
    """Return what a promotion rests on; raise ValueError where the version may not be compared at all."""
    tags = _version(registry, version).tags
    if version == serving == alias:
        raise ValueError(f"Version {version} serves already.")
    _, files = _proved(registry, version)
    if serving is not None:
        new, old = labels(registry, version), labels(registry, serving)
        named = [names for names in (new, old) if not all(re.fullmatch(r"(LABEL_)?\d+", name) for name in names)]
        if len(new) != len(old) or (len(named) == 2 and new != old):
            told = [", ".join(map(gate.shown, names)) for names in (new, old)]
            raise ValueError(
                f"Version {version} knows other labels ({told[0]}) than version {serving}, which serves ({told[1]}): "
                "they can't be compared. Open a registry of another name for it."
            )
    return {"files": _digest(files), "judged": fingerprint(judged_on), "answers": tags.get("answers_sha256")}


def _compared(
    registry: Registry, version: int, judged_on, serving: int | None, margin: float, site_margin: float
) -> tuple[gate.Verdict, str]:
    """Return the gate's verdict on a version, and what it was compared with."""
    truth, new = np.asarray(judged_on["grade"]), answers(registry, version, judged_on)
    if serving is None:  # not being worse than a constant answer is not enough
        old, margin, against = np.full(len(truth), np.bincount(truth).argmax()), 0.0, "the most frequent grade"
    else:
        old, against = answers(registry, serving, judged_on), f"version {serving}"
    known = len(labels(registry, version))
    return gate.verdict(judged_on, new, old, known, margin, site_margin), against


def _differences(verdict: gate.Verdict) -> dict[str, list[float]]:
    """Return each group's difference, low end, high end and number of reports, for the log."""
    return {
        name: [*(round(float(end), 4) for end in found.difference), found.n] for name, found in verdict.compared.items()
    }


def _move(registry: Registry, step: str, version: int, alias: int | None, past: list[int], **said) -> None:
    """Move the champion's alias: a line in the log that it will be, who served before, the alias, a line that it was.

    Raises ValueError if another machine moved the alias since it was read.
    """
    client = registry.client
    _note(registry, "moving", version, step=step, **said)
    client.set_registered_model_tag(registry.name, PAST, json.dumps(past[-KEPT_PAST:]))
    now = champion(registry)
    if now != alias:
        raise ValueError(f"Another process made version {now} the champion meanwhile: ask again.")
    client.set_registered_model_alias(registry.name, CHAMPION, str(version))
    _note(registry, step, version, **said)


def _make_good(registry: Registry) -> None:
    """Write down what a killed process could not, and what was done past the gate. Call it under the lock."""
    lines = _lines(registry)
    if not lines:
        head = registry.client.get_registered_model(registry.name).tags.get(HEAD)
        _note(registry, "opened", None, lost=bool(head) and not registry.server)
        return
    alias, (_, pending) = champion(registry), _moves(lines)
    if pending:
        told = {name: pending[name] for name in TOLD if name in pending}
        if alias == pending["version"]:
            _note(registry, pending["step"], alias, **told, late=True)
        else:
            _note(registry, "not moved", pending["version"], reason="the process ended before the alias moved")
    elif not registry.server and alias is not None and not _through_the_gate(registry, alias):
        seen = [line for line in lines if line["what"] in MOVES | {"past the gate"}]
        if not seen or (seen[-1]["what"], seen[-1]["version"]) != ("past the gate", alias):
            _note(registry, "past the gate", alias, reason="the alias was moved by something else than this module")


def _serving(registry: Registry) -> int | None:
    """Return the version that the log says serves: the last that came through the gate. On a server it is the alias."""
    alias = champion(registry)
    if registry.server:
        return alias
    served, pending = _moves(_lines(registry))
    return pending["version"] if pending and pending["version"] == alias else served


def _moves(lines: list[dict]) -> tuple[int | None, dict | None]:
    """Return the version that a log's lines say serves, and the line of a move that has begun and not ended, if any."""
    served, pending = None, None
    for line in lines:
        if line["what"] == "moving":
            pending = line
        elif line["what"] in MOVES:
            served, pending = line["version"], None
        elif line["what"] == "not moved":
            pending = None
    return served, pending


def _through_the_gate(registry: Registry, version: int) -> bool:
    """Say whether the champion came to serve by `promote` or `rollback`; on a server, whether the gate ever let it serve."""
    if registry.server:
        word = _version(registry, version).tags.get("gate", "")
        return word.startswith((gate.PASSED, "approved by"))
    return _serving(registry) == version


def _note(registry: Registry, what: str, version: int | None, **said) -> None:
    """Add a line to the log, and keep its hash in the registry."""
    head = logbook.append(registry.folder / LOG, what=what, model=registry.name, version=version, **said)
    if not registry.server:  # there several machines, each with its log, would overwrite one another's
        registry.client.set_registered_model_tag(registry.name, HEAD, head)


def _log(registry: Registry) -> logbook.Log:
    head = registry.client.get_registered_model(registry.name).tags.get(HEAD)
    return logbook.read(registry.folder / LOG, None if registry.server else head)


def _lines(registry: Registry) -> list[dict]:
    """Return the log's lines of this model, but for those that are no lines of it."""
    return [line for line in logbook.read(registry.folder / LOG).lines if line.get("model") == registry.name]


def _proved(registry: Registry, version: int) -> tuple[Path, dict[str, str]]:
    """Return the folder of a version's files and their sha256; raise ValueError unless they are those registered."""
    record = _version(registry, version)
    if "files" not in record.tags:
        raise ValueError(f"Version {version} has no record of its files: register it again.")
    try:
        folder = Path(mlflow.artifacts.download_artifacts(record.source))
        files = _files(folder)
    except (OSError, MlflowException) as error:
        raise ValueError(f"The files of version {version} are gone: register it again.") from error
    wrong = _changes(json.loads(record.tags["files"]), files)
    if wrong:
        raise ValueError(f"The files of version {version} are not those that were registered: {wrong}.")
    return folder, files


def _files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of a model's folder, by its path in it."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: paths.sha256(file) for name, file in named.items() if name not in LEFT_BY_MLFLOW}


def _changes(recorded: dict[str, str], found: dict[str, str]) -> str:
    """Say which files are gone, changed or new, by their sha256; nothing if all are the same."""
    gone = sorted(recorded.keys() - found.keys())
    new = sorted(found.keys() - recorded.keys())
    changed = sorted(name for name in recorded.keys() & found.keys() if recorded[name] != found[name])
    parts = [f"{', '.join(names)} {what}" for names, what in ((gone, "is gone"), (changed, "was changed")) if names]
    return "; ".join([*parts, *[f"{', '.join(new)} was added"] * bool(new)])


def _digest(files: dict[str, str]) -> str:
    """Return one sha256 for all files of a model, for the log."""
    return paths.digest(sorted(files.items()))


def _weights(folder: Path) -> Path:
    return next(file for name in WEIGHTS for file in sorted(folder.rglob(name)))


def _metrics(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return figures under names that MLflow takes: it knows no site names, so "site 1" is the first in `measured`."""
    names = {group: f"site {n}" if n else gate.ALL for n, group in enumerate(found)}
    return {f"{names[group]}/{what}": value for group, of in found.items() for what, value in of.items()}


def _differ(version: int, told: dict[str, float], follows: dict[str, float]) -> list[str]:
    """Return a sentence for each figure that does not follow from the answers."""
    return [
        f"version {version} says {name} = {told.get(name, float('nan')):.3f}, its answers give {value:.3f}"
        for name, value in follows.items()
        if not np.isclose(told.get(name, np.nan), value)
    ]


def _columns(reports, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: list(reports[name]) for name in names})


def _version(registry: Registry, version: int):
    try:
        return registry.client.get_model_version(registry.name, str(version))
    except MlflowException as error:
        raise ValueError(f"There is no version {version} of {registry.name}.") from error


def _artifact(registry: Registry, version: int, file: str) -> str:
    """Return the text of a file that was kept of a version; raise ValueError if it is gone."""
    run = registry.client.get_run(_version(registry, version).run_id)
    try:
        return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{file}")
    except (OSError, MlflowException) as error:
        raise ValueError(f"{file} of version {version} is gone: register it again.") from error
