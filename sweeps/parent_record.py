"""What a sweep's parent run shows in MLflow besides its own figures: a row in the table of runs, and a report."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from dg.compare.report.page import report_page
from dg.compare.report.sources import runs_in_folders
from dg.compare.settings import RunsOptions
from dg.compare.stored_runs import NothingToCompareError
from dg.files.atomic import write_file
from dg.tracking.labels import dataset_label, method_label
from dg.tracking.names import TAG_METHOD, TAG_SOURCE, metric_name, target_metric
from sweeps.options import SweepPlan
from sweeps.outcome import Outcome
from sweeps.space import Choice
from sweeps.storage import without_password

REPORT = "report.html"
_MEANING = (
    "The metrics `target/NAME/...` of this row are those of the **best** trial at its last evaluation, the mean over "
    "seeds; `target_mean/NAME/...` are those of all trials."
)


def parent_title(sweep: SweepPlan) -> str:
    """Return the parent run's name: what is searched, and by what it is chosen.

    Args:
        sweep: the plan.
    """
    return f"Sweep · {sweep.name} · {', '.join(sweep.space.names)} · by {sweep.by}"


def row_tags(sweep: SweepPlan) -> dict[str, str]:
    """Return the tags that fill the parent run's row in the table of runs."""
    searched, config = sweep.space.parameters.get("method"), sweep.config
    methods = searched.words if isinstance(searched, Choice) else (config.method["name"],)
    source = str(config.data.get("label") or config.data["name"])
    return {TAG_METHOD: ", ".join(method_label(name) for name in methods), TAG_SOURCE: dataset_label(source)}


def target_figures(outcome: Outcome) -> dict[str, float]:
    """Return MPJPE in mm on each target: of the best trial, and the mean of all, each the mean over seeds."""
    best, found = outcome.best()[0], {}
    for target, seeds in best.targets.items():
        every = [fmean(trial.targets[target]) for trial in outcome.finished]
        found[target_metric(target, "mpjpe_mm")] = round(fmean(seeds), 3)
        found[metric_name("target_mean", target, "mpjpe_mm")] = round(fmean(every), 3)
    return found


def describe(sweep: SweepPlan, commands: str, files: Sequence[Path], children: Sequence[tuple[str, str]]) -> str:
    """Return the description of a sweep's parent run in Markdown.

    Args:
        sweep: the plan.
        commands: the command lines of the best.
        files: its artifacts.
        children: name and address of each trial's run.
    """
    lines = [f"**Sweep over {', '.join(sweep.space.names)}**, chosen by {sweep.by}. {_MEANING}", ""]
    lines += ["```", commands.strip(), "```", "", f"Artifacts: {', '.join(f'`{file.name}`' for file in files)}.", ""]
    lines.append(f"`optuna-dashboard {without_password(sweep.options.storage)}` shows the study.")
    lines += ["", "Runs: " + ", ".join(f"[{name}]({address})" for name, address in children)] if children else []
    return "\n".join(lines)


def write_report(sweep: SweepPlan, folder: Path) -> list[Path]:
    """Write the page of a sweep's runs, as `dg report` makes it.

    Args:
        sweep: the plan, whose name is the page's title.
        folder: of the sweep, with its trials' runs.

    Returns:
        The file; nothing where no run in it has results of its own.
    """
    try:
        runs = runs_in_folders([folder])
    except NothingToCompareError:
        return []
    page = report_page(runs, RunsOptions(), parent_title(sweep))
    write_file(folder / REPORT, page)
    return [folder / REPORT]
