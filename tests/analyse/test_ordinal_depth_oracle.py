"""The depth channel with other depth in it."""

import pytest
import torch

from dg.analyse.ordinal_depth import OrdinalDepthOptions, relative_depth_error_m, with_relative_depth
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints


def surface(rows: int = 20) -> PoseBatch:
    """Poses whose surface lies some centimetres before each joint."""
    poses = PoseBatch.from_joints(make_joints(rows)[:, None], make_camera(rows), H36M_17)
    offset = 0.2 * torch.rand(rows, 1, 17, generator=torch.Generator().manual_seed(0))
    return poses.replace(depth=poses.joints_3d[..., 2] - offset)


def test_only_the_depth_channel_changes_and_it_becomes_the_truth():
    poses = surface()
    exact = with_relative_depth(poses, poses.joints_3d[..., 2])
    spec = InputSpec("xyd", "focal", depth_unit="metre")
    before, after = poses.features(spec), exact.features(spec)
    assert torch.equal(before[..., :2], after[..., :2])
    torch.testing.assert_close(after[..., 2], poses.root_relative[..., 2], atol=1e-5, rtol=0)
    assert (before[..., 2] - after[..., 2]).abs().mean() > 0.02


def test_the_error_of_the_channel_is_that_of_the_surface_relative_to_the_root():
    poses = surface()
    offset = poses.joints_3d[..., 2] - poses.depth
    assert relative_depth_error_m(poses) == pytest.approx(float((offset - offset[..., :1]).abs().mean()), abs=1e-6)
    assert relative_depth_error_m(with_relative_depth(poses, poses.joints_3d[..., 2])) < 1e-6


def test_bins_that_are_none_are_refused():
    with pytest.raises(ValueError, match="10cm"):
        OrdinalDepthOptions(bins=("10cm", "fine"))
