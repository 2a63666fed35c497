"""A person's motion as a BVH file, which Blender and other tools read: bone lengths once, rotations for every frame.

Offsets are the median bone lengths of the track, in a T-pose whose hips and shoulders have the person's own angles.
A joint with one bone below it takes the shortest turn to that bone's direction; pelvis and thorax, with several, the
turn that fits all of them best (Kabsch). So directions of the limbs are exact, and hips and shoulders move with the
trunk. Axes are BVH's: x right, y up, z towards the camera;
lengths are centimetres, as Blender's and others' rigs have them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dg.files.atomic import write_files
from dg.pose.skeleton import Skeleton

_CM = 100.0
_CAMERA_TO_BVH = np.array([1.0, -1.0, -1.0])
_ORDER = "ZXY"
_DEFAULT_FPS = 30.0
# Directions of bones at rest, by the joint in which they end; x is a person's left who looks along z.
_REST = {
    "hip": (1, 0, 0), "knee": (0, -1, 0), "ankle": (0, -1, 0), "shoulder": (1, 0.25, 0), "elbow": (1, 0, 0),
    "wrist": (1, 0, 0),
}  # fmt: skip


def write_bvh(path: Path, joints: Float[np.ndarray, "frames joints 3"], skeleton: Skeleton, fps: float = 0.0) -> None:
    """Write a motion, whole or not at all.

    Args:
        path: of the file.
        joints: metres, camera axes, finite; the root's place is kept.
        skeleton: of the joints.
        fps: frames per second; 0: 30.
    """
    write_files(path.parent, {path.name: bvh_text(joints, skeleton, fps)})


def bvh_text(joints: Float[np.ndarray, "frames joints 3"], skeleton: Skeleton, fps: float = 0.0) -> str:
    """The content of a BVH file; arguments as for `write_bvh`."""
    offsets = _offsets(joints, skeleton)
    turns = _rotations(joints * _CAMERA_TO_BVH, offsets, skeleton)
    order = _depth_first(skeleton)
    lines = ["HIERARCHY", *_hierarchy(skeleton, offsets, skeleton.root, 0)]
    root = joints[:, skeleton.root] * _CAMERA_TO_BVH * _CM
    angles = {joint: turns[joint].as_euler(_ORDER, degrees=True) for joint in order if joint in turns}
    lines += ["MOTION", f"Frames: {len(joints)}", f"Frame Time: {1 / (fps or _DEFAULT_FPS):.6f}"]
    for row in range(len(joints)):
        values = [*root[row], *(angle for joint in order if joint in angles for angle in angles[joint][row])]
        lines.append(" ".join(f"{value:.4f}" for value in values))
    return "\n".join(lines) + "\n"


def _offsets(joints: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Each joint from its parent at rest, metres."""
    offsets = np.zeros((len(skeleton), 3))
    for parent, child in skeleton.bones:
        name = skeleton.joints[child]
        direction = np.array(_REST.get(name.split("_")[-1], (0, 1, 0)), float)
        if name.startswith("right_"):
            direction = direction * [-1, 1, 1]
        length = float(np.median(np.linalg.norm(joints[:, child] - joints[:, parent], axis=-1)))
        offsets[child] = direction / np.linalg.norm(direction) * length
    for joint in range(len(skeleton)):
        children = [child for parent, child in skeleton.bones if parent == joint]
        if len(children) > 1:
            offsets[children] = _own_shape(
                offsets[children], (joints[:, children] - joints[:, [joint]]) * _CAMERA_TO_BVH
            )
    return offsets


