"""VideoPose3D's files of detections for Human3.6M."""

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.h36m import FILE, Human36M, Options
from dg.pose.camera import denormalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17
from tests.datasets.malformed import Hostile, cut
from tests.datasets.motion import FRAMES, h36m_motion, write_h36m

SUBJECTS = ("S1", "S9")
SIZES = torch.tensor([[1000.0, 1002.0], [1000.0, 1000.0], [1000.0, 1000.0], [1000.0, 1002.0]])
METADATA = {
    "layout_name": "h36m",
    "num_joints": 17,
    "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]],
}


def options(root, **changes) -> Options:
    return Options(str(root), subjects_train=("S1",), subjects_test=("S9",), **changes)


@pytest.fixture(scope="module")
def motion():
    return h36m_motion(SUBJECTS)


@pytest.fixture
def root(tmp_path, motion):
    write_h36m(tmp_path / FILE, motion)
    return tmp_path


@pytest.fixture
def truth(root, motion):
    """{subject: {action: four arrays [frames, 17, 2] px}}: the projections, two pixels to the right."""
    found = {}
    for subject in SUBJECTS:
        data = Human36M(Options(str(root), subjects_train=("S1",), subjects_test=("S9",), stride=1)).load("test")
        if subject == "S1":
            alike = Options(str(root), subjects_train=("S9",), subjects_test=("S1",))
            data = Human36M(alike).load("test")
        pixels = denormalise_pixels(data.poses.joints_2d[:, 0].view(-1, 4, FRAMES, 17, 2).transpose(0, 1), SIZES) + 2
        found[subject] = {a: [*pixels[:, i].numpy()] for i, a in enumerate(motion[subject])}
    return found


def write(root, positions, metadata=METADATA, name="cpn") -> None:
    held = {"positions_2d": np.array(positions, dtype=object)}
    if metadata is not None:
        held["metadata"] = np.array(metadata, dtype=object)
    np.savez_compressed(root / f"data_2d_h36m_{name}.npz", **held)


def changed(truth, change):
    """The detections with S9's Walking replaced in every camera."""
    return truth | {"S9": truth["S9"] | {"Walking": [change(view) for view in truth["S9"]["Walking"]]}}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_detections_are_the_2d_normalised_by_the_width_and_the_3d_stays(root, truth, split):
    write(root, truth)
    found = Human36M(options(root, keypoints="cpn")).load(split)
    projected = Human36M(options(root)).load(split)
    torch.testing.assert_close(found.poses.joints_2d, projected.poses.joints_2d + 2 * 2 / 1000, atol=1e-5, rtol=0)
    assert torch.equal(found.poses.joints_3d, projected.poses.joints_3d)
    assert found.poses.confidence is None
    assert "2d=cpn/" in found.protocol("none")
    assert found.digest != projected.digest


def test_stride_keeps_the_same_frames_in_2d_and_3d(root, truth):
    write(root, truth)
    whole, some = (Human36M(options(root, keypoints="cpn", stride=s)).load("test").poses for s in (1, 5))
    kept = torch.arange(len(whole)).view(-1, FRAMES)[:, ::5].flatten()
    torch.testing.assert_close(some.joints_2d, whole.joints_2d[kept])
    torch.testing.assert_close(some.joints_3d, whole.joints_3d[kept], atol=1e-6, rtol=0)


def test_2d_and_3d_are_cut_to_the_frames_that_all_cameras_have(root, truth):
    longer = changed(truth, lambda view: np.concatenate([view, view[-1:]]))
    write(root, longer)
    same = Human36M(options(root, keypoints="cpn")).load("test")
    assert len(same) == 5 * FRAMES * 4
    assert same.notes["without_2d"].startswith("0 frames")
    longer["S9"]["Walking"][2] = longer["S9"]["Walking"][2][:7]
    write(root, longer)
    shorter = Human36M(options(root, keypoints="cpn")).load("test")
    assert shorter.clip.bincount().tolist() == 4 * [7] + 16 * [FRAMES]
    assert shorter.notes["without_2d"].startswith("5 frames")
    assert torch.equal(shorter.poses.joints_2d[:7], same.poses.joints_2d[:7])


