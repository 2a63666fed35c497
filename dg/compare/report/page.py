"""The page of a report: tables that sort, charts, pictures and poses in 3D, all in one file."""

import base64
import html
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np

from dg.compare.differences import add_differences
from dg.compare.published import published_results
from dg.compare.published_rows import add_published
from dg.compare.report.charts import comparison_chart, curves_chart, legend
from dg.compare.report.responses import RESPONSES, responses_of, with_source
from dg.compare.report.sources import ReportRun
from dg.compare.settings import RunsOptions
from dg.compare.sheets import BOLD, PLUS_MINUS, Sheet
from dg.compare.tables import build_tables
from dg.compare.text import sheets_of
from dg.drawing.viewer import ViewerFrame, viewer_fragment
from dg.pose.joint_map import skeleton_named
from dg.tracking.labels import dataset_label, metric_label

ELEVATION_STEP_DEG = 15  # as dg.evaluation.details has it
Points = dict[str, dict[str, dict[float, list[float]]]]  # chart -> line -> place -> values of the seeds
MOST_POSES, MOST_LINES = 12, 16  # runs whose poses are shown, and lines in a chart
_MARKS = {BOLD[0]: "<b>", BOLD[-1]: "</b>", PLUS_MINUS: "±"}
_STYLE = """
body{font:15px/1.45 sans-serif;color:#222;max-width:1240px;margin:24px auto;padding:0 16px}
h1{font-size:24px;margin:0}h2{font-size:19px;margin:34px 0 8px;border-bottom:1px solid #ddd}
h3{font-size:15px;margin:18px 0 6px}
table{border-collapse:collapse;margin:6px 0;font-size:14px}th,td{padding:3px 12px 3px 0;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}th{border-bottom:2px solid #888;cursor:pointer}
tr:nth-child(even) td{background:#f7f7f7}.notes{color:#666;font-size:13px}svg{max-width:100%;height:auto}
img{max-width:100%}.legend span{margin-right:16px;font-size:13px}
.legend i{display:inline-block;width:12px;height:12px;margin-right:5px}
details{margin:10px 0}summary{cursor:pointer;font-weight:bold}
"""
_SORT = """
document.querySelectorAll('th').forEach(function (head) {
  head.addEventListener('click', function () {
    var table = head.closest('table'), place = Array.from(head.parentNode.children).indexOf(head);
    var up = head.dataset.up !== '1'; head.dataset.up = up ? '1' : '0';
    var rows = Array.from(table.tBodies[0].rows);
    rows.sort(function (a, b) {
      var x = a.cells[place].innerText, y = b.cells[place].innerText, m = parseFloat(x), n = parseFloat(y);
      var order = isNaN(m) || isNaN(n) ? x.localeCompare(y) : m - n;
      return up ? order : -order;
    });
    rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
  });
});
"""


def report_page(runs: Sequence[ReportRun], options: RunsOptions, title: str) -> str:
    """Return the whole page.

    Args:
        runs: what is shown; at least one.
        options: how they are compared.
        title: of the page; any text.
    """
    every, runs = runs, sorted((run for run in runs if not run.trial), key=lambda run: run.title)
    trials = [run for run in every if run.trial]
    parts = [f"<h1>{html.escape(title)}</h1>", f'<p class="notes">{_count(runs, trials)}; click a heading to sort.</p>']
    parts += [_section("Comparison", _comparison(runs, options))]
    for parameter, axis in RESPONSES.items():
        parts.append(_section(f"Response to {axis}", _responses(every, options, parameter, axis)))
    parts += [_section("Error by epoch", _curves(runs)), _section("Error by viewpoint", _by_elevation(runs))]
    parts += [_section("Runs", _runs(runs)) if runs else _section("Trials", _trials(trials))]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}<script>{_SORT}</script></body></html>\n"
    )


def _count(runs: Sequence[ReportRun], trials: Sequence[ReportRun]) -> str:
    counted = [(len(runs), "run"), (len(trials), "trial")]
    return " and ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counted if count)


def _section(title: str, parts: Iterable[str]) -> str:
    content = "".join(parts)
    return f"<h2>{title}</h2>{content}" if content else ""


def _comparison(runs: Sequence[ReportRun], options: RunsOptions) -> list[str]:
    results = [run.result for run in runs if run.result is not None]
    parts = []
    for table in build_tables(results, options.selection, options.metric):
        add_differences(table, options.baseline)
        add_published(table, published_results())
        sheets = sheets_of([table])
        parts += [_sheet(sheets[0]), comparison_chart(table), *map(_sheet, sheets[1:])]
    return parts


def _sheet(sheet: Sheet) -> str:
    kinds = ["" if place < sheet.labels else ' class="n"' for place in range(len(sheet.frame.columns))]
    heads = "".join(f"<th{kind}>{html.escape(str(n))}</th>" for kind, n in zip(kinds, sheet.frame, strict=True))
    rows = []
    for line in sheet.lines:
        cells = "".join(f"<td{kind}>{_cell(str(t))}</td>" for kind, t in zip(kinds, line, strict=True))
        rows.append(f"<tr>{cells}</tr>")
    notes = "".join(f"<li>{_cell(text)}</li>" for text in [*sheet.notes, *sheet.remarks])
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<h3>{html.escape(sheet.title)}</h3>{table}<ul class="notes">{notes}</ul>'


