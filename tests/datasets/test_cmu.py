"""Acclaim's ASF and AMC files and CMU's performers."""

import math

import numpy as np
import pytest
import torch

from dg.datasets.asf_amc import bone_ends, read_amc, read_asf
from dg.datasets.base import DataError
from dg.datasets.cmu import CMU, WRIST_ALONG, Options, h36m_joints
from dg.datasets.h36m import MOVING_JOINTS
from dg.files.safe_load import load_npz
from dg.pose.bones import bone_lengths
from dg.pose.rotation import procrustes_rotation
from dg.pose.skeleton import H36M_17
from tests.datasets.cmu_maker import PARENTS, amc, asf, shape_of, write_cmu
from tests.datasets.malformed import cut

UNIT_M = 0.0254 / 0.45
FIGURES = {"02_01": 343, "02_04": 483, "02_06": 2235, "02_07": 2251, "86_01": 4579, "86_09": 4794}


@pytest.fixture
def folder(tmp_path):
    write_cmu(tmp_path)
    return tmp_path


def turn(axis: int, degrees: float) -> np.ndarray:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def turns(angles) -> np.ndarray:
    """About x first, then y, then z."""
    return turn(2, angles[2]) @ turn(1, angles[1]) @ turn(0, angles[0])


def slow_ends(frame: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """One frame of the made skeleton, bone after bone, by the format's definition."""
    x, y, z, *angles = frame["root"]
    world, ends = {"root": turns(angles)}, {"root": UNIT_M * np.array([x, y, z])}
    for bone, parent in PARENTS.items():
        direction, length, axes, dof = shape_of(bone)
        angles = [0.0, 0.0, 0.0]
        for name, value in zip(dof.split(), frame.get(bone, []), strict=True):
            angles["xyz".index(name[1])] = value
        own = turns(axes)
        world[bone] = world[parent] @ own @ turns(angles) @ np.linalg.inv(own)
        unit = np.array(direction) / np.linalg.norm(direction)
        ends[bone] = ends[parent] + UNIT_M * length * world[bone] @ unit
    return ends


def test_forward_kinematics_agree_with_a_slow_twin(folder):
    skeleton = read_asf(folder / "07.asf")
    ends = bone_ends(skeleton, read_amc(folder / "07_01.amc", skeleton))
    text = amc(0.0) + "25\n"
    for number in (0, 7, 23):
        lines = text.split(f"\n{number + 1}\n")[1].split(f"\n{number + 2}\n")[0].splitlines()
        frame = {words[0]: [float(w) for w in words[1:]] for words in map(str.split, lines)}
        for bone, end in slow_ends(frame).items():
            np.testing.assert_allclose(ends[bone][number], end, atol=1e-9)


def test_a_gzipped_motion_is_the_same_motion(folder):
    import gzip

    skeleton = read_asf(folder / "07.asf")
    (folder / "07_02.amc").write_bytes(gzip.decompress((folder / "07_02.amc.gz").read_bytes()))
    zipped, plain = (read_amc(folder / f"07_02.amc{end}", skeleton) for end in (".gz", ""))
    assert all(torch.equal(zipped[bone], plain[bone]) for bone in plain)


def test_bones_keep_the_length_that_the_skeleton_file_states(folder):
    skeleton = read_asf(folder / "16.asf")
    ends = bone_ends(skeleton, read_amc(folder / "16_01.amc", skeleton))
    for bone in skeleton.bones:
        stated = 1.05 * shape_of(bone.name)[1] * UNIT_M
        torch.testing.assert_close(
            (ends[bone.name] - ends[bone.parent]).norm(dim=-1), torch.full((24,), stated, dtype=torch.float64)
        )


def test_the_pelvis_is_between_the_hips_and_the_wrist_inside_its_bone(folder):
    skeleton = read_asf(folder / "07.asf")
    ends = bone_ends(skeleton, read_amc(folder / "07_01.amc", skeleton))
    at = dict(zip(H36M_17.joints, h36m_joints(ends).unbind(1), strict=True))
    torch.testing.assert_close(at["pelvis"], (at["left_hip"] + at["right_hip"]) / 2)
    length = (ends["lwrist"] - ends["lradius"]).norm(dim=-1)
    torch.testing.assert_close(
        (at["left_wrist"] - at["left_elbow"] - (ends["lradius"] - ends["lhumerus"])).norm(dim=-1), WRIST_ALONG * length
    )


def test_motions_lie_in_the_middle_of_the_room_and_keep_their_height(folder):
    data = CMU(Options(str(folder))).load("test")
    root = data.poses.joints_3d[:, 0, 0]
    for clip in data.clip.unique()[:8]:
        assert 4.0 < root[data.clip == clip][:, 2].mean() < 6.5
        assert root[data.clip == clip][:, 0].mean().abs() < 0.7


def test_stride_and_people(folder):
    whole = CMU(Options(str(folder))).load("test")
    assert whole.subjects == ("07", "16", "35")
    assert whole.actions == ("07_01", "07_02", "16_01", "16_02", "35_01", "35_02")
    assert len(whole) == 6 * 24 * 4
    fourth = CMU(Options(str(folder), stride=4)).load("test")
    assert len(fourth) == 6 * 6 * 4
    assert fourth.fps == 30.0
    split = CMU(Options(str(folder), subjects_train=("16", "35")))
    assert split.load("test").subjects == ("07",)
    assert split.load("train").subjects == split.load("val").subjects == ("16", "35")


def replaced(text, old, new):
    assert old in text
    return text.replace(old, new)


MALFORMED = {
    "no skeleton": (lambda f: (f / "07.asf").unlink(), "07.asf"),
    "empty skeleton": (lambda f: (f / "07.asf").write_text(""), "expected text"),
    "skeleton is a web page": (lambda f: (f / "07.asf").write_text("<html>"), "ASF"),
    "skeleton is binary": (lambda f: (f / "07.asf").write_bytes(b"\0\xff\xfe"), "another kind"),
    "no hierarchy": (lambda f: (f / "07.asf").write_text(asf().split(":hierarchy")[0]), "hierarchy"),
    "truncated skeleton": (lambda f: (f / "07.asf").write_text(asf()[:900]), "missing"),
    "no unit of length": (lambda f: (f / "07.asf").write_text(replaced(asf(), "  length 0.45\n", "")), "length"),
    "zero unit of length": (lambda f: (f / "07.asf").write_text(replaced(asf(), "length 0.45", "length 0")), "ASF"),
    "direction is no unit": (lambda f: (f / "07.asf").write_text(replaced(asf(), " 0.0 1.0 0.0", " 0 9 0")), "unit"),
    "children before parents": (lambda f: (f / "07.asf").write_text(replaced(asf(), "    root l", "    x l")), "x has"),
    "a bone without a name": (lambda f: (f / "07.asf").write_text(replaced(asf(), "name head", "nam head")), "name"),
    "other bones": (lambda f: (f / "07.asf").write_text(asf().replace("head", "crown")), "head"),
    "motion is a web page": (lambda f: (f / "07_01.amc").write_text("<html>"), "frame 1"),
    "empty motion": (lambda f: (f / "07_01.amc").write_text(" "), "expected text"),
    "truncated motion": (lambda f: cut(lambda p: p.write_text(amc(0)))(f / "07_01.amc"), "not like frame 1"),
    "truncated gzip": (lambda f: cut(lambda p: None)(f / "07_02.amc.gz"), "truncated"),
    "gzip that is none": (lambda f: (f / "07_02.amc.gz").write_text(amc(0)), "another kind"),
    "frame missing": (lambda f: (f / "07_01.amc").write_text(replaced(amc(0), "\n9\n", "\n10\n")), "frame 9"),
    "lines in another order": (
        lambda f: (f / "07_01.amc").write_text(amc(0)[::-1].replace("daeh", "xaeh", 1)[::-1]),
        "frame 24",
    ),
    "unknown bone": (lambda f: (f / "07_01.amc").write_text(amc(0).replace("head", "crown")), "crown"),
    "too many numbers": (lambda f: (f / "07_01.amc").write_text(amc(0).replace("head", "head 1.0")), "head"),
    "no numbers": (lambda f: (f / "07_01.amc").write_text(replaced(amc(0), "root 0.0 17.0", "root x 17.0")), "root"),
    "NaN": (lambda f: (f / "07_01.amc").write_text(replaced(amc(0), "root 0.0 17.0", "root nan 17.0")), "finite"),
    "radians": (lambda f: (f / "07_01.amc").write_text(replaced(amc(0), ":DEGREES", ":RADIANS")), "radians"),
    "millimetres": (
        lambda f: (f / "07.asf").write_text(replaced(asf(), "length 0.45", "length 0.00045")),
        "millimetres",
    ),
    "a name without a motion": (lambda f: (f / "walk.amc").write_text(amc(0)), "walk.amc"),
}


@pytest.mark.parametrize(("spoil", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_files_are_one_clear_error(folder, spoil, reason):
    spoil(folder)
    with pytest.raises(DataError, match=reason) as caught:
        CMU(Options(str(folder))).load("test")
    assert any(name in str(caught.value) for name in ("07.asf", "07_01.amc", "07_02.amc.gz", "walk.amc"))


def test_a_folder_that_is_not_there_or_empty_is_named(tmp_path):
    for root, reason in ((tmp_path / "nowhere", "no such folder"), (tmp_path, "found none")):
        with pytest.raises(DataError, match=reason):
            CMU(Options(str(root))).load("test")


@pytest.mark.parametrize("trained_on", [("nobody",), ("07", "16", "35")])
def test_training_people_must_be_there_and_leave_someone_to_test(folder, trained_on):
    with pytest.raises(DataError, match="some, not all"):
        CMU(Options(str(folder), subjects_train=trained_on)).load("train")


@pytest.mark.shared
def test_real_motions_have_the_stated_bones_and_frames(shared):
    root = shared / "data" / "cmu_asfamc"
    for name, frames in FIGURES.items():
        skeleton = read_asf(root / f"{name[:2]}.asf")
        motion = read_amc(root / f"{name}.amc.gz", skeleton)
        assert len(motion["root"]) == frames
        assert skeleton.unit_m == pytest.approx(0.056444, abs=1e-6)
        ends = bone_ends(skeleton, motion)
        for bone in skeleton.bones:
            length = (ends[bone.name] - ends[bone.parent]).norm(dim=-1)
            torch.testing.assert_close(length, bone.offset.norm().expand(frames), atol=1e-9, rtol=0)


@pytest.mark.shared
@pytest.mark.parametrize("clip", ["02_01.0", "02_04.0", "02_06.0", "02_07.0", "86_01.0", "86_09.0"])
def test_real_motions_are_those_of_the_npz_file_but_for_where_they_stand(shared, clip):
    """The npz file has every fourth frame, turned about the vertical and moved; nothing else may differ."""
    root = shared / "data"
    archive = load_npz(root / "cmu" / "data_3d_h36m.npz", ["positions_3d"])["positions_3d"].item()
    expected = next(actions[clip] for actions in archive.values() if clip in actions)[:, list(MOVING_JOINTS)]
    expected = torch.from_numpy(expected).double()
    skeleton = read_asf(root / "cmu_asfamc" / f"{clip[:2]}.asf")
    ends = bone_ends(skeleton, read_amc(root / "cmu_asfamc" / f"{clip[:5]}.amc.gz", skeleton))
    ours = h36m_joints(ends)[::4][: len(expected)]
    theirs = expected - expected.mean((0, 1))
    ours = ours - ours.mean((0, 1))
    rotation = procrustes_rotation(torch.einsum("fja,fjb->ab", theirs, ours))
    assert (ours @ rotation.T - theirs).norm(dim=-1).max() < 1e-5
    torch.testing.assert_close(
        rotation @ torch.tensor([0.0, 1.0, 0.0]).double(), torch.tensor([0.0, 0.0, 1.0]).double()
    )
    assert bone_lengths(ours, H36M_17).shape[1] == 16
