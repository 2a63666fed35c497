"""`python -m dg.cluster.rejoin -- ray start --address=HEAD:6379 ...` keeps this host in a cluster: Ray is started again
whenever it ends by itself.

A host that the cluster has missed for about a minute is declared dead. When its network is back its Ray process learns
that and ends. `ray up` starts Ray again on the hosts of its file; nobody does on a host that was joined by hand.
`ray stop` on this host still stops Ray for good, and SIGTERM or Ctrl-C end this program and Ray with it.

words:
  patience=SECONDS          give up when the head could not be reached for so long (3600)
  -- COMMAND                the `ray start` of this host, with --address=HOST:PORT; --block is added

exit codes: 0 told to end, 2 wrong word, 3 the head was out of reach for too long
"""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PATIENCE_S = 3600.0
ANSWER_S = 5.0  # the head's port answers within
POLL_S = 2.0
PAUSES_S = (1.0, 30.0)  # between two starts: the first, and the longest
STEADY_S = 60.0  # Ray that ran for so long had joined
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
    """The loop. command: of `ray start`, blocking. head: its host and port. say: takes a line for the user."""

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


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"--help", "-h", "help"} & set(words[:1]):
        sys.stdout.write(__doc__ or "")
        return 0 if words else 2
    try:
        command, head, patience_s = _read(list(words))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    loop = Rejoin(command, head, patience_s, _say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.end())
    return loop.run()


def _read(words: list[str]) -> tuple[list[str], tuple[str, int], float]:
    """The command, the head's host and port, the patience. Raises ValueError."""
    if "--" not in words or not words[words.index("--") + 1 :]:
        raise ValueError(f"expected -- and the `ray start` of this host, got {' '.join(words)}")
    given, command = words[: words.index("--")], words[words.index("--") + 1 :]
    found = re.search(r"--address[= ]\[?([^ =\]]+)\]?:(\d+)", " ".join(command))
    if found is None or "--head" in command:
        raise ValueError(f"expected a `ray start --address=HOST:PORT`, of a host that is not the head, got {command}")
    patience = "".join(given).removeprefix("patience=") if given else str(PATIENCE_S)
    if len(given) > 1 or not re.fullmatch(r"\d+(\.\d+)?", patience):
        raise ValueError(f"expected patience=SECONDS before --, got {' '.join(given)}")
    return command + ["--block"] * ("--block" not in command), (found.group(1), int(found.group(2))), float(patience)


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
