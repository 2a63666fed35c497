"""One `dg train` as a child process with a folder of its own: what a grid and a sweep are made of.

A process of its own means that a run that crashes is a failed run and not the end of the others, that memory does not
pile up, and that whatever dg.train can do (Ray, resume, checkpoint on Ctrl-C) holds here as well.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from dg.files.atomic import write_json
from dg.settings.config import TrainConfig
from dg.settings.reader import Settings, build, keys, quoted, split_args, suggest, to_tree

PROGRAM = (sys.executable, "-m", "dg.grid.train_child")
INTERRUPTED = 130
ORPHAN_PATIENCE_S = 30.0
LOG, SUMMARY, PROCESS = "train.log", "summary.json", "process.json"


@dataclass(frozen=True)
class RunEnd:
    """How a run ended: with the summary of a finished one, interrupted with a checkpoint to resume from, or failed."""

    state: Literal["finished", "interrupted", "failed"]
    summary: dict[str, Any] | None = None
    why: str = ""


class ChildRun:
    """A run under way.

    Args:
        args: arguments of dg.train, without `out=`.
        environment: variables set besides this process's own.
    """

    def __init__(
        self,
        folder: Path,
        args: Sequence[str],
        program: Sequence[str] = PROGRAM,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("ab") as log:
            self._log_start = log.tell()  # before it, what earlier attempts have said
            # A session of its own: Ctrl-C on the terminal reaches the driver alone, which then asks once.
            # The pipe is never written to: its end tells the child that the driver is gone, however it went.
            self.process = subprocess.Popen(
                [*program, *args, out_arg(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | dict(environment or {}),
            )
        write_json(folder / PROCESS, {"pid": self.process.pid})

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self.process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs. Does not block."""
        code = self.process.poll()
        if code is not None:
            if self.process.stdin is not None:
                self.process.stdin.close()
            (self.folder / PROCESS).unlink(missing_ok=True)
        return code

    def stop(self, at_once: bool = False) -> None:
        """Ask it to checkpoint and end, or end it now with all that it started; `poll` tells when it has."""
        if self.process.returncode is None:
            _end_process(self.pid, at_once)

    def end(self, code: int, stopped: bool) -> RunEnd:
        """Return what an exit code means for the run.

        Args:
            code: exit code of the process.
            stopped: whether the run was asked to end.
        """
        summary = finished_summary(self.folder) if code == 0 else None
        if summary is not None:
            return RunEnd("finished", summary)
        if stopped or code == INTERRUPTED:
            return RunEnd("interrupted", why="interrupted")
        return RunEnd("failed", why=self.failure(code) if code else f"no usable result in {self.folder / SUMMARY}")

    def failure(self, code: int) -> str:
        """In words why it ended with a code other than 0."""
        return f"{last_error(self.log_lines())} (exit code {code}, log: {self.folder / LOG})"

    def log_lines(self, at_most_bytes: int | None = None) -> list[str]:
        """What this attempt has written so far, or the end of it: the lines of its log that say anything."""
        path = self.folder / LOG
        start = self._log_start if at_most_bytes is None else max(self._log_start, path.stat().st_size - at_most_bytes)
        with path.open("rb") as log:
            log.seek(start)
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()]


def out_arg(folder: Path) -> str:
    """The argument that tells one run's process from any other's."""
    return "out=" + quoted(str(folder))


def with_own(args: Sequence[str], own: Mapping[str, str]) -> tuple[str, ...]:
    """Return the user's arguments followed by the driver's own; the last of two for one key holds.

    Args:
        args: `key=value` each.
        own: the driver's values by key, which are quoted.
    """
    return (*args, *(f"{key}={quoted(value)}" for key, value in own.items()))


def read_with_train(
    kind: type[Settings],
    args: Sequence[str],
    refused: Mapping[str, str],
    problems: Callable[[Settings], list[str]] | None = None,
) -> tuple[Settings, list[str]]:
    """The settings of a command that starts runs of `dg train`, and the arguments of these runs.

    Args:
        kind: dataclass of the command's own settings.
        args: `key=value` each.
        refused: key -> why it cannot be set here.
        problems: what to check besides each field's own type.

    Raises:
        ConfigError: with every problem, one a line.
    """
    own, shared, found = [], [], []
    mine = keys(kind)
    known = [*mine, *keys(TrainConfig)]
    for key, value in split_args(args)[1]:
        if key in refused:
            found.append(f"{key} cannot be set here: {refused[key]}")
        elif key.partition(".")[0] in mine:
            own.append((key, value))
        elif key.partition(".")[0] in known:
            shared.append(f"{key}={value}")
        else:
            found.append(f"unknown key {key!r}{suggest(key, known)} `--help` lists the keys")
    tree, wrong = to_tree(kind, own)
    return build(kind, tree, found + wrong, problems), shared


def finished_summary(folder: Path) -> dict[str, Any] | None:
    """What a finished run wrote; None where there is none, or only that of an interrupted run."""
    try:
        summary = json.loads((folder / SUMMARY).read_text())
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and not summary.get("interrupted", True) else None


def last_error(lines: Sequence[str]) -> str:
    """The message that dg.train ended with, or the last line of a traceback."""
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        message = [lines[starts[-1]].removeprefix("error: ")]
        for line in lines[starts[-1] + 1 :]:
            if not line.startswith("       "):
                break
            message.append(line.strip())
        return "\n".join(message)
    return lines[-1] if lines else "no output"


def _end_process(pid: int, at_once: bool) -> None:
    """Ask a process of dg.train to checkpoint and end, or kill it with all that it started; it may have ended."""
    try:
        process = psutil.Process(pid)
        family = process.children(recursive=True) if at_once else []
    except psutil.NoSuchProcess:
        return
    for member in [process, *family]:
        try:
            member.send_signal(signal.SIGKILL if at_once else signal.SIGINT)
        except psutil.NoSuchProcess:
            continue


def end_orphan(folder: Path, patience_s: float = ORPHAN_PATIENCE_S) -> bool:
    """End the run that a dead driver left in a folder.

    The process gets `patience_s` to end by itself, as dg.grid.train_child sees that its driver is gone and a second
    SIGINT would cost it its checkpoint; then as long again after a SIGINT; then it is killed. Only a process whose
    command line names this very folder is touched, since its id may long belong to another.

    Args:
        folder: of the run.
        patience_s: seconds of each of the two waits.

    Returns:
        Whether there was such a process.
    """
    process = _noted_process(folder)
    if process is not None and _outlives(process, patience_s):
        _end_process(process.pid, at_once=False)
        if _outlives(process, patience_s):
            _end_process(process.pid, at_once=True)
    (folder / PROCESS).unlink(missing_ok=True)
    return process is not None


def _outlives(process: psutil.Process, patience_s: float) -> bool:
    try:
        process.wait(patience_s)
    except psutil.TimeoutExpired:
        return True
    return False


def _noted_process(folder: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(json.loads((folder / PROCESS).read_text())["pid"])
        return process if out_arg(folder) in process.cmdline() else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
