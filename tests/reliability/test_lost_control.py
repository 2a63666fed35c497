"""What takes a run's Ray daemons first: a signal to the whole process group, and the death of the control store."""

import os
import signal
import subprocess

import psutil
import pytest

from tests.train_process import family, has_checkpoint, start, wait_for

pytestmark = pytest.mark.reliability
LONG = ["tracking.uri=off", "epochs=4000", "evaluate_every=4000", "checkpoint_minutes=0.02", "render.actors=1"]


def daemon(driver: subprocess.Popen, name: str) -> psutil.Process:
    return next(p for p in family(driver.pid) if name in p.name())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "sigint"])
def test_a_signal_to_the_process_group_ends_in_a_checkpoint_and_our_line(tmp_path, number):
    # As `timeout` and job control do: the driver is a member of the group, and not its session's leader.
    driver = start(tmp_path, *LONG, new_group=True)
    wait_for(lambda: has_checkpoint(tmp_path))
    before = (tmp_path / "run" / "latest").read_text()
    os.killpg(os.getpgid(driver.pid), number)
    out, told = driver.communicate(timeout=60)
    assert driver.returncode == 130, told
    assert "resume=auto" in out
    assert "Traceback" not in told
    assert (tmp_path / "run" / "latest").read_text() > before


def test_a_run_whose_control_store_dies_writes_a_checkpoint_and_says_how_to_go_on(tmp_path):
    driver = start(tmp_path, *LONG, new_group=True)
    wait_for(lambda: has_checkpoint(tmp_path))
    everyone = family(driver.pid)
    daemon(driver, "gcs_server").kill()
    _, told = driver.communicate(timeout=100)
    assert driver.returncode == 3, told
    assert "control store has gone; a checkpoint was written" in told
    assert "resume=auto" in told
    assert "Traceback" not in told
    wait_for(lambda: not [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE])


def test_a_trainer_that_is_stopped_is_said_with_how_long(tmp_path):
    driver = start(tmp_path, *LONG, new_group=True)
    wait_for(lambda: has_checkpoint(tmp_path))
    trainer = next(p for p in family(driver.pid) if "".join(p.cmdline()[:1]).startswith("ray::TrainerActor"))
    trainer.suspend()
    try:
        while "has not answered for" not in (line := driver.stdout.readline()):
            assert driver.poll() is None
        assert f"process {trainer.pid} on " in line
    finally:
        trainer.resume()
        driver.send_signal(signal.SIGINT)
        driver.communicate(timeout=60)
    assert driver.returncode == 130
