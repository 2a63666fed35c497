"""A session of a sweep: study, trials and MLflow put together, and the command that runs it."""

import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dg.grid.child_run import with_own
from dg.grid.driver import DriverBusyError, resume_command, stopped_by_signals
from dg.grid.parent_run import ParentRun, merged
from dg.settings.command import fail
from dg.settings.config import ConfigError, deciding
from dg.tracking import tracking_uri
from dg.tracking.names import TAG_ORACLE, TAG_SELECTION
from sweeps.options import SweepPlan
from sweeps.parent_record import parent_title, row_tags
from sweeps.reporter import Reporter
from sweeps.shared_rendering import SharedRendering
from sweeps.space_check import refusal
from sweeps.storage import (
    IDENTITY,
    StudyLock,
    fix_identity,
    make_pruner,
    open_study,
    storage_lost,
    without_password,
)
from sweeps.study import Hooks, RunningTrial, SweepDriver, SweepError, TrialOutcome, TrialRequest
from sweeps.trial_runs import TrialRunner


def run(program: str, make_plan: Callable[[], SweepPlan], args: Sequence[str]) -> int:
    """Resume the study, or begin it, until its trials are done.

    Args:
        program: the command, such as `dg sweep search`, for the one that resumes.
        make_plan: raises ConfigError for settings that cannot be.
        args: what the user gave.
    """
    session = None
    try:
        plan = make_plan()
        tracking_uri(plan.config.tracking.uri)
        session = Session(plan)
        with stopped_by_signals(session.driver, "trials"):
            done = session.run()
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    except Exception as error:
        code, said = _explained(error)
        if code is None:
            raise
        return fail(said, code)
    if not done:
        print(f"interrupted; resume with\n  {resume_command(program, args)}", flush=True)
        return 130
    return 0 if session.reporter.outcome().finished else 1


def _explained(error: Exception) -> tuple[int | None, Exception]:
    """Exit code and message; None for an error that is our own mistake."""
    from dg.settings.errors import exit_code

    if isinstance(error, SweepError | DriverBusyError):
        return error.exit_code, error
    lost = storage_lost(error)
    if lost:
        remedy = "running trials write a checkpoint and end; the same command resumes when it is back"
        return 3, RuntimeError(f"the study storage is gone: {lost}\n{remedy}")
    return exit_code(error), error


class SweepRun(ParentRun):
    """The parent run of a sweep in MLflow; Optuna's tags stand on the runs of the trials."""

    child, program = "trial", "dg sweep"


