"""Motion in Human3.6M's room, seen by its four cameras: how Human3.6M and every other motion becomes a source.

The 2D is the projection with the cameras' distortion, divided by the image width (METHODS 1.4, 1.5), unless detections
are given. Clips are laid into tensors that are made once, so that 1.56 million samples never exist twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets import h36m_cameras
from dg.datasets.base import PoseDataset, content_digest
from dg.pose.batch import PoseBatch
from dg.pose.camera import camera_to_world
from dg.pose.skeleton import Skeleton

VIEWS = len(h36m_cameras.INTRINSICS)
NEAREST_M = 0.3


@dataclass(frozen=True)
class Take:
    """One clip. joints: metres, world frame, z up. cameras_of: the subject for whom the cameras stood.

    joints_2d, confidence: of a detector, width-normalised; the projection where there are none.
    """

    subject: str
    action: str
    joints: Float[Tensor, "frames joints 3"]
    cameras_of: str = "S1"
    joints_2d: Float[Tensor, "cameras frames joints 2"] | None = None
    confidence: Float[Tensor, "cameras frames joints"] | None = None


def centred(joints: Float[Tensor, "frames joints 3"], root: int) -> Float[Tensor, "frames joints 3"]:
    """Move a clip sideways so that its root's mean lies in the middle of the room.

    Args:
        joints: joints of the clip in the world frame (z up), metres.
        root: index of the root joint.

    Returns:
        The moved joints; heights are kept.
    """
    place = room_centre().to(joints) - joints[:, root].mean(0)
    return joints + place * place.new_tensor([1.0, 1.0, 0.0])


def room_centre() -> Float[Tensor, "3"]:
    """Return the point of the floor that the four cameras' axes pass closest to, for S1's set-up (least squares)."""
    ahead = torch.tensor([[[0.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]])
    normal, moment = torch.zeros(3, 3), torch.zeros(3)
    for orientation, position in h36m_cameras.EXTRINSICS["S1"]:
        from_camera = camera_to_world(ahead, torch.tensor(orientation), torch.tensor(position))[:, 0]
        direction = from_camera[1] - from_camera[0]
        across = torch.eye(3) - torch.outer(direction, direction)
        normal, moment = normal + across, moment + across @ from_camera[0]
    return torch.linalg.solve(normal, moment) * torch.tensor([1.0, 1.0, 0.0])


def seen_by_four(
    takes: Sequence[Take],
    skeleton: Skeleton,
    name: str,
    fps: float,
    flavour: str = "camera-frame",
    source_2d: str = "gt",
    notes: dict[str, str] | None = None,
    content: str = "",
) -> PoseDataset:
    """Show takes to Human3.6M's four cameras.

    Args:
        takes: the takes, in the world frame.
        skeleton: the skeleton of their joints.
        name: name of the data set.
        fps: frames per second.
        flavour: which ground truth the 3D is, for the protocol id.
        source_2d: where the 2D comes from: `gt`, or the detector's name.
        notes: remarks by their headings.
        content: digest of what the takes were read from.

    Returns:
        All takes, each one four times in a row, camera by camera. Poses within NEAREST_M of a camera are not valid.
    """
    lengths = torch.tensor([len(take.joints) for take in takes])
    clip_rows = lengths.repeat_interleave(VIEWS)
    rows = int(clip_rows.sum())
    subjects = tuple(dict.fromkeys(take.subject for take in takes))
    actions = tuple(sorted({take.action for take in takes}))
    labels = torch.tensor([(subjects.index(take.subject), actions.index(take.action)) for take in takes])
    label_of = labels.repeat_interleave(VIEWS, 0).repeat_interleave(clip_rows, 0)
    cameras = h36m_cameras.intrinsics()
    joints, joints_2d = torch.empty(rows, 1, len(skeleton), 3), torch.empty(rows, 1, len(skeleton), 2)
    confidence = None if takes[0].confidence is None else torch.empty(rows, 1, len(skeleton))
    in_front, in_frame = torch.empty(2, rows, dtype=torch.bool)
    start = 0
    for take in takes:
        here = slice(start, start := start + VIEWS * len(take.joints))
        seen = h36m_cameras.see(take.joints.float(), take.cameras_of)
        joints[here, 0] = seen.flatten(0, 1)
        joints_2d[here, 0] = (cameras.project(seen) if take.joints_2d is None else take.joints_2d).flatten(0, 1)
        in_front[here] = (seen[..., 2] > NEAREST_M).all(-1).flatten()
        in_frame[here] = cameras.in_frame(seen).flatten()
        if confidence is not None and take.confidence is not None:
            confidence[here, 0] = take.confidence.flatten(0, 1)
    camera_of = torch.arange(VIEWS).repeat(len(takes)).repeat_interleave(clip_rows)
    poses = PoseBatch.from_joints(joints, cameras[camera_of], skeleton, joints_2d)
    return PoseDataset(
        name=name,
        poses=poses.replace(valid=in_front, confidence=confidence),
        subject=label_of[:, 0].contiguous(),
        action=label_of[:, 1].contiguous(),
        clip=torch.arange(len(clip_rows)).repeat_interleave(clip_rows),
        subjects=subjects,
        actions=actions,
        fps=fps,
        digest=content_digest(joints, joints_2d),
        flavour=flavour,
        source_2d=source_2d,
        content=content,
        notes={
            "out_of_frame": f"{int((~in_frame).sum())} of {rows} poses leave the frame; kept, as the protocol does",
            "behind_camera": f"{int((~in_front).sum())} poses come closer than {NEAREST_M} m; marked invalid",
            **(notes or {}),
        },
    )
