"""The lifter and the networks before it, loaded once for all images and frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from dg import __version__
from dg.images.detectors import Detector, make_detector
from dg.images.networks import transformers_version
from dg.images.people import Person, to_skeleton
from dg.images.reading import read_photograph
from dg.pose.missing_joints import fill_along_limbs
from dg.pose.skeleton import Skeleton
from dg.predict.cameras import ImageCamera, image_camera
from dg.predict.document import file_digest
from dg.predict.lifter_inputs import ImageInputs, PersonInputs
from dg.predict.lifting import ImageLifter
from dg.predict.picture import shrink_of
from dg.predict.scenes import DepthOfImage, Scene, SceneReader
from dg.predict.settings import PredictOptions
from dg.predict.starter import STARTER
from dg.settings.config import ConfigError
from dg.trained.stored import StoredLifter, load_checkpoint

LEAST_JOINTS = 8  # of the lifter's, that must be found for a person to be lifted


@dataclass(frozen=True)
class Seen:
    """A picture with its camera, its people, and what networks see in it where the lifter takes that."""

    image: UInt8[np.ndarray, "height width 3"]
    camera: ImageCamera
    people: list[Person]
    scene: Scene | None


class ImagePredictor:
    """See the module's docstring.

    Args:
        options: of the command.
        detector: instead of the networks that the options name.
        depth: instead of the network that the options name.
        detects: False where people's 2D comes from a file.

    Raises:
        CheckpointError: for a lifter that cannot be used.
        DepthCheckpointError: for a network that cannot be used.
        ConfigError: for a lifter whose input cannot be made from photographs.
    """

    def __init__(
        self,
        options: PredictOptions,
        detector: Detector | None = None,
        depth: DepthOfImage | None = None,
        detects: bool = True,
    ) -> None:
        self.options = options
        stored = load_checkpoint(Path(options.checkpoint or STARTER), options.weights)
        _check_inputs(stored)
        self.detector: Detector | None = detector or (make_detector(options.detection) if detects else None)
        self.device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.scenes = SceneReader(stored, options, self.device, depth)
        self.lifter = ImageLifter(stored, self.device, options.tta)
        self.left_out = 0  # people of whom too few joints were found

    @property
    def stored(self) -> StoredLifter:
        """The stored lifter that lifts the detected people."""
        return self.lifter.stored

    @property
    def skeleton(self) -> Skeleton:
        """Of the lifted joints."""
        return self.lifter.skeleton

    @property
    def is_starter(self) -> bool:
        """Whether it is the lifter that comes with the package."""
        return not self.options.checkpoint

    def inputs_of(self, path: Path, name: Path) -> ImageInputs:
        """An image with its people and what the lifter takes of it at their joints.

        Args:
            path: of the image.
            name: that results call it by.

        Raises:
            ImageError: for an image that cannot be read.
        """
        photograph = read_photograph(path)
        seen = self.see(photograph.rgb, photograph.focal_px)
        return self.framed(seen, path, name, chosen(seen.people, self.options.people))

    def see(self, image: UInt8[np.ndarray, "height width 3"], focal_px: float = 0.0) -> Seen:
        """Find people, and what else the lifter takes, in a picture.

        Args:
            image: RGB.
            focal_px: focal length that the file tells of, pixels; 0: none.
        """
        camera = self.camera((image.shape[1], image.shape[0]), focal_px)
        people = [] if self.detector is None else self.detector([image])[0]
        return Seen(image, camera, people, self.scenes.look(image, camera))

    def camera(self, size: tuple[int, int], focal_px: float = 0.0) -> ImageCamera:
        """The camera of an image of a size. focal_px: as for `see`."""
        return image_camera(size, self.options, self.stored.inputs.f_ref, focal_px)

    def framed(self, seen: Seen, path: Path, name: Path, people: Sequence[Person]) -> ImageInputs:
        """A picture with some of its people on the lifter's skeleton; who has too few joints is left out."""
        inputs = [made for person in people if (made := self.on_skeleton(person, seen.scene)) is not None]
        self.left_out += len(people) - len(inputs)
        if not (self.options.picture or self.options.page or self.options.rerun):
            return ImageInputs(path, name, seen.camera, inputs)
        shrink = shrink_of(*seen.camera.size_px)
        depth = None if seen.scene is None else seen.scene.depth
        small = None if depth is None else resized(depth, shrink)
        return ImageInputs(path, name, seen.camera, inputs, resized(seen.image, shrink), small, shrink)

    def on_skeleton(self, person: Person, scene: Scene | None) -> PersonInputs | None:
        """A person on the lifter's skeleton, missing joints where their limb goes on; None with too few joints.

        Args:
            person: as detected.
            scene: what networks see in the person's picture; None where the lifter takes nothing of it.
        """
        return self.measured(PersonInputs(person, *to_skeleton(person, self.skeleton)), scene)

    def measured(self, person: PersonInputs, scene: Scene | None) -> PersonInputs | None:
        """A person with missing joints where their limb goes on, and what the lifter takes of the picture.

        Args:
            person: on the lifter's skeleton, NaN where a joint is missing.
            scene: as for `on_skeleton`.

        Returns:
            The person; None with too few joints.
        """
        skeleton, joints_px = self.skeleton, person.joints_px
        known = np.asarray(np.isfinite(joints_px).all(-1))
        if known.sum() < LEAST_JOINTS:
            return None
        missing = None if known.all() else ~known
        filled = fill_along_limbs(torch.from_numpy(joints_px)[None], torch.from_numpy(known)[None], skeleton)[0].numpy()
        return self.scenes.at_joints(replace(person, joints_px=filled, missing=missing), scene)

    def made_with(self, source_2d: str = "") -> dict[str, Any]:
        """How the results were made, for their files. source_2d: where the 2D comes from, where it is no detector."""
        recorded = getattr(self.detector, "record", None)
        networks: dict[str, Any] = {} if recorded is None else dict(recorded())
        networks |= self.scenes.record()
        config = self.stored.config
        return {
            "protocol": {
                "2d": source_2d or getattr(self.detector, "name", "rt-detr+vitpose"),
                "depth": "images" if self.scenes.needs_depth else "none",
                "tta": self.options.tta,
            },
            "checkpoint": {
                **self.stored.origin(),
                "sha256": file_digest(self.stored.path),
                "inputs": config.inputs,
                "dscale2d": config.dscale2d_resolved,
                "d_ref": config.d_ref,
                "frames": config.frames,
                "trained_with_depth": config.depth["name"] if config.needs_depth else "none",
            },
            "networks": networks,
            "versions": {
                "dg": __version__,
                "torch": torch.__version__,
                "transformers": transformers_version() or "none",
            },
        }


def chosen(people: list[Person], which: str) -> list[Person]:
    """All people, or the one whose joints are the surest on average (METHODS 4.2).

    Args:
        people: of one image.
        which: `all` or `best`.
    """
    if which == "all" or not people:
        return people
    return [max(people, key=lambda person: float(person.confidence.mean()))]


def resized(values: UInt8[np.ndarray, "height width 3"] | np.ndarray, shrink: float) -> np.ndarray:
    """A picture or a map made smaller by a factor of at most 1."""
    if shrink == 1.0:
        return values
    height, width = (max(round(side * shrink), 1) for side in values.shape[:2])
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _check_inputs(stored: StoredLifter) -> None:
    if stored.config.depth_bins:
        raise ConfigError(
            f"{stored.path} was trained with depth_bins={stored.config.depth_bins}, ordinal depth of the true joints, "
            "which nobody knows of a photograph"
        )
    if stored.config.answers != "metres":
        raise ConfigError(
            f"{stored.path} was trained with answers={stored.config.answers}, which depth and place of the true root "
            "bring to metres; nobody knows them of a photograph"
        )
