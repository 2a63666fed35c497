"""Optimiser steps whose gradient is not a number are left out and counted; ten in a row end the run (SYSTEMS 7.1, R9).

One such step would make every weight not a number for ever.
"""

import torch
from torch import Tensor

from dg.methods.light_steps import step
from dg.settings.errors import DIVERGED

PATIENCE = 10
LOOK_EVERY = 20


class DivergedError(RuntimeError):
    """Training does not give numbers any more. Exit code 5."""

    exit_code = DIVERGED


class FiniteSteps:
    """Makes optimiser steps, and leaves out those along gradients that are no numbers.

    Args:
        deferred: for a GPU: leave a step out there, and look only every `LOOK_EVERY` steps how many were, since each
            look waits for the device. The weights are the same; the end of the run comes so many steps later.

    Attributes:
        in_a_row: steps left out of each network since its last good one.
    """

    def __init__(self, deferred: bool = False) -> None:
        self.deferred = deferred
        self.in_a_row: dict[str, int] = {}
        self._skipped = 0
        self._waiting: list[tuple[str, Tensor]] = []

    @property
    def skipped(self) -> int:
        """Steps left out so far, of all networks of a run."""
        self.settle()
        return self._skipped

    def step(self, network: str, optimizer: torch.optim.Optimizer, norm: Tensor) -> Tensor | None:
        """Make one step of a network unless the norm of its gradients is not finite.

        Args:
            network: name of the network.
            optimizer: its optimiser, with the gradients at hand.
            norm: norm of the gradients.

        Returns:
            None, or where the device decides 1 if the step was left out and else 0, for `later`.

        Raises:
            DivergedError: when a step is left out for the `PATIENCE`th time in a row.
        """
        finite = torch.isfinite(norm)
        fused = all(group.get("fused") for group in optimizer.param_groups)
        # The state of an optimiser is made in its first step, before which it cannot be put back.
        if not self.deferred or not (fused or optimizer.state):
            self.settle()
            if self._count(network, bool(finite)):
                step(optimizer)
            return None
        left_out = (~finite).float()
        if not fused:
            _step_where(finite, optimizer)
            return left_out
        # PyTorch's own interface to gradient scalers: fused kernels read it on the device, and change nothing.
        optimizer.grad_scale, optimizer.found_inf = None, left_out  # type: ignore[attr-defined]
        step(optimizer)
        return left_out

    def later(self, network: str, left_out: Tensor) -> None:
        """Take what `step` returned, to be counted later. Raises DivergedError as `step` does.

        Args:
            network: name of the network.
            left_out: 1 if its step was left out, else 0, on the device.
        """
        self._waiting.append((network, left_out))
        if len(self._waiting) >= LOOK_EVERY:
            self.settle()

    def settle(self) -> None:
        """Count the steps that were not looked at yet. Raises DivergedError as `step` does."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            for (network, _), left_out in zip(waiting, torch.stack([f for _, f in waiting]).tolist(), strict=True):
                self._count(network, not left_out)

    def _count(self, network: str, finite: bool) -> bool:
        """Whether the network may step."""
        if finite:
            self.in_a_row[network] = 0
            return True
        self._skipped += 1
        self.in_a_row[network] = self.in_a_row.get(network, 0) + 1
        if self.in_a_row[network] >= PATIENCE:
            raise DivergedError(
                f"the gradient of {network} is not a number, {PATIENCE} steps in a row; lower lr, or look at the data "
                "that the batch below came from"
            )
        return False

    def state_dict(self) -> dict[str, object]:
        """Return the counts for a checkpoint."""
        return {"skipped": self.skipped, "in_a_row": dict(self.in_a_row)}

    def load_state_dict(self, state: dict) -> None:
        """Restore the counts from what `state_dict` returned."""
        self._waiting.clear()
        self._skipped, self.in_a_row = state["skipped"], dict(state["in_a_row"])


@torch.no_grad()
def _step_where(finite: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Make a step, and put all back as it was if the device finds that the gradients are no numbers."""
    changed = [p for group in optimizer.param_groups for p in group["params"]]
    changed += [t for slots in optimizer.state.values() for t in slots.values() if torch.is_tensor(t)]
    changed = [t for t in changed if t.device == finite.device]  # what counts steps on the host decides nothing
    before = [t.clone() for t in changed]
    step(optimizer)
    for tensor, value in zip(changed, before, strict=True):
        tensor.copy_(torch.where(finite, tensor, value))
