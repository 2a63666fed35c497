"""`dg compare [key=value ...]`: DG methods side by side, from their runs in MLflow."""

import sys
from collections.abc import Sequence
from pathlib import Path

from dg.compare.settings import PICTURE, CompareOptions, as_here
from dg.files.atomic import write_file
from dg.settings.command import Command
from dg.settings.errors import DATA
from dg.settings.reader import read

COMMAND = Command(
    name="compare",
    about="""Show DG methods side by side, from their runs in MLflow.

Rows are method x input x lifter, columns are targets under one protocol, cells mean and standard deviation over seeds.
Published numbers stand below ours where the whole protocol agrees; for the others the output says what differs.""",
    settings=CompareOptions,
    codes=(DATA,),
    examples=("dg compare", "dg compare format=latex out=table.tex", "dg compare paper=auglift table=4"),
)


def parse_options(args: Sequence[str]) -> CompareOptions:
    """The settings of `dg compare`, `key=value` each or `--key value`. Raises ConfigError with every problem."""
    return read(CompareOptions, as_here(_joined(args)))


def _joined(arguments: Sequence[str]) -> list[str]:
    """`--key value` and `--key=value` as `key=value`."""
    words, joined = list(arguments), []
    while words:
        word = words.pop(0)
        if word.startswith("--") and "=" not in word and words and "=" not in words[0]:
            word = f"{word}={words.pop(0)}"
        joined.append(word.removeprefix("--"))
    return joined


@COMMAND.main
def main(args: list[str]) -> int:
    """Print or write the tables; returns the exit code."""
    options = parse_options(args)
    # After the help, which needs none of it.
    from dg.compare.comparison import compare, comparison

    if options.format == PICTURE:
        from dg.compare.picture import write_picture

        write_picture(comparison(options)[0], Path(options.out))
    elif options.out:
        write_file(Path(options.out), compare(options))
    else:
        print(compare(options), end="")
    if options.out:
        print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
