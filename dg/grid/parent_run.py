"""One MLflow run that stands for many: the parent that a driver writes, and tags on the children that its runs write.

A tracking store that is away never ends a grid or a sweep: what cannot be sent is said once, and the folders have it.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from dg.settings.config import TrackingConfig, TrainConfig
from dg.tracking import OFF, environment_tags, make_tracker, prepare, tracking_uri, ui_command
from dg.tracking.experiment_page import run_address
from dg.tracking.names import TAG_CHILD, TAG_ORACLE, TAG_REASON
from dg.tracking.stores import client_of

RETRY_S = 60.0


class ParentRun:
    """The parent run, open from `start` until its tracker is finished."""

    child: ClassVar[str] = "run"  # what a child is called in its status
    program: ClassVar[str] = "dg grid"  # what MLflow shows as its source

    def __init__(self, tracking: TrackingConfig, folder: Path) -> None:
        """Raises TrackingError when the store cannot be used."""
        self.uri = tracking_uri(tracking.uri)
        self.experiment = tracking.experiment
        self.tracker = make_tracker(self.uri, tracking.experiment, folder)
        self.problem = ""
        self._labelled: dict[str, str] = {}  # name of a child -> state that its tags tell
        self._next_try = 0.0
        self._experiment_id = prepare(self.uri, self.experiment)
        self._client: Any = None if self.uri in OFF else client_of(self.uri)

    def start(self, run_name: str, params: Mapping[str, Any], tags: Mapping[str, str], run_id: str | None) -> None:
        """Begin the parent run, or go on with it.

        Args:
            run_name: as MLflow shows it.
            params: of the run; may be nested.
            tags: of the run.
            run_id: of the run to go on with; None: begin a new one.
        """
        source = {"mlflow.source.name": self.program, "mlflow.source.type": "LOCAL"}
        self.tracker.start(run_name, params, environment_tags() | source | dict(tags), run_id)

    @property
    def parent_id(self) -> str:
        """Empty while the store has not made the run."""
        run_id = self.tracker.run_id
        return "" if run_id.startswith("local-") or self._client is None else run_id

    def args(self, config: TrainConfig, child: str = "") -> dict[str, str]:
        """What a child is told about tracking, and where its cache is: it runs in another folder."""
        args = {"tracking.uri": self.uri, "tracking.experiment": self.experiment}
        args |= {"tracking.child": child} if child else {}
        args |= {"tracking.parent_run_id": self.parent_id} if self.parent_id else {}
        return args | ({} if config.cache == "off" else {"cache": str(Path(config.cache).absolute())})

    def address(self) -> str:
        """What to type to see the parent run's experiment, and its address; empty without a store."""
        return ui_command(self.uri, self.experiment, self._experiment_id)

    def children_links(self, most: int) -> list[tuple[str, str]]:
        """Names and addresses of the child runs, relative to MLflow's own page; none where the store is away."""
        if not self.parent_id:
            return []
        try:
            query = f"tags.`mlflow.parentRunId` = '{self.parent_id}'"
            runs = self._client.search_runs([self._experiment_id], query, max_results=most)
        except Exception as error:
            self.problem = f"could not list the children in {self.uri}: {error}".splitlines()[0]
            return []
        return [(run.info.run_name, run_address("", self._experiment_id, run.info.run_id)[1:]) for run in runs]

    def label(self, child: str, tags: Mapping[str, str], state: str, end: str = "") -> None:
        """Tag the newest child run of a name, each state once.

        Args:
            child: run name of the child.
            tags: what its run is tagged with.
            state: which the tags tell; a state that was told is not told again.
            end: status that the child's open runs get, one of MLflow's; empty: they stay open.
        """
        if not self.parent_id or self._labelled.get(child) == state or time.monotonic() < self._next_try:
            return
        try:
            for number, run in enumerate(self._children(child)):
                is_open = run.info.status == "RUNNING"
                if not is_open and (number > 0 or state == "RUNNING"):
                    continue
                for name, value in self._child_tags(run, tags).items():
                    self._client.set_tag(run.info.run_id, name, value)
                if end and is_open:
                    self._client.set_tag(run.info.run_id, TAG_REASON, f"{self.child} {end.lower()}")
                    self._client.set_terminated(run.info.run_id, end)
                self._labelled[child] = state
        except Exception as error:  # a tracking server that is away must not end what is under way
            self.problem = f"could not tag {child} in {self.uri}: {error}".splitlines()[0]
            self._next_try = time.monotonic() + RETRY_S

    @staticmethod
    def _child_tags(run: Any, tags: Mapping[str, str]) -> dict[str, str]:  # noqa: ANN401
        if TAG_ORACLE not in tags:
            return dict(tags)
        return {**tags, TAG_ORACLE: merged(run.data.tags.get(TAG_ORACLE, ""), tags[TAG_ORACLE])}

    def _children(self, child: str) -> list[Any]:
        """Newest first: a run that was tried again and found no checkpoint has more than one."""
        parent = f"tags.`mlflow.parentRunId` = '{self.parent_id}'"
        order = ["attributes.start_time DESC"]
        for named in (f"tags.`{TAG_CHILD}`", "attributes.run_name"):  # the name alone in runs of earlier versions
            query = f"{parent} and {named} = '{child}'"
            if found := list(self._client.search_runs([self._experiment_id], query, order_by=order)):
                return found
        return []


def merged(*lists: str) -> str:
    """Comma-separated lists as one, each word once: a run's own tag `oracle` and what its driver adds to it."""
    return ",".join(dict.fromkeys(word for text in lists for word in text.split(",") if word))
