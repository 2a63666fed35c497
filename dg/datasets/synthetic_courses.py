"""The ingredients of synthetic motion: random parameters, smooth courses in time, and the posture under every act."""

import math

import torch
from torch import Tensor

from dg.datasets.synthetic_kinematics import Angles


class Draw:
    """Random parameters and smooth courses over `times` (seconds) for a number of clips."""

    def __init__(self, clips: int, times: Tensor, generator: torch.Generator) -> None:
        self.clips, self.times, self.generator = clips, times[None], generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Draw one uniform number for each clip.

        Args:
            low: lower bound.
            high: upper bound.

        Returns:
            `[clips, 1]` numbers in [low, high).
        """
        return low + (high - low) * torch.rand(self.clips, 1, generator=self.generator)

    def one_side(self) -> tuple[Tensor, Tensor]:
        """Choose a side for each clip: of the returned weights (left, right), one is 1 and the other 0."""
        left = (self.uniform(0, 1) < 0.5).float()
        return left, 1 - left

    def wave(self, low_hz: float, high_hz: float) -> Tensor:
        """Return the phase of a periodic motion whose frequency and start are random for each clip.

        Args:
            low_hz: lowest frequency, Hz.
            high_hz: highest frequency, Hz.

        Returns:
            `[clips, frames]` phases in radians; they grow beyond a full turn.
        """
        return 2 * math.pi * (self.uniform(low_hz, high_hz) * self.times + self.uniform(0, 1))

    def glide(self, low: float, high: float, seconds: float = 1.3) -> Tensor:
        """Return a course that moves from one random value to the next and rests a little at each.

        Args:
            low: lower bound of the values.
            high: upper bound of the values.
            seconds: mean time from one value to the next, varied by 20 to 25 % between clips.

        Returns:
            `[clips, frames]` values in [low, high].
        """
        at = self.times / (seconds * self.uniform(0.8, 1.25)) + self.uniform(0, 1)
        knots = low + (high - low) * torch.rand(self.clips, int(at.max()) + 2, generator=self.generator)
        here = at.long()
        start, stop = knots.gather(1, here), knots.gather(1, here + 1)
        return start + (stop - start) * minimum_jerk((at - here - 0.15) / 0.7)

    def cycle(self, low_s: float, high_s: float) -> Tensor:
        """Return a course that goes from 0 to 1 and back, with rests at both ends, again and again.

        Args:
            low_s: shortest period, seconds.
            high_s: longest period, seconds.

        Returns:
            `[clips, frames]` values in [0, 1].
        """
        at = (self.times / self.uniform(low_s, high_s) + self.uniform(0, 1)) % 1.0
        return minimum_jerk(at / 0.3) - minimum_jerk((at - 0.5) / 0.3)


def minimum_jerk(share: Tensor) -> Tensor:
    """Return Flash and Hogan's course of a human reach: 0 before 0, 1 after 1, smooth between."""
    t = share.clamp(0, 1)
    return t * t * t * (10 - 15 * t + 6 * t * t)


def bump(phase: Tensor, sharpness: float) -> Tensor:
    """Return a periodic bump.

    Args:
        phase: phases, radians.
        sharpness: how quickly the bump falls off; larger is narrower.

    Returns:
        1 at phase 0, and exp(-2 sharpness) at the opposite phase.
    """
    return (sharpness * (phase.cos() - 1)).exp()


def posture(draw: Draw) -> Angles:
    """Stand at ease: personal habits and small slow movements, to which every activity is added."""
    angles: Angles = {
        "heading": draw.uniform(-180, 180) + draw.glide(-12, 12, 2.5),
        "spine_flex": draw.uniform(-2, 6) + draw.glide(-2, 2, 1.7),
        "chest_flex": draw.uniform(-2, 8) + draw.glide(-2, 2, 1.9),
        "spine_side": draw.glide(-3, 3, 2.0),
        "chest_twist": draw.glide(-6, 6, 2.2),
        "neck_flex": draw.uniform(-5, 12) + draw.glide(-8, 8, 1.4),
        "neck_twist": draw.glide(-30, 30, 1.6),
        "neck_side": draw.glide(-6, 6, 1.8),
    }
    for side in ("left", "right"):
        angles[f"{side}_hip_abduct"] = draw.uniform(2, 7)
        angles[f"{side}_hip_rotate"] = draw.uniform(4, 14)
        angles[f"{side}_hip_flex"] = draw.uniform(0, 5)
        angles[f"{side}_knee"] = draw.uniform(3, 10)
        angles[f"{side}_shoulder_flex"] = draw.uniform(-6, 8) + draw.glide(-4, 4, 1.5)
        angles[f"{side}_shoulder_abduct"] = draw.uniform(5, 14) + draw.glide(-2, 4, 1.5)
        angles[f"{side}_shoulder_rotate"] = draw.uniform(-25, 5)
        angles[f"{side}_elbow"] = draw.uniform(8, 26) + draw.glide(-4, 8, 1.5)
    return angles


def both(part: str, left: Tensor, right: Tensor | None = None) -> Angles:
    """Name an angle for both sides.

    Args:
        part: the angle's name without its side.
        left: the angle of the left side, degrees.
        right: the angle of the right side, degrees; that of the left side unless given.

    Returns:
        The two angles by name.
    """
    return {f"left_{part}": left, f"right_{part}": left if right is None else right}
