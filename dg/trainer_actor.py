"""The trainer as an actor: a shell that loads torch and everything else only where it runs, not in the driver."""

from typing import TYPE_CHECKING, Any

from dg.config import RunInfo, TrainConfig

if TYPE_CHECKING:
    pass


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
