"""What a run is doing, kept as a small file in its folder while it runs, for `dg.status`."""

import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dg.files.atomic import replace_file
from dg.settings.config import RunInfo, TrainConfig

STATUS = "status.json"
WRITE_S = 3.0
RATE_S = 15.0  # span over which rates are taken
SILENT_S = 30.0  # a run that has not written for so long is taken for dead where its process cannot be looked up
STARTING, TRAINING, DONE, INTERRUPTED, FAILED = "starting", "training", "done", "interrupted", "failed"
ENDED = (DONE, INTERRUPTED, FAILED)

Numbers = dict[str, float]


class RunStatus:
    """Gathers a run's state from its progress records.

    Args:
        pool: numbers of the render pool and the last error in it.
    """

    def __init__(self, config: TrainConfig, info: RunInfo, pool: Callable[[], tuple[Numbers, str]]) -> None:
        self._pool, self._batch_size = pool, config.batch_size
        self._state: dict[str, Any] = {
            "run": info.run_name, "out": info.out, "what": info.note, "state": STARTING, "host": socket.gethostname(),
            "pid": os.getpid(), "started": time.time(), "tracking_uri": info.tracking_uri, "run_id": "", "error": "",
        }  # fmt: skip
        self._seen: deque[tuple[float, float, float]] = deque()

    def note(self, record: dict[str, Any]) -> None:
        """Take in a progress record of the trainer's."""
        if record["kind"] == "start":
            self._state |= {"state": TRAINING, "run_id": record["run_id"] or ""}
        if record["kind"] == "note":
            self._state["note"] = record["text"]
        if record["kind"] in ("step", "epoch"):
            wanted = ("lifter_steps", "total_steps", "epoch", "epochs", "loss", "run_id")
            self._state |= {name: record[name] for name in wanted if record.get(name) is not None}
            self._state.pop("note", None)

    def end(self, state: str, error: str = "") -> None:
        """Set the final state of the run, with the error that ended it where there was one."""
        self._state |= {"state": state, "error": error}

    @property
    def has_trained(self) -> bool:
        """Whether the run has begun its first steps."""
        return bool(self._state.get("lifter_steps"))

    def snapshot(self) -> dict[str, Any]:
        """Everything, as it is now."""
        numbers, last_error = self._pool()
        now = time.time()
        rates = self._rates(now, numbers)
        return self._state | {"updated": now, "pool": numbers, "last_error": last_error} | rates

    def _rates(self, now: float, pool: Numbers) -> Numbers:
        self._seen.append((now, pool.get("done", 0.0), self._state.get("lifter_steps", 0)))
        while len(self._seen) > 2 and now - self._seen[0][0] > RATE_S:
            self._seen.popleft()
        (then, rendered, steps), last = self._seen[0], self._seen[-1]
        span = max(now - then, 1e-6)
        if len(self._seen) < 2 or last[2] < steps:
            return {}
        return {
            "rendered_poses_per_s": (last[1] - rendered) / span,
            "trained_poses_per_s": (last[2] - steps) * self._batch_size / span,
        }


class StatusFile:
    """Writes `status.json` every few seconds from a thread of its own, and a last time when the run ends. A run that
    fails before it trains leaves none.
    """

    def __init__(self, status: RunStatus, folder: Path) -> None:
        self._status, self._path, self._ended = status, folder / STATUS, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "StatusFile":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._status.has_trained:
            self._write()
        else:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            self._write()
            if self._ended.wait(WRITE_S):
                return

    def _write(self) -> None:
        content = json.dumps(self._status.snapshot(), indent=1).encode()
        try:
            replace_file(self._path, lambda file: file.write(content))
        except OSError:  # a full disk must not end the run because of this file
            return


def read_status(folder: Path) -> dict[str, Any] | None:
    """What the file in a run's folder says, `state` being `dead` for a run that ended without a word; None without."""
    try:
        status = json.loads((folder / STATUS).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(status, dict) or "state" not in status:
        return None
    return status | ({"state": "dead"} if is_dead(status) else {})


def is_dead(status: dict[str, Any]) -> bool:
    """Whether the process that wrote it is gone though it said no last word."""
    if status["state"] in ENDED:
        return False
    if status["host"] != socket.gethostname():
        return time.time() - status["updated"] > SILENT_S
    return not _runs(status["pid"], status["started"])


def _runs(pid: int, started: float) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        # Not another's that was given the number later.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= started + 1
    except psutil.NoSuchProcess:
        return False
