"""The places of workers in a pool, and the commands that `PoolCore` gives about them."""

from dataclasses import dataclass, field
from enum import Enum, auto

from render_workers.pool_requests import Piece, Resolved


class SlotState(Enum):
    """The state of a worker's place; DRAINING gets no more work and goes when it has finished what it holds."""

    PENDING = auto()
    LIVE = auto()
    SUSPECT = auto()
    DRAINING = auto()
    DEAD = auto()
    INIT_FAILED = auto()


@dataclass(eq=False)
class Slot:
    """The place of one worker.

    Attributes:
        in_flight: pieces that it holds, oldest first.
        progress: when it last finished something, or got work after idling.
        node: where its process runs; empty while it has none.
        leaving: whether that node is being taken away.
        silent: whether it holds work and has not answered for unusually long.
        micro_batch: poses that it draws at once, by its last answer (`RenderWorker.depth`).
        halvings: how often it has halved its micro-batch, by its last answer.
    """

    id: int
    since: float
    state: SlotState = SlotState.PENDING
    progress: float = 0.0
    in_flight: list[Piece] = field(default_factory=list)
    probing: bool = False
    probed: float = 0.0
    node: str = ""
    leaving: bool = False
    silent: bool = False
    micro_batch: float = 0.0
    halvings: float = 0.0


def dispensable(slot: Slot) -> tuple[bool, bool, int, int]:
    """Sorts first whom a smaller pool misses least: not started, idle, young."""
    return slot.state is SlotState.LIVE, bool(slot.node), len(slot.in_flight), -slot.id


@dataclass(frozen=True)
class Spawn:
    """Start a worker for the slot."""

    slot: int


@dataclass(frozen=True)
class Kill:
    """Stop the worker, if it still runs, and forget its calls.

    Attributes:
        request: number of the request that it was working on.
        reason: why it is stopped; empty if it is merely one too many.
    """

    slot: int
    reason: str
    request: int | None = None


@dataclass(frozen=True)
class Probe:
    """Ask the slot's worker whether it is alive."""

    slot: int


@dataclass(frozen=True)
class Dispatch:
    """Send a piece of a request to the slot's worker."""

    slot: int
    piece: Piece


Command = Spawn | Kill | Probe | Dispatch | Resolved
