"""From people in an image to root-relative 3D, and to where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int

from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera, normalise_pixels
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import Skeleton
from dg.predict.cameras import ImageCamera
from dg.predict.lifter_inputs import LiftedPerson, PersonInputs
from dg.trained.lifting import PixelPoses, lift_poses
from dg.trained.stored import StoredLifter

_KNOWN = ("confidence", "depth", "nearest", "farthest", "features")


@dataclass(frozen=True)
class ImageLifter:
    """A stored lifter for detected people.

    Attributes:
        tta: one of `dg.evaluation.predictions.TTA`.
    """

    stored: StoredLifter
    device: torch.device
    tta: str = "none"

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of the lifted joints, as the lifter was trained with it."""
        return skeleton_named(self.stored.config.skeleton)

    def __call__(
        self, people: Sequence[PersonInputs], cameras: Sequence[ImageCamera], clip: Int[torch.Tensor, " people"]
    ) -> list[LiftedPerson]:
        """The people in 3D.

        Args:
            people: in 2D, with depth where the lifter takes it.
            cameras: of each person's image.
            clip: number of the clip that each person is a frame of, in time order. A lifter of windows is given the
                first and last frame of a clip repeatedly, and so a single image as a person who stands still.

        Raises:
            CheckpointError: for a lifter that cannot take this input, or whose answers are not finite.
        """
        if not people:
            return []
        batch = pose_batch(people, cameras, self.skeleton)
        joints = lift_poses(self.stored, batch, clip, self.device, self.tta).numpy()
        return [
            LiftedPerson(person, joints_3d, place(joints_3d, person, camera, self.skeleton.root))
            for person, joints_3d, camera in zip(people, joints, cameras, strict=True)
        ]


def pose_batch(people: Sequence[PersonInputs], cameras: Sequence[ImageCamera], skeleton: Skeleton) -> PoseBatch:
    """People as single frames, from which the lifter's features are made.

    Args:
        people: in 2D, with depth and features where the lifter takes them.
        cameras: of each person's image.
        skeleton: of the joints.

    Returns:
        Poses `[people, 1, joints]`; their 3D is zero, for it is what the lifter is asked for.
    """
    poses = PixelPoses(
        torch.from_numpy(np.stack([p.joints_px for p in people])),
        torch.tensor([c.size_px for c in cameras], dtype=torch.float32),
        Camera.concatenate([c.normalised for c in cameras]),
        **{name: _stacked([getattr(p, name) for p in people]) for name in _KNOWN},
    )
    return poses.batch(skeleton)


def _stacked(values: Sequence[np.ndarray | None]) -> torch.Tensor | None:
    """`[people, ...]`, or None where one is missing."""
    known = [value for value in values if value is not None]
    return torch.from_numpy(np.stack(known)) if len(known) == len(values) else None


def place(
    joints_3d: Float32[np.ndarray, "joints 3"], person: PersonInputs, camera: ImageCamera, root: int
) -> Float32[np.ndarray, "joints 3"] | None:
    """Move root-relative joints to where the person stands in the camera's frame.

    The root lies on the ray of its pixel, as far away as the surface that is seen there. The pelvis itself lies some
    centimetres behind that surface; nothing is added for this.

    Args:
        joints_3d: relative to the root, metres.
        person: the person's joints in pixels and their depth in metres.
        camera: of the image.
        root: number of the root joint.

    Returns:
        Camera frame, metres; None unless depth and camera are known.
    """
    if person.depth is None or not camera.known:
        return None
    pixel = torch.from_numpy(person.joints_px[root]).view(1, 1, 2)
    size = torch.tensor([camera.size_px], dtype=torch.float32)
    ray = camera.normalised.unproject(normalise_pixels(pixel, size, longer_side=True))[0, 0].numpy()
    return (joints_3d + person.depth[root] * np.array([*ray, 1.0])).astype(np.float32)
