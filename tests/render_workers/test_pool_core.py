"""The pool's state machine under any order of events, and its rules one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from render_workers.base import RenderAnswer
from render_workers.pool_core import START_BUDGET, PoolCore
from render_workers.pool_options import PoolOptions, QuarantineError, WorkerStartError
from render_workers.pool_requests import PieceState, Resolved
from render_workers.pool_slots import Dispatch, Kill, Probe, SlotState, Spawn

ANSWER = RenderAnswer(np.zeros((0, 17), np.float32), np.zeros(0, bool))


class Shell:
    """Carries out commands on paper: which slots exist, which calls are out, what came home."""

    def __init__(self, **options):
        self.core = PoolCore(replace(PoolOptions(max_quarantine=1e9, start_timeout_s=1e9), **options))
        self.now = 0.0
        self.calls, self.spawned, self.probes, self.home = [], set(), set(), {}

    def tick(self, seconds=0.0):
        self.now += seconds
        for command in self.core.tick(self.now):
            if isinstance(command, Spawn):
                self.spawned.add(command.slot)
            elif isinstance(command, Kill):
                self.spawned.discard(command.slot)
                self.probes.discard(command.slot)
                self.calls = [call for call in self.calls if call.slot != command.slot]
            elif isinstance(command, Probe):
                assert self.core.slots[command.slot].state is SlotState.SUSPECT
                self.probes.add(command.slot)
            elif isinstance(command, Dispatch):
                slot = self.core.slots[command.slot]
                assert slot.state is SlotState.LIVE, "work for a worker that is not live"
                assert not slot.leaving, "work for a worker whose node is being taken away"
                self.calls.append(command)
            elif isinstance(command, Resolved):
                assert command.request not in self.home, "a request came home twice"
                self.home[command.request] = command

    def start(self, *slots):
        self.tick()
        for slot in slots or sorted(self.spawned):
            self.core.ready(slot, self.now)
        self.tick()

    def take(self, slot=None):
        call = next(call for call in self.calls if slot is None or call.slot == slot)
        self.calls.remove(call)
        return call.slot, call.piece

    def finish(self, slot=None):
        self.core.done(*self.take(slot), ANSWER, self.now, seconds=0.1)
        self.tick()

    def finish_all(self):
        while self.calls:
            self.finish()


def rows_home(resolved):
    covered = [row for piece, _ in resolved.answers for row in range(piece.start, piece.stop)]
    quarantined = [pose.row for pose in resolved.quarantined]
    assert len(set(quarantined)) == len(quarantined)
    return sorted(covered + [row for row in quarantined if row not in covered])


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing lost, nothing twice, credits kept, ledger balanced at rest."""

    def __init__(self):
        super().__init__()
        self.shell = Shell(actors=3, max_actors=5, max_infra_tries=3)
        self.core = self.shell.core
        self.submitted = {}
        self.shell.tick()

    @rule(poses=st.integers(1, 9))
    def submit(self, poses):
        self.submitted[self.core.submit(poses)] = poses

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.1, 6.0, 40.0]))
    def tick(self, seconds):
        self.shell.tick(seconds)
        # A suspect that came back is one too many only until the next tick.
        assert self.core.count(SlotState.PENDING, SlotState.LIVE) <= self.core.target

    @rule(size=st.integers(0, 6))
    def grow_or_shrink(self, size):
        self.core.resize(size)
        assert self.core.options.min_actors <= self.core.target <= 5

    @rule(data=st.data(), node=st.sampled_from(["a", "b"]))
    def placed(self, data, node):
        slot = self._slot(data, {SlotState.PENDING})
        if slot is not None:
            self.core.placed(slot, node)

    @rule(node=st.sampled_from(["a", "b"]))
    def others_need_the_node(self, node):
        self.core.give_up(node)

    @rule(data=st.data())
    def drain(self, data):
        slot = self._slot(data, {SlotState.PENDING, SlotState.LIVE, SlotState.SUSPECT, SlotState.DRAINING})
        if slot is not None:
            tries = sum(piece.infra_tries for piece in self.core.slots[slot].in_flight)
            held = list(self.core.slots[slot].in_flight)
            self.core.drain(slot)
            assert sum(piece.infra_tries for piece in held) == tries

    def _slot(self, data, states):
        slots = [s.id for s in self.core.slots.values() if s.state in states and s.id in self.shell.spawned]
        return data.draw(st.sampled_from(slots)) if slots else None

    def _call(self, data):
        call = data.draw(st.sampled_from(self.shell.calls))
        self.shell.calls.remove(call)
        return call

    @rule(data=st.data())
    def ready(self, data):
        slot = self._slot(data, {SlotState.PENDING})
        if slot is not None:
            self.core.ready(slot, self.shell.now)

    @precondition(lambda self: self.shell.probes)
    @rule(data=st.data(), alive=st.booleans())
    def probe_returns(self, data, alive):
        slot = data.draw(st.sampled_from(sorted(self.shell.probes)))
        self.shell.probes.remove(slot)
        if alive:
            self.core.ready(slot, self.shell.now)
        else:
            self.core.unavailable(slot, self.shell.now)

    @precondition(lambda self: self.shell.calls)
    @rule(data=st.data(), invalid=st.booleans())
    def done(self, data, invalid):
        call = self._call(data)
        rows = (call.piece.start,) if invalid and call.piece.state is not PieceState.DONE else ()
        self.core.done(call.slot, call.piece, ANSWER, self.shell.now, 0.1, rows)

    @precondition(lambda self: self.shell.calls)
    @rule(data=st.data(), kind=st.sampled_from(["app", "infra", "unavailable", "died", "oom", "preempted"]))
    def call_fails(self, data, kind):
        call = self._call(data)
        if kind == "app":
            self.core.app_error(call.slot, call.piece, "raised", self.shell.now)
        elif kind == "infra":
            self.core.infra_error(call.slot, call.piece, "lost", self.shell.now)
        elif kind == "unavailable":
            self.core.unavailable(call.slot, self.shell.now, call.piece)
        else:
            self.core.died(call.slot, "killed", preempted=kind == "preempted", out_of_memory=kind == "oom")

    @rule(data=st.data())
    def start_fails(self, data):
        slot = self._slot(data, {SlotState.PENDING})
        if slot is not None and self.core._start_failures + 1 < START_BUDGET * self.core.target:
            self.core.start_failed(slot, "no body")

    @rule(data=st.data())
    def idle_death(self, data):
        slot = self._slot(data, {SlotState.LIVE, SlotState.SUSPECT, SlotState.DRAINING})
        if slot is not None:
            self.core.died(slot, "killed")

    @rule(slot=st.integers(0, 3))
    def stale_events_do_no_harm(self, slot):
        if slot not in self.core.slots:
            self.core.ready(slot, self.shell.now)
            self.core.died(slot, "again")
            self.core.unavailable(slot, self.shell.now)

    @invariant()
    def credits_are_kept(self):
        for slot in self.core.slots.values():
            assert len(slot.in_flight) <= self.core.options.per_actor
            if any(piece.alone for piece in slot.in_flight):
                assert len(slot.in_flight) == 1
            assert len(slot.in_flight) == sum(call.slot == slot.id for call in self.shell.calls)

    @invariant()
    def every_pose_is_in_one_place(self):
        ledger = self.core.book.ledger
        on_the_way = {id(p): p for s in self.core.slots.values() for p in s.in_flight if p.is_at(s.id)}
        waiting = sum(map(len, self.core.book.queue)) + sum(map(len, on_the_way.values()))
        assert ledger.submitted == ledger.done + ledger.quarantined + waiting

    def teardown(self):
        """Let everything come to rest with healthy workers: each request came home once, whole."""
        shell = self.shell
        for _ in range(500):
            shell.tick(1.1)
            for slot in list(self.core.slots.values()):
                if slot.state is not SlotState.LIVE:
                    self.core.ready(slot.id, shell.now)
            if shell.calls:
                shell.finish()
            elif not self.core.book.queue and not self.core.in_flight:
                break
        shell.tick()
        assert {number: rows_home(r) for number, r in shell.home.items()} == {
            number: list(range(poses)) for number, poses in self.submitted.items()
        }
        self.core.book.ledger.check()


