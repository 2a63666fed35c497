"""Procedural human motion: people of many sizes doing everyday things, seen by the cameras of three domains.

No download and no licence. Joint angles follow activities within anatomical limits (`synthetic_activities`,
`synthetic_kinematics`), bodies are anthropometric (`synthetic_people`), cameras are those of Human3.6M for the source
and of 3DPW's and MPI-INF-3DHP's kind for the targets (`synthetic_cameras`). Joints are H36M-17 in Human3.6M's sense.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dg.datasets.base import Dataset, PoseDataset, content_digest
from dg.datasets.content import choices, content_id
from dg.datasets.synthetic_activities import act
from dg.datasets.synthetic_cameras import PLACEMENTS, see_from_anywhere, see_from_room
from dg.datasets.synthetic_kinematics import pose_body, stand_on_floor, within_limits
from dg.datasets.synthetic_people import draw_people
from dg.datasets.validation import check_split
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from dg.settings.config import Count

FPS = 50.0
# Counted up whenever the same options begin to make other poses: results on them are results on other data.
VERSION = 1
# What people do in each domain: everyday acts as in Human3.6M; outdoors as in 3DPW; exercise as in MPI-INF-3DHP.
MIX = {
    "source": ("walk", "sit", "reach", "point", "wave", "phone", "bend", "walk", "sit_on_floor", "squat"),
    "near": ("walk", "jog", "sit", "phone", "bend", "throw", "point", "kick"),
    "wide": ("lunge", "squat", "punch", "kick", "throw", "jack", "reach", "kneel", "sit_on_floor", "walk"),
}
PEOPLE = {"train": 8, "val": 3, "test": 4}


@dataclass(frozen=True)
class Options:
    """domain: `source`, or a shifted target, `near` or `wide`. clips: takes in the train split; val and test have a
    sixth of them in the source, five sixths in test of a target. frames: frames kept of each take. stride: every
    which frame of the 50 a second is kept. seed: everything random.
    """

    domain: Literal["source", "near", "wide"] = "source"
    clips: Count = 50
    frames: Count = 50
    stride: Count = 5
    seed: int = 0


class Synthetic(Dataset):
    """Synthetic motion; the source is seen by four cameras at once, a target by one a take."""

    Options = Options
    located_by = "domain"

    def load(self, split: str) -> PoseDataset:
        """Make the motion of a split; the same options always give the same poses."""
        options: Options = self.options
        check_split(split, self.splits, "synthetic")
        takes, fps = _take_count(options, split), FPS / options.stride
        name = "synthetic" if options.domain == "source" else f"synthetic_{options.domain}"
        seed = blake2b(f"{options.seed}/{options.domain}/{split}".encode(), digest_size=7).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(seed, "big"))
        person = torch.arange(takes) % PEOPLE[split]
        activities = MIX[options.domain]
        # Neighbouring takes differ in person and activity; over all takes each person does everything.
        activity = (torch.arange(takes) + torch.arange(takes) // PEOPLE[split]) % len(activities)
        world = _move(activity, draw_people(PEOPLE[split], generator)[person], options, generator)
        if options.domain == "source":
            joints, camera, view = see_from_room(world)
        else:
            joints, camera, view = see_from_anywhere(world, fps, PLACEMENTS[options.domain], generator)
        poses = PoseBatch.from_joints(joints[:, None], camera, H36M_17)
        views = int(view.max()) + 1
        take = torch.arange(takes).repeat_interleave(views * options.frames)
        labels = tuple(sorted(set(activities)))
        label = torch.tensor([labels.index(a) for a in activities])
        return PoseDataset(
            name=name,
            poses=poses.replace(valid=camera.in_frame(poses.joints_3d)[:, 0]),
            subject=person[take],
            action=label[activity[take]],
            clip=take * views + view,
            subjects=tuple(f"{options.domain}_{split}_{n}" for n in range(PEOPLE[split])),
            actions=labels,
            fps=fps,
            digest=content_digest(poses.joints_3d, poses.joints_2d),
            flavour="synthetic",
            content=content_id(f"synthetic {VERSION} {split}", choices(options)),
        )


def _take_count(options: Options, split: str) -> int:
    if split == "train":
        return options.clips
    share = 5 if options.domain != "source" and split == "test" else 1
    return max(1, round(options.clips * share / 6))


def _move(
    activity: Tensor, offsets: Float[Tensor, "takes 17 3"], options: Options, generator: torch.Generator
) -> Float[Tensor, "takes frames 17 3"]:
    """Joints of every take in the room, metres, z up, the mean pelvis above the origin."""
    times = torch.arange((options.frames - 1) * options.stride + 1) / FPS
    world = torch.zeros(len(activity), options.frames, 17, 3)
    for number, name in enumerate(MIX[options.domain]):
        rows = (activity == number).nonzero()[:, 0]
        if len(rows):
            # Moved at full rate, so that the walk that follows from the feet does not depend on the stride.
            angles = within_limits(act(name, len(rows), times, generator))
            joints = stand_on_floor(pose_body(angles, offsets[rows]), angles.get("airborne"))
            world[rows] = joints[:, :: options.stride]
    return world
