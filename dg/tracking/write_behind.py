"""Records that reach a store in order and later, so that a slow or dead store never holds up training.

A thread takes records from a bounded queue. While the store is away they go to a JSON-lines file, the spool, and from
there to the store when it is back, also in a later process. Delivery may happen twice after a crash, so it must be
harmless to repeat.
"""

import contextlib
import json
import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_logger = logging.getLogger(__name__)
_TRIES = 3

Record = dict[str, Any]


class WriteBehind:
    """Hands records (JSON-like dicts) to `deliver` in its own thread.

    deliver raises on failure; `reachable` then tells an outage (the record waits in the spool) from a record that
    the store refuses (after three tries it goes to `<spool>.rejected`). idle is called about every `idle_s` seconds.
    """

    def __init__(
        self,
        deliver: Callable[[Record], None],
        reachable: Callable[[], bool],
        spool: Path,
        idle: Callable[[], None] = lambda: None,
        capacity: int = 1000,
        retry_s: float = 15.0,
        idle_s: float = 60.0,
        pause_s: float = 0.5,
    ) -> None:
        self._deliver, self._reachable, self._idle = deliver, reachable, idle
        self.spool, self._retry_s, self._idle_s, self._pause_s = spool, retry_s, idle_s, pause_s
        self._queue: queue.Queue[Record | threading.Event | None] = queue.Queue(capacity)
        self._lock = threading.Lock()
        self._next_try = self._next_idle = 0.0
        self.waiting = len(self._lines())
        self.rejected = 0
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def put(self, record: Record) -> None:
        """Never waits and never raises: with a full queue the record goes to the spool."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._keep(record)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all records put so far are settled; False where some still wait in the queue or the spool.

        During a known outage it waits at most one second.
        """
        done = threading.Event()
        end = time.monotonic() + (min(timeout_s, 1.0) if self.waiting and self._next_try else timeout_s)
        with contextlib.suppress(queue.Full):
            self._queue.put(done, timeout=max(end - time.monotonic(), 0.0))
        return done.wait(max(end - time.monotonic(), 0.0)) and not self.waiting

    def close(self, timeout_s: float) -> bool:
        """One last try to deliver everything, then end the thread; what is left stays in the spool."""
        self._next_try = 0.0
        delivered = self.flush(timeout_s)
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=1.0)
        self._thread.join(timeout=1.0)
        if not delivered:
            _logger.warning("the tracking store is away; %s records wait in %s", self.waiting, self.spool)
        return delivered

    def _work(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=self._idle_s)
            except queue.Empty:
                item = threading.Event()  # a wake-up with nothing to do but to replay
            if item is None:
                return
            if isinstance(item, threading.Event):
                self._replay()
                item.set()
            elif not (self._replay() and self._send(item)):
                self._keep(item)
            self._rest()

    def _rest(self) -> None:
        if time.monotonic() >= self._next_idle and not self.waiting:
            self._next_idle = time.monotonic() + self._idle_s
            with contextlib.suppress(Exception):
                self._idle()

    def _send(self, record: Record) -> bool:
        """True when the record is settled: delivered, or refused by a store that is there."""
        error = Exception("no attempt made")
        for attempt in range(_TRIES):
            try:
                self._deliver(record)
                return True
            except Exception as failure:
                error = failure
            if not self._is_reachable():
                _logger.warning("tracking store away (%s); keeping records in %s", error, self.spool)
                self._next_try = time.monotonic() + self._retry_s
                return False
            time.sleep(self._pause_s * attempt)
        self.rejected += 1
        _logger.warning("the tracking store refuses a record of kind %s: %s", record.get("kind"), error)
        with self.spool.with_name(self.spool.name + ".rejected").open("a") as file:
            file.write(json.dumps(record | {"error": str(error)}) + "\n")
        return True

    def _is_reachable(self) -> bool:
        try:
            return self._reachable()
        except Exception:
            return False

    def _replay(self) -> bool:
        """Deliver the spool in order; True when nothing of it is left. Tries once every `retry_s` seconds."""
        if not self.waiting:
            return True
        if time.monotonic() < self._next_try:
            return False
        for line in self._lines():
            try:
                record = json.loads(line)
            except ValueError:
                _logger.warning("skipping a torn line in %s", self.spool)
                record = None
            if record is not None and not self._send(record):
                return False
            self._drop_first()
        return not self.waiting

    def _keep(self, record: Record) -> None:
        with self._lock:
            self.spool.parent.mkdir(parents=True, exist_ok=True)
            with self.spool.open("a") as file:
                file.write(json.dumps(record) + "\n")
            self.waiting += 1

    def _lines(self) -> list[str]:
        return self.spool.read_text().splitlines() if self.spool.is_file() else []

    def _drop_first(self) -> None:
        with self._lock:
            rest = self._lines()[1:]
            fresh = self.spool.with_name(self.spool.name + ".new")
            fresh.write_text("".join(line + "\n" for line in rest))
            fresh.replace(self.spool)
            self.waiting = len(rest)
            if not rest:
                self.spool.unlink()
