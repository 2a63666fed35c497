"""Evaluation of a method on a data set: the same features and `predict` as in training, errors in millimetres."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from dg.datasets.base import NOT_DRAWN, PoseDataset
from dg.evaluation.augmentation_names import Tta
from dg.evaluation.details import error_details
from dg.evaluation.metrics import PoseErrors, pose_errors
from dg.pose.answers import in_metres
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.detections import SYNTHETIC_DETECTIONS
from dg.pose.windows import Windows
from lifters.base import Lifter

EVALUATION_FRAMES = 4096  # lifted at a time
TTA = get_args(Tta)


@runtime_checkable
class Predictor(Protocol):
    """Lifts poses: a DG method, or a lifter that came from a file."""

    @property
    def lifter(self) -> Lifter:
        """The lifter whose windows, inputs and skeleton the predictions follow."""
        ...

    def predict(self, poses: PoseBatch) -> Tensor:
        """Return root-relative joints `[batch, target frames, joints, 3]` in metres."""
        ...


@dataclass(frozen=True)
class LifterPredictor:
    """A lifter by itself, without the method that trained it, in eval mode."""

    lifter: Lifter
    inputs: InputSpec

    def __post_init__(self) -> None:
        self.lifter.eval()

    @torch.no_grad()
    def predict(self, poses: PoseBatch) -> Tensor:
        """Root-relative joints `[batch, target frames, joints, 3]`, metres."""
        frames = self.lifter.target_frames(poses.joints_3d.shape[1])
        return in_metres(self.lifter(poses.features(self.inputs)), poses, frames, self.inputs.answers)


@dataclass(frozen=True)
class Evaluation:
    """Errors on one target under its protocol; printed, their averages over frames. details: as `error_details` has
    them, where they were asked for.
    """

    target: str
    protocol: str
    errors: PoseErrors
    not_drawn: int = 0  # poses whose depth is the mean offset of the others
    details: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        found = self.errors.summary()
        return (
            f"{self.target}: MPJPE {found['mpjpe_mm']:.1f} mm, PA-MPJPE {found['pa_mpjpe_mm']:.1f} mm, N-MPJPE "
            f"{found['n_mpjpe_mm']:.1f} mm, PCK@150 {found['pck150']:.1f} %, AUC {found['auc']:.1f} % over "
            f"{len(self.errors):,} poses ({self.protocol})"
        )


@torch.no_grad()
def predict_all(method: Predictor, poses: PoseBatch, tta: str = "none", windows: Windows | None = None) -> Tensor:
    """Predict root-relative joints for every pose.

    Args:
        method: the trained method, with its lifter.
        poses: poses to lift, with the depth that the inputs need.
        tta: one of `TTA`, as `predict_augmented` has it.
        windows: windows over the clips of `poses`; single frames if left out. Every pose is answered for once, by the
            frames that the lifter declares.

    Returns:
        Joints `[batch, joints, 3]` relative to the root, metres.
    """
    windows = windows or Windows.over(torch.arange(len(poses), device=poses.joints_3d.device), 1)
    windows = replace(windows, frames=method.lifter.inference_frames(windows.frames))
    tiles = windows.tiles(method.lifter.target_frames(windows.frames))
    chunk = max(1, EVALUATION_FRAMES // windows.frames)
    found = torch.empty_like(poses.joints_3d[:, 0])
    for start in range(0, len(tiles.anchor), chunk):
        part = slice(start, start + chunk)
        batch = windows.gather(poses, tiles.anchor[part], tiles.ahead)
        predicted = predict_augmented(method, batch, tta)
        answers = tiles.answers[part]
        found[answers[answers >= 0]] = predicted[answers >= 0]
    return found


def predict_augmented(method: Predictor, batch: PoseBatch, tta: str) -> Tensor:
    """Predict root-relative joints, averaged over test-time augmentations.

    `flip` adds the mirror image, whose prediction is mirrored back (METHODS 2.7), and `reverse` the window backwards in
    time. Both together make the four passes of AdaptPose (METHODS 5).

    Args:
        method: the trained method, with its lifter.
        batch: windows of poses.
        tta: one of `TTA`.

    Returns:
        Joints `[batch, target frames, joints, 3]` relative to the root, metres.

    Raises:
        ValueError: another name; or a reversal of single frames, or of windows whose answered frames do not lie in the
            middle.
    """
    if tta not in TTA:
        raise ValueError(f"tta must be one of {list(TTA)}, got {tta!r}")
    predict: Callable[[PoseBatch], Tensor] = method.predict
    views = [predict(batch)]
    if "flip" in tta:
        views.append(_mirror(predict(batch.flip()), batch))
    if "reverse" in tta:
        _check_reversible(method, batch.joints_3d.shape[1])
        backwards = batch.replace(**batch.by_frame(lambda value: value.flip(1)))
        views.append(predict(backwards).flip(1))
        if "flip" in tta:
            views.append(_mirror(predict(backwards.flip()), batch).flip(1))
    return views[0] if len(views) == 1 else torch.stack(views).mean(0)


def _mirror(predicted: Tensor, batch: PoseBatch) -> Tensor:
    return predicted[..., list(batch.skeleton.flip), :] * predicted.new_tensor([-1.0, 1.0, 1.0])


def _check_reversible(method: Predictor, frames: int) -> None:
    if frames == 1:
        raise ValueError("tta=reverse turns windows around in time, but this lifter sees single frames; use tta=flip")
    start, stop, _ = method.lifter.target_frames(frames).indices(frames)
    if start != frames - stop:
        raise ValueError(
            f"tta=reverse needs a lifter that answers for the middle of its window; of {frames} frames this one "
            f"answers for {start} to {stop - 1}"
        )


def evaluate(
    method: Predictor,
    dataset: PoseDataset,
    depth_label: str,
    frames: int = 1,
    tta: str | None = None,
    details: bool = False,
) -> Evaluation:
    """Evaluate a method on a data set of single frames.

    Every row counts, whatever its `valid`: a protocol's frame count does not depend on what could be drawn.

    Args:
        method: the trained method, with its lifter.
        dataset: test poses, which carry depth if the inputs need it.
        depth_label: name of the depth source, for the protocol id.
        frames: length of the windows that the lifter sees.
        tta: one of `TTA`, in place of the data set's own.
        details: whether to look where the errors lie.

    Returns:
        The errors of each frame with the protocol id and the number of poses that could not be drawn.
    """
    poses, tta = dataset.poses, tta or dataset.tta
    windows = Windows.over(dataset.clip.to(poses.joints_3d.device), frames)
    predicted = predict_all(method, poses, tta, windows)
    errors = pose_errors(predicted, poses.joints_3d[:, 0], poses.skeleton.root, dataset.action)
    lost = int(dataset.notes.get(NOT_DRAWN, "0"))
    found = error_details(predicted, dataset, errors) if details else {}
    return Evaluation(dataset.name, _as_seen(dataset).protocol(depth_label, tta), errors, lost, found)


def not_drawn(target: str, lost: int, poses: int) -> str:
    """What to tell of poses that could not be drawn.

    Args:
        target: name of the test set.
        lost: poses without a drawing.
        poses: all poses of the test set.
    """
    return f"{lost:,} of {poses:,} poses of {target} could not be drawn; they get the mean depth offset of the others"


def _as_seen(dataset: PoseDataset) -> PoseDataset:
    """The data set whose protocol id names the 2D that the lifter was given: synthetic detections, if it was those."""
    error, source = dataset.poses.detection_error, dataset.source_2d
    if error is None or source.endswith(SYNTHETIC_DETECTIONS) or not bool(error.any()):
        return dataset
    return replace(dataset, source_2d=SYNTHETIC_DETECTIONS if source == "gt" else f"{source}+{SYNTHETIC_DETECTIONS}")
