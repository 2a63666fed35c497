"""Groups of frames: their sizes, their borders, and the figures within."""

import numpy as np
import pytest
import torch

from dg.analyse.base import change_percent
from dg.analyse.stratified import QUARTERS, error_figures, percentile, strata


def scores(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(frames, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [4, 100, 1000])
def test_quarters_of_distinct_scores_are_equal_and_sum_to_all_frames(frames):
    groups = strata(scores(frames), QUARTERS)
    assert groups.bincount(minlength=4).tolist() == [frames // 4] * 4


@pytest.mark.parametrize(("shares", "expected"), [((0.2, 0.8), [20, 60, 20]), ((0.5,), [50, 50])])
def test_groups_have_the_shares_that_were_asked_for(shares, expected):
    assert strata(scores(100), shares).bincount().tolist() == expected


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 50, 101])
def test_every_frame_is_in_one_group_and_groups_follow_the_score(frames):
    score = (scores(frames) * 6).round()  # with many frames of equal score
    groups = strata(score, QUARTERS)
    assert ((groups >= 0) & (groups <= 3)).all()
    order = score.argsort()
    assert (groups[order].diff() >= 0).all()
    for value in score.unique():
        assert len(groups[score == value].unique()) == 1


def test_frames_without_a_score_are_left_out_and_change_nothing_for_the_others():
    score = scores(100)
    with_gaps = torch.cat([score, torch.full((7,), torch.nan)])
    groups = strata(with_gaps, QUARTERS)
    assert (groups[100:] == -1).all()
    assert torch.equal(groups[:100], strata(score, QUARTERS))
    assert (strata(torch.full((3,), torch.nan), QUARTERS) == -1).all()


@pytest.mark.parametrize("percent", [0, 12.5, 50, 90, 100])
@pytest.mark.parametrize("values", [1, 2, 10, 333])
def test_percentiles_agree_with_numpy(values, percent):
    error = scores(values) * 100
    assert percentile(error, percent) == pytest.approx(np.percentile(error.double().numpy(), percent), abs=1e-9)


def test_an_empty_group_has_no_figures():
    assert error_figures(torch.zeros(0)) == {"mean": None, "median": None, "p90": None}
    assert error_figures(torch.tensor([1.0, 3.0]))["mean"] == 2.0


def test_a_change_is_counted_from_the_reference():
    assert change_percent(90.0, 100.0) == pytest.approx(-10.0)
    assert change_percent(1.0, 0.0) is None