def _own_shape(rest: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Bones of a joint at rest with the angles between them that the person has on average."""
    turned = np.stack([_fit(rest, bones).inv().apply(bones[:, i]) for i in range(len(rest))], 1).mean(0)
    return turned / np.maximum(np.linalg.norm(turned, axis=-1), 1e-9)[:, None] * np.linalg.norm(rest, axis=-1)[:, None]


def _rotations(joints: np.ndarray, offsets: np.ndarray, skeleton: Skeleton) -> dict[int, Rotation]:
    """The turn of each joint that has bones, relative to its parent's, for every frame."""
    world: dict[int, Rotation] = {}
    local: dict[int, Rotation] = {}
    for joint in skeleton.order:
        children = [child for parent, child in skeleton.bones if parent == joint]
        if not children:
            continue
        above = world.get(skeleton.parents[joint], Rotation.identity(len(joints)))
        bones = joints[:, children] - joints[:, [joint]]
        within = np.stack([above.inv().apply(bones[:, i]) for i in range(len(children))], 1)
        turn = _shortest(offsets[children[0]], within[:, 0]) if len(children) == 1 else _fit(offsets[children], within)
        local[joint], world[joint] = turn, above * turn
    return local


def _shortest(rest: np.ndarray, bones: np.ndarray) -> Rotation:
    """The least turn from one direction to others."""
    one = rest / max(np.linalg.norm(rest), 1e-9)
    other = bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-9)
    axis, cosine = np.cross(one, other), other @ one
    length = np.linalg.norm(axis, axis=-1)
    angle = np.arctan2(length, cosine)
    aside = np.cross(one, [1.0, 0, 0] if abs(one[0]) < 0.9 else [0, 1.0, 0])  # for a half turn, any axis across will do
    axis = np.where(length[:, None] > 1e-9, axis / np.maximum(length, 1e-9)[:, None], aside / np.linalg.norm(aside))
    return Rotation.from_rotvec(axis * angle[:, None])


def _fit(rest: np.ndarray, bones: np.ndarray) -> Rotation:
    """The turn of several bones at once that is nearest to all."""
    u, _, vt = np.linalg.svd(np.einsum("ci,fcj->fij", rest, bones))
    sign = np.ones((len(bones), 3))
    sign[:, 2] = np.sign(np.linalg.det(u @ vt))
    return Rotation.from_matrix(np.einsum("fij,fj,fjk->fki", u, sign, vt))


def _depth_first(skeleton: Skeleton) -> list[int]:
    found, waiting = [], [skeleton.root]
    while waiting:
        joint = waiting.pop()
        found.append(joint)
        waiting += [child for parent, child in reversed(skeleton.bones) if parent == joint]
    return found


def _hierarchy(skeleton: Skeleton, offsets: np.ndarray, joint: int, level: int) -> list[str]:
    tab, inner = "  " * level, "  " * (level + 1)
    children = [child for parent, child in skeleton.bones if parent == joint]
    offset = " ".join(f"{value:.4f}" for value in offsets[joint] * _CM)
    name = skeleton.joints[joint]
    if not children:
        # A joint without bones has no turn: it is the end of its parent's bone, and keeps its name.
        return [f"{tab}JOINT {name}", f"{tab}{{", f"{inner}OFFSET {offset}", f"{inner}CHANNELS 0",
                f"{inner}End Site", f"{inner}{{", f"{inner}  OFFSET 0.0 0.0 0.0", f"{inner}}}", f"{tab}}}"]  # fmt: skip
    turn = "Zrotation Xrotation Yrotation"
    channels = f"6 Xposition Yposition Zposition {turn}" if level == 0 else f"3 {turn}"
    lines = [f"{tab}{'ROOT' if level == 0 else 'JOINT'} {name}", f"{tab}{{", f"{inner}OFFSET {offset}",
             f"{inner}CHANNELS {channels}"]  # fmt: skip
    for child in children:
        lines += _hierarchy(skeleton, offsets, child, level + 1)
    return [*lines, f"{tab}}}"]


def motions(rows: Sequence[tuple[int, np.ndarray]], steps: int) -> Float[np.ndarray, "frames joints 3"]:
    """A motion without gaps: frames in which a person was not found repeat the one before.

    Args:
        rows: number in time and joints of each frame, in order.
        steps: frames of the motion, from the first number on.
    """
    first = rows[0][0]
    found = np.repeat(rows[0][1][None], steps, 0)
    for number, joints in rows:
        found[number - first :] = joints
    return found
