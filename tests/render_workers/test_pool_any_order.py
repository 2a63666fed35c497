"""The pool's state machine under any order of events."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from render_workers.pool_core import START_BUDGET
from render_workers.pool_requests import PieceState
from render_workers.pool_slots import SlotState
from tests.render_workers.pool_shell import ANSWER, Shell, rows_home


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


def machine(examples):
    """A test case of its own: the state machine over so many series of events."""
    case = type(AnyOrder)("AnyOrder", (AnyOrder,), {}).TestCase
    case.settings = settings(
        max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


TestAnyOrderOfEvents = machine(60)
TestManyOrdersOfEvents = pytest.mark.reliability(machine(400))
