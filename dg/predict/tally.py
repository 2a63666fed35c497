"""What became of the images, and what is said of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dg.predict.cameras import ImageCamera
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson
from dg.predict.predictor import ImagePredictor
from dg.predict.starter import starter_note

PICTURE, PAGE = ".prediction.png", ".html"
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

    def count(self, image: ImageInputs, people: Sequence[LiftedPerson], say: Say | None = None) -> None:
        """Take an image, and say how many people are in it."""
        self.images += 1
        self.people += len(people)
        if not people:
            self.without_people.append(str(image.name))
        if say is None:
            return
        words = "nobody" if not people else "1 person" if len(people) == 1 else f"{len(people)} people"
        exif = f", focal length {image.camera.focal_px[0]:.0f} px from EXIF" if image.camera.origin == "exif" else ""
        say(f"  {image.name}: {words}{exif}")


def caption(predictor: ImagePredictor, camera: ImageCamera) -> str:
    """Lifter, input and focal length, for pictures and pages."""
    config = predictor.stored.config
    origin = {"given": "", "exif": " (EXIF)", "assumed": " (assumed)"}[camera.origin]
    name = "starter lifter" if predictor.is_starter else config.lifter["name"]
    focal = f"focal length {camera.focal_px[0]:.0f} px{origin}"
    return f"{name}, {config.method['name']}, {config.inputs}, {focal}"


def notes(predictor: ImagePredictor) -> list[str]:
    """What a reader of the numbers must know before."""
    config, options = predictor.stored.config, predictor.options
    found = [starter_note()] if predictor.is_starter else []
    if not (options.focal or options.fov or options.camera):
        found.append(
            f"focal length not given: assumed {predictor.stored.inputs.f_ref} of half the longer side unless the "
            "file's EXIF tells; 3D stays relative to the pelvis. Give focal=PIXELS, fov=DEGREES or camera=fx,fy,cx,cy "
            "to place people in space"
        )
    chosen = options.depth_name
    if predictor.scenes.needs_depth and config.depth["name"] != chosen:
        found.append(f"the lifter was trained with depth={config.depth['name']}, here depth is a network's ({chosen})")
    return found
