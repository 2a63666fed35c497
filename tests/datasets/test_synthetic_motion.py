"""Synthetic people move like people: constant human bones, joints within their range, feet on the floor."""

from itertools import pairwise

import pytest
import torch

from dg.datasets.synthetic import VERSION
from dg.datasets.synthetic_activities import ACTIVITIES, act
from dg.datasets.synthetic_courses import minimum_jerk
from dg.datasets.synthetic_kinematics import LIMITS, pose_body, stand_on_floor, within_limits
from dg.datasets.synthetic_people import draw_people
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import H36M_17

FPS = 50
CLIPS = 12
# Bone lengths of adults, metres: (shortest, longest).
HUMAN = {
    "hip": (0.09, 0.17), "knee": (0.33, 0.52), "ankle": (0.33, 0.52), "spine": (0.17, 0.30), "thorax": (0.19, 0.32),
    "neck": (0.08, 0.15), "head": (0.08, 0.15), "shoulder": (0.10, 0.20), "elbow": (0.22, 0.36), "wrist": (0.19, 0.31),
}  # fmt: skip


@pytest.fixture(scope="module", params=sorted(ACTIVITIES))
def motion(request):
    """Activity, angles and joints [clips, frames, 17, 3] in the room."""
    generator = torch.Generator().manual_seed(11)
    angles = within_limits(act(request.param, CLIPS, torch.arange(5 * FPS) / FPS, generator))
    joints = stand_on_floor(pose_body(angles, draw_people(CLIPS, generator)), angles.get("airborne"))
    return request.param, angles, joints


def at(joints, name):
    return joints[..., H36M_17.index(name), :]


def angle_deg(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1)))


def limb(joints, side, *names):
    """Bone vectors between the named joints of one side."""
    points = [at(joints, f"{side}_{name}") for name in names]
    return [end - start for start, end in pairwise(points)]


def test_bones_are_human_and_constant_within_a_clip(motion):
    lengths = bone_lengths(motion[2], H36M_17)
    assert (lengths.amax(1) - lengths.amin(1)).max() < 1e-4
    for bone, (_, child) in enumerate(H36M_17.bones):
        low, high = HUMAN[H36M_17.joints[child].removeprefix("left_").removeprefix("right_")]
        assert low < lengths[..., bone].min() and lengths[..., bone].max() < high, H36M_17.joints[child]  # noqa: PT018


def test_the_limits_are_those_of_the_version():
    """Who changes them (dg.augment.forward_kinematics) makes other data, and counts up the version."""
    assert (VERSION, len(LIMITS)) == (1, 27)
    assert sum(low for low, _ in LIMITS.values()) == -690.0
    assert sum(high for _, high in LIMITS.values()) == 2240.0


def test_every_angle_is_within_its_joints_range(motion):
    for name, (low, high) in LIMITS.items():
        values = motion[1].get(name, torch.zeros(1))
        assert ((values >= low) & (values <= high)).all(), name


def test_angles_measured_on_the_joints_are_those_asked_for(motion):
    _, angles, joints = motion
    for side in ("left", "right"):
        for name, chain in (("knee", ("hip", "knee", "ankle")), ("elbow", ("shoulder", "elbow", "wrist"))):
            measured = angle_deg(*limb(joints, side, *chain))
            torch.testing.assert_close(measured, angles[f"{side}_{name}"], atol=0.2, rtol=0)


def test_knees_bend_backwards_only(motion):
    joints = motion[2]
    across = at(joints, "left_hip") - at(joints, "right_hip")
    for side in ("left", "right"):
        thigh, shank = limb(joints, side, "hip", "knee", "ankle")
        bent = angle_deg(thigh, shank) > 10
        # The hinge's axis points to the person's left as long as hips turn by less than a right angle.
        assert ((torch.linalg.cross(thigh, shank) * across).sum(-1)[bent] > 0).all()


def test_bodies_touch_the_floor_and_do_not_sink_into_it(motion):
    activity, _, joints = motion
    lowest = joints[..., 2].amin(-1)
    assert lowest.min() > 0.03
    assert lowest.max() < (0.2 if activity in ("jog", "jack") else 0.105)


def test_the_supporting_foot_does_not_slide(motion):
    activity, angles, joints = motion
    ankles = joints[:, :, [3, 6]]
    step = (ankles[:, 1:, :, :2] - ankles[:, :-1, :, :2]).norm(dim=-1) * FPS
    lower = ankles[:, 1:, :, 2].argmin(-1, keepdim=True)
    on_floor = angles.get("airborne", torch.zeros(CLIPS, joints.shape[1]))[:, 1:] < 1e-3
    assert step.gather(-1, lower)[..., 0][on_floor].median() < 0.15, activity


def test_nobody_moves_faster_than_people_do(motion):
    joints = motion[2]
    speed = (joints[:, 1:] - joints[:, :-1]).norm(dim=-1) * FPS
    assert speed.max() < 10.0
    assert speed.mean() > 0.01, "nobody moves at all"
    head = at(joints, "head")
    assert ((head[:, 1:] - head[:, :-1]).norm(dim=-1) * FPS).max() < 4.5


def test_left_joints_are_on_the_persons_left(motion):
    _, angles, joints = motion
    heading = torch.deg2rad(angles["heading"])
    left = torch.stack([-heading.sin(), heading.cos(), torch.zeros_like(heading)], -1)
    for part in ("hip", "shoulder"):
        across = at(joints, f"left_{part}") - at(joints, f"right_{part}")
        assert ((across * left).sum(-1) > 0).all(), part


