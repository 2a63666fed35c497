"""DH-AUG's kinematic chain: what it keeps, what moves what, and a slow twin that multiplies 4 x 4 matrices."""

from math import cos, radians, sin

import numpy as np
import pytest
import torch

from dg.augment.forward_kinematics import ANGLE_RANGES, ForwardKinematics, links_of
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import COCO_17, H36M_16, H36M_17

ROWS = 40
both = pytest.mark.parametrize("skeleton", [H36M_16, H36M_17], ids=lambda s: s.name)
NAMES = list(ANGLE_RANGES)


def drawn(skeleton, seed=0):
    """Angles over their whole ranges, and lengths of 10 to 60 cm."""
    generator = torch.Generator().manual_seed(seed)
    chain = ForwardKinematics(skeleton)
    angles = chain.within_ranges(2 * torch.randn(ROWS, 29, generator=generator))
    return chain, angles, 0.1 + 0.5 * torch.rand(ROWS, len(skeleton.bones), generator=generator)


def pose(skeleton=H36M_16, length=0.25, **degrees):
    """Joints by name, with some angles set and all bones of one length."""
    angles = torch.zeros(1, 29)
    for name, value in degrees.items():
        angles[0, NAMES.index(name)] = radians(value)
    joints = ForwardKinematics(skeleton)(angles, torch.full((1, len(skeleton.bones)), length))[0]
    return dict(zip(skeleton.joints, joints, strict=True))


def craig(alpha, a, theta, d):
    """Rot_x(alpha) Trans_x(a) Rot_z(theta) Trans_z(d), factor by factor."""
    about_x, along_x, about_z, along_z = (np.eye(4) for _ in range(4))
    about_x[1:3, 1:3] = [[cos(alpha), -sin(alpha)], [sin(alpha), cos(alpha)]]
    along_x[0, 3] = a
    about_z[:2, :2] = [[cos(theta), -sin(theta)], [sin(theta), cos(theta)]]
    along_z[2, 3] = d
    return about_x @ along_x @ about_z @ along_z


def slow_joints(skeleton, angles, lengths):
    frames = {"base": np.eye(4)}
    joints = np.zeros((len(skeleton), 3))
    for link in links_of(skeleton):
        theta = radians(link.offset) + (link.sign * angles[NAMES.index(link.angle)].item() if link.angle else 0)
        a = link.reach * lengths[skeleton.bone(link.a)].item() if link.a else 0.0
        d = link.reach * lengths[skeleton.bone(link.d)].item() if link.d else 0.0
        frames[link.name] = frames[link.parent] @ craig(radians(link.alpha), a, theta, d)
        if link.joint:
            forward, left, up, _ = frames[link.name][:, 3]
            joints[skeleton.index(link.joint)] = left, -up, -forward
    return joints


@both
def test_it_agrees_with_one_matrix_product_after_the_other(skeleton):
    chain, angles, lengths = drawn(skeleton)
    expected = np.stack([slow_joints(skeleton, a, n) for a, n in zip(angles, lengths, strict=True)])
    torch.testing.assert_close(chain(angles, lengths), torch.tensor(expected).float(), atol=2e-6, rtol=0)


@both
def test_bones_have_the_given_lengths(skeleton):
    chain, angles, lengths = drawn(skeleton)
    torch.testing.assert_close(bone_lengths(chain(angles, lengths), skeleton), lengths, atol=1e-6, rtol=0)


@both
def test_angles_stay_inside_their_ranges_and_fill_them(skeleton):
    chain = ForwardKinematics(skeleton)
    angles = torch.rad2deg(chain.within_ranges(torch.linspace(-20, 20, 401)[:, None].expand(-1, 29)))
    for column, (lowest, highest) in enumerate(ANGLE_RANGES.values()):
        assert angles[:, column].min() == pytest.approx(lowest, abs=1e-3)
        assert angles[:, column].max() == pytest.approx(highest, abs=1e-3)
    assert len(ANGLE_RANGES) == 29
    assert all(lowest <= 0 < highest for lowest, highest in ANGLE_RANGES.values()), "the rest pose is anatomical"


@both
def test_every_angle_moves_a_joint_and_gets_a_gradient(skeleton):
    chain, angles, lengths = drawn(skeleton)
    raw = torch.randn(ROWS, 29, requires_grad=True)
    weights = torch.randn(ROWS, len(skeleton), 3)
    (chain(chain.within_ranges(raw), lengths) * weights).sum().backward()
    assert (raw.grad.abs().mean(0) > 1e-4).all()
    assert raw.grad.isfinite().all()
    still = [
        name
        for column, name in enumerate(NAMES)
        if (chain(angles + 0.1 * torch.eye(29)[column], lengths) - chain(angles, lengths)).abs().max() < 1e-3
    ]
    assert still == []


def test_gradients_equal_finite_differences():
    chain = ForwardKinematics(H36M_17).double()
    raw = torch.randn(2, 29, dtype=torch.double, requires_grad=True)
    lengths = torch.rand(2, 16, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r, n: chain(chain.within_ranges(r), n), (raw, lengths))


