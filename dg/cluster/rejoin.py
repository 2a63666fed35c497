"""`python -m dg.cluster.rejoin -- ray start --address=HEAD:6379 ...` keeps this host in a cluster: Ray is started again
whenever it ends by itself.

A host that the cluster has missed for about a minute is declared dead. When its network is back its Ray process learns
that and ends. The autoscaler of `ray up` then starts Ray there once more, and where that one start fails, never again;
nobody does on a host that was joined by hand. `ray stop` on this host still stops Ray for good, and SIGTERM or Ctrl-C
end this program and Ray with it.

words:
  patience=SECONDS          give up when the head could not be reached for so long (3600)
  detach=FILE               go on in the background, and write to that file. Where this runs already for the same
                            command and code it is left alone, else that is ended first, with all of Ray on this host
  stop=false                with detach=: do not run `ray stop` first (where several hosts are one machine)
  -- COMMAND                the `ray start` of this host, with --address=HOST:PORT; --block is added

exit codes: 0 told to end, or detached; 2 wrong word; 3 the head was out of reach for too long
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from dg.cluster.versions import source_digest

PATIENCE_S = 3600.0
ANSWER_S = 5.0  # the head's port answers within
POLL_S = 2.0
PAUSES_S = (1.0, 30.0)  # between two starts: the first, and the longest
STEADY_S = 60.0  # Ray that ran for so long had joined
STOP_S = 60.0  # of `ray stop`
CODE = "code="  # a word that a detached loop carries: the digest of the code that it was started from
END_S = 20.0  # Ray takes so long at most to end when it is asked to


@dataclass
class Pause:
    """How long to wait before the next start: ever longer while starts fail, short again after one that went well."""

    seconds: float = PAUSES_S[0]

    def after(self, ran_s: float) -> float:
        """ran_s: how long Ray has run."""
        if ran_s >= STEADY_S:
            self.seconds = PAUSES_S[0]
        now, self.seconds = self.seconds, min(PAUSES_S[1], 2 * self.seconds)
        return now


class Rejoin:
    """The loop that keeps a node in its Ray cluster.

    Args:
        command: the command `ray start`, which blocks.
        head: host and port of the cluster's head.
        say: takes a line for the user.
    """

    def __init__(
        self, command: Sequence[str], head: tuple[str, int], patience_s: float, say: Callable[[str], object]
    ) -> None:
        self._command, self._head, self._patience_s, self._say = list(command), head, patience_s, say
        self._ended = threading.Event()

    def end(self) -> None:
        """Have `run` end Ray and return; may be called from a signal handler."""
        self._ended.set()

    def run(self) -> int:
        """Start Ray, and again when it ends, until told to end; returns the exit code."""
        pause = Pause()
        while self._wait_for_head():
            started = time.monotonic()
            self._say("starting Ray")
            code = self._run_ray()
            if self._ended.is_set():
                return 0
            wait_s = pause.after(time.monotonic() - started)
            self._say(f"Ray has ended by itself (exit code {code}); starting it again in {wait_s:g} s")
            self._ended.wait(wait_s)
        return 0 if self._ended.is_set() else 3

    def _wait_for_head(self) -> bool:
        """Whether the head answers; waits until it does, the loop is told to end, or patience is at its end."""
        since = time.monotonic()
        host, port = self._head
        while not self._ended.is_set():
            try:
                socket.create_connection(self._head, timeout=ANSWER_S).close()
            except OSError as error:
                away_s = time.monotonic() - since
                if away_s >= self._patience_s:
                    self._say(f"the head at {host}:{port} could not be reached for {away_s:.0f} s ({error}): giving up")
                    return False
                if away_s < POLL_S:
                    self._say(f"waiting for the head at {host}:{port}: {error}")
                self._ended.wait(POLL_S)
            else:
                return True
        return False

    def _run_ray(self) -> int:
        ray = subprocess.Popen(self._command)
        while ray.poll() is None and not self._ended.wait(0.2):
            pass
        if ray.poll() is None:
            ray.terminate()
            try:
                ray.wait(END_S)
            except subprocess.TimeoutExpired:
                ray.kill()
        return ray.wait()


@dataclass(frozen=True)
class Words:
    """The arguments of the command.

    Attributes:
        command: the command `ray start`.
        head: host and port of the cluster's head.
        detach: log file, or empty.
    """

    command: list[str]
    head: tuple[str, int]
    patience_s: float = PATIENCE_S
    detach: str = ""
    stop: bool = True


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"--help", "-h", "help"} & set(words[:1]):
        sys.stdout.write(__doc__ or "")
        return 0 if words else 2
    try:
        asked = read_words(list(words))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if asked.detach:
        detach(asked)
        return 0
    loop = Rejoin(asked.command, asked.head, asked.patience_s, _say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.end())
    return loop.run()


def read_words(words: list[str]) -> Words:
    """The words as asked for. Raises ValueError."""
    if "--" not in words or not words[words.index("--") + 1 :]:
        raise ValueError(f"expected -- and the `ray start` of this host, got {' '.join(words)}")
    given, command = words[: words.index("--")], words[words.index("--") + 1 :]
    found = re.search(r"--address[= ]\[?([^ =\]]+)\]?:(\d+)", " ".join(command))
    if found is None or "--head" in command or "start" not in command:
        raise ValueError(f"expected a `ray start --address=HOST:PORT`, of a host that is not the head, got {command}")
    pairs = (word.partition("=") for word in given if not word.startswith(CODE))
    options = {key: value for key, _, value in pairs}
    if unknown := sorted(set(options) - {"patience", "detach", "stop"}):
        raise ValueError(f"expected patience=SECONDS, detach=FILE or stop=false before --, got {', '.join(unknown)}")
    patience, stop = options.get("patience", str(PATIENCE_S)), options.get("stop", "true")
    if not re.fullmatch(r"\d+(\.\d+)?", patience) or stop not in ("true", "false"):
        raise ValueError(f"expected patience=SECONDS and stop=true or false before --, got {' '.join(given)}")
    command += ["--block"] * ("--block" not in command)
    return Words(
        command, (found.group(1), int(found.group(2))), float(patience), options.get("detach", ""), stop == "true"
    )


# -- in the background


def detach(asked: Words) -> None:
    """Have the loop run in the background, in one copy and with this code."""
    patience = f"patience={asked.patience_s:g}"
    wanted = ["-m", "dg.cluster.rejoin", f"{CODE}{source_digest()}", patience, "--", *asked.command]
    others = []
    for process, given in loops_of(node_of(asked.command)):
        if given[1:] == wanted:
            _say(f"already running, process {process.pid}")
            return
        others.append(process)
    for process in others:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(others, timeout=END_S + 5)
    for process in alive:
        process.kill()
    if asked.stop:
        subprocess.run([*asked.command[: asked.command.index("start")], "stop"], check=False, timeout=STOP_S)
    with Path(asked.detach).expanduser().open("ab") as log:
        loop = subprocess.Popen(
            [sys.executable, *wanted], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    _say(f"running in the background, process {loop.pid}; it writes to {asked.detach}")


def loops_of(node: str) -> list[tuple[psutil.Process, list[str]]]:
    """This user's loops on this machine for the node of that address, with their command lines."""
    found = []
    for process in psutil.process_iter(["cmdline", "uids"]):
        given = process.info["cmdline"] or []
        mine = process.info["uids"] is not None and process.info["uids"].real == os.getuid()
        if mine and given[1:3] == ["-m", "dg.cluster.rejoin"] and node_of(given) == node and process.pid != os.getpid():
            if not any(word.startswith("detach=") for word in given):
                found.append((process, given))
    return found


def node_of(command: Sequence[str]) -> str:
    """The address that a `ray start` gives its node; empty where it gives none."""
    return next((word.partition("=")[2] for word in command if word.startswith("--node-ip-address=")), "")


def _say(text: str) -> None:
    with suppress(OSError):  # a full disk must not end the loop
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
