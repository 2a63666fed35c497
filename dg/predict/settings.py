"""The settings of `dg predict`. Loads no torch, so that its help is quick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from dg.evaluation.augmentation_names import Tta
from dg.images.settings import IMAGE_DEPTH, MOST_FPS, DetectorOptions
from dg.settings.config import CountOrZero, NotNegative
from dg.settings.errors import ConfigError
from dg.settings.networks import VIT_POSE
from dg.settings.reader import read
from dg.trained.settings import Weights

_NORMALISED = 10.0  # no focal length in pixels is so short
_CAMERA = "expected fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's model)"


@dataclass(frozen=True)
class PredictOptions(DetectorOptions):
    """What is lifted, and how. images: a file or folder. Raises ConfigError for what does not go together."""

    # -- where it runs
    threads: CountOrZero = 0  # of torch on the CPU; 0: its own choice
    # -- what is lifted
    images: str = ""  # photographs or a video, instead of INPUT; with keypoints= the images that they belong to
    keypoints: str = ""  # file or folder of 2D keypoints instead of a detector: COCO, OpenPose, AlphaPose, MMPose,
    # Ultralytics, MediaPipe, VideoPose3D's archive or our own, recognised by their content (docs/predict.md)
    joints: str = "auto"  # skeleton in whose order the keypoints are; auto: the format's, or what fits clearly better
    size: str = ""  # WIDTHxHEIGHT of the images in pixels, for keypoints of formats that do not tell
    fps: Annotated[float, Ge(0), Le(MOST_FPS)] = 0.0  # frames per second of keypoints over time; 0: what the file
    # tells, most tell nothing
    # -- the lifter
    checkpoint: str = ""  # best.pt or checkpoint-STEP.pt that dg train wrote, or the folder of its run; empty: the
    # small lifter that comes with the package, trained for photographs
    weights: Weights = "auto"  # of a run's folder: best by source validation, or last; auto: best where there is one
    people: Literal["all", "best"] = "all"  # best: of an image the person whose joints are the surest
    sequence: bool = False  # true: the images of the folder are one clip, in order, for a lifter of windows; goes with
    # people=best alone
    tta: Tta = "none"  # test-time augmentation; reverse turns windows around in time
    smooth: Annotated[float, Ge(0), Le(1)] = 0.05  # seconds; people over time are averaged with the frames around,
    # by a Gaussian of this standard deviation, where the frames per second are known; 0: the lifter's own answers
    # -- depth, where the lifter's input has it
    depth: dict[str, Any] = field(default_factory=lambda: {"name": IMAGE_DEPTH})  # network that estimates it;
    # depth.OPTION=VALUE sets its options, which `dg predict depth=NAME --help` lists. Those of the lifter's training
    # hold where it is the same network, but its depth.checkpoint must be named again
    pose_network: str = VIT_POSE  # ViTPose whose features a lifter with +image_features takes: hub id or folder
    # -- camera: give one of the three, or none; then 2.29 of half the longer side is assumed, nobody is placed in space
    focal: NotNegative = 0.0  # focal length in pixels of the image
    fov: Annotated[float, Ge(0), Lt(180)] = 0.0  # horizontal field of view, degrees
    camera: str = ""  # fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's distortion)
    # -- results
    out: str = "predictions"  # folder for the results; folders below IMAGE_OR_FOLDER are kept in it
    picture: bool = True  # a PNG of each photograph with its 2D and 3D; of a clip a video (or GIF) with its 2D
    page: bool = True  # a web page with the 3D to be turned by the mouse; needs no network
    npz: bool = True  # an archive of all people
    bvh: bool = False  # of clips a BVH file for each person over time, for Blender
    rerun: bool = False  # a recording for the viewer Rerun (the extra `rerun`)

    def __post_init__(self) -> None:
        if not self.images and not self.keypoints:
            raise ConfigError("expected a photograph, a folder of them, a video, or keypoints=FILE; see --help")
        if self.sequence and self.keypoints:
            raise ConfigError("sequence= is for folders of photographs; keypoints of a clip are followed by themselves")
        if self.fps and not self.keypoints:
            raise ConfigError("fps= is for keypoints=; a video tells its own, and photographs have none")
        self.image_size  # noqa: B018 - looked at early
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
    def image_size(self) -> tuple[int, int] | None:
        """Width and height in pixels, None where `size` is empty. Raises ConfigError for anything else in it."""
        if not self.size:
            return None
        parts = self.size.lower().strip("[]").replace("x", ",").split(",")
        found = [int(part) for part in parts if part.strip().isdecimal()]
        if len(found) != 2 or len(parts) != 2 or not min(found) > 0:
            raise ConfigError(f"size={self.size}: expected WIDTHxHEIGHT in pixels, such as size=1920x1080")
        return found[0], found[1]

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
    """The settings of `dg predict`. Raises ConfigError with every problem."""
    return read(PredictOptions, args, "images", _problems)


def _problems(options: PredictOptions) -> list[str]:
    from dg.images.depth_choice import depth_problems  # loads torch
    from dg.pose.skeleton import SKELETONS

    known = options.joints in ("auto", *SKELETONS)
    found = [] if known else [f"joints={options.joints}: expected auto or one of {sorted(SKELETONS)}"]
    return found + depth_problems(options.depth)
