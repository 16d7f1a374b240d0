"""Version models: what a registered model must carry, and the rules by which one may serve.

The registry is MLflow's, in a folder: a SQLite file and the models' files. There is no server, and nothing is sent. What
this module adds: figures are measured here, never handed in; a model serves only if it passes a gate; promotion and
rollback are one write each, so they happen or they don't.
"""

import json
import logging
import os
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

import course_utils
from course_utils import metrics, paths, tracking

os.environ |= tracking.SILENT  # before MLflow is imported, which reads them then
try:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
except ImportError as error:
    raise ImportError("The registry needs MLflow: pip install -c constraints.txt -e '.[registry]'") from error
from filelock import FileLock

CHAMPION = "champion"  # the alias of the model that serves
WEIGHTS = ("model.safetensors", "model.onnx")  # of `save_pretrained`, and of `export.pack`
PAST = "served_before"  # the tag that holds who served before the champion, the latest last
NEEDED = ("method", "base", "seed")  # what nobody can measure afterwards
ROW = ("report_id", "eye")  # what names a row: a report of both eyes is two rows
INPUTS = ("eye", "text")  # what a grader reads
NO_GRADE = -1  # what an exported grader's refusal becomes: a report that it can't read
MARGIN = 0.02  # of macro F1: how much worse a candidate might be and still pass


@dataclass(frozen=True)
class Registry:
    """One named model in a registry: MLflow's client, the model's name, and the folder that holds everything."""

    client: mlflow.MlflowClient
    name: str
    folder: Path


class Verdict(NamedTuple):
    """What the gate says of a candidate: passed or not, why, and its difference from the model that serves.

    `compared` holds the paired difference in macro F1 (candidate minus serving) for "all" and for each subgroup.
    """

    passed: bool
    reason: str
    compared: dict[str, metrics.Comparison]


def open_registry(folder: str | Path, name: str = "dr-grader") -> Registry:
    """Open the registry in a folder, or make one there. MLflow's own calls in this process then use it, too."""
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("alembic").setLevel(logging.ERROR)  # it tells of each table that it makes
    mlflow.set_tracking_uri(f"sqlite:///{(folder / 'registry.db').as_posix()}")
    client = mlflow.MlflowClient()
    with FileLock(folder / "registry.lock"):
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=(folder / "models").as_uri())
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
    return Registry(client, name, folder)


def register(registry: Registry, checkpoint: str | Path, about: dict, trained_on, judged_on) -> int:
    """Put a model into the registry, with all that it must carry, and return its version.

    Takes a folder that `save_pretrained` made of a grader and its tokenizer, or one that `export.pack` made; `about`, what
    can't be measured (method, base and seed at least); the reports it was trained on; and those it is judged on. Both need
    report_id, patient_id, site, eye, text and grade. The model is read back from the registry's own copy and grades
    `judged_on`, here. The version comes into being in the last step, complete. Raises ValueError if something is missing,
    if a patient is among both reports, or if the model leaves a report without a grade.
    """
    missing = [name for name in NEEDED if name not in about]
    if missing:
        raise ValueError(f"A registered model must say its {', '.join(missing)}: add it to `about`.")
    if not any((Path(checkpoint) / name).is_file() for name in WEIGHTS):
        raise ValueError(f"{checkpoint} holds no {' or '.join(WEIGHTS)}: use `save_pretrained` or `export.pack`.")
    shared = set(trained_on["patient_id"]) & set(judged_on["patient_id"])
    if shared:
        raise ValueError(f"{len(shared)} patients are in both the training and the judged reports: split by patient.")

    client = registry.client
    experiment = client.get_experiment_by_name(registry.name)
    if experiment is None:
        raise ValueError(f"The registry in {registry.folder} is not set up: open it with `open_registry`.")
    run = client.create_run(experiment.experiment_id, run_name=str(about["method"]))
    for name, value in about.items():
        client.log_param(run.info.run_id, name, value)
    with TemporaryDirectory() as folder:
        _save(checkpoint, Path(folder) / "model")
        _columns(trained_on, ROW).to_csv(Path(folder) / "trained_on.csv", index=False)
        client.log_artifacts(run.info.run_id, folder)
    source = f"{run.info.artifact_uri}/model"
    predicted = mlflow.pyfunc.load_model(source).predict(_columns(judged_on, INPUTS))
    if (predicted == NO_GRADE).any():
        raise ValueError(
            f"It gives no grade to {(predicted == NO_GRADE).sum()} reports: judge it on those it can read."
        )
    kept = _columns(judged_on, ROW).assign(predicted=predicted)
    client.log_text(run.info.run_id, kept.to_csv(index=False), "judged.csv")
    for name, value in figures(judged_on, predicted).items():
        client.log_metric(run.info.run_id, name, value)
    client.set_terminated(run.info.run_id)
    tags = {
        "weights_sha256": paths.sha256(weights(source)),
        "data_sha256": fingerprint(trained_on),
        "judged_sha256": fingerprint(judged_on),
        "code": code_version(),
    }
    return int(client.create_model_version(registry.name, source, run.info.run_id, tags=tags).version)


