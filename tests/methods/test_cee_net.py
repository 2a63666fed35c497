"""CEE-Net, own reading: turns along the chain, a camera within bounds, joints within the source's widened ranges."""

from math import pi, radians

import pytest
import torch
from torch import nn

from dg.augment.joint_ranges import JointRanges, joint_states, limb_bones
from dg.augment.kinematic_generator import CameraReach, KinematicGenerator
from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths, unit_bones, with_bone_lengths
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, source_batch

every_skeleton = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def cee_net(channels="xy", **given):
    return make("cee_net", H36M_16, channels, **{"warmup_iterations": 0, "feedback_mode": "eval", **given})


def generate(skeleton, rows=32, **given):
    generator = KinematicGenerator(skeleton, **given)
    joints = make_joints(rows, len(skeleton))
    return generator, joints, generator(joints, generator.draw_noise(rows, torch.Generator().manual_seed(1)))


class Constant(nn.Module):
    """A trunk that answers the same for every pose."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, pose, noise):
        return self.outputs.flatten().expand(len(pose), -1)


def bends(joints, skeleton):
    units, _ = unit_bones(joints, skeleton)
    bones, parents = zip(*limb_bones(skeleton), strict=True)
    return (units[:, bones] * units[:, parents]).sum(-1)


# -- generator ---------------------------------------------------------------------------------------------------------


@every_skeleton
def test_turns_keep_lengths_place_torso_and_hips(skeleton):
    _, joints, poses = generate(skeleton)
    torch.testing.assert_close(bone_lengths(poses.bone_angle, skeleton), bone_lengths(joints, skeleton))
    still = [skeleton.index(name) for name in ("pelvis", "left_hip", "right_hip", "spine", "thorax")]
    torch.testing.assert_close(poses.bone_angle[:, still], joints[:, still])
    moving = {child for child in range(len(skeleton))} - set(still)
    assert ((poses.bone_angle - joints).norm(dim=-1).mean(0)[sorted(moving)] > 1e-3).all()


@every_skeleton
def test_a_turned_joint_carries_its_limb_and_bends_itself_alone(skeleton):
    generator, joints, _ = generate(skeleton)
    outputs = torch.zeros(len(skeleton.bones), 3)
    elbow_bone = skeleton.bone("left_elbow")  # the upper arm, which turns in the shoulder
    outputs[elbow_bone] = torch.tensor([0.0, 0.0, -0.7])
    generator.bone_angle.trunk = Constant(outputs)
    poses = generator(joints, generator.draw_noise(32, torch.Generator().manual_seed(1)))
    moved = (poses.bone_angle - joints).norm(dim=-1).amax(0) > 1e-3
    assert {skeleton.joints[i] for i in moved.nonzero()[:, 0]} == {"left_elbow", "left_wrist"}
    changed = (bends(poses.bone_angle, skeleton) - bends(joints, skeleton)).abs().amax(0) > 1e-4
    assert [limb_bones(skeleton)[i][0] for i in changed.nonzero()[:, 0]] == [elbow_bone]
    upper, lower = (skeleton.bone(f"left_{joint}") for joint in ("elbow", "wrist"))
    before, after = unit_bones(joints, skeleton)[0], unit_bones(poses.bone_angle, skeleton)[0]
    turn = rotation_from_axis_angle(torch.tensor([0.0, 0.0, -radians(60) * torch.tanh(torch.tensor(0.7))]))
    torch.testing.assert_close(after[:, [upper, lower]], before[:, [upper, lower]] @ turn.T, atol=1e-5, rtol=0)


def test_no_joint_turns_farther_than_its_reach():
    generator, joints, _ = generate(H36M_16, reach_deg=20.0)
    generator.bone_angle.trunk = Constant(1e3 * torch.randn(15, 3))
    poses = generator(joints, generator.draw_noise(32, torch.Generator().manual_seed(1)))
    # The angle to the parent bone changes by the joint's own turn alone, even at the end of a chain.
    change = bends(poses.bone_angle, H36M_16).acos() - bends(joints, H36M_16).acos()
    assert change.abs().max() <= radians(20) + 1e-3
    assert change.abs().max() > radians(15)


@every_skeleton
def test_the_camera_stays_within_its_reach_and_moves_give_it_back(skeleton):
    reach = CameraReach(pitch_deg=20, roll_deg=10, distance=1.5, shift=0.1)
    generator, joints, poses = generate(skeleton, camera=reach)
    root = joints[:, skeleton.root]
    limits = torch.tensor([radians(20), pi, radians(10)])
    assert (poses.rotation.abs() <= limits + 1e-6).all()
    factor = poses.translation[:, 2] / root[:, 2]
    assert (factor <= 1.5 + 1e-5).all()
    assert (factor >= 1 / 1.5 - 1e-5).all()
    moves = generator.camera.moves(poses.rotation, poses.translation, root)
    assert (moves.abs() <= 1 + 1e-4).all()
    torch.testing.assert_close(moves[:, :3] * limits, poses.rotation)
    torch.testing.assert_close(1.5 ** moves[:, 5], factor)
    ray = (root[:, :2] / root[:, 2:] + 0.1 * moves[:, 3:5]) * poses.translation[:, 2:]
    torch.testing.assert_close(ray, poses.translation[:, :2], atol=1e-4, rtol=0)


@every_skeleton
def test_gradients_reach_every_output_that_moves_something(skeleton):
    generator, _, poses = generate(skeleton)
    (poses.rigid * torch.randn(poses.rigid.shape)).sum().backward()
    reached = generator.bone_angle.trunk.last.weight.grad.view(-1, 3, 256).abs().sum((1, 2)) > 0
    assert reached.nonzero()[:, 0].tolist() == [bone for bone, _ in limb_bones(skeleton)]
    for trunk in (generator.rigid.rotation_trunk, generator.rigid.translation_trunk):
        assert (trunk.last.weight.grad.abs().sum(1) > 0).all()
    assert all(p.grad is not None for p in generator.parameters())


# -- joint ranges ------------------------------------------------------------------------------------------------------


@every_skeleton
def test_joint_states_do_not_see_place_orientation_and_bone_lengths(skeleton):
    joints = make_joints(16, len(skeleton))
    turn = rotation_from_axis_angle(torch.randn(16, 3))
    longer = bone_lengths(joints, skeleton) * (0.5 + torch.rand(16, len(skeleton.bones)))
    moved = with_bone_lengths(joints, longer, skeleton) @ turn.mT + torch.randn(16, 1, 3)
    torch.testing.assert_close(joint_states(moved, skeleton), joint_states(joints, skeleton), atol=1e-4, rtol=0)


def test_a_knee_bent_backwards_is_told_from_one_bent_forwards():
    joints = make_joints(1, 16, noise=0.0).repeat(2, 1, 1)
    for row, back in enumerate((0.3, -0.3)):  # the camera sees the front: away from it is backwards
        joints[row, H36M_16.index("left_ankle")] += torch.tensor([0.0, -0.15, back])
    states = joint_states(joints, H36M_16).view(2, -1, 5)
    shank = [bone for bone, _ in limb_bones(H36M_16)].index(H36M_16.bone("left_ankle"))
    hinge = states[:, shank, 4]
    assert hinge[0] * hinge[1] < 0
    assert hinge.abs().min() > 0.3


def test_ranges_hold_the_poses_they_are_made_from_and_grow_with_extrapolation():
    joints, wild = make_joints(2000, 17), make_joints(500, 17, noise=0.1, seed=5)
    narrow, wide = (JointRanges(joints, H36M_17, e) for e in (0.0, 0.5))
    assert wide.contain(joints).float().mean() > 0.97
    inside_narrow, inside_wide = narrow.contain(wild), wide.contain(wild)
    assert (inside_wide | ~inside_narrow).all()
    assert inside_narrow.sum() < inside_wide.sum() < len(wild)
    assert narrow.losses(wild)[0] > wide.losses(wild)[0] > 0


def test_range_loss_is_zero_within_the_ranges_and_falls_on_the_way_back():
    joints = make_joints(2000, 17)
    ranges = JointRanges(joints, H36M_17, 0.25)
    inside = joints[ranges.contain(joints)]
    assert ranges.losses(inside)[0] <= 1e-10
    outside = inside.clone()
    outside[:, H36M_17.index("left_wrist")] += torch.tensor([0.0, -0.6, 0.3])
    halfway = (inside + outside) / 2
    assert not ranges.contain(outside).any()
    assert ranges.losses(outside)[0] > ranges.losses(halfway)[0] > 0


def test_spread_loss_asks_for_more_than_the_source_has():
    joints = make_joints(2000, 17)
    ranges = JointRanges(joints, H36M_17, 0.25)
    still, source, wild = joints[:1].repeat(500, 1, 1), joints, make_joints(500, 17, noise=0.15, seed=5)
    lacking = [ranges.losses(poses)[1].item() for poses in (still, source, wild)]
    assert lacking[0] > lacking[1] > lacking[2]
    assert lacking[0] == pytest.approx(ranges.spread.square().mean().item(), rel=1e-3)


# -- method ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extrapolation", [0.0, 0.25])
def test_proposals_that_may_be_used_lie_within_the_ranges_and_the_frame(extrapolation):
    method = cee_net(extrapolation=extrapolation, reach_deg=40.0)
    with torch.no_grad():
        method.generator.bone_angle.trunk.last.weight.mul_(3)
    source = source_batch(H36M_16)
    proposed = method.propose(source, StepKey(0, 0, 0))
    inside = method.ranges.contain(proposed.joints_3d[:, 0])
    # Lengths, place and view do not enter the ranges, so the final pose tells.
    assert torch.equal(proposed.valid, inside & proposed.camera.in_frame(proposed.joints_3d)[:, 0])
    assert 0 < int(inside.sum()) < len(source)


def test_a_generator_step_gives_no_gradient_to_the_lifter_and_moves_every_part_of_the_generator():
    method = cee_net()
    before = {n: p.clone() for n, p in method.generator.named_parameters()}
    metrics = method._step_augmentor(source_batch(H36M_16), None, StepKey(0, 0, 0))
    assert all(p.grad is None for p in method.lifter.parameters())
    assert not any(
        torch.equal(before[n], p) for n, p in method.generator.named_parameters() if n.endswith("last.weight")
    )
    assert {n for n in metrics if n.startswith("loss/")} == {
        f"loss/{n}"
        for n in (
            "joint_range", "joint_spread", "camera_spread", "bone_length", "feedback_bone_angle", "feedback_rigid",
            "generator",
        )
    }  # fmt: skip


class Noisy(nn.Module):
    """A trunk whose answers differ from pose to pose by noise alone."""

    def __init__(self, spread):
        super().__init__()
        self.spread = spread

    def forward(self, pose, noise):
        return self.spread * noise[:, :3]


def test_the_camera_loss_is_zero_for_moves_spread_over_their_limits_and_not_for_one_view():
    method = cee_net()
    joints = make_joints(300, 16)[:, None]
    source = PoseBatch.from_joints(joints, make_camera(300), H36M_16)
    noise = method.generator.draw_noise(300, torch.Generator().manual_seed(1))

    def loss(spread):
        method.camera_change.rotation_trunk = method.camera_change.translation_trunk = Noisy(spread)
        poses = method.generator(joints[:, 0], noise)
        return method._losses(source, poses, poses.rigid[..., :2])["camera_spread"].item()

    assert loss(1.5) == 0
    assert loss(0.0) == pytest.approx(10 * 0.5**2, rel=1e-3)


def test_a_random_rigid_transform_has_no_network_and_keeps_poses_inside_the_frame():
    method = cee_net(rigid="random", templates="off", extrapolation=100.0)
    assert {name.split(".")[0] for name, _ in method.generator.named_parameters()} == {"bone_angle", "bone_length"}
    source = source_batch(H36M_16)
    metrics = method._step_augmentor(source, None, StepKey(0, 0, 0))
    assert "loss/camera_spread" not in metrics
    assert "loss/feedback_rigid" not in metrics
    proposed = method.propose(source, StepKey(0, 0, 1))
    assert proposed.valid.all()
    assert (proposed.root_relative - source.root_relative)[:, 0].norm(dim=-1).amax(1).median() > 0.2


def test_the_generator_learns_to_spread_the_joints_beyond_the_source():
    method = cee_net(feedback="off", generator_lr=3e-3, range_weight=0.0)
    losses = [
        method._step_augmentor(source_batch(H36M_16, seed=number), None, StepKey(0, 0, number))["loss/joint_spread"]
        for number in range(60)
    ]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reach_deg": 0.0}, "reach_deg"),
        ({"extrapolation": -0.1}, "extrapolation"),
        ({"distance": 1.0}, "distance above 1"),
        ({"feedback": "some"}, "feedback must be one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        cee_net(**given)
