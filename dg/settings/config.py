"""What a run is: a tree of frozen dataclasses, and `problems`, which finds what does not fit together.

Nothing here imports torch or Ray. `dg.settings.reader` fills the tree from the command line and checks each field by
its type. The comment behind a field is its line in `--help`, under the heading of its part of the class. The
dictionaries (`data`, `method`, `lifter`, `depth`, `body`) hold a plug-in's name and its options; the plug-in's own
dataclass checks them (`dg.settings.plugins.make_options`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from dg.pose.input_spec import D_REF_M, F_REF
from dg.pose.radius import R_MAX, R_MIN, RadiusMode
from dg.settings.cores import cores_here
from dg.settings.errors import ConfigError
from dg.settings.networks import VIT_POSE

__all__ = [
    "FREE_KEYS",
    "GROUPS",
    "ConfigError",
    "DetectionConfig",
    "RenderConfig",
    "RunInfo",
    "TrackingConfig",
    "TrainConfig",
    "deciding",
]

# Each group is a plug-in table: the name that may be chosen, and its default.
GROUPS = {
    "data": ("dg.datasets:DATASETS", "synthetic"),
    "method": ("dg.methods:METHODS", "poseaug"),
    "lifter": ("lifters:LIFTERS", "simple_baseline"),
    "depth": ("render_workers.depth:DEPTH_SOURCES", "zbuffer"),
    "body": ("dg.body:BODIES", "open"),
}

# Keys that decide no number of a run: where it runs and what it records. The digest leaves them out, and so do
# comparisons of stored runs.
FREE_KEYS = (
    "data_checks", "virtual_cameras", "out", "resume", "tracking", "checkpoint_minutes", "cache", "threads", "pool",
    "address", "submit",
    "render.actors", "render.min_actors", "render.max_actors", "render.service", "render.per_actor",
    "render.gpus_per_actor", "render.start_timeout_s", "render.watchdog_s", "render.max_quarantine", "render.device",
    "render.micro_batch",  # moves the last digits alone, as another processor does
    "graphs",  # replays the same steps
)  # fmt: skip

PLAIN_METHOD = "erm"  # the one method that makes no poses of its own, which would have to be rendered
# Of the others, these say only where a run found its things.
_PLACES = ("device", "data.root", "data.path", "data.image_depth")
_OF_DRAWING = ("depth", "body", "render", "depth_clip")  # decide nothing in a run that draws no depth

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Count = Annotated[int, Gt(0)]
CountOrZero = Annotated[int, Ge(0)]
Device = Literal["auto", "cpu", "cuda"]
MinPool = Literal[1, 3, 5]
Dscale2d = Literal["auto", "off", "paper", "focal", "box", "crop", "square"]


@dataclass(frozen=True)
class DetectionConfig:
    """2D as a detector sees it, for the inputs that have a confidence (AugLift's UADD)."""

    source: Literal["auto", "synthetic"] = "auto"  # synthetic: also where the inputs have no confidence
    radius_mode: RadiusMode = "linear"  # disk in which uadd reads depth; scale: by torso length
    r_min: Positive = R_MIN  # its radius where the 2D is certain, pixels of a frame 1000 wide
    r_max: float = R_MAX  # and where it is not
    background_m: NotNegative = 3.0  # wall behind rendered people, metres from their farthest joint; 0: none


@dataclass(frozen=True)
class RenderConfig:
    """The pool of render workers (SYSTEMS 2.4) and what each of them draws (METHODS 4.4)."""

    actors: Count = 1 if cores_here() <= 2 else 2  # render actors that a run asks for; by default one on two cores
    min_actors: int = 1  # the run starts with so many and waits for no more
    max_actors: str = "auto"  # a number; auto: `actors` in a cluster of this run's own, what has room in a joined one
    service: str = ""  # render service that several runs share, NAMESPACE/NAME; empty: a pool of this run's own
    per_actor: Count = 2  # requests on their way to each actor
    lookahead: Count = 4  # batches that are proposed ahead of the update
    gpus_per_actor: float = -1.0  # -1: the cluster's GPUs are shared evenly between the trainer and the actors
    start_timeout_s: Positive = 300.0  # the first actor must have started by then
    watchdog_s: float | None = None  # an actor that answers nothing for so long is replaced; none: by measured times
    max_quarantine: NotNegative = 1e-4  # share (or, from 1 on, number) of poses that may fail before the run stops
    rasterizer: str = "warp"  # warp | pytorch3d
    resolution: Count = 128  # pixels of the square crop around a person
    subject_span_px: Count = 100  # of these, what the person's larger side takes
    min_pool: MinPool = 3  # window of the minimum around a joint, pixels
    micro_batch: CountOrZero = 0  # poses that a worker draws at once; 0: 256, on a GPU 2048
    device: str = "auto"  # auto | cpu | cuda, of the workers


@dataclass(frozen=True)
class TrackingConfig:
    """Where MLflow keeps its runs."""

    uri: str = ""  # MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here; off: log nothing
    experiment: str = "dg"
    run_name: str = ""  # empty: method, inputs, source and seed
    parent_run_id: str = ""
    child: str = ""  # name by which a grid or sweep finds this run among its children
    model: Literal["auto", "on", "off"] = "auto"  # log the best checkpoint, and the lifter as a model in ONNX, which
    # takes about 7 s of one core; auto: the model only where training took five minutes or more, or with register
    register: str = ""  # registered model of MLflow that gets the lifter as its newest version, alias `newest`
    system_metrics: bool = True  # CPU, memory and GPU, by MLflow's own monitor


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The command line sets any of it: `epochs=20 render.actors=4 method=erm`."""

    # -- what is trained on
    recipe: str = ""  # published experiment whose settings hold where no other is given: `dg recipes` lists them, and
    # recipe.PLACE=... says where its data lie
    data: dict[str, Any] = field(default_factory=dict)  # source data set and its options
    data_content: str = ""  # content digest that the source must have, as a run logs it; empty: whatever is there
    data_checks: Literal["refuse", "warn"] = "refuse"  # where data are not what they say; also data.checks=
    targets: list[str] = field(default_factory=list)  # NAME:ARGUMENT each; empty: the two shifted synthetic domains
    adapt_to: str = ""  # NAME:ARGUMENT of the target whose 2D poses a domain-adaptation method may see
    adapt_part: Literal["train", "test"] = "test"  # which part of it; test is transductive
    skeleton: Literal["h36m_16", "h36m_17"] = "h36m_16"
    frames: int = 1  # length of the windows that the lifter sees, odd
    # -- method and lifter
    method: dict[str, Any] = field(default_factory=dict)  # DG method and its options
    lifter: dict[str, Any] = field(default_factory=dict)  # lifter and its options
    training: Literal["original", "common"] = "original"  # optimiser, rate, loss: its authors', or PoseAug's for all
    output_init: Literal["zero", "original"] = "zero"  # output layer of a fresh lifter; zero: all its answers are zero;
    # original: as its authors draw it, answers then spread by up to 2 m, which takes hundreds of steps to unlearn
    init_from: str = ""  # checkpoint whose lifter weights to start from (ours or PoseAug's)
    # -- input and depth
    inputs: str = "xyd"  # xy | xyd, of detected 2D xyc | xycd | uadd; behind it +depth_features, +image_features
    dscale2d: Dscale2d = "auto"  # auto: focal for xyd, off for xy, box for detected 2D; crop, square: in the pose's box
    d_ref: Positive = D_REF_M  # reference depth of dscale2d, metres
    f_ref: Positive = F_REF  # reference focal length of dscale2d=focal, width-normalised (Human3.6M's)
    depth_clip: Positive = 2.0  # clip of the root-relative depth channels, metres
    depth_bins: str = ""  # of inputs=xyd: coarse ordinal depth of the true joints (an oracle) in place of a source's;
    # a width such as 10cm, or three: in front of, at or behind the pelvis
    answers: Literal["metres", "image"] = "metres"  # of the lifter; image: place in the image and depth in its scale
    # (MotionBERT's 2.5-D), brought to metres by depth and place of the true root (an oracle)
    confidence_dropout: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of training poses whose confidence is withheld
    box_ref: NotNegative = 0.0  # box size of dscale2d=box, the frame being 2 wide; 0: mean of the training set
    depth: dict[str, Any] = field(default_factory=dict)  # depth source and its options
    body: dict[str, Any] = field(default_factory=dict)  # body model and its options
    pose_network: str = VIT_POSE  # ViTPose of image_features: hub id or folder
    feature_sizes: list[int] = field(default_factory=list)  # channels of each of the features; empty: the networks'
    # -- detected 2D
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    # -- budget
    epochs: Count = 12  # lifter steps / batches in one pass over the source, pre-training included
    pretrain_epochs: int = -1  # of these, on the source alone before the method starts; -1: the method's default
    max_steps: CountOrZero = 0  # end the lifter's training early, after so many lifter steps; 0: do not
    batch_size: Annotated[int, Ge(2)] = 256  # the papers take 1024 on Human3.6M
    lr: NotNegative = 0.0  # of the lifter, the same for every method; 0: that of `training`
    lr_schedule: Literal["auto", "constant", "linear", "cosine", "exponential"] = "auto"  # auto: that of `training`
    grad_clip: Positive = 1.0
    seed: CountOrZero = 0
    evaluate_every: CountOrZero = 0  # epochs between evaluations; 0: about ten in a run
    virtual_cameras: CountOrZero = 4  # that see the held-out clips, for selection=virtual_cameras; 0: none
    # -- where it runs
    device: Device = "auto"  # of the trainer
    tf32: bool = False  # on a GPU, let the trainer multiply in TF32: faster, with 10 of 23 bits of each factor
    graphs: Literal["auto", "on", "off"] = "auto"  # on a GPU, replay training steps as CUDA graphs; auto: where it can
    threads: CountOrZero = 0  # torch threads of the trainer; 0: what the render workers leave, two where there are two
    pool: Literal["ray", "local"] = "ray"  # trainer actor and render actors, or everything in this process
    address: str = ""  # Ray cluster to join; empty: RAY_ADDRESS, else a cluster of this machine alone
    submit: bool = False  # send this run to a cluster as a Ray job and show its log; Ctrl-C leaves it running
    render: RenderConfig = field(default_factory=RenderConfig)
    # -- records
    out: str = ""  # folder of this run; empty: runs/METHOD-INPUTS-SEED-TIME
    resume: Literal["never", "auto", "overwrite"] = "never"  # auto: go on from the newest checkpoint in `out`;
    # overwrite: remove the run in `out` and start anew; never: such a folder is refused
    checkpoint_minutes: Positive = 10.0  # also checkpoint at a batch boundary after so many minutes
    cache: str = ".cache/depth"  # rendered depth of un-augmented poses; off: render anew
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def dscale2d_resolved(self) -> str:
        """The 2D scale normalisation in use: `auto` becomes off, focal or box, depending on the input channels."""
        if self.dscale2d != "auto":
            return self.dscale2d
        if self.depth_bins:
            return "off"
        return {"xy": "off", "xyd": "focal"}.get(self._channels, "box")

    @property
    def detects(self) -> bool:
        """Whether poses are rendered as a detector sees them."""
        return self._channels in DETECTED or self.detection.source == "synthetic"

    @property
    def needs_depth(self) -> bool:
        """Whether poses are rendered: for depth, for their detections, or for features of their picture."""
        drawn = (self._channels == "xyd" and not self.depth_bins) or self.detects or bool(self.features)
        return drawn or self.dscale2d_resolved in ("paper", "focal")

    @property
    def draws(self) -> bool:
        """Whether anything is rendered: not where source and targets bring depth of their images, and no method makes
        poses of its own.
        """
        seen = bool(self.data.get("image_depth")) and bool(self.targets)
        seen = seen and all("image_depth=" in target for target in self.targets)
        return self.needs_depth and not (seen and self.method["name"] == PLAIN_METHOD)

    @property
    def features(self) -> tuple[str, ...]:
        """Which features at the joints the lifter sees besides its channels."""
        return tuple(self.inputs.split("+")[1:])

    @property
    def _channels(self) -> str:
        return self.inputs.partition("+")[0]

    @property
    def depth_name(self) -> str:
        """The source of the depth that the lifter sees, `none` where it sees none."""
        if self.depth_bins:
            return f"ordinal-{self.depth_bins}"
        return str(self.depth["name"]) if self.needs_depth else "none"

    @property
    def depth_shown(self) -> str:
        """As `depth_name`, and `images` where all of it comes with images."""
        return "images" if self.needs_depth and not self.draws else self.depth_name

    @property
    def depth_label(self) -> str:
        """Where the depth at test time comes from, as protocol ids have it (DESIGN 5.15)."""
        if self.depth_bins:
            return f"{self.depth_name}(oracle)"
        return f"rendered-{self.depth['name']}(oracle)" if self.needs_depth else "none"

    @property
    def oracles(self) -> tuple[str, ...]:
        """What of a target's ground truth a lifter of this run is given at test time, as tags list it."""
        depth = () if self.depth_name == "none" else ("depth",)
        return (*depth, *(("root",) if self.answers == "image" else ()))

    @property
    def target_names(self) -> list[str]:
        """The targets of the run, or the two synthetic ones where none is named."""
        return self.targets or ["synthetic:near", "synthetic:wide"]

    def digest(self) -> str:
        """Of everything that decides the numbers of a run; a checkpoint of another digest is not resumed."""
        stored = _as_first_stored(self.decisive())
        return hashlib.blake2b(json.dumps(stored, sort_keys=True).encode(), digest_size=8).hexdigest()

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the numbers of a run, nested, without the keys that have no meaning in it."""
        # What the source was found to be: `load_problem` and `check_same_data` compare it.
        left_out = (*FREE_KEYS, *self._idle(), "data_content")
        chosen = {k: v for k, v in asdict(self).items() if k not in left_out}
        chosen["render"] = {k: v for k, v in asdict(self.render).items() if f"render.{k}" not in FREE_KEYS}
        chosen["render"]["micro_batch"] = 256  # digests are those from when it was a key of them
        return chosen

    def differences(self, earlier: "TrainConfig") -> str:
        """What decides numbers here and differs in an earlier run: `seed was 0, is 9; ...`.

        Args:
            earlier: the other configuration.
        """
        now, before = dict(_flatten(self.decisive())), dict(_flatten(earlier.decisive()))
        keys = [key for key in sorted(now | before) if now.get(key) != before.get(key)]
        return "; ".join(f"{key} was {before.get(key, 'not set')}, is {now.get(key, 'not set')}" for key in keys)

    def plain(self) -> dict[str, Any]:
        """Nested plain containers, for a checkpoint; `TrainConfig.from_plain` reads them."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> "TrainConfig":
        """The inverse of `plain`. Keys of another version are left out, absent ones take their default, but
        `output_init` is `original` for runs from before it existed.
        """
        known = {f.name for f in fields(TrainConfig)}
        values: dict[str, Any] = {"output_init": "original"}
        values |= {name: value for name, value in plain.items() if name in known}
        for name, kind in NESTED.items():
            inner = {f.name for f in fields(kind)}
            values[name] = kind(**{k: v for k, v in plain.get(name, {}).items() if k in inner})
        if "detections" in plain:  # a checkpoint from before these keys were a group
            old = {k: plain[k] for k in ("radius_mode", "r_min", "r_max", "background_m") if k in plain}
            values["detection"] = DetectionConfig(source=plain["detections"], **old)
        if "training" not in plain and "recipe" in plain:  # and from before `recipe` named a published experiment
            values["training"] = values.pop("recipe")
        return TrainConfig(**values)

    def flat(self) -> dict[str, Any]:
        """`{"render.actors": 2, ...}`: the parameters as MLflow lists them, plug-in names under `method.name`."""
        used = {k: v for k, v in asdict(self).items() if k not in self._idle()}
        if not self.init_from:
            used["output_init"] = self.output_init
        return dict(_flatten(used)) | {"dscale2d": self.dscale2d_resolved}

    def _idle(self) -> tuple[str, ...]:
        """Keys that decide nothing in this run, and are no part of it: runs from before they existed stay the same."""
        # Virtual cameras only look on: what is trained does not depend on them. A recipe's settings are in the others.
        idle = ["virtual_cameras", "recipe"]
        idle += [] if self.data_content else ["data_content"]
        idle += [] if self.dscale2d_resolved == "box" else ["box_ref"]
        idle += [] if self.features else ["feature_sizes"]
        idle += [] if self.depth_bins else ["depth_bins"]
        idle += [] if self.answers != "metres" else ["answers"]
        idle += [] if self.output_init != "original" and not self.init_from else ["output_init"]
        idle += [] if self.confidence_dropout else ["confidence_dropout"]
        idle += [] if "image_features" in self.features else ["pose_network"]
        idle += ["tf32"] if not self.tf32 else []
        return (*idle, *(() if self.detects else ("detection",)))


@dataclass(frozen=True)
class RunInfo:
    """What the driver decided before the trainer starts: its folder, and its run in MLflow."""

    out: str
    tracking_uri: str
    run_name: str
    note: str
    gpus_per_actor: float = 0.0
    command: str = ""  # as it may be typed again


def _as_first_stored(decisive: dict[str, Any]) -> dict[str, Any]:
    """Decisive settings under the names that they had when the first runs were stored, whose digests stay the same."""
    stored = decisive | {"recipe": decisive["training"]}
    del stored["training"]
    if "detection" in stored:
        detection = stored.pop("detection")
        stored |= {"detections" if name == "source" else name: value for name, value in detection.items()}
    return stored


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs


DETECTED = ("xyc", "xycd", "uadd")  # inputs with a confidence
NESTED = {f.name: f.default_factory for f in fields(TrainConfig) if is_dataclass(f.default_factory)}


def deciding(config: TrainConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide the numbers of a run, without those of where and how it ran.

    Args:
        config: of the run.
        params: flat, as `TrainConfig.flat` and the options of plug-ins give them.
    """
    apart = (*FREE_KEYS, *_PLACES, *(() if config.needs_depth or config.depth_bins else _OF_DRAWING))
    return {k: v for k, v in params.items() if not any(k == key or k.startswith(f"{key}.") for key in apart)}
