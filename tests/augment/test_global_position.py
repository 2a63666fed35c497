"""METHODS 12.10: what global position alignment keeps exactly, what to first order, and what it survives."""

import pytest
import torch

from dg.augment.global_position import SMALLEST_BOX, align, aligned_root
from dg.methods.base import TargetPoses
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_16, H36M_17, Skeleton
from tests.conftest import make_camera, make_joints

ROWS = 64
both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def mixed_camera(rows: int) -> Camera:
    """Every second camera longer, off its centre and in portrait."""
    second = (torch.arange(rows) % 2 == 1)[:, None]
    return Camera(
        focal=torch.where(second, torch.tensor([2.05, 2.1]), torch.tensor([1.465, 1.5])),
        center=torch.where(second, torch.tensor([0.05, -0.03]), torch.tensor([0.0, 0.02])),
        distortion=torch.full((rows, 5), 0.01),
        extent=torch.where(second, torch.tensor([0.5625, 1.0]), torch.tensor([1.0, 1.0])),
    )


def pinhole(camera: Camera) -> Camera:
    return Camera(camera.focal, camera.center, torch.zeros_like(camera.distortion), camera.extent)


def pairs(skeleton, rows=ROWS):
    """Root-relative source poses, and target 2D with the pinhole that saw it."""
    source = make_joints(rows, len(skeleton), seed=1)
    camera = pinhole(mixed_camera(rows))
    target = camera.project(make_joints(rows, len(skeleton), seed=2) - torch.tensor([0.0, 0.0, 1.5]))
    return source - source[:, :1], target, camera


def box(joints_2d):
    return (joints_2d.amax(1) - joints_2d.amin(1)).sum(-1)


def source_batch(rows=ROWS, distance=1.0):
    joints = make_joints(rows, seed=3)
    joints = joints + (distance - 1) * joints[:, :1]
    return PoseBatch.from_joints(joints[:, None], make_camera(rows, distorted=True), H36M_17)


def target_poses(rows=200, nearer=0.0):
    joints = make_joints(rows, seed=4) - torch.tensor([0.0, 0.0, nearer])
    camera = mixed_camera(rows)
    return TargetPoses("target", "test", pinhole(camera).project(joints), camera), joints


@both
def test_the_root_projects_exactly_onto_the_targets_root(skeleton):
    local, target, camera = pairs(skeleton)
    place, usable = aligned_root(local, target, camera, skeleton.root)
    assert usable.all()
    seen = camera.project(local + place[:, None])[:, skeleton.root]
    torch.testing.assert_close(seen, target[:, skeleton.root], atol=1e-6, rtol=0)


@pytest.mark.parametrize("depth_m", [(1.0, 2.0), (9.0, 15.0)])
def test_the_root_projects_exactly_where_the_depth_is_clamped_too(depth_m):
    local, target, camera = pairs(H36M_17)
    place, _ = aligned_root(local, target, camera, 0, depth_m)
    assert ((place[:, 2] == depth_m[0]) | (place[:, 2] == depth_m[1])).any()
    assert place[:, 2].min() >= depth_m[0]
    assert place[:, 2].max() <= depth_m[1]
    torch.testing.assert_close(camera.project(local + place[:, None])[:, 0], target[:, 0], atol=1e-6, rtol=0)


@both
def test_the_box_tends_to_the_targets_as_the_poses_become_flat(skeleton):
    local, target, camera = pairs(skeleton)
    errors = []
    for flatness in (1.0, 0.1, 0.01, 0.0):
        flat = local * torch.tensor([1.0, 1.0, flatness])
        place, _ = aligned_root(flat, target, camera, skeleton.root)
        made = camera.project(flat + place[:, None])
        errors.append(((box(made) - box(target)) / box(target)).abs().max().item())
    assert errors[0] > 1e-3  # so that the law is not empty
    assert errors[1] < 0.2 * errors[0]
    assert errors[2] < 0.2 * errors[1]
    assert errors[3] < 1e-5


def test_a_flat_source_pose_paired_with_its_own_projection_is_put_back_where_it_was():
    joints = make_joints(ROWS) * torch.tensor([1.0, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 4.0])
    camera = pinhole(mixed_camera(ROWS))
    place, _ = aligned_root(joints, camera.project(joints), camera, 0)
    torch.testing.assert_close(place, joints[:, 0], atol=1e-5, rtol=1e-5)


def test_a_row_is_aligned_by_its_own_camera_whatever_the_others_are():
    local, target, camera = pairs(H36M_17)
    together, _ = aligned_root(local, target, camera, 0)
    for row in range(0, ROWS, 7):
        own = slice(row, row + 1)
        alone, _ = aligned_root(local[own], target[own], camera[own], 0)
        assert torch.equal(alone, together[own])
    longer = Camera(camera.focal * 1.5, camera.center, camera.distortion, camera.extent)
    farther, _ = aligned_root(local, target, longer, 0, (0.01, 1000.0))
    free, _ = aligned_root(local, target, camera, 0, (0.01, 1000.0))
    torch.testing.assert_close(farther[:, 2], 1.5 * free[:, 2])


def test_the_order_of_the_rows_does_not_matter():
    local, target, camera = pairs(H36M_17)
    order = torch.randperm(ROWS)
    place, usable = aligned_root(local, target, camera, 0)
    shuffled = aligned_root(local[order], target[order], camera[order], 0)
    assert torch.equal(shuffled[0], place[order])
    assert torch.equal(shuffled[1], usable[order])


