"""What fitting and skinning ask of a GPU, counted without one (`tests.bench.launches`)."""

import pytest

from dg.body.open_body import OpenBody
from dg.pose.skeleton import H36M_17
from tests.bench.launches import counted
from tests.conftest import make_joints


@pytest.mark.parametrize("bone_scale", ["absolute", "relative"])
def test_a_body_is_fitted_and_skinned_without_waiting_for_the_device(bone_scale):
    body = OpenBody(OpenBody.Options(bone_scale=bone_scale))
    joints, before = make_joints(8).to("meta"), make_joints(8, seed=1).to("meta")
    body.skin(body.fit(joints, H36M_17, before))  # tables move to the device once
    with counted() as count:
        vertices = body.skin(body.fit(joints, H36M_17, before))
    assert vertices.device.type == "meta"
    assert list(count.blocking) == []
    assert count.total < 820
