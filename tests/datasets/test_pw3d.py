"""3DPW: SMPL's joints and those regressed from the surface, in the camera frame of upright and lying videos."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dg.body.smpl_model import SurfaceJoints, read_smpl_model
from dg.datasets.base import DataError
from dg.datasets.check import main
from dg.datasets.findings import findings
from dg.datasets.protocols import BENCHMARKS, Protocol
from dg.datasets.pw3d import PW3D, Options
from dg.datasets.pw3d_regressed import read_regressor
from dg.pose.joint_map import skeleton_named
from dg.pose.skeleton import SMPL_24
from dg.settings.plugins import make_options
from tests.datasets import pw3d_maker as maker

PEOPLE, KEPT = 6, 6 * maker.FRAMES - 9
NAME = "downtown_cafe_00"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("3dpw")
    maker.make_regressed(folder)
    return folder


@pytest.fixture(scope="module")
def regressed_options(folder):
    return {
        "protocol": "3DPW-jreg",
        "smpl": str(folder / "SMPL_{gender}.npz"),
        "regressor": str(folder / "J_regressor_h36m.npy"),
    }


def load(root, split="test", **options):
    return PW3D(Options(str(root), **options)).load(split)


def seen(sequence, joints) -> np.ndarray:
    """World joints in the camera frame, as written out by hand."""
    motions = sequence["cam_poses"]
    return np.stack([(m[:3, :3] @ j.T).T + m[:3, 3] for m, j in zip(motions, joints, strict=True)])


# -- PoseBench3D's protocol


def test_joints_come_to_the_camera_frame_and_their_pixels_are_the_projection(folder):
    data = load(folder)
    assert len(data) == KEPT
    start = 0
    for seed, name in enumerate(maker.SEQUENCES["test"], 4):
        content = maker.sequence_content(name, seed)
        for person in range(2):
            valid = content["campose_valid"][person] > 0
            wanted = seen(content, content["jointPositions"][person].reshape(-1, 24, 3))[valid]
            rows = slice(start, start := start + int(valid.sum()))
            torch.testing.assert_close(
                data.poses.joints_3d[rows, 0], torch.from_numpy(wanted).float(), atol=1e-5, rtol=0
            )
            pixels = wanted @ content["cam_intrinsics"].T
            pixels = pixels[..., :2] / pixels[..., 2:]
            size = np.array([1920, 1080] if name in maker.LYING else [1080, 1920])
            flat = torch.from_numpy((2 * pixels - size) / 1920).float()
            torch.testing.assert_close(data.poses.joints_2d[rows, 0], flat, atol=1e-5, rtol=0)
    assert start == len(data)


def test_a_lying_video_is_divided_by_the_same_side_as_an_upright_one(folder):
    data = load(folder)
    camera = data.poses.camera
    lying = torch.tensor([maker.LYING[0] in data.subjects[n] for n in data.subject.tolist()])
    assert lying.sum() == 2 * maker.FRAMES - 3
    torch.testing.assert_close(camera.focal, torch.tensor([2 * f / 1920 for f in maker.FOCAL]).expand(len(data), 2))
    assert camera.extent[lying].unique(dim=0).tolist() == [[1.0, 0.5625]]
    assert camera.extent[~lying].unique(dim=0).tolist() == [[0.5625, 1.0]]
    assert "77 from landscape" in data.notes["upright"]


def test_frames_without_a_valid_camera_are_left_out_counted_and_end_a_clip(folder):
    data = load(folder)
    assert data.notes["left_out"].startswith("9 person-frames of 3 sequences")
    assert data.clip.bincount().tolist() == 3 * [10, 27, 40]
    assert len(data.subjects) == PEOPLE
    assert data.actions == ("downtown_cafe", "office_phone")


def test_every_second_frame_stays_evenly_spaced(folder):
    data = load(folder, stride=2)
    assert data.fps == 15
    # Even frames: 0..8, then 14..38 after the gap of 10 to 12, and 0..38 of the second person.
    assert data.clip.bincount().tolist() == 3 * [5, 13, 20]


def test_each_part_of_the_data_set_is_its_own_folder(folder):
    names = {split: load(folder, split).subjects for split in ("train", "val", "test")}
    assert [len(n) for n in names.values()] == [4, 2, 6]
    assert names["val"] == ("outdoors_wave_00 person 0", "outdoors_wave_00 person 1")
    assert "the field's 3DPW-PB is the test part" in load(folder, "train").notes["frames"]
    assert load(folder / "sequenceFiles").digest == load(folder).digest


def test_a_person_at_the_edge_is_evaluated_but_not_trained_on(tmp_path):
    content = maker.sequence_content(NAME, 1)
    content["cam_poses"][:20, 0, 3] += 1.2
    maker.write_pickle(tmp_path / "test" / f"{NAME}.pkl", content)
    data = load(tmp_path)
    assert len(data) == 77
    assert 0 < data.poses.valid.float().mean() < 0.9
    assert data.notes["out_of_frame"].startswith(str(int((~data.poses.valid).sum())))


def test_swapped_sides_are_found(tmp_path):
    content = maker.sequence_content(NAME, 1)
    content["jointPositions"] = [
        j.reshape(-1, 24, 3)[:, list(SMPL_24.flip)].reshape(-1, 72) for j in content["jointPositions"]
    ]
    maker.write_pickle(tmp_path / "test" / f"{NAME}.pkl", content)
    assert any("left and right" in problem for problem in findings(load(tmp_path)).problems)


# -- the J_regressor protocol


def test_regressed_joints_are_those_of_the_posed_body_in_the_camera_frame(folder, regressed_options):
    data = load(folder, **regressed_options)
    content = maker.sequence_content(maker.SEQUENCES["test"][0], 4)
    matrix = torch.from_numpy(maker.regressor(order=list(range(17))))
    surface = SurfaceJoints(read_smpl_model(folder / "SMPL_FEMALE.npz"), matrix)
    given = [torch.from_numpy(content[key][1]) for key in ("poses", "betas", "trans")]
    _, world = surface.of(given[0].view(-1, 24, 3), *given[1:])
    wanted = torch.from_numpy(seen(content, world.numpy())).float()
    torch.testing.assert_close(data.poses.joints_3d[37:77, 0], wanted, atol=1e-5, rtol=0)
    assert data.notes["smpl"].startswith("0.0 mm")
    assert not findings(data).problems


def test_it_keeps_the_same_frames_as_posebench(folder, regressed_options):
    one, other = load(folder, **regressed_options), load(folder)
    for name in ("subject", "action", "clip"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(one.poses.camera.focal, other.poses.camera.focal)
    assert one.digest != other.digest


def test_both_orders_of_the_legs_give_the_same_joints(folder, tmp_path, regressed_options):
    np.save(tmp_path / "corrected.npy", maker.regressor(order=list(range(17))))
    one = load(folder, **regressed_options)
    other = load(folder, **regressed_options | {"regressor": str(tmp_path / "corrected.npy")})
    assert torch.equal(one.poses.joints_3d, other.poses.joints_3d)


def test_the_gender_of_each_person_chooses_the_body(folder, regressed_options):
    gendered = load(folder, **regressed_options)
    for number, gender in enumerate(("MALE", "FEMALE")):
        data = load(folder, **regressed_options | {"smpl": str(folder / f"SMPL_{gender}.npz")})
        # The first person of each sequence is a man, the second a woman.
        same = (data.poses.joints_3d == gendered.poses.joints_3d).flatten(1).all(1)
        assert torch.equal(same, data.subject % 2 == number)


def test_another_body_than_the_sequences_own_is_refused(folder, tmp_path, regressed_options):
    fields = maker.smpl_fields()
    np.savez(tmp_path / "SMPL.npz", **fields | {"v_template": 1.5 * fields["v_template"]})
    with pytest.raises(DataError, match="expected the SMPL model that the sequence was made with"):
        load(folder, **regressed_options | {"smpl": str(tmp_path / "SMPL.npz")})


def test_a_regressor_is_read_as_it_is(folder):
    path = folder / "J_regressor_h36m.npy"
    np.testing.assert_array_equal(read_regressor(str(path)), np.load(path))


def test_a_missing_body_file_is_one_clear_error(folder, regressed_options):
    with pytest.raises(DataError, match=r"SMPL_MALE\.pkl: no such file.*data\.smpl"):
        load(folder, **regressed_options | {"smpl": str(folder / "SMPL_{gender}.pkl")})


# -- protocols and the command


@pytest.mark.parametrize("name", [name for name, benchmark in BENCHMARKS.items() if benchmark.dataset == "3DPW"])
def test_a_protocol_is_the_benchmark_of_that_name_but_for_the_frame_count(folder, regressed_options, name):
    data = load(folder, **regressed_options if name == "3DPW-jreg" else {"normalise": "posebench"})
    benchmark = BENCHMARKS[name]
    data = replace(data, poses=data.poses.convert(skeleton_named(benchmark.joints)))
    assert Protocol.parse(data.protocol("none")) == replace(benchmark.protocol("none"), frames=KEPT)
    assert "not comparable" in data.notes["frames"]


def test_a_full_data_set_is_said_to_be_the_fields(folder, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "3DPW-PB", replace(BENCHMARKS["3DPW-PB"], frames=KEPT))
    assert load(folder).notes["frames"] == "as the field's 3DPW-PB"


def test_the_command_finds_nothing_wrong(folder, regressed_options, capsys):
    assert main(["pw3d", f"root={folder}"]) == 0
    assert main(["pw3d", f"root={folder}", *[f"{k}={v}" for k, v in regressed_options.items()]]) == 0
    assert "nothing looks wrong" in capsys.readouterr().out


def test_a_folder_without_sequences_says_where_they_were_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"validation: expected 3DPW's sequences"):
        load(tmp_path, "val")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"protocol": "3DPW"}, "3DPW-jreg"),
        ({"protocol": "3DPW-jreg"}, "needs both smpl and regressor"),
        ({"smpl": "x", "regressor": "y"}, "no other takes them"),
        ({"stride": 0}, "stride"),
        ({"fps": -1.0}, "fps"),
    ],
)
def test_wrong_options_say_what_is_possible(options, reason):
    with pytest.raises(ValueError, match=reason):
        make_options(PW3D, "data", "pw3d", {"root": "x"} | options)


def test_the_whole_of_it_is_one_test_part_and_a_source(folder):
    parts = [load(folder, split) for split in ("train", "val", "test")]
    whole = PW3D(Options(str(folder), whole=True))
    found = whole.load("test")
    assert len(found) == sum(map(len, parts))
    torch.testing.assert_close(found.poses.joints_3d, torch.cat([part.poses.joints_3d for part in parts]))
    assert found.identity not in [part.identity for part in parts]
    assert torch.equal(whole.load("val").poses.joints_3d, parts[1].poses.joints_3d)
    trained = torch.cat([parts[0].poses.joints_3d, parts[2].poses.joints_3d])
    torch.testing.assert_close(whole.load("train").poses.joints_3d, trained)
    with pytest.raises(ValueError, match="normalise=frame"):
        Options("x", normalise="posebench", image_depth="depth.npz")
