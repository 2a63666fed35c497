"""`dg completion bash|zsh|fish`: a script that completes commands, keys and their choices.

The script asks `dg completion words COMMAND TEXT` for what may follow, so that it never goes out of date.
"""

import sys
from collections.abc import Iterable, Sequence

from dg.settings.command import Command, run_command
from dg.settings.commands import COMMANDS
from dg.settings.config import GROUPS, TrainConfig
from dg.settings.errors import ConfigError

SCRIPTS = {
    "bash": """_dg() {
  local line="${COMP_LINE:0:COMP_POINT}" cur command
  cur="${line##* }"; command="${COMP_WORDS[1]}"
  [ "$COMP_CWORD" = 1 ] && command=""
  COMPREPLY=($(dg completion words "$command" "$cur" 2>/dev/null))
  # bash parts words at `=`: what stands before it is on the line already.
  [[ "$cur" == *=* ]] && COMPREPLY=("${COMPREPLY[@]#${cur%%=*}=}")
  [[ ${#COMPREPLY[@]} = 0 ]] && COMPREPLY=($(compgen -f -- "${cur#*=}"))
  [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
}
complete -F _dg dg
""",
    "zsh": """#compdef dg
_dg() {
  local command="${words[2]}"; (( CURRENT == 2 )) && command=""
  local -a found; found=(${(f)"$(dg completion words "$command" "${words[CURRENT]}" 2>/dev/null)"})
  if (( ${#found} )); then compadd -S '' -- $found; else _files; fi
}
compdef _dg dg
""",
    "fish": """function __dg_words
  set -l words (commandline -opc)
  dg completion words "$words[2]" (commandline -ct) 2>/dev/null
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
_TAKE_TRAIN_KEYS = ("train", "evaluate", "grid", "sweep", "study", "doctor")


def main(args: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    return run_command(COMMAND, args, _main)


def _main(args: list[str]) -> int:
    if args[0] == "words":
        command, text = [*args[1:], "", ""][:2]
        sys.stdout.write("".join(f"{word}\n" for word in completions(command, text)))
        return 0
    if args[0] not in SCRIPTS or len(args) > 1:
        raise ConfigError(f"expected one of {list(SCRIPTS)}, got {' '.join(args)}")
    sys.stdout.write(SCRIPTS[args[0]])
    return 0


def completions(command: str, text: str) -> list[str]:
    """What may stand where `text` does.

    Args:
        command: the command of `dg` that it follows; empty: `text` is the command itself.
        text: what has been typed of the word.
    """
    if not command:
        return [name for name in COMMANDS if name.startswith(text)]
    key, equals, value = text.partition("=")
    if command not in _TAKE_TRAIN_KEYS:
        return []
    if equals:
        return [f"{key}={choice}" for choice in _choices(key) if choice.startswith(value)]
    return [f"{name}=" for name in _keys() if name.startswith(text)]


def _keys() -> list[str]:
    from dg.settings.help import keys_of

    return [key.name for key in keys_of(TrainConfig)]


def _choices(name: str) -> Iterable[str]:
    from dg.settings.command_line import table_of
    from dg.settings.help import keys_of
    from dg.settings.recipes import recipe_names

    if name in GROUPS:
        return list(table_of(name))
    if name == "recipe":
        return recipe_names()
    return next((key.choices for key in keys_of(TrainConfig) if key.name == name), ())
