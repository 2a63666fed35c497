"""What synthetic people do: each activity adds joint angles (degrees) over time to a rest posture.

Shapes: a `Draw` holds [clips, 1] parameters and [clips, frames] courses; every activity is batched over clips.
Gait follows the hip and knee curves of Winter, Biomechanics and Motor Control of Human Movement.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dg.datasets.synthetic_courses import Draw, both, bump, posture
from dg.datasets.synthetic_kinematics import Angles


def _gait(draw: Draw, phase: Tensor, hip: Tensor, knee: Tensor, arm: Tensor) -> Angles:
    angles: Angles = {"chest_twist": 0.3 * arm * phase.sin(), "spine_twist": -4 * phase.sin()}
    for side, lag in (("left", 0.0), ("right", math.pi)):
        leg = phase + lag
        angles[f"{side}_hip_flex"] = 7 + hip * leg.sin()
        angles[f"{side}_knee"] = knee * bump(leg + 0.2 * math.pi, 2.0) + 10 * bump(leg - 0.75 * math.pi, 5.0)
        angles[f"{side}_shoulder_flex"] = -arm * leg.sin()
        angles[f"{side}_elbow"] = -0.4 * arm * leg.sin()
    return angles


def walk(draw: Draw) -> Angles:
    """Walk in a circle at an easy pace."""
    turning = draw.uniform(58, 85) * (2 * draw.one_side()[0] - 1)
    angles = _gait(draw, draw.wave(0.8, 1.0), draw.uniform(19, 25), draw.uniform(48, 58), draw.uniform(12, 26))
    return angles | {"heading": turning * draw.times, "pitch": draw.uniform(0, 4)}


def jog(draw: Draw) -> Angles:
    """Jog in a circle, leaning forward, with bent arms and a flight phase."""
    phase = draw.wave(1.15, 1.3)
    turning = draw.uniform(70, 95) * (2 * draw.one_side()[0] - 1)
    angles = _gait(draw, phase, draw.uniform(21, 26), draw.uniform(58, 70), draw.uniform(24, 36))
    angles |= {
        "heading": turning * draw.times,
        "pitch": draw.uniform(5, 10),
        "airborne": 0.025 * (1 + (2 * phase).cos()),
    }
    for side in ("left", "right"):
        angles[f"{side}_elbow"] = 65 + 0.6 * angles[f"{side}_elbow"]
        angles[f"{side}_hip_flex"] = angles[f"{side}_hip_flex"] + 10
    return angles


def sit(draw: Draw) -> Angles:
    """Sit down on a seat and stand up again, with moving arms."""
    down = draw.cycle(4.5, 6.0)
    rising = 4 * down * (1 - down)
    lean = 32 * rising + draw.uniform(-8, 12) * down
    seat = draw.uniform(82, 98)
    return {
        "pitch": lean,
        **both("hip_flex", seat * down + lean),
        **both("knee", draw.uniform(75, 98) * down + 10 * rising),
        **both("hip_abduct", draw.uniform(0, 10) * down),
        "spine_flex": 8 * down,
        **both("shoulder_flex", draw.uniform(10, 35) * down + 25 * rising + down * draw.glide(-8, 25)),
        **both("elbow", down * draw.glide(15, 75), down * draw.glide(15, 75)),
    }


def squat(draw: Draw) -> Angles:
    """Squat down and rise, with the arms raised forward at the lowest point."""
    down = draw.uniform(0.65, 1.0) * draw.cycle(2.4, 3.4)
    return {
        "pitch": 28 * down,
        "neck_flex": -20 * down,
        **both("hip_flex", 112 * down),
        **both("knee", 118 * down),
        **both("hip_abduct", draw.uniform(4, 12) + 8 * down),
        **both("hip_rotate", draw.uniform(4, 14) + 4 * down),
        **both("shoulder_flex", draw.uniform(65, 95) * down),
        **both("elbow", draw.uniform(-8, 60) * down),
    }


def lunge(draw: Draw) -> Angles:
    """Step into a lunge with one leg in front, and rise."""
    left, right = draw.one_side()
    down = draw.cycle(2.4, 3.4)
    front, rear = draw.uniform(62, 82) * down, -13 * down
    bend, kneel = draw.uniform(72, 92) * down, draw.uniform(65, 88) * down
    return {
        "pitch": draw.uniform(0, 10) * down,
        **both("hip_flex", left * front + right * rear, right * front + left * rear),
        **both("knee", left * bend + right * kneel, right * bend + left * kneel),
        **both("shoulder_abduct", draw.uniform(5, 30)),
        **both("elbow", draw.uniform(0, 90)),
    }


def reach(draw: Draw) -> Angles:
    """Reach with both arms, each on a course of its own."""
    angles: Angles = {"spine_side": draw.glide(-12, 12), "chest_twist": draw.glide(-20, 20), "pitch": draw.glide(-2, 8)}
    for side in ("left", "right"):
        angles[f"{side}_shoulder_flex"] = draw.glide(0, 165)
        angles[f"{side}_shoulder_abduct"] = draw.glide(-15, 55)
        angles[f"{side}_shoulder_rotate"] = draw.glide(-30, 40)
        angles[f"{side}_elbow"] = draw.glide(-10, 70)
    return angles


def wave(draw: Draw) -> Angles:
    """Raise one arm sideways and wave with its forearm."""
    left, right = draw.one_side()
    up = 0.15 + 0.85 * draw.cycle(3.5, 5.0)
    arm, forearm = draw.uniform(60, 100) * up, (60 + 28 * draw.wave(1.0, 1.7).sin()) * up
    outward = draw.uniform(70, 95) * up
    return {
        **both("shoulder_abduct", left * arm, right * arm),
        **both("shoulder_rotate", left * outward, right * outward),
        **both("elbow", left * forearm, right * forearm),
    }


def point(draw: Draw) -> Angles:
    """Point with one arm; the other hand may rest on the hip."""
    left, right = draw.one_side()
    up = draw.cycle(3.0, 4.0)
    arm, out, bent = draw.uniform(65, 105) * up, draw.glide(-10, 60) * up, draw.glide(-8, 10)
    on_hip = draw.uniform(0, 1).round()
    return {
        "chest_twist": draw.glide(-12, 12),
        **both("shoulder_flex", left * arm, right * arm),
        **both("shoulder_abduct", left * out + right * 32 * on_hip, right * out + left * 32 * on_hip),
        **both("shoulder_rotate", -20 * right * on_hip, -20 * left * on_hip),
        **both("elbow", left * bent + right * 65 * on_hip, right * bent + left * 65 * on_hip),
    }


def phone(draw: Draw) -> Angles:
    """Hold a phone to the ear with one hand and shift the weight from leg to leg."""
    left, right = draw.one_side()
    arm, bent, out = draw.glide(38, 58, 2.5), draw.uniform(112, 122), draw.uniform(12, 30)
    weight = draw.glide(-5, 5, 2.0)
    other = draw.glide(0, 60, 1.6)
    return {
        "roll": weight,
        "neck_side": 8 * (left - right),
        **both("hip_abduct", -weight, weight),
        **both("shoulder_flex", left * arm, right * arm),
        **both("shoulder_abduct", left * out, right * out),
        **both("elbow", left * bent + right * other, right * bent + left * other),
    }


def bend(draw: Draw) -> Angles:
    """Bend down towards the floor and rise."""
    down = draw.cycle(3.0, 4.2)
    lean, knees = draw.uniform(48, 78), draw.uniform(15, 65)
    return {
        "pitch": lean * down,
        "spine_flex": 26 * down,
        "chest_flex": 14 * down,
        "chest_twist": draw.uniform(-15, 15) * down,
        **both("hip_flex", (lean + 0.55 * knees) * down),
        **both("knee", knees * down),
        **both("shoulder_flex", draw.uniform(70, 115) * down, draw.uniform(55, 115) * down),
        **both("elbow", draw.uniform(-10, 20) * down),
    }


def punch(draw: Draw) -> Angles:
    """Punch with the left and the right fist in turn, from a boxer's stance."""
    phase = draw.wave(0.5, 0.8)
    lead, rear = bump(phase, 5.0), bump(phase + math.pi, 5.0)
    stance = draw.uniform(8, 16)
    return {
        "chest_twist": -18 * lead + 24 * rear,
        "spine_flex": 5 + 0 * phase,
        **both("hip_flex", 4 + stance, 4 - stance),
        **both("knee", draw.uniform(10, 25)),
        **both("shoulder_flex", 30 + 52 * lead, 30 + 52 * rear),
        **both("shoulder_abduct", 8 + 0 * lead),
        **both("shoulder_rotate", -14 + 0 * lead),
        **both("elbow", 100 - 98 * lead, 100 - 98 * rear),
    }


