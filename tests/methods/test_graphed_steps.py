"""Steps that are replayed: the same bits as plain ones, or plain ones.

No GPU is at hand: `tests.bench.replaying` notes operations and does them again, which sees what a graph would see of a
step, and nothing of what Python decides.
"""

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from dg.methods import METHODS
from dg.methods.base import MethodContext, SourceData, StepKey
from dg.methods.erm import ERM
from dg.methods.graphed_steps import MOST, WARM_UP, Recorder, _tensors
from dg.methods.plan import TrainingPlan
from dg.methods.trained_networks import TrainedNetworks
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_16
from dg.settings.errors import ConfigError
from lifters import LIFTERS
from tests.bench.launches import counted
from tests.bench.replaying import Replaying
from tests.cases import mostly_long
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_lifter import make as make_lifter
from tests.contracts.test_every_method import make, render, source_batch

WARMING = 1  # plain steps before a recording, in all tests but one
PROVEN = WARMING + 2  # calls until a graph is used
LARGE = {"adaptpose", "cee_net", "daf_dg", "dh_aug", "poseaug", "posegu", "random_camera", "random_rigid"}
LONG_POSEAUG = pytest.param("poseaug", marks=pytest.mark.long)
LONG_RESUMED = pytest.param("poseaug", 7, 9, marks=pytest.mark.long)
RELEASED = {"rigid": "learned", "feedback": "released", "templates": "source", "rates": "released"}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr("dg.methods.graphed_steps.WARM_UP", WARMING)


def method_for(name, recorder, skeleton=H36M_16, channels="xyd", **given):
    """A method that decides on the device, as on a GPU, and notes what it is told."""
    plan = TrainingPlan(total_steps=40, steps_per_epoch=10, pretrain_steps=0)
    method = make(name, skeleton, channels, plan, history=24, **given)
    method.finite_steps.deferred = True
    method.graphs.recorder, method.told = recorder, []
    method.graphs.note = method.told.append
    return method


def update(method, number, rows=None):
    """One update as the trainer makes it; its metrics, what the random stream would give next, and the proposal."""
    channels = method.context.inputs.channels
    source, key = source_batch(method.context.skeleton, number, channels), StepKey(3, 0, number)
    source = (source if rows is None else source[:rows]).knowing(None)
    proposed = render(method.propose(source, key), channels)
    torch.manual_seed(key.number("update"))
    metrics = method.update(source, None if proposed is None else proposed.augmented(), key).metrics
    return metrics, torch.rand(1), [] if proposed is None else _tensors(proposed)


def assert_same_updates(one, other, numbers):
    for number in numbers:
        expected, found = update(one, number), update(other, number)
        assert torch.equal(expected[1], found[1]), f"the random stream after update {number}"
        assert {k: v.item() for k, v in expected[0].items()} == {k: v.item() for k, v in found[0].items()}
        assert all(torch.equal(a, b) for a, b in zip(expected[2], found[2], strict=True)), f"proposal {number}"
    assert_same_state(one, other)


def assert_same_state(one, other):
    ours, theirs = one.step_state(), other.step_state()
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert (one.lifter_steps, one.network_steps) == (other.lifter_steps, other.network_steps)
    assert one.finite_steps.state_dict() == other.finite_steps.state_dict()


@pytest.mark.long
@pytest.mark.parametrize("form", [pytest.param({}, id="default"), pytest.param(RELEASED, id="released")])
def test_replayed_steps_of_poseaug_leave_the_bits_of_plain_ones(form):
    """While rates fall and the demanded difficulty grows, with discriminators at every second step."""
    plain, replayed = method_for("poseaug", None, **form), method_for("poseaug", Replaying(), **form)
    assert_same_updates(plain, replayed, range(9))
    assert replayed.told == []
    assert replayed.graphs.replayed["augmentor"] == 2  # one of each kind
    assert replayed.graphs.replayed["proposal"] == 8 - PROVEN  # the first update is the warm-up
    assert replayed.graphs.replayed["lifter"] > 6
    groups = [[o.state_dict()["param_groups"] for o in m.optimizers.values()] for m in (plain, replayed)]
    assert groups[0] == groups[1]
    assert not any(torch.is_tensor(value) for group in groups[1] for part in group for value in part.values())
    assert_a_replayed_iteration_launches_little(replayed, 9)


def assert_a_replayed_iteration_launches_little(method, number):
    """What is left beside four graphs: the batch is copied in, rates are written, and answers copied out."""
    source, key = source_batch(H36M_16, number).knowing(None), StepKey(3, 0, number)
    assert not source.camera.pinhole  # known from now on, as of what is made of a data set's cameras
    method.graphs.recorder._replay = lambda notes: None
    with counted() as calls:
        proposed = render(method.propose(source, key)).augmented().knowing(None)
        method._step_augmentor(source, proposed, key)
        method.step_lifter(source)
        method.step_lifter(source)
    assert calls.blocked == 0
    assert calls.total <= 30


