"""What a sweep says while it runs and at its end: on the terminal, in MLflow, and in its folder. It alone prints."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import optuna

from dg.compare.sheets import spread
from dg.files.atomic import write_files
from dg.grid.parent_record import MOST_LINKS
from dg.grid.parent_run import ParentRun
from dg.tracking.names import TAG_NOTE, TAG_ORACLE, TAG_REASON, TAG_SWEEP, metric_name
from sweeps.options import SweepPlan
from sweeps.optuna_page import PAGE, write_optuna_page
from sweeps.outcome import Outcome, outcome_of
from sweeps.parent_record import describe, target_figures, write_report
from sweeps.report import command_lines
from sweeps.shared_rendering import SharedRendering
from sweeps.storage import storage_file, without_password
from sweeps.study import TrialOutcome, TrialRequest
from sweeps.trial_runs import run_name

BEST = "best.txt"
STARVING = 0.5  # share of a run's time spent waiting for depth, from which fewer trials at once are advised


class Reporter:
    """The driver's hooks that report, and the end."""

    def __init__(self, plan: SweepPlan, sweep_id: str, records: ParentRun, study: optuna.Study, folder: Path) -> None:
        self.sweep, self.sweep_id, self.records = plan, sweep_id, records
        self.study, self.folder = study, folder
        self.rendering: SharedRendering | None = None
        self._begun: dict[int, float] = {}
        self._seconds: list[float] = []

    def outcome(self) -> Outcome:
        """Every trial that has ended."""
        return outcome_of(self.study, self.sweep.space, self.sweep.objectives)

    def greet(self, retried: int) -> None:
        """Where everything is, and what is kept."""
        storage, outcome = without_password(self.sweep.options.storage), self.outcome()
        print(f"  study {self.sweep.name} in {storage}, runs in {self.folder}", flush=True)
        kept = f"{len(outcome.finished)} finished" + (f" and {len(outcome.pruned)} pruned" if outcome.pruned else "")
        if outcome.finished or outcome.pruned or retried:
            again = f", {retried} to retry" if retried else ""
            print(f"  resuming: {kept} trials kept{again}", flush=True)

    def share(self, rendering: SharedRendering | None) -> None:
        """From now on the trials' poses are drawn by these workers."""
        self.rendering = rendering
        if rendering is not None and rendering.args():
            print(f"  {self.sweep.concurrency} trials at a time on one render service", flush=True)

    def started(self, request: TrialRequest) -> None:
        """Print that a trial has begun, and of which failed trial it is a retry."""
        self._begun[request.number] = time.monotonic()
        again = "" if request.retry_of is None else f" (retry of trial {request.retry_of})"
        print(f"trial {request.number}: {request}{again}", flush=True)

    def ended(self, request: TrialRequest, trial: TrialOutcome) -> None:
        """Print the trial's scores or its failure, and log the metrics of the sweep so far."""
        self.label_all(request, trial)
        took = time.monotonic() - self._begun[request.number]
        outcome = self.outcome()
        done = len(outcome.finished) + len(outcome.pruned)
        if trial.values is None:
            what = trial.error if trial.pruned_at is not None else f"failed: {trial.error}"
            print(f"trial {request.number}: {request} {what}", flush=True)
        else:
            self._seconds.append(took)
            print(f"trial {request.number}: {request}  {self._scores(outcome, request.number)}", end="  ")
            left = (self.sweep.options.trials - done) * fmean(self._seconds) / self.sweep.concurrency
            print(f"{took:.0f} s, ETA {max(0.0, left) / 60:.1f} min", flush=True)
        if outcome.finished:
            self.records.tracker.log_metrics(self._metrics(outcome, request.number), step=done)

    def _scores(self, outcome: Outcome, number: int) -> str:
        (point,) = [p for p in outcome.finished if p.trial == number]
        scores = "  ".join(
            f"{o.name} {spread(values)} {o.unit}"
            for o, values in zip(self.sweep.objectives, point.objectives, strict=True)
        )
        best = outcome.best()
        if len(self.sweep.objectives) > 1:
            return f"{scores}  ({len(best)} on the Pareto front)"
        return f"{scores}  (best {best[0].means[0]:.1f} of trial {best[0].trial})"

    def _metrics(self, outcome: Outcome, number: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for i, objective in enumerate(self.sweep.objectives):
            means = [p.means[i] for p in outcome.finished]
            metrics[metric_name("sweep", "best", objective.name)] = (max if objective.maximise else min)(means)
        for point in outcome.finished:
            if point.trial == number:
                pairs = zip(self.sweep.objectives, point.means, strict=True)
                metrics |= {metric_name("sweep", o.name): mean for o, mean in pairs}
                metrics |= {
                    metric_name("sweep", k): float(v) for k, v in point.params.items() if not isinstance(v, str)
                }
                metrics["sweep/render_wait_fraction"] = point.waiting
        status = self.rendering.status() if self.rendering else {}
        return metrics | {metric_name("sweep", "service", name): value for name, value in status.items()}

    # -- the trials' own runs in MLflow ---------------------------------------------------------------------------

    def tags(self) -> dict[str, str]:
        """What every run of the sweep is found by."""
        tags = {TAG_SWEEP: self.sweep_id, "optuna.study": self.sweep.name, "sweep.objective": self.sweep.by}
        return tags | ({TAG_ORACLE: ",".join(self.sweep.space.names)} if self.sweep.is_oracle else {})

    def label(self, request: TrialRequest, seed: int, state: str, end: str = "", reason: str = "") -> None:
        """Tag the run of one seed; with `end` it gets that status if it is still open."""
        tags = self.tags() | {"optuna.trial_number": str(request.number)}
        if request.retry_of is not None:
            tags["optuna.retry_of"] = str(request.retry_of)
        if reason:
            tags[TAG_REASON] = reason
        self.records.label(run_name(request, seed), tags | {"optuna.state": state}, state, end)

    def label_all(self, request: TrialRequest, trial: TrialOutcome) -> None:
        """Tag the runs of a trial that has ended, and leave none of them open."""
        killed = trial.pruned_at is not None or trial.error == "interrupted"
        end = "" if trial.values is not None else "KILLED" if killed else "FAILED"
        reason = f"pruned at epoch {trial.pruned_at}" if trial.pruned_at is not None else ""
        for seed in self.sweep.options.seeds:
            self.label(request, seed, trial.state, end, reason)

    # -- the end --------------------------------------------------------------------------------------------------

    def conclude(self) -> None:
        """Tables, pictures and the commands of the best, printed, in the folder and in the parent run."""
        outcome = self.outcome()
        if not outcome.finished:
            print("no trial finished")
            return
        text, files = self.sweep.report(self.study, outcome, self.folder)
        print(f"\nat the last evaluation, mean ± standard deviation over seeds {list(self.sweep.options.seeds)}")
        print(text)
        commands = command_lines(outcome, self.sweep)
        (best,) = write_files(self.folder, {BEST: commands})
        files += self._pages(outcome)
        self._record(outcome, [*files, best])
        waiting = fmean(p.waiting for p in outcome.finished)
        if waiting > STARVING and self.sweep.concurrency > 1:
            print(f"the runs waited {waiting:.0%} of their time for depth: fewer trials at once, or more render.actors")
        if address := self.records.address():
            print(f"see it: {address}")
        pictures = " ".join(str(file) for file in files if file.suffix in (".png", ".html"))
        print(f"pictures: {pictures}\nbest by {self.sweep.by}, also in {best}:\n{commands}", end="", flush=True)

    def _pages(self, outcome: Outcome) -> list[Path]:
        try:
            return [*write_optuna_page(self.study, outcome, self.folder / PAGE), *write_report(self.sweep, self.folder)]
        except Exception as error:  # Plotly, or a trial's files: what was found is on record without these pages
            said = (str(error).splitlines() or [""])[0]
            print(f"pages of the sweep could not be made: {type(error).__name__}: {said}")
            return []

    def _record(self, outcome: Outcome, files: Sequence[Path]) -> None:
        best, tracker = outcome.best()[0], self.records.tracker
        tags = {f"best.{name}": str(value) for name, value in best.params.items()}
        pairs = zip(self.sweep.objectives, best.means, strict=True)
        tracker.set_tags(tags | {f"best.{metric_name(o.name)}": f"{mean:.2f}" for o, mean in pairs})
        tracker.log_metrics(target_figures(outcome), step=len(outcome.finished) + len(outcome.pruned))
        links = self.records.children_links(MOST_LINKS)
        tracker.set_tags({TAG_NOTE: describe(self.sweep, command_lines(outcome, self.sweep), files, links)})
        for file in (*files, storage_file(self.sweep.options.storage)):
            if file is not None and file.is_file():
                tracker.log_artifact(file)

    def finish(self, ended: Sequence[str]) -> None:
        """End the parent run with a status and its reason."""
        self.records.tracker.finish(*ended)
        if self.records.problem:
            print(f"  MLflow: {self.records.problem}")
