r"""The screenshots of docs/mlflow.md, made anew with headless Chromium.

    dg grid 'methods=[erm,random_rigid]' 'inputs=[xy]' 'seeds=[0,1]' lifter.width=256 epochs=6 evaluate_every=2 \
        virtual_cameras=1 tracking.model=off tracking.uri=sqlite:///shown.db out=runs/shown
    dg sweep search space.lr=log:1e-4..1e-2 'space.method=erm|random_rigid' inputs=xy pool=local data.clips=8 \
        data.frames=40 lifter.width=64 epochs=3 evaluate_every=1 trials=7 concurrency=3 pruner=off storage=sqlite:///s.db
    python docs/make_screenshots.py sqlite:///shown.db runs/shown/report.html sqlite:///s.db runs/search/optuna.html

Small runs for pictures, of 2026-11-29 on two shared cores: their numbers say nothing of the methods. The last
two, a study's storage and Optuna's own plots of it, need the extra `dashboard`.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from mlflow.entities import Run
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the browser is the tests' own

from dg.tracking.experiment_page import compare_address, run_address
from dg.tracking.stores import client_of
from tests.browser import Browser

FIGURES = Path(__file__).parent / "figures"
SETTLE_S, START_S = 5.0, 180.0
_CLOSE = "document.querySelectorAll('[aria-label=Close]').forEach(e => e.click())"  # MLflow's assistant
_SCROLL = "Array.from(document.querySelectorAll('*')).findLast(e => e.innerText === '{}').scrollIntoView()"
WIDTH = 1100  # pixels of the stored pictures


def main(uri: str, report: str, study: str = "", optuna: str = "") -> None:
    """Write every picture.

    Args:
        uri: an MLflow store with a grid.
        report: of the grid.
        study: storage of an Optuna study; empty: no picture of it.
        optuna: page of Optuna's own plots of it.
    """
    with _served([sys.executable, "-m", "dg", "ui", f"tracking_uri={uri}", "open=false"]) as address:
        client, server = client_of(uri), address.partition("/#/")[0]
        experiment_id = address.partition("/experiments/")[2].partition("/")[0]
        runs = client.search_runs([experiment_id], "attributes.status = 'FINISHED'")
        parent = next(run for run in runs if run.info.run_name.startswith("Grid"))
        child = next(run for run in runs if _is_child(run, parent))
        with Browser(1700, 760) as browser:
            browser.open(address, parent.info.run_name)
            _expand(browser)
            _shoot(browser, "mlflow_runs")
            for run, name in ((child, "mlflow_run"), (parent, "mlflow_grid")):
                browser.open(run_address(server, experiment_id, run.info.run_id), run.info.run_name)
                _shoot(browser, name)
        first_seed = [run for run in runs if run.data.params.get("seed") == "0" and _is_child(run, parent)]
        with Browser(1500, 1300) as browser:
            compared = compare_address(server, experiment_id, [run.info.run_id for run in first_seed])
            browser.open(compared, "Run details", "mpjpe_mm")
            browser.run(_CLOSE)
            browser.run("document.querySelectorAll('button[role=switch]').forEach(e => e.click())")  # differences alone
            browser.run(_SCROLL.format("Run details"))
            _shoot(browser, "mlflow_compare")
        with Browser(2100, 620) as browser:
            models = f"{server}/#/experiments/{experiment_id}/models?workflowType=machine_learning"
            browser.open(models, "lifter", "mpjpe_mm")
            browser.run(_CLOSE)
            _shoot(browser, "mlflow_models")
    with Browser(1240, 1500) as browser:
        browser.open(Path(report).resolve().as_uri(), "Comparison", "Runs")
        _shoot(browser, "report")
    if study:
        with Browser(1300, 1900) as browser:
            browser.open(Path(optuna).resolve().as_uri(), "Optimization History Plot", "Contour Plot")
            _shoot(browser, "optuna_plots")
        port = _free_port()
        with _served(
            [
                str(Path(sys.executable).with_name("optuna-dashboard")),
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                study,
            ],
            port,
        ) as address:
            with Browser(1400, 900) as browser:
                browser.open(f"{address}/dashboard/studies/1", "Hyperparameter Importance")
                _shoot(browser, "optuna_dashboard")


def _is_child(run: Run, parent: Run) -> bool:
    return run.data.tags.get("mlflow.parentRunId") == parent.info.run_id


def _expand(browser: Browser) -> None:
    """Unfold the grid's row and close MLflow's assistant."""
    browser.run(_CLOSE)
    browser.run("document.querySelectorAll('.ag-row [role=button], .ag-row button').forEach(e => e.click())")


def _shoot(browser: Browser, name: str) -> None:
    time.sleep(SETTLE_S)  # charts grow when they first appear
    path = browser.picture(FIGURES / f"{name}.png")
    with Image.open(path) as whole:
        small = whole.convert("RGB").resize((WIDTH, whole.height * WIDTH // whole.width))
        small.quantize(64).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KiB")


@contextmanager
def _served(command: list[str], port: int = 0) -> Iterator[str]:
    """A server's address, read from its first line or made from its port; the server ends with the context."""
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{port}" if port else server.stdout.readline().strip()
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            try:
                urlopen(address.partition("/#/")[0], timeout=5)
                break
            except (URLError, OSError):
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main(*sys.argv[1:])
