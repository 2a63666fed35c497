"""What a loaded data set looks like, and what is wrong with it: the laws that any human motion in a camera obeys."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dg.datasets.base import PoseDataset
from dg.pose.bones import bone_lengths
from dg.pose.skeleton import Skeleton

# Metres, from the shortest bone of a child's hip to a tall person's shank, with room for marker-based joints.
HUMAN_BONE_M = (0.04, 0.60)
LARGEST_ASYMMETRY = 0.15  # of the median lengths of a bone and its mirror image
LARGEST_GAP = 1e-2  # of ground-truth 2D from the projection, width-normalised
BENT = 0.4  # sine of the knee's angle from which it tells left from right
ENOUGH = 5  # poses that a verdict takes
KNEES = ("hip", "knee", "ankle")


@dataclass(frozen=True)
class Findings:
    """Facts of one split, in the order in which they are printed, and what is wrong with it, in words."""

    facts: dict[str, str]
    bones: dict[str, tuple[float, ...]]  # bone by its end joint, sides together -> median lengths, metres
    problems: list[str] = field(default_factory=list)


def findings(data: PoseDataset) -> Findings:
    """Look at every pose of a split."""
    poses, joints = data.poses, data.poses.joints_3d[:, 0]
    depth = joints[:, poses.skeleton.root, 2].quantile(joints.new_tensor([0.1, 0.5, 0.9])).tolist()
    gap = (poses.camera.project(poses.joints_3d) - poses.joints_2d).abs()
    inside = poses.camera.in_frame(poses.joints_3d).float().mean().item()
    lengths = bone_lengths(joints, poses.skeleton).median(0).values
    facts = {
        "poses": f"{len(data):,} in {len(data.clip.unique()):,} clips at {data.fps:g} fps",
        "people": f"{len(data.subject.unique())}: {_listed(data.subjects)}",
        "actions": f"{len(data.action.unique())}: {_listed(data.actions)}",
        "joints": f"{len(poses.skeleton)} ({poses.skeleton.name})",
        "root depth": "p10 {:.2f} m, median {:.2f} m, p90 {:.2f} m".format(*depth),
        "in the frame": f"{inside:.1%}; to be trained on: {poses.valid.float().mean():.1%}",
        "2D": f"{data.source_2d}, at most {gap.max():.2g} and on average {gap.mean():.2g} from the projected 3D",
        "protocol": data.protocol("none"),
        **data.notes,
    }
    problems = [
        *_bone_problems(lengths, poses.skeleton),
        *_side_problems(joints, poses.skeleton),
        *_posture_problems(joints, poses.skeleton),
    ]
    if data.source_2d == "gt" and gap.max() > LARGEST_GAP:
        problems.append(
            f"2D: expected the projection of the 3D, within {LARGEST_GAP:g} of the width; it differs by up to "
            f"{gap.max():.3g}: other intrinsics, another normalisation or other frames"
        )
    if (joints[..., 2] <= 0).any():
        behind = int((joints[..., 2] <= 0).any(1).sum())
        problems.append(f"axes: {behind} poses reach behind the camera; expected absolute joints, z forward, metres")
    return Findings(facts, _by_name(lengths, poses.skeleton), problems)


def _listed(names: tuple[str, ...], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def _by_name(lengths: Float[Tensor, " bones"], skeleton: Skeleton) -> dict[str, tuple[float, ...]]:
    """Median lengths by end joint; two numbers, left and right, where there are two sides."""
    found: dict[str, tuple[float, ...]] = {}
    for bone, (_, child) in enumerate(skeleton.bones):
        name, twin = skeleton.joints[child], skeleton.bone_flip[bone]
        if twin == bone:
            found[name] = (float(lengths[bone]),)
        elif name.startswith("left_"):
            found[name.removeprefix("left_")] = (float(lengths[bone]), float(lengths[twin]))
    return found


def _bone_problems(lengths: Float[Tensor, " bones"], skeleton: Skeleton) -> list[str]:
    problems = []
    typical = float(lengths.median())
    if not 0.05 < typical < 1.0:
        return [f"units: expected metres, but the median bone is {typical:.3g} long"]
    for name, values in _by_name(lengths, skeleton).items():
        if not all(HUMAN_BONE_M[0] <= value <= HUMAN_BONE_M[1] for value in values):
            spelled = " and ".join(f"{value:.3f}" for value in values)
            problems.append(f"bone to the {name}: {spelled} m, expected {HUMAN_BONE_M[0]} to {HUMAN_BONE_M[1]} m")
        if abs(values[0] - values[-1]) > LARGEST_ASYMMETRY * max(values):
            problems.append(f"bone to the {name}: left {values[0]:.3f} m, right {values[-1]:.3f} m; joint order?")
    return problems


def _side_problems(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[str]:
    """A knee bends one way only, so thigh x shank points to the person's left, whatever the posture."""
    if not all(f"{side}_{part}" in skeleton.joints for side in ("left", "right") for part in KNEES):
        return []
    across = joints[:, skeleton.index("left_hip")] - joints[:, skeleton.index("right_hip")]
    right = total = 0
    for side in ("left", "right"):
        hip, knee, ankle = (joints[:, skeleton.index(f"{side}_{part}")] for part in KNEES)
        hinge = torch.linalg.cross(knee - hip, ankle - knee)
        scale = (knee - hip).norm(dim=-1) * (ankle - knee).norm(dim=-1)
        bent: Bool[Tensor, " poses"] = hinge.norm(dim=-1) > BENT * scale
        right += int(((across * hinge).sum(-1)[bent] > 0).sum())
        total += int(bent.sum())
    if total < ENOUGH or right > 0.8 * total:
        return []
    return [
        f"left and right: {total - right} of {total} bent knees bend forward as if left and right were swapped; "
        "check the joint order, or an image that was mirrored"
    ]


def _posture_problems(joints: Float[Tensor, "poses joints 3"], skeleton: Skeleton) -> list[str]:
    """Most people are upright in the image, whose y grows downwards."""
    if not {"head", "left_ankle"} <= set(skeleton.joints):
        return []
    above = joints[:, skeleton.index("head"), 1] < joints[:, skeleton.index("left_ankle"), 1]
    share = above.float().mean().item()
    return [] if share > 0.5 else [f"axes: the head is above the ankle in {share:.0%} of the poses; does y point up?"]
