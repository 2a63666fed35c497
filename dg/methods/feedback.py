"""The lifter's error as feedback to PoseAug's generator (METHODS 2.4, 2.6).

`released`: the ratio of errors on augmented and original poses, by joint group, is held in a range; its centre grows
from 3 to 5 for bone angles and is 17 for rigid transforms. `exponential`: the paper's equation 9 on the final pose;
the paper gives no beta, ours grows from 3 to 5 as the released centre does, and L is a sample's mean joint error in
metres.

Only the generator receives a gradient, the lifter's weights do not. In mode `train` its batch norms normalise by each
of the three batches and its dropout is active, as in the released code; but its running statistics stay as they are.
There they take in all three batches, and the estimator's own two passes wash that out before anything is evaluated;
here the turns alternate at every batch, so statistics of poses far outside the frame would stay.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.augment.trunk import frozen_statistics
from dg.methods.losses import feedback_exponential, feedback_ratio, joint_group_matrix
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.skeleton import Skeleton
from lifters.base import Lifter

VARIANTS = ("released", "exponential", "off")
MODES = ("train", "eval")


@dataclass(frozen=True)
class FeedbackPoses:
    """The same rows three times: as they are, with other bone angles, and with all three operations."""

    original: PoseBatch
    bone_angle: PoseBatch
    rigid: PoseBatch


def demanded_difficulty(progress: float) -> float:
    """Return how many times as hard as their originals poses with other bone angles should be.

    Args:
        progress: how much of the budget is used, in [0, 1].
    """
    return 3.0 + 2.0 * progress


class Feedback:
    """Feedback losses of one variant for one lifter's inputs.

    below_m: a batch on whose original poses the lifter's mean error, in the given mode, is not below it gives none;
    0: all do. judges_rigid: whether `released` has its second term, which is idle where the transform is not learned.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        inputs: InputSpec,
        variant: str,
        mode: str,
        device: torch.device,
        below_m: float = 0.0,
        judges_rigid: bool = True,
    ) -> None:
        self.inputs, self.variant, self.mode = inputs, variant, mode
        self.below_m, self.judges_rigid = below_m, judges_rigid
        self.groups = joint_group_matrix(skeleton).to(device)

    def __call__(self, lifter: Lifter, poses: FeedbackPoses, demanded: float | Tensor) -> dict[str, Tensor]:
        """Weighted losses by name, `bone_angle` and `rigid`; demanded: see `demanded_difficulty`."""
        with _mode(lifter, self.mode == "train"), frozen_statistics(lifter):
            with torch.no_grad():
                original = self._errors(lifter, poses.original)
            if self.variant == "exponential":
                rigid = self._errors(lifter, poses.rigid).mean(-1)
                return {"rigid": self._open(original) * feedback_exponential(rigid, original.mean(-1), demanded)}
            angled = self._errors(lifter, poses.bone_angle)
            rigid = self._errors(lifter, poses.rigid) if self.judges_rigid else None
        gate, original = self._open(original), original @ self.groups
        losses = {"bone_angle": gate * 0.1 * feedback_ratio(angled @ self.groups, original, demanded, 2.0)}
        if rigid is not None:
            losses["rigid"] = gate * 0.01 * feedback_ratio(rigid @ self.groups, original, 17.0, 15.0)
        return losses

    def _open(self, errors: Float[Tensor, "batch joints"]) -> Float[Tensor, ""]:
        """1 where the lifter is good enough for its error to say something, else 0; no wait for the device."""
        return (errors.mean() < (self.below_m or torch.inf)).to(errors)

    def _errors(self, lifter: Lifter, poses: PoseBatch) -> Float[Tensor, "batch joints"]:
        """Distance of each joint from the truth, metres, mean over the target frames."""
        predicted = lifter(poses.features(self.inputs))
        target = poses.root_relative[:, lifter.target_frames(poses.joints_3d.shape[1])]
        return (predicted - target).norm(dim=-1).mean(1)


@contextmanager
def _mode(module: nn.Module, training: bool) -> Iterator[None]:
    was_training = module.training
    module.train(training)
    try:
        yield
    finally:
        module.train(was_training)
