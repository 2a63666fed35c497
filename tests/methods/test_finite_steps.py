"""What is not a number stops at the step where it appears: no weight, no batch norm and no other row takes it on."""

import pytest
import torch

from dg.methods.base import MethodContext, SourceData
from dg.methods.erm import ERM
from dg.methods.finite_steps import LOOK_EVERY, PATIENCE, DivergedError, FiniteSteps
from dg.methods.plan import TrainingPlan
from dg.pose.batch import InputSpec, PoseBatch, finite_rows
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_16
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from tests.conftest import make_camera, make_joints


def make_poses(rows):
    return PoseBatch.from_joints(make_joints(rows, joints=16)[:, None], make_camera(rows), H36M_16)


def make_method():
    torch.manual_seed(0)
    poses = make_poses(64)
    lifter = SimpleBaseline(H36M_16, 2, SimpleBaselineOptions(width=32))
    source = SourceData(poses, bone_lengths(poses.joints_3d[:, 0], H36M_16)[:1])
    plan = TrainingPlan(total_steps=100, steps_per_epoch=10)
    context = MethodContext(lifter, InputSpec("xy", "off"), H36M_16, plan, source, torch.device("cpu"))
    return ERM(context, ERM.Options())


def weights_of(method):
    return {name: value.clone() for name, value in method.networks.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def method():
    return make_method()


@pytest.mark.parametrize("field", ["joints_3d", "joints_2d"])
def test_a_row_that_is_not_a_number_is_as_if_it_were_not_there(field):
    poses = make_poses(32)
    broken = getattr(poses, field).clone()
    broken[5, 0, 3, 0] = float("nan")
    sick = poses.replace(**{field: broken})
    assert finite_rows(sick).tolist() == [row != 5 for row in range(32)]
    one, other = make_method(), make_method()
    torch.manual_seed(1)
    one.step_lifter(sick)
    torch.manual_seed(1)
    other.step_lifter(poses[finite_rows(sick)])
    assert same(weights_of(one), weights_of(other))
    assert one.finite_steps.skipped == 0


def test_a_gradient_that_is_not_a_number_moves_nothing_and_is_counted(method, monkeypatch):
    monkeypatch.setattr(method, "lifter_loss", lambda predicted, target, weights: predicted.sum() * float("nan"))
    before = {name: parameter.clone() for name, parameter in method.lifter.named_parameters()}
    method.step_lifter(make_poses(32))
    assert same(before, dict(method.lifter.named_parameters()))
    assert (method.finite_steps.skipped, method.lifter_steps) == (1, 1)
    monkeypatch.undo()
    method.step_lifter(make_poses(32))
    assert not same(before, dict(method.lifter.named_parameters()))
    assert all(value.isfinite().all() for value in method.networks.state_dict().values())


class Counting(torch.optim.SGD):
    """Counts its steps."""

    def __init__(self):
        super().__init__([torch.zeros(1, requires_grad=True)], lr=0.0)
        self.made = 0

    def step(self, closure=None):
        self.made += 1


def test_steps_left_out_end_the_run_only_when_nothing_lies_between_them():
    steps, optimizer, bad, good = FiniteSteps(), Counting(), torch.tensor(float("inf")), torch.tensor(1.0)
    for _ in range(3):
        for norm in [*[bad] * (PATIENCE - 1), good]:
            steps.step("lifter", optimizer, norm)
    assert optimizer.made == 3
    for _ in range(PATIENCE - 1):
        steps.step("generator", optimizer, bad)
    again = FiniteSteps()
    again.load_state_dict(steps.state_dict())
    with pytest.raises(DivergedError, match="generator is not a number"):
        again.step("generator", optimizer, bad)
    assert again.skipped == 4 * (PATIENCE - 1) + 1


def test_steps_that_are_left_out_on_the_device_leave_the_same_weights_and_counts(monkeypatch):
    """As on a GPU, where nobody waits to see whether a gradient is finite."""
    methods = make_method(), make_method()
    methods[1].finite_steps.deferred = True
    poses, plain = make_poses(32), ERM.lifter_loss
    for number in range(8):
        sick = number in (2, 3, 5)
        for method in methods:
            loss = plain if not sick else lambda self, predicted, *rest: predicted.sum() * float("nan")
            monkeypatch.setattr(ERM, "lifter_loss", loss)
            torch.manual_seed(number)
            method.step_lifter(poses)
    assert same(weights_of(methods[0]), weights_of(methods[1]))
    assert methods[0].finite_steps.state_dict() == methods[1].finite_steps.state_dict()
    assert methods[1].finite_steps.skipped == 3
    states = [m.optimizers["lifter"].state_dict()["state"] for m in methods]
    assert all(torch.equal(states[0][k][n], states[1][k][n]) for k in states[0] for n in states[0][k])


def test_a_run_that_steps_without_looking_ends_at_the_next_look(monkeypatch):
    method = make_method()
    method.finite_steps.deferred = True
    monkeypatch.setattr(ERM, "lifter_loss", lambda self, predicted, *rest: predicted.sum() * float("nan"))
    for _ in range(LOOK_EVERY - 1):
        method.step_lifter(make_poses(4))
    with pytest.raises(DivergedError, match="10 steps in a row"):
        method.step_lifter(make_poses(4))


def test_a_gpu_leaves_a_step_out_of_any_optimiser_as_the_host_does():
    """Of one that is not fused everything is put back: weights, and what it remembers of gradients."""

    def made(deferred):
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        optimizer, steps = torch.optim.RMSprop([weight], lr=0.1), FiniteSteps(deferred)
        for value in (1.0, float("nan"), 2.0, float("inf"), 3.0):
            weight.grad = torch.tensor([value, 1.0])
            left_out = steps.step("critic", optimizer, weight.grad.norm())
            if left_out is not None:
                steps.later("critic", left_out)
        return weight.detach(), optimizer.state[weight]["square_avg"], steps.skipped

    (expected, remembered, skipped), (weight, average, count) = made(False), made(True)
    assert torch.equal(weight, expected)
    assert torch.equal(average, remembered)
    assert (skipped, count) == (2, 2)
