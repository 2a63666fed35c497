"""Joining a Ray cluster, or starting one that ends with the run: the home of `ray.init` for training runs."""

import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dg.cluster.address import AUTO, cluster_address, clusters_here
from dg.cluster.guardian import Guardian, make_cluster_folder, ray_folder
from dg.cluster.resources import cores_of_run, found
from dg.cluster.token_file import keep_token_private
from dg.cluster.versions import NodeVersions, differences, versions_here
from dg.settings.config import TrainConfig
from dg.settings.cores import cores_here
from render_workers.pool_options import ResourceError

NAMESPACE = "dg"
ANSWER_S = 5.0  # a cluster's port answers within
VERSIONS_S = 60.0  # a node tells its versions within; it may have to start a process for it
LOGS = "ray_logs"
NODE_AGENT = str(Path(__file__).with_name("node_agent.py"))
ATTEMPTS = 2


class RaySession:
    """This process' connection to Ray.

    Args:
        own: whether the cluster ends with `close`.
        folder: folder of the cluster's files, where it is the run's own.
    """

    def __init__(self, address: str, own: bool, folder: Path | None = None, guardian: Guardian | None = None) -> None:
        self.address, self.own, self.folder, self.guardian = address, own, folder, guardian
        # In a cluster that others have set up, versions are looked at while the trainer starts.
        self._asked = {} if own or not address else _ask_versions()

    def resources(self) -> dict[str, float]:
        """What the cluster has in all."""
        return {name: float(amount) for name, amount in ray.cluster_resources().items()}

    def found(self) -> str:
        """What there is, in words."""
        nodes = sum(node["Alive"] for node in ray.nodes())
        return f"{nodes} node{'s' * (nodes != 1)} with {found(self.resources())}"

    def check_versions(self) -> None:
        """Raise ResourceError if nodes run other versions than this process. Waits for their answers."""
        asked, self._asked = self._asked, {}
        answers = {node: _answer(ref) for node, ref in asked.items()}
        wrong = differences(versions_here(), answers) if answers else []
        if wrong:
            lines = "\n  ".join(wrong)
            raise ResourceError(
                f"the nodes of the cluster at {self.address} do not run what this driver runs:\n  {lines}\n"
                "  what to do: install the same Python, packages and source on all of them (setup_commands or the "
                "image in cluster.yaml), then `ray up` again"
            )

    def keep_logs(self, out: Path) -> Path | None:
        """Copy what Ray and the workers wrote to the run's folder, since `close` removes it; where to, or None."""
        if self.folder is None:
            return None
        kept = out / LOGS
        for path in sorted((self.folder / "session_latest" / "logs").glob("*.[eo][ru][rt]")):
            if path.stat().st_size:
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, kept / path.name)
        return kept if kept.is_dir() else None

    def close(self) -> None:
        """Leave the cluster; end it if it is the run's own, with everything in it."""
        if self.own or self.address:
            ray.shutdown()
        if self.guardian is not None:
            self.guardian.release()


def open_session(config: TrainConfig, out: Path, folders: Sequence[Path] = ()) -> RaySession:
    """Join the Ray cluster that the configuration names, or start one.

    A connection that this process has already is used instead, and left open.

    Args:
        config: of the run; its address decides.
        out: folder that the run writes to.
        folders: further folders that it writes to.

    Raises:
        ResourceError: the cluster does not answer or refuses.
    """
    if ray.is_initialized():
        return RaySession("", own=False)
    address = cluster_address(config)
    return join_cluster(address) if address else _own_cluster(config, out, folders)


def join_cluster(address: str) -> RaySession:
    """Connect to a running cluster. Raises ResourceError with what was asked, where, and what to do."""
    address = _resolved(address)
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, namespace=NAMESPACE)
    except (OSError, ValueError, RuntimeError, exceptions.RayError) as error:
        raise ResourceError(
            f"asked for the Ray cluster at {address}: {_first_line(error)}\n"
            "  try: address=HOST:PORT as `ray up` or `ray start --head` named it | submit=true from outside the "
            "cluster | address=local for a cluster of this run's own | RAY_AUTH_MODE=token or disabled, whichever the "
            "cluster was started with"
        ) from error
    return RaySession(address, own=False)


def _resolved(address: str) -> str:
    if address != AUTO:
        return address
    here = clusters_here()
    if len(here) == 1:
        return here[0]
    found = f"there are {len(here)}: {', '.join(here)}" if here else "this machine is part of none"
    raise ResourceError(
        f"address=auto asks for the one Ray cluster of this machine; {found}\n"
        "  try: address=HOST:PORT | address=local for a cluster of this run's own | `ray start --head` first"
    )


