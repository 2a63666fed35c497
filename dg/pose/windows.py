"""Windows of frames as an index into clips that lie one after another: nothing is copied until a batch is gathered.

The poses of a data set are one PoseBatch of single frames, rows of a clip consecutive and in time order. A window is a
row of row numbers; where it reaches over a clip's border the border frame is repeated, so that no window ever shows two
clips (VideoPose3D's edge padding, METHODS 6.2).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from dg.pose.batch import PoseBatch


@dataclass(frozen=True)
class Windows:
    """Windows of `frames` frames over clips. first, last: the rows at which the clip of each row begins and ends."""

    frames: int
    first: Int[Tensor, " rows"]
    last: Int[Tensor, " rows"]

    @staticmethod
    def over(clip: Int[Tensor, " rows"], frames: int) -> "Windows":
        """Make windows over clips.

        Args:
            clip: the clip number of each row; rows of a clip are consecutive.
            frames: frames in a window, at least 1.

        Returns:
            One window for each row.

        Raises:
            ValueError: for a window without frames, or for a clip that is interrupted by another.
        """
        if frames < 1:
            raise ValueError(f"a window needs at least one frame, got frames={frames}")
        numbers, run, lengths = clip.unique_consecutive(return_inverse=True, return_counts=True)
        if len(numbers.unique()) < len(numbers):
            raise ValueError("expected the rows of a clip to be consecutive, but a clip is interrupted by another")
        end = lengths.cumsum(0) - 1
        return Windows(frames, (end - lengths + 1)[run], end[run])

    def __len__(self) -> int:
        return len(self.first)

    def to(self, device: torch.device | str) -> "Windows":
        """Return the same windows with their row numbers on a device."""
        return Windows(self.frames, self.first.to(device), self.last.to(device))

    def rows(self, anchor: Int[Tensor, " batch"], ahead: int = 0) -> Int[Tensor, "batch frames"]:
        """Return the row numbers of windows; where a window reaches over its clip's border the border row is repeated.

        Args:
            anchor: the row that each window belongs to; the window stays in the clip of that row.
            ahead: how many frames after its anchor the middle frame (`frames // 2`) of a window lies.

        Returns:
            Row numbers, one line a window.
        """
        steps = torch.arange(self.frames, device=anchor.device) + (ahead - self.frames // 2)
        return (anchor[:, None] + steps).clamp(self.first[anchor][:, None], self.last[anchor][:, None])

    def gather(self, poses: PoseBatch, anchor: Int[Tensor, " batch"], ahead: int = 0) -> PoseBatch:
        """Gather the windows whose rows `rows` gives.

        Args:
            poses: single frames, as many as these windows were made for.
            anchor: the row that each window belongs to; camera, index and domain of the window are those of this row.
            ahead: how many frames after its anchor the middle frame of a window lies.

        Returns:
            Poses of `[batch, frames, ...]`; a window is valid where all its frames are.

        Raises:
            ValueError: for poses that are windows already, or not as many as these windows were made for.
        """
        if poses.joints_3d.shape[1] != 1 or len(poses) != len(self):
            raise ValueError(
                f"expected {len(self)} single frames, got {len(poses)} of {poses.joints_3d.shape[1]} frames each"
            )
        if self.frames == 1 and ahead == 0:
            return poses[anchor]
        rows = self.rows(anchor, ahead)
        frames = poses.by_frame(lambda value: value[rows, 0])
        return poses[anchor].replace(valid=poses.valid[rows].all(-1), **frames)

    def tiles(self, answered: slice) -> "Tiles":
        """Choose the fewest windows whose answered frames (positions in the window) cover every row once."""
        start, stop, _ = answered.indices(self.frames)
        rows = torch.arange(len(self), device=self.first.device)
        anchor = rows[(rows - self.first) % (stop - start) == 0]
        answers = anchor[:, None] + torch.arange(stop - start, device=anchor.device)
        return Tiles(anchor, self.frames // 2 - start, torch.where(answers <= self.last[anchor][:, None], answers, -1))


@dataclass(frozen=True)
class Tiles:
    """Windows that answer for every row once: `gather(poses, anchor, ahead)`.

    answers: the row that each answered frame of a window stands for; -1 where the window reaches over the end of its
    clip.
    """

    anchor: Int[Tensor, " windows"]
    ahead: int
    answers: Int[Tensor, "windows answered"]
