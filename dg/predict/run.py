"""One call of `dg predict`: it reads images and writes a JSON file and a picture of each."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from dg import __version__
from dg.images.depth_choice import choose_depth
from dg.images.detector import PersonPoseDetector
from dg.images.joint_depth import depth_at_joints, joint_depths, torso_px
from dg.images.people import Person, to_skeleton
from dg.images.reading import ImageError, find_images, read_image
from dg.predict.cameras import ImageCamera, image_camera
from dg.predict.document import file_digest, image_document, write_document
from dg.predict.image_depth import ImageDepth
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson, PersonInputs
from dg.predict.lifting import ImageLifter
from dg.predict.picture import draw_picture, shrink_of, write_picture
from dg.predict.settings import PredictOptions
from dg.settings.config import ConfigError
from dg.trained.places import check_places
from dg.trained.stored import StoredLifter, load_checkpoint
from dg.training.rendering import radius_law
from render_workers.depth.checkpoint_files import content_digest

SUMMARY = "summary.json"
PICTURE = ".prediction.png"
DETECTED = "rt-detr+vitpose"  # the 2D source in a protocol id
Detector = Callable[[Sequence[np.ndarray]], list[list[Person]]]
DepthOfImage = Callable[[np.ndarray, ImageCamera], np.ndarray]
Say = Callable[[str], None]


@dataclass
class Tally:
    """What became of the images.

    Attributes:
        unreadable: file -> reason.
    """

    images: int = 0
    people: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    without_people: list[str] = field(default_factory=list)


class ImagePredictor:
    """The lifter and the networks before it, loaded once for all images.

    Args:
        options: of the command.
        detector: instead of the networks that the options name.
        depth: instead of the network that the options name.

    Raises:
        CheckpointError: for a lifter that cannot be used.
        DepthCheckpointError: for a network that cannot be used.
        ConfigError: for a lifter whose input cannot be made from photographs.
    """

    def __init__(
        self, options: PredictOptions, detector: Detector | None = None, depth: DepthOfImage | None = None
    ) -> None:
        self.options = options
        stored = load_checkpoint(Path(options.checkpoint), options.weights)
        _check_inputs(stored)
        self.detector = detector or PersonPoseDetector(options.detection)
        self.device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
        self.depth: DepthOfImage | None = None
        if stored.inputs.needs_depth:
            if stored.config.depth["name"] == options.depth_name:
                check_places(stored.path, stored.config, [f"depth.{key}=" for key in options.depth], ["depth"])
            self.depth = depth or ImageDepth(choose_depth(options.depth, stored.config.depth), self.device)
        self.lifter = ImageLifter(stored, self.device, options.tta)
        self.law = radius_law(stored.config)

    @property
    def stored(self) -> StoredLifter:
        """The stored lifter that lifts the detected people."""
        return self.lifter.stored

    def inputs_of(self, path: Path, name: Path) -> ImageInputs:
        """An image with its people and the depth at their joints.

        Args:
            path: of the image.
            name: that results call it by.

        Raises:
            ImageError: for an image that cannot be read.
        """
        image = read_image(path)
        height, width = image.shape[:2]
        camera = image_camera((width, height), self.options, self.stored.inputs.f_ref)
        people = _chosen(self.detector([image])[0], self.options.people)
        depth = None if self.depth is None else self.depth(image, camera)
        inputs = [self._on_skeleton(person, depth) for person in people]
        if not self.options.picture:
            return ImageInputs(path, name, camera, inputs)
        shrink = shrink_of(width, height)
        small = None if depth is None else _resized(depth, shrink)
        return ImageInputs(path, name, camera, inputs, _resized(image, shrink), small, shrink)

    def _on_skeleton(self, person: Person, depth: np.ndarray | None) -> PersonInputs:
        skeleton = self.lifter.skeleton
        joints_px, confidence = to_skeleton(person, skeleton)
        if depth is None:
            return PersonInputs(person, joints_px, confidence)
        config = self.stored.config
        if not config.detects:
            return PersonInputs(
                person, joints_px, confidence, depth_at_joints(depth, joints_px, config.render.min_pool)
            )
        found = joint_depths(depth, joints_px, confidence, self.law, float(torso_px(joints_px, skeleton)))
        return PersonInputs(person, joints_px, confidence, found.median, found.nearest, found.farthest)

    def made_with(self) -> dict[str, Any]:
        """How the results were made, for their files."""
        networks: dict[str, Any] = {}
        if isinstance(self.detector, PersonPoseDetector):
            chosen = self.options
            networks["detector"] = {
                "checkpoint": chosen.detector,
                "digest": content_digest(self.detector.detector_folder),
            }
            networks["pose"] = {"checkpoint": chosen.pose, "digest": content_digest(self.detector.pose_folder)}
        if isinstance(self.depth, ImageDepth):
            networks["depth"] = self.depth.record()
        config = self.stored.config
        return {
            "protocol": {"2d": DETECTED, "depth": "none" if self.depth is None else "images", "tta": self.options.tta},
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
            "versions": {"dg": __version__, "torch": torch.__version__, "transformers": _version("transformers")},
        }


def run(
    options: PredictOptions, say: Say, detector: Detector | None = None, depth: DepthOfImage | None = None
) -> dict[str, Any]:
    """Lift the people in every image and write the files.

    Args:
        options: of the command.
        say: prints a line.
        detector: as for `ImagePredictor`.
        depth: as for `ImagePredictor`.

    Returns:
        What `summary.json` holds.

    Raises:
        ImageError: where no image can be read.
        ConfigError, CheckpointError, DepthCheckpointError: as `ImagePredictor` does.
    """
    start = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    root, out = Path(options.images), Path(options.out)
    paths = [p for p in find_images(root) if not p.name.endswith(PICTURE)]
    if not paths:
        raise ImageError(f"{root}: no images in this folder or below it")
    predictor = ImagePredictor(options, detector, depth)
    made_with = predictor.made_with()
    for line in _notes(predictor):
        say(line)
    tally = Tally()
    for images in _chunks(_read(predictor, root, paths, tally, say), 0 if options.sequence else 1):
        for image, people in _lifted(predictor, images):
            _write(predictor, image, people, out, made_with)
            _count(tally, image, people, say)
    if not tally.images:
        raise ImageError(f"none of the {len(paths)} images can be read, for example {_first(tally.unreadable)}")
    summary = {
        "images": tally.images, "people": tally.people, "without_people": tally.without_people,
        "unreadable": tally.unreadable, "out": str(out), "wall_s": round(time.monotonic() - start, 3), **made_with,
    }  # fmt: skip
    write_document(summary, out / SUMMARY)
    return summary


def _read(
    predictor: ImagePredictor, root: Path, paths: Sequence[Path], tally: Tally, say: Say
) -> Iterator[ImageInputs]:
    base = root if root.is_dir() else root.parent
    for path in paths:
        name = path.relative_to(base)
        try:
            yield predictor.inputs_of(path, name)
        except ImageError as error:
            tally.unreadable[str(name)] = str(error)
            say(f"  left out: {error}")


def _chunks(images: Iterator[ImageInputs], size: int) -> Iterator[list[ImageInputs]]:
    """Lists of so many; all in one for 0."""
    chunk: list[ImageInputs] = []
    for image in images:
        chunk.append(image)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _lifted(
    predictor: ImagePredictor, images: Sequence[ImageInputs]
) -> Iterator[tuple[ImageInputs, list[LiftedPerson]]]:
    """The images with their people lifted; an image without people ends a clip."""
    people, cameras, clip = [], [], []
    number = 0
    for image in images:
        for person in image.people:
            people.append(person)
            cameras.append(image.camera)
            clip.append(number)
            number += 0 if predictor.options.sequence else 1
        number += 0 if image.people else 1
    lifted = iter(predictor.lifter(people, cameras, torch.tensor(clip, dtype=torch.long)))
    for image in images:
        yield image, [next(lifted) for _ in image.people]


def _write(
    predictor: ImagePredictor, image: ImageInputs, people: Sequence[LiftedPerson], out: Path, made_with: dict[str, Any]
) -> None:
    place = out / image.name
    skeleton = predictor.lifter.skeleton
    document = image_document(image, people, skeleton, made_with)
    write_document(document, place.with_name(f"{place.name}.json"))
    if predictor.options.picture:
        figure = draw_picture(image, people, skeleton, _caption(predictor, image.camera))
        write_picture(figure, place.with_name(f"{place.name}{PICTURE}"))


def _caption(predictor: ImagePredictor, camera: ImageCamera) -> str:
    config = predictor.stored.config
    focal = f"focal length {camera.focal_px[0]:.0f} px" + ("" if camera.known else " (assumed)")
    return f"{config.lifter['name']}, {config.method['name']}, {config.inputs}   {focal}"


def _notes(predictor: ImagePredictor) -> list[str]:
    """What a reader of the numbers must know before."""
    config, options = predictor.stored.config, predictor.options
    found = []
    if not (options.focal or options.fov or options.camera):
        found.append(
            f"focal length not given: assumed {predictor.stored.inputs.f_ref} of half the longer side; 3D stays "
            "relative to the pelvis. Give focal=PIXELS, fov=DEGREES or camera=fx,fy,cx,cy to place people in space"
        )
    chosen = options.depth_name
    if predictor.depth is not None and config.depth["name"] != chosen:
        found.append(f"the lifter was trained with depth={config.depth['name']}, here depth is a network's ({chosen})")
    if config.frames > 1 and not options.sequence:
        found.append(
            f"the lifter sees windows of {config.frames} frames: each image is shown to it as a person who stands "
            "still; sequence=true people=best takes a folder's images as one clip"
        )
    return found


def _count(tally: Tally, image: ImageInputs, people: Sequence[LiftedPerson], say: Say) -> None:
    tally.images += 1
    tally.people += len(people)
    if not people:
        tally.without_people.append(str(image.name))
    say(f"  {image.name}: " + ("nobody" if not people else "1 person" if len(people) == 1 else f"{len(people)} people"))


def _chosen(people: list[Person], which: str) -> list[Person]:
    """All people, or the one whose joints are the surest on average (METHODS 4.2)."""
    if which == "all" or not people:
        return people
    return [max(people, key=lambda person: float(person.confidence.mean()))]


def _resized(values: UInt8[np.ndarray, "height width 3"] | np.ndarray, shrink: float) -> np.ndarray:
    if shrink == 1.0:
        return values
    height, width = (max(round(side * shrink), 1) for side in values.shape[:2])
    return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR))


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _check_inputs(stored: StoredLifter) -> None:
    if "+" in stored.config.inputs:
        raise ConfigError(
            f"{stored.path} was trained with inputs={stored.config.inputs}: features of the rendered picture at the "
            "joints, which dg.predict does not read from photographs"
        )


def _first(reasons: dict[str, str]) -> str:
    return next(iter(reasons.values()))
