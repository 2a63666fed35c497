"""`dg COMMAND [key=value ...]`: every command of the project under one name. `dg` alone lists them."""

import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "train": ("dg.train", "train a lifter with a domain-generalisation method"),
    "evaluate": ("dg.evaluate", "test a trained, published or exported lifter on test sets"),
    "compare": ("dg.compare.__main__", "tables of methods against each other and against published numbers"),
    "grid": ("dg.grid.__main__", "train methods x lifters x inputs x seeds, then compare them"),
    "study": ("dg.study.__main__", "a question that takes many runs, from its runs to its figure"),
    "analyse": ("dg.analyse.__main__", "look closer at where trained lifters fail"),
    "sweep": ("sweeps.__main__", "search reference depth or any settings with Optuna"),
    "predict": ("dg.predict.__main__", "lift the people in photographs to 3D"),
    "extract-depth": ("dg.extract_depth.__main__", "depth at the joints of a data set's images"),
    "check": ("dg.datasets.check", "whether a data set is what it is taken for"),
    "export": ("dg.export", "a lifter as TorchScript or ONNX"),
    "status": ("dg.status", "what runs are doing, here and in a cluster"),
    "doctor": ("dg.doctor.__main__", "whether this machine or a cluster file is ready"),
    "completion": ("dg.completion", "a script that completes commands and keys in your shell"),
}


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
