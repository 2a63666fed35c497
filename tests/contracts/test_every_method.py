"""What every method in the table must do. To be tested, a method needs its line in the table alone."""

import io
from dataclasses import fields, is_dataclass, replace

import pytest
import torch

from dg.methods import METHODS
from dg.methods.base import DGMethod, MethodContext, SourceData, StepKey, TargetPoses
from dg.methods.plan import TrainingPlan
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import make_options, resolve
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from tests.cases import mostly_long
from tests.conftest import make_camera, make_joints

ROWS = 24
# So that all of a method's stages are seen within a few updates.
SHORT = {"warmup_iterations": 1, "history": 30}

every_method = pytest.mark.parametrize("name", sorted(METHODS))
# Every skeleton and every kind of input; plain depth is the default of the other tests.
FEATURED, FEATURES = "xyd+depth_features", 4
CASES = [(H36M_16, "xy"), (H36M_17, FEATURED), (H36M_16, "uadd")]
every_case = pytest.mark.parametrize(("skeleton", "channels"), CASES, ids=lambda v: getattr(v, "name", v))
one_case_and_others_long = pytest.mark.parametrize(
    ("skeleton", "channels"), mostly_long(CASES, CASES[1:2]), ids=lambda v: getattr(v, "name", v)
)


def render(poses, channels="xyd"):
    """A stand-in for the render workers: the surface lies 10 cm before every joint; for `uadd` also a detection."""
    if poses is None:
        return None
    z = poses.joints_3d[..., 2]
    poses = poses.replace(depth=z - 0.1)
    if channels == FEATURED:
        return poses.replace(joint_features=(z[..., None] * torch.arange(1, FEATURES + 1)).sin().half())
    if channels != "uadd":
        return poses
    noise = torch.randn(*z.shape, 5, generator=torch.Generator().manual_seed(len(poses)))
    return poses.replace(
        confidence=noise[..., 0].sigmoid(),
        depth_spread=noise[..., 1:3].abs() * torch.tensor([-0.1, 1.0]),
        detection_error=0.01 * noise[..., 3:],
    )


def source_batch(skeleton, seed=0, channels="xyd"):
    joints = make_joints(ROWS, len(skeleton), seed=seed)[:, None]
    return render(PoseBatch.from_joints(joints, make_camera(ROWS, distorted=True), skeleton), channels)


def source_poses(skeleton):
    """The whole source, as a method is given it: no depth."""
    joints = make_joints(5 * ROWS, len(skeleton), seed=8)[:, None]
    return PoseBatch.from_joints(joints, make_camera(5 * ROWS, distorted=True), skeleton)


def target_poses(skeleton):
    """Nearer people, seen by a wider camera off the source's principal point."""
    camera = make_camera(2 * ROWS)
    camera = Camera(camera.focal * 0.7, camera.center - 0.1, camera.distortion, camera.extent)
    joints = make_joints(2 * ROWS, len(skeleton), seed=7)
    return TargetPoses("target", "test", camera.project(joints), camera)


def make(name, skeleton=H36M_17, channels="xyd", plan=None, device="cpu", **given):
    torch.manual_seed(0)
    sizes = (FEATURES,) if channels == FEATURED else ()
    inputs = InputSpec(channels=channels, dscale2d="off" if channels == "xy" else "focal", feature_sizes=sizes)
    plan = plan or TrainingPlan(total_steps=100, steps_per_epoch=10, pretrain_steps=0)
    lengths = bone_lengths(make_joints(3, len(skeleton), seed=9), skeleton)
    lifter = SimpleBaseline(skeleton, inputs.size, SimpleBaselineOptions(width=32))
    kind = resolve(METHODS, "method", name)
    source = SourceData(source_poses(skeleton), lengths)
    target = target_poses(skeleton) if kind.regime == "DA" else None
    context = MethodContext(lifter, inputs, skeleton, plan, source, torch.device(device), target)
    names = {f.name for f in fields(kind.Options)}
    options = make_options(kind, "method", name, {k: v for k, v in {**SHORT, **given}.items() if k in names})
    return kind(context, options)


def step(method, number):
    channels = method.context.inputs.channels
    source = source_batch(method.context.skeleton, number, channels)
    key = StepKey(seed=3, epoch=0, batch=number)
    proposed = render(method.propose(source, key), channels)
    torch.manual_seed(key.number("update"))  # as the trainer does before each update, for dropout
    return method.update(source, proposed, key)


def flat(state, prefix=""):
    """All leaves of a nested state, by path."""
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    else:
        return {prefix: state}
    return {k: v for name, part in items for k, v in flat(part, f"{prefix}/{name}").items()}


def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@every_method
def test_it_is_a_method_with_frozen_options_and_a_regime(name):
    kind = resolve(METHODS, "method", name)
    assert issubclass(kind, DGMethod)
    assert is_dataclass(kind.Options)
    assert kind.Options.__dataclass_params__.frozen
    assert kind.regime in ("DG", "DA")


