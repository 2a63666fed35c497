"""The settings of the networks that find people in images. Loads no torch, so that the help of commands is quick."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from dg.settings.config import Count, CountOrZero, Device
from dg.settings.networks import RT_DETR, VIT_POSE

MEDIAPIPE = "mediapipe"  # the detector that needs no download
IMAGE_DEPTH = "depth_anything_v2"  # the depth source of photographs where no other one is named
MOST_FPS = 1000.0  # frames per second that a file may tell


@dataclass(frozen=True)
class DetectorNetworks:
    """Which networks find people, and which of their answers count."""

    # -- people in the images
    detector: str = RT_DETR  # boxes of people: folder, or hub id OWNER/NAME, of an RT-DETR or RT-DETR v2 network; or
    # mediapipe, which finds people and their joints with the models of its own package and takes no pose=
    pose: str = VIT_POSE  # their 2D joints: folder or hub id of a ViTPose network with COCO's 17 keypoints
    person_score: Annotated[float, Ge(0), Lt(1)] = 0.3  # least score of a person's box


@dataclass(frozen=True)
class DetectorOptions(DetectorNetworks):
    """Networks that find people, and how they are run."""

    # -- people in the images
    max_people: CountOrZero = 0  # of an image, the largest and surest first; 0: all
    # -- where it runs
    device: Device = "auto"  # auto: a GPU where there is one
    batch: Count = 8  # images, and then people, that go through a network at once
