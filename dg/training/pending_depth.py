"""Poses on their way to the render workers and back: from a GPU first to the host, and with depth home in order."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.pose.batch import PoseBatch
from dg.pose.devices import send
from render_workers.base import RenderAnswer, RenderRequest


@dataclass(frozen=True)
class PendingDepth:
    """Poses on their way. `result()` waits for the depth of those rows that were worth drawing.

    Attributes:
        rows: the poses, or windows of several frames, that were sent, on the CPU; their frames travel one after
            another.
        detect: whether they come back as a detector sees them.
        features: channels of the features that come with it.
    """

    poses: PoseBatch
    rows: Int[Tensor, " drawn"]
    request: RenderRequest | None
    future: "Future[RenderAnswer] | None"
    detect: bool = False
    features: int = 0

    def result(self) -> PoseBatch:
        """The poses with depth; rows that were not drawn, or of which a frame was quarantined, are invalid and carry
        their own z, so that every number stays finite; as detections of no confidence, unless they had some already,
        and with features of zero.
        """
        poses = self.poses
        depth = poses.joints_3d[..., 2].clone()
        if self.detect:
            depth = _undetected(poses)
        valid, features = torch.zeros_like(poses.valid), self._no_features()
        kept = torch.zeros(0, dtype=torch.long)
        if self.future is not None:
            answer, each = self.future.result(), (len(self.rows), -1)
            # Sorted out here and then sent, with row numbers and not masks: the device need not be waited for.
            drawn = torch.from_numpy(answer.depth.copy()).unflatten(0, each)
            known = torch.from_numpy(answer.valid.copy()).unflatten(0, each)
            fine = (known & drawn.isfinite().flatten(2).all(-1)).all(-1).nonzero()[:, 0]
            kept = self.rows[fine]
            places = send(kept, valid.device)
            depth[places] = send(drawn[fine].to(depth.dtype), depth.device)
            valid.index_fill_(0, places, True)
            if features is not None and answer.valid.any():
                read = torch.from_numpy(_features_of(answer)).unflatten(0, each)
                features[places] = send(read[fine].to(features.dtype), features.device)
        if features is not None:
            poses = poses.replace(joint_features=features)
        done = _detected(poses, depth, valid) if self.detect else poses.replace(depth=depth, valid=valid)
        # What was drawn is finite: the workers refuse other poses.
        return done.knowing(None if len(kept) == len(poses) else kept)

    def _no_features(self) -> Tensor | None:
        shape, device = self.poses.joints_3d.shape[:3], self.poses.joints_3d.device
        return torch.zeros(*shape, self.features, dtype=torch.float16, device=device) if self.features else None


class DepartingDepth:
    """Poses that go to the pool once they have come from the trainer's device.

    A GPU computes them when its turn is there. Whoever sends them at once waits for that; whoever gives the GPU other
    work first, and sends them then, does not.

    Args:
        send: fetches the poses and gives them to the pool.
    """

    def __init__(self, send: Callable[[], PendingDepth]) -> None:
        self._left: Callable[[], PendingDepth] | PendingDepth = send

    def sent(self) -> PendingDepth:
        """Send the poses, unless they are on their way."""
        if not isinstance(self._left, PendingDepth):
            self._left = self._left()
        return self._left

    def result(self) -> PoseBatch:
        """As that of `PendingDepth`."""
        return self.sent().result()


def _features_of(answer: RenderAnswer) -> np.ndarray:
    if answer.features is None:
        raise RuntimeError("this run needs features at the joints, but its render workers answered without any")
    return answer.features.copy()


def _undetected(poses: PoseBatch) -> Float[Tensor, "batch frames joints readings"]:
    """The readings of poses that were not drawn: their own z, and no error."""
    z = poses.joints_3d[..., 2]
    confidence = torch.zeros_like(z) if poses.confidence is None else poses.confidence
    return torch.stack([z, z, z, confidence, torch.zeros_like(z), torch.zeros_like(z)], -1)


def _detected(
    poses: PoseBatch, readings: Float[Tensor, "batch frames joints readings"], valid: Bool[Tensor, " batch"]
) -> PoseBatch:
    depth = readings[..., 0].contiguous()
    return poses.replace(
        depth=depth,
        depth_spread=readings[..., 1:3] - depth[..., None],
        confidence=readings[..., 3].contiguous(),
        detection_error=readings[..., 4:].contiguous(),
        valid=valid,
    )
