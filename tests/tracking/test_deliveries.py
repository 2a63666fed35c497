"""What a stranger finds in a run and in its experiment: data, tables, models, and the page that shows them."""

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from dg.tracking import DataInput, ModelScore, make_tracker, prepare, protocol_tag
from dg.tracking.deliveries import SystemMetrics
from dg.tracking.experiment_page import VIEW_ID, dress_experiment, run_address, runs_address
from dg.tracking.labels import METHODS, dataset_label, method_label, metric_label, name_of, run_title
from dg.tracking.stores import client_of
from tests.tracking.example_store import model_in


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    return uri, prepare(uri, "dg"), client_of(uri)


def begin(store, folder, params=None, tags=None, **options):
    tracker = make_tracker(store[0], "dg", folder)
    return tracker, tracker.start("a run", params or {}, tags or {}, **options)


def tables_of(run):
    return [entry["path"] for entry in json.loads(run.data.tags["mlflow.loggedArtifacts"])]


def test_data_sets_stand_with_digest_rows_and_protocol_also_when_sent_twice(store, tmp_path):
    tracker, run_id = begin(store, tmp_path)
    inputs = [DataInput("CMU", "ab12", 1280, "training"), DataInput("3DPW", "cd34", 90, "test", "3DPW/n90")]
    for _ in range(2):
        tracker.log_inputs(inputs)
    assert tracker.finish()
    found = {d.dataset.name: d for d in store[2].get_run(run_id).inputs.dataset_inputs}
    assert {name: (d.dataset.digest, d.tags[0].value) for name, d in found.items()} == {
        "CMU": ("ab12", "training"),
        "3DPW": ("cd34", "test"),
    }
    assert json.loads(found["3DPW"].dataset.profile) == {"num_rows": 90, "protocol": "3DPW/n90"}


def test_a_table_that_is_sent_twice_holds_its_rows_once(store, tmp_path):
    tracker, run_id = begin(store, tmp_path)
    for _ in range(2):
        tracker.log_table([{"target": "near", "mpjpe_mm": 90.5}, {"target": "wide"}], "selections.json")
    assert tracker.finish()
    assert tables_of(store[2].get_run(run_id)) == ["selections.json"]
    table = json.loads(Path(store[2].download_artifacts(run_id, "selections.json", str(tmp_path))).read_text())
    assert table == {"columns": ["target", "mpjpe_mm"], "data": [["near", 90.5], ["wide", None]]}


def test_what_says_nothing_is_left_out_and_what_programs_read_is_out_of_sight(store, tmp_path):
    params = {"init_from": "", "lr": 0.0, "targets": [], "feature_sizes": (), "method": {"name": "erm", "x": None}}
    tracker, run_id = begin(store, tmp_path, params, {"oracle": "", "method": "ERM"})
    tracker.finish()
    data = store[2].get_run(run_id).data
    assert data.params == {"lr": "0.0", "method.name": "erm"}
    shown = {name for name in data.tags if not name.startswith("mlflow.")}
    assert shown == {"method", "status.reason"}


def test_a_model_is_logged_once_with_its_results_and_registered_under_an_alias_on_wish(store, tmp_path):
    tracker, run_id = begin(store, tmp_path, {"seed": 3}, {"method": "PoseAug", "inputs": "xyd", "lifter": ""})
    folder = model_in(tmp_path / "model")
    scores = [
        ModelScore("3DPW", "cd34", {"target/3DPW/mpjpe_mm": 90.5, "target/3DPW/auc": float("nan")}),
        ModelScore("3DHP", "ef56", {"target/3DHP/mpjpe_mm": 81.25}),
    ]
    for _ in range(2):
        tracker.log_model(folder, "lifter", 7, register="best-lifter", scores=scores)
    assert tracker.finish()
    client = store[2]
    (output,) = client.get_run(run_id).outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (model.name, str(model.status), output.step) == ("lifter", "READY", 7)
    assert model.params == {"method": "PoseAug", "inputs": "xyd", "seed": "3"}
    assert {(m.key, m.value, m.dataset_name, m.dataset_digest) for m in model.metrics} == {
        ("target/3DPW/mpjpe_mm", 90.5, "3DPW", "cd34"),
        ("target/3DHP/mpjpe_mm", 81.25, "3DHP", "ef56"),
    }
    (found,) = client.search_logged_models([store[1]], "metrics.`target/3DHP/mpjpe_mm` < 82")
    assert found.model_id == output.model_id
    version = client.get_model_version_by_alias("best-lifter", "newest")
    assert (version.version, version.run_id) in ((1, run_id), ("1", run_id))
    assert yaml.safe_load((folder / "MLmodel").read_text())["model_id"] == output.model_id


