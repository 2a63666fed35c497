"""The page of an experiment in MLflow: its note, its kind, the table of runs, and the address that opens it.

MLflow keeps a saved view of the runs table as a tag of the experiment, `mlflow.sharedViewState.ID`, and opens it by
`viewStateShareKey=ID` in the address. Read from MLflow 3.17's own pages; another version that does not know such a view
shows its default columns.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dg.tracking.names import PARAM_SEED, TAG_METHOD, TAG_SOURCE, target_metric

if TYPE_CHECKING:
    from mlflow import MlflowClient

VIEW_ID, VIEW_NAME = "dg-methods", "DG methods"
_VIEW_TAG = f"mlflow.sharedViewState.{VIEW_ID}"
_KIND_TAG, _KIND = "mlflow.experimentKind", "custom_model_development"
_NOTE_TAG = "mlflow.note.content"
_MOST_TARGETS = 12  # MLflow takes 5,000 characters for the value of an experiment's tag
_TARGETS_TAG = "mlflow.dg.targets"
NOTE = """**Which DG method lifts poses of unseen domains best?** Each run trains one method on one source and is \
tested on targets that it never saw.

- `target/NAME/mpjpe_mm`: mean joint error on a target, mm, lower is better, at the epoch that source validation \
chose. Other metrics and ways of choosing (`oracle` looks at the target): the table `selections.json` of a run.
- Numbers may stand side by side only where the protocol agrees: tags `protocol.NAME`, and the profile of the data \
sets under *Datasets*. Depth that was rendered from the true pose is an oracle (tag `oracle`).
- One seed says little: `dg compare` shows mean, deviation and intervals over seeds; `dg report` makes a page of it.
- Folded rows are grids and sweeps: their own page has table, picture and report.
"""


def runs_address(server: str, experiment_id: str) -> str:
    """Return the address that shows an experiment's runs as model training, with the columns of the saved view.

    Args:
        server: address of the MLflow server, such as `http://127.0.0.1:5000`.
        experiment_id: MLflow's id of the experiment.
    """
    view = f"workflowType=machine_learning&viewStateShareKey={VIEW_ID}"
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs?{view}"


def run_address(server: str, experiment_id: str, run_id: str) -> str:
    """Return the address of one run's page.

    Args:
        server: address of the MLflow server, with or without a slash at the end.
        experiment_id: of the run's experiment.
        run_id: of the run.
    """
    return f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def compare_address(server: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Return the address of MLflow's compare view.

    Args:
        server: address of the MLflow server.
        experiment_id: MLflow's id of the experiment.
        run_ids: of the runs that stand side by side.
    """
    asked = {"runs": list(run_ids), "experiments": [experiment_id]}
    words = "&".join(f"{name}={quote(json.dumps(ids))}" for name, ids in asked.items())
    return f"{server.rstrip('/')}/#/compare-runs?{words}&workflowType=machine_learning"


def dress_experiment(client: "MlflowClient", experiment_id: str, targets: Sequence[str] = ()) -> None:
    """Give an experiment its note, its kind and the saved view of its runs; what a user wrote stays.

    Args:
        client: client of the tracking store.
        experiment_id: MLflow's id of the experiment.
        targets: names of targets that get a column, besides those that have one.
    """
    tags = client.get_experiment(experiment_id).tags
    known = [name for name in tags.get(_TARGETS_TAG, "").split("|") if name]
    names = list(dict.fromkeys([*known, *targets]))[:_MOST_TARGETS]
    wanted = {_KIND_TAG: _KIND, _TARGETS_TAG: "|".join(names)}
    if _NOTE_TAG not in tags:
        wanted[_NOTE_TAG] = NOTE
    if names != known or _VIEW_TAG not in tags:
        wanted[_VIEW_TAG] = _view(names)
    for name, value in wanted.items():
        if tags.get(name) != value and value:
            client.set_experiment_tag(experiment_id, name, value)


def _view(targets: Sequence[str]) -> str:
    """The saved view as MLflow stores it."""
    widths = _columns(targets)
    columns = list(widths)
    state: Mapping[str, Any] = {
        "searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL",
        "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
        "selectedColumns": columns, "columnOrder": columns, "columnWidths": widths, "runsHiddenMode": "FIRST_20_RUNS",
        "viewMaximized": False, "runListHidden": False, "isAccordionReordered": False, "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True, "groupBy": None, "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }  # fmt: skip
    now = int(time.time() * 1000)
    return json.dumps({"name": VIEW_NAME, "createdAt": now, "updatedAt": now, "state": json.dumps(state)})


def _columns(targets: Sequence[str]) -> dict[str, int]:
    """Column -> width in pixels, in their order. MLflow puts the duration behind them."""
    found = {
        "attributes.`Run Name`": 330,
        f"tags.`{TAG_METHOD}`": 120,
        "params.`inputs`": 80,
        f"tags.`{TAG_SOURCE}`": 110,
    }
    for target in targets:
        name = target_metric(target, "mpjpe_mm")
        found[f"metrics.`{name}`"] = min(320, 40 + 7 * len(name))
    return found | {f"params.`{PARAM_SEED}`": 60, "attributes.`Dataset`": 220, "attributes.`Models`": 120}
