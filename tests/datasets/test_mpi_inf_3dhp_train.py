"""MPI-INF-3DHP's training part: which frames of which cameras, in which order of joints, and what is refused."""

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dg.datasets.base import DataError
from dg.datasets.mpi_inf_3dhp import MpiInf3DHP, Options
from dg.extract_depth.layouts import frame_name
from dg.pose.skeleton import MPI_INF_3DHP_17
from tests.datasets.image_depth_maker import write_image_depth
from tests.datasets.mpi_inf_3dhp_maker import TRAIN_FRAMES, training_cells, write_training


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("3dhp")
    write_training(folder, subjects=(1, 2))
    return folder


def load(root, split="train", **options):
    chosen = {"root": str(root), "subjects_train": ("S1", "S2"), "protocol": "3DHP-valid"} | options
    return MpiInf3DHP(Options(**chosen)).load(split)


def test_eight_cameras_at_25_frames_a_second_and_the_tail_validates(root):
    train, val = load(root), load(root, "val")
    # S1 Seq2 was filmed at 50: half its frames. Of 40 frames the last two validate.
    assert len(train) == 8 * (38 + 19 + 38 + 38)
    assert len(val) == 8 * (2 + 1 + 2 + 2)
    assert (train.fps, train.subjects, train.name) == (25.0, ("S1", "S2"), "3DHP-train")
    assert len(train.clip.unique()) == 8 * 4


def test_joints_are_those_of_the_file_in_metres_and_the_camera_is_found(root):
    train = load(root, cameras=(4,), subjects_train=("S2",))
    cells = training_cells(2, 1)
    own = cells["annot3"][4, 0].reshape(TRAIN_FRAMES, 28, 3) / 1000
    np.testing.assert_allclose(train.poses.joints_3d[:38, 0, 0], own[:38, 4], atol=1e-6)  # pelvis
    np.testing.assert_allclose(train.poses.joints_3d[:38, 0, 10], own[:38, 7], atol=1e-6)  # top of the head
    np.testing.assert_allclose(train.poses.joints_3d[:38, 0, 1], own[:38, 23], atol=1e-6)  # right hip
    torch.testing.assert_close(train.poses.camera.focal[0], torch.tensor([2 * 1494.0 / 2048] * 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        train.poses.camera.project(train.poses.joints_3d), train.poses.joints_2d, atol=1e-4, rtol=0
    )


def test_both_orders_of_joints_are_the_same_people(root, tmp_path):
    write_training(tmp_path, subjects=(1, 2), skeleton=MPI_INF_3DHP_17)
    torch.testing.assert_close(load(tmp_path).poses.joints_3d, load(root).poses.joints_3d)


def test_the_universal_size_stands_where_it_projects(root):
    metric, universal = load(root), load(root, gt="univ_annot3")
    assert universal.flavour == "univ_annot3"
    torch.testing.assert_close(universal.poses.joints_3d, 0.9 * metric.poses.joints_3d, atol=1e-3, rtol=0)


def test_a_subject_validates_where_it_is_named(root):
    train, val = load(root, validation="S2"), load(root, "val", validation="S2")
    assert (train.subjects, val.subjects) == (("S1",), ("S2",))


def test_frames_find_their_depth_by_the_names_of_their_layout(root, tmp_path):
    train = load(root, cameras=(0,), subjects_train=("S2",))
    names = [
        frame_name(f"S2/Seq{sequence}/imageFrames/video_0/frame_{frame + 1:06d}.jpg", "mpi_inf_3dhp_train")
        for sequence in (1, 2)
        for frame in range(38)
    ]
    pixels = (train.poses.joints_2d[:, 0].numpy() + 1) * 1024
    depth = train.poses.joints_3d[:, 0, :, 2].numpy() - 0.1
    path = write_image_depth(tmp_path / "depth.npz", np.array(names), (2048, 2048), pixels, depth)
    found = load(root, cameras=(0,), subjects_train=("S2",), image_depth=str(path))
    np.testing.assert_array_equal(found.poses.depth[:, 0], depth)
    assert found.source_depth == "images"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.pop("annot2"), "missing"),
        (lambda cells: cells.update(annot3=np.zeros((3, 4))), "a cell for each of 14"),
        (lambda cells: cells["annot3"].__setitem__((0, 0), np.ones((40, 85))), "3 x 28 or 17"),
        (lambda cells: cells["annot3"].__setitem__((0, 0), cells["annot3"][0, 0] / 1000), "annot3"),
        (lambda cells: cells["annot2"].__setitem__((0, 0), cells["annot2"][0, 0] + 300 * np.sin(np.arange(56))), "2D"),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(tmp_path, change, message):
    cells = training_cells(1, 1)
    for sequence in ("Seq1", "Seq2"):
        (tmp_path / "S1" / sequence).mkdir(parents=True)
        savemat(tmp_path / "S1" / sequence / "annot.mat", {})
    change(cells)
    savemat(tmp_path / "S1/Seq1/annot.mat", cells)
    with pytest.raises(DataError, match=rf"S1/Seq1/annot\.mat.*{message}"):
        load(tmp_path, subjects_train=("S1",))


def test_what_is_missing_is_said(root, tmp_path):
    with pytest.raises(DataError, match=r"S3/Seq1/annot\.mat"):
        load(root, subjects_train=("S1", "S3"))
    with pytest.raises(DataError, match="the training part of MPI-INF-3DHP is not here"):
        load(tmp_path)
    (tmp_path / "S1/Seq1").mkdir(parents=True)
    (tmp_path / "S1/Seq1/annot.mat").write_bytes(b"no file of MATLAB")
    (tmp_path / "S1/Seq2").mkdir(parents=True)
    (tmp_path / "S1/Seq2/annot.mat").write_bytes(b"")
    with pytest.raises(DataError, match="MATLAB v5"):
        load(tmp_path, subjects_train=("S1",))
    with pytest.raises(ValueError, match="cameras must be"):
        Options("x", cameras=(14,))
