"""A Ray cluster as others start it (`ray start --head`), of one node on this machine, ended by process."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dg.cluster.address import clusters_here
from dg.cluster.guardian import end_cluster
from tests.train_process import QUIET, wait_for

ENVIRONMENT = QUIET | {"RAY_worker_niceness": "0"}


@dataclass(frozen=True)
class RayHead:
    """address: for `ray.init`. url: of the dashboard, which takes jobs."""

    address: str
    url: str
    folder: Path


def free_ports(count: int) -> list[int]:
    """All held at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@contextmanager
def ray_head(cpus: int = 4, resources: str = '{"trainer": 1}') -> Iterator[RayHead]:
    folder = Path(tempfile.mkdtemp(prefix="head-", dir="/tmp"))  # short, for Ray's sockets
    port, dashboard, client, agent = free_ports(4)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1",
        f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--num-cpus={cpus}",
        f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}",
        f"--resources={resources}", "--disable-usage-stats", "--include-dashboard=true",
    ]  # fmt: skip
    with (folder / "ray-start.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        for each in (port, dashboard):
            wait_for(lambda each=each: _answers(each))
        # Ray takes the machine's outer address where it is told a loopback one.
        address = wait_for(lambda: [a for a in clusters_here() if a.endswith(f":{port}")])[0]
        yield RayHead(address, f"http://127.0.0.1:{dashboard}", folder)
    finally:
        process.terminate()
        end_cluster(folder)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
