"""`dg ui [key=value ...]`: MLflow's pages for a store, on this machine alone, opened where the runs are compared."""

import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from dataclasses import dataclass
from types import FrameType
from typing import Annotated
from urllib.error import URLError
from urllib.request import urlopen

from annotated_types import Interval

from dg.compare.settings import as_here
from dg.settings.command import Command
from dg.settings.errors import INTERRUPTED, RESOURCES
from dg.settings.reader import read

HOST, FIRST_PORT, PORTS = "127.0.0.1", 5000, 20
START_S, LOOK_S = 600.0, 2.0


@dataclass(frozen=True)
class UiOptions:
    """What is shown, and where."""

    tracking_uri: str = ""  # MLflow store; empty: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db
    experiment: str = "dg"  # MLflow experiment whose runs are opened
    port: Annotated[int, Interval(ge=0, le=65535)] = 0  # of the server; 0: the first free one from 5000 on
    open: bool = True  # open a browser; false: print the address alone


COMMAND = Command(
    name="ui",
    about="""Open MLflow's pages where the runs of an experiment are compared.

Starts MLflow's server for the store on this machine's loopback address, which nobody else reaches, prints the address
and opens it. Ctrl-C ends the server. Of a store that is a server already, the address is printed and opened.""",
    settings=UiOptions,
    codes=(RESOURCES,),
    examples=("dg ui", "dg ui tracking_uri=sqlite:///runs/mlflow.db experiment=mine open=false"),
)


class UiError(RuntimeError):
    """A server that cannot be started. Exit code 3."""

    exit_code = RESOURCES


@COMMAND.main
def main(args: list[str]) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    options = read(UiOptions, as_here(args))
    # After the help, which needs none of it.
    from dg.tracking import tracking_uri
    from dg.tracking.experiment_page import runs_address
    from dg.tracking.stores import OFF, existing_experiment

    uri = tracking_uri(options.tracking_uri)
    if uri in OFF:
        raise UiError("tracking is off: there is no store to show; give tracking_uri=sqlite:///FILE")
    experiment_id = existing_experiment(uri, options.experiment)
    if uri.startswith("http"):
        _show(runs_address(uri, experiment_id), options.open)
        return 0
    port = options.port or free_port()
    # Without the processes that work for MLflow's LLM pages, which take longer to start than all the rest.
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In a session of its own, so that Ctrl-C reaches this process alone, which then ends the server and its workers.
    server = subprocess.Popen(
        _command(uri, port), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        _wait_for(server, port)
        _show(runs_address(f"http://{HOST}:{port}", experiment_id), options.open)
        print("Ctrl-C ends the server", flush=True)
        server.communicate()
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _end(server)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def free_port(first: int = FIRST_PORT) -> int:
    """Return the first port of `PORTS` that nobody listens on. Raises UiError where there is none."""
    for port in range(first, first + PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise UiError(f"the ports {first} to {first + PORTS - 1} of {HOST} are taken; give port=NUMBER")


def _command(uri: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--workers", "1"]
    return [*command, "--port", str(port)]


def _wait_for(server: "subprocess.Popen[str]", port: int) -> None:
    """Until the server answers. Raises UiError with its last words where it ends, or is not there in time."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up:
        if server.poll() is not None:
            words = (server.stderr.read() if server.stderr else "").strip().splitlines()
            raise UiError(f"MLflow's server has ended: {words[-1] if words else f'exit code {server.returncode}'}")
        try:
            with urlopen(f"http://{HOST}:{port}/health", timeout=LOOK_S) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            time.sleep(0.2)
    raise UiError(f"MLflow's server did not answer on {HOST}:{port} within {START_S:g} s")


def _show(address: str, opens: bool) -> None:
    print(address, flush=True)
    has_screen = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if opens and has_screen:
        webbrowser.open(address)


def _end(server: "subprocess.Popen[str]") -> None:
    """No process of the server is left: it starts workers of its own."""
    import psutil

    try:
        family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        if process.is_running():
            process.terminate()
    for process in psutil.wait_procs(family, timeout=10)[1]:
        process.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
