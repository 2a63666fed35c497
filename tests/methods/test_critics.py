"""Wasserstein losses and penalties against plain computations, and what a part-wise critic sees."""

import pytest
import torch
from torch import nn

from dg.methods.critics import PartCritic, clip_weights, gradient_penalty, wgan_critic, wgan_generator
from dg.methods.discriminators import part_bones
from dg.pose.bones import bone_vectors, with_bone_lengths
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import make_joints

both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
inputs = pytest.mark.parametrize("seen", ["kcs", "kcs+bones"])


def test_the_losses_are_differences_of_means():
    real, made = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0], [2.0, 5.0]])
    assert wgan_critic(real, made) == 2.0 - 2.0
    assert wgan_critic(real + 1, made) == -1.0
    assert wgan_generator(made) == -2.0


def test_the_penalty_of_a_linear_critic_is_known():
    critic = nn.Linear(3, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[3.0, 0.0, 4.0]]))
    random = torch.Generator().manual_seed(0)
    found = gradient_penalty(critic, torch.randn(5, 3), torch.randn(5, 3), random)
    torch.testing.assert_close(found, torch.tensor(16.0))  # (|(3, 0, 4)| - 1)^2
    found.backward()
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    torch.testing.assert_close(critic.weight.grad, torch.tensor([[4.8, 0.0, 6.4]]))


def test_the_penalty_of_several_scores_is_that_of_their_mean():
    critic = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    random = torch.Generator().manual_seed(0)
    found = gradient_penalty(critic, torch.randn(5, 3), torch.randn(5, 3), random)
    torch.testing.assert_close(found, torch.tensor((5**0.5 - 1) ** 2))


def test_the_penalty_is_taken_between_each_real_and_its_made_sample():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(-1, keepdim=True)

    real, made = torch.zeros(200, 4, 3), torch.ones(200, 4, 3).requires_grad_()
    loss = gradient_penalty(critic, real, made, torch.Generator().manual_seed(0))
    share = seen[0][:, :1, :1]
    assert torch.equal(seen[0], share.expand(200, 4, 3))
    assert 0 <= share.min() < 0.05
    assert 0.95 < share.max() <= 1
    torch.testing.assert_close(loss, torch.tensor((12**0.5 - 1) ** 2))
    assert made.grad is None


def test_clipping_bounds_every_weight_and_leaves_the_small_ones():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        network[0].weight.fill_(0.003)
        network[1].bias.fill_(-3.0)
    clip_weights(network, 0.01)
    assert all(p.abs().max() <= 0.01 for p in network.parameters())
    assert (network[0].weight == 0.003).all()
    assert (network[1].bias == -0.01).all()


@both
@inputs
def test_the_critic_has_no_batch_norm_and_scores_each_row_alone(skeleton, seen):
    critic, joints = PartCritic(skeleton, seen), make_joints(8, len(skeleton))
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in critic.modules())
    scores = critic(joints)
    assert scores.shape == (8, 5)
    torch.testing.assert_close(critic(joints[2:3]), scores[2:3], atol=1e-4, rtol=0)


@both
@inputs
def test_the_critic_sees_lengths_but_not_place(skeleton, seen):
    critic, joints = PartCritic(skeleton, seen), make_joints(8, len(skeleton))
    scores = critic(joints)
    torch.testing.assert_close(critic(joints + 1.5), scores, atol=1e-3, rtol=0)
    longer = with_bone_lengths(joints, bone_vectors(joints, skeleton).norm(dim=-1) * 1.1, skeleton)
    assert (critic(longer) - scores).abs().max() > 1e-2


@both
def test_only_the_bone_vectors_tell_how_a_pose_is_turned(skeleton):
    joints = make_joints(8, len(skeleton))
    joints = joints - joints[:, :1]
    turned = joints @ rotation_from_axis_angle(torch.randn(8, 3)).mT
    blind, seeing = PartCritic(skeleton, "kcs"), PartCritic(skeleton, "kcs+bones")
    torch.testing.assert_close(blind(turned), blind(joints), atol=1e-4, rtol=0)
    assert (seeing(turned) - seeing(joints)).abs().max() > 1e-2


@both
@inputs
def test_a_part_sees_its_own_bones_alone(skeleton, seen):
    joints = make_joints(4, len(skeleton))
    critic = PartCritic(skeleton, seen)
    scores = critic(joints)
    for number, (_, child) in enumerate(skeleton.bones):
        if child in skeleton.parents:
            continue  # moving an end joint changes one bone
        moved = joints.clone()
        moved[:, child] += 0.3
        changed = (critic(moved) - scores).abs().amax(0) > 1e-6
        assert changed.tolist() == [number in part for part in part_bones(skeleton)]


def test_an_unknown_input_names_the_known_ones():
    with pytest.raises(ValueError, match=r"critic_input must be one of .*got 'joints'"):
        PartCritic(H36M_16, "joints")
