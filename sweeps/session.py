"""One sitting of a sweep: study, trials and MLflow put together."""

import os
import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dg.grid.child_run import shared_words
from dg.grid.parent_run import merged
from dg.settings.config import ConfigError
from dg.tracking.names import TAG_ORACLE, TAG_SELECTION
from sweeps.lock import StudyLock
from sweeps.plan import SweepPlan
from sweeps.points import Outcome, outcome_of
from sweeps.records import SweepRecords
from sweeps.samplers import make_pruner
from sweeps.shared_rendering import SharedRendering
from sweeps.space_check import refusal
from sweeps.storage import IDENTITY, fix_identity, open_study, without_password
from sweeps.study import SweepDriver
from sweeps.teller import Teller
from sweeps.trial_process import TrialPlan, end_orphans
from sweeps.trials import Hooks, RunningTrial, TrialOutcome, TrialRequest


class Session:
    """Opens the study, takes over what an earlier driver left, and runs trials."""

    def __init__(self, plan: SweepPlan) -> None:
        """Raises ConfigError, TrackingError, or StudyBusyError."""
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
            self.records = SweepRecords(plan.config.tracking, self.out)
        except BaseException:
            self.lock.release()
            raise
        self.teller = Teller(plan, sweep_id, self.records, self.study, self.out)
        self.trials = TrialPlan(
            out=self.out,
            words=plan.shared,
            seeds=self.seeds,
            objectives=plan.objectives,
            shares_depth=plan.config.cache != "off",
            epochs=plan.config.epochs,
            label=lambda request, seed: self.teller.label(request, seed, "RUNNING"),
            refusal=refusal if len(plan.space.parameters) > 1 else lambda words: "",
        )
        hooks = Hooks(self._start, self._stop_orphan, self.teller.started, self.teller.ended)
        self.driver = SweepDriver(
            self.study, plan.space, hooks, options.trials, plan.concurrency, prunes=plan.pruner != "off"
        )

    def run(self) -> bool:
        """True when all trials are done, False when stopped. Writes what was found either way."""
        ended = ["FAILED", "error"]
        with ExitStack() as ends:  # whatever of it fails, the rest is done
            ends.callback(self.lock.release)
            self._start_records()
            ends.callback(self.teller.finish, ended)
            ends.callback(self.teller.conclude)
            retried = self.driver.prepare()
            self.teller.greet(len(retried))
            rendering = ends.enter_context(self._rendering()) if self.sweep.shares_rendering else None
            self.teller.share(rendering)
            words = self._words() | (rendering.words() if rendering else {})
            self.trials = replace(self.trials, words=shared_words(self.sweep.shared, words))
            done = self.driver.run()
            ended[:] = ["FINISHED", "done"] if done else ["KILLED", "interrupted"]
            return done
        raise AssertionError("no end of a sweep swallows an error")

    def outcome(self) -> Outcome:
        """Every trial that has ended."""
        return outcome_of(self.study, self.sweep.space, self.sweep.objectives)

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
        fixed = {k: v for k, v in self.sweep.config.flat().items() if k.removesuffix(".name") not in swept}
        space = {f"space.{name}": text for name, text in self.sweep.space.described().items()}
        return fixed | space | {f"sweep.{k}": v for k, v in mine.items()}

    def _start_records(self) -> None:
        tags = self.teller.tags()
        oracle = merged("depth" if self.sweep.rendering else "", tags.get(TAG_ORACLE, ""))
        tags |= {TAG_ORACLE: oracle, TAG_SELECTION: self.sweep.by}
        self.records.start(self.name, self._params(), tags, self.study.user_attrs.get("mlflow_run_id"))
        self.study.set_user_attr("mlflow_run_id", self.records.parent_id)

    def _rendering(self) -> SharedRendering:
        assert self.sweep.rendering is not None
        return SharedRendering(self.sweep.rendering, self.sweep.concurrency)

    def _words(self) -> dict[str, str]:
        """What the driver adds to the user's words for every run."""
        words, config = self.records.words(), self.sweep.config
        if config.cache != "off":
            words["cache"] = str(Path(config.cache).absolute())
        if self.sweep.concurrency > 1 and not config.threads:
            words["threads"] = str(max(1, (os.cpu_count() or 1) // self.sweep.concurrency))
        return words

    def _start(self, request: TrialRequest) -> RunningTrial:
        self.lock.renew()
        return self.trials.start(request)

    def _stop_orphan(self, request: TrialRequest, pruned_at: int | None) -> None:
        if end_orphans(self.trials, request):
            print(f"trial {request.number}: ended what its dead driver had left running", flush=True)
        self.teller.label_all(request, TrialOutcome(None, error="interrupted", pruned_at=pruned_at))
