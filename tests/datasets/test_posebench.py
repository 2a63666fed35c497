"""PoseBench3D's files."""

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.h36m import Human36M
from dg.datasets.h36m import Options as H36MOptions
from dg.datasets.intrinsics import solve_intrinsics
from dg.datasets.posebench import SURREAL_BATCH, SURREAL_CORRUPT, Options, PoseBench3D, _kept
from dg.datasets.protocols import BENCHMARKS, Protocol
from dg.pose.skeleton import SMPL_24
from dg.settings.plugins import make_options
from tests.datasets.malformed import Hostile, cut
from tests.datasets.motion import FRAMES, h36m_motion, write_h36m
from tests.datasets.posebench_maker import (
    gpa_part,
    pw3d_part,
    smpl_poses,
    surreal_arrays,
    write_dict,
    write_gpa,
    write_h36m_raw,
)


@pytest.fixture(scope="module")
def joints(tmp_path_factory):
    return smpl_poses(tmp_path_factory.mktemp("bodies"))


@pytest.fixture
def pw3d(tmp_path, joints):
    write_dict(tmp_path / "3dpw.npz", {"train": pw3d_part(joints), "test": pw3d_part(joints)})
    return str(tmp_path / "3dpw.npz")


def test_3dpw_is_smpls_joints_under_the_name_of_its_protocol(pw3d, joints):
    data = PoseBench3D(Options(pw3d)).load("test")
    np.testing.assert_allclose(data.poses.joints_3d[:, 0], joints, atol=1e-5)
    assert data.poses.skeleton == SMPL_24
    assert (data.name, data.flavour) == (BENCHMARKS["3DPW-PB"].name, BENCHMARKS["3DPW-PB"].flavour)


def test_portrait_and_landscape_frames_are_told_apart_and_divided_by_their_longer_side(pw3d):
    data = PoseBench3D(Options(pw3d)).load("test")
    half = len(data) // 2
    extent = data.poses.camera.extent
    torch.testing.assert_close(extent[:half], torch.tensor([1080 / 1920, 1.0]).expand(half, 2))
    torch.testing.assert_close(extent[half:], torch.tensor([1.0, 1080 / 1920]).expand(len(data) - half, 2))
    torch.testing.assert_close(data.poses.camera.focal, torch.full((len(data), 2), 2 * 1960 / 1920), atol=2e-3, rtol=0)


def test_gpa_is_in_millimetres_and_17_of_its_34_joints(tmp_path):
    write_gpa(tmp_path / "gpa.npz")
    data = PoseBench3D(Options(str(tmp_path / "gpa.npz"), kind="gpa")).load("test")
    expected = gpa_part("test")["3d"][:, [0, 24, 25, 26, 29, 30, 31, 2, 5, 6, 7, 17, 18, 19, 9, 10, 11]] / 1000
    np.testing.assert_allclose(data.poses.joints_3d[:, 0], expected, atol=1e-5)
    torch.testing.assert_close(data.poses.camera.focal, torch.full((len(data), 2), 2 * 1000 / 1920), atol=2e-3, rtol=0)
    assert len(data.clip.unique()) > 1


def test_surreals_swapped_sides_are_put_right(tmp_path, joints):
    np.savez(tmp_path / "surreal_test_compiled.npz", **surreal_arrays(joints))
    dataset = PoseBench3D(Options(str(tmp_path / "surreal_test_compiled.npz"), kind="surreal"))
    assert dataset.splits == ("test",)
    np.testing.assert_allclose(dataset.load("test").poses.joints_3d[:, 0], joints, atol=1e-5)


def test_batches_that_the_benchmark_calls_corrupt_are_left_out_of_surreals_full_file():
    rows = SURREAL_BATCH * (SURREAL_CORRUPT[-1] + 3)
    kept = _kept(rows, Options("x", kind="surreal"))
    assert len(kept) == rows - 4 * 64
    assert not set(range(2587 * 64, 2588 * 64)) & set(kept.tolist())
    assert len(_kept(1000, Options("x", kind="surreal"))) == 1000
    assert len(_kept(rows, Options("x", kind="gpa"))) == rows


