"""What a record of the spool may ask for: the file lies in a run's folder, and whoever wrote it may be anybody."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from dg.tracking.base import TrackingError

KINDS = (
    "connect", "create", "resume", "metrics", "tags", "image", "artifact", "text", "table", "inputs", "model", "end",
    "sweep",
)  # fmt: skip
RUN_HANDLE = re.compile(r"(local-)?[A-Za-z0-9_-]{1,64}")
_LOCAL = re.compile(r"local-[0-9a-f]{32}")


def check_record(
    record: Mapping[str, Any], folder: Path, own_files: Collection[str], own_runs: Collection[str]
) -> None:
    """Make sure that a record sends nothing but this run's own things to nothing but this run.

    Args:
        record: From the queue or from the spool.
        folder: Of the run; files in it may be sent.
        own_files: Paths elsewhere that this process itself asked to be sent.
        own_runs: Names of the run that this process records. Others must be runs that no store had created yet, whose
            names nobody can guess.

    Raises:
        TrackingError: It asks for something else.
    """
    kind, run, path = record.get("kind"), record.get("run"), record.get("path")
    if kind not in KINDS:
        raise TrackingError(f"a record of no known kind in the spool of {folder}; not sent")
    if kind != "connect" and not (isinstance(run, str) and (run in own_runs or _LOCAL.fullmatch(run))):
        raise TrackingError(f"a record in the spool of {folder} is for another run; not sent")
    lies_in = isinstance(path, str) and Path(path).resolve().is_relative_to(folder.resolve())
    if kind in ("artifact", "image", "model") and path not in own_files and not lies_in:
        raise TrackingError(f"a record in the spool of {folder} names a file outside of that folder; not sent")
