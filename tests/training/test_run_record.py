"""What a run leaves in MLflow, from its command to its page."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dg.settings.command_line import parse
from dg.tracking import make_tracker, prepare
from dg.tracking.mlflow_tracker import MLflowTracker
from dg.tracking.stores import client_of
from dg.train import run
from dg.training.run_record import RUN_ID, run_before
from tests.cases import mostly_long
from tests.stores import new_store

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

WORDS = [
    "pool=local", "data.clips=6", "data.frames=12", "batch_size=64", "lifter.width=16", "epochs=2", "evaluate_every=1",
    "method=random_rigid", "inputs=xy", "targets=['synthetic:near?clips=3&frames=12']", "device=cpu", "threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run that had been begun, and killed before its first checkpoint, and is given again."""
    folder = tmp_path_factory.mktemp("recorded")
    uri = new_store(folder)
    config = parse([*WORDS, f"tracking.uri={uri}", f"out={folder / 'run'}", "resume=auto"])
    experiment_id = prepare(uri, "dg")
    tracker = make_tracker(uri, "dg", folder / "run")
    begun = tracker.start("begun", {}, {})
    tracker.finish("KILLED", "killed")
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / RUN_ID).write_text(json.dumps({"run_id": begun, "digest": config.digest()}))
    summary = run(config, quiet=True)
    return folder, client_of(uri), experiment_id, summary, begun


def test_a_run_that_was_killed_before_its_first_checkpoint_stays_one_run(recorded):
    _, client, experiment_id, summary, begun = recorded
    (found,) = client.search_runs([experiment_id])
    assert found.info.run_id == summary["run_id"] == begun
    assert found.info.status == "FINISHED"


def test_only_a_run_of_the_same_configuration_is_gone_on_with(tmp_path):
    (tmp_path / RUN_ID).write_text(json.dumps({"run_id": "abc", "digest": "d1"}))
    assert run_before(tmp_path, "d1") == "abc"
    assert run_before(tmp_path, "d2") is None
    (tmp_path / RUN_ID).write_text("torn")
    assert run_before(tmp_path, "d1") is None


class Killed(BaseException):
    """In the place of SIGKILL: nothing that comes after it is done."""


@pytest.mark.parametrize("settled", mostly_long([False, True], [False]))
def test_points_of_an_epoch_survive_a_kill_between_its_checkpoint_and_the_store(tmp_path, monkeypatch, settled):
    """The points are lost with the process, or have arrived although nobody heard of it: each is there once."""
    uri = new_store(tmp_path)
    config = parse([*WORDS, "epochs=3", f"tracking.uri={uri}", f"out={tmp_path / 'run'}", "resume=auto"])
    plain = MLflowTracker.log_metrics

    def killed(self, metrics, step, time_ms=0):
        if step != 2:
            return plain(self, metrics, step, time_ms)
        if settled:
            plain(self, metrics, step, time_ms)
            self.flush(60)
        raise Killed

    monkeypatch.setattr(MLflowTracker, "log_metrics", killed)
    monkeypatch.setattr(MLflowTracker, "finish", lambda self, *words: True)
    with pytest.raises(Killed):
        run(config, quiet=True)
    monkeypatch.undo()
    summary = run(config, quiet=True)
    client = client_of(uri)
    for name in ("val/mpjpe_mm", "test/synthetic_near/pa_mpjpe_mm", "train/loss/lifter"):
        assert [point.step for point in client.get_metric_history(summary["run_id"], name)] == [1, 2, 3], name


def test_metrics_are_few_and_results_come_first(recorded):
    _, client, _, summary, _ = recorded
    metrics = client.get_run(summary["run_id"]).data.metrics
    assert min(metrics).startswith("target/")
    assert len(metrics) <= 35
    (row,) = [r for r in summary["results"] if r["selection"] == "source_val"]
    assert metrics["target/synthetic_near/mpjpe_mm"] == pytest.approx(row["mpjpe_mm"], abs=5.1e-4)  # micrometres
    assert metrics["train/made_of/source_poses"] > 0


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("tags.method = 'Random rigid'", 1),
        ("tags.method = 'PoseAug'", 0),
        ("params.`method.name` = 'random_rigid'", 1),
        ("metrics.`target/synthetic_near/mpjpe_mm` > 1", 1),
        ("metrics.`target/synthetic_near/mpjpe_mm` < 1", 0),
        ("dataset.name = 'synthetic_near'", 1),
    ],
)
def test_runs_are_found_as_the_docs_say(recorded, query, count):
    _, client, experiment_id, *_ = recorded
    assert len(client.search_runs([experiment_id], query)) == count


