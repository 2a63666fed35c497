"""MLflow's pages in a real browser: what a user sees first. `dg ui` starts the server; it ends with the test."""

import re
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from dg.compare import ui
from dg.tracking.experiment_page import compare_address, run_address
from dg.tracking.stores import client_of
from tests.browser import Browser, needs_chromium
from tests.tracking.example_store import make_store

WAIT_S = 600.0
# The heads of the table of runs and where on the screen they stand: their order in the document is another one.
HEADS = """Object.fromEntries(Array.from(document.querySelectorAll('.ag-header-cell')).map(
    head => [head.innerText.trim(), head.getBoundingClientRect().x]))"""

# Of the compare view: rows of two cells that differ, by their heads.
DIFFERING = """Object.fromEntries(Array.from(document.querySelectorAll('tr')).map(
    row => Array.from(row.children).map(cell => cell.innerText.trim())).filter(
    cells => cells.length == 3 && cells[1] != cells[2]).map(cells => [cells[0], cells.slice(1)]))"""


def test_a_store_or_an_experiment_that_is_not_there_is_one_clear_error(tmp_path, capsys):
    assert ui.main([f"tracking_uri=sqlite:///{tmp_path / 'none.db'}", "open=false"]) == 2
    assert "train first" in capsys.readouterr().err
    assert ui.main(["tracking_uri=off"]) == 3
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_passed_over():
    import socket

    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        assert ui.free_port(taken.getsockname()[1]) != taken.getsockname()[1]


def start(uri, *args):
    command = [sys.executable, "-m", "dg", "ui", f"tracking_uri={uri}", "open=false", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def address_of(driver):
    """The address that it prints once the server answers."""
    line = driver.stdout.readline().strip()
    assert line.startswith("http://127.0.0.1:"), line + driver.stderr.read()
    return line


def end(driver):
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.terminate()
    driver.wait(WAIT_S)
    assert not psutil.wait_procs(family, timeout=30)[1], "the server ends with its command"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    uri, experiment_id = make_store(tmp_path_factory.mktemp("store"))
    driver = start(uri)
    try:
        yield address_of(driver), uri, experiment_id
    finally:
        end(driver)


@pytest.mark.slow
@needs_chromium
def test_the_first_screen_is_model_training_with_the_columns_that_compare_methods(pages, tmp_path):
    address, *_ = pages
    with Browser(1900, 900) as browser:
        shown = browser.open(address, "Grid · ERM, PoseAug", "target/3DHP/mpjpe_mm", "69.3")
        browser.picture(tmp_path / "runs.png")
        across = browser.run(HEADS)
    assert "Which DG method lifts poses of unseen domains best?" in shown
    heads = ["Run Name", "method", "inputs", "source", "target/3DHP/mpjpe_mm", "seed", "Dataset"]
    places = [across[head] for head in heads]
    assert places == sorted(places), "columns stand in this order"
    assert "Human3.6M" in shown
    for word in ("Evaluation runs", "Judges", "heartbeat", "final/"):
        assert word not in shown


@pytest.mark.slow
@needs_chromium
def test_a_runs_page_shows_results_data_and_description(pages, tmp_path):
    address, uri, experiment_id = pages
    client = client_of(uri)
    (run,) = client.search_runs([experiment_id], "params.`method.name` = 'poseaug'", max_results=1)
    server = address.partition("/#/")[0]
    with Browser(1600, 1200) as browser:
        name = run.info.run_name
        shown = browser.open(run_address(server, experiment_id, run.info.run_id), name, "target/3DHP/mpjpe_mm", "3DHP")
        browser.picture(tmp_path / "run.png")
    assert re.search(r"PoseAug · xyd? · Human3\.6M · seed \d", shown)
    for word in ("heartbeat", "dg.host", "init_from"):
        assert word not in shown


@pytest.mark.slow
@needs_chromium
def test_the_compare_view_sets_methods_settings_and_errors_of_two_runs_side_by_side(pages, tmp_path):
    address, uri, experiment_id = pages
    query = "params.inputs = 'xyd' and params.seed = '0'"
    runs = client_of(uri).search_runs([experiment_id], query)
    assert len(runs) == 2
    compared = compare_address(address.partition("/#/")[0], experiment_id, [run.info.run_id for run in runs])
    with Browser(1500, 2600) as browser:
        shown = browser.open(compared, "Comparing 2 Runs", "target/3DHP/mpjpe_mm")
        browser.picture(tmp_path / "compare.png")
        differing = browser.run(DIFFERING)
    for run in runs:
        assert run.info.run_name in shown
    assert sorted(differing["method"]) == ["ERM", "PoseAug"]
    assert sorted(differing["method.name"]) == ["erm", "poseaug"]
    assert {"69.3", "74.9"} <= set(shown.splitlines()), "the errors of both on the target"
    for same in ("inputs", "seed", "protocol.3DHP"):
        assert same not in differing
        assert same in shown


@pytest.mark.slow
@needs_chromium
def test_the_table_of_models_shows_the_error_on_each_target_under_its_data_set(pages, tmp_path):
    address, _, experiment_id = pages
    server = address.partition("/#/")[0]
    with Browser(2600, 900) as browser:
        shown = browser.open(
            f"{server}/#/experiments/{experiment_id}/models?workflowType=machine_learning",
            "3DHP (#3d4e5f)", "target/3DHP/mpjpe_mm", "69.3", "PoseAug · xyd · Human3.6M · seed 0",
        )  # fmt: skip
        browser.picture(tmp_path / "models.png")
    for text in ("92.4", "81.2", "74.9"):
        assert text in shown


@pytest.mark.slow
def test_the_server_answers_this_machine_alone_and_ends_with_its_command(tmp_path):
    uri, _ = make_store(tmp_path, seeds=1)
    driver = start(uri)
    try:
        port = int(re.search(r":(\d+)/", address_of(driver))[1])
        listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr.port == port]
        assert {place.ip for place in listening} == {"127.0.0.1"}
    finally:
        end(driver)
    for _ in range(100):
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
        except (URLError, OSError):
            return
        time.sleep(0.1)
    pytest.fail("the server still answers")
