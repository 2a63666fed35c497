"""`python -m dg.datasets.check NAME [option=value ...]`: is this data set what we take it for?

Loads every split and prints counts, people, bone lengths left and right, root depth, how far the 2D lies from the
projected 3D, and the protocol id; ends with a verdict. Options are those of the data set, such as `root=DIR stride=5
subjects_train=[S1,S5]`.

exit codes: 0 nothing wrong, 1 something looks wrong, 2 wrong option, 4 a file is missing or malformed
"""

import sys
from collections.abc import Sequence
from typing import Any

WRONG, WRONG_OPTION, BAD_FILE = 1, 2, 4


def options_of(words: Sequence[str]) -> dict[str, Any]:
    """`option=value` words as a dictionary; values as YAML reads them. Raises OptionError for another word."""
    import yaml

    from dg.settings.plugins import OptionError

    given = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise OptionError(f"expected option=value, got {word!r}")
        try:
            given[name] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise OptionError(f"{word!r}: the value is no YAML; put it in quotes: {name}='\"...\"'") from error
    return given


def main(words: Sequence[str]) -> int:
    """Print the findings of every split; returns the exit code."""
    from dg.datasets import DATASETS

    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\ndata sets: {', '.join(sorted(DATASETS))}\n")
        return 0 if words else WRONG_OPTION
    from dg.datasets.base import DataError
    from dg.settings.plugins import OptionError, make_options, resolve

    name = words[0]
    try:
        plugin = resolve(DATASETS, "data set", name)
        dataset = plugin(make_options(plugin, "data set", name, options_of(words[1:])))
    except OptionError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_OPTION
    try:
        problems = [problem for split in dataset.splits for problem in _show(dataset, split)]
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_FILE
    _print_verdict(problems)
    return WRONG if problems else 0


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
