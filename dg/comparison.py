"""From the results of many runs to tables of methods: what may stand side by side, and where.

Only results of equal protocol and depth source share a column, only runs of equal budget share a table, and domain
adaptation never shares one with domain generalisation (DESIGN 5.5, 5.8, 5.9).
"""

import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dg.tracking.names import HIGHER_IS_BETTER, NO_DEPTH

SELECTION_TITLES = {
    "last": "last epoch",
    "source_val": "best by source validation",
    "oracle": "ORACLE: best by the target itself, no fair result",
}
# Parameters that never change a number, or vary between seeds of one configuration by design.
_FREE = (
    "seed out resume tracking checkpoint_minutes cache pool address threads device targets data.root "
    "render.actors render.per_actor render.gpus_per_actor render.start_timeout_s render.watchdog_s "
    "render.max_quarantine render.micro_batch render.device"
).split()
_BUDGET = ("epochs", "max_steps", "batch_size", "init_from", "skeleton", "data")
_ROW = ("method.name", "lifter.name", "inputs", "dscale2d", "depth.name")


@dataclass(frozen=True)
class RunResult:
    """One finished run: who it is, its flat parameters, and its value with the protocol id for each target."""

    method: str
    regime: str
    lifter: str
    inputs: str
    dscale2d: str
    depth: str
    seed: str
    started: int
    params: Mapping[str, str]
    values: Mapping[str, float]
    protocols: Mapping[str, str]
    oracle: str = ""

    @property
    def input_label(self) -> str:
        scale = "" if self.dscale2d == "off" else f"+dscale2d={self.dscale2d}"
        depth = "" if self.depth == NO_DEPTH else f", {self.depth}"
        if depth and "depth" in self.oracle.split(",") and "oracle" not in depth:
            depth += " (oracle)"
        return f"{self.inputs}{scale}{depth}"

    @property
    def budget(self) -> dict[str, str]:
        return {k: v for k, v in self.params.items() if _under(k, _BUDGET) and not _under(k, _FREE)}

    @property
    def settings(self) -> dict[str, str]:
        """Every other parameter that can move a number in this run."""
        inert = [*_FREE, *_BUDGET, *_ROW]
        if self.depth == NO_DEPTH:
            inert += ["depth", "body", "render", "d_ref", "f_ref", "depth_clip"]
        if self.dscale2d == "off":
            inert.append("d_ref")
        if self.dscale2d != "focal":
            inert.append("f_ref")
        if self.inputs == "xy":
            inert.append("depth_clip")
        return {k: v for k, v in self.params.items() if not _under(k, inert)}


@dataclass(frozen=True)
class Column:
    """Results that may be compared: one target under one protocol with one depth source."""

    target: str
    protocol: str
    depth: str


@dataclass
class Row:
    """Runs that differ in their seed alone. cells: column -> seed -> (start of the run, value)."""

    method: str
    inputs: str
    lifter: str
    settings: dict[str, str]
    cells: dict[Column, dict[str, tuple[int, float]]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, column: Column, run: RunResult) -> None:
        """A newer run of the same seed replaces an older one."""
        known = self.cells[column].get(run.seed)
        if known is None or known[0] < run.started:
            self.cells[column][run.seed] = (run.started, run.values[column.target])

    def values(self, column: Column) -> list[float]:
        return [value for _, value in self.cells.get(column, {}).values()]

    def seeds(self, column: Column) -> list[str]:
        return sorted(self.cells.get(column, {}))


