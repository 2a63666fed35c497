"""A run in MLflow 3, written by a thread of its own (SYSTEMS 4).

Departure from plain MLflow: no fluent global state, so several runs live in one process, and no asynchronous logging,
which loses points when the process dies.
"""

import getpass
import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.tracking.base import STATUSES, DataInput, ModelScore, Tracker, TrackingError
from dg.tracking.deliveries import (
    SystemMetrics,
    send_inputs,
    send_model,
    send_scores,
    send_table,
    system_metrics_wanted,
)
from dg.tracking.experiment_page import dress_experiment
from dg.tracking.names import (
    OLD_TAGS,
    TAG_HEARTBEAT,
    TAG_HOST,
    TAG_LOCAL,
    TAG_PROTOCOL,
    TAG_REASON,
    flatten,
    key_name,
    metric_name,
)
from dg.tracking.spool_records import RUN_HANDLE, check_record
from dg.tracking.stores import client_of, end_silent_runs, prepare
from dg.tracking.write_behind import Record, WriteBehind

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCAL = "local-"  # begins the name of a run that the store has not created yet
_TAG_RESUMES = "resume_count"
_EMPTY = ("", "None", "[]", "()", "{}")  # parameters that say nothing
_MAX_POINTS, _MAX_PAIRS, _MAX_PARAM, _MAX_TAG = 1000, 100, 6000, 8000
_BATCH_S = 1.0  # scalars logged step by step travel together
_CONNECT_S = 20.0  # after `start(wait=False)` the connection is made at the latest
_FIRST_S = 60.0  # who needs the run's id waits so long for a store that was not reached yet, and is not known away


