"""AugLift's uncertainty-aware depth descriptor (UADD): how far around a joint depth is read, and the lifter's channels.

Section 3 and appendix of the paper; METHODS 4.1. The paper's formula of the radius and its constants are lost in the
text that we have; `linear` is the law of its prose and of the released script's header, `scale` is what the released
script computes. A pixel is one of a frame `FRAME_PX` wide, the width of Human3.6M's frames, where the released
constants were used: so a person's disk does not depend on the resolution at which a frame, or a crop of it, is read.
"""

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.radius import R_MAX, R_MIN, RadiusMode

RADIUS_MODES = get_args(RadiusMode)
FRAME_PX = 1000.0
# The released script's scale-aware law: k S (1 + beta (1 - c))^gamma.
_K, _BETA, _GAMMA = 0.04, 3.0, 1.5


@dataclass(frozen=True)
class RadiusLaw:
    """The radius of the disk in which a joint's depth is read, from the confidence of its 2D.

    mode: `linear` or `scale` (by the torso's length in the image). r_min, r_max: pixels of a frame `FRAME_PX` wide.
    Raises ValueError for an unknown mode, and unless 0 < r_min <= r_max.
    """

    mode: str = "linear"
    r_min: float = R_MIN
    r_max: float = R_MAX

    def __post_init__(self) -> None:
        if self.mode not in RADIUS_MODES:
            raise ValueError(f"radius_mode must be one of {list(RADIUS_MODES)}, got {self.mode!r}")
        if not 0 < self.r_min <= self.r_max:
            raise ValueError(f"expected 0 < r_min <= r_max, got r_min={self.r_min!r} r_max={self.r_max!r}")

    def radius(
        self, confidence: Float[Tensor, "*batch joints"], torso_2d: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch joints"]:
        """Compute the radius of the disk around each joint in which depth is sampled.

        Args:
            confidence: confidence of the 2D joints, in [0, 1].
            torso_2d: distance from pelvis to thorax in the image, normalised; only the mode `scale` uses it.

        Returns:
            Radii in the unit of normalised 2D, where a frame is 2 wide.
        """
        doubt = 1 - confidence
        if self.mode == "linear":
            pixels = self.r_min + doubt * (self.r_max - self.r_min)
        else:
            torso_px = torso_2d[..., None] * (FRAME_PX / 2)
            pixels = _K * torso_px * (1 + _BETA * doubt).clamp_min(0) ** _GAMMA
        return pixels.clamp(self.r_min, self.r_max) * (2 / FRAME_PX)


def confidence_channel(confidence: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Map confidence from [0, 1] to [-1, 1], as the paper has it; the released code leaves it as it is."""
    return 2 * confidence - 1


def depth_channels(
    depths: Float[Tensor, "*batch joints kinds"], root: Float[Tensor, "*batch 1"], clip: float, unit: str
) -> Float[Tensor, "*batch joints kinds"]:
    """Make input channels of depths: relative to the root's depth, and clipped.

    Args:
        depths: absolute depths at the joints, metres.
        root: absolute depth at the root, metres.
        clip: the largest difference from the root's depth, metres.
        unit: `clip` divides by `clip`, so that the channels span [-1, 1]; `metre` leaves metres.

    Returns:
        The channels.
    """
    relative = (depths - root[..., None]).clamp(-clip, clip)
    return relative / clip if unit == "clip" else relative


def with_range(
    depth: Float[Tensor, "*batch joints"], spread: Float[Tensor, "*batch joints 2"]
) -> Float[Tensor, "*batch joints 3"]:
    """Join the median, nearest and farthest depth of each joint's disk.

    Args:
        depth: median depth, metres.
        spread: nearest and farthest depth relative to the median, metres.

    Returns:
        The three depths in this order, metres.
    """
    middle = depth[..., None]
    return torch.cat([middle, middle + spread], -1)
