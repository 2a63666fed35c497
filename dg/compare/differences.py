"""Differences of a table's rows against a baseline method, seed by seed."""

from dg.compare.bootstrap import LEVEL, MIN_SEEDS, Interval, paired_interval
from dg.compare.sheets import Sheet
from dg.compare.tables import Column, ComparisonTable, Difference, Row
from dg.tracking.labels import method_label
from dg.tracking.names import HIGHER_IS_BETTER


def add_differences(table: ComparisonTable, baseline: str) -> None:
    """Add to the table how each row differs from the baseline's row of equal input, lifter and adaptation.

    Args:
        table: is filled with differences and remarks.
        baseline: name of the baseline method.
    """
    if not baseline:
        return
    table.baseline = baseline
    pairs = [(row, _baseline_row(table, row, baseline)) for row in table.rows if row.method != baseline]
    if pairs and not any(reference for _, reference in pairs):
        table.remarks.append(
            f"no differences: no row of {baseline} has the input and lifter of another (baseline=NAME)"
        )
    for row, reference in pairs:
        if reference is None:
            continue
        for column in table.columns:
            ours, theirs = row.by_seed(column), reference.by_seed(column)
            if ours and theirs:
                shifts = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
                table.differences.append(Difference(row, column, paired_interval(shifts) if shifts else None))


def _baseline_row(table: ComparisonTable, row: Row, baseline: str) -> Row | None:
    """The baseline's row of the same input and lifter; None for none, or several that no setting tells apart."""
    fitting = [r for r in table.rows if r.method == baseline and (r.inputs, r.lifter) == (row.inputs, row.lifter)]
    if len(fitting) > 1:
        fitting = [r for r in fitting if _shared(r) == _shared(row)]
    return fitting[0] if len(fitting) == 1 else None


def find_difference(table: ComparisonTable, row: Row, column: Column) -> Difference | None:
    """Return the table's difference for a row and a column, or None where there is none.

    Args:
        table: that holds rows, columns and differences.
        row: one of the table's own (compared by identity).
        column: a target and protocol.
    """
    return next((d for d in table.differences if d.row is row and d.column == column), None)


def differences_sheet(table: ComparisonTable) -> Sheet | None:
    """The differences as printed; None where there is nothing to compare."""
    if not table.differences:
        return None
    rows = [row for row in table.rows if any(d.row is row for d in table.differences)]
    lines = []
    for row in rows:
        labels = table.labels(row)[: len(table.labels(row)) - bool(table.published)]
        found = [find_difference(table, row, c) for c in table.columns]
        lines.append(labels + ["-" if d is None else spell_interval(d.interval) for d in found])
    heads = table.label_heads()[: len(table.label_heads()) - bool(table.published)]
    sign = "positive" if table.metric in HIGHER_IS_BETTER else "negative"
    notes = [
        f"mean over seeds of method less {method_label(table.baseline)} ({sign} is better) [{LEVEL:.0%} bootstrap "
        "interval, paired over seeds]; it covers other seeds, not other test frames"
    ]
    counts = {d.interval.seeds for d in table.differences if d.interval is not None}
    if any(n < MIN_SEEDS for n in counts):
        notes.append(
            f"fewer than {MIN_SEEDS} seeds: such an interval is too narrow, and one seed has none; no difference is "
            "called certain on them"
        )
    if any(d.interval is not None and d.interval.certain for d in table.differences):
        notes.append(f"*: certain, at least {MIN_SEEDS} seeds and zero outside the interval")
    title = f"Difference to {method_label(table.baseline)} · {table.title}"
    return Sheet.of(title, [*heads, *table.headers()], lines, len(heads), notes)


def spell_interval(interval: Interval | None) -> str:
    """`-10.0 [-12.1, -8.0] (3)`, a star behind what is certain."""
    if interval is None:
        return "no seed in common"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.1f} (1)"
    star = "*" if interval.certain else ""
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}] ({interval.seeds}){star}"


def _shared(row: Row) -> dict[str, str]:
    """Settings that do not belong to the method."""
    return {k: v for k, v in row.settings.items() if not k.startswith("method.")}
