"""Findings on the screen and in files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any

from pandas import DataFrame, concat, isna

from dg.analyse.base import Comparison, Findings, Table
from dg.compare.sheets import Sheet
from dg.drawing.figures import png_bytes
from dg.files.atomic import write_files
from dg.files.plain_text import csv_cell


def write_findings(findings: Findings, facts: Mapping[str, Any], folder: Path) -> list[Path]:
    """NAME.csv for each table, NAME.png for each figure, and findings.json with everything; returns their paths.

    Args:
        findings: tables and figures of an analysis.
        facts: what identifies the analysis, as `facts_of` returns it.
        folder: receives the files; made where it is absent.
    """
    contents: dict[str, str | bytes] = {}
    for table in findings.tables:
        frame = DataFrame(table.rows).map(csv_cell, na_action="ignore")
        text = frame.to_csv(index=False, float_format="%.7g", lineterminator="\n")
        contents[f"{table.name}.csv"] = text
    contents |= {f"{name}.png": png_bytes(figure) for name, figure in findings.figures.items()}
    tables = {t.name: {"title": t.title, "notes": list(t.notes), "rows": list(t.rows)} for t in findings.tables}
    whole = {**facts, "ground_truth": findings.ground_truth, "tables": tables}
    return write_files(folder, contents | {"findings.json": json.dumps(whole, indent=1)})


def facts_of(name: str, options: Any, comparison: Comparison) -> dict[str, Any]:  # noqa: ANN401 - an options dataclass
    """What identifies an analysis: its name, its options, and what was compared.

    Args:
        name: of the analysis in its table.
        options: the analysis' own options, a dataclass.
        comparison: the checkpoints and targets that were compared.
    """
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


def sheet_of(table: Table) -> Sheet:
    """A table as it is printed: one line for all checkpoints, each under a letter, as far as it says what to repeat."""
    frame = DataFrame(table.rows)
    labels = list(frame["checkpoint"].unique()) if table.side_by_side else []
    legend = []
    if len(labels) > 1:
        place = list(frame.columns[: frame.columns.get_loc("checkpoint")])  # what stands behind it belongs to it
        letters = {label: chr(ord("A") + n) if n < 26 else f"#{n + 1}" for n, label in enumerate(labels)}
        parts = [
            frame[frame["checkpoint"] == label].set_index(place)[list(table.side_by_side)].add_prefix(f"{letter} ")
            for label, letter in letters.items()
        ]
        frame = concat(parts, axis=1, sort=False).reset_index()
        legend = [f"{letter}: {label}" for label, letter in letters.items()]
    frame = frame.dropna(axis=1, how="all")
    named = [name.replace("_percent", " %").replace("_", " ") for name in frame]
    return Sheet(table.title, frame.map(_spell).set_axis(named, axis=1), 0, [*legend, *table.notes])


def _spell(value: Any) -> str:  # noqa: ANN401 - a cell
    if isna(value):
        return "–"
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, str):
        return value
    digits = 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
