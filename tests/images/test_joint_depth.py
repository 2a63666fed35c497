"""Depth in the disks around joints equals a loop over pixels, whatever lies outside the image."""

import numpy as np
import pytest

from dg.images.joint_depth import depth_at_joints, joint_depths, torso_px
from dg.pose.skeleton import H36M_17
from dg.pose.uadd import RadiusLaw


def disk_by_loop(depth, joint, radius):
    height, width = depth.shape
    u0 = min(max(int(np.floor(joint[0])), 0), width - 1)
    v0 = min(max(int(np.floor(joint[1])), 0), height - 1)
    inside = [
        depth[v, u]
        for v in range(height)
        for u in range(width)
        if (u - u0) ** 2 + (v - v0) ** 2 <= radius**2 and np.isfinite(depth[v, u]) and depth[v, u] > 0
    ]
    return (np.median(inside), min(inside), max(inside)) if inside else (np.nan,) * 3


def scene(width, height, people, seed=0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 9, (height, width)).astype(np.float32)
    joints = rng.uniform(-30, 1.2, (people, 17, 2)) * [1, 1] + rng.uniform(0, 1, (people, 17, 2)) * [width, height]
    return depth, joints.astype(np.float32), rng.uniform(0, 1, (people, 17)).astype(np.float32)


@pytest.mark.parametrize("mode", ["linear", "scale"])
@pytest.mark.parametrize(("width", "height"), [(90, 60), (60, 90)])
def test_disks_equal_a_loop_over_pixels(mode, width, height):
    depth, joints, confidence = scene(width, height, 3)
    depth[5:9, 7:20] = np.nan
    depth[20:22, :] = -1.0
    law = RadiusLaw(mode, 20.0, 120.0)
    torso = torso_px(joints, H36M_17)
    found = joint_depths(depth, joints, confidence, law, torso)
    side = max(width, height)
    for person in range(3):
        for joint in range(17):
            doubt = 1 - confidence[person, joint]
            pixels = 20 + 100 * doubt
            if mode == "scale":
                pixels = np.clip(0.04 * torso[person] * 1000 / side * (1 + 3 * doubt) ** 1.5, 20, 120)
            wanted = disk_by_loop(depth, joints[person, joint], pixels * side / 1000)
            got = [getattr(found, name)[person, joint] for name in ("median", "nearest", "farthest")]
            np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_one_person_gives_what_it_gives_among_others_and_without_confidence_is_certain():
    depth, joints, _ = scene(80, 80, 2)
    law, torso = RadiusLaw("scale"), torso_px(joints, H36M_17)
    both = joint_depths(depth, joints, None, law, torso)
    certain = joint_depths(depth, joints[1], np.ones(17, np.float32), law, float(torso[1]))
    for name in ("median", "nearest", "farthest"):
        np.testing.assert_array_equal(getattr(both, name)[1], getattr(certain, name))


def test_unknown_joints_and_empty_maps_have_no_depth():
    depth, joints, confidence = scene(50, 50, 1)
    joints[0, 4] = np.nan
    found = joint_depths(depth, joints, confidence, RadiusLaw(), 10.0)
    assert np.isnan(found.median[0, 4])
    assert np.isfinite(np.delete(found.median[0], 4)).all()
    assert np.isnan(depth_at_joints(depth, joints)[0, 4])
    nothing = joint_depths(np.full((50, 50), np.inf, np.float32), joints, confidence, RadiusLaw(), 10.0)
    assert np.isnan(nothing.farthest).all()


def test_depth_right_at_joints_is_the_bilinear_mean_of_pooled_pixels():
    depth, joints, _ = scene(40, 30, 1)
    found = depth_at_joints(depth, joints)[0]
    # Pixels beyond the image do not count in the pooling.
    padded = np.pad(depth, 2, constant_values=np.inf)
    pooled = np.min([padded[v : v + 32, u : u + 42] for v in range(3) for u in range(3)], axis=0)
    for joint, value in zip(joints[0], found, strict=True):
        x, y = np.clip(joint, 0.5, [39.5, 29.5]) - 0.5
        u, v = int(np.floor(x)), int(np.floor(y))
        weights = np.outer([1 - (y - v), y - v], [1 - (x - u), x - u])
        taps = pooled[v + 1 : v + 3, u + 1 : u + 3]
        wanted = (weights * np.where(np.isfinite(taps), taps, 0)).sum()
        np.testing.assert_allclose(value, wanted, rtol=1e-5)
