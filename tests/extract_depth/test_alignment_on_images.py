"""A disparity of unknown scale and shift comes back to the metres of the scene that made it."""

import numpy as np
import pytest

from dg.extract_depth.alignment import AlignmentError, GroundCamera, align_to_ground, align_to_joints

WIDTH, HEIGHT = 160, 120


def scene(height_m=1.6, pitch=0.15, focal=1.2):
    """z of a floor under a pitched camera, with a person standing on it, by intersecting each pixel's ray with both."""
    focal_px = focal * min(WIDTH, HEIGHT)
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(u - WIDTH / 2) / focal_px, (v - HEIGHT / 2) / focal_px, np.ones_like(u)], -1)
    down = np.array([0, np.cos(pitch), np.sin(pitch)])
    with np.errstate(divide="ignore"):
        floor = np.where(rays @ down > 0, height_m / (rays @ down), np.inf)
    z = np.minimum(floor, 40.0)
    person = np.zeros_like(z, dtype=bool)
    feet = int(np.argmin(np.abs(floor[:, WIDTH // 2] - 4.0)))
    person[feet - 45 : feet, 70:90] = True
    z[person] = 4.0
    horizon = (HEIGHT / 2 - np.tan(pitch) * focal_px) / HEIGHT
    joints = np.array([[80.0, feet - 44.0], [72.0, feet - 0.5], [np.nan, np.nan], [88.0, feet - 0.5]], np.float32)
    return z.astype(np.float32), joints[None], GroundCamera(height_m, horizon, focal)


@pytest.mark.parametrize("pitch", [0.15, 0.3])
@pytest.mark.parametrize("height_m", [0.8, 1.2])
def test_a_known_floor_gives_metres(pitch, height_m):
    z, joints, camera = scene(height_m, pitch)
    disparity = (7 / z - 0.3).astype(np.float32)
    np.testing.assert_allclose(align_to_ground(disparity, joints, camera), z, rtol=1e-3)


def test_a_thing_at_the_side_of_the_floor_changes_little_and_a_wrong_height_scales_depth():
    z, joints, camera = scene()
    cluttered = z.copy()
    cluttered[90:, :40] = 1.0
    np.testing.assert_allclose(align_to_ground(7 / cluttered, joints, camera)[:90], z[:90], rtol=1e-2)
    twice = GroundCamera(2 * camera.height_m, camera.horizon, camera.focal)
    np.testing.assert_allclose(align_to_ground(7 / z, joints, twice), 2 * z, rtol=1e-3)


def test_what_cannot_be_aligned_says_why():
    z, joints, camera = scene()
    low = joints + np.array([0, HEIGHT - 1 - np.nanmax(joints[..., 1])], np.float32)
    for disparity, seen, message in (
        (7 / z, low, "rows of floor"), (7 / z, joints * np.nan, "no joint"), (np.ones_like(z), joints, "no difference"),
        (-7 / z, joints, "smaller disparity"),
    ):  # fmt: skip
        with pytest.raises(AlignmentError, match=message):
            align_to_ground(disparity.astype(np.float32), seen.astype(np.float32), camera)


def test_two_joints_of_known_depth_are_enough_and_one_is_not():
    z, _, _ = scene()
    disparity = (7 / z - 0.3).astype(np.float32)
    depth = np.array([z[100, 5], np.nan, z[70, 5]], np.float32)
    seen = np.array([disparity[100, 5], 1.0, disparity[70, 5]], np.float32)
    np.testing.assert_allclose(align_to_joints(disparity, seen, depth), z, rtol=1e-3)
    with pytest.raises(AlignmentError, match="1 joints"):
        align_to_joints(disparity, seen[:2], depth[:2])