AnyOrder.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyOrderOfEvents = AnyOrder.TestCase


def test_work_goes_to_no_worker_before_it_is_ready():
    shell = Shell(actors=2)
    shell.core.submit(4)
    shell.tick(10)
    assert shell.spawned == {0, 1}
    assert not shell.calls
    shell.start(1)
    assert [call.slot for call in shell.calls] == [1]


def test_a_raising_piece_is_tried_on_another_worker_and_then_halved():
    shell = Shell(actors=2)
    shell.core.submit(4)
    shell.start()
    first, piece = shell.take()
    shell.core.app_error(first, piece, "raised", 0.0)
    shell.tick()
    second, again = shell.take()
    assert again is piece
    assert second != first
    shell.core.app_error(second, piece, "raised", 0.0)
    shell.tick()
    assert sorted((c.piece.start, c.piece.stop) for c in shell.calls) == [(0, 2), (2, 4)]


def test_the_only_worker_gets_its_failed_piece_again():
    shell = Shell(actors=1)
    shell.core.submit(1)
    shell.start()
    shell.core.app_error(*shell.take(), "raised", 0.0)
    shell.tick()
    assert [call.slot for call in shell.calls] == [0]


@pytest.mark.parametrize("poses", [1, 2, 7, 1024])
def test_bisection_quarantines_the_poisoned_pose_and_no_other(poses):
    shell, poison = Shell(actors=2), poses // 3
    shell.core.submit(poses)
    shell.start()
    calls = 0
    while shell.calls:
        slot, piece = shell.take()
        calls += 1
        if piece.start <= poison < piece.stop:
            shell.core.app_error(slot, piece, "raised", 0.0)
        else:
            shell.core.done(slot, piece, ANSWER, 0.0, 0.1)
        shell.tick()
    assert [pose.row for pose in shell.home[0].quarantined] == [poison]
    assert rows_home(shell.home[0]) == list(range(poses))
    assert calls <= 4 + 2 * np.log2(max(poses, 2))
    shell.core.book.ledger.check()