@both
def test_zero_angles_are_a_person_upright_facing_the_camera_arms_hanging(skeleton):
    joints = pose(skeleton, length=1.0)
    neck = 1.0 if "neck" in skeleton.joints else 0.0
    expected = {
        "pelvis": (0, 0, 0), "spine": (0, -1, 0), "thorax": (0, -2, 0), "head": (0, -3 - neck, 0),
        "left_hip": (1, 0, 0), "left_knee": (1, 1, 0), "left_ankle": (1, 2, 0),
        "right_hip": (-1, 0, 0), "right_knee": (-1, 1, 0), "right_ankle": (-1, 2, 0),
        "left_shoulder": (1, -2, 0), "left_elbow": (1, -1, 0), "left_wrist": (1, 0, 0),
        "right_shoulder": (-1, -2, 0), "right_elbow": (-1, -1, 0), "right_wrist": (-1, 0, 0),
    }  # fmt: skip
    if neck:
        expected["neck"] = (0, -3, 0)
    assert set(expected) == set(joints)
    for name, place in expected.items():
        torch.testing.assert_close(joints[name], torch.tensor(place).float(), atol=1e-5, rtol=0, msg=name)


# Angle, degrees, end and start of a bone, the axis along which it moves (to the left, down, back), and which way.
MOTIONS = [
    ("spine_flex", 40, "spine", "pelvis", 2, -1),
    ("spine_side", 20, "spine", "pelvis", 0, 1),
    ("chest_flex", 30, "thorax", "spine", 2, -1),
    ("chest_side", 15, "thorax", "spine", 0, 1),
    ("chest_twist", 30, "left_shoulder", "thorax", 2, 1),
    ("spine_twist", 20, "left_shoulder", "thorax", 2, 1),
    ("neck_flex", 40, "head", "thorax", 2, -1),
    ("neck_side", 30, "head", "thorax", 0, 1),
]
LIMB_MOTIONS = [
    ("collar_forward", 20, "shoulder", "thorax", 2, -1),
    ("collar_lift", 20, "shoulder", "thorax", 1, -1),
    ("shoulder_flex", 60, "elbow", "shoulder", 2, -1),
    ("elbow", 60, "wrist", "elbow", 2, -1),
    ("hip_flex", 60, "knee", "hip", 2, -1),
    ("knee", 60, "ankle", "knee", 2, 1),
]


@pytest.mark.parametrize(
    ("angle", "degrees", "joint", "origin", "axis", "sign"),
    [
        *MOTIONS,
        *[
            (f"{s}_{a}", g, f"{s}_{j}", o if o == "thorax" else f"{s}_{o}", x, n)
            for s in ("left", "right")
            for a, g, j, o, x, n in LIMB_MOTIONS
        ],
    ],
)
def test_a_positive_angle_moves_the_joint_as_its_name_says(angle, degrees, joint, origin, axis, sign):
    still, moved = pose(), pose(**{angle: degrees})
    change = (moved[joint] - moved[origin]) - (still[joint] - still[origin])
    assert change[axis].item() == pytest.approx(sign * 0.25 * sin(radians(degrees)), abs=1e-5)


@pytest.mark.parametrize(("side", "outward"), [("left", 1.0), ("right", -1.0)])
def test_limbs_abduct_and_rotate_outward_on_both_sides(side, outward):
    for ball, middle in (("hip", "knee"), ("shoulder", "elbow")):
        moved = pose(**{f"{side}_{ball}_abduct": 40})
        assert outward * (moved[f"{side}_{middle}"] - moved[f"{side}_{ball}"])[0] > 0.1
    bent = pose(**{f"{side}_hip_rotate": 40, f"{side}_knee": 90})
    # The shin points backward; turning the toes outward takes the heel inward.
    assert outward * (bent[f"{side}_ankle"] - bent[f"{side}_knee"])[0] < -0.1
    bent = pose(**{f"{side}_shoulder_rotate": 40, f"{side}_elbow": 90})
    assert outward * (bent[f"{side}_wrist"] - bent[f"{side}_elbow"])[0] > 0.1


@both
def test_mirrored_angles_give_the_mirror_image(skeleton):
    chain, angles, lengths = drawn(skeleton)
    lengths = (lengths + lengths[:, list(skeleton.bone_flip)]) / 2
    swap = {"left": "right", "right": "left"}
    others = [NAMES.index("_".join([swap.get(n.split("_")[0], n.split("_")[0]), *n.split("_")[1:]])) for n in NAMES]
    sideways = torch.tensor([-1.0 if n.split("_")[-1] in ("side", "twist") else 1.0 for n in NAMES])
    mirrored = chain(angles[:, others] * sideways, lengths)
    expected = chain(angles, lengths)[:, list(skeleton.flip)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, expected, atol=1e-5, rtol=0)


def test_a_skeleton_it_cannot_place_is_refused_with_those_it_can():
    with pytest.raises(ValueError, match=r"skeleton coco_17 has .*use h36m_16 or h36m_17"):
        ForwardKinematics(COCO_17)
