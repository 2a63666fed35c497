"""A printed table: words in cells, as Markdown and as LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from dg.files.plain_text import MAX_CELL, one_line

# Marks that a format turns into its own: bold, and plus-minus.
BOLD, PLUS_MINUS = "\x01{}\x02", "\x03"
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "·": r"$\cdot$", "±": r"$\pm$", "≠": r"$\neq$", "\x01": r"\textbf{", "\x02": "}", "\x03": r"$\pm$",
}  # fmt: skip


@dataclass(frozen=True)
class Sheet:
    """title, one line of heads, lines of cells, of which the first `labels` are text; notes say what the cells mean.

    remarks: what a reader of the numbers may want to know further.
    """

    title: str
    head: list[str]
    lines: list[list[str]]
    labels: int
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def to_markdown(sheets: Sequence[Sheet]) -> str:
    """Aligned, so that it reads in a terminal too."""
    parts = []
    for sheet in sheets:
        lines = [[_markdown(cell) for cell in line] for line in [sheet.head, *sheet.lines]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        rendered = [f"| {' | '.join(t.ljust(w) for t, w in zip(line, widths, strict=True))} |" for line in lines]
        rendered.insert(1, f"|{'|'.join('-' * (w + 2) for w in widths)}|")
        notes = [f"- {_inert(one_line(text, MAX_CELL))}" for text in [*sheet.notes, *sheet.remarks]]
        parts.append(
            "\n".join(
                [f"### {_inert(one_line(sheet.title, MAX_CELL))}", "", *rendered, *([""] if notes else []), *notes]
            )
        )
    return "\n\n".join(parts) + "\n"


def to_latex(sheets: Sequence[Sheet]) -> str:
    """`table` with booktabs rules. Title and notes stand in the caption, so that no mark is lost in a paper."""
    parts = []
    for sheet in sheets:
        head, *lines = [" & ".join(escape(t) for t in line) + r" \\" for line in [sheet.head, *sheet.lines]]
        spec = "l" * sheet.labels + "r" * (len(sheet.head) - sheet.labels)
        caption = ". ".join(escape(text) for text in [sheet.title, *sheet.notes])
        above = [
            *(f"% {one_line(text, MAX_CELL)}" for text in sheet.remarks),
            r"\begin{table}",
            rf"\caption{{{caption}.}}",
        ]
        opening = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule"]
        parts.append("\n".join([*above, *opening, *lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


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
