"""What a run is: a tree of frozen dataclasses, and one `validate` that collects every problem.

Nothing here imports torch, Ray or Hydra; `dg.settings.command_line` fills the tree from the command line. The
dictionaries (`data`, `method`, `lifter`, `depth`, `body`) hold a plug-in's name and its options; the plug-in's own
`Options` dataclass checks them (`dg.settings.plugins.make_options`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from dg.pose.input_spec import split_inputs

# Each group is a plug-in table: the name that may be chosen, and its default.
GROUPS = {
    "data": ("dg.datasets:DATASETS", "synthetic"),
    "method": ("dg.methods:METHODS", "poseaug"),
    "lifter": ("lifters:LIFTERS", "simple_baseline"),
    "depth": ("render_workers.depth:DEPTH_SOURCES", "zbuffer"),
    "body": ("dg.body:BODIES", "open"),
}


class ConfigError(ValueError):
    """A wrong setting. The message says what was expected, what came and what to do. Exit code 2."""


@dataclass(frozen=True)
class RenderConfig:
    """The pool of render workers (SYSTEMS 2.4) and what each of them draws (METHODS 4.4).

    gpus_per_actor: -1 shares the cluster's GPUs evenly between the trainer and the actors. min_actors: the run starts
    with so many and waits for no more. max_actors: a number, or auto: `actors` in a cluster of this run's own, as many
    as the nodes have room for, coming and going with them, in one that it joined. service: name of a render service
    that several runs share (a sweep starts one); empty: a pool of this run's own.
    """

    actors: int = 2
    min_actors: int = 1
    max_actors: str = "auto"
    service: str = ""
    per_actor: int = 2
    lookahead: int = 4
    gpus_per_actor: float = -1.0
    start_timeout_s: float = 300.0
    watchdog_s: float | None = None
    max_quarantine: float = 1e-4
    rasterizer: str = "warp"
    resolution: int = 128
    subject_span_px: int = 100
    min_pool: int = 3
    micro_batch: int = 256
    device: str = "auto"


@dataclass(frozen=True)
class TrackingConfig:
    """Where MLflow keeps its runs. uri `off` logs nothing; empty means `sqlite:///mlflow.db` in this folder."""

    uri: str = ""
    experiment: str = "dg"
    run_name: str = ""
    parent_run_id: str = ""


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The command line sets any of it: `epochs=20 render.actors=4 method=erm`."""

    data: dict[str, Any] = field(default_factory=dict)  # source data set and its options
    targets: list[str] = field(default_factory=list)  # NAME:ARGUMENT each; empty: the two shifted synthetic domains
    method: dict[str, Any] = field(default_factory=dict)  # DG method and its options
    adapt_to: str = ""  # NAME:ARGUMENT of the target whose 2D poses a domain-adaptation method may see
    adapt_part: str = "test"  # train | test: which part of it; test is transductive
    lifter: dict[str, Any] = field(default_factory=dict)  # lifter and its options
    depth: dict[str, Any] = field(default_factory=dict)  # depth source and its options
    body: dict[str, Any] = field(default_factory=dict)  # body model and its options
    inputs: str = (
        "xyd"  # xy | xyd, of detected 2D xyc | xycd | uadd; behind it +depth_features, +image_features or both
    )
    dscale2d: str = "auto"  # off | paper | focal | box; auto: focal for xyd, off for xy, box for detected 2D
    d_ref: float = 4.5  # reference depth of dscale2d, metres
    f_ref: float = 2.29  # reference focal length of dscale2d=focal, width-normalised (Human3.6M's)
    depth_clip: float = 2.0  # clip of the root-relative depth channels, metres
    box_ref: float = 0.0  # box size of dscale2d=box, the frame being 2 wide; 0: mean of the training set
    pose_network: str = "usyd-community/vitpose-base-simple"  # ViTPose of image_features: hub id or folder
    feature_sizes: list[int] = field(default_factory=list)  # channels of each of the features; empty: the networks'
    detections: str = "auto"  # synthetic: true 2D is seen as a detector would; auto: where inputs has a confidence
    radius_mode: str = "linear"  # linear | scale (by torso length): law of the disk in which uadd reads depth
    r_min: float = 3.0  # its radius where the 2D is certain, pixels of a frame 1000 wide
    r_max: float = 30.0  # and where it is not
    background_m: float = 3.0  # wall behind rendered people, metres from their farthest joint; 0: none
    skeleton: str = "h36m_16"  # h36m_16 | h36m_17
    frames: int = 1  # length of the windows that the lifter sees, odd
    epochs: int = 30  # budget: lifter steps / batches in one pass over the source, pre-training included
    pretrain_epochs: int = -1  # of these, on the source alone before the method starts; -1: the method's default
    max_steps: int = 0  # end the lifter's training early, after so many lifter steps; 0: do not
    batch_size: int = 256  # the papers take 1024 on Human3.6M
    recipe: str = "original"  # original: optimiser, rate and loss of the lifter's authors; common: PoseAug's for all
    lr: float = 0.0  # of the lifter, the same for every method; 0: the recipe's
    lr_schedule: str = "auto"  # auto: the recipe's | constant | linear | cosine | exponential, over the whole budget
    grad_clip: float = 1.0
    seed: int = 0
    device: str = "auto"  # auto | cpu | cuda, of the trainer
    threads: int = 0  # torch threads of the trainer; 0: what the render workers leave
    pool: str = "ray"  # ray: trainer actor and render actors; local: everything in this process
    address: str = ""  # Ray cluster to join; empty: RAY_ADDRESS, else a cluster of this machine alone
    submit: bool = False  # send this run to a cluster as a Ray job and show its log; Ctrl-C leaves it running
    render: RenderConfig = field(default_factory=RenderConfig)
    evaluate_every: int = 0  # epochs between evaluations; 0: about ten in a run
    checkpoint_minutes: float = 10.0  # also checkpoint at a batch boundary after so many minutes
    resume: str = "never"  # never | auto: go on from the newest checkpoint in `out`
    init_from: str = ""  # checkpoint whose lifter weights to start from (ours or PoseAug's)
    out: str = ""  # folder of this run; empty: runs/METHOD-INPUTS-SEED-TIME
    cache: str = ".cache/depth"  # rendered depth of un-augmented poses; off: render anew
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def dscale2d_resolved(self) -> str:
        if self.dscale2d != "auto":
            return self.dscale2d
        return {"xy": "off", "xyd": "focal"}.get(self._channels, "box")

    @property
    def detects(self) -> bool:
        """Whether poses are rendered as a detector sees them."""
        return self._channels in _DETECTED or self.detections == "synthetic"

    @property
    def needs_depth(self) -> bool:
        """Whether poses are rendered: for depth, for their detections, or for features of their picture."""
        drawn = self._channels == "xyd" or self.detects or bool(self.features)
        return drawn or self.dscale2d_resolved in ("paper", "focal")

    @property
    def features(self) -> tuple[str, ...]:
        """Which features at the joints the lifter sees besides its channels."""
        return tuple(self.inputs.split("+")[1:])

    @property
    def _channels(self) -> str:
        return self.inputs.partition("+")[0]

    @property
    def depth_label(self) -> str:
        """Where the depth at test time comes from, as protocol ids have it (DESIGN 5.15)."""
        return f"rendered-{self.depth['name']}(oracle)" if self.needs_depth else "none"

    @property
    def target_names(self) -> list[str]:
        return self.targets or ["synthetic:near", "synthetic:wide"]

    def digest(self) -> str:
        """Of everything that decides the numbers of a run; a checkpoint of another digest is not resumed."""
        free = ("out", "resume", "tracking", "checkpoint_minutes", "cache", "threads", "render")
        free = (*free, "pool", "address", "submit")  # where it runs
        chosen = {k: v for k, v in asdict(self).items() if k not in (*free, *self._idle())}
        chosen["render"] = {
            k: getattr(self.render, k)
            for k in ("lookahead", "rasterizer", "resolution", "subject_span_px", "min_pool", "micro_batch")
        }
        return hashlib.blake2b(json.dumps(chosen, sort_keys=True).encode(), digest_size=8).hexdigest()

    def plain(self) -> dict[str, Any]:
        """Nested plain containers, for a checkpoint; `TrainConfig.from_plain` reads them."""
        return asdict(self)

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> "TrainConfig":
        """The inverse of `plain`. Keys of another version are left out, absent ones take their default."""
        nested = {"render": RenderConfig, "tracking": TrackingConfig}
        known = {f.name for f in fields(TrainConfig)}
        values = {name: value for name, value in plain.items() if name in known}
        for name, kind in nested.items():
            inner = {f.name for f in fields(kind)}
            values[name] = kind(**{k: v for k, v in plain.get(name, {}).items() if k in inner})
        return TrainConfig(**values)

    def flat(self) -> dict[str, Any]:
        """`{"render.actors": 2, ...}`: the parameters as MLflow lists them, plug-in names under `method.name`."""
        used = {k: v for k, v in asdict(self).items() if k not in self._idle()}
        return dict(_flatten(used)) | {"dscale2d": self.dscale2d_resolved}

    def _idle(self) -> tuple[str, ...]:
        """Keys that decide nothing in this run, and are no part of it: runs from before they existed stay the same."""
        idle = [] if self.dscale2d_resolved == "box" else ["box_ref"]
        idle += [] if self.features else ["feature_sizes"]
        idle += [] if "image_features" in self.features else ["pose_network"]
        return (*idle, *(() if self.detects else ("detections", "radius_mode", "r_min", "r_max", "background_m")))


