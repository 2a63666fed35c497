"""The settings of `dg predict`. Loads no torch, so that its help is quick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from dg.evaluation.augmentation_names import Tta
from dg.images.settings import IMAGE_DEPTH, DetectorOptions
from dg.settings.config import CountOrZero, NotNegative
from dg.settings.errors import ConfigError
from dg.settings.reader import NO_KEY, read
from dg.trained.settings import Weights

_NORMALISED = 10.0  # no focal length in pixels is so short
_CAMERA = "expected fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's model)"


@dataclass(frozen=True)
class PredictOptions(DetectorOptions):
    """Which images are lifted, and how. images: a file or folder. Raises ConfigError for what does not go together."""

    # -- where it runs
    threads: CountOrZero = 0  # of torch on the CPU; 0: its own choice
    # -- the lifter
    images: str = field(default="", metadata=NO_KEY)
    checkpoint: str = ""  # best.pt or checkpoint-STEP.pt that dg train wrote, or the folder of its run; required
    weights: Weights = "auto"  # of a run's folder: best by source validation, or last; auto: best where there is one
    people: Literal["all", "best"] = "all"  # best: of an image the person whose joints are the surest
    sequence: bool = False  # true: the images of the folder are one clip, in order, for a lifter of windows; goes with
    # people=best alone
    tta: Tta = "none"  # test-time augmentation; reverse turns windows around in time
    # -- depth, where the lifter's input has it
    depth: dict[str, Any] = field(default_factory=lambda: {"name": IMAGE_DEPTH})  # network that estimates it;
    # depth.OPTION=VALUE sets its options, which `dg predict depth=NAME --help` lists. Those of the lifter's training
    # hold where it is the same network, but its depth.checkpoint must be named again
    # -- camera: give one of the three, or none; then 2.29 of half the longer side is assumed, nobody is placed in space
    focal: NotNegative = 0.0  # focal length in pixels of the image
    fov: Annotated[float, Ge(0), Lt(180)] = 0.0  # horizontal field of view, degrees
    camera: str = ""  # fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's distortion)
    # -- results
    out: str = "predictions"  # folder for the results; folders below IMAGE_OR_FOLDER are kept in it
    picture: bool = True  # false: JSON alone

    def __post_init__(self) -> None:
        if not self.images or not self.checkpoint:
            raise ConfigError("expected IMAGE_OR_FOLDER checkpoint=FILE; see --help")
        if self.sequence and self.people != "best":
            raise ConfigError("sequence=true follows one person through the images: give people=best with it")
        given = [name for name in ("focal", "fov", "camera") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"expected one of focal, fov and camera, got {given}")
        if self.focal and not _NORMALISED <= self.focal < math.inf:
            raise ConfigError(f"focal={self.focal:g}: expected pixels of the image, such as focal=1145")
        if self.camera:
            self.intrinsics  # noqa: B018 - looked at early

    @property
    def intrinsics(self) -> tuple[float, ...]:
        """fx, fy, cx, cy in pixels and k1, k2, k3, p1, p2. Raises ConfigError for anything else in `camera`."""
        try:
            found = tuple(float(part) for part in self.camera.strip("[]").split(","))
        except ValueError:
            found = ()
        if len(found) not in (4, 9) or not min(found[:2]) > 0 or not all(map(math.isfinite, found)):
            raise ConfigError(f"camera={self.camera}: {_CAMERA}")
        return (*found, *[0.0] * (9 - len(found)))

    @property
    def depth_name(self) -> str:
        """The depth source, by its name in `DEPTH_SOURCES`."""
        return self.depth.get("name", IMAGE_DEPTH)

    @property
    def detection(self) -> DetectorOptions:
        """What the detector takes."""
        return DetectorOptions(**{f.name: getattr(self, f.name) for f in fields(DetectorOptions)})


def predict_options(args: Sequence[str]) -> PredictOptions:
    """The settings of `dg predict`.

    Args:
        args: `key=value` each, and the image or folder.

    Raises:
        ConfigError: with every problem.
    """
    return read(PredictOptions, args, "images", _problems)


def _problems(options: PredictOptions) -> list[str]:
    from dg.images.depth_choice import depth_problems  # loads torch

    return depth_problems(options.depth)
