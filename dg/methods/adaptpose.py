"""AdaptPose, single-frame form: PoseAug with another generator, whose 2D poses should look like a target's.

Gholami et al., CVPR 2022, and its released code (METHODS 5): domain adaptation, one model for each target. The 2D
discriminator's real poses are the target's; the 3D one's are the source's and judge bone angles, as in PoseAug. The
generator turns bones about axes and draws the axis of the whole pose's rotation. Two hidden defects of the released
rotation are not copied: its output layer is bypassed, and mean and spread of the axis get no gradient
(`dg.augment.axis_angle_generator`). Everything else is PoseAug's (`dg.methods.poseaug`, its departures included).
Departures and choices:
* One frame instead of clips of 27, or windows by `windows=centre_transform` (`dg.methods.learned_augmentation`); the
  released temporal discriminators are never trained, so they are not here.
* The released generator loss leaves out the real half of PoseAug's adversarial terms, which has no gradient for the
  generator; ours never had it.
* The target's reprojection term (weight 1e-4) is left out: it depends on the lifter and the target's 2D, but is part of
  a step in which the generator alone moves, so it has no gradient; and it projects root-relative joints, at depths
  around zero, as if they were absolute. All that it does is to pass target poses through the lifter's batch norms.
* As released, generated poses are seen by the source's cameras; the target's intrinsics are not used.
* `selection=difficulty` keeps a rendered proposal if its error, relative to the original's, mean over three joint
  groups, lies between 1 and 33 (within 16 of 17). Errors are measured when the depth has come, in eval mode; the
  released code takes them, with dropout, from the generator's step.
* Generator, discriminators and lifter take turns at every batch; released: five sections of 300 iterations a pass.
* `translation=residual` is the default, as in this repository's PoseAug; `released` finds its own place, z squared.
* Evaluation as for every method. `rescale=batch_hip_neck` multiplies the predictions of a batch, source validation
  included, so that their mean pelvis-thorax distance is 0.52 m, as the released evaluation does (a survey's mean, in
  effect a constant of the target, and the result depends on the batch): not comparable with other rows, so off by
  default. With flip, each pass is scaled on its own. Time reversal has no meaning for one frame.

Published with VideoPose3D, 27 frames, ground-truth 2D of Human3.6M and of the target, with rescaling, flip and time
reversal: MPI-INF-3DHP 68.3 mm MPJPE (PCK 90.2, AUC 59.0) on all test frames but the first 100 of TS3 and TS4; 3DPW
81.2 mm (PA 46.5). This form differs in all of that, so no number of theirs is to be expected here.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.augment.axis_angle_generator import AxisAngleGenerator
from dg.augment.generator import PoseGenerator
from dg.methods.base import MethodContext, StepKey
from dg.methods.learned_augmentation import check_choice
from dg.methods.poseaug import PoseAug, PoseAugOptions
from dg.pose.batch import PoseBatch

SELECTIONS = ("difficulty", "off")
RESCALES = ("off", "batch_hip_neck")
HIP_NECK_M = 0.52
_WINDOW_CENTRE, _WINDOW_HALF_WIDTH = 17.0, 16.0


@dataclass(frozen=True)
class AdaptPoseOptions(PoseAugOptions):
    """PoseAug's, and: selection: `difficulty` or `off`. rescale: `off` or `batch_hip_neck`, which uses knowledge of the
    target at test time. The rigid transform is learned, with feedback and template bone lengths, as in the released
    code.
    """

    feedback: str = "released"
    templates: str = "source"
    warmup_share: float = 0.0
    rates: str = "released"
    rigid: str = "learned"
    selection: str = "difficulty"
    rescale: str = "off"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("selection", self.selection, SELECTIONS)
        check_choice("rescale", self.rescale, RESCALES)


class AdaptPose(PoseAug):
    """See the module's docstring. Raises ValueError without a target."""

    Options: ClassVar[type] = AdaptPoseOptions
    Generator: ClassVar[type[PoseGenerator]] = AxisAngleGenerator
    pretrain_share: ClassVar[float] = 1 / 3
    regime: ClassVar[str] = "DA"

    def __init__(self, context: MethodContext, options: AdaptPoseOptions) -> None:
        if context.target is None:
            raise ValueError(
                "adaptpose is domain adaptation: expected a target's 2D poses, got none; give adapt_to=..."
            )
        super().__init__(context, options)
        self.target = context.target.to(context.device)
        self.selection, self.rescale = options.selection, options.rescale

    @classmethod
    def oracles(cls, options: AdaptPoseOptions) -> tuple[str, ...]:
        """The rescaling's constant is in effect the target's."""
        return () if options.rescale == "off" else ("scale",)

    def _real_2d(self, original: PoseBatch, key: StepKey) -> Float[Tensor, "batch joints 2"]:
        return self.target.draw(len(original), key.generator("target", self.context.device))[0]

    def _take(self, source: PoseBatch, proposed: PoseBatch, key: StepKey) -> dict[str, Tensor]:
        if self.selection == "off":
            return super()._take(source, proposed, key)
        original = self._with_templates(source, key)
        kept = proposed.valid & in_difficulty_window(self._group_errors(proposed), self._group_errors(original))
        self.survivors.add(proposed.replace(valid=kept))
        return {
            "augment/valid_share": proposed.valid.float().mean(),
            "augment/selected_share": kept.float().mean(),
        }

    def _group_errors(self, poses: PoseBatch) -> Float[Tensor, "batch groups"]:
        """The lifter's weighted mean errors by joint group, eval mode, never rescaled."""
        target = poses.root_relative[:, self.lifter.target_frames(poses.joints_3d.shape[1])]
        return (super().predict(poses) - target).norm(dim=-1).mean(1) @ self.feedback.groups

    @torch.no_grad()
    def predict(self, poses: PoseBatch) -> Float[Tensor, "batch target_frames joints 3"]:
        """As every method; with rescale=batch_hip_neck, scaled by one factor for the whole batch."""
        predicted = super().predict(poses)
        if self.rescale == "off":
            return predicted
        skeleton = self.context.skeleton
        trunk = predicted[..., skeleton.index("thorax"), :] - predicted[..., skeleton.root, :]
        return predicted * (HIP_NECK_M / trunk.norm(dim=-1).mean().clamp_min(1e-6))


def in_difficulty_window(
    augmented: Float[Tensor, "batch groups"], original: Float[Tensor, "batch groups"]
) -> Bool[Tensor, " batch"]:
    """Tell which augmented poses are harder than their originals, but not too hard.

    Args:
        augmented: the lifter's error of each joint group on the augmented poses.
        original: the same on the original poses.

    Returns:
        True where the ratio of errors, mean over the joint groups, is strictly between 1 and 33; false for NaN.
    """
    difficulty = (augmented / original).mean(-1)
    return (difficulty - _WINDOW_CENTRE).abs() < _WINDOW_HALF_WIDTH