@dataclass(frozen=True)
class RunInfo:
    """What the driver decided before the trainer starts: its folder, and its run in MLflow."""

    out: str
    tracking_uri: str
    run_name: str
    note: str
    gpus_per_actor: float = 0.0


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((prefix + key, value))
    return pairs


_DETECTED = ("xyc", "xycd", "uadd")
_CHOICES = {
    "dscale2d": ("auto", "off", "paper", "focal", "box"),
    "detections": ("auto", "synthetic"),
    "radius_mode": ("linear", "scale"),
    "skeleton": ("h36m_16", "h36m_17"),
    "recipe": ("original", "common"),
    "lr_schedule": ("auto", "constant", "linear", "cosine", "exponential"),
    "pool": ("ray", "local"),
    "resume": ("never", "auto"),
    "adapt_part": ("train", "test"),
    "device": ("auto", "cpu", "cuda"),
}
_POSITIVE = ("d_ref", "f_ref", "depth_clip", "r_min", "epochs", "batch_size", "grad_clip", "checkpoint_minutes")
_NOT_NEGATIVE = ("lr", "box_ref", "background_m", "max_steps", "seed", "threads", "evaluate_every")
_RENDER_POSITIVE = ("actors", "per_actor", "lookahead", "resolution", "subject_span_px", "micro_batch")


