"""An Optuna study driven by ask and tell: this process alone touches the storage, trials are what it is given.

A study survives its driver. Trials that were running when it died, or that failed for a reason that may have passed,
are put back into the queue when the study is opened again; a retried trial keeps the folder of the one it goes on from.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

POLL_S = 0.5
_FOLDER, _RETRY_OF, _ERROR, _SETTLED = "folder", "retry_of", "error", "settled"


class SweepError(RuntimeError):
    """A failure that every trial would meet. `code` is the exit code of the trial that met it."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Space:
    """One parameter in [low, high]. The anchors come first, whatever the sampler does; `step` rounds its proposals."""

    name: str
    low: float
    high: float
    step: float
    anchors: tuple[float, ...]


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run. `folder` is a name below the sweep's own folder."""

    number: int
    value: float
    folder: str
    retry_of: int | None = None


@dataclass(frozen=True)
class TrialOutcome:
    """How a trial ended: with a value to minimise, or with an error.

    facts: JSON-like, kept with the trial. settled: the same settings would fail again, so it is not retried.
    fatal: the exit code of a failure that every trial would meet; the sweep ends.
    """

    value: float | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    settled: bool = False
    fatal: int | None = None


class RunningTrial(Protocol):
    """A trial under way. `warm`: others that start now find what it has already put into a shared cache."""

    @property
    def warm(self) -> bool: ...

    def poll(self) -> TrialOutcome | None:
        """None while it runs. Does not block."""
        ...

    def stop(self, at_once: bool = False) -> None:
        """Ask it to checkpoint and end, or end it now; `poll` tells when it has."""
        ...


@dataclass(frozen=True)
class Hooks:
    """What the driver calls: `start` begins a trial, `stop_orphan` ends what a dead driver left running of one."""

    start: Callable[[TrialRequest], RunningTrial]
    stop_orphan: Callable[[TrialRequest], None] = lambda request: None
    started: Callable[[TrialRequest], None] = lambda request: None
    ended: Callable[[TrialRequest, TrialOutcome], None] = lambda request, outcome: None


class SweepDriver:
    """Runs trials until `trials` of them are settled. `run` blocks; `stop` may be called from a signal handler."""

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        hooks: Hooks,
        trials: int,
        concurrency: int = 1,
        poll_s: float = POLL_S,
    ) -> None:
        self.study, self.space, self.hooks = study, space, hooks
        self.trials, self.concurrency, self.poll_s = trials, concurrency, poll_s
        self.live: list[tuple[optuna.Trial, TrialRequest, RunningTrial]] = []
        self.failed_now = 0  # failures of this session that a later one may retry
        self.warm = False
        self.stops_asked = 0

    def stop(self) -> None:
        """First call: running trials checkpoint and end. Second call: they are ended at once."""
        self.stops_asked += 1

    def prepare(self) -> list[int]:
        """Take over from a driver that died or was stopped; returns the numbers of the trials to be retried.

        A RUNNING trial is ended and told FAIL; then each FAIL trial that nothing retries yet, and that might succeed,
        goes back into the queue. A crash between the two steps is healed by the next call.
        """
        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if _params(trial):
                self.hooks.stop_orphan(self._request_of(trial))
            self.study.tell(trial.number, state=TrialState.FAIL)
        retried = {t.user_attrs.get(_RETRY_OF) for t in self.study.get_trials(deepcopy=False)}
        lost = [
            t
            for t in self.study.get_trials(states=(TrialState.FAIL,))
            if t.number not in retried and not t.user_attrs.get(_SETTLED) and _params(t)
        ]
        for trial in lost:
            attributes = {_RETRY_OF: trial.number, _FOLDER: self._request_of(trial).folder}
            self.study.enqueue_trial(_params(trial), user_attrs=attributes)
        return [t.number for t in lost]

    def run(self) -> bool:
        """Ask, start, poll, tell. Returns True when done and False when stopped; no trial is left running.

        Raises SweepError for a failure that every trial would meet.
        """
        try:
            while True:
                self._collect()
                if self.stops_asked:
                    return False
                while self._wants_more():
                    self._launch()
                if not self.live:
                    return True
                time.sleep(self.poll_s)
        finally:
            self._wind_down()

    def _wants_more(self) -> bool:
        if len(self.live) >= self.concurrency or (self.live and not self.warm):
            return False
        return self._settled() + self.failed_now + len(self.live) < self.trials

    def _settled(self) -> int:
        ended = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.FAIL))
        return sum(t.state == TrialState.COMPLETE or bool(t.user_attrs.get(_SETTLED)) for t in ended)

    def _launch(self) -> None:
        self._fill_queue()
        trial = self.study.ask()
        trial.suggest_float(self.space.name, self.space.low, self.space.high, step=self.space.step)
        request = self._request_of(self.study.get_trials(deepcopy=False)[trial.number])
        trial.set_user_attr(_FOLDER, request.folder)
        self.live.append((trial, request, self.hooks.start(request)))
        self.hooks.started(request)

    def _fill_queue(self) -> None:
        """One anchor that the study lacks, unless something waits: so retries come before anchors still untried."""
        for anchor in self.space.anchors:
            if self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                return
            self.study.enqueue_trial({self.space.name: float(anchor)}, skip_if_exists=True)

    def _request_of(self, trial: FrozenTrial) -> TrialRequest:
        value = round(_params(trial)[self.space.name], 6)
        folder = trial.user_attrs.get(_FOLDER, f"trial-{trial.number}")
        return TrialRequest(trial.number, value, folder, trial.user_attrs.get(_RETRY_OF))

    def _collect(self) -> None:
        self.warm = self.warm or any(running.warm for _, _, running in self.live)
        for entry in list(self.live):
            trial, request, running = entry
            outcome = running.poll()
            if outcome is not None:
                self.live.remove(entry)
                self._tell(trial, request, outcome)

    def _tell(self, trial: optuna.Trial, request: TrialRequest, outcome: TrialOutcome) -> None:
        if outcome.value is not None and not math.isfinite(outcome.value):
            outcome = TrialOutcome(None, outcome.facts, f"the objective is {outcome.value}", settled=True)
        for name, fact in outcome.facts.items():
            trial.set_user_attr(name, fact)
        if outcome.value is not None:
            self.study.tell(trial, outcome.value)
            self.warm = True
        else:
            trial.set_user_attr(_ERROR, outcome.error)
            trial.set_user_attr(_SETTLED, outcome.settled)
            self.study.tell(trial, state=TrialState.FAIL)
            self.failed_now += not outcome.settled
        self.hooks.ended(request, outcome)
        if outcome.fatal is not None:
            raise SweepError(outcome.error, outcome.fatal)

    def _wind_down(self) -> None:
        """Stop what still runs and tell it FAIL; the next driver retries it from its checkpoint."""
        asked = 0
        while self.live:
            if asked < max(1, min(self.stops_asked, 2)):
                asked += 1
                for _, _, running in self.live:
                    running.stop(at_once=asked > 1)
            try:
                self._collect()
            except SweepError:
                continue
            time.sleep(self.poll_s if self.live else 0)


def _params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters, also where its driver died between taking it from the queue and reading them."""
    return trial.params or trial.system_attrs.get("fixed_params", {})