def _own_cluster(config: TrainConfig, out: Path, folders: Sequence[Path]) -> RaySession:
    folder = make_cluster_folder()
    guardian = Guardian(out, folder, folders)
    keep_token_private()
    # Ray gives its workers niceness 15: beside any other work on the machine a start of 10 s then takes minutes.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A process for each core, started at once, which nothing here would use: trainer and render actors have their own
    # environment variables, and so processes of their own.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    # Ray imports it when it sends off its first actor, for 0.3 s; now this process waits for daemons.
    threading.Thread(target=_import_arrow, daemon=True).start()
    try:
        _start(max(cores_here(), cores_of_run(config)), ray_folder(folder))
    except BaseException:
        guardian.release()
        raise
    return RaySession("", own=True, folder=ray_folder(folder), guardian=guardian)


def _import_arrow() -> None:
    with suppress(ImportError):
        import pyarrow  # noqa: F401


def _start(cpus: int, folder: Path) -> None:
    """Start a cluster in this machine, at the second attempt too: beside other work a daemon may miss Ray's deadline.

    Raises ResourceError.
    """
    for attempt in range(ATTEMPTS):
        try:
            with _fewer_daemons():
                ray.init(
                    address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False,
                    logging_level=logging.ERROR, namespace=NAMESPACE, _temp_dir=str(folder),
                )  # fmt: skip
            return
        except Exception as error:  # Ray raises bare Exception, RuntimeError and more for daemons that do not start
            ray.shutdown()
            if attempt + 1 == ATTEMPTS:
                raise ResourceError(
                    f"a Ray cluster of this run's own did not start in {ATTEMPTS} attempts: {_first_line(error)}\n"
                    "  try: pool=local, which needs no Ray | again when the machine is less busy | dg doctor"
                ) from error


@contextmanager
def _fewer_daemons() -> Iterator[None]:
    """Have Ray's daemons started in a session of their own, and those left out that a run's own cluster does not use.

    A signal to the driver's process group (Ctrl-C in some shells, `timeout`, `scancel`) would end the control store
    before the driver can ask for a checkpoint. The guardian ends the daemons when the driver has gone.

    Left out are the API server (the dashboard; Ray starts it all the same, for its usage statistics, and waits two
    seconds for it), the autoscaler's monitor, the log monitor (which forwards workers' output, and here that is off),
    and what the agent of a node serves the dashboard with (Ray's `--minimal`, as without its extra `default`). They
    would take some 3 s of processor time while the first batch is waited for.
    """
    from ray._private import node, ray_constants, services, utils

    plain: Any = services.ConsolePopen
    python_of = services._build_python_executable_command_memory_profileable

    def interpreter(component: str, *args: Any, **kwargs: Any) -> list[str]:  # noqa: ANN401 - Ray's
        agent = component == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT
        return [*python_of(component, *args, **kwargs), *([NODE_AGENT] if agent else [])]

    class InItsOwnSession(plain):
        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Popen's
            super().__init__(*args, **{**kwargs, "start_new_session": True})

    replacements: list[tuple[Any, str, Any]] = [
        (services, "ConsolePopen", InItsOwnSession),
        (services, "start_api_server", lambda *args, **kwargs: ("", None)),
        (node.Node, "start_monitor", lambda self: None),
        (node.Node, "start_log_monitor", lambda self: None),
        (services, python_of.__name__, interpreter),
        (utils, "get_dashboard_dependency_error", lambda: ImportError("the dashboard is left out")),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    try:
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


# -- versions


def _ask_versions() -> dict[str, Any]:
    """A task on each node that is up, by node."""
    ask: Any = ray.remote(versions_here)
    refs = {}
    for node in ray.nodes():
        if node["Alive"]:
            here = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            # Several raylets may share a machine.
            name = name if name not in refs else f"{name} {node['NodeID'][:6]}"
            refs[name] = ask.options(num_cpus=0, max_retries=0, scheduling_strategy=here).remote()
    return refs


def _answer(ref: Any) -> NodeVersions | str:  # noqa: ANN401 - ray.ObjectRef of NodeVersions
    try:
        return ray.get(ref, timeout=VERSIONS_S)
    except exceptions.GetTimeoutError:
        return f"did not tell its versions within {VERSIONS_S:g} s"
    except exceptions.RayTaskError as error:
        return f"dg cannot be used there: {_first_line(error.cause)}"
    except exceptions.RayError as error:
        return f"cannot be reached: {_first_line(error)}"
