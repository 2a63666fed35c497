"""How a lifter's authors train it. The same for every method, so that methods compare; a lifter brings its own."""

from dataclasses import dataclass

OPTIMIZERS = ("adam", "adam_amsgrad", "adamw")
LOSSES = ("mse", "mpjpe", "motion")
SCHEDULES = ("constant", "linear", "cosine", "exponential")


@dataclass(frozen=True)
class Recipe:
    """The defaults are PoseAug's, common to its four lifters (METHODS 2.6, 6.7).

    lr_schedule: `linear` falls to 4 % over the budget, `exponential` by `decay` after every pass over the source.
    loss: `mse` over all coordinates; `mpjpe`; `motion`: MPJPE + 0.5 N-MPJPE + 20 times the error of velocities
    (METHODS 6.6). norm_momentum: of batch norms, at the start and at the end of the budget, exponential in between.
    Raises ValueError for an unknown choice.
    """

    optimizer: str = "adam"
    lr: float = 1e-3
    lr_schedule: str = "linear"
    decay: float = 1.0
    weight_decay: float = 0.0
    loss: str = "mse"
    norm_momentum: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, known in (("optimizer", OPTIMIZERS), ("loss", LOSSES), ("lr_schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {list(known)}, got {getattr(self, name)!r}")
