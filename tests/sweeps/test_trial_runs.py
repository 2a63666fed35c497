"""Trials as processes, with a small program in the place of dg.train."""

import json
import time

import psutil
import pytest

from dg.grid.child_run import out_arg, quoted, with_own
from dg.settings.command_line import parse
from sweeps.objective import Objective
from sweeps.study import TrialRequest
from sweeps.trial_runs import TrialRunner, TrialRuns
from tests.fake_commands import PROGRAM, wait_for

REQUEST = TrialRequest(3, {"d_ref": 4.5}, "trial-3")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    def make(behaviour, seeds=(0, 2), objectives=(Objective(),)):  # noqa: B008
        monkeypatch.setenv("FAKE_TRAIN", behaviour)
        return TrialRunner(tmp_path, (), seeds, objectives, epochs=10, program=PROGRAM)

    return make


def outcome_of(trial, seconds=180.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        outcome = trial.poll()
        if outcome is not None:
            return outcome
        time.sleep(0.02)
    raise AssertionError("the trial did not end")


def starts(plan, seed):
    return len((plan.folder(REQUEST, seed) / "starts").read_text())


def test_the_value_is_the_mean_over_the_seeds_and_targets_are_only_kept(plan):
    outcome = outcome_of(plan("fine").start(REQUEST))
    assert outcome.values == (61.0,)
    assert [r["seed"] for r in outcome.facts["runs"]] == [0, 2]
    assert outcome.facts["runs"][1]["targets"] == {"synthetic_near": 93.0, "synthetic_wide": 122.0}
    json.dumps(dict(outcome.facts))


def test_an_oracle_objective_reads_its_target(plan):
    assert outcome_of(plan("fine", objectives=(Objective("oracle:near", 0),)).start(REQUEST)).values == (92.0,)


@pytest.mark.parametrize(
    ("code", "settled", "fatal"),
    [(1, False, None), (2, False, 2), (3, False, 3), (4, False, 4), (5, True, None), (6, True, None)],
)
def test_exit_codes_say_whether_to_retry_and_whether_to_go_on(plan, code, settled, fatal):
    outcome = outcome_of(plan(f"exit{code}").start(REQUEST))
    assert outcome.values is None
    assert (outcome.settled, outcome.fatal) == (settled, fatal)
    assert "the data is gone\nlook there" in outcome.error
    assert f"exit code {code}" in outcome.error


def test_a_crash_is_reported_by_its_last_line_and_a_silent_end_is_an_error(plan):
    assert "RuntimeError: out of memory" in outcome_of(plan("crash").start(REQUEST)).error
    assert "no usable result" in outcome_of(plan("silent").start(REQUEST)).error


def test_finished_seeds_of_an_earlier_driver_are_not_run_again(plan):
    outcome_of(plan("fine", seeds=(0,)).start(REQUEST))
    both = plan("fine")
    assert outcome_of(both.start(TrialRequest(8, {"d_ref": 4.5}, "trial-3", retry_of=3))).values == (61.0,)
    assert starts(both, 0) == starts(both, 2) == 1


def test_stop_lets_the_run_checkpoint_and_a_retry_goes_on_from_there(plan):
    hanging = plan("hang", seeds=(0,))
    trial = hanging.start(REQUEST)
    trial.poll()
    wait_for(hanging.folder(REQUEST, 0) / "ready")
    assert not trial.warm
    trial.stop()
    outcome = outcome_of(trial)
    assert (outcome.error, outcome.settled) == ("interrupted", False)
    assert (hanging.folder(REQUEST, 0) / "checkpoint").exists()
    assert outcome_of(hanging.start(REQUEST)).values == (60.0,)


def test_what_a_dead_driver_left_running_is_ended_and_nothing_else(plan, tmp_path):
    hanging = plan("hang", seeds=(0,))
    trial = hanging.start(REQUEST)
    trial.poll()
    folder = hanging.folder(REQUEST, 0)
    wait_for(folder / "ready")
    pid = trial.child.pid

    elsewhere = hanging.folder(TrialRequest(4, {"d_ref": 5.0}, "trial-4"), 0)
    elsewhere.mkdir(parents=True)
    (elsewhere / "process.json").write_text(json.dumps({"pid": pid}))
    assert hanging.end_orphans(TrialRequest(4, {"d_ref": 5.0}, "trial-4")) == []
    assert psutil.pid_exists(pid), "a number that now belongs to another process is left alone"

    assert hanging.end_orphans(REQUEST, patience_s=1) == [0]
    assert not psutil.pid_exists(pid)
    assert (folder / "checkpoint").exists()
    assert hanging.end_orphans(REQUEST) == []


def test_a_trial_is_warm_from_its_first_evaluation_or_where_nothing_is_shared(plan):
    cold = plan("fine")
    trial = TrialRuns(cold, REQUEST)
    assert not trial.warm
    cold.folder(REQUEST, 0).mkdir(parents=True)
    (cold.folder(REQUEST, 0) / "best.pt").touch()
    assert trial.warm


@pytest.mark.parametrize("path", ["plain/a-b_c.d", "with space", "a,b", "it's", "a=b(c)[d]{e}", "ümlaut", 'say "x"'])
def test_paths_reach_the_trial_as_they_are(path, tmp_path):
    args = with_own(["method=erm", "cache=elsewhere"], {"cache": path})
    assert parse([*args, "out=" + quoted(path)]).out == path
    assert parse(list(args)).cache == path, "the sweep's own word holds"


def test_the_command_gives_the_run_its_parameter_seed_and_folder(tmp_path):
    plan = TrialRunner(tmp_path, ("method=erm",), (1,), (Objective(),))
    request = TrialRequest(7, {"d_ref": 4.61}, "trial-2", 2)
    config = parse([*plan.run_args(request, 1), out_arg(plan.folder(request, 1))])
    assert (config.d_ref, config.seed, config.resume) == (4.61, 1, "auto")
    assert config.out == str(tmp_path / "trial-2" / "seed-1")
    assert config.tracking.child == "trial-2-seed-1"
    assert config.tracking.run_name == "Trial 2 · d_ref=4.61 · seed 1"


def test_the_curve_is_the_first_seeds_as_it_grows_and_ends_before_the_last_epoch_of_a_single_seed(plan):
    both = plan("fine")
    trial = both.start(REQUEST)
    assert trial.curve() == ()
    outcome_of(trial)
    epochs, values = zip(*trial.curve(), strict=True)
    assert epochs == tuple(range(1, 11))
    assert values[0] == 80.0
    assert values[-1] < 60.1
    alone = plan("fine", seeds=(0,)).start(REQUEST)
    assert [epoch for epoch, _ in alone.curve()] == list(range(1, 10))
    (both.folder(REQUEST, 0) / "history.json").write_text("[{")
    assert plan("fine").start(REQUEST).curve() == (), "a file that cannot be read tells nothing"


def test_the_curve_of_an_oracle_is_its_targets(plan):
    trial = plan("fine", objectives=(Objective("oracle:near", 0),)).start(REQUEST)
    outcome_of(trial)
    assert trial.curve()[0] == (1, 91.0)


def test_a_trial_whose_words_are_refused_does_not_run(plan):
    from dataclasses import replace

    refusing = replace(plan("fine"), refusal=lambda args: "no" if "d_ref=4.5" in args else "")
    outcome = outcome_of(refusing.start(REQUEST))
    assert (outcome.error, outcome.settled) == ("no", True)
    assert not refusing.folder(REQUEST, 0).exists()
