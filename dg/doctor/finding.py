"""What a check found."""

from dataclasses import dataclass
from functools import partial

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


# Each takes the name of the check and what was found, and the last two what to do.
ok, warning, error = (partial(Finding, level) for level in (OK, WARNING, ERROR))
