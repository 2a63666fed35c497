"""`dg status [address=...] [run=OUT]`: what the runs are doing that are going on."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dg.cluster.address import API_SERVER, clusters_here
from dg.cluster.guardian import guarded_runs
from dg.files.plain_text import one_line
from dg.runs.status_file import ENDED, read_status
from dg.settings.command import Command, fail
from dg.settings.config import ConfigError
from dg.settings.errors import DATA, RESOURCES
from dg.settings.reader import read

ANSWER_S = 5.0
DEAD = "dead"
Status = dict[str, Any]


@dataclass(frozen=True)
class StatusOptions:
    """What is asked about. Raises ConfigError for both at once."""

    address: str = ""  # of a Ray cluster: HOST:PORT, auto, or http://HOST:8265 from outside it; empty: RAY_ADDRESS,
    # else the cluster that this machine is part of, if any
    run: str = ""  # folder that one run writes to, also when it has ended or died

    def __post_init__(self) -> None:
        if self.address and self.run:
            raise ConfigError("give address= or run=, not both: a folder is read without asking a cluster")


COMMAND = Command(
    name="status",
    about="Show every run on this machine, and every run in the Ray cluster at address=.",
    settings=StatusOptions,
    codes=(RESOURCES, DATA),
    examples=("dg status", "dg status run=runs/mine"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = read(StatusOptions, args)
    if options.run:
        return _show_folder(Path(options.run))
    url = _url(options.address)
    if url:
        return _ask_from_outside(url)
    _show_all(options.address or os.environ.get("RAY_ADDRESS", ""))
    return 0


def _url(address: str) -> str:
    """Of a dashboard, if that is what there is to ask."""
    if address:
        return address if "://" in address else ""
    return "" if os.environ.get("RAY_ADDRESS") or clusters_here() else os.environ.get(API_SERVER, "")


def _show_folder(folder: Path) -> int:
    status = read_status(folder)
    if status is None:
        error = FileNotFoundError(
            f"no status.json in {folder}; give the folder that the run said it writes its results to (a run writes it "
            "once it has begun)"
        )
        return fail(error, DATA)
    print(describe(status))
    return 0


def _show_all(address: str) -> None:
    """Every run on this machine, and in the cluster."""
    here = [status for out in guarded_runs() if (status := read_status(out)) is not None]
    here = [status for status in here if status["state"] not in (*ENDED, DEAD)]
    places = ["this machine"]
    there: list[Status] = []
    for place in [address] if address else clusters_here():
        there += runs_in_cluster(place)
        places.append(f"the Ray cluster at {place}")
    outs = {status["out"] for status in there}
    shown = [*there, *(status for status in here if status["out"] not in outs)]
    for status in shown:
        print(describe(status))
    if not shown:
        print(f"no run is going on: looked on {', and in '.join(places)}")


def runs_in_cluster(address: str) -> list[Status]:
    """What the trainers in a cluster say. Raises ResourceError when it does not answer."""
    import ray

    from dg.cluster.session import NAMESPACE, join_cluster
    from dg.runs.handle import TRAINER_PREFIX

    session = join_cluster(address)
    try:
        actors: list[Any] = ray.util.list_named_actors(all_namespaces=True)
        names = sorted(a["name"] for a in actors if a["namespace"] == NAMESPACE)
        return [_ask(name, session.address) for name in names if name.startswith(TRAINER_PREFIX)]
    finally:
        session.close()


def _ask(name: str, address: str) -> Status:
    import ray
    from ray.exceptions import RayError

    from dg.cluster.session import NAMESPACE

    status: Status
    try:
        status = ray.get(ray.get_actor(name, NAMESPACE).status.remote(), timeout=ANSWER_S)  # type: ignore[assignment]
    except (RayError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        status = {"run": name, "out": "", "state": f"does not answer: {reason}"}
    return status | {"cluster": address}


def _ask_from_outside(url: str) -> int:
    """Have the cluster run this program, and show what it says; returns its exit code."""
    from dg.cluster.submit import connect, follow_job, start_job

    client, _ = connect(url)
    return follow_job(client, start_job(client, "dg.status", [], {}))


# -- words


def describe(status: Status) -> str:
    """A run in a few lines."""
    return "\n  ".join(one_line(line, limit=2000) for line in _lines(status))


def _lines(status: Status) -> Iterator[str]:
    place = f"{status.get('host', '')}" + (f", Ray cluster at {status['cluster']}" if "cluster" in status else "")
    yield f"{status['run']} on {place or 'an unknown machine'}: {_state(status)}"
    if "what" in status:
        yield status["what"]
    if "total_steps" in status:
        yield _progress(status)
    elif "note" in status:
        yield status["note"]
    pool = status.get("pool") or {}
    if pool:
        yield (
            f"render: {_count(pool, 'live')} live, {_count(pool, 'starting')} starting, {_count(pool, 'suspect')} "
            f"suspect of {_count(pool, 'actors')}; backlog {_count(pool, 'backlog')}, in flight "
            f"{_count(pool, 'in_flight')}; {_count(pool, 'retried')} retried, {_count(pool, 'quarantined')} "
            f"quarantined poses, {_count(pool, 'deaths')} deaths"
        )
    rates = [(k, status[f"{k}_poses_per_s"]) for k in ("rendered", "trained") if f"{k}_poses_per_s" in status]
    if rates and status["state"] not in (*ENDED, DEAD):
        yield ", ".join(f"{rate:,.0f} {kind} poses/s" for kind, rate in rates)
    if status.get("error") or status.get("last_error"):
        yield f"last error: {status.get('error') or status['last_error']}"
    if status.get("run_id"):
        yield f"MLflow run {status['run_id']} in {status['tracking_uri']}"
    if status.get("out"):
        yield f"results in {status['out']}"


def _state(status: Status) -> str:
    if status["state"] == DEAD:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["updated"]))
        return f"dead since {since}; its command with resume=auto goes on from the last checkpoint"
    return status["state"]


def _progress(status: Status) -> str:
    done, total = status.get("lifter_steps", 0), status["total_steps"]
    epoch = f", epoch {status['epoch']} of {status['epochs']:.0f} done" if "epochs" in status else ""
    loss = f", loss {status['loss']:.5f}" if status.get("loss") is not None else ""
    minutes, seconds = divmod(int(status["updated"] - status["started"]), 60)
    return f"step {done} of {total} ({100 * done / max(1, total):.0f} %){epoch}{loss}, {minutes}:{seconds:02d} min"


def _count(pool: dict[str, float], name: str) -> int:
    return int(pool.get(name, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
