"""A paper's own table, and in its cells what our runs give under the same protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dg.compare.published import ANY_LIFTER, PublishedResult
from dg.compare.results import RunResult, training_2d, training_set
from dg.compare.sheets import BOLD, PLUS_MINUS, Sheet, spell, to_csv
from dg.compare.tables import SELECTION_TITLES, build_tables
from dg.datasets.protocols import NOT_STATED, Protocol

FILLED, EMPTY, DIFFERENT, UNSTATED, ABSENT, OTHER = "filled", "-", "≠", "?", "x", ""
LEGEND = (
    "cells: the paper's number / ours, mean ± standard deviation (seeds); c: the paper quotes it; -: no such run yet; "
    "≠: our runs differ, see below; ?: the paper does not state the whole protocol; x: no method or lifter of ours "
    "corresponds"
)
_RESULT_FIELDS = (
    "id paper where train test protocol input_2d lifter method metric value unit cited note".split()
)  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """Our runs that may stand in a cell and differ in their seed alone."""

    name: str
    values: list[float]


@dataclass(frozen=True)
class PaperCell:
    """One published number with what we have for it.

    Attributes:
        why: reasons that runs of ours do not count.
    """

    published: PublishedResult
    state: str
    ours: list[Configuration] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the published value, followed by our values or by the reason why there are none."""
        value = _number(self.published.value) + ("c" if self.published.cited else "")
        if self.state == OTHER:
            return value
        if self.state != FILLED:
            return f"{value} / {self.state}"
        return f"{value} / " + "; ".join(BOLD.format(spell(c.values, PLUS_MINUS)) for c in self.ours)


def fill(
    entries: Sequence[PublishedResult], runs: Mapping[str, Sequence[RunResult]], selection: str
) -> list[PaperCell]:
    """Return a cell for each published number, with our values where our runs fit.

    Args:
        entries: published numbers.
        runs: metric -> our results under the asked selection.
        selection: one of `SELECTIONS`.
    """
    return [_fill_one(entry, runs.get(entry.meaning.metric or "", ()), selection) for entry in entries]


def _fill_one(entry: PublishedResult, runs: Sequence[RunResult], selection: str) -> PaperCell:
    meaning = entry.meaning
    if meaning.metric is None:
        return PaperCell(entry, OTHER)
    if meaning.method is None or meaning.lifter is None:
        return PaperCell(entry, ABSENT)
    fitting, why = [], []
    for run in runs:
        if not _same_method(entry, run):
            continue
        for target, protocol in run.protocols.items():
            ours = Protocol.parse(protocol)
            reasons = ours.differences(meaning.protocol) + _training_differences(entry, run)
            if not reasons:
                fitting.append(replace(run, values={target: run.values[target]}, protocols={target: protocol}))
            elif ours.dataset == meaning.protocol.dataset:
                why.append(f"{run.method} {run.inputs} {run.lifter} on {target}: {'; '.join(reasons)}")
    if fitting:
        return PaperCell(entry, FILLED, _configurations(fitting, selection, meaning.metric))
    missing = meaning.protocol.unknown()
    if missing and not why:
        return PaperCell(entry, UNSTATED, why=[f"{entry.test}: the paper does not state {', '.join(missing)}"])
    return PaperCell(entry, DIFFERENT if why else EMPTY, why=list(dict.fromkeys(why)))


def _same_method(entry: PublishedResult, run: RunResult) -> bool:
    """Whether a run has the entry's method, input and lifter; any lifter fits where the paper names none."""
    m = entry.meaning
    ours = (run.method, run.regime, run.inputs)
    lifter = m.lifter == ANY_LIFTER or (run.lifter, run.lifter_frames) == (m.lifter, m.lifter_frames)
    return ours == (m.method, m.regime, m.inputs) and lifter


def _training_differences(entry: PublishedResult, run: RunResult) -> list[str]:
    """How a run's training data and input scale differ from those of the paper's row, ours named first."""
    found, meaning = [], entry.meaning
    trained, two_d = training_set(run.params), training_2d(run.params)
    if trained != meaning.train:
        found.append(f"trained on {trained} against {meaning.train}")
    if two_d != meaning.source_2d_train:
        found.append(f"training 2D {two_d} against {meaning.source_2d_train or NOT_STATED}")
    if run.dscale2d != meaning.dscale2d:
        found.append(f"dscale2d {run.dscale2d} against {meaning.dscale2d}")
    return found


