"""PoseDA's ablations: random changes in the place of learned ones, and other ways to normalise 2D."""

import io

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.critics import CRITIC_LOSSES, paired
from dg.methods.plan import TrainingPlan
from dg.methods.poseda import PoseDA, PoseDAOptions
from dg.pose.bones import bone_lengths
from dg.pose.boxes import crop_to_boxes
from dg.pose.input_spec import InputSpec
from dg.pose.skeleton import H36M_16
from tests.contracts.test_every_method import flat, make, same, source_batch, step


def relative(joints):
    return joints - joints[..., :1, :]


@pytest.mark.parametrize("local", [(), ("rotation",), ("length",), ("rotation", "length")])
def test_random_changes_turn_about_the_vertical_and_scale_bones_as_named(local):
    method = make("poseda", H36M_16, "xy", parts="gpa", local=local)
    source = source_batch(H36M_16)
    before, made = source.joints_3d[:, 0], method.propose(source, StepKey(0, 0, 0))
    after = made.joints_3d[:, 0][made.valid]
    before = before[made.valid]
    ratio = bone_lengths(after, H36M_16) / bone_lengths(before, H36M_16)
    assert bool(((ratio - 1).abs() > 1e-3).any()) == ("length" in local)
    assert ((ratio - 1).abs() < 0.2 + 1e-4).all()
    torch.testing.assert_close(ratio, ratio[:, list(H36M_16.bone_flip)], atol=1e-3, rtol=0)
    assert (ratio[:, H36M_16.bone("thorax")] - 1).abs().max() < 1e-4
    one, other = relative(before), relative(after)
    turned = (one[..., [0, 2]] - other[..., [0, 2]]).abs().max() > 0.05
    if "length" not in local:
        # Heights stay: y is the camera's vertical axis.
        torch.testing.assert_close(one[..., 1], other[..., 1], atol=1e-4, rtol=0)
        assert bool(turned) == ("rotation" in local)
    assert torch.isfinite(step(method, 1).metrics["loss/lifter"])


def test_a_random_change_beside_a_learned_one_is_refused():
    with pytest.raises(ValueError, match="parts=gpa"):
        PoseDAOptions(local=("rotation",))


@pytest.mark.parametrize("square", [False, True])
def test_a_crop_does_not_see_where_and_how_large_a_person_is(square):
    torch.manual_seed(0)
    pose = torch.randn(5, 16, 2)
    moved = pose * 0.3 + torch.tensor([0.5, -0.2])
    cropped = crop_to_boxes(pose, square)
    torch.testing.assert_close(crop_to_boxes(moved, square), cropped, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cropped.abs().amax((-2, -1)), torch.ones(5))
    span = cropped.amax(-2) - cropped.amin(-2)
    if square:
        before = pose.amax(-2) - pose.amin(-2)
        torch.testing.assert_close(span[:, 0] / span[:, 1], before[:, 0] / before[:, 1])
    else:
        torch.testing.assert_close(span, torch.full_like(span, 2.0))
    assert (crop_to_boxes(torch.ones(1, 16, 2), square) == 0).all()


def test_the_lifter_is_given_the_crop():
    source = source_batch(H36M_16)
    seen = source.features(InputSpec("xy", "square"))
    torch.testing.assert_close(seen, crop_to_boxes(source.joints_2d, square=True))


TARGETS = {"condition": "target", "real_3d": "target", "real_2d": "target"}
KEY = StepKey(3, 0, 0)


def poseda(**given):
    return make("poseda", H36M_16, "xy", **{"warmup_iterations": 0, **given})


def test_least_squares_are_those_of_a_slow_loop_over_poses_and_parts():
    torch.manual_seed(0)
    real, made = torch.randn(7, 5), torch.randn(21, 5)
    critic, generator = CRITIC_LOSSES["lsgan"]
    slow_real = sum((real[n, p] - 1) ** 2 for n in range(7) for p in range(5)) / 35
    slow_made = sum(made[n, p] ** 2 for n in range(21) for p in range(5)) / 105
    slow_fooled = sum((made[n, p] - 1) ** 2 for n in range(21) for p in range(5)) / 105
    torch.testing.assert_close(critic(real, made), 0.5 * slow_real + 0.5 * slow_made)
    torch.testing.assert_close(generator(made), 0.5 * slow_fooled)


def test_with_least_squares_the_critics_losses_are_used_and_no_weight_is_clipped():
    method = poseda(adversarial="lsgan", real_2d="target")
    for number in range(6):
        metrics = step(method, number).metrics
    assert metrics["loss/generator"] >= 0
    assert "augment/wasserstein" not in metrics
    for name in ("critic", "critic_2d"):
        assert max(p.abs().max() for p in method.networks[name].parameters()) > 0.05
    wasserstein = poseda(real_2d="target")
    step(wasserstein, 0)
    for name in ("critic", "critic_2d"):
        assert max(p.abs().max() for p in wasserstein.networks[name].parameters()) <= 0.01


def lifted(method, rows):
    """Every pose of the target as the lifter sees it now."""
    with torch.no_grad():
        flat_2d = method.target.joints_2d[rows]
        return method.lifter.eval()(flat_2d[:, None])[:, 0]


