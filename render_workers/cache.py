"""Depth of un-augmented poses, kept on disk under the digest of what it was rendered from.

A pose of 16 joints takes 64 bytes of depth, as detections 384. Features are kept beside it as float16, 2 bytes for each
joint and channel: 12,288 bytes with the 384 channels of a ViT-S depth network, 36,864 with the 768 of a ViT-B pose
network besides.
"""

import hashlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from render_workers.base import RenderAnswer, RenderRequest, check_interrupt

_logger = logging.getLogger(__name__)
Render = Callable[[RenderRequest], RenderAnswer]


LOCK_POLL_S = 0.2


class DepthCache:
    """Cache of rendered depth, one file for each request; and, to find a data set at once, one for all of its depth.

    A request is found again only with the same poses in the same order and portions: other portions are other files,
    rendered anew, and right all the same. A file that is damaged, cut short or of another shape is rendered again,
    never trusted. Files appear whole or not at all, so that several processes may share a folder.

    Args:
        folder: folder of the files; it is made where it does not exist.
        spec_digest: `WorkerSpec.digest()` of the renderer.
        features: channels of the features of its answers, 0 where they have none.
    """

    def __init__(self, folder: Path, spec_digest: str, features: int = 0) -> None:
        self.folder, self.spec_digest, self.features = Path(folder), spec_digest, features
        self.hits = self.misses = 0
        self.warn: Callable[[str], object] = _logger.warning
        self._full = False

    def key(self, request: RenderRequest) -> str:
        """Digest of poses, cameras, joints, keys and renderer."""
        packed = request.pack()
        words = f"{self.spec_digest}{packed.skeleton}{packed.detect}{packed.rows.dtype.descr}"
        return hashlib.sha256(words.encode() + packed.rows.tobytes()).hexdigest()

    @contextmanager
    def turn(self, name: str, interrupt: threading.Event | None = None) -> Iterator[None]:
        """Wait until no other process renders what `name` stands for, such as a data set's digest, and let none begin.

        Raises RenderInterruptedError where `interrupt` is set while it waits.

        The lock is the operating system's: it goes with its holder, however that dies. Where the folder's file system
        has none, nothing is locked: then two may render the same, and each still stores what is right.
        """
        digest = hashlib.sha256(f"{self.spec_digest}/{name}".encode()).hexdigest()
        path = self.folder / "locks" / digest[:32]
        lock = FileLock(path, fallback_to_soft=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(poll_interval=LOCK_POLL_S, cancel_check=None if interrupt is None else interrupt.is_set)
        except Timeout:
            check_interrupt(interrupt)
            raise
        except OSError:
            yield
            return
        try:
            yield
        finally:
            lock.release()

    def get(self, request: RenderRequest, render: Render) -> RenderAnswer:
        """The stored answer, else `render`'s, which is stored unless it lacks poses."""
        stored = self.load(request)
        if stored is not None:
            return stored
        answer = render(request)
        self.store(request, answer)
        return answer

    def load(self, request: RenderRequest) -> RenderAnswer | None:
        """The stored answer, or None."""
        stored = _load(self._path(request), request.answer_shape, self.features)
        self.hits += stored is not None
        self.misses += stored is None
        return stored

    def store(self, request: RenderRequest, answer: RenderAnswer) -> None:
        """Keep an answer unless it lacks poses: they may have met a passing fault and deserve another try.

        A folder that takes no more (full, read-only) costs speed and not the run: `warn` is told, once.
        """
        self._store(self._path(request), answer)

    def _store(self, path: Path, answer: RenderAnswer) -> None:
        if self._full or not answer.valid.all():
            return
        try:
            _store(path, answer)
        except OSError as error:
            self._full = True
            self.warn(
                f"warning: depth is not kept any more in {self.folder}: {error.strerror or error}. The run goes on and "
                "draws what it needs; make room there, or give cache=DIR or cache=off"
            )

    def set_key(self, words: str, arrays: Sequence[np.ndarray]) -> str:
        """Digest of a whole data set and the renderer.

        Args:
            words: what decides its depth besides its numbers.
            arrays: its poses and cameras.
        """
        digest = hashlib.sha256(f"{self.spec_digest} {words}".encode())
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def load_set(self, key: str, shape: tuple[int, ...]) -> RenderAnswer | None:
        """The stored depth of a whole data set, or None."""
        stored = _load(self._set_path(key), shape, 0)
        self.hits += stored is not None
        return stored

    def store_set(self, key: str, answer: RenderAnswer) -> None:
        """Keep the depth of a whole data set in one file, as `store` does, beside the files of its requests."""
        self._store(self._set_path(key), answer)

    def _set_path(self, key: str) -> Path:
        return self.folder / "sets" / f"{key}.npz"

    def _path(self, request: RenderRequest) -> Path:
        return self.folder / f"{self.key(request)}.npz"


def _load(path: Path, shape: tuple[int, ...], channels: int) -> RenderAnswer | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            depth, features = file["depth"], file["features"] if channels else None
    except Exception:  # a damaged archive raises many kinds: BadZipFile, NotImplementedError, RuntimeError, ...
        return None
    if not _is_whole(depth, np.float32, shape):
        return None
    if features is not None and not _is_whole(features, np.float16, (*shape[:2], channels)):
        return None
    return RenderAnswer(depth, np.ones(len(depth), bool), features=features)


def _is_whole(values: np.ndarray, kind: type[np.floating], shape: tuple[int, ...]) -> bool:
    return values.dtype == kind and values.shape == shape and bool(np.isfinite(values).all())


def _store(path: Path, answer: RenderAnswer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.{os.getpid()}.tmp")
    arrays: dict[str, Any] = {"depth": np.ascontiguousarray(answer.depth, np.float32)}
    if answer.features is not None:
        arrays["features"] = np.ascontiguousarray(answer.features, np.float16)
    try:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
