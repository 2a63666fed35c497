"""Tiny trained runs, and a target whose 2D is detected, for tests of analyses."""

from dataclasses import replace
from pathlib import Path

import torch

from dg.datasets.synthetic import Synthetic
from dg.settings.command_line import parse
from dg.train import run

TINY = [
    "pool=local", "data.clips=4", "data.frames=20", "batch_size=32", "lifter.width=32", "epochs=2", "evaluate_every=2",
    "device=cpu", "threads=1", "render.lookahead=2", "virtual_cameras=1",
    "targets=['synthetic:near?clips=4&frames=20','synthetic:wide?clips=4&frames=20']",
]  # fmt: skip
DETECTED = "tests.analyse.runs:Detected"
TARGET = "detected:near?clips=6&frames=20"


class Detected(Synthetic):
    """Synthetic motion whose 2D is some pixels off, more in later rows, as if a detector had found it."""

    def load(self, split):
        data = super().load(split)
        noise = torch.randn(data.poses.joints_2d.shape, generator=torch.Generator().manual_seed(1))
        worse = torch.linspace(0.001, 0.02, len(data))[:, None, None, None]
        poses = data.poses.replace(joints_2d=data.poses.joints_2d + worse * noise)
        return replace(data, name="detected", poses=poses, source_2d="noisy", digest=f"{data.digest}-noisy")


def train(folder: Path, *words: str, tracking: str = "off") -> Path:
    """One tiny run; returns its folder."""
    given = [*TINY, f"cache={folder.parent.parent / 'cache'}", f"out={folder}", f"tracking.uri={tracking}", *words]
    run(parse(given), quiet=True)
    return folder
