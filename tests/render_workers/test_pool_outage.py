"""What a pool does and says while workers are silent, cannot start or are gone: no Ray, no clock."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from render_workers.base import PackedRequest
from render_workers.pool import LocalPool
from render_workers.pool_core import LEND_AFTER_S, START_BUDGET, START_PAUSE_S
from render_workers.pool_options import PoolOptions, WorkerStartError
from render_workers.pool_outage import SAY_AFTER_S, Outage, OutageLog
from render_workers.pool_requests import Piece
from render_workers.pool_slots import SlotState
from render_workers.ray_pool import RayPool
from tests.fakes import FakeSpec, make_request
from tests.render_workers.pool_shell import ANSWER, Shell

# An argument of more bytes goes through Ray's object store (its `max_direct_call_object_size`).
RAY_INLINES = 100 * 1024


class Recorder:
    """A method of an actor that only notes what it was called with."""

    def __init__(self):
        self.calls = []

    def remote(self, *arguments):
        self.calls.append(arguments)
        return ray.ObjectRef.nil()


def answer(shell, call):
    """The worker's answer arrives, to a call that the shell has or had."""
    if call in shell.calls:
        shell.calls.remove(call)
    shell.core.done(call.slot, call.piece, ANSWER, shell.now, seconds=0.1)
    shell.tick()


def two_workers(requests, **options):
    """A pool of two, busy with so many requests; the calls of the first worker and of the second one."""
    shell = Shell(actors=2, **options)
    for _ in range(requests):
        shell.core.submit(4)
    shell.start()
    return shell, [[call for call in shell.calls if call.slot == slot] for slot in (0, 1)]


# -- a silent worker


def test_idle_workers_do_the_work_of_a_silent_one_and_its_late_answers_are_dropped():
    shell, (silent, busy) = two_workers(4)
    for call in busy:
        answer(shell, call)
    shell.tick(LEND_AFTER_S - 0.1)
    assert not [call for call in shell.calls if call.slot == 1], "not yet"
    shell.tick(0.2)
    lent = [call for call in shell.calls if call.slot == 1]
    assert [call.piece for call in lent] == [call.piece for call in silent]
    for call in lent:
        answer(shell, call)
    assert len(shell.home) == 4
    for call in silent:
        answer(shell, call)
    ledger = shell.core.book.ledger
    assert (ledger.duplicates, ledger.done, ledger.quarantined) == (8, 16, 0)
    assert shell.core.figures.deaths == 0
    assert shell.core.count(SlotState.LIVE) == 2
    ledger.check()


def test_a_piece_travels_in_the_call_itself(monkeypatch):
    """Else whoever borrows it may ask the silent host for its copy, and hang as well; only a large one is put into the
    store, anew for each call.
    """
    packed = make_request(1024).pack()
    pool = SimpleNamespace(_open={0: SimpleNamespace(payload=packed)})
    actor = SimpleNamespace(depth_of_blocks=Recorder(), depth=Recorder())
    RayPool._ask(pool, actor, Piece(0, 100, 1000))
    (blocks,) = actor.depth_of_blocks.calls
    assert all(type(block) is bytes and len(block) <= RAY_INLINES for block in blocks)
    assert np.array_equal(PackedRequest.of_blocks(blocks).rows, packed.rows[100:1000])
    monkeypatch.setattr("render_workers.ray_pool.INLINE_MOST", packed.rows.nbytes - 1)
    monkeypatch.setattr("ray.put", lambda value: value)
    RayPool._ask(pool, actor, Piece(0, 0, 1024))
    ((sent, start, stop),) = actor.depth.calls
    assert np.array_equal(sent.rows, packed.rows)
    assert (start, stop) == (0, 1024)


def test_a_pool_whose_requests_lie_elsewhere_does_not_lend():
    shell, (_, busy) = two_workers(4)
    shell.core.lends = False
    for call in busy:
        answer(shell, call)
    shell.tick(29)
    assert {call.slot for call in shell.calls} == {0}


def test_a_cable_pulled_for_ten_seconds_costs_no_worker():
    shell, (silent, busy) = two_workers(4)
    for call in busy:
        answer(shell, call)
    for _ in range(50):
        shell.tick(0.2)
        for call in [call for call in shell.calls if call.slot == 1]:
            answer(shell, call)
    for call in silent:
        answer(shell, call)
    shell.core.submit(4)
    shell.tick()
    assert shell.calls[0].slot == 0, "it works as before"
    assert shell.core.figures.deaths == 0
    assert shell.spawned == {0, 1}


def test_a_silent_worker_gets_no_new_work_while_another_can_take_it():
    shell, (silent, busy) = two_workers(2)
    answer(shell, busy[0])
    shell.core.submit(4)
    shell.core.submit(4)
    shell.core.submit(4)
    shell.tick(LEND_AFTER_S + 0.1)
    assert len([call for call in shell.calls if call.slot == 0]) == 1
    assert len([call for call in shell.calls if call.slot == 1]) == 2
    answer(shell, silent[0])
    assert len([call for call in shell.calls if call.slot == 0]) >= 1


def test_a_piece_that_hangs_every_worker_hangs_no_more_than_two_at_a_time():
    shell = Shell(actors=4, watchdog_s=30.0)
    shell.core.figures.answered(None, 0.1, {})
    shell.core.submit(1)
    shell.start()
    for _ in range(int(29 / 0.5)):
        shell.tick(0.5)
    assert len({call.slot for call in shell.calls}) == 2


