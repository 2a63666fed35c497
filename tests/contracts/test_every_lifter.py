"""What every lifter in the table must do. To be tested, a lifter needs its line in the table alone."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from dg.methods.losses import LIFTER_LOSSES
from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import make_options, resolve
from lifters import LIFTERS
from lifters.base import Lifter
from tests.simulated_gpu import simulated_gpu

# Small sizes where a lifter has them, so that the contracts take no time; every other option keeps its default.
SMALL = {"width": 32, "depth": 2, "representation": 32}
FRAMES = (1, 9, 27)


def options_of(name, frames=1):
    kind = resolve(LIFTERS, "lifter", name)
    names = {f.name for f in fields(kind.Options)}
    options = make_options(kind, "lifter", name, {k: v for k, v in SMALL.items() if k in names})
    return kind.for_frames(options, frames)


def make(name, skeleton, channels, frames=1):
    return resolve(LIFTERS, "lifter", name)(skeleton, channels, options_of(name, frames))


def lengths(name):
    """Windows that a lifter sees whole: of a single frame, or of several where its options change with them."""
    return [frames for frames in FRAMES if frames == 1 or options_of(name, frames) != options_of(name)]


every_lifter = pytest.mark.parametrize("name", sorted(LIFTERS))
every_window = pytest.mark.parametrize(("name", "frames"), [(n, f) for n in sorted(LIFTERS) for f in lengths(n)])
every_case = pytest.mark.parametrize(
    ("skeleton", "channels"), [(H36M_16, 2), (H36M_17, 3), (H36M_16, 6)], ids=lambda v: getattr(v, "name", v)
)


@every_lifter
def test_it_is_a_lifter_with_frozen_options(name):
    kind = resolve(LIFTERS, "lifter", name)
    assert issubclass(kind, Lifter)
    assert is_dataclass(kind.Options)
    assert kind.Options.__dataclass_params__.frozen


def test_lifters_that_see_motion_are_among_them():
    assert {name for name in LIFTERS if len(lengths(name)) == len(FRAMES)} >= {"video_pose_3d", "motion_bert"}


@every_window
@every_case
def test_it_answers_for_the_frames_it_declares(name, frames, skeleton, channels):
    lifter = make(name, skeleton, channels, frames).eval()
    output = lifter(torch.randn(4, frames, len(skeleton), channels))
    targets = range(frames)[lifter.target_frames(frames)]
    assert output.shape == (4, len(targets), len(skeleton), 3)
    assert torch.isfinite(output).all()


@every_window
def test_gradients_reach_every_parameter_and_all_of_the_input(name, frames):
    lifter = make(name, H36M_17, 3, frames).train()
    features = torch.randn(16, frames, 17, 3, requires_grad=True)
    target = torch.randn(17, 3)
    (lifter(features) - target).square().sum().backward()
    silent = [n for n, p in lifter.named_parameters() if p.grad is None]
    assert not silent
    assert features.grad is not None
    assert (features.grad.abs().sum(0) > 0).all()


@every_window
def test_it_can_start_with_zeros_for_answers_and_learns_from_there(name, frames):
    """As `output_init=zero` has it. The output layer alone is changed, and after it the others move too."""
    lifter = make(name, H36M_17, 3, frames)
    built = {n: values.clone() for n, values in lifter.state_dict().items()}
    lifter.answer_zero()
    changed = {n.rpartition(".")[0] for n, values in lifter.state_dict().items() if not torch.equal(values, built[n])}
    layer = lifter.output_layer()
    assert changed == {n for n, module in lifter.named_modules() if module is layer}
    started = {n: values.detach().clone() for n, values in lifter.named_parameters()}

    features = torch.randn(16, frames, 17, 3)
    for training in (True, False):
        assert torch.count_nonzero(lifter.train(training)(features)) == 0
    target = 0.3 * torch.randn(17, 3)
    target[H36M_17.root] = 0
    loss_of = LIFTER_LOSSES[resolve(LIFTERS, "lifter", name).recipe(options_of(name, frames)).loss]
    optimiser = torch.optim.Adam(lifter.train().parameters(), 1e-3)
    losses = []
    for _ in range(8):
        answers = lifter(features)
        loss = loss_of(answers, target.expand_as(answers)).mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0]
    assert all(values.isfinite().all() for values in lifter.parameters())
    moved = [n for n, values in lifter.named_parameters() if not torch.equal(values, started[n])]
    assert next(iter(started)) in moved, "the output layer passes a gradient on from the second step"


@every_window
def test_rows_of_a_batch_do_not_touch_each_other_in_eval_mode(name, frames):
    lifter = make(name, H36M_16, 3, frames).eval()
    features = torch.randn(6, frames, 16, 3)
    together = lifter(features)
    alone = torch.cat([lifter(features[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@every_lifter
def test_wider_inputs_change_the_first_layer_alone(name):
    narrow, wide = (dict(make(name, H36M_16, c).named_parameters()) for c in (2, 3))
    assert narrow.keys() == wide.keys()
    changed = [n for n in narrow if narrow[n].shape != wide[n].shape]
    assert changed
    prefixes = {n.split(".")[0] for n in changed}
    assert len(prefixes) == 1, changed


@every_window
def test_its_weights_come_back_from_a_state_dict(name, frames):
    first, second = make(name, H36M_17, 3, frames).eval(), make(name, H36M_17, 3, frames).eval()
    second.load_state_dict(first.state_dict())
    features = torch.randn(3, frames, 17, 3)
    assert torch.equal(first(features), second(features))


@every_window
def test_it_computes_on_a_gpu_what_it_computes_on_the_cpu(name, frames):
    """The GPU is simulated: it computes as the CPU does, and refuses tensors of the other device."""

    def gradients(device):
        torch.manual_seed(0)
        lifter = make(name, H36M_17, 3, frames).eval().to(device)
        features = torch.linspace(-1, 1, 4 * frames * 17 * 3).view(4, frames, 17, 3).to(device)
        lifter(features).square().sum().backward()
        return [p.grad.cpu() for p in lifter.parameters()]

    expected = gradients("cpu")
    with simulated_gpu() as waits:
        found = gradients("cuda")
    # Weights, the input and its numbers go there, and gradients come back.
    assert [call for call in waits if not call.startswith(("copy to cuda", "copy to cpu"))] == []
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
