"""DH-AUG: poses made from noise by a kinematic chain, whose angles a Wasserstein GAN learns.

Huang et al., "DH-AUG: DH forward kinematics model driven augmentation for 3D human pose estimation", ECCV 2022, single
frame (METHODS 5). A generator turns 128 noise numbers into 29 joint angles within anatomical ranges, three rotations
and a place; Denavit-Hartenberg forward kinematics (`dg.augment.forward_kinematics`) builds the pose from them and from
the bone lengths of a source pose, each scaled by up to 20 %, left and right alike, the thorax's kept. Two critics with
gradient penalty 10 judge it: one its joints, with the cosines between joined bones and the bone lengths (30 numbers at
16 joints), the other, weight 0.2, its projection. Both see every pose and its mirror image. Adam, 1e-4, betas 0.5 and
0.9; critics step at every batch, the generator at every fifth; widths 256, as in the authors' recommended run. Two
passes over the source warm the GAN up; the lifter starts from scratch.

Departures, each for a reason:
* There is no world. The released code builds poses in Human3.6M's room, turns real ones into it for the 3D critic, and
  projects by a camera drawn from the training set; our poses carry intrinsics and no extrinsics. Here the generator
  turns and places poses in the frame of the source row's own camera, and the critics compare them there. The heights
  and tilts of the source's cameras, which the released code draws, are thus learned with the orientation.
* The place is the source's mean root plus up to three standard deviations of the source's roots along each axis. The
  released one lies within 10 m of the room's centre (`place=released`: of the source's mean root), and has to find
  the frame first: after 150 batches of 256 on CMU motion its mean depth is 10.3 m, where the source's is 5.1 m.
* The table of the chain and its ranges are our own: see `dg.augment.forward_kinematics`.
* Poses outside the frame are dropped; the released code trains on all. The others wait until they fill a batch, and are
  then lifted together with source poses (`mixing=batch`).
* GAN and lifter take turns at every batch, not in separate passes, so that poses can be rendered as they are made.
* One critic step sees poses and mirror images together; the released code makes a step of each. Its generator gets no
  gradient through the mirror images, which halves its size.
* The 2D critic is PoseAug's discriminator as it is, 100 wide, for the released one is that at 256.
* The lifter's learning rate, schedule and budget are the plan's, common to all methods; the released run has 50 passes
  and 60 more with the rate falling by 0.95 each. Gradients of all networks are clipped to the plan's norm.

Published, Human3.6M to MPI-INF-3DHP's 2,929 frames, ground-truth 2D, flip TTA: 71.2 mm MPJPE, 89.5 PCK; 112.8 mm on
3DPW as AugLift quotes it (METHODS 5, 7). The recommended run lifts with VideoPose3D, 1 frame. Not reproduced here:
Human3.6M, MPI-INF-3DHP and 3DPW were not at hand.
"""

from dataclasses import dataclass
from itertools import combinations
from math import pi
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.bone_length import FROZEN, LIMIT
from dg.augment.forward_kinematics import ANGLE_RANGES, ForwardKinematics
from dg.methods.base import DGMethod, MethodContext, StepKey, Update
from dg.methods.critics import PENALTY, gradient_penalty, wgan_critic, wgan_generator
from dg.methods.discriminators import PoseDiscriminator2D
from dg.methods.mixing import check_mixing
from dg.methods.survivors import Survivors
from dg.pose.batch import PoseBatch
from dg.pose.bones import bone_lengths, unit_bones
from dg.pose.devices import constant, pick
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import Skeleton

NOISE = 128
PLACES = ("source", "released")
_RELEASED_REACH_M, _DEVIATIONS = 10.0, 3.0
_MERGED = 100
_BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class DHAugOptions:
    """width: of generator and 3D critic. generator_every: batches from one generator step to the next, critics step at
    each. weight_2d: of the 2D critic in the generator's loss. place: how far from the source's mean root a pose may be
    put along each axis, `source` (three of its standard deviations) or `released` (10 m). warmup_passes: passes over
    the source that train the GAN alone; warmup_iterations counts them in batches instead. mixing: see
    `dg.methods.mixing`.
    """

    width: int = 256
    generator_lr: float = 1e-4
    critic_lr: float = 1e-4
    generator_every: int = 5
    weight_2d: float = 0.2
    place: str = "source"
    warmup_passes: float = 2.0
    warmup_iterations: int | None = None
    mixing: str = "batch"

    def __post_init__(self) -> None:
        if self.width < 1 or self.generator_every < 1:
            raise ValueError(
                f"width and generator_every must be at least 1, got {self.width} and {self.generator_every}"
            )
        if self.weight_2d < 0:
            raise ValueError(f"weight_2d must not be negative, got {self.weight_2d}")
        if self.place not in PLACES:
            raise ValueError(f"place must be one of {list(PLACES)}, got {self.place!r}")
        check_mixing(self.mixing)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


def _branch(inputs: int, width: int, blocks: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), *[_ResidualBlock(width) for _ in range(blocks)])


