from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from dg.compare.bootstrap import MIN_SEEDS, paired_interval

NUMBERS = st.lists(st.floats(-50, 50), min_size=2, max_size=12)


def test_equal_rows_differ_by_nothing():
    found = paired_interval([0.0] * 6)
    assert (found.mean, found.low, found.high, found.certain) == (0.0, 0.0, 0.0, False)


def test_a_common_shift_is_found_exactly():
    found = paired_interval([-3.0] * MIN_SEEDS)
    assert (found.low, found.high) == pytest.approx((-3.0, -3.0))
    assert found.certain


@settings(max_examples=30, deadline=None)
@given(NUMBERS, st.floats(-20, 20))
def test_the_interval_moves_with_a_shift_and_keeps_its_width(differences, shift):
    still, moved = paired_interval(differences), paired_interval([d + shift for d in differences])
    assert moved.low == pytest.approx(still.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(still.high + shift, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(NUMBERS)
def test_the_interval_holds_the_mean_and_stays_within_the_values(differences):
    found = paired_interval(differences)
    assert min(differences) - 1e-9 <= found.low <= found.high <= max(differences) + 1e-9
    assert found.low <= found.mean + 1e-9
    assert found.mean <= found.high + 1e-9


def test_it_is_the_same_every_time_and_another_for_another_seed():
    values = [1.0, 2.5, -0.5, 3.0, 1.2, 0.7, 2.2]
    assert paired_interval(values) == paired_interval(values)
    assert paired_interval(values, seed=1) != paired_interval(values, seed=2)


def test_more_level_is_wider_and_more_seeds_are_narrower():
    values = [1.0, 2.5, -0.5, 3.0, 1.2]
    narrow, wide, many = (paired_interval(values, level=0.5), paired_interval(values), paired_interval(values * 8))
    assert wide.high - wide.low > narrow.high - narrow.low
    assert wide.high - wide.low > 2 * (many.high - many.low)


def test_it_agrees_with_every_possible_draw_of_three_seeds():
    # The 27 draws of (0, 3, 6) with replacement have means 0, 1, ... 6, in 1, 3, 6, 7, 6, 3, 1 of them.
    # Level 95 %: t with 2 degrees of freedom, times sqrt(3/2), puts the tail far below 1/27, so at the least draw.
    found = paired_interval([0.0, 3.0, 6.0])
    assert (found.mean, found.low, found.high) == (3.0, 0.0, 6.0)
    # Level 50 %: -0.816 * 1.225 = -1.0, a tail of 15.9 %; 4 of 27, 14.8 %, are at most 1.
    half = paired_interval([0.0, 3.0, 6.0], level=0.5)
    assert (half.low, half.high) == (2.0, 4.0)


def test_it_agrees_with_every_possible_draw_of_five_seeds():
    values = [0.3, 1.7, -0.9, 2.6, 4.0]
    means = np.sort([np.mean(draw) for draw in product(values, repeat=5)])
    tail = norm.cdf(np.sqrt(5 / 4) * t.ppf(0.025, 4))
    found = paired_interval(values)
    assert (found.low, found.high) == pytest.approx(np.quantile(means, [tail, 1 - tail]), abs=0.12)
    plain = np.quantile(means, [0.025, 0.975])
    assert found.low < plain[0] - 0.2
    assert found.high > plain[1] + 0.2


@pytest.mark.parametrize("seeds", range(1, MIN_SEEDS))
def test_few_seeds_are_never_certain(seeds):
    found = paired_interval([-10.0] * seeds)
    assert not found.certain
    assert (found.low is None) == (seeds == 1)


def test_no_pair_is_an_error():
    with pytest.raises(ValueError, match="at least one pair"):
        paired_interval([])
