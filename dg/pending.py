"""Proposals in flight as plain tensors, so that a checkpoint can carry them and loads with `weights_only=True`."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.skeleton import Skeleton


def save_pending(in_flight: Sequence[tuple[StepKey, PoseBatch | None]]) -> list[dict[str, Any]]:
    """One dictionary of tensors a proposal, with the number of its batch."""
    return [{"batch": key.batch, "poses": None if p is None else _pack(p)} for key, p in in_flight]


def load_pending(
    saved: Sequence[dict[str, Any]], skeleton: Skeleton, device: torch.device
) -> list[tuple[int, PoseBatch | None]]:
    """The inverse of `save_pending`."""
    return [(s["batch"], None if s["poses"] is None else _unpack(s["poses"], skeleton).to(device)) for s in saved]


def _pack(poses: PoseBatch) -> dict[str, Any]:
    packed = {f.name: getattr(poses, f.name) for f in fields(poses) if f.name not in ("camera", "skeleton")}
    packed["camera"] = {f.name: getattr(poses.camera, f.name).cpu() for f in fields(Camera)}
    return {k: v.cpu() if isinstance(v, torch.Tensor) else v for k, v in packed.items()}


def _unpack(packed: dict[str, Any], skeleton: Skeleton) -> PoseBatch:
    return PoseBatch(**(packed | {"camera": Camera(**packed["camera"]), "skeleton": skeleton}))
