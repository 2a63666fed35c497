"""Whether a run would notice that its augmentation has collapsed, on generators that were made to."""

import math

import pytest
import torch

from dg.augment.viewpoint import QUANTITIES, view_quantities
from dg.methods.diagnosis import PERCENTS, diagnose, posture_change
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_vectors, joints_from_bones
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import flat, make, same
from tests.methods.test_poseaug import RELEASED


def source(rows=256):
    return PoseBatch.from_joints(make_joints(rows, 16)[:, None], make_camera(rows), H36M_16)


def poseaug(**given):
    return make("poseaug", H36M_16, "xy", **{**RELEASED, "warmup_iterations": 0, "templates": "off", **given})


def with_constant_turn(turn, spread=0.0):
    """PoseAug whose rotation head answers one turn, and as much noise as is said."""
    method = poseaug()
    with torch.no_grad():
        last = method.generator.rigid.rotation_trunk.last
        last.weight.mul_(spread)
        last.bias.copy_(torch.tensor(turn))
        for part in (method.generator.rigid.translation_trunk.last, method.generator.bone_angle.trunk.last):
            part.weight.zero_()
            part.bias.zero_()
    return method


def test_a_saturated_rotation_head_is_told():
    found = diagnose(with_constant_turn([0.25, 0.0, 0.0]), source(), 64)
    assert found.turned_deg > 30
    assert found.spread_over_noise_deg < 3
    assert found.warnings.keys() >= {"collapsed"}
    assert "collapsed" in found.warnings["collapsed"]


def test_poses_seen_from_below_are_told():
    below = diagnose(with_constant_turn([-0.6, 0.0, 0.0]), source(), 64)
    assert below.beyond_share > 0.5
    assert "implausible" in below.warnings


def test_poses_that_stay_are_not_called_collapsed():
    assert diagnose(with_constant_turn([0.0, 0.0, 0.0]), source(), 64).warnings.keys() == {"posture"}


def test_an_augmentor_that_leaves_postures_alone_is_told():
    still, moving = with_constant_turn([0.3, 0.0, 0.0]), poseaug(rigid="random")
    found = diagnose(still, source(), 64)
    assert found.posture_deg < 0.1, "whole bodies turn; bones do not turn against them"
    assert "leaves postures as they are" in found.warnings["posture"]
    assert diagnose(moving, source(), 64).posture_deg > 20, "an untrained generator bends"
    unlearned = poseaug(rigid="learned", operations=("rt",))
    assert "posture" not in diagnose(unlearned, source(), 64).warnings, "it has no network for that"


def test_posture_is_the_turn_of_bones_against_the_body():
    before = source(64)
    bones = bone_vectors(before.joints_3d[:, 0], H36M_16)
    turn = rotation_from_axis_angle(torch.tensor([0.0, 0.4, 0.0]))
    one = H36M_16.bone("left_wrist")
    bones[:, one] = bones[:, one] @ turn.T
    bent = before.with_joints(joints_from_bones(bones, H36M_16)[:, None] + before.joints_3d[:, :, H36M_16.root, None])
    assert 0 < posture_change(before, bent) < math.degrees(0.4) / 5
    turned = before.with_joints(before.joints_3d @ rotation_from_axis_angle(torch.tensor([0.2, 1.0, 0.1])).T)
    assert posture_change(before, turned) < 0.1
    assert posture_change(bent, turned) == pytest.approx(posture_change(before, bent), abs=0.05)


@pytest.mark.parametrize("method", [lambda: make("random_rigid", H36M_16, "xy"), lambda: poseaug(rigid="random")])
def test_a_random_rigid_move_is_as_wide_as_it_should_be(method):
    found = diagnose(method(), source(), 64)
    assert found.spread_over_noise_deg > 45
    assert found.valid_share > 0.9
    assert found.warnings == {}


def test_methods_that_make_nothing_have_no_diagnosis():
    assert diagnose(make("erm", H36M_16, "xy"), source(), 64) is None
    assert diagnose(poseaug(warmup_iterations=5), source(), 64) is None


def test_looking_changes_nothing():
    method = poseaug()
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in flat(method.state_dict()).items()}
    diagnose(method, source(), 64)
    assert all(same(before[k], v) for k, v in flat(method.state_dict()).items())


def test_metrics_are_percentiles_in_order():
    metrics = diagnose(poseaug(rigid="random"), source(), 64).metrics()
    for quantity in QUANTITIES:
        values = [metrics[f"views/proposals/{quantity}_p{percent}"] for percent in PERCENTS]
        assert values == sorted(values)
        assert len(set(values)) == 3


def test_the_box_scale_and_the_depth_are_those_of_the_pose():
    poses = source(8)
    near, far = (view_quantities(poses.with_joints(poses.joints_3d + torch.tensor([0.0, 0.0, z]))) for z in (0.0, 40.0))
    torch.testing.assert_close(far["root_depth_m"] - near["root_depth_m"], torch.full((8,), 40.0))
    # At a distance the box shrinks in proportion.
    torch.testing.assert_close(
        far["scale_2d"] * far["root_depth_m"], near["scale_2d"] * near["root_depth_m"], rtol=0.15, atol=0
    )
