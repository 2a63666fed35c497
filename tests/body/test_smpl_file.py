import os
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import scipy.sparse
import torch
import trimesh

from dg.body.open_body import load_open_body
from dg.body.smpl_body import SMPLBody
from dg.body.smpl_file import BodyFileError, read_smpl
from dg.pose.joint_map import convert_joints
from dg.pose.skeleton import H36M_16, SMPL_24
from dg.settings.plugins import make_options
from tests.conftest import make_joints


@pytest.fixture(scope="module")
def fields():
    """A model of SMPL's exact fields and about its size, made by splitting the open body's triangles."""
    rest = load_open_body()
    vertices, faces, extra = trimesh.remesh.subdivide(
        rest.vertices.double().numpy(), rest.faces.numpy(), vertex_attributes={"w": rest.weights.double().numpy()}
    )
    regressor = scipy.sparse.csc_matrix(rest.joints.double().numpy() @ np.linalg.pinv(vertices))
    parents = np.array(SMPL_24.parents).astype(np.uint32)
    return {
        "v_template": vertices,
        "f": faces.astype(np.uint32),
        "weights": extra["w"],
        "J_regressor": regressor,
        "kintree_table": np.stack([parents, np.arange(24, dtype=np.uint32)]),
        "shapedirs": np.zeros((len(vertices), 3, 1)),
        "posedirs": np.zeros((len(vertices), 3, 1)),
        "J": regressor @ vertices,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2's strings, like the files of 2015."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_str2(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)

    dispatch[bytes] = save_str2


def write_python2(path, content):
    with path.open("wb") as stream:
        Python2Pickler(stream, protocol=2).dump(content)


@pytest.fixture
def chumpy(monkeypatch):
    """A module that can be pickled from, and that is gone when the file is read."""

    class Ch:
        def __init__(self, x):
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", types.ModuleType("chumpy.ch"))
    sys.modules["chumpy.ch"].Ch = Ch
    return Ch


def save(path, fields, **changes):
    content = {**fields, **changes}
    content = {key: value for key, value in content.items() if value is not None}
    if path.suffix == ".npz":
        dense = content.get("J_regressor")
        content |= {} if dense is None else {"J_regressor": dense.toarray() if scipy.sparse.issparse(dense) else dense}
        np.savez(path, **content)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def assert_same(model, fields):
    np.testing.assert_allclose(model.vertices, fields["v_template"])
    np.testing.assert_array_equal(model.faces, fields["f"])
    np.testing.assert_allclose(model.joints, fields["J"], atol=1e-9)
    np.testing.assert_allclose(model.weights.sum(1), 1)


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
def test_both_formats_are_read(tmp_path, fields, suffix):
    assert_same(read_smpl(save(tmp_path / f"SMPL_NEUTRAL{suffix}", fields)), fields)


@pytest.mark.parametrize(
    "kind", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix, scipy.sparse.coo_matrix, np.asarray]
)
def test_any_form_of_the_joint_regressor_is_read(tmp_path, fields, kind):
    regressor = kind(fields["J_regressor"].toarray())
    assert_same(read_smpl(save(tmp_path / "SMPL.pkl", fields, J_regressor=regressor)), fields)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_chumpy_arrays_are_read_without_chumpy(tmp_path, fields, chumpy, protocol, monkeypatch):
    wrapped = {key: chumpy(fields[key]) for key in ("v_template", "weights", "shapedirs", "posedirs")}
    path = tmp_path / "basicModel_neutral.pkl"
    path.write_bytes(pickle.dumps({**fields, **wrapped}, protocol=protocol))
    monkeypatch.delitem(sys.modules, "chumpy.ch")
    monkeypatch.delitem(sys.modules, "chumpy")
    assert_same(read_smpl(path), fields)
    assert "chumpy" not in sys.modules


def test_files_of_python_2_are_read(tmp_path, fields, chumpy):
    write_python2(tmp_path / "old.pkl", {**fields, "v_template": chumpy(fields["v_template"])})
    assert_same(read_smpl(tmp_path / "old.pkl"), fields)


def test_nothing_that_a_pickle_asks_for_is_run(tmp_path, fields):
    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {trace}",)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({**fields, "bs_type": Evil()}, protocol=2))
    with pytest.raises(BodyFileError, match="system"):
        read_smpl(path)
    assert not trace.exists()