class KinematicGenerator(nn.Module):
    """Noise and bone lengths to absolute poses in the camera frame. Roots lie within `reach` of `centre` along each
    axis, metres.
    """

    centre: Tensor
    reach: Tensor

    def __init__(
        self, skeleton: Skeleton, centre: Float[Tensor, "3"], reach: Float[Tensor, "3"], width: int = 256
    ) -> None:
        super().__init__()
        self.kinematics = ForwardKinematics(skeleton)
        self.trunk = _branch(NOISE, width)
        self.last = nn.Linear(width, len(ANGLE_RANGES) + 6)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("reach", reach, persistent=False)

    def forward(
        self, noise: Float[Tensor, "batch noise"], lengths: Float[Tensor, "batch bones"]
    ) -> Float[Tensor, "batch joints 3"]:
        """Generate poses.

        Args:
            noise: 128 standard normal numbers a pose.
            lengths: bone lengths, metres.

        Returns:
            Absolute joints in the camera frame, metres.
        """
        angles, turns, place = self.last(self.trunk(noise)).split([len(ANGLE_RANGES), 3, 3], -1)
        pose = self.kinematics(self.kinematics.within_ranges(angles), lengths)
        about_x, about_y, about_z = rotation_from_axis_angle(torch.diag_embed(pi * torch.tanh(turns))).unbind(1)
        root = self.centre + self.reach * torch.tanh(place)
        return pose @ (about_x @ about_y @ about_z).mT + root[:, None]


