"""PoseBatch, the one thing that travels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from dataclasses import replace as dataclass_replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.pose.boxes import crop_to_boxes, rescale_boxes
from dg.pose.camera import Camera
from dg.pose.devices import constant, send
from dg.pose.input_spec import InputSpec
from dg.pose.joint_map import convert_joints
from dg.pose.ordinal_depth import DepthBins
from dg.pose.skeleton import Skeleton
from dg.pose.uadd import confidence_channel, depth_channels, with_range

AUGMENTED = -1  # the domain of poses that a method made


@dataclass(frozen=True)
class PoseBatch:
    """Poses of one skeleton, each seen by its own camera. Frozen: `replace`, never mutate.

    joints_3d: camera frame, absolute, metres. joints_2d: normalised image coordinates. depth: the depth source's value
    at each joint, absolute metres (None until rendered). valid: poses that may be trained on. confidence: of the 2D
    joints, in [0, 1]. index: row in the data set the pose comes from. domain: number of the data set, or
    AUGMENTED.

    Where detections are rendered (`render_workers.uadd`), depth is the median in a disk around the joint, depth_spread
    the nearest and the farthest depth in it less the median, and detection_error what a detector's 2D differs by from
    joints_2d. As differences they, and confidence, stay what was last rendered for a pose when it is moved and its
    depth is made up from its own z (DESIGN 5.6). So do joint_features, what networks say of the picture at each joint
    (`render_workers.joint_features`): float16, sources one behind the other, constants that no gradient passes.
    """

    joints_3d: Float[Tensor, "batch frames joints 3"]
    joints_2d: Float[Tensor, "batch frames joints 2"]
    camera: Camera
    skeleton: Skeleton
    valid: Bool[Tensor, " batch"]
    index: Int[Tensor, " batch"]
    domain: Int[Tensor, " batch"]
    depth: Float[Tensor, "batch frames joints"] | None = None
    confidence: Float[Tensor, "batch frames joints"] | None = None
    depth_spread: Float[Tensor, "batch frames joints 2"] | None = None
    detection_error: Float[Tensor, "batch frames joints 2"] | None = None
    joint_features: Float[Tensor, "batch frames joints features"] | None = None

    @staticmethod
    def from_joints(
        joints_3d: Float[Tensor, "batch frames joints 3"],
        camera: Camera,
        skeleton: Skeleton,
        joints_2d: Float[Tensor, "batch frames joints 2"] | None = None,
    ) -> "PoseBatch":
        """Make a batch of valid poses of data set 0, with rows numbered from zero.

        Args:
            joints_3d: absolute joints in the camera frame, metres.
            camera: one camera for each pose.
            skeleton: the skeleton of the joints.
            joints_2d: normalised image coordinates; the projection of `joints_3d` unless given.

        Returns:
            The batch, without depth and without detections.

        Raises:
            ValueError: when the number of joints is not the skeleton's, or the number of cameras not that of the poses.
        """
        if joints_3d.shape[-2] != len(skeleton):
            raise ValueError(f"expected {len(skeleton)} joints ({skeleton.name}), got {joints_3d.shape[-2]}")
        if len(camera) != len(joints_3d):
            raise ValueError(f"expected one camera a pose: {len(joints_3d)} poses, {len(camera)} cameras")
        rows, device = len(joints_3d), joints_3d.device
        return PoseBatch(
            joints_3d=joints_3d,
            joints_2d=camera.project(joints_3d) if joints_2d is None else joints_2d,
            camera=camera,
            skeleton=skeleton,
            valid=torch.ones(rows, dtype=torch.bool, device=device),
            index=torch.arange(rows, device=device),
            domain=torch.zeros(rows, dtype=torch.int64, device=device),
        )

    def __len__(self) -> int:
        return len(self.joints_3d)

    @property
    def root_relative(self) -> Float[Tensor, "batch frames joints 3"]:
        """Joints relative to the root joint, metres."""
        root = self.skeleton.root
        return self.joints_3d - self.joints_3d[..., root : root + 1, :]

    @property
    def seen_2d(self) -> Float[Tensor, "batch frames joints 2"]:
        """The 2D that a lifter sees: joints_2d, plus the detection error where there is one."""
        return self.joints_2d if self.detection_error is None else self.joints_2d + self.detection_error

    def replace(self, **changes: Tensor | Camera | Skeleton | None) -> "PoseBatch":
        """Return a copy with some fields exchanged."""
        return dataclass_replace(self, **changes)

    def augmented(self) -> "PoseBatch":
        """Return the same poses with their domain set to AUGMENTED."""
        return self.replace(domain=torch.full_like(self.domain, AUGMENTED))

    def with_joints(self, joints_3d: Float[Tensor, "batch frames joints 3"]) -> "PoseBatch":
        """Other joints seen by the same cameras: 2D re-projected, depth, features and all of its detection dropped.

        `valid` becomes false where a joint leaves the frame or comes closer than the camera's near limit.
        """
        inside = self.camera.in_frame(joints_3d).reshape(len(self), -1).all(-1)
        return self.replace(
            joints_3d=joints_3d,
            joints_2d=self.camera.project(joints_3d),
            valid=self.valid & inside,
            depth=None,
            confidence=None,
            depth_spread=None,
            detection_error=None,
            joint_features=None,
        )

    def by_frame(self, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply a function to every field that has a frames axis; the results, by name, are for `replace`."""
        return {name: change(value) for name in _BY_FRAME if (value := getattr(self, name)) is not None}

    @cached_property
    def usable(self) -> Int[Tensor, " usable"] | None:
        """Numbers of the rows that are valid and all of whose numbers are finite; None: all rows are.

        Waits for the device, unless it is known: whoever made the batch said so (`knowing`), or all rows of the batch
        that these are some of are usable.
        """
        fine = self.valid & finite_rows(self)
        return None if bool(fine.all()) else fine.nonzero()[:, 0]

    def knowing(self, usable: Int[Tensor, " usable"] | None) -> "PoseBatch":
        """Say which rows are usable, so that nobody has to ask the device. Returns this batch.

        Args:
            usable: numbers of the rows, on the CPU, in rising order; None: all are.
        """
        self.__dict__["usable"] = None if usable is None else send(usable, self.valid.device)
        self.__dict__[_KNOWN] = usable
        return self

    def knowing_as(self, other: "PoseBatch") -> "PoseBatch":
        """Say that the same rows are usable as in another batch, where that is known. Returns this batch."""
        self.__dict__.update({name: other.__dict__[name] for name in ("usable", _KNOWN) if name in other.__dict__})
        return self

    def only_usable(self) -> "PoseBatch":
        """The usable rows; this batch itself where all are."""
        return self if self.usable is None else self[self.usable].knowing(None)

    def __getitem__(self, rows: Tensor | slice) -> "PoseBatch":
        """Some of the poses, by index, mask or slice."""
        some = self._map(lambda value: value[rows])
        known = self.__dict__.get(_KNOWN, ...)
        if known is None:
            return some.knowing(None)
        if known is ... or not isinstance(rows, slice):
            return some
        kept = torch.isin(torch.arange(len(self))[rows], known).nonzero()[:, 0]
        return some.knowing(None if len(kept) == len(some) else kept)

    def to(self, *args: torch.device | torch.dtype | str) -> "PoseBatch":
        """Move to a device; only use dtypes on batches whose integer fields may follow."""
        return self._map(lambda value: value.to(*args))

    def detach(self) -> "PoseBatch":
        """Return the poses with joints_3d and joints_2d detached from their graph."""
        return self.replace(joints_3d=self.joints_3d.detach(), joints_2d=self.joints_2d.detach())

    def _map(self, change) -> "PoseBatch":  # noqa: ANN001 - a function of Tensor or Camera
        changed = {
            f.name: change(value)
            for f in fields(self)
            if (value := getattr(self, f.name)) is not None and not isinstance(value, Skeleton)
        }
        return dataclass_replace(self, **changed)

    @staticmethod
    def concatenate(batches: Sequence["PoseBatch"]) -> "PoseBatch":
        """Join batches of one skeleton. Depth and confidence must be present in all or in none; else ValueError."""
        first = batches[0]
        if any(b.skeleton != first.skeleton for b in batches):
            raise ValueError(f"cannot join skeletons {sorted({b.skeleton.name for b in batches})}")
        joined = {}
        for f in fields(first):
            values = [getattr(b, f.name) for b in batches]
            if f.name == "skeleton" or all(v is None for v in values):
                continue
            if any(v is None for v in values):
                raise ValueError(f"cannot join batches with and without {f.name}")
            joined[f.name] = Camera.concatenate(values) if f.name == "camera" else torch.cat(values)
        whole = dataclass_replace(first, **joined)
        if any(_KNOWN not in b.__dict__ for b in batches):
            return whole
        known = [b.__dict__[_KNOWN] for b in batches]
        if all(rows is None for rows in known):
            return whole.knowing(None)
        rows, first_row = [], 0
        for batch, usable in zip(batches, known, strict=True):
            rows.append(first_row + (torch.arange(len(batch)) if usable is None else usable))
            first_row += len(batch)
        return whole.knowing(torch.cat(rows))

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors, on the CPU: what a checkpoint may carry. The skeleton is not part of it."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("camera", "skeleton")}
        state: dict[str, Any] = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in parts.items()}
        return state | {"camera": {f.name: getattr(self.camera, f.name).cpu() for f in fields(Camera)}}

    @staticmethod
    def from_state(state: dict[str, Any], skeleton: Skeleton) -> "PoseBatch":
        """The inverse of `state_dict`."""
        return PoseBatch(**(state | {"camera": Camera(**state["camera"]), "skeleton": skeleton}))

    def convert(self, skeleton: Skeleton) -> "PoseBatch":
        """The same poses on another skeleton; depth and features are dropped where the joints change."""
        if skeleton == self.skeleton:
            return self
        confidence, error = self.confidence, self.detection_error
        if confidence is not None:
            confidence = convert_joints(confidence[..., None], self.skeleton, skeleton)[..., 0]
        if error is not None:
            error = convert_joints(error, self.skeleton, skeleton)
        return self.replace(
            joints_3d=convert_joints(self.joints_3d, self.skeleton, skeleton),
            joints_2d=convert_joints(self.joints_2d, self.skeleton, skeleton),
            confidence=confidence,
            depth=None,
            depth_spread=None,
            detection_error=error,
            joint_features=None,
            skeleton=skeleton,
        )

    def flip(self) -> "PoseBatch":
        """The mirror image: x negated, left and right swapped, the principal point mirrored, depth kept with its joint.

        Distortion's tangential term in x changes sign with it, so a flipped batch projects onto its own 2D. Features
        go with their joint too, which is an approximation: they stay those of the picture that is not mirrored.
        """
        focal = self.camera.focal
        order = constant(self.skeleton.flip, focal.device)
        sign_x = constant((-1.0, 1.0), focal.device, focal.dtype)
        distortion = self.camera.distortion * constant((1.0, 1.0, 1.0, -1.0, 1.0), focal.device, focal.dtype)
        camera = dataclass_replace(self.camera, center=self.camera.center * sign_x, distortion=distortion)
        return self.replace(
            joints_3d=self.joints_3d[..., order, :] * torch.cat([sign_x, sign_x.new_ones(1)]),
            joints_2d=self.joints_2d[..., order, :] * sign_x,
            depth=None if self.depth is None else self.depth[..., order],
            confidence=None if self.confidence is None else self.confidence[..., order],
            depth_spread=None if self.depth_spread is None else self.depth_spread[..., order, :],
            detection_error=None if self.detection_error is None else self.detection_error[..., order, :] * sign_x,
            joint_features=None if self.joint_features is None else self.joint_features[..., order, :],
            camera=camera,
        )

    def features(self, spec: InputSpec) -> Float[Tensor, "batch frames joints channels"]:
        """The lifter's input, in training and evaluation alike; the only place where it is built.

        Raises ValueError when the spec needs depth, a confidence or features and the batch carries none, or features
        of another size.
        """
        parts = [self._scaled_2d(spec)]
        if spec.needs_confidence:
            parts.append(confidence_channel(_present(self.confidence, "the confidence of its 2D", spec))[..., None])
        if spec.depth_bins:
            depth = self.joints_3d[..., 2].detach()
            coarse = DepthBins.parse(spec.depth_bins).quantise(depth, self.skeleton.root)
            root = depth[..., self.skeleton.root : self.skeleton.root + 1]
            parts.append(depth_channels(coarse[..., None], root, spec.depth_clip, spec.depth_unit))
        elif "d" in spec.names:
            depth = _present(self.depth, "depth at the joints", spec)
            depths = depth[..., None]
            if "dmin" in spec.names:
                depths = with_range(depth, _present(self.depth_spread, "the range of depth around its joints", spec))
            parts.append(depth_channels(depths, self._root_depth(spec), spec.depth_clip, spec.depth_unit))
        if spec.features:
            parts.append(self._features_of(spec).to(parts[0].dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _scaled_2d(self, spec: InputSpec) -> Float[Tensor, "batch frames joints 2"]:
        """The 2D that the lifter sees, after the spec's scale normalisation."""
        xy = self.seen_2d
        if spec.dscale2d == "box":
            return rescale_boxes(xy, spec.box_ref)
        if spec.dscale2d in ("crop", "square"):
            return crop_to_boxes(xy, square=spec.dscale2d == "square")
        if spec.dscale2d != "off":
            d_root = self._root_depth(spec)
            xy = (xy - self.camera.center[:, None, None]) * (d_root / spec.d_ref)[..., None]
        if spec.dscale2d == "focal":
            xy = xy * (spec.f_ref / self.camera.focal)[:, None, None]
        return xy

    def _features_of(self, spec: InputSpec) -> Float[Tensor, "batch frames joints features"]:
        found = _present(self.joint_features, "features of its picture", spec)
        if found.shape[-1] != sum(spec.feature_sizes):
            raise ValueError(f"expected features of {spec.sources} channels, this batch carries {found.shape[-1]}")
        return found

    def _root_depth(self, spec: InputSpec) -> Float[Tensor, "batch frames 1"]:
        root = self.skeleton.root
        return _present(self.depth, "depth at the joints", spec)[..., root : root + 1]


# What a batch holds of each frame of a window; the rest belongs to the window as a whole.
_KNOWN = "_usable_on_host"  # where a batch keeps the numbers that `usable` has on its device
_BY_FRAME = ("joints_3d", "joints_2d", "depth", "confidence", "depth_spread", "detection_error", "joint_features")


def finite_rows(poses: PoseBatch) -> Bool[Tensor, " batch"]:
    """Whether all that a lifter would be given or asked of a row is finite."""
    parts = [poses.joints_3d, poses.joints_2d, poses.depth, poses.depth_spread, poses.confidence]
    return torch.stack([part.flatten(1).isfinite().all(1) for part in parts if part is not None]).all(0)


def _present(value: Tensor | None, what: str, spec: InputSpec) -> Tensor:
    if value is None:
        raise ValueError(
            f"inputs={spec.channels} dscale2d={spec.dscale2d} need {what}, but this batch carries none; "
            "render it first (RenderPool.submit) or choose inputs=xy dscale2d=off"
        )
    return value
