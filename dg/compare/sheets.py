"""Printed tables: data frames of text with a title and notes, as Markdown and as LaTeX; and rows of facts as CSV."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

from dg.files.plain_text import MAX_CELL, csv_cell, one_line

# Marks that a format turns into its own: bold, and plus-minus.
BOLD, PLUS_MINUS = "\x01{}\x02", "\x03"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "·": r"$\cdot$", "±": r"$\pm$", "≠": r"$\neq$", "\x01": r"\textbf{", "\x02": "}", "\x03": r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """One printed table.

    Attributes:
        title: what it shows.
        frame: the cells as text; the first `labels` columns name a row, the others hold its numbers.
        labels: how many columns name a row.
        notes: what the cells mean.
        remarks: what a reader of the numbers may want to know further.
    """

    title: str
    frame: "DataFrame"
    labels: int
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @staticmethod
    def of(
        title: str,
        head: Sequence[str],
        lines: Sequence[Sequence[str]],
        labels: int,
        notes: Sequence[str] = (),
        remarks: Sequence[str] = (),
    ) -> "Sheet":
        """Make a sheet of lines of cells below one line of heads.

        Args:
            title: stands above the table.
            head: names of the columns.
            lines: the cells of each row as text, as many as there are columns.
            labels: how many columns on the left name the row.
            notes: lines below the table.
            remarks: lines below the notes.

        Returns:
            The sheet.
        """
        from pandas import DataFrame

        return Sheet(title, DataFrame(lines, columns=list(head)), labels, list(notes), list(remarks))

    @property
    def lines(self) -> list[list[str]]:
        """The cells of the frame as text, one list for each row."""
        return self.frame.to_numpy().tolist()


def to_markdown(sheets: Iterable[Sheet]) -> str:
    """Tables with aligned columns, which read well in a terminal too."""
    parts = []
    for sheet in sheets:
        lines = [[_markdown(cell) for cell in line] for line in [list(sheet.frame), *sheet.lines]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rendered = [f"| {' | '.join(t.ljust(w) for t, w in zip(line, widths, strict=True))} |" for line in lines]
        rendered.insert(1, f"|{'|'.join('-' * (w + 2) for w in widths)}|")
        notes = [f"- {_inert(one_line(text, MAX_CELL))}" for text in [*sheet.notes, *sheet.remarks]]
        parts.append(
            "\n".join(
                [f"### {_inert(one_line(sheet.title, MAX_CELL))}", "", *rendered, *([""] if notes else []), *notes]
            )
        )
    return "\n\n".join(parts) + "\n"


def to_latex(sheets: Iterable[Sheet]) -> str:
    """`table` with booktabs rules. Title and notes stand in the caption, so that no mark is lost in a paper."""
    parts = []
    for sheet in sheets:
        cells = sheet.frame.map(escape).set_axis([escape(head) for head in sheet.frame], axis=1)
        spec = "l" * sheet.labels + "r" * (len(cells.columns) - sheet.labels)
        caption = ". ".join(escape(text) for text in [sheet.title, *sheet.notes])
        text = cells.to_latex(index=False, escape=False, column_format=spec, caption=f"{caption}.")
        parts.append("".join(f"% {one_line(remark, MAX_CELL)}\n" for remark in sheet.remarks) + text)
    return "\n".join(parts)


def to_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """One line a row; empty where a row lacks a column.

    Args:
        rows: column -> value.
        columns: those to write, in this order; None: all that occur.
    """
    from pandas import DataFrame

    # As objects: a column of whole numbers stays one where a row lacks it.
    cells = [{name: csv_cell(value) for name, value in row.items()} for row in rows]
    frame = DataFrame(cells, columns=None if columns is None else list(columns), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def spell(values: Sequence[float], plus_minus: str = "±") -> str:
    """Return the values as `mean ± standard deviation (seeds)`, or `-` where there are none.

    Args:
        values: one for each seed.
        plus_minus: the sign between mean and deviation.
    """
    return f"{spread(values, plus_minus)} ({len(values)})" if len(values) else "-"


def spread(values: Sequence[float], plus_minus: str = "±") -> str:
    """Return mean and sample standard deviation as text such as `61.2 ± 0.4`; one value alone has no deviation.

    Args:
        values: at least one.
        plus_minus: the sign between mean and deviation.
    """
    deviation = f" {plus_minus} {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands; the marks become LaTeX's own."""
    return re.sub("|".join(re.escape(c) for c in _LATEX), lambda found: _LATEX[found[0]], text)


def _inert(text: str) -> str:
    """Text in which no link, picture or HTML begins; emphasis and code of our own notes stay."""
    return text.replace("](", "]\\(").replace("<", "\\<")


def _markdown(text: str) -> str:
    """A cell: no structure but our marks. A backslash goes first, for it would undo the one before a bar."""
    text = re.sub(r"[\\`]|\*(?=\*)|(?<=\*)\*", r"\\\g<0>", text)
    return _inert(text).replace("|", "\\|").replace("\x01", "**").replace("\x02", "**").replace(PLUS_MINUS, "±")
