"""How large and where people are seen: the measures, and that PoseDA's alignment brings them to the target's."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from dg.analyse.placement import QUANTITIES, distance, placement
from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_16
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, source_batch


def test_the_scale_grows_and_the_root_moves_with_the_image():
    poses = PoseBatch.from_joints(make_joints(20, 16)[:, None], make_camera(20), H36M_16)
    moved = poses.replace(joints_2d=2.0 * poses.joints_2d + torch.tensor([0.1, -0.2]))
    before, after = placement(poses), placement(moved)
    torch.testing.assert_close(after["scale"], 2 * before["scale"])
    torch.testing.assert_close(after["root_x"], 2 * before["root_x"] + 0.1)
    torch.testing.assert_close(after["root_y"], 2 * before["root_y"] - 0.2)


def test_the_distance_of_distributions_is_that_of_scipy():
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, 4000), random.gamma(2, 0.3, 3000) + 0.5
    found = distance(torch.from_numpy(one), torch.from_numpy(other))
    assert found == pytest.approx(wasserstein_distance(one, other), rel=0.02)
    assert distance(torch.from_numpy(one), torch.from_numpy(one)) == 0


def test_the_alignment_brings_scale_and_root_to_the_target():
    method, source = make("poseda", H36M_16, "xy", parts="gpa", warmup_iterations=0), source_batch(H36M_16)
    made = [method.propose(source, StepKey(0, 0, number)) for number in range(20)]
    after = placement(PoseBatch.concatenate([poses[poses.valid] for poses in made]))
    before, flat = placement(source), method.target.joints_2d
    nowhere = flat.new_zeros(len(flat), 1, 16, 3)
    target = placement(PoseBatch.from_joints(nowhere, method.target.camera, H36M_16, flat[:, None]))
    for quantity in QUANTITIES:
        assert distance(after[quantity], target[quantity]) < 0.25 * distance(before[quantity], target[quantity])
