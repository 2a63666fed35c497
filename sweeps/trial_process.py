"""A trial as processes: `python -m dg.train` once for each seed, in a folder of its own.

A process of its own means that a trial that crashes is a failed trial and not the end of the sweep, that memory does
not pile up, and that whatever dg.train can do (Ray, resume, checkpoint on Ctrl-C) holds for a trial as well.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from sweeps.objective import Objective, SummaryError, scores_of
from sweeps.study import TrialOutcome, TrialRequest

INTERRUPTED = 130
FATAL = (2, 3, 4)  # configuration, resources, data: alike for every trial
SETTLED = (5, 6)  # diverged, too many quarantined poses: a seed makes them happen again
ORPHAN_PATIENCE_S = 60.0
LOG, SUMMARY = "train.log", "summary.json"


@dataclass(frozen=True)
class TrialPlan:
    """What the trials of a sweep share. `words` go to dg.train as they are."""

    out: Path
    parameter: str
    words: tuple[str, ...]
    seeds: tuple[int, ...]
    objective: Objective
    shares_depth: bool = True
    program: tuple[str, ...] = (sys.executable, "-m", "dg.train")
    label: Callable[[TrialRequest, int], object] = field(default=lambda request, seed: None)

    def folder(self, request: TrialRequest, seed: int) -> Path:
        """Where the run of one seed writes."""
        return self.out / request.folder / f"seed-{seed}"

    def command(self, request: TrialRequest, seed: int) -> list[str]:
        """The command line of one run; it goes on from a checkpoint where its folder holds one."""
        own = {
            self.parameter: repr(request.value),
            "seed": str(seed),
            "resume": "auto",
            "tracking.run_name": quoted(run_name(request, seed)),
        }
        words = [*self.words, *(f"{k}={v}" for k, v in own.items()), self.out_word(request, seed)]
        return [*self.program, *words]

    def out_word(self, request: TrialRequest, seed: int) -> str:
        """The word that tells one run's process from any other's."""
        return "out=" + quoted(str(self.folder(request, seed)))

    def start(self, request: TrialRequest) -> "TrialProcess":
        return TrialProcess(self, request)


def run_name(request: TrialRequest, seed: int) -> str:
    """Name of the MLflow run of one seed; a retried trial keeps it, as it keeps the folder."""
    return f"{request.folder}-seed-{seed}"


def quoted(value: str) -> str:
    """A value as the command line's grammar takes it: in quotes where it holds more than plain characters."""
    if re.fullmatch(r"[A-Za-z0-9_./:-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class TrialProcess:
    """The runs of one trial, seed after seed. Finished ones of an earlier driver are taken as they are."""

    def __init__(self, plan: TrialPlan, request: TrialRequest) -> None:
        self.plan, self.request = plan, request
        self.waiting = list(plan.seeds)
        self.runs: list[dict[str, Any]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.seed = -1
        self.stopping = False

    @property
    def warm(self) -> bool:
        """Whether every data set's depth is in the shared cache: from the first evaluation on."""
        first = self.plan.folder(self.request, self.plan.seeds[0])
        return not self.plan.shares_depth or bool(self.runs) or (first / "best.pt").exists()

    def poll(self) -> TrialOutcome | None:
        if self.process is not None:
            self.plan.label(self.request, self.seed)
            code = self.process.poll()
            if code is None:
                return None
            self.process = None
            (self.folder / "process.json").unlink(missing_ok=True)
            if code != 0 or not self._take(self.seed):
                return self._failure(code)
        while self.waiting and self._take(self.waiting[0]):
            self.waiting.pop(0)
        if not self.waiting:
            values = [run["objective"] for run in self.runs]
            return TrialOutcome(sum(values) / len(values), {"runs": self.runs})
        if self.stopping:
            return self._failure(INTERRUPTED)
        self._launch(self.waiting.pop(0))
        return None

    def stop(self, at_once: bool = False) -> None:
        self.stopping = True
        if self.process is not None:
            end_process(self.process.pid, at_once)

    @property
    def folder(self) -> Path:
        return self.plan.folder(self.request, self.seed)

    def _launch(self, seed: int) -> None:
        self.seed = seed
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("ab") as log:
            # A session of its own: Ctrl-C on the terminal reaches the driver alone, which then asks once.
            self.process = subprocess.Popen(
                self.plan.command(self.request, seed),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (self.folder / "process.json").write_text(json.dumps({"pid": self.process.pid}))

    def _take(self, seed: int) -> bool:
        """Read a finished run's summary; False where there is none, or only that of an interrupted run."""
        try:
            summary = json.loads((self.plan.folder(self.request, seed) / SUMMARY).read_text())
        except (OSError, ValueError):
            return False
        if summary.get("interrupted", True) or any(run["seed"] == seed for run in self.runs):
            return False
        try:
            scores = scores_of(summary)
            value = self.plan.objective.value(scores)
        except (SummaryError, IndexError):
            return False
        self.runs.append(
            {
                "seed": seed,
                "objective": value,
                "source_val": scores.source_val,
                "targets": scores.targets,
                "run_id": summary.get("run_id", ""),
                "rendered": summary.get("ledger", {}).get("done", 0),
                "wall_s": summary.get("wall_s", 0.0),
            }
        )
        return True

    def _failure(self, code: int) -> TrialOutcome:
        facts = {"runs": self.runs, "exit_code": code}
        if self.stopping or code == INTERRUPTED:
            return TrialOutcome(None, facts, "interrupted")
        if code == 0:
            return TrialOutcome(None, facts, f"no usable result in {self.folder / SUMMARY}", settled=True)
        reason = f"{last_error(self.folder / LOG)} (exit code {code}, log: {self.folder / LOG})"
        return TrialOutcome(None, facts, reason, code in SETTLED, code if code in FATAL else None)


def last_error(log: Path) -> str:
    """The message that dg.train ended with, or the last line of a traceback."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        message = [lines[starts[-1]].removeprefix("error: ")]
        for line in lines[starts[-1] + 1 :]:
            if not line.startswith("       "):
                break
            message.append(line.strip())
        return "\n".join(message)
    return lines[-1] if lines else "no output"


def end_process(pid: int, at_once: bool) -> None:
    """SIGINT, at which dg.train checkpoints and ends; at once: SIGKILL, to all that it started as well."""
    try:
        process = psutil.Process(pid)
        family = process.children(recursive=True) if at_once else []
        for member in [process, *family]:
            member.send_signal(signal.SIGKILL if at_once else signal.SIGINT)
    except psutil.NoSuchProcess:
        return


def end_orphans(plan: TrialPlan, request: TrialRequest, patience_s: float = ORPHAN_PATIENCE_S) -> list[int]:
    """End what a dead driver left running of a trial; returns the seeds that were still running.

    Only a process whose command line names this very folder is touched: its number may long belong to another.
    """
    ended = []
    for seed in plan.seeds:
        note = plan.folder(request, seed) / "process.json"
        process = _process_of(note, plan.out_word(request, seed))
        if process is not None:
            end_process(process.pid, at_once=False)
            if _outlives(process, patience_s):
                end_process(process.pid, at_once=True)
            ended.append(seed)
        note.unlink(missing_ok=True)
    return ended


def _process_of(note: Path, out_word: str) -> Any:  # noqa: ANN401
    try:
        process = psutil.Process(json.loads(note.read_text())["pid"])
        return process if out_word in process.cmdline() else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


def _outlives(process: Any, patience_s: float) -> bool:  # noqa: ANN401
    try:
        process.wait(patience_s)
    except psutil.TimeoutExpired:
        return True
    return False


def shared_words(words: Sequence[str], extra: dict[str, str]) -> tuple[str, ...]:
    """The user's words with the sweep's own behind them: the last of two for one key holds."""
    return (*words, *(f"{key}={quoted(value)}" for key, value in extra.items()))
