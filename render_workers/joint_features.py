"""Features at the joints (AugLiftV2, METHODS 4.6): what networks say of the rendered picture where the lifter's joints
are, the last map of the depth network's backbone and of a 2D pose network's.

They are read where the lifter sees the joint, detected joints at their detection. The paper says both average and
bilinear of the four nearest cells; here it is bilinear. They travel and are kept as float16.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.input_spec import FEATURES
from dg.settings.networks import VIT_POSE
from dg.settings.plugins import OptionError, resolve
from render_workers.base import RenderRequest
from render_workers.crop import Crop
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.checkpoint_files import content_digest, find_checkpoint
from render_workers.depth.network_source import MappedDepthSource
from render_workers.depth.pose_network import POSE_OPTION, PoseNetwork, pose_feature_width
from render_workers.feature_maps import FeatureMap

DEPTH_FEATURES, IMAGE_FEATURES = FEATURES
# Part of the cache key of what has features: to be raised when they change.
FEATURES_VERSION = 1
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class FeatureOptions:
    """names: of `FEATURES`, in their order. pose_network: folder or hub id, of which image_features come.

    Raises ValueError for other names or none.
    """

    names: tuple[str, ...]
    pose_network: str = VIT_POSE

    def __post_init__(self) -> None:
        if not self.names or self.names != tuple(name for name in FEATURES if name in self.names):
            raise ValueError(f"expected some of the features {list(FEATURES)}, in this order, got {list(self.names)}")

    @property
    def of_depth(self) -> bool:
        """Whether features of the depth network are asked for."""
        return DEPTH_FEATURES in self.names

    @property
    def of_image(self) -> bool:
        """Whether features of the 2D pose network are asked for."""
        return IMAGE_FEATURES in self.names

    @property
    def networks(self) -> str:
        """What, for a message, comes behind the depth source as having files."""
        return f" or {POSE_OPTION}={self.pose_network}" if self.of_image else ""

    def sizes(self, depth_name: str, depth_options: Any) -> tuple[int, ...]:  # noqa: ANN401 - the source's Options
        """Return the channels of each feature, from the networks' configs alone.

        Args:
            depth_name: name of the depth source.
            depth_options: options of the depth source.

        Raises:
            OptionError: a depth source without features, else as loading the networks does.
        """
        sizes = []
        if self.of_depth:
            sizes.append(with_features(depth_name).feature_width(depth_options))
        if self.of_image:
            sizes.append(pose_feature_width(self._folder()))
        return tuple(sizes)

    def digest(self) -> str:
        """Changes with everything that changes features, the depth network left out, which has a digest of its own."""
        return f"{FEATURES_VERSION} {self.names} {content_digest(self._folder()) if self.of_image else ''}"

    def build(self) -> "FeatureReader":
        """Raises as loading the networks does."""
        return FeatureReader(self, PoseNetwork(self._folder()) if self.of_image else None)

    def _folder(self) -> Path:
        return find_checkpoint(self.pose_network, option=POSE_OPTION, example=VIT_POSE)


class FeatureReader:
    """Reads the features that the options name.

    Args:
        pose: network of the image features; None without them.
    """

    def __init__(self, options: FeatureOptions, pose: PoseNetwork | None) -> None:
        self.options, self.pose = options, pose

    @property
    def needs_rgb(self) -> bool:
        """Whether the reader needs the rendered picture: only the pose network does."""
        return self.pose is not None

    def read(
        self,
        depth_map: FeatureMap | None,
        rgb: Float[Tensor, "batch 3 height width"] | None,
        crop: Crop,
        places_px: Float[Tensor, "batch joints 2"],
    ) -> Float[Tensor, "batch joints features"]:
        """Return the features at the places as float16, sources in their order; NaN where a network's map is.

        Args:
            crop: the crop that the maps show.
            places_px: where to read, pixels of the crop.
            depth_map: last map of the depth network, for its features.
            rgb: the picture, for a pose network, which sees the box of the crop's joints.

        Raises:
            ValueError: a map or picture that is needed is missing.
        """
        return self.read_at(depth_map, rgb, crop.joints_px, places_px)

    def read_at(
        self,
        depth_map: FeatureMap | None,
        rgb: Float[Tensor, "batch 3 height width"] | None,
        joints_px: Float[Tensor, "batch joints 2"],
        places_px: Float[Tensor, "batch joints 2"],
    ) -> Float[Tensor, "batch joints features"]:
        """Return the features at places of images, as `read` does of crops.

        Args:
            depth_map: last map of the depth network, for its features.
            rgb: the picture, for a pose network, which sees the box of the joints.
            joints_px: joints that span that box, pixels.
            places_px: where to read, pixels.

        Raises:
            ValueError: a map or picture that is needed is missing.
        """
        maps = []
        if self.options.of_depth:
            maps.append(depth_map)
        if self.pose is not None:
            maps.append(None if rgb is None else self.pose(rgb, joints_px))
        if any(found is None for found in maps):
            raise ValueError(f"features {list(self.options.names)} need the depth network's map and the shaded image")
        features = torch.cat([found.at(places_px) for found in maps if found is not None], -1)
        return features.clamp(-LARGEST, LARGEST).half()


def seen_places(
    request: RenderRequest, crop: Crop, readings: Float[Tensor, "batch joints *readings"]
) -> Float[Tensor, "batch joints 2"]:
    """Where in the crop the lifter sees the joints, pixels: at their detections, where the readings hold some.

    Args:
        request: poses, cameras and detections.
        crop: the square that each pose was drawn in.
        readings: what was read at the joints; the last two are the detection's offsets in the image plane at depth 1.
    """
    if not request.detect:
        return crop.joints_px
    ray = request.camera.unproject(request.joints_2d + readings[..., -2:])
    return crop.focal_px[:, None] * ray + crop.center_px[:, None]


def with_features(name: str) -> type[MappedDepthSource]:
    """The depth source of that name, if its network has a feature map; else OptionError that says which have."""
    source = resolve(DEPTH_SOURCES, "depth", name)
    if not issubclass(source, MappedDepthSource):
        fitting = [n for n in DEPTH_SOURCES if issubclass(resolve(DEPTH_SOURCES, "depth", n), MappedDepthSource)]
        raise OptionError(f"{DEPTH_FEATURES} needs depth={'|'.join(fitting)}; {name} has no features")
    return source
