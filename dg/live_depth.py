"""Depth at the joints of poses: fit the body here, have it drawn by the pool, bring the answer home in order."""

import hashlib
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from dg.body.base import Body
from dg.pose.batch import PoseBatch
from render_workers.base import RenderAnswer, RenderPool, RenderRequest
from render_workers.cache import DepthCache

CHUNK = 1024
AHEAD = 8  # chunks on their way while a data set is drawn


@dataclass(frozen=True)
class PendingDepth:
    """Poses on their way. `result()` waits for the depth of those rows that were worth drawing."""

    poses: PoseBatch
    rows: Int[Tensor, " drawn"]
    request: RenderRequest | None
    future: "Future[RenderAnswer] | None"

    def result(self) -> PoseBatch:
        """The poses with depth; rows that were not drawn, or were quarantined, are invalid and carry their own z,
        so that every number stays finite.
        """
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

    def __init__(self, body: Body, pool: RenderPool, cache: DepthCache | None) -> None:
        self.body, self.pool, self.cache = body, pool, cache

    def submit(
        self, poses: PoseBatch, seed: int, reference: PoseBatch | None = None, cache: DepthCache | None = None
    ) -> PendingDepth:
        """Send the valid poses off. seed: of this batch; each row's noise depends on it and the row alone.

        reference: the un-augmented poses of the same rows, for `bone_scale=relative`. cache: where to look first.
        """
        rows = poses.valid.nonzero()[:, 0]
        if len(rows) == 0:
            return PendingDepth(poses, rows, None, None)
        before = None if reference is None else reference.joints_3d[rows, 0].cpu()
        request = RenderRequest(
            body_pose=self.body.fit(poses.joints_3d[rows, 0].cpu(), poses.skeleton, before),
            camera=poses.camera[rows].to("cpu"),
            joints_2d=poses.joints_2d[rows, 0].cpu(),
            keys=_pose_keys(seed, rows.cpu()),
        )
        stored = None if cache is None else cache.load(request)
        if stored is None:
            return PendingDepth(poses, rows, request, self.pool.submit(request))
        future: Future[RenderAnswer] = Future()
        future.set_result(stored)
        return PendingDepth(poses, rows, None, future)

    def of_dataset(self, poses: PoseBatch, digest: str) -> PoseBatch:
        """Depth of every pose of a data set, drawn once and kept in the cache; chunks are sent ahead of the answers.

        digest: of the data set; a noisy depth source draws from it, so that every run sees the same depth.
        """
        seed = int.from_bytes(hashlib.blake2b(digest.encode(), digest_size=7).digest(), "little")
        done: list[PoseBatch] = []
        waiting: deque[PendingDepth] = deque()
        for start in range(0, len(poses), CHUNK):
            waiting.append(self.submit(poses[start : start + CHUNK], seed + start, cache=self.cache))
            if len(waiting) > AHEAD:
                done.append(self._keep(waiting.popleft()))
        done += [self._keep(pending) for pending in waiting]
        return PoseBatch.concatenate(done)

    def _keep(self, pending: PendingDepth) -> PoseBatch:
        drawn = pending.result()
        if self.cache is not None and pending.request is not None and pending.future is not None:
            self.cache.store(pending.request, pending.future.result())
        return drawn


def _pose_keys(seed: int, rows: Int[Tensor, " drawn"]) -> Int[Tensor, " drawn"]:
    """One number a pose from the batch's seed and its row: a row's noise does not depend on the rows beside it."""
    return (seed % (1 << 31)) * (1 << 31) + rows.long()
