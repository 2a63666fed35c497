"""One driver at a time works on a study: a second one is told to wait."""

import hashlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout

from dg.settings.errors import RESOURCES

_HOLDER = "driver"


class StudyBusyError(RuntimeError):
    """Another driver works on this study."""

    exit_code = RESOURCES


class StudyLock:
    """Held from `acquire` to `release`, or until this process dies, SIGKILL included: both locks die with it.

    In PostgreSQL it is an advisory lock on the study's name, so that drivers on different machines see each other;
    beside it, and for all other storages, a lock on the folder of the runs.
    """

    def __init__(self, study: optuna.Study, storage: str) -> None:
        self.study, self.storage = study, storage
        self._connection: Any = None
        self._file: FileLock | None = None

    def acquire(self) -> None:
        """Raises StudyBusyError that says who holds it."""
        if self.storage.startswith("postgresql") and not self._lock_in_database():
            raise StudyBusyError(self._message("in its database"))

    def acquire_folder(self, folder: Path) -> None:
        """After `acquire`: the same for the folder of the runs, and a note on who holds both."""
        self._file = FileLock(folder / ".sweep.lock")
        try:
            self._file.acquire(timeout=0)
        except Timeout as error:
            self.release()
            raise StudyBusyError(self._message(f"in {folder}")) from error
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self.study.set_user_attr(_HOLDER, f"process {os.getpid()} on {socket.gethostname()}, since {now}")

    def renew(self) -> None:
        """Make sure that it is still held: a database server that was restarted has forgotten it.

        Raises StudyBusyError where another driver has come first.
        """
        if self._connection is None or self._still_connected():
            return
        self._connection = None
        self.acquire()

    def _still_connected(self) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._file is not None:
            self._file.release()

    def _lock_in_database(self) -> bool:
        from sqlalchemy import NullPool, create_engine, text

        # A connection of its own, outside transactions: the lock lives as long as it does.
        engine = create_engine(self.storage, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        # Else a machine that loses its power would hold the lock for hours.
        for name, seconds in (("idle", 60), ("interval", 10), ("count", 3)):
            connection.execute(text(f"SET tcp_keepalives_{name} = {seconds}"))
        key = int.from_bytes(
            hashlib.blake2b(self.study.study_name.encode(), digest_size=8).digest(), "big", signed=True
        )
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            connection.close()
            return False
        self._connection = connection
        return True

    def _message(self, where: str) -> str:
        holder = self.study.user_attrs.get(_HOLDER, "")
        who = f" ({holder})" if holder else ""
        return (
            f"another driver{who} is at work on study {self.study.study_name!r} {where}; wait for it to end, or give "
            "study=ANOTHER. More trials at once: concurrency=N there"
        )
