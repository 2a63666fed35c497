"""Requests in a pool: waiting, tried again, halved down to the pose that is at fault, counted.

    piece:  QUEUED -> IN_FLIGHT -> DONE
              ^           | the worker died (front of the queue) or raised (back of the queue, another worker)
              +-----------+--> budget spent: SPLIT into halves, or QUARANTINED if it is a single pose

A request is one piece until it fails too often; its halves carry on as pieces of the same request.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from render_workers.base import Ledger, RenderAnswer
from render_workers.pool_options import PoolOptions, QuarantineError

Rows = tuple[int, ...]


class PieceState(Enum):
    """The state of a piece; the module's docstring shows the transitions."""

    QUEUED = auto()
    IN_FLIGHT = auto()
    DONE = auto()
    SPLIT = auto()
    QUARANTINED = auto()


@dataclass(eq=False)
class Piece:
    """Rows [start, stop) of a request.

    Attributes:
        avoid: the slot where it failed last.
        alone: whether it was aboard when a worker died, so it travels with no other piece from then on; else an
            innocent neighbour could be blamed.
        lent: whether it was given to another worker while the first one was silent.
    """

    request: int
    start: int
    stop: int
    state: PieceState = PieceState.QUEUED
    slot: int | None = None
    avoid: int | None = None
    app_tries: int = 0
    infra_tries: int = 0
    alone: bool = False
    lent: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    def is_at(self, slot: int) -> bool:
        """Return whether the worker in `slot` holds the piece."""
        return self.state is PieceState.IN_FLIGHT and self.slot == slot


@dataclass(frozen=True)
class Quarantined:
    """A row of a request that was given up: its number, the attempts made, and the last error."""

    row: int
    tries: int
    error: str


@dataclass
class Resolved:
    """A request, complete when each of its rows has an answer or is quarantined (missing == 0)."""

    request: int
    missing: int
    answers: list[tuple[Piece, RenderAnswer]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)


class RequestBook:
    """The queue, the budgets and the ledger.

    Attributes:
        resolved: complete requests that nobody has taken yet.
    """

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self.ledger = Ledger()
        self.queue: deque[Piece] = deque()
        self.resolved: list[Resolved] = []
        self.failure: QuarantineError | None = None
        self._open: dict[int, Resolved] = {}
        self._submitted = 0

    def submit(self, poses: int) -> int:
        """A new request; returns its number."""
        if poses < 1:
            raise ValueError(f"a request needs at least one pose, got {poses}")
        request, self._submitted = self._submitted, self._submitted + 1
        self._open[request] = Resolved(request, missing=poses)
        self.ledger.submitted += poses
        self.queue.append(Piece(request, 0, poses))
        return request

    def sent(self, piece: Piece, slot: int) -> None:
        """Take a piece out of the queue and note the slot whose worker it was sent to."""
        self.queue.remove(piece)
        piece.state, piece.slot = PieceState.IN_FLIGHT, slot

    def answered(self, piece: Piece, answer: RenderAnswer, invalid: Rows) -> None:
        """The first answer of a piece counts, from wherever it comes.

        Args:
            piece: the piece that was answered.
            answer: the worker's answer.
            invalid: rows of the request without a value.
        """
        if piece.state not in (PieceState.QUEUED, PieceState.IN_FLIGHT):
            self.ledger.duplicates += len(piece)
            return
        if piece.state is PieceState.QUEUED:
            self.queue.remove(piece)
        piece.state, piece.slot = PieceState.DONE, None
        request = self._open[piece.request]
        request.answers.append((piece, answer))
        for row in invalid:
            self._quarantine(request, Quarantined(row, piece.app_tries + 1, "the worker's answer is not finite"))
        good = len(piece) - len(invalid)
        self.ledger.done += good
        self._account(request, good)

    def raised(self, piece: Piece, error: str) -> None:
        """The worker's code failed on this piece."""
        piece.app_tries += 1
        if piece.app_tries >= self.options.max_app_tries:
            self._split(piece, error)
        else:
            self._requeue(piece, front=False)

    def lost(self, piece: Piece, error: str, charge: bool) -> None:
        """The piece went down with its worker, or on the way.

        Args:
            piece: the piece.
            error: what happened, as text.
            charge: whether it may be the cause.
        """
        piece.infra_tries += charge
        if piece.infra_tries >= self.options.max_infra_tries:
            self._split(piece, error)
        else:
            self._requeue(piece, front=True)

    def _requeue(self, piece: Piece, front: bool) -> None:
        piece.state, piece.avoid, piece.slot = PieceState.QUEUED, piece.slot, None
        self.ledger.retried += len(piece)
        if front:
            self.queue.appendleft(piece)
        else:
            self.queue.append(piece)

    def _split(self, piece: Piece, error: str) -> None:
        """Halve a piece that spent its budget; a single pose is quarantined.

        Halves get one try, as the whole was bad already; single poses get two, so that an accident during the search
        does not cost an innocent pose.
        """
        piece.slot = None
        if len(piece) == 1:
            piece.state = PieceState.QUARANTINED
            pose = Quarantined(piece.start, piece.app_tries + piece.infra_tries, error)
            self._quarantine(self._open[piece.request], pose)
            return
        piece.state = PieceState.SPLIT
        self.ledger.retried += len(piece)
        middle = (piece.start + piece.stop) // 2
        for start, stop in ((middle, piece.stop), (piece.start, middle)):
            half = Piece(piece.request, start, stop, alone=piece.alone)
            tries = 2 if len(half) == 1 else 1
            half.app_tries = min(piece.app_tries, max(0, self.options.max_app_tries - tries))
            half.infra_tries = min(piece.infra_tries, max(0, self.options.max_infra_tries - tries))
            self.queue.appendleft(half)

    def _quarantine(self, request: Resolved, pose: Quarantined) -> None:
        request.quarantined.append(pose)
        self.ledger.quarantined += 1
        self._account(request, 1)
        limit = self.options.quarantine_limit(self.ledger.submitted)
        if self.ledger.quarantined > limit and self.failure is None:
            self.failure = QuarantineError(
                f"{self.ledger.quarantined} of {self.ledger.submitted} poses could not be rendered, allowed are "
                f"{limit:g} (render.max_quarantine={self.options.max_quarantine:g}); the last one, row {pose.row} "
                f"of request {request.request}, failed {pose.tries} times:\n{pose.error}\n"
                "what to do: mend the cause above; raise render.max_quarantine only if the poses are odd indeed"
            )

    def _account(self, request: Resolved, poses: int) -> None:
        request.missing -= poses
        if poses and request.missing == 0:
            self.resolved.append(self._open.pop(request.request))
