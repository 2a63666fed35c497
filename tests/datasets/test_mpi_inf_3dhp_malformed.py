"""Each malformed file of MPI-INF-3DHP gives one DataError that names the file and what is wrong with it."""

import sys

import h5py
import numpy as np
import pytest

from dg.datasets.base import DataError
from dg.datasets.mpi_inf_3dhp import MpiInf3DHP, Options
from dg.datasets.mpi_inf_3dhp_annotations import read_annotations
from dg.pose.skeleton import MPI_INF_3DHP_17, SPIN_24
from tests.datasets import mpi_inf_3dhp_maker as maker
from tests.datasets.malformed import Hostile, cut


def changed(**changes):
    """A writer of TS1 in which arrays are replaced, or dropped (None)."""

    def write(path):
        arrays = maker.sequence_arrays(0)
        arrays |= {name: change(arrays[name]) if change else None for name, change in changes.items()}
        maker.write_sequence(path, {name: values for name, values in arrays.items() if values is not None})

    return write


def poke(row, value):
    def change(values):
        values = values.copy()
        values[row] = value
        return values

    return change


def linked(make_link):
    """A writer of TS1 whose annot2 lies elsewhere."""

    def write(path):
        changed(annot2=None)(path)
        elsewhere = path.with_name("elsewhere.mat")
        changed()(elsewhere)
        with h5py.File(path, "r+") as file:
            make_link(file, elsewhere)

    return write


