"""Tables of the study of shifts: errors by kind of shift, differences to erm, and what the numbers are made of."""

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dg.compare.bootstrap import MIN_SEEDS, paired_interval
from dg.compare.differences import spell_interval
from dg.compare.made_of import MADE, TITLE, made_cells, made_notes
from dg.compare.sheets import PLUS_MINUS, Sheet, spell
from dg.compare.tables import SELECTION_TITLES
from dg.tracking.names import SELECTIONS

BASELINE = "erm"
TITLES = {
    "camera": "Camera shift: the source's people and motion, other cameras",
    "dataset": "Data set shift: other people, joints and exercises",
    "motion": "Motion shift: trained on few activities, people not in training",
    "limited": "Limited data: fewer people in training",
}


@dataclass(frozen=True)
class Entry:
    """One finished run.

    Attributes:
        part: the grid it belongs to.
        kind: `across` (camera and dataset), `motion` or `limited`.
    """

    part: str
    kind: str
    method: str
    inputs: str
    seed: str
    summary: Mapping[str, Any]

    def error(self, target: str, selection: str, metric: str) -> float | None:
        """On a target under a selection, None where it was not evaluated."""
        for row in self.summary["results"]:
            if (row["target"], row["selection"]) == (target, selection):
                return float(row[metric])
        return None


Rows = dict[tuple[str, ...], list[Entry]]


def sheets_of(
    entries: Sequence[Entry], targets: Mapping[str, Sequence[str]], metric: str, selection: str
) -> list[Sheet]:
    """Return all tables of the study.

    Args:
        entries: the finished runs.
        metric: such as `mpjpe_mm`.
        selection: one of `SELECTIONS`.
        targets: names of the targets of camera shift, and of data set shift.
    """
    sheets = []
    for kind, title in TITLES.items():
        chosen = [e for e in entries if e.kind == ("across" if kind in ("camera", "dataset") else kind)]
        found = list(dict.fromkeys(row["target"] for e in chosen for row in e.summary["results"]))
        names = [name for name in found if kind not in targets or name in targets[kind]]
        if chosen and names:
            rows = _rows(chosen, with_part=kind == "limited")
            heading = f"{title} · {metric} · {SELECTION_TITLES[selection]}"
            sheets.append(_errors(heading, rows, names, metric, selection, kind))
            sheets += _differences(title, rows, names, metric, selection)
    return [*sheets, _made_of(entries)]


def _rows(entries: Sequence[Entry], with_part: bool) -> Rows:
    rows: Rows = {}
    for entry in entries:
        part = (entry.part.removeprefix("limited-"),) if with_part else ()
        rows.setdefault((*part, entry.method, entry.inputs), []).append(entry)
    return rows


def _heads(rows: Rows) -> list[str]:
    heads = ["source", "method", "input"]
    return heads[-len(next(iter(rows))) :]


def _errors(title: str, rows: Rows, names: Sequence[str], metric: str, selection: str, kind: str) -> Sheet:
    heads, lines = _heads(rows), []
    seen = kind != "motion"
    for labels, entries in rows.items():
        cells = [spell(_values(entries, lambda e, t=t: e.error(t, selection, metric)), PLUS_MINUS) for t in names]
        source = [
            spell(_values(entries, lambda e, k=k: e.summary.get(k, {}).get(metric)), PLUS_MINUS)
            for k in (("val", "virtual_cameras") if seen else ("val",))
        ]
        lines.append([*labels, *cells, *source])
    columns = [*names, "source, held out", *(["source, virtual cameras"] if seen else [])]
    counts = sorted({len(e) for e in rows.values()})
    notes = ["mean ± standard deviation (seeds); depth is rendered from the ground truth, an oracle"]
    if min(counts) < MIN_SEEDS:
        notes.append(f"fewer than {MIN_SEEDS} seeds: a look, no claim")
    return Sheet.of(title, [*heads, *columns], lines, len(heads), notes)


def _differences(title: str, rows: Rows, names: Sequence[str], metric: str, selection: str) -> list[Sheet]:
    lines = []
    for labels, entries in rows.items():
        *part, method, inputs = labels
        reference = rows.get((*part, BASELINE, inputs))
        if method == BASELINE or reference is None:
            continue
        cells = []
        for target in names:
            ours, theirs = (
                {e.seed: v for e in group if (v := e.error(target, selection, metric)) is not None}
                for group in (entries, reference)
            )
            shifts = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
            cells.append(spell_interval(paired_interval(shifts) if shifts else None))
        lines.append([*labels, *cells])
    if not lines:
        return []
    notes = [
        "method less erm, 95 % bootstrap interval paired over seeds; it covers other seeds, not other test frames",
        f"*: certain, at least {MIN_SEEDS} seeds and zero outside the interval",
    ]
    heads = _heads(rows)
    return [Sheet.of(f"Difference to {BASELINE} · {title} · {metric}", [*heads, *names], lines, len(heads), notes)]


_VIEWS = ("views/proposals/elevation_deg_p5", "views/proposals/elevation_deg_p50", "views/proposals/elevation_deg_p95")


def _made_of(entries: Sequence[Entry]) -> Sheet:
    rows: Rows = {}
    for entry in entries:
        rows.setdefault((entry.part, entry.method, entry.inputs), []).append(entry)
    lines = []
    for labels, group in rows.items():
        cells = made_cells([e.summary["made_of"] for e in group])
        views = [_mean(group, lambda e, k=k: e.summary["views"].get(k), "{:.0f}") for k in _VIEWS]
        spread = _mean(group, lambda e: e.summary["views"].get("views/spread_over_noise_deg"), "{:.0f}")
        posture = _mean(group, lambda e: e.summary["views"].get("views/posture_deg"), "{:.0f}")
        told = sorted({kind for e in group for kind in e.summary["views"].get("warnings", ())})
        minutes = _mean(group, lambda e: e.summary["seconds"] / 60, "{:.1f}")
        shown = ", ".join(views) if "-" not in views else "-"
        lines.append([*labels, *cells, shown, spread, posture, ", ".join(told), minutes])
    heads = ["part", "method", "input"]
    columns = [*(head for head, _, _ in MADE), "elevation, 5, 50, 95 % (deg)", "spread over noise (deg)"]
    columns += ["posture (deg)", "warnings"]
    notes = made_notes([[e.summary["made_of"] for e in group] for group in rows.values()])
    notes.append(
        "elevation: of the camera against the trunk, of augmented poses at the end; posture: how far bones turned "
        "against the body"
    )
    return Sheet.of(TITLE, [*heads, *columns, "minutes"], lines, len(heads), notes)


def _values(entries: Sequence[Entry], value: Callable[[Entry], float | None]) -> list[float]:
    return [float(v) for e in entries if (v := value(e)) is not None]


def _mean(entries: Sequence[Entry], value: Callable[[Entry], float | None], shape: str) -> str:
    found = _values(entries, value)
    return shape.format(statistics.fmean(found)) if found else "-"


def to_csv(entries: Sequence[Entry], metric: str) -> str:
    """One row for each run, target and selection."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    made = [key for _, key, _ in MADE]
    writer.writerow(["part", "method", "inputs", "seed", "target", "selection", metric, "virtual_cameras", *made])
    for e in entries:
        parts = [e.summary["made_of"].get(key, "") for key in made]
        for row in e.summary["results"]:
            if row["selection"] in SELECTIONS:
                own = [e.part, e.method, e.inputs, e.seed, row["target"], row["selection"], row[metric]]
                writer.writerow([*own, e.summary.get("virtual_cameras", {}).get(metric, ""), *parts])
    return out.getvalue()
