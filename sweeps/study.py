"""An Optuna study driven by ask and tell: this process alone touches the storage, trials are what it is given.

A study survives its driver. Trials that were running when it died, or that failed for a reason that may have passed,
are put back into the queue when the study is opened again; a retried trial keeps the folder of the one it goes on from.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.space import Space
from sweeps.trials import Hooks, RunningTrial, TrialOutcome, TrialRequest

POLL_S = 0.5
PRUNE_PATIENCE_S = 120.0  # for a pruned trial to write its checkpoint
CONFIGURATION = 2
FOLDER, RETRY_OF, ERROR, SETTLED, PRUNED_AT = "folder", "retry_of", "error", "settled", "pruned_at"


class SweepError(RuntimeError):
    """A failure that every trial would meet. `code` is the exit code of the trial that met it."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class _Live:
    """A trial under way. reported: the last epoch that Optuna knows. give_up_s: when a pruned one is killed."""

    trial: optuna.Trial
    request: TrialRequest
    running: RunningTrial
    reported: int = -1
    pruned_at: int | None = None
    give_up_s: float = math.inf


class SweepDriver:
    """Runs trials until `trials` of them are settled. `run` blocks; `stop` may be called from a signal handler.

    prunes: Optuna's pruner is asked after each evaluation of a trial, and the trial ended when it says so.
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
        self.study, self.space, self.hooks = study, space, hooks
        self.trials, self.concurrency, self.poll_s, self.prunes = trials, concurrency, poll_s, prunes
        self.live: list[_Live] = []
        self.failed_now = 0  # failures of this session that a later one may retry
        self.warm = False
        self.stops_asked = 0

    def stop(self) -> None:
        """First call: running trials checkpoint and end. Second call: they are ended at once."""
        self.stops_asked += 1

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
        lost = [
            t
            for t in self.study.get_trials(states=(TrialState.FAIL,))
            if t.number not in retried and not t.user_attrs.get(SETTLED) and _params(t)
        ]
        for trial in lost:
            attributes = {RETRY_OF: trial.number, FOLDER: self._request_of(trial).folder}
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
        ended = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
        return sum(t.state != TrialState.FAIL or bool(t.user_attrs.get(SETTLED)) for t in ended)

    # -- one trial ------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._fill_queue()
        trial = self.study.ask()
        self.space.suggest(trial)
        request = self._request_of(self.study.get_trials(deepcopy=False)[trial.number])
        trial.set_user_attr(FOLDER, request.folder)
        self.live.append(_Live(trial, request, self.hooks.start(request)))
        self.hooks.started(request)

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

    def _collect(self) -> None:
        self.warm = self.warm or any(live.running.warm for live in self.live)
        for live in list(self.live):
            outcome = live.running.poll()
            if outcome is not None:
                self.live.remove(live)
                self._tell(live, outcome)
            elif live.pruned_at is None:
                self._consider_pruning(live)
            elif time.monotonic() > live.give_up_s:
                live.running.stop(at_once=True)

    def _consider_pruning(self, live: _Live) -> None:
        if not self.prunes:
            return
        fresh = [(epoch, value) for epoch, value in live.running.curve() if epoch > live.reported]
        for epoch, value in fresh:
            live.trial.report(value, epoch)
            live.reported = epoch
        if fresh and live.trial.should_prune():
            # Written down before the trial is stopped: should this driver die meanwhile, the next one knows.
            live.trial.set_user_attr(PRUNED_AT, live.reported)
            live.pruned_at, live.give_up_s = live.reported, time.monotonic() + PRUNE_PATIENCE_S
            live.running.stop()

    def _tell(self, live: _Live, outcome: TrialOutcome) -> None:
        trial, request = live.trial, live.request
        outcome = self._judged(live, outcome)
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
        self.hooks.ended(request, outcome)
        if outcome.fatal is not None:
            raise SweepError(outcome.error, outcome.fatal)

    def _judged(self, live: _Live, outcome: TrialOutcome) -> TrialOutcome:
        """A trial's own account of its end, in the light of what the driver knows."""
        if outcome.values is not None and not all(map(math.isfinite, outcome.values)):
            return TrialOutcome(None, outcome.facts, f"the objective is {list(outcome.values)}", settled=True)
        if outcome.values is None and live.pruned_at is not None:
            return TrialOutcome(None, outcome.facts, f"pruned at epoch {live.pruned_at}", pruned_at=live.pruned_at)
        if outcome.fatal == CONFIGURATION and len(self.space.parameters) > 1 and self._any_complete():
            return replace(outcome, fatal=None)  # other settings have worked: these do not go together
        return outcome

    def _any_complete(self) -> bool:
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def _wind_down(self) -> None:
        """Stop what still runs and tell it FAIL; the next driver retries it from its checkpoint."""
        asked = 0
        while self.live:
            if asked < max(1, min(self.stops_asked, 2)):
                asked += 1
                for live in self.live:
                    if live.pruned_at is None or asked > 1:  # a second SIGINT would cost a pruned one its checkpoint
                        live.running.stop(at_once=asked > 1)
            try:
                self._collect()
            except SweepError:
                continue
            time.sleep(self.poll_s if self.live else 0)


def _params(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's parameters, also where its driver died between taking it from the queue and reading them."""
    return trial.params or trial.system_attrs.get("fixed_params", {})
