"""The contract of a study: command-line words in, runs, tables and figures out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from dg.settings.errors import DATA


class Study(ABC):
    """One question that takes many runs. The docstring of its file is its help."""

    @abstractmethod
    def run(self, words: Sequence[str]) -> int:
        """The whole study, or what is left of it; returns the exit code (0 done, 1 some runs failed, 130 interrupted).

        The same words again go on where it stopped. Ends in tables and figures, in files and in MLflow. Raises
        ConfigError or OptionError for wrong words, StudyError for a study that cannot be made.
        """


class StudyError(ValueError):
    """Something that a study needs and that is not there. The message says what would help. Exit code 4."""

    exit_code = DATA
