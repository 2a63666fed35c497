"""What every lifter in the table must do. To be tested, a lifter needs its line in the table alone."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import make_options, resolve
from lifters import LIFTERS
from lifters.base import Lifter

# Small sizes where a lifter has them, so that the contracts take no time; every other option keeps its default.
SMALL = {"width": 32}


def make(name, skeleton, channels):
    kind = resolve(LIFTERS, "lifter", name)
    names = {f.name for f in fields(kind.Options)}
    options = make_options(kind, "lifter", name, {k: v for k, v in SMALL.items() if k in names})
    return kind(skeleton, channels, options)


def frames_needed(lifter):
    return getattr(lifter, "receptive_field", 1)


every_lifter = pytest.mark.parametrize("name", sorted(LIFTERS))
every_skeleton = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
every_input = pytest.mark.parametrize("channels", [2, 3, 6])


@every_lifter
def test_it_is_a_lifter_with_frozen_options(name):
    kind = resolve(LIFTERS, "lifter", name)
    assert issubclass(kind, Lifter)
    assert is_dataclass(kind.Options)
    assert kind.Options.__dataclass_params__.frozen


@every_lifter
@every_skeleton
@every_input
def test_it_answers_for_the_frames_it_declares(name, skeleton, channels):
    lifter = make(name, skeleton, channels).eval()
    frames = frames_needed(lifter)
    output = lifter(torch.randn(4, frames, len(skeleton), channels))
    targets = range(frames)[lifter.target_frames(frames)]
    assert output.shape == (4, len(targets), len(skeleton), 3)
    assert torch.isfinite(output).all()


@every_lifter
@every_skeleton
def test_gradients_reach_every_parameter_and_the_input(name, skeleton):
    lifter = make(name, skeleton, 3).train()
    features = torch.randn(16, frames_needed(lifter), len(skeleton), 3, requires_grad=True)
    target = torch.randn(len(skeleton), 3)
    (lifter(features) - target).square().sum().backward()
    silent = [n for n, p in lifter.named_parameters() if p.grad is None]
    assert not silent
    assert features.grad is not None
    assert (features.grad.flatten(2).abs().sum((0, 1)) > 0).all()


@every_lifter
def test_rows_of_a_batch_do_not_touch_each_other_in_eval_mode(name):
    lifter = make(name, H36M_16, 3).eval()
    features = torch.randn(6, frames_needed(lifter), 16, 3)
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


@every_lifter
def test_its_weights_come_back_from_a_state_dict(name):
    first, second = make(name, H36M_17, 3).eval(), make(name, H36M_17, 3).eval()
    second.load_state_dict(first.state_dict())
    features = torch.randn(3, frames_needed(first), 17, 3)
    assert torch.equal(first(features), second(features))
