"""The ask/tell driver on real SQLite storage, with trials that only pretend."""

import random

import pytest
from optuna.trial import TrialState

from dg.settings.config import ConfigError
from sweeps.storage import fix_identity, open_study
from sweeps.study import Hooks, SweepError, TrialOutcome
from tests.sweeps.fake_trials import ANCHORS, SPACE, Bench, DriverDied, FakeTrial, good, value_of


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_the_anchors_come_first_in_order_and_the_sampler_stays_in_range(bench):
    assert bench.session(8) == (True, [])
    values = [value_of(request) for request in bench.begun]
    assert values[:6] == ANCHORS
    assert len(values) == 8
    assert all(3.5 <= v <= 6.0 for v in values)
    assert all(v == round(v, 2) for v in values)


def test_the_same_seed_gives_the_same_proposals(bench, tmp_path_factory):
    other = Bench(tmp_path_factory.mktemp("other"))
    bench.session(7)
    other.session(7)
    assert [value_of(r) for r in bench.begun] == [value_of(r) for r in other.begun]


def test_a_second_session_keeps_what_is_finished_and_goes_on(bench):
    bench.session(6)
    bench.session(6)
    assert len(bench.begun) == 6, "a finished study trains nothing"
    bench.session(7)
    assert [t.state for t in bench.trials()] == [TrialState.COMPLETE] * 7
    assert [value_of(r) for r in bench.begun].count(4.5) == 1


def test_no_more_trials_run_at_once_than_allowed(bench):
    driver = bench.driver(6, concurrency=3, polls=2)
    most = []
    driver.hooks = Hooks(driver.hooks.start, started=lambda request: most.append(len(driver.running) + 1))
    driver.prepare()
    assert driver.run()
    assert max(most) == 3
    assert len(bench.trials(TrialState.COMPLETE)) == 6


def test_the_first_trial_runs_alone_until_it_has_filled_the_shared_cache(bench):
    beside = {}
    driver = bench.driver(6, concurrency=3, polls=3, warm=False)
    driver.hooks = Hooks(driver.hooks.start, started=lambda r: beside.setdefault(r.number, len(driver.running)))
    driver.prepare()
    driver.run()
    assert beside[0] == 0
    assert beside[1] == 0, "the second starts when the first has ended, not before"
    assert beside[2] == 1


def test_trials_of_a_dead_driver_are_ended_and_tried_again_in_their_own_folders(bench, monkeypatch):
    def dies(request):
        if value_of(request) == 5.0:
            raise DriverDied
        return good(request)

    driver = bench.driver(8, ending=dies, concurrency=2)
    monkeypatch.setattr(driver, "wind_down", lambda: None)  # as after SIGKILL: nobody tidies up
    driver.prepare()
    with pytest.raises(DriverDied):
        driver.run()
    orphaned = [t.number for t in bench.trials(TrialState.RUNNING)]
    assert orphaned

    done, retried = bench.session(8)
    assert done
    assert retried == orphaned
    assert [request.number for request in bench.orphans] == orphaned
    assert not bench.trials(TrialState.RUNNING, TrialState.WAITING)
    complete = {round(t.params["d_ref"], 2): t for t in bench.trials(TrialState.COMPLETE)}
    assert set(ANCHORS) <= set(complete)
    assert len(bench.trials(TrialState.COMPLETE)) == 8
    again = complete[5.0]
    assert again.user_attrs["retry_of"] in orphaned
    assert again.user_attrs["folder"] == f"trial-{again.user_attrs['retry_of']}"


def test_a_trial_taken_from_the_queue_but_never_begun_is_not_lost(bench):
    driver = bench.driver(6)
    driver.study.enqueue_trial({"d_ref": 3.5})
    driver.study.ask()  # the driver dies before it reads the parameter
    assert bench.session(6) == (True, [0])
    assert sorted(round(t.params["d_ref"], 2) for t in bench.trials(TrialState.COMPLETE)) == ANCHORS
    assert [value_of(request) for request in bench.orphans] == [3.5]


@pytest.mark.parametrize("seed", range(3))
def test_whatever_dies_and_however_often_each_anchor_is_finished_once(bench, seed, tmp_path, monkeypatch):
    chance = random.Random(seed)
    bench.storage = f"journal:{tmp_path}/journal.log"  # many sessions: SQLite takes longer to open

    def unlucky(request):
        if chance.random() < 0.15:
            raise DriverDied
        if chance.random() < 0.2:
            return TrialOutcome(None, {}, "crashed")
        return good(request)

    for _ in range(60):
        driver = bench.driver(7, ending=unlucky, concurrency=2)
        if chance.random() < 0.7:
            monkeypatch.setattr(driver, "wind_down", lambda: None)
        try:
            driver.prepare()
            driver.run()
        except DriverDied:
            continue
        if len(bench.trials(TrialState.COMPLETE)) == 7:
            break
    values = sorted(round(t.params["d_ref"], 2) for t in bench.trials(TrialState.COMPLETE))
    assert len(values) == 7
    assert [v for v in values if v in ANCHORS] == ANCHORS
    assert not bench.trials(TrialState.RUNNING, TrialState.WAITING)


