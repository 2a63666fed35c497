"""Means of scalars over many steps, without waiting for the device at each of them."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class RunningMeans:
    """The mean of each scalar since the last `clear`, of those values that are finite.

    A step that was left out has values that are no numbers, and says nothing of the others.
    """

    def __init__(self) -> None:
        self.updates = 0
        self._waiting: list[tuple[str, Tensor]] = []
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Take the scalars of one step; they stay on their device until somebody asks."""
        self.updates += 1
        self._waiting += scalars.items()

    def means(self) -> dict[str, float]:
        """Return the mean by name, in order of names; NaN where no value was finite. Waits for the device once."""
        if self._waiting:
            values = torch.stack([value.detach().float() for _, value in self._waiting]).tolist()
            for (name, _), value in zip(self._waiting, values, strict=True):
                total, count = self._sums.get(name, (0.0, 0))
                fine = math.isfinite(value)
                self._sums[name] = (total + value, count + 1) if fine else (total, count)
            self._waiting.clear()
        return {name: total / count if count else math.nan for name, (total, count) in sorted(self._sums.items())}

    def clear(self) -> None:
        """Begin anew."""
        self.updates = 0
        self._waiting.clear()
        self._sums.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers, for a checkpoint."""
        self.means()
        return {"updates": self.updates, "sums": {name: list(pair) for name, pair in self._sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.clear()
        self.updates = state["updates"]
        self._sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
