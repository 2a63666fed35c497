"""What a lifter takes of a picture besides the 2D: depth at the joints, and what networks say of the picture there.

Depth is read as `dg extract-depth` reads it, features too: the networks see the photograph as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from dg.images.depth_choice import choose_depth
from dg.images.joint_depth import depth_at_joints, joint_depths, torso_px
from dg.images.joint_features import features_at_joints
from dg.pose.joint_map import skeleton_named
from dg.predict.cameras import ImageCamera
from dg.predict.image_depth import ImageDepth
from dg.predict.lifter_inputs import PersonInputs
from dg.predict.settings import PredictOptions
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.networks import VIT_POSE
from dg.trained.places import check_places
from dg.trained.stored import StoredLifter
from dg.training.rendering import radius_law
from render_workers.feature_maps import FeatureMap
from render_workers.joint_features import FeatureOptions, FeatureReader

Image = UInt8[np.ndarray, "height width 3"]
DepthOfImage = Callable[[np.ndarray, ImageCamera], np.ndarray]


@dataclass(frozen=True)
class Scene:
    """A picture as the networks see it.

    Attributes:
        image: RGB.
        depth: metres; None where the lifter takes none.
        depth_map: last map of the depth network; None where the lifter takes no features of it.
    """

    image: Image
    depth: Float32[np.ndarray, "height width"] | None = None
    depth_map: FeatureMap | None = None


class SceneReader:
    """The networks that a lifter's inputs need besides a detector, and how they are read at joints.

    Args:
        stored: the lifter.
        options: of the command; they name the networks.
        device: that the networks compute on.
        depth: depth of an image in place of the network that the options name.

    Raises:
        ConfigError: for networks that the checkpoint names and the options do not, and for features of other sizes
            than the lifter takes.
        DepthCheckpointError, OptionError: for networks that cannot be used.
    """

    def __init__(
        self, stored: StoredLifter, options: PredictOptions, device: torch.device, depth: DepthOfImage | None = None
    ) -> None:
        config = stored.config
        self.config, self.device, self.law = config, device, radius_law(config)
        self.skeleton = skeleton_named(config.skeleton)
        self.features = FeatureOptions(config.features, options.pose_network) if config.features else None
        self.needs_depth = stored.inputs.needs_depth
        of_depth = self.features is not None and self.features.of_depth
        self.depth: DepthOfImage | None = None
        self.network: ImageDepth | None = None
        if self.needs_depth or of_depth:
            if config.depth["name"] == options.depth_name:
                check_places(stored.path, config, [f"depth.{key}=" for key in options.depth], ["depth"])
            if of_depth or depth is None:
                self.network = ImageDepth(choose_depth(options.depth, config.depth), device)
            self.depth = depth or self.network
        self.reader = None if self.features is None else self._reader(self.features, stored, options)

    @property
    def needed(self) -> bool:
        """Whether the lifter takes anything of the picture."""
        return self.depth is not None or self.reader is not None

    def look(self, image: Image, camera: ImageCamera) -> Scene | None:
        """What the networks see in a picture; None where the lifter takes nothing of it.

        Args:
            image: RGB.
            camera: of the image.
        """
        if not self.needed:
            return None
        depth = depth_map = None
        if self.features is not None and self.features.of_depth:
            assert self.network is not None
            depth, depth_map = self.network.with_map(image, camera)
        if self.needs_depth and (depth is None or self.depth is not self.network):
            assert self.depth is not None
            depth = self.depth(image, camera)
        return Scene(image, depth if self.needs_depth else None, depth_map)

    def at_joints(self, person: PersonInputs, scene: Scene | None) -> PersonInputs:
        """A person with the depth and the features that the lifter takes, read at the joints.

        Args:
            person: on the lifter's skeleton.
            scene: what `look` saw in the person's picture.
        """
        if scene is None:
            return person
        if self.reader is not None:
            seen = person.seen_px[None]
            found = features_at_joints(self.reader, scene.image, seen, scene.depth_map, self.device)
            person = replace(person, features=found[0])
        if scene.depth is None:
            return person
        joints_px = person.joints_px
        if not self.config.detects:
            return replace(person, depth=depth_at_joints(scene.depth, joints_px, self.config.render.min_pool))
        torso = float(torso_px(joints_px, self.skeleton))
        found = joint_depths(scene.depth, joints_px, person.confidence, self.law, torso)
        return replace(person, depth=found.median, nearest=found.nearest, farthest=found.farthest)

    def record(self) -> dict[str, Any]:
        """The networks, for the file of an image."""
        found: dict[str, Any] = {}
        if self.network is not None:
            found["depth"] = self.network.record()
        if self.features is not None:
            found["features"] = {"names": list(self.features.names), "digest": self.features.digest()}
        return found

    def _reader(self, features: FeatureOptions, stored: StoredLifter, options: PredictOptions) -> FeatureReader:
        if features.of_image:
            named = ["pose_network="] if options.pose_network != VIT_POSE else []
            check_places(stored.path, stored.config, named, ["pose_network"])
        choice = choose_depth(options.depth, stored.config.depth)
        sizes = features.sizes(choice.name, choice.options)
        expected = tuple(stored.config.feature_sizes)
        if sizes != expected:
            raise ConfigError(
                f"{stored.path} takes {_sized(stored.config, expected)}, the networks of depth.checkpoint= and "
                f"pose_network= have {_sized(stored.config, sizes)}; give those that it was trained with"
            )
        return features.build()


def _sized(config: TrainConfig, sizes: tuple[int, ...]) -> str:
    return ", ".join(f"{name} of {size} channels" for name, size in zip(config.features, sizes, strict=True))
