"""SMPL with its blend shapes: joints taken from the surface agree with smplx, which makes every vertex."""

import numpy as np
import pytest
import torch
from smplx.lbs import lbs

from dg.body.smpl_file import BodyFileError
from dg.body.smpl_model import SurfaceJoints, pose_skeleton, read_smpl_model
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import SMPL_24
from tests.datasets.pw3d_maker import regressor, smpl_fields


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("smpl") / "SMPL_NEUTRAL.npz"
    np.savez(path, **smpl_fields())
    return path


def parameters(frames=7):
    poses = 0.6 * torch.randn(frames, 24, 3, dtype=torch.float64)
    return poses, torch.randn(10, dtype=torch.float64), torch.randn(frames, 3, dtype=torch.float64)


def reference(poses, betas, place):
    """Vertices and joints as smplx makes them."""
    fields = {name: torch.from_numpy(values) for name, values in smpl_fields().items() if values.dtype.kind == "f"}
    vertices, joints = lbs(
        betas.expand(len(poses), -1),
        poses.flatten(1),
        fields["v_template"][None],
        fields["shapedirs"],
        fields["posedirs"].flatten(0, 1).T,
        fields["J_regressor"],
        torch.tensor(SMPL_24.parents),
        fields["weights"],
    )
    return vertices + place[:, None], joints + place[:, None]


def test_joints_and_regressed_joints_are_those_of_the_skinned_vertices(path):
    poses, betas, place = parameters()
    matrix = torch.from_numpy(regressor())
    own, regressed = SurfaceJoints(read_smpl_model(path), matrix).of(poses, betas, place)
    vertices, joints = reference(poses, betas, place)
    # smplx adds 1e-8 to each angle's axis.
    torch.testing.assert_close(own, joints, atol=1e-6, rtol=0)
    torch.testing.assert_close(regressed, matrix @ vertices, atol=1e-6, rtol=0)


def test_a_matrix_of_any_weights_takes_vertices_too(path):
    poses, betas, place = parameters(3)
    matrix = torch.randn(4, 1229, dtype=torch.float64)
    regressed = SurfaceJoints(read_smpl_model(path), matrix).of(poses, betas, place)[1]
    torch.testing.assert_close(regressed, matrix @ reference(poses, betas, place)[0], atol=1e-5, rtol=0)


def test_chunks_do_not_change_the_result(path, monkeypatch):
    joints = SurfaceJoints(read_smpl_model(path), torch.from_numpy(regressor()))
    given = parameters()
    whole = joints.of(*given)
    monkeypatch.setattr("dg.body.smpl_model.FRAMES_AT_A_TIME", 2)
    pieces = joints.of(*given)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_bones_keep_their_length_and_the_pelvis_its_place():
    rest = torch.randn(24, 3, dtype=torch.float64)
    turns = rotation_from_axis_angle(torch.randn(5, 24, 3, dtype=torch.float64))
    rotations, joints = pose_skeleton(rest, turns)
    torch.testing.assert_close(joints[:, 0], rest[0].expand(5, 3))
    torch.testing.assert_close(rotations[:, 0], turns[:, 0])
    hand, wrist = joints[:, 22] - joints[:, 20], rest[22] - rest[20]
    torch.testing.assert_close(hand.norm(dim=-1), wrist.norm().expand(5))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shapedirs": None}, "shapedirs.*missing"),
        ({"posedirs": None}, "posedirs.*missing"),
        ({"J_regressor": None, "J": np.zeros((24, 3))}, "J_regressor.*missing"),
        ({"shapedirs": np.zeros((7, 3, 10))}, "shapedirs must have shape"),
        ({"posedirs": np.zeros((1229, 3, 9))}, "posedirs must have shape"),
        ({"posedirs": np.full((1229, 3, 207), np.nan)}, "not finite"),
    ],
)
def test_a_file_without_blend_shapes_is_refused(tmp_path, changes, reason):
    fields = {k: v for k, v in (smpl_fields() | changes).items() if v is not None}
    np.savez(tmp_path / "SMPL.npz", **fields)
    with pytest.raises(BodyFileError, match=reason):
        read_smpl_model(tmp_path / "SMPL.npz")


def test_more_shape_than_the_file_has_and_a_foreign_matrix_are_refused(path):
    model = read_smpl_model(path)
    with pytest.raises(ValueError, match="matrix of 1229 vertices"):
        SurfaceJoints(model, torch.zeros(17, 6890))
    with pytest.raises(ValueError, match="at most 10 shape"):
        SurfaceJoints(model, torch.zeros(1, 1229)).rest(torch.ones(11, dtype=torch.float64))
