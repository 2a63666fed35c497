import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.joint_map import convert_joints
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17, SMPL_24
from tests.conftest import STANDING_17, make_joints

BODY = OpenBody(OpenBody.Options())
PAPER = OpenBody(OpenBody.Options(bone_scale="relative"))
UPRIGHT = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
SINGLE_CHILD = [f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "shoulder", "elbow")]


def h36m(joints_24):
    return convert_joints(joints_24, SMPL_24, H36M_17)


def limbs_without_twist(rows, seed=0, angle=1.0):
    """Bodies posed by rotations about axes orthogonal to each limb bone, so that joints alone determine them."""
    generator = torch.Generator().manual_seed(seed)
    joints, rotations = BODY.rest.joints, [torch.eye(3).expand(rows, 3, 3)] * 24
    root = rotation_from_axis_angle(torch.randn(rows, 3, generator=generator))
    positions = [torch.zeros(rows, 3)] * 24
    for joint in SMPL_24.order:
        parent, name = SMPL_24.parents[joint], SMPL_24.joints[joint]
        rotations[joint] = root if parent < 0 else rotations[parent]
        if parent >= 0:
            positions[joint] = positions[parent] + rotations[parent] @ (joints[joint] - joints[parent])
        if name in SINGLE_CHILD:
            bone = joints[SMPL_24.parents.index(joint)] - joints[joint]
            axis = torch.linalg.cross(bone.expand(rows, 3), torch.randn(rows, 3, generator=generator))
            turn = angle * torch.rand(rows, 1, generator=generator) * torch.nn.functional.normalize(axis, dim=-1)
            rotations[joint] = rotations[joint] @ rotation_from_axis_angle(turn)
    return torch.stack(rotations, 1), torch.stack(positions, 1) + torch.tensor([0.2, 0.1, 5.0])


@pytest.mark.parametrize(("skeleton", "count"), [(H36M_17, 17), (H36M_16, 16)])
def test_posed_joints_land_on_their_targets(skeleton, count):
    targets = make_joints(200, count, noise=0.2)
    landed = convert_joints(BODY.fit(targets, skeleton).positions, SMPL_24, H36M_16)
    wanted = convert_joints(targets, skeleton, H36M_16) if count == 16 else targets[:, [i for i in range(17) if i != 9]]
    assert (landed - wanted).norm(dim=-1).max() < 1e-4


@pytest.mark.parametrize("body", [BODY, PAPER])
def test_a_known_pose_is_recovered(body):
    rotations, positions = limbs_without_twist(100)
    fitted = body.fit(h36m(positions), H36M_17)
    assert torch.allclose(fitted.rotations, rotations, atol=2e-3)
    assert torch.allclose(fitted.positions, positions, atol=1e-3)
    assert torch.allclose(fitted.stretch, torch.ones(100, 24), atol=1e-3)


@pytest.mark.parametrize("body", [BODY, PAPER])
def test_rotations_are_proper_for_any_input(body):
    targets = make_joints(300, noise=0.5)
    pose = body.fit(targets, H36M_17)
    assert torch.allclose(torch.det(pose.rotations), torch.ones(300, 24), atol=1e-4)
    assert torch.allclose(pose.rotations @ pose.rotations.mT, torch.eye(3).expand(300, 24, 3, 3), atol=1e-4)


@pytest.mark.parametrize("body", [BODY, PAPER])
def test_degenerate_poses_stay_finite(body):
    point = torch.zeros(1, 17, 3) + torch.tensor([0.0, 0.0, 5.0])
    line = point + torch.linspace(0, 1, 17)[None, :, None] * torch.tensor([0.0, 1.0, 0.0])
    folded = STANDING_17[None] + torch.tensor([0.0, 0.0, 5.0])
    folded = folded.clone()
    # Both shins fold back onto the thighs, and one forearm has no length.
    for side in ("left", "right"):
        folded[:, H36M_17.index(f"{side}_ankle")] = folded[:, H36M_17.index(f"{side}_hip")]
    folded[:, H36M_17.index("left_wrist")] = folded[:, H36M_17.index("left_elbow")]
    targets = torch.cat([point, line, folded])
    pose = body.fit(targets, H36M_17, reference=targets.flip(0))
    for part in (pose.rotations, pose.positions, pose.stretch, body.skin(pose)):
        assert torch.isfinite(part).all()
    assert torch.allclose(torch.det(pose.rotations), torch.ones(3, 24), atol=1e-4)


