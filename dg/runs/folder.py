"""A run's folder: one run at a time writes to it, and never two one after another without being told to."""

import json
import os
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from dg.settings.config import ConfigError
from render_workers.pool_options import ResourceError

LOCK = ".run.lock"
# What a run leaves behind, and what the next one would go on with or replace.
TRACES = ("checkpoint-*.pt", "latest", "best.pt", "history.json", "summary.json")
RECORDS = (
    "checkpoint-*.damaged", "status.json", "mlflow_spool.jsonl*", "diverged.pt", "ray_logs", "mlflow_run.json",
    "best.json", "mlflow_model",
)  # fmt: skip


class RunFolder:
    """The folder while a run uses it: made, found to be writable, and locked against a second run.

    Args:
        out: the folder.
        resume: `never`: an earlier run in it is refused; `overwrite`: its files are removed; `auto`: they are kept.

    Raises:
        ResourceError: another run is at work there; OSError: it cannot be written to.
        ConfigError: it holds another run, and nothing says what is to become of it.
    """

    def __init__(self, out: Path, resume: str) -> None:
        self.out, self.resume = out, resume
        self._holder = out / LOCK
        self._lock = FileLock(self._holder.with_suffix(".held"))

    def __enter__(self) -> "RunFolder":
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ResourceError(
                f"a run is at work in {self.out}: {self._told()}\n"
                "  try: another out=DIR | stop that run first, then resume=auto goes on with it"
            ) from None
        try:
            self._check_earlier()
            # This also finds out, before any work is done, that the folder can be written to.
            note = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            self._holder.write_text(json.dumps(note))
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.unlink(missing_ok=True)
        self._lock.release()

    def _told(self) -> str:
        try:
            note = json.loads(self._holder.read_text())
            return f"process {note['pid']} on {note['host']} since {note['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "its process is not known"

    def _check_earlier(self) -> None:
        found = [path for pattern in TRACES for path in self.out.glob(pattern)]
        if not found or self.resume == "auto":
            return
        if self.resume != "overwrite":
            newest = time.strftime("%Y-%m-%d %H:%M", time.localtime(max(path.stat().st_mtime for path in found)))
            raise ConfigError(
                f"{self.out} holds a run of {newest} ({', '.join(sorted(path.name for path in found)[:3])}, ...)\n"
                "  try: resume=auto to go on with it | resume=overwrite to remove it and start anew | another out=DIR"
            )
        for path in [*found, *(path for pattern in RECORDS for path in self.out.glob(pattern))]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
