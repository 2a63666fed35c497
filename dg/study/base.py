"""The contract of a study: command-line arguments in, runs, tables and figures out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dg.compare.results import RunResult
from dg.compare.sheets import Sheet
from dg.compare.stored_runs import read_results, stored_runs
from dg.grid.cells import GridOptions, check_grid
from dg.settings.errors import DATA, ConfigError
from dg.study.results import FRAMES, Axis, Place, conclude, say

if TYPE_CHECKING:
    from pandas import DataFrame

    from dg.grid.session import GridSession


class StudyError(ValueError):
    """Something that a study needs and that is not there. The message says what would help."""

    exit_code = DATA


class Study(ABC):
    """One question that takes many runs. The docstring of its file is its help.

    Attributes:
        Options: dataclass of its keys, for the help.
        takes_train_keys: whether it trains, and so takes the keys of `dg train` as well.
    """

    Options: ClassVar[type[Any]]
    takes_train_keys: ClassVar[bool] = True

    @abstractmethod
    def run(self, args: Sequence[str]) -> int:
        """The whole study, or what is left of it; returns the exit code (0 done, 1 some runs failed, 130 interrupted).

        The same arguments again go on where it stopped. Ends in tables and figures, in files and in MLflow. Raises
        ConfigError or OptionError for wrong arguments, StudyError for a study that cannot be made.
        """


class GridStudy(Study):
    """A study whose runs are one grid, and whose errors are read from MLflow.

    Attributes:
        name: of the study and its files.
        heading: of its figure, with `{metric}` and `{selection}`.
        axis: what it varies.
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    axis: ClassVar[Axis] = FRAMES

    @abstractmethod
    def frame(self, session: "GridSession", runs: Sequence[RunResult]) -> "DataFrame":
        """The errors of the runs, as `dg.study.results` has them.

        Args:
            session: the grid that ran, with its finished cells.
            runs: results, ordered by input, newer ones last.
        """

    @abstractmethod
    def sheets(self, frame: "DataFrame", metric: str, heading: str) -> list[Sheet]:
        """The tables."""

    def run_grid(
        self, options: GridOptions, shared: Sequence[str], metric: str, selection: str, args: Sequence[str]
    ) -> int:
        """Train what is left of the grid, then show what all of its runs have found.

        Args:
            options: which cells.
            shared: arguments of every cell.
            metric: of the errors.
            selection: of the weights.
            args: the command line, for the command that resumes.

        Raises:
            ConfigError: settings that make no grid, or runs that are not tracked.
        """
        from dg.grid.session import run_grid

        if "tracking.uri=off" in shared:
            raise ConfigError("the study reads its results from MLflow: leave tracking.uri=off out")
        check_grid(options, shared)

        def finish(session: "GridSession") -> None:
            if session.done:
                self._conclude(session, metric, selection)

        command = f"dg study {self.name}"
        return run_grid(options, shared, command, args, lambda plan: say(f"{command}: {len(plan.cells)} runs"), finish)

    def _conclude(self, session: "GridSession", metric: str, selection: str) -> None:
        place = Place(session.folder, session.records.uri, session.records.parent_id)
        runs = stored_runs(place.uri, session.records.experiment, place.run_id) if place.run_id else []
        results = sorted(read_results(runs, selection, metric)[0], key=lambda run: (run.input_label, run.started))
        frame = self.frame(session, results) if results else None
        if frame is None or frame.empty:
            raise StudyError(f"the runs in {place.folder} have no {metric} of selection={selection} in MLflow")
        heading = self.heading.format(metric=metric, selection=selection)
        conclude(self.name, heading, place, self.sheets(frame, metric, heading), frame, metric, self.axis)