def throw(draw: Draw) -> Angles:
    """Draw one arm back and throw."""
    left, right = draw.one_side()
    cocked = draw.cycle(2.0, 2.8)
    thrown = bump(draw.wave(0.4, 0.5), 6.0) * (1 - cocked)
    lifted, aimed = draw.uniform(75, 95) * cocked, 85 * thrown
    twist = 30 * cocked - 25 * thrown
    forearm = 75 * cocked + 5 * thrown
    return {
        "chest_twist": twist * (left - right),
        "pitch": 8 * thrown - 4 * cocked,
        **both("hip_flex", 14 * right - 10 * left, 14 * left - 10 * right),
        **both("shoulder_abduct", left * lifted + 0 * aimed, right * lifted + 0 * aimed),
        **both("shoulder_rotate", left * 75 * cocked, right * 75 * cocked),
        **both("shoulder_flex", left * aimed + right * 40 * cocked, right * aimed + left * 40 * cocked),
        **both("elbow", left * forearm, right * forearm),
    }


def kick(draw: Draw) -> Angles:
    """Swing one leg back and kick."""
    left, right = draw.one_side()
    phase = draw.wave(0.45, 0.6)
    back, through = bump(phase + 0.45 * math.pi, 3.5), bump(phase, 3.5)
    leg, knee = draw.uniform(55, 80) * through - 18 * back, 75 * back + draw.uniform(5, 30) * through
    return {
        "pitch": -9 * through + 4 * back,
        **both("hip_flex", left * leg + right * 3, right * leg + left * 3),
        **both("knee", left * knee + right * 10, right * knee + left * 10),
        **both("shoulder_abduct", draw.uniform(10, 35) * (0.4 + through)),
        **both("shoulder_flex", 25 * through * (right - left), 25 * through * (left - right)),
    }