def test_human36m_is_what_videopose3ds_file_gives(tmp_path):
    write_h36m_raw(tmp_path / "h36m_raw_data.npz")
    write_h36m(tmp_path / "data_3d_h36m.npz", h36m_motion(("S1", "S5", "S9", "S11")))
    raw = PoseBench3D(Options(str(tmp_path / "h36m_raw_data.npz"), kind="h36m", fps=50)).load("test")
    ours = Human36M(H36MOptions(str(tmp_path), subjects_train=("S1", "S5"))).load("test")
    torch.testing.assert_close(raw.poses.joints_3d, ours.poses.joints_3d, atol=1e-5, rtol=0)
    torch.testing.assert_close(raw.poses.joints_2d, ours.poses.joints_2d, atol=1e-5, rtol=0)
    assert (raw.name, raw.flavour, raw.actions) == (ours.name, ours.flavour, ours.actions)
    assert len(raw) == 2 * 5 * FRAMES * 4


def test_units_can_be_stated(tmp_path, joints):
    part = pw3d_part(joints)
    in_mm = part | {"combined_3d_cam": 1000 * part["combined_3d_cam"]}
    write_dict(tmp_path / "mm.npz", {"train": in_mm, "test": in_mm})
    data = PoseBench3D(Options(str(tmp_path / "mm.npz"), units="mm")).load("test")
    np.testing.assert_allclose(data.poses.joints_3d[:, 0], joints, atol=1e-5)


