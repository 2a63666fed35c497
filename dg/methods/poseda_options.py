"""The options of method=poseda, and which of them go together."""

from dataclasses import dataclass

from dg.augment.generator_init import INITS
from dg.augment.global_position import ATTEMPTS, DEPTH_M
from dg.augment.random_local import RANDOM
from dg.augment.sequential_generator import NORMS, ROTATIONS
from dg.augment.window_transform import check_windows
from dg.methods.critics import CLIP, CRITIC_INPUTS, CRITIC_LOSSES, PENALTY
from dg.methods.mixing import check_mixing

PARTS = ("gpa", "lpa", "both")
LIPSCHITZ = ("clip", "gp")
DOMAINS = ("source", "target")
_OF_THE_GAN = ("generator", "condition", "real_3d", "real_2d", "adversarial")


@dataclass(frozen=True)
class PoseDAOptions:
    """parts: global position alignment, local pose augmentation, or both. local: with parts=gpa, of `rotation` (random,
    about the camera's vertical axis) and `length` (random bone lengths, up to 20 % and alike on both sides) those that
    take the place of a learned augmentation, as in the paper's ablation. condition: whose poses the generator is given,
    `source` or `target` (lifted). real_3d: whose poses the critic takes for real. real_2d: whose 2D a critic of 2D
    takes for real; `off`: there is none. adversarial: `wgan` or `lsgan`. lipschitz, of wgan: `clip` the critic's
    weights to +-clip, or `gp`, a gradient penalty of weight `penalty`. critic_steps: critic steps to one of the
    generator. generator: a file with a trained generator, ours; it is then used as it is, with neither critic nor
    warm-up: any checkpoint of a run, or the generator's weights alone. warmup_passes: passes over the source that train
    the GAN alone; warmup_iterations counts them in batches instead. generator_norm: `batch` or `layer`. generator_init:
    of a new one, see `dg.augment.generator_init`. depth_m: range of an aligned root's depth, metres. attempts: target
    poses that a pose may be paired with. mixing: see `dg.methods.mixing`. windows: `off`, or `centre_transform` for
    lifters of several frames.
    """

    parts: str = "both"
    local: tuple[str, ...] = ()
    condition: str = "source"
    real_3d: str = "source"
    real_2d: str = "off"
    adversarial: str = "wgan"
    lipschitz: str = "clip"
    clip: float = CLIP
    penalty: float = PENALTY
    critic_input: str = "kcs+bones"
    critic_steps: int = 5
    critic_lr: float = 1e-4
    generator: str = ""
    generator_lr: float = 1e-4
    generator_norm: str = "batch"
    generator_init: str = "released"
    rotation: str = "axis_angle"
    warmup_passes: float = 5.0
    warmup_iterations: int | None = None
    depth_m: tuple[float, ...] = DEPTH_M
    attempts: int = ATTEMPTS
    mixing: str = "batch"
    windows: str = "off"

    def __post_init__(self) -> None:
        check_windows(self.windows)
        for name, known in (
            ("parts", PARTS),
            ("condition", DOMAINS),
            ("real_3d", DOMAINS),
            ("real_2d", ("off", *DOMAINS)),
            ("adversarial", tuple(CRITIC_LOSSES)),
            ("lipschitz", LIPSCHITZ),
            ("critic_input", CRITIC_INPUTS),
            ("generator_norm", tuple(NORMS)),
            ("generator_init", INITS),
            ("rotation", tuple(ROTATIONS)),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
        check_mixing(self.mixing)
        if not set(self.local) <= set(RANDOM) or (self.local and self.parts != "gpa"):
            raise ValueError(
                f"local must be of {list(RANDOM)}, with parts=gpa, got {list(self.local)} with parts={self.parts}"
            )
        if self.critic_steps < 1 or self.attempts < 1:
            raise ValueError(f"critic_steps and attempts must be at least 1, got {self.critic_steps}, {self.attempts}")
        if not (self.clip > 0 and self.penalty > 0):
            raise ValueError(f"clip and penalty must be positive, got {self.clip} and {self.penalty}")
        if len(self.depth_m) != 2 or not 0 < self.depth_m[0] <= self.depth_m[1]:
            raise ValueError(f"depth_m must be two positive numbers, nearest first, got {list(self.depth_m)}")
        chosen = [f"{n}={getattr(self, n)}" for n in _OF_THE_GAN if getattr(self, n) != getattr(type(self), n)]
        if chosen and self.parts == "gpa":
            raise ValueError(
                f"parts=gpa has no generator; leave {', '.join(chosen)} out, or choose parts=both or parts=lpa"
            )
        if self.generator and len(chosen) > 1:
            raise ValueError(f"a trained generator has no critic: leave {', '.join(chosen[1:])} out, or generator")
        if self.adversarial == "lsgan" and self.lipschitz != "clip":
            raise ValueError(f"lipschitz={self.lipschitz} belongs to adversarial=wgan; lsgan has no such bound")

    @property
    def lifts_target(self) -> bool:
        """Whether poses of the target are asked for."""
        return "target" in (self.condition, self.real_3d)