def figures(judged_on, predicted: ArrayLike) -> dict[str, float]:
    """Return what the registry keeps of a model's answers, by name.

    For all reports and for each site: how many there are, how many are right, macro F1 and the ends of its 95% interval,
    under names such as "all/right" and "north/macro_f1_low". Macro F1 is over the grades that these reports have.
    """
    truth, patients, sites = (np.asarray(judged_on[name]) for name in ("grade", "patient_id", "site"))
    grades = np.asarray(predicted)
    measured: dict[str, float] = {}
    for name, rows in _groups(sites).items():
        measure = metrics.macro_f1_of(metrics.occurring(truth[rows]))
        f1 = metrics.interval(truth[rows], grades[rows], measure, groups=patients[rows])
        right = (grades == truth)[rows]
        of_group = {"reports": len(right), "right": right.sum(), "macro_f1": f1.value}
        of_group |= {"macro_f1_low": f1.low, "macro_f1_high": f1.high}
        measured |= {f"{name}/{what}": float(value) for what, value in of_group.items()}
    return measured


def gate(judged_on, candidate: ArrayLike, serving: ArrayLike, margin: float = MARGIN) -> Verdict:
    """Say whether a candidate may take the place of the model that serves, by their answers to the same reports.

    It passes if macro F1 is better, or not worse by `margin` (the low end of the paired difference's 95% interval is
    above -margin), and if at no site it is worse (the whole interval of the site's difference is below 0). Macro F1 is over
    the grades that the reports have, so one that they lack does not make a difference look smaller.
    """
    truth, patients, sites = (np.asarray(judged_on[name]) for name in ("grade", "patient_id", "site"))
    new_grades, old_grades = np.asarray(candidate), np.asarray(serving)
    compared = {
        name: metrics.paired(
            truth[rows],
            new_grades[rows],
            old_grades[rows],
            metrics.macro_f1_of(metrics.occurring(truth[rows])),
            groups=patients[rows],
        )
        for name, rows in _groups(sites).items()
    }
    overall = compared["all"].difference
    worse = [name for name, comparison in compared.items() if name != "all" and comparison.difference.high < 0]
    if worse:
        return Verdict(False, f"worse at {', '.join(worse)}", compared)
    if overall.low > 0:
        return Verdict(True, "better", compared)
    if overall.low > -margin:
        return Verdict(True, f"not worse by {margin}", compared)
    unsure = f"not shown to be no worse than by {margin}" if margin else "not shown to be better"
    return Verdict(False, "worse" if overall.high < 0 else unsure, compared)


