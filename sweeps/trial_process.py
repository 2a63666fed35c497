"""A trial as processes: `python -m dg.train` once for each seed, in a folder of its own (`dg.grid.child_run`)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from dg.files.checkpoint import BEST, HISTORY
from dg.grid.child_run import (
    INTERRUPTED,
    ORPHAN_PATIENCE_S,
    PROGRAM,
    SUMMARY,
    ChildRun,
    end_orphan,
    finished_summary,
    quoted,
)
from sweeps.objective import Objective, SummaryError, scores_of
from sweeps.space import words_of
from sweeps.trials import RefusedTrial, RunningTrial, TrialOutcome, TrialRequest

FATAL = (2, 3, 4)  # configuration, resources, data: alike for every trial
SETTLED = (5, 6)  # diverged, too many quarantined poses: a seed makes them happen again


@dataclass(frozen=True)
class TrialPlan:
    """What the trials of a sweep share. `words` go to dg.train as they are.

    refusal: why dg.train would not take the words of a trial, empty where it does. epochs: of a trial that sets none.
    """

    out: Path
    words: tuple[str, ...]
    seeds: tuple[int, ...]
    objectives: tuple[Objective, ...]
    shares_depth: bool = True
    epochs: int = 0
    program: tuple[str, ...] = PROGRAM
    label: Callable[[TrialRequest, int], object] = field(default=lambda request, seed: None)
    refusal: Callable[[Sequence[str]], str] = field(default=lambda words: "")

    def folder(self, request: TrialRequest, seed: int) -> Path:
        """Where the run of one seed writes."""
        return self.out / request.folder / f"seed-{seed}"

    def run_words(self, request: TrialRequest, seed: int) -> list[str]:
        """The words of one run but for its folder; it goes on from a checkpoint where the folder holds one."""
        own = {"seed": str(seed), "resume": "auto", "tracking.run_name": quoted(run_name(request, seed))}
        return [*self.words, *words_of(request.params), *(f"{k}={v}" for k, v in own.items())]

    def start(self, request: TrialRequest) -> RunningTrial:
        refusal = self.refusal(self.run_words(request, self.seeds[0]))
        return RefusedTrial(refusal) if refusal else TrialProcess(self, request)


def run_name(request: TrialRequest, seed: int) -> str:
    """Name of the MLflow run of one seed; a retried trial keeps it, as it keeps the folder."""
    return f"{request.folder}-seed-{seed}"


class TrialProcess:
    """The runs of one trial, seed after seed. Finished ones of an earlier driver are taken as they are."""

    def __init__(self, plan: TrialPlan, request: TrialRequest) -> None:
        self.plan, self.request = plan, request
        self.waiting = list(plan.seeds)
        self.runs: list[dict[str, Any]] = []
        self.child: ChildRun | None = None
        self.seed = -1
        self.stopping = False
        self._curve: tuple[int, list[tuple[int, float]]] = (0, [])  # the file's time stamp, and what it held

    @property
    def warm(self) -> bool:
        """Whether every data set's depth is in the shared cache: from the first evaluation on."""
        return not self.plan.shares_depth or bool(self.runs) or (self._first_folder / BEST).exists()

    @property
    def _first_folder(self) -> Path:
        return self.plan.folder(self.request, self.plan.seeds[0])

    def poll(self) -> TrialOutcome | None:
        if self.child is not None:
            self.plan.label(self.request, self.seed)
            code = self.child.poll()
            if code is None:
                return None
            ended, self.child = self.child, None
            if code != 0 or not self._take(self.seed):
                return self._failure(ended, code)
        while self.waiting and self._take(self.waiting[0]):
            self.waiting.pop(0)
        if not self.waiting:
            by_objective = zip(*(run["objectives"] for run in self.runs), strict=True)
            return TrialOutcome(tuple(fmean(values) for values in by_objective), {"runs": self.runs})
        if self.stopping:
            return self._interrupted(INTERRUPTED)
        self._launch(self.waiting.pop(0))
        return None

    def curve(self) -> Sequence[tuple[int, float]]:
        """The first seed's; without its end where that ends the trial too, which is then no longer worth stopping."""
        path = self._first_folder / HISTORY
        try:
            stamp = path.stat().st_mtime_ns
            if stamp != self._curve[0]:
                self._curve = (stamp, self._points(json.loads(path.read_text())))
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return ()
        return self._curve[1]

    def _points(self, history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
        last = int(self.request.params.get("epochs", self.plan.epochs))
        alone = len(self.plan.seeds) == 1
        values = [(int(record["epoch"]), self.plan.objectives[0].of_evaluation(record)) for record in history]
        return [(epoch, value) for epoch, value in values if value is not None and not (alone and epoch >= last)]

    def stop(self, at_once: bool = False) -> None:
        self.stopping = True
        if self.child is not None:
            self.child.stop(at_once)

    def _launch(self, seed: int) -> None:
        self.seed = seed
        words = self.plan.run_words(self.request, seed)
        self.child = ChildRun(self.plan.folder(self.request, seed), words, self.plan.program)

    def _take(self, seed: int) -> bool:
        """Read a finished run's summary; False where there is none, or only that of an interrupted run."""
        summary = finished_summary(self.plan.folder(self.request, seed))
        if summary is None or any(run["seed"] == seed for run in self.runs):
            return False
        try:
            scores = scores_of(summary)
            values = [objective.value(summary) for objective in self.plan.objectives]
        except SummaryError:
            return False
        self.runs.append(
            {
                "seed": seed,
                "objectives": values,
                "source_val": scores.source_val,
                "targets": scores.targets,
                "run_id": summary.get("run_id", ""),
                "rendered": summary.get("ledger", {}).get("done", 0),
                "wall_s": summary.get("wall_s", 0.0),
                "waiting": summary.get("waiting_for_depth_share", 0.0),
            }
        )
        return True

    def _failure(self, ended: ChildRun, code: int) -> TrialOutcome:
        if self.stopping or code == INTERRUPTED:
            return self._interrupted(code)
        if code == 0:
            return TrialOutcome(None, self._facts(code), f"no usable result in {ended.folder / SUMMARY}", settled=True)
        fatal = code if code in FATAL else None
        return TrialOutcome(None, self._facts(code), ended.failure(code), code in SETTLED, fatal)

    def _interrupted(self, code: int) -> TrialOutcome:
        return TrialOutcome(None, self._facts(code), "interrupted")

    def _facts(self, code: int) -> dict[str, Any]:
        return {"runs": self.runs, "exit_code": code}


def end_orphans(plan: TrialPlan, request: TrialRequest, patience_s: float = ORPHAN_PATIENCE_S) -> list[int]:
    """End what a dead driver left running of a trial; returns the seeds that were still running."""
    return [seed for seed in plan.seeds if end_orphan(plan.folder(request, seed), patience_s)]
