"""Ray's agent of a node without what it loads to serve the dashboard: `python node_agent.py RAYS_AGENT.py ARGUMENT...`.

The agent must be up before Ray lets the node join, and the modules of the dashboard, which a run's own cluster does not
have, are most of what it imports (docs/results.md).
"""

import runpy
import sys
from typing import Any

from ray.dashboard import utils


def main(words: list[str]) -> None:
    """Run Ray's agent as the program that it is.

    Args:
        words: its file and its arguments.
    """
    no_modules: Any = lambda kind: []  # noqa: E731
    utils.get_all_modules = no_modules
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
