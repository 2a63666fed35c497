"""What a render pool counts besides poses: deaths, memory troubles, latencies; pure numbers for progress and status."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from render_workers.pool_slots import Slot

LATENCIES_KEPT = 256
HOST_OOMS_FORGIVEN = 1


@dataclass
class PoolFigures:
    """deaths: workers that went down by themselves. preempted: workers whose node was taken away on notice. halvings:
    how often a worker halved its micro-batch. host_ooms: by node, workers that died because its memory ran out.
    """

    deaths: int = 0
    preempted: int = 0
    halvings: float = 0.0
    host_ooms: Counter[str] = field(default_factory=Counter)
    last_error: str = ""
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    def answered(self, slot: Slot | None, seconds: float, stats: Mapping[str, float]) -> None:
        """An answer came. seconds: the worker's own time; stats: as in `RenderAnswer`."""
        self._seconds.append(seconds)
        if slot is not None and "micro_batch" in stats:
            slot.micro_batch = stats["micro_batch"]
            self.halvings += max(0.0, stats.get("oom_halvings", 0.0) - slot.halvings)
            slot.halvings = stats.get("oom_halvings", 0.0)

    def latency_s(self, quantile: float) -> float:
        """Time of a worker on a piece, over the last ones; 0 before the first."""
        return sorted(self._seconds)[int(quantile * (len(self._seconds) - 1))] if self._seconds else 0.0

    def is_cramped(self, node: str) -> bool:
        """Whether the memory of a node ran out repeatedly (SYSTEMS 2.3)."""
        return self.host_ooms[node] > HOST_OOMS_FORGIVEN
