"""`dg sweep reference_depth|search [key=value ...]`: a sweep by its name."""

import sys
from collections.abc import Sequence
from importlib import import_module

from dg.settings.command import Command, run_command
from dg.settings.errors import DATA, FAILED, RESOURCES
from dg.settings.plugins import OptionError, suggest

SWEEPS = {
    "reference_depth": "find d_ref, the reference depth of dscale2d",
    "search": "search any keys of dg train, options of plug-ins included",
}
COMMAND = Command(
    name="sweep",
    about="Search settings with Optuna. `dg sweep NAME --help` shows the keys of one sweep:",
    settings=None,
    usage="NAME [key=value ...]",
    names=lambda: list(SWEEPS.items()),
    codes=(FAILED, RESOURCES, DATA),
    needs=True,
    examples=(
        "dg sweep reference_depth method=random_rigid seeds=[0,1,2]",
        "dg sweep search space.lr=log:1e-4..1e-2 'space.method=erm|poseaug' trials=24",
    ),
)


def main(args: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if args and args[0] in SWEEPS:
        return import_module(f"sweeps.{args[0]}").main(list(args[1:]))
    return run_command(COMMAND, args, _unknown)


def _unknown(args: list[str]) -> int:
    raise OptionError(f"unknown sweep {args[0]!r}; known: {list(SWEEPS)}{suggest(args[0], list(SWEEPS))}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
