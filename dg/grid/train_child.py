"""`python -m dg.grid.train_child [key=value ...]`: dg.train under a driver that holds the other end of its stdin.

Started by `dg.grid.child_run`, not by hand. When the driver is gone, SIGKILL included, the pipe ends: the run then
checkpoints and stops as at Ctrl-C, so that nothing goes on that nobody waits for.
"""

import os
import signal
import sys
import threading
import time

PATIENCE_S = 120.0
GRACE_S = 5.0
INTERRUPTED = 130


def end_with_driver(patience_s: float = PATIENCE_S, grace_s: float = GRACE_S) -> None:
    """From now on the end of standard input is a Ctrl-C, a second one after `patience_s`, and the end after `grace_s`
    more.
    """
    threading.Thread(target=_watch, args=(patience_s, grace_s), daemon=True).start()


def _watch(patience_s: float, grace_s: float) -> None:
    # Not through sys.stdin: its lock, held while waiting, would hinder the end of the interpreter.
    while os.read(0, 1):
        pass
    for wait_s in (patience_s, grace_s):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(wait_s)
    os._exit(INTERRUPTED)


def main(args: list[str]) -> int:
    """dg.train's own exit code."""
    end_with_driver()
    from dg.train import main as train

    return train(args)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
