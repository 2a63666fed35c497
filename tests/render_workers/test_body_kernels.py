"""Fitting and skinning by kernels against their slow twins in torch, on common, extreme and degenerate poses."""

from dataclasses import replace

import pytest
import torch

from dg.body.mesh_body import MeshBody
from dg.body.open_body import OpenBody
from dg.body.skin import blend_matrix
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17
from render_workers.kernels.warp_body import WarpBody, influences
from tests.conftest import make_joints

BODY = OpenBody()
KERNELS = WarpBody(BODY.rest)
MIDDLE = torch.tensor([0.0, 0.0, 5.0])
HIPS, KNEES, ANKLES = (
    [H36M_17.index(f"{side}_{part}") for side in ("left", "right")] for part in ("hip", "knee", "ankle")
)
PELVIS, SPINE, ELBOW, WRIST = (H36M_17.index(name) for name in ("pelvis", "spine", "left_elbow", "left_wrist"))


def posed(joints, skeleton=H36M_17):
    fitted = KERNELS.fit(joints, skeleton)
    return fitted[0], KERNELS.skin(*fitted)


def error_m(joints, skeleton=H36M_17):
    """Largest differences of joints and of vertices of each pose."""
    twin, (pose, vertices) = BODY.fit(joints, skeleton), posed(joints, skeleton)
    assert vertices.isfinite().all()
    assert torch.allclose(pose.stretch, twin.stretch, rtol=1e-5)
    return [(a - b).norm(dim=-1).amax(1) for a, b in ((pose.positions, twin.positions), (vertices, BODY.skin(twin)))]


def changed(change):
    joints = make_joints(300)
    change(joints)
    return joints


def fold(joints):
    """Shins lie on the thighs, the feet exactly where the hips are."""
    joints[:, ANKLES] = joints[:, HIPS]


def fold_partly(joints):
    share = torch.linspace(0.1, 0.9, len(joints))[:, None, None]
    joints[:, ANKLES] = joints[:, KNEES] + share * (joints[:, HIPS] - joints[:, KNEES])


def no_length(joints):
    joints[:, WRIST] = joints[:, ELBOW]
    joints[:, KNEES] = joints[:, HIPS]


def hips_along_the_spine(joints):
    """All directions at the pelvis are collinear: its turn about the spine is not determined."""
    step = 0.2 * (joints[:, SPINE] - joints[:, PELVIS])
    joints[:, HIPS[0]], joints[:, HIPS[1]] = joints[:, PELVIS] + step, joints[:, PELVIS] - step


def hips_in_one_point(joints):
    joints[:, HIPS] = joints[:, PELVIS, None]


def on_lines(rows):
    """All joints of a pose lie on one line, in any order."""
    seeded = torch.Generator().manual_seed(0)
    return MIDDLE + torch.rand(rows, 17, 1, generator=seeded) * torch.randn(rows, 1, 3, generator=seeded)


POSES = {
    "common": make_joints(500),
    "extreme": make_joints(1000, noise=0.2),
    "small": MIDDLE + 1e-4 * (make_joints(100) - MIDDLE),
    "large": MIDDLE + 2.0 * (make_joints(100) - MIDDLE),
    "near": make_joints(100) - 0.5 * MIDDLE,
    "a point": MIDDLE.expand(1, 17, 3),
    "lines": on_lines(200),
    "a plane": changed(lambda joints: joints[..., 2].fill_(5.0)),
    **{f.__name__: changed(f) for f in (fold, fold_partly, no_length, hips_along_the_spine, hips_in_one_point)},
}


@pytest.mark.parametrize("name", POSES)
def test_the_kernels_agree_with_torch(name):
    joints, vertices = error_m(POSES[name])
    assert joints.max() <= 2e-6
    assert vertices.max() <= 2e-6


def test_where_a_limb_folds_back_on_its_parent_only_rounding_tells_its_twist():
    """Limbs of half a metre's noise: a handful come within a hundredth of a radian of it."""
    joints, vertices = error_m(make_joints(4000, noise=0.5))
    assert joints.max() <= 2e-6
    assert (vertices > 2e-6).float().mean() < 3e-3
    assert vertices.max() < 5e-5


def test_sixteen_joints_are_fitted_too():
    joints, vertices = error_m(make_joints(100, 16), H36M_16)
    assert max(joints.max(), vertices.max()) <= 2e-6


def test_a_body_whose_every_vertex_hangs_on_every_joint_is_skinned_too():
    seeded = torch.Generator().manual_seed(0)
    weights = torch.randn(BODY.rest.weights.shape, generator=seeded).softmax(1)
    body = MeshBody(replace(BODY.rest, weights=weights, joints=1.1 * BODY.rest.joints), "absolute")
    kernels, joints = WarpBody(body.rest), make_joints(20)
    difference = kernels.skin(*kernels.fit(joints, H36M_17)) - body.skin(body.fit(joints, H36M_17))
    assert difference.norm(dim=-1).max() <= 2e-6


def test_other_skeletons_are_refused_as_in_torch():
    with pytest.raises(ValueError, match=r"coco_17 lacks.*convert"):
        KERNELS.fit(torch.zeros(1, 17, 3), COCO_17)
    with pytest.raises(ValueError, match="expected 16 joints"):
        KERNELS.fit(torch.zeros(1, 17, 3), H36M_16)


def test_a_pose_does_not_depend_on_its_batch_bit_for_bit():
    joints = torch.cat([make_joints(30, noise=0.3), POSES["lines"][:7]])
    pose, vertices = posed(joints)
    for rows in (slice(0, 1), slice(3, 12), slice(29, 37), slice(5, 5)):
        part, its_vertices = posed(joints[rows])
        assert torch.equal(its_vertices, vertices[rows])
        assert torch.equal(part.rotations, pose.rotations[rows])
        assert torch.equal(part.stretch, pose.stretch[rows])


def test_influences_are_the_blend_matrix_without_its_zeros():
    start, joint, blend = influences(BODY.rest)
    dense = torch.zeros(len(BODY.rest.vertices), 24, 4)
    for vertex in range(len(dense)):
        terms = slice(start[vertex], start[vertex + 1])
        dense[vertex, joint[terms].long()] = blend[terms]
    assert torch.equal(dense.flatten(1), blend_matrix(BODY.rest))
    assert len(joint) < 3 * len(dense)


def test_there_are_kernels_for_bodies_whose_joints_land_on_their_targets():
    assert WarpBody.covers(BODY)
    assert not WarpBody.covers(OpenBody(OpenBody.Options(bone_scale="relative")))

    class Own(OpenBody):
        def skin(self, pose):
            return 2 * super().skin(pose)

    assert not WarpBody.covers(Own())


@pytest.mark.gpu
def test_a_gpu_computes_the_same():
    there, joints = WarpBody(BODY.rest, "cuda"), make_joints(200, noise=0.2)
    vertices = there.skin(*there.fit(joints.cuda(), H36M_17)).cpu()
    assert (vertices - posed(joints)[1]).norm(dim=-1).max() < 1e-5
