"""Batched pinhole cameras, with or without Human3.6M's distortion, in width-normalised units (METHODS 1.3-1.5)."""

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.pose.rotation import rotation_from_quaternion

# Outside 45 degrees from the axis Human3.6M's distortion polynomial is meaningless; released code saturates there too.
POSEBENCH_PX = (1080.0, 1920.0)  # PoseBench3D's frame for all of 3DPW
RATIO_LIMIT = 1.0
UNPROJECT_STEPS = 12  # of the fixed-point iteration against distortion


@dataclass(frozen=True)
class Camera:
    """Intrinsics of a batch of cameras, one row each.

    `focal`, `center`: 2 f_px / side and the normalised principal point. `distortion`: k1, k2, k3, p1, p2 (all zero:
    pinhole). `extent`: half the frame in the same unit, so |x| <= extent_x and |y| <= extent_y inside the frame.
    Raises ValueError when the rows disagree or a focal length is not positive.
    """

    focal: Float[Tensor, "batch 2"]
    center: Float[Tensor, "batch 2"]
    distortion: Float[Tensor, "batch 5"]
    extent: Float[Tensor, "batch 2"]

    def __post_init__(self) -> None:
        rows = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(rows.values())) > 1:
            raise ValueError(f"camera fields must have the same number of rows, got {rows}")

    @staticmethod
    def from_pixels(
        focal_px: Float[Tensor, "batch 2"],
        center_px: Float[Tensor, "batch 2"],
        size_px: Float[Tensor, "batch 2"],
        distortion: Float[Tensor, "batch 5"] | None = None,
        longer_side: bool = False,
    ) -> "Camera":
        """Make cameras from intrinsics in pixels.

        Args:
            focal_px: focal lengths along x and y, pixels.
            center_px: principal points, pixels from the top left corner.
            size_px: width and height of the images, pixels.
            distortion: k1, k2, k3, p1 and p2 of each camera; zero unless given.
            longer_side: divide by the longer side of the image instead of its width.

        Returns:
            The cameras in normalised units.

        Raises:
            ValueError: when a focal length or an image size is not positive.
        """
        if not (focal_px > 0).all() or not (size_px > 0).all():
            raise ValueError("focal lengths and image sizes must be positive")
        side = normalising_side(size_px, longer_side)
        return Camera(
            focal=2 * focal_px / side,
            center=normalise_pixels(center_px, size_px, longer_side),
            distortion=focal_px.new_zeros(len(focal_px), 5) if distortion is None else distortion,
            extent=size_px / side,
        )

    @staticmethod
    def as_posebench(focal_px: Float[Tensor, "batch 2"], center_px: Float[Tensor, "batch 2"]) -> "Camera":
        """Make cameras of 3DPW as PoseBench3D normalises them.

        It takes every frame, portrait or landscape, for 1080 x 1920 pixels and divides by 1080.

        Args:
            focal_px: focal lengths along x and y, pixels.
            center_px: principal points, pixels from the top left corner.

        Returns:
            The cameras, without distortion.
        """
        return Camera.from_pixels(focal_px, center_px, focal_px.new_tensor(POSEBENCH_PX).expand_as(focal_px))

    def __len__(self) -> int:
        return len(self.focal)

    @cached_property
    def pinhole(self) -> bool:
        """True where no camera is known to bend the image. Some rows of cameras of which one does may not, and count as
        if they did: so a batch need not ask its device.
        """
        return not bool(self.distortion.any())

    def knowing(self, pinhole: bool) -> "Camera":
        """Say whether no camera bends the image, so that nobody has to ask the device. Returns these cameras."""
        self.__dict__["pinhole"] = pinhole
        return self

    def _known_pinhole(self) -> bool:
        """As `pinhole`, but a GPU is not asked, which would wait for all that it has to do."""
        return self.pinhole if self.distortion.device.type == "cpu" else self.__dict__.get("pinhole", False)

    def __getitem__(self, rows: Tensor | slice) -> "Camera":
        return self.of(Camera(*[getattr(self, f.name)[rows] for f in fields(self)]))

    def to(self, *args: torch.device | torch.dtype | str) -> "Camera":
        """Move or convert all tensors as `Tensor.to` does."""
        return self.of(Camera(*[getattr(self, f.name).to(*args) for f in fields(self)]))

    @staticmethod
    def concatenate(cameras: list["Camera"]) -> "Camera":
        """Join the rows of several batches of cameras."""
        joined = Camera(*[torch.cat([getattr(c, f.name) for c in cameras]) for f in fields(Camera)])
        joined.__dict__["pinhole"] = all([c.pinhole for c in cameras])
        return joined

    def of(self, other: "Camera") -> "Camera":
        """Return another camera, made of rows of this one, with what is known of this one (`pinhole`)."""
        other.__dict__["pinhole"] = self.pinhole
        return other

    def project(self, points: Float[Tensor, "batch *axes 3"]) -> Float[Tensor, "batch *axes 2"]:
        """Project camera-frame points (metres) to normalised image coordinates.

        The ratios x/z and y/z saturate at 45 degrees, as in the released code of PoseAug (METHODS 1.5); use `in_frame`
        to tell such points and those behind the camera. Agrees with the pinhole for zero distortion.
        """
        # A point on the camera's plane must stay finite; its ratio saturates anyway.
        z = points[..., 2:]
        z = torch.where(z.abs() < 1e-6, torch.full_like(z, 1e-6), z)
        ratio = (points[..., :2] / z).clamp(-RATIO_LIMIT, RATIO_LIMIT)
        return self.distort(ratio)

    def distort(self, ratio: Float[Tensor, "batch *axes 2"]) -> Float[Tensor, "batch *axes 2"]:
        """Convert ray ratios (x/z, y/z) to normalised image coordinates."""
        if self._known_pinhole():
            return torch.addcmul(self._row(self.center, ratio), self._row(self.focal, ratio), ratio)
        k1, k2, k3, p = self._bends(ratio)
        r2 = (ratio * ratio).sum(-1, keepdim=True)
        scale = 1 + r2 * _polynomial(r2, k1, k2, k3) + (p * ratio).sum(-1, keepdim=True)
        bent = torch.addcmul(p * r2, ratio, scale)
        return torch.addcmul(self._row(self.center, ratio), self._row(self.focal, ratio), bent)

    def unproject(self, joints_2d: Float[Tensor, "batch *axes 2"], iterations: int = UNPROJECT_STEPS) -> Tensor:
        """Convert normalised image coordinates to ray ratios: the inverse of `distort` by fixed-point iteration.

        Args:
            joints_2d: normalised image coordinates.
            iterations: steps of the fixed-point iteration; cameras without distortion need none.

        Returns:
            Ratios x/z and y/z.
        """
        bent = (joints_2d - self._row(self.center, joints_2d)) / self._row(self.focal, joints_2d)
        if self.pinhole:
            return bent
        k1, k2, k3, p = self._bends(bent)
        ratio = bent
        for _ in range(iterations):
            r2 = (ratio * ratio).sum(-1, keepdim=True)
            scale = torch.addcmul((p * ratio).sum(-1, keepdim=True), r2, _polynomial(r2, k1, k2, k3)) + 1
            ratio = torch.addcmul(bent, p, r2, value=-1) / scale
        return ratio

    def _bends(self, like: Tensor) -> tuple[Tensor, ...]:
        """k1, k2, k3, and p1 and p2 in one, shaped to broadcast against `like`."""
        return self._row(self.distortion, like).split([1, 1, 1, 2], -1)

    def in_frame(
        self, points: Float[Tensor, "batch *axes joints 3"], nearest_m: float = 0.3
    ) -> Bool[Tensor, " batch *axes"]:
        """Tell which poses have every joint in front of the camera and inside the frame on all four sides.

        The released test of PoseAug checks the upper bounds alone (METHODS 2.5).

        Args:
            points: joints in the camera frame, metres.
            nearest_m: the depth that every joint must exceed, metres.

        Returns:
            One truth value for each pose.
        """
        inside = (self.project(points).abs() <= self._row(self.extent, points)).all(-1)
        in_front = points[..., 2] > nearest_m
        unsaturated = (points[..., :2].abs() <= RATIO_LIMIT * points[..., 2:].abs()).all(-1)
        return (inside & in_front & unsaturated).all(-1)

    @staticmethod
    def _row(values: Tensor, like: Tensor) -> Tensor:
        """Values [batch, c] shaped to broadcast against `like` [batch, *axes, c']."""
        return values.reshape(len(values), *[1] * (like.ndim - 2), values.shape[-1])


