"""What a check found."""

from dataclasses import dataclass

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """level: ok | warning | error. name: of the check. text: what was found. remedy: what to do, empty where all is
    well.
    """

    level: str
    name: str
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Finding:
    """Make a finding that says that all is well.

    Args:
        name: name of the check.
        text: what was found.

    Returns:
        A finding of level `ok`, without a remedy.
    """
    return Finding(OK, name, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    """Make a finding about something that may cause trouble.

    Args:
        name: name of the check.
        text: what was found.
        remedy: what to do.

    Returns:
        A finding of level `warning`.
    """
    return Finding(WARNING, name, text, remedy)


def error(name: str, text: str, remedy: str) -> Finding:
    """Make a finding about something that will fail.

    Args:
        name: name of the check.
        text: what was found.
        remedy: what to do.

    Returns:
        A finding of level `error`.
    """
    return Finding(ERROR, name, text, remedy)
