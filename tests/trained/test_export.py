"""`dg export`: the file computes what the lifter does, says what it takes, and is read back."""

import io
import json
import os
import sys
import zipfile

import numpy as np
import pytest
import torch

from dg import evaluate, export
from dg.files.checkpoint import CheckpointError, load_file, save_file
from dg.pose.skeleton import H36M_16
from dg.settings.config import ConfigError
from dg.trained import exporting
from dg.trained.description import METADATA_KEY, parse_description
from dg.trained.evaluation_run import EvaluateOptions, load_lifter, targets_of
from lifters import LIFTERS
from tests.cases import mostly_long
from tests.trained.makers import SMALL, score, store, targets

onnxruntime = pytest.importorskip("onnxruntime")

SUFFIX = {"torchscript": "pt", "onnx": "onnx"}


def features(lifter, rows: int, frames: int = 1) -> torch.Tensor:
    return 0.5 * torch.randn(rows, frames, len(lifter.skeleton), lifter.channels)


def exported(checkpoint, file_format: str, out):
    """What PoseBench3D's harness makes of the file: a function of an array."""
    assert export.main([str(checkpoint), f"format={file_format}", f"out={out}"]) == 0
    if file_format == "onnx":
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]
    module = torch.jit.load(str(out), map_location="cpu")
    module.eval()
    assert sum(p.numel() for p in module.parameters()) > 0, "the harness counts parameters"
    return lambda x: module(torch.from_numpy(x)).detach().numpy()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("people"))


# Their graphs take the exporter 3 to 15 s; that of simple_baseline takes as little as any.
SLOW = ("motion_bert", "st_gcn", "sem_gcn", "video_pose_3d", "pose_former")
LIFTER_FILES = [(name, form) for name in LIFTERS for form in SUFFIX]
QUICK = [(name, form) for name, form in LIFTER_FILES if name not in SLOW]


@pytest.mark.parametrize(("name", "file_format"), mostly_long(LIFTER_FILES, QUICK))
def test_every_lifter_computes_the_same_from_its_file_at_any_batch_size(tmp_path, name, file_format):
    checkpoint, lifter = store(tmp_path, f"lifter={name}", "inputs=xy", *SMALL[name])
    computes = exported(checkpoint, file_format, tmp_path / f"lifter.{SUFFIX[file_format]}")
    for rows in (1, 2, 64, 300):
        x = features(lifter, rows)
        with torch.no_grad():
            ours = lifter(x)[:, 0]
        ours = ours - ours[:, :1]
        np.testing.assert_allclose(computes(x[:, 0].numpy()), ours.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("words", "answered", "file_format"),
    [
        pytest.param(["lifter=video_pose_3d", "frames=9"], 1, "onnx", marks=pytest.mark.long),
        (["lifter=video_pose_3d", "frames=9"], 1, "torchscript"),
        (["lifter=motion_bert", "frames=5"], 5, "torchscript"),
    ],
    ids=["many to one-onnx", "many to one-torchscript", "many to many-torchscript"],
)
def test_windows_with_depth_on_17_joints_keep_their_axes(tmp_path, words, answered, file_format):
    name = words[0].partition("=")[2]
    checkpoint, lifter = store(tmp_path, *words, "inputs=xyd", "skeleton=h36m_17", *SMALL[name])
    computes = exported(checkpoint, file_format, tmp_path / f"lifter.{SUFFIX[file_format]}")
    frames = int(words[1].partition("=")[2])
    x = features(lifter, 7, frames)
    with torch.no_grad():
        ours = lifter(x)
    ours = ours - ours[:, :, :1]
    theirs = computes(x.numpy())
    assert theirs.shape == ((7, 17, 3) if answered == 1 else (7, answered, 17, 3))
    np.testing.assert_allclose(theirs.reshape(ours.shape), ours.numpy(), atol=1e-5, rtol=0)


# -- PoseBench3D


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """A checkpoint of the simple baseline on (x, y), with its file in each format."""
    folder = tmp_path_factory.mktemp("mlp")
    checkpoint, _ = store(folder, "lifter=simple_baseline", "inputs=xy", *SMALL["simple_baseline"])
    for file_format, suffix in SUFFIX.items():
        exported(checkpoint, file_format, folder / f"lifter.{suffix}")
    return folder


