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
    return Finding(OK, name, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    return Finding(WARNING, name, text, remedy)


def error(name: str, text: str, remedy: str) -> Finding:
    return Finding(ERROR, name, text, remedy)
