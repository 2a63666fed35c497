"""Fork a writer of checkpoints, kill it while it saves, read what is there; again and again. Prints one JSON object.

`python save_and_die.py FOLDER KILLS`: forked from one process, so that a kill costs milliseconds and not an import.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from dg.files.checkpoint import Checkpoints

MEGABYTES = 8


def write_for_ever(folder: Path, step: int) -> None:
    """Checkpoints of rising step, each all of one number, as fast as the disk takes them."""
    while True:
        step += 1
        Checkpoints(folder).save(step, content(step))


def content(step: int) -> dict[str, object]:
    return {"config_digest": "d", "step": step, "weights": torch.full((MEGABYTES << 18,), float(step))}


def main(folder: Path, kills: int) -> dict[str, int]:
    draw = random.Random(0)
    step, loaded, torn = 1, 0, 0
    Checkpoints(folder).save(step, content(step))
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            write_for_ever(folder, step)
        time.sleep(0.02 + 0.1 * draw.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        torn += any(folder.glob(".*.tmp"))  # it died with a file half written
        state = Checkpoints(folder).load_latest("d")
        assert state is not None, "the marker is gone"
        assert (state["weights"] == float(state["step"])).all(), "a checkpoint mixes two steps"
        assert state["step"] >= step, "an older checkpoint came back"
        step, loaded = state["step"], loaded + 1
        for left in folder.glob(".*.tmp"):
            left.unlink()
    return {"kills": kills, "loaded": loaded, "died_while_writing": torn, "last_step": step}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))))
