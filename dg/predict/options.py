"""The command line of `dg.predict`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from dg.evaluation.predictions import TTA
from dg.images.detector import DEVICES, RT_DETR, VIT_POSE, DetectorOptions
from dg.settings.config import ConfigError
from dg.settings.plugins import OptionError, make_options, suggest
from dg.trained.stored import WEIGHTS
from render_workers.depth.depth_anything_v2 import DepthAnythingV2

DEPTH = "depth_anything_v2"  # the only depth source that needs nothing but an image
PEOPLE = ("all", "best")
# The shorter side at which the Depth Anything V2 checkpoints were trained; a whole room does not fit into 140 pixels.
INPUT_PX = 518
_NORMALISED = 10.0  # no focal length in pixels is so short


@dataclass(frozen=True)
class PredictOptions:
    """What the command line sets; the meanings stand in the help of `dg.predict`. depth_options: those of
    `DepthAnythingV2.Options` that were given. Raises ConfigError.
    """

    images: str = ""
    checkpoint: str = ""
    weights: str = "auto"
    out: str = "predictions"
    detector: str = RT_DETR
    pose: str = VIT_POSE
    person_score: float = 0.3
    max_people: int = 0
    people: str = "all"
    depth: str = DEPTH
    depth_options: dict[str, Any] = field(default_factory=dict)
    focal: float = 0.0
    fov: float = 0.0
    camera: str = ""
    sequence: bool = False
    tta: str = "none"
    picture: bool = True
    batch: int = 8
    device: str = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        if not self.images or not self.checkpoint:
            raise ConfigError("expected IMAGE_OR_FOLDER checkpoint=FILE; see --help")
        choices = (("weights", WEIGHTS), ("people", PEOPLE), ("tta", TTA), ("device", DEVICES), ("depth", (DEPTH,)))
        for name, known in choices:
            chosen(name, getattr(self, name), known)
        if self.sequence and self.people != "best":
            raise ConfigError("sequence=true follows one person through the images: give people=best with it")
        if self.threads < 0:
            raise ConfigError(f"threads must not be negative, got {self.threads}")
        self._check_camera()

    def _check_camera(self) -> None:
        given = [name for name in ("focal", "fov", "camera") if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"expected one of focal, fov and camera, got {given}")
        if self.focal and not self.focal >= _NORMALISED:
            raise ConfigError(f"focal={self.focal}: expected pixels of the image, such as focal=1145")
        if self.fov and not 0 < self.fov < 180:
            raise ConfigError(f"fov={self.fov}: expected the horizontal field of view in degrees, such as fov=60")
        if self.camera:
            self.intrinsics  # noqa: B018 - looked at early

    @property
    def intrinsics(self) -> tuple[float, ...]:
        """fx, fy, cx, cy in pixels and k1, k2, k3, p1, p2. Raises ConfigError for anything else in `camera`."""
        try:
            found = tuple(float(part) for part in self.camera.strip("[]").split(","))
        except ValueError:
            found = ()
        if len(found) not in (4, 9) or not min(found[:2]) > 0:
            raise ConfigError(
                f"camera={self.camera}: expected fx,fy,cx,cy in pixels, or these and k1,k2,k3,p1,p2 (Human3.6M's model)"
            )
        return (*found, *[0.0] * (9 - len(found)))

    @property
    def detection(self) -> DetectorOptions:
        """Raises ConfigError for a value that the detector does not take."""
        shared = {f.name: getattr(self, f.name) for f in fields(DetectorOptions)}
        try:
            return DetectorOptions(**shared)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def network(self, trained_with: dict[str, Any]) -> DepthAnythingV2.Options:
        """The depth network's options. trained_with: depth source of the checkpoint, whose network serves here too."""
        kept = ("checkpoint", "revision", "precision", "trained_focal")
        own = {k: v for k, v in trained_with.items() if k in kept} if trained_with.get("name") == DEPTH else {}
        if "checkpoint" in self.depth_options:
            own.pop("revision", None)
        return make_options(DepthAnythingV2, "depth", DEPTH, {"input_px": INPUT_PX, **own, **self.depth_options})


def chosen(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ConfigError for a value that is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {list(choices)}, got {value!r}{suggest(value, list(choices))}")


def parse_words(words: Sequence[str]) -> PredictOptions:
    """Options from `key=value` words and the one word that is a path. Raises ConfigError with what may be given."""
    known = {f.name: f.type for f in fields(PredictOptions) if f.name not in ("images", "depth_options")}
    given: dict[str, Any] = {}
    depth_options: dict[str, Any] = {}
    paths: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if Path(word).exists() or not equals:
            paths.append(word)
        elif key.startswith("depth."):
            depth_options[key.removeprefix("depth.")] = yaml.safe_load(value)
        elif key in known:
            given[key] = _typed(key, value, known[key])
        else:
            raise ConfigError(f"unknown key {key!r}{suggest(key, [*known])} Known: {[*known, 'depth.OPTION']}")
    if len(paths) != 1 or paths[0].startswith("-"):
        raise ConfigError(f"expected one IMAGE_OR_FOLDER, got {' '.join(paths) or 'none'}; see --help")
    options = PredictOptions(paths[0], depth_options=depth_options, **given)
    try:
        options.network({})
    except OptionError as error:
        raise ConfigError(str(error)) from error
    options.detection  # noqa: B018 - looked at early
    return options


def _typed(key: str, text: str, kind: Any) -> Any:  # noqa: ANN401
    if kind is bool:
        chosen(key, text, ("true", "false"))
        return text == "true"
    if kind is str:
        return text
    wanted = r"\d+" if kind is int else r"\d*\.?\d+(e-?\d+)?"
    if not re.fullmatch(wanted, text):
        raise ConfigError(f"{key}={text}: expected {'a whole number' if kind is int else 'a number'}")
    return kind(text)