def promote(registry: Registry, version: int, judged_on, margin: float = MARGIN) -> Verdict:
    """Let a version serve if it passes the gate against the model that serves now; return the verdict.

    The first model has to be better than the most frequent grade. Only one promotion runs at a time, and none acts on an older
    comparison. All is written down before the last step, which moves the alias in one transaction: until it is done the
    old model serves. It compares the kept answers and does not ask the model again: `audit` does.
    Raises ValueError for a version that serves already, or that was judged on other reports.
    """
    client = registry.client
    with FileLock(registry.folder / "registry.lock"):
        serving = champion(registry)
        if serving == version:
            raise ValueError(f"Version {version} serves already.")
        truth = np.asarray(judged_on["grade"])
        if serving is None:  # not being worse than a constant answer is not enough
            old, margin = np.full(len(truth), np.bincount(truth).argmax()), 0.0
        else:
            old = answers(registry, serving, judged_on)
        verdict = gate(judged_on, answers(registry, version, judged_on), old, margin)
        against = "the most frequent grade" if serving is None else f"version {serving}"
        word = "passed" if verdict.passed else "refused"
        client.set_model_version_tag(registry.name, str(version), "gate", f"{word} against {against}: {verdict.reason}")
        if verdict.passed:
            past = [*served_before(registry), serving] if serving else []
            client.set_registered_model_tag(registry.name, PAST, json.dumps(past))
            client.set_registered_model_alias(registry.name, CHAMPION, str(version))
    return verdict


def rollback(registry: Registry) -> int:
    """Let the version serve again that served before the present one, and return it. Raises ValueError if there is none."""
    with FileLock(registry.folder / "registry.lock"):
        past = served_before(registry)
        if not past:
            raise ValueError("There is no earlier model to go back to.")
        registry.client.set_registered_model_tag(registry.name, PAST, json.dumps(past))
        registry.client.set_registered_model_alias(registry.name, CHAMPION, str(past[-1]))
    return past[-1]


def champion(registry: Registry) -> int | None:
    """Return the version that serves, or None."""
    aliases = registry.client.get_registered_model(registry.name).aliases
    return int(aliases[CHAMPION]) if CHAMPION in aliases else None


def served_before(registry: Registry) -> list[int]:
    """Return the versions that served before the champion, the latest last, without those that a rollback left."""
    past = json.loads(registry.client.get_registered_model(registry.name).tags.get(PAST, "[]"))
    # the list is written before the alias moves: where its last entry serves, the step was not taken, or taken back
    return past[:-1] if past and past[-1] == champion(registry) else past


def judged_so_far(registry: Registry, judged_on) -> int:
    """Return how many versions the gate has judged on these reports."""
    versions = registry.client.search_model_versions(f"name = '{registry.name}'")
    gated = (version.tags for version in versions if "gate" in version.tags)
    return sum(tags["judged_sha256"] == fingerprint(judged_on) for tags in gated)


def answers(registry: Registry, version: int, judged_on) -> np.ndarray:
    """Return the answers to `judged_on` that were kept when a version was registered.

    Raises ValueError if it was judged on other reports.
    """
    if _version(registry, version).tags["judged_sha256"] != fingerprint(judged_on):
        raise ValueError(f"Version {version} was judged on other reports than these: register it again with these.")
    return _table(registry, version, "judged.csv")["predicted"].to_numpy()


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
    folder = Path(mlflow.artifacts.download_artifacts(address))
    return next(file for name in WEIGHTS for file in sorted(folder.rglob(name)))


def training_rows(registry: Registry, version: int) -> pd.DataFrame:
    """Return the report_id and the eye of each row that a version was trained on, in their order."""
    return _table(registry, version, "trained_on.csv")


