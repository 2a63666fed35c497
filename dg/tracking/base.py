"""The seam between a run and whatever records it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUSES = ("FINISHED", "FAILED", "KILLED")


class TrackingError(ValueError):
    """A tracking store that cannot be used. The message names the store, the finding and the remedy."""

    exit_code = 2  # as dg.settings.errors.CONFIG


class Tracker(ABC):
    """Records one run. After `start` no call raises because of the store: a dead tracking server never ends a run."""

    @abstractmethod
    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Begin a run, or continue the one that `run_id` names; returns its id. params may be nested."""

    @property
    @abstractmethod
    def run_id(self) -> str:
        """What `start(run_id=...)` takes to continue this run."""

    @abstractmethod
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Scalars at a step, which counts one thing in the whole run, such as epochs."""

    @abstractmethod
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run; a tag of the same name is replaced."""

    @abstractmethod
    def log_image(self, image: Any, key: str, step: int) -> None:  # noqa: ANN401
        """A PIL image or an array `[height, width, 3]` of bytes."""

    @abstractmethod
    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file, read when it is sent: leave it in place until `flush` or `finish`."""

    @abstractmethod
    def log_text(self, text: str, name: str) -> None:
        """A text artifact; `name` is its path inside the run."""

    @abstractmethod
    def flush(self, timeout_s: float = 10.0) -> bool:
        """Send everything logged so far and wait for it; False where the store has not taken it all in that time.

        Worth a call once per epoch, after the checkpoint.
        """

    @abstractmethod
    def finish(self, status: str = "FINISHED", reason: str = "") -> bool:
        """Flush and end the run with one of `STATUSES`; `reason` becomes the tag `status.reason`."""


class NullTracker(Tracker):
    """Records nothing."""

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Begin nothing and return an empty id."""
        return ""

    @property
    def run_id(self) -> str:
        """The empty string: there is no run to continue."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Drop the metrics."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Drop the tags."""

    def log_image(self, image: Any, key: str, step: int) -> None:  # noqa: ANN401
        """Drop the image."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Leave the file unread."""

    def log_text(self, text: str, name: str) -> None:
        """Drop the text."""

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Return True at once: nothing waits to be sent."""
        return True

    def finish(self, status: str = "FINISHED", reason: str = "") -> bool:
        """Return True at once: there is no run to end."""
        return True
