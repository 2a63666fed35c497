"""The facade answers what the commands answer: same features, same protocol, same errors."""

import numpy as np
import pytest
import torch

import dg
from dg.datasets.base import DataError
from dg.evaluation.predictions import LifterPredictor, predict_all
from dg.files.checkpoint import CheckpointError
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, denormalise_pixels
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import COCO_17, H36M_17, MPI_INF_3DHP_17
from dg.pose.windows import Windows
from dg.settings.plugins import OptionError
from tests.conftest import make_joints
from tests.datasets.makers import cross_arrays
from tests.trained.makers import SMALL, score, store

SIZE = (1280, 720)
FOCAL, CENTER = (1100.0, 1090.0), (650.0, 350.0)
ROWS = 9
LIFTER = ["skeleton=h36m_17", *SMALL["simple_baseline"]]


@pytest.fixture(scope="module")
def poses() -> PoseBatch:
    """People before a camera of their own, with depth and all that a detector says."""
    rows = [torch.tensor([v], dtype=torch.float32).expand(ROWS, 2) for v in (FOCAL, CENTER, SIZE)]
    camera = Camera.from_pixels(*rows, longer_side=True)
    joints = make_joints(ROWS)[:, None]
    batch = PoseBatch.from_joints(joints, camera, H36M_17)
    depth = joints[..., 2] - 0.1
    spread = torch.tensor([-0.05, 0.07]).expand(ROWS, 1, 17, 2)
    return batch.replace(depth=depth, confidence=torch.rand(ROWS, 1, 17), depth_spread=spread)


def arguments(poses: PoseBatch) -> dict:
    """The poses as a user has them."""
    depth = poses.depth[:, 0]
    return {
        "pixels": denormalise_pixels(poses.joints_2d[:, 0], torch.tensor([SIZE]).expand(ROWS, 2).float(), True).numpy(),
        "width": SIZE[0],
        "height": SIZE[1],
        "depth": depth.numpy(),
        "confidence": poses.confidence[:, 0].numpy(),
        "depth_range": (depth[..., None] + poses.depth_spread[:, 0]).numpy(),
        "camera": dg.Intrinsics(FOCAL, CENTER),
    }


@pytest.mark.parametrize(
    "words",
    [
        ["inputs=xy", *LIFTER],
        ["inputs=xyd", "dscale2d=focal", *LIFTER],
        ["inputs=xycd", "dscale2d=paper", *LIFTER],
        ["inputs=uadd", "dscale2d=off", *LIFTER],
        ["inputs=xy", "lifter=video_pose_3d", "lifter.width=16", "frames=9", "skeleton=h36m_17"],
    ],
    ids=["xy", "xyd", "xycd", "uadd", "windows"],
)
def test_lifted_pixels_are_what_the_lifter_says_of_the_same_poses(tmp_path, poses, words):
    checkpoint, _ = store(tmp_path, *words)
    lifter = dg.load_lifter(checkpoint)
    found = lifter.lift(**arguments(poses))
    windows = Windows.over(torch.zeros(ROWS, dtype=torch.long), lifter.stored.config.frames)
    predictor = LifterPredictor(lifter.stored.lifter, lifter.stored.inputs)
    expected = predict_all(predictor, poses, "none", windows)
    assert found.shape == (ROWS, 17, 3)
    assert np.allclose(found, (expected - expected[:, :1]).numpy(), atol=1e-4)
    assert np.abs(found[:, 0]).max() == 0  # relative to the pelvis


def test_one_pose_answers_with_one_pose(tmp_path, poses):
    checkpoint, _ = store(tmp_path, *LIFTER, "inputs=xyd")
    lifter = dg.load_lifter(checkpoint)
    many = arguments(poses)
    one = many | {name: many[name][0] for name in ("pixels", "depth", "confidence", "depth_range")}
    assert np.allclose(lifter.lift(**one), lifter.lift(**many)[0], atol=1e-5)


def test_another_detectors_joints_are_converted(tmp_path):
    checkpoint, _ = store(tmp_path, *LIFTER, "inputs=xyc", "dscale2d=off")
    lifter = dg.load_lifter(checkpoint)
    rng = np.random.default_rng(0)
    pixels, confidence = rng.uniform(100, 600, (4, 17, 2)), rng.uniform(0, 1, (4, 17))
    by_hand = [
        convert_joints(torch.tensor(v, dtype=torch.float32), COCO_17, H36M_17).numpy()
        for v in (pixels, confidence[..., None])
    ]
    size = {"width": 640, "height": 480}
    found = lifter.lift(pixels, confidence=confidence, skeleton="coco_17", **size)
    assert np.allclose(found, lifter.lift(by_hand[0], confidence=by_hand[1][..., 0], **size), atol=1e-5)
    assert not np.allclose(found, lifter.lift(pixels, confidence=confidence, **size), atol=1e-2)


