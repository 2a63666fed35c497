"""`dg analyse`: what it prints and writes, and what it refuses."""

import json
import subprocess
import sys

import pytest
import torch

from dg.analyse import ANALYSES
from dg.analyse.__main__ import main, parse
from dg.analyse.checkpoints import run_labels
from dg.analyse.tail import Tail
from dg.files.checkpoint import load_file
from dg.settings.errors import ConfigError
from tests.analyse.runs import train
from tests.pictures import shows_something
from tests.stores import new_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`xy`, `moved` (scale-normalised depth in, a method that augments), logged to one store."""
    folder = tmp_path_factory.mktemp("runs")
    store = new_store(folder)  # made before, so that the checkpoint is not written before the store knows the run
    train(folder / "xy", "method=erm", "inputs=xy", tracking=store)
    train(folder / "moved", "method=random_rigid", "inputs=xyd")
    best = load_file(folder / "xy" / "best.pt")
    torch.save({"lifter": best["lifter"]}, folder / "bare.pt")
    diverged = {name: weight * torch.nan for name, weight in best["lifter"].items()}
    torch.save(best | {"lifter": diverged}, folder / "diverged.pt")
    return folder


def test_help_lists_every_analysis_without_torch():
    code = (
        "import sys\nfrom dg.analyse.__main__ import main\nassert main(['--help']) == 0\n"
        "assert not {'torch', 'mlflow', 'matplotlib', 'ray'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name} " in done.stdout for name in ANALYSES)


@pytest.mark.parametrize("name", sorted(ANALYSES))
def test_help_of_one_analysis_tells_its_options(name, capsys):
    assert main([name, "--help"]) == 0
    assert "its options" in capsys.readouterr().out


def test_its_errors_are_those_of_training(folder, tmp_path):
    """The mean over the frames of best.pt is what the run reported for it."""
    assert main(["tail", str(folder / "xy" / "best.pt"), f"out={tmp_path}", "tracking_uri=off"]) == 0
    rows = json.loads((tmp_path / "findings.json").read_text())["tables"]["tail"]["rows"]
    summary = json.loads((folder / "xy" / "summary.json").read_text())["results"]
    expected = {r["target"]: r["mpjpe_mm"] for r in summary if r["selection"] == "source_val"}
    assert {r["target"]: r["mean"] for r in rows} == pytest.approx(expected, rel=1e-6)


def test_files_are_added_to_the_run_in_mlflow_and_nothing_else_of_it_changes(folder, tmp_path, capsys):
    from dg.tracking.stores import client_of

    store = f"sqlite:///{folder / 'mlflow.db'}"
    run_id = load_file(folder / "xy" / "best.pt")["run_id"]
    client = client_of(store)
    before = client.get_run(run_id)
    assert main(["tail", str(folder / "xy"), str(folder / "moved"), f"out={tmp_path}", f"tracking_uri={store}"]) == 0
    told = capsys.readouterr().out
    assert f"logged to the MLflow run {run_id}" in told
    assert "moved: not logged: the run was not tracked" in told
    logged = {f.path for f in client.list_artifacts(run_id, "analyses/tail")}
    assert logged == {f"analyses/tail/{path.name}" for path in tmp_path.iterdir()}
    after = client.get_run(run_id)
    assert (after.info.status, after.info.end_time) == (before.info.status, before.info.end_time)
    assert after.data.tags == before.data.tags


def test_a_store_that_lacks_the_run_costs_the_log_alone(folder, tmp_path, capsys, pictures):
    words = [f"out={tmp_path / 'out'}", f"tracking_uri={new_store(tmp_path)}"]
    assert main(["tail", str(folder / "xy"), *words]) == 0
    assert "not logged to the MLflow run" in capsys.readouterr().out
    assert shows_something(tmp_path / "out" / "curve.png")


# words, exit code, what the message must say; {} stands for the runs' folder
REFUSED = [
    (["nope", "{}/xy"], 2, "known:"),
    (["tail"], 2, "which checkpoints"),
    (["tail", "{}/xy", "colour=red"], 2, "unknown option 'colour'"),
    (["tail", "{}/xy", "metric=pck"], 2, "metric must be one of"),
    (["tail", "{}/xy", "device=tpu"], 2, "device must be one of"),
    (["tail", "{}/xy", "labels=[a,b]"], 2, "1 checkpoints"),
    (["tail", "{}/xy", "{}/moved", "labels=[a,a]"], 2, "labels must name each"),
    (["tail", "{}/xy", "targets=[synthetic]"], 2, "NAME:ARGUMENT"),
    (["tail", "{}/xy", "targets=npz:absent.npz"], 4, "absent.npz"),
    (["occlusion", "{}/xy", "radius_of=both"], 2, "radius_of must be one of"),
    (["novelty", "{}/xy", "poses=few"], 2, "poses expects a whole number"),
    (["tail", "{}/absent.pt"], 4, "absent.pt"),
    (["tail", "{}/bare.pt"], 4, "no configuration"),
    (["tail", "{}/xy/summary.json"], 4, "summary.json"),
    (["tail", "{}/diverged.pt"], 4, "not finite"),
    (["reliability", "{}/xy"], 4, "ground-truth 2D"),
    (["viewpoints", "{}/moved/best.pt"], 4, "weights=last"),
    (["viewpoints", "{}/xy", "weights=last"], 4, "method erm makes no poses"),
    (["ordinal_depth", "{}/xy"], 4, "inputs=xyd"),
    (["ordinal_depth", "{}/moved", "bins=fine"], 2, "10cm"),
    (["box_rescaling", "{}/moved"], 4, "dscale2d=off"),
]


@pytest.mark.parametrize(
    ("words", "code", "message"), REFUSED, ids=[" ".join(w).replace("{}/", "") for w, _, _ in REFUSED]
)
def test_what_cannot_be_done_is_refused_in_one_clear_message(folder, tmp_path, capsys, words, code, message):
    given = [word.format(folder) if "{}" in word else word for word in words]
    assert main([*given, f"out={tmp_path / 'out'}", "tracking_uri=off"]) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert not (tmp_path / "out").exists()


def test_runs_of_different_data_have_no_common_novelty(folder, tmp_path, capsys):
    other = train(tmp_path / "other", "method=erm", "inputs=xy", "data.seed=5")
    assert main(["novelty", str(folder / "xy"), str(other), f"out={tmp_path / 'out'}"]) == 4
    assert "analyse them apart" in capsys.readouterr().err


def test_words_become_settings(tmp_path):
    file, folder = tmp_path / "a=b.pt", tmp_path / "erm-xyd_dscale2d=focal-s0"
    file.touch()
    folder.mkdir()  # as dg.grid names it
    words = [str(file), str(folder), "other.pt", "targets=npz:x.npz?stride=5", "cache=off", "labels=[a,b,c]"]
    words += ["out=here"]
    paths, settings, analysis = parse("tail", Tail, words)
    assert [p.name for p in paths] == ["a=b.pt", folder.name, "other.pt"]
    assert settings.targets == ("npz:x.npz?stride=5",)
    assert (settings.cache, settings.out, settings.labels) == ("off", "here", ("a", "b", "c"))
    assert isinstance(analysis, Tail)
    with pytest.raises(ConfigError, match="did you mean 'targets'"):
        parse("tail", Tail, ["a.pt", "target=npz:x.npz"])


def test_labels_tell_checkpoints_apart(tmp_path):
    a, b = tmp_path / "run_a", tmp_path / "run_b"
    a.mkdir()
    assert run_labels([a, b / "best.pt"]) == ["run_a", "run_b"]
    assert run_labels([b / "best.pt", b / "checkpoint-000000010.pt"]) == ["run_b/best", "run_b/checkpoint-000000010"]
    assert len(set(run_labels([b / "best.pt", b / "best.pt", a]))) == 3
