"""`dg check NAME [option=value ...]`: is this data set what we take it for?"""

import sys
from collections.abc import Sequence
from typing import Any

from dg.datasets import DATASETS
from dg.settings.command import Command
from dg.settings.config import ConfigError
from dg.settings.errors import DATA, FAILED
from dg.settings.reader import split_args

COMMAND = Command(
    name="check",
    about="""Load every split of a data set and print counts, people, bone lengths left and right, root depth, how far
the 2D lies from the projected 3D, and the protocol id; end with a verdict. Options are those of the data set: `dg train
data=NAME --help` lists them.

It ends with 1 where something looks wrong.""",
    settings=None,
    usage="NAME [option=value ...]",
    names=lambda: [("NAME", " | ".join(sorted(DATASETS)))],
    codes=(FAILED, DATA),
    needs=True,
    examples=("dg check h36m root=DIR", "dg check npz path=FILE stride=5"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """Print the findings of every split; returns the exit code."""
    from dg.settings.plugins import make_options, resolve

    names, pairs = split_args(args, positional=True)
    if len(names) != 1:
        raise ConfigError(f"expected one data set and option=value, got {' '.join(args)}")
    plugin = resolve(DATASETS, "data set", names[0])
    dataset = plugin(make_options(plugin, "data set", names[0], dict(pairs)))
    problems = [problem for split in dataset.splits for problem in _show(dataset, split)]
    _print_verdict(problems)
    return FAILED if problems else 0


def _show(dataset: Any, split: str) -> list[str]:  # noqa: ANN401 - a Dataset, whose module is heavy
    """Print one split; returns its problems, each with the split's name."""
    from rich.console import Console
    from rich.table import Table

    from dg.datasets.findings import findings

    data = dataset.load(split)
    found = findings(data)
    console = Console()
    facts = Table(title=f"{data.name} · {split}", show_header=False, box=None, title_justify="left", padding=(0, 1))
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in found.facts.items():
        facts.add_row(name.replace("_", " "), value)
    bones = ", ".join(f"{name} {' / '.join(f'{v:.3f}' for v in values)}" for name, values in found.bones.items())
    facts.add_row("bones (m, left / right)", bones)
    console.print(facts)
    console.print()
    return [f"{split}: {problem}" for problem in found.problems]


def _print_verdict(problems: Sequence[str]) -> None:
    if not problems:
        print("verdict: nothing looks wrong")
        return
    print(f"verdict: {len(problems)} thing(s) look wrong")
    for problem in problems:
        print(f"  - {problem}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
