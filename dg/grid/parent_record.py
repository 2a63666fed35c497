"""What the parent run of a grid shows in MLflow: its table, picture and page, the best of each target, its children."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from dg.compare.comparison import comparison
from dg.compare.picture import write_picture
from dg.compare.report.page import report_page
from dg.compare.report.sources import runs_in_store
from dg.compare.settings import CompareOptions
from dg.compare.tables import ComparisonTable
from dg.files.atomic import write_file
from dg.grid.parent_run import ParentRun
from dg.grid.plan import GridPlan
from dg.tracking.labels import dataset_label, lifter_label, method_label, metric_label
from dg.tracking.names import HIGHER_IS_BETTER, TAG_METHOD, TAG_NOTE, TAG_SOURCE, metric_name, target_metric

TABLE, PICTURE, REPORT = "comparison.md", "comparison.png", "report.html"
MOST_LINKS = 60  # MLflow takes 8,000 characters for a description


def parent_title(plan: GridPlan) -> str:
    """Return the parent run's name: what it compares.

    Args:
        plan: the grid's cells.
    """
    parts = [", ".join(_labels(plan, "method")), ", ".join(_labels(plan, "inputs")), _source(plan)]
    lifters, seeds = _labels(plan, "lifter"), {planned.cell.seed for planned in plan.cells}
    parts += [", ".join(lifters)] if len(lifters) > 1 else []
    return "Grid · " + " · ".join([*parts, f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"])


def parent_tags(plan: GridPlan) -> dict[str, str]:
    """Return the tags that fill the parent run's row in the table of runs."""
    return {TAG_METHOD: ", ".join(_labels(plan, "method")), TAG_SOURCE: _source(plan)}


def record_comparison(records: ParentRun, folder: Path, plan: GridPlan, options: CompareOptions, text: str) -> None:
    """Log a grid's result to its parent run, and write table, picture and page into its folder.

    Args:
        records: the parent run.
        folder: of the grid.
        plan: the grid's cells.
        options: under which its runs were compared.
        text: the comparison as Markdown.

    Raises:
        NothingToCompareError: no run has finished.
        TrackingError: the store cannot be read.
    """
    tables, _ = comparison(options)
    write_file(folder / TABLE, text)
    write_picture(tables, folder / PICTURE)
    write_file(folder / REPORT, report_page(runs_in_store(options), options, parent_title(plan)))
    for name in (TABLE, PICTURE, REPORT, "grid.json"):
        records.tracker.log_artifact(folder / name)
    records.tracker.log_metrics(summary_metrics(tables), step=len(plan.cells))
    records.tracker.set_tags({TAG_NOTE: describe(tables, records.children_links(MOST_LINKS))})


def summary_metrics(tables: Sequence[ComparisonTable]) -> dict[str, float]:
    """Return for each target the best mean over seeds, and the mean of all rows of the comparison."""
    found: dict[str, float] = {}
    for table in tables:
        pick = max if table.metric in HIGHER_IS_BETTER else min
        for column in table.columns:
            means = [statistics.fmean(row.values(column)) for row in table.rows if row.values(column)]
            name = target_metric(column.target, table.metric)
            found[name] = pick([*means, *([found[name]] if name in found else [])])
            found[metric_name("target_mean", column.target, table.metric)] = statistics.fmean(means)
    return {name: round(value, 3) for name, value in found.items()}


def describe(tables: Sequence[ComparisonTable], children: Sequence[tuple[str, str]]) -> str:
    """Return the description of a parent run in Markdown.

    Args:
        tables: the grid's comparison.
        children: name and address of each child run.
    """
    lines = ["The metrics `target/NAME/...` of this row are those of the **best** row of the comparison, not of a run."]
    for table in tables:
        lines += ["", f"**{table.title}**"]
        for column, head in zip(table.columns, table.headers(), strict=True):
            best = table.best(column) or next((row for row in table.rows if row.values(column)), None)
            if best is not None:
                values, words = best.values(column), " · ".join(table.labels(best)[:3])
                score = f"{metric_label(table.metric)} {statistics.fmean(values):.1f} ({len(values)} seeds)"
                lines.append(f"- {head}: {words}, {score}")
    lines += ["", f"Artifacts: `{REPORT}` (charts, poses to turn), `{PICTURE}`, `{TABLE}` with intervals."]
    lines += ["", "Runs: " + ", ".join(f"[{name}]({address})" for name, address in children)] if children else []
    return "\n".join(lines)


def _labels(plan: GridPlan, kind: str) -> list[str]:
    """What the cells' lists hold, in their order, as people read it."""
    named = {"method": method_label, "lifter": lifter_label, "inputs": str}[kind]
    specs = dict.fromkeys(getattr(planned.cell, kind) for planned in plan.cells)
    options = {spec: "".join(f" {k}={v}" for k, v in spec.options) for spec in specs}
    return [f"{named(spec.name)}{options[spec]}" for spec in specs]


def _source(plan: GridPlan) -> str:
    data = plan.first.data
    return dataset_label(str(data.get("label") or data["name"]))
