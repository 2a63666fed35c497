"""A small process that outlives a run's driver just long enough to clear up after it, however the driver ended.

`Guardian` starts `python -m dg.cluster.guardian` beside the driver. The two share a pipe of which only the driver has
the writing end: when it breaks, by `release` or because the driver is gone (SIGKILL included), the guardian ends what
is left of the driver's own Ray cluster, removes that cluster's folder, and removes half-written files of the run.
Nothing is imported here but the standard library and psutil, so that it is up before Ray is.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

# The folder of a Ray cluster that belongs to one run. Ray puts sockets below it, whose whole path may have 107 bytes.
CLUSTER_PREFIX = "dg-ray-"
LONGEST_PARENT = 22
PATIENCE_S = 15.0  # the driver waits so long for the guardian to finish
TERM_S = 2.0  # between SIGTERM and SIGKILL
SWEEP_S = 30.0  # after that much clearing up it gives up
EXIT_S = 5.0  # for the processes that wrote files, where the driver did not wait for them
RELEASED = "released"
QUIET_S = 0.3  # nothing is left when nothing was found over such a span


def make_cluster_folder() -> Path:
    """A new folder, of this user alone, with a path short enough for sockets below it. Ray gets `ray_folder` of it."""
    usual = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=CLUSTER_PREFIX, dir=usual if len(usual) <= LONGEST_PARENT else "/tmp"))


def ray_folder(cluster: Path) -> Path:
    """Where Ray keeps its files and sockets: it opens that folder to everybody, so one that nobody enters is around it.

    Args:
        cluster: From `make_cluster_folder`.
    """
    return cluster / "r"


class Guardian:
    """The driver's side of the guardian process.

    Args:
        out: folder of the run.
        cluster: folder from `make_cluster_folder`, if the run has a Ray cluster of its own.
        folders: where the run writes other files.
    """

    def __init__(self, out: Path, cluster: Path | None = None, folders: Sequence[Path] = ()) -> None:
        words = [str(out), str(cluster or ""), *map(str, folders)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dg.cluster.guardian", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        # It forks and leaves this process's family, so that what kills the family spares it; its first half ends.
        threading.Thread(target=self._process.wait, daemon=True).start()

    def watch(self, pid: int) -> None:
        """Half-written files of this process are to be removed when it has ended."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # somebody has killed the guardian: the run goes on without
                self._process.stdin.write(f"{pid}\n".encode())
                self._process.stdin.flush()

    def release(self) -> None:
        """Clear up now, and wait until that is done. Idempotent."""
        if self._process.stdin is None or self._process.stdin.closed or self._process.stdout is None:
            return
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{RELEASED}\n".encode())
            self._process.stdin.close()
        # Its end of the pipe closes when it exits.
        waiting = threading.Thread(target=self._process.stdout.read, daemon=True)
        waiting.start()
        waiting.join(PATIENCE_S)
        if not waiting.is_alive():
            self._process.stdout.close()


def guarded_runs() -> list[Path]:
    """Folders of the runs that have a guardian on this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[1:3] == ["-m", "dg.cluster.guardian"] and len(words) > 4:
            found.append(Path(words[3]))
    return sorted(set(found))


# -- the guardian's side


def main(words: Sequence[str]) -> int:
    """Wait in a process of its own for the driver to end, then clear up; return when nothing is left.

    Args:
        words: folder of the run, folder of the cluster or nothing, and other folders of the run.
    """
    out, cluster, *others = words
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    said = [line.strip() for line in sys.stdin]  # until the pipe breaks
    released = RELEASED in said  # the driver has ended what it could
    if cluster:
        end_cluster(Path(cluster), quiet_s=0.0 if released else QUIET_S)
    patience_s = 0.0 if released else EXIT_S
    for pid in (int(word) for word in said if word.isdecimal()):
        if ended(pid, patience_s):
            remove_half_files([Path(folder) for folder in (out, *others)], pid)
    return 0


def end_cluster(folder: Path, quiet_s: float = QUIET_S) -> None:
    """End every process of the Ray cluster whose files are in a folder, and remove the folder.

    Args:
        folder: folder of the cluster's files.
        quiet_s: seconds without any such process after which the cluster counts as ended.
    """
    asked: dict[psutil.Process, float] = {}
    started = last_seen = time.monotonic()
    while (now := time.monotonic()) - started < SWEEP_S:
        found = members(folder)
        for process in found:
            last_seen = now
            _press(process, now - asked.setdefault(process, now))
        if not found and now - last_seen >= quiet_s:
            break
        time.sleep(0.05)
    if folder.name.startswith(CLUSTER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def members(folder: Path) -> list[psutil.Process]:
    """Processes of the Ray cluster in `folder`, with all that they started.

    Raises ValueError for a folder that others' command lines may hold too, such as `.` or `/tmp`.
    """
    if not folder.is_absolute() or len(folder.parts) < 3 or folder == Path(tempfile.gettempdir()):
        raise ValueError(f"expected the absolute path of one cluster's own folder, got {str(folder)!r}")
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline"]):
        if process.pid == os.getpid():
            continue
        try:
            if _belongs(process, str(folder)):
                found |= {p.pid: p for p in (process, *process.children(recursive=True)) if _lives(p)}
        except psutil.Error:
            continue
    return list(found.values())


def _belongs(process: psutil.Process, folder: str) -> bool:
    words = process.info["cmdline"] or [""]
    # An option of Ray's, and not, say, somebody who reads its log.
    if any(word.startswith("-") and folder in word for word in words[1:]):
        return True
    # A worker's command line is overwritten by its title; its log is open in the folder.
    return words[0].startswith("ray::") and any(file.path.startswith(folder) for file in process.open_files())


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _press(process: psutil.Process, since_asked_s: float) -> None:
    """SIGTERM, and SIGKILL where that did not help."""
    with suppress(psutil.Error):
        if since_asked_s == 0:
            process.terminate()
        elif since_asked_s > TERM_S:
            process.kill()


def ended(pid: int, patience_s: float) -> bool:
    """Wait for a process to end and return whether it has.

    Args:
        pid: id of the process.
        patience_s: seconds to wait at most.
    """
    give_up = time.monotonic() + patience_s
    while True:
        try:
            if not _lives(psutil.Process(pid)):
                return True
        except psutil.NoSuchProcess:
            return True
        if time.monotonic() >= give_up:
            return False
        time.sleep(0.02)


def remove_half_files(folders: Sequence[Path], pid: int) -> None:
    """Remove the unfinished files that `dg.files.atomic.replace_file` left in a process that has ended.

    Args:
        folders: where to look, without subfolders.
        pid: id of the process.
    """
    for folder in folders:
        for path in folder.glob(f".*.{pid}.tmp"):
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
