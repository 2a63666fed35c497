"""The seam between a run and whatever records it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUSES = ("FINISHED", "FAILED", "KILLED")


class TrackingError(ValueError):
    """A tracking store that cannot be used. The message names the store, the finding and the remedy."""

    exit_code = 2  # as dg.settings.errors.CONFIG


@dataclass(frozen=True)
class DataInput:
    """A data set that a run used, as MLflow lists it.

    Attributes:
        name: what tables call it.
        digest: of its content.
        rows: how many poses.
        protocol: protocol id of results on it; empty for training data.
        context: `training`, `validation` or `test`.
        source: the data set's plug-in with its options, as they may be given again.
    """

    name: str
    digest: str
    rows: int
    context: str
    protocol: str = ""
    source: str = ""


@dataclass(frozen=True)
class ModelScore:
    """Results of a logged model on one data set.

    Attributes:
        dataset: name of the data set, as the run's inputs have it.
        digest: of its content.
        metrics: by the names that the run's own metrics have.
    """

    dataset: str
    digest: str
    metrics: Mapping[str, float]


class Tracker:
    """Records one run, and as it stands nothing. After `start` no call raises because of the store: a dead tracking
    server never ends a run.
    """

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str | None = None,
        parent_run_id: str | None = None,
        wait: bool = True,
    ) -> str:
        """Begin a run, or continue another.

        Args:
            run_name: what tables call it.
            params: parameters, which may be nested.
            tags: of the run.
            run_id: the run to continue; none: a new one.
            parent_run_id: the run under which this one is listed.
            wait: for the store to give the run its id. Else the connection is made later and in the background
                (`connect`), and `run_id` is a local one until then.

        Returns:
            The id of the run, which `run_id` gives too.
        """
        return self.run_id

    def connect(self, wait: bool = False) -> None:
        """Have the connection made now, in the background, that `start(wait=False)` has put off.

        Args:
            wait: until the store has given the run its id, or is found to be away.
        """

    @property
    def run_id(self) -> str:
        """What `start(run_id=...)` takes to continue this run; empty where there is no run to continue."""
        return ""

    def log_metrics(self, metrics: Mapping[str, float], step: int, time_ms: int = 0) -> None:
        """Scalars at a step, which counts one thing in the whole run, such as epochs.

        Args:
            metrics: by name.
            step: place of the points on their curves.
            time_ms: when they were found, milliseconds since 1970; 0: now. The same points with the same time may be
                logged again: they are kept once.
        """

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run; a tag of the same name is replaced."""

    def log_image(self, image: Any, key: str, step: int) -> None:  # noqa: ANN401
        """A PIL image or an array `[height, width, 3]` of bytes."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file, read when it is sent: leave it in place until `flush` or `finish`."""

    def log_text(self, text: str, name: str) -> None:
        """A text artifact; `name` is its path inside the run."""

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """A table artifact, which MLflow's pages show as one; `name` is its path inside the run and ends in `.json`."""

    def log_inputs(self, inputs: Sequence[DataInput]) -> None:
        """The data sets that the run uses."""

    def log_model(
        self, folder: Path, name: str, step: int, register: str = "", scores: Sequence[ModelScore] = ()
    ) -> None:
        """A model that MLflow's `save_model` has written into a folder; leave the folder in place until `finish`.

        Args:
            folder: holds the file `MLmodel`.
            name: of the model in MLflow.
            step: epoch of its weights.
            register: name of a registered model that gets it as a new version under the alias `newest`; empty: none.
            scores: its results, which MLflow lists beside the model, each under its data set.
        """

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Send everything logged so far and wait for it; False where the store has not taken it all in that time.

        Worth a call once per epoch, after the checkpoint.
        """
        return True

    def finish(self, status: str = "FINISHED", reason: str = "") -> bool:
        """Flush and end the run with one of `STATUSES`; `reason` becomes the tag `status.reason`."""
        return True


class NullTracker(Tracker):
    """Records nothing: tracking is off."""
