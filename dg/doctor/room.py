"""Room on this machine: memory, disk, shared memory, open files and ports.

The limits are where trouble starts in practice: a trainer and two render actors hold about 2 GiB, Ray stops making
objects at 95 % of its disk, and its default for open files is 65,536 in our start commands.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from dg.doctor.finding import Finding, error, ok, warning
from dg.settings.config import TrainConfig

GIB = 2**30
MEMORY_GIB, DISK_GIB, SHARED_GIB = 2.0, 5.0, 1.0
RAYS_FULL_DISK = 0.95
OPEN_FILES = 4096
PORTS = {6379: "`ray start --head`", 8265: "Ray's dashboard"}


def memory(config: TrainConfig) -> Iterator[Finding]:
    """Check that enough memory is free."""
    now = psutil.virtual_memory()
    text = f"{now.available / GIB:.1f} of {now.total / GIB:.1f} GiB free, {os.cpu_count()} cores"
    if now.available < MEMORY_GIB * GIB:
        yield warning("memory", text, "end other programs, or render.actors=1")
    else:
        yield ok("memory", text)


def disk(config: TrainConfig) -> Iterator[Finding]:
    """Check that enough room is free on the disk of this folder and on Ray's."""
    ray_folder = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
    for name, folder in (("disk", Path.cwd()), ("Ray's disk", ray_folder)):
        room = shutil.disk_usage(folder)
        text = f"{room.free / GIB:.1f} GiB free at {folder}"
        if name != "disk" and room.used / (room.used + room.free) > RAYS_FULL_DISK:
            yield error(name, f"{text}: over 95 % full, where Ray makes no more objects",
                        "make room, or RAY_TMPDIR=FOLDER on another disk")  # fmt: skip
        elif room.free < DISK_GIB * GIB:
            yield warning(name, text, "make room: checkpoints, depth cache and logs go there")
        else:
            yield ok(name, text)


def shared_memory(config: TrainConfig) -> Iterator[Finding]:
    """Check that shared memory has enough room for Ray's object store."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        yield ok("shared memory", "no /dev/shm on this system")
        return
    room = shutil.disk_usage(folder)
    text = f"{room.free / GIB:.1f} GiB free at {folder}"
    if room.free < SHARED_GIB * GIB:
        yield warning("shared memory", f"{text}: Ray's object store goes to the disk and is slow",
                      "in a container: --shm-size=4g or more")  # fmt: skip
    else:
        yield ok("shared memory", text)


def open_files(config: TrainConfig) -> Iterator[Finding]:
    """Check the limit of open files."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < OPEN_FILES:
        yield warning("open files", f"at most {limit} at once; Ray opens many", "ulimit -n 65536")
    else:
        yield ok("open files", f"at most {limit:,} at once")


def ports(config: TrainConfig) -> Iterator[Finding]:
    """Check that the ports of a head are free."""
    taken = [port for port in PORTS if not _free(port)]
    for port in taken:
        yield warning("ports", f"{port}, for {PORTS[port]}, is taken: no head can start here with its default",
                      "nothing, if a Ray cluster runs here; else give `ray start --head` another port")  # fmt: skip
    if not taken:
        yield ok("ports", f"{' and '.join(map(str, PORTS))} are free")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
