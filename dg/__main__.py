"""`dg COMMAND [key=value ...]`: every command of the project under one name. `dg` alone lists them."""

import sys
from collections.abc import Sequence
from importlib import import_module

from dg.settings.commands import COMMANDS


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; returns its exit code."""
    name, *rest = list(sys.argv[1:] if args is None else args) or ["--help"]
    name = name.replace("_", "-")
    if name in ("-h", "--help", "help"):
        from dg.settings.help import render_table

        print("usage: dg COMMAND [key=value ...]\n")
        print(render_table([(command, about) for command, (_, about) in COMMANDS.items()]))
        print("\n`dg COMMAND --help` shows what a command takes, `dg --version` the version.")
        return 0
    if name == "--version":
        from dg import __version__

        print(f"dg {__version__}")
        return 0
    if name not in COMMANDS:
        from dg.settings.reader import suggest

        sys.stderr.write(f"error: unknown command {name!r}{suggest(name, COMMANDS)}; `dg` lists them\n")
        return 2
    return import_module(COMMANDS[name][0]).main(rest)


if __name__ == "__main__":
    sys.exit(main())