WHAT_IT_LOOKS_LIKE = {
    # activity: something that any onlooker would say of it, as a fact of the joints over time
    "walk": lambda j: (at(j, "pelvis")[:, 1:] - at(j, "pelvis")[:, :-1]).norm(dim=-1).sum(1).min() > 2.0,
    "jog": lambda j: (at(j, "pelvis")[:, 1:] - at(j, "pelvis")[:, :-1]).norm(dim=-1).sum(1).min() > 5.0,
    "sit": lambda j: (at(j, "pelvis")[..., 2] < 0.75 * at(j, "pelvis")[..., 2].amax(1, keepdim=True)).any(1).all(),
    "squat": lambda j: (at(j, "pelvis")[..., 2].amin(1) < 0.75 * at(j, "pelvis")[..., 2].amax(1)).all(),
    "lunge": lambda j: (at(j, "left_ankle") - at(j, "right_ankle")).norm(dim=-1).amax(1).min() > 0.55,
    "reach": lambda j: (at(j, "left_wrist")[..., 2].amax(1) > at(j, "thorax")[..., 2].amin(1)).float().mean() > 0.6,
    "wave": lambda j: (highest_wrist(j) > at(j, "left_shoulder")[..., 2]).any(1).all(),
    "point": lambda j: (highest_wrist(j) > 1.0).any(1).all(),
    "phone": lambda j: nearest_wrist(j, "neck").amax(1).max() < 0.45,
    "bend": lambda j: (at(j, "head")[..., 2].amin(1) < 0.75 * at(j, "head")[..., 2].amax(1)).all(),
    "punch": lambda j: (at(j, "left_wrist") - at(j, "left_shoulder")).norm(dim=-1).amax(1).min() > 0.45,
    "throw": lambda j: (highest_wrist(j) > at(j, "left_shoulder")[..., 2]).any(1).all(),
    "kick": lambda j: j[:, :, [3, 6], 2].amax((1, 2)).min() > 0.3,
    "jack": lambda j: (highest_wrist(j).amax(1) > at(j, "head")[..., 2].amin(1)).all(),
    "kneel": lambda j: j[:, :, [2, 5], 2].amin((1, 2)).max() < 0.2,
    "sit_on_floor": lambda j: at(j, "pelvis")[..., 2].max() < 0.3,
}


def highest_wrist(joints):
    return joints[:, :, [13, 16], 2].amax(2)


def nearest_wrist(joints, name):
    return (joints[:, :, [13, 16]] - at(joints, name)[:, :, None]).norm(dim=-1).amin(2)


def test_every_activity_looks_like_its_name(motion):
    activity, _, joints = motion
    assert WHAT_IT_LOOKS_LIKE[activity](joints)


def test_limits_bend_softly_and_leave_the_middle_alone():
    asked = torch.linspace(-300, 300, 2001)[None]
    bent = within_limits({"left_knee": asked, "airborne": asked})
    knee = bent["left_knee"]
    assert ((knee > 0 - 1e-3) & (knee < 145 + 1e-3)).all()
    assert (knee.diff() >= 0).all()
    middle = (asked > 10) & (asked < 135)
    assert torch.equal(knee[middle], asked[middle])
    assert torch.equal(bent["airborne"], asked)


def test_a_reach_starts_and_ends_at_rest():
    share = torch.linspace(-0.5, 1.5, 2001, dtype=torch.float64)
    course = minimum_jerk(share)
    assert course[0] == 0
    assert course[-1] == 1
    assert course.diff().max() / share.diff()[0] == pytest.approx(1.875, abs=1e-3)


def test_people_differ_in_size_and_are_symmetric():
    people = draw_people(40, torch.Generator().manual_seed(0))
    lengths = people[:, 1:].norm(dim=-1)
    torch.testing.assert_close(lengths, lengths[:, list(H36M_17.bone_flip)])
    legs = lengths[:, 1] + lengths[:, 2]
    assert 0.03 < legs.std() / legs.mean() < 0.12


def test_convention_the_rest_pose_stands_upright_facing_x_with_the_left_side_at_plus_y():
    joints = pose_body({"left_knee": torch.zeros(1, 1)}, draw_people(1, torch.Generator().manual_seed(0)))[0, 0]
    assert at(joints, "head")[2] > 0.6 > -0.6 > at(joints, "left_ankle")[2]
    assert at(joints, "left_hip")[1] > 0 > at(joints, "right_wrist")[1]
    assert at(joints, "neck")[0] > at(joints, "thorax")[0]


@pytest.mark.parametrize(
    ("name", "joint", "axis", "sign"),
    [
        ("left_hip_flex", "left_ankle", 0, 1),
        ("right_hip_flex", "right_ankle", 0, 1),
        ("left_hip_abduct", "left_ankle", 1, 1),
        ("right_hip_abduct", "right_ankle", 1, -1),
        ("left_knee", "left_ankle", 0, -1),
        ("left_shoulder_flex", "left_wrist", 0, 1),
        ("right_shoulder_abduct", "right_wrist", 1, -1),
        ("right_elbow", "right_wrist", 0, 1),
        ("spine_flex", "head", 0, 1),
        ("chest_side", "head", 1, 1),
        ("chest_twist", "left_shoulder", 0, -1),
        ("pitch", "head", 0, 1),
        ("roll", "head", 1, 1),
    ],
)
def test_convention_a_positive_angle_moves_the_joint_the_way_its_name_says(name, joint, axis, sign):
    people = draw_people(1, torch.Generator().manual_seed(0))
    moved = pose_body({name: torch.full((1, 1), 20.0)}, people) - pose_body({name: torch.zeros(1, 1)}, people)
    assert sign * at(moved, joint)[0, 0, axis] > 0.03
