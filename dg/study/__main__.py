"""`dg study NAME [key=value ...]`: a question that takes many runs, from its runs to its table and figure."""

import sys
from collections.abc import Sequence
from importlib import import_module

from dg.settings.command import Command, run_command
from dg.settings.errors import DATA, FAILED, RESOURCES
from dg.settings.plugins import resolve
from dg.study import STUDIES

COMMAND = Command(
    name="study",
    about="""Answer a question that takes many runs, from its runs to its table and figure. The same command again goes
on where it stopped.

`dg study NAME --help` shows what a study does and its keys. NAME is one of:""",
    settings=None,
    usage="NAME [key=value ...]",
    names=lambda: [(name, about(name).splitlines()[0]) for name in STUDIES],
    codes=(FAILED, RESOURCES, DATA),
    needs=True,
    examples=("dg study frames frames=[1,9,27] seeds=[0,1,2]", "dg study noise levels=[0,100] out=runs/noise"),
)


def main(args: Sequence[str]) -> int:
    """Run one study; returns its exit code."""
    if args and args[0] in STUDIES and {"-h", "--help"} & set(args):
        from dg.settings.help import keys_of, render_keys

        study = resolve(STUDIES, "study", args[0])
        print(f"{args[0]}: {about(args[0])}\nkeys:\n{render_keys(list(keys_of(study.Options)))}")
        if study.takes_train_keys:
            print("\nAll other keys are those of `dg train`.")
        return 0
    return run_command(COMMAND, args, lambda args: resolve(STUDIES, "study", args[0])().run(args[1:]))


def about(name: str) -> str:
    """What a study's file says of it; the first line is the summary."""
    return import_module(STUDIES[name].partition(":")[0]).__doc__ or ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
