"""What is done to a centre frame is done to its window: laws of the transform."""

import pytest
import torch

from dg.augment.window_transform import WINDOWS, carry_move, carry_pose, centre_frames, check_frames, check_windows
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths, bone_vectors, unit_bones, with_bone_lengths
from dg.pose.rotation import minimal_rotation, rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_camera, make_joints

ROWS, FRAMES = 6, 5

both_skeletons = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def windows_of(skeleton, frames=FRAMES):
    """People who move: poses and places differ from frame to frame."""
    return make_joints(ROWS * frames, len(skeleton), seed=1).double().unflatten(0, (ROWS, frames))


def changed_centres(windows, skeleton):
    """Other bones at the centre frames' own roots."""
    other = make_joints(ROWS, len(skeleton), noise=0.2, seed=2).double()
    return other - other[:, None, skeleton.root] + windows[:, windows.shape[1] // 2, None, skeleton.root]


def some_move():
    return rotation_from_axis_angle(torch.randn(ROWS, 3).double()), torch.randn(ROWS, 3).double() + 4


@both_skeletons
@pytest.mark.parametrize("frames", [1, 2, FRAMES])
def test_the_centre_frame_becomes_what_it_was_changed_to(skeleton, frames):
    windows = windows_of(skeleton, frames)
    changed = changed_centres(windows, skeleton)
    carried = carry_pose(windows, changed, skeleton)
    torch.testing.assert_close(carried[:, frames // 2], changed, atol=1e-9, rtol=0)
    if frames == 1:
        assert torch.equal(carried[:, 0], changed)


@both_skeletons
def test_bone_lengths_change_by_the_same_ratio_in_all_frames_and_roots_stay(skeleton):
    windows = windows_of(skeleton)
    carried = carry_pose(windows, changed_centres(windows, skeleton), skeleton)
    ratio = bone_lengths(carried, skeleton) / bone_lengths(windows, skeleton)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert (ratio - 1).abs().max() > 0.1
    torch.testing.assert_close(carried[:, :, skeleton.root], windows[:, :, skeleton.root])


@both_skeletons
def test_every_bone_turns_by_the_same_shortest_rotation_in_all_frames(skeleton):
    windows = windows_of(skeleton)
    changed = changed_centres(windows, skeleton)
    carried = carry_pose(windows, changed, skeleton)
    for row in range(ROWS):
        old, new = (unit_bones(pose, skeleton)[0] for pose in (windows[row, FRAMES // 2], changed[row]))
        for bone in range(len(skeleton.bones)):
            turn = minimal_rotation(old[bone], new[bone])
            expected = unit_bones(windows[row], skeleton)[0][:, bone] @ turn.mT
            torch.testing.assert_close(unit_bones(carried[row], skeleton)[0][:, bone], expected, atol=1e-6, rtol=0)


def test_other_lengths_alone_turn_no_bone():
    windows = windows_of(H36M_17)
    lengths = bone_lengths(windows[:, FRAMES // 2], H36M_17) * (0.8 + 0.4 * torch.rand(ROWS, 16))
    carried = carry_pose(windows, with_bone_lengths(windows[:, FRAMES // 2], lengths, H36M_17), H36M_17)
    torch.testing.assert_close(unit_bones(carried, H36M_17)[0], unit_bones(windows, H36M_17)[0])


def test_a_window_that_stands_still_stays_so():
    windows = windows_of(H36M_17, 1).expand(-1, FRAMES, -1, -1)
    carried = carry_move(carry_pose(windows, changed_centres(windows, H36M_17), H36M_17), *some_move(), H36M_17)
    torch.testing.assert_close(carried, carried[:, :1].expand_as(carried), atol=1e-12, rtol=0)
    assert (carried - windows).abs().max() > 0.1


@both_skeletons
def test_a_move_keeps_distances_within_and_between_frames_and_brings_the_root_to_its_place(skeleton):
    windows, (rotation, place) = windows_of(skeleton), some_move()
    moved = carry_move(windows, rotation, place, skeleton)
    points = [joints.flatten(1, 2) for joints in (moved, windows)]
    distances = [(p[:, :, None] - p[:, None]).norm(dim=-1) for p in points]
    torch.testing.assert_close(*distances, atol=1e-9, rtol=0)
    torch.testing.assert_close(moved[:, FRAMES // 2, skeleton.root], place)
    path, before = (
        joints[:, :, skeleton.root] - joints[:, FRAMES // 2, None, skeleton.root] for joints in (moved, windows)
    )
    torch.testing.assert_close(path, before @ rotation.mT)


def test_of_one_frame_a_move_is_the_rigid_transform_of_a_pose():
    windows, (rotation, place) = windows_of(H36M_17, 1), some_move()
    expected = (windows[:, 0] - windows[:, 0, :1]) @ rotation.mT + place[:, None]
    torch.testing.assert_close(carry_move(windows, rotation, place, H36M_17)[:, 0], expected)


def test_nearly_opposite_and_missing_bones_stay_finite_and_keep_lengths_and_gradients():
    windows = windows_of(H36M_17).float()
    windows[:, :, 10] = windows[:, :, 9]  # the head on the neck: a bone without length
    vectors = bone_vectors(windows, H36M_17)
    for angle in (1.0, 1e-2, 1e-3, 1e-4, 0.0):
        turn = rotation_from_axis_angle(torch.tensor([0.0, torch.pi - angle, 0.0]))
        changed = (windows[:, FRAMES // 2] - windows[:, FRAMES // 2, :1]) @ turn.mT + windows[:, FRAMES // 2, :1]
        changed = changed.requires_grad_()
        carried = carry_pose(windows, changed, H36M_17)
        assert carried.isfinite().all()
        torch.testing.assert_close(bone_lengths(carried, H36M_17), vectors.norm(dim=-1), atol=1e-5, rtol=1e-5)
        (gradient,) = torch.autograd.grad(carried.square().sum(), changed)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0


def test_gradients_reach_the_changed_pose_from_every_frame():
    windows = windows_of(H36M_17)[:2, :3]
    changed = changed_centres(windows_of(H36M_17), H36M_17)[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda c: carry_pose(windows, c, H36M_17), changed, atol=1e-6)


def test_centre_frames_are_poses_of_one_frame():
    windows = windows_of(H36M_17).float()
    poses = PoseBatch.from_joints(windows, make_camera(ROWS), H36M_17)
    poses = poses.replace(depth=windows[..., 2] - 0.1, confidence=torch.rand(ROWS, FRAMES, 17))
    centre = centre_frames(poses)
    for name in ("joints_3d", "joints_2d", "depth", "confidence"):
        assert torch.equal(getattr(centre, name), getattr(poses, name)[:, 2:3])
    assert centre_frames(centre) is centre


def test_windows_are_refused_where_the_option_is_off_or_unknown():
    check_frames(1, "off")
    check_frames(9, "centre_transform")
    with pytest.raises(ValueError, match=r"single frames, got windows of 9.*windows=centre_transform"):
        check_frames(9, "off")
    for name in WINDOWS:
        check_windows(name)
    with pytest.raises(ValueError, match=r"windows must be one of.*'on'"):
        check_windows("on")
