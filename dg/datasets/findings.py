"""What a loaded data set looks like, and what is wrong with it (`dg.datasets.laws`)."""

from dataclasses import dataclass, field

from dg.datasets.base import PoseDataset
from dg.datasets.laws import breaches, by_name
from dg.pose.bones import bone_lengths


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
    problems = [breach.text for breach in breaches(data)]
    return Findings(facts, by_name(lengths, poses.skeleton), problems)


def _listed(names: tuple[str, ...], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