def test_a_file_cannot_change_how_the_next_one_is_read(tmp_path, fields, chumpy):
    # The class chumpy.ch.Ch itself, with the state (None, {"x": 1}), which sets its attribute.
    (tmp_path / "forged.pkl").write_bytes(b"\x80\x02cchumpy.ch\nCh\n(N}U\x01xK\x01stb.")
    with pytest.raises(BodyFileError, match=r"chumpy\.ch\.Ch"):
        read_smpl(tmp_path / "forged.pkl")
    with pytest.raises(BodyFileError, match="v_template is not an array"):
        read_smpl(save(tmp_path / "next.pkl", fields, v_template=chumpy.__new__(chumpy)))


@pytest.mark.parametrize("suffix", [".pkl", ".npz"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.full((10475, 55), 1 / 55)}, "SMPL-X"),
        ({"weights": np.full((6890, 52), 1 / 52)}, "SMPL-H"),
        ({"weights": None}, "weights.*missing"),
        ({"v_template": None, "f": None}, "v_template.*missing"),
        ({"J_regressor": None, "J": None}, "J_regressor.*missing"),
        ({"v_template": np.zeros((5, 3))}, "v_template must have shape"),
        ({"f": np.array([[0, 1, 10**6]])}, "f must hold triangles"),
        ({"J_regressor": np.zeros((17, 4911))}, "J_regressor must have shape"),
        ({"kintree_table": np.zeros((2, 24), int)}, "hang together"),
    ],
)
def test_a_body_file_of_another_kind_is_refused_by_what_is_wrong(tmp_path, fields, suffix, changes, message):
    with pytest.raises(BodyFileError, match=message):
        read_smpl(save(tmp_path / f"other{suffix}", fields, **changes))


def test_values_that_are_not_numbers_are_refused(tmp_path, fields):
    broken = fields["v_template"].copy()
    broken[7, 1] = np.nan
    with pytest.raises(BodyFileError, match="not finite"):
        read_smpl(save(tmp_path / "nan.npz", fields, v_template=broken))
    with pytest.raises(BodyFileError, match="sum to one"):
        read_smpl(save(tmp_path / "weights.npz", fields, weights=2 * fields["weights"]))


def test_missing_foreign_and_truncated_files_are_refused(tmp_path, fields):
    whole = {suffix: save(tmp_path / f"whole{suffix}", fields) for suffix in (".pkl", ".npz")}
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    (tmp_path / "empty.pkl").touch()
    (tmp_path / "text.pkl").write_text("<html>please log in</html>")
    for suffix, path in whole.items():
        (tmp_path / f"cut{suffix}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for name in ("absent.pkl", "list.pkl", "empty.pkl", "text.pkl", "cut.pkl", "cut.npz", "."):
        with pytest.raises(BodyFileError, match=r"expected|no such file|empty"):
            read_smpl(tmp_path / name)


def test_the_mesh_is_decimated_and_its_weights_are_carried(tmp_path, fields):
    body = SMPLBody(SMPLBody.Options(path=str(save(tmp_path / "SMPL.npz", fields))))
    rest = body.rest
    assert 2800 < len(rest.faces) <= 3000
    assert rest.weights.shape == (len(rest.vertices), 24)
    assert torch.allclose(rest.weights.sum(1), torch.ones(len(rest.vertices)), atol=1e-5)
    # Each carried weight resembles that of the nearest vertex of the full mesh.
    nearest = torch.cdist(rest.vertices, torch.from_numpy(fields["v_template"]).float()).argmin(1)
    difference = (rest.weights - torch.from_numpy(fields["weights"]).float()[nearest]).abs().sum(1)
    assert difference.mean() < 0.1


def test_smpl_is_fitted_like_the_open_body(tmp_path, fields):
    body = SMPLBody(SMPLBody.Options(path=str(save(tmp_path / "SMPL.pkl", fields)), faces=1000))
    targets = make_joints(20, 16)
    pose = body.fit(targets, H36M_16)
    assert (convert_joints(pose.positions, SMPL_24, H36M_16) - targets).norm(dim=-1).max() < 1e-4
    vertices = body.skin(pose)
    assert vertices.shape == (20, len(body.rest.vertices), 3)
    assert (vertices.mean(1) - targets.mean(1)).norm(dim=-1).max() < 0.3


def test_too_few_faces_are_refused():
    with pytest.raises(ValueError, match="at least 200"):
        make_options(SMPLBody, "body", "smpl", {"path": "SMPL.pkl", "faces": 10})
