"""What a render pool decides, without Ray, threads or a clock: events come in with their time, commands go out.

    slot:   PENDING -> LIVE <-> SUSPECT -> DEAD          PENDING -> INIT_FAILED
                        +--> DRAINING ----> DEAD, at the latest with its last answer

A worker may answer after it was given up: the first answer for a piece counts, later ones are counted as duplicates and
dropped, which is exact because rendering is a pure function of the request. Why Ray's own retries are not used, and
the traps behind each rule: SYSTEMS 2.1-2.3.
"""

from render_workers.base import RenderAnswer
from render_workers.pool_figures import PoolFigures
from render_workers.pool_options import PoolFailure, PoolOptions, WorkerStartError
from render_workers.pool_requests import Piece, RequestBook, Rows
from render_workers.pool_slots import Command, Dispatch, Kill, Probe, Slot, SlotState, Spawn, dispensable

PROBE_EVERY_S = 1.0
REPLACE_SUSPECT_AFTER_S = 5.0
WATCHDOG_FLOOR_S = 30.0
WATCHDOG_P95 = 10.0
START_BUDGET = 3
# A worker that has been silent for longer than both lends its work to idle ones. A host whose cable was pulled is
# declared dead by Ray after a minute, by the watchdog after half of one, and consumers wait in order.
LEND_AFTER_S = 5.0
LEND_TIMES = 4.0  # what its oldest piece usually takes
START_PAUSE_S = 30.0
WORKING = (SlotState.LIVE, SlotState.DRAINING)


