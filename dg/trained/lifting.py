"""From 2D in pixels to root-relative 3D, through the same `PoseBatch.features` that training goes through.

2D is divided by half the longer image side (METHODS 1.4), so that a portrait and a landscape picture of one camera give
the same numbers; a focal length is so, too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dg.evaluation.predictions import LifterPredictor, predict_all
from dg.files.checkpoint import CheckpointError
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, normalise_pixels
from dg.pose.skeleton import Skeleton
from dg.pose.windows import Windows
from dg.trained.stored import StoredLifter


@dataclass(frozen=True)
class PixelPoses:
    """What is known of poses in images, on the lifter's skeleton.

    Attributes:
        pixels: joints in pixels, pixel centres at +0.5.
        size_px: width and height of each pose's image.
        camera: camera of each pose, normalised by the image's longer side.
        confidence: confidence of the 2D, in [0, 1].
        depth: at each joint, metres.
        nearest: nearest depth in the disk around each joint, metres, for lifters that were trained with that range.
        farthest: farthest depth in the disk around each joint, metres, for lifters that were trained with that range.
        features: what networks say of the picture at each joint, for lifters with `+depth_features` or
            `+image_features`.
    """

    pixels: Float[Tensor, "poses joints 2"]
    size_px: Float[Tensor, "poses 2"]
    camera: Camera
    confidence: Float[Tensor, "poses joints"] | None = None
    depth: Float[Tensor, "poses joints"] | None = None
    nearest: Float[Tensor, "poses joints"] | None = None
    farthest: Float[Tensor, "poses joints"] | None = None
    features: Float[Tensor, "poses joints channels"] | None = None

    def batch(self, skeleton: Skeleton) -> PoseBatch:
        """The poses as single frames whose 3D, which is asked for, is zero.

        Args:
            skeleton: the lifter's.
        """
        joints_2d = normalise_pixels(self.pixels, self.size_px, longer_side=True)
        unknown = torch.zeros(*joints_2d.shape[:2], 3)[:, None]
        batch = PoseBatch.from_joints(unknown, self.camera, skeleton, joints_2d[:, None])
        batch = batch.replace(
            confidence=_as_frames(self.confidence),
            depth=_as_frames(self.depth),
            joint_features=_as_frames(self.features),
        )
        if self.depth is None or self.nearest is None or self.farthest is None:
            return batch
        ends = torch.stack([self.nearest - self.depth, self.farthest - self.depth], -1)
        return batch.replace(depth_spread=ends[:, None])


def _as_frames(values: Tensor | None) -> Tensor | None:
    return None if values is None else values[:, None]


def lift_poses(
    stored: StoredLifter, poses: PoseBatch, clip: Int[Tensor, " poses"], device: torch.device, tta: str = "none"
) -> Float[Tensor, "poses joints 3"]:
    """Root-relative joints of every pose, metres, camera axes, on the CPU.

    Args:
        stored: the lifter.
        poses: single frames that carry what the lifter's input needs.
        clip: numbers of the clips whose frames these are, in time order. A lifter of windows sees a clip's border frame
            repeated, and so a single image as a person who stands still.
        device: where the lifter computes.
        tta: one of `dg.evaluation.predictions.TTA`.

    Raises:
        CheckpointError: for a lifter that cannot take this input, or whose answers are not finite.
    """
    if stored.inputs.answers != "metres":
        raise CheckpointError(
            f"{stored.path} was trained with answers={stored.inputs.answers}, which the true root brings to metres; it "
            "can be evaluated, but lifts nothing whose root is unknown"
        )
    windows = Windows.over(clip.to(device), stored.config.frames)
    predictor = LifterPredictor(stored.lifter.to(device), stored.inputs)
    try:
        found = predict_all(predictor, poses.to(device), tta, windows)
    except ValueError as error:
        raise CheckpointError(f"{stored.path}: {error}") from error
    if not bool(found.isfinite().all()):
        raise CheckpointError(f"{stored.path}: its lifter gives numbers that are not finite")
    root = poses.skeleton.root
    return (found - found[:, root : root + 1]).cpu()
