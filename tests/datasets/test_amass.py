"""SMPL parameters in AMASS's files."""

import numpy as np
import pytest
import torch

from dg.body.open_body import load_open_body
from dg.body.smpl_model import read_smpl_model
from dg.datasets import h36m_cameras
from dg.datasets.amass import AMASS, Options
from dg.datasets.base import DataError
from dg.pose.camera import camera_to_world
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import SMPL_24
from tests.datasets.amass_maker import amass_arrays, write_amass
from tests.datasets.malformed import Hostile, cut


@pytest.fixture
def rest():
    return load_open_body().joints


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "squats_poses.npz", **amass_arrays())
    return tmp_path / "squats_poses.npz"


def test_joints_agree_with_a_slow_twin_of_4_by_4_matrices_but_for_where_they_stand(path, rest):
    arrays = amass_arrays()
    data = AMASS(Options(str(path), fps=60)).load("test")
    orientation, position = h36m_cameras.EXTRINSICS["S1"][0]
    seen = data.poses.joints_3d[: len(arrays["poses"]), 0]
    found = camera_to_world(seen, torch.tensor(orientation), torch.tensor(position))
    moved = []
    for frame, (pose, trans) in enumerate(zip(arrays["poses"], arrays["trans"], strict=True)):
        turns = rotation_from_axis_angle(torch.from_numpy(pose[:66]).float().view(22, 3))
        world = {}
        for joint in SMPL_24.order:
            parent = SMPL_24.parents[joint]
            local = torch.eye(4)
            local[:3, :3] = turns[joint] if joint < 22 else torch.eye(3)
            local[:3, 3] = rest[joint] - rest[parent] if parent >= 0 else rest[joint] + torch.from_numpy(trans)
            world[joint] = local if parent < 0 else world[parent] @ local
        moved.append(found[frame] - torch.stack([world[joint][:3, 3] for joint in range(24)]))
    moved = torch.stack(moved)
    torch.testing.assert_close(moved, moved[:1, :1].expand_as(moved), atol=1e-4, rtol=0)
    assert moved[..., 2].abs().max() < 1e-4, "height is kept"


def test_smpl_and_smplh_parameters_give_the_same_body_but_for_the_hands(tmp_path):
    for width in (72, 156, 165):
        arrays = amass_arrays(width=width)
        arrays["poses"][:, 66:] = 0.3
        np.savez(tmp_path / f"w{width}.npz", **arrays)
    joints = {w: AMASS(Options(str(tmp_path / f"w{w}.npz"))).load("test").poses.joints_3d for w in (72, 156, 165)}
    assert torch.equal(joints[156], joints[165])
    torch.testing.assert_close(joints[72], joints[156])


def test_motion_is_thinned_to_the_frame_rate_asked_for(path):
    assert len(AMASS(Options(str(path))).load("test")) == 4 * 12
    assert len(AMASS(Options(str(path), fps=60)).load("test")) == 4 * 24
    data = AMASS(Options(str(path), fps=15)).load("test")
    assert len(data) == 4 * 6
    assert data.fps == 15


def test_people_are_folders_and_shapes_are_no_motions(tmp_path):
    write_amass(tmp_path)
    split = AMASS(Options(str(tmp_path), subjects_train=("CMU/07",)))
    assert split.load("test").subjects == ("BMLmovi/Subject_1", "CMU/16")
    assert split.load("train").subjects == split.load("val").subjects == ("CMU/07",)
    with pytest.raises(DataError, match="some, not all"):
        AMASS(Options(str(tmp_path), subjects_train=("CMU/99",))).load("train")


def test_the_flavour_says_whose_joints_these_are(path, tmp_path):
    assert "/open-body/" in AMASS(Options(str(path))).load("test").protocol("none")
    write_smpl(tmp_path / "SMPL_FEMALE.npz")
    body = read_smpl_model(tmp_path / "SMPL_FEMALE.npz")
    betas = np.array([2.0, -1.0] + 14 * [0.5])  # the model has two
    np.savez(path, **(amass_arrays() | {"betas": betas}))
    data = AMASS(Options(str(path), smpl=f"{tmp_path}/SMPL_{{gender}}.npz")).load("test")
    assert "/smpl24/" in data.protocol("none")
    rest = body.joint_regressor @ (body.vertices + body.shapes @ torch.tensor([2.0, -1.0]).double())
    bone = (data.poses.joints_3d[:, 0, 4] - data.poses.joints_3d[:, 0, 1]).norm(dim=-1)
    torch.testing.assert_close(bone, (rest[4] - rest[1]).norm().float().expand(len(bone)))