def _polynomial(r2: Tensor, k1: Tensor, k2: Tensor, k3: Tensor) -> Tensor:
    """k1 + k2 r^2 + k3 r^4, in few operations: a step of training projects often and little at a time."""
    return torch.addcmul(k1, r2, torch.addcmul(k2, r2, k3))


def normalising_side(size_px: Float[Tensor, "batch 2"], longer_side: bool = False) -> Float[Tensor, "batch 1"]:
    """Return the image side that 2D coordinates are divided by.

    Args:
        size_px: width and height of the images, pixels.
        longer_side: take the longer side instead of the width.

    Returns:
        The side, pixels.
    """
    return size_px.amax(-1, keepdim=True) if longer_side else size_px[:, :1]


def normalise_pixels(
    pixels: Float[Tensor, "batch *axes 2"], size_px: Float[Tensor, "batch 2"], longer_side: bool = False
) -> Float[Tensor, "batch *axes 2"]:
    """Convert pixels to normalised coordinates: 2 p / side - size / side (METHODS 1.4).

    Args:
        pixels: image coordinates from the top left corner, pixels.
        size_px: width and height of the images, pixels.
        longer_side: divide by the longer side instead of the width.

    Returns:
        Normalised coordinates; the divided side spans [-1, 1].
    """
    side = Camera._row(normalising_side(size_px, longer_side), pixels)
    return (2 * pixels - Camera._row(size_px, pixels)) / side


