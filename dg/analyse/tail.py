"""The tail of the error: p50 and p90 over the frames, and the whole curve.

AugLift, section 4.5 (METHODS 4.8). Published with PoseFormer, 27 frames, on MPI-INF-3DHP with detected 2D: p90 154.1 to
136.9 mm, p50 80.6 to 77.8 mm. Not reproduced here: MPI-INF-3DHP was not at hand.
"""

from jaxtyping import Float
from torch import Tensor

from dg.analyse.base import Analysis, Comparison, Findings, Table, Value, change_percent
from dg.analyse.figures import Curves, curves
from dg.analyse.stratified import percentile

PERCENTS = tuple(range(101))


def tail_figures(error: Float[Tensor, " frames"]) -> dict[str, float]:
    """mean, p50, p90 and the largest error."""
    return {
        "mean": float(error.mean()),
        "p50": percentile(error, 50),
        "p90": percentile(error, 90),
        "max": float(error.max()),
    }


class Tail(Analysis):
    """See the module's docstring."""

    def run(self, comparison: Comparison) -> Findings:
        """Compute p50, p90 and the percentile curve of every checkpoint's error on every target."""
        rows: list[dict[str, Value]] = []
        points: list[dict[str, Value]] = []
        panels = []
        for title, target in comparison.titled_targets():
            first: dict[str, float] = {}
            lines, words = {}, {}
            for run in comparison.runs:
                error = comparison.error(run, run.target(target))
                found = tail_figures(error)
                place: dict[str, Value] = {"target": title, "frames": len(error), "checkpoint": run.label}
                changes = {f"{p}_change_percent": change_percent(found[p], first.get(p)) for p in ("p50", "p90")}
                rows.append(place | found | changes)
                first = first or found
                curve = [percentile(error, p) for p in PERCENTS]
                points += [
                    {"target": title, "percent": p, "checkpoint": run.label, comparison.metric: value}
                    for p, value in zip(PERCENTS, curve, strict=True)
                ]
                lines[run.label] = (curve, list(PERCENTS))
                words[run.label] = f"p50 {found['p50']:.1f}, p90 {found['p90']:.1f}"
            panels.append(Curves(title, lines, words))
        side_by_side = ("p50", "p90", "p90_change_percent")
        notes = ["changes against the first checkpoint; more in tail.csv", *comparison.protocols()]
        tables = [
            Table("tail", f"Tail of the {comparison.quantity} over the frames", rows, side_by_side, notes),
            Table("curve", f"Percentiles of the {comparison.quantity}", points, (comparison.metric,)),
        ]
        heading = "Error that a share of the frames does not exceed"
        figure = curves(panels, comparison.quantity, "% of frames", heading, marks=(50, 90))
        return Findings(tables, comparison.oracles(""), {"curve": figure})