def test_a_third_column_is_the_confidence(root, truth):
    share = np.linspace(0, 1, FRAMES * 17, dtype=np.float32).reshape(FRAMES, 17, 1)
    write(root, {s: {a: [np.concatenate([v, share], -1) for v in truth[s][a]] for a in truth[s]} for s in truth})
    poses = Human36M(options(root, keypoints="cpn")).load("test").poses
    np.testing.assert_allclose(poses.confidence[FRAMES : 2 * FRAMES, 0], share[..., 0], atol=1e-6)


def test_sixteen_joints_without_metadata_are_poseaugs_order(root, truth):
    sixteen = [i for i in range(17) if i != 9]
    write(root, {s: {a: [v[:, sixteen] for v in truth[s][a]] for a in truth[s]} for s in truth}, None, "hr")
    poses = Human36M(options(root, keypoints="hr")).load("test").poses
    expected = Human36M(options(root)).load("test").poses.convert(H36M_16).joints_2d + 2 * 2 / 1000
    torch.testing.assert_close(poses.convert(H36M_16).joints_2d, expected, atol=1e-5, rtol=0)


def test_coco_joints_are_converted(root, truth):
    pairs = [(i, H36M_17.index(name)) for i, name in enumerate(COCO_17.joints) if name in H36M_17.joints]

    def as_coco(view):
        # The face lies where the head is; the other twelve joints have the same names.
        found = np.repeat(view[:, [10]], 17, axis=1)
        for coco, h36m in pairs:
            found[:, coco] = view[:, h36m]
        return found

    symmetry = {"keypoints_symmetry": [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]}
    write(root, {s: {a: [as_coco(v) for v in truth[s][a]] for a in truth[s]} for s in truth}, symmetry)
    poses = Human36M(options(root, keypoints="cpn")).load("test").poses
    first = torch.from_numpy(as_coco(truth["S9"]["Walking"][0])) * 2 / 1000 - torch.tensor([1.0, 1.002])
    torch.testing.assert_close(poses.joints_2d[:FRAMES, 0], convert_joints(first, COCO_17, H36M_17), atol=1e-5, rtol=0)


MALFORMED = {
    "missing": (lambda root, t: None, "no such file"),
    "directory": (lambda root, t: (root / "data_2d_h36m_cpn.npz").mkdir(), "directory"),
    "not a file of arrays": (lambda root, t: (root / "data_2d_h36m_cpn.npz").write_text("<html>"), "another kind"),
    "truncated": (lambda root, t: cut(lambda p: write(root, t))(root / "data_2d_h36m_cpn.npz"), "truncated"),
    "wrong key": (lambda root, t: np.savez(root / "data_2d_h36m_cpn.npz", kps=np.ones(3)), "positions_2d"),
    "hostile": (lambda root, t: write(root, Hostile()), "print"),
    "hostile metadata": (lambda root, t: write(root, t, Hostile()), "print"),
    "numbers": (lambda root, t: write(root, 3), "subject: {action"),
    "subject missing": (lambda root, t: write(root, {"S1": t["S1"]}), "four|4 arrays"),
    "three cameras": (lambda root, t: write(root, t | {"S9": {a: v[:3] for a, v in t["S9"].items()}}), "4 arrays"),
    "unknown layout": (lambda root, t: write(root, t, {"keypoints_symmetry": [[0, 1], [2, 3]]}), "layouts"),
    "14 joints": (lambda root, t: write(root, changed(t, lambda v: v[:, :14])), r"17, 2\]"),
    "flat": (lambda root, t: write(root, changed(t, lambda v: v[0])), "frames, joints, 2"),
    "empty": (lambda root, t: write(root, changed(t, lambda v: v[:0])), "at least one"),
    "NaN": (lambda root, t: write(root, changed(t, lambda v: v * np.float32(np.nan))), "finite"),
    "normalised": (lambda root, t: write(root, changed(t, lambda v: v / 500 - 1)), "pixels"),
    "another image size": (lambda root, t: write(root, changed(t, lambda v: v * 2)), "image size"),
    "swapped": (lambda root, t: write(root, changed(t, lambda v: v[:, list(H36M_17.flip)])), "left and right"),
}


@pytest.mark.parametrize(("prepare", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_detections_are_one_clear_error(root, truth, capsys, prepare, reason):
    prepare(root, truth)
    with pytest.raises(DataError, match=reason) as caught:
        Human36M(options(root, keypoints="cpn")).load("test")
    assert "data_2d_h36m_cpn.npz" in str(caught.value)
    assert capsys.readouterr().out == ""