def test_a_person_upright_and_facing_the_camera_is_turned_by_the_conversion_matrix():
    pose = BODY.fit(STANDING_17[None] + torch.tensor([0.0, 0.0, 4.0]), H36M_17)
    angle = torch.acos(((pose.rotations[0, 0] * UPRIGHT).sum() - 1) / 2)
    assert angle < 0.1


@pytest.mark.parametrize("body", [BODY, PAPER])
def test_the_body_moves_rigidly_with_its_joints(body):
    targets = make_joints(50)
    r = rotation_from_axis_angle(torch.tensor([0.4, -1.1, 0.3]))
    t = torch.tensor([0.5, -0.2, 1.0])
    moved = body.skin(body.fit(targets @ r.mT + t, H36M_17, reference=targets))
    expected = body.skin(body.fit(targets, H36M_17, reference=targets)) @ r.mT + t
    assert torch.allclose(moved, expected, atol=1e-3)


@pytest.mark.parametrize("body", [BODY, PAPER])
def test_a_mirrored_pose_gives_the_mirrored_body(body):
    targets = make_joints(50)
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    pose, mirrored = body.fit(targets, H36M_17), body.fit(targets[:, list(H36M_17.flip)] * mirror, H36M_17)
    flip = list(SMPL_24.flip)
    assert torch.allclose(mirrored.positions, pose.positions[:, flip] * mirror, atol=5e-3)
    assert torch.allclose(mirrored.rotations, pose.rotations[:, flip] * torch.outer(mirror, mirror), atol=2e-2)
    assert torch.allclose(mirrored.stretch, pose.stretch[:, flip], atol=1e-2)


def test_relative_scales_the_eighteen_mapped_bones_and_no_other():
    original = make_joints(50)
    factors = {"left_knee": 1.2, "right_elbow": 0.8, "spine": 1.1, "thorax": 0.9, "left_shoulder": 1.3}
    bones = {**dict.fromkeys(H36M_17.joints, 1.0), **factors}
    augmented = original.clone()
    for joint in H36M_17.order[1:]:
        parent = H36M_17.parents[joint]
        step = original[:, joint] - original[:, parent]
        augmented[:, joint] = augmented[:, parent] + bones[H36M_17.joints[joint]] * step
    pose = PAPER.fit(augmented, H36M_17, reference=original)
    scaled_by = {
        "left_knee": "left_knee", "right_elbow": "right_elbow", "spine1": "spine", "spine2": "spine",
        "spine3": "thorax", "neck": "thorax", "left_collar": "left_shoulder", "left_shoulder": "left_shoulder",
    }  # fmt: skip
    for joint, parent in list(enumerate(SMPL_24.parents))[1:]:
        expected = bones[scaled_by[name]] if (name := SMPL_24.joints[joint]) in scaled_by else 1.0
        length = (pose.positions[:, joint] - pose.positions[:, parent]).norm(dim=-1)
        rest = (PAPER.rest.joints[joint] - PAPER.rest.joints[parent]).norm()
        assert torch.allclose(length / rest, torch.full((50,), expected), rtol=1e-4), name


def test_relative_points_limbs_and_shoulders_at_their_targets():
    targets = make_joints(50)
    pose = PAPER.fit(targets, H36M_17)
    landed = h36m(pose.positions)
    for child in ("left_knee", "right_ankle", "left_elbow", "right_wrist", "left_shoulder", "right_shoulder"):
        joint = H36M_17.index(child)
        parent = H36M_17.parents[joint]
        made, wanted = (torch.nn.functional.normalize(p[:, joint] - p[:, parent], dim=-1) for p in (landed, targets))
        assert torch.allclose(made, wanted, atol=1e-4), child


def test_without_a_reference_relative_keeps_the_bodys_bones():
    pose = PAPER.fit(make_joints(10), H36M_17)
    assert torch.equal(pose.stretch, torch.ones(10, 24))


def test_poses_are_fitted_independently_of_their_batch():
    targets = make_joints(64)
    whole, part = BODY.fit(targets, H36M_17), BODY.fit(targets[10:13], H36M_17)
    assert torch.allclose(whole[10:13].rotations, part.rotations, atol=1e-6)
    assert len(BODY.fit(targets[:0], H36M_17)) == 0


def test_another_skeleton_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"coco_17 lacks.*convert"):
        BODY.fit(torch.zeros(1, 17, 3), COCO_17)
    with pytest.raises(ValueError, match="expected 16 joints"):
        BODY.fit(torch.zeros(1, 17, 3), H36M_16)