def audit(registry: Registry, version: int, judged_on, again: int = 200) -> list[str]:
    """Return what in a version's record does not hold, as sentences; none if all is well.

    The weights must have their sha256, each metric must follow from the kept answers, and the first `again` reports, when
    the model grades them again, must get the answers that were kept.
    """
    record = _version(registry, version)
    if paths.sha256(weights(record.source)) != record.tags["weights_sha256"]:
        return [f"the weights of version {version} are not those that were registered"]
    kept = answers(registry, version, judged_on)
    logged = registry.client.get_run(record.run_id).data.metrics
    wrong = [
        f"version {version} says {name} = {logged.get(name, float('nan')):.3f}, its answers give {value:.3f}"
        for name, value in figures(judged_on, kept).items()
        if not np.isclose(logged.get(name, np.nan), value)
    ]
    first_reports = _columns(judged_on, INPUTS)[:again]
    changed = int((mlflow.pyfunc.load_model(record.source).predict(first_reports) != kept[:again]).sum())
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
    measured, n_trained = run.metrics, len(training_rows(registry, version))
    scores = ["| reports | n | right | macro F1 | 95% interval |", "|---|---|---|---|---|"]
    truth = np.asarray(judged_on["grade"])
    for group, rows in _groups(np.asarray(judged_on["site"])).items():
        n, right, value, low, high = (
            measured[f"{group}/{what}"] for what in ("reports", "right", "macro_f1", "macro_f1_low", "macro_f1_high")
        )
        lacks = sorted(set(metrics.occurring(truth)) - set(metrics.occurring(truth[rows])))
        if lacks:
            group += f" (no grade {', '.join(map(str, lacks))}: not to be compared)"
        scores.append(f"| {group} | {n:,.0f} | {right:,.0f} | {value:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(
        [
            f"# {registry.name}, version {version}",
            "",
            "Grades reports of eyes, 0 to 4. Trained on *synthetic* reports: not for patients.",
            "",
            *(f"- {name}: {value}" for name, value in sorted(run.params.items())),
            f"- trained on {n_trained:,} reports, sha256 {record.tags['data_sha256'][:12]}",
            f"- judged on {measured['all/reports']:,.0f} reports, sha256 {record.tags['judged_sha256'][:12]}",
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
    """Return the sha256 of reports in their order: of each one's id, eye, text and grade."""
    rows = zip(*(map(str, reports[name]) for name in (*ROW, "text", "grade")), strict=True)
    return paths.digest(list(rows))


def code_version() -> str:
    """Return the git commit of the course's code, and whether files were changed since; without git, its release."""
    try:
        commit, changed = (
            subprocess.run(["git", *call], cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
            for call in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return f"finetune-course {course_utils.__version__}"
    return f"git {commit.strip()}" + (", with changes" if changed.strip() else "")


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
        grades = [self.grader.grade(text, eye).grade for eye, text in pairs]
        return np.array([NO_GRADE if grade is None else grade for grade in grades])


def _load_pyfunc(checkpoint: str) -> _Grader | _Exported:
    """Load a grader: MLflow calls a loader module's function of this name."""
    return _Exported(checkpoint) if (Path(checkpoint) / WEIGHTS[1]).is_file() else _Grader(checkpoint)


def _save(checkpoint: str | Path, to: Path) -> None:
    """Write a model in MLflow's format, with its signature. It names this module as its loader, so nothing is pickled."""
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


def _groups(sites: np.ndarray) -> dict[str, np.ndarray]:
    """Return which rows belong to "all" and to each site."""
    return {"all": np.ones(len(sites), bool)} | {str(site): sites == site for site in np.unique(sites)}


def _columns(reports, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: list(reports[name]) for name in names})


def _version(registry: Registry, version: int):
    try:
        return registry.client.get_model_version(registry.name, str(version))
    except MlflowException as error:
        raise ValueError(f"There is no version {version} of {registry.name}.") from error


def _table(registry: Registry, version: int, file: str) -> pd.DataFrame:
    run = registry.client.get_run(_version(registry, version).run_id)
    return pd.read_csv(mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{file}"), keep_default_na=False)
