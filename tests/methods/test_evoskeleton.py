"""EvoSkeleton's population within a run: bred once from seed and source, drawn from at every batch."""

import pytest
import torch

from dg.augment.evolution import learn_validity
from dg.augment.joint_limits import LimbFrames
from dg.methods.base import StepKey
from dg.methods.evoskeleton import EvoSkeletonOptions
from dg.methods.plan import TrainingPlan
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_16, H36M_17
from tests.augment.test_evolution import distances
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, source_batch, source_poses, step

both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


@both
def test_individuals_are_the_grown_sample_and_valid_by_the_whole_sources_map(skeleton):
    method = make("evoskeleton", skeleton, population=40)
    people = method.individuals(7)
    assert people.shape == (100, len(skeleton), 3)
    assert people[:, skeleton.root].abs().max() == 0
    frames = LimbFrames(skeleton)
    options = method.options
    whole = source_poses(skeleton).joints_3d[:, 0]
    valid = learn_validity(whole, frames, options.cell_deg, options.parent_deg)
    assert valid.valid(frames.encode(people)[0]).all()


def test_a_population_larger_than_the_source_takes_all_of_it():
    method = make("evoskeleton", population=10**6, growth=2.0, template_rate=0.0)
    source = source_poses(H36M_17)
    people = method.individuals(0)
    assert len(people) == 2 * len(source)
    assert distances(source.root_relative, people).amin(1).max() < 1e-5


def test_the_population_follows_from_the_runs_seed_alone():
    first, second = make("evoskeleton"), make("evoskeleton")
    step(first, 0)
    assert torch.equal(first.individuals(3), second.individuals(3))
    assert first.individuals(3) is first.individuals(3), "bred once"
    assert not torch.equal(first.individuals(3), first.individuals(4))


@both
def test_proposals_are_individuals_at_the_source_rows_roots(skeleton):
    method, source = make("evoskeleton", skeleton), source_batch(skeleton)
    proposed = method.propose(source, StepKey(3, 0, 0))
    torch.testing.assert_close(proposed.joints_3d[:, :, 0], source.joints_3d[:, :, 0])
    apart = distances(proposed.root_relative, method.individuals(3))
    assert apart.amin(1).max() < 1e-4
    assert apart.argmin(1).unique().numel() > 15, "drawn anew for each row"
    other = method.propose(source, StepKey(3, 0, 1))
    assert not torch.equal(other.joints_3d, proposed.joints_3d)


def test_with_a_random_rigid_transform_drawn_individuals_are_turned_and_placed_inside_the_frame():
    method, source = make("evoskeleton", rigid="random"), source_batch(H36M_17)
    kept = make("evoskeleton").propose(source, StepKey(3, 0, 0))
    moved = method.propose(source, StepKey(3, 0, 0))
    # The same bodies, whatever their place: distances between joints are kept.
    distances_kept, distances_moved = (torch.cdist(p.joints_3d[:, 0], p.joints_3d[:, 0]) for p in (kept, moved))
    torch.testing.assert_close(distances_moved, distances_kept, atol=1e-4, rtol=1e-4)
    assert (moved.joints_3d - kept.joints_3d).abs().amax((1, 2, 3)).gt(0.1).float().mean() > 0.8
    assert moved.valid.float().mean() >= kept.valid.float().mean()


def test_the_lifter_trains_on_as_many_individuals_as_source_poses():
    method = make("evoskeleton", channels="xy", mixing="alternate")
    assert step(method, 0).lifter_steps == 2


def test_there_is_no_pre_training_and_in_one_that_is_asked_for_nothing_is_bred():
    assert make("evoskeleton").pretrain_share == 0
    method = make("evoskeleton", plan=TrainingPlan(total_steps=10, steps_per_epoch=5, pretrain_steps=1))
    assert method.propose(source_batch(H36M_17), StepKey(0, 0, 0)) is None
    assert method._bred is None


def test_windows_of_frames_are_refused():
    window = PoseBatch.from_joints(make_joints(8, 16)[:, None].repeat(1, 3, 1, 1), make_camera(8), H36M_16)
    with pytest.raises(ValueError, match="single frames, got windows of 3"):
        make("evoskeleton", H36M_16).propose(window, StepKey(0, 0, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 1}, "population must be at least 2, got 1"),
        ({"cell_deg": 0.0}, r"cell_deg must lie in \(0, 90\] degrees, got 0.0"),
        ({"templates": "some"}, "templates must be one of"),
        ({"rigid": "learned"}, r"rigid must be one of \['kept', 'random'\]"),
        ({"fraction": 0.0}, "fraction must lie in"),
        ({"mixing": "x"}, "mixing must be one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvoSkeletonOptions(**options)
