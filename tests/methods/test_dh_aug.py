"""DH-AUG's networks against a plain computation, and the steps of its GAN."""

from itertools import pairwise

import pytest
import torch

from dg.methods.base import StepKey
from dg.methods.critics import PENALTY
from dg.methods.dh_aug import DHAugOptions, JointCritic, joined_bones, special_kcs, varied_lengths, with_mirror_images
from dg.methods.plan import TrainingPlan
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths, bone_vectors
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_camera, make_joints
from tests.contracts.test_every_method import make, render, source_batch, step

both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)


def dh_aug(skeleton=H36M_16, **given):
    return make("dh_aug", skeleton, "xy", **{"warmup_iterations": 0, **given})


def flat_weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_parameters_are_those_of_the_published_widths():
    method = dh_aug()
    counts = {name: flat_weights(network).numel() for name, network in method.networks.items()}

    def branch(inputs, width, blocks=3):
        return (inputs + 1) * width + blocks * 2 * (width + 1) * width

    assert counts["generator"] == branch(128, 256) + 257 * 35
    assert counts["critic_3d"] == branch(48, 256) + branch(30, 256) + branch(512, 100, 1) + 101


def test_the_special_kcs_is_fifteen_cosines_and_fifteen_lengths():
    joints = make_joints(5, 16, noise=0.2)
    pairs = joined_bones(H36M_16)
    features = special_kcs(joints, H36M_16, pairs)
    assert features.shape == (5, 30)
    ends = [H36M_16.joints[child] for _, child in H36M_16.bones]
    named = {frozenset((ends[a], ends[b])) for a, b in pairs}
    expected = [("left_hip", "right_hip"), ("left_hip", "spine"), ("right_hip", "spine"), ("spine", "thorax"),
                ("thorax", "head")]  # fmt: skip
    for side in ("left", "right"):
        expected += [("thorax", f"{side}_shoulder")]
        for chain in (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist")):
            expected += [(f"{side}_{a}", f"{side}_{b}") for a, b in pairwise(chain)]
    assert named == {frozenset(pair) for pair in expected}
    vectors = bone_vectors(joints, H36M_16)
    for column, (a, b) in enumerate(pairs):
        cosine = torch.nn.functional.cosine_similarity(vectors[:, a], vectors[:, b])
        torch.testing.assert_close(features[:, column], cosine)
    torch.testing.assert_close(features[:, 15:], vectors.norm(dim=-1))


@both
def test_lengths_vary_by_a_fifth_sides_alike_and_the_thorax_not(skeleton):
    lengths = bone_lengths(make_joints(3000, len(skeleton)), skeleton)
    ratio = varied_lengths(lengths, skeleton, torch.Generator().manual_seed(0)) / lengths - 1
    torch.testing.assert_close(ratio, ratio[:, list(skeleton.bone_flip)])
    thorax = skeleton.bone("thorax")
    assert ratio[:, thorax].abs().max() == 0
    others = [b for b in range(len(skeleton.bones)) if b != thorax]
    assert ratio.abs().max() <= 0.2 + 1e-6
    assert (ratio[:, others].amax(0) > 0.19).all()
    assert (ratio[:, others].amin(0) < -0.19).all()
    groups = {16: 8, 17: 9}[len(skeleton)]
    assert torch.linalg.matrix_rank(ratio[:, others]) == groups


@both
def test_mirror_images_agree_with_the_flip_of_a_batch(skeleton):
    batch = PoseBatch.from_joints(make_joints(4, len(skeleton))[:, None], make_camera(4), skeleton)
    for joints, flipped in ((batch.joints_3d, batch.flip().joints_3d), (batch.joints_2d, batch.flip().joints_2d)):
        torch.testing.assert_close(with_mirror_images(joints[:, 0], skeleton), torch.cat([joints, flipped])[:, 0])


@both
def test_generated_poses_keep_their_varied_lengths_and_lie_within_reach(skeleton):
    method = dh_aug(skeleton)
    source, key = source_batch(skeleton), StepKey(0, 0, 0)
    with torch.no_grad():
        made = method._generate(source, key, "proposal")
    own, new = bone_lengths(source.joints_3d[:, 0], skeleton), bone_lengths(made, skeleton)
    assert ((new / own - 1).abs() <= 0.2 + 1e-4).all()
    thorax = skeleton.bone("thorax")
    torch.testing.assert_close(new[:, thorax], own[:, thorax], atol=1e-5, rtol=0)
    roots = method.context.source.poses.joints_3d[:, 0, 0]
    distance = (made[:, 0] - roots.mean(0)).abs()
    assert (distance <= 3 * roots.std(0) + 1e-5).all()
    assert torch.equal(method.propose(source, key).joints_3d[:, 0], made)


def test_the_released_place_reaches_ten_metres():
    method = dh_aug(place="released")
    with torch.no_grad():
        method.generator.last.bias[-3:] = 100.0
        made = method._generate(source_batch(H36M_16), StepKey(0, 0, 0), "proposal")
    centre = method.context.source.poses.joints_3d[:, 0, 0].mean(0)
    torch.testing.assert_close(made[:, 0], (centre + 10).expand(len(made), 3))


def test_gradients_reach_every_output_of_the_generator():
    method = dh_aug()
    made = method._generate(source_batch(H36M_16), StepKey(0, 0, 0), "generator")
    (made * torch.randn(made.shape)).sum().backward()
    gradient = method.generator.last.weight.grad
    assert gradient.shape[0] == 35
    assert (gradient.norm(dim=1) > 1e-4).all()


def test_a_critics_gradient_equals_a_plain_computation():
    method = dh_aug()
    source, key = source_batch(H36M_16), StepKey(3, 0, 0)
    captured = {}
    optimizer = method.optimizers["critic_3d"]
    optimizer.step = lambda: captured.update({n: p.grad.clone() for n, p in method.critic_3d.named_parameters()})
    method._step_critics(source, key)

    critic = method.critic_3d
    with torch.no_grad():
        made = method._generate(source, key, "critics")
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    seen = []
    for joints in (source.joints_3d[:, 0], made):
        relative = joints - joints[:, :1]
        seen.append(torch.cat([relative, relative[:, list(H36M_16.flip)] * mirror]))
    real, fake = seen
    share = torch.rand(len(real), generator=key.generator("penalty")).reshape(-1, 1, 1)
    between = (real + share * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    loss = critic(fake).mean() - critic(real).mean() + PENALTY * penalty
    parameters = dict(critic.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters.values(), gradients, strict=True)]
    norm = torch.stack([g.norm() for g in gradients]).norm().clamp_min(1.0)
    for name, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(captured[name], gradient / norm, atol=1e-5, rtol=1e-3)


def test_critics_step_at_every_batch_and_the_generator_at_every_fifth():
    method = dh_aug(generator_every=5)
    moved = {"generator": [], "critic_3d": [], "critic_2d": []}
    for number in range(10):
        before = {name: flat_weights(method.networks[name]) for name in moved}
        step(method, number)
        for name, when in moved.items():
            when.append(not torch.equal(before[name], flat_weights(method.networks[name])))
    assert moved == {"generator": 2 * [*4 * [False], True], "critic_3d": 10 * [True], "critic_2d": 10 * [True]}


def test_the_2d_critics_weight_scales_its_part_of_the_generators_loss():
    source, key = source_batch(H36M_16), StepKey(0, 0, 0)
    losses = dh_aug(weight_2d=0.2)._step_generator(source, key)
    expected = losses["loss/adversarial_3d"] + 0.2 * losses["loss/adversarial_2d"]
    torch.testing.assert_close(losses["loss/generator"], expected)
    assert losses["loss/adversarial_2d"] != 0


def test_a_critic_learns_to_tell_a_generator_that_stands_still():
    method = dh_aug(generator_lr=0.0, critic_lr=1e-3)
    gaps = [step(method, number).metrics["loss/critic_3d"].item() for number in range(25)]
    assert gaps[-1] < min(gaps[0], 0) - 0.1


def test_warm_up_trains_the_gan_alone_and_proposes_nothing():
    method = dh_aug(warmup_iterations=2)
    before = flat_weights(method.lifter)
    for number in range(2):
        assert method.propose(source_batch(H36M_16), StepKey(0, 0, number)) is None
        assert step(method, number).lifter_steps == 0
    assert torch.equal(before, flat_weights(method.lifter))
    assert method.propose(source_batch(H36M_16), StepKey(0, 0, 2)) is not None
    assert step(method, 2).lifter_steps >= 1


def test_the_warm_up_is_two_passes_and_there_is_no_pre_training():
    method = make("dh_aug", plan=TrainingPlan(total_steps=100, steps_per_epoch=7), warmup_iterations=None)
    assert method.warmup == 14
    assert method.pretrain_share == 0


def test_the_critic_scores_each_pose_for_itself():
    critic, joints = JointCritic(H36M_17, width=16), make_joints(6)
    alone = torch.cat([critic(joints[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(critic(joints), alone, atol=1e-6, rtol=1e-5)


def test_windows_of_frames_are_refused():
    window = PoseBatch.from_joints(make_joints(8, 16)[:, None].repeat(1, 3, 1, 1), make_camera(8), H36M_16)
    with pytest.raises(ValueError, match="single frames, got windows of 3"):
        dh_aug().update(render(window), None, StepKey(0, 0, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"place": "near"}, r"place must be one of \['source', 'released'\], got 'near'"),
        ({"generator_every": 0}, "at least 1, got 256 and 0"),
        ({"weight_2d": -0.1}, "weight_2d must not be negative, got -0.1"),
        ({"mixing": "x"}, "mixing must be one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DHAugOptions(**options)