@pytest.mark.parametrize(
    ("words", "left_out", "message"),
    [
        (["inputs=xyd"], {"depth"}, r"inputs=xyd dscale2d=focal: give depth="),
        (["inputs=xy", "dscale2d=focal"], {"depth"}, "give depth="),
        (["inputs=uadd", "dscale2d=off"], {"depth", "depth_range"}, "give depth=... and depth_range="),
        (["inputs=xyc", "dscale2d=off"], {"confidence"}, "give confidence="),
    ],
)
def test_what_the_input_needs_is_asked_for(tmp_path, poses, words, left_out, message):
    checkpoint, _ = store(tmp_path, *LIFTER, *words)
    given = {name: value for name, value in arguments(poses).items() if name not in left_out}
    with pytest.raises(ValueError, match=message):
        dg.load_lifter(checkpoint).lift(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((2, 16, 2))}, r"shape \[poses, 17, 2\] \(h36m_17\), got \[2, 16, 2\]"),
        ({"pixels": np.full((2, 17, 2), np.nan)}, "finite"),
        ({"depth": np.zeros((8, 17))}, r"depth: expected finite numbers of shape \[9, 17\], got \[8, 17\]"),
        ({"depth": np.full((9, 17), np.inf)}, "depth: expected finite"),
        ({"width": 0}, "must be positive"),
    ],
)
def test_arrays_of_another_shape_are_refused(tmp_path, poses, change, message):
    checkpoint, _ = store(tmp_path, *LIFTER, "inputs=xyd")
    with pytest.raises(ValueError, match=message):
        dg.load_lifter(checkpoint).lift(**(arguments(poses) | change))


@pytest.mark.parametrize("words", [["inputs=xy"], ["inputs=xyd", "dscale2d=focal"]])
def test_an_evaluation_is_that_of_the_command(tmp_path, words):
    np.savez(tmp_path / "people.npz", **cross_arrays())
    checkpoint, _ = store(tmp_path, "skeleton=h36m_16", *SMALL["simple_baseline"], *words, f"cache={tmp_path}/cache")
    found = dg.load_lifter(checkpoint).evaluate(dg.load_data(f"npz:{tmp_path}/people.npz"))
    expected = score(f"targets=[npz:{tmp_path}/people.npz]", tmp_path, str(checkpoint))
    assert found.protocol == expected["protocol"]
    assert found.errors.summary()["mpjpe_mm"] == pytest.approx(expected["mpjpe_mm"], rel=1e-6)
    assert f"MPJPE {expected['mpjpe_mm']:.1f} mm" in str(found)
    assert expected["protocol"] in str(found)


def test_an_exported_file_lifts_as_its_checkpoint_does(tmp_path, poses):
    from dg import export

    checkpoint, _ = store(tmp_path, *LIFTER, "inputs=xy")
    assert export.main([str(checkpoint), "format=torchscript", f"out={tmp_path}/lifter.pt"]) == 0
    given = arguments(poses)
    found = dg.load_lifter(tmp_path / "lifter.pt", trust=True).lift(**given)
    assert np.allclose(found, dg.load_lifter(checkpoint).lift(**given), atol=1e-4)
    with pytest.raises(CheckpointError, match=r"lifter\.pt"):  # without trust it is read as a checkpoint, and is none
        dg.load_lifter(tmp_path / "lifter.pt")


def test_a_file_that_ends_in_onnx_is_read_as_one(tmp_path):
    (tmp_path / "lifter.onnx").write_text("no graph")
    with pytest.raises(CheckpointError, match=r"(?i)onnx"):
        dg.load_lifter(tmp_path / "lifter.onnx", inputs="xy")


def test_data_are_named_as_targets_are_or_by_keywords(tmp_path):
    np.savez(tmp_path / "people.npz", **cross_arrays())
    one = dg.load_data(f"npz:{tmp_path}/people.npz?stride=2")
    other = dg.load_data("npz", path=str(tmp_path / "people.npz"), stride=2)
    assert one.digest == other.digest
    assert len(dg.load_data("npz", path=str(tmp_path / "people.npz"))) > len(one)
    assert dg.load_data("synthetic", "val", clips=6, frames=2).name == "synthetic"
    with pytest.raises(OptionError, match=r"unknown data 'h37m'.*did you mean 'h36m'"):
        dg.load_data("h37m:here")
    with pytest.raises(DataError, match=r"nothing\.npz"):
        dg.load_data(f"npz:{tmp_path}/nothing.npz")


def test_a_pose_is_drawn_on_the_skeleton_that_its_joints_tell():
    joints = make_joints(1)[0].numpy()
    assert len(dg.plot_pose(joints).figure().axes[0].lines) == len(H36M_17.bones)
    drawn = dg.plot_pose(joints, joints + 0.1, skeleton=MPI_INF_3DHP_17.name)
    assert len(drawn.figure().axes[0].lines) == 2 * len(MPI_INF_3DHP_17.bones)
    with pytest.raises(ValueError, match=r"expected one pose.*\[3, 17, 3\]"):
        dg.plot_pose(np.zeros((3, 17, 3)))
