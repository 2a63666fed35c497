"""What a skeleton's Laplacian and the structural similarity of poses must obey, and local bone rotations."""

import pytest
import torch
from scipy import stats

from dg.augment.bone_rotation import BoneRotation, KinematicFrames, LocalPose
from dg.augment.structure import normalised_laplacian, overall_gap, proximity, structural_distance
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17, SKELETONS
from tests.conftest import make_joints

ROWS = 200
both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=lambda s: s.name)
def test_the_laplacian_is_symmetric_has_eigenvalues_in_0_2_and_annihilates_the_roots_of_the_degrees(skeleton):
    laplacian = normalised_laplacian(skeleton).double()
    torch.testing.assert_close(laplacian, laplacian.T)
    degrees = skeleton.adjacency().double().sum(1)
    assert (laplacian @ degrees.sqrt()).abs().max() < 1e-6
    values = torch.linalg.eigvalsh(laplacian)
    assert values.min() > -1e-6
    assert values.max() < 2 + 1e-6
    # A tree is bipartite, so the largest eigenvalue is 2 itself, and connected, so zero comes once.
    assert values[-1] == pytest.approx(2.0, abs=1e-5)
    assert values[1] > 1e-3


def test_the_laplacian_of_a_bone_between_two_degrees():
    laplacian = normalised_laplacian(H36M_16)
    # pelvis has three neighbours, spine two
    assert laplacian[0, H36M_16.index("spine")] == pytest.approx(-(6**-0.5))
    assert laplacian[0, H36M_16.index("head")] == 0


@both
def test_structural_distance_is_zero_for_equal_poses_symmetric_and_as_written(skeleton):
    laplacian = normalised_laplacian(skeleton)
    first, second = make_joints(9, len(skeleton), seed=1), make_joints(9, len(skeleton), seed=2)
    assert structural_distance(first, first, laplacian) == 0
    forth, back = (structural_distance(a, b, laplacian) for a, b in ((first, second), (second, first)))
    assert forth == back > 0
    spread = torch.einsum("ij,njc->nic", laplacian, first), torch.einsum("ij,njc->nic", laplacian, second)
    written = [torch.nn.functional.mse_loss(a, b, reduction="sum") / 9 for a, b in ((first, second), spread)]
    torch.testing.assert_close(forth, sum(written))


def test_proximity_and_gap_of_four_poses():
    laplacian = normalised_laplacian(H36M_16)
    chain = [make_joints(5, 16, seed=s) for s in range(4)]

    def between(i, j):
        return structural_distance(chain[i - 1], chain[j - 1], laplacian)

    torch.testing.assert_close(proximity(chain, laplacian), (between(1, 2) + between(2, 3) + between(3, 4)) / 3)
    torch.testing.assert_close(overall_gap(chain, laplacian), (between(1, 3) + between(2, 4)) / 2)
    for measure in (proximity, overall_gap):
        assert measure(chain[:1] * 4, laplacian) == 0
        torch.testing.assert_close(measure(chain[::-1], laplacian), measure(chain, laplacian))


def rotation(skeleton, **given):
    joints = make_joints(ROWS, len(skeleton))
    options = {"tail": 0.02, "spread": 0.4, "share": 0.5, **given}
    return joints, BoneRotation(skeleton, joints, **options)


@both
def test_local_directions_go_to_joints_and_back(skeleton):
    joints = make_joints(ROWS, len(skeleton), noise=0.15).double()
    frames = KinematicFrames(skeleton)
    pose = frames.encode(joints)
    torch.testing.assert_close(frames.decode(pose), joints - joints[:, :1], atol=1e-9, rtol=0)
    torch.testing.assert_close(pose.directions.norm(dim=-1), torch.ones_like(pose.lengths))
    torch.testing.assert_close(torch.linalg.det(pose.frame), torch.ones(ROWS, dtype=torch.float64))


@both
def test_local_directions_do_not_see_where_the_body_stands_and_faces(skeleton):
    joints = make_joints(ROWS, len(skeleton)).double()
    frames = KinematicFrames(skeleton)
    turn = rotation_from_axis_angle(torch.tensor([0.4, -1.9, 0.8], dtype=torch.float64))
    moved = frames.encode(joints @ turn.T + 3.0)
    torch.testing.assert_close(moved.directions, frames.encode(joints).directions, atol=1e-9, rtol=0)


def test_a_turned_bone_takes_the_bones_beyond_it_along():
    frames, joints = KinematicFrames(H36M_16), make_joints(4, 16).double()
    pose = frames.encode(joints)
    shoulder, elbow, wrist = (H36M_16.index(f"left_{j}") for j in ("shoulder", "elbow", "wrist"))
    directions = pose.directions.clone()
    turn = rotation_from_axis_angle(torch.tensor([0.5, 0.2, -0.3], dtype=torch.float64))
    directions[:, H36M_16.bone("left_elbow")] @= turn.T
    after = frames.decode(LocalPose(pose.frame, directions, pose.lengths))
    before = frames.decode(pose)
    untouched = [j for j in range(16) if j not in (elbow, wrist)]
    torch.testing.assert_close(after[:, untouched], before[:, untouched])
    assert ((after - before)[:, [elbow, wrist]].norm(dim=-1) > 0.02).all()
    # The angle at the elbow stays.
    for point in (before, after):
        torch.testing.assert_close(
            (point[:, wrist] - point[:, shoulder]).norm(dim=-1), (joints[:, wrist] - joints[:, shoulder]).norm(dim=-1)
        )