class MLflowTracker(Tracker):
    """Records one run in the store at an absolute URI. `folder` takes images, and the spool while the store is away.

    Args:
        watch_machine: whether MLflow's monitor logs CPU, memory and GPU meanwhile.
    """

    def __init__(
        self, uri: str, experiment: str, folder: Path, patience_s: float = 15.0, watch_machine: bool = False
    ) -> None:
        self._uri, self._experiment, self._folder, self._patience_s = uri, experiment, folder, patience_s
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._handle = ""
        self._run_ids: dict[str, str] = {}
        self._known = threading.Event()
        self._logged: dict[str, int] = {}  # of a resumed run: metric -> last step in the store
        self._buffer: list[list[Any]] = []
        self._last_put = 0.0
        self._nonfinite = 0
        self._own_files: set[str] = set()
        self._begun, self._connects = threading.Event(), threading.Event()
        self._watch_machine = watch_machine and system_metrics_wanted()
        self._machine: SystemMetrics | None = None
        self._writer = WriteBehind(self._deliver, self._reachable, folder / "mlflow_spool.jsonl", self._beat)

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        run_id: str | None = None,
        parent_run_id: str | None = None,
        wait: bool = True,
    ) -> str:
        """Begin or continue a run; waits for the store, but no longer than `patience_s`. Empty tags and parameters are
        left out.

        To import MLflow and to open a store take 5 s of processor time, which `wait=False` puts off. A continued run
        keeps its parameters: those that differ now become tags `override.NAME`. Runs of this host that stopped without
        a word are marked KILLED meanwhile.
        """
        if run_id and not RUN_HANDLE.fullmatch(run_id):
            raise TrackingError(
                f"the checkpoint names a run that is none: {run_id[:80]!r}; start anew with resume=never"
            )
        self._handle = run_id or f"{_LOCAL}{uuid.uuid4().hex}"
        self._begun.set()
        tags = _clean_tags(tags) | {TAG_HOST: socket.gethostname(), TAG_HEARTBEAT: _now_text()}
        tags |= {TAG_REASON: "running", "mlflow.user": _user()}
        if parent_run_id:
            tags["mlflow.parentRunId"] = parent_run_id
        said = {name: value for name, value in flatten(params).items() if value not in _EMPTY}
        self._put("resume" if run_id else "create", name=run_name, tags=tags, params=said, time=_now_ms())
        self._put("sweep")
        if wait:
            self.connect()
            self._known.wait(self._patience_s)
        return self.run_id

    def connect(self, wait: bool = False) -> None:
        """Let the writer's thread go on to import MLflow and open the store."""
        self._connects.set()
        give_up = time.monotonic() + _FIRST_S
        # On a busy machine MLflow may be on its way in for long; where records wait, the store is away.
        while wait and self._begun.is_set() and not self._writer.waiting and time.monotonic() < give_up:
            if self._known.wait(0.1):
                break

    @property
    def run_id(self) -> str:
        """MLflow's id of the run, or a local one until the store has answered."""
        return self._run_ids.get(self._handle, self._handle)

    def log_metrics(self, metrics: Mapping[str, float], step: int, time_ms: int = 0) -> None:
        """Numbers that are not finite are left out and counted in `train/nonfinite`."""
        values = {key_name(name): float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if len(finite) < len(values):
            self._nonfinite += len(values) - len(finite)
            finite["train/nonfinite"] = float(self._nonfinite)
        self._buffer += [[name, value, time_ms or _now_ms(), step] for name, value in finite.items()]
        if len(self._buffer) >= _MAX_POINTS or time.monotonic() - self._last_put > _BATCH_S:
            self._put_points()

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Queue the tags, cleaned to what MLflow accepts."""
        self._put("tags", tags=_clean_tags(tags))

    def log_image(self, image: Any, key: str, step: int) -> None:  # noqa: ANN401
        """Write the image as a PNG file into the run's own folder and queue that file."""
        from PIL import Image

        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        path = self._folder / "images" / f"{metric_name(key)}_{step:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        self._put("image", path=str(path), key=metric_name(key), step=step, time=_now_ms())

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Queue the path of the file; its content is read when it is sent."""
        self._own_files.add(str(path))
        self._put("artifact", path=str(path), folder=folder)

    def log_text(self, text: str, name: str) -> None:
        """Queue the text itself, so that no file is needed."""
        self._put("text", text=text, name=name)

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Queue the rows themselves."""
        self._put("table", rows=[dict(row) for row in rows], name=name)

    def log_inputs(self, inputs: Sequence[DataInput]) -> None:
        """Queue what is known of the data sets."""
        self._put("inputs", inputs=[asdict(data) for data in inputs])

    def log_model(
        self, folder: Path, name: str, step: int, register: str = "", scores: Sequence[ModelScore] = ()
    ) -> None:
        """Queue the path of the folder; its files are read when they are sent."""
        self._own_files.add(str(folder))
        found = [asdict(score) for score in scores]
        self._put("model", path=str(folder), name=name, step=step, register=register, scores=found, time=_now_ms())

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Queue the buffered points and wait up to `timeout_s` seconds for the writer to send everything."""
        self.connect()
        self._put_points()
        return self._writer.flush(timeout_s)

    def finish(self, status: str = "FINISHED", reason: str = "") -> bool:
        """Queue the end of the run and close the writer, which gets `patience_s` seconds for the rest.

        Raises:
            ValueError: the status is none of `STATUSES`.
        """
        if status not in STATUSES:
            raise ValueError(f"status must be one of {list(STATUSES)}, got {status!r}")
        self.connect(wait=True)
        self._put_points()
        self._put("end", status=status, tags=_clean_tags({TAG_REASON: reason or status.lower()}), time=_now_ms())
        return self._writer.close(self._patience_s)

    # -- sending: only in the writer's thread ---------------------------------------------------------------------

    def _put(self, kind: str, **content: Any) -> None:  # noqa: ANN401
        self._writer.put({"kind": kind, "run": self._handle, **content})

    def _put_points(self) -> None:
        points, self._buffer, self._last_put = self._buffer, [], time.monotonic()
        for start in range(0, len(points), _MAX_POINTS):
            self._put("metrics", points=points[start : start + _MAX_POINTS])

    @property
    def _mlflow(self) -> "MlflowClient":
        if self._client is None:
            self._experiment_id = prepare(self._uri, self._experiment)
            self._client = client_of(self._uri)
        return self._client

    def _reachable(self) -> bool:
        return self._mlflow.get_experiment(self._experiment_id) is not None

    def _deliver(self, record: Record) -> None:
        self._begun.wait()  # what an earlier process left may be for the run that `start` will continue
        self._connects.wait(_CONNECT_S)
        check_record(record, self._folder, self._own_files, {self._handle, self.run_id})
        getattr(self, f"_send_{record['kind']}")(record)

    def _resolve(self, handle: str) -> str:
        """The run id of a handle; a run created late, perhaps by an earlier process, is found by its tag."""
        if not handle.startswith(_LOCAL) or handle in self._run_ids:
            return self._run_ids.get(handle, handle)
        for tag in (TAG_LOCAL, OLD_TAGS[TAG_LOCAL]):
            found = self._mlflow.search_runs([self._experiment_id], f"tags.`{tag}` = '{handle}'", max_results=1)
            if found:
                return found[0].info.run_id
        return ""

    def _settle(self, handle: str, run_id: str, resumed: bool = False) -> None:
        self._run_ids[handle] = run_id
        if handle != self._handle:
            return
        self._known.set()
        if self._watch_machine and self._machine is None:
            self._machine = SystemMetrics(run_id, self._uri, resumed)

    def _send_create(self, record: Record) -> None:
        run_id = self._resolve(record["run"]) or self._create(record)
        self._settle(record["run"], run_id)
        self._send_params(run_id, record["params"])
        prefix = f"{TAG_PROTOCOL}."
        targets = [name.removeprefix(prefix) for name in record["tags"] if name.startswith(prefix)]
        dress_experiment(self._mlflow, self._experiment_id, targets)

    def _create(self, record: Record) -> str:
        tags = record["tags"] | {TAG_LOCAL: record["run"]}
        run = self._mlflow.create_run(self._experiment_id, record["time"], tags, record["name"])
        return run.info.run_id

    def _send_resume(self, record: Record) -> None:
        run = self._mlflow.get_run(self._existing(record) or self._create(record))
        run_id, before = run.info.run_id, run.data.params
        self._settle(record["run"], run_id, resumed=True)
        self._mlflow.update_run(run_id, status="RUNNING")
        now = {name: value[:_MAX_PARAM] for name, value in record["params"].items()}
        tags = {key_name(f"override.{k}"): v for k, v in now.items() if k in before and before[k] != v}
        tags[_TAG_RESUMES] = str(int(run.data.tags.get(_TAG_RESUMES, "0")) + 1)
        self._send_tags({"run": run_id, "tags": record["tags"] | tags})
        self._send_params(run_id, {k: v for k, v in record["params"].items() if k not in before})
        for name in run.data.metrics:
            self._logged[name] = max(point.step for point in self._mlflow.get_metric_history(run_id, name))

    def _existing(self, record: Record) -> str:
        """Id of the run to continue; empty when the store has lost it, as after a change of `tracking.uri`."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._mlflow.get_run(self._resolve(record["run"]) or record["run"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return ""
        return run.info.run_id if run.info.lifecycle_stage == "active" else ""

    def _send_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        pairs = [Param(name, value[:_MAX_PARAM]) for name, value in params.items()]
        for start in range(0, len(pairs), _MAX_PAIRS):
            self._mlflow.log_batch(run_id, params=pairs[start : start + _MAX_PAIRS])
        if any(len(value) > _MAX_PARAM for value in params.values()):
            self._mlflow.log_text(run_id, json.dumps(dict(params), indent=2), "params.json")

    def _send_metrics(self, record: Record) -> None:
        from mlflow.entities import Metric

        # History is append-only: a resumed run must not write again what its dead predecessor wrote.
        points = [Metric(*point) for point in record["points"] if point[3] > self._logged.get(point[0], -1)]
        self._mlflow.log_batch(self._resolve(record["run"]), metrics=points)

    def _send_tags(self, record: Record) -> None:
        from mlflow.entities import RunTag

        pairs = [RunTag(name, value) for name, value in record["tags"].items()]
        for start in range(0, len(pairs), _MAX_PAIRS):
            self._mlflow.log_batch(self._resolve(record["run"]), tags=pairs[start : start + _MAX_PAIRS])

    def _send_image(self, record: Record) -> None:
        from PIL import Image

        with Image.open(record["path"]) as image:
            self._mlflow.log_image(
                self._resolve(record["run"]),
                image,
                key=record["key"],
                step=record["step"],
                timestamp=record["time"],
                synchronous=True,
            )

    def _send_artifact(self, record: Record) -> None:
        self._mlflow.log_artifact(self._resolve(record["run"]), record["path"], record["folder"] or None)

    def _send_text(self, record: Record) -> None:
        self._mlflow.log_text(self._resolve(record["run"]), record["text"], record["name"])

    def _send_table(self, record: Record) -> None:
        send_table(self._mlflow, self._resolve(record["run"]), record["rows"], record["name"])

    def _send_inputs(self, record: Record) -> None:
        send_inputs(self._mlflow, self._resolve(record["run"]), record["inputs"])

    def _send_model(self, record: Record) -> None:
        run_id, folder, step = self._resolve(record["run"]), Path(record["path"]), record["step"]
        model_id = send_model(
            self._mlflow, self._experiment_id, run_id, folder, record["name"], step, record["register"]
        )
        send_scores(self._mlflow, run_id, model_id, record.get("scores", ()), step, record.get("time", 0))

    def _send_end(self, record: Record) -> None:
        if self._machine is not None and record["run"] == self._handle:
            self._machine.finish()
        self._send_tags(record)
        self._mlflow.set_terminated(self._resolve(record["run"]), record["status"], record["time"])

    def _beat(self) -> None:
        if self._handle in self._run_ids:
            self._mlflow.set_tag(self.run_id, TAG_HEARTBEAT, _now_text())

    def _send_sweep(self, record: Record) -> None:
        end_silent_runs(self._mlflow, self._experiment_id, keep=self._resolve(record["run"]))


def _clean_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key_name(name): str(value)[:_MAX_TAG] for name, value in tags.items() if str(value)}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _now_text() -> str:
    return f"{time.time():.0f}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
