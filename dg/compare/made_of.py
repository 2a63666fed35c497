"""What the numbers of a table are made of: steps, poses, generator steps, and whether the loss still fell."""

import statistics
from collections.abc import Mapping, Sequence

from dg.compare.sheets import Sheet

PREFIX, OLD_PREFIX = "train/made_of/", "made_of/"  # of the metrics that a run stores, and that earlier versions stored
MADE = (
    ("steps", "lifter_steps", "{:,.0f}"),
    ("source poses", "source_poses", "{:,.0f}"),
    ("augmented poses", "augmented_poses", "{:,.0f}"),
    ("generator steps", "generator_steps", "{:,.0f}"),
    ("loss, last fifth (%)", "loss_change_last_fifth_percent", "{:+.1f}"),
)
TITLE = "What the numbers are made of"
STILL_FALLING_PERCENT = -5.0


def made_cells(runs: Sequence[Mapping[str, float]]) -> list[str]:
    """Return one cell for each entry of `MADE`, the mean over runs; `-` where no run has it.

    Args:
        runs: figures of `dg.training.made_of`, one mapping a run.
    """
    found = [[run[key] for run in runs if key in run] for _, key, _ in MADE]
    return [shape.format(statistics.fmean(v)) if v else "-" for v, (_, _, shape) in zip(found, MADE, strict=True)]


def made_notes(rows: Sequence[Sequence[Mapping[str, float]]]) -> list[str]:
    """Return what a reader must know: how the loss is judged, and whether one of the rows has not converged.

    Args:
        rows: for each row of the table the figures of its runs.
    """
    notes = ["means over the seeds; loss: change over the last fifth of the steps, of a line fitted to it"]
    changes = [[r[MADE[-1][1]] for r in runs if MADE[-1][1] in r] for runs in rows]
    if any(change and statistics.fmean(change) < STILL_FALLING_PERCENT for change in changes):
        notes.append(f"a loss that falls by more than {-STILL_FALLING_PERCENT:.0f} % has not converged")
    return notes


def made_sheet(
    title: str, heads: Sequence[str], rows: Sequence[tuple[Sequence[str], Sequence[Mapping[str, float]]]]
) -> Sheet | None:
    """Return the table, or None where no run has such figures.

    Args:
        title: of the table whose numbers these are.
        heads: names of the labels.
        rows: for each row its labels and the figures of its runs.
    """
    if not any(figures for _, runs in rows for figures in runs):
        return None
    body = [[*labels, *made_cells(runs)] for labels, runs in rows]
    columns = [*heads, *(head for head, _, _ in MADE)]
    return Sheet.of(f"{TITLE} · {title}", columns, body, len(heads), made_notes([runs for _, runs in rows]))