class Session:
    """Opens the study, takes over what an earlier driver left, and runs trials."""

    def __init__(self, plan: SweepPlan) -> None:
        """Raises ConfigError, TrackingError, or DriverBusyError."""
        self.sweep, options = plan, plan.options
        self.name, self.seeds = plan.name, options.seeds
        pruner = make_pruner(plan.pruner, plan.prune_after, plan.config.epochs)
        self.study = open_study(self.name, options.storage, plan.space, options.seeds[0], plan.objectives, pruner)
        self.lock = StudyLock(self.study, options.storage)
        try:
            self.lock.acquire()
            self.out = self._folder()
            self.lock.acquire_folder(self.out)
            begun = self._has_begun() or self._asked_of_another_space()
            fix_identity(self.study, self._identity(), plan.config.flat(), begun)
            sweep_id = self._remembered("sweep_id", f"{self.name}-{uuid.uuid4().hex[:8]}")
            self.records = SweepRun(plan.config.tracking, self.out)
        except BaseException:
            self.lock.release()
            raise
        self.reporter = Reporter(plan, sweep_id, self.records, self.study, self.out)
        self.trials = TrialRunner(
            out=self.out,
            args=plan.shared,
            seeds=self.seeds,
            objectives=plan.objectives,
            shares_depth=plan.config.cache != "off",
            epochs=plan.config.epochs,
            label=lambda request, seed: self.reporter.label(request, seed, "RUNNING"),
            refusal=refusal if len(plan.space.parameters) > 1 else lambda args: "",
        )
        hooks = Hooks(self._start, self._stop_orphan, self.reporter.started, self.reporter.ended)
        self.driver = SweepDriver(
            self.study, plan.space, hooks, options.trials, plan.concurrency, prunes=plan.pruner != "off"
        )

    def run(self) -> bool:
        """True when all trials are done, False when stopped. Writes what was found either way."""
        ended = ["FAILED", "error"]
        with ExitStack() as ends:  # whatever of it fails, the rest is done
            ends.callback(self.lock.release)
            self._start_records()
            ends.callback(self.reporter.finish, ended)
            ends.callback(self.reporter.conclude)
            retried = self.driver.prepare()
            self.reporter.greet(len(retried))
            rendering = None
            shares = self.sweep.options.service == "auto" and self.sweep.concurrency > 1
            if shares and self.sweep.config.pool == "ray" and self.sweep.rendering is not None:
                rendering = ends.enter_context(SharedRendering(self.sweep.rendering, self.sweep.concurrency))
            self.reporter.share(rendering)
            args = self._args() | (rendering.args() if rendering else {})
            self.trials = replace(self.trials, args=with_own(self.sweep.shared, args))
            done = self.driver.run()
            ended[:] = ["FINISHED", "done"] if done else ["KILLED", "interrupted"]
            return done
        raise AssertionError("no end of a sweep swallows an error")

    # -- setting up -----------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        """What all trials of a study have in common."""
        return {
            "objective": self.sweep.by,
            "seeds": list(self.seeds),
            "config": self.sweep.config.digest(),
            **{f"space.{name}": text for name, text in self.sweep.space.described().items()},
        }

    def _folder(self) -> Path:
        before = self.study.user_attrs.get("out")
        asked = str(Path(self.sweep.options.out).absolute()) if self.sweep.options.out else ""
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
        return checkpoints or bool(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def _asked_of_another_space(self) -> bool:
        """Whether there are trials, failed as they may have, whose parameters Optuna would not take for this space."""
        before = self.study.user_attrs.get(IDENTITY, {})
        space = {k: v for k, v in before.items() if k.startswith("space.")}
        mine = {k: v for k, v in self._identity().items() if k.startswith("space.")}
        return space != mine and bool(self.study.get_trials(deepcopy=False))

    def _params(self) -> dict[str, Any]:
        options = self.sweep.options
        mine = {"trials": options.trials, "seeds": list(self.seeds), "objective": self.sweep.by}
        mine |= {"concurrency": self.sweep.concurrency, "pruner": self.sweep.pruner}
        mine |= {"storage": without_password(options.storage)}
        swept = {*self.sweep.space.names, "seed"}
        given = deciding(self.sweep.config, self.sweep.config.flat())
        fixed = {k: v for k, v in given.items() if k.removesuffix(".name") not in swept}
        space = {f"space.{name}": text for name, text in self.sweep.space.described().items()}
        # The seeds under a run's own key too, so that they stand in its column of the table of runs.
        return fixed | space | {f"sweep.{k}": v for k, v in mine.items()} | {"seed": ", ".join(map(str, self.seeds))}

    def _start_records(self) -> None:
        tags = self.reporter.tags()
        oracle = merged("depth" if self.sweep.rendering else "", tags.get(TAG_ORACLE, ""))
        tags |= {TAG_ORACLE: oracle, TAG_SELECTION: self.sweep.by} | row_tags(self.sweep)
        self.records.start(parent_title(self.sweep), self._params(), tags, self.study.user_attrs.get("mlflow_run_id"))
        self.study.set_user_attr("mlflow_run_id", self.records.parent_id)

    def _args(self) -> dict[str, str]:
        """What the driver adds to the user's arguments for every run."""
        args, config = self.records.args(self.sweep.config), self.sweep.config
        if self.sweep.concurrency > 1 and not config.threads:
            args["threads"] = str(max(1, (os.cpu_count() or 1) // self.sweep.concurrency))
        return args

    def _start(self, request: TrialRequest) -> RunningTrial:
        self.lock.renew()
        return self.trials.start(request)

    def _stop_orphan(self, request: TrialRequest, pruned_at: int | None) -> None:
        if self.trials.end_orphans(request):
            print(f"trial {request.number}: ended what its dead driver had left running", flush=True)
        self.reporter.label_all(request, TrialOutcome(None, error="interrupted", pruned_at=pruned_at))