@pytest.mark.parametrize("case", ["point", "missing", "infinite", "source point"])
def test_degenerate_poses_give_finite_roots(case):
    local, target, camera = pairs(H36M_17)
    if case == "source point":
        local = torch.zeros_like(local)
    else:
        value = {"point": 0.1, "missing": float("nan"), "infinite": float("inf")}[case]
        target[::2] = value
    place, usable = aligned_root(local, target, camera, 0)
    assert place.isfinite().all()
    assert usable.tolist() == [case == "source point" or row % 2 == 1 for row in range(ROWS)]


def test_the_smallest_box_that_counts():
    local, target, camera = pairs(H36M_17)
    scaled = target / box(target)[:, None, None] * SMALLEST_BOX
    assert aligned_root(local, scaled * 1.01, camera, 0)[1].all()
    assert not aligned_root(local, scaled * 0.99, camera, 0)[1].any()


def test_aligned_poses_keep_their_shape_and_take_a_targets_camera_without_distortion():
    source = source_batch()
    target, _ = target_poses()
    aligned = align(source, source.joints_3d[:, 0], target.draw, torch.Generator().manual_seed(0))
    assert aligned.valid.all()
    torch.testing.assert_close(aligned.root_relative, source.root_relative, atol=1e-5, rtol=0)
    assert not aligned.camera.distortion.any()
    portrait = aligned.camera.extent[:, 0] < 1
    assert 0.2 < portrait.float().mean() < 0.8
    expected = torch.where(portrait[:, None], torch.tensor([2.05, 2.1]), torch.tensor([1.465, 1.5]))
    assert torch.equal(aligned.camera.focal, expected)
    assert (aligned.joints_2d[:, 0].abs() <= aligned.camera.extent[:, None]).all()
    torch.testing.assert_close(aligned.joints_2d, aligned.camera.project(aligned.joints_3d))
    assert aligned.depth is None


def test_nothing_that_was_given_is_changed():
    source = source_batch()
    target, _ = target_poses()
    before = (
        source.joints_3d.clone(),
        source.camera.focal.clone(),
        target.joints_2d.clone(),
        target.camera.center.clone(),
    )
    align(source, source.joints_3d[:, 0], target.draw, torch.Generator().manual_seed(0))
    after = (source.joints_3d, source.camera.focal, target.joints_2d, target.camera.center)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_poses_that_fit_nowhere_stay_where_they_are_and_are_not_valid():
    source = source_batch()
    target, _ = target_poses()
    nothing = TargetPoses("target", "test", torch.full_like(target.joints_2d, 0.2), target.camera)
    aligned = align(source, source.joints_3d[:, 0], nothing.draw, torch.Generator().manual_seed(0))
    assert not aligned.valid.any()
    assert torch.equal(aligned.joints_3d, source.joints_3d)
    assert torch.equal(aligned.camera.focal, source.camera.focal)


def test_degenerate_and_outside_target_poses_are_drawn_again():
    source = source_batch(400)
    target, _ = target_poses(400)
    bad = target.joints_2d.clone()
    bad[::4] = 0.1  # a point
    bad[1::4] += 0.9  # at the edge of the frame
    poor = TargetPoses("target", "test", bad, target.camera)
    shares = [
        align(source, source.joints_3d[:, 0], poor.draw, torch.Generator().manual_seed(0), attempts=n)
        .valid.float()
        .mean()
        .item()
        for n in (1, 4)
    ]
    # Half of the target poses can be used: 1 / 2 with one attempt, 1 - 1 / 2^4 with four.
    assert abs(shares[0] - 0.5) < 0.1
    assert abs(shares[1] - 0.9375) < 0.05


@pytest.mark.parametrize(("ahead", "kept"), [(-0.6, True), (-0.8, False)])
def test_no_joint_comes_nearer_than_the_limit(ahead, kept):
    deep = Skeleton("deep", ("pelvis", "spine"), (-1, 0))
    joints = torch.tensor([[[0.0, 0.0, 5.0], [0.1, -0.02, 5.0 + ahead]]]).repeat(8, 1, 1)
    source = PoseBatch.from_joints(joints[:, None], make_camera(8), deep)
    # A large box: the root's depth is clamped to 1 m, the spine then lies on the axis at 0.4 or 0.2 m.
    seen = torch.tensor([[[-0.2, 0.04], [0.4, -0.4]]]).repeat(8, 1, 1)
    target = TargetPoses("near", "test", seen, make_camera(8))
    aligned = align(source, joints, target.draw, torch.Generator().manual_seed(0))
    assert aligned.valid.tolist() == [kept] * 8


def test_the_same_generator_gives_the_same_pairs_and_another_others():
    source = source_batch()
    target, _ = target_poses()
    first, again, other = (
        align(source, source.joints_3d[:, 0], target.draw, torch.Generator().manual_seed(seed)).joints_3d
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("distance", [0.7, 1.0, 1.8])
def test_wherever_the_source_stands_its_depths_become_the_targets(distance):
    source = source_batch(600, distance)
    target, joints = target_poses(600, nearer=2.0)
    aligned = align(source, source.joints_3d[:, 0], target.draw, torch.Generator().manual_seed(0))
    before, wanted = source.joints_3d[:, 0, 0, 2].median(), joints[:, 0, 2].median()
    made = aligned.joints_3d[aligned.valid][:, 0, 0, 2].median()
    assert (before - wanted).abs() > 0.4
    assert (made / wanted - 1).abs() < 0.1
