"""One sitting of a sweep: study, trials, MLflow and the response curve put together."""

import os
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.trial import TrialState

from dg.atomic import replace_file
from dg.child_run import shared_words
from dg.config import ConfigError, TrainConfig
from dg.parent_run import merged
from dg.tracking.names import TAG_ORACLE, TAG_SELECTION, TAG_SWEEP
from sweeps.objective import Objective
from sweeps.options import SweepOptions
from sweeps.records import SweepRecords
from sweeps.response import Point, best_of, draw, spread, table, verdict
from sweeps.storage import fix_identity, open_study, storage_file
from sweeps.study import Hooks, Space, SweepDriver, TrialOutcome, TrialRequest
from sweeps.trial_process import TrialPlan, end_orphans, run_name

PICTURE, TABLE = "response.png", "response.txt"


class StudyBusyError(RuntimeError):
    """Another driver works on this study."""


class Session:
    """Opens the study, takes over what an earlier driver left, and runs trials. The only one to print."""

    def __init__(
        self,
        options: SweepOptions,
        shared: Sequence[str],
        config: TrainConfig,
        objective: Objective,
        space: Space,
        unit: str,
    ) -> None:
        """Raises ConfigError, TrackingError, or StudyBusyError."""
        self.options, self.shared, self.config = options, shared, config
        self.objective, self.space, self.unit = objective, space, unit
        self.name = options.study + objective.suffix
        self.study = open_study(self.name, options.storage, space, seed=options.seeds[0])
        self.out = self._folder()
        self.lock = FileLock(self.out / ".sweep.lock")
        try:
            self.lock.acquire(timeout=0)
        except Timeout as error:
            raise StudyBusyError(f"another driver is at work on study {self.name!r} in {self.out}") from error
        identity = {"objective": objective.name, "seeds": list(options.seeds), "config": config.digest()}
        fix_identity(self.study, identity, config.flat(), self._has_begun())
        self.sweep_id = self._remembered("sweep_id", f"{self.name}-{uuid.uuid4().hex[:8]}")
        self.records = SweepRecords(config.tracking, self.out)
        oracle = merged("depth" if config.needs_depth else "", self._tags().get(TAG_ORACLE, ""))
        tags = self._tags() | {TAG_ORACLE: oracle, TAG_SELECTION: objective.name}
        self.records.start(self.name, self._params(), tags, self.study.user_attrs.get("mlflow_run_id"))
        self.study.set_user_attr("mlflow_run_id", self.records.parent_id)
        self.plan = self._plan()
        hooks = Hooks(self.plan.start, self._stop_orphan, self._started, self._ended)
        self.driver = SweepDriver(self.study, space, hooks, options.trials, options.concurrency)
        self._begun: dict[int, float] = {}
        self._seconds: list[float] = []

    def run(self) -> bool:
        """True when all trials are done, False when stopped. Writes table and picture either way."""
        status, reason = "FAILED", "error"
        try:
            retried = self.driver.prepare()
            kept = len(self.points())
            print(f"  study {self.name} in {self.options.storage}, runs in {self.out}", flush=True)
            if kept or retried:
                again = f", {len(retried)} to be tried again" if retried else ""
                print(f"  going on: {kept} finished trials kept{again}", flush=True)
            done = self.driver.run()
            status, reason = ("FINISHED", "done") if done else ("KILLED", "interrupted")
            return done
        finally:
            self._conclude()
            self.records.tracker.finish(status, reason)
            if self.records.problem:
                print(f"  MLflow: {self.records.problem}")
            self.lock.release()

    def points(self) -> list[Point]:
        """Every finished trial."""
        return [
            Point(
                value=round(t.params[self.space.name], 6),
                trial=t.number,
                objective=tuple(r["objective"] for r in t.user_attrs["runs"]),
                source_val=tuple(r["source_val"] for r in t.user_attrs["runs"]),
                targets={n: tuple(r["targets"][n] for r in t.user_attrs["runs"]) for n in _targets(t.user_attrs)},
            )
            for t in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]

    # -- setting up -----------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        before = self.study.user_attrs.get("out")
        asked = str(Path(self.options.out).absolute()) if self.options.out else ""
        if before and asked and asked != before:
            raise ConfigError(f"study {self.name!r} keeps its runs in {before}; leave out= away, or use study=ANOTHER")
        out = Path(self._remembered("out", asked or str(Path("runs", self.name).absolute())))
        out.mkdir(parents=True, exist_ok=True)
        return out

    def _remembered(self, key: str, fresh: str) -> str:
        if key not in self.study.user_attrs:
            self.study.set_user_attr(key, fresh)
        return self.study.user_attrs[key]

    def _has_begun(self) -> bool:
        checkpoints = any(self.out.glob("trial-*/seed-*/*.pt"))
        if checkpoints and not self.study.get_trials(deepcopy=False):
            raise ConfigError(f"{self.out} holds trials that study {self.name!r} does not know; give out=ANOTHER")
        return checkpoints or bool(self.points())

    def _plan(self) -> TrialPlan:
        extra = self.records.words()
        if self.config.cache != "off":
            extra["cache"] = str(Path(self.config.cache).absolute())
        if self.options.concurrency > 1 and not self.config.threads:
            extra["threads"] = str(max(1, (os.cpu_count() or 1) // self.options.concurrency))
        return TrialPlan(
            out=self.out,
            parameter=self.space.name,
            words=shared_words(self.shared, extra),
            seeds=self.options.seeds,
            objective=self.objective,
            shares_depth=self.config.cache != "off",
            label=lambda request, seed: self._label(request, seed, "RUNNING"),
        )

    def _params(self) -> dict[str, Any]:
        mine = {"trials": self.options.trials, "seeds": list(self.options.seeds), "objective": self.objective.name}
        return {k: v for k, v in self.config.flat().items() if k not in (self.space.name, "seed")} | {
            f"sweep.{k}": v for k, v in mine.items()
        }

    def _tags(self) -> dict[str, str]:
        tags = {TAG_SWEEP: self.sweep_id, "optuna.study": self.name, "sweep.objective": self.objective.name}
        return tags | ({TAG_ORACLE: self.space.name} if self.objective.is_oracle else {})

    # -- what the driver reports ----------------------------------------------------------------------------------

    def _started(self, request: TrialRequest) -> None:
        self._begun[request.number] = time.monotonic()
        again = "" if request.retry_of is None else f" (again, after trial {request.retry_of})"
        print(f"trial {request.number}: {self.space.name} {request.value:.2f}{again}", flush=True)

    def _ended(self, request: TrialRequest, outcome: TrialOutcome) -> None:
        state = "FAIL" if outcome.value is None else "COMPLETE"
        for seed in self.options.seeds:
            end = "" if outcome.value is not None else "KILLED" if outcome.error == "interrupted" else "FAILED"
            self._label(request, seed, state, end)
        if outcome.value is None:
            print(f"trial {request.number}: {self.space.name} {request.value:.2f} failed: {outcome.error}", flush=True)
            return
        points = self.points()
        best = best_of(points)
        took = time.monotonic() - self._begun[request.number]
        self._seconds.append(took)
        left = (self.options.trials - len(points)) * sum(self._seconds) / len(self._seconds) / self.options.concurrency
        print(
            f"trial {request.number}: {self.space.name} {request.value:.2f}  {self.objective.name} "
            f"{spread([r['objective'] for r in outcome.facts['runs']])} mm  "
            f"(best {best.mean:.1f} at {best.value:.2f})  "
            f"{took:.0f} s, left {max(0.0, left) / 60:.1f} min",
            flush=True,
        )
        self.records.tracker.log_metrics(
            {
                f"sweep/{self.space.name}": request.value,
                "sweep/objective_mpjpe_mm": outcome.value,
                "sweep/best_mpjpe_mm": best.mean,
            },
            step=len(points),
        )

    def _stop_orphan(self, request: TrialRequest) -> None:
        running = end_orphans(self.plan, request)
        if running:
            print(f"trial {request.number}: ended what its dead driver had left running", flush=True)
        for seed in self.options.seeds:
            self._label(request, seed, "FAIL", "KILLED")

    def _label(self, request: TrialRequest, seed: int, state: str, end: str = "") -> None:
        tags = self._tags() | {"optuna.trial_number": str(request.number)}
        if request.retry_of is not None:
            tags["optuna.retry_of"] = str(request.retry_of)
        self.records.label(run_name(request, seed), tags, state, end)

    # -- the end --------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        points = self.points()
        if not points:
            print("no trial finished")
            return
        best = best_of(points)
        text = f"{table(points, self.objective, self.space.name)}\n{verdict(points, self.objective, self.space.name)}\n"
        print(f"\nMPJPE in mm at the last evaluation, mean ± standard deviation over seeds {list(self.options.seeds)}")
        print(text)
        replace_file(self.out / TABLE, lambda file: file.write(text.encode()))
        draw(points, self.objective, self.space.name, self.unit, self.out / PICTURE)
        tracker = self.records.tracker
        tracker.set_tags({f"best.{self.space.name}": f"{best.value:g}", "best.mpjpe_mm": f"{best.mean:.2f}"})
        for file in (self.out / TABLE, self.out / PICTURE, storage_file(self.options.storage)):
            if file is not None and file.is_file():
                tracker.log_artifact(file)
        words = [*self.shared, f"{self.space.name}={best.value:g}", f"seed={self.options.seeds[0]}"]
        oracle = "  (ORACLE: chosen on a target; say so wherever you report it)" if self.objective.is_oracle else ""
        print(f"picture: {self.out / PICTURE}\nbest {self.space.name} by {self.objective.name}{oracle}:")
        print(f"  python -m dg.train {' '.join(map(shlex.quote, words))}", flush=True)


def _targets(facts: Mapping[str, Any]) -> list[str]:
    return list(facts["runs"][0]["targets"])
