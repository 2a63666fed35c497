"""What every command does alike: help, version, errors as one line with an exit code, and a quiet end of a pipe."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from dg.settings.config import GROUPS, TrainConfig
from dg.settings.errors import CONFIG, DONE, INTERRUPTED, MEANINGS, RESOURCES, OptionError, exit_code

SIGPIPE = 141


@dataclass(frozen=True)
class Command:
    """A command of `dg`: what its help says.

    Attributes:
        name: as in `dg NAME`.
        about: its first line is the summary.
        settings: the dataclass of its keys.
        usage: arguments before the keys.
        program: what stands before the name.
        train_keys: what is said of the keys of `dg train`, where it takes them too.
        plugin_options: the dataclass of a plug-in that `GROUP=NAME --help` lists.
        codes: exit codes besides 0 and 2.
        needs: whether it does nothing without an argument, and shows its help instead.
    """

    name: str
    about: str
    settings: type[Any] | None
    examples: tuple[str, ...]
    usage: str = "[key=value ...]"
    program: str = "dg"
    train_keys: str = ""
    plugin_options: str = "Options"
    codes: tuple[int, ...] = ()
    needs: bool = False
    names: "Callable[[], list[tuple[str, str]]] | None" = None

    def help(self) -> str:
        """The whole text of `--help`; loads neither torch nor Ray."""
        from dg.settings.help import keys_of, render_keys, render_table, render_text

        parts = [f"usage: {self.program} {self.name} {self.usage}", render_text(self.about)]
        if self.names is not None:
            parts.append(render_table(self.names()))
        if self.settings is not None:
            keys = [key for key in keys_of(self.settings) if self.settings is not TrainConfig or key.name not in GROUPS]
            shown = render_keys(keys).lstrip("\n")
            parts.append(shown if keys and keys[0].heading else f"keys:\n{shown}")
        if self.train_keys:
            parts.append(render_text(self.train_keys))
        codes = "; ".join(f"{code} {MEANINGS[code]}" for code in sorted({DONE, CONFIG, *self.codes, INTERRUPTED}))
        examples = "\n".join(f"  {line}" for line in self.examples)
        parts += [render_text(f"exit codes: {codes}"), f"examples:\n{examples}"]
        return "\n\n".join(parts)

    def main(self, run: Callable[[list[str]], int]) -> Callable[[Sequence[str]], int]:
        """Make the whole command, as `run_command` does, of a function that it decorates."""
        return wraps(run)(lambda args: run_command(self, args, run))


def run_command(command: Command, args: Sequence[str], run: Callable[[list[str]], int]) -> int:
    """Answer `--help` and `--version`, else run; errors that a user can cause become one message and an exit code.

    Args:
        command: for its help.
        args: of the command line.
        run: takes the arguments and returns the exit code.

    Returns:
        The exit code.
    """
    args = list(args)
    try:
        code = _answer(command, args, run)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read our output has gone, as `head` does; what is still buffered has no reader.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except MemoryError as error:
        return fail(f"the memory of this machine does not suffice{f': {error}' if str(error) else ''}", RESOURCES)
    except Exception as error:
        code = exit_code(error)
        if code is None and isinstance(error, OSError):
            return fail(_spelled(error), RESOURCES)
        if code is None:
            raise
        return fail(error, code)


def fail(error: Exception | str, code: int) -> int:
    """Print an error the way every command does.

    Args:
        error: its text is shown, further lines indented.
        code: the exit code.

    Returns:
        The exit code.
    """
    sys.stderr.write("error: " + "\n       ".join(str(error).splitlines()) + "\n")
    return code


def _answer(command: Command, args: list[str], run: Callable[[list[str]], int]) -> int:
    if {"-h", "--help", "help"} & set(args):
        rest = [arg for arg in args if arg not in ("-h", "--help", "help")]
        print(_plugins_help(command, rest) or command.help())
        return DONE
    if "--version" in args:
        from dg import __version__

        print(f"dg {__version__}")
        return DONE
    if command.needs and not args:
        print(command.help())
        return CONFIG
    return run(args)


def _plugins_help(command: Command, args: Sequence[str]) -> str:
    """Help of the plug-ins that are named beside `--help`: `method=poseaug --help`; empty where none is."""
    from dg.settings.help import plugin_help

    chosen = [(key, value) for key, _, value in (arg.partition("=") for arg in args) if key in GROUPS and value]
    if not chosen:
        return ""
    from dg.settings.command_line import table_of
    from dg.settings.plugins import resolve

    shown = []
    for group, name in chosen:
        plugin = resolve(table_of(group), group, name)
        options = getattr(plugin, command.plugin_options, None)
        if options is None:
            raise OptionError(f"dg {command.name} cannot take {group}={name}; see `dg {command.name} --help`")
        shown.append(plugin_help(group, name, plugin, options))
    return "\n\n".join(shown)


def _spelled(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason
