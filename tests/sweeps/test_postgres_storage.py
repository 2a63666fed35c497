"""Studies in a real PostgreSQL server; skipped where its binaries or its driver are absent."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from optuna.trial import TrialState

from dg.grid.driver import DriverBusyError
from sweeps.search import main
from sweeps.space import Range, Space
from sweeps.storage import StudyLock, open_study, without_password
from tests.fake_commands import QUICK, wait_for
from tests.sweeps.postgres_server import binaries, postgres_server, user

pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(
    binaries() is None or user() is None, reason="no PostgreSQL server here (Debian: apt-get install postgresql)"
)


SPACE = Space({"d_ref": Range(3.5, 6.0)})
WORDS = [*QUICK, "space.d_ref=3.5..6.0"]


@pytest.fixture(scope="module")
def server():
    with postgres_server() as server:
        yield server


def test_a_search_goes_on_in_postgresql_from_another_folder(server, fake_train, capsys):
    words = [*QUICK, "space.lr=log:1e-4..1e-1", "space.d_ref=3.5..6", f"storage={server.url}", "study=first"]
    assert main([*words, "trials=2"]) == 0
    assert main([*words, "trials=3", "concurrency=2"]) == 0
    out = capsys.readouterr().out
    assert "2 finished trials kept" in out
    assert len(list((fake_train / "runs/first").glob("trial-*/seed-0/summary.json"))) == 3
    assert (fake_train / "runs/first/best.txt").exists()


LOCK = """
import sys, time
from pathlib import Path
from sweeps.space import Range, Space
from sweeps.storage import StudyLock, open_study
url, fake_train = sys.argv[1:]
study = open_study("busy", url, Space({"d_ref": Range(3.5, 6.0)}), 0)
lock = StudyLock(study, url)
lock.acquire()
lock.acquire_folder(Path(fake_train))
study.ask()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.reliability
def test_a_second_driver_is_told_to_wait_until_the_first_is_gone_sigkill_included(server, fake_train, capsys):
    words = [*WORDS, f"storage={server.url}", "study=busy", "trials=1"]
    first = subprocess.Popen(
        [sys.executable, "-c", LOCK, server.url, str(fake_train / "elsewhere")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout is not None
        (fake_train / "elsewhere").mkdir()
        assert first.stdout.readline() == "held\n"
        assert main([*words, "out=here"]) == 3
        error = capsys.readouterr().err
        assert f"another driver (process {first.pid} on " in error
        assert "wait for it to end" in error
        assert not (fake_train / "here").exists()
        assert [t.state for t in open_study("busy", server.url, SPACE, 0).get_trials()] == [TrialState.RUNNING]
        other = StudyLock(open_study("other", server.url, SPACE, 0), server.url)
        other.acquire()
        other.release()
    finally:
        first.kill()
        first.wait()
    end = time.monotonic() + 180
    while main([*words, "out=here"]) != 0:
        assert time.monotonic() < end
    assert "another driver" not in capsys.readouterr().out


@pytest.mark.reliability
def test_a_server_that_is_restarted_while_trials_run_costs_nothing_and_the_lock_is_taken_again(
    server, fake_train, monkeypatch
):
    monkeypatch.setenv("FAKE_EPOCH_S", "0.2")
    locked = []

    def restart():
        wait_for(fake_train / "runs/on/trial-0/seed-0/ready")
        server.stop()
        server.start()
        wait_for(fake_train / "runs/on/trial-1/seed-0/ready")
        try:
            StudyLock(open_study("on", server.url, SPACE, 0), server.url).acquire()
        except DriverBusyError:
            locked.append(True)

    helper = threading.Thread(target=restart)
    helper.start()
    assert main([*WORDS, f"storage={server.url}", "study=on", "trials=2", "pruner=off"]) == 0
    helper.join()
    assert locked
    assert [t.state for t in open_study("on", server.url, SPACE, 0).get_trials()] == [TrialState.COMPLETE] * 2


def test_a_server_that_is_gone_at_a_trials_end_is_a_message_and_no_trial_is_lost(
    server, fake_train, capfd, monkeypatch
):
    words = [*WORDS, f"storage={server.url}", "study=gone", "trials=2"]
    run = fake_train / "runs/gone/trial-0/seed-0"

    def cut():
        wait_for(run / "ready")
        server.stop()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setenv("FAKE_TRAIN", "hang")
    helper = threading.Thread(target=cut)
    helper.start()
    try:
        assert main(words) == 3
    finally:
        helper.join()
        server.start()
    error = capfd.readouterr().err
    assert "the study storage is gone" in error
    assert "Traceback" not in error
    assert (run / "checkpoint").exists()
    monkeypatch.setenv("FAKE_TRAIN", "fine")
    assert main(words) == 0
    assert (run / "starts").read_text() == "xx"
    trials = open_study("gone", server.url, SPACE, 0).get_trials()
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]


def test_a_password_is_neither_printed_nor_logged():
    assert without_password("postgresql://me:secret@host:5/db") == "postgresql://me@host:5/db"
    assert without_password("postgresql+psycopg://me:se@cret@host/db") == "postgresql+psycopg://me@host/db"
    assert without_password("postgresql://me@host/db") == "postgresql://me@host/db"
    assert without_password("sqlite:///a@b.db") == "sqlite:///a@b.db"
