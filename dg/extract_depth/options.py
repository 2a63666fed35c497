"""What the command line of `dg.extract_depth` sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dg.extract_depth.alignment import GroundCamera
from dg.extract_depth.layouts import LAYOUTS
from dg.images.detector import DetectorOptions
from dg.pose.skeleton import SKELETONS
from dg.pose.uadd import RadiusLaw
from dg.settings.config import ConfigError
from dg.settings.plugins import suggest
from render_workers.depth.depth_anything_v2 import DepthAnythingV2
from render_workers.sampling import MIN_POOLS

DETECTOR = "detector"
# The network's own training size: a person is a small part of a whole image.
INPUT_PX = 518
_CHOICES = {
    "depth": ("depth_anything_v2",),
    "inputs": ("uadd", "xyd"),
    "layout": tuple(LAYOUTS),
    "skeleton": tuple(name for name in SKELETONS if name.startswith("h36m")),
    "align": ("auto", "off", "ground", "known"),
    "dtype": ("float32", "float16"),
    "device": ("auto", "cpu", "cuda"),
    "min_pool": MIN_POOLS,
}
_NEEDED = ("images", "keypoints", "out")
_OF_THE_NETWORK = ("checkpoint", "revision", "input_px", "precision", "trained_focal")
_GROUPS: dict[str, tuple[str, ...]] = {
    "depth": _OF_THE_NETWORK,
    "detector": tuple(f.name for f in fields(DetectorOptions) if f.name not in ("device", "batch", "max_people")),
}


@dataclass(frozen=True)
class ExtractOptions:
    """The keys of the command line; network and people: the options of `depth.*` and `detector.*`.

    Raises ConfigError for a value that cannot be.
    """

    images: str = ""
    keypoints: str = ""
    out: str = ""
    depth: str = "depth_anything_v2"
    inputs: str = "uadd"
    layout: str = "folder"
    skeleton: str = "h36m_17"
    source_2d: str = ""
    radius_mode: str = "linear"
    r_min: float = 3.0
    r_max: float = 30.0
    min_pool: int = 3
    align: str = "auto"
    camera_height: float = 0.0
    horizon: float = 0.5
    focal: float = 0.0
    workers: int = 1
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = -1.0
    batch: int = 8
    shard: int = 64
    max_unreadable: float = 0.1
    dtype: str = "float32"
    device: str = "auto"
    address: str = ""
    network: DepthAnythingV2.Options = field(default_factory=lambda: DepthAnythingV2.Options(input_px=INPUT_PX))
    people: DetectorOptions = field(default_factory=DetectorOptions)

    def __post_init__(self) -> None:
        missing = [f"{name}=..." for name in _NEEDED if not getattr(self, name)]
        if missing:
            raise ConfigError(f"give {' '.join(missing)}; see --help")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise ConfigError(
                    f"{name} must be one of {list(choices)}, got {value!r}{suggest(str(value), [*map(str, choices)])}"
                )
        for name in ("batch", "shard"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.workers < 0 or not self.cpus_per_worker > 0:
            raise ConfigError(
                f"workers must not be negative and cpus_per_worker be above 0, got {self.workers} and "
                f"{self.cpus_per_worker}"
            )
        if not 0 <= self.max_unreadable <= 1:
            raise ConfigError(f"max_unreadable is a share of the images, from 0 to 1, got {self.max_unreadable}")
        if self.align == "known" and self.keypoints == DETECTOR:
            raise ConfigError("align=known reads the depth of joints from a keypoint file; a detector knows none")
        _ = self.law, self.ground

    @property
    def law(self) -> RadiusLaw:
        """Raises ConfigError for radii that cannot be."""
        try:
            return RadiusLaw(self.radius_mode, self.r_min, self.r_max)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def ground(self) -> GroundCamera | None:
        """The camera of align=ground. Raises ConfigError for one that cannot be."""
        if self.align != "ground":
            return None
        try:
            return GroundCamera(self.camera_height, self.horizon, self.focal)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def detects(self) -> bool:
        return self.keypoints == DETECTOR

    @property
    def named_2d(self) -> str:
        """What protocol ids call the 2D that depth was read at."""
        return self.source_2d or (DETECTOR if self.detects else Path(self.keypoints).stem)


def parse(words: Sequence[str]) -> ExtractOptions:
    """The options that `key=value` words describe. Raises ConfigError with what was expected and what came."""
    own = {f.name: f.type for f in fields(ExtractOptions) if f.name not in ("network", "people")}
    values: dict[str, Any] = {}
    groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
    for word in words:
        key, equals, text = word.partition("=")
        group, dot, option = key.partition(".")
        if not equals:
            raise ConfigError(f"expected key=value, got {word!r}; see --help")
        if dot and group in _GROUPS:
            if option not in _GROUPS[group]:
                raise ConfigError(f"{group} has no option {option!r}; it takes {sorted(_GROUPS[group])}")
            groups[group][option] = text
        elif key in own:
            values[key] = typed(text, own[key], key)
        else:
            raise ConfigError(f"unknown key {key!r}{suggest(key, list(own))}; --help lists the keys")
    batch, device = values.get("batch", 8), values.get("device", "auto")
    network = {"input_px": str(INPUT_PX), **groups["depth"]}
    values["network"] = _options(DepthAnythingV2.Options, "depth", network, {"batch": batch})
    values["people"] = _options(DetectorOptions, "detector", groups["detector"], {"batch": batch, "device": device})
    return ExtractOptions(**values)


def typed(text: str, kind: Any, key: str) -> Any:  # noqa: ANN401 - what the field holds
    """A word's value. Raises ConfigError for text that is none of that type."""
    try:
        return text if kind is str else kind(text)
    except ValueError as error:
        raise ConfigError(f"{key} expects {'a whole number' if kind is int else 'a number'}, got {text!r}") from error


def _options(kind: Any, group: str, given: Mapping[str, str], more: Mapping[str, Any]) -> Any:  # noqa: ANN401
    types = {f.name: f.type for f in fields(kind)}
    try:
        return kind(**{name: typed(text, types[name], f"{group}.{name}") for name, text in given.items()}, **more)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{group}: {error}") from error
