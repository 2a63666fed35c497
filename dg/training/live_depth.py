"""Depth, and features, at the joints of poses: fit the body here, have it drawn by the pool, bring the answer home in
order.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.body.base import Body
from dg.datasets.base import NOT_DRAWN, PoseDataset
from dg.pose.batch import PoseBatch
from dg.pose.camera import RATIO_LIMIT
from render_workers.base import (
    DetectionRequest,
    RenderAnswer,
    RenderInterruptedError,
    RenderPool,
    RenderRequest,
    check_interrupt,
)
from render_workers.cache import DepthCache

CHUNK = 1024
NEAREST_M = 0.3  # of a joint that can be drawn
AHEAD = 8  # chunks on their way while a data set is drawn


@dataclass(frozen=True)
class PendingDepth:
    """Poses on their way. `result()` waits for the depth of those rows that were worth drawing.

    Attributes:
        rows: the poses, or windows of several frames, that were sent; their frames travel one after another.
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
        if self.future is not None:
            answer = self.future.result()
            drawn = torch.from_numpy(answer.depth.copy()).to(depth).unflatten(0, (len(self.rows), -1))
            known = torch.from_numpy(answer.valid.copy()).to(valid.device).view(len(self.rows), -1)
            fine = (known & drawn.isfinite().flatten(2).all(-1)).all(-1)
            depth[self.rows[fine]] = drawn[fine]
            valid[self.rows] = fine
            if features is not None and answer.valid.any():
                read = torch.from_numpy(_features_of(answer)).to(features).unflatten(0, (len(self.rows), -1))
                features[self.rows[fine]] = read[fine]
        if features is not None:
            poses = poses.replace(joint_features=features)
        return _detected(poses, depth, valid) if self.detect else poses.replace(depth=depth, valid=valid)

    def _no_features(self) -> Tensor | None:
        shape, device = self.poses.joints_3d.shape[:3], self.poses.joints_3d.device
        return torch.zeros(*shape, self.features, dtype=torch.float16, device=device) if self.features else None


class LiveDepth:
    """The trainer's side of rendering. Of windows every frame is drawn by itself, however many windows hold it.

    Args:
        detect: whether poses come back as a detector sees them (`render_workers.uadd`): those that have a confidence
            keep their 2D as the detection that it is, the others get synthetic detections.
        features: channels of the features that the pool's workers read (`render_workers.joint_features`), which then
            come with depth.

    Attributes:
        stop: once it is set, drawing a whole data set ends with RenderInterruptedError; single batches are drawn.
    """

    def __init__(
        self, body: Body, pool: RenderPool, cache: DepthCache | None, detect: bool = False, features: int = 0
    ) -> None:
        self.body, self.pool, self.cache, self.detect, self.features = body, pool, cache, detect, features
        self.stop: threading.Event | None = None

    def submit(
        self, poses: PoseBatch, seed: int, reference: PoseBatch | None = None, cache: DepthCache | None = None
    ) -> PendingDepth:
        """Send the valid poses to the pool.

        Args:
            poses: single poses or windows; only valid rows are sent.
            seed: seed of this batch; a frame's noise depends on it, the row and the frame alone.
            reference: the un-augmented poses of the same rows, for `bone_scale=relative`.
            cache: where to look first.
        """
        rows = poses.valid.nonzero()[:, 0]
        if len(rows) == 0:
            return self._pending(poses, rows)
        request = self._request(poses, rows, seed, reference)
        stored = None if cache is None else cache.load(request)
        if stored is not None:
            return self._arrived(poses, rows, stored)
        return self._pending(poses, rows, request, self.pool.submit(request))

    def of_dataset(self, poses: PoseBatch, digest: str) -> PoseBatch:
        """Depth of every pose of a data set, drawn once and kept in the cache, with what was drawn before a `stop`.

        Everyone in front of the camera is drawn, whoever leaves the frame included. What cannot be drawn gets the mean
        offset between depth and joint that the drawn poses have: its own z alone is ground truth, which no lifter may
        see at test time. `valid` is false then.

        Args:
            poses: poses of the data set.
            digest: digest of the data set; a noisy depth source draws from it, so that every run sees the same depth.
                Of several processes that share the cache one draws, and the others wait for what it stores.
        """
        return self._of_dataset(poses, digest)[0]

    def with_depth(self, dataset: PoseDataset, poses: PoseBatch) -> PoseDataset:
        """A data set with the depth of its poses, and among its notes how many could not be drawn.

        Args:
            dataset: What the poses are.
            poses: Its poses, on the device where depth is wanted.
        """
        drawn, lost = self._of_dataset(poses, dataset.digest)
        return replace(dataset, poses=drawn, notes=dataset.notes | {NOT_DRAWN: str(lost)})

    def _of_dataset(self, poses: PoseBatch, digest: str) -> tuple[PoseBatch, int]:
        """With depth, and how many poses could not be drawn."""
        seed = int.from_bytes(hashlib.blake2b(digest.encode(), digest_size=7).digest(), "little")
        asked = poses.replace(valid=_in_front(poses))
        drawn = None if self.cache is None else self._stored(asked, seed, self.cache)
        if drawn is None and self.cache is None:
            drawn = self._draw(asked, seed, None)
        elif drawn is None and self.cache is not None:
            with self.cache.turn(digest, self.stop):
                drawn = self._draw(asked, seed, self.cache)
        assert drawn is not None
        return _completed(drawn, poses.valid), int((~drawn.valid).sum())

    def _request(
        self, poses: PoseBatch, rows: Int[Tensor, " drawn"], seed: int, reference: PoseBatch | None = None
    ) -> RenderRequest:
        frames = poses.joints_3d.shape[1]
        numbers = rows[:, None] * frames + torch.arange(frames, device=rows.device)
        before = None if reference is None else reference.joints_3d[rows].flatten(0, 1).cpu()
        return RenderRequest(
            body_pose=self.body.fit(poses.joints_3d[rows].flatten(0, 1).cpu(), poses.skeleton, before),
            camera=poses.camera[rows.repeat_interleave(frames)].to("cpu"),
            joints_2d=poses.joints_2d[rows].flatten(0, 1).cpu(),
            keys=_pose_keys(seed, numbers.flatten().cpu()),
            detection=_detection_request(poses[rows]) if self.detect else None,
        )

    def _stored(self, poses: PoseBatch, seed: int, cache: DepthCache) -> PoseBatch | None:
        """A data set's depth where the cache has all of it; no lock, so that many may read at once."""
        done: list[PoseBatch] = []
        for start, chunk in _chunks(poses):
            check_interrupt(self.stop)
            rows = chunk.valid.nonzero()[:, 0]
            pending = self._pending(chunk, rows)
            if len(rows):
                stored = cache.load(self._request(chunk, rows, seed + start))
                if stored is None:
                    return None
                pending = self._arrived(chunk, rows, stored)
            done.append(pending.result())
        return PoseBatch.concatenate(done)

    def of_pass(self, poses: PoseBatch, seed: int) -> PoseBatch:
        """Depth of every valid pose of a moved source, which will not be seen again and is not kept."""
        return self._draw(poses, seed, None)

    def _draw(self, poses: PoseBatch, seed: int, cache: DepthCache | None) -> PoseBatch:
        """Depth of many poses; chunks that the cache lacks are sent ahead of the answers."""
        done: list[PoseBatch] = []
        waiting: deque[PendingDepth] = deque()
        with self._interruptible(waiting, cache):
            for start, chunk in _chunks(poses):
                check_interrupt(self.stop)
                waiting.append(self.submit(chunk, seed + start, cache=cache))
                if len(waiting) > AHEAD:
                    done.append(self._keep(waiting.popleft(), cache))
            while waiting:
                done.append(self._keep(waiting.popleft(), cache))
        return PoseBatch.concatenate(done)

    @contextmanager
    def _interruptible(self, waiting: deque[PendingDepth], cache: DepthCache | None) -> Iterator[None]:
        """The pool gives up waiting once `stop` is set; what has arrived by then is kept."""
        self.pool.interrupt = self.stop
        try:
            yield
        except RenderInterruptedError:
            for pending in waiting:
                if pending.future is not None and pending.future.done():
                    self._keep(pending, cache)
            raise
        finally:
            self.pool.interrupt = None

    def _pending(
        self,
        poses: PoseBatch,
        rows: Int[Tensor, " drawn"],
        request: RenderRequest | None = None,
        future: "Future[RenderAnswer] | None" = None,
    ) -> PendingDepth:
        return PendingDepth(poses, rows, request, future, self.detect, self.features)

    def _arrived(self, poses: PoseBatch, rows: Int[Tensor, " drawn"], answer: RenderAnswer) -> PendingDepth:
        future: Future[RenderAnswer] = Future()
        future.set_result(answer)
        return self._pending(poses, rows, None, future)

    @staticmethod
    def _keep(pending: PendingDepth, cache: DepthCache | None) -> PoseBatch:
        drawn = pending.result()
        if cache is not None and pending.request is not None and pending.future is not None:
            cache.store(pending.request, pending.future.result())
        return drawn