def denormalise_pixels(
    joints_2d: Float[Tensor, "batch *axes 2"], size_px: Float[Tensor, "batch 2"], longer_side: bool = False
) -> Float[Tensor, "batch *axes 2"]:
    """Convert normalised coordinates to pixels: the inverse of `normalise_pixels`.

    Args:
        joints_2d: normalised image coordinates.
        size_px: width and height of the images, pixels.
        longer_side: whether they were divided by the longer side instead of the width.

    Returns:
        Image coordinates from the top left corner, pixels.
    """
    side = Camera._row(normalising_side(size_px, longer_side), joints_2d)
    return (joints_2d * side + Camera._row(size_px, joints_2d)) / 2


def world_to_camera(
    points: Float[Tensor, "*axes 3"], orientation: Float[Tensor, "*rows 4"], translation: Float[Tensor, "*rows 3"]
) -> Float[Tensor, "*axes 3"]:
    """Move points from the world frame to the camera frame: X_cam = R(q)^-1 (X_world - t) (METHODS 1.3).

    Args:
        points: points in the world frame, metres.
        orientation: quaternions q in w, x, y, z order; they broadcast against `points`.
        translation: positions t of the cameras in the world frame, metres; they broadcast against `points`.

    Returns:
        Points in the camera frame, metres.
    """
    rotation = rotation_from_quaternion(orientation)
    return ((points - translation)[..., None, :] @ rotation)[..., 0, :]


def camera_to_world(
    points: Float[Tensor, "*axes 3"], orientation: Float[Tensor, "*rows 4"], translation: Float[Tensor, "*rows 3"]
) -> Float[Tensor, "*axes 3"]:
    """Move points from the camera frame to the world frame: the inverse of `world_to_camera`.

    Args:
        points: points in the camera frame, metres.
        orientation: quaternions in w, x, y, z order; they broadcast against `points`.
        translation: positions of the cameras in the world frame, metres; they broadcast against `points`.

    Returns:
        Points in the world frame, metres.
    """
    rotation = rotation_from_quaternion(orientation)
    return (rotation @ points[..., None])[..., 0] + translation
