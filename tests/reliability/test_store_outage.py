"""R12: a real MLflow server is gone for a minute, and a run neither waits for it nor loses a number."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import mlflow
import pytest

from dg.tracking import make_tracker, prepare

pytestmark = pytest.mark.reliability
OUTAGE_S, STEP_S = 60.0, 0.5


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, folder, port):
        self.folder, self.uri, self.process = folder, f"http://127.0.0.1:{port}", None
        self.port = port

    def start(self):
        command = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", "1",
        ]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).read()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError((self.folder / "server.log").read_text())

    def stop(self):
        os.killpg(self.process.pid, 9)
        self.process.wait()


def test_a_minute_without_the_server_costs_no_time_and_no_number(tmp_path):
    server = Server(tmp_path, free_port())
    server.start()
    try:
        prepare(server.uri, "dg")
        tracker = make_tracker(server.uri, "dg", tmp_path / "run")
        run_id = tracker.start("outage", {"seed": 0}, {"method": "erm"})
        began, gone, slowest, step = time.monotonic(), None, 0.0, 0
        back = False
        while not back or time.monotonic() - began < OUTAGE_S + 6:
            step += 1
            start = time.perf_counter()
            tracker.log_metrics({"loss": float(step)}, step)
            slowest = max(slowest, time.perf_counter() - start)
            if gone is None and time.monotonic() - began > 2:
                server.stop()
                gone = time.monotonic()
            elif gone is not None and not back and time.monotonic() - gone > OUTAGE_S:
                server.start()
                back = True
            time.sleep(STEP_S)
        assert tracker.finish("FINISHED", "done")
        client = mlflow.MlflowClient(server.uri)
        history = client.get_metric_history(run_id, "loss")
        print(f"{step} points, {OUTAGE_S:.0f} s without a server, slowest call {1e3 * slowest:.1f} ms")
        assert [(point.step, point.value) for point in history] == [(s, float(s)) for s in range(1, step + 1)]
        assert client.get_run(run_id).info.status == "FINISHED"
        assert not (tmp_path / "run" / "mlflow_spool.jsonl").exists()
        assert slowest < 0.5  # a call hands a record over; it never waits for the store
    finally:
        server.stop()