@pytest.mark.parametrize("condition", ["source", "target"])
def test_a_generator_conditioned_on_the_target_sees_the_targets_2d_and_changes_the_source(condition):
    method = poseda(condition=condition, parts="lpa")
    source, seen = source_batch(H36M_16), []
    method.generator.bone_angle.trunk.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    made = method.propose(source, KEY)
    (given,) = seen
    given = given.unflatten(1, (16, 3))
    if condition == "source":
        torch.testing.assert_close(given, relative(source.joints_3d[:, 0]))
    else:
        every = relative(lifted(method, torch.arange(len(method.target))))
        assert (given[:, None] - every).abs().amax((-1, -2)).amin(1).max() < 1e-5
    # The frozen torso, up to the rotation: the bones that are changed are those of the source.
    length = bone_lengths(made.joints_3d[:, 0], H36M_16)[:, H36M_16.bone("thorax")]
    torch.testing.assert_close(length, bone_lengths(source.joints_3d[:, 0], H36M_16)[:, H36M_16.bone("thorax")])
    other = poseda(condition=condition, parts="lpa")
    other.target.joints_2d.mul_(0.5)
    assert torch.equal(other.propose(source, KEY).joints_3d, made.joints_3d) == (condition == "source")


@pytest.mark.parametrize("real_3d", ["source", "target"])
@pytest.mark.parametrize("real_2d", ["off", "source", "target"])
def test_the_critics_take_for_real_what_the_options_name(real_3d, real_2d):
    method = poseda(real_3d=real_3d, real_2d=real_2d)
    source, seen = source_batch(H36M_16), {}
    for name in ("critic", "critic_2d"):
        if name in method.networks:
            keep = seen.setdefault(name, [])
            method.networks[name].register_forward_pre_hook(lambda _, given, keep=keep: keep.append(given[0]))
    method._step_critics(source, KEY)
    real, made = seen["critic"]
    assert len(made) == 3 * len(source)
    if real_3d == "source":
        assert torch.equal(real, source.joints_3d[:, 0])
    else:
        every = lifted(method, torch.arange(len(method.target)))
        assert (real[:, None] - every).abs().amax((-1, -2)).amin(1).max() < 1e-5
    assert ("critic_2d" in seen) == (real_2d != "off")
    if real_2d == "off":
        return
    real, made = seen["critic_2d"]
    if real_2d == "source":
        assert torch.equal(real, source.joints_2d[:, 0])
    else:
        assert (real[:, None] - method.target.joints_2d).abs().amax((-1, -2)).amin(1).max() == 0
    # After the alignment, a made pose has its root where a target pose has it.
    roots = method.target.joints_2d[:, 0]
    assert (made[:, None, 0] - roots).abs().amax(-1).amin(1).max() < 1e-4


def test_a_2d_critic_moves_the_generator():
    grads = []
    for real_2d in ("off", "target"):
        method = poseda(real_2d=real_2d)
        method._step_generator(source_batch(H36M_16), KEY)
        grads.append(method.generator.rotation_trunk.last.weight.grad.clone())
    assert not torch.allclose(*grads)


def test_target_poses_are_those_of_the_pretrained_lifter_from_the_end_of_the_pre_training_on():
    plan = TrainingPlan(total_steps=100, steps_per_epoch=10, pretrain_steps=3)
    method = make("poseda", H36M_16, "xy", plan=plan, warmup_iterations=0, **TARGETS)
    for number in range(3):
        step(method, number)
    pretrained = {k: v.clone() for k, v in method.lifter.state_dict().items()}
    for number in range(3, 12):
        step(method, number)
    found = method.networks["pretrained"].state_dict()
    assert all(torch.equal(found[k], v) for k, v in pretrained.items())
    assert not torch.equal(method.lifter.state_dict()["last.weight"], pretrained["last.weight"])


@pytest.mark.parametrize("given", [TARGETS, TARGETS | {"adversarial": "lsgan"}, {"real_2d": "source", "parts": "lpa"}])
def test_a_run_with_its_own_choices_is_resumed_bit_for_bit(given):
    method, resumed = poseda(**given), poseda(**given)
    for number in range(8):
        step(method, number)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    step(method, 8), step(resumed, 8)
    theirs = flat(resumed.state_dict())
    assert [k for k, v in flat(method.state_dict()).items() if not same(v, theirs[k])] == []


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(ValueError, match="parts=gpa has no generator; leave real_2d=target out"):
        PoseDAOptions(parts="gpa", real_2d="target")
    with pytest.raises(ValueError, match="lipschitz=gp belongs to adversarial=wgan"):
        PoseDAOptions(adversarial="lsgan", lipschitz="gp")
    with pytest.raises(ValueError, match="give inputs=xy"):
        make("poseda", H36M_16, "uadd", real_3d="target")
    assert not PoseDA.takes(PoseDAOptions(condition="target", windows="centre_transform"), 9)


def test_real_samples_are_paired_with_made_ones_each_as_often():
    real = torch.arange(5.0)[:, None]
    random = torch.Generator().manual_seed(0)
    found = paired(real, 15, random)
    assert sorted(found[:, 0].tolist()) == sorted([*range(5)] * 3)
    assert len(paired(real, 3, random)) == 3
