"""Comparison tables as Markdown, CSV and LaTeX."""

import statistics
from collections.abc import Callable, Sequence

from dg.compare.bootstrap import MIN_SEEDS
from dg.compare.differences import differences_sheet, find_difference
from dg.compare.made_of import made_sheet
from dg.compare.sheets import BOLD, PLUS_MINUS, Sheet, to_csv, to_latex, to_markdown
from dg.compare.tables import OURS, ComparisonTable, with_depth

CSV_HEAD = (
    "table regime selection budget metric source method input lifter adapted_to settings oracle target protocol depth "
    "mean std n seeds baseline difference low high paired_seeds certain"
).split()


def sheets_of(tables: Sequence[ComparisonTable]) -> list[Sheet]:
    """Each table, and behind it its differences to the baseline and what its numbers are made of."""
    sheets = []
    for table in tables:
        labels = len(table.label_heads())
        notes = [*table.legend(), "mean ± standard deviation (seeds)"]
        if any(0 < len(row.values(column)) < MIN_SEEDS for row in table.rows for column in table.columns):
            notes.append(f"fewer than {MIN_SEEDS} seeds: a look, no claim")
        body = table.body(BOLD, PLUS_MINUS)
        sheets.append(Sheet.of(table.title, table.head(), body, labels, notes, table.remarks))
        differences = differences_sheet(table)
        made = [(table.labels(row), list(row.made_of.values())) for row in table.rows]
        made_of = made_sheet(table.title, table.label_heads(), made)
        sheets += [sheet for sheet in (differences, made_of) if sheet]
    return sheets


def tables_to_csv(tables: Sequence[ComparisonTable]) -> str:
    """One line for each cell that holds a number, ours or published, with everything that identifies it."""
    lines = []
    for table in tables:
        common = {
            "table": table.title,
            "regime": table.regime,
            "metric": table.metric,
            "selection": table.selection,
            "budget": " ".join(f"{k}={v}" for k, v in sorted(table.budget.items())),
        }
        lines += [common | line for line in _own_lines(table)]
        lines += [common | {"selection": "", "budget": ""} | line for line in _published_lines(table)]
    return to_csv(lines, CSV_HEAD)


FORMATS: dict[str, Callable[[Sequence[ComparisonTable]], str]] = {
    "markdown": lambda tables: to_markdown(sheets_of(tables)),
    "csv": tables_to_csv,
    "latex": lambda tables: to_latex(sheets_of(tables)),
}


def _own_lines(table: ComparisonTable) -> list[dict[str, object]]:
    lines = []
    for row in table.rows:
        for column in table.columns:
            values = row.values(column)
            if not values:
                continue
            line: dict[str, object] = {
                "source": OURS,
                **dict(zip(("method", "input", "lifter", "adapted_to"), row.labels, strict=True)),
                "settings": table.extra(row),
                "oracle": row.oracle,
                "target": column.target,
                "protocol": column.protocol,
                "depth": column.depth,
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values) if len(values) > 1 else None,
                "n": len(values),
                "seeds": " ".join(row.seeds(column)),
            }
            difference = find_difference(table, row, column)
            if difference is not None and difference.interval is not None:
                found = difference.interval
                line |= {
                    "baseline": table.baseline,
                    "difference": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "paired_seeds": found.seeds,
                    "certain": found.certain,
                }
            lines.append(line)
    return lines


def _published_lines(table: ComparisonTable) -> list[dict[str, object]]:
    return [
        {
            "source": row.source,
            **dict(zip(("method", "input", "lifter", "adapted_to"), row.labels, strict=True)),
            "settings": row.settings,
            "target": column.target,
            "protocol": with_depth(column.protocol, row.depth),
            "depth": row.depth,
            "mean": value,
        }
        for row in table.published
        for column, value in row.cells.items()
    ]
