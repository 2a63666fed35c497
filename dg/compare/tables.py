"""From the results of many runs to tables of methods: what may stand side by side, and where.

Only results of equal protocol and depth source share a column, only runs of equal budget share a table, and domain
adaptation never shares one with domain generalisation (DESIGN 5.5, 5.8, 5.9). Runs that adapted to different poses
never share a row.
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dg.compare.bootstrap import Interval
from dg.compare.results import RunResult
from dg.compare.sheets import spell
from dg.datasets.protocols import data_of, without_data
from dg.tracking.labels import dataset_label, lifter_label, method_label, metric_label
from dg.tracking.names import HIGHER_IS_BETTER, NO_DEPTH

SELECTION_TITLES = {
    "last": "last epoch",
    "source_val": "best by source validation",
    "virtual_cameras": "best by source validation with virtual cameras",
    "oracle": "ORACLE: best by the target itself, no fair result",
}
OURS = "ours"


@dataclass(frozen=True)
class Column:
    """Results that may be compared: one target under one protocol with one depth source."""

    target: str
    protocol: str
    depth: str


@dataclass
class Row:
    """Runs that differ in their seed alone.

    Attributes:
        blind: whether its input holds no depth, so that a column's depth source says nothing of it.
        cells: column -> seed -> (start of the run, value).
        made_of: seed -> what its newest run is made of.
    """

    method: str
    inputs: str
    lifter: str
    settings: dict[str, str]
    adapted_to: str = ""
    oracle: str = ""
    blind: bool = False
    cells: dict[Column, dict[str, tuple[int, float]]] = field(default_factory=lambda: defaultdict(dict))
    made_of: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def add(self, column: Column, run: RunResult) -> None:
        """A newer run of the same seed replaces an older one."""
        known = self.cells[column].get(run.seed)
        if known is None or known[0] < run.started:
            self.cells[column][run.seed] = (run.started, run.values[column.target])
            self.made_of[run.seed] = run.made_of

    def by_seed(self, column: Column) -> dict[str, float]:
        """Return the value of each seed in one column; empty where the row has none."""
        return {seed: value for seed, (_, value) in self.cells.get(column, {}).items()}

    def values(self, column: Column) -> list[float]:
        """Return the values of one column, one for each seed."""
        return list(self.by_seed(column).values())

    def seeds(self, column: Column) -> list[str]:
        """Return the seeds that have a value in one column, sorted as text."""
        return sorted(self.cells.get(column, {}))

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """The row's method, inputs, lifter and adaptation target."""
        return self.method, self.inputs, self.lifter, self.adapted_to


