"""`python -m dg.study NAME [key=value ...]`: a question that takes many runs, from its runs to its table and figure.

The same command again goes on where it stopped. `NAME --help` shows what a study does and its keys.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from dg.settings.command import fail
from dg.settings.plugins import OptionError, resolve
from dg.study import STUDIES

WRONG_OPTION, BUSY, NO_RESULTS, INTERRUPTED = 2, 3, 4, 130
_CODES = {"GridBusyError": BUSY, "StudyError": NO_RESULTS, "NothingToCompareError": NO_RESULTS}


def main(words: Sequence[str]) -> int:
    """Run one study; returns its exit code, which its help explains."""
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(help_text())
        return 0 if words else WRONG_OPTION
    name, rest = words[0], list(words[1:])
    try:
        study = resolve(STUDIES, "study", name)
    except OptionError as error:
        return fail(error, WRONG_OPTION)
    if {"-h", "--help"} & set(rest):
        sys.stdout.write(f"{name}: {sys.modules[study.__module__].__doc__}")
        return 0
    try:
        return study().run(rest)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from dg.settings.errors import exit_code

        code = _CODES.get(type(error).__name__) or exit_code(error)
        if code is None:
            raise
        return fail(error, code)


def help_text() -> str:
    """Usage, and the first line of each study's file."""
    modules = {name: import_module(place.partition(":")[0]) for name, place in STUDIES.items()}
    lines = [f"  {name:<10} {(module.__doc__ or '').splitlines()[0]}" for name, module in modules.items()]
    return f"{__doc__}\nstudies:\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
