"""The rules of the pool's state machine, one by one."""

import numpy as np
import pytest

from render_workers.pool_options import PoolOptions, QuarantineError, WorkerStartError
from tests.render_workers.pool_shell import ANSWER, Shell, rows_home


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
