"""Errors of lifted poses: metres in, millimetres and percent out (METHODS 7).

Every metric is one number a frame, in float64, so that any average can be taken afterwards. Both poses are aligned at
the root first; the root's zero error stays in every mean, as PoseAug and PoseDA report it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

PCK_THRESHOLD_MM = 150.0
AUC_THRESHOLDS_MM = tuple(float(mm) for mm in range(0, 151, 5))
_CHUNK = 65_536  # frames at a time: bounds the float64 copies at about 100 MB


def root_aligned_mm(
    predicted: Float[Tensor, "frames joints 3"], target: Float[Tensor, "frames joints 3"], root: int = 0
) -> tuple[Float[Tensor, "frames joints 3"], Float[Tensor, "frames joints 3"]]:
    """Convert both poses to float64 millimetres and move their roots to the origin.

    Args:
        predicted: joints in metres, any frame that `target` shares in orientation.
        target: ground-truth joints in metres, of the same shape.
        root: number of the joint that becomes the origin.

    Returns:
        predicted and target in millimetres relative to the root.

    Raises:
        ValueError: the shapes differ, or a coordinate is not finite; an average over such poses would be no number.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"expected poses of one shape, got {tuple(predicted.shape)} and {tuple(target.shape)}")
    for name, pose in (("predicted", predicted), ("target", target)):
        bad = ~torch.isfinite(pose).all(-1).all(-1)
        if bad.any():
            raise ValueError(
                f"{int(bad.sum())} of {len(pose)} {name} poses are not finite (first: frame {int(bad.nonzero()[0])}); "
                "a diverged lifter or a broken data file: find the cause, such poses cannot be averaged"
            )
    predicted, target = predicted.double() * 1000.0, target.double() * 1000.0
    return predicted - predicted[:, root : root + 1], target - target[:, root : root + 1]


def similarity_aligned(
    moving: Float[Tensor, "frames joints 3"], fixed: Float[Tensor, "frames joints 3"]
) -> Float[Tensor, "frames joints 3"]:
    """Apply to each frame of `moving` the similarity transform that brings it closest to `fixed` in least squares.

    The transform is a scale, a rotation without reflection and a translation. A pose of zero size stays one point, at
    the centre of `fixed`.

    Args:
        moving: joints to be aligned, any unit.
        fixed: joints to align with, same unit.

    Returns:
        The aligned joints, in the frame and unit of `fixed`.

    Reference:
        Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991, eq. 40-43.
    """
    center = fixed.mean(1, keepdim=True)
    x, y = moving - moving.mean(1, keepdim=True), fixed - center
    left, singular, right = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.linalg.det(left @ right).sign()
    rotation = (left * sign[:, None]) @ right
    tiny = torch.finfo(x.dtype).tiny
    scale = (singular * sign).sum(-1) / x.square().sum((1, 2)).clamp_min(tiny)
    return scale[:, None, None] * (x @ rotation) + center


