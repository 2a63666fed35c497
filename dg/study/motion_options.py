"""The keys of the study `motion`."""

from dataclasses import dataclass
from typing import Literal

from dg.settings.errors import ConfigError
from dg.tracking.names import Metric


@dataclass(frozen=True)
class MotionOptions:
    """What is evaluated of the runs of `dg study frames`, and how fast their clips are."""

    out: str  # folder of `dg study frames`
    parts: tuple[Literal["train", "val", "test"], ...] = ("val",)  # of the source
    targets: tuple[str, ...] = ()  # NAME:ARGUMENT each; empty: those of the runs, the source's test part among them
    speeds: tuple[float, ...] = (0.5, 2.0)  # slowest and fastest
    seed: int = 0  # of the speeds, which are the same for every lifter
    weights: Literal["best", "last"] = "best"  # best: by source validation
    tta: Literal["", "none", "flip", "reverse", "flip+reverse"] = ""  # empty: each set's own; reversing changes
    # nothing for single frames
    metric: Metric = "mpjpe_mm"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cache: str = ""  # folder of drawn depth; empty: that of the runs; off: draw anew

    def __post_init__(self) -> None:
        if any(":" not in target for target in self.targets):
            raise ConfigError(f"targets must be NAME:ARGUMENT each, such as npz:FILE, got {list(self.targets)}")
        if len(self.speeds) != 2 or not 0 < self.speeds[0] <= self.speeds[1]:
            raise ConfigError(f"speeds must be [slowest,fastest], positive, got {list(self.speeds)}")
