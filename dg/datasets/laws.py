"""The laws that any human motion in a camera obeys, cheap enough to be checked whenever data are loaded.

A grave breach makes every number on the data wrong: joints that are not numbers, other units or axes, mirrored people,
bones of no length. `examined` refuses it. The others (an odd bone, 2D beside the projection) may have good reasons.
`dg check` looks at all rows; a run looks at every row for what single poses can break, and at up to
`SAMPLE` of them for what medians and shares say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.datasets.base import DataError, PoseDataset
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import Skeleton

SAMPLE = 20_000
CHUNK = 65_536
NOTE = "checks"  # among a data set's notes: what `examined` found
REFUSE = "refuse"

# Metres, from the shortest bone of a child's hip to a tall person's shank, with room for marker-based joints.
HUMAN_BONE_M = (0.04, 0.60)
SINGLE_BONE_M = (1e-3, 1.5)  # of one pose: shorter is a joint that lies on its parent, longer is no joint at all
LARGEST_ASYMMETRY = 0.15  # of the median lengths of a bone and its mirror image
ROUNDING = 1e-3  # of a confidence
LARGEST_GAP = 1e-2  # of ground-truth 2D from the projection, width-normalised
BENT = 0.4  # sine of the knee's angle from which it tells left from right
ENOUGH, MANY = 5, 20  # observations that a verdict takes, and those that a grave one takes
RIGHT_KNEES = (0.95, 0.7)  # share that bends the right way: below the first is odd, below the second grave
RIGHT_OF_FEW = 0.8  # the first, where there are few
UPRIGHT = (0.5, 0.2)  # share of heads above the ankle: likewise
LARGEST_SHARE_BEHIND = 0.05  # of poses whose root lies behind the camera
KNEES = ("hip", "knee", "ankle")


@dataclass(frozen=True)
class Breach:
    """A law that a data set breaks, in words. grave: every number on such data is wrong."""

    text: str
    grave: bool = False


def breaches(data: PoseDataset, most: int | None = None) -> list[Breach]:
    """Which laws the poses of a split break.

    Args:
        data: One split, on any skeleton.
        most: Rows that medians and shares are taken over, evenly spaced; None for all of them.
    """
    if found := _not_finite(data):
        return found
    poses, skeleton = data.poses, data.poses.skeleton
    every = 1 if most is None else max(1, -(-len(poses) // most))
    some = poses[::every] if every > 1 else poses
    joints = some.joints_3d[:, 0]
    lengths = bone_lengths(joints, skeleton).median(0).values
    typical = float(lengths.median())
    if not 0.05 < typical < 1.0:
        return [Breach(f"units: expected metres, but the median bone is {typical:.3g} long", grave=True)]
    found = _single_poses(poses.joints_3d[:, 0], skeleton)
    found += [Breach(text) for text in _bone_problems(lengths, skeleton)]
    found += _sides(joints, skeleton) + _posture(joints, skeleton) + _behind(poses.joints_3d[:, 0], skeleton)
    if data.source_2d == "gt":
        gap = float((some.camera.project(some.joints_3d) - some.joints_2d).abs().max())
        if gap > LARGEST_GAP:
            text = f"2D: expected the projection of the 3D, within {LARGEST_GAP:g} of the width; it differs by up to "
            found.append(Breach(f"{text}{gap:.3g}: other intrinsics, another normalisation or other frames"))
    return found


def examined(data: PoseDataset, part: str, checks: str = REFUSE) -> PoseDataset:
    """The data set with what the laws say of it among its notes.

    Args:
        data: One split, as it was loaded.
        part: What a run calls it: `train`, `val`, or the target's name.
        checks: `refuse` raises for a grave breach, `warn` notes it.

    Raises:
        DataError: A grave breach with `refuse`; the message names each.
    """
    found = breaches(data, SAMPLE)
    grave = [breach.text for breach in found if breach.grave]
    if grave and checks == REFUSE:
        told = "\n".join(grave)
        raise DataError(f"{part} ({data.name}): these data are not what they say:\n{told}\ndata.checks=warn goes on")
    text = "fine" if not found else "; ".join(breach.text for breach in found)
    return replace(data, notes=data.notes | {NOTE: text})


def checked(parts: Iterable[tuple[str, PoseDataset]]) -> dict[str, str]:
    """What `examined` noted of each part, by the part's name."""
    return {part: data.notes.get(NOTE, "not checked") for part, data in parts}


def line(found: Mapping[str, str]) -> str:
    """What was found of all parts, in one line: those in which nothing is wrong first."""
    fine = [part for part, text in found.items() if text == "fine"]
    told = [f"fine: {', '.join(fine)}"] if fine else []
    return "data checks: " + " · ".join([*told, *(f"{p}: {text}" for p, text in found.items() if text != "fine")])


def by_name(lengths: Float[Tensor, " bones"], skeleton: Skeleton) -> dict[str, tuple[float, ...]]:
    """Name the bone lengths of a skeleton by the joints where the bones end.

    Args:
        lengths: bone lengths, metres.
        skeleton: the skeleton of the bones.

    Returns:
        One length for each bone in the middle, and two, left and right, for each pair.
    """
    found: dict[str, tuple[float, ...]] = {}
    for bone, (_, child) in enumerate(skeleton.bones):
        name, twin = skeleton.joints[child], skeleton.bone_flip[bone]
        if twin == bone:
            found[name] = (float(lengths[bone]),)
        elif name.startswith("left_"):
            found[name.removeprefix("left_")] = (float(lengths[bone]), float(lengths[twin]))
    return found


