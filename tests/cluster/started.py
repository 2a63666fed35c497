"""What the clusters of these tests have in common: a folder of their own, processes found by it, an end for them."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIX = "dgc"
OWNER = "owner.json"
# Makes tests/cluster/paced_zbuffer.py a depth source of every program on the nodes.
PLUG_IN = """\
from render_workers.depth import DEPTH_SOURCES

DEPTH_SOURCES["paced_zbuffer"] = "paced_zbuffer:PacedZBuffer"
"""
Found = TypeVar("Found")


def missing_programs(**more: str) -> list[str]:
    """Debian packages that have to be installed first."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    programs = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"} | more
    return sorted({package for name, package in programs.items() if shutil.which(name, path=path) is None})


def wait_for(what: Callable[[], Found], seconds: float, doing: str, every_s: float = 0.2) -> Found:
    """The first true answer; asked every so many seconds. Raises AssertionError when the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(every_s)
    raise AssertionError(f"after {seconds:g} s still no {doing}")


class StartedCluster:
    """A cluster whose files lie in one folder of /tmp. `stop` ends everything, `leftovers` says what is left.

    root: that folder; short, because the path of a socket below it may have 107 characters. shared, seen: the folder
    that all hosts see, and where this process sees it. actors_wanted: words for a run that fills the cluster.
    """

    head: str
    trainer: str
    render: str
    shared: Path
    seen: Path
    actors_wanted: tuple[str, ...] = ("render.actors=2",)

    def __init__(self) -> None:
        clear_up_after_killed_tests()
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
        me = psutil.Process()
        (self.root / OWNER).write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
        self.shared_memory: set[Path] = set()
        (self.root / "plug_ins").mkdir()
        shutil.copy(REPOSITORY / "tests/cluster/paced_zbuffer.py", self.root / "plug_ins")
        (self.root / "plug_ins/sitecustomize.py").write_text(PLUG_IN)

    def processes(self) -> list[psutil.Process]:
        """Everything that was started below the private folder, zombies left out."""
        return processes_of(self.root)

    def raylets(self) -> dict[str, psutil.Process]:
        """The raylet of each address."""
        found = {}
        for process in self.processes():
            given = words(process)
            if given and Path(given[0]).name == "raylet":
                found[_option(given, "--node_ip_address")] = process
        return found

    def actors(self, name: str) -> dict[str, list[psutil.Process]]:
        """Actors' processes by the address of their node."""
        found: dict[str, list[psutil.Process]] = {}
        for address, raylet in self.raylets().items():
            for child in _children(raylet):
                if name in " ".join(words(child)):
                    found.setdefault(address, []).append(child)
        return found

    def note_shared_memory(self) -> None:
        """Remember the segments in /dev/shm that the cluster uses now."""
        for process in self.processes():
            try:
                paths = [m.path for m in process.memory_maps()] + [f.path for f in process.open_files()]
            except psutil.Error:
                continue
            self.shared_memory |= {Path(p.removesuffix(" (deleted)")) for p in paths if p.startswith("/dev/shm/")}

    def stop(self) -> None:
        """End every process by its id, and remove the folder."""
        end(self.processes)
        shutil.rmtree(self.root, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """What `stop` left behind, in words; should be empty."""
        found = [f"process {p.pid} {' '.join(words(p))[:200]}" for p in self.processes()]
        return found + [str(path) for path in (*self.shared_memory, self.root) if path.exists()]


def processes_of(root: Path) -> list[psutil.Process]:
    """Processes that name a cluster's folder in their command line or environment, this one and zombies left out."""
    found = []
    for process in psutil.process_iter():
        try:
            given = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(root) in word for word in given):
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        except psutil.Error:
            continue
    return found


def end(alive: Callable[[], list[psutil.Process]]) -> None:
    """Kill processes until there are none."""
    deadline = time.monotonic() + 30
    while (found := alive()) and time.monotonic() < deadline:
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue
        time.sleep(0.2)


def clear_up_after_killed_tests() -> None:
    """End clusters of earlier tests whose own process is gone, and remove their folders."""
    for root in Path("/tmp").glob(f"{PREFIX}*"):
        try:
            owner = json.loads((root / OWNER).read_text())
        except (OSError, ValueError):
            continue
        if not _runs(owner["pid"], owner["started"]):
            end(lambda root=root: processes_of(root))
            shutil.rmtree(root, ignore_errors=True)


def _runs(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False


def words(process: psutil.Process) -> list[str]:
    """Its command line; empty when it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _children(process: psutil.Process) -> Iterator[psutil.Process]:
    try:
        yield from process.children()
    except psutil.Error:
        return


def _option(given: list[str], name: str) -> str:
    return next((word.partition("=")[2] for word in given if word.startswith(f"{name}=")), "")