@dataclass(frozen=True)
class PublishedRow:
    """One method of one paper's table, in the papers' words.

    Attributes:
        cells: column -> value.
        depth: name of the method's own depth source.
    """

    labels: tuple[str, str, str, str]
    settings: str
    source: str
    depth: str
    cells: dict[Column, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Difference:
    """A row less its baseline in one column. interval is None where no seed is in both."""

    row: Row
    column: Column
    interval: Interval | None


@dataclass
class ComparisonTable:
    """One regime and budget. Published rows, differences and remarks are filled in afterwards."""

    title: str
    regime: str
    budget: dict[str, str]
    columns: list[Column]
    rows: list[Row]
    metric: str
    selection: str
    published: list[PublishedRow] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    baseline: str = ""
    remarks: list[str] = field(default_factory=list)

    def headers(self) -> list[str]:
        """Targets; numbered where one target occurs under several protocols."""
        targets = [dataset_label(c.target) for c in self.columns]
        return [t if targets.count(t) == 1 else f"{t} ({targets[: i + 1].count(t)})" for i, t in enumerate(targets)]

    def extra(self, row: Row) -> str:
        """The settings in which a row differs from the others of its labels."""
        twins = [r for r in self.rows if r.labels == row.labels]
        names = sorted({k for r in twins for k in r.settings})
        names = [k for k in names if len({r.settings.get(k) for r in twins}) > 1]
        return " ".join(f"{k}={row.settings.get(k, '-')}" for k in names)

    def best(self, column: Column) -> Row | None:
        """Our row with the best mean, where there is anything to choose."""
        scored = [(statistics.fmean(r.values(column)), r) for r in self.rows if r.values(column)]
        if len(scored) < 2:
            return None
        pick = max if self.metric in HIGHER_IS_BETTER else min
        return pick(scored, key=lambda pair: pair[0])[1]

    def label_heads(self) -> list[str]:
        """Names of the columns before the targets; those that would be empty are left out."""
        heads = ["method", "input", "lifter"]
        heads += ["adapted to"] if self._adapts else []
        heads += ["settings"] if self._with_extra else []
        return heads + (["source"] if self.published else [])

    def labels(self, row: Row) -> list[str]:
        """Return the cells that stand before the targets in one of our rows, in the order of `label_heads`."""
        named = (method_label(row.method), row.inputs, lifter_label(row.lifter), row.adapted_to)
        return self._labels(named, self.extra(row), OURS)

    def head(self) -> list[str]:
        """Return the headings of all columns: the labels, then the targets."""
        return self.label_heads() + self.headers()

    def body(self, bold: str = "{}", plus_minus: str = "±") -> list[list[str]]:
        """Printed cells, labels first, published rows last; `bold` formats the best of a column's own rows."""
        lines = []
        for row in self.rows:
            cells = [spell(row.values(c), plus_minus) for c in self.columns]
            marked = [bold.format(t) if self.best(c) is row else t for t, c in zip(cells, self.columns, strict=True)]
            lines.append(self.labels(row) + marked)
        for row in self.published:
            cells = [f"{row.cells[c]:.1f}" if c in row.cells else "-" for c in self.columns]
            lines.append(self._labels(row.labels, row.settings, row.source) + cells)
        return lines

    def legend(self) -> list[str]:
        """Return one line for each column, which names the protocol behind its heading."""
        return [f"{h}: {self.protocol_of(c)}" for h, c in zip(self.headers(), self.columns, strict=True)]

    def protocol_of(self, column: Column) -> str:
        """A column's protocol; where rows without depth stand in it too, its depth is said to be that of the others."""
        blind = {row.blind for row in self.rows if row.values(column)}
        if column.depth == NO_DEPTH or blind in ({False}, set()):
            return column.protocol
        if blind == {True}:
            return with_depth(column.protocol, NO_DEPTH)
        drawn = re.findall(r"/depth=([^/]*)", column.protocol)
        return f"{without_depth(column.protocol)}; depth {''.join(drawn)} where the input has depth, else none"

    @property
    def _adapts(self) -> bool:
        return self.regime == "DA" or any(row.adapted_to for row in self.rows)

    @property
    def _with_extra(self) -> bool:
        return any(self.extra(row) for row in self.rows) or any(row.settings for row in self.published)

    def _labels(self, labels: tuple[str, str, str, str], extra: str, source: str) -> list[str]:
        *names, adapted_to = labels
        names += [adapted_to] if self._adapts else []
        names += [extra] if self._with_extra else []
        return names + ([source] if self.published else [])


def build_tables(runs: Sequence[RunResult], selection: str, metric: str) -> list[ComparisonTable]:
    """Build one table for each regime and budget, domain generalisation first.

    Args:
        runs: results, all of one selection and metric.
        selection: one of `SELECTIONS`.
        metric: such as `mpjpe_mm`.
    """
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[run.regime, tuple(sorted(run.budget.items()))].append(run)
    tables = []
    for regime, budget in sorted(groups, key=lambda key: (key[0] != "DG", key)):
        of_regime = [dict(b) for r, b in groups if r == regime]
        shown = _shown_budget(dict(budget), of_regime)
        title = f"{regime} · {metric_label(metric)} · {SELECTION_TITLES[selection]} · {shown}".rstrip(" ·")
        rows, columns = _rows_and_columns(groups[regime, budget])
        table = ComparisonTable(title, regime, dict(budget), columns, rows, metric, selection)
        table.remarks += _data_remarks(table)
        tables.append(table)
    return tables


def without_depth(protocol: str) -> str:
    """A protocol id less its depth source, and the file that the depth was read from."""
    return re.sub(r"/depth(_data)?=[^/]*", "", protocol)


def with_depth(protocol: str, depth: str) -> str:
    """Return a protocol id with another depth source.

    Args:
        protocol: the id.
        depth: name of the depth source to put in.
    """
    return re.sub(r"/depth_data=[^/]*", "", re.sub(r"/depth=[^/]*", f"/depth={depth}", protocol))


def _rows_and_columns(runs: Sequence[RunResult]) -> tuple[list[Row], list[Column]]:
    concrete = [Column(t, run.protocols[t], run.depth) for run in runs if run.depth != NO_DEPTH for t in run.values]
    rows: dict[tuple[str, ...], Row] = {}
    for run in runs:
        row = Row(run.method, run.input_label, run.lifter, run.settings, run.adapted_to, run.oracle)
        row.blind = run.depth == NO_DEPTH
        row = rows.setdefault((*row.labels, *(f"{k}={v}" for k, v in sorted(row.settings.items()))), row)
        for target in run.values:
            for column in _columns_of(run, target, concrete):
                row.add(column, run)
    columns = sorted({c for row in rows.values() for c in row.cells}, key=lambda c: (c.depth, c.target, c.protocol))
    return [rows[key] for key in sorted(rows)], columns


def _columns_of(run: RunResult, target: str, concrete: Sequence[Column]) -> list[Column]:
    """Where a value belongs. A run without depth has no depth source to disagree about: it stands in every column
    whose protocol is otherwise its own.
    """
    own = run.protocols[target]
    if run.depth != NO_DEPTH:
        return [Column(target, own, run.depth)]
    fitting = {c for c in concrete if c.target == target and without_depth(c.protocol) == without_depth(own)}
    return sorted(fitting, key=lambda c: (c.protocol, c.depth)) or [Column(target, own, NO_DEPTH)]


def _data_remarks(table: ComparisonTable) -> list[str]:
    """What readers of a table must know of columns of one name that hold results on different, or unknown, data."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    unknown = []
    for header, column in zip(table.headers(), table.columns, strict=True):
        if data_of(column.protocol):
            groups[column.target, without_data(column.protocol)].append(header)
        else:
            unknown.append(header)
    found = [
        f"{' and '.join(headers)} are different data under one name; name them apart: npz:FILE?label=NAME"
        for headers in groups.values()
        if len(headers) > 1
    ]
    if unknown:
        found.append(
            f"{', '.join(unknown)}: stored by a version that did not identify data by content; it is not known whether "
            "such runs saw the same data as each other or as newer ones (dg evaluate measures them anew)"
        )
    return found


def _shown_budget(budget: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    main = [k for k in ("epochs", "max_steps", "batch_size", "skeleton") if budget.get(k, "0") != "0"]
    differing = [k for k in sorted({k for o in others for k in o}) if len({o.get(k) for o in others}) > 1]
    name = budget.get("data.label") or budget.get("data.name", "")
    source = f"trained on {dataset_label(name)}" if name else ""
    others_said = [k for k in dict.fromkeys(main + differing) if k not in ("data.name", "data.label")]
    return " ".join([source, *(f"{k}={budget.get(k, '-')}" for k in others_said)]).strip()
