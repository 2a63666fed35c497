"""Settings of a render pool, and the ways in which it gives up."""

from dataclasses import dataclass

from dg.settings.errors import QUARANTINED, RESOURCES

# Below this many quarantined poses a ratio says nothing: one bad pose in the first batch is not a systematic bug.
QUARANTINE_FLOOR = 10


@dataclass(frozen=True)
class PoolOptions:
    """How many workers, how hard to try, when to give up (SYSTEMS 2.4).

    Attributes:
        actors: workers asked for at the start.
        min_actors: the first request is handed out once so many are live.
        max_actors: how many the pool may grow to where it finds room; None (auto): as many as there is room for in a
            cluster that the run `joined`, else `actors`.
        joined: whether the cluster is not the run's own.
        per_actor: requests held by a worker, one running and the others staged.
        max_backlog: requests that wait before `submit` blocks; None: 4 x workers.
        max_quarantine: 1 or more is a number of poses; below 1 it is a ratio of `epoch_poses` (of the poses submitted
            so far where that is 0), of which ten are always forgiven; 0 forgives none.
        watchdog_s: silence of a working worker after which it is replaced; None: max(30 s, 10 x p95).
        resource_patience_s: how long a cluster may lack the resources asked for before the run has started; where an
            autoscaler can still bring them, and later on, it is `start_timeout_s`.

    Raises:
        ValueError: values out of range.
    """

    actors: int = 2
    min_actors: int = 1
    max_actors: int | None = None
    joined: bool = False
    per_actor: int = 2
    max_backlog: int | None = None
    max_infra_tries: int = 8
    max_app_tries: int = 2
    watchdog_s: float | None = None
    start_timeout_s: float = 300.0
    resource_patience_s: float = 45.0
    gpus_per_actor: float = 0.0
    cpus_per_actor: float = 1.0
    max_quarantine: float = 1e-4
    epoch_poses: int = 0

    def __post_init__(self) -> None:
        counts = ("actors", "min_actors", "per_actor", "max_infra_tries", "max_app_tries")
        bad = [f"{name} must be at least 1, got {getattr(self, name)!r}" for name in counts if getattr(self, name) < 1]
        if self.min_actors > self.actors:
            bad.append(f"min_actors must be at most actors={self.actors}, got {self.min_actors}")
        if self.max_actors is not None and self.max_actors < self.actors:
            bad.append(f"max_actors must be at least actors={self.actors} or None, got {self.max_actors!r}")
        if self.max_backlog is not None and self.max_backlog < 1:
            bad.append(f"max_backlog must be at least 1 or None, got {self.max_backlog!r}")
        if self.max_quarantine < 0 or self.gpus_per_actor < 0 or self.cpus_per_actor < 0:
            bad.append("max_quarantine, gpus_per_actor and cpus_per_actor must not be negative")
        if bad:
            raise ValueError("render pool: " + "; ".join(bad))

    @property
    def most_actors(self) -> float:
        """Workers that the pool never exceeds; infinite where only the room limits it."""
        if self.max_actors is not None:
            return self.max_actors
        return float("inf") if self.joined else self.actors

    @property
    def ask(self) -> dict[str, float]:
        """What one worker takes of a node."""
        ask = {"CPU": self.cpus_per_actor, "GPU": self.gpus_per_actor}
        return {name: amount for name, amount in ask.items() if amount > 0}

    def backlog_limit(self, workers: int) -> int:
        """Requests that may wait in a pool of so many workers."""
        return self.max_backlog or 4 * workers

    def quarantine_limit(self, submitted: int) -> float:
        """Poses that may be quarantined before the run stops."""
        if self.max_quarantine >= 1 or self.max_quarantine == 0:
            return self.max_quarantine
        return max(QUARANTINE_FLOOR, self.max_quarantine * (self.epoch_poses or submitted))


class PoolFailure(RuntimeError):  # noqa: N818 - a state of the pool, and the base of its errors
    """The pool cannot go on: its message holds cause, evidence and remedy."""

    exit_code = RESOURCES


class WorkerStartError(PoolFailure):
    """Workers cannot be built; the message ends with the worker's own traceback."""


class QuarantineError(PoolFailure):
    """More poses failed than `max_quarantine` allows: a systematic fault, not a few odd poses."""

    exit_code = QUARANTINED


class ResourceError(PoolFailure):
    """The cluster does not have what was asked for."""