def _in_front(poses: PoseBatch) -> Bool[Tensor, " batch"]:
    """The poses that can be drawn: all of them lies before the camera, within what its lens can bend."""
    joints = poses.joints_3d.flatten(1, 2)
    ahead = joints[..., 2] > NEAREST_M
    return (ahead & (joints[..., :2].abs() <= RATIO_LIMIT * joints[..., 2:]).all(-1)).all(-1)


def _completed(drawn: PoseBatch, valid: Bool[Tensor, " batch"]) -> PoseBatch:
    """Drawn poses with the depth of the others made up from what the drawn ones have on average.

    valid: which poses may be trained on; of these, those that were drawn still may.
    """
    lost, depth, spread = ~drawn.valid, drawn.depth, drawn.depth_spread
    if lost.any() and drawn.valid.any() and depth is not None:
        z = drawn.joints_3d[..., 2]
        offset = (depth - z)[drawn.valid].flatten(0, 1).mean(0)
        depth = torch.where(lost[:, None, None], z + offset, depth)
        if spread is not None:
            usual = spread[drawn.valid].flatten(0, 1).mean(0)
            spread = torch.where(lost[:, None, None, None], usual, spread)
    return drawn.replace(depth=depth, depth_spread=spread, valid=valid & drawn.valid)


def _chunks(poses: PoseBatch) -> Iterator[tuple[int, PoseBatch]]:
    return ((start, poses[start : start + CHUNK]) for start in range(0, len(poses), CHUNK))


def _detection_request(poses: PoseBatch) -> DetectionRequest:
    """Of valid poses; the frames of windows one after another."""
    ends = poses.joints_2d[:, :, [poses.skeleton.root, poses.skeleton.index("thorax")]]
    torso = (ends[:, :, 1] - ends[:, :, 0]).norm(dim=-1)
    confidence = None if poses.confidence is None else poses.confidence.flatten(0, 1).cpu()
    return DetectionRequest(poses.joints_3d[..., 2].flatten(0, 1).cpu(), torso.flatten().cpu(), confidence)


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


def _pose_keys(seed: int, rows: Int[Tensor, " drawn"]) -> Int[Tensor, " drawn"]:
    """One number a pose from the batch's seed and its place in the batch, frames of windows counted one by one: its
    noise does not depend on the rows beside it.
    """
    return (seed % (1 << 31)) * (1 << 31) + rows.long()