def problems(config: TrainConfig) -> list[str]:
    """Everything that is wrong with a configuration, in words; empty when it can run."""
    found = []
    for name, choices in _CHOICES.items():
        if getattr(config, name) not in choices:
            found.append(f"{name} must be one of {list(choices)}, got {getattr(config, name)!r}")
    found += _input_problems(config)
    found += [f"{n} must be positive, got {getattr(config, n)!r}" for n in _POSITIVE if not getattr(config, n) > 0]
    found += [f"{n} must not be negative, got {getattr(config, n)!r}" for n in _NOT_NEGATIVE if getattr(config, n) < 0]
    found += _render_problems(config.render)
    if config.render.service and config.pool != "ray":
        found.append(f"render.service needs pool=ray, got pool={config.pool}")
    if config.r_max < config.r_min:
        found.append(f"r_max ({config.r_max}) must not be below r_min ({config.r_min})")
    if config.pretrain_epochs > config.epochs:
        found.append(f"pretrain_epochs ({config.pretrain_epochs}) is part of epochs ({config.epochs}): it must be less")
    if config.frames < 1 or config.frames % 2 == 0:
        found.append(f"frames must be odd, so that a window has a centre, got {config.frames!r}")
    if config.batch_size == 1:
        found.append("batch_size must be at least 2: batch normalisation cannot train on one pose")
    found += [f"target {t!r} must be NAME:ARGUMENT, such as npz:FILE" for t in config.targets if ":" not in t]
    if config.adapt_to and ":" not in config.adapt_to:
        found.append(f"adapt_to {config.adapt_to!r} must be NAME:ARGUMENT, such as npz:FILE")
    return found


def _input_problems(config: TrainConfig) -> list[str]:
    try:
        _, features = split_inputs(config.inputs)
    except ValueError as error:
        return [str(error)]
    sizes = config.feature_sizes
    if features and sizes and (len(sizes) != len(features) or min(sizes) < 1):
        return [f"feature_sizes must be empty or a positive number for each of {list(features)}, got {sizes}"]
    return []


def _render_problems(render: RenderConfig) -> list[str]:
    found = [
        f"render.{n} must be positive, got {getattr(render, n)!r}"
        for n in _RENDER_POSITIVE
        if not getattr(render, n) > 0
    ]
    if not 1 <= render.min_actors <= render.actors:
        found.append(f"render.min_actors must be in 1..render.actors ({render.actors}), got {render.min_actors!r}")
    if render.max_actors != "auto" and not (render.max_actors.isdecimal() and int(render.max_actors) >= render.actors):
        found.append(
            f"render.max_actors must be auto, or a number from render.actors ({render.actors}) on, "
            f"got {render.max_actors!r}"
        )
    gpus = render.gpus_per_actor
    if gpus != -1 and not (0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        found.append(f"render.gpus_per_actor must be -1, in 0..1, or a whole number, got {gpus!r}")
    if render.service and not all(render.service.partition("/")):
        found.append(f"render.service must be empty or NAMESPACE/NAME, got {render.service!r}")
    if render.min_pool not in (1, 3, 5):
        found.append(f"render.min_pool must be 1, 3 or 5, got {render.min_pool!r}")
    if render.subject_span_px >= render.resolution:
        found.append(
            f"render.subject_span_px ({render.subject_span_px}) must be below render.resolution "
            f"({render.resolution}), or the subject is cut"
        )
    return found


def validate(config: TrainConfig) -> None:
    """Raise ConfigError with every problem, one a line."""
    found = problems(config)
    if found:
        raise ConfigError("\n".join(found))
