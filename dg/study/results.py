"""The errors of a study's runs as one data frame, and the tables and files that a study ends in.

The frame has a row for each run and target: its labels (`target`, `method`, `lifter`, `input`, ...), the `protocol`,
`x` (what the study varies), the `seed`, and the `error`. Rows that differ in x and seed alone are one `line`, numbered.
"""

# pandas' own annotations answer most calls with a union of everything:
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.compare.sheets import PLUS_MINUS, Sheet, spell, to_markdown
from dg.files.atomic import write_files
from dg.files.plain_text import csv_cell
from dg.study.figures import error_figure
from dg.tracking.stores import log_files

if TYPE_CHECKING:
    from pandas import DataFrame

NO_LABELS = ("protocol", "x", "seed", "error", "line")
SHOWN_ALONE = ("target",)  # labels that a table shows even where all lines agree in them


@dataclass(frozen=True)
class Axis:
    """What a study varies.

    Attributes:
        name: its name in CSV files.
        column: a table's heading of one value.
        label: text below the figure's axis.
    """

    name: str
    column: str
    label: str


FRAMES = Axis("frames", "T={}", "frames that the lifter sees (T)")


@dataclass(frozen=True)
class Place:
    """A study's folder and the MLflow run that stands for it; run_id is empty where there is none."""

    folder: Path
    uri: str
    run_id: str


def frame_of(rows: "Iterable[Mapping[str, Any]] | DataFrame") -> "DataFrame":
    """Rows as a frame with their lines numbered in order of appearance; of equal runs the last one holds."""
    from pandas import DataFrame

    frame = DataFrame(rows)
    if frame.empty:
        return frame
    frame = frame.drop_duplicates([name for name in frame if name not in ("error", "line")], keep="last")
    return frame.assign(line=frame.groupby([*labels_of(frame), "protocol"], sort=False).ngroup())


def labels_of(frame: "DataFrame") -> list[str]:
    """The columns that are labels."""
    return [name for name in frame if name not in NO_LABELS]


def shown_labels(frame: "DataFrame") -> list[str]:
    """The labels in which the lines differ, and those that are always shown."""
    return [name for name in labels_of(frame) if name in SHOWN_ALONE or frame[name].nunique() > 1]


def shared_labels(frame: "DataFrame") -> str:
    """What all lines have in common, in words."""
    shown = shown_labels(frame)
    return ", ".join(dict.fromkeys(frame[name].iloc[0] for name in labels_of(frame) if name not in shown))


def averaged(frame: "DataFrame") -> "DataFrame":
    """The mean error over the seeds, as rows of no seed."""
    names = [name for name in frame if name not in ("seed", "error")]
    return frame.groupby(names, sort=False)["error"].mean().reset_index().assign(seed="")


def twins(frame: "DataFrame", label: str, value: str) -> "DataFrame":
    """The rows whose `label` is another than `value`, each with `there`, the error of the row that differs from it in
    this label alone; rows without such a one are left out.

    Args:
        frame: one row per finished run and x.
        label: name of the column in which the twins differ.
        value: of that column in the rows that the others are set beside.
    """
    keys = [*(name for name in labels_of(frame) if name != label), "x", "seed"]
    other = frame[label] != value
    there = frame[~other].rename(columns={"error": "there"}).drop_duplicates(keys, keep="last")
    return frame[other].merge(there[[*keys, "there"]], on=keys)


def table(
    title: str,
    frame: "DataFrame",
    notes: Sequence[str] = (),
    cell: Callable[[list[float]], str] = lambda values: spell(values, PLUS_MINUS),
    axis: Axis = FRAMES,
) -> Sheet:
    """One row for each line, one column for each value on the axis.

    Args:
        title: what the errors are; what all lines have in common is added.
        frame: as `frame_of` makes it.
        notes: what the cells mean.
        cell: the errors of one line and x, by seed, as text.
        axis: what x is.
    """
    labels, common = shown_labels(frame), shared_labels(frame)
    cells = frame.groupby(["line", "x"])["error"].agg(lambda errors: cell(errors.tolist())).unstack("x").fillna("-")
    named = frame.drop_duplicates("line").set_index("line")[labels]
    shown = named.join(cells.rename(columns=axis.column.format)).astype(str)
    return Sheet(f"{title} · {common}" if common else title, shown, len(labels), list(notes))


def protocols(frame: "DataFrame") -> list[str]:
    """Each protocol under which errors were measured."""
    return [f"`{protocol}`" for protocol in frame["protocol"].unique()]


def csv_of(frame: "DataFrame", metric: str, axis: Axis = FRAMES) -> str:
    """One row for each line and x: labels, protocol, the axis, metric, mean, standard deviation, seeds.

    Args:
        frame: one row per finished run and x.
        metric: name of the error, with its unit.
        axis: what x is.
    """
    keys = ["line", *labels_of(frame), "protocol", "x"]
    figures = {"mean": ("error", "mean"), "std": ("error", "std"), "n": ("error", "size")}
    found = frame.groupby(keys)[["error", "seed"]].agg(**figures, seeds=("seed", lambda seeds: " ".join(sorted(seeds))))
    shown = found.reset_index().drop(columns="line").rename(columns={"x": axis.name})
    shown.insert(shown.columns.get_loc("mean"), "metric", metric)
    return shown.map(csv_cell, na_action="ignore").to_csv(index=False, lineterminator="\n")


def conclude(
    name: str,
    heading: str,
    place: Place,
    sheets: Sequence[Sheet],
    frame: "DataFrame",
    metric: str,
    axis: Axis = FRAMES,
) -> None:
    """Print the tables, write NAME.md, NAME.csv and NAME.png, and put them into the study's MLflow run.

    Args:
        name: of the study.
        heading: of the figure.
        place: folder and MLflow run.
        sheets: the tables.
        frame: the errors behind the CSV file and the figure.
        metric: what they are.
        axis: what x is.
    """
    text = to_markdown(sheets)
    picture = error_figure(frame, metric, heading, axis.label, shown_labels(frame), shared_labels(frame))
    contents = {f"{name}.md": text, f"{name}.csv": csv_of(frame, metric, axis), f"{name}.png": picture}
    paths = write_files(place.folder, contents)
    say(f"\n{text}\nwritten to {place.folder}: {', '.join(contents)}")
    say(log_files(place.uri, place.run_id, f"studies/{name}", paths))


def say(text: str) -> None:
    """One line of what a study tells while it runs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
