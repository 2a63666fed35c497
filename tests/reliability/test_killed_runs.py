"""R3, R10: a run that is killed and goes on ends as one that never was, and tells its story once."""

import json
import os
import random
import signal
import time

import mlflow
import pytest

from tests.train_process import has_checkpoint, same_weights, start, wait_for, weights

pytestmark = pytest.mark.reliability
KILLS = 4
WORDS = ("pool=local", "method=poseaug", "inputs=xyd", "checkpoint_minutes=0.005", "evaluate_every=1", "epochs=14")


def store_of(folder):
    return f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"


def test_a_run_that_is_killed_again_and_again_equals_one_that_never_was(tmp_path):
    calm, hunted = tmp_path / "calm", tmp_path / "hunted"
    for folder in (calm, hunted):
        folder.mkdir()
    reference = start(calm, *WORDS, store_of(calm))
    assert reference.wait(600) == 0, reference.communicate()

    draw, steps = random.Random(1), []
    for _ in range(KILLS):
        process = start(hunted, *WORDS, store_of(hunted), "resume=auto")
        wait_for_progress(process, hunted, steps[-1] if steps else 0)
        time.sleep(1.5 * draw.random())
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        steps.append(newest(hunted))
    assert len(steps) >= 3, "the run was over too soon to be killed"
    assert steps == sorted(steps)
    last = start(hunted, *WORDS, store_of(hunted), "resume=auto")
    assert last.wait(600) == 0, last.communicate()

    assert same_weights(calm, hunted)
    results = [json.loads((folder / "run" / "summary.json").read_text()) for folder in (calm, hunted)]
    assert results[0]["results"] == results[1]["results"]
    assert results[1]["ledger"]["submitted"] == results[1]["ledger"]["done"] + results[1]["ledger"]["quarantined"]
    assert not list((hunted / "run").glob(".*.tmp"))
    check_history(calm, hunted, results)
    print(f"killed at lifter steps {steps} of {results[1]['lifter_steps']}")


def wait_for_progress(process, folder, step):
    wait_for(lambda: newest(folder) > step or process.poll() is not None, 300)


def newest(folder):
    if not has_checkpoint(folder):
        return 0
    return int((folder / "run" / "latest").read_text().strip().removeprefix("checkpoint-").removesuffix(".pt"))


def check_history(calm, hunted, results):
    """One run in the store, finished, and the same points of the same metrics, each once."""
    found = []
    for folder, result in zip((calm, hunted), results, strict=True):
        client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        (experiment,) = [e for e in client.search_experiments() if e.name == "dg"]
        (run,) = client.search_runs([experiment.experiment_id])
        assert (run.info.run_id, run.info.status) == (result["run_id"], "FINISHED")
        names = [n for n in run.data.metrics if n.startswith(("train/loss/", "val/", "test/", "target/"))]
        found.append({n: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, n)] for n in names})
    for points in found[1].values():
        assert len({step for step, _ in points}) == len(points)
    assert {n: p for n, p in found[0].items() if not n.startswith("train/loss/")} == {
        n: p for n, p in found[1].items() if not n.startswith("train/loss/")
    }
    assert any(name.startswith("train/loss/") for name in found[1])
    assert weights(calm).keys() == weights(hunted).keys()
