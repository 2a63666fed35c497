"""`dg train submit=true ...`: the run as a Ray job on a cluster, seen from outside it.

The cluster is asked over its dashboard's port, so that a laptop needs no more than `ray dashboard cluster.yaml`: at
address=, else RAY_API_SERVER_ADDRESS, RAY_ADDRESS, a cluster that this machine is part of, or http://127.0.0.1:8265.
The job runs the other words with `python`, or with what DG_CLUSTER_PYTHON says, here or in the environment in which the
cluster was started: an absolute path is safest, since on a path of several Pythons the first need not be the one with
Ray. Its paths are the cluster's, relative ones from where Ray was started on the head.
"""

import asyncio
import logging
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.cluster.address import API_SERVER, AUTO, clusters_here
from dg.settings.config import TrainConfig
from dg.settings.errors import INTERRUPTED
from render_workers.pool_options import ResourceError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PYTHON = "DG_CLUSTER_PYTHON"
DASHBOARD = "http://127.0.0.1:8265"
# From SIGTERM to SIGKILL at `ray job stop`; Ray's own 3 s are not enough to end a batch and write a checkpoint.
STOP_WAIT_S = 60
POLL_S = 0.5
LOST_S = 30.0
TAIL = 10_000  # characters
NOT_FOUND, NO_MODULE = 127, "No module named"


def submit(config: TrainConfig, words: Sequence[str], what: str) -> int:
    """Submit the run as a job and show its log until it ends; Ctrl-C leaves it running.

    Args:
        config: of the run, with the cluster's address and the folder to write to.
        words: arguments of `dg.train` as they were typed.
        what: description of the run, one line.

    Returns:
        The job's exit code, or 0 at Ctrl-C.

    Raises:
        ResourceError: no cluster takes the job.
    """
    client, url = connect(config.address)
    own = [word for word in words if word.partition("=")[0] not in ("submit", "address", "out")]
    own.append(f"out={config.out}")
    name = Path(config.out).name
    print(f"dg train as a job on the Ray cluster at {url}: {what}", flush=True)
    job = start_job(client, "dg.train", own, {"dg.run": name, "dg.what": what})
    print(
        f"  job {job}; results in {config.out} there: paths in these words are the cluster's, relative ones from where "
        "Ray was started on its head\n  Ctrl-C leaves it running",
        flush=True,
    )
    try:
        return follow_job(client, job)
    except KeyboardInterrupt:
        told = f"--address {url} {job}"
        print(
            f"\ndetached: job {job} goes on\n  its log:   ray job logs --follow {told}\n"
            f"  its state: dg status address={url}\n"
            f"  stop it:   ray job stop {told}  (it writes a checkpoint first)",
            flush=True,
        )
        return 0


# -- the cluster


