import pytest
import torch

from dg.augment.random_move import move
from dg.methods.base import StepKey
from dg.methods.random_rigid import RandomRigidOptions
from dg.pose.skeleton import H36M_17
from tests.contracts.test_every_method import make, source_batch, step


def moved(seed=0, **options):
    source = source_batch(H36M_17)
    draw = torch.rand(len(source), 6, generator=torch.Generator().manual_seed(seed))
    return source, move(source, RandomRigidOptions(**options), draw, source.joints_3d[:, 0, source.skeleton.root])


def test_it_moves_rigidly_to_the_asked_depths():
    source, joints = moved(depth_m=(3.0, 4.0))
    before, after = source.joints_3d[:, 0], joints[:, 0]
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=2e-3, rtol=0)
    assert (after[:, 0, 2] >= 3).all()
    assert (after[:, 0, 2] <= 4).all()
    assert (after - before).abs().max() > 0.1


def test_the_roots_projection_stays_in_the_inner_frame():
    source, joints = moved(spread=0.3)
    root_2d = source.camera.project(joints)[:, 0, 0]
    assert (root_2d.abs() <= 0.3 * source.camera.extent + 1e-3).all()


def test_without_angles_it_only_translates():
    source, joints = moved(yaw_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
    relative = joints - joints[:, :, :1]
    torch.testing.assert_close(relative, source.root_relative, atol=1e-5, rtol=0)


def test_yaw_alone_keeps_heights():
    source, joints = moved(pitch_deg=0.0, roll_deg=0.0)
    relative = joints - joints[:, :, :1]
    torch.testing.assert_close(relative[..., 1], source.root_relative[..., 1], atol=1e-5, rtol=0)


def test_poses_that_cannot_be_placed_stay_where_they_are():
    method = make("random_rigid", depth_m=(0.35, 0.4))
    source = source_batch(H36M_17)
    proposed = method.propose(source, StepKey(0, 0, 0))
    assert torch.equal(proposed.joints_3d, source.joints_3d[: len(proposed)])
    assert proposed.valid.all()


def test_a_clip_makes_one_rigid_move_and_its_own_one_in_each_pass():
    method = make("random_rigid", depth_m=(5.0, 7.0), spread=0.1, yaw_deg=90.0)
    source = source_batch(H36M_17)
    clip = torch.arange(len(source)) // 8
    first, second = (method.propose_pass(source, clip, StepKey(0, number, -1)) for number in (0, 1))
    assert first.index.tolist() == source.index.tolist()
    for rows in clip.unique():
        before, after = (poses.joints_3d[clip == rows].flatten(0, 2) for poses in (source, first))
        assert not torch.allclose(before, after, atol=0.05)
        torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before), atol=5e-3, rtol=0)
    assert not torch.equal(first.joints_3d, second.joints_3d)
    assert torch.equal(first.joints_3d, method.propose_pass(source, clip, StepKey(0, 0, -1)).joints_3d)


def test_a_clip_of_which_one_frame_would_leave_the_frame_stays():
    method = make("random_rigid", depth_m=(0.35, 0.4))
    source = source_batch(H36M_17)
    moved_clips = method.propose_pass(source, torch.arange(len(source)) // 8, StepKey(0, 0, -1))
    assert torch.equal(moved_clips.joints_3d, source.joints_3d)


@pytest.mark.parametrize(("mixing", "steps", "rows"), [("batch", 1, 0.5), ("alternate", 2, 1.0)])
def test_a_mixed_batch_costs_one_step_and_alternation_two(mixing, steps, rows):
    method = make("random_rigid", mixing=mixing)
    source = source_batch(H36M_17)
    assert len(method.propose(source, StepKey(0, 0, 0))) == rows * len(source)
    assert [step(method, number).lifter_steps for number in range(3)] == 3 * [steps]


@pytest.mark.parametrize(
    "options", [{"depth_m": (4.0, 3.0)}, {"depth_m": (1.0,)}, {"spread": 2.0}, {"attempts": 0}, {"mixing": "x"}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match="must"):
        RandomRigidOptions(**options)