@pytest.mark.parametrize("name", mostly_long(sorted(METHODS), METHODS.keys() - LARGE))
def test_replayed_steps_of_every_method_leave_the_bits_of_plain_ones(name, monkeypatch):
    monkeypatch.setattr("dg.methods.graphed_steps.WARM_UP", 2)  # the first may ask what is then known
    plain, replayed = method_for(name, None), method_for(name, Replaying())
    assert_same_updates(plain, replayed, range(PROVEN + 3))
    assert replayed.told == []
    # DAF-DG's lifter steps are its own; with random cameras the number of poses in view changes from step to step.
    assert name in ("daf_dg", "random_camera") or replayed.graphs.replayed["lifter"] >= 1
    assert name != "cee_net" or replayed.graphs.replayed["augmentor"] >= 1


def erm_on(lifter, frames, recorder):
    joints = make_joints(12 * frames, 16, seed=frames).reshape(12, frames, 16, 3)
    poses = PoseBatch.from_joints(joints, make_camera(12), H36M_16)
    source = SourceData(poses, bone_lengths(poses.joints_3d[:, 0], H36M_16)[:1])
    torch.manual_seed(0)
    context = MethodContext(
        make_lifter(lifter, H36M_16, 2, frames), InputSpec("xy", "off"), H36M_16, TrainingPlan(40, 10), source,
        torch.device("cpu"),
    )  # fmt: skip
    method = ERM(context, ERM.Options())
    method.finite_steps.deferred = True
    method.graphs.recorder, method.told = recorder, []
    method.graphs.note = method.told.append
    return method, poses


@pytest.mark.parametrize(("lifter", "frames"), [*[(name, 1) for name in sorted(LIFTERS)], ("video_pose_3d", 9)])
def test_a_step_of_every_lifter_can_be_replayed(lifter, frames):
    states = []
    for recorder in (None, Replaying()):
        method, poses = erm_on(lifter, frames, recorder)
        for number in range(PROVEN + 2):
            torch.manual_seed(number)
            method.step_lifter(poses.knowing(None))
        assert method.told == []
        states.append(method.step_state())
    assert method.graphs.replayed == {"lifter": 2}
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_what_a_step_answered_is_not_written_to_again():
    method = method_for("erm", Replaying())
    answers = [update(method, number)[0]["loss/lifter"] for number in range(PROVEN + 4)]
    values = [answer.item() for answer in answers]
    update(method, PROVEN + 4)
    assert [answer.item() for answer in answers] == values
    assert len(set(values)) == len(values)


def test_three_steps_are_plain_before_one_is_recorded(monkeypatch):
    monkeypatch.setattr("dg.methods.graphed_steps.WARM_UP", WARM_UP)
    method = method_for("erm", Replaying())
    seen = []
    for number in range(7):
        update(method, number)
        recorder = method.graphs.recorder
        seen.append((recorder.prepared, recorder.recorded, method.graphs.replayed.get("lifter", 0)))
    # The step that is recorded, and the one that the graph is held against, are made plainly too.
    assert seen == [(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 1, 0), (5, 1, 0), (5, 1, 1), (5, 1, 2)]


def test_a_batch_of_another_size_takes_the_plain_path_between_replays():
    plain, replayed = method_for("random_rigid", None), method_for("random_rigid", Replaying())
    for method in (plain, replayed):
        for number in range(12):
            update(method, number, rows=18 if number == 7 else None)
    assert_same_state(plain, replayed)
    assert replayed.told == []
    assert replayed.graphs.recorder.recorded == 1
    assert replayed.graphs.replayed["lifter"] == 12 - 1 - PROVEN


def test_no_more_than_a_few_sizes_are_recorded():
    method = method_for("erm", Replaying())
    for rows in range(6, 6 + MOST + 2):
        for number in range(PROVEN + 1):
            update(method, number, rows)
    assert method.graphs.recorder.recorded == MOST


class Failing(Replaying):
    """Breaks in the middle of a recording, after it has changed weights."""

    def record(self, work, generators):
        super().record(work, generators)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture\nmore")


@pytest.mark.parametrize("name", ["erm", LONG_POSEAUG])
def test_a_recording_that_fails_costs_no_step_and_makes_none_twice(name):
    plain, failing = method_for(name, None), method_for(name, Failing())
    assert_same_updates(plain, failing, range(7))
    (note,) = failing.told
    assert "recording it failed with RuntimeError: CUDA error: operation failed" in note
    assert "graphs=off" in note
    assert "\n" not in note
    assert failing.graphs.recorder is None


