"""Fake render workers, importable in Ray's processes: their depth of a joint is a sum that any test can repeat."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_17
from render_workers.base import RenderAnswer, RenderRequest

POISON_KEY = 666
ROOT = str(Path(__file__).resolve().parents[1])


def make_request(rows: int, seed: int = 0, joints: int = 17, poison: tuple[int, ...] = ()) -> RenderRequest:
    """Random numbers in the shape of poses; rows in `poison` carry the key at which the poisoned fakes fail."""
    generator = torch.Generator().manual_seed(seed)
    joints_3d = torch.randn(rows, joints, 3, generator=generator)
    keys = torch.arange(rows) + 1000 * (seed + 1)
    keys[list(poison)] = POISON_KEY
    focal = 2 + torch.rand(rows, 2, generator=generator)
    camera = Camera(focal, torch.zeros(rows, 2), torch.zeros(rows, 5), torch.ones(rows, 2))
    joints_2d = torch.randn(rows, joints, 2, generator=generator)
    return RenderRequest(joints_3d, H36M_17, camera, joints_2d, keys)


def depth_of(request: RenderRequest) -> np.ndarray:
    """What every fake answers."""
    parts = request.joints_2d.sum(-1) + request.joints_3d[:, :1].sum(-1) + request.camera.focal[:, :1]
    return parts.numpy()


class FakeWorker:
    """Answers `depth_of` after `seconds`; for a poisoned pose it does what `poison` says: raise | exit | hang | nan."""

    def __init__(self, seconds: float = 0.0, poison: str = "raise") -> None:
        self.seconds, self.poison = seconds, poison

    def ready(self) -> None:
        pass

    def depth(self, request: RenderRequest) -> RenderAnswer:
        if self.seconds:
            time.sleep(self.seconds)
        depth = depth_of(request)
        bad = (request.keys == POISON_KEY).numpy()
        if bad.any():
            self._fall_ill(depth, bad)
        return RenderAnswer(depth, np.ones(len(request), bool), {"seconds": self.seconds})

    def _fall_ill(self, depth: np.ndarray, bad: np.ndarray) -> None:
        if self.poison == "raise":
            raise ValueError("this pose cannot be drawn")
        if self.poison == "exit":
            os._exit(7)
        if self.poison == "hang":
            time.sleep(3600)
        depth[bad] = np.nan


@dataclass(frozen=True)
class FakeSpec:
    """Builds a FakeWorker. once: a file; the illness breaks out only until that file exists (a transient fault)."""

    seconds: float = 0.0
    poison: str = "raise"
    once: str = ""

    def build(self) -> FakeWorker:
        if self.once:
            return _IllOnce(self.seconds, self.poison, self.once)
        return FakeWorker(self.seconds, self.poison)


class _IllOnce(FakeWorker):
    def __init__(self, seconds: float, poison: str, once: str) -> None:
        super().__init__(seconds, poison)
        self._once = Path(once)

    def _fall_ill(self, depth: np.ndarray, bad: np.ndarray) -> None:
        if not self._once.exists():
            self._once.touch()
            super()._fall_ill(depth, bad)


@dataclass(frozen=True)
class BrokenSpec:
    """Cannot be built."""

    def build(self) -> FakeWorker:
        raise FileNotFoundError("no body at body.npz")
