"""Random cameras: where they stand, what they leave of a body, and what a detector makes of the 2D."""

import pytest
import torch

from dg.augment.body_shape import ShapeRanges, vary_shape
from dg.augment.detector_errors import DetectorErrors
from dg.augment.virtual_views import CameraVerticals, vertical
from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import OptionError
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, source_batch, source_poses

SKELETONS = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
PLAIN = {"hips": (1.0, 1.0), "shoulders": (1.0, 1.0), "limbs": (1.0, 1.0)}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_poses_keep_their_shape_and_focal_lengths_lie_in_the_range():
    method = make("random_camera", channels="xy", **PLAIN)
    source = source_batch(H36M_17, channels="xy")
    seen = method.propose(source, StepKey(0, 0, 0))
    before, after = source.joints_3d[:, 0], seen.joints_3d[:, 0]
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=2e-3, rtol=0)
    low, high = method.options.focal
    assert ((seen.camera.focal >= low) & (seen.camera.focal <= high)).all()
    assert seen.camera.focal[:, 0].std() > 0.1
    torch.testing.assert_close(seen.joints_2d, seen.camera.project(seen.joints_3d))
    assert seen.valid.float().mean() > 0.5


def test_verticals_are_those_of_the_cameras_that_saw_the_reference():
    reference = source_poses(H36M_17)
    verticals = CameraVerticals(reference)
    torch.testing.assert_close(verticals(reference), vertical(reference, reference))


@SKELETONS
def test_a_varied_body_keeps_its_directions_and_its_sides_alike(skeleton):
    joints = make_joints(50, len(skeleton), seed=1)
    ranges = ShapeRanges()
    varied = vary_shape(joints, skeleton, ranges, generator())
    torch.testing.assert_close(varied[:, skeleton.root], joints[:, skeleton.root])
    scale = bone_lengths(varied, skeleton) / bone_lengths(joints, skeleton)
    for part, (low, high) in (("hip", ranges.hips), ("shoulder", ranges.shoulders), ("knee", ranges.limbs)):
        left, right = (scale[:, skeleton.bone(f"{side}_{part}")] for side in ("left", "right"))
        torch.testing.assert_close(left, right, atol=1e-3, rtol=0)
        assert low - 1e-3 <= float(left.min()) < float(left.max()) <= high + 1e-3
    spine = scale[:, skeleton.bone("spine")]
    torch.testing.assert_close(spine, torch.ones_like(spine), atol=1e-3, rtol=0)
    bones, moved = (skeleton.bone_matrix() @ j for j in (joints, varied))
    cosine = torch.nn.functional.cosine_similarity(bones, moved, dim=-1)
    assert (cosine > 1 - 1e-4).all()


@SKELETONS
def test_a_detectors_trunk_is_made_of_hips_and_shoulders(skeleton):
    flat = make_joints(200, len(skeleton), seed=2)[..., :2]
    errors = DetectorErrors(noise=0.0, redefined=1.0, missing=0.0)
    found = errors.detected(flat, skeleton, generator())
    at = skeleton.index
    for joint, sides in (("pelvis", "hip"), ("thorax", "shoulder")):
        middle = found[:, [at(f"left_{sides}"), at(f"right_{sides}")]].mean(1)
        torch.testing.assert_close(found[:, at(joint)], middle)
    torch.testing.assert_close(found[:, at("spine")], (found[:, at("pelvis")] + found[:, at("thorax")]) / 2)
    same = DetectorErrors(noise=0.0, redefined=0.0, missing=0.0).detected(flat, skeleton, generator())
    torch.testing.assert_close(same, flat)


