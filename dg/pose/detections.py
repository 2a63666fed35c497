"""Synthetic 2D detections of rendered people: what a detector would see less surely, and less exactly, where the body
hides a joint.

Nothing of this is in the papers: they train and test on a real detector's output, which a rendered pose lacks. A joint
lies inside the body, so some surface is always before it; it counts as hidden by how far that surface lies before it,
beyond what the joint's own flesh explains. All constants are our own choices.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dg.pose.boxes import box_size

SYNTHETIC_DETECTIONS = "synthetic-detections"  # the 2D source in a protocol id
DRAWS = 3  # standard normal numbers for each joint


@dataclass(frozen=True)
class Detections:
    """confidence: in [0, 1]. error: what to add to the true 2D, in its unit."""

    confidence: Float[Tensor, "batch joints"]
    error: Float[Tensor, "batch joints 2"]


@dataclass(frozen=True)
class SyntheticDetector:
    """clear_m, hidden_m: up to where a surface before a joint does not hide it, and from where it does altogether,
    metres. The other constants are those of a clear and of a hidden joint, linear in between: confidence (mean),
    confidence_sigma; error: standard deviation on each axis, as a part of the person's box (`dg.pose.boxes`).
    """

    clear_m: float = 0.15
    hidden_m: float = 0.30
    confidence: tuple[float, float] = (0.9, 0.35)
    confidence_sigma: float = 0.07
    error: tuple[float, float] = (0.01, 0.05)

    def hidden(self, behind_m: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Return how far joints are hidden, in [0, 1], from how many metres they lie behind the visible surface."""
        return ((behind_m - self.clear_m) / (self.hidden_m - self.clear_m)).clamp(0, 1)

    def detect(
        self,
        joints_2d: Float[Tensor, "batch joints 2"],
        behind_m: Float[Tensor, "batch joints"],
        normal: Float[Tensor, "batch joints draws"],
    ) -> Detections:
        """Make detections of true 2D joints.

        Args:
            joints_2d: the true joints, normalised image coordinates.
            behind_m: how far each joint lies behind the visible surface, metres.
            normal: independent standard normal numbers, `DRAWS` for each joint.

        Returns:
            Confidence in [0, 1], and by what the detected 2D differs from the true one, in its unit.
        """
        hidden = self.hidden(behind_m)
        mean = _between(self.confidence, hidden)
        sigma = _between(self.error, hidden) * box_size(joints_2d)[:, None]
        confidence = (mean + self.confidence_sigma * normal[..., 0]).clamp(0, 1)
        return Detections(confidence, sigma[..., None] * normal[..., 1:])


def _between(ends: tuple[float, float], share: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    return ends[0] + (ends[1] - ends[0]) * share