def harness(path, model_type: str, poses_2d: np.ndarray, poses_3d: np.ndarray, info: dict, batch: int) -> float:
    """An imitation of how PoseBench3D loads, feeds and scores a model; MPJPE as it prints it.

    It gives the model one float32 batch [batch, joints, 2] at a time, leaves the last incomplete one out, takes the
    root off the data alone, and divides data in millimetres by 1000 where `output_3d` says millimeters.
    """
    if model_type == "ONNX":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        call = lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])  # noqa: E731
    else:
        call = torch.jit.load(str(path), map_location="cpu").eval()
    targets = poses_3d / (1000.0 if info["output_3d"] == "millimeters" else 1.0)
    targets = torch.from_numpy(targets - targets[:, :1]).float()
    errors = []
    with torch.no_grad():
        for start in range(0, len(targets) - batch + 1, batch):
            inputs = torch.from_numpy(poses_2d[start : start + batch]).float()
            outputs = call(inputs).cpu()
            assert outputs.shape == (batch, *targets.shape[1:])
            errors.append((outputs - targets[start : start + batch]).norm(dim=-1).mean())
    mean = float(torch.stack(errors).mean())
    return mean if info["output_3d"] == "meters" else mean * 1000


@pytest.mark.parametrize("file_format", SUFFIX)
def test_posebench3d_scores_the_file_as_we_score_the_checkpoint(mlp, people, tmp_path, file_format):
    out = mlp / f"lifter.{SUFFIX[file_format]}"
    lines = json.loads(out.with_name(f"{out.name}.json").read_text())["posebench3d"]
    row = score(people, tmp_path, str(mlp / "best.pt"))
    config = load_lifter(EvaluateOptions(str(mlp / "best.pt"), args=(people,))).config
    (poses,) = (data.poses for data in targets_of(config))
    printed = harness(
        out, "ONNX" if file_format == "onnx" else "JIT",
        poses.joints_2d[:, 0].numpy(), 1000 * poses.joints_3d[:, 0].numpy(), lines["model_info"], batch=20,
    )  # fmt: skip
    assert row["n"] % 20 == 0
    assert printed == pytest.approx(row["mpjpe_mm"], rel=1e-4)
    assert lines["input_shape"]["num_joints"] == 16


def test_files_are_of_formats_that_old_readers_take(mlp):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(mlp / "lifter.onnx"))
    onnx.checker.check_model(model)
    assert model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    with zipfile.ZipFile(mlp / "lifter.pt") as archive:
        (version,) = [archive.read(n) for n in archive.namelist() if n.endswith("/version")]
    assert version.strip() == b"3"


# -- what a file says of itself, and the way back


@pytest.mark.parametrize("file_format", SUFFIX)
def test_a_round_trip_through_evaluate_changes_nothing_and_needs_no_settings(tmp_path, people, file_format):
    words = ["lifter=simple_baseline", "inputs=xyd", "dscale2d=paper", "d_ref=5", *SMALL["simple_baseline"]]
    checkpoint, lifter = store(tmp_path, *words)
    out = tmp_path / f"lifter.{SUFFIX[file_format]}"
    exported(checkpoint, file_format, out)
    back = load_lifter(EvaluateOptions(model=str(out), trust=True))
    assert (back.inputs.dscale2d, back.inputs.d_ref, back.config.inputs) == ("paper", 5.0, "xyd")
    x = features(lifter, 33)
    with torch.no_grad():
        torch.testing.assert_close(back.lifter(x), lifter(x), atol=1e-5, rtol=0)
    sources = ([str(checkpoint)], [f"model={out}", "trust=true"])
    rows = [score(people, tmp_path, *source, f"cache={tmp_path}/cache", "device=cpu") for source in sources]
    assert rows[0]["protocol"] == rows[1]["protocol"]
    assert rows[0]["mpjpe_mm"] == pytest.approx(rows[1]["mpjpe_mm"], abs=1e-2)
    with pytest.raises(ConfigError, match="not what the file says"):
        load_lifter(EvaluateOptions(model=str(out), trust=True, args=("d_ref=4",)))


