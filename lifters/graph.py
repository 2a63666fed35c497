"""Graphs of the body for graph convolutions, derived from a skeleton by its names (METHODS 6.3 and 6.4).

Nothing here is learned. Graph networks predict every joint, the root too; `GraphOutput` moves it to the origin.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton

GraphRoot = Literal["centred", "predicted"]
_ARM = ("collar", "shoulder", "elbow", "wrist", "hand")
_LEG = ("hip", "knee", "ankle", "foot")
_LIMBS = (("left", _ARM), ("right", _ARM), ("left", _LEG), ("right", _LEG))


class GraphOutput(nn.Module):
    """`[joints, batch, 3]` of a graph network to `[batch, 1, joints, 3]`.

    root `centred`: every joint minus the predicted root.
    """

    def __init__(self, skeleton: Skeleton, root: GraphRoot) -> None:
        super().__init__()
        self.root = skeleton.root if root == "centred" else None

    def forward(self, nodes: Float[Tensor, "joints batch 3"]) -> Float[Tensor, "batch 1 joints 3"]:
        """Put the batch first, insert an axis of one frame, and subtract the root where it is `centred`."""
        joints = nodes if self.root is None else nodes - nodes[self.root]
        return joints.transpose(0, 1)[:, None]


def with_neck(skeleton: Skeleton) -> Skeleton:
    """Insert a joint `neck` right before the head, between it and the thorax.

    A skeleton that has a neck already, or whose head does not hang from a thorax, is returned as it is.
    """
    if "neck" in skeleton.joints or "head" not in skeleton.joints or "thorax" not in skeleton.joints:
        return skeleton
    head, thorax = skeleton.index("head"), skeleton.index("thorax")
    if skeleton.parents[head] != thorax:
        return skeleton
    moved = [parent + (parent >= head) for parent in skeleton.parents]
    neck_parent, moved[head] = moved[head], head
    joints = (*skeleton.joints[:head], "neck", *skeleton.joints[head:])
    return Skeleton(f"{skeleton.name}_neck", joints, (*moved[:head], neck_parent, *moved[head:]))


def centre_distance(skeleton: Skeleton) -> list[int]:
    """Count the bones between each joint and the graph's centre.

    The centre is the joint `spine`, or the root of a skeleton without one.
    """
    centre = skeleton.index("spine") if "spine" in skeleton.joints else skeleton.root
    distance = {centre: 0}
    reached = [centre]
    for joint in reached:
        near = [a + b - joint for a, b in skeleton.bones if joint in (a, b)]
        new = [other for other in near if other not in distance]
        distance.update(dict.fromkeys(new, distance[joint] + 1))
        reached += new
    return [distance[joint] for joint in range(len(skeleton))]


def spatial_matrices(
    edges: list[tuple[int, int]], twins: list[tuple[int, int]], distance: list[int]
) -> Float[Tensor, "4 nodes nodes"]:
    """Build the adjacency of ST-GCN's spatial strategy in four parts.

    Each node takes the mean over itself and all its neighbours. The parts are: the node itself; neighbours farther from
    the centre than the node; nearer ones; the twin on the other side.

    Args:
        edges: pairs of joined nodes.
        twins: pairs of nodes that mirror each other.
        distance: each node's number of edges to the centre.

    Returns:
        The four matrices; node v takes `matrix[k, v, w]` of node w, and the entries of a node sum to one over all
        parts.

    Reference: Yan et al., "Spatial temporal graph convolutional networks for skeleton-based action recognition", AAAI
    2018.
    """
    nodes = len(distance)
    matrices = torch.zeros(4, nodes, nodes)
    matrices[0] = torch.eye(nodes)
    for a, b in edges:
        for node, other in ((a, b), (b, a)):
            matrices[1 if distance[other] > distance[node] else 2, node, other] = 1.0
    for a, b in twins:
        matrices[3, a, b] = matrices[3, b, a] = 1.0
    return matrices / matrices.sum((0, 2))[None, :, None]


def body_matrices(skeleton: Skeleton) -> Float[Tensor, "4 joints joints"]:
    """Return `spatial_matrices` of a skeleton's bones, with every joint linked to its twin on the other side."""
    twins = [(joint, twin) for joint, twin in enumerate(skeleton.flip) if joint < twin]
    return spatial_matrices(list(skeleton.bones), twins, centre_distance(skeleton))


def body_parts(skeleton: Skeleton) -> list[int]:
    """Return the part of each joint: left arm 0, right arm 1, left leg 2, right leg 3, everything else 4.

    Raises ValueError when a part has no joint.
    """
    parts = [_part(joint) for joint in skeleton.joints]
    if len(set(parts)) <= len(_LIMBS):
        raise ValueError(f"skeleton {skeleton.name} needs joints of both arms, both legs and a trunk to be pooled")
    return parts


def _part(joint: str) -> int:
    side, _, name = joint.partition("_")
    return next((part for part, (s, names) in enumerate(_LIMBS) if side == s and name in names), len(_LIMBS))


def part_matrices() -> Float[Tensor, "4 parts parts"]:
    """Return `spatial_matrices` of `body_parts`: four limbs on a centre, arms and legs as pairs."""
    return spatial_matrices([(0, 4), (1, 4), (2, 4), (3, 4)], [(0, 1), (2, 3)], [1, 1, 1, 1, 0])
