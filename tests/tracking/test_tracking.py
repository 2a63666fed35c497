import json
import math
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dg.evaluation import selection
from dg.tracking import (
    DataInput,
    NullTracker,
    TrackingError,
    environment_tags,
    look_at,
    make_tracker,
    mlflow_tracker,
    prepare,
    protocol_tag,
    tracking_uri,
    ui_command,
)
from dg.tracking.names import SELECTIONS, epoch_metric, flatten, key_name, metric_name, parse_final_metric
from dg.tracking.stores import client_of
from dg.tracking.write_behind import WriteBehind


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    return uri, prepare(uri, "dg"), client_of(uri)


def begin(store, folder, params=None, tags=None, **options):
    tracker = make_tracker(store[0], "dg", folder)
    return tracker, tracker.start("a run", params or {}, tags or {}, **options)


# -- names --------------------------------------------------------------------------------------------------------


@settings(deadline=None)  # the first call imports MLflow
@given(st.lists(st.text(max_size=60), min_size=1, max_size=6))
def test_every_metric_name_is_one_that_mlflow_takes(parts):
    from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

    name = metric_name(*parts)
    _validate_metric_name(name)
    _validate_tag_name(key_name("/".join(parts) or "x"))
    assert len(name) <= 250
    if len(name) < 250:
        assert name.count("/") == len(parts) - 1


def test_a_final_metric_is_read_back_and_its_name_is_the_same_for_every_method():
    assert metric_name("final", "last", "uiprmd/3dhp:all", "auc") == "final/last/uiprmd_3dhp_all/auc"
    assert parse_final_metric("final/last/near/auc") == ("last", "near", "auc")
    assert parse_final_metric("test/near/mpjpe_mm") is None
    assert epoch_metric("val", "mpjpe_mm") == "val/mpjpe_mm"
    assert epoch_metric("near", "mpjpe_mm") == "test/near/mpjpe_mm"
    target = parse_final_metric(metric_name("final", "last", "a/b", "auc"))[1]
    assert protocol_tag(target) == protocol_tag("a/b") == "protocol.a_b"


def test_tracking_and_evaluation_name_the_same_selections():
    assert SELECTIONS == selection.SELECTIONS


def test_long_names_stay_different():
    assert metric_name("x" * 300 + "a") != metric_name("x" * 300 + "b")


def test_a_nested_configuration_becomes_dotted_text():
    nested = {"method": {"name": "erm", "deep": {"k": 1}}, "seed": 0, "targets": ["a"]}
    assert flatten(nested) == {"method.name": "erm", "method.deep.k": "1", "seed": "0", "targets": "['a']"}


# -- stores -------------------------------------------------------------------------------------------------------


def test_the_default_store_is_absolute_wherever_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri("") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert tracking_uri(tracking_uri("sqlite:///x.db")) == f"sqlite:///{tmp_path / 'x.db'}"
    assert ui_command("") == "dg ui"
    assert ui_command("sqlite:///x.db", "mine") == f"dg ui tracking_uri=sqlite:///{tmp_path / 'x.db'} experiment=mine"
    assert "http://127.0.0.1:5000/#/experiments/7/runs?workflowType=machine_learning" in ui_command("", "dg", "7")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://head:5000")
    assert tracking_uri("") == "http://head:5000"


@pytest.mark.parametrize(
    ("uri", "remedy"), [("mlruns", "sqlite:///mlflow.db"), ("my.db", "sqlite:///my.db"), ("file:x", "sqlite:///")]
)
def test_a_store_that_mlflow_no_longer_writes_is_refused_with_a_remedy(uri, remedy):
    with pytest.raises(TrackingError, match=remedy):
        tracking_uri(uri)


@pytest.mark.parametrize("see", [lambda uri: prepare(uri, "dg"), look_at])
def test_a_file_that_is_no_database_is_one_clear_error(tmp_path, see):
    (tmp_path / "bad.db").write_text("not a database, but long enough to be read as one" * 20)
    with pytest.raises(TrackingError, match=r"bad\.db.*tracking\.uri="):
        see(f"sqlite:///{tmp_path / 'bad.db'}")