@dataclass(frozen=True)
class PoseErrors:
    """One number for each frame and metric, after both roots were moved to the origin.

    Attributes:
        mpjpe_mm: mean error of the joints, millimetres.
        pa_mpjpe_mm: the same after Procrustes alignment without reflection; it does not depend on the root.
        n_mpjpe_mm: the same after the best scale alone, s = <T, P> / <P, P>.
        pck150: percentage of joints, root included, whose error is strictly below 150 mm.
        auc: mean of that percentage over the 31 thresholds 0, 5, ... 150 mm.
        action: number of each frame's action.
    """

    mpjpe_mm: Float[Tensor, " frames"]
    pa_mpjpe_mm: Float[Tensor, " frames"]
    n_mpjpe_mm: Float[Tensor, " frames"]
    pck150: Float[Tensor, " frames"]
    auc: Float[Tensor, " frames"]
    action: Int[Tensor, " frames"] | None = None

    def __len__(self) -> int:
        return len(self.mpjpe_mm)

    def summary(self) -> dict[str, float]:
        """Frame averages under their metric's name, and `n`.

        With actions also the mean over actions of each action's mean, as VideoPose3D and MMPose report Human3.6M:
        `mpjpe_action_mm`, `pa_mpjpe_action_mm`, `n_mpjpe_action_mm`, `pck150_action`, `auc_action`.
        """
        summary: dict[str, float] = {"n": len(self)} | {name: float(v.mean()) for name, v in self._metrics().items()}
        if self.action is not None:
            for name, means in self._action_means().items():
                stem = name.removesuffix("_mm")
                summary[f"{stem}_action{name.removeprefix(stem)}"] = float(means.mean())
        return summary

    def per_action(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """For each action that occurs: its name -> `n` and its mean of every metric. Raises ValueError without any."""
        if self.action is None:
            raise ValueError("these errors carry no actions; give `pose_errors(..., action=...)`")
        present, counts = self.action.unique(return_counts=True)
        means = self._action_means()
        return {
            names[int(a)]: {"n": int(counts[row])} | {m: float(v[row]) for m, v in means.items()}
            for row, a in enumerate(present)
        }

    def _metrics(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "action"}

    def _action_means(self) -> dict[str, Tensor]:
        assert self.action is not None
        # On the CPU: index_add on a GPU adds in any order.
        _, row, counts = self.action.cpu().unique(return_inverse=True, return_counts=True)
        empty = torch.zeros(len(counts), dtype=torch.float64)
        return {name: empty.index_add(0, row, v.cpu()) / counts for name, v in self._metrics().items()}


def pose_errors(
    predicted: Float[Tensor, "frames joints 3"],
    target: Float[Tensor, "frames joints 3"],
    root: int = 0,
    action: Int[Tensor, " frames"] | None = None,
) -> PoseErrors:
    """Compute every metric for every frame, in chunks that bound the memory.

    Args:
        predicted: joints in metres, in any frame that `target` shares.
        target: ground-truth joints in metres.
        root: number of the root joint.
        action: number of each frame's action, for averages over actions.

    Returns:
        The errors of each frame, on the device of `predicted`.

    Raises:
        ValueError: poses that are not finite, of different shapes, or none at all.
    """
    if len(predicted) == 0:
        raise ValueError("expected at least one pose to evaluate, got none; the test set or its filter is empty")
    parts: dict[str, list[Tensor]] = {name: [] for name in _METRICS}
    for start in range(0, max(len(predicted), len(target)), _CHUNK):
        p, t = root_aligned_mm(predicted[start : start + _CHUNK], target[start : start + _CHUNK], root)
        error = _distance(p, t)
        for name, metric in _METRICS.items():
            parts[name].append(metric(p, t, error))
    action = None if action is None else action.to(predicted.device)
    return PoseErrors(**{name: torch.cat(part) for name, part in parts.items()}, action=action)


def _distance(p: Tensor, t: Tensor) -> Tensor:
    return torch.linalg.vector_norm(p - t, dim=-1)


def _scale_aligned(p: Tensor, t: Tensor) -> Tensor:
    scale = (t * p).sum((1, 2)) / p.square().sum((1, 2)).clamp_min(torch.finfo(p.dtype).tiny)
    return scale[:, None, None] * p


def _auc(error: Tensor) -> Tensor:
    # `right=True` counts the thresholds <= error, so the others lie strictly above it.
    thresholds = error.new_tensor(AUC_THRESHOLDS_MM)
    above = len(thresholds) - torch.bucketize(error, thresholds, right=True)
    return above.double().mean(-1) * (100.0 / len(thresholds))


_METRICS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mpjpe_mm": lambda p, t, error: error.mean(-1),
    "pa_mpjpe_mm": lambda p, t, error: _distance(similarity_aligned(p, t), t).mean(-1),
    "n_mpjpe_mm": lambda p, t, error: _distance(_scale_aligned(p, t), t).mean(-1),
    "pck150": lambda p, t, error: (error < PCK_THRESHOLD_MM).double().mean(-1) * 100.0,
    "auc": lambda p, t, error: _auc(error),
}
