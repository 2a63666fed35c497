"""Model selection has a name, and a target can be looked at only under the name `oracle`.

last: the weights at the end. source_val: the best by the source's held-out clips. virtual_cameras: the best by the same
clips seen by other, virtual cameras (`dg.datasets.virtual_cameras`), which tells of new viewpoints. oracle: the best by
the very target it is reported on, which no honest user could pick; it is there as published numbers were picked so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dg.tracking.names import SELECTIONS


@dataclass
class History:
    """Every evaluation of a run, and which of them each way of selecting picks.

    One record an evaluation: {"epoch", "val": {...metrics}, "targets": {name: {...metrics}}}, and "virtual_cameras":
    {...metrics} where the run has them.
    """

    records: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        epoch: int,
        val: dict[str, Any],
        targets: dict[str, dict[str, Any]],
        virtual_cameras: dict[str, Any] | None = None,
    ) -> bool:
        """Append an evaluation; True if it is the best so far by source validation."""
        seen = {} if virtual_cameras is None else {"virtual_cameras": virtual_cameras}
        self.records.append({"epoch": epoch, "val": val, "targets": targets} | seen)
        return self.best_by_source() == len(self.records) - 1

    def would_be_best(self, val: Mapping[str, Any]) -> bool:
        """Whether an evaluation with these scores on source validation would be the best so far."""
        return all(val["mpjpe_mm"] < record["val"]["mpjpe_mm"] for record in self.records)

    def best_by_source(self) -> int:
        """Index of the record with the lowest source-validation MPJPE, the earliest of equals."""
        return min(range(len(self.records)), key=lambda i: self.records[i]["val"]["mpjpe_mm"])

    def results_at(self, epoch: int) -> dict[str, dict[str, Any]]:
        """Target -> its scores where source validation chooses this epoch so far; empty where it chooses another."""
        chosen = self.records[self.best_by_source()]
        return chosen["targets"] if chosen["epoch"] == epoch else {}

    def curves(self) -> list[dict[str, float]]:
        """MPJPE at each evaluation, mm: `epoch`, `val`, and every target by its name."""
        return [
            {"epoch": record["epoch"], "val": record["val"]["mpjpe_mm"]}
            | {name: scores["mpjpe_mm"] for name, scores in record["targets"].items()}
            for record in self.records
        ]

    @property
    def selections(self) -> tuple[str, ...]:
        """Those that can be picked by; not `virtual_cameras` where a run, or a part of it, was evaluated without."""
        seen = all("virtual_cameras" in record for record in self.records)
        return tuple(s for s in SELECTIONS if seen or s != "virtual_cameras")

    def pick(self, selection: str, target: str) -> dict[str, Any]:
        """The record that a selection reports for a target. Raises ValueError for an unknown selection."""
        if not self.records:
            raise ValueError("nothing was evaluated yet")
        if selection == "last":
            return self.records[-1]
        if selection == "source_val":
            return self.records[self.best_by_source()]
        if selection == "virtual_cameras" and selection in self.selections:
            return min(self.records, key=lambda record: record["virtual_cameras"]["mpjpe_mm"])
        if selection == "oracle":
            return min(self.records, key=lambda record: record["targets"][target]["mpjpe_mm"])
        raise ValueError(f"selection must be one of {list(self.selections)}, got {selection!r}")
