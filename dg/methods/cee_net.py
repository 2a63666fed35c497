"""CEE-Net, own reading: a generator that goes beyond the source's poses and cameras, with the lifter's feedback.

Li et al., AAAI 2023. No code is public and no text of it was at hand but two sentences (METHODS 5): generation and
estimation networks are coupled end to end; a complementary generator explores extrapolated poses and cameras (kinematic
perturbations and camera change), the estimator supplies feedback, and an enhancement stage mixes generated with
original data. Everything beyond those sentences is ours:
* Perturbations: each joint of arms, legs, neck and head turns by up to `reach_deg` and carries its limb along; torso
  and hips stay (`dg.augment.kinematic_generator`). Bone lengths change as in PoseAug, with its loss (weight 3), after
  the template lengths of a training subject.
* Extrapolation: joint states (`dg.augment.joint_ranges`) are limited to the source's range, widened at both ends by
  `extrapolation` of its width. A loss (`range_weight`) pulls poses back into it; proposals outside are not used.
* Exploration: a loss (`spread_weight`) asks that the states of a batch spread wider than the source's by
  `extrapolation`, and the camera's moves by half of their limits (uniform: 0.58).
* Camera change: the pose turns by an axis-angle within 180 degrees about y, `pitch_deg` about x and `roll_deg` about z,
  comes nearer or goes farther by up to `distance`, and moves in the frame by up to `shift` in x/z and y/z. Intrinsics
  are the pose's own, as for all methods here. Poses that leave the frame are dropped.
* `rigid=random` moves poses as dg.methods.random_rigid does, in place of the learned camera change, which tilts people
  by 33 degrees in the median (docs/results.md). The loss that spreads the camera is then left out.
* No discriminator: it would draw the poses back to the source. What is plausible is said by the ranges alone.
* Feedback: the released PoseAug's (`dg.methods.feedback`), the generator alone receiving a gradient. "Complementary"
  is read as: make what the lifter finds harder than the original by a demanded factor.
* Enhancement: after pre-training and warm-up, lifter batches are half generated, half original (`mixing`). One stage,
  in which generator and lifter take turns at every batch, stands for "end to end".
* The estimator is whatever lifter the run names; the paper's own network is not described to us and not built.

Published: 69.7 mm MPJPE on MPI-INF-3DHP, ground-truth 2D, as cited by AugLift (its Table 4); lifter and protocol are
not stated there, so it is a number to quote, not one to expect.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dg.augment.generator import AugmentedPoses
from dg.augment.joint_ranges import JointRanges
from dg.augment.kinematic_generator import CameraReach, KinematicGenerator
from dg.augment.random_move import LEARNED, RANDOM
from dg.methods.base import MethodContext, StepKey
from dg.methods.learned_augmentation import LearnedAugmentation, LearnedAugmentationOptions, check_choice
from dg.methods.losses import bone_length_loss
from dg.pose.batch import PoseBatch

_WEIGHT_LENGTH = 3.0
_CAMERA_SPREAD = 0.5


@dataclass(frozen=True)
class CEENetOptions(LearnedAugmentationOptions):
    """Those of every learned augmentation, and: reach_deg: the most that a joint turns. extrapolation: how much wider
    than the source's the ranges are, as a share. range_weight, spread_weight: of the losses that keep poses within the
    ranges and spread them. rigid: of the camera change, `learned`, or `random` as random_rigid moves poses; pitch_deg,
    roll_deg, distance and shift are of the learned one, see `CameraReach`.
    """

    reach_deg: float = 60.0
    extrapolation: float = 0.25
    range_weight: float = 300.0
    spread_weight: float = 10.0
    rigid: str = LEARNED
    pitch_deg: float = 30.0
    roll_deg: float = 15.0
    distance: float = 2.0
    shift: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("rigid", self.rigid, (LEARNED, RANDOM))
        if not 0 < self.reach_deg <= 180:
            raise ValueError(f"reach_deg must lie in (0, 180], got {self.reach_deg}")
        if min(self.extrapolation, self.range_weight, self.spread_weight) < 0:
            raise ValueError("extrapolation, range_weight and spread_weight must not be negative")
        _ = self.camera

    @property
    def camera(self) -> CameraReach:
        """How far the camera moves at most, from the options' angles, distance and shift."""
        return CameraReach(self.pitch_deg, self.roll_deg, self.distance, self.shift)


class CEENet(LearnedAugmentation):
    """See the module's docstring."""

    Options: ClassVar[type] = CEENetOptions

    def __init__(self, context: MethodContext, options: CEENetOptions) -> None:
        generator = KinematicGenerator(context.skeleton, options.reach_deg, options.camera)
        self.options, self.camera_change = options, generator.camera
        if options.rigid == RANDOM:
            generator.keep_only(("ba", "bl"))
            del generator.camera
        super().__init__(context, options, generator)
        self.moves_at_random = options.rigid == RANDOM
        self.feedback.judges_rigid = options.rigid == LEARNED
        poses = context.source.poses.joints_3d[:, 0]
        self.ranges = JointRanges(poses, context.skeleton, options.extrapolation).to(context.device)

    def _losses(self, original: PoseBatch, poses: AugmentedPoses, rigid_2d: Tensor) -> dict[str, Tensor]:
        beyond, lacking = self.ranges.losses(poses.bone_angle)
        losses = {
            "joint_range": self.options.range_weight * beyond,
            "joint_spread": self.options.spread_weight * lacking,
            "bone_length": _WEIGHT_LENGTH * bone_length_loss(poses.length_ratio),
        }
        if self.moves_at_random:
            return losses
        root = original.joints_3d[:, 0, self.context.skeleton.root]
        moves = self.camera_change.moves(poses.rotation, poses.translation, root)
        spread = (_CAMERA_SPREAD - moves.std(0)).relu().square().mean()
        return losses | {"camera_spread": self.options.spread_weight * spread}

    def _proposal(self, source: PoseBatch, poses: AugmentedPoses, key: StepKey) -> PoseBatch:
        proposed = super()._proposal(source, poses, key)
        return proposed.replace(valid=proposed.valid & self.ranges.contain(poses.bone_angle))
