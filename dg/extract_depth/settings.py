"""The settings of `dg extract-depth`. Loads no torch, so that its help is quick."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from dg.images.settings import IMAGE_DEPTH, DetectorNetworks, DetectorOptions
from dg.pose.radius import RadiusMode
from dg.settings.config import Count, CountOrZero, DetectionConfig, Device, MinPool, Positive, RenderConfig
from dg.settings.errors import ConfigError
from dg.settings.networks import VIT_POSE

if TYPE_CHECKING:
    from dg.extract_depth.alignment import GroundCamera
    from dg.images.depth_choice import DepthChoice
    from dg.pose.uadd import RadiusLaw
    from render_workers.joint_features import FeatureOptions

DETECTOR = "detector"
Text = Annotated[str, MinLen(1)]
Layout = Literal["folder", "h36m", "mpi_inf_3dhp", "mpi_inf_3dhp_train", "pw3d", "fit3d"]


@dataclass(frozen=True)
class ExtractOptions:
    """Which images depth is read from, and how. Raises ConfigError for what does not go together."""

    # -- what is read
    images: Text  # folder of the images
    keypoints: Text  # .npz or COCO .json file that names images (docs/images.md); detector: they are detected
    out: Text  # .npz file to write; OUT.report.json tells what is not in it, and why
    layout: Layout = "folder"  # how images= is laid out, and frames are called
    skeleton: Literal["h36m_16", "h36m_17"] = "h36m_17"  # depth is read at its joints
    source_2d: str = ""  # what protocol ids call the 2D; empty: the name of the keypoint file, or detector
    detector: DetectorNetworks = field(default_factory=DetectorNetworks)
    # -- depth
    depth: dict[str, Any] = field(default_factory=lambda: {"name": IMAGE_DEPTH})  # network that estimates it;
    # depth.OPTION=VALUE sets its options, which `dg extract-depth depth=NAME --help` lists
    align: Literal["auto", "off", "ground", "known"] = "auto"  # how a relative network's disparity becomes metres.
    # ground: by a flat floor that a camera of known height sees; known: by `depth` in the keypoint file; off: it stays
    # disparity, which no lifter takes
    camera_height: float = 0.0  # of align=ground: of the camera above the floor, metres
    horizon: float = 0.5  # of align=ground: its row, as a share of the image's height from the top
    focal: float = 0.0  # of align=ground: focal length in shorter sides of the image
    # -- what is kept of it
    inputs: Literal["uadd", "xyd"] = "uadd"  # uadd: median, nearest and farthest depth in each joint's disk; xyd: depth
    # right at the joint
    radius_mode: RadiusMode = DetectionConfig.radius_mode  # of the disk; scale: by torso length
    r_min: Positive = DetectionConfig.r_min  # its radius where the 2D is certain, pixels of an image 1000 wide
    r_max: Positive = DetectionConfig.r_max  # and where it is not
    min_pool: MinPool = RenderConfig.min_pool  # of inputs=xyd: window of the minimum around a joint, pixels
    dtype: Literal["float32", "float16"] = "float32"  # of the depths
    features: tuple[Literal["depth_features", "image_features"], ...] = ()  # of the pictures at the joints besides,
    # float16: of the depth network and of a 2D pose network (inputs=uadd+depth_features+image_features of dg train)
    pose_network: str = VIT_POSE  # ViTPose of image_features: hub id or folder
    max_unreadable: Annotated[float, Ge(0), Le(1)] = 0.1  # share of the images that may fail; above it the exit code is
    # 4, though the file is written
    # -- where it runs
    workers: CountOrZero = 1  # actors, each with its own networks; 0: in this process, without Ray
    gpus_per_worker: float = -1.0  # -1: the cluster's GPUs are shared evenly among the workers
    cpus_per_worker: Positive = 1.0  # threads of each
    batch: Count = 8  # images that go through a network at once
    shard: Count = 64  # images between two savings
    device: Device = "auto"
    address: str = ""  # Ray cluster to join, whose nodes all see images, checkpoint and out; empty: RAY_ADDRESS, else a
    # cluster of this machine alone

    def __post_init__(self) -> None:
        if self.align == "known" and self.detects:
            raise ConfigError("align=known reads the depth of joints from a keypoint file; a detector knows none")

    @property
    def law(self) -> "RadiusLaw":
        """The disks of inputs=uadd. Raises ValueError for radii that cannot be."""
        from dg.pose.uadd import RadiusLaw

        return RadiusLaw(self.radius_mode, self.r_min, self.r_max)

    @property
    def feature_options(self) -> "FeatureOptions | None":
        """What is read of the networks' maps. Raises ValueError for features in another order."""
        from render_workers.joint_features import FeatureOptions

        return FeatureOptions(self.features, self.pose_network) if self.features else None

    @property
    def ground(self) -> "GroundCamera | None":
        """The camera of align=ground. Raises ValueError for one that cannot be."""
        from dg.extract_depth.alignment import GroundCamera

        return GroundCamera(self.camera_height, self.horizon, self.focal) if self.align == "ground" else None

    @property
    def depth_choice(self) -> "DepthChoice":
        """The depth network and its options. Raises OptionError for one that does not read photographs."""
        from dg.images.depth_choice import choose_depth

        return choose_depth(self.depth)

    @property
    def detects(self) -> bool:
        """Whether the 2D joints are detected, and not read from a file."""
        return self.keypoints == DETECTOR

    @property
    def detection(self) -> DetectorOptions:
        """What the detector takes."""
        return DetectorOptions(**asdict(self.detector), device=self.device, batch=self.batch)

    @property
    def named_2d(self) -> str:
        """What protocol ids call the 2D that depth was read at."""
        return self.source_2d or (DETECTOR if self.detects else Path(self.keypoints).stem)


def problems(options: ExtractOptions) -> list[str]:
    """What is wrong with the settings that needs torch to be found."""
    found = []
    for name in ("law", "ground", "depth_choice", "feature_options"):
        try:
            getattr(options, name)
        except ValueError as error:
            found.append(str(error))
    return found
