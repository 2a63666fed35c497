"""A BVH file read back by a reader of its own gives the motion that it was made of."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dg.pose.skeleton import H36M_16, H36M_17
from dg.predict.bvh import bvh_text, motions
from tests.conftest import make_joints


def replay(text: str) -> tuple[dict[str, np.ndarray], float]:
    """Joints by name `[frames, 3]`, centimetres, by the format's definition."""
    head, motion = text.split("MOTION\n")
    rows = motion.splitlines()
    frames, seconds = int(rows[0].split(":")[1]), float(rows[1].split(":")[1])
    values = np.array([[float(v) for v in row.split()] for row in rows[2:]])
    assert len(values) == frames
    stack, column, found = [], 0, {}
    offset, name = None, ""
    for line in head.splitlines()[1:]:
        words = line.split()
        if words[0] in ("ROOT", "JOINT"):
            name = words[1]
        elif words[0] == "End":
            name = ""
        elif words[0] == "OFFSET":
            offset = np.array([float(v) for v in words[1:]])
            if not name:
                stack.append(None)
        elif words[0] == "CHANNELS":
            count = int(words[1])
            own = values[:, column : column + count]
            column += count
            places = own[:, :3] if count == 6 else np.zeros((frames, 3))
            turn = Rotation.from_euler("ZXY", own[:, -3:], degrees=True) if count else Rotation.identity(frames)
            place, above = stack[-1] if stack else (np.zeros((frames, 3)), Rotation.identity(frames))
            here = place + above.apply(np.tile(offset, (frames, 1))) + places
            found[name] = here
            stack.append((here, above * turn))
        elif words[0] == "}":
            stack.pop()
    assert column == values.shape[1]
    return found, seconds


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
def test_a_body_that_moves_rigidly_comes_back_joint_by_joint(skeleton):
    pose = make_joints(1, len(skeleton), noise=0.03, seed=1).numpy()[0].astype(float)
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.6, (6, 3)))
    joints = np.stack([turn.apply(pose - pose[0]) + np.array([0.1 * n, 0.2, 3.0]) for n, turn in enumerate(turns)])
    found, seconds = replay(bvh_text(joints, skeleton, 25.0))
    assert seconds == pytest.approx(1 / 25)
    assert set(found) == set(skeleton.joints)
    root = joints[:, skeleton.root]
    np.testing.assert_allclose(found["pelvis"] / 100, root * [1, -1, -1], atol=1e-5)
    for parent, child in skeleton.bones:
        names = skeleton.joints[parent], skeleton.joints[child]
        bone = (found[names[1]] - found[names[0]]) / 100
        true = (joints[:, child] - joints[:, parent]) * [1, -1, -1]
        np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), np.linalg.norm(true, axis=-1), atol=1e-4)
        limb = names[1].split("_")[-1] in ("knee", "ankle", "elbow", "wrist")
        cosine = (bone * true).sum(-1) / np.linalg.norm(bone, axis=-1) / np.linalg.norm(true, axis=-1)
        assert (cosine > 1 - (1e-6 if limb else 1e-4)).all(), names


def test_limbs_that_turn_half_around_are_followed():
    """The half turn has no axis of its own: an arm straight against its direction at rest."""
    pose = make_joints(1, 17, noise=0.0).numpy()[0].astype(float)
    pose -= pose[0]
    shoulder, elbow = H36M_17.index("left_shoulder"), H36M_17.index("left_elbow")
    pose[elbow] = pose[shoulder] - [0.3, 0, 0]
    found, _ = replay(bvh_text(pose[None], H36M_17))
    bone = found["left_elbow"] - found["left_shoulder"]
    assert np.isfinite(bone).all()
    assert np.linalg.norm(bone[0]) == pytest.approx(30, rel=1e-3)


def test_frames_without_the_person_repeat_the_one_before():
    rows = [(4, np.zeros((17, 3))), (7, np.ones((17, 3)))]
    assert motions(rows, 5)[:, 0, 0].tolist() == [0, 0, 0, 1, 1]