def test_a_pose_that_kills_workers_is_found_and_its_neighbours_survive():
    shell = Shell(actors=2, max_infra_tries=2)
    for _ in range(3):
        shell.core.submit(8)
    shell.start()
    for _ in range(300):
        if not shell.calls:
            break
        slot, piece = shell.take()
        if piece.request == 1 and piece.start <= 5 < piece.stop:
            shell.core.died(slot, "SIGKILL")
            shell.start()
        else:
            shell.core.done(slot, piece, ANSWER, shell.now, 0.1)
            shell.tick()
    assert {n: [p.row for p in r.quarantined] for n, r in shell.home.items()} == {0: [], 1: [5], 2: []}
    shell.core.book.ledger.check()


def test_preemption_costs_no_try_and_death_charges_only_the_oldest():
    shell = Shell(actors=1)
    shell.core.submit(1)
    shell.core.submit(1)
    shell.start()
    pieces = [call.piece for call in shell.calls]
    shell.core.died(0, "drained", preempted=True)
    shell.start(1)
    assert [piece.infra_tries for piece in pieces] == [0, 0]
    shell.core.died(1, "SIGKILL")
    shell.tick()
    assert [piece.infra_tries for piece in pieces] == [1, 0]
    assert list(shell.core.book.queue) == pieces


