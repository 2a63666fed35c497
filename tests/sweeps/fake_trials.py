"""Trials that only pretend, on a real study."""

from sweeps.space import Choice, Range, Space
from sweeps.storage import open_study
from sweeps.study import Hooks, SweepDriver, TrialOutcome

ANCHORS = [3.5, 4.0, 4.5, 5.0, 5.5, 6.0]
SPACE = Space({"d_ref": Range(3.5, 6.0, step=0.01)}, tuple({"d_ref": value} for value in ANCHORS))
SEARCH = Space(
    {"lr": Range(1e-4, 1e-1, log=True), "width": Range(64, 512, 64, whole=True), "method": Choice(("a", "b"))}
)


def value_of(request):
    return request.params["d_ref"]


def error_mm(value):
    return 60 + (value - 4.7) ** 2


class FakeTrial:
    """Ends after some polls with whatever `ending` says for its request."""

    def __init__(self, request, ending, polls=1, warm=True):
        self.request, self.ending, self.polls, self.warm = request, ending, polls, warm
        self.stopped = []

    def poll(self):
        if self.stopped:
            return TrialOutcome(None, {}, "interrupted")
        self.polls -= 1
        return self.ending(self.request) if self.polls < 0 else None

    def curve(self):
        return ()

    def stop(self, at_once=False):
        self.stopped.append(at_once)


class DriverDied(BaseException):
    pass


def good(request):
    return TrialOutcome((error_mm(value_of(request)),), {"note": request.folder})


class Bench:
    """A study in a folder, opened anew for each session, as a new process would."""

    def __init__(self, folder, space=SPACE):
        self.storage, self.space, self.begun, self.orphans = f"sqlite:///{folder}/study.db", space, [], []

    def driver(self, trials, ending=good, concurrency=1, polls=1, warm=True):
        def start(request):
            self.begun.append(request)
            return FakeTrial(request, ending, polls, warm)

        study = open_study("s", self.storage, self.space, seed=0)
        hooks = Hooks(start, stop_orphan=lambda request, pruned_at: self.orphans.append(request))
        return SweepDriver(study, self.space, hooks, trials, concurrency, poll_s=0.0)

    def session(self, trials, **options):
        driver = self.driver(trials, **options)
        retried = driver.prepare()
        return driver.run(), retried

    def trials(self, *states):
        return open_study("s", self.storage, self.space, seed=0).get_trials(states=states or None)
