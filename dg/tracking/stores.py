"""Where runs are kept: MLflow tracking URIs, made absolute and ready before any actor starts."""

import logging
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from dg.tracking.base import TrackingError
from dg.tracking.experiment_page import dress_experiment, runs_address
from dg.tracking.moved_store import follow_store
from dg.tracking.names import OLD_TAGS, TAG_HEARTBEAT, TAG_HOST, TAG_REASON, metric_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_URI = "sqlite:///mlflow.db"
# Several runs that start at once on a busy machine wait for each other's imports and migrations of the database.
CREATION_S = 600.0
OFF = ("off", "none")
UI_ADDRESS = "http://127.0.0.1:5000"  # of `dg ui` where the port is free
# A server on a loopback address asks nobody who they are, and need not: others come through ssh, which does.
SERVER_HINT = (
    "start it with `mlflow server --host 127.0.0.1 --port 5000`, and reach it from other machines through "
    "`ssh -N -L 5000:127.0.0.1:5000 HOST` as tracking.uri=http://127.0.0.1:5000"
)
ANSWER_S = 10.0  # a server's port answers within
_SQLITE = b"SQLite format 3\0"  # begins the file of every such database
_STALE_S = 600.0  # ten missed heartbeats
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
# A dead server is found out in seconds, not in MLflow's four minutes; nothing is sent home; no log lines of its own.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri(uri: str) -> str:
    """The store that a setting means, independent of the working directory.

    An empty one is `MLFLOW_TRACKING_URI`, else `sqlite:///mlflow.db` here. Raises TrackingError for a kind of store
    that MLflow 3 no longer writes to, or that is none.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI", "") or DEFAULT_URI
    scheme = uri.partition(":")[0].partition("+")[0]
    if uri in OFF or (scheme in _SCHEMES[1:] and scheme != uri) or uri == "databricks":
        return uri
    if scheme != "sqlite" or not uri.startswith("sqlite:///"):
        hint = f"sqlite:///{uri}" if uri.endswith(".db") else DEFAULT_URI
        raise TrackingError(
            f"tracking.uri must be sqlite:///FILE, http(s)://HOST:PORT, a database URL or off, got {uri!r}; try {hint}"
            " (MLflow 3 no longer writes to plain folders)"
        )
    return f"sqlite:///{sqlite_file(uri)}"


def sqlite_file(uri: str) -> Path | None:
    """The database file of a SQLite store, absolute; None for another kind of store."""
    return Path(uri.removeprefix("sqlite:///")).expanduser().resolve() if uri.startswith("sqlite:///") else None


def client_of(uri: str) -> "MlflowClient":
    """A quiet client of an absolute URI. Takes about a second the first time in a process: MLflow is imported here."""
    _quiet()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _quiet() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def prepare(uri: str, experiment: str) -> str:
    """Create what is missing of the store and the experiment, and give the experiment its page.

    A store that was moved or copied with its pictures is told where they lie now. To be called once, in the driver,
    because actors that create the schema or the experiment would race. Several drivers may start at once.

    Args:
        uri: tracking store; `off` for none.
        experiment: name of the MLflow experiment.

    Returns:
        The experiment's id; empty without a store.

    Raises:
        TrackingError: the store cannot be reached.
    """
    uri = tracking_uri(uri)
    if uri in OFF:
        return ""
    file = sqlite_file(uri)
    try:
        with _creation_lock(file):
            follow_store(file)
            _create_whole(file)
            client = client_of(uri)
            experiment_id = _experiment_id(client, experiment, file)
            dress_experiment(client, experiment_id)
            return experiment_id
    except Exception as error:
        raise _unusable(uri, _first_line(error)) from error


def look_at(uri: str) -> None:
    """See what of a store can be seen without MLflow, whose import takes seconds: a database file, a server's port.

    Args:
        uri: absolute tracking store; `off` for none.

    Raises:
        TrackingError: the store cannot be used.
    """
    file = sqlite_file(uri)
    try:
        if file is not None and file.is_file():
            with file.open("rb") as opened:
                if opened.read(len(_SQLITE)) not in (_SQLITE, b""):
                    raise _unusable(uri, f"{file} is not a database")
        elif file is not None and file.parent.is_dir() and not os.access(file.parent, os.W_OK):
            raise _unusable(uri, f"{file.parent} cannot be written to")
        elif uri.startswith(("http://", "https://")):
            address = urlsplit(uri)
            port = address.port or {"http": 80, "https": 443}[address.scheme]
            socket.create_connection((address.hostname or "", port), ANSWER_S).close()
    except OSError as error:
        raise _unusable(uri, str(error)) from error


def _unusable(uri: str, why: str) -> TrackingError:
    file = sqlite_file(uri)
    remedy = (
        f"check that {file.parent} can be written to and that {file.name} is an MLflow database"
        if file
        else SERVER_HINT
    )
    return TrackingError(
        f"cannot use the tracking store {uri}: {why}; {remedy}, or use tracking.uri={DEFAULT_URI} or tracking.uri=off"
    )


def existing_experiment(uri: str, experiment: str) -> str:
    """Return the id of an experiment that is there already, and give it its page.

    Args:
        uri: absolute tracking store.
        experiment: name of the MLflow experiment.

    Raises:
        TrackingError: there is no such store or experiment, or it cannot be reached.
    """
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise TrackingError(
            f"no MLflow database at {file}; train first (dg train), or give tracking_uri=sqlite:///FILE"
        )
    try:
        follow_store(file)
        client = client_of(uri)
        found = client.get_experiment_by_name(experiment)
        names = [known.name for known in client.search_experiments()]
        if found is not None:
            dress_experiment(client, found.experiment_id)
            return found.experiment_id
    except Exception as error:
        raise TrackingError(f"cannot read the tracking store {uri}: {_first_line(error)}") from error
    raise TrackingError(f"no experiment {experiment!r} in {uri}; it has {names}: give experiment=NAME")


def end_silent_runs(client: "MlflowClient", experiment_id: str, keep: str) -> None:
    """Mark runs of this host as KILLED that have sent no heartbeat for long; a crash would leave them RUNNING.

    Args:
        client: client of the tracking store.
        experiment_id: MLflow's id of the experiment.
        keep: id of a run that is left as it is.
    """
    for host in (TAG_HOST, OLD_TAGS[TAG_HOST]):
        query = f"attributes.status = 'RUNNING' and tags.`{host}` = '{socket.gethostname()}'"
        for run in client.search_runs([experiment_id], query):
            tags = run.data.tags
            silent = time.time() - float(tags.get(TAG_HEARTBEAT) or tags.get(OLD_TAGS[TAG_HEARTBEAT], "0"))
            if silent > _STALE_S and run.info.run_id != keep:
                client.set_tag(run.info.run_id, TAG_REASON, f"no heartbeat for {silent / 60:.0f} minutes")
                client.set_terminated(run.info.run_id, "KILLED")


def ui_command(uri: str, experiment: str = "dg", experiment_id: str = "") -> str:
    """What to type to see the runs, and the address that it opens; of a server, the address alone.

    Args:
        uri: tracking store; `off` for none, which gives an empty text.
        experiment: name of the MLflow experiment.
        experiment_id: MLflow's id of it; without one there is no address.
    """
    uri = tracking_uri(uri)
    if uri in OFF:
        return ""
    if uri.startswith("http"):
        return runs_address(uri, experiment_id) if experiment_id else uri
    words = [] if uri == tracking_uri("") else [f"tracking_uri={uri}"]
    words += [] if experiment == "dg" else [f"experiment={experiment}"]
    command = shlex.join(["dg", "ui", *words])
    return f"{command}   {runs_address(UI_ADDRESS, experiment_id)}" if experiment_id else command


def log_files(uri: str, run_id: str, folder: str, files: Iterable[Path]) -> str:
    """Put files into an MLflow run. Never raises because of the store: the files are written anyway.

    Args:
        uri: of the store, as `tracking.uri` takes it.
        run_id: of the run; empty where it was not tracked.
        folder: among the run's artifacts.
        files: what to log.

    Returns:
        What happened, in words.
    """
    try:
        store = tracking_uri(uri)
        if store in OFF:
            return "not logged: tracking is off"
        if not run_id:
            return "not logged: the run was not tracked"
        client = client_of(store)
        client.get_run(run_id)
        for file in files:
            client.log_artifact(run_id, str(file), folder)
    except Exception as error:  # MLflow, its database driver or the network
        return f"not logged to the MLflow run {run_id}: {_first_line(error)}"
    return f"logged to the MLflow run {run_id} under {folder}"


def environment_tags() -> dict[str, str]:
    """Tags on what ran where: git.sha, git.dirty, ray.version, gpu.name, gpu.tf32. Unknown facts are left out."""
    tags: dict[str, str] = {}
    sha, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    if sha:
        tags |= {"git.sha": sha, "git.dirty": str(bool(changes)).lower(), "mlflow.source.git.commit": sha}
    try:
        tags["ray.version"] = version("ray")
    except PackageNotFoundError:
        pass
    torch = sys.modules.get("torch")  # not worth an import in a process that computes nothing
    if torch is not None and torch.cuda.is_available():
        tags["gpu.name"] = torch.cuda.get_device_name()
        tags["gpu.tf32"] = str(torch.backends.cuda.matmul.allow_tf32).lower()
    return tags


def _experiment_id(client: "MlflowClient", name: str, file: Path | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        # MLflow would put artifacts of a SQLite store under the working directory of whoever asks first.
        root = None if file is None else (file.parent / "mlartifacts" / metric_name(name)).as_uri()
        try:
            return client.create_experiment(name, artifact_location=root)
        except Exception:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} was deleted; restore it in MLflow or choose tracking.experiment=NAME")
    return found.experiment_id


def _create_whole(file: Path | None) -> None:
    """Create the tables of a SQLite store in memory and put them on disk as one file.

    MLflow migrates a new file step by step, each of which SQLite commits: a process that is killed meanwhile leaves a
    store that MLflow can neither use nor repair.
    """
    if file is None or (file.is_file() and file.stat().st_size):
        return
    _quiet()
    from mlflow.store.db import utils

    aside = file.with_name(f".{file.name}.tmp")
    aside.unlink(missing_ok=True)  # of a process that was killed
    engine = utils.create_sqlalchemy_engine("sqlite://")  # one in memory
    try:
        utils._initialize_tables(engine)
        with engine.connect() as connection, closing(sqlite3.connect(aside)) as target:
            cast(sqlite3.Connection, connection.connection.dbapi_connection).backup(target)
        aside.replace(file)
    finally:
        engine.dispose()


def _creation_lock(file: Path | None) -> AbstractContextManager[object]:
    if file is None:
        return nullcontext()
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file.with_name(f"{file.name}.lock"), timeout=CREATION_S)


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
