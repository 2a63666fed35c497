"""The law of the checker: in a test, a value of a wrong type or shape never passes a call."""

from dataclasses import replace

import pytest
from jaxtyping import TypeCheckError as Wrong

from dg.augment.viewpoint import camera_direction, view_quantities
from dg.methods.diagnosis import percentiles
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints


@pytest.fixture
def poses() -> PoseBatch:
    return PoseBatch.from_joints(make_joints(4)[:, None], make_camera(4), H36M_17)


def test_a_tensor_has_the_axes_that_are_named():
    joints = make_joints(4)
    assert camera_direction(joints, H36M_17).shape == (4, 3)
    with pytest.raises(Wrong):
        camera_direction(joints[:, :, :2], H36M_17)
    with pytest.raises(Wrong):
        camera_direction(joints.int(), H36M_17)


def test_axes_of_one_name_are_equally_long_in_a_call_and_bound_anew_in_the_next(poses):
    with pytest.raises(Wrong):
        replace(poses, joints_2d=poses.joints_2d[:3])
    assert len(replace(poses, confidence=poses.joints_2d[..., 0])) == 4
    assert len(poses[:2]) == 2


def test_what_has_no_axes_is_checked_too(poses):
    with pytest.raises(Wrong):
        percentiles(1, view_quantities(poses))
    with pytest.raises(Wrong):
        view_quantities(poses.joints_3d)


def test_an_answer_of_another_shape_does_not_leave_its_function(monkeypatch):
    monkeypatch.setattr("dg.augment.viewpoint.body_frame", lambda joints, _: joints[:, :2])
    with pytest.raises(Wrong):
        camera_direction(make_joints(4), H36M_17)