@every_method
@one_case_and_others_long
def test_three_updates_are_finite_and_move_the_lifter(name, skeleton, channels):
    method = make(name, skeleton, channels)
    before = method.lifter.last.weight.detach().clone()
    for number in range(3):
        update = step(method, number)
        assert update.metrics
        assert all(torch.isfinite(v) and not v.requires_grad for v in update.metrics.values()), update.metrics
    assert not torch.equal(before, method.lifter.last.weight)
    assert all(torch.isfinite(p).all() for p in method.networks.parameters())


@every_method
@one_case_and_others_long
def test_proposals_carry_no_gradient_fit_the_source_and_change_nothing(name, skeleton, channels):
    method = make(name, skeleton, channels)
    step(method, 0)
    before = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in flat(method.state_dict()).items()}
    source = source_batch(skeleton, channels=channels)
    key = StepKey(3, 0, 1)
    first, second = method.propose(source, key), method.propose(source, key)
    assert all(same(before[k], v) for k, v in flat(method.state_dict()).items())
    if first is None:
        return
    assert torch.equal(first.index, source.index[: len(first)])
    assert first.joints_3d.shape[1:] == source.joints_3d.shape[1:]
    assert not first.joints_3d.requires_grad
    assert not first.joints_2d.requires_grad
    assert torch.equal(first.joints_3d, second.joints_3d)
    inside = first.valid
    assert first.camera[inside].in_frame(first.joints_3d[inside]).all()
    torch.testing.assert_close(first.camera.project(first.joints_3d), first.joints_2d)


@every_method
def test_steps_are_counted_as_the_budget_counts_them(name):
    method = make(name)
    made = sum(step(method, number).lifter_steps for number in range(4))
    assert made == method.lifter_steps > 0


@every_method
def test_pre_training_makes_one_lifter_step_a_batch_on_the_source_alone(name):
    method = make(name, plan=TrainingPlan(total_steps=100, steps_per_epoch=10, pretrain_steps=3))
    for number in range(3):
        assert method.propose(source_batch(H36M_17), StepKey(0, 0, number)) is None
        assert step(method, number).lifter_steps == 1
    assert not method.pretraining
    step(method, 3)


@every_method
def test_a_proposal_none_of_which_survived_costs_no_step_and_breaks_nothing(name):
    method = make(name)
    for number in range(3):
        step(method, number)
    source, key = source_batch(H36M_17), StepKey(3, 0, 3)
    proposed = render(method.propose(source, key))
    if proposed is None:
        return
    lost = proposed.replace(
        valid=torch.zeros(len(proposed), dtype=torch.bool), depth=torch.full_like(proposed.depth, torch.nan)
    )
    update = method.update(source, lost, key)
    assert update.lifter_steps <= 1
    assert all(torch.isfinite(v) for v in update.metrics.values()), update.metrics
    assert all(torch.isfinite(p).all() for p in method.networks.parameters())


@every_method
@pytest.mark.parametrize("channels", mostly_long(["xy", "uadd"], ["xy"]))
def test_a_saved_method_goes_on_bit_for_bit(name, channels):
    method = make(name, channels=channels)
    for number in range(4):
        step(method, number)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    resumed = make(name, channels=channels)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    expected, got = step(method, 4), step(resumed, 4)
    assert got.lifter_steps == expected.lifter_steps
    assert all(torch.equal(got.metrics[k], v) for k, v in expected.metrics.items())
    ours, theirs = flat(method.state_dict()), flat(resumed.state_dict())
    assert ours.keys() == theirs.keys()
    assert [k for k, v in ours.items() if not same(v, theirs[k])] == []


@pytest.mark.long
@every_method
def test_two_threads_leave_the_same_bits_each_time(name, monkeypatch):
    monkeypatch.setitem(globals(), "ROWS", 1024)  # as many as are shared out among threads
    torch.set_num_threads(2)
    states = []
    for _ in range(3):
        method = make(name)
        for number in range(3):
            step(method, number)
        states.append(flat(method.state_dict()))
    first, *others = states
    assert [k for other in others for k, v in first.items() if not same(v, other[k])] == []


@every_method
@every_case
def test_prediction_is_root_relative_and_leaves_the_mode_alone(name, skeleton, channels):
    method = make(name, skeleton, channels)
    method.lifter.train()
    predicted = method.predict(source_batch(skeleton, channels=channels))
    assert predicted.shape == (ROWS, 1, len(skeleton), 3)
    assert predicted[:, :, skeleton.root].abs().max() == 0
    assert method.lifter.training
    assert not predicted.requires_grad


@pytest.mark.parametrize("name", [n for n in sorted(METHODS) if resolve(METHODS, "method", n).takes_answers])
def test_a_method_that_takes_other_answers_trains_towards_them(name):
    method = make(name, channels="xy")
    method.context = replace(method.context, inputs=replace(method.context.inputs, answers="image"))
    before, source = method.lifter.last.weight.detach().clone(), source_batch(H36M_17)
    update = step(method, 0)
    assert torch.isfinite(update.metrics["loss/lifter"])
    assert not torch.equal(before, method.lifter.last.weight)
    # Answers of nothing are joints in the root's place, wherever that is.
    method.lifter.forward = lambda features: features.new_zeros(len(features), 1, 17, 3)
    assert method.predict(source).norm(dim=-1).max() < 1e-5
