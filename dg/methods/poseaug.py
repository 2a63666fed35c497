"""PoseAug: bone angles and lengths learned against discriminators, and a rigid transform, random or learned.

Gong et al., CVPR 2021; constants and structure of the released code (METHODS 2). The default is not the released form
but what held-out source poses seen by virtual cameras speak for (docs/results.md, "Camera shift"):
* The rigid transform is drawn as random_rigid draws it (`rigid=random`), which is how AugLift describes PoseAug's (its
  appendix 7.H); bone angles and lengths are learned. The released rotation head, pi tanh(output), drifts to its limits,
  where no gradient passes: everybody is then seen from one odd side. Heads that cannot saturate: `rotation=quaternion`,
  `rotation=bounded`; a term that asks noise to spread the rotation: `diversity_weight`.
* With rigid=random the 2D discriminator's real poses are moved as the augmented ones are, so that it judges poses and
  not views; feedback judges bone angles alone.
* No feedback (`feedback=off`) and so no pre-training; `feedback_below_mm` lets it wait for a lifter that has converged.
* No template bone lengths (`templates=off`): medians of a source whose subjects are several people fit nobody.
* Warm-up and rates by the planned number of iterations (`warmup_share`, `rates=planned`): the released ones belong to
  73,000 iterations, of which a short run has a few per cent.
The released form: `method.rigid=learned method.feedback=released method.templates=source method.warmup_share=0
method.rates=released`, and a third of `epochs` as `pretrain_epochs`.

Departures of both forms, each for a reason:
* Generator, discriminators and lifter take turns at every batch, not in separate passes, so that poses can be rendered
  as they are made; the warm-up without feedback and lifter steps stays, after the pre-training.
* One batch serves as source, as real samples (rows permuted anew for each discriminator) and as proposals; the
  released code zips three shuffles of the whole set.
* Proposals that leave the frame are dropped; the others wait until they fill a batch, and are then lifted together with
  source poses (`mixing=batch`; `alternate` is nearer to the released passes).
* The in-frame test has four sides and a nearest distance (`frame_test=full`); `released` tests the upper bounds alone.
* The lifter's learning rate is the plan's, common to all methods; the released code lowers it to 1e-4 at this stage.
* A learned place is the pose's own root plus the head's output. The released head (`translation=released`) outputs the
  place itself and has to find the frame first: after 1,200 iterations 30 to 41 % of its poses lie inside.
* Beyond the paper, for lifters of several frames: `windows=centre_transform` (`dg.methods.learned_augmentation`).

Published with the lifter VideoPose3D, 1 frame, ground-truth 2D: 73.0 mm MPJPE on MPI-INF-3DHP's 2,929 frames, flip TTA,
the best epoch by that test set. Not reproduced here: Human3.6M and MPI-INF-3DHP were not at hand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.extra_poses import ExtraPoses
from dg.augment.generator import AugmentedPoses, PoseGenerator
from dg.augment.history_pool import HistoryPool
from dg.augment.random_move import LEARNED, RANDOM, move_once
from dg.augment.rigid import ROTATIONS, TRANSLATIONS
from dg.augment.trunk import frozen_statistics
from dg.methods.base import MethodContext, StepKey
from dg.methods.discriminators import PartDiscriminator, PoseDiscriminator2D
from dg.methods.graphed_steps import Found
from dg.methods.learned_augmentation import LearnedAugmentation, LearnedAugmentationOptions, check_choice
from dg.methods.losses import bone_angle_loss, bone_length_loss, lsgan_discriminator, lsgan_generator
from dg.pose.batch import PoseBatch
from dg.pose.rotation import rotation_from_axis_angle

FRAME_TESTS = ("full", "released")
RIGIDS = (LEARNED, RANDOM)
OPERATIONS = ("ba", "bl", "rt")
DISCRIMINATORS = ("2d", "3d")
KCS = ("parts", "whole")
_WEIGHT_2D, _WEIGHT_3D = 1.0, 6.0
_NEAREST_M = 0.3
_LEAST_SPREAD = 0.1  # of the mode-seeking term, so that it stays finite


@dataclass(frozen=True)
class PoseAugOptions(LearnedAugmentationOptions):
    """Those of every learned augmentation, and: frame_test: `full` or `released` (upper bounds alone). rigid:
    `learned`, or `random`, drawn as random_rigid draws it. rotation, translation: of the learned one, see
    `dg.augment.rigid`. diversity_weight: of a term that ties the spread of the rotation to the spread of the noise.
    change_weight: of the losses that keep bone angles between 16 and 51 degrees from the source's and bone lengths
    within 10 %; at the released 3 the discriminators outweigh it, and without feedback angles shrink to a few degrees.
    discriminator_every: generator steps to one of each discriminator. history: samples in a discriminator's pool.

    Of the paper's ablations: operations: of `ba` (bone angles), `bl` (bone lengths) and `rt` (rigid transform), those
    that are made. discriminators: of `2d` and `3d`, those that judge. kcs: `parts`, a 3D discriminator for each of five
    parts of the body, or `whole`, one for all bones. extra_2d: MPII's annotation file (.mat, or .json as HRNet's code
    has it), of whose poses the 2D discriminator takes as many for real as of the source's (`dg.augment.extra_poses`).
    """

    feedback: str = "off"
    templates: str = "off"
    warmup_share: float = 0.1
    rates: str = "planned"
    frame_test: str = "full"
    rigid: str = "random"
    rotation: str = "axis_angle"
    translation: str = "residual"
    diversity_weight: float = 0.0
    change_weight: float = 3.0
    discriminator_lr: float = 1e-4
    discriminator_every: int = 2
    history: int = 4096
    operations: tuple[str, ...] = OPERATIONS
    discriminators: tuple[str, ...] = DISCRIMINATORS
    kcs: str = "parts"
    extra_2d: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("frame_test", self.frame_test, FRAME_TESTS)
        check_choice("rigid", self.rigid, RIGIDS)
        check_choice("rotation", self.rotation, tuple(ROTATIONS))
        check_choice("translation", self.translation, TRANSLATIONS)
        for name in ("diversity_weight", "change_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        learned = {"rotation": "axis_angle", "translation": "residual", "diversity_weight": 0.0, "frame_test": "full"}
        given = [name for name, default in learned.items() if getattr(self, name) != default]
        if self.rigid == "random" and given:
            raise ValueError(f"{', '.join(given)}: of a learned rigid transform; give rigid=learned too")
        if self.discriminator_every < 1 or self.history < 1:
            raise ValueError("discriminator_every and history must be at least 1")
        self._check_ablation()

    def _check_ablation(self) -> None:
        check_choice("kcs", self.kcs, KCS)
        for name, given, known in (
            ("operations", self.operations, OPERATIONS),
            ("discriminators", self.discriminators, DISCRIMINATORS),
        ):
            if len(set(given)) < len(given) or not set(given) <= set(known):
                raise ValueError(f"{name} must be different ones of {list(known)}, got {list(given)}")
        if not self.learned:
            raise ValueError(
                f"operations={list(self.operations)} with rigid={self.rigid} leaves nothing to learn; random moves "
                "alone are method=random_rigid"
            )
        if self.extra_2d and "2d" not in self.discriminators:
            raise ValueError(
                "extra_2d is for the 2D discriminator: give discriminators=[2d] or [2d,3d], or leave it out"
            )
        if set(self.learned) == {"rt"} and "2d" not in self.discriminators:
            raise ValueError("operations=[rt] needs discriminators=[2d]: nothing else sees how poses are turned")

    @property
    def learned(self) -> tuple[str, ...]:
        """The operations that have networks."""
        return tuple(name for name in self.operations if name != "rt" or self.rigid == "learned")


class PoseAug(LearnedAugmentation):
    """See the module's docstring."""

    Options: ClassVar[type] = PoseAugOptions
    # Without feedback nothing waits for a lifter.
    pretrain_share: ClassVar[float] = 0.0
    Generator: ClassVar[type[PoseGenerator]] = PoseGenerator

    def __init__(self, context: MethodContext, options: PoseAugOptions) -> None:
        skeleton, device = context.skeleton, context.device
        generator = self.Generator(skeleton, options.translation, options.rotation)
        generator.keep_only(options.learned)
        super().__init__(context, options, generator)
        self.feedback.judges_rigid = "rt" in options.learned
        self.options = options
        self.learns_posture = "ba" in options.learned
        self.moves_at_random = options.rigid == "random" and "rt" in options.operations
        self.discriminator_3d = PartDiscriminator(skeleton, whole=options.kcs == "whole")
        self.discriminator_2d = PoseDiscriminator2D(skeleton)
        for name in ("discriminator_3d", "discriminator_2d"):
            if name.rpartition("_")[2] in options.discriminators:
                self._add_trained(name, getattr(self, name), options.discriminator_lr)
        self.extra = ExtraPoses(Path(options.extra_2d).expanduser(), skeleton, device) if options.extra_2d else None
        self.pool_3d = HistoryPool(options.history, (len(skeleton), 3), device)
        self.pool_2d = HistoryPool(options.history, (len(skeleton), 2), device)

    def _real_2d(self, original: PoseBatch, key: StepKey) -> Float[Tensor, "batch joints 2"]:
        """What the 2D discriminator takes for real: with rigid=random source poses that are moved as the others are, so
        that it judges the pose from every side and not the view.
        """
        if not self.moves_at_random:
            return original.joints_2d[:, 0]
        moved = move_once(original, self.moves, key.generator("real rigid", self.context.device))
        return original.camera.project(moved)[:, 0]

    def _with_extra(self, real: Float[Tensor, "batch joints 2"], key: StepKey) -> Float[Tensor, "batch joints 2"]:
        """Half of the rows exchanged for further 2D poses, where there are any."""
        if self.extra is None:
            return real
        random = key.generator("extra 2d", self.context.device)
        exchanged = torch.rand(len(real), generator=random, device=real.device) < 0.5
        return torch.where(exchanged[:, None, None], self.extra.like(real, random), real)

    def _losses(self, original: PoseBatch, poses: AugmentedPoses, rigid_2d: Tensor) -> dict[str, Tensor]:
        losses = {}
        if "3d" in self.options.discriminators:
            losses["adversarial_3d"] = _WEIGHT_3D * lsgan_generator(self.discriminator_3d(poses.bone_angle))
        if "2d" in self.options.discriminators:
            losses["adversarial_2d"] = _WEIGHT_2D * lsgan_generator(self.discriminator_2d(rigid_2d))
        if "ba" in self.options.operations:
            losses["bone_angle"] = self.options.change_weight * bone_angle_loss(poses.angle_change)
        if "bl" in self.options.operations:
            losses["bone_length"] = self.options.change_weight * bone_length_loss(poses.length_ratio)
        return losses

    def _noise_losses(
        self, original: PoseBatch, poses: AugmentedPoses, noise: Tensor, key: StepKey
    ) -> dict[str, Tensor]:
        """The mode-seeking term of Mao et al. (CVPR 2019), of the rotation."""
        if not self.options.diversity_weight:
            return {}
        other = self.generator.draw_noise(len(original), key.generator("diversity", self.context.device))[2]
        joints, root = original.joints_3d[:, 0], original.skeleton.root
        pose = (joints - joints[:, root, None]).flatten(1)
        with frozen_statistics(self.generator):
            turned, _ = self.generator.rigid(pose, other, noise[3], joints[:, root])
        apart = (rotation_from_axis_angle(turned) - rotation_from_axis_angle(poses.rotation)).flatten(1).norm(dim=1)
        spread = apart / ((other - noise[2]).norm(dim=1) / (2 * other.shape[1]) ** 0.5)
        return {"diversity": self.options.diversity_weight / (spread.mean() + _LEAST_SPREAD)}

    def _step_opponents(self, original: PoseBatch, poses: AugmentedPoses, rigid_2d: Tensor, key: StepKey) -> Found:
        """Every second iteration, one step of each discriminator."""
        if self.iterations % self.options.discriminator_every != 0:
            return {}
        random = key.generator("discriminators", self.context.device)
        metrics: Found = {}
        for name, pool, real, made in (
            ("discriminator_3d", self.pool_3d, original.joints_3d[:, 0], poses.bone_angle.detach()),
            ("discriminator_2d", self.pool_2d, self._with_extra(self._real_2d(original, key), key), rigid_2d),
        ):
            if name.rpartition("_")[2] not in self.options.discriminators:
                continue
            shuffled = real[torch.randperm(len(real), generator=random, device=real.device)]
            scores = getattr(self, name)(torch.cat([shuffled, pool.exchange(made, random)]))
            loss = lsgan_discriminator(scores[: len(real)], scores[len(real) :])
            metrics |= self._step(name, loss)
        return metrics

    def _turn(self) -> tuple:
        # A pool that fills takes other places each time; one that is full does not change on the host any more.
        judged = self.iterations % self.options.discriminator_every == 0
        return (*super()._turn(), judged, self.pool_3d.size, self.pool_2d.size)

    def _proposal(self, source: PoseBatch, poses: AugmentedPoses, key: StepKey) -> PoseBatch:
        proposed = super()._proposal(source, poses, key)
        if self.options.frame_test == "released":
            proposed = proposed.replace(valid=source.valid & self._released_frame_test(proposed))
        return proposed

    def _released_frame_test(self, proposed: PoseBatch) -> Tensor:
        inside = (proposed.joints_2d <= 1).flatten(1).all(-1)
        if not self.context.inputs.needs_depth:
            return inside
        # What lies behind the camera cannot be rendered.
        return inside & (proposed.joints_3d[..., 2] > _NEAREST_M).flatten(1).all(-1)

    def step_state(self) -> list[Tensor]:
        """Add the history pools to what the steps of a learned augmentation change."""
        return [*super().step_state(), self.pool_3d.samples, self.pool_2d.samples]

    def extra_state(self) -> dict[str, Any]:
        """Add the history pools to what every learned augmentation saves."""
        pools = {"pool_3d": self.pool_3d.state_dict(), "pool_2d": self.pool_2d.state_dict()}
        return super().extra_state() | pools

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the history pools beside what every learned augmentation saves."""
        super().load_extra_state(state)
        self.pool_3d.load_state_dict(state["pool_3d"])
        self.pool_2d.load_state_dict(state["pool_2d"])
