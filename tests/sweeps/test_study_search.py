"""The driver with several parameters, and with a pruner."""

from dataclasses import replace

import pytest
from optuna.trial import TrialState

from sweeps.objective import Objective
from sweeps.storage import make_pruner, open_study
from sweeps.study import Hooks, SweepDriver, SweepError, TrialOutcome
from sweeps.trial_runs import named_means
from tests.cases import mostly_long
from tests.sweeps.fake_trials import SEARCH, SPACE, Bench, DriverDied, FakeTrial, error_mm, good, value_of


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


# -- several parameters


def squares(request):
    lr = request.params["lr"]
    return TrialOutcome((lr + request.params["width"] / 64 + (request.params["method"] == "a"),))


def test_a_search_fills_its_budget_within_the_space_the_same_for_the_same_seed(tmp_path, tmp_path_factory):
    first, second = Bench(tmp_path, SEARCH), Bench(tmp_path_factory.mktemp("other"), SEARCH)
    for bench in (first, second):
        assert bench.session(12, ending=squares) == (True, [])
    assert [r.params for r in first.begun] == [r.params for r in second.begun]
    assert all(64 <= r.params["width"] <= 512 and r.params["width"] % 64 == 0 for r in first.begun)
    assert {r.params["method"] for r in first.begun} == {"a", "b"}


def test_a_later_session_does_not_propose_again_what_an_earlier_one_tried(tmp_path):
    bench = Bench(tmp_path, SEARCH)
    for trials in (2, 4, 6):
        bench.session(trials, ending=squares)
    assert len({r.params["lr"] for r in bench.begun}) == 6


def test_a_configuration_error_ends_a_search_only_while_nothing_has_worked(tmp_path):
    bench = Bench(tmp_path, SEARCH)
    refuse = TrialOutcome(None, {}, "cannot be", fatal=2)
    driver = bench.driver(4, ending=lambda request: refuse)
    with pytest.raises(SweepError):
        driver.run()
    worked = {"n": 0}

    def ending(request):
        worked["n"] += 1
        return refuse if worked["n"] == 3 else squares(request)

    assert bench.session(6, ending=ending)[0]
    assert len(bench.trials(TrialState.COMPLETE)) == 5
    assert bench.session(6, ending=squares)[0], "it may have been the settings of the moment: tried again"
    assert len(bench.trials(TrialState.COMPLETE)) == 6


# -- pruning


class Learning(FakeTrial):
    """Is evaluated once a poll; ends after 6, or when it is stopped."""

    def __init__(self, request):
        super().__init__(request, good, polls=6)
        self.epoch = 0

    def poll(self):
        self.epoch += 1
        return super().poll()

    def curve(self):
        return [(epoch, error_mm(value_of(self.request)) + 10 / epoch) for epoch in range(1, self.epoch + 1)]


FAR = replace(SPACE, anchors=tuple({"d_ref": value} for value in (4.5, 4.6, 4.7, 4.8, 6.0)))


def learner(bench, pruner="median", prunes=True):
    study = open_study("s", bench.storage, FAR, 0, pruner=make_pruner(pruner, prune_after=2, epochs=6))
    ended = []
    hooks = Hooks(Learning, lambda request, at: ended.append((request.number, at)), ended=lambda r, o: ended.append(o))
    driver = SweepDriver(study, FAR, hooks, 5, poll_s=0.0, prunes=prunes)
    return driver, ended


@pytest.mark.parametrize("pruner", mostly_long(["median", "hyperband", "off"], ["median", "off"]))
def test_the_pruner_ends_what_is_worse_after_its_first_epochs_and_off_ends_nothing(bench, pruner):
    driver, ended = learner(bench, pruner)
    driver.prepare()
    assert driver.run()
    states = [t.state for t in bench.trials()]
    if pruner == "off":
        assert states == [TrialState.COMPLETE] * 5
    if pruner == "median":
        assert states == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]
        assert (ended[-1].state, ended[-1].pruned_at, ended[-1].error) == ("PRUNED", 2, "pruned at epoch 2")
    assert all(max(t.intermediate_values) >= 2 for t in bench.trials(TrialState.PRUNED)), "too early"
    assert all(min(t.intermediate_values) == 1 for t in bench.trials())
    assert bench.session(5) == (True, []), "pruned trials count and are never tried again"


def test_a_driver_that_does_not_prune_reports_nothing(bench):
    driver, _ = learner(bench, prunes=False)
    driver.prepare()
    assert driver.run()
    assert not any(t.intermediate_values for t in bench.trials())
    assert {t.state for t in bench.trials()} == {TrialState.COMPLETE}


def test_a_driver_that_dies_between_deciding_and_telling_has_decided(bench, monkeypatch):
    driver, _ = learner(bench)

    class Deaf(Learning):
        def stop(self, at_once=False):
            raise DriverDied

    driver.hooks = Hooks(Deaf)
    monkeypatch.setattr(driver, "wind_down", lambda: None)
    with pytest.raises(DriverDied):
        driver.run()
    again, ended = learner(bench)
    assert again.prepare() == []
    assert ended == [(4, 2)]
    assert [t.state for t in bench.trials()] == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]


def test_a_pruned_trial_that_does_not_end_is_killed(bench, monkeypatch):
    monkeypatch.setattr("sweeps.study.PRUNE_PATIENCE_S", -1.0)
    begun = []

    class Slow(Learning):
        def __init__(self, request):
            super().__init__(request)
            begun.append(self)

        def poll(self):
            outcome = super().poll()
            return None if self.stopped and True not in self.stopped else outcome

    driver, _ = learner(bench)
    driver.hooks = Hooks(Slow)
    assert driver.run()
    assert begun[-1].stopped == [False, True]
    assert bench.trials()[-1].state == TrialState.PRUNED


# -- words


def test_objectives_go_by_the_names_of_their_metrics_in_mlflow_also_when_the_study_is_opened_again(tmp_path):
    storage = f"sqlite:///{tmp_path / 's.db'}"
    objectives = (Objective("source_val:pck150", None, "pck150"), Objective("oracle:near", 0))
    for _ in range(2):
        study = open_study("named", storage, SEARCH, 0, objectives)
        assert study.metric_names == ["val/pck150", "oracle/near/mpjpe_mm"]
    assert Objective("seconds", None, "seconds").metric == "time/total_s"


def test_a_trials_attributes_are_means_over_seeds_under_the_names_of_mlflow():
    runs = [{"source_val": v, "targets": {"near": 2 * v}, "wall_s": 1.0, "run_id": str(v)} for v in (50.0, 60.0)]
    assert named_means(runs) == {
        "val/mpjpe_mm": 55.0, "target/near/mpjpe_mm": 110.0, "time/wall_s": 2.0, "mlflow_run_ids": ["50.0", "60.0"],
    }  # fmt: skip
