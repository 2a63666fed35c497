"""Whether a Ray cluster's control store still answers. Ray itself waits a minute and then ends the process."""

import socket
import time

from render_workers.pool_options import PoolFailure

LOOK_EVERY_S = 1.0
ANSWER_S = 1.0
LOST_AFTER_S = 5.0


class ClusterLostError(PoolFailure):
    """The cluster's control store has gone while the run was going on."""


class StoreWatch:
    """Looks at the store's port every second.

    Args:
        address: HOST:PORT of the control store; empty: nothing is looked at.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._place = (host.strip("[]"), int(port)) if host and port.isdecimal() else None
        self._looked = 0.0
        self._silent_since: float | None = None

    def lost(self) -> bool:
        """Whether the store has been silent for five seconds. Looks now, if the last look is a second old."""
        now = time.monotonic()
        if self._place is not None and now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._silent_since = None if _answers(self._place) else self._silent_since or now
        return self._silent_since is not None and now - self._silent_since >= LOST_AFTER_S


def _answers(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=ANSWER_S).close()
    except OSError:
        return False
    return True
