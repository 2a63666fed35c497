"""Wasserstein critics: the losses, the two ways to keep a critic Lipschitz, and a critic of poses by body part.

Arjovsky et al., "Wasserstein GAN", ICML 2017 (weight clipping, RMSProp); Gulrajani et al., "Improved training of
Wasserstein GANs", NeurIPS 2017 (gradient penalty). A critic may give several scores a pose (`[batch, scores]`, one for
each body part); its value of a pose is then their mean.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dg.methods.discriminators import PartLinear, part_bones
from dg.methods.losses import lsgan_discriminator, lsgan_generator
from dg.pose.bones import bone_vectors
from dg.pose.skeleton import Skeleton

CLIP = 0.01
PENALTY = 10.0
CRITIC_INPUTS = ("kcs", "kcs+bones")


def wgan_critic(real: Float[Tensor, "real scores"], made: Float[Tensor, "made scores"]) -> Float[Tensor, ""]:
    """Compute the loss of a critic: the mean score of made samples minus that of real ones (METHODS 3.2).

    Args:
        real: scores of real samples.
        made: scores of made samples.

    Returns:
        The loss, which the critic minimises.
    """
    return made.mean() - real.mean()


def wgan_generator(made: Float[Tensor, "made scores"]) -> Float[Tensor, ""]:
    """Compute the loss of a generator: minus the mean score of what it made (METHODS 3.2)."""
    return -made.mean()


CRITIC_LOSSES = {"wgan": (wgan_critic, wgan_generator), "lsgan": (lsgan_discriminator, lsgan_generator)}


def paired(real: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Return real samples in a random order, and again from the first until there are as many as made ones.

    Args:
        real: real samples.
        rows: number of made samples.
        generator: the random generator of the order, on the device of the samples.
    """
    order = torch.randperm(len(real), generator=generator, device=real.device)
    return real[order.repeat(-(-rows // len(real)))[:rows]]


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Float[Tensor, "batch *axes channels"],
    made: Float[Tensor, "batch *axes channels"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Compute the mean of (|gradient of the critic| - 1)^2 at random points between real and made samples, row by row.

    Args:
        critic: maps samples to scores. It must treat its rows independently: no batch norm.
        real: real samples; no gradient reaches them.
        made: made samples, as many; no gradient reaches them.
        generator: the random generator of the points.

    Returns:
        The penalty before its weight (`PENALTY`, the paper's lambda), differentiable in the critic's weights.

    Reference: Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017.
    """
    share = torch.rand(len(real), generator=generator, device=generator.device).to(real)
    share = share.reshape(-1, *[1] * (real.ndim - 1))
    between = torch.lerp(real.detach(), made.detach(), share).requires_grad_()
    value = critic(between).flatten(1).mean(-1).sum()
    (gradient,) = torch.autograd.grad(value, between, create_graph=True)
    return (gradient.flatten(1).norm(dim=-1) - 1).square().mean()


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float = CLIP) -> None:
    """Clamp every parameter of a critic, biases included, in place; to be called after an optimiser step.

    Args:
        network: the critic.
        limit: the largest absolute value of a parameter.
    """
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)


class PartCritic(nn.Module):
    """PoseDA's anchor critic: a score for each body part from how the part's bones stand to each other (METHODS 3.2).

    Its input is the part's kinematic-chain-space matrix B B^T of full bone vectors (metres), so that it sees lengths;
    with `kcs+bones` also the bone vectors themselves, for the matrix is blind to any rotation of the whole pose. The
    network of each part is that of PoseAug's discriminator (METHODS 2.3); no batch norm. Place is invisible to it.
    """

    entry: Tensor
    present: Tensor

    def __init__(self, skeleton: Skeleton, inputs: str = "kcs+bones") -> None:
        super().__init__()
        if inputs not in CRITIC_INPUTS:
            raise ValueError(f"critic_input must be one of {list(CRITIC_INPUTS)}, got {inputs!r}")
        self.skeleton, self.inputs = skeleton, inputs
        bones = len(skeleton.bones)
        entries = [_entries(part, bones, inputs) for part in part_bones(skeleton)]
        longest = max(len(part) for part in entries)
        self.register_buffer("entry", _padded(entries, longest), persistent=False)
        self.register_buffer("present", _padded([torch.ones(len(p)) for p in entries], longest), persistent=False)
        self.first = PartLinear(len(entries), longest, 256)
        self.second = PartLinear(len(entries), 256, 256)
        self.third = PartLinear(len(entries), 256, 256)
        self.fourth = PartLinear(len(entries), 256, 100)
        self.last = PartLinear(len(entries), 100, 1)

    def forward(self, joints: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch parts"]:
        """Score each body part of poses.

        Args:
            joints: absolute or root-relative joints, metres.

        Returns:
            One score for each part; higher means more like a real pose.
        """
        bones = bone_vectors(joints, self.skeleton)
        seen = (bones @ bones.mT).flatten(1)
        if self.inputs == "kcs+bones":
            seen = torch.cat([seen, bones.flatten(1)], -1)
        first = F.leaky_relu(self.first((seen[:, self.entry] * self.present).transpose(0, 1)))
        third = self.third(F.leaky_relu(self.second(first))) + first
        return self.last(F.leaky_relu(self.fourth(third)))[..., 0].T


def _entries(part: tuple[int, ...], bones: int, inputs: str) -> Tensor:
    """Which entries of the flattened matrix, and of the bone vectors behind it, belong to a part."""
    own = torch.tensor(part)
    entries = [(own[:, None] * bones + own).flatten()]
    if inputs == "kcs+bones":
        entries.append((bones * bones + 3 * own[:, None] + torch.arange(3)).flatten())
    return torch.cat(entries)


def _padded(rows: list[Tensor], length: int) -> Tensor:
    return torch.stack([F.pad(row, (0, length - len(row))) for row in rows])
