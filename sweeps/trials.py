"""What a sweep's driver asks of a trial, and what it gets: the seam between Optuna and whatever trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from sweeps.space import Value


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run. `folder` is a name below the sweep's own folder."""

    number: int
    params: Mapping[str, Value]
    folder: str
    retry_of: int | None = None

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.params.items())


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended: with a value for each objective, or with an error.

    facts: JSON-like, kept with the trial. settled: the same settings would fail again, so it is not retried.
    fatal: the exit code of a failure that every trial would meet; the sweep ends. pruned_at: epoch at which the driver
    gave it up.
    """

    values: tuple[float, ...] | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    settled: bool = False
    fatal: int | None = None
    pruned_at: int | None = None

    @property
    def state(self) -> str:
        """As Optuna calls it."""
        return "COMPLETE" if self.values is not None else "FAIL" if self.pruned_at is None else "PRUNED"


@runtime_checkable
class RunningTrial(Protocol):
    """A trial under way. `warm`: others that start now find what it has already put into a shared cache."""

    @property
    def warm(self) -> bool: ...

    def poll(self) -> TrialOutcome | None:
        """None while it runs. Does not block."""
        ...

    def curve(self) -> Sequence[tuple[int, float]]:
        """The objective at each epoch that was evaluated so far, as far as a decision to prune may rest on it."""
        ...

    def stop(self, at_once: bool = False) -> None:
        """Ask it to checkpoint and end, or end it now; `poll` tells when it has."""
        ...


class RefusedTrial:
    """A trial whose settings dg.train does not take together: it fails without having run."""

    warm = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def poll(self) -> TrialOutcome | None:
        return TrialOutcome(None, {}, self.reason, settled=True)

    def curve(self) -> Sequence[tuple[int, float]]:
        return ()

    def stop(self, at_once: bool = False) -> None:
        """It does not run."""


@dataclass(frozen=True)
class Hooks:
    """What the driver calls: `start` begins a trial, `stop_orphan` ends what a dead driver left running of one that is
    now FAIL, or PRUNED at an epoch.
    """

    start: Callable[[TrialRequest], RunningTrial]
    stop_orphan: Callable[[TrialRequest, int | None], None] = lambda request, pruned_at: None
    started: Callable[[TrialRequest], None] = lambda request: None
    ended: Callable[[TrialRequest, TrialOutcome], None] = lambda request, outcome: None
