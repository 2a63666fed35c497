"""Features before any lifter: with embeddings of zero it is the plain lifter, and only its first layer differs."""

import pytest
import torch
from torch import nn

from dg.pose.skeleton import H36M_16, H36M_17
from lifters import LIFTERS
from lifters.base import Lifter
from lifters.feature_fusion import EMBEDDED, FusedLifter, fused_channels
from tests.contracts.test_every_lifter import make

SOURCES = {"depth_features": 24, "image_features": 10}


def fused(name, plain, skeleton=H36M_16, sources=SOURCES):
    return FusedLifter(make(name, skeleton, fused_channels(plain, sources)), sources)


def frames_needed(lifter):
    return getattr(lifter, "receptive_field", 1)


def silence(lifter):
    """Embeddings of zero."""
    for parameter in lifter.embeddings.parameters():
        nn.init.zeros_(parameter)


def without_embedded(wide, narrow, plain):
    """Weights of a lifter without what it gives to the channels of the embedding; those come last for each joint."""
    weights, channels = {}, plain + EMBEDDED * len(SOURCES)
    for name, value in wide.items():
        for axis in [a for a, (w, n) in enumerate(zip(value.shape, narrow[name].shape, strict=True)) if w != n]:
            groups = value.shape[axis] // channels
            value = value.unflatten(axis, (groups, channels)).narrow(axis + 1, 0, plain).flatten(axis, axis + 1)
        weights[name] = value
    return weights


every_lifter = pytest.mark.parametrize("name", sorted(LIFTERS))


@every_lifter
@pytest.mark.parametrize("plain", [2, 6])
def test_with_embeddings_of_zero_it_is_the_plain_lifter(name, plain):
    lifter, alone = fused(name, plain).eval(), make(name, H36M_16, plain).eval()
    silence(lifter)
    alone.load_state_dict(without_embedded(lifter.lifter.state_dict(), alone.state_dict(), plain))
    features = torch.randn(3, frames_needed(alone), 16, plain + sum(SOURCES.values()))
    torch.testing.assert_close(lifter(features), alone(features[..., :plain]), atol=1e-5, rtol=1e-4)


@every_lifter
@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
def test_it_is_a_lifter_that_learns_from_every_source(name, skeleton):
    lifter = fused(name, 3, skeleton).train()
    assert isinstance(lifter, Lifter)
    frames = frames_needed(lifter.lifter)
    features = torch.randn(8, frames, len(skeleton), 3 + sum(SOURCES.values()), requires_grad=True)
    assert lifter.channels == features.shape[-1]
    output = lifter(features)
    answered = range(frames)[lifter.target_frames(frames)]
    assert output.shape == (8, len(answered), len(skeleton), 3)
    (output - torch.randn(len(skeleton), 3)).square().sum().backward()
    assert not [n for n, p in lifter.named_parameters() if p.grad is None]
    assert (features.grad.flatten(0, 2).abs().sum(0) > 0).all()
    assert lifter.inference_frames(frames) == lifter.lifter.inference_frames(frames)


def test_weights_come_back_under_the_lifters_own_names():
    first, second = fused("simple_baseline", 3).eval(), fused("simple_baseline", 3).eval()
    names = set(make("simple_baseline", H36M_16, 3).state_dict())
    assert {n.removeprefix("lifter.") for n in first.state_dict() if n.startswith("lifter.")} == names
    assert all(n.startswith(("lifter.", "embeddings.")) for n in first.state_dict())
    second.load_state_dict(first.state_dict())
    features = torch.randn(2, 1, 16, first.channels)
    assert torch.equal(first(features), second(features))


def test_reducing_what_was_sampled_is_sampling_what_was_reduced():
    lifter = fused("simple_baseline", 2)
    reduce = lifter.embeddings["depth_features"][0]
    cells, weight = torch.randn(4, 24), torch.tensor([0.1, 0.3, 0.2, 0.4])
    torch.testing.assert_close(reduce(weight @ cells), weight @ reduce(cells))


def test_it_has_the_parameters_that_its_header_tells():
    sizes = {"depth_features": 384, "image_features": 768}
    lifter = fused("pose_former", 6, sources=sizes)
    counts = {n: sum(p.numel() for p in e.parameters()) for n, e in lifter.embeddings.items()}
    assert counts == {"depth_features": 102_672, "image_features": 12_304}


@pytest.mark.parametrize(("channels", "sources"), [(3, {}), (EMBEDDED, {"depth_features": 8})])
def test_a_lifter_of_another_width_is_refused(channels, sources):
    with pytest.raises(ValueError, match="expected a lifter that takes 16 channels"):
        FusedLifter(make("simple_baseline", H36M_16, channels), sources)