def external_storage(file, elsewhere):
    size = elsewhere.stat().st_size
    file.create_dataset("annot2", (size // 8,), "f8", external=[(str(elsewhere), 0, size)])


def huge(file, elsewhere):
    file.create_dataset("annot2", (10**9, 1, 17, 2), "f8", chunks=(1000, 1, 17, 2))


def virtual(file, elsewhere):
    layout = h5py.VirtualLayout((maker.FRAMES, 1, 17, 2), "f8")
    layout[...] = h5py.VirtualSource(str(elsewhere), "annot2", (maker.FRAMES, 1, 17, 2))
    file.create_virtual_dataset("annot2", layout)


def external_link(file, elsewhere):
    file["annot2"] = h5py.ExternalLink(str(elsewhere), "annot2")


def text_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("MATLAB 5.0 MAT-file, Platform: GLNXA64" + " " * 600)


def empty_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


FLIPPED = list(MPI_INF_3DHP_17.flip)
RAW_FILES = {
    "missing": (lambda path: None, "expected annot_data.mat in each"),
    "empty file": (empty_file, "the file is empty"),
    "not HDF5": (text_file, "v7.3"),
    "truncated": (cut(changed()), "v7.3"),
    "truncated data": (cut(changed(), 0.97), "v7.3|missing"),
    "key missing": (changed(univ_annot3=None), "'univ_annot3' is missing"),
    "16 joints": (changed(annot3=lambda a: a[:, :, :16]), r"annot3: expected numbers of shape \[rows, 17, 3\]"),
    "two people": (changed(annot2=lambda a: np.repeat(a, 2, 1)), r"annot2: expected numbers of shape"),
    "scalar": (changed(annot2=lambda a: np.array(1.0)), "annot2: expected one row a frame"),
    "frames differ": (changed(annot3=lambda a: a[1:]), "annot3"),
    "valid differs": (changed(valid_frame=lambda v: v[1:]), "valid_frame: expected 120"),
    "valid is no flag": (changed(valid_frame=lambda v: v * 7), "valid_frame"),
    "no valid frame": (changed(valid_frame=lambda v: 0 * v), "found none"),
    "unknown activity": (changed(activity_annotation=lambda a: a + 6), "activity_annotation"),
    "NaN joint": (changed(annot3=poke((3, 0, 2), np.nan)), "row 1"),
    "NaN pixel": (changed(annot2=poke((3, 0, 2), np.nan)), "annot2: expected finite"),
    "metres": (changed(annot3=lambda a: a / 1000), "check joint order, units"),
    "centimetres as metres": (changed(univ_annot3=lambda a: a * 1000), "millimetres"),
    "root-relative": (changed(annot3=lambda a: a - a[:, :, 14:15]), "behind the camera"),
    "sides swapped in 3D": (changed(annot3=lambda a: a[:, :, FLIPPED]), "mirrors"),
    "sides swapped in 2D": (changed(annot2=lambda a: a[:, :, FLIPPED]), "mirrors"),
    "other frames": (changed(annot2=lambda a: a[::-1]), "differ"),
    "y up": (changed(annot3=lambda a: a * [1, -1, 1]), "mirrors"),
    "external link": (linked(external_link), "points elsewhere"),
    "external storage": (linked(external_storage), "points elsewhere"),
    "virtual": (linked(virtual), "points elsewhere"),
    "huge": (linked(huge), "one row a frame"),
}


@pytest.mark.parametrize(("write", "reason"), [pytest.param(*v, id=k) for k, v in RAW_FILES.items()])
def test_a_malformed_annotation_file_is_one_clear_error(tmp_path, write, reason):
    write(tmp_path / "TS1" / "annot_data.mat")
    with pytest.raises(DataError, match=reason) as caught:
        MpiInf3DHP(Options(str(tmp_path), sequences=("TS1",))).load("test")
    assert "annot_data.mat" in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def arrays_with(make, **changes):
    def write(path):
        arrays = make()
        arrays |= {name: change(arrays[name]) if change else None for name, change in changes.items()}
        np.savez(path, **{name: values for name, values in arrays.items() if values is not None})

    return write


def spin(**changes):
    return arrays_with(maker.spin_arrays, **changes)


def poseaug(**changes):
    return arrays_with(maker.poseaug_arrays, **changes)


def on_joints(change):
    """Changes all but the last column, which says what is known."""
    return lambda values: np.concatenate([change(values[..., :-1]), values[..., -1:]], -1)


NPZ_FILES = {
    "missing": (lambda path: None, "no such file"),
    "empty file": (lambda path: path.write_bytes(b""), "empty"),
    "web page": (lambda path: path.write_text("<html>"), "another kind"),
    "truncated": (cut(spin(), 0.7), "truncated"),
    "other arrays": (lambda path: np.savez(path, joints=np.ones(3)), "SPIN's arrays"),
    "spin key missing": (spin(part=None), "SPIN's arrays"),
    "spin 17 joints": (spin(S=lambda s: s[:, :17]), "S: expected"),
    "spin rows differ": (spin(part=lambda p: p[1:]), "rows in S"),
    "spin joint unknown": (spin(S=poke((2, 16, 3), 0.0)), "spine"),
    "spin names": (spin(imgname=lambda n: np.array(["a.jpg"] * len(n))), "imgname"),
    "spin NaN": (spin(S=poke((5, 14, 0), np.nan)), "row 5"),
    "spin millimetres": (spin(S=on_joints(lambda s: 1000 * s)), "millimetres"),
    "spin normalised 2D": (spin(part=on_joints(lambda p: p / 1024 - 1)), " m away"),
    "spin sides swapped in 3D": (spin(S=lambda s: s[:, list(SPIN_24.flip)]), "behind|differ"),
    "spin hostile": (spin(imgname=lambda n: np.array([Hostile()] * len(n), object)), "imgname.*not loaded"),
    "poseaug 17 joints": (poseaug(pose3d=lambda p: p[:, [*range(16), 0]]), "pose3d: expected"),
    "poseaug rows differ": (poseaug(pose2d=lambda p: p[1:]), "as many 2D as 3D"),
    "poseaug no rows": (poseaug(pose3d=lambda p: p[:0]), "at least one"),
    "poseaug NaN 2D": (poseaug(pose2d=poke((7, 1), np.nan)), "row 7"),
    "poseaug millimetres": (poseaug(pose3d=lambda p: 1000 * p), "millimetres"),
    "poseaug pixels": (poseaug(pose2d=lambda p: 1024 * p + 1024), "behind|differ"),
    "poseaug y up": (poseaug(pose2d=lambda p: p * [1, -1]), "behind|differ"),
    "poseaug hostile": (poseaug(pose3d=lambda p: np.array(Hostile(), object)), "pose3d.*not loaded"),
}


@pytest.mark.parametrize(("write", "reason"), [pytest.param(*v, id=k) for k, v in NPZ_FILES.items()])
def test_a_malformed_npz_file_is_one_clear_error(tmp_path, capsys, write, reason):
    path = tmp_path / "3dhp.npz"
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        MpiInf3DHP(Options(str(path))).load("test")
    assert "3dhp.npz" in str(caught.value)
    assert capsys.readouterr().out == ""


def test_without_h5py_the_extra_to_install_is_named(tmp_path, monkeypatch):
    changed()(tmp_path / "TS1.mat")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"TS1.mat: an HDF5 file needs h5py.*'\.\[mpi_inf_3dhp\]'"):
        read_annotations(tmp_path / "TS1.mat")
