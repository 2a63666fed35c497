"""A trial as processes: `dg train` once for each seed, in a folder of its own (`dg.grid.child_run`)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from dg.files.checkpoint import BEST, HISTORY
from dg.grid.child_run import (
    ORPHAN_PATIENCE_S,
    PROGRAM,
    SUMMARY,
    ChildRun,
    end_orphan,
    finished_summary,
    quoted,
)
from dg.tracking import target_metric
from sweeps.objective import Objective, SummaryError, scores_of
from sweeps.space import args_of
from sweeps.study import RunningTrial, TrialOutcome, TrialRequest

FATAL = (2, 3, 4)  # configuration, resources, data: alike for every trial
SETTLED = (5, 6)  # diverged, too many quarantined poses: a seed makes them happen again


@dataclass(frozen=True)
class TrialRunner:
    """Starts the trials of a sweep.

    Attributes:
        args: arguments of dg.train, the same for all.
        refusal: why dg.train would not take the arguments of a trial, empty where it does.
        epochs: epochs of a trial that sets none.
    """

    out: Path
    args: tuple[str, ...]
    seeds: tuple[int, ...]
    objectives: tuple[Objective, ...]
    shares_depth: bool = True
    epochs: int = 0
    program: tuple[str, ...] = PROGRAM
    label: Callable[[TrialRequest, int], object] = field(default=lambda request, seed: None)
    refusal: Callable[[Sequence[str]], str] = field(default=lambda args: "")

    def folder(self, request: TrialRequest, seed: int) -> Path:
        """Where the run of one seed writes."""
        return self.out / request.folder / f"seed-{seed}"

    def run_args(self, request: TrialRequest, seed: int) -> list[str]:
        """The arguments of one run but for its folder; it resumes from a checkpoint where the folder holds one."""
        own = {"seed": str(seed), "resume": "auto", "tracking.child": quoted(run_name(request, seed))}
        own |= {"tracking.run_name": quoted(run_title(request, seed))}
        own |= {} if any(arg.startswith("tracking.model=") for arg in self.args) else {"tracking.model": "off"}
        return [*self.args, *args_of(request.params), *(f"{k}={v}" for k, v in own.items())]

    def start(self, request: TrialRequest) -> RunningTrial:
        """Start the trial, or return one that fails at its first `poll` where dg.train would refuse its arguments."""
        refusal = self.refusal(self.run_args(request, self.seeds[0]))
        return RefusedTrial(refusal) if refusal else TrialRuns(self, request)

    def end_orphans(self, request: TrialRequest, patience_s: float = ORPHAN_PATIENCE_S) -> list[int]:
        """End what a dead driver left running of a trial; returns the seeds that were still running."""
        return [seed for seed in self.seeds if end_orphan(self.folder(request, seed), patience_s)]


def run_name(request: TrialRequest, seed: int) -> str:
    """What the driver knows the run of one seed by; a retried trial keeps it, as it keeps the folder."""
    return f"{request.folder}-seed-{seed}"


def run_title(request: TrialRequest, seed: int) -> str:
    """Name of the MLflow run of one seed for people: the trial and what it was set to."""
    settings = [f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in request.params.items()]
    return " · ".join([f"Trial {request.folder.removeprefix('trial-')}", " ".join(settings), f"seed {seed}"])


def named_means(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a finished trial tells of itself in Optuna, under the names of its runs' metrics in MLflow."""
    found: dict[str, Any] = {"val/mpjpe_mm": round(fmean(run["source_val"] for run in runs), 3)}
    for target in runs[0]["targets"]:
        found[target_metric(target, "mpjpe_mm")] = round(fmean(run["targets"][target] for run in runs), 3)
    found["time/wall_s"] = round(sum(run["wall_s"] for run in runs), 1)
    ids = [run["run_id"] for run in runs if run["run_id"]]
    return found | ({"mlflow_run_ids": ids} if ids else {})


class RefusedTrial:
    """A trial whose settings dg.train does not take together: it fails without having run."""

    warm = False

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def poll(self) -> TrialOutcome | None:
        """Return the failure with its reason; retrying it would not help."""
        return TrialOutcome(None, {}, self.reason, settled=True)

    def curve(self) -> Sequence[tuple[int, float]]:
        """Return no points: nothing was evaluated."""
        return ()

    def stop(self, at_once: bool = False) -> None:
        """It does not run."""


class TrialRuns:
    """The runs of one trial, seed after seed. Finished ones of an earlier driver are taken as they are."""

    def __init__(self, runner: TrialRunner, request: TrialRequest) -> None:
        self.runner, self.request = runner, request
        self.waiting = list(runner.seeds)
        self.runs: list[dict[str, Any]] = []
        self.child: ChildRun | None = None
        self.stopping = False
        self._curve: tuple[int, list[tuple[int, float]]] = (0, [])  # the file's time stamp, and what it held

    @property
    def warm(self) -> bool:
        """Whether every data set's depth is in the shared cache: from the first evaluation on."""
        return not self.runner.shares_depth or bool(self.runs) or (self._first_folder / BEST).exists()

    @property
    def _first_folder(self) -> Path:
        return self.runner.folder(self.request, self.runner.seeds[0])

    def poll(self) -> TrialOutcome | None:
        """Look at the current child and start the next seed's; return the means over seeds after the last one."""
        if self.child is not None:
            self.runner.label(self.request, self.waiting[0])
            code = self.child.poll()
            if code is None:
                return None
            ended, self.child = self.child, None
            if code != 0 or not self._take():
                return self._failure(ended, code)
        while self.waiting and self._take():
            pass
        if not self.waiting:
            by_objective = zip(*(run["objectives"] for run in self.runs), strict=True)
            return TrialOutcome(
                tuple(fmean(values) for values in by_objective), {"runs": self.runs} | named_means(self.runs)
            )
        if self.stopping:
            return TrialOutcome(None, {"runs": self.runs}, "interrupted")
        args = self.runner.run_args(self.request, self.waiting[0])
        self.child = ChildRun(self.runner.folder(self.request, self.waiting[0]), args, self.runner.program)
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
        last = int(self.request.params.get("epochs", self.runner.epochs))
        alone = len(self.runner.seeds) == 1
        values = [(int(record["epoch"]), self.runner.objectives[0].of_evaluation(record)) for record in history]
        return [(epoch, value) for epoch, value in values if value is not None and not (alone and epoch >= last)]

    def stop(self, at_once: bool = False) -> None:
        """Ask the current child to stop, and start no further seed."""
        self.stopping = True
        if self.child is not None:
            self.child.stop(at_once)

    def _take(self) -> bool:
        """Read the summary of the next seed's finished run; False where there is none that can be used."""
        summary = finished_summary(self.runner.folder(self.request, self.waiting[0]))
        try:
            scores = scores_of(summary or {})
            values = [objective.value(summary or {}) for objective in self.runner.objectives]
        except SummaryError:
            return False
        assert summary is not None
        self.runs.append(
            {
                "seed": self.waiting.pop(0),
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
        end, facts = ended.end(code, self.stopping), {"runs": self.runs, "exit_code": code}
        why = end.why or f"no usable result in {ended.folder / SUMMARY}"  # a summary that lacks what is optimised
        if end.state == "interrupted":
            return TrialOutcome(None, facts, why)
        return TrialOutcome(None, facts, why, code in (0, *SETTLED), code if code in FATAL else None)