def test_failures_are_retried_by_the_next_session_but_settled_ones_never(bench):
    def fails(request):
        if value_of(request) == 4.0:
            return TrialOutcome(None, {}, "crashed")
        if value_of(request) == 5.0:
            return TrialOutcome(None, {}, "diverged", settled=True)
        return good(request)

    bench.session(6, ending=fails)
    assert len(bench.begun) == 6, "a trial that always fails must not run for ever"
    assert {t.user_attrs["error"] for t in bench.trials(TrialState.FAIL)} == {"crashed", "diverged"}
    _, retried = bench.session(6)
    assert [value_of(bench.begun[r]) for r in retried] == [4.0]
    assert len(bench.begun) == 7
    assert bench.session(6) == (True, [])


def test_an_error_that_every_trial_would_meet_ends_the_sweep_with_its_exit_code(bench):
    def ending(request):
        return TrialOutcome(None, {}, "no such file", fatal=4) if value_of(request) == 3.5 else good(request)

    driver = bench.driver(6, ending=ending, concurrency=2, polls=0)
    driver.prepare()
    with pytest.raises(SweepError, match="no such file") as error:
        driver.run()
    assert error.value.exit_code == 4
    assert not bench.trials(TrialState.RUNNING)
    bench.session(6)
    assert len(bench.trials(TrialState.COMPLETE)) == 6


def test_stop_ends_running_trials_and_the_next_session_tries_them_again(bench):
    driver = bench.driver(6, concurrency=2, polls=10**6)
    driver.hooks = Hooks(driver.hooks.start, started=lambda request: driver.stop() if request.number == 1 else None)
    driver.prepare()
    assert driver.run() is False
    assert not driver.running
    assert [t.user_attrs["error"] for t in bench.trials(TrialState.FAIL)] == ["interrupted"] * 2
    assert bench.session(6) == (True, [0, 1])
    assert [value_of(r) for r in bench.begun] == [3.5, 4.0, *ANCHORS], "retries come before what was never tried"
    assert len(bench.trials(TrialState.COMPLETE)) == 6


class Stubborn(FakeTrial):
    """Ends only when it is ended at once."""

    def poll(self):
        return TrialOutcome(None, {}, "interrupted") if True in self.stopped else None


def test_a_second_stop_ends_trials_at_once(bench):
    driver = bench.driver(6)
    trial = Stubborn(None, None)
    driver.hooks = Hooks(lambda request: trial, started=lambda request: (driver.stop(), driver.stop()))
    driver.prepare()
    assert driver.run() is False
    assert trial.stopped == [False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_objective_that_is_no_number_is_a_settled_failure(bench, value):
    bench.session(1, ending=lambda request: TrialOutcome((value,)))
    (trial,) = bench.trials(TrialState.FAIL)
    assert trial.user_attrs["settled"]


def test_a_study_with_other_settings_is_refused_and_the_difference_named(bench):
    study = open_study("s", bench.storage, SPACE, 0)
    fix_identity(study, {"config": "a"}, {"epochs": 5, "lr": 1e-3})
    fix_identity(study, {"config": "a"}, {"epochs": 5, "lr": 1e-3, "out": "elsewhere"})
    with pytest.raises(ConfigError, match=r"epochs: 5 then, 6 now"):
        fix_identity(study, {"config": "b"}, {"epochs": 6, "lr": 1e-3})
    fix_identity(study, {"config": "b"}, {"epochs": 6}, begun=False)
    fix_identity(study, {"config": "b"}, {"epochs": 6})


@pytest.mark.parametrize("storage", ["study.db", "", "journal:", "sqlite", "nosuch://host/db"])
def test_a_storage_that_cannot_be_used_is_one_clear_message(storage):
    with pytest.raises(ConfigError, match="storage"):
        open_study("s", storage, SPACE, 0)


def test_a_file_that_is_no_database_is_one_clear_message(tmp_path):
    (tmp_path / "study.db").write_text("hello" * 1000)
    with pytest.raises(ConfigError, match="cannot use the study storage"):
        open_study("s", f"sqlite:///{tmp_path}/study.db", SPACE, 0)


def test_a_journal_file_serves_as_storage(tmp_path):
    bench = Bench(tmp_path)
    bench.storage = f"journal:{tmp_path}/new/journal.log"
    bench.session(2)
    bench.session(3)
    assert len(bench.trials(TrialState.COMPLETE)) == 3
