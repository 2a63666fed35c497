"""`dg completion bash|zsh|fish`: a script that completes commands, keys and their choices.

The script asks `dg completion words COMMAND TEXT NAME` for what may follow, so that it never goes out of date.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dg.settings.command import Command
from dg.settings.commands import COMMANDS
from dg.settings.config import GROUPS, TrainConfig
from dg.settings.errors import ConfigError
from dg.settings.plugins import resolve

if TYPE_CHECKING:
    from dg.settings.help import Key

SCRIPTS = {
    "bash": """_dg() {
  local line="${COMP_LINE:0:COMP_POINT}" cur command name=""
  cur="${line##* }"; command="${COMP_WORDS[1]}"
  [ "$COMP_CWORD" = 1 ] && command=""
  [ "$COMP_CWORD" -gt 2 ] && name="${COMP_WORDS[2]}"
  COMPREPLY=($(dg completion words "$command" "$cur" "$name" 2>/dev/null))
  # bash parts words at `=`: what stands before it is on the line already.
  [[ "$cur" == *=* ]] && COMPREPLY=("${COMPREPLY[@]#${cur%%=*}=}")
  [[ ${#COMPREPLY[@]} = 0 ]] && COMPREPLY=($(compgen -f -- "${cur#*=}"))
  [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
}
complete -F _dg dg
""",
    "zsh": """#compdef dg
_dg() {
  local command="${words[2]}" name=""; (( CURRENT == 2 )) && command=""; (( CURRENT > 3 )) && name="${words[3]}"
  local -a found; found=(${(f)"$(dg completion words "$command" "${words[CURRENT]}" "$name" 2>/dev/null)"})
  if (( ${#found} )); then compadd -S '' -- $found; else _files; fi
}
compdef _dg dg
""",
    "fish": """function __dg_words
  set -l words (commandline -opc)
  dg completion words "$words[2]" (commandline -ct) "$words[3]" 2>/dev/null
end
complete -c dg -f -a '(__dg_words)'
""",
}
COMMAND = Command(
    name="completion",
    about="Print a script that completes the commands of dg, their keys and choices in a shell.",
    settings=None,
    usage="bash|zsh|fish",
    needs=True,
    examples=('eval "$(dg completion bash)"', "dg completion fish > ~/.config/fish/completions/dg.fish"),
)
# Commands whose first argument is a name, and the tables of the names.
_NAMES = {
    "study": "dg.study:STUDIES", "analyse": "dg.analyse:ANALYSES", "sweep": "sweeps.__main__:SWEEPS",
    "check": "dg.datasets:DATASETS",
}  # fmt: skip


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    if args[0] == "words":
        command, text, name = [*args[1:], "", "", ""][:3]
        sys.stdout.write("".join(f"{word}\n" for word in completions(command, text, name)))
        return 0
    if args[0] not in SCRIPTS or len(args) > 1:
        raise ConfigError(f"expected one of {list(SCRIPTS)}, got {' '.join(args)}")
    sys.stdout.write(SCRIPTS[args[0]])
    return 0


def completions(command: str, text: str, name: str = "") -> list[str]:
    """What may stand where `text` does.

    Args:
        command: the command of `dg` that it follows; empty: `text` is the command itself.
        text: what has been typed of the word.
        name: the first argument of the command, such as `frames` of `dg study frames`; empty: `text` is the first.
    """
    if not command:
        return [known for known in COMMANDS if known.startswith(text)]
    if command not in COMMANDS:
        return []
    key, equals, value = text.partition("=")
    from dg.settings.help import keys_of

    found = [known for kind in _settings(command, name) for known in keys_of(kind)]
    if equals:
        return [f"{key}={choice}" for choice in _choices(found, key) if choice.startswith(value)]
    names = list(_table(_NAMES[command])) if command in _NAMES and not name else [f"{known.name}=" for known in found]
    return [word for word in dict.fromkeys(names) if word.startswith(text)]


def _table(place: str) -> dict[str, str]:
    module, _, table = place.partition(":")
    return getattr(import_module(module), table)


def _settings(command: str, name: str) -> list[type[Any]]:
    """Whose keys a command takes: its own, and those of `dg train`."""
    if command == "study":
        table = _table(_NAMES[command])
        study = resolve(table, command, name) if name in table else None
        own = [] if study is None else [study.Options]
        return own if study is not None and not study.takes_train_keys else [*own, TrainConfig]
    about: Command = import_module(f"sweeps.{name}" if command == "sweep" and name else COMMANDS[command][0]).COMMAND
    own = [] if about.settings is None else [about.settings]
    return [*own, TrainConfig] if about.train_keys else own


def _choices(keys: "Sequence[Key]", name: str) -> Iterable[str]:
    from dg.settings.command_line import table_of
    from dg.settings.recipes import recipe_names

    found = next((key for key in keys if key.name == name), None)
    if found is None:
        return ()
    if name == "recipe" and not found.choices:
        return recipe_names()
    return found.choices or (list(table_of(name)) if name in GROUPS else ())