def test_a_suspect_is_fenced_probed_replaced_and_the_surplus_retired():
    shell = Shell(actors=2)
    for _ in range(4):
        shell.core.submit(1)
    shell.start()
    _, lost = shell.take(0)
    shell.core.unavailable(0, shell.now, lost)
    shell.finish(1)
    assert all(call.slot == 1 or call.piece is not lost for call in shell.calls)
    shell.tick(1.1)
    assert shell.probes == {0}
    shell.tick(5.0)
    assert shell.spawned == {0, 1, 2}
    shell.core.ready(2, shell.now)
    shell.core.ready(0, shell.now)
    shell.finish_all()
    shell.tick()
    assert len(shell.spawned) == 2
    assert len(shell.home) == 4
    shell.core.book.ledger.check()


def test_the_late_answer_of_a_suspect_counts_once():
    shell = Shell(actors=1)
    shell.core.submit(3)
    shell.start()
    slot, piece = shell.calls[0].slot, shell.calls[0].piece
    shell.core.unavailable(slot, shell.now)
    shell.tick(6.0)
    shell.start(1)
    assert [call.slot for call in shell.calls] == [0, 1]
    shell.core.done(0, piece, ANSWER, shell.now, 0.1)
    shell.core.done(1, piece, ANSWER, shell.now, 0.1)
    shell.tick()
    ledger = shell.core.book.ledger
    assert (ledger.done, ledger.duplicates) == (3, 3)


def test_a_silent_worker_is_killed_after_the_watchdog_time():
    shell = Shell(actors=1, watchdog_s=2.0)
    shell.core.submit(1)
    shell.start()
    shell.tick(1.9)
    assert shell.spawned == {0}
    shell.tick(0.2)
    assert shell.spawned == {1}
    assert [piece.infra_tries for piece in shell.core.book.queue] == [1]


def test_the_watchdog_follows_slow_work():
    shell = Shell(actors=1)
    shell.core.submit(1)
    shell.start()
    shell.core.done(*shell.take(), ANSWER, 0.0, seconds=9.0)
    assert shell.core.watchdog_s == 90.0


def test_failing_starts_end_with_the_last_traceback_and_a_good_start_forgives():
    shell = Shell(actors=1)
    shell.tick()
    for slot in (0, 1):
        shell.core.start_failed(slot, "boom")
        shell.tick()
    shell.core.ready(2, 0.0)
    shell.core.died(2, "SIGKILL")
    shell.tick()
    for slot in (3, 4):
        shell.core.start_failed(slot, "boom")
        shell.tick()
    shell.core.start_failed(5, "FileNotFoundError: body.npz")
    with pytest.raises(WorkerStartError, match=r"(?s)FileNotFoundError: body\.npz.*what to do"):
        shell.tick()


def test_too_few_live_workers_for_too_long_is_an_error():
    shell = Shell(actors=2, start_timeout_s=5.0)
    shell.tick()
    shell.tick(4.9)
    with pytest.raises(WorkerStartError, match="0 of at least 1"):
        shell.tick(0.2)


@pytest.mark.parametrize(
    ("limit", "epoch", "allowed"), [(3, 0, 3), (0, 0, 0), (1e-4, 0, 10), (1e-4, 1_500_000, 150), (0.5, 0, 500)]
)
def test_quarantine_is_limited_by_number_or_by_ratio(limit, epoch, allowed):
    shell = Shell(actors=1, max_quarantine=limit, epoch_poses=epoch)
    shell.core.submit(1000)
    shell.start()
    piece = shell.calls[0].piece
    shell.core.done(0, piece, ANSWER, 0.0, 0.1, tuple(range(allowed)))
    shell.tick()
    shell.core.submit(1)
    shell.tick()
    shell.core.done(0, shell.calls[-1].piece, ANSWER, 0.0, 0.1, (0,))
    with pytest.raises(QuarantineError, match="max_quarantine"):
        shell.tick()


def test_senseless_options_are_named():
    with pytest.raises(ValueError, match=r"actors must be at least 1.*max_actors must be at least.*max_backlog"):
        PoolOptions(actors=0, min_actors=0, max_actors=-1, max_backlog=0)
