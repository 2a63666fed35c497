"""`dg extract-depth` with workers that are slow, or die of an image, as a file beside the parts says."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import dg.extract_depth.__main__ as command

DISTURBANCE = "disturbance.json"


class DisturbedActor(command.ShardActor):
    """Prepares the worker's process; it is a new one after each death."""

    def __init__(self, options: Any, parts: Path, gpus: float) -> None:
        import dg.extract_depth.shard as shard

        super().__init__(options, parts, gpus)
        how, read = json.loads((parts / DISTURBANCE).read_text()), shard.read_image

        def disturbed(path: Path) -> Any:
            if path.name == how.get("poison"):
                os._exit(9)
            time.sleep(how.get("seconds", 0))
            return read(path)

        shard.read_image = disturbed


if __name__ == "__main__":
    command.ShardActor = DisturbedActor
    sys.exit(command.main(sys.argv[1:]))
