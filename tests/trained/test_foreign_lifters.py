"""Lifters of any maker from TorchScript and ONNX files: what they may look like, and what is said of the others."""

import hashlib

import pytest
import torch

from dg import evaluate
from dg.files.checkpoint import CheckpointError
from dg.files.integrity import digest_file
from dg.pose.skeleton import H36M_17
from dg.trained.foreign import open_program
from tests.trained.makers import SMALL, score, store, targets

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return targets(tmp_path_factory.mktemp("people"))


class Flat(torch.nn.Module):
    """Lifts [batch, joints, 2] by appending a plane: 3D = (x, y, 1) times `scale`."""

    def __init__(self, scale: float = 1.0, joints: int = 17) -> None:
        super().__init__()
        self.scale, self.joints = scale, joints

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert list(x.shape[1:]) == [self.joints, 2]
        return self.scale * torch.cat([x, torch.ones_like(x[:, :, :1])], -1)


class Windowed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.dim() == 4
        return torch.cat([x, torch.ones_like(x[:, :, :, :1])], -1)


class Broken(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.ones_like(x[:, :, :1])], -1) / 0.0


def script(module: torch.nn.Module, path):
    torch.jit.script(module).save(str(path))
    return path


def onnx_flat(path, shape, output=None):
    """An ONNX model that appends a plane to an input of the given shape."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    pads = helper.make_tensor("pads", onnx.TensorProto.INT64, [2 * len(shape)], [0] * (2 * len(shape) - 1) + [1])
    graph = helper.make_graph(
        [helper.make_node("Pad", ["x", "pads"], ["y"])],
        "flat",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, output or [*shape[:-1], 3])],
        [pads],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


def test_files_of_others_score_alike_in_every_unit_layout_and_batch(tmp_path, people):
    first = script(Flat(), tmp_path / "metres.pt")
    words = ["inputs=xy", "skeleton=h36m_17", "trust=true"]
    wanted = score(people, tmp_path, f"model={first}", *words)
    others = {
        "millimetres": [f"model={script(Flat(1000.0), tmp_path / 'mm.pt')}", "unit=mm"],
        "a window of one": [f"model={script(Windowed(), tmp_path / 'window.pt')}"],
    }
    for name, more in others.items():
        row = score(people, tmp_path, *words, *more)
        assert row["mpjpe_mm"] == pytest.approx(wanted["mpjpe_mm"], rel=1e-5), name
    # The plane is padded with 0 instead of 1, which root-relative poses do not show.
    for name, shape in {"free": [None, 17, 2], "fixed": [7, 17, 2], "window": [None, 1, 17, 2]}.items():
        row = score(people, tmp_path, *words, f"model={onnx_flat(tmp_path / f'{name}.onnx', shape)}")
        assert row["mpjpe_mm"] == pytest.approx(wanted["mpjpe_mm"], rel=1e-5), name
    assert wanted["protocol"].split("/")[3] == H36M_17.name


def test_a_torchscript_file_does_not_run_without_trust(tmp_path, people, capsys, monkeypatch):
    path = script(Flat(), tmp_path / "lifter.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("loaded"))
    assert evaluate.main([f"model={path}", "inputs=xy", people, "tracking.uri=off", f"out={tmp_path}/r.json"]) == 2
    assert "trust=true" in capsys.readouterr().err


WRONG_MODELS = {
    "no suffix": ("lifter", [], 4, "ends in one of"),
    "missing": ("none.onnx", [], 4, "no lifter at"),
    "text for onnx": ("text.onnx", [], 4, "cannot be loaded as ONNX"),
    "half an onnx": ("half.onnx", [], 4, "cannot be loaded as ONNX"),
    "text for torchscript": ("text.pt", [], 4, "cannot be loaded as TorchScript"),
    "half a torchscript": ("half.pt", [], 4, "cannot be loaded as TorchScript"),
    "a checkpoint": ("best.pt", [], 4, "without model="),
    "inputs unsaid": ("flat.onnx", ["-inputs=xy"], 2, "inputs=..."),
    "onnx of other joints": ("flat.onnx", [], 4, "[any, 17, 2]"),
    "onnx of other channels": ("flat.onnx", ["skeleton=h36m_17", "-inputs=xy", "inputs=xyd"], 4, "[any, 17, 2]"),
    "onnx of single frames": ("flat.onnx", ["skeleton=h36m_17", "frames=9"], 4, "[any, 17, 2]"),
    "torchscript of other joints": ("flat.pt", [], 4, "fails on a batch of 2"),
    "other output": ("twod.onnx", ["skeleton=h36m_17"], 4, "expected an output of [2, 17, 3], got [2, 17, 2]"),
    "not a number": ("broken.pt", ["skeleton=h36m_17"], 4, "not finite"),
    "trained words": ("flat.onnx", ["skeleton=h36m_17", "epochs=3"], 2, "no meaning"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("models")
    store(folder, "lifter=simple_baseline", "inputs=xy", *SMALL["simple_baseline"])
    script(Flat(), folder / "flat.pt")
    script(Broken(), folder / "broken.pt")
    onnx_flat(folder / "flat.onnx", [None, 17, 2])
    model = onnx.load(str(folder / "flat.onnx"))
    model.graph.node[0].op_type = "Identity"
    del model.graph.node[0].input[1:]
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, str(folder / "twod.onnx"))
    for name in ("text.onnx", "text.pt", "lifter"):
        (folder / name).write_text("no model at all")
    for name in ("flat.onnx", "flat.pt"):
        data = (folder / name).read_bytes()
        (folder / name.replace("flat", "half")).write_bytes(data[: len(data) // 2])
    return folder


@pytest.mark.parametrize("case", list(WRONG_MODELS))
def test_bad_model_files_are_one_clear_message_and_an_exit_code(models, people, tmp_path, capsys, case):
    name, words, code, reason = WRONG_MODELS[case]
    given = [w for w in ["inputs=xy", "trust=true", *words] if f"-{w}" not in words and not w.startswith("-")]
    out = f"out={tmp_path}/result.json"
    assert evaluate.main([f"model={models / name}", *given, people, "tracking.uri=off", out]) == code
    said = capsys.readouterr().err
    assert reason in said
    assert not list(tmp_path.iterdir())


def outside(folder, location: str):
    """A model that adds weights which lie in another file."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    kept = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[17, 3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", str(17 * 3 * 4))):
        entry = kept.external_data.add()
        entry.key, entry.value = key, value
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[2], keepdims=1),
        helper.make_node("Add", ["m", "w"], ["y"]),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 17, 2])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 17, 3])
    graph = helper.make_graph(nodes, "g", [given], [made], [kept])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert onnx
    return folder / "model.onnx"


@pytest.mark.parametrize("kind", ["parent", "absolute", "link"])
def test_a_model_reads_no_file_outside_of_its_folder(tmp_path, kind):
    secret, folder = tmp_path / "secret.bin", tmp_path / "model"
    folder.mkdir()
    for place in (secret, folder / "w.bin"):
        place.write_bytes(torch.ones(17, 3).numpy().tobytes())
    (folder / "link.bin").symlink_to(secret)
    assert open_program(outside(folder, "w.bin"), trust=False).shape == (None, 17, 2)
    location = {"parent": "../secret.bin", "absolute": str(secret), "link": "link.bin"}[kind]
    with pytest.raises(CheckpointError, match="cannot be loaded as ONNX"):
        open_program(outside(folder, location), trust=False)


def test_a_model_that_has_changed_since_its_digest_was_written_is_refused(tmp_path):
    (tmp_path / "w.bin").write_bytes(torch.ones(17, 3).numpy().tobytes())
    path = outside(tmp_path, "w.bin")
    digest_file(path).write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.onnx")
    assert open_program(path, trust=False).shape
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="does not have the digest"):
        open_program(path, trust=False)