class FailingLater(Replaying):
    """Records, and breaks at a replay, after it has changed weights."""

    def record(self, work, generators):
        replay, found = super().record(work, generators)

        def broken():
            replay()
            raise RuntimeError("an illegal memory access was encountered")

        return broken, found


def test_a_replay_that_fails_when_it_is_proved_costs_no_step_either():
    plain, failing = method_for("random_rigid", None), method_for("random_rigid", FailingLater())
    assert_same_updates(plain, failing, range(7))
    assert len(failing.told) == 1
    assert "replaying it failed" in failing.told[0]


def host_number(method):
    """A loss that reads a number of the host which changes at every step."""
    loss = method.lifter_loss
    method.lifter_loss = lambda *given: loss(*given) * (1 + method.lifter_steps)


def number_of_the_first_look(method):
    """A loss that draws from a generator which nobody seeds anew."""
    random, loss = torch.Generator().manual_seed(0), method.lifter_loss
    method.lifter_loss = lambda *given: loss(*given) * torch.rand((), generator=random)


@pytest.mark.parametrize("fault", [host_number, number_of_the_first_look])
def test_a_step_that_would_replay_other_numbers_is_made_plainly(fault):
    plain, faulty = method_for("random_rigid", None), method_for("random_rigid", Replaying())
    fault(plain)
    fault(faulty)
    if fault is host_number:
        assert_same_updates(plain, faulty, range(10))
    else:
        for number in range(10):
            update(faulty, number)
    (note,) = faulty.told
    assert "its replay differs from it in" in note
    assert faulty.graphs.replayed == {"lifter": 0}
    assert faulty.graphs.recorder.recorded == 1


def test_a_step_that_waits_for_the_device_is_not_recorded():
    method = method_for("erm", Replaying())
    loss = method.lifter_loss
    method.lifter_loss = lambda *given: loss(*given) * max(loss(*given).item(), 1.0)
    for number in range(8):
        update(method, number)
    assert len(method.told) == 1
    assert "it waits for the device (_local_scalar_dense" in method.told[0]
    assert method.graphs.recorder.recorded == 0


@pytest.mark.parametrize(("name", "stopped", "end"), [("erm", 2, 8), ("erm", 6, 12), LONG_RESUMED])
def test_a_run_that_is_resumed_equals_one_that_never_stopped(name, stopped, end):
    """Before anything is recorded, and in the midst of replays: the loaded state lies elsewhere."""
    plain, first = method_for(name, None), method_for(name, Replaying())
    for number in range(end):
        update(plain, number)
    for number in range(stopped):
        update(first, number)
    state = deepcopy(first.state_dict())
    for after in (first, method_for(name, Replaying())):  # one that used its graphs before, and a new one
        after.load_state_dict(deepcopy(state))
        for number in range(stopped, end):
            update(after, number)
        assert_same_state(plain, after)
        assert after.told == []


def test_steps_that_are_left_out_are_counted_in_replays_too():
    plain, replayed = method_for("erm", None), method_for("erm", Replaying())
    for method in (plain, replayed):
        for number in range(12):
            source = source_batch(H36M_16, number)
            if number in (7, 8, 10):  # finite, and its square is not
                source = source.replace(joints_3d=source.joints_3d * 1e30)
            torch.manual_seed(number)
            method.update(source.knowing(None), None, StepKey(0, 0, number))
    assert replayed.graphs.replayed["lifter"] == 12 - PROVEN
    assert_same_state(plain, replayed)
    assert replayed.finite_steps.skipped == 3


def test_a_lifter_whose_momentum_changes_is_not_recorded():
    method = method_for("erm", Replaying())
    recipe = replace(method.context.plan.recipe, norm_momentum=(0.1, 0.01))
    method.context = replace(method.context, plan=replace(method.context.plan, recipe=recipe))
    for number in range(8):
        update(method, number)
    assert method.graphs.recorder.recorded == 0


class Exact(Recorder):
    """Does nothing again."""

    @contextmanager
    def aside(self):
        yield []

    def record(self, work, generators):
        return lambda: None, work()


def test_a_replay_that_does_nothing_does_not_pass_for_a_step():
    plain, idle = method_for("erm", None), method_for("erm", Exact())
    assert_same_updates(plain, idle, range(8))
    assert "its replay differs" in idle.told[0]


def test_graphs_are_for_gpus():
    cpu = torch.device("cpu")
    assert TrainedNetworks(cpu, 1.0, "auto").graphs.recorder is None
    assert TrainedNetworks(cpu, 1.0).graphs.recorder is None
    with pytest.raises(ConfigError, match="graphs=on: CUDA graphs need a GPU, and this run trains on cpu"):
        TrainedNetworks(cpu, 1.0, "on")