def connect(address: str) -> "tuple[JobSubmissionClient, str]":
    """A client of the cluster's job server, and the server's URL. Raises ResourceError when nothing answers."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    place, source = job_server(address)
    try:
        _knock(place)
        with _without_ray_addresses():
            client = JobSubmissionClient(place)
    except Exception as error:  # Ray raises many kinds: of sockets, HTTP, versions, authentication
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ResourceError(
            f"submit=true asked for a Ray cluster at {place} ({source}): {reason}\n"
            "  try: `ray dashboard cluster.yaml`, which forwards the cluster's port 8265 to this machine | "
            "address=http://HOST:8265 | RAY_AUTH_MODE=token or disabled, whichever the cluster was started with"
        ) from error
    return client, client.get_address()


def job_server(address: str) -> tuple[str, str]:
    """Where to send jobs, a URL or HOST:PORT of a cluster, and how that was found."""
    given = [(address, "address="), *((os.environ.get(n, ""), n) for n in (API_SERVER, "RAY_ADDRESS"))]
    for place, source in given:
        if place and place != AUTO:
            return place, f"from {source}" if source != "address=" else "as given"
    here = clusters_here()
    if here:
        return here[0], "which runs on this machine"
    return DASHBOARD, f"neither address= nor {API_SERVER} nor RAY_ADDRESS says where"


def _knock(place: str) -> None:
    """Raise OSError at once for a port that nobody listens on, where Ray would try for a long while."""
    host, _, port = place.rpartition("//")[2].rstrip("/").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5.0).close()


@contextmanager
def _without_ray_addresses() -> Iterator[None]:
    """Ray would follow its variables rather than the address that it is given."""
    kept = {name: os.environ.pop(name) for name in (API_SERVER, "RAY_ADDRESS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


# -- the job


def entrypoint(module: str, words: Sequence[str]) -> str:
    """Return the shell command that the cluster runs; by `exec` signals and exit code are the program's own.

    Args:
        module: run as `python -m`.
        words: its arguments, which are quoted for the shell.
    """
    here = os.environ.get(PYTHON)
    python = shlex.join(shlex.split(here)) if here else f"${{{PYTHON}:-python}}"
    return f"exec {python} -m {module} {shlex.join(words)}".rstrip()


def start_job(client: "JobSubmissionClient", module: str, words: Sequence[str], metadata: dict[str, str]) -> str:
    """Submit a module as a job of the cluster.

    Args:
        client: Ray's client for jobs.
        module: run as `python -m`.
        words: its arguments.
        metadata: text by key, which Ray shows with the job.

    Returns:
        The job's id.

    Raises:
        ResourceError: the cluster refuses the job.
    """
    job = f"{module.replace('.', '-')}-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    variables = {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
    try:
        return client.submit_job(
            entrypoint=entrypoint(module, words),
            submission_id=job,
            runtime_env={"env_vars": variables},
            metadata=metadata,
            entrypoint_num_cpus=0,
        )
    except RuntimeError as error:
        raise ResourceError(f"the cluster at {client.get_address()} did not take the job: {error}") from error


def follow_job(client: "JobSubmissionClient", job: str) -> int:
    """Print the job's log until it ends; KeyboardInterrupt leaves the job running.

    Args:
        client: Ray's client for jobs.
        job: the job's id.

    Returns:
        The job's exit code.
    """
    from ray.job_submission import JobStatus

    shown = _shown_log(client, job)
    info: Any = client.get_job_info(job)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.status == JobStatus.STOPPED:
        sys.stderr.write(f"job {job} was stopped; the same words with out=... resume=auto go on\n")
        return INTERRUPTED
    if info.driver_exit_code is None:
        sys.stderr.write(f"error: job {job} failed before it ran: {info.message}\n")
        return 1
    if info.driver_exit_code == NOT_FOUND or NO_MODULE in shown:
        sys.stderr.write(
            f"error: the cluster's Python is not the one with dg: {entrypoint('dg.train', [])}\n"
            f"       set {PYTHON} to its absolute path on the cluster, here or where the cluster is started\n"
        )
    # A driver that a signal ended has the signal's negative number.
    return info.driver_exit_code if info.driver_exit_code >= 0 else 128 - info.driver_exit_code


def _shown_log(client: "JobSubmissionClient", job: str) -> str:
    """Print the log until the job has ended; returns its last part.

    In a thread: a Ctrl-C that would cancel the connection may get lost in it, or wait for it to close.
    """
    log, failed = _Log(), []

    def show() -> None:
        try:
            asyncio.run(_show_log(client, job, log))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
    except KeyboardInterrupt:
        log.silent = True
        raise
    if failed:
        raise failed[0]
    return log.tail


async def _show_log(client: "JobSubmissionClient", job: str, log: "_Log") -> None:
    """Print the log until the job has ended, across broken connections."""
    while not _has_ended(client, job):
        log.begin()
        try:
            async for text in client.tail_job_logs(job):
                log.add(text)
        except (RuntimeError, OSError):
            await asyncio.sleep(POLL_S)
    log.begin()
    log.add(client.get_job_logs(job))  # what it wrote last


class _Log:
    """Prints a text that is told several times from its start, each part of it once."""

    def __init__(self) -> None:
        self.shown = self.passed = 0
        self.tail = ""
        self.silent = False

    def begin(self) -> None:
        self.passed = 0

    def add(self, text: str) -> None:
        new = text[max(0, self.shown - self.passed) :]
        self.passed += len(text)
        self.shown = max(self.shown, self.passed)
        self.tail = (self.tail + new)[-TAIL:]
        if not self.silent:
            sys.stdout.write(new)
            sys.stdout.flush()


def _has_ended(client: "JobSubmissionClient", job: str) -> bool:
    """Whether the job has. Raises ResourceError when the cluster has been out of reach for a while."""
    give_up = time.monotonic() + LOST_S
    while True:
        try:
            return client.get_job_status(job).is_terminal()
        except (RuntimeError, OSError) as error:
            if time.monotonic() > give_up:
                raise ResourceError(
                    f"asked the cluster at {client.get_address()} for job {job}, without an answer for {LOST_S:g} s: "
                    f"{error}\n  the job may go on: see `ray job list --address {client.get_address()}`"
                ) from error
        time.sleep(POLL_S)
