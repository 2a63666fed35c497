"""Runs as a report sees them: from their folders, or from MLflow with the artifacts that the page shows."""

import json
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dg.compare.results import RunResult
from dg.compare.settings import RunsOptions
from dg.compare.stored_runs import NothingToCompareError, read_results, stored_runs, table_reader
from dg.settings.config import TrainConfig, deciding
from dg.tracking import tracking_uri
from dg.tracking.labels import run_title
from dg.tracking.names import NO_DEPTH, TAG_SWEEP, flatten, metric_name
from dg.tracking.stores import client_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SUMMARY, RESULTS, DETAILS, CONFIG = "summary.json", "results.json", "best.json", "config.yaml"
PICTURES = {"run.png": "errors and viewpoints", "views.png": "viewpoints of the augmented poses"}
_SHEETS = "augmented_poses"  # begins the names of contact sheets
_TRIALS = "trial-*/seed-*"  # folders of a sweep's runs
_FETCHES = 8  # artifacts at once, from a server
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReportRun:
    """One finished run.

    Attributes:
        title: of its section.
        summary: as `summary.json` has it; of an older run without `curves`.
        details: as `dg.training.run_record.load_details` returns them; empty for an older run.
        result: for the tables, None where it has no result of the kind that is compared.
        pictures: caption -> PNG.
        trial: whether it is a trial of a sweep, which takes no part in comparisons.
    """

    title: str
    summary: dict[str, Any]
    details: dict[str, Any]
    result: RunResult | None
    pictures: dict[str, bytes] = field(default_factory=dict)
    trial: bool = False


def runs_in_folders(
    folders: Sequence[Path], selection: str = "source_val", metric: str = "mpjpe_mm"
) -> list[ReportRun]:
    """Return the runs whose folders these are, or lie in these.

    Args:
        folders: of runs, of grids or of sweeps.
        selection: one of `SELECTIONS`.
        metric: such as `mpjpe_mm`.

    Raises:
        NothingToCompareError: there is no finished run in them.
    """
    places = []
    for folder in folders:
        below = (f"*/{SUMMARY}", f"{_TRIALS}/{SUMMARY}")
        found = [SUMMARY] if (folder / SUMMARY).is_file() else below
        own = sorted(path.parent for pattern in found for path in folder.glob(pattern))
        if not own:
            raise NothingToCompareError(f"no finished run in {folder}: expected {SUMMARY} in it or in a folder below")
        places += own
    read = [_of_folder(place, selection, metric) for place in places]
    kept = [run for run in read if run is not None]
    if not kept:
        raise NothingToCompareError(f"none of the runs in {[str(folder) for folder in folders]} has results")
    return kept


def _of_folder(place: Path, selection: str, metric: str) -> ReportRun | None:
    summary = _read_json(place / SUMMARY)
    if not summary.get("results") or "method" not in summary:
        return None
    plain = _read_config(place / CONFIG)
    result = _result_of(summary, plain, selection, metric, (place / SUMMARY).stat().st_mtime)
    pictures = {caption: (place / name).read_bytes() for name, caption in PICTURES.items() if (place / name).is_file()}
    sheets = sorted((place / "images").glob(f"{_SHEETS}*.png"))
    if sheets:
        pictures["rendered poses of the augmentation"] = sheets[-1].read_bytes()
    trial = place.match(_TRIALS)
    name = f"{place.parent.name}/{place.name}" if trial else place.name
    title = f"{name}: {_title(summary, plain)}"
    return ReportRun(title, summary, _read_json(place / DETAILS), result, pictures, trial)


def _result_of(
    summary: dict[str, Any], plain: dict[str, Any], selection: str, metric: str, started: float
) -> RunResult | None:
    """A run's results as tables take them, from its own files."""
    rows = [row for row in summary["results"] if row["selection"] == selection and metric in row]
    if not rows:
        return None
    params = {"method.name": summary["method"], "lifter.name": summary["lifter"], "inputs": summary["inputs"]}
    oracles = [] if summary["depth"] == NO_DEPTH else ["depth"]
    if plain:
        config = TrainConfig.from_plain(plain)
        params |= {
            k: v for k, v in flatten(deciding(config, config.flat())).items() if v not in ("", "None", "[]", "{}")
        }
        oracles += [name for name in config.oracles if name != "depth"]
    return RunResult(
        method=summary["method"],
        regime=summary.get("regime", "DG"),
        lifter=summary["lifter"],
        inputs=summary["inputs"],
        dscale2d=summary["dscale2d"],
        depth=summary["depth"],
        seed=str(summary["seed"]),
        started=int(started * 1000),
        params=params,
        values={metric_name(row["target"]): float(row[metric]) for row in rows},
        protocols={metric_name(row["target"]): row["protocol"] for row in rows},
        oracle=",".join(oracles),
        made_of=summary.get("made_of", {}),
    )


