"""What every keypoint format must do. A new line of the table needs a maker in `tests/images/keypoint_files.py`."""

import json

import numpy as np
import pytest

from dg.files.errors import FileFormatError
from dg.images.keypoint_file import read_keypoint_file
from dg.images.keypoint_formats import KEYPOINT_FORMATS
from dg.images.keypoint_formats.content import open_content
from dg.images.people import joints_on
from dg.pose.skeleton import H36M_16, H36M_17
from dg.settings.plugins import resolve
from tests.images.keypoint_files import FILES, HEIGHT, MISSING, WIDTH

SIZE = (WIDTH, HEIGHT)
CASES = pytest.mark.parametrize(("name", "variant"), list(FILES), ids=lambda v: v.replace(" ", "-"))
TRACKED = {("coco", "annotations"), ("alphapose", "17"), ("alphapose", "Halpe 26"), ("ultralytics", "json"),
           ("ultralytics", "labels"), ("npz", "pixels")}  # fmt: skip
# Values that take the place of a number somewhere in a file.
WRONG = ["far", None, 1e300]


def test_every_format_has_a_small_file_of_its_own():
    assert {name for name, _ in FILES} == set(KEYPOINT_FORMATS)


@CASES
def test_its_file_is_recognised_by_no_format_that_is_tried_before(name, variant, tmp_path):
    path, _ = FILES[name, variant](tmp_path)
    content = open_content(path)
    found = [n for n in KEYPOINT_FORMATS if resolve(KEYPOINT_FORMATS, "keypoints", n).recognises(content)]
    assert found == [name]


@CASES
def test_frames_people_joints_and_confidence_are_those_of_the_file(name, variant, tmp_path):
    path, truth = FILES[name, variant](tmp_path)
    found = read_keypoint_file(path, SIZE)
    frames, people = truth.joints.shape[:2]
    assert found.skeleton == truth.skeleton
    assert found.notes == ()
    assert len(found.frames) == frames
    assert found.frame.tolist() == [f for f in range(frames) for _ in range(people)]
    np.testing.assert_allclose(found.joints_2d, truth.joints.reshape(found.joints_2d.shape), atol=5e-3)
    missing = np.isnan(found.joints_2d).any(-1)
    assert missing.sum() == 1
    assert missing[:, found.skeleton.index(MISSING)].any()
    assert (found.confidence[missing] == 0).all()
    assert (found.confidence[~missing] > 0.5).all()
    assert found.frames.size.tolist() == [list(SIZE)] * frames
    if (name, variant) in TRACKED:
        assert found.track.tolist() == list(truth.tracks) * frames


@CASES
@pytest.mark.parametrize("target", [H36M_16, H36M_17], ids=lambda s: s.name)
def test_its_joints_become_a_lifters_and_a_missing_one_is_missing(name, variant, target, tmp_path):
    path, truth = FILES[name, variant](tmp_path)
    found = read_keypoint_file(path, SIZE)
    joints, confidence = joints_on(found.joints_2d, found.confidence, found.skeleton, target)
    unknown = np.isnan(joints).any(-1)
    assert np.argwhere(unknown)[:, 1].tolist() == [target.index(MISSING)]
    assert (confidence[unknown] == 0).all()
    hips = truth.joints[..., [truth.skeleton.index(f"{side}_hip") for side in ("left", "right")], :]
    np.testing.assert_allclose(joints[:, target.root], hips.mean(2).reshape(-1, 2), atol=5e-3)
    assert (joints[:, target.index("head"), 1] < joints[:, target.root, 1]).all()


@CASES
def test_a_wrong_value_anywhere_is_one_message_that_names_the_file_or_no_harm(name, variant, tmp_path):
    path, _ = FILES[name, variant](tmp_path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    if files[0].suffix != ".json":
        files[0].write_bytes(files[0].read_bytes()[:-40])
        _refused_or_finite(path)
        return
    tree = json.loads(files[0].read_text())
    spots = list(_spots(tree))
    for spot in spots[:: max(1, len(spots) // 6)]:
        for value in WRONG:
            changed = json.loads(files[0].read_text())
            parent = changed
            for step in spot[:-1]:
                parent = parent[step]
            parent[spot[-1]] = value
            files[0].write_text(json.dumps(changed))
            _refused_or_finite(path)
            files[0].write_text(json.dumps(tree))


def _refused_or_finite(path):
    message, found = "", None
    try:
        found = read_keypoint_file(path, SIZE)
    except FileFormatError as error:
        message = str(error)
    if found is not None:
        assert np.isfinite(found.joints_2d[found.confidence > 0]).all()
        return
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 900


def _spots(tree, at=()):
    """Places in a tree: all keys, and the first and last entries of lists."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield (*at, key)
            yield from _spots(value, (*at, key))
    elif isinstance(tree, list) and tree:
        for index in {0, len(tree) - 1}:
            yield (*at, index)
            yield from _spots(tree[index], (*at, index))