def _cell(text: str) -> str:
    safe = html.escape(text)
    for mark, meaning in _MARKS.items():
        safe = safe.replace(mark, meaning)
    return safe


def _responses(runs: Sequence[ReportRun], options: RunsOptions, parameter: str, axis: str) -> list[str]:
    """The result over one parameter, where runs differ in it alone: sweeps' trials too, as nothing is chosen here."""
    results = [with_source(run.result, run.summary, options) for run in runs if run.result is not None]
    charts = _line_charts(responses_of(results, parameter), axis, metric_label(options.metric), dots=True)
    note = "Line: mean over the seeds; dots: each seed. A value that is chosen by a target's curve is an oracle's."
    return [*charts, f'<p class="notes">{note}</p>'] if charts else []


def _curves(runs: Sequence[ReportRun]) -> list[str]:
    """By epoch: a chart for source validation and each target, a line for runs that differ in their seed alone."""
    points: Points = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        for point in run.summary.get("curves", ()):
            for name in point.keys() - {"epoch"}:
                points[name][_kind_of(run)][point["epoch"]].append(point[name])
    return _line_charts(
        {"source validation" if name == "val" else dataset_label(name): own for name, own in points.items()}
    )


def _by_elevation(runs: Sequence[ReportRun]) -> list[str]:
    """Error by the camera's elevation, likewise."""
    points: Points = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        for target, found in run.details.get("targets", {}).items():
            for row in found["elevation"]:
                middle = row["from_deg"] + ELEVATION_STEP_DEG / 2
                points[dataset_label(target)][_kind_of(run)][middle].append(row["mpjpe_mm"])
    return _line_charts(points, "camera's elevation against the trunk (deg)")


def _line_charts(
    points: Mapping[str, Mapping[str, Mapping[float, list[float]]]],
    x: str = "epoch",
    y: str = "MPJPE (mm)",
    dots: bool = False,
) -> list[str]:
    """A chart for each name, the mean over seeds at each place, and one legend."""
    kinds = list(dict.fromkeys(kind for own in points.values() for kind in own))[:MOST_LINES]
    charts = []
    for name, own in sorted(points.items()):
        lines = {kind: [(at, fmean(v)) for at, v in sorted(own[kind].items())] if kind in own else [] for kind in kinds}
        seeds = {kind: [(at, value) for at, v in own[kind].items() for value in v] for kind in kinds if kind in own}
        charts.append(curves_chart(name, lines, y, x, seeds if dots else {}))
    return [*charts, legend(kinds)] if charts else []


def _kind_of(run: ReportRun) -> str:
    return re.sub(r" · seed \S+$", "", run.title.rpartition(": ")[2])


def _trials(trials: Sequence[ReportRun]) -> list[str]:
    """The best by source validation, where there are no other runs."""
    ordered = sorted(trials, key=lambda run: min((p["val"] for p in run.summary.get("curves", ())), default=math.inf))
    note = f'<p class="notes">The {MOST_POSES} best by source validation.</p>' if len(trials) > MOST_POSES else ""
    return [*_runs(_named_by_settings(ordered)[:MOST_POSES]), note]


def _named_by_settings(trials: Sequence[ReportRun]) -> list[ReportRun]:
    """Trials whose titles say the settings in which they differ."""
    params = [dict(run.result.params) if run.result else {} for run in trials]
    shared = set.intersection(*(set(own) for own in params)) - {"seed", "method.name"}
    varied = [k for k in sorted(shared) if not k.startswith("recipe.") and len({own[k] for own in params}) > 1]
    return [
        replace(run, title=" · ".join([run.title, *(f"{k}={own[k]}" for k in varied if f"{k}=" not in run.title)]))
        for run, own in zip(trials, params, strict=True)
    ]


def _runs(runs: Sequence[ReportRun]) -> list[str]:
    parts = []
    for number, run in enumerate(runs):
        content = [_picture(caption, data) for caption, data in run.pictures.items()]
        if number < MOST_POSES:
            content += _poses(run.details)
        if content:
            is_open = " open" if number == 0 else ""
            parts.append(f"<details{is_open}><summary>{html.escape(run.title)}</summary>{''.join(content)}</details>")
    if len(runs) > MOST_POSES:
        parts.append(f'<p class="notes">Poses in 3D are those of the first {MOST_POSES} runs.</p>')
    return parts


def _picture(caption: str, data: bytes) -> str:
    if not data.startswith(b"\x89PNG"):
        return ""
    address = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f'<h3>{html.escape(caption)}</h3><img alt="{html.escape(caption)}" src="{address}">'


def _poses(details: dict[str, Any]) -> list[str]:
    """The worst, median and best poses of each target, to be turned; the true pose is grey."""
    parts = []
    for target, found in details.get("targets", {}).items():
        frames = [_frame(example) for example in found["examples"]]
        if frames:
            title = f"{dataset_label(target)}: worst, median and best poses; grey: ground truth. Drag to turn."
            parts.append(viewer_fragment(frames, skeleton_named(details["skeleton"]), title, fps=1.0))
    return parts


def _frame(example: dict[str, Any]) -> ViewerFrame:
    action = f", {example['action']}" if example.get("action") else ""
    said = f"{example['which']}: {example['mpjpe_mm']:.0f} mm, row {example['row']}{action}"
    return ViewerFrame(
        poses=[np.asarray(example["predicted"], np.float64)],
        references=[np.asarray(example["truth"], np.float64)],
        caption=said,
    )
