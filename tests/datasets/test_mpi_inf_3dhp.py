"""MPI-INF-3DHP: its own files, SPIN's and PoseAug's tell of the same people, under the field's protocols."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.datasets.base import DataError
from dg.datasets.check import main
from dg.datasets.findings import findings
from dg.datasets.mpi_inf_3dhp import MpiInf3DHP, Options
from dg.datasets.mpi_inf_3dhp_cameras import CALIBRATIONS, Views, place_root
from dg.datasets.protocols import BENCHMARKS, Protocol
from dg.pose.joint_map import convert_joints, skeleton_named
from dg.pose.skeleton import H36M_17, MPI_INF_3DHP_17
from dg.settings.plugins import make_options
from tests.conftest import make_joints
from tests.datasets import mpi_inf_3dhp_maker as maker

ROWS = {"3DHP-2929": 240, "3DHP-valid": 240, "3DHP-all": 720, "3DHP-all-24688": 520}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpi_inf_3dhp")
    maker.write_folder(folder / "mpi_inf_3dhp_test_set")
    np.savez(folder / "mpi_inf_3dhp_valid.npz", **maker.spin_arrays())
    np.savez(folder / "test_3dhp.npz", **maker.poseaug_arrays())
    return folder


def load(root, **options):
    return MpiInf3DHP(Options(str(root), **options)).load("test")


def only_ts1(root, **options):
    return load(root, sequences=("TS1",), **options)


def true_joints(step=maker.VALID_STEP) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([joints[::step] for joints in maker.people()])).float()


# -- where people stand


def test_a_root_is_placed_where_the_pose_projects_from():
    joints = make_joints(50).double()
    ratio = joints[..., :2] / joints[..., 2:]
    moved = joints - torch.randn(50, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(moved + place_root(moved, ratio)[:, None], joints, atol=1e-9, rtol=0)


def test_a_placed_root_is_the_least_squares_solution_of_the_written_out_system():
    joints = make_joints(6).double()
    ratio = joints[..., :2] / joints[..., 2:] + 0.01 * torch.randn(6, 17, 2, dtype=torch.float64)
    found = place_root(joints, ratio)
    for row in range(len(joints)):
        u, v = ratio[row].unbind(-1)
        one, none = torch.ones_like(u), torch.zeros_like(u)
        system = torch.cat([torch.stack([one, none, -u], 1), torch.stack([none, one, -v], 1)])
        x, y, z = joints[row].unbind(-1)
        wanted = torch.linalg.lstsq(system, torch.cat([u * z - x, v * z - y])[:, None]).solution[:, 0]
        torch.testing.assert_close(found[row], wanted, atol=1e-9, rtol=0)


# -- the three sources


def test_annot3_comes_back_in_metres_with_its_camera(folder):
    data = load(folder, protocol="3DHP-valid")
    torch.testing.assert_close(data.poses.joints_3d[:, 0], true_joints(), atol=1e-5, rtol=0)
    calibrated = load(folder, protocol="3DHP-valid", intrinsics="calibration")
    torch.testing.assert_close(data.poses.camera.focal, calibrated.poses.camera.focal, atol=1e-3, rtol=0)
    torch.testing.assert_close(data.poses.camera.center, calibrated.poses.camera.center, atol=1e-3, rtol=0)
    assert torch.equal(data.poses.joints_2d, calibrated.poses.joints_2d)


def test_calibration_is_normalised_by_the_width_as_methods_1_5_has_it(folder):
    camera = load(folder, intrinsics="calibration").poses.camera
    assert camera.focal[0, 0] == pytest.approx(1.465, abs=1e-3)
    assert camera.focal[-1, 0] == pytest.approx(1.754, abs=1e-3)
    assert camera.extent[0].tolist() == [1.0, 1.0]
    assert camera.extent[-1].tolist() == [1.0, pytest.approx(1080 / 1920)]


def test_intrinsics_are_estimated_from_another_camera_than_the_calibrated_one(tmp_path):
    arrays = maker.sequence_arrays(0)
    arrays["annot2"] = arrays["annot3"][..., :2] / arrays["annot3"][..., 2:] * [1400.0, 1410.0] + [1000.0, 1050.0]
    maker.write_sequence(tmp_path / "TS1" / "annot_data.mat", arrays)
    camera = only_ts1(tmp_path, gt="annot3").poses.camera
    torch.testing.assert_close(camera.focal[0] * 1024, torch.tensor([1400.0, 1410.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(camera.center[0] * 1024 + 1024, torch.tensor([1000.0, 1050.0]), atol=0.05, rtol=0)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (100.0, -50.0, 700.0)])
def test_univ_annot3_is_placed_on_its_pixels_wherever_the_file_has_it(tmp_path, shift):
    arrays = maker.sequence_arrays(0)
    arrays["univ_annot3"] = arrays["univ_annot3"] + np.array(shift)
    maker.write_sequence(tmp_path / "TS1" / "annot_data.mat", arrays)
    data = only_ts1(tmp_path)
    wanted = maker.UNIVERSAL * true_joints()[: len(data)]
    torch.testing.assert_close(data.poses.joints_3d[:, 0], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["mpi_inf_3dhp_valid.npz", "test_3dhp.npz"])
def test_spins_and_poseaugs_files_hold_the_raw_files_poses(folder, name):
    raw, other = load(folder), load(folder / name)
    converted = raw.poses.convert(other.poses.skeleton)
    torch.testing.assert_close(other.poses.joints_3d, converted.joints_3d, atol=2e-4, rtol=0)
    torch.testing.assert_close(other.poses.joints_2d, converted.joints_2d, atol=1e-5, rtol=0)
    torch.testing.assert_close(other.poses.camera.focal, raw.poses.camera.focal, atol=1e-3, rtol=0)
    assert (other.name, other.flavour, other.tta) == (raw.name, raw.flavour, raw.tta)
    assert not findings(other).problems


def test_poseaugs_two_cameras_are_told_apart_even_with_noisy_2d(tmp_path):
    arrays = maker.poseaug_arrays()
    arrays["pose2d"] = arrays["pose2d"] + 1e-3 * np.random.default_rng(0).normal(size=arrays["pose2d"].shape)
    np.savez(tmp_path / "test_3dhp.npz", **arrays)
    data = load(tmp_path / "test_3dhp.npz")
    assert data.subjects == ("TS1 to TS4", "TS5 and TS6")
    assert abs(int((data.subject == 0).sum()) - 160) <= 2


def test_one_camera_alone_is_recognised(tmp_path):
    arrays = maker.poseaug_arrays()
    for name, rows in (("TS1 to TS4", slice(0, 160)), ("TS5 and TS6", slice(160, 240))):
        np.savez(tmp_path / "part.npz", **{key: values[rows] for key, values in arrays.items()})
        assert load(tmp_path / "part.npz").subjects == (name,)


# -- protocols


@pytest.mark.parametrize("name", [name for name, benchmark in BENCHMARKS.items() if benchmark.dataset == "3DHP"])
def test_a_protocol_is_the_benchmark_of_that_name_but_for_the_frame_count(folder, name):
    data = load(folder, protocol=name)
    benchmark = BENCHMARKS[name]
    assert len(data) == ROWS[name]
    data = replace(data, poses=data.poses.convert(skeleton_named(benchmark.joints)))
    found = Protocol.parse(data.protocol("none"))
    assert found == replace(benchmark.protocol("none"), frames=ROWS[name])
    assert f"{benchmark.frames:,}" in data.notes["frames"]
    assert "not comparable" in data.notes["frames"]


def test_a_full_file_is_said_to_be_the_fields(folder, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "3DHP-2929", replace(BENCHMARKS["3DHP-2929"], frames=240))
    assert load(folder).notes["frames"] == "as the field's 3DHP-2929"
    assert "not comparable" in load(folder, gt="annot3").notes["frames"]


def test_the_other_ground_truth_is_another_flavour(folder):
    data = load(folder, protocol="3DHP-all", gt="univ_annot3")
    assert (data.name, data.flavour) == ("3DHP-all", "univ_annot3")


def test_adaptposes_frames_start_at_the_hundredth_of_ts3_and_ts4(folder):
    everything, cut_short = load(folder, protocol="3DHP-all"), load(folder, protocol="3DHP-all-24688")
    for number, name in enumerate(cut_short.subjects):
        skipped = 100 if name in ("TS3", "TS4") else 0
        whole = everything.poses.joints_2d[everything.subject == number][skipped:]
        torch.testing.assert_close(cut_short.poses.joints_2d[cut_short.subject == number], whole, atol=0, rtol=0)


def test_frames_with_a_joint_outside_the_image_are_left_out_on_request(tmp_path):
    arrays = maker.sequence_arrays(0)
    arrays["annot3"] = arrays["annot3"].copy()
    # Every second valid frame moves a metre and a half to the left, out of the image for some joints.
    arrays["annot3"][:: 2 * maker.VALID_STEP, ..., 0] -= 3000
    arrays["annot2"] = maker.project(arrays["annot3"], 0)
    maker.write_sequence(tmp_path / "TS1" / "annot_data.mat", arrays)
    everyone, inside = (only_ts1(tmp_path, protocol="3DHP-valid", inside=flag) for flag in (False, True))
    assert (len(everyone), len(inside)) == (40, 20)
    assert everyone.poses.valid.float().mean() == 0.5
    assert inside.poses.valid.all()


def test_clips_are_rows_that_follow_each_other_evenly_in_one_activity(folder):
    data = load(folder, sequences=("TS1", "TS2"))
    assert data.fps == pytest.approx(25 / maker.VALID_STEP)
    assert data.clip.bincount().tolist() == [20, 20, 20, 20]
    assert data.actions == ("Standing/Walking", "Sitting")
    assert load(folder, sequences=("TS1",), stride=2).clip.bincount().tolist() == [10, 10]
    assert len(load(folder / "test_3dhp.npz").clip.unique()) == 240, "no frame numbers: every row is alone"


def test_swapped_sides_are_found(tmp_path):
    order = list(MPI_INF_3DHP_17.flip)
    arrays = maker.sequence_arrays(0)
    arrays |= {name: arrays[name][..., order, :] for name in ("annot2", "annot3", "univ_annot3")}
    maker.write_sequence(tmp_path / "TS1" / "annot_data.mat", arrays)
    assert any("left and right" in problem for problem in findings(only_ts1(tmp_path)).problems)


def test_the_command_finds_nothing_wrong(folder, capsys):
    assert main(["mpi_inf_3dhp", f"root={folder}", "protocol=3DHP-all"]) == 0
    assert "3DHP-all/annot3/n720" in capsys.readouterr().out.replace("\n", "").replace(" ", "")


def test_made_files_agree_with_the_projection_of_their_joints():
    for number, joints in enumerate(maker.people()):
        joints = torch.from_numpy(joints).float()
        views = Views.calibrated(torch.full((len(joints),), number))
        assert views.gap(joints, torch.from_numpy(maker.project(joints.numpy(), number)).float()).max() < 0.01
        assert tuple(views.size[0].tolist()) == CALIBRATIONS[number].size
        raw = torch.from_numpy(maker.as_raw(maker.people()[number])).float()
        assert torch.equal(convert_joints(raw, MPI_INF_3DHP_17, H36M_17), joints)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"protocol": "2929"}, "3DHP-2929"),
        ({"gt": "annot4"}, "univ_annot3"),
        ({"intrinsics": "guessed"}, "estimated"),
        ({"sequences": ()}, "TS1"),
        ({"sequences": ("TS7",)}, "TS7"),
        ({"stride": 0}, "stride"),
        ({"fps": 0.0}, "fps"),
    ],
)
def test_wrong_options_say_what_is_possible(options, reason):
    with pytest.raises(ValueError, match=reason):
        make_options(MpiInf3DHP, "data", "mpi_inf_3dhp", {"root": "x"} | options)


@pytest.mark.parametrize(
    "options", [{"protocol": "3DHP-all"}, {"gt": "annot3"}, {"intrinsics": "estimated"}, {"protocol": "3DHP-valid"}]
)
def test_what_the_npz_files_do_not_hold_cannot_be_asked_of_them(folder, options):
    with pytest.raises(DataError, match="without position"):
        load(folder / "mpi_inf_3dhp_valid.npz", **options)


def test_sequences_cannot_be_chosen_in_a_file_that_does_not_name_them(folder):
    assert len(only_ts1(folder / "mpi_inf_3dhp_valid.npz")) == 40
    with pytest.raises(DataError, match="does not name the sequences"):
        only_ts1(folder / "test_3dhp.npz")
