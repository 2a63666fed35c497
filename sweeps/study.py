"""An Optuna study driven by ask and tell: this process alone touches the storage, trials are what it is given.

A study survives its driver. Trials that were running when it died, or that failed for a reason that may have passed,
are put back into the queue when the study is opened again; a retried trial keeps the folder of the one it resumes.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.trial import FrozenTrial, TrialState

from dg.grid.driver import POLL_S, Driver, Running
from sweeps.space import Space, Value

PRUNE_PATIENCE_S = 120.0  # for a pruned trial to write its checkpoint
CONFIGURATION = 2
FOLDER, RETRY_OF, ERROR, SETTLED, PRUNED_AT = "folder", "retry_of", "error", "settled", "pruned_at"


class SweepError(RuntimeError):
    """A failure that every trial would meet. `exit_code` is that of the trial that met it."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run. `folder` is a name below the sweep's own folder."""

    number: int
    params: Mapping[str, Value]
    folder: str
    retry_of: int | None = None

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.params.items())


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended: with a value for each objective, or with an error.

    Attributes:
        facts: JSON-like, kept with the trial.
        settled: whether the same settings would fail again, so that it is not retried.
        fatal: the exit code of a failure that every trial would meet; the sweep ends.
        pruned_at: epoch at which the driver gave it up.
    """

    values: tuple[float, ...] | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    settled: bool = False
    fatal: int | None = None
    pruned_at: int | None = None

    @property
    def state(self) -> str:
        """As Optuna calls it."""
        return "COMPLETE" if self.values is not None else "FAIL" if self.pruned_at is None else "PRUNED"


@runtime_checkable
class RunningTrial(Protocol):
    """A trial under way. `warm`: others that start now find what it has already put into a shared cache."""

    @property
    def warm(self) -> bool:
        """Whether trials that start now find the shared cache of depth already filled."""
        ...

    def poll(self) -> TrialOutcome | None:
        """None while it runs. Does not block."""
        ...

    def curve(self) -> Sequence[tuple[int, float]]:
        """The objective at each epoch that was evaluated so far, as far as a decision to prune may rest on it."""
        ...

    def stop(self, at_once: bool = False) -> None:
        """Ask it to checkpoint and end, or end it now; `poll` tells when it has."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What the driver calls: `start` begins a trial, `stop_orphan` ends what a dead driver left running of one that is
    now FAIL, or PRUNED at an epoch.
    """

    start: Callable[[TrialRequest], RunningTrial]
    stop_orphan: Callable[[TrialRequest, int | None], None] = lambda request, pruned_at: None
    started: Callable[[TrialRequest], None] = lambda request: None
    ended: Callable[[TrialRequest, TrialOutcome], None] = lambda request, outcome: None


@dataclass
class _Trial:
    """A trial under way. reported: the last epoch that Optuna knows. give_up_s: when a pruned one is killed."""

    trial: optuna.Trial
    request: TrialRequest
    reported: int = -1
    pruned_at: int | None = None
    give_up_s: float = math.inf


class SweepDriver(Driver[_Trial, TrialOutcome]):
    """Runs trials until `trials` of them are settled.

    Args:
        prunes: whether Optuna's pruner is asked after each evaluation of a trial, and may end it.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        hooks: Hooks,
        trials: int,
        concurrency: int = 1,
        poll_s: float = POLL_S,
        prunes: bool = False,
    ) -> None:
        super().__init__(self._next, self._begin, self._tell, self._consider_pruning, concurrency, poll_s)
        self.study, self.space, self.hooks, self.trials, self.prunes = study, space, hooks, trials, prunes
        self.failed_now = 0  # failures of this session that a later one may retry
        self.warm = False
        self.fatal: SweepError | None = None

    def prepare(self) -> list[int]:
        """Take over from a driver that died or was stopped; returns the numbers of the trials to be retried.

        A RUNNING trial is ended and told FAIL, or PRUNED if that was decided; then each FAIL trial that nothing retries
        yet, and that might succeed, goes back into the queue. A crash between the two steps is healed by the next call.
        """
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            pruned_at = trial.user_attrs.get(PRUNED_AT)
            if _params(trial):
                self.hooks.stop_orphan(self._request_of(trial), pruned_at)
            self.study.tell(trial.number, state=TrialState.FAIL if pruned_at is None else TrialState.PRUNED)
        retried = {t.user_attrs.get(RETRY_OF) for t in self.study.get_trials(deepcopy=False)}
        failed = self.study.get_trials(states=(TrialState.FAIL,))
        lost = [t for t in failed if t.number not in retried and not t.user_attrs.get(SETTLED) and _params(t)]
        for trial in lost:
            attributes = {RETRY_OF: trial.number, FOLDER: self._request_of(trial).folder}
            self.study.enqueue_trial(_params(trial), user_attrs=attributes)
        return [t.number for t in lost]

    def run(self) -> bool:
        """Ask, start, look, tell. True when all trials are settled, False when stopped; none is left running.

        Raises SweepError for a failure that every trial would meet.
        """
        done = super().run()
        if self.fatal is not None:
            raise self.fatal
        return done

    # -- one trial ------------------------------------------------------------------------------------------------

    def _next(self) -> _Trial | None:
        if self.fatal or (self.running and not self.warm):
            return None
        ended = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        settled = sum(t.state != TrialState.FAIL or bool(t.user_attrs.get(SETTLED)) for t in ended)
        if settled + self.failed_now + len(self.running) >= self.trials:
            return None
        self._fill_queue()
        trial = self.study.ask()
        self.space.suggest(trial)
        request = self._request_of(self.study.get_trials(deepcopy=False)[trial.number])
        trial.set_user_attr(FOLDER, request.folder)
        return _Trial(trial, request)

    def _begin(self, item: _Trial, place: int) -> RunningTrial:
        child = self.hooks.start(item.request)
        self.hooks.started(item.request)
        return child

    def _fill_queue(self) -> None:
        """One anchor that the study lacks, unless something waits: so retries come before anchors still untried."""
        for anchor in self.space.anchors:
            if self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return
            self.study.enqueue_trial(dict(anchor), skip_if_exists=True)

    def _request_of(self, trial: FrozenTrial) -> TrialRequest:
        params = self.space.tidy(_params(trial))
        folder = trial.user_attrs.get(FOLDER, f"trial-{trial.number}")
        return TrialRequest(trial.number, params, folder, trial.user_attrs.get(RETRY_OF))

    def _consider_pruning(self) -> None:
        for running in self.running:
            item, child = running.item, running.child
            self.warm = self.warm or child.warm
            if item.pruned_at is not None:
                if time.monotonic() > item.give_up_s:
                    child.stop(at_once=True)
                continue
            fresh = [(epoch, value) for epoch, value in child.curve() if epoch > item.reported] if self.prunes else []
            for epoch, value in fresh:
                item.trial.report(value, epoch)
                item.reported = epoch
            if fresh and item.trial.should_prune():
                # Written down before the trial is stopped: should this driver die meanwhile, the next one knows.
                item.trial.set_user_attr(PRUNED_AT, item.reported)
                item.pruned_at, item.give_up_s = item.reported, time.monotonic() + PRUNE_PATIENCE_S
                child.stop()

    def ask_to_end(self, running: Running[_Trial], at_once: bool) -> None:
        """A second SIGINT would cost a pruned trial its checkpoint."""
        if running.item.pruned_at is None or at_once:
            super().ask_to_end(running, at_once)

    def _tell(self, running: Running[_Trial], outcome: TrialOutcome) -> None:
        trial, outcome = running.item.trial, self._judged(running.item, outcome)
        for name, fact in outcome.facts.items():
            trial.set_user_attr(name, fact)
        if outcome.values is not None:
            self.study.tell(trial, list(outcome.values))
            self.warm = True
        elif outcome.pruned_at is not None:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr(ERROR, outcome.error)
            trial.set_user_attr(SETTLED, outcome.settled)
            self.study.tell(trial, state=TrialState.FAIL)
            self.failed_now += not outcome.settled
        self.hooks.ended(running.item.request, outcome)
        if outcome.fatal is not None and self.fatal is None:
            self.fatal = SweepError(outcome.error, outcome.fatal)
            self.give_up()

    def _judged(self, item: _Trial, outcome: TrialOutcome) -> TrialOutcome:
        """A trial's own account of its end, in the light of what the driver knows."""
        if outcome.values is not None and not all(map(math.isfinite, outcome.values)):
            return TrialOutcome(None, outcome.facts, f"the objective is {list(outcome.values)}", settled=True)
        if outcome.values is None and item.pruned_at is not None:
            return TrialOutcome(None, outcome.facts, f"pruned at epoch {item.pruned_at}", pruned_at=item.pruned_at)
        if outcome.fatal == CONFIGURATION and len(self.space.parameters) > 1:
            if self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                return replace(outcome, fatal=None)  # other settings have worked: these do not go together
        return outcome


def _params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters, also where its driver died between taking it from the queue and reading them."""
    return trial.params or trial.system_attrs.get("fixed_params", {})