def paper_sheets(cells: Sequence[PaperCell], selection: str, remarks: Sequence[str] = ()) -> list[Sheet]:
    """Return one sheet for each place of the paper that the cells come from.

    Args:
        cells: published numbers with ours.
        selection: one of `SELECTIONS`.
        remarks: what a reader of the numbers may want to know further.
    """
    return [
        _sheet([c for c in cells if c.published.where == where], selection, remarks)
        for where in dict.fromkeys(c.published.where for c in cells)
    ]


def paper_csv(cells: Sequence[PaperCell]) -> str:
    """One line for each number, and for each further configuration of ours that stands beside it."""
    lines = []
    for cell in cells:
        entry = {name: getattr(cell.published, name) for name in _RESULT_FIELDS}
        state = {"filled": "filled", "-": "no run", "≠": "runs differ", "?": "protocol not stated", "x": "not here"}
        entry |= {"state": state.get(cell.state, "no metric of ours"), "why": " | ".join(cell.why)}
        for configuration in cell.ours or [None]:
            line = dict(entry)
            if configuration is not None:
                values = configuration.values
                line |= {
                    "ours_mean": sum(values) / len(values),
                    "ours_cell": spell(values),
                    "ours_configuration": configuration.name,
                }
            lines.append(line)
    return to_csv(lines, [*_RESULT_FIELDS, "state", "ours_mean", "ours_cell", "ours_configuration", "why"])


def _sheet(cells: Sequence[PaperCell], selection: str, remarks: Sequence[str]) -> Sheet:
    first = cells[0].published
    rows: dict[tuple[str, ...], dict[tuple[str, ...], PaperCell]] = {}
    columns: dict[tuple[str, ...], None] = {}
    for cell in cells:
        entry = cell.published
        column = entry.test, entry.protocol, f"{entry.metric} ({entry.unit})"
        # Of the 2D, the test side belongs to the column.
        in_training = entry.meaning.source_2d_train or entry.input_2d
        key = entry.method, entry.lifter, entry.meaning.regime, entry.train, in_training
        while column in rows.get(key, {}):  # the paper prints two numbers for it
            key = (*key[:-1], f"{key[-1]} (again)")
        columns[column] = None
        rows.setdefault(key, {})[column] = cell
    names = ["method", "lifter", "regime", "trained on", "2D"]
    shown = [i for i in range(len(names)) if i < 3 or len({key[i] for key in rows}) > 1]
    lines = [
        [key[i] for i in shown] + [row[c].text() if c in row else "" for c in columns] for key, row in rows.items()
    ]
    # A protocol stands in the heads only where it tells columns apart.
    tests = [c[::2] for c in columns]
    heads = [f"{c[0]}, {c[1]}, {c[2]}" if tests.count(c[::2]) > 1 else f"{c[0]}, {c[2]}" for c in columns]
    ours = f"ours: {SELECTION_TITLES[selection]}"
    remarks = [*remarks, *_explanations(cells)]
    fixed = [f"{names[i]} {next(iter(rows))[i]}" for i in range(3, len(names)) if i not in shown]
    oracle = any(c.published.meaning.selection == "oracle" for c in cells)
    chosen = "paper: ORACLE selection, the best epoch on the test set" if oracle else "paper: selection not stated"
    title = f"{first.paper}, {first.where} · {' · '.join([*fixed, chosen, ours])}"
    places = dict.fromkeys(f"{test}: {protocol}" for test, protocol, _ in columns)
    return Sheet.of(title, [names[i] for i in shown] + heads, lines, len(shown), [LEGEND, *places], remarks)


def _explanations(cells: Sequence[PaperCell]) -> list[str]:
    filled = [f"ours for {c.published.method}, {c.published.lifter}: {o.name}" for c in cells for o in c.ours]
    why = [f"{c.state} {reason}" for c in cells for reason in c.why]
    notes = [f"{c.published.method}: {c.published.note}" for c in cells if c.published.note]
    return list(dict.fromkeys(filled + why + notes))


def _number(value: float) -> str:
    """At least one decimal, more where the paper prints more."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def _configurations(runs: Sequence[RunResult], selection: str, metric: str) -> list[Configuration]:
    """Runs grouped so that only those that differ in their seed are averaged."""
    found = []
    for table in build_tables(runs, selection, metric):
        budget = table.title.split(" · ")[-1]
        for row in table.rows:
            for column in table.columns:
                if row.values(column):
                    words = [*row.labels, table.extra(row), budget, column.target]
                    found.append(Configuration(" ".join(w for w in words if w), row.values(column)))
    return found
