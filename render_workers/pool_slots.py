"""The places of workers in a pool, and the commands that `PoolCore` gives about them."""

from dataclasses import dataclass, field
from enum import Enum, auto

from render_workers.pool_requests import Piece, Resolved


class SlotState(Enum):
    PENDING = auto()
    LIVE = auto()
    SUSPECT = auto()
    DEAD = auto()
    INIT_FAILED = auto()


@dataclass(eq=False)
class Slot:
    """The place of one worker. in_flight: oldest first. progress: when it last finished something, or got work after
    idling.
    """

    id: int
    since: float
    state: SlotState = SlotState.PENDING
    progress: float = 0.0
    in_flight: list[Piece] = field(default_factory=list)
    probing: bool = False
    probed: float = 0.0


@dataclass(frozen=True)
class Spawn:
    slot: int


@dataclass(frozen=True)
class Kill:
    """Stop the worker, if it still runs, and forget its calls. request: what it was on; reason: empty if it is merely
    one too many.
    """

    slot: int
    reason: str
    request: int | None = None


@dataclass(frozen=True)
class Probe:
    slot: int


@dataclass(frozen=True)
class Dispatch:
    slot: int
    piece: Piece


Command = Spawn | Kill | Probe | Dispatch | Resolved
