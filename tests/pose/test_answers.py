"""2.5-D answers: the targets of MotionBERT's code, and the way back to metres."""

import pytest
import torch

from dg.pose.answers import in_metres, target_answers
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints

ALL, MIDDLE = slice(None), slice(1, 2)
UNIT = 4.5 / 2.29  # in which the released code's answers are of the size of metres
SIDE = 1000.0  # px of half an image's width


def windows(rows=12, frames=3) -> PoseBatch:
    joints = make_joints(rows * frames, 17, noise=0.08).double().reshape(rows, frames, 17, 3)
    camera = make_camera(rows, distorted=True)
    camera = Camera(camera.focal.double() * torch.tensor([1.0, 1.03]), *[
        getattr(camera, name).double() for name in ("center", "distortion", "extent")
    ])  # fmt: skip
    return PoseBatch.from_joints(joints, camera, H36M_17)


@pytest.mark.parametrize("answers", ["metres", "image"])
@pytest.mark.parametrize("frames", [ALL, MIDDLE])
def test_the_true_answers_come_back_as_the_true_joints(answers, frames):
    poses = windows()
    found = in_metres(target_answers(poses, frames, answers), poses, frames, answers)
    torch.testing.assert_close(found, poses.root_relative[:, frames], atol=1e-12, rtol=0)


def test_they_are_the_targets_of_the_released_codec():
    """MMPose's: a square of 2 m around the root is projected, and its width says how many pixels a metre is there."""
    poses = windows()
    focal, center = poses.camera.focal * SIDE, poses.camera.center * SIDE
    expected = torch.zeros_like(poses.joints_3d)
    for row in range(len(poses)):

        def pixel(point, row=row):
            return point[:2] / point[2] * focal[row] + center[row]

        for frame in range(3):
            joints = poses.joints_3d[row, frame]
            aside = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
            per_metre = (pixel(joints[0] + aside) - pixel(joints[0] - aside))[0] / 2
            for joint in range(17):
                place = pixel(joints[joint]) - pixel(joints[0])
                depth = (joints[joint, 2] - joints[0, 2]) * per_metre
                expected[row, frame, joint] = UNIT * torch.stack([*place, depth]) / SIDE
    torch.testing.assert_close(target_answers(poses, ALL, "image"), expected)


def test_a_mirrored_pose_has_mirrored_answers():
    poses = windows()
    mirrored = target_answers(poses.flip(), ALL, "image")
    expected = target_answers(poses, ALL, "image")[..., list(H36M_17.flip), :] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, expected)


def test_errors_are_those_of_the_papers_way_up_to_perspective():
    """The paper multiplies answers and truth by Z / f of the root; joints a metre aside differ by some percent."""
    poses = windows(60)
    truth = target_answers(poses, ALL, "image")
    answer = truth + 0.005 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = (in_metres(answer, poses, ALL, "image") - poses.root_relative).norm(dim=-1).mean()
    factor = poses.joints_3d[..., :1, 2:] / poses.camera.focal[:, None, None, :1]
    theirs = ((answer - truth) / UNIT * factor).norm(dim=-1).mean()
    assert float(ours / theirs) == pytest.approx(1.0, abs=0.03)
