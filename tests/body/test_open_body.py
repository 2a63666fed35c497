import hashlib

import numpy as np
import pytest
import torch

from dg.body.open_body import ASSET, OpenBody, load_open_body
from dg.pose.skeleton import SMPL_24
from dg.settings.plugins import make_options


@pytest.fixture(scope="module")
def rest():
    return load_open_body()


def test_the_shipped_file_is_the_baked_one():
    with np.load(ASSET, allow_pickle=False) as arrays:
        digest = hashlib.sha256()
        for key in ("v_template", "f", "J", "weights", "kintree_table"):
            digest.update(arrays[key].tobytes())
        assert "CC0" in str(arrays["note"])
    assert digest.hexdigest() == "029ee7e5da1ee941f63d2fab83ff4703017e51732dd120795fdea39b2c109ff8"
    assert ASSET.stat().st_size < 250_000


def test_it_is_a_closed_human_mesh(rest):
    assert rest.vertices.shape == (1229, 3)
    assert rest.faces.shape == (2454, 3)
    corners = rest.vertices[rest.faces]
    volume = (corners[:, 0] * torch.linalg.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.045 < volume < 0.09, "a person of 1.63 m has 45 to 90 litres, and triangles face outward"
    edges = torch.cat([rest.faces[:, [0, 1]], rest.faces[:, [1, 2]], rest.faces[:, [2, 0]]])
    assert {tuple(e) for e in edges.tolist()} == {tuple(e) for e in edges.flip(1).tolist()}


def test_it_stands_in_smpls_t_pose(rest):
    def joint(name):
        return rest.joints[SMPL_24.index(name)]

    for side, sign in (("left", 1), ("right", -1)):
        arm = joint(f"{side}_wrist") - joint(f"{side}_shoulder")
        assert arm[0] * sign > 0.98 * arm.norm(), "arms point sideways, left to +x"
        leg = joint(f"{side}_ankle") - joint(f"{side}_hip")
        assert leg[1] < -0.98 * leg.norm(), "legs point down"
        assert joint(f"{side}_foot")[2] - joint(f"{side}_ankle")[2] > 0.1, "toes point to +z"
    mirrored = rest.joints[list(SMPL_24.flip)] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(mirrored, rest.joints, atol=2e-3)


def test_weights_are_shares_and_belong_to_near_joints(rest):
    assert torch.allclose(rest.weights.sum(1), torch.ones(1229))
    assert (rest.weights >= 0).all()
    assert (rest.weights.argmax(1).bincount(minlength=24) > 0).all(), "each joint carries some part"
    owner = rest.joints[rest.weights.argmax(1)]
    assert (rest.vertices - owner).norm(dim=1).max() < 0.45


def test_every_joint_lies_inside_the_body(rest):
    near = torch.cdist(rest.joints, rest.vertices)
    assert near.min(1).values.max() < 0.16
    assert (rest.joints >= rest.vertices.min(0).values).all()
    assert (rest.joints <= rest.vertices.max(0).values).all()


def test_the_digest_tells_bodies_apart():
    absolute, again = OpenBody(OpenBody.Options()), OpenBody(OpenBody.Options())
    assert absolute.digest == again.digest
    assert absolute.digest != OpenBody(OpenBody.Options(bone_scale="relative")).digest


def test_an_unknown_bone_scale_is_refused():
    with pytest.raises(ValueError, match="absolute"):
        make_options(OpenBody, "body", "open", {"bone_scale": "metric"})
