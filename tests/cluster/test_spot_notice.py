"""The spot watcher against a stand-in for EC2's metadata service, and the one Ray node that it drains."""

import json
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dg.cluster import spot_notice

NODE = "ab" * 28


class Metadata(BaseHTTPRequestHandler):
    """IMDSv2: a token by PUT, then 404 twice, then a notice for two minutes from now."""

    asked = 0

    def do_PUT(self):
        assert self.path == "/latest/api/token"
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        self._answer(200, "a-token")

    def do_GET(self):
        Metadata.asked += 1
        if self.headers["X-aws-ec2-metadata-token"] != "a-token":
            self._answer(401, "")
        elif self.path != "/latest/meta-data/spot/instance-action" or Metadata.asked < 3:
            self._answer(404, "")
        else:
            when = datetime.now(timezone.utc) + timedelta(seconds=120)
            self._answer(200, json.dumps({"action": "terminate", "time": when.strftime("%Y-%m-%dT%H:%M:%SZ")}))

    def _answer(self, code, text):
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def metadata():
    Metadata.asked = 0
    server = HTTPServer(("127.0.0.1", 0), Metadata)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class FakeProcess:
    def __init__(self, name, words):
        self.info = {"name": name, "cmdline": words}


def machine_with(monkeypatch, *processes):
    monkeypatch.setattr(spot_notice.psutil, "process_iter", lambda attributes: list(processes))


RAYLET = FakeProcess("raylet", ["raylet", f"--node_id={NODE}", "--gcs-address=10.0.0.10:6379"])


def test_the_notice_is_awaited_and_its_time_kept(metadata):
    assert 115 <= spot_notice.wait_for_notice(metadata, poll_s=0.01) <= 120
    assert Metadata.asked == 3


@pytest.mark.parametrize("notice", [{}, {"time": "soon"}])
def test_a_notice_without_a_time_leaves_less_than_two_minutes(notice):
    assert spot_notice.seconds_left(notice) == spot_notice.LEFT_S < 120


def test_the_node_of_this_machine_is_drained(metadata, monkeypatch):
    machine_with(monkeypatch, FakeProcess("python", None), RAYLET)
    called = []
    monkeypatch.setattr(spot_notice.subprocess, "run", lambda command, **_: called.append(command))
    monkeypatch.setattr(spot_notice, "POLL_S", 0.01)
    monkeypatch.setattr(spot_notice.time, "sleep", lambda seconds: None)
    assert spot_notice.main(["watch=aws", f"metadata={metadata}"]) == 0
    assert spot_notice.main(["drain=60"]) == 0
    for command in called:
        assert command[1] == "drain-node"
        assert {f"--node-id={NODE}", "--address=10.0.0.10:6379"} < set(command)
    assert "--deadline-remaining-seconds=60" in called[1]


def test_rays_command_line_still_has_these_options():
    ray = str(Path(sys.executable).with_name("ray"))
    said = subprocess.run([ray, "drain-node", "--help"], capture_output=True, text=True).stdout
    assert "DRAIN_NODE_REASON_PREEMPTION" in said
    for option in ("--address", "--node-id", "--reason", "--reason-message", "--deadline-remaining-seconds"):
        assert option in said


@pytest.mark.parametrize("raylets", [[], [RAYLET, RAYLET]])
def test_without_one_node_here_nothing_is_drained(raylets, monkeypatch, capsys):
    machine_with(monkeypatch, *raylets)
    assert spot_notice.main(["drain=60"]) == 3
    assert "expected one Ray node" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["watch=gcp"], "watch must be one of ['aws']"), (["drain=soon"], "drain expects a whole number"),
        (["watch=aws", "drain=3"], "one of watch=aws and drain=SECONDS"), (["speed=3"], "unknown key 'speed'"),
        (["metadata=x"], "one of watch=aws and drain=SECONDS"), (["drain=-1"], "must not be negative"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_message_and_exit_code_2(args, message, capsys):
    assert spot_notice.main(args) == 2
    assert message in capsys.readouterr().err
