"""What a 2D detector of another joint definition would have found instead of the projected joints.

A detector with COCO's joints has neither pelvis, spine, thorax, neck nor the top of the head; `dg.pose.joint_map` makes
them of hips, shoulders, nose and eyes. Its hips and shoulders lie where annotators put them, not where markers do, its
errors grow towards the ends of the limbs, and some joints it does not find. All constants are our own choices.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.boxes import box_size
from dg.pose.devices import constant
from dg.pose.missing_joints import fill_along_limbs
from dg.pose.skeleton import Skeleton

_HIPS, _SHOULDERS = ("left_hip", "right_hip"), ("left_shoulder", "right_shoulder")
_ENDS = {"knee": 1.3, "elbow": 1.3, "ankle": 1.7, "wrist": 1.7}  # noise of joints, in that of the trunk
_FAR, _FAR_TIMES = 0.02, 5.0  # share of joints that are far off, and by how much more
_FACE = (0.35, 0.85)  # where nose and eyes lie between thorax and head top
_FACE_SHIFT = 0.03  # and off that line, of the box
_STEADY = 0.5**0.5  # of a window's noise the part that is the same in all frames; the rest differs from frame to frame


@dataclass(frozen=True)
class DetectorErrors:
    """noise: median standard deviation of a joint of the trunk, as a part of the person's box (`dg.pose.boxes`); people
    differ by a factor of two. redefined: share of people with a detector's joints. widths: of detected hips and
    shoulders over the projected ones. missing: share of people of whom some joints are missing.
    """

    noise: float = 0.01
    redefined: float = 0.7
    widths: tuple[float, float] = (0.85, 1.2)
    missing: float = 0.15

    def detected(
        self, joints_2d: Float[Tensor, "rows joints 2"], skeleton: Skeleton, generator: torch.Generator, frames: int = 1
    ) -> Float[Tensor, "rows joints 2"]:
        """The 2D that a detector would have found.

        Args:
            joints_2d: projected joints, any unit.
            skeleton: of Human3.6M, with or without the neck.
            generator: on the joints' device.
            frames: so many rows that follow each other are one person over time: where the detector's joints lie, how
                sure it is and what it misses are the same in all of them, as is half of the noise's variance.

        Returns:
            Joints in the same unit; missing ones lie where `fill_along_limbs` puts them.
        """
        rows, device = len(joints_2d), joints_2d.device

        def uniform(*shape: int) -> Tensor:
            drawn = torch.rand(rows // frames, *shape, generator=generator, device=device)
            return drawn.repeat_interleave(frames, 0)

        def normal() -> Tensor:
            drawn = torch.randn(found.shape, generator=generator, device=device)
            if frames == 1:
                return drawn
            steady = torch.randn(len(drawn) // frames, *drawn.shape[1:], generator=generator, device=device)
            return _STEADY * (drawn + steady.repeat_interleave(frames, 0))

        box = box_size(joints_2d)[:, None, None]
        other = self._redefined(joints_2d, skeleton, uniform, box)
        found = torch.where((uniform(1, 1) < self.redefined), other, joints_2d)
        spread = self.noise * 2 ** (2 * uniform(1, 1) - 1) * box
        ends_spread = tuple(_ENDS.get(j.split("_")[-1], 1.0) for j in skeleton.joints)
        spread = spread * constant(ends_spread, device, joints_2d.dtype)[:, None]
        spread = torch.where(uniform(len(skeleton), 1) < _FAR, spread * _FAR_TIMES, spread)
        found = found + spread * normal()
        some, each = uniform(1) < self.missing, uniform(len(skeleton))
        ends, lower, ankles = (
            constant(tuple(j.split("_")[-1] in kind for j in skeleton.joints), device)
            for kind in (_ENDS, ("knee", "ankle"), ("ankle",))
        )
        cut = uniform(1)
        lost = torch.where(cut < 0.25, lower, torch.where(cut < 0.5, ankles, ends & (each < 0.25)))
        return fill_along_limbs(found, ~(some & lost), skeleton)

    def _redefined(self, joints_2d: Tensor, skeleton: Skeleton, uniform, box: Tensor) -> Tensor:  # noqa: ANN001
        found = joints_2d.clone()
        at = skeleton.index
        low, high = self.widths
        pairs = [constant(tuple(at(j) for j in pair), found.device) for pair in (_HIPS, _SHOULDERS)]
        for pair in pairs:
            ends = found[:, pair]
            middle = ends.mean(1, keepdim=True)
            found[:, pair] = middle + (ends - middle) * (low + (high - low) * uniform(1, 1))
        middles = [found[:, pair].mean(1) for pair in pairs]
        thorax, top = joints_2d[:, at("thorax")], joints_2d[:, at("head")]
        found[:, skeleton.root], found[:, at("thorax")] = middles
        found[:, at("spine")] = (middles[0] + middles[1]) / 2
        shift = _FACE_SHIFT * box[:, 0] * (2 * uniform(2) - 1)
        along = _FACE[0] + (_FACE[1] - _FACE[0]) * uniform(1)
        found[:, at("head")] = thorax.lerp(top, along) + shift
        if "neck" in skeleton.joints:
            found[:, at("neck")] = thorax.lerp(top, 0.85 * along) + 1.3 * shift
        return found