def test_a_pose_without_hips_gets_the_cameras_frame_and_stays_finite():
    joints = make_joints(3, 16)
    joints[0, [H36M_16.index("left_hip"), H36M_16.index("right_hip")]] = joints[0, 0].clone()
    frames = KinematicFrames(H36M_16)
    pose = frames.encode(joints)
    assert torch.equal(pose.frame[0], torch.eye(3))
    torch.testing.assert_close(frames.decode(pose), joints - joints[:, :1], atol=1e-4, rtol=0)


@both
def test_coordinates_go_to_directions_and_back(skeleton):
    joints, drawn = rotation(skeleton)
    directions = drawn.frames.encode(joints).directions
    torch.testing.assert_close(drawn.directions(drawn.coordinates(directions)), directions, atol=5e-5, rtol=0)
    angle = torch.acos((directions * drawn.mean).sum(-1).clamp(-1, 1))
    torch.testing.assert_close(drawn.coordinates(directions).norm(dim=-1), angle, atol=2e-3, rtol=0)


@both
def test_turned_bones_stay_inside_the_ranges_and_others_as_they_are(skeleton):
    joints, drawn = rotation(skeleton)
    seed = drawn.frames.encode(joints)
    pose, turned, log_ratio = drawn.draw(seed, torch.Generator().manual_seed(1))
    again = drawn.frames.encode(drawn.frames.decode(pose))
    found = drawn.coordinates(again.directions)
    outside = torch.maximum(drawn.low - found, found - drawn.high).amax(-1)
    assert outside[turned].max() < 2e-3
    torch.testing.assert_close(again.lengths, seed.lengths, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.directions[~turned], seed.directions[~turned], atol=2e-3, rtol=0)
    assert not turned[:, drawn.frames.at_root].any()
    assert abs(turned[:, drawn.movable].float().mean() - 0.5) < 0.03
    assert torch.isfinite(log_ratio).all()
    # Something was outside before, so the test above can fail.
    before = drawn.coordinates(seed.directions)
    assert torch.maximum(drawn.low - before, before - drawn.high).amax(-1)[turned].max() > 0.05


def test_ranges_hold_the_asked_share_of_the_poses():
    joints, drawn = rotation(H36M_16, tail=0.1)
    seen = drawn.coordinates(drawn.frames.encode(joints).directions)[:, H36M_16.bone("head")]
    inside = ((seen >= drawn.low[H36M_16.bone("head")]) & (seen <= drawn.high[H36M_16.bone("head")])).float().mean(0)
    torch.testing.assert_close(inside, torch.full((2,), 0.8), atol=0.02, rtol=0)


def test_ranges_stay_where_coordinates_are_unique():
    generator = torch.Generator().manual_seed(0)
    wild = torch.randn(500, 16, 3, generator=generator)
    drawn = BoneRotation(H36M_16, wild, tail=0.0, spread=0.4, share=1.0)
    corner = torch.maximum(drawn.low.abs(), drawn.high.abs()).norm(dim=-1)
    assert corner.max() <= 0.95 * torch.pi + 1e-5
    assert (drawn.high > drawn.low).all()


def test_the_ratio_is_that_of_the_uniform_to_the_truncated_normal_density():
    _, drawn = rotation(H36M_16)
    here = 0.7 * drawn.low + 0.3 * drawn.high
    uniform = torch.rand(3, 15, 2, generator=torch.Generator().manual_seed(2))
    moved, log_ratio = drawn.draw_coordinates(here.expand(3, -1, -1), uniform)
    lower, upper = ((e - here) / drawn.spread for e in (drawn.low, drawn.high))
    density = stats.truncnorm.logpdf(moved.numpy(), lower.numpy(), upper.numpy(), here.numpy(), drawn.spread.numpy())
    expected = -(drawn.high - drawn.low).log() - torch.from_numpy(density).float()
    torch.testing.assert_close(log_ratio, expected, atol=1e-3, rtol=0)


def test_weighted_draws_have_the_mean_of_the_uniform_distribution():
    _, drawn = rotation(H36M_16)
    bone, n = H36M_16.bone("left_elbow"), 40_000
    here = (0.8 * drawn.low + 0.2 * drawn.high).expand(n, -1, -1)
    moved, log_ratio = drawn.draw_coordinates(here, torch.rand(n, 15, 2, generator=torch.Generator().manual_seed(3)))
    weight = log_ratio[:, bone, 0].exp()
    place = (moved - drawn.low)[:, bone, 0] / (drawn.high - drawn.low)[bone, 0]
    assert weight.mean() == pytest.approx(1.0, abs=0.02)
    assert (weight * place).mean() == pytest.approx(0.5, abs=0.02)
    assert place.mean() < 0.45


def test_a_wide_distribution_is_the_uniform_one():
    _, drawn = rotation(H36M_16, spread=1000.0)
    seed = drawn.frames.encode(make_joints(20, 16))
    assert drawn.draw(seed, torch.Generator().manual_seed(0))[2].abs().max() < 1e-3


@pytest.mark.parametrize("given", [{"tail": 0.5}, {"spread": 0.0}, {"share": 1.5}])
def test_numbers_that_make_no_sense_are_refused(given):
    with pytest.raises(ValueError, match="expected a tail"):
        rotation(H36M_16, **given)


@both
def test_lengths_of_a_decoded_pose_are_those_asked_for(skeleton):
    frames, joints = KinematicFrames(skeleton), make_joints(6, len(skeleton)).double()
    pose = frames.encode(joints)
    longer = frames.decode(LocalPose(pose.frame, pose.directions, 1.3 * pose.lengths))
    torch.testing.assert_close(bone_lengths(longer, skeleton), 1.3 * bone_lengths(joints, skeleton))
    torch.testing.assert_close(unit_bones(longer, skeleton)[0], unit_bones(joints, skeleton)[0], atol=1e-9, rtol=0)