@dataclass
class ComparisonTable:
    """One regime and budget. `different` names the settings that tell its rows apart beyond their labels."""

    title: str
    regime: str
    budget: dict[str, str]
    columns: list[Column]
    rows: list[Row]
    metric: str

    def headers(self) -> list[str]:
        """Targets; numbered where one target occurs under several protocols."""
        targets = [c.target for c in self.columns]
        return [t if targets.count(t) == 1 else f"{t} ({targets[: i + 1].count(t)})" for i, t in enumerate(targets)]

    def extra(self, row: Row) -> str:
        """The settings in which a row differs from the others of its labels."""
        twins = [r for r in self.rows if (r.method, r.inputs, r.lifter) == (row.method, row.inputs, row.lifter)]
        names = sorted({k for r in twins for k in r.settings})
        names = [k for k in names if len({r.settings.get(k) for r in twins}) > 1]
        return " ".join(f"{k}={row.settings.get(k, '-')}" for k in names)

    def best(self, column: Column) -> Row | None:
        """The row with the best mean, where there is anything to choose."""
        scored = [(statistics.fmean(r.values(column)), r) for r in self.rows if r.values(column)]
        if len(scored) < 2:
            return None
        pick = max if self.metric in HIGHER_IS_BETTER else min
        return pick(scored, key=lambda pair: pair[0])[1]

    def body(self, bold: str = "{}", plus_minus: str = "±") -> list[list[str]]:
        """Printed cells, labels first; `bold` formats the best of a column."""
        with_extra = any(self.extra(row) for row in self.rows)
        lines = []
        for row in self.rows:
            labels = [row.method, row.inputs, row.lifter] + ([self.extra(row)] if with_extra else [])
            cells = [_cell(row.values(c), plus_minus) for c in self.columns]
            marked = [bold.format(t) if self.best(c) is row else t for t, c in zip(cells, self.columns, strict=True)]
            lines.append(labels + marked)
        return lines

    def head(self) -> list[str]:
        with_extra = any(self.extra(row) for row in self.rows)
        return ["method", "input", "lifter"] + (["settings"] if with_extra else []) + self.headers()

    def legend(self) -> list[str]:
        return [f"{h}: {c.protocol}" for h, c in zip(self.headers(), self.columns, strict=True)]


def build_tables(runs: Sequence[RunResult], selection: str, metric: str) -> list[ComparisonTable]:
    """One table for each regime and budget, DG first."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[RunResult]] = defaultdict(list)
    for run in runs:
        groups[run.regime, tuple(sorted(run.budget.items()))].append(run)
    tables = []
    for regime, budget in sorted(groups, key=lambda key: (key[0] != "DG", key)):
        of_regime = [dict(b) for r, b in groups if r == regime]
        shown = _shown_budget(dict(budget), of_regime)
        title = f"{regime} · {metric} · {SELECTION_TITLES[selection]} · {shown}".rstrip(" ·")
        tables.append(_table(groups[regime, budget], title, regime, dict(budget), metric))
    return tables


def _table(runs: Sequence[RunResult], title: str, regime: str, budget: dict[str, str], metric: str) -> ComparisonTable:
    concrete = _concrete_columns(runs)
    rows: dict[tuple[str, ...], Row] = {}
    for run in runs:
        settings = run.settings
        key = (run.method, run.input_label, run.lifter, *(f"{k}={v}" for k, v in sorted(settings.items())))
        row = rows.setdefault(key, Row(run.method, run.input_label, run.lifter, settings))
        for target in run.values:
            for column in _columns_of(run, target, concrete):
                row.add(column, run)
    columns = sorted({c for row in rows.values() for c in row.cells}, key=lambda c: (c.depth, c.target, c.protocol))
    return ComparisonTable(title, regime, budget, columns, [rows[key] for key in sorted(rows)], metric)


def _concrete_columns(runs: Iterable[RunResult]) -> list[Column]:
    """Columns of the runs that use depth."""
    return [Column(t, run.protocols[t], run.depth) for run in runs if run.depth != NO_DEPTH for t in run.values]


def _columns_of(run: RunResult, target: str, concrete: Sequence[Column]) -> list[Column]:
    """Where a value belongs. A run without depth has no depth source to disagree about: it stands in every column
    whose protocol is otherwise its own.
    """
    own = run.protocols[target]
    if run.depth != NO_DEPTH:
        return [Column(target, own, run.depth)]
    fitting = {c for c in concrete if c.target == target and _without_depth(c.protocol) == _without_depth(own)}
    return sorted(fitting, key=lambda c: (c.protocol, c.depth)) or [Column(target, own, NO_DEPTH)]


def _without_depth(protocol: str) -> str:
    return re.sub(r"/depth=[^/]*", "", protocol)


def _shown_budget(budget: Mapping[str, str], others: Sequence[Mapping[str, str]]) -> str:
    main = [k for k in ("data.name", "epochs", "max_steps", "batch_size", "skeleton") if budget.get(k, "0") != "0"]
    differing = [k for k in sorted({k for o in others for k in o}) if len({o.get(k) for o in others}) > 1]
    return " ".join(f"{k}={budget.get(k, '-')}" for k in dict.fromkeys(main + differing))


def _under(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def _cell(values: Sequence[float], plus_minus: str) -> str:
    if not values:
        return "-"
    spread = f" {plus_minus} {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread} ({len(values)})"