class PoolCore:
    """The state machine. Call an event method for whatever happened, then `tick`, and carry out its commands.

    Attributes:
        lends: whether idle workers are given what a silent one holds.
    """

    def __init__(self, options: PoolOptions) -> None:
        self.options = options
        self.book = RequestBook(options)
        self.slots: dict[int, Slot] = {}
        self.failure: PoolFailure | None = None
        self.figures = PoolFigures()
        self.target = options.actors
        self.lends = True
        self.watchdog_s = options.watchdog_s or WATCHDOG_FLOOR_S
        self._commands: list[Command] = []
        self._spawned = self._start_failures = self._failures_paused_for = 0
        self._next_start = 0.0
        self._short_since: float | None = None
        self._begun = False

    def submit(self, poses: int) -> int:
        """A new request of so many poses; returns its number."""
        return self.book.submit(poses)

    def resize(self, target: int) -> None:
        """How many workers there are to be from now on, within `min_actors` and `max_actors`. What is too much goes:
        workers that have not started first, then idle ones, then busy ones when they have finished.
        """
        most = self.options.max_actors or target
        self.target = max(self.options.min_actors, min(most, target))

    def placed(self, slot_id: int, node: str) -> None:
        """The worker's process runs on that node."""
        if slot_id in self.slots:
            self.slots[slot_id].node = node

    def drain(self, slot_id: int) -> None:
        """The worker's node is being taken away: it gets no more work, and another one is started elsewhere."""
        slot = self.slots.get(slot_id)
        if slot is None or slot.leaving:
            return
        slot.leaving = True
        if slot.state is SlotState.SUSPECT:
            self._bury(slot, "out of reach, on a node that is being taken away", charge=False)
        else:
            self._retire(slot)

    def give_up(self, node: str) -> None:
        """Others need a place on that node: the worker there that is missed least goes, when it has finished."""
        here = [s for s in self.slots.values() if s.node == node and s.state in (SlotState.PENDING, SlotState.LIVE)]
        if here:
            self._retire(min(here, key=dispensable))

    def ready(self, slot_id: int, now: float) -> None:
        """The worker has been built, or a suspect has answered a probe."""
        slot = self.slots.get(slot_id)
        if slot is None or slot.state is SlotState.DRAINING:
            return
        if slot.state is SlotState.PENDING:
            self._start_failures = 0
        slot.state, slot.since, slot.progress, slot.probing = SlotState.LIVE, now, now, False

    def start_failed(self, slot_id: int, traceback: str) -> None:
        """The worker could not be built, or a suspect answered a probe with an error."""
        slot = self.slots.get(slot_id)
        if slot is None:
            return
        if slot.state is not SlotState.PENDING:
            self._bury(slot, traceback, charge=False)
            return
        self._remove(slot_id, SlotState.INIT_FAILED, f"it could not start:\n{traceback}")
        self._start_failures += 1
        budget = START_BUDGET * self.target
        # Where enough others work, one host that starts nothing (a full disk, say) is no reason to end the run.
        if self._start_failures >= budget and self.count(SlotState.LIVE) < self.options.min_actors:
            self.fail(
                WorkerStartError(
                    f"{budget} render workers in a row could not start; the last one said:\n{traceback}\n"
                    "what to do: mend the cause above; pool=local shows it in one process"
                )
            )

    def done(
        self, slot_id: int, piece: Piece, answer: RenderAnswer, now: float, seconds: float, invalid: Rows = ()
    ) -> None:
        """Take note of a worker's answer.

        Args:
            slot_id: number of the worker's slot.
            piece: the piece that was answered.
            answer: the worker's answer.
            now: time of the event, seconds.
            seconds: time that the worker took, as it says.
            invalid: rows of the request that it has no value for.
        """
        self._release(slot_id, piece, now)
        self.figures.answered(self.slots.get(slot_id), seconds, answer.stats, len(piece))
        self.book.answered(piece, answer, invalid)
        if self.options.watchdog_s is None:
            self.watchdog_s = max(WATCHDOG_FLOOR_S, WATCHDOG_P95 * self.figures.latency_s(0.95))

    def app_error(self, slot_id: int, piece: Piece, error: str, now: float) -> None:
        """The worker raised: once more on another one, then look for the poses that are at fault."""
        self.figures.last_error = error
        if self._release(slot_id, piece, now):
            self.book.raised(piece, error)

    def infra_error(self, slot_id: int, piece: Piece, error: str, now: float) -> None:
        """The call failed, not through the worker's code, and the worker lives."""
        self.figures.last_error = error
        if self._release(slot_id, piece, now):
            piece.alone = True
            self.book.lost(piece, error, charge=True)

    def unavailable(self, slot_id: int, now: float, piece: Piece | None = None) -> None:
        """The worker cannot be reached, which is not death: fence it off and probe it (SYSTEMS 2.3)."""
        slot = self.slots.get(slot_id)
        if slot is None:
            return
        slot.probing = False
        if slot.state is SlotState.PENDING:
            self.start_failed(slot_id, "the worker could not be reached while it started")
        elif slot.state is SlotState.DRAINING:
            self._bury(slot, "out of reach while it was to finish its last work", charge=False)
        elif slot.state is SlotState.LIVE:
            slot.state, slot.since, slot.probed = SlotState.SUSPECT, now, now
        if piece is not None:
            self.infra_error(slot_id, piece, "the worker could not be reached", now)

    def died(self, slot_id: int, reason: str, preempted: bool = False, out_of_memory: bool = False) -> None:
        """The worker is gone. The piece that it was on is charged a try, unless the node was taken away.

        Args:
            slot_id: number of the worker's slot.
            reason: why it is gone, as text.
            preempted: whether its node was taken away.
            out_of_memory: whether its node's memory ran out; where that repeats, workers hold one request at a time
                from then on.
        """
        slot = self.slots.get(slot_id)
        if slot is None:
            return
        slot.leaving = slot.leaving or preempted
        if out_of_memory and slot.node:
            self.figures.host_ooms[slot.node] += 1
        if slot.state is SlotState.PENDING and not slot.leaving:
            self.start_failed(slot_id, reason)
        else:
            self._bury(slot, reason, charge=slot.state is not SlotState.DRAINING and not slot.leaving)

    def fail(self, failure: PoolFailure) -> None:
        """Give up: the next tick raises the first failure."""
        self.failure = self.failure or failure
        self.figures.last_error = str(failure)

    def tick(self, now: float) -> list[Command]:
        """What is to be done now, in this order. Raises PoolFailure when the pool cannot go on."""
        for slot in list(self.slots.values()):
            self._watch(slot, now)
        self._pause_starts(now)
        self._resize(now)
        self._check_start(now)
        failure = self.failure or self.book.failure
        if failure is not None:
            self.failure = failure
            raise failure
        self._lend()
        self._dispatch(now)
        commands = self._commands + self.book.resolved
        self._commands, self.book.resolved = [], []
        return commands

    def short_s(self, now: float) -> float:
        """Seconds for which fewer than `min_actors` workers have been live; 0 while there are enough."""
        return 0.0 if self._short_since is None else now - self._short_since

    @property
    def begun(self) -> bool:
        """Whether enough workers have been live at some time."""
        return self._begun

    def count(self, *states: SlotState) -> int:
        """Return how many slots are in one of the given states."""
        return sum(slot.state in states for slot in self.slots.values())

    @property
    def in_flight(self) -> int:
        """The number of pieces that workers hold."""
        return sum(len(slot.in_flight) for slot in self.slots.values())

    @property
    def backlog_full(self) -> bool:
        """Whether as many pieces wait as the pool takes before its caller must wait."""
        return len(self.book.queue) >= self.options.backlog_limit(self.target)

    def _release(self, slot_id: int, piece: Piece, now: float) -> bool:
        """Give the slot its credit back; true if the piece was still entrusted to it."""
        slot = self.slots.get(slot_id)
        if slot is None or piece not in slot.in_flight:
            return False
        slot.in_flight.remove(piece)
        slot.progress = now
        return piece.is_at(slot_id)

    def _remove(self, slot_id: int, state: SlotState, reason: str) -> Slot | None:
        slot = self.slots.pop(slot_id, None)
        if slot is not None:
            slot.state = state
            self.figures.preempted += slot.leaving
            self.figures.last_error = reason or self.figures.last_error
            self._commands.append(Kill(slot_id, reason, slot.in_flight[0].request if slot.in_flight else None))
        return slot

    def _bury(self, slot: Slot, reason: str, charge: bool) -> None:
        """A worker runs its pieces in order, so only the oldest can have done it; the others wait alone to be sure."""
        self._remove(slot.id, SlotState.DEAD, reason)
        self.figures.deaths += not slot.leaving
        held = [piece for piece in slot.in_flight if piece.is_at(slot.id)]
        for piece in reversed(held):
            piece.alone = piece.alone or charge
            self.book.lost(piece, reason, charge=charge and piece is held[0])

    def _watch(self, slot: Slot, now: float) -> None:
        quiet_s = now - slot.progress if slot.state in WORKING and slot.in_flight else 0.0
        slot.silent = quiet_s > LEND_AFTER_S and quiet_s > self._patience_s(slot)
        if slot.state is SlotState.DRAINING and not slot.in_flight:
            self._remove(slot.id, SlotState.DEAD, "")
        elif slot.in_flight and slot.state in WORKING and now - slot.progress > self.watchdog_s:
            self._bury(slot, f"no answer for {now - slot.progress:.1f} s (render.watchdog_s)", charge=True)
        elif slot.state is SlotState.SUSPECT:
            if now - slot.since > max(self.watchdog_s, REPLACE_SUSPECT_AFTER_S):
                self._bury(slot, f"out of reach for {now - slot.since:.1f} s", charge=False)
            elif not slot.probing and now - slot.probed >= PROBE_EVERY_S:
                slot.probing, slot.probed = True, now
                self._commands.append(Probe(slot.id))

    def _patience_s(self, slot: Slot) -> float:
        """How long a worker that holds work may be silent before others are given it."""
        return max(LEND_AFTER_S, LEND_TIMES * self.figures.usual_s(len(slot.in_flight[0])))

    def _pause_starts(self, now: float) -> None:
        """Start ever more rarely what fails to start again and again, as long as enough workers are live."""
        if self.count(SlotState.LIVE) < self.options.min_actors or self._start_failures <= self.target:
            self._next_start = 0.0
        elif self._start_failures != self._failures_paused_for:
            self._failures_paused_for = self._start_failures
            self._next_start = now + min(START_PAUSE_S, 2.0 ** (self._start_failures - self.target))

    def _resize(self, now: float) -> None:
        """Replace what is missing, long suspects and leavers included; retire what is more than the target."""
        counted = []
        for slot in self.slots.values():
            if slot.state is SlotState.DRAINING:
                continue
            if slot.state is SlotState.SUSPECT and now - slot.since > REPLACE_SUSPECT_AFTER_S:
                self._take_back(slot)
            else:
                counted.append(slot)
        missing = 0 if now < self._next_start else self.target - len(counted)
        for _ in range(missing):
            self.slots[self._spawned] = Slot(self._spawned, since=now)
            self._commands.append(Spawn(self._spawned))
            self._spawned += 1
        able = [slot for slot in counted if slot.state is not SlotState.SUSPECT]
        for slot in sorted(able, key=dispensable)[: max(0, len(counted) - self.target)]:
            self._retire(slot)

    def _retire(self, slot: Slot) -> None:
        """Let a worker go that can be spared: at once if it holds no work, else when it has finished it."""
        if slot.in_flight:
            slot.state = SlotState.DRAINING
        else:
            self._remove(slot.id, SlotState.DEAD, "")

    def _take_back(self, suspect: Slot) -> None:
        """Give a suspect's pieces to others; its own answers, should they come first after all, still count."""
        for piece in reversed([piece for piece in suspect.in_flight if piece.is_at(suspect.id)]):
            self.book.lost(piece, "", charge=False)

    def _check_start(self, now: float) -> None:
        live = self.count(SlotState.LIVE)
        if live >= self.options.min_actors:
            self._short_since = None
            return
        if self._short_since is None:
            self._short_since = now
        if now - self._short_since > self.options.start_timeout_s:
            self.fail(
                WorkerStartError(
                    f"only {live} of at least {self.options.min_actors} render workers are up after "
                    f"{self.options.start_timeout_s:g} s ({self.count(SlotState.PENDING)} are starting)\n"
                    "what to do: look into the workers' logs; raise render.start_timeout_s if their start is slow"
                )
            )

    def _lend(self) -> None:
        """While workers idle, have them do what silent ones hold; the first answer counts. Once a piece, and not one
        that may have ended a worker: what hangs one worker must not hang them all.
        """
        idle = any(slot.state is SlotState.LIVE and not slot.in_flight for slot in self.slots.values())
        if not idle or self.book.queue or not self.lends:
            return
        for slot in self.slots.values():
            for piece in reversed(slot.in_flight if slot.silent else []):
                if piece.is_at(slot.id) and not (piece.lent or piece.alone):
                    piece.lent = True
                    self.book.lost(piece, "", charge=False)

    def _dispatch(self, now: float) -> None:
        self._begun = self._begun or self.count(SlotState.LIVE) >= self.options.min_actors
        if not self._begun:
            return
        for piece in list(self.book.queue):
            if self._is_full():
                return
            slot = self._slot_for(piece)
            if slot is None and piece.alone:
                # It waits for an empty worker; were others sent on, none would ever be empty.
                return
            if slot is None:
                continue
            self.book.sent(piece, slot.id)
            if not slot.in_flight:
                slot.progress = now
            slot.in_flight.append(piece)
            self._commands.append(Dispatch(slot.id, piece))

    def _is_full(self) -> bool:
        """No live worker has a credit left: nothing that waits needs to be looked at."""
        held = (len(slot.in_flight) for slot in self.slots.values() if slot.state is SlotState.LIVE)
        return all(count >= self.options.per_actor for count in held)

    def _slot_for(self, piece: Piece) -> Slot | None:
        """The least busy live worker with a credit; not a silent one, nor the one where the piece failed, unless no
        other is live.
        """
        live = [s for s in self.slots.values() if s.state is SlotState.LIVE]
        live = [s for s in live if not s.silent] or live
        if len(live) > 1:
            live = [s for s in live if s.id != piece.avoid]
        free = [s for s in live if len(s.in_flight) < self._credits(s, piece)]
        return min(free, key=lambda s: (len(s.in_flight), s.id), default=None)

    def _credits(self, slot: Slot, piece: Piece) -> int:
        exclusive = piece.alone or any(other.alone for other in slot.in_flight)
        return 1 if exclusive or self.figures.is_cramped(slot.node) else self.options.per_actor
