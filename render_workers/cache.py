"""Depth of un-augmented poses, kept on disk under the digest of what it was rendered from."""

import hashlib
import os
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from render_workers.base import RenderAnswer, RenderRequest

Render = Callable[[RenderRequest], RenderAnswer]


class DepthCache:
    """One file a request. folder: made when missing. spec_digest: `WorkerSpec.digest()` of the renderer.

    A file that is damaged, cut short or of another shape is rendered again, never trusted. Files appear whole or not
    at all, so that several processes may share a folder.
    """

    def __init__(self, folder: Path, spec_digest: str) -> None:
        self.folder, self.spec_digest = Path(folder), spec_digest
        self.hits = self.misses = 0

    def key(self, request: RenderRequest) -> str:
        """Digest of poses, cameras, joints, keys and renderer."""
        digest = hashlib.sha256(self.spec_digest.encode())
        for name, value in sorted(request.to_arrays().items()):
            digest.update(f"{name}{value.dtype.str}{value.shape}".encode())
            digest.update(value.tobytes())
        return digest.hexdigest()

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
        stored = _load(self._path(request), tuple(request.joints_2d.shape[:2]))
        self.hits += stored is not None
        self.misses += stored is None
        return stored

    def store(self, request: RenderRequest, answer: RenderAnswer) -> None:
        """Keep an answer unless it lacks poses: they may have met a passing fault and deserve another try."""
        if answer.valid.all():
            _store(self._path(request), answer)

    def _path(self, request: RenderRequest) -> Path:
        return self.folder / f"{self.key(request)}.npz"


def _load(path: Path, shape: tuple[int, ...]) -> RenderAnswer | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            depth = file["depth"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if depth.dtype != np.float32 or depth.shape != shape or not np.isfinite(depth).all():
        return None
    return RenderAnswer(depth, np.ones(len(depth), bool))


def _store(path: Path, answer: RenderAnswer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez(file, depth=np.ascontiguousarray(answer.depth, np.float32))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
