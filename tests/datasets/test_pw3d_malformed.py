"""Each malformed file of 3DPW gives one DataError that names the file and what is wrong with it."""

import numpy as np
import pytest

from dg.datasets.base import DataError
from dg.datasets.pw3d import PW3D, Options
from tests.datasets import pw3d_maker as maker
from tests.datasets.malformed import Hostile, cut

NAME = "downtown_cafe_00"


@pytest.fixture(scope="module")
def regressed_options(tmp_path_factory):
    options = maker.make_regressed(tmp_path_factory.mktemp("3dpw"))
    return {name: options[name] for name in ("root", "protocol", "smpl", "regressor")}


def load(root, **options):
    return PW3D(Options(str(root), **options)).load("test")


def changed(**changes):
    """A writer of a sequence in which entries are replaced, or dropped (None)."""

    def write(path):
        content = maker.sequence_content(NAME, 1)
        content |= {name: change(content[name]) if change else None for name, change in changes.items()}
        maker.write_pickle(path, {key: value for key, value in content.items() if value is not None})

    return write


def on_first(change):
    return lambda values: [change(values[0].copy()), *values[1:]]


def poke(where, value):
    def change(values):
        values[where] = value
        return values

    return change


def scaled(factor):
    return lambda values: [factor * v for v in values]


SEQUENCES = {
    "empty file": (lambda path: path.write_bytes(b""), "empty"),
    "web page": (lambda path: path.write_text("<html>"), "another kind"),
    "truncated": (cut(changed()), "damaged"),
    "a list": (lambda path: maker.write_pickle(path, [1, 2]), "dict of arrays"),
    "hostile": (changed(texture_maps=lambda t: Hostile()), "asks for .*print"),
    "hostile joints": (changed(jointPositions=on_first(lambda j: Hostile())), "asks for .*print"),
    "key missing": (changed(campose_valid=None), "campose_valid"),
    "no people": (changed(jointPositions=lambda j: []), "one array a person"),
    "one person's flags": (changed(campose_valid=lambda v: v[:1]), "campose_valid: expected a list"),
    "flags of other frames": (changed(campose_valid=on_first(lambda v: v[1:])), r"campose_valid\[0\]"),
    "16 joints": (changed(jointPositions=on_first(lambda j: j[:, :48])), r"jointPositions\[0\]: expected"),
    "frames differ": (changed(jointPositions=on_first(lambda j: j[1:])), r"jointPositions\[0\]"),
    "not an array": (changed(jointPositions=on_first(lambda j: {"x": j})), "expected numbers"),
    "uneven": (changed(jointPositions=on_first(lambda j: [[1.0], [1.0, 2.0]])), "uneven"),
    "text": (changed(jointPositions=on_first(lambda j: j.astype(str))), "expected numbers"),
    "NaN": (changed(jointPositions=on_first(poke((3, 4), np.nan))), "row 3"),
    "millimetres": (changed(jointPositions=scaled(1000)), "millimetres"),
    "cameras missing": (changed(cam_poses=lambda c: c[:, :3]), "cam_poses"),
    "cameras not rigid": (changed(cam_poses=lambda c: 2 * c), "rigid"),
    "camera NaN": (changed(cam_poses=poke((4, 0, 0), np.nan)), "rigid"),
    "cameras on the other side": (changed(cam_poses=poke((slice(None), 2, 3), -4.5)), "behind the camera"),
    "no focal length": (changed(cam_intrinsics=poke((0, 0), 0.0)), "positive focal"),
    "normalised intrinsics": (changed(cam_intrinsics=lambda k: k / 1920), "middle of a frame"),
    "intrinsics of 4": (changed(cam_intrinsics=lambda k: k[0]), "cam_intrinsics"),
    "no valid camera": (changed(campose_valid=scaled(0)), "none of 80 has one"),
}


@pytest.mark.parametrize(("write", "reason"), [pytest.param(*v, id=k) for k, v in SEQUENCES.items()])
def test_a_malformed_sequence_is_one_clear_error(tmp_path, capsys, write, reason):
    path = tmp_path / "sequenceFiles" / "test" / f"{NAME}.pkl"
    path.parent.mkdir(parents=True)
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        load(tmp_path)
    assert (NAME in str(caught.value)) or "sequenceFiles/test" in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"poses": None}, "poses"),
        ({"betas": lambda b: b[:1]}, "betas"),
        ({"betas": lambda b: [np.full(10, np.inf), b[1]]}, "betas: expected finite"),
        ({"trans": lambda t: [v[1:] for v in t]}, "trans"),
        ({"genders": lambda g: ["m", "x"]}, "genders"),
        ({"genders": lambda g: "mf"}, "genders"),
    ],
)
def test_a_sequence_without_bodies_is_refused_where_they_are_needed(tmp_path, regressed_options, change, reason):
    path = tmp_path / "test" / f"{NAME}.pkl"
    changed(**change)(path)
    with pytest.raises(DataError, match=reason) as caught:
        load(**regressed_options | {"root": str(tmp_path)})
    assert NAME in str(caught.value)
    assert len(load(tmp_path)) == 77, "SMPL's joints do not need them"


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("<html>"), "cannot be read"),
        (lambda path: np.save(path.open("wb"), np.array([Hostile()], object), allow_pickle=True), "cannot be read"),
        (lambda path: np.savez(path.open("wb"), a=np.ones(3)), "archive"),
        (lambda path: np.save(path, np.ones((24, 1229)) / 1229), r"\[17, rows\]"),
        (lambda path: np.save(path, np.ones((17, 1229))), "sum to one"),
        (lambda path: np.save(path, np.full((17, 1229), np.nan)), "sum to one"),
        (lambda path: np.save(path, np.ones((17, 6890)) / 6890), "1229 vertices"),
        (lambda path: np.save(path, np.ones((17, 1229)) / 1229), "both sides"),
        (cut(lambda path: np.save(path, maker.regressor())), "cannot be read"),
    ],
)
def test_a_malformed_regressor_is_one_clear_error(tmp_path, capsys, regressed_options, write, reason):
    path = tmp_path / "J_regressor.npy"
    write(path)
    with pytest.raises(DataError, match=reason) as caught:
        load(**regressed_options | {"regressor": str(path)})
    assert "J_regressor.npy" in str(caught.value)
    assert capsys.readouterr().out == ""
