"""Comparison tables as Markdown, CSV and LaTeX."""

import csv
import io
import re
import statistics
from collections.abc import Sequence

from dg.comparison import ComparisonTable


def to_markdown(tables: Sequence[ComparisonTable]) -> str:
    """Aligned, so that it reads in a terminal too. Cells: mean ± standard deviation (seeds)."""
    parts = []
    for table in tables:
        lines = [[t.replace("|", "\\|") for t in line] for line in [table.head(), *table.body("**{}**")]]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        rendered = [f"| {' | '.join(t.ljust(w) for t, w in zip(line, widths, strict=True))} |" for line in lines]
        rendered.insert(1, f"|{'|'.join('-' * (w + 2) for w in widths)}|")
        legend = [f"- {entry}" for entry in table.legend()]
        parts.append("\n".join([f"### {table.title}", "", *rendered, "", *legend]))
    return "\n\n".join(parts) + "\n"


def to_latex(tables: Sequence[ComparisonTable]) -> str:
    """`tabular` with booktabs rules; the protocols stand in comments."""
    parts = []
    for table in tables:
        labels = len(table.head()) - len(table.columns)
        body = [[_escape(t) for t in line] for line in table.body("<b>{}</b>", "<pm>")]
        lines = [" & ".join(line).replace("<b>", r"\textbf{").replace("</b>", "}") + r" \\" for line in body]
        head = " & ".join(_escape(t) for t in table.head()) + r" \\"
        spec = "l" * labels + "r" * len(table.columns)
        parts.append(
            "\n".join([
                f"% {table.title}", *(f"% {entry}" for entry in table.legend()),
                rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head, r"\midrule",
                *(line.replace("<pm>", r"$\pm$") for line in lines), r"\bottomrule", r"\end{tabular}",
            ])
        )  # fmt: skip
    return "\n\n".join(parts) + "\n"


def to_csv(tables: Sequence[ComparisonTable]) -> str:
    """One line for each cell that holds a number, with everything that identifies it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        "table regime budget metric method input lifter settings target protocol depth mean std n seeds".split()
    )
    for table in tables:
        budget = " ".join(f"{k}={v}" for k, v in sorted(table.budget.items()))
        for row in table.rows:
            for column in table.columns:
                values = row.values(column)
                if values:
                    std = statistics.stdev(values) if len(values) > 1 else ""
                    writer.writerow([
                        table.title, table.regime, budget, table.metric, row.method, row.inputs, row.lifter,
                        table.extra(row), column.target, column.protocol, column.depth,
                        statistics.fmean(values), std, len(values), " ".join(row.seeds(column)),
                    ])  # fmt: skip
    return out.getvalue()


FORMATS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def _escape(text: str) -> str:
    return re.sub(r"([_%&#$])", r"\\\1", text)
