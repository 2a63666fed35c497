"""The occlusion proxy on made poses, against a walk over all pairs."""

import itertools

import pytest
import torch

from dg.analyse.checkpoints import AnalysisError
from dg.analyse.occlusion import RADII_PX, Occlusion, OcclusionOptions, joint_radii, occluded_joints
from dg.datasets.base import PoseDataset
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import COCO_17, H36M_17
from dg.settings.plugins import make_options
from tests.conftest import STANDING_17, make_camera, make_joints

ROOT_AT = torch.tensor([0.0, 0.0, 5.0])
THORAX, WRIST = H36M_17.index("thorax"), H36M_17.index("left_wrist")
VARIANTS = [OcclusionOptions(r, s) for r, s in itertools.product(("occluded", "occluder"), ("area", "height"))]


def standing(wrist_behind_thorax_m: float | None = None, right_m: float = 0.0) -> torch.Tensor:
    """A standing person; the left wrist on the thorax's viewing ray, so far behind it, or that far to the right."""
    joints = (STANDING_17 + ROOT_AT)[None].clone()
    if wrist_behind_thorax_m is not None:
        z = joints[0, THORAX, 2] + wrist_behind_thorax_m
        joints[0, WRIST] = joints[0, THORAX] * (z / joints[0, THORAX, 2])
        joints[0, WRIST, 0] += right_m
    return joints


def hidden(joints: torch.Tensor, options: OcclusionOptions = VARIANTS[0]) -> torch.Tensor:
    return occluded_joints(joints, make_camera(len(joints)).project(joints[:, None])[:, 0], H36M_17, options)


def test_an_occluder_in_front_hides_its_joint_and_a_farther_one_is_hidden():
    assert not hidden(standing())[0, THORAX]
    before = hidden(standing(-0.3))[0]
    assert before[THORAX]
    assert not before[WRIST]
    behind = hidden(standing(+0.3))[0]
    assert not behind[THORAX]
    assert behind[WRIST]


@pytest.mark.parametrize(("behind_m", "is_hidden"), [(-0.009, False), (-0.011, True)])
def test_an_occluder_must_be_ten_millimetres_nearer(behind_m, is_hidden):
    assert bool(hidden(standing(behind_m))[0, THORAX]) == is_hidden


def test_beside_the_radius_nothing_is_hidden():
    person = standing(-0.3)
    side = torch.tensor([1.0, 0.0, 0.0])
    for right_m, is_hidden in ((0.05, True), (0.3, False)):
        person[0, WRIST] = standing(-0.3)[0, WRIST] + right_m * side
        assert bool(hidden(person)[0, THORAX]) == is_hidden


def test_whose_radius_counts_is_a_choice():
    """Between the wrist's radius (12) and the thorax's (25) the two readings differ."""
    joints = standing(-0.3)
    joints_2d = make_camera(1).project(joints[:, None])[:, 0]
    side = (joints_2d.amax(1) - joints_2d.amin(1)).prod(-1).sqrt()
    joints_2d[0, WRIST] = joints_2d[0, THORAX] + torch.stack([side[0] * 18 / 300, side[0] * 0])
    found = {o.radius_of: occluded_joints(joints, joints_2d, H36M_17, o)[0, THORAX] for o in (VARIANTS[0], VARIANTS[2])}
    assert found["occluded"]
    assert not found["occluder"]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_it_agrees_with_a_walk_over_all_pairs(options):
    joints = make_joints(20, noise=0.15)
    joints_2d = make_camera(20).project(joints[:, None])[:, 0]
    radii = joint_radii(H36M_17)
    expected = torch.zeros(20, 17, dtype=torch.bool)
    for n in range(20):
        width, height = (joints_2d[n].amax(0) - joints_2d[n].amin(0)).tolist()
        side = (width * height) ** 0.5 if options.scale == "area" else height
        for j, i in itertools.permutations(range(17), 2):
            reach = side * float(radii[j if options.radius_of == "occluded" else i])
            near = float(joints[n, j, 2] - joints[n, i, 2]) >= 0.010
            expected[n, j] |= near and float((joints_2d[n, j] - joints_2d[n, i]).norm()) <= reach
    assert 0.05 < expected.float().mean() < 0.8
    assert (occluded_joints(joints, joints_2d, H36M_17, options) == expected).float().mean() > 0.999


def test_the_unit_of_2d_does_not_matter():
    joints = make_joints(30, noise=0.1)
    joints_2d = make_camera(30).project(joints[:, None])[:, 0]
    in_pixels = 500 * joints_2d + 500
    assert torch.equal(occluded_joints(joints, joints_2d, H36M_17), occluded_joints(joints, in_pixels, H36M_17))


def test_the_score_is_the_hidden_share_of_the_projected_truth_not_of_detections():
    poses = PoseBatch.from_joints(make_joints(40, noise=0.1)[:, None], make_camera(40), H36M_17)
    rows = torch.zeros(40, dtype=torch.int64)
    data = PoseDataset("made", poses, rows, rows, rows, ("a",), ("b",), 50.0, "x")
    wrong = PoseDataset(
        "made", poses.replace(joints_2d=poses.joints_2d * 0), rows, rows, rows, ("a",), ("b",), 50.0, "x"
    )
    score = Occlusion(OcclusionOptions()).score(data)
    torch.testing.assert_close(score, hidden(poses.joints_3d[:, 0]).float().mean(-1))
    assert torch.equal(score, Occlusion(OcclusionOptions()).score(wrong))


def test_unknown_joints_and_options_are_refused():
    assert len(joint_radii(H36M_17)) == 17
    assert RADII_PX["ankle"] == 15
    with pytest.raises(AnalysisError, match="nose"):
        joint_radii(COCO_17)
    with pytest.raises(ValueError, match="radius_of must be one of"):
        make_options(Occlusion, "analysis", "occlusion", {"radius_of": "both"})
