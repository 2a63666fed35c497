"""What a render pool counts besides poses: deaths, memory troubles, latencies; pure numbers for progress and status."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from render_workers.pool_slots import Slot

LATENCIES_KEPT = 256
HOST_OOMS_FORGIVEN = 1


class _Latest:
    """The latest of many numbers, sorted once for all that is asked between two of them."""

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=LATENCIES_KEPT)
        self._sorted: list[float] | None = None

    def add(self, value: float) -> None:
        self.values.append(value)
        self._sorted = None

    def quantile(self, quantile: float) -> float:
        if self._sorted is None:
            self._sorted = sorted(self.values)
        return self._sorted[int(quantile * (len(self._sorted) - 1))] if self._sorted else 0.0


@dataclass
class PoolFigures:
    """Counts of what happened to a pool's workers.

    Attributes:
        deaths: workers that went down by themselves.
        preempted: workers whose node was taken away on notice.
        halvings: how often a worker halved its micro-batch.
        host_ooms: node -> workers that died because its memory ran out.
    """

    deaths: int = 0
    preempted: int = 0
    halvings: float = 0.0
    host_ooms: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    _seconds: _Latest = field(default_factory=_Latest)
    _seconds_a_pose: _Latest = field(default_factory=_Latest)

    def answered(self, slot: Slot | None, seconds: float, stats: Mapping[str, float], poses: int = 1) -> None:
        """Take note of a worker's answer.

        Args:
            slot: slot of the worker; None where it is no longer there.
            seconds: time that the worker took, as it says.
            stats: as in `RenderAnswer`.
            poses: number of poses.
        """
        self._seconds.add(seconds)
        self._seconds_a_pose.add(seconds / max(1, poses))
        if slot is not None and "micro_batch" in stats:
            slot.micro_batch = stats["micro_batch"]
            self.halvings += max(0.0, stats.get("oom_halvings", 0.0) - slot.halvings)
            slot.halvings = stats.get("oom_halvings", 0.0)

    def latency_s(self, quantile: float) -> float:
        """Time of a worker on a piece, over the last ones; 0 before the first."""
        return self._seconds.quantile(quantile)

    def usual_s(self, poses: int) -> float:
        """Time that a piece of so many poses may well take: as long as most pieces, or as its size suggests; infinite
        before the first answer.
        """
        if not self._seconds.values:
            return float("inf")
        return max(self.latency_s(0.95), poses * self._seconds_a_pose.quantile(0.5))

    def is_cramped(self, node: str) -> bool:
        """Whether the memory of a node ran out repeatedly (SYSTEMS 2.3)."""
        return self.host_ooms[node] > HOST_OOMS_FORGIVEN
