"""What a pool says while it has too few live workers, and when: pure words and numbers, no Ray and no clock here."""

from collections.abc import Sequence
from dataclasses import dataclass

from render_workers.pool_options import PoolOptions

SAY_AFTER_S = 15.0


@dataclass(frozen=True)
class Outage:
    """A pool that has too few live workers to go on.

    Attributes:
        seconds: how long the pool has had too few workers.
        live: workers that are live.
        starting: workers that are starting.
        gone: hosts that held workers and have left the cluster.
        silent: hosts that held workers and are in the cluster, still or again, without a live one.
    """

    seconds: float
    live: int
    starting: int
    gone: Sequence[str] = ()
    silent: Sequence[str] = ()

    def text(self, options: PoolOptions) -> str:
        """What is wrong, how long the run waits, what to do."""
        hosts = [(self.gone, "left the cluster"), (self.silent, "are in it without a live actor")]
        lost = [f"{', '.join(names)} {what}" for names, what in hosts if names]
        left = max(0.0, options.start_timeout_s - self.seconds)
        return (
            f"too few render actors for {self.seconds:.0f} s: {self.live} of {options.actors} are live, "
            f"{self.starting} are starting, at least {options.min_actors} must be live"
            + (f"; of the hosts that held actors {'; '.join(lost)}" if lost else "")
            + f"\n  the run waits {left:.0f} s more, then it ends (render.start_timeout_s)\n"
            "  what to do: start Ray on these hosts again. The hosts of cluster.yaml do so by themselves; on others "
            "python -m dg.cluster.rejoin keeps it running"
        )


class OutageLog:
    """Decides which moments of an outage are worth a line: when it has lasted `SAY_AFTER_S`, and its end."""

    def __init__(self) -> None:
        self._longest = 0.0

    def began(self, seconds: float) -> bool:
        """Return whether to say now that there are too few workers.

        Args:
            seconds: how long there have been too few; 0 while there are enough.
        """
        first = self._longest == 0.0 and seconds >= SAY_AFTER_S
        if first or self._longest:
            self._longest = max(self._longest, seconds)
        return first

    def ended(self, seconds: float) -> float:
        """How long the outage lasted, said once, when there are enough workers again; else 0."""
        if seconds > 0 or not self._longest:
            return 0.0
        lasted, self._longest = self._longest, 0.0
        return lasted
