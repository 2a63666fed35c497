"""PoseGU, our own reading: a generator without adversaries, and a lifter trained with inverse-propensity weights.

Guan, Lu, Zhu, Fang: "PoseGU: 3D human pose estimation with novel human pose generator and unbiased learning", 2022
(METHODS 5). No code is public and we have only a short description: the local rotations of the bones of seed poses are
perturbed in their kinematic frames within learned or anatomical ranges, bone lengths and camera change, and the
estimator is trained by counterfactual risk minimisation, that is with clipped inverse-propensity weights for generated
poses. Everything below that is our choice; results are labelled so and are no reproduction.

The generator:
* Seed poses are the source poses of the batch, one each: a method's proposals belong to rows of the source. The paper
  makes do with few seeds; give it a small source for that.
* Kinematic frames, coordinates, ranges (1 % and 99 % quantiles of the source, `tail`) and the normal distribution cut
  off at the range: dg.augment.bone_rotation. The ranges are learned once, from at most 20,000 source poses.
* Each bone but those at the root turns with probability `share`; its coordinates' standard deviation is `spread` times
  the width of their range.
* Bone lengths: uniform within +-`length_change`, one number for a bone and its mirror image; the thorax bone keeps its
  length, which fixes the scale, as in PoseAug.
* Camera: the source row's own intrinsics; the body is turned and placed in its frame as dg.methods.random_rigid does,
  with the same options (`yaw_deg` ... `attempts`). A pose that fits nowhere in `attempts` draws stays at the seed's
  place, and is dropped if it leaves the frame there.

The weights. The generator is the logging policy of counterfactual risk minimisation (Swaminathan and Joachims, ICML
2015): the seed and the choice of bones are the context, their new coordinates the action, whose density is known
exactly and needs no estimate. The policy whose risk is wanted takes all coordinates within the ranges alike. A
generated pose's weight is the ratio of the two densities, clipped at `clip` from above, then divided by the mean over
the batch's usable generated poses (self-normalised), so that these together count as much as without weights. Source
poses count 1.
Lengths and camera are drawn uniformly and need no weight. What the frame test removes is not corrected for. The
variance term of counterfactual risk minimisation is left out: clipping and self-normalisation are what bounds the
variance here. The more bones turn and the narrower their distribution, the fewer poses carry the weight: watch the
logged `augment/effective_share`. `weighting=off` is the ablation.

One optimiser step a batch, half generated and half source poses (`mixing=alternate`: one step on each). There is no
pre-training.

Published on MPI-INF-3DHP: 75.0 mm MPJPE as AugLift cites it, 79.1 mm (PCK 86.3, AUC 55.1) in public leaderboards; the
two disagree (METHODS 5, 8). Protocol presumably 3DHP-2929. Not reproduced here: Human3.6M and MPI-INF-3DHP were not at
hand.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.augment.bone_length import FROZEN
from dg.augment.bone_rotation import BoneRotation, LocalPose
from dg.methods.base import MethodContext, StepKey, Update
from dg.methods.mixing import mixed
from dg.methods.random_rigid import RandomRigid, RandomRigidOptions
from dg.pose.batch import PoseBatch
from dg.pose.devices import constant
from dg.pose.skeleton import Skeleton

WEIGHTINGS = ("inverse_propensity", "off")
_MOST_SEEDS = 20_000


@dataclass(frozen=True)
class PoseGUOptions(RandomRigidOptions):
    """tail: share of the source beyond a range at either end. share: probability with which a bone turns. rotation:
    standard deviation of its coordinates in widths of their range. length_change: largest relative change of a bone's
    length. weighting: `inverse_propensity` or `off`. clip: largest weight before normalisation. The rest: see
    `RandomRigidOptions`.
    """

    tail: float = 0.01
    share: float = 0.3
    rotation: float = 0.4
    length_change: float = 0.2
    weighting: str = "inverse_propensity"
    clip: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {list(WEIGHTINGS)}, got {self.weighting!r}")
        if not 0 <= self.tail < 0.5 or not 0 <= self.share <= 1 or not self.rotation > 0:
            raise ValueError(
                "tail must lie in [0, 0.5), share in [0, 1] and rotation must be positive, "
                f"got {self.tail}, {self.share} and {self.rotation}"
            )
        if not 0 <= self.length_change < 1 or not self.clip > 0:
            raise ValueError(
                f"length_change must lie in [0, 1) and clip be positive, got {self.length_change} and {self.clip}"
            )


class PoseGU(RandomRigid):
    """See the module's docstring."""

    Options: ClassVar[type] = PoseGUOptions
    takes_windows: ClassVar[bool] = False

    def __init__(self, context: MethodContext, options: PoseGUOptions) -> None:
        super().__init__(context, options)
        self.options: PoseGUOptions = options
        poses, skeleton = context.source.poses, context.skeleton
        every = slice(None, None, -(-len(poses) // _MOST_SEEDS))
        seeds = poses.joints_3d[every, poses.joints_3d.shape[1] // 2].to(context.device)
        self.rotation = BoneRotation(skeleton, seeds, tail=options.tail, spread=options.rotation, share=options.share)

    @torch.no_grad()
    def propose(self, source: PoseBatch, key: StepKey) -> PoseBatch | None:
        """Generate poses; those outside the frame are not valid. Returns None in pre-training."""
        if self.pretraining:
            return None
        rows = len(source) // 2 if self.options.mixing == "batch" else len(source)
        generated = self.generate(source[:rows], key)[:, None]
        placed = super().propose(source.replace(joints_3d=torch.cat([generated, source.joints_3d[rows:]])), key)
        return None if placed is None else placed.with_joints(placed.joints_3d)

    def update(self, source: PoseBatch, proposed: PoseBatch | None, key: StepKey) -> Update:
        """Make lifter steps in which each generated pose has its clipped inverse-propensity weight."""
        if proposed is None:
            return super().update(source, None, key)
        weights = self._weights(source, proposed, key)
        metrics = {
            "augment/valid_share": proposed.valid.float().mean(),
            "augment/effective_share": effective_share(weights, proposed.valid),
        }
        rest = source[len(proposed) :]
        if len(rest):
            both = torch.cat([weights, weights.new_ones(len(rest))])
            return Update(metrics | {"loss/lifter": self.step_lifter(mixed(proposed, rest), both)}, 1)
        steps = 1
        if int(proposed.valid.sum()) > 1:
            metrics["loss/lifter_augmented"] = self.step_lifter(proposed, weights)
            steps += 1
        metrics["loss/lifter"] = self.step_lifter(source)
        return Update(metrics, steps)

    @torch.no_grad()
    def generate(self, source: PoseBatch, key: StepKey) -> Float[Tensor, "batch joints 3"]:
        """Return the source poses where they stand, with other bone rotations and lengths.

        Args:
            source: the seed poses.
            key: the step's place in the run, from which all random numbers come.

        Returns:
            Absolute joints in the camera frame, metres.
        """
        pose, _ = self.rotate(source, key)
        random = key.generator("bone length", self.context.device)
        factors = length_factors(len(source), self.context.skeleton, self.options.length_change, random)
        longer = LocalPose(pose.frame, pose.directions, pose.lengths * factors)
        return self.rotation.frames.decode(longer) + source.joints_3d[:, 0, self.context.skeleton.root, None]

    @torch.no_grad()
    def rotate(self, source: PoseBatch, key: StepKey) -> tuple[LocalPose, Float[Tensor, " batch"]]:
        """Turn the bones of the source poses at random.

        The result depends on poses and key alone, so that `update` can ask again.

        Args:
            source: the seed poses, single frames.
            key: the step's place in the run, from which all random numbers come.

        Returns:
            The new poses in their kinematic frames, and for each the logarithm of the wanted density over the
            generator's.

        Raises:
            ValueError: for windows of several frames.
        """
        if source.joints_3d.shape[1] != 1:
            raise ValueError(f"method=posegu generates single frames, got windows of {source.joints_3d.shape[1]}")
        seeds = self.rotation.frames.encode(source.joints_3d[:, 0])
        pose, _, log_ratio = self.rotation.draw(seeds, key.generator("bone rotation", self.context.device))
        return pose, log_ratio

    def _weights(self, source: PoseBatch, proposed: PoseBatch, key: StepKey) -> Float[Tensor, " rows"]:
        if self.options.weighting == "off":
            return torch.ones(len(proposed), device=self.context.device)
        _, log_ratio = self.rotate(source[: len(proposed)], key)
        return clipped_weights(log_ratio, proposed.valid, self.options.clip)


def length_factors(
    rows: int, skeleton: Skeleton, change: float, generator: torch.Generator
) -> Float[Tensor, "rows bones"]:
    """Draw factors of the bone lengths, left and right alike; the thorax bone's factor is 1.

    Args:
        rows: number of poses.
        skeleton: the skeleton of the bones.
        change: half the width of the factors' range about 1.
        generator: the random generator of the factors.

    Returns:
        Factors, uniform in 1 +- change.
    """
    bones = len(skeleton.bones)
    draws = 2 * torch.rand(rows, bones, generator=generator, device=generator.device) - 1
    draws[:, skeleton.bone(FROZEN)] = 0.0
    owners = tuple(min(bone, skeleton.bone_flip[bone]) for bone in range(bones))
    return 1 + change * draws[:, constant(owners, draws.device)]


def clipped_weights(
    log_ratio: Float[Tensor, " rows"], valid: Bool[Tensor, " rows"], clip: float
) -> Float[Tensor, " rows"]:
    """Turn logarithms of density ratios into weights whose mean over the valid rows is 1.

    Args:
        log_ratio: logarithm of the wanted density over the generator's.
        valid: rows that may be trained on.
        clip: the largest ratio, before the weights are divided by their mean.

    Returns:
        The weights; 0 for rows that are not valid.
    """
    log_ratio = log_ratio.masked_fill(~valid, -torch.inf)
    # Where every ratio is tiny a common factor keeps them from vanishing; the mean takes it out again.
    largest = log_ratio.amax().clamp_max(0.0).nan_to_num(neginf=0.0)
    weights = (log_ratio - largest).exp().clamp_max(clip)
    return weights * valid.sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def effective_share(weights: Float[Tensor, " rows"], valid: Bool[Tensor, " rows"]) -> Float[Tensor, ""]:
    """Compute Kish's effective sample size, (sum w)^2 / sum w^2, as a share of the valid rows; 0 without any.

    Args:
        weights: the rows' weights.
        valid: rows that may be trained on.

    Returns:
        The share, in [0, 1].
    """
    kept = weights * valid
    size = kept.sum().square() / kept.square().sum().clamp_min(torch.finfo(kept.dtype).tiny)
    return size / valid.sum().clamp_min(1)
