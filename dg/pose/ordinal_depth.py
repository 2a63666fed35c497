"""Coarse ordinal depth: joints put into depth bins, as an oracle that is an upper bound on what depth can give.

AugLift, appendix E (METHODS 4.8): bins by sequential bucketing with a width of 1, 10 or 25 cm, or three bins: in front
of, at, or behind the pelvis, with 10 cm. The paper names neither the bucketing's rule nor the value that the lifter is
given. Here a bucket opens at its nearest joint and takes what lies within its width behind that joint: of the rules
that were tried this one alone meets the paper's counts (17 joints, 1, 10 and 25 cm: 13.7, 5.4 and 2.9 bins a frame on
Human3.6M), with 13.7, 5.3 and 2.9 on motion of another origin. The value is the depth of the bin.
"""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

THREE = "three"
THREE_BINS_M = 0.10


def bucket_starts(depth: Float[Tensor, "*batch joints"], width: float) -> Float[Tensor, "*batch joints"]:
    """Find the depth of the nearest joint in each joint's bucket.

    A bucket holds what lies no more than `width` behind its nearest joint.

    Args:
        depth: depth of the joints.
        width: width of a bucket, in the unit of the depth.

    Returns:
        Where each joint's bucket begins.
    """
    ordered, order = depth.sort(-1)
    start = ordered[..., 0]
    starts = []
    for value in ordered.unbind(-1):
        start = torch.where(value - start > width, value, start)
        starts.append(start)
    return torch.empty_like(depth).scatter(-1, order, torch.stack(starts, -1))


def sequential_bins(depth: Float[Tensor, "*batch joints"], width: float) -> Int[Tensor, "*batch joints"]:
    """Number the buckets of each pose from the nearest one, which is 0.

    Args:
        depth: depth of the joints.
        width: width of a bucket, in the unit of the depth.

    Returns:
        The number of each joint's bucket.
    """
    ordered, order = bucket_starts(depth, width).sort(-1)
    opened = torch.zeros_like(order)
    opened[..., 1:] = (ordered.diff(dim=-1) > 0).to(order)
    return torch.empty_like(order).scatter(-1, order, opened.cumsum(-1))


def three_bins(
    depth: Float[Tensor, "*batch joints"], root: int, threshold: float = THREE_BINS_M
) -> Int[Tensor, "*batch joints"]:
    """Sort joints into three bins: in front of, at, or behind the root.

    Args:
        depth: depth of the joints, metres.
        root: index of the root joint.
        threshold: how far from the root's depth the outer bins begin, metres.

    Returns:
        -1 for joints in front, 1 for joints behind, else 0.
    """
    relative = depth - depth[..., root : root + 1]
    return (relative > threshold).long() - (relative < -threshold).long()


@dataclass(frozen=True)
class DepthBins:
    """A quantiser of joint depth. width_m: of a sequential bucket; of the three bins it is twice their threshold."""

    width_m: float
    three: bool = False

    @staticmethod
    def parse(text: str) -> "DepthBins":
        """Read the text of an option: a width such as `10cm`, or `three`.

        A width makes sequential buckets; `three` makes three bins, in front of, at, or behind the pelvis, with 10 cm.
        Raises ValueError for another text.
        """
        if text == THREE:
            return DepthBins(2 * THREE_BINS_M, three=True)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)cm", text)
        if found is None or float(found[1]) == 0:
            raise ValueError(f"depth bins must be a width such as 10cm, or {THREE!r}, got {text!r}")
        return DepthBins(float(found[1]) / 100)

    def numbers(self, depth: Float[Tensor, "*batch joints"], root: int) -> Int[Tensor, "*batch joints"]:
        """Return the joints' bins: 0, 1, ... from the nearest, or -1, 0 and 1 of the three.

        Args:
            depth: depth of the joints, metres.
            root: index of the root joint.

        Returns:
            The bin of each joint.
        """
        return three_bins(depth, root, self.width_m / 2) if self.three else sequential_bins(depth, self.width_m)

    def quantise(self, depth: Float[Tensor, "*batch joints"], root: int) -> Float[Tensor, "*batch joints"]:
        """Replace each joint's depth by its bin's; the root keeps its own.

        Only the other joints' relation to the root becomes coarse. In sequential buckets, the middle of a joint's
        bucket lies within half a width of the joint, so that depth relative to the root changes by less than a width.
        Of the three bins, the middle one changes it by half a width at most; the outer ones have no end.

        Args:
            depth: depth of the joints, metres.
            root: index of the root joint.

        Returns:
            The coarse depth, metres.
        """
        d_root = depth[..., root : root + 1]
        if self.three:
            return d_root + self.numbers(depth, root) * self.width_m
        starts = bucket_starts(depth, self.width_m)
        return d_root + (starts - starts[..., root : root + 1])

    def count(self, depth: Float[Tensor, "*batch joints"], root: int) -> Int[Tensor, "*batch"]:
        """Count the bins that each pose occupies.

        Args:
            depth: depth of the joints, metres.
            root: index of the root joint.

        Returns:
            The number of bins.
        """
        numbers = self.numbers(depth, root).sort(-1).values
        return 1 + (numbers.diff(dim=-1) > 0).sum(-1)
