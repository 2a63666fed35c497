"""METHODS 12.9: the pool never exceeds its capacity, and half of what comes back is old."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dg.augment.history_pool import HistoryPool


@settings(max_examples=30, deadline=None)
@given(capacity=st.integers(1, 20), sizes=st.lists(st.integers(0, 50), max_size=8), seed=st.integers(0, 1000))
def test_it_loses_and_invents_no_sample(capacity, sizes, seed):
    pool, random = HistoryPool(capacity, (1,)), torch.Generator().manual_seed(seed)
    given_out, number = [], 0
    for size in sizes:
        new = torch.arange(number, number + size).float()[:, None]
        number += size
        given_out += pool.exchange(new, random)[:, 0].tolist()
        assert pool.size == min(capacity, number)
    assert len(given_out) == number
    # While it fills, a sample is both kept and given out; after that each is in one place only.
    kept = pool.samples[: pool.size, 0].tolist()
    first = set(range(min(capacity, number)))
    assert sorted(given_out + kept) == sorted([*range(number), *first])


def test_about_half_of_the_samples_are_old_once_it_is_full():
    pool, random = HistoryPool(4096, (2,)), torch.Generator().manual_seed(0)
    old = total = 0
    for number in range(40):
        out = pool.exchange(torch.full((1024, 2), float(number)), random)
        if number >= 4:
            old, total = old + int((out[:, 0] < number).sum()), total + 1024
        else:
            assert (out == number).all()
    assert abs(old / total - 0.5) < 0.01


def test_it_goes_on_from_its_saved_state_bit_for_bit():
    first, second = HistoryPool(8, (3,)), HistoryPool(8, (3,))
    first.exchange(torch.randn(12, 3), torch.Generator().manual_seed(0))
    second.load_state_dict(first.state_dict())
    new = torch.randn(5, 3, requires_grad=True)
    a, b = (pool.exchange(new, torch.Generator().manual_seed(1)) for pool in (first, second))
    assert torch.equal(a, b)
    assert torch.equal(first.samples, second.samples)
    assert not a.requires_grad


def test_a_pool_without_room_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        HistoryPool(0, (1,))