def test_mlflows_monitor_logs_the_machine_beside_a_run_and_ends_with_it(store, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "true")  # tests have it off
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "1")
    threads = threading.active_count()
    tracker = make_tracker(store[0], "dg", tmp_path, watch_machine=True)
    run_id = tracker.start("watched", {}, {})
    found: set[str] = set()
    give_up = time.monotonic() + 120
    while not found and time.monotonic() < give_up:
        time.sleep(0.1)
        found = {name for name in store[2].get_run(run_id).data.metrics if name.startswith("system/")}
    tracker.finish()
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found
    assert not [name for name in found if "disk" in name or "network" in name], "these say nothing of a run"
    while threading.active_count() > threads and time.monotonic() < give_up:
        time.sleep(0.1)
    assert threading.active_count() <= threads


def test_a_store_that_does_not_answer_holds_up_the_end_of_system_metrics_for_two_seconds(monkeypatch):
    metrics, asked = SystemMetrics.__new__(SystemMetrics), threading.Event()

    class Monitor:
        def finish(self):
            asked.set()
            time.sleep(60)

    metrics._monitor = Monitor()
    begun = time.monotonic()
    metrics.finish()
    assert asked.is_set()
    assert time.monotonic() - begun < 30


def view_of(experiment):
    saved = json.loads(experiment.tags[f"mlflow.sharedViewState.{VIEW_ID}"])
    return json.loads(saved["state"])


def test_the_table_of_runs_has_a_column_for_every_target_of_any_run_and_the_users_note_stays(store, tmp_path):
    client = store[2]
    for target in ("3DPW", "3DHP"):
        tracker, _ = begin(store, tmp_path / target, tags={protocol_tag(target): f"{target}/n1"})
        tracker.finish()
    client.set_experiment_tag(store[1], "mlflow.note.content", "mine")
    dress_experiment(client, store[1])
    experiment = client.get_experiment(store[1])
    columns = view_of(experiment)["selectedColumns"]
    assert columns[1:4] == ["tags.`method`", "params.`inputs`", "tags.`source`"]
    assert "metrics.`target/3DPW/mpjpe_mm`" in columns
    assert "metrics.`target/3DHP/mpjpe_mm`" in columns
    assert "params.`seed`" in columns
    assert experiment.tags["mlflow.note.content"] == "mine"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert all(len(value) <= 5000 for value in experiment.tags.values()), "what MLflow takes"


def test_addresses_show_model_training():
    assert runs_address("http://h:5000/", "3").startswith("http://h:5000/#/experiments/3/runs?workflowType=machine_l")
    assert run_address("", "3", "ab") == "/#/experiments/3/runs/ab?workflowType=machine_learning"


def test_a_store_that_was_moved_shows_its_pictures_and_keeps_new_ones_beside_it(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    here = (f"sqlite:///{old / 'mlflow.db'}", prepare(f"sqlite:///{old / 'mlflow.db'}", "dg"))
    tracker, run_id = begin(here, tmp_path / "run")
    tracker.log_image(np.zeros((4, 4, 3), np.uint8), "k", 1)
    tracker.log_text("told", "note.txt")
    tracker.finish()
    shutil.copytree(old, new)
    shutil.rmtree(old)
    uri = f"sqlite:///{new / 'mlflow.db'}"
    prepare(uri, "dg")
    client = client_of(uri)
    assert [a.path for a in client.list_artifacts(run_id, "images") if a.path.endswith(".png")]
    assert Path(client.download_artifacts(run_id, "note.txt", str(tmp_path))).read_text() == "told"
    tracker, fresh = begin((uri,), tmp_path / "again")
    tracker.log_text("new", "note.txt")
    tracker.finish()
    assert client.get_run(fresh).info.artifact_uri.startswith(new.as_uri())
    assert not old.exists()


def test_a_store_beside_pictures_of_another_one_keeps_its_own_place(tmp_path):
    uri = f"sqlite:///{tmp_path / 'a' / 'mlflow.db'}"
    experiment_id = prepare(uri, "mine")
    (tmp_path / "b" / "mlartifacts" / "theirs").mkdir(parents=True)
    shutil.copy(tmp_path / "a" / "mlflow.db", tmp_path / "b" / "mlflow.db")
    copy = f"sqlite:///{tmp_path / 'b' / 'mlflow.db'}"
    prepare(copy, "mine")
    assert client_of(copy).get_experiment(experiment_id).artifact_location.startswith((tmp_path / "a").as_uri())


def test_labels_are_what_people_read_and_lead_back():
    assert method_label("poseaug") == "PoseAug"
    assert method_label("mine") == "mine"
    assert all(name_of(label, METHODS) == name for name, label in METHODS.items())
    assert metric_label("mpjpe_mm") == "MPJPE (mm)"
    assert metric_label("pa_mpjpe_action_mm") == "PA-MPJPE, mean over actions (mm)"
    assert dataset_label("h36m") == "Human3.6M"
    assert dataset_label("my CMU") == "my CMU"
    assert run_title("poseaug", "xyd", "h36m", 3) == "PoseAug · xyd · Human3.6M · seed 3"
