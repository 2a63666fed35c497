"""The law of the checker: in a test, a value of a wrong type or shape never passes a call."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import Bool, Float, Float32, Int, Shaped, jaxtyped
from jaxtyping import TypeCheckError as Wrong
from torch import Tensor

from dg.augment.viewpoint import camera_direction, view_quantities
from dg.methods.diagnosis import percentiles
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints
from tests.quick_shapes import quick


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


HINTS = [
    Float[Tensor, "a b 3"], Float[Tensor, "a a"], Float[Tensor, " a"], Float[Tensor, ""], Int[Tensor, "a _"],
    Float32[Tensor, "b a"], Bool[Tensor, " b"], Shaped[Tensor, "a b"], Float[Tensor, "*more a"], Float[Tensor, "a #b"],
]  # fmt: skip
SHAPES = [(), (2,), (3,), (2, 2), (2, 3), (3, 2), (2, 3, 3), (2, 3, 1), (1, 2, 3)]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.int64, torch.bool]


@pytest.mark.parametrize("first", HINTS, ids=repr)
def test_the_quick_form_of_a_hint_judges_as_jaxtyping_does(first):
    """Also the second value of a call, whose axes may have been bound by the first, or by one that did not fit."""
    values = [torch.zeros(shape, dtype=dtype) for shape in SHAPES for dtype in DTYPES]
    for second in HINTS:
        for value in values[::4]:
            for other in values[::7]:
                told = []
                for form in (lambda hint: hint, quick):
                    with jaxtyped("context"):
                        told.append([isinstance(value, form(first)), isinstance(other, form(second))])
                        told[-1].append(isinstance(value, form(second)))
                assert told[0] == told[1], (first, second, value.shape, other.shape)


def test_hints_within_hints_are_found():
    one, other = quick(tuple[Float[Tensor, " a"], dict[str, Float[Tensor, "a b"] | None]]).__args__
    assert one.axes == ("a",)
    assert [getattr(part, "axes", part) for part in other.__args__[1].__args__] == [("a", "b"), type(None)]
    assert quick(dict[str, int]) == dict[str, int]
