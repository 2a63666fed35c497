"""Keypoint files of every kind give the same people in pixels."""

import json

import numpy as np
import pytest

from dg.datasets.base import DataError
from dg.datasets.keypoints import read_keypoints
from dg.pose.joint_map import joint_map
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17

ROWS, SIZE = 5, (640, 480)


def people(joints=17, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 480, (ROWS, joints, 2)).astype(np.float32)


def names() -> np.ndarray:
    return np.array(["a.jpg", "b.jpg", "a.jpg", "c/d.jpg", "é.jpg"])


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_pixels_are_taken_as_they_are_and_images_may_have_several_people(tmp_path):
    joints = people()
    for image in (names(), np.char.encode(names(), "utf-8")):
        found = read_keypoints(save(tmp_path / "p.npz", image=image, joints_2d=joints), H36M_17)
        np.testing.assert_array_equal(found.pixels(*SIZE), joints)
        assert [found.names[i] for i in found.image] == names().tolist()
        assert len(found.names) == 4
    assert found.confidence is None


def test_they_follow_the_size_of_the_image(tmp_path):
    path = save(tmp_path / "p.npz", image=names(), joints_2d=people(), size=np.array(SIZE))
    found = read_keypoints(path, H36M_17)
    np.testing.assert_allclose(found.pixels(320, 240), people() / 2, rtol=1e-6)
    with pytest.raises(DataError, match=r"320 x 320.*640 x 480"):
        found.pixels(320, 320)


@pytest.mark.parametrize("size", [SIZE, (480, 640)])
def test_a_data_sets_2d_and_the_projection_of_its_3d_are_the_same_pixels(tmp_path, size):
    joints = people()
    flat = (2 * joints - np.array(size)) / max(size)
    camera = np.array([2.1, 2.2, 0.01, -0.02])
    solid = np.concatenate([(flat - camera[2:]) / camera[:2] * 4, np.full((ROWS, 17, 1), 4)], -1)
    for arrays in ({"pose2d": flat}, {"pose3d": solid, "intrinsics": camera}):
        found = read_keypoints(save(tmp_path / "d.npz", image=names(), **arrays), H36M_17)
        np.testing.assert_allclose(found.pixels(*size), joints, atol=1e-3)


def coco(joints, thirds, **image) -> dict:
    number = {name: i for i, name in enumerate(dict.fromkeys(names().tolist()))}
    triples = np.concatenate([joints, thirds[..., None]], -1).reshape(ROWS, -1)
    return {
        "images": [{"id": i, "file_name": name, **image} for name, i in number.items()],
        "annotations": [
            {"image_id": number[name], "keypoints": row} for name, row in zip(names(), triples.tolist(), strict=True)
        ],
    }


def test_cocos_joints_become_a_lifters_and_unknown_ones_make_what_rests_on_them_unknown(tmp_path):
    joints, thirds = people(), np.full((ROWS, 17), 2.0)
    thirds[0, COCO_17.index("left_hip")] = 0
    thirds[1, COCO_17.index("left_wrist")] = 1
    (tmp_path / "c.json").write_text(json.dumps(coco(joints, thirds, width=640, height=480)))
    found = read_keypoints(tmp_path / "c.json", H36M_17)
    wanted = joint_map(COCO_17, H36M_17).numpy() @ joints
    unknown = np.zeros((ROWS, 17), bool)
    for joint in ("left_hip", "pelvis", "spine"):
        unknown[0, H36M_17.index(joint)] = True
    pixels = found.pixels(*SIZE)
    np.testing.assert_array_equal(np.isnan(pixels).any(-1), unknown)
    np.testing.assert_allclose(pixels[~unknown], wanted[~unknown], rtol=1e-5)
    assert (found.confidence[1:] == 1).all()
    np.testing.assert_allclose(found.pixels(1280, 960)[~unknown], 2 * wanted[~unknown], rtol=1e-5)


