"""Turns in a shared queue: nothing is lost, owners keep their order, and get alike as long as they want something."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render_workers.fair_queue import FairQueue

OWNERS = ("a", "b", "c")
PUSHES = st.lists(st.tuples(st.sampled_from(OWNERS), st.integers(1, 9)), max_size=40)


def filled(pushes):
    queue = FairQueue()
    for number, (owner, poses) in enumerate(pushes):
        queue.push(owner, poses, (owner, number, poses))
    return queue


@settings(deadline=None)
@given(PUSHES)
def test_every_request_comes_out_once_and_in_its_owners_order(pushes):
    queue = filled(pushes)
    out = [queue.pop() for _ in range(len(queue))]
    assert sorted(number for _, number, _ in out) == list(range(len(pushes)))
    for owner in OWNERS:
        numbers = [number for name, number, _ in out if name == owner]
        assert numbers == sorted(numbers)


@settings(deadline=None)
@given(PUSHES)
def test_owners_who_both_wait_are_never_further_apart_than_two_requests(pushes):
    queue, served, left = filled(pushes), dict.fromkeys(OWNERS, 0), dict.fromkeys(OWNERS, 0)
    for owner, _ in pushes:
        left[owner] += 1
    waiting = [owner for owner in OWNERS if left[owner]]
    largest = max((poses for _, poses in pushes), default=0)
    while len(queue) and all(left[owner] for owner in waiting):
        owner, _, poses = queue.pop()
        served[owner] += poses
        left[owner] -= 1
        shares = [served[name] for name in waiting]
        assert max(shares) - min(shares) <= 2 * largest


def test_equal_requests_are_served_in_turn_and_a_late_owner_at_once():
    queue = filled([("a", 4)] * 4 + [("b", 4)] * 2)
    assert [queue.pop()[0] for _ in range(3)] == ["a", "b", "a"]
    queue.push("c", 4, ("c", 6, 4))
    queue.push("c", 4, ("c", 7, 4))
    # It neither waits for what the others have queued, nor has it turns saved up.
    assert [queue.pop()[0] for _ in range(5)] == ["b", "c", "a", "c", "a"]


def test_an_owner_that_goes_takes_its_requests_with_it():
    queue = filled([("a", 1), ("b", 1), ("a", 1)])
    assert [number for _, number, _ in queue.drop("a")] == [0, 2]
    assert queue.drop("nobody") == []
    assert queue.pop() == ("b", 1, 1)
    with pytest.raises(IndexError):
        queue.pop()
