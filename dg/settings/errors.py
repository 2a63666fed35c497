"""Exit codes of the commands, and which error ends with which.

An error that a user can cause carries its code as a class attribute `exit_code`. `exit_code` looks for it on classes of
this project alone, so that a foreign class of the same name, or with an attribute of that name, never passes for ours.
"""

DONE, FAILED, CONFIG, RESOURCES, DATA, DIVERGED, QUARANTINED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130
MEANINGS = {
    DONE: "done",
    FAILED: "some runs failed",
    CONFIG: "a wrong setting",
    RESOURCES: "a resource is missing: memory, disk, a device, a cluster, a lock",
    DATA: "data or a file that cannot be used",
    DIVERGED: "a loss that is not a number",
    QUARANTINED: "too many poses that could not be rendered",
    INTERRUPTED: "interrupted",
}
_OURS = ("dg", "lifters", "render_workers", "sweeps")


class ConfigError(ValueError):
    """A wrong setting. The message says what was expected, what came and what to do."""

    exit_code = CONFIG


class OptionError(ConfigError):
    """A plug-in or an option that does not exist, or a value of the wrong type. The message says what is possible."""


def exit_code(error: BaseException) -> int | None:
    """The documented exit code of an error, or None for one that is a mistake of the program.

    Args:
        error: any exception; its class or a base class of this project may define `exit_code`.
    """
    for kind in type(error).__mro__:
        if kind.__module__.partition(".")[0] in _OURS and "exit_code" in vars(kind):
            return vars(kind)["exit_code"]
    return None
