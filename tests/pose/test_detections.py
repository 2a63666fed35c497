"""Synthetic detections: what hides a joint makes its detection less sure and less exact."""

import torch

from dg.pose.boxes import box_size
from dg.pose.detections import DRAWS, SyntheticDetector
from tests.conftest import make_camera, make_joints

DETECTOR = SyntheticDetector()
ROWS = 2000


def seen(behind_m, size=1.0):
    """Detections of one pose many times over, every joint so far behind the surface."""
    joints_2d = size * make_camera(1).project(make_joints(1)).expand(ROWS, 17, 2)
    draws = torch.randn(ROWS, 17, DRAWS, generator=torch.Generator().manual_seed(0))
    return DETECTOR.detect(joints_2d, torch.full((ROWS, 17), behind_m), draws), box_size(joints_2d[0])


def test_a_joint_inside_its_own_flesh_is_not_hidden_and_one_far_behind_another_limb_is():
    behind = torch.tensor([-0.5, 0.0, 0.1, 0.15, 0.225, 0.3, 1.0])
    torch.testing.assert_close(DETECTOR.hidden(behind), torch.tensor([0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0]))


def test_confidence_falls_and_errors_grow_as_the_surface_moves_away_from_the_joint():
    found = [seen(behind)[0] for behind in (0.05, 0.2, 0.25, 0.4)]
    confidence = [f.confidence.mean().item() for f in found]
    error = [f.error.std().item() for f in found]
    assert confidence == sorted(confidence, reverse=True)
    assert error == sorted(error)
    assert confidence[0] - confidence[-1] > 0.4
    assert error[-1] > 3 * error[0]


def test_the_ends_are_the_documented_ones():
    for behind, end in ((0.0, 0), (1.0, 1)):
        found, box = seen(behind)
        torch.testing.assert_close(found.confidence.mean().item(), DETECTOR.confidence[end], atol=0.01, rtol=0)
        torch.testing.assert_close(found.error.std().item() / box.item(), DETECTOR.error[end], atol=0, rtol=0.02)


def test_confidence_is_a_confidence_and_errors_have_no_direction():
    for behind in (0.0, 0.2, 1.0):
        found, box = seen(behind)
        assert 0 <= found.confidence.min() <= found.confidence.max() <= 1
        assert (found.error.mean((0, 1)).abs() < 0.002 * box).all()


def test_errors_are_part_of_the_person_not_of_the_frame():
    small, _ = seen(1.0, size=0.25)
    large, _ = seen(1.0)
    torch.testing.assert_close(4 * small.error, large.error)
    assert torch.equal(small.confidence, large.confidence)


def test_detections_are_a_function_of_their_draws():
    joints_2d, behind = make_camera(3).project(make_joints(3)), torch.rand(3, 17)
    draws = torch.randn(3, 17, DRAWS)
    both = DETECTOR.detect(joints_2d, behind, draws)
    alone = DETECTOR.detect(joints_2d[1:2], behind[1:2], draws[1:2])
    assert torch.equal(both.error[1:2], alone.error)
    assert torch.equal(both.confidence[1:2], alone.confidence)
    still = DETECTOR.detect(joints_2d, behind, torch.zeros(3, 17, DRAWS))
    assert (still.error == 0).all()