class JointCritic(nn.Module):
    """Scores root-relative joints: one branch sees them, the other the special KCS."""

    def __init__(self, skeleton: Skeleton, width: int = 256) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.pairs = joined_bones(skeleton)
        self.pose = _branch(3 * len(skeleton), width)
        self.special_kcs = _branch(len(self.pairs) + len(skeleton.bones), width)
        self.merged = _branch(2 * width, _MERGED, blocks=1)
        self.last = nn.Linear(_MERGED, 1)

    def forward(self, joints: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch 1"]:
        """Score root-relative joints in metres; higher means more like a real pose."""
        kcs = special_kcs(joints, self.skeleton, self.pairs)
        return self.last(self.merged(torch.cat([self.special_kcs(kcs), self.pose(joints.flatten(1))], -1)))


def joined_bones(skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Pairs of bones that meet: each with the one before it, and those at the root with each other. 15 at 16 joints."""
    ends = [child for _, child in skeleton.bones]
    chained = [(ends.index(parent), bone) for bone, (parent, _) in enumerate(skeleton.bones) if parent in ends]
    at_root = [bone for bone, (parent, _) in enumerate(skeleton.bones) if parent == skeleton.root]
    return (*chained, *combinations(at_root, 2))


def special_kcs(
    joints: Float[Tensor, "batch joints 3"], skeleton: Skeleton, pairs: tuple[tuple[int, int], ...]
) -> Float[Tensor, "batch features"]:
    """Compute the input of the joint critic's second branch.

    Args:
        joints: absolute or root-relative joints, metres.
        skeleton: the skeleton of the joints.
        pairs: pairs of bones that are joined.

    Returns:
        Cosines between the paired bones (child minus parent), then all bone lengths in metres.
    """
    units, lengths = unit_bones(joints, skeleton)
    first, second = (constant(ends, joints.device) for ends in zip(*pairs, strict=True))
    cosines = (pick(units, first, -2) * pick(units, second, -2)).sum(-1)
    return torch.cat([cosines, lengths], -1)


def varied_lengths(
    lengths: Float[Tensor, "batch bones"], skeleton: Skeleton, generator: torch.Generator
) -> Float[Tensor, "batch bones"]:
    """Scale bone lengths at random by up to 20 %, a bone and its mirror image alike; the thorax keeps its length.

    Args:
        lengths: bone lengths, metres.
        skeleton: the skeleton of the bones.
        generator: the random generator of the factors.

    Returns:
        The new lengths, metres.
    """
    owners = tuple(min(bone, twin) for bone, twin in enumerate(skeleton.bone_flip))
    draw = torch.rand(lengths.shape, generator=generator, device=generator.device).to(lengths)
    change = LIMIT * (2 * draw - 1)[:, constant(owners, lengths.device)]
    change[:, skeleton.bone(FROZEN)] = 0.0
    return lengths * (1 + change)


def with_mirror_images(
    joints: Float[Tensor, "batch joints axes"], skeleton: Skeleton
) -> Float[Tensor, "both joints axes"]:
    """Append the mirror images of poses: x negated, left and right swapped.

    Args:
        joints: 3D or 2D joints.
        skeleton: the skeleton of the joints.

    Returns:
        The poses and, after them, their mirror images.
    """
    sign = torch.ones_like(joints[0, 0])
    sign[0] = -1.0
    return torch.cat([joints, joints[:, constant(skeleton.flip, joints.device)] * sign])


class DHAug(DGMethod):
    """See the module's docstring."""

    Options: ClassVar[type] = DHAugOptions

    def __init__(self, context: MethodContext, options: DHAugOptions) -> None:
        super().__init__(context)
        skeleton, device = context.skeleton, context.device
        self.options = options
        self.iterations = 0
        self.survivors = Survivors(options.mixing, skeleton, device)
        spread, centre = torch.std_mean(context.source.poses.joints_3d[:, :, skeleton.root], (0, 1))
        reach = _DEVIATIONS * spread if options.place == "source" else torch.full_like(spread, _RELEASED_REACH_M)
        self.generator = KinematicGenerator(skeleton, centre, reach, options.width)
        self.critic_3d = JointCritic(skeleton, options.width)
        self.critic_2d = PoseDiscriminator2D(skeleton)
        for name, lr in self._rates.items():
            network = getattr(self, name).to(device)
            self.add_network(name, network, torch.optim.Adam(network.parameters(), lr=lr, betas=_BETAS, fused=True))
        passes = round(options.warmup_passes * context.plan.steps_per_epoch)
        self.warmup = passes if options.warmup_iterations is None else options.warmup_iterations

    @property
    def _rates(self) -> dict[str, float]:
        critic_lr = self.options.critic_lr
        return {"generator": self.options.generator_lr, "critic_3d": critic_lr, "critic_2d": critic_lr}

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Generate poses; those outside the frame are not valid. Returns None in pre-training and warm-up."""
        if self.pretraining or self.iterations < self.warmup:
            return None
        return source.with_joints(self._generate(source, key, "proposal")[:, None])

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Step the critics, the generator every `generator_every` batches and, after the warm-up, the lifter."""
        if self.pretraining:
            return Update({"loss/lifter": self.step_lifter(source)}, 1)
        metrics = self._step_critics(source, key)
        if self.iterations % self.options.generator_every == self.options.generator_every - 1:
            metrics |= self._step_generator(source, key)
        self.iterations += 1
        if self.iterations <= self.warmup:
            return Update(metrics, 0)
        if proposed is not None:
            metrics["augment/valid_share"] = proposed.valid.float().mean()
            self.survivors.add(proposed)
        losses = [self.step_lifter(batch) for batch in self.survivors.batches(source)]
        return Update(metrics | {"loss/lifter": torch.stack(losses).mean()}, len(losses))

    def _generate(self, source: PoseBatch, key: StepKey, purpose: str) -> Float[Tensor, "batch joints 3"]:
        """A pose for each source row, with its bone lengths, varied. Raises ValueError for windows of frames."""
        if source.joints_3d.shape[1] != 1:
            raise ValueError(f"method=dh_aug augments single frames, got windows of {source.joints_3d.shape[1]}")
        random = key.generator(purpose, self.context.device)
        noise = torch.randn(len(source), NOISE, generator=random, device=random.device)
        lengths = bone_lengths(source.joints_3d[:, 0], self.context.skeleton)
        return self.generator(noise, varied_lengths(lengths, self.context.skeleton, random))

    def _views(self, joints: Float[Tensor, "batch joints 3"], source: PoseBatch) -> tuple[Tensor, Tensor]:
        """What the 3D and the 2D critic see of poses before the source's cameras."""
        skeleton = self.context.skeleton
        relative = joints - joints[:, skeleton.root, None]
        projected = source.camera.project(joints)
        return with_mirror_images(relative, skeleton), with_mirror_images(projected, skeleton)

    def _step_critics(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        with torch.no_grad():
            made = self._views(self._generate(source, key, "critics"), source)
            real_3d, _ = self._views(source.joints_3d[:, 0], source)
            real = real_3d, with_mirror_images(source.joints_2d[:, 0], self.context.skeleton)
        random = key.generator("penalty", self.context.device)
        metrics = {}
        for name, true, false in zip(("critic_3d", "critic_2d"), real, made, strict=True):
            critic = getattr(self, name)
            loss = wgan_critic(critic(true), critic(false))
            penalty = gradient_penalty(critic, true, false, random)
            self.step_network(name, loss + PENALTY * penalty, self._rates[name])
            metrics |= {f"loss/{name}": loss.detach(), f"loss/{name}_penalty": penalty.detach()}
        return metrics

    def _step_generator(self, source: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        seen_3d, seen_2d = self._views(self._generate(source, key, "generator"), source)
        loss_3d, loss_2d = wgan_generator(self.critic_3d(seen_3d)), wgan_generator(self.critic_2d(seen_2d))
        loss = loss_3d + self.options.weight_2d * loss_2d
        self.step_network("generator", loss, self._rates["generator"])
        parts = {"adversarial_3d": loss_3d, "adversarial_2d": loss_2d, "generator": loss}
        return {f"loss/{name}": part.detach() for name, part in parts.items()}

    def extra_state(self) -> dict[str, Any]:
        """Return the step count and the augmented poses that wait."""
        return {"iterations": self.iterations, "survivors": self.survivors.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the step count and the augmented poses that wait."""
        self.iterations = state["iterations"]
        self.survivors.load_state_dict(state["survivors"])