def _title(summary: dict[str, Any], plain: dict[str, Any]) -> str:
    data = plain.get("data", {})
    source = str(data.get("label") or data.get("name") or "source not recorded")
    return run_title(summary["method"], summary["inputs"], source, summary["seed"])


# -- MLflow -----------------------------------------------------------------------------------------------------------


def runs_in_store(options: RunsOptions) -> list[ReportRun]:
    """Return the finished runs of an experiment, or of one grid in it, with what their pages hold.

    Args:
        options: which runs, and what is compared.

    Raises:
        NothingToCompareError: there is no such run; TrackingError: the store cannot be read.
    """
    runs = stored_runs(options.tracking_uri, options.experiment, options.parent)
    rows_of = table_reader(options.tracking_uri)
    kept = []
    for run in runs:
        results, _ = read_results([run], options.selection, options.metric, rows_of=rows_of, trials=True)
        kept += [(run, results[0])] if results else []
    if not kept:
        raise NothingToCompareError(
            f"no finished run of experiment {options.experiment!r} has {options.metric} for selection="
            f"{options.selection}; train some: dg train"
        )
    client = client_of(tracking_uri(options.tracking_uri))
    with ThreadPoolExecutor(_FETCHES) as pool:
        return list(pool.map(lambda pair: _of_store(client, *pair, briefly=not options.parent), kept))


def _of_store(client: "MlflowClient", run: "Run", result: RunResult, briefly: bool) -> ReportRun:
    names = {artifact.path for artifact in _listed(client, run.info.run_id)}
    trial = TAG_SWEEP in run.data.tags
    if trial and briefly:  # there may be hundreds in an experiment, of which only the curves are shown
        names &= {RESULTS}
    with TemporaryDirectory() as folder:
        files = {
            name: _fetched(client, run.info.run_id, name, Path(folder))
            for name in (RESULTS, DETAILS, *PICTURES)
            if name in names
        }
        sheet = _last_sheet(client, run.info.run_id, Path(folder)) if "images" in names else None
    pictures = {caption: files[name] for name, caption in PICTURES.items() if files.get(name)}
    if sheet:
        pictures["rendered poses of the augmentation"] = sheet
    title = run.info.run_name or run.info.run_id
    return ReportRun(title, _parsed(files.get(RESULTS)), _parsed(files.get(DETAILS)), result, pictures, trial)


def _listed(client: "MlflowClient", run_id: str, folder: str | None = None) -> list[Any]:
    try:
        return client.list_artifacts(run_id, folder)
    except Exception as error:  # artifacts that are gone cost their pictures, not the page
        _logger.warning("artifacts of run %s cannot be read: %s", run_id, error)
        return []


def _fetched(client: "MlflowClient", run_id: str, name: str, folder: Path) -> bytes:
    try:
        return Path(client.download_artifacts(run_id, name, str(folder))).read_bytes()
    except Exception as error:
        _logger.warning("%s of run %s cannot be read: %s", name, run_id, error)
        return b""


def _last_sheet(client: "MlflowClient", run_id: str, folder: Path) -> bytes:
    """The contact sheet of the last evaluation; MLflow writes its step into the name of the file."""
    images = [a.path for a in _listed(client, run_id, "images") if Path(a.path).name.startswith(_SHEETS)]
    whole = [path for path in images if path.endswith(".png")]
    steps = {path: re.search(r"[%+]step[%+](\d+)[%+]", path) for path in whole}
    last = max(whole, key=lambda path: int(found[1]) if (found := steps[path]) else -1, default="")
    return _fetched(client, run_id, last, folder) if last else b""


# -- files ------------------------------------------------------------------------------------------------------------


def _read_json(path: Path) -> dict[str, Any]:
    return _parsed(path.read_bytes() if path.is_file() else b"")


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