def _not_finite(data: PoseDataset) -> list[Breach]:
    """NaN or infinity anywhere, and confidences that are none."""
    poses, camera = data.poses, data.poses.camera
    fields = {"3D": poses.joints_3d, "2D": poses.joints_2d, "confidence": poses.confidence, "depth": poses.depth}
    fields |= {"focal length": camera.focal, "principal point": camera.center}
    found = []
    for name, values in fields.items():
        if values is None or bool(values.isfinite().all()):
            continue
        rows = (~values.isfinite()).flatten(1).any(1)
        first = int(rows.nonzero()[0])
        found.append(Breach(f"{name}: NaN or infinity in {int(rows.sum()):,} rows, first row {first}", grave=True))
    if not found and poses.confidence is not None:
        low, high = float(poses.confidence.min()), float(poses.confidence.max())
        if low < -ROUNDING or high > 1 + ROUNDING:
            found.append(Breach(f"confidence: expected 0 to 1, found {low:.3g} to {high:.3g}", grave=True))
    return found


def _single_poses(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[Breach]:
    """Bones that no pose can have, in every pose."""
    counts, first = [0, 0], ["", ""]
    for start in range(0, len(joints), CHUNK):
        lengths = bone_lengths(joints[start : start + CHUNK], skeleton)
        for kind, wrong in enumerate((lengths < SINGLE_BONE_M[0], lengths > SINGLE_BONE_M[1])):
            rows = wrong.any(1)
            if rows.any() and not counts[kind]:
                row = int(rows.nonzero()[0])
                bone = int(wrong[row].nonzero()[0])
                end = skeleton.joints[skeleton.bones[bone][1]]
                first[kind] = f"row {start + row}, {end}, {float(lengths[row, bone]):.3g} m"
            counts[kind] += int(rows.sum())
    words = ("a bone of no length: a joint that was not measured?", f"a bone longer than {SINGLE_BONE_M[1]} m")
    return [
        Breach(f"poses: {counts[kind]:,} of {len(joints):,} have {words[kind]} (first: {first[kind]})", grave=True)
        for kind in (0, 1)
        if counts[kind]
    ]


def _bone_problems(lengths: Float[Tensor, " bones"], skeleton: Skeleton) -> list[str]:
    problems = []
    for name, values in by_name(lengths, skeleton).items():
        if not all(HUMAN_BONE_M[0] <= value <= HUMAN_BONE_M[1] for value in values):
            spelled = " and ".join(f"{value:.3f}" for value in values)
            problems.append(f"bone to the {name}: {spelled} m, expected {HUMAN_BONE_M[0]} to {HUMAN_BONE_M[1]} m")
        if abs(values[0] - values[-1]) > LARGEST_ASYMMETRY * max(values):
            problems.append(f"bone to the {name}: left {values[0]:.3f} m, right {values[-1]:.3f} m; joint order?")
    return problems


def right_knees(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> tuple[int, int]:
    """Count the bent knees, and those that bend the right way.

    A knee bends one way only, so thigh x shank points to the person's left, whatever the posture. A body whose sides
    are swapped and one that is mirrored are the same to this law.

    Args:
        joints: poses in any right-handed frame, metres.
        skeleton: the skeleton of the joints.

    Returns:
        How many knees bend the right way, and how many are bent; zeros for a skeleton without legs.
    """
    if not all(f"{side}_{part}" in skeleton.joints for side in ("left", "right") for part in KNEES):
        return 0, 0
    across = joints[:, skeleton.index("left_hip")] - joints[:, skeleton.index("right_hip")]
    right = total = 0
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, skeleton.index(f"{side}_{part}")] for part in KNEES)
        hinge = torch.linalg.cross(knee - hip, ankle - knee)
        scale = (knee - hip).norm(dim=-1) * (ankle - knee).norm(dim=-1)
        bent: Bool[Tensor, " poses"] = hinge.norm(dim=-1) > BENT * scale
        right += int(((across * hinge).sum(-1)[bent] > 0).sum())
        total += int(bent.sum())
    return right, total


def _sides(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[Breach]:
    right, total = right_knees(joints, skeleton)
    if total < ENOUGH or right > (RIGHT_KNEES[0] if total >= MANY else RIGHT_OF_FEW) * total:
        return []
    text = f"left and right: {total - right} of {total} bent knees bend forward as if left and right were swapped; "
    grave = total >= MANY and right < RIGHT_KNEES[1] * total
    return [Breach(f"{text}check the joint order, or an image that was mirrored", grave)]


def _posture(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[Breach]:
    """Most people are upright in the image, whose y grows downwards."""
    if not {"head", "left_ankle"} <= set(skeleton.joints):
        return []
    above = joints[:, skeleton.index("head"), 1] < joints[:, skeleton.index("left_ankle"), 1]
    share = above.float().mean().item()
    if share > UPRIGHT[0]:
        return []
    text = f"axes: the head is above the ankle in {share:.0%} of the poses; does y point up?"
    return [Breach(text, grave=len(joints) >= MANY and share < UPRIGHT[1])]


def _behind(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[Breach]:
    behind = int((joints[..., 2] <= 0).any(1).sum())
    if not behind:
        return []
    whole = float((joints[:, skeleton.root, 2] <= 0).float().mean())
    text = f"axes: {behind:,} of {len(joints):,} poses reach behind the camera; expected absolute joints, z forward, "
    return [Breach(f"{text}metres", grave=whole > LARGEST_SHARE_BEHIND)]