def test_the_solved_cameras_are_those_that_took_the_pixels():
    generator = torch.Generator().manual_seed(2)
    joints = torch.randn(9, 24, 3, generator=generator) * 0.4 + torch.tensor([0.2, -0.1, 4.0])
    clip = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])
    focal, center = torch.tensor([[900.0, 950], [1100, 1000], [600, 600]]), torch.tensor([[500.0, 400], [9, 8], [1, 2]])
    pixels = (focal[clip, None] * joints[..., :2] / joints[..., 2:]) + center[clip, None]
    found_focal, found_center, error = solve_intrinsics(joints, pixels, clip)
    torch.testing.assert_close(found_focal, focal[clip], rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(found_center, center[clip], rtol=1e-5, atol=1e-2)
    assert error.max() < 1e-2


def test_rows_of_one_stretch_that_two_cameras_saw_each_get_their_own(tmp_path, joints):
    part = pw3d_part(joints)
    other = 1200 * joints[:7, :, :2] / joints[:7, :, 2:] + [540, 960]
    part["combined_2d"][:7] = other
    write_dict(tmp_path / "two.npz", {"train": part, "test": part})
    data = PoseBench3D(Options(str(tmp_path / "two.npz"))).load("test")
    torch.testing.assert_close(data.poses.camera.focal[:7], torch.full((7, 2), 2 * 1200 / 1920), atol=5e-3, rtol=0)
    assert data.poses.valid.all()


def replace_in(name, change):
    def write(path, joints):
        part = pw3d_part(joints)
        write_dict(path, {"train": part, "test": part | {name: change(part[name])}})

    return write


def poke(values, row, value):
    values = values.copy()
    values[row] = value
    return values


J, P = "combined_3d_cam", "combined_2d"
MALFORMED = {
    "missing": (lambda path, j: None, "no such file"),
    "directory": (lambda path, j: path.mkdir(), "directory"),
    "web page": (lambda path, j: path.write_text("<html>"), "another kind"),
    "truncated": (lambda path, j: cut(lambda p: replace_in(J, lambda v: v)(p, j))(path), "truncated"),
    "wrong key": (lambda path, j: np.savez(path, pose=np.ones(3)), "'data'"),
    "hostile": (lambda path, j: write_dict(path, Hostile()), "print"),
    "hostile array": (lambda path, j: write_dict(path, {"test": {J: Hostile()}}), "print"),
    "numbers": (lambda path, j: np.savez(path, data=np.ones(3)), "train, test"),
    "no such split": (lambda path, j: write_dict(path, {"train": {}}), "train, test"),
    "another file's arrays": (lambda path, j: write_dict(path, {"test": gpa_part("test")}), "combined_2d"),
    "14 joints": (replace_in(J, lambda v: v[:, :14]), "24, 3"),
    "no rows": (replace_in(J, lambda v: v[:0]), "at least one"),
    "rows differ": (replace_in(P, lambda v: v[1:]), "as many"),
    "NaN joints": (replace_in(J, lambda v: poke(v, (3, 2), np.nan)), "row 3"),
    "NaN pixels": (replace_in(P, lambda v: poke(v, (3, 2), np.nan)), "finite numbers"),
    "millimetres": (replace_in(J, lambda v: 1000 * v), "millimetres"),
    "root-relative": (replace_in(J, lambda v: v - v[:, :1]), "behind"),
    "joint missing": (replace_in(J, lambda v: poke(v, (slice(None), 15), 0.0)), "head"),
    "pixels of other rows": (replace_in(P, lambda v: v[::-1].copy()), "no pinhole"),
    "centred pixels": (replace_in(P, lambda v: v - v.mean(1, keepdims=True)), "no pinhole"),
}


@pytest.mark.parametrize(("write", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_one_clear_error(tmp_path, joints, capsys, write, reason):
    path = tmp_path / "3dpw_wo_invalid.npz"
    write(path, joints)
    with pytest.raises(DataError, match=reason) as caught:
        PoseBench3D(Options(str(path))).load("test")
    assert "3dpw_wo_invalid.npz" in str(caught.value)
    assert capsys.readouterr().out == ""


RAW = {
    "no takes": ({}, "takes|trainset|testset"),
    "unknown subject": ({(2, "Walking", "Walking"): np.ones((3, 32, 3))}, "subject, action, take"),
    "17 joints": ({(9, "Walking", "Walking"): np.ones((3, 17, 3))}, "32, 3"),
    "hostile": ({(9, "Walking", "Walking"): Hostile()}, "print"),
}


@pytest.mark.parametrize(("content", "reason"), RAW.values(), ids=RAW)
def test_malformed_human36m_files_are_one_clear_error(tmp_path, capsys, content, reason):
    np.savez(tmp_path / "raw.npz", testset=np.array(content, dtype=object))
    with pytest.raises(DataError, match=reason):
        PoseBench3D(Options(str(tmp_path / "raw.npz"), kind="h36m")).load("test")
    assert capsys.readouterr().out == ""


def test_options_are_checked():
    for wrong, reason in (({"kind": "mpi"}, "kind"), ({"units": "cm"}, "units"), ({"stride": 0}, "stride")):
        with pytest.raises(ValueError, match=reason):
            make_options(PoseBench3D, "data", "posebench", {"path": "x"} | wrong)


@pytest.mark.parametrize("names", [("combined_2d", "combined_3d_cam"), ("2d", "3d")])
def test_3dpw_is_read_under_either_name_of_its_arrays(tmp_path, names):
    joints = smpl_poses(tmp_path / "bodies")
    part = dict(zip(names, pw3d_part(joints).values(), strict=True))
    write_dict(tmp_path / "file.npz", {"train": part, "test": part})
    data = PoseBench3D(Options(str(tmp_path / "file.npz"), "3dpw")).load("test")
    np.testing.assert_allclose(data.poses.joints_3d[:, 0], joints, atol=1e-5)


def test_the_benchmarks_own_normalisation_divides_every_frame_by_1080(tmp_path):
    joints = smpl_poses(tmp_path / "bodies")
    part = pw3d_part(joints)
    write_dict(tmp_path / "file.npz", {"train": part, "test": part})
    own, theirs = (
        PoseBench3D(Options(str(tmp_path / "file.npz"), "3dpw", normalise=kind)).load("test")
        for kind in ("frame", "posebench")
    )
    expected = part["combined_2d"] / 540 - np.array([1, 1920 / 1080])
    np.testing.assert_allclose(theirs.poses.joints_2d[:, 0], expected, atol=1e-4)
    projected = theirs.poses.camera.project(theirs.poses.joints_3d)
    torch.testing.assert_close(projected, theirs.poses.joints_2d, atol=2e-3, rtol=0)
    published = BENCHMARKS["3DPW-PB"].protocol("none")
    reasons = [Protocol.parse(d.protocol("none")).differences(published, ("frames", "joints")) for d in (own, theirs)]
    assert reasons == [["2D divided by frame against posebench"], []]
    with pytest.raises(ValueError, match="kind=3dpw alone"):
        Options("x", "gpa", normalise="posebench")