def test_a_look_at_a_store_finds_a_dead_server_and_creates_nothing(store, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        look_at(address)
    with pytest.raises(TrackingError, match="mlflow server --host"):
        look_at(address)
    look_at(store[0])
    look_at("off")
    look_at(f"sqlite:///{tmp_path / 'folder' / 'new.db'}")
    assert not (tmp_path / "folder").exists()


def test_a_start_that_does_not_wait_connects_when_it_is_told_to(store, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(mlflow_tracker, "prepare", lambda *place: opened.append(place) or prepare(*place))
    tracker = mlflow_tracker.MLflowTracker(store[0], "dg", tmp_path)
    handle = tracker.start("later", {"seed": 3}, {"method": "erm"}, wait=False)
    assert handle.startswith("local-")
    assert not opened
    tracker.log_metrics({"loss": 1.0}, 1)
    tracker.connect()
    assert tracker.flush()
    assert opened
    assert tracker.run_id != handle
    assert store[2].get_run(tracker.run_id).data.metrics["loss"] == 1.0
    tracker.finish()


@pytest.mark.reliability
def test_two_drivers_that_start_at_once_agree_on_one_experiment(tmp_path):
    code = f"from dg.tracking import prepare; print(prepare('sqlite:///{tmp_path / 'new.db'}', 'dg'))"
    drivers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [driver.communicate(timeout=600) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], answers
    assert answers[0][0] == answers[1][0] != ""
    assert [a[1] for a in answers] == ["", ""], "MLflow must not chatter"


def test_recording_off_loads_nothing_and_help_needs_neither_torch_nor_mlflow():
    code = (
        "import sys; from dg.tracking import make_tracker; import dg.compare; from pathlib import Path;"
        "t = make_tracker('off', 'dg', Path('x')); assert t.start('a', {}, {}) == ''; assert t.finish();"
        "assert not {'torch', 'mlflow', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- a run --------------------------------------------------------------------------------------------------------


def test_a_run_carries_params_tags_metrics_images_and_its_end(store, tmp_path):
    params = {"method": {"name": "erm"}, "long": "z" * 7000} | {f"p{i}": i for i in range(150)}
    tracker, run_id = begin(store, tmp_path, params, {"method": "erm", protocol_tag("near"): "near/n10"})
    tracker.log_metrics({"val/mpjpe_mm": 50.0, "odd [name]": 1.0}, step=1)
    tracker.log_image(np.zeros((20, 30, 3), np.uint8), "augmented_poses", step=1)
    tracker.log_text("# note", "summary.md")
    tracker.set_tags({"regime": "DG"})
    (tmp_path / "file.json").write_text("{}")
    tracker.log_artifact(tmp_path / "file.json", "folder")
    assert tracker.flush()
    assert tracker.finish("FINISHED", "done")
    run = store[2].get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["method.name"] == "erm"
    assert len(run.data.params) == 152
    assert run.data.metrics == {"val/mpjpe_mm": 50.0, "odd _name_": 1.0}
    wanted = {"method": "erm", "protocol.near": "near/n10", "regime": "DG", "status.reason": "done"}
    assert wanted.items() <= run.data.tags.items()
    artifacts = {a.path for a in store[2].list_artifacts(run_id)}
    assert artifacts == {"images", "summary.md", "folder", "params.json"}
    assert run.info.artifact_uri.startswith("file:///")
    assert list((tmp_path / "images").glob("*.png"))
    assert not list(tmp_path.glob("mlflow_spool*"))


def test_a_resumed_run_repeats_no_point_and_tells_what_changed(store, tmp_path):
    tracker, run_id = begin(store, tmp_path, {"lr": 0.1, "seed": 0})
    for step in range(5):
        tracker.log_metrics({"loss": step}, step)
    tracker.finish("KILLED", "interrupted")
    tracker, again = begin(store, tmp_path, {"lr": 0.2, "seed": 0, "new": 1}, run_id=run_id)
    for step in range(3, 8):
        tracker.log_metrics({"loss": 100 + step}, step)
    tracker.finish()
    assert again == run_id
    history = store[2].get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, s if s < 5 else 100 + s) for s in range(8)]
    run = store[2].get_run(run_id)
    assert run.data.params == {"lr": "0.1", "seed": "0", "new": "1"}
    assert run.data.tags["override.lr"] == "0.2"
    assert "override.seed" not in run.data.tags
    assert run.data.tags["resume_count"] == "1"
    assert run.info.status == "FINISHED"


def test_a_run_that_the_store_has_lost_is_begun_anew(store, tmp_path):
    tracker, run_id = begin(store, tmp_path, run_id="0123456789abcdef0123456789abcdef")
    tracker.log_metrics({"loss": 1.0}, 1)
    assert tracker.finish()
    assert store[2].get_run(run_id).data.metrics == {"loss": 1.0}


def test_a_child_knows_its_parent(store, tmp_path):
    parent, parent_id = begin(store, tmp_path / "p")
    child, child_id = begin(store, tmp_path / "c", parent_run_id=parent_id)
    child.finish()
    parent.finish()
    assert store[2].get_run(child_id).data.tags["mlflow.parentRunId"] == parent_id


def test_numbers_that_are_not_finite_are_counted_not_stored(store, tmp_path):
    tracker, run_id = begin(store, tmp_path)
    tracker.log_metrics({"a": math.nan, "b": math.inf, "c": 1.0}, 1)
    tracker.finish()
    assert store[2].get_run(run_id).data.metrics == {"c": 1.0, "train/nonfinite": 2.0}


def test_silent_runs_of_this_host_are_ended_and_no_others(store, tmp_path):
    client, made = store[2], {}
    for name, host, age in (
        ("dead", socket.gethostname(), 900),
        ("alive", socket.gethostname(), 30),
        ("far", "x", 900),
    ):
        tags = {"dg.host": host, "heartbeat": str(time.time() - age)}
        made[name] = client.create_run(store[1], tags=tags).info.run_id
    tracker, _ = begin(store, tmp_path)
    tracker.finish()
    status = {name: client.get_run(run_id).info.status for name, run_id in made.items()}
    assert status == {"dead": "KILLED", "alive": "RUNNING", "far": "RUNNING"}
    assert "no heartbeat" in client.get_run(made["dead"]).data.tags["status.reason"]


def test_a_store_that_is_away_delays_a_run_and_never_ends_it(store, tmp_path, monkeypatch):
    def away(*_):
        raise TrackingError("cannot reach it")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_tracker, "prepare", away)
        tracker = mlflow_tracker.MLflowTracker(store[0], "dg", tmp_path, patience_s=0.3)
        run_id = tracker.start("late", {"seed": 3}, {"method": "erm"})
        assert run_id.startswith("local-")
        tracker.log_metrics({"loss": 1.0}, 1)
        tracker.log_image(np.zeros((4, 4, 3), np.uint8), "k", 1)
        tracker.log_table([{"target": "near", "mpjpe_mm": 9.0}], "selections.json")
        tracker.log_inputs([DataInput("near", "ab", 5, "test")])
        assert not tracker.finish("KILLED", "server away")
    assert (tmp_path / "mlflow_spool.jsonl").is_file()
    tracker, found = begin(store, tmp_path, {"seed": 3}, run_id=run_id)
    tracker.log_metrics({"loss": 9.0}, 1)
    tracker.log_metrics({"loss": 2.0}, 2)
    assert tracker.finish()
    run = store[2].get_run(found)
    assert found != run_id
    assert (run.info.status, run.data.params, run.data.tags["method"]) == ("FINISHED", {"seed": "3"}, "erm")
    assert [m.value for m in store[2].get_metric_history(found, "loss")] == [1.0, 2.0]
    assert [d.dataset.name for d in run.inputs.dataset_inputs] == ["near"]
    assert "selections.json" in run.data.tags["mlflow.loggedArtifacts"]
    assert not (tmp_path / "mlflow_spool.jsonl").exists()