def jack(draw: Draw) -> Angles:
    """Do jumping jacks."""
    phase = draw.wave(0.8, 1.05)
    open_ = 0.5 - 0.5 * phase.cos()
    return {
        "airborne": 0.06 * phase.sin().square(),
        **both("hip_abduct", 24 * open_),
        **both("knee", 12 * phase.cos().square()),
        **both("hip_flex", 6 * phase.cos().square()),
        **both("shoulder_abduct", draw.uniform(115, 150) * open_),
        **both("shoulder_rotate", 30 * open_),
    }


def kneel(draw: Draw) -> Angles:
    """Go down on one knee and rise."""
    left, right = draw.one_side()
    down = draw.cycle(4.0, 5.5)
    up_hip, up_knee = draw.uniform(78, 92) * down, draw.uniform(85, 100) * down
    low_hip, low_knee = draw.uniform(-8, 4) * down, draw.uniform(92, 102) * down
    return {
        "pitch": 25 * 4 * down * (1 - down),
        **both("hip_flex", left * up_hip + right * low_hip, right * up_hip + left * low_hip),
        **both("knee", left * up_knee + right * low_knee, right * up_knee + left * low_knee),
        "spine_flex": draw.glide(0, 20) * down,
        **both("shoulder_flex", draw.glide(0, 60) * down, draw.glide(0, 60) * down),
        **both("elbow", draw.glide(0, 60) * down, draw.glide(0, 60) * down),
    }


def sit_on_floor(draw: Draw) -> Angles:
    """Sit on the floor, leaning back, and move legs and arms."""
    lean = draw.glide(-22, -6, 2.0)
    angles: Angles = {"pitch": lean, "spine_flex": draw.uniform(10, 25), "chest_flex": draw.uniform(5, 18)}
    for side in ("left", "right"):
        knee = draw.glide(20, 105, 2.4)
        # The heel stays near the floor: the thigh rises half as far as the knee bends.
        angles[f"{side}_knee"] = knee
        angles[f"{side}_hip_flex"] = 84 + 0.42 * knee + lean
        angles[f"{side}_hip_abduct"] = draw.uniform(0, 14)
        angles[f"{side}_shoulder_flex"] = draw.glide(10, 60)
        angles[f"{side}_shoulder_abduct"] = draw.uniform(0, 15)
        angles[f"{side}_elbow"] = draw.glide(5, 60)
    return angles


_ALL = (
    walk, jog, sit, squat, lunge, reach, wave, point, phone, bend, punch, throw, kick, jack, kneel, sit_on_floor,
)  # fmt: skip
ACTIVITIES: dict[str, Callable[[Draw], Angles]] = {f.__name__: f for f in _ALL}


def act(activity: str, clips: int, times: Tensor, generator: torch.Generator) -> Angles:
    """Make the joint angles of one activity on top of the rest posture.

    Args:
        activity: a name of `ACTIVITIES`.
        clips: number of clips.
        times: times of the frames, seconds.
        generator: the random generator.

    Returns:
        Angles `[clips, frames]` in degrees by name, not yet within the joints' limits.
    """
    draw = Draw(clips, times, generator)
    base, added = posture(draw), ACTIVITIES[activity](draw)
    total = {name: base.get(name, 0) + added.get(name, 0) for name in base | added}
    return {name: (value + torch.zeros(clips, len(times))) for name, value in total.items()}
