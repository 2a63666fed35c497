"""The trainer as an actor: a shell that loads torch and everything else only where it runs, not in the driver."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dg.config import TrainConfig

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class RunInfo:
    """What the driver decided before the trainer starts: its folder, and its run in MLflow."""

    out: str
    tracking_uri: str
    run_name: str
    note: str
    gpus_per_actor: float = 0.0


class TrainerActor:
    """One run. `run` blocks; `poll` and `stop` are called meanwhile from other threads of the actor."""

    def __init__(self, config: TrainConfig, info: RunInfo) -> None:
        from dg.experiment import Experiment

        self.experiment: Experiment = Experiment(config, info)

    def run(self) -> dict[str, Any]:
        return self.experiment.run()

    def poll(self) -> list[dict[str, Any]]:
        return self.experiment.poll()

    def stop(self) -> None:
        self.experiment.stop()
