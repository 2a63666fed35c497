"""A pose in 3D axes: camera axes, one scale, left and right told apart."""

import io

import numpy as np
import pytest
from PIL import Image

from dg.drawing.pose import LEFT, MIDDLE, REFERENCE, RIGHT, draw_pose, png_bytes, side_colour
from dg.pose.skeleton import H36M_16, H36M_17
from tests.conftest import STANDING_17

PICTURES_ARE_DRAWN = True  # see tests/conftest.py

POSE = STANDING_17.double().numpy()


def lines(figure) -> dict[tuple[int, int], object]:
    return dict(zip(H36M_17.bones, figure.axes[0].lines, strict=True))


def test_a_bone_lies_where_its_joints_are_and_y_points_down():
    figure = draw_pose(POSE, H36M_17)
    for bone, line in lines(figure).items():
        x, z, y = line.get_data_3d()
        assert np.allclose(np.stack([x, y, z], -1), POSE[list(bone)])
    bottom, top = figure.axes[0].get_zlim()
    assert bottom > top  # larger y is lower


def test_left_is_orange_and_right_blue():
    for (_, child), line in lines(draw_pose(POSE, H36M_17)).items():
        expected = LEFT if "left" in H36M_17.joints[child] else RIGHT if "right" in H36M_17.joints[child] else MIDDLE
        assert line.get_color() == expected == side_colour(H36M_17, child)


def test_all_axes_have_one_scale_and_hold_every_joint():
    axes = draw_pose(POSE, H36M_17, POSE + 0.3).axes[0]
    limits = np.sort([axes.get_xlim(), axes.get_zlim(), axes.get_ylim()], -1)  # x, y, z of the camera
    assert np.allclose(np.ptp(limits, axis=1), np.ptp(limits[0]))
    for pose in (POSE, POSE + 0.3):
        assert (pose >= limits[:, 0]).all()
        assert (pose <= limits[:, 1]).all()


def test_a_reference_is_grey_and_behind():
    axes = draw_pose(POSE, H36M_17, POSE + 0.1).axes[0]
    colours = [line.get_color() for line in axes.lines]
    assert colours[: len(H36M_17.bones)] == [REFERENCE] * len(H36M_17.bones)
    assert REFERENCE not in colours[len(H36M_17.bones) :]


def test_a_notebook_gets_a_picture_with_both_colours():
    picture = Image.open(io.BytesIO(draw_pose(POSE, H36M_17, title="a person")._repr_png_())).convert("RGB")
    pixels = np.asarray(picture).reshape(-1, 3).astype(int)
    for colour in (LEFT, RIGHT):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - wanted).max(-1) < 12).sum() > 100
    assert len(png_bytes(draw_pose(POSE, H36M_17), dpi=40)) < len(png_bytes(draw_pose(POSE, H36M_17), dpi=110))


@pytest.mark.parametrize("pose", [POSE[:16], POSE * np.nan])
def test_other_joints_are_refused(pose):
    with pytest.raises(ValueError, match="expected 17 finite joints"):
        draw_pose(pose, H36M_17)
    with pytest.raises(ValueError, match=r"expected 16 finite joints.*\[17, 3\]"):
        draw_pose(POSE, H36M_16)
