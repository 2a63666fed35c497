"""Depth, and features, at the joints of poses: fit the body here, have it drawn by the pool, bring the answer home in
order.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from dg.body.base import Body
from dg.datasets.base import NOT_DRAWN, PoseDataset
from dg.pose.batch import PoseBatch
from dg.pose.camera import RATIO_LIMIT, Camera
from dg.pose.devices import fetch
from dg.training.pending_depth import DepartingDepth, PendingDepth
from render_workers.base import (
    READINGS,
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
        self._begun: Future[tuple[PoseBatch, int]] | None = None

    def submit(
        self, poses: PoseBatch, seed: int, reference: PoseBatch | None = None, cache: DepthCache | None = None
    ) -> PendingDepth:
        """Send the valid poses to the pool.

        Args:
            poses: single poses or windows; only valid rows are sent.
            seed: seed of this batch; a frame's noise depends on it, the row and the frame alone.
            reference: the un-augmented poses of the same rows, for bodies with `uses_reference`.
            cache: where to look first.
        """
        return self._departing(poses, seed, reference, cache).sent()

    def submit_later(self, poses: PoseBatch, seed: int, reference: PoseBatch | None = None) -> DepartingDepth:
        """Begin to fetch poses from a GPU, for whoever gives it more work before they are sent; from the CPU they are
        sent at once.

        Args:
            poses: as `submit` takes them, as are the others.
            seed: of this batch.
            reference: the un-augmented poses of the same rows.
        """
        departing = self._departing(poses, seed, reference, None)
        if poses.valid.device.type == "cpu":
            departing.sent()
        return departing

    def _departing(
        self, poses: PoseBatch, seed: int, reference: PoseBatch | None, cache: DepthCache | None
    ) -> DepartingDepth:
        arrived = _to_host(self._parts(poses, reference))

        def send() -> PendingDepth:
            rows, parts = _drawn(arrived())
            if len(rows) == 0:
                return self._pending(poses, rows)
            request = self._request(poses, rows, parts, seed, reference)
            stored = None if cache is None else cache.load(request)
            if stored is not None:
                return self._arrived(poses, rows, stored)
            return self._pending(poses, rows, request, self.pool.submit(request))

        return DepartingDepth(send)

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

    def begin(self, dataset: PoseDataset, poses: PoseBatch) -> None:
        """Begin to draw a data set in a thread, beside what the caller does next. The next call must be `with_depth` of
        the same data set, which waits for the rest, or `close`.

        Args:
            dataset: what the poses are.
            poses: its poses, on the device where depth is wanted.
        """
        drawn: Future[tuple[PoseBatch, int]] = Future()

        def draw() -> None:
            try:
                drawn.set_result(self._of_dataset(poses, dataset.digest))
            except BaseException as error:  # for whoever asks for the depth
                drawn.set_exception(error)

        self._begun = drawn
        threading.Thread(target=draw, name="draw", daemon=True).start()

    def with_depth(self, dataset: PoseDataset, poses: PoseBatch) -> PoseDataset:
        """A data set with the depth of its poses, and among its notes how many could not be drawn.

        Args:
            dataset: What the poses are.
            poses: Its poses, on the device where depth is wanted.
        """
        begun, self._begun = self._begun, None
        drawn, lost = self._of_dataset(poses, dataset.digest) if begun is None else begun.result()
        return replace(dataset, poses=drawn, notes=dataset.notes | {NOT_DRAWN: str(lost)})

    def close(self) -> None:
        """Give up what was begun, and close the pool."""
        if self._begun is not None:
            self.stop = self.pool.interrupt = threading.Event()
            self.stop.set()
            wait([self._begun])
        self.pool.close()

    def _of_dataset(self, poses: PoseBatch, digest: str) -> tuple[PoseBatch, int]:
        """With depth, and how many poses could not be drawn."""
        seed = int.from_bytes(hashlib.blake2b(digest.encode(), digest_size=7).digest(), "little")
        asked = poses.replace(valid=_in_front(poses))
        if self.cache is None:
            drawn = _joined(self._draw(asked, seed, None))
        else:
            drawn = self._cached(asked, seed, digest, self.cache)
        return _completed(drawn, poses.valid), int((~drawn.valid).sum())

    def _cached(self, poses: PoseBatch, seed: int, digest: str, cache: DepthCache) -> PoseBatch:
        """Depth of a data set from the cache, or drawn for it: as one file, else chunk by chunk."""
        rows = poses.valid.cpu().nonzero()[:, 0]
        # Features are hundreds of numbers a joint: they stay in the chunks' files alone.
        key = "" if self.features or not len(rows) else self._set_key(poses, seed, cache)
        if key:
            frames, joints = poses.joints_3d.shape[1:3]
            shape = (len(rows) * frames, joints)
            stored = cache.load_set(key, (*shape, READINGS) if self.detect else shape)
            if stored is not None:
                return self._arrived(poses, rows, stored).result()
        parts = self._stored(poses, seed, cache)
        if parts is None:
            with cache.turn(digest, self.stop):
                parts = self._draw(poses, seed, cache)
        if key:
            answers = [part.future.result() for part in parts if part.future is not None]
            depth, valid = (np.concatenate([getattr(a, name) for a in answers]) for name in ("depth", "valid"))
            cache.store_set(key, RenderAnswer(depth, valid))
        return _joined(parts)

    def _set_key(self, poses: PoseBatch, seed: int, cache: DepthCache) -> str:
        """Of all that the depth of a data set depends on; no body need be fitted to know it."""
        parts = [poses.valid, poses.joints_3d, poses.joints_2d, poses.confidence]
        parts += [getattr(poses.camera, f.name) for f in fields(Camera)]
        words = f"{self.body.digest} {poses.skeleton} {seed} {CHUNK} {self.detect}"
        return cache.set_key(words, [part.cpu().numpy() for part in parts if part is not None])

    def _parts(self, poses: PoseBatch, reference: PoseBatch | None) -> list[Tensor]:
        """What a request for poses is made from, on their device: which are valid, then what `_request` takes."""
        parts = [poses.valid, poses.joints_3d, poses.joints_2d]
        # Some methods propose for the first rows of their reference alone.
        parts += [reference.joints_3d[: len(poses)]] if reference is not None and self.body.uses_reference else []
        parts += [getattr(poses.camera, f.name) for f in fields(Camera)]
        return parts + ([] if poses.confidence is None else [poses.confidence])

    def _request(
        self,
        poses: PoseBatch,
        rows: Int[Tensor, " drawn"],
        parts: Sequence[Tensor],
        seed: int,
        reference: PoseBatch | None = None,
    ) -> RenderRequest:
        """Of some rows. rows, parts: on the CPU, as `_drawn` returns them."""
        frames = poses.joints_3d.shape[1]
        numbers = rows[:, None] * frames + torch.arange(frames)
        joints_3d, joints_2d, *rest = (part[rows] for part in parts)
        before = None if reference is None or not self.body.uses_reference else rest.pop(0).flatten(0, 1)
        camera = poses.camera.of(Camera(*[part.repeat_interleave(frames, 0) for part in rest[:4]]))
        return RenderRequest(
            joints_3d=joints_3d.flatten(0, 1),
            skeleton=poses.skeleton,
            camera=camera,
            joints_2d=joints_2d.flatten(0, 1),
            keys=_pose_keys(seed, numbers.flatten()),
            reference=before,
            detect=self.detect,
            confidence=rest[4].flatten(0, 1) if self.detect and rest[4:] else None,
        )

    def _stored(self, poses: PoseBatch, seed: int, cache: DepthCache) -> list[PendingDepth] | None:
        """A data set's chunks where the cache has all of them; no lock, so that many may read at once."""
        done: list[PendingDepth] = []
        for start, chunk in _chunks(poses):
            check_interrupt(self.stop)
            rows, parts = _drawn(_to_host(self._parts(chunk, None))())
            pending = self._pending(chunk, rows)
            if len(rows):
                stored = cache.load(self._request(chunk, rows, parts, seed + start))
                if stored is None:
                    return None
                pending = self._arrived(chunk, rows, stored)
            done.append(pending)
        return done

    def of_pass(self, poses: PoseBatch, seed: int) -> PoseBatch:
        """Depth of every valid pose of a moved source, which will not be seen again and is not kept."""
        return _joined(self._draw(poses, seed, None))

    def _draw(self, poses: PoseBatch, seed: int, cache: DepthCache | None) -> list[PendingDepth]:
        """Many poses in chunks, drawn; chunks that the cache lacks are sent ahead of the answers."""
        done: list[PendingDepth] = []
        waiting: deque[PendingDepth] = deque()
        with self._interruptible(waiting, cache):
            for start, chunk in _chunks(poses):
                check_interrupt(self.stop)
                waiting.append(self.submit(chunk, seed + start, cache=cache))
                if len(waiting) > AHEAD:
                    done.append(self._keep(waiting.popleft(), cache))
            while waiting:
                done.append(self._keep(waiting.popleft(), cache))
        return done

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
    def _keep(pending: PendingDepth, cache: DepthCache | None) -> PendingDepth:
        """The same once it has been answered, without the request, which is large."""
        if pending.future is None:
            return pending
        answer = pending.future.result()
        if cache is not None and pending.request is not None:
            cache.store(pending.request, answer)
        return replace(pending, request=None)


