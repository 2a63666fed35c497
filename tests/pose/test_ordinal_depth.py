"""The quantiser of joint depth: laws, a slow twin, and the paper's counts of bins."""

import pytest
import torch

from dg.pose.ordinal_depth import DepthBins, bucket_starts, sequential_bins, three_bins

ROOT = 0
ALL_BINS = ["1cm", "10cm", "25cm", "three"]
every_bins = pytest.mark.parametrize("text", ALL_BINS)


def depths(rows: int = 200, seed: int = 0) -> torch.Tensor:
    """`[rows, 17]` joints of a person about 5 m away."""
    generator = torch.Generator().manual_seed(seed)
    return 5 + 0.2 * torch.randn(rows, 17, generator=generator, dtype=torch.float64)


def starts_one_by_one(depth: list[float], width: float) -> list[float]:
    """Slow twin: walk the joints from the nearest, and open a bucket where the last one ends."""
    start, found = None, {}
    for joint, value in sorted(enumerate(depth), key=lambda pair: pair[1]):
        if start is None or value - start > width:
            start = value
        found[joint] = start
    return [found[joint] for joint in range(len(depth))]


@pytest.mark.parametrize("width", [0.01, 0.1, 0.25])
def test_buckets_agree_with_a_walk_from_joint_to_joint(width):
    depth = depths()
    slow = [starts_one_by_one(row, width) for row in depth.tolist()]
    assert bucket_starts(depth, width).tolist() == slow
    numbers = [[sorted(set(row)).index(start) for start in row] for row in slow]
    assert sequential_bins(depth, width).tolist() == numbers


def test_a_bucket_opens_at_its_nearest_joint_and_ends_a_width_behind_it():
    depth = torch.tensor([[1.00, 1.09, 1.10, 1.12, 1.21, 1.23]], dtype=torch.float64)
    assert sequential_bins(depth, 0.105).tolist() == [[0, 0, 0, 1, 1, 2]]


@every_bins
def test_order_is_kept_and_quantising_again_changes_nothing(text):
    bins, depth = DepthBins.parse(text), depths(5000)
    coarse = bins.quantise(depth, ROOT)
    order = depth.argsort(-1)
    assert (coarse.gather(-1, order).diff(dim=-1) >= 0).all()
    torch.testing.assert_close(bins.quantise(coarse, ROOT), coarse, atol=1e-9, rtol=0)
    assert torch.equal(bins.numbers(coarse, ROOT), bins.numbers(depth, ROOT))


@every_bins
def test_the_root_keeps_its_depth_and_the_whole_person_may_stand_anywhere(text):
    bins, depth = DepthBins.parse(text), depths()
    coarse = bins.quantise(depth, ROOT)
    assert torch.equal(coarse[:, ROOT], depth[:, ROOT])
    torch.testing.assert_close(bins.quantise(depth + 3, ROOT), coarse + 3, atol=1e-9, rtol=0)


@pytest.mark.parametrize("width", [0.01, 0.1, 0.25])
def test_a_joint_lies_within_half_a_bin_of_its_buckets_middle(width):
    depth = depths()
    middle = bucket_starts(depth, width) + width / 2
    assert (middle - depth).abs().max() <= width / 2 + 1e-12
    coarse = DepthBins(width).quantise(depth, ROOT)
    change = (coarse - coarse[:, :1]) - (depth - depth[:, :1])
    assert change.abs().max() < width
    # Not for want of trying: some joint moves by more than half a width.
    assert change.abs().max() > width / 2


def test_three_bins_are_in_front_at_and_behind_with_ten_centimetres():
    depth = torch.tensor([[5.0, 4.89, 4.91, 5.09, 5.11, 7.0]], dtype=torch.float64)
    assert three_bins(depth, ROOT).tolist() == [[0, -1, 0, 0, 1, 1]]
    coarse = DepthBins.parse("three").quantise(depth, ROOT)
    torch.testing.assert_close(coarse, torch.tensor([[5.0, 4.8, 5.0, 5.0, 5.2, 5.2]], dtype=torch.float64))
    near = (depths() - depths()[:, :1]).abs() <= 0.1
    off = (DepthBins.parse("three").quantise(depths(), ROOT) - depths()).abs()
    assert off[near].max() <= 0.1


@every_bins
def test_bins_are_counted_as_they_are_numbered(text):
    bins, depth = DepthBins.parse(text), depths()
    expected = [len(set(row)) for row in bins.numbers(depth, ROOT).tolist()]
    assert bins.count(depth, ROOT).tolist() == expected


def test_windows_of_frames_are_quantised_frame_by_frame():
    depth, bins = depths().reshape(20, 10, 17), DepthBins.parse("10cm")
    assert torch.equal(bins.quantise(depth, ROOT).flatten(0, 1), bins.quantise(depths(), ROOT))


@pytest.mark.parametrize("text", ["", "10", "0cm", "-1cm", "four", "10 cm"])
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match="10cm"):
        DepthBins.parse(text)


@pytest.mark.shared
def test_motion_of_another_origin_has_as_many_bins_as_the_paper_counts_on_human36m(shared):
    from dg.datasets.h36m import Human36M, Options

    data = Human36M(Options(root=str(shared / "data/cmu"), stride=100)).load("train")
    z = data.poses.joints_3d[:, 0, :, 2]
    # AugLift, Table 10: 13.7, 5.4, 2.9. Bins of a fixed grid would be 15.0, 6.6 and 3.5 here.
    for text, published in (("1cm", 13.7), ("10cm", 5.4), ("25cm", 2.9)):
        assert abs(float(DepthBins.parse(text).count(z, ROOT).float().mean()) - published) < 0.2