def test_the_description_beside_the_file_is_the_one_in_it(tmp_path):
    checkpoint, _ = store(tmp_path, "lifter=simple_baseline", "inputs=xyd", *SMALL["simple_baseline"])
    exported(checkpoint, "torchscript", tmp_path / "a.pt")
    beside = json.loads((tmp_path / "a.pt.json").read_text())
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        inside = json.loads(archive.read(f"{archive.namelist()[0].split('/')[0]}/extra/{METADATA_KEY}.json"))
    assert inside == beside
    assert beside["input"]["shape"] == ["batch", 16, 3]
    assert beside["input"]["channels"] == ["x", "y", "d"]
    assert beside["joints"] == list(H36M_16.joints)
    assert beside["made_from"]["run_id"] == "abc"
    assert beside["made_from"]["selection"] == "source_val"
    assert isinstance(beside["posebench3d"], str), "its harness gives no depth"
    assert parse_description(json.dumps(beside), "here").skeleton == H36M_16


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"settings": {}}, {"unit": "inch"}, {"settings": {"inputs": "rgb"}}],
)
def test_a_description_that_cannot_be_used_names_the_file(mlp, change):
    document = json.loads((mlp / "lifter.pt.json").read_text())
    change = {k: document[k] | v if isinstance(v, dict) and v else v for k, v in change.items()}
    with pytest.raises(CheckpointError, match=r"here: its description"):
        parse_description(json.dumps(document | change), "here")
    with pytest.raises(CheckpointError, match=r"here: its description"):
        parse_description("{", "here")


# -- what can go wrong in an export


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["{0}/best.pt", "out="], 2, "out=FILE"),
        (["{0}/best.pt", "out={1}/a.onnx"], 2, "ends in one of"),
        (["{0}/best.pt", "format=onyx", "out={1}/a.onnx"], 2, "did you mean 'onnx'"),
        (["{0}/best.pt", "d_ref=3", "out={1}/a.pt"], 2, "d_ref is part"),
        (["out={1}/a.pt"], 2, "one lifter"),
        (["{0}/none.pt", "out={1}/a.pt"], 4, "no checkpoint"),
        (["{0}/text.pt", "out={1}/a.pt"], 4, "cannot be loaded"),
        (["{0}/nan.pt", "out={1}/a.pt"], 4, "not finite"),
    ],
)
def test_a_failed_export_says_why_and_writes_nothing(mlp, tmp_path, capsys, words, code, reason):
    state = load_file(mlp / "best.pt")
    state["lifter"]["last.bias"] *= torch.nan
    save_file(mlp / "nan.pt", state)
    (mlp / "text.pt").write_text("no checkpoint")
    assert export.main([w.format(mlp, tmp_path) for w in words]) == code
    assert reason in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_error_names_it(mlp, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert export.main([f"{mlp}/best.pt", "format=onnx", f"out={tmp_path}/a.onnx"]) == 2
    assert "dg-lift[export]" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = ["inputs=xy", "skeleton=h36m_17", "tracking.uri=off", f"out={tmp_path}/r.json"]
    assert evaluate.main([f"model={mlp}/lifter.onnx", *words]) == 2
    assert "dg-lift[export]" in capsys.readouterr().err


def test_an_interrupted_write_leaves_the_old_file(mlp, tmp_path, monkeypatch):
    out = tmp_path / "a.pt"
    out.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        exporting.export(exporting.ExportOptions(f"{mlp}/best.pt", out=str(out)))
    assert out.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.shared
def test_a_published_checkpoint_can_be_exported(shared, tmp_path):
    path = shared / "conformance" / "poseaug_sem_gcn.pth"
    golden = np.load(shared / "conformance" / "poseaug_golden.npz")
    out = tmp_path / "sem_gcn.pt"
    assert export.main([f"published={path}", "lifter=sem_gcn", "inputs=xy", f"out={out}"]) == 0
    found = torch.jit.load(io.BytesIO(out.read_bytes()))(torch.from_numpy(golden["lifter_in"])).detach().numpy()
    wanted = golden["sem_gcn_out"]
    np.testing.assert_allclose(found, wanted - wanted[:, :1], atol=1e-5)