def write_smpl(path) -> None:
    """A model in SMPL's format: the open body, with two shapes that stretch it."""
    body = load_open_body()
    vertices, generator = body.vertices.double().numpy(), np.random.default_rng(4)
    nearest = torch.cdist(body.joints.double(), body.vertices.double()).argmin(1)
    weights = body.weights.double().numpy()
    np.savez(
        path,
        v_template=vertices,
        f=body.faces.numpy(),
        weights=weights / weights.sum(1, keepdims=True),
        kintree_table=np.array([[2**32 - 1, *SMPL_24.parents[1:]], range(24)]),
        J_regressor=np.eye(len(vertices))[nearest],
        shapedirs=0.05 * vertices[..., None] * generator.normal(1, 0.2, (1, 3, 2)),
        posedirs=np.zeros((len(vertices), 3, 207)),
    )


def with_arrays(**changes):
    def write(path):
        arrays = {k: v for k, v in (amass_arrays() | changes).items() if v is not None}
        np.savez(path, **arrays)

    return write


ARRAYS = amass_arrays()
MALFORMED = {
    "web page": (lambda path: path.write_text("<html>"), "another kind"),
    "empty file": (lambda path: path.write_bytes(b""), "empty"),
    "truncated": (cut(with_arrays()), "truncated"),
    "no poses": (with_arrays(poses=None), "poses"),
    "no translation": (with_arrays(trans=None), "trans"),
    "no frame rate": (with_arrays(mocap_framerate=None), "frame rate"),
    "zero frame rate": (with_arrays(mocap_framerate=np.array(0.0)), "frame rate"),
    "frame rate in words": (with_arrays(mocap_framerate=np.array("60")), "frame rate"),
    "other columns": (with_arrays(poses=ARRAYS["poses"][:, :69]), "72 or 156 or 165"),
    "matrices": (with_arrays(poses=np.zeros((24, 24, 3, 3))), "poses"),
    "no frames": (with_arrays(poses=ARRAYS["poses"][:0], trans=ARRAYS["trans"][:0]), "at least one"),
    "rows differ": (with_arrays(trans=ARRAYS["trans"][1:]), r"\[24, 3\]"),
    "NaN pose": (with_arrays(poses=ARRAYS["poses"] * np.nan), "finite"),
    "infinite translation": (with_arrays(trans=ARRAYS["trans"] + np.inf), "finite"),
    "degrees": (with_arrays(poses=np.rad2deg(ARRAYS["poses"])), "degrees"),
    "millimetres": (with_arrays(trans=1000 * ARRAYS["trans"]), "millimetres"),
    "hostile gender": (with_arrays(gender=np.array(Hostile(), dtype=object)), "print"),
    "hostile poses": (with_arrays(poses=np.array([Hostile()], dtype=object)), "poses"),
}


@pytest.mark.parametrize(("write", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_one_clear_error(tmp_path, capsys, write, reason):
    path = tmp_path / "walk_poses.npz"
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        AMASS(Options(str(tmp_path))).load("test")
    assert "walk_poses.npz" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_folders_and_body_files_that_are_not_there_are_named(tmp_path, path):
    for root, reason in ((tmp_path / "nowhere", "no such file"), (tmp_path / "empty", "found none")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=reason):
            AMASS(Options(str(root))).load("test")
    with pytest.raises(DataError, match=r"SMPL_NEUTRAL\.pkl.*data\.smpl"):
        AMASS(Options(str(path), smpl=str(tmp_path / "SMPL_NEUTRAL.pkl"))).load("test")


@pytest.mark.parametrize(("rate", "true"), [(40, 40), (50, 25), (100, 100 / 3), (120, 30)])
def test_the_frame_rate_is_the_one_that_thinning_makes(tmp_path, rate, true):
    np.savez(tmp_path / "motion.npz", **(amass_arrays() | {"mocap_framerate": np.array(float(rate))}))
    data = AMASS(Options(str(tmp_path / "motion.npz"))).load("test")
    assert data.fps == pytest.approx(true)
    assert ("frame_rates" in data.notes) == (true != 30)


def test_motions_of_several_rates_are_counted_and_their_mean_weighs_frames(tmp_path):
    for name, rate in (("a", 40), ("b", 50)):
        np.savez(tmp_path / f"{name}.npz", **(amass_arrays() | {"mocap_framerate": np.array(float(rate))}))
    data = AMASS(Options(str(tmp_path))).load("test")
    frames = data.clip.bincount()[[0, 4]].double()
    assert data.fps == pytest.approx(float((frames * torch.tensor([40, 25])).sum() / frames.sum()))
    assert data.notes["frame_rates"] == "30 a second were asked for; motions: 1 at 25, 1 at 40"
