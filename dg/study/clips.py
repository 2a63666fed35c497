"""Clips in another time: reversed, and at other speeds, so that known poses make motions that nobody trained on.

AugLift, Appendix D and Table 9 (METHODS 4.8). The paper does not say how it resamples or which speeds it draws; here
one speed a clip, uniform in [0.5, 2], and joints interpolated linearly in the camera frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from dg.datasets.base import PoseDataset, content_digest
from dg.pose.batch import PoseBatch
from dg.pose.windows import Windows

AS_RECORDED = "recorded"


@dataclass(frozen=True)
class TimeChange:
    """What is done to the time of every clip.

    Attributes:
        label: name of the change in protocol ids, after `time=`.
    """

    label: str
    apply: Callable[[PoseDataset], PoseDataset]

    def protocol(self, recorded: str) -> str:
        """A protocol id with the change in it; clips as they were recorded keep the id that they have."""
        return recorded if self.label == AS_RECORDED else f"{recorded}/time={self.label}"


def time_changes(slowest: float, fastest: float, seed: int) -> tuple[TimeChange, ...]:
    """Return three changes of time: none, reversal, and a random speed for each clip.

    Args:
        slowest: lowest speed; 1 is the speed as recorded.
        fastest: highest speed.
        seed: of the draw of speeds.
    """

    def varied(dataset: PoseDataset) -> PoseDataset:
        clips = len(dataset.clip.unique_consecutive())
        return at_speeds(dataset, draw_speeds(clips, slowest, fastest, seed))

    return (
        TimeChange(AS_RECORDED, lambda dataset: dataset),
        TimeChange("reversed", reversed_in_time),
        TimeChange(f"speeds-{slowest:g}-{fastest:g}-seed{seed}", varied),
    )


def draw_speeds(clips: int, slowest: float, fastest: float, seed: int) -> Float64[Tensor, " clips"]:
    """Draw one speed for each clip, uniform in [slowest, fastest].

    Args:
        clips: number of clips.
        slowest: lowest speed; 1 is the speed as recorded.
        fastest: highest speed.
        seed: of the draw.
    """
    drawn = torch.rand(clips, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return slowest + (fastest - slowest) * drawn


def frame_weights(recorded: PoseDataset, changed: PoseDataset) -> Float64[Tensor, " rows"]:
    """Return weights of the changed clips' frames under which each clip counts as much as it does as recorded.

    Without them slow clips would count more, and an average would move without any frame's error moving.

    Args:
        recorded: the clips as recorded.
        changed: the same clips, in the same order, in changed time.
    """
    before = recorded.clip.unique_consecutive(return_counts=True)[1]
    number, after = changed.clip.unique_consecutive(return_inverse=True, return_counts=True)[1:]
    return (before.double() / after)[number]


def reversed_in_time(dataset: PoseDataset) -> PoseDataset:
    """Every clip backwards, with the depth that its frames carry. Twice is the identity."""
    windows = Windows.over(dataset.clip, 1)
    rows = windows.first + windows.last - torch.arange(len(dataset), device=dataset.clip.device)
    return _of_rows(dataset, rows, dataset.poses[rows.to(dataset.poses.index.device)])


def at_speeds(dataset: PoseDataset, speeds: Float[Tensor, " clips"]) -> PoseDataset:
    """Play every clip at its speed: n frames become round(n / speed), of which first and last are the clip's own.

    In between joints are interpolated linearly and their 2D is projected again; detected 2D and its confidence are
    interpolated instead. Frames that fall on a recorded one stay exactly as they are. Depth is dropped, since it
    belongs to the recorded poses.

    Args:
        dataset: clips of frames.
        speeds: one positive speed for each clip, in their order; 1 leaves a clip as it is.

    Raises:
        ValueError: speeds that are not positive, or not one for each clip.
    """
    lengths = dataset.clip.unique_consecutive(return_counts=True)[1].cpu()
    if len(speeds) != len(lengths) or not (speeds > 0).all():
        raise ValueError(f"expected a positive speed for each of {len(lengths)} clips, got {speeds}")
    start, place = _places(lengths, speeds.double())
    below = place.floor().long()
    above = place.ceil().long()
    device = dataset.poses.joints_3d.device
    share = (place - below).float().to(device)[:, None, None, None]
    low, high = ((start + rows).to(device) for rows in (below, above))
    return _between(dataset, low, high, share)


def _places(
    lengths: Int[Tensor, " clips"], speeds: Float64[Tensor, " clips"]
) -> tuple[Int[Tensor, " rows"], Float64[Tensor, " rows"]]:
    """For each row of the resampled clips: where its clip begins, and its place in the clip, in recorded frames."""
    counts = (lengths / speeds + 0.5).floor().long().clamp(min=1)
    number = torch.arange(len(counts)).repeat_interleave(counts)
    step = torch.arange(int(counts.sum())) - (counts.cumsum(0) - counts)[number]
    # Multiplied before divided: in whole numbers, so that ends and equal speeds are hit exactly.
    place = (step * (lengths - 1)[number]).double() / (counts - 1).clamp(min=1)[number]
    return (lengths.cumsum(0) - lengths)[number], place


def _between(
    dataset: PoseDataset, low: Int[Tensor, " rows"], high: Int[Tensor, " rows"], share: Float[Tensor, "rows 1 1 1"]
) -> PoseDataset:
    """Poses between the rows `low` and `high`, at a share of the way."""
    before, after = dataset.poses[low], dataset.poses[high]
    joints = before.joints_3d.lerp(after.joints_3d, share)
    confidence = None
    if before.confidence is not None and after.confidence is not None:
        confidence = before.confidence.lerp(after.confidence, share[..., 0])
    if dataset.source_2d == "gt":
        joints_2d = torch.where(share > 0, before.camera.project(joints), before.joints_2d)
    else:
        joints_2d = before.joints_2d.lerp(after.joints_2d, share)
    valid = before.valid & after.valid
    poses = before.replace(joints_3d=joints, joints_2d=joints_2d, confidence=confidence, depth=None, valid=valid)
    return _of_rows(dataset, low, poses)


def _of_rows(dataset: PoseDataset, rows: Int[Tensor, " rows"], poses: PoseBatch) -> PoseDataset:
    """The data set with these poses, about which is known what is known of its `rows`."""
    rows = rows.to(dataset.clip.device)
    return replace(
        dataset,
        poses=poses.replace(index=torch.arange(len(poses), device=poses.index.device)),
        subject=dataset.subject[rows],
        action=dataset.action[rows],
        clip=dataset.clip[rows],
        digest=content_digest(poses.joints_3d, poses.joints_2d),
    )
