"""Depth at the joints of poses: fit the body here, have it drawn by the pool, bring the answer home in order."""

import hashlib
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from dg.body.base import Body
from dg.pose.batch import PoseBatch
from render_workers.base import RenderAnswer, RenderPool, RenderRequest
from render_workers.cache import DepthCache

CHUNK = 1024


@dataclass(frozen=True)
class PendingDepth:
    """Poses on their way. `result()` waits for the depth of those rows that were worth drawing."""

    poses: PoseBatch
    rows: Int[Tensor, " drawn"]
    future: "Future[RenderAnswer] | None"

    def result(self) -> PoseBatch:
        """The poses with depth; rows that were not drawn, or were quarantined, are invalid and carry their own z,
        so that every number stays finite."""
        depth = self.poses.joints_3d[..., 2].clone()
        valid = torch.zeros_like(self.poses.valid)
        if self.future is not None:
            answer = self.future.result()
            drawn = torch.from_numpy(answer.depth.copy()).to(depth)
            fine = torch.from_numpy(answer.valid.copy()).to(valid.device) & drawn.isfinite().all(-1)
            depth[self.rows[fine], 0] = drawn[fine]
            valid[self.rows] = fine
        return self.poses.replace(depth=depth, valid=valid)


class LiveDepth:
    """The trainer's side of rendering. Single-frame: the frames axis of its batches is 1."""

    def __init__(self, body: Body, pool: RenderPool, worker_digest: str, cache: Path | None) -> None:
        self.body, self.pool, self.worker_digest = body, pool, worker_digest
        self.cache = None if cache is None else DepthCache(cache)

    def submit(self, poses: PoseBatch, seed: int, reference: PoseBatch | None = None) -> PendingDepth:
        """Send the valid poses off. seed: of this batch; each row's noise depends on it and the row alone.

        reference: the un-augmented poses of the same rows, for `bone_scale=relative`.
        """
        rows = poses.valid.nonzero()[:, 0]
        if len(rows) == 0:
            return PendingDepth(poses, rows, None)
        joints = poses.joints_3d[rows, 0]
        before = None if reference is None else reference.joints_3d[rows, 0].cpu()
        request = RenderRequest(
            body_pose=self.body.fit(joints.cpu(), poses.skeleton, before),
            camera=poses.camera[rows].to("cpu"),
            joints_2d=poses.joints_2d[rows, 0].cpu(),
            keys=_pose_keys(seed, rows.cpu()),
        )
        return PendingDepth(poses, rows, self.pool.submit(request))

    def of_dataset(self, poses: PoseBatch, digest: str) -> PoseBatch:
        """Depth of every pose of a data set, drawn once and cached under its content and the worker's settings."""
        key = hashlib.blake2b(
            f"{digest}/{poses.skeleton.name}/{self.worker_digest}".encode(), digest_size=16
        ).hexdigest()
        if self.cache is not None:
            cached = self.cache.load(key, (len(poses), len(poses.skeleton)))
            if cached is not None:
                depth = torch.from_numpy(cached)[:, None].to(poses.joints_3d)
                return _with_depth(poses, depth)
        depth = self._draw_all(poses, seed=int(key[:15], 16))
        if self.cache is not None:
            self.cache.save(key, depth[:, 0].cpu().numpy())
        return _with_depth(poses, depth)

    def _draw_all(self, poses: PoseBatch, seed: int) -> Tensor:
        """Depth `[batch, 1, joints]`, NaN where a pose could not be drawn; chunks are sent ahead of the answers."""
        done: list[Tensor] = []
        waiting: deque[PendingDepth] = deque()
        for start in range(0, len(poses), CHUNK):
            chunk = poses[start : start + CHUNK]
            waiting.append(self.submit(chunk, seed + start))
            if len(waiting) > 8:
                done.append(_depth_or_nan(waiting.popleft().result()))
        done += [_depth_or_nan(pending.result()) for pending in waiting]
        return torch.cat(done)


def _depth_or_nan(drawn: PoseBatch) -> Tensor:
    assert drawn.depth is not None
    return torch.where(drawn.valid[:, None, None], drawn.depth, torch.nan)


def _with_depth(poses: PoseBatch, depth: Tensor) -> PoseBatch:
    """Attach depth; a pose without one becomes invalid and carries its own z."""
    fine = depth.isfinite().flatten(1).all(-1)
    filled = torch.where(fine[:, None, None], depth, poses.joints_3d[..., 2])
    return poses.replace(depth=filled, valid=poses.valid & fine)


def _pose_keys(seed: int, rows: Int[Tensor, " drawn"]) -> Int[Tensor, " drawn"]:
    """One number a pose from the batch's seed and its row: a row's noise does not depend on the rows beside it."""
    return (seed % (1 << 31)) * (1 << 31) + rows.long()
