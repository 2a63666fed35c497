"""A study of ours in optuna-dashboard and in Optuna's own plots, in a real browser that ends with the test."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import optuna
import pytest

from sweeps.search import main
from tests.browser import Browser, needs_chromium
from tests.fake_commands import QUICK

DASHBOARD = Path(sys.executable).with_name("optuna-dashboard")
START_S = 300.0  # bound of a hang, not of a busy machine
pytestmark = [
    pytest.mark.slow,
    needs_chromium,
    pytest.mark.skipif(not DASHBOARD.is_file(), reason="extra dashboard"),
]


@contextmanager
def dashboard(storage):
    """Its address, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(DASHBOARD), "--host", "127.0.0.1", "--port", str(port), storage]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + START_S
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except (URLError, OSError):
                assert server.poll() is None, f"optuna-dashboard ended with exit code {server.returncode}"
                assert time.monotonic() < give_up, f"optuna-dashboard did not answer within {START_S:g} s"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/dashboard/studies/1"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def study(fake_train):
    """A search of six trials, left as `dg sweep search` leaves it."""
    words = ["space.lr=log:1e-4..1e-1", "space.d_ref=3.5..6.0", "space.method=erm|poseaug", "trials=6", "pruner=off"]
    assert main([*QUICK[:2], *words, "seeds=[0,2]"]) == 0
    return fake_train


def test_the_dashboard_labels_objective_parameters_and_results_as_mlflow_does(study, tmp_path):
    storage = f"sqlite:///{study / 'study.db'}"
    best = optuna.load_study(study_name="search", storage=storage).best_trial
    with dashboard(storage) as address, Browser(1500, 1300) as browser:
        shown = browser.open(address, "Hyperparameter Importance", f"Best Trial (number={best.number})", "d_ref")
        browser.picture(tmp_path / "dashboard.png")
        assert shown.count("val/mpjpe_mm") >= 2, "as the axis of the history and as its choice"
        for name in ("lr", "method", "d_ref"):
            assert name in shown
        shown = browser.open(f"{address}/trials?numbers={best.number}", f"Trial {best.number} (trial_id=")
        browser.picture(tmp_path / "trial.png")
    for name in ("val/mpjpe_mm", "target/synthetic_near/mpjpe_mm", "target/synthetic_wide/mpjpe_mm"):
        assert f"{name} {best.user_attrs[name]:g}" in shown
    assert f"method {best.params['method']}" in shown


def test_optunas_own_plots_of_the_parent_run_are_drawn_without_a_server(study, tmp_path):
    page = study / "runs/search/optuna.html"
    with Browser(1300, 900) as browser:
        shown = browser.open(
            page.as_uri(), "Optimization History Plot", "Slice Plot", "Hyperparameter Importances", "Contour Plot"
        )
        browser.picture(tmp_path / "optuna.png", height=3000)
        assert browser.run("document.querySelectorAll('.main-svg').length") >= 6
        assert browser.errors == []
    assert "source_val: MPJPE (mm)" in shown