def test_cocos_thirds_that_are_no_flags_are_confidences(tmp_path):
    thirds = np.random.default_rng(1).uniform(0.1, 1, (ROWS, 17))
    (tmp_path / "c.json").write_text(json.dumps(coco(people(), thirds)))
    found = read_keypoints(tmp_path / "c.json", H36M_16)
    np.testing.assert_allclose(found.confidence, thirds @ joint_map(COCO_17, H36M_16).numpy().T, rtol=1e-5)
    assert found.size is None


def test_depth_that_is_known_stays_with_joints_that_are_copied(tmp_path):
    depth = np.random.default_rng(2).uniform(2, 5, (ROWS, 17)).astype(np.float32)
    path = save(tmp_path / "p.npz", image=names(), joints_2d=people(), depth=depth, skeleton=np.array("coco_17"))
    found = read_keypoints(path, H36M_17)
    wrist = H36M_17.index("left_wrist")
    np.testing.assert_allclose(found.depth[:, wrist], depth[:, COCO_17.index("left_wrist")])
    assert np.isnan(found.depth[:, H36M_17.root]).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"joints_2d": people()[:2]}, "one name for each of 2"), ({"joints_2d": people(13)}, r"\[16, 17\]"),
        ({"joints_2d": people(13), "skeleton": np.array("nope")}, "skeleton"),
        ({"joints_2d": people(13), "skeleton": np.array("coco_17")}, "17 of coco_17"),
        ({"joints_2d": people()[..., 0]}, "joints_2d"), ({}, "expected joints_2d in pixels"),
        ({"joints_2d": people(), "confidence": np.full((ROWS, 17), 7.0)}, "from 0 to 1"),
        ({"joints_2d": people(), "confidence": np.ones((ROWS, 16))}, "confidence: expected"),
        ({"joints_2d": people(), "size": np.zeros(2)}, "size: expected"),
        ({"joints_2d": people(), "image": np.arange(ROWS)}, "image: expected a name"),
    ],
)  # fmt: skip
def test_malformed_arrays_are_named(tmp_path, arrays, message):
    path = save(tmp_path / "p.npz", **{"image": names(), **arrays})
    with pytest.raises(DataError, match=message):
        read_keypoints(path, H36M_17)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a JSON file"), ("[]", "expected `images`"), ('{"images": [], "annotations": []}', "found none"),
        ('{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2, 2]}]}', "expected `images`"),
        ("[" * 100_000, "nested too deep"),
    ],
)  # fmt: skip
def test_malformed_json_is_named(tmp_path, text, message):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_keypoints(tmp_path / "c.json", H36M_17)
    with pytest.raises(DataError, match="no such file"):
        read_keypoints(tmp_path / "other.json", H36M_17)


@pytest.mark.parametrize("number", ["1e400", "-1e39", "Infinity", "NaN", "1" + "0" * 400])
@pytest.mark.parametrize("place", [0, 2])
def test_numbers_that_are_no_pixels_are_refused(tmp_path, number, place):
    tree = coco(people(), np.full((ROWS, 17), 2.0))
    tree["annotations"][1]["keypoints"][place] = "HERE"
    (tmp_path / "c.json").write_text(json.dumps(tree).replace('"HERE"', number))
    with pytest.raises(DataError, match="keypoints"):
        read_keypoints(tmp_path / "c.json", H36M_17)


def test_infinite_pixels_of_an_archive_are_refused_and_unknown_ones_are_not(tmp_path):
    joints = people()
    joints[0, 3] = np.nan
    assert len(read_keypoints(save(tmp_path / "a.npz", image=names(), joints_2d=joints), H36M_17)) == ROWS
    joints[0, 3] = np.inf
    with pytest.raises(DataError, match="joints_2d: expected finite"):
        read_keypoints(save(tmp_path / "a.npz", image=names(), joints_2d=joints), H36M_17)