def _joined(parts: Sequence[PendingDepth]) -> PoseBatch:
    return PoseBatch.concatenate([part.result() for part in parts])


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


def _drawn(parts: Sequence[Tensor]) -> tuple[Int[Tensor, " drawn"], Sequence[Tensor]]:
    """Numbers of the valid rows, and the other parts; all on the CPU."""
    return parts[0].nonzero()[:, 0], parts[1:]


def _to_host(parts: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to bring tensors to the CPU: what gives them; from a GPU as one block, because each copy costs a wait."""
    return (lambda: list(parts)) if parts[0].device.type == "cpu" else _through_one_block(parts)


def _through_one_block(parts: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    block = fetch(torch.cat([part.flatten().float() for part in parts]))
    kinds = [(part.shape, part.dtype) for part in parts]

    def arrived() -> list[Tensor]:
        pieces = block().split([shape.numel() for shape, _ in kinds])
        return [piece.reshape(shape).to(dtype) for piece, (shape, dtype) in zip(pieces, kinds, strict=True)]

    return arrived


def _pose_keys(seed: int, rows: Int[Tensor, " drawn"]) -> Int[Tensor, " drawn"]:
    """One number a pose from the batch's seed and its place in the batch, frames of windows counted one by one: its
    noise does not depend on the rows beside it.
    """
    return (seed % (1 << 31)) * (1 << 31) + rows.long()
