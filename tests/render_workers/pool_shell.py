"""The pool's core with nothing around it: a test says what happens, and when."""

from dataclasses import replace

import numpy as np

from render_workers.base import RenderAnswer
from render_workers.pool_core import PoolCore
from render_workers.pool_options import PoolOptions
from render_workers.pool_requests import Resolved
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
