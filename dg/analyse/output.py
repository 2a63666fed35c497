"""Findings on the screen, in files, and in the checkpoints' MLflow runs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.analyse.base import Comparison, Findings, Table, Value
from dg.analyse.checkpoints import TrainedRun
from dg.files.atomic import replace_file
from dg.files.plain_text import csv_cell
from dg.tracking.stores import OFF, client_of, tracking_uri

if TYPE_CHECKING:
    from rich.console import Console

DOTS_PER_INCH = 130


def write_files(findings: Findings, facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """NAME.csv for each table, NAME.png for each figure, and findings.json with everything; returns their paths."""
    contents: dict[str, bytes] = {}
    for table in findings.tables:
        contents[f"{table.name}.csv"] = table_csv(table).encode()
    for name, figure in findings.figures.items():
        picture = io.BytesIO()
        # No version of the drawing library inside: the same findings give the same file.
        figure.savefig(picture, dpi=DOTS_PER_INCH, format="png", metadata={"Software": None})
        contents[f"{name}.png"] = picture.getvalue()
    tables = {t.name: {"title": t.title, "notes": list(t.notes), "rows": list(t.rows)} for t in findings.tables}
    whole = {**facts, "ground_truth": findings.ground_truth, "tables": tables}
    contents["findings.json"] = json.dumps(whole, indent=1).encode()
    paths = []
    for name, content in contents.items():
        replace_file(folder / name, lambda file, content=content: file.write(content))
        paths.append(folder / name)
    return paths


def facts_of(name: str, options: Any, comparison: Comparison) -> dict[str, Any]:  # noqa: ANN401 - an Options dataclass
    """What identifies an analysis: its name, its options, and what was compared."""
    return {
        "analysis": name,
        "options": asdict(options),
        "metric": comparison.metric,
        "targets": list(comparison.targets),
        "data_checks": comparison.checks(),
        "checkpoints": [
            {"label": run.label, "path": str(run.path), "run_id": run.run_id, "config_digest": run.config.digest()}
            for run in comparison.runs
        ],
    }


def table_csv(table: Table) -> str:
    """One line a row, numbers to seven digits; empty where there is none."""
    out = io.StringIO()
    heads = list(dict.fromkeys(name for row in table.rows for name in row))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows([_cell(row.get(name)) for name in heads] for row in table.rows)
    return out.getvalue()


def _cell(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(csv_cell(value))


def print_findings(findings: Findings, console: "Console", longest: int = 60) -> None:
    """The tables with what they rest on; those with more lines than `longest` are left to their files."""
    from rich.table import Table as RichTable

    for table in findings.tables:
        heads, lines, legend = side_by_side(table)
        if len(lines) > longest:
            continue
        shown = RichTable(title=table.title, title_justify="left", box=None, padding=(0, 1), pad_edge=False)
        for head in heads:
            text = any(isinstance(line[head], str) for line in lines)
            shown.add_column(
                head.replace("_percent", " %").replace("_", " "), justify="left" if text else "right", no_wrap=text
            )
        for line in lines:
            shown.add_row(*(_spell(line[head]) for head in heads))
        console.print(shown)
        for note in [*legend, *table.notes]:
            console.print(f"- {note}", style="dim", highlight=False, markup=False)
        console.print()
    said = findings.ground_truth or "nothing but the errors themselves"
    console.print(f"from ground truth: {said}", highlight=False, markup=False)


def side_by_side(table: Table) -> tuple[list[str], list[dict[str, Value]], list[str]]:
    """Heads and lines with one line for all checkpoints, each under a letter, as far as the table says what to repeat;
    and what the letters mean.
    """
    labels = list(dict.fromkeys(str(row["checkpoint"]) for row in table.rows)) if table.side_by_side else []
    if len(labels) < 2:
        return _heads(table.rows), [dict(row) for row in table.rows], []
    letters = {label: _letter(number) for number, label in enumerate(labels)}
    measured = {"checkpoint", *_measures(table)}
    lines: dict[tuple[Value, ...], dict[str, Value]] = {}
    for row in table.rows:
        place = {name: value for name, value in row.items() if name not in measured}
        line = lines.setdefault(tuple(place.values()), dict(place))
        line |= {f"{letters[str(row['checkpoint'])]} {name}": row[name] for name in table.side_by_side}
    heads = _heads(list(lines.values()))
    shown = [{head: line.get(head) for head in heads} for line in lines.values()]
    return heads, shown, [f"{letter}: {label}" for label, letter in letters.items()]


def _measures(table: Table) -> list[str]:
    """What stands behind `checkpoint` in a row, and so belongs to it."""
    names = list(table.rows[0])
    return names[names.index("checkpoint") + 1 :]


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"#{number + 1}"


def _heads(rows: Sequence[Mapping[str, Value]]) -> list[str]:
    """The columns in which some row has a value."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if any(row.get(name) is not None for row in rows)]


def _spell(value: Value) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else value
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def log_files(run: TrainedRun, uri: str, folder: str, files: Sequence[Path]) -> str:
    """Put files into the MLflow run that wrote the checkpoint; returns what happened, in words.

    uri: of the store; empty: that of the run. Never raises because of the store: the files are written anyway.
    """
    uri = uri or run.config.tracking.uri
    if uri in OFF:
        return "not logged: tracking is off"
    if not run.run_id:
        return f"{run.label}: not logged, its run was not tracked"
    try:
        store = tracking_uri(uri)
        if store in OFF:
            return "not logged: tracking is off"
        client = client_of(store)
        client.get_run(run.run_id)
        for file in files:
            client.log_artifact(run.run_id, str(file), folder)
    except Exception as error:  # MLflow, its database driver or the network
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"{run.label}: not logged to its MLflow run {run.run_id}: {reason}; name its store with tracking_uri="
    return f"{run.label}: logged to its MLflow run {run.run_id} under {folder}"
