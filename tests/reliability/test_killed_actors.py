"""R1, R2, R4: the final weights do not depend on how many render actors there were, nor on how many of them died."""

import json
import os
import random
import signal
import time

import psutil
import pytest

from tests.runs.test_train_on_ray import render_actors
from tests.train_process import has_checkpoint, same_weights, start, wait_for

pytestmark = pytest.mark.reliability
WORDS = ("method=poseaug", "inputs=xyd", "tracking.uri=off", "evaluate_every=4", "epochs=16")
KILLS = 3


def ledger_of(folder):
    return json.loads((folder / "run" / "summary.json").read_text())["ledger"]


def run_whole(folder, *words):
    folder.mkdir()
    process = start(folder, *WORDS, *words)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return ledger_of(folder)


def test_the_weights_are_the_same_with_one_actor_with_four_and_with_kills(tmp_path):
    local = run_whole(tmp_path / "local", "pool=local")
    run_whole(tmp_path / "one", "render.actors=1")
    (tmp_path / "four").mkdir()
    process = start(tmp_path / "four", *WORDS, "render.actors=4")
    draw, killed = random.Random(0), 0
    wait_for(lambda: has_checkpoint(tmp_path / "four") or process.poll() is not None, 300)
    while killed < KILLS and process.poll() is None:
        actors = render_actors(process.pid)
        if actors:
            victim = draw.choice(actors)
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except (psutil.Error, ProcessLookupError):
                continue
            killed += 1
        time.sleep(0.3 + draw.random())
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert killed == KILLS, "the run was over before its actors were killed"
    ledger = ledger_of(tmp_path / "four")
    assert (ledger["submitted"], ledger["done"], ledger["quarantined"]) == (local["submitted"], local["done"], 0)
    assert same_weights(tmp_path / "local", tmp_path / "one")
    assert same_weights(tmp_path / "local", tmp_path / "four")
    print(f"{killed} of 4 actors killed, {ledger['retried']} poses rendered again, {ledger['done']} done, 0 lost")