def test_parameters_decide_and_machinery_stands_in_a_file(recorded):
    folder, client, _, summary, _ = recorded
    found = client.get_run(summary["run_id"])
    names = set(found.data.params)
    assert {"method.name", "lifter.name", "inputs", "seed", "epochs", "recipe.lr"} <= names
    assert not [n for n in names if n.startswith(("tracking.", "render.", "depth.", "cache", "resume", "pool"))]
    assert "out" not in names
    assert not [value for value in found.data.params.values() if value in ("", "None", "[]")]
    assert "pool: local" in (folder / "run" / "config.yaml").read_text()
    assert found.data.tags["method"] == "Random rigid"
    assert found.data.tags["source"] == "synthetic"
    assert "git.sha" in found.data.tags
    assert found.data.tags["folder"] == str(folder / "run")


def test_tables_data_and_pictures_are_there(recorded, tmp_path):
    folder, client, _, summary, _ = recorded
    run_id = summary["run_id"]
    paths = {a.path for a in client.list_artifacts(run_id)}
    files = {"config.yaml", "results.json", "environment.txt", "best.json", "run.png", "views.png", "checkpoint"}
    tables = {"selections.json", "per_joint.json", "per_action.json", "views.json"}
    assert files | tables <= paths
    listed = json.loads(client.get_run(run_id).data.tags["mlflow.loggedArtifacts"])
    assert {entry["path"] for entry in listed} == tables
    table = json.loads(Path(client.download_artifacts(run_id, "selections.json", str(tmp_path))).read_text())
    chosen = {row[table["columns"].index("selection")] for row in table["data"]}
    assert chosen == {"last", "source_val", "virtual_cameras", "oracle"}
    data = {d.tags[0].value: d.dataset for d in client.get_run(run_id).inputs.dataset_inputs}
    assert set(data) == {"training", "validation", "test"}
    assert "protocol" in json.loads(data["test"].profile)
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    assert "| synthetic_near | source_val |" in note
    assert (folder / "run" / "run.png").stat().st_size > 5000


LOADED = """
import sys
sys.modules["dg"] = None  # this package is not there
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/best-lifter@newest")
assert "tensor" in str(model.metadata.signature).lower()
print(model.predict(np.load(sys.argv[2]))["joints_3d"].tolist())
"""


@pytest.mark.slow
def test_the_registered_lifter_loads_without_this_package_and_gives_the_same_poses(tmp_path):
    import numpy as np
    import torch

    from dg.trained.stored import load_checkpoint

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = [*WORDS, f"tracking.uri={uri}", f"out={tmp_path / 'run'}", "tracking.register=best-lifter"]
    run(parse(words), quiet=True)
    poses = np.random.default_rng(0).normal(0, 0.3, (4, 16, 2)).astype(np.float32)
    np.save(tmp_path / "poses.npy", poses)
    words = [sys.executable, "-c", LOADED, uri, str(tmp_path / "poses.npy")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    lifter = load_checkpoint(tmp_path / "run").lifter.eval()
    with torch.no_grad():
        ours = lifter(torch.from_numpy(poses)[:, None])[:, 0]
    ours = ours - ours[:, :1]
    assert np.abs(np.array(json.loads(done.stdout.splitlines()[-1])) - ours.numpy()).max() < 1e-4
    assert not (tmp_path / "run" / "mlflow_model").exists()

    client = client_of(uri)
    (model,) = client.search_logged_models([client.get_experiment_by_name("dg").experiment_id])
    found = client.get_run(model.source_run_id)
    (target,) = [d.dataset for d in found.inputs.dataset_inputs if d.tags[0].value == "test"]
    scores = {m.key: m.value for m in model.metrics}
    assert scores == {name: value for name, value in found.data.metrics.items() if name.startswith("target/")}
    assert {(m.dataset_name, m.dataset_digest) for m in model.metrics} == {(target.name, target.digest)}
