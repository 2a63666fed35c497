"""One pose's augmentation carried over to a whole window of frames, coherent over time. Beyond the papers.

PoseAug, PoseDA and their kin augment single poses. With a window of frames the generator sees the centre frame alone,
and what it does to that frame is done to all: each bone turns by the shortest rotation that takes the centre frame's
old bone to its new one, and is stretched by the same ratio; then the whole window turns about the centre frame's root,
which goes to a new place. So motion stays coherent: the root's path keeps its shape and length, and a window that
stands still stays so. A bone's turn is the same in the camera's axes, not the body's, however the body turns meanwhile.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dg.pose.batch import PoseBatch
from dg.pose.bones import joints_from_bones, unit_bones
from dg.pose.rotation import minimal_rotation
from dg.pose.skeleton import Skeleton

WINDOWS: Sequence[str] = ("off", "centre_transform")


def check_windows(windows: str) -> None:
    """Raise ValueError for an unknown choice of the option `windows`."""
    if windows not in WINDOWS:
        raise ValueError(f"windows must be one of {list(WINDOWS)}, got {windows!r}")


def check_frames(frames: int, windows: str) -> None:
    """Refuse windows of several frames where the option `windows` is off.

    Args:
        frames: frames in a window, at least 1.
        windows: value of a method's option `windows`.

    Raises:
        ValueError: a window of several frames, and the option is `off`.
    """
    if frames != 1 and windows == "off":
        raise ValueError(
            f"this method augments single frames, got windows of {frames}; windows=centre_transform carries the centre "
            "frame's augmentation over to its window, which no paper does"
        )


def centre_frames(poses: PoseBatch) -> PoseBatch:
    """Return the windows' centre frames, `frames // 2`, as poses of one frame; they are valid where the windows are."""
    frames = poses.joints_3d.shape[1]
    if frames == 1:
        return poses
    centre = slice(frames // 2, frames // 2 + 1)
    return poses.replace(**poses.by_frame(lambda value: value[:, centre]))


def carry_pose(
    windows: Float[Tensor, "batch frames joints 3"], changed: Float[Tensor, "batch joints 3"], skeleton: Skeleton
) -> Float[Tensor, "batch frames joints 3"]:
    """Carry a change of the centre frame over to every frame of its window.

    Every bone of a window is turned and stretched as the centre frame's must be to make it `changed`; roots stay.

    Args:
        windows: joints in the camera frame, metres.
        changed: the centre frames' joints with other bones and the same root, metres. A window of one frame becomes
            this.
        skeleton: the skeleton of the joints.

    Returns:
        The changed windows in the camera frame, metres.
    """
    frames, root = windows.shape[1], windows[:, :, skeleton.root, None]
    if frames == 1:
        return changed[:, None]
    old, old_lengths = unit_bones(windows[:, frames // 2], skeleton)
    new, new_lengths = unit_bones(changed, skeleton)
    ratio = torch.where(old_lengths > 0, new_lengths / old_lengths.clamp_min(torch.finfo(new.dtype).tiny), 1.0)
    units, lengths = unit_bones(windows, skeleton)
    # Between nearly opposite bones the shortest rotation is only roughly orthogonal in single precision.
    turned = normalize((minimal_rotation(old, new)[:, None] @ units[..., None])[..., 0], dim=-1)
    return joints_from_bones(turned * (lengths * ratio[:, None])[..., None], skeleton) + root


def carry_move(
    windows: Float[Tensor, "batch frames joints 3"],
    rotation: Float[Tensor, "batch 3 3"],
    place: Float[Tensor, "batch 3"],
    skeleton: Skeleton,
) -> Float[Tensor, "batch frames joints 3"]:
    """Turn windows as a whole about their centre frame's root, and move this root to a place.

    Args:
        windows: joints in the camera frame, metres.
        rotation: rotation matrices in the camera frame.
        place: the new position of the centre frame's root, camera frame, metres.
        skeleton: the skeleton of the joints.

    Returns:
        The moved windows in the camera frame, metres.
    """
    centre = windows[:, windows.shape[1] // 2, skeleton.root, None, None]
    return (windows - centre) @ rotation[:, None].mT + place[:, None, None]
