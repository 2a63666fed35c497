import numpy as np
import pytest
import torch

from dg.body.base import BodyPose
from dg.body.open_body import OpenBody
from dg.body.rest import stretched_bone
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_17, SMPL_24
from tests.conftest import make_joints

BODY = OpenBody(OpenBody.Options())
REST = BODY.rest


def pose_of(local, stretch=None):
    """Forward kinematics of local rotations `[batch, 24, 3, 3]`, the root at its rest place."""
    rotations, positions = list(local.unbind(1)), [REST.joints[0].expand(len(local), 3)] * 24
    for joint in SMPL_24.order[1:]:
        parent = SMPL_24.parents[joint]
        rotations[joint] = rotations[parent] @ local[:, joint]
        positions[joint] = positions[parent] + rotations[parent] @ (REST.joints[joint] - REST.joints[parent])
    stretch = torch.ones(len(local), 24) if stretch is None else stretch
    return BodyPose(torch.stack(rotations, 1), torch.stack(positions, 1), stretch)


def test_the_rest_pose_gives_the_rest_mesh():
    identity = torch.eye(3).expand(2, 24, 3, 3)
    assert torch.allclose(BODY.skin(pose_of(identity)), REST.vertices.expand(2, -1, -1), atol=1e-6)


def test_skinning_agrees_with_a_loop_over_joints():
    pose = BODY.fit(make_joints(20, noise=0.1), H36M_17)
    slow = torch.zeros(20, len(REST.vertices), 3)
    for k in range(24):
        axis = REST.axes[k]
        stretch = torch.eye(3) + (pose.stretch[:, k, None, None] - 1) * torch.outer(axis, axis)
        moved = (REST.vertices - REST.joints[k]) @ (pose.rotations[:, k] @ stretch).mT + pose.positions[:, k, None]
        slow += REST.weights[:, k, None] * moved
    assert torch.allclose(BODY.skin(pose), slow, atol=1e-5)


def test_skinning_without_stretch_is_smpls():
    lbs = pytest.importorskip("smplx.lbs")
    axis_angle = 0.5 * torch.randn(5, 24, 3)
    count = len(REST.vertices)
    # A regressor that returns our joints, as smplx computes them from the vertices.
    regressor = (REST.joints.double() @ torch.linalg.pinv(REST.vertices.double())).float()
    posed, joints = lbs.lbs(
        betas=torch.zeros(5, 1), pose=axis_angle.reshape(5, 72), v_template=REST.vertices[None],
        shapedirs=torch.zeros(count, 3, 1), posedirs=torch.zeros(207, count * 3), J_regressor=regressor,
        parents=torch.tensor(SMPL_24.parents), lbs_weights=REST.weights,
    )  # fmt: skip
    pose = pose_of(rotation_from_axis_angle(axis_angle))
    assert torch.allclose(pose.positions, joints, atol=1e-4)
    assert torch.allclose(BODY.skin(pose), posed, atol=1e-4)


def test_a_stretched_bone_carries_its_far_end_to_the_next_joint():
    pose = BODY.fit(make_joints(20, noise=0.1), H36M_17)
    for name in ("left_hip", "right_knee", "left_shoulder", "right_elbow", "right_collar", "spine1", "spine2", "neck"):
        k = SMPL_24.index(name)
        tail, head = stretched_bone(name)
        bone = REST.joints[head] - REST.joints[tail]
        reached = pose.positions[:, tail] + pose.stretch[:, k, None] * (pose.rotations[:, k] @ bone)
        assert torch.allclose(reached, pose.positions[:, head], atol=1e-5), name


def test_vertices_stay_near_the_bones():
    """No vertex flies off: each lies within a hand's breadth of the box around its joints."""
    targets = make_joints(100, noise=0.08)
    vertices = BODY.skin(BODY.fit(targets, H36M_17))
    low, high = targets.min(1).values[:, None], targets.max(1).values[:, None]
    assert (vertices > low - 0.35).all()
    assert (vertices < high + 0.35).all()


def test_no_triangle_explodes():
    vertices = BODY.skin(BODY.fit(make_joints(100, noise=0.03), H36M_17))
    corners, rest = vertices[:, REST.faces], REST.vertices[REST.faces]
    edges = (corners - corners.roll(1, 2)).norm(dim=-1)
    assert edges.max() < 3 * (rest - rest.roll(1, 1)).norm(dim=-1).max()


def test_an_empty_batch_has_no_vertices():
    assert BODY.skin(BODY.fit(torch.zeros(0, 17, 3), H36M_17)).shape == (0, 1229, 3)


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    targets = make_joints(50)
    there = BODY.skin(BODY.fit(targets.cuda(), H36M_17))
    assert torch.allclose(there.cpu(), BODY.skin(BODY.fit(targets, H36M_17)), atol=1e-4)


def winding_number(points, corners):
    """How often a closed surface `[triangles, 3, 3]` winds around each point: 1 inside, 0 outside."""
    a, b, c = (corners[:, k] - points[:, None] for k in range(3))
    la, lb, lc = (v.norm(dim=-1) for v in (a, b, c))
    solid = (a * torch.linalg.cross(b, c)).sum(-1)
    rest = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return torch.atan2(solid, rest).sum(-1) / (2 * torch.pi)


def share_of_joints_inside(targets):
    vertices = BODY.skin(BODY.fit(targets, H36M_17))
    inside = [winding_number(t, v[REST.faces]) > 0.5 for t, v in zip(targets, vertices, strict=True)]
    return torch.stack(inside).float().mean()


def test_the_joints_lie_inside_the_posed_body():
    """What depth at a joint means: the surface in front of it, a few centimetres nearer."""
    assert share_of_joints_inside(make_joints(20, noise=0.02)) > 0.97


@pytest.mark.shared
def test_the_joints_of_real_people_lie_inside_their_bodies(shared):
    with np.load(shared / "data" / "cross" / "uiprmd_3dpw.npz", allow_pickle=False) as data:
        targets = torch.from_numpy(data["pose3d"][::600])
    assert share_of_joints_inside(targets) > 0.98
