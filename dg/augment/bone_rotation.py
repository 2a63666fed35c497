"""Local rotations of bones in their kinematic frames, within ranges learned from poses (PoseGU; METHODS 5).

Guan et al., "PoseGU: 3D human pose estimation with novel human pose generator and unbiased learning", 2022 (METHODS 5).
No code is public; frames, coordinates, ranges and the distribution of a rotation are our own reading.

* Kinematic frames. The body frame has the line between the hips as its first axis and the spine near its second. Bones
  that start at the root stand in it. Every other bone stands in its parent bone's frame, which is the frame before it,
  carried along by the shortest rotation from bone to bone (parallel transport). So a bone that turns takes all bones
  beyond it along, and their own local directions do not change.
* Coordinates. A local direction is written by its angle from the bone's mean direction and the way it leaves it: two
  numbers, radians (azimuthal equidistant; the logarithm of the sphere at the mean direction).
* Ranges. Two quantiles of each coordinate over the poses learned from, made smaller where a corner would lie more than
  171 degrees from the mean, where coordinates are no longer unique.
* A rotation is drawn from a normal distribution about the bone's present coordinates, cut off at the range. Its density
  is known, so each drawn pose carries the ratio of the uniform distribution over the ranges to it: what a pose is to
  count so that the drawn poses stand for all poses within the ranges alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from dg.pose.bones import joints_from_bones, unit_bones
from dg.pose.devices import constant
from dg.pose.rotation import minimal_rotation
from dg.pose.skeleton import Skeleton

_FARTHEST = 0.95 * pi
_NARROWEST = 1e-3


@dataclass(frozen=True)
class LocalPose:
    """A pose by its bones. frame: the body frame, axes in columns. directions: of each bone in its parent bone's frame,
    unit vectors. lengths: metres.
    """

    frame: Float[Tensor, "batch 3 3"]
    directions: Float[Tensor, "batch bones 3"]
    lengths: Float[Tensor, "batch bones"]


class KinematicFrames:
    """Joints to local bone directions and back. Raises KeyError when the skeleton has no hips or no spine."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._hips = skeleton.index("left_hip"), skeleton.index("right_hip")
        self._spine = skeleton.bone("spine")
        bone_of = {child: bone for bone, (_, child) in enumerate(skeleton.bones)}
        self.parent = [bone_of.get(start, -1) for start, _ in skeleton.bones]
        level = [bone for bone, parent in enumerate(self.parent) if parent < 0]
        self.levels: list[list[int]] = []
        while level:
            self.levels.append(level)
            level = [bone for bone, parent in enumerate(self.parent) if parent in level]

    @property
    def at_root(self) -> list[int]:
        """Bones that start at the root: they carry the body frame."""
        return self.levels[0]

    def encode(self, joints: Float[Tensor, "batch joints 3"]) -> LocalPose:
        """Describe poses by the local directions of their bones; their place is lost.

        A pose without a body frame (hips or spine of no extent) gets the camera's frame.
        """
        units, lengths = unit_bones(joints, self.skeleton)
        left, right = self._hips
        frame = _right_handed(joints[:, left] - joints[:, right], units[:, self._spine])
        directions, frames = torch.empty_like(units), units.new_empty(*units.shape, 3)
        for level, parents, at in self._walk(frame, frames):
            directions[:, level] = (at.mT @ units[:, level, :, None])[..., 0]
            self._carry(level, parents, at, units, frames)
        return LocalPose(frame, directions, lengths)

    def decode(self, pose: LocalPose) -> Float[Tensor, "batch joints 3"]:
        """Return the root-relative joints of local poses, metres."""
        units, frames = torch.empty_like(pose.directions), pose.directions.new_empty(*pose.directions.shape, 3)
        for level, parents, at in self._walk(pose.frame, frames):
            units[:, level] = (at @ pose.directions[:, level, :, None])[..., 0]
            self._carry(level, parents, at, units, frames)
        return joints_from_bones(units * pose.lengths[..., None], self.skeleton)

    def _walk(self, body: Tensor, frames: Tensor) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Bones as far from the root, level by level, with their parents, None at the root, and the frames that they
        stand in.
        """
        for bones in self.levels:
            level = constant(tuple(bones), frames.device)
            if bones is self.levels[0]:
                yield level, None, body[:, None].expand(-1, len(bones), -1, -1)
                continue
            parents = constant(tuple(self.parent[bone] for bone in bones), frames.device)
            yield level, parents, frames[:, parents]

    def _carry(self, level: Tensor, parents: Tensor | None, at: Tensor, units: Tensor, frames: Tensor) -> None:
        """The frames that these bones hand on to the bones beyond them."""
        if parents is None:
            frames[:, level] = at
            return
        turned = minimal_rotation(units[:, parents], units[:, level]) @ at
        # Between nearly opposite bones the shortest rotation is only roughly orthogonal in single precision.
        frames[:, level] = _right_handed(turned[..., 0], turned[..., 1])


class BoneRotation:
    """Draws local rotations within the ranges of the poses it was made from.

    tail: the share of the poses that lies outside a range at either end. spread: standard deviation of a coordinate, in
    widths of its range. share: the probability with which a bone is turned. Bones at the root are never turned: that
    is the whole body's rotation. Raises ValueError for numbers that make no sense.
    """

    def __init__(
        self, skeleton: Skeleton, joints: Float[Tensor, "poses joints 3"], *, tail: float, spread: float, share: float
    ) -> None:
        if not 0 <= tail < 0.5 or not spread > 0 or not 0 <= share <= 1:
            raise ValueError(
                "expected a tail in [0, 0.5), a positive spread and a share in [0, 1], "
                f"got {tail}, {spread} and {share}"
            )
        self.frames = KinematicFrames(skeleton)
        self.share = share
        directions = self.frames.encode(joints).directions
        self.mean = normalize(directions.mean(0), dim=-1)
        self.tangent = _tangent(self.mean)
        seen = self.coordinates(directions)
        low, high = torch.quantile(seen, tail, 0), torch.quantile(seen, 1 - tail, 0)
        corner = torch.maximum(low.abs(), high.abs()).norm(dim=-1, keepdim=True)
        shrink = (_FARTHEST / corner.clamp_min(1e-6)).clamp_max(1.0)
        self.low, self.high = low * shrink, torch.maximum(high * shrink, low * shrink + _NARROWEST)
        self.spread = spread * (self.high - self.low)
        movable = torch.ones(len(skeleton.bones), dtype=torch.bool, device=joints.device)
        movable[self.frames.at_root] = False
        self.movable = movable

    def coordinates(self, directions: Float[Tensor, "batch bones 3"]) -> Float[Tensor, "batch bones 2"]:
        """Convert local directions to coordinates about the mean direction, radians."""
        cosine = (directions * self.mean).sum(-1, keepdim=True).clamp(-1, 1)
        across = (directions[..., None, :] @ self.tangent)[..., 0, :]
        # atan2 keeps its digits where acos loses them, near the mean direction.
        sine = across.norm(dim=-1, keepdim=True)
        return torch.atan2(sine, cosine) * across / sine.clamp_min(torch.finfo(sine.dtype).tiny)

    def directions(self, coordinates: Float[Tensor, "batch bones 2"]) -> Float[Tensor, "batch bones 3"]:
        """Convert coordinates to local directions: the inverse of `coordinates`."""
        angle = coordinates.norm(dim=-1, keepdim=True)
        # torch.sinc(x) is sin(pi x) / (pi x).
        across = torch.sinc(angle / pi) * coordinates
        return torch.cos(angle) * self.mean + (self.tangent @ across[..., None])[..., 0]

    def draw(
        self, pose: LocalPose, generator: torch.Generator
    ) -> tuple[LocalPose, Bool[Tensor, "batch bones"], Float[Tensor, " batch"]]:
        """Turn some bones of poses at random.

        Args:
            pose: the poses in their kinematic frames.
            generator: the random generator.

        Returns:
            The new poses; which bones were turned; and for each pose the logarithm of the uniform density over the
            density that it was drawn with.
        """
        here = self.coordinates(pose.directions).clamp(self.low, self.high)
        draws = torch.rand(3, *here.shape[:2], generator=generator, device=generator.device).to(here)
        turned = self.movable & (draws[2] < self.share)
        moved, ratio = self.draw_coordinates(here, draws[:2].movedim(0, -1))
        directions = torch.where(turned[..., None], self.directions(moved), pose.directions)
        log_ratio = (ratio * turned[..., None]).sum((-1, -2))
        return LocalPose(pose.frame, directions, pose.lengths), turned, log_ratio

    def draw_coordinates(
        self, here: Float[Tensor, "batch bones 2"], uniform: Float[Tensor, "batch bones 2"]
    ) -> tuple[Float[Tensor, "batch bones 2"], Float[Tensor, "batch bones 2"]]:
        """Draw coordinates from a normal distribution about given ones, cut off at the ranges.

        Args:
            here: the coordinates to start from, within the ranges, radians.
            uniform: numbers uniform in [0, 1), one for each coordinate.

        Returns:
            The drawn coordinates, and for each of them the logarithm of the range's uniform density over the density it
            was drawn with.
        """
        lowest, highest = ((edge - here) / self.spread for edge in (self.low, self.high))
        below, inside = torch.special.ndtr(lowest), torch.special.ndtr(highest) - torch.special.ndtr(lowest)
        step = torch.special.ndtri(below + inside * uniform).clamp(lowest, highest)
        log_drawn = -0.5 * step.square() - (sqrt(2 * pi) * self.spread * inside).log()
        moved = (here + self.spread * step).clamp(self.low, self.high)
        return moved, -(self.high - self.low).log() - log_drawn


def _right_handed(along: Float[Tensor, "*rows 3"], near: Float[Tensor, "*rows 3"]) -> Float[Tensor, "*rows 3 3"]:
    """Axes in columns: along the first vector, along what of the second is orthogonal to it, and their product; the
    camera's axes where the two do not span a plane.
    """
    first = normalize(along, dim=-1)
    second = normalize(near - (near * first).sum(-1, keepdim=True) * first, dim=-1)
    third = torch.linalg.cross(first, second)
    sound = (third * third).sum(-1) > 0.5
    camera = torch.eye(3, dtype=along.dtype, device=along.device)
    return torch.where(sound[..., None, None], torch.stack([first, second, third], -1), camera)


def _tangent(directions: Float[Tensor, "bones 3"]) -> Float[Tensor, "bones 3 2"]:
    """Two orthonormal vectors, in columns, orthogonal to each direction."""
    helper = torch.nn.functional.one_hot(directions.abs().argmin(-1), 3).to(directions)
    first = normalize(torch.linalg.cross(directions, helper), dim=-1)
    return torch.stack([first, torch.linalg.cross(directions, first)], -1)
