"""From people in pixels to root-relative 3D, through the same `PoseBatch.features` that training goes through."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int

from dg.evaluation.predictions import LifterPredictor, predict_all
from dg.files.checkpoint import CheckpointError
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, normalise_pixels
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import Skeleton
from dg.pose.windows import Windows
from dg.predict.cameras import ImageCamera
from dg.predict.seen import LiftedPerson, SeenPerson
from dg.trained.stored import StoredLifter


@dataclass(frozen=True)
class ImageLifter:
    """A stored lifter for detected people. tta: one of `dg.evaluation.predictions.TTA`."""

    stored: StoredLifter
    device: torch.device
    tta: str = "none"

    @property
    def skeleton(self) -> Skeleton:
        return skeleton_named(self.stored.config.skeleton)

    def __call__(
        self, people: Sequence[SeenPerson], cameras: Sequence[ImageCamera], clip: Int[torch.Tensor, " people"]
    ) -> list[LiftedPerson]:
        """Each person lifted. cameras: each one's. clip: numbers of the clips whose frames these are, in time order; a
        lifter of windows sees a clip's border frame repeated, and so a single image as a person who stands still.

        Raises CheckpointError for a lifter that cannot take this input, or whose answers are not finite.
        """
        if not people:
            return []
        batch = pose_batch(people, cameras, self.skeleton).to(self.device)
        windows = Windows.over(clip.to(self.device), self.stored.config.frames)
        predictor = LifterPredictor(self.stored.lifter.to(self.device), self.stored.inputs)
        try:
            found = predict_all(predictor, batch, self.tta, windows)
        except ValueError as error:
            raise CheckpointError(f"{self.stored.path}: {error}") from error
        if not bool(found.isfinite().all()):
            raise CheckpointError(f"{self.stored.path}: its lifter gives numbers that are not finite")
        joints = (found - found[:, [self.skeleton.root]]).cpu().numpy()
        return [
            LiftedPerson(person, joints_3d, place(joints_3d, person, camera, self.skeleton.root))
            for person, joints_3d, camera in zip(people, joints, cameras, strict=True)
        ]


def pose_batch(people: Sequence[SeenPerson], cameras: Sequence[ImageCamera], skeleton: Skeleton) -> PoseBatch:
    """People as single frames whose 3D, which is asked for, is zero."""
    camera = Camera.concatenate([c.normalised for c in cameras])
    pixels = torch.from_numpy(np.stack([p.joints_px for p in people]))
    sizes = torch.tensor([c.size_px for c in cameras], dtype=torch.float32)
    joints_2d = normalise_pixels(pixels, sizes, longer_side=True)
    unknown = torch.zeros(*joints_2d.shape[:2], 3)[:, None]
    batch = PoseBatch.from_joints(unknown, camera, skeleton, joints_2d[:, None])
    batch = batch.replace(confidence=_stacked([p.confidence for p in people]))
    depth = _stacked([p.depth for p in people])
    ends = [_stacked([getattr(p, name) for p in people]) for name in ("nearest", "farthest")]
    if depth is None or ends[0] is None or ends[1] is None:
        return batch.replace(depth=depth)
    return batch.replace(depth=depth, depth_spread=torch.stack([end - depth for end in ends if end is not None], -1))


def _stacked(values: Sequence[np.ndarray | None]) -> torch.Tensor | None:
    """`[people, 1, ...]`, or None where one is missing."""
    known = [value for value in values if value is not None]
    return torch.from_numpy(np.stack(known))[:, None] if len(known) == len(values) else None


def place(
    joints_3d: Float32[np.ndarray, "joints 3"], person: SeenPerson, camera: ImageCamera, root: int
) -> Float32[np.ndarray, "joints 3"] | None:
    """Root-relative joints in the camera's space: the root on its pixel's ray, as far away as the surface seen there.

    A pelvis lies a hand's breadth behind that surface; nothing is added for it. None unless depth and camera are known.
    """
    if person.depth is None or not camera.known:
        return None
    pixel = torch.from_numpy(person.joints_px[root]).view(1, 1, 2)
    size = torch.tensor([camera.size_px], dtype=torch.float32)
    ray = camera.normalised.unproject(normalise_pixels(pixel, size, longer_side=True))[0, 0].numpy()
    return (joints_3d + person.depth[root] * np.array([*ray, 1.0])).astype(np.float32)
