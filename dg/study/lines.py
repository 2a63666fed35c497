"""Errors against what a study varies: the lines that its tables, CSV files and figures are made of."""

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dg.compare.sheets import PLUS_MINUS, Sheet
from dg.compare.tables import spell
from dg.files.plain_text import csv_cell

SHOWN_ALONE = ("target",)  # labels that a table shows even where all lines agree in them


@dataclass(frozen=True)
class Axis:
    """What a study varies along its lines. name: in CSV files; column: a table's heading of one value; label: what the
    figure writes below.
    """

    name: str
    column: str
    label: str


FRAMES = Axis("frames", "T={}", "frames that the lifter sees (T)")


@dataclass(frozen=True)
class Point:
    """One run's error on one target. labels: what lines differ in, such as `input` and `target`; x: on the axis."""

    labels: Mapping[str, str]
    protocol: str
    x: int
    seed: str
    error: float


@dataclass(frozen=True)
class Line:
    """Runs that differ in x and seed alone. values: x -> seed -> error."""

    labels: Mapping[str, str]
    protocol: str
    values: dict[int, dict[str, float]] = field(default_factory=dict)

    def at(self, x: int) -> list[float]:
        return list(self.values.get(x, {}).values())

    def mean(self, x: int) -> float | None:
        return statistics.fmean(self.at(x)) if self.at(x) else None

    def spread(self, x: int) -> float:
        """Standard deviation over the seeds; 0 of one."""
        return statistics.stdev(self.at(x)) if len(self.at(x)) > 1 else 0.0

    def less(self, other: "Line") -> "Line":
        """The difference to another line, seed by seed, to six digits: below that, rounding errors have signs."""
        values = {
            x: {s: round(error - there[s], 6) + 0.0 for s, error in errors.items() if s in there}
            for x, errors in self.values.items()
            if (there := other.values.get(x))
        }
        return Line(self.labels, self.protocol, values)


def lines_of(points: Iterable[Point]) -> list[Line]:
    """Points of equal labels and protocol as one line, in order of appearance; of equal seeds the last one holds."""
    lines: dict[tuple[object, ...], Line] = {}
    for point in points:
        key = (*point.labels.items(), point.protocol)
        line = lines.setdefault(key, Line(point.labels, point.protocol))
        line.values.setdefault(point.x, {})[point.seed] = point.error
    return list(lines.values())


def twins(lines: Sequence[Line], label: str, value: str) -> list[tuple[Line, Line]]:
    """Each line whose `label` is another than `value`, and the one that differs from it in this label alone."""
    there = {_others(line, label): line for line in lines if line.labels[label] == value}
    pairs = [(line, there.get(_others(line, label))) for line in lines if line.labels[label] != value]
    return [(line, other) for line, other in pairs if other is not None]


def _others(line: Line, label: str) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in line.labels.items() if k != label)


def ticks(lines: Iterable[Line]) -> list[int]:
    """Every x that some line has."""
    return sorted({x for line in lines for x in line.values})


def shown_labels(lines: Sequence[Line]) -> list[str]:
    """The labels in which the lines differ, and those that are always shown."""
    names = dict.fromkeys(name for line in lines for name in line.labels)
    return [n for n in names if n in SHOWN_ALONE or len({line.labels.get(n) for line in lines}) > 1]


def shared_labels(lines: Sequence[Line]) -> str:
    """What all lines have in common, in words."""
    shown = shown_labels(lines)
    return ", ".join(dict.fromkeys(v for line in lines for k, v in line.labels.items() if k not in shown))


def table(
    title: str,
    lines: Sequence[Line],
    notes: Sequence[str] = (),
    cell: Callable[[list[float]], str] = lambda values: spell(values, PLUS_MINUS),
    axis: Axis = FRAMES,
) -> Sheet:
    """One line each, one column for each value on the axis."""
    labels, columns = shown_labels(lines), ticks(lines)
    body = [[line.labels.get(n, "-") for n in labels] + [cell(line.at(x)) for x in columns] for line in lines]
    common = shared_labels(lines)
    title = f"{title} · {common}" if common else title
    return Sheet(title, labels + [axis.column.format(x) for x in columns], body, len(labels), list(notes))


def protocols(lines: Sequence[Line]) -> list[str]:
    """Each protocol under which errors were measured."""
    return list(dict.fromkeys(f"`{line.protocol}`" for line in lines))


def to_csv(lines: Sequence[Line], metric: str, axis: Axis = FRAMES) -> str:
    """One row for each line and x: labels, protocol, the axis, metric, mean, standard deviation, seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(dict.fromkeys(name for line in lines for name in line.labels))
    writer.writerow([*names, "protocol", axis.name, "metric", "mean", "std", "n", "seeds"])
    for line in lines:
        for x, errors in sorted(line.values.items()):
            spread = line.spread(x) if len(errors) > 1 else ""
            own = [line.labels.get(name, "") for name in names]
            figures = [line.mean(x), spread, len(errors), " ".join(sorted(errors))]
            writer.writerow([csv_cell(value) for value in (*own, line.protocol, x, metric, *figures)])
    return out.getvalue()