def test_noise_grows_towards_the_ends_of_limbs_and_with_the_person():
    flat = make_joints(4000, 17, noise=0.0, seed=3)[..., :2]
    errors = DetectorErrors(noise=0.01, redefined=0.0, missing=0.0)
    off = (errors.detected(flat, H36M_17, generator()) - flat).norm(dim=-1).median(0).values
    assert off[H36M_17.index("left_wrist")] > 1.4 * off[H36M_17.index("left_hip")]
    double = (errors.detected(2 * flat, H36M_17, generator()) - 2 * flat).norm(dim=-1).median(0).values
    torch.testing.assert_close(double, 2 * off, rtol=1e-3, atol=1e-5)


def test_missing_joints_lie_where_their_limb_goes_on():
    flat = make_joints(500, 17, seed=4)[..., :2]
    found = DetectorErrors(noise=0.0, redefined=0.0, missing=1.0).detected(flat, H36M_17, generator())
    moved = (found - flat).norm(dim=-1) > 1e-6
    assert 0.05 < moved.float().mean() < 0.5
    for parent, child in H36M_17.bones:
        gone = moved[:, child]
        torch.testing.assert_close(found[gone, child], found[gone, parent])
    assert not moved[:, [H36M_17.root, H36M_17.index("thorax"), H36M_17.index("left_hip")]].any()


def test_ranges_that_are_none_are_refused():
    with pytest.raises(OptionError, match="focal must be two positive numbers"):
        make("random_camera", focal=(3.0, 1.0))
    with pytest.raises(OptionError, match="source must be in"):
        make("random_camera", source=1.0)


def walk(rows=40, frames=9):
    """Windows of people who walk to their left and lean forward meanwhile."""
    joints = make_joints(rows, 17, seed=5)
    joints = joints - joints[:, :1] + torch.tensor([0.0, 0.0, 5.0])
    steps = torch.arange(frames)[:, None, None]
    lean = torch.zeros(17, 3)
    lean[H36M_17.index("thorax") :, 2] = -0.02
    return joints[:, None] + steps * (torch.tensor([0.03, 0.0, 0.0]) + lean)


def test_a_window_is_seen_by_one_camera_and_is_one_body():
    method = make("random_camera", channels="xy")
    joints = walk()
    source = PoseBatch.from_joints(joints, make_camera(len(joints)), H36M_17)
    seen = method.propose(source, StepKey(0, 0, 0))
    assert seen.joints_3d.shape == joints.shape
    torch.testing.assert_close(seen.joints_2d, seen.camera.project(seen.joints_3d))
    before, after = (bone_lengths(poses.flatten(0, 1), H36M_17).view(40, 9, -1) for poses in (joints, seen.joints_3d))
    scale = after / before
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale), atol=1e-3, rtol=0)
    assert scale[:, 0].std(0).max() > 0.05
    pelvis = seen.joints_3d[:, :, H36M_17.root]
    moved = (pelvis[:, 1:] - pelvis[:, :-1]).norm(dim=-1)
    torch.testing.assert_close(moved, torch.full_like(moved, 0.03), atol=1e-4, rtol=0)
    single = method.propose(source_batch(H36M_17, channels="xy"), StepKey(0, 0, 0))
    assert single.joints_3d.shape[1] == 1


def test_what_a_detector_gets_wrong_of_a_person_it_gets_wrong_in_every_frame_but_for_half_of_its_noise():
    flat = make_joints(300, 17, noise=0.0, seed=3)[..., :2].repeat_interleave(8, 0)
    still = DetectorErrors(noise=0.0, redefined=0.5, missing=0.5).detected(flat, H36M_17, generator(), frames=8)
    windows = still.view(300, 8, 17, 2)
    assert torch.equal(windows, windows[:, :1].expand_as(windows))
    assert (windows[:, 0] - flat[::8]).abs().amax((1, 2)).gt(1e-3).float().mean() > 0.4
    off = DetectorErrors(noise=0.01, redefined=0.0, missing=0.0).detected(flat, H36M_17, generator(), frames=8) - flat
    off = off.view(300, 8, 17, 2)
    within, between = off.var(1).mean(), off.mean(1).var()
    assert 0.7 < float(within / between) < 1.0  # the mean of 8 keeps an eighth of what differs within