def spooled(folder, *records) -> None:
    (folder / "mlflow_spool.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_what_an_earlier_process_spooled_for_the_resumed_run_arrives(store, tmp_path):
    tracker, run_id = begin(store, tmp_path)
    tracker.finish("KILLED")
    (tmp_path / "own.txt").write_text("mine")
    spooled(tmp_path, {"kind": "metrics", "run": run_id, "points": [["val/mpjpe_mm", 7.0, 1, 3]]},
            {"kind": "artifact", "run": run_id, "path": str(tmp_path / "own.txt"), "folder": ""})  # fmt: skip
    tracker, again = begin(store, tmp_path, run_id=run_id)
    assert tracker.finish()
    assert again == run_id
    assert store[2].get_run(run_id).data.metrics["val/mpjpe_mm"] == 7.0
    assert [a.path for a in store[2].list_artifacts(run_id)] == ["own.txt"]


def test_a_forged_spool_sends_no_other_file_and_touches_no_other_run(store, tmp_path):
    victim, victim_id = begin(store, tmp_path / "victim")
    victim.finish()
    secret, folder = tmp_path / "secret.txt", tmp_path / "run"
    secret.write_text("a credential")
    folder.mkdir()
    (folder / "link.txt").symlink_to(secret)
    tracker, run_id = begin(store, folder)
    tracker.finish("KILLED")
    spooled(
        folder,
        *({"kind": "artifact", "run": run_id, "path": str(path), "folder": ""}
          for path in (secret, folder / "link.txt", folder / "../secret.txt")),
        {"kind": "image", "run": run_id, "path": str(secret), "key": "x", "step": 1, "time": 1},
        {"kind": "metrics", "run": victim_id, "points": [["val/mpjpe_mm", 1.0, 1, 9]]},
        {"kind": "tags", "run": "x' OR 'a' = 'a", "tags": {"regime": "DA"}},
        {"kind": "nothing", "run": run_id},
        {"kind": "text", "run": run_id, "text": "fine", "name": "note.txt"},
    )  # fmt: skip
    tracker, _ = begin(store, folder, run_id=run_id)
    tracker.finish()
    assert [a.path for a in store[2].list_artifacts(run_id)] == ["note.txt"]
    assert "val/mpjpe_mm" not in store[2].get_run(victim_id).data.metrics
    rejected = (folder / "mlflow_spool.jsonl.rejected").read_text().splitlines()
    assert len(rejected) == 7
    assert not (folder / "mlflow_spool.jsonl").exists()


def test_a_checkpoint_cannot_smuggle_a_query_in_as_the_run_to_continue(store, tmp_path):
    with pytest.raises(TrackingError, match="resume=never"):
        begin(store, tmp_path, run_id="local-' OR tags.x = '")


def test_an_unknown_status_is_refused(store, tmp_path):
    tracker, _ = begin(store, tmp_path)
    with pytest.raises(ValueError, match="FINISHED"):
        tracker.finish("DONE")
    tracker.finish()


def test_environment_tags_name_the_code_and_ray(tmp_path):
    tags = environment_tags()
    assert tags.get("git.dirty", "true") in ("true", "false")
    assert all(isinstance(v, str) and v for v in tags.values())
    assert isinstance(make_tracker("off", "dg", tmp_path), NullTracker)


# -- write-behind -------------------------------------------------------------------------------------------------


class FakeStore:
    def __init__(self):
        self.there, self.got, self.refuses = True, [], set()

    def deliver(self, record):
        if not self.there:
            raise OSError("away")
        if record["n"] in self.refuses:
            raise ValueError("no such thing")
        self.got.append(record["n"])

    def writer(self, spool, **options):
        return WriteBehind(self.deliver, lambda: self.there, spool, retry_s=0.0, pause_s=0.0, **options)


def test_records_arrive_once_each_and_in_order_across_an_outage(tmp_path):
    store, spool = FakeStore(), tmp_path / "spool.jsonl"
    writer = store.writer(spool)
    for n in range(30):
        store.there = not 10 <= n < 20
        writer.put({"kind": "x", "n": n})
        writer.flush(5.0)
        assert spool.exists() != store.there
    assert writer.close(5.0)
    assert store.got == list(range(30))


def test_a_later_process_delivers_what_an_earlier_one_could_not_even_past_a_torn_line(tmp_path):
    store, spool = FakeStore(), tmp_path / "spool.jsonl"
    store.there = False
    writer = store.writer(spool)
    for n in range(3):
        writer.put({"kind": "x", "n": n})
    assert not writer.close(5.0)
    with spool.open("a") as file:
        file.write('{"kind": "x", "n"')
    store.there = True
    writer = store.writer(spool)
    writer.put({"kind": "x", "n": 3})
    assert writer.close(5.0)
    assert store.got == [0, 1, 2, 3]


def test_a_record_that_the_store_refuses_holds_up_no_other(tmp_path):
    store, spool = FakeStore(), tmp_path / "spool.jsonl"
    store.refuses = {1}
    writer = store.writer(spool)
    for n in range(3):
        writer.put({"kind": "x", "n": n})
    assert writer.close(5.0)
    assert (store.got, writer.rejected) == ([0, 2], 1)
    assert json.loads((tmp_path / "spool.jsonl.rejected").read_text())["n"] == 1


def test_a_stalled_store_never_stalls_the_caller_and_loses_nothing(tmp_path):
    gate, store = threading.Event(), FakeStore()
    slow = WriteBehind(
        lambda r: (gate.wait(10), store.deliver(r)), lambda: True, tmp_path / "spool", capacity=4, retry_s=0.0
    )
    start = time.monotonic()
    for n in range(50):
        slow.put({"kind": "x", "n": n})
    assert not slow.flush(0.05)
    assert time.monotonic() - start < 1.0
    gate.set()
    assert slow.close(10.0)
    assert sorted(store.got) == list(range(50))