def test_work_that_takes_long_everywhere_is_not_lent():
    shell, calls = two_workers(2)
    for _ in range(20):
        shell.core.figures.answered(None, 10.0, {}, poses=4)
    answer(shell, calls[1][0])
    shell.tick(29)
    assert {call.slot for call in shell.calls} == {0}


def test_nothing_is_lent_before_it_is_known_how_long_work_takes():
    shell = Shell(actors=2)
    shell.core.submit(1280)
    shell.start()
    shell.tick(29)
    assert len(shell.calls) == 1


def test_a_piece_of_many_poses_is_given_the_time_for_them():
    shell, _ = two_workers(2)
    shell.finish_all()
    shell.core.submit(4 * 200)  # as long as 200 of the pieces of 0.1 s before
    shell.tick()
    shell.tick(29)
    assert len(shell.calls) == 1


# -- a host on which nothing starts


def test_starts_that_fail_beside_live_workers_become_rare_and_end_nothing():
    shell = Shell(actors=2)
    shell.start()
    shell.core.died(1, "SIGKILL")
    shell.tick()
    failures = 0
    for _ in range(1200):
        shell.tick(0.5)
        for slot in [s.id for s in shell.core.slots.values() if s.state is SlotState.PENDING]:
            shell.core.start_failed(slot, "no space left on device")
            failures += 1
    assert START_BUDGET * 2 < failures < 2 * 600 / START_PAUSE_S
    shell.tick(START_PAUSE_S + 1)
    (fresh,) = [s.id for s in shell.core.slots.values() if s.state is SlotState.PENDING]
    shell.core.ready(fresh, shell.now)
    shell.core.died(fresh, "SIGKILL")
    shell.tick()
    assert shell.core.count(SlotState.PENDING) == 1, "a start that went well ends the waiting"


def test_without_a_live_worker_starts_are_not_held_back_and_end_the_run():
    shell = Shell(actors=2)
    shell.start()
    for slot in (0, 1):
        shell.core.died(slot, "SIGKILL")
    for _ in range(3):
        shell.tick(0.1)
        for slot in [s.id for s in shell.core.slots.values() if s.state is SlotState.PENDING]:
            shell.core.start_failed(slot, "no space left on device")
    with pytest.raises(WorkerStartError, match="6 render workers in a row"):
        shell.tick(0.1)


# -- what is said


def test_the_seconds_without_enough_workers_are_counted():
    shell = Shell(actors=2, min_actors=2)
    shell.start()
    assert shell.core.short_s(shell.now) == 0
    shell.core.died(1, "SIGKILL")
    shell.tick()
    shell.tick(20)
    assert shell.core.short_s(shell.now) == 20
    shell.start(2)
    assert shell.core.short_s(shell.now) == 0


def test_an_outage_is_said_once_and_so_is_its_end():
    log = OutageLog()
    began = [log.began(seconds) for seconds in (0.0, 1.0, SAY_AFTER_S - 0.1, SAY_AFTER_S, 40.0, 61.0)]
    assert began == [False, False, False, True, False, False]
    assert log.ended(61.0) == 0
    assert log.ended(0.0) == 61.0
    assert log.ended(0.0) == 0
    assert not log.began(0.0)
    assert log.began(SAY_AFTER_S)


def test_a_gap_too_short_to_be_said_has_no_end_to_be_said():
    log = OutageLog()
    assert not log.began(SAY_AFTER_S - 1)
    assert log.ended(0.0) == 0


def test_the_message_has_the_true_numbers_the_hosts_and_what_to_do():
    outage = Outage(31.4, 0, 2, gone=["render1 (10.0.0.12)"], silent=["render2 (10.0.0.13)"])
    text = outage.text(PoolOptions(actors=4, start_timeout_s=300))
    assert "too few render actors for 31 s: 0 of 4 are live, 2 are starting, at least 1 must be live" in text
    assert "render1 (10.0.0.12) left the cluster; render2 (10.0.0.13) are in it without a live actor" in text
    assert "waits 269 s more" in text
    assert "cluster.yaml" in text
    assert "dg.cluster.rejoin" in text
    assert "hosts that held" not in Outage(20, 0, 1).text(PoolOptions())


def test_a_pool_tells_its_outage_in_its_status_and_as_its_error_while_it_lasts(monkeypatch, caplog):
    now = [1000.0]
    monkeypatch.setattr("render_workers.pool.time.monotonic", lambda: now[0])
    with LocalPool(FakeSpec().build, PoolOptions(actors=1)) as pool:
        pool.submit(make_request(2)).result()
        assert pool.status()["short_s"] == 0
        monkeypatch.setattr(pool, "_execute", lambda command: None)  # what is started does not get ready
        pool.core.died(0, "SIGKILL")
        with caplog.at_level(logging.WARNING):
            for _ in range(30):
                now[0] += 1
                pool.poll()
        assert pool.status()["short_s"] == 29
        assert pool.status()["live"] == 0
        assert "too few render actors for 29 s: 0 of 1 are live, 1 are starting" in pool.last_error()
        (slot,) = pool.core.slots
        pool.core.ready(slot, now[0])
        with caplog.at_level(logging.WARNING):
            pool.poll()
        assert pool.status()["short_s"] == 0
        assert pool.last_error() == "SIGKILL"
        told = [record.getMessage() for record in caplog.records]
        back = "1 render actors are live again, after 29 s with too few; the run goes on"
        assert [text.partition(":")[0] for text in told] == ["too few render actors for 15 s", back]
