"""A run on a cluster, as its status file shows it: what the tests wait for, and at what rate answers come."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.cluster.started import wait_for


@dataclass(frozen=True)
class Rate:
    """Poses that were rendered in so many seconds."""

    poses: float
    seconds: float

    @property
    def poses_per_s(self) -> float:
        return self.poses / self.seconds


class RunWatch:
    """Reads `status.json`, which a run writes every three seconds. out: its folder. job, log: what follows the run."""

    def __init__(self, out: Path, job: "subprocess.Popen[bytes]", log: Path) -> None:
        self.out, self.job, self.log = out, job, log
        self._seen: list[tuple[float, float]] = []  # moments at which answers had come, and how many

    def status(self) -> dict[str, Any]:
        """As of at most three seconds ago. Raises AssertionError when the run has ended."""
        assert self.job.poll() is None, f"the run ended early:\n{self.log.read_text()[-5000:]}"
        try:
            status = json.loads((self.out / "status.json").read_text())
        except FileNotFoundError:
            return {}
        done = status["pool"].get("done", 0)
        if not self._seen or done > self._seen[-1][1]:
            self._seen.append((status["updated"], done))
        return status

    def pool(self, name: str) -> float:
        return self.status().get("pool", {}).get(name, 0)

    def live(self) -> int:
        return int(self.pool("live"))

    def trained(self) -> int:
        return int(self.status().get("lifter_steps", 0))

    def last_error(self) -> str:
        return self.status().get("last_error", "")

    def until(self, what: Callable[[], object], seconds: float, doing: str) -> None:
        """Wait for something to be so in this run."""

        def found() -> object:
            self.status()
            return what()

        try:
            wait_for(found, seconds, doing)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\n{json.dumps(self.status(), indent=1)}\n{self.log.read_text()[-3000:]}"
            ) from None

    def forget(self) -> None:
        """Count gaps from now on."""
        self._seen.clear()
        self.status()

    def longest_gap(self) -> float:
        """Seconds without an answer, the most since `forget`, as far as the file tells it, within 3 s."""
        self.status()
        times = [when for when, _ in self._seen]
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def rate(self, seconds: float) -> Rate:
        """Poses a second over at least so many seconds, from one writing of the file to another."""
        first = self._written()
        time.sleep(seconds)
        last = self._written()
        return Rate(last[1] - first[1], last[0] - first[0])

    def _written(self) -> tuple[float, float]:
        """When the file was written next, and the poses rendered by then."""
        before = self.status().get("updated")
        wait_for(lambda: self.status().get("updated") != before, 30, "newer status")
        status = self.status()
        return status["updated"], status["pool"]["done"]
