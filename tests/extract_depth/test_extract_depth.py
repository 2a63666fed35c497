"""Extraction on Ray Data: the bytes that one process makes, whoever is killed, and images that kill do not kill it."""

import json
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from dg.extract_depth import __main__ as extract_depth
from dg.extract_depth.__main__ import main
from dg.extract_depth.shard import TRIES
from dg.files.safe_load import load_npz
from tests.extract_depth.disturbed import DISTURBANCE, DisturbedActor
from tests.extract_depth.photos import people_in, write_photos
from tests.render_workers.depth_anything_maker import save_depth_anything

pytestmark = pytest.mark.reliability


@pytest.fixture(scope="module")
def cluster():
    """Its address."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # at Ray's own 15 a busy machine starts workers in minutes
    context = ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    yield context.address_info["gcs_address"]
    ray.shutdown()


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    save_depth_anything(folder / "network")
    names = write_photos(folder / "photos", 40)
    np.savez(folder / "people.npz", **people_in(names, folder / "photos"))
    return folder


def words(scene: Path, out: Path, *more: str) -> list[str]:
    return [
        f"images={scene / 'photos'}", f"keypoints={scene / 'people.npz'}", f"out={out}", "device=cpu", "shard=4",
        f"depth.checkpoint={scene / 'network'}", "depth.input_px=42", "batch=4", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(scene) -> bytes:
    """What one process makes of the scene: not this one, whose kernels other tests may have switched."""
    out = scene / "alone.npz"
    command = [sys.executable, "-m", "dg.extract_depth", *words(scene, out, "workers=0")]
    subprocess.run(command, check=True, capture_output=True)
    return out.read_bytes()


def disturb(out: Path, **how: object) -> Path:
    """Has `tests.extract_depth.disturbed` do it to the workers of that output; returns the folder of its parts."""
    parts = out.with_name(f"{out.name}.parts")
    parts.mkdir(parents=True)
    (parts / DISTURBANCE).write_text(json.dumps(how))
    return parts


def workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            found += [process] * ("ray::MapWorker" in " ".join(process.cmdline()))
    return found


def wait_for(what, seconds: float = 240.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def test_actors_make_the_bytes_that_one_process_makes(cluster, scene, undisturbed, tmp_path, capsys):
    assert main(words(scene, tmp_path / "depth.npz", "workers=2")) == 0
    assert (tmp_path / "depth.npz").read_bytes() == undisturbed
    said = capsys.readouterr().out
    assert "40 of 40 images" in said
    assert "40 images at" in said


def test_more_workers_than_the_cluster_has_room_for_is_exit_code_3(cluster, scene, tmp_path, capsys):
    assert main(words(scene, tmp_path / "depth.npz", "workers=3")) == 3
    assert "asked for 3 workers" in capsys.readouterr().err


def test_a_killed_driver_and_a_killed_worker_change_nothing(cluster, scene, undisturbed, tmp_path, monkeypatch):
    out = tmp_path / "depth.npz"
    parts = disturb(out, seconds=0.2)
    command = [sys.executable, "-m", "tests.extract_depth.disturbed", *words(scene, out, f"address={cluster}")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as driver:
        wait_for(lambda: len(list(parts.glob("shard-*.npz"))) >= 2)
        driver.kill()
    wait_for(lambda: ray.available_resources().get("CPU") == 2 and not workers())
    assert not out.exists()
    before = {p.name: p.stat().st_mtime_ns for p in parts.glob("shard-*.npz")}
    assert 2 <= len(before) < 9
    monkeypatch.setattr(extract_depth, "ShardActor", DisturbedActor)
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(main, words(scene, out))
        wait_for(lambda: len(list(parts.glob("shard-*.npz"))) > len(before))
        assert all((parts / name).stat().st_mtime_ns == stamp for name, stamp in before.items())
        workers()[0].kill()
        assert done.result(timeout=300) == 0
    assert out.read_bytes() == undisturbed


def test_an_image_that_kills_workers_is_left_out_and_the_rest_is_done(cluster, scene, tmp_path, monkeypatch):
    out = tmp_path / "depth.npz"
    disturb(out, poison="17.png")
    monkeypatch.setattr(extract_depth, "ShardActor", DisturbedActor)
    assert main(words(scene, out)) == 0
    report = json.loads(out.with_name("depth.npz.report.json").read_text())
    assert report["unreadable"] == {"a/17.png": f"reading it killed the process {TRIES} times"}
    lost = np.isnan(load_npz(out)["depth"]).all(-1)
    assert load_npz(scene / "people.npz")["image"][lost].tolist() == ["a/17.png"]
