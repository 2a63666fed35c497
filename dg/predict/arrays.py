"""All people of an input in one archive, a person and frame a row."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dg.files.atomic import replace_file
from dg.images.keypoint_formats.base import NO_TRACK
from dg.pose.skeleton import Skeleton
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson


class PeopleArrays:
    """Collects people for an archive.

    | array | content |
    |---|---|
    | `joints_3d` [rows, J, 3] | metres, relative to the root, camera axes (x right, y down, z away); NaN: not found |
    | `guessed_3d` [rows, J, 3] | the same with the lifter's guess of joints that were not found |
    | `placed_3d` [rows, J, 3] | metres in the camera's frame, where camera and depth are known |
    | `joints_2d` [rows, J, 2], `confidence` [rows, J] | pixels, NaN: not found; in [0, 1] |
    | `image` [rows], `frame` [rows] | name of the image; its number in time, -1 for a photograph |
    | `track` [rows] | number of the person over time, -1: none |
    | `size` [rows, 2], `focal` [rows, 2], `camera_known` [rows] | of the image, pixels |
    | `skeleton`, `joint_names` [J], `parents` [J], `fps` | of all |

    It is a keypoint file, too: `dg predict keypoints=` reads its 2D.
    """

    def __init__(self, skeleton: Skeleton, fps: float = 0.0) -> None:
        self.skeleton, self.fps = skeleton, fps
        self.rows: dict[str, list[np.ndarray | str | int | bool]] = {}

    def add(self, image: ImageInputs, people: Sequence[LiftedPerson]) -> None:
        """Take the people of an image."""
        lost = np.full((len(self.skeleton), 3), np.nan, np.float32)
        for person in people:
            track = person.inputs.person.track
            row = {
                "joints_3d": person.seen_3d,
                "guessed_3d": person.joints_3d,
                "placed_3d": lost if person.placed is None else person.seen_placed,
                "joints_2d": person.inputs.seen_px,
                "confidence": person.inputs.confidence,
                "image": str(image.name),
                "frame": -1 if image.number is None else image.number,
                "track": NO_TRACK if track is None else track,
                "size": np.asarray(image.camera.size_px, np.float32),
                "focal": np.asarray(image.camera.focal_px, np.float32),
                "camera_known": image.camera.known,
            }
            for name, value in row.items():
                self.rows.setdefault(name, []).append(value)  # type: ignore[arg-type]

    def write(self, path: Path) -> None:
        """Write the archive, whole or not at all; nothing where there is nobody."""
        if not self.rows:
            return
        arrays = {name: np.stack([np.asarray(v) for v in values]) for name, values in self.rows.items()}
        joints = self.skeleton.joints
        more = {
            "skeleton": np.array(self.skeleton.name), "joint_names": np.array(joints),
            "parents": np.array(self.skeleton.parents), "fps": np.array(self.fps),
        }  # fmt: skip
        replace_file(path, lambda file: np.savez_compressed(file, **arrays, **more))  # type: ignore[arg-type]
