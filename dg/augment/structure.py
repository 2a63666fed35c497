"""Structural similarity of poses on the skeleton's graph (DAF-DG; METHODS 5).

Peng et al., "A dual-augmentor framework for domain generalization in 3D human pose estimation", CVPR 2024. Two poses
are compared as they stand and after the symmetric normalised Laplacian W = I - D^-1/2 A D^-1/2, which shows each joint
against its neighbours. A pose that went through several operations is a chain of poses: `proximity` sums up how far
each operation moved it, `overall_gap` how far each pair of consecutive operations did.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.skeleton import Skeleton


def normalised_laplacian(skeleton: Skeleton) -> Float[Tensor, "joints joints"]:
    """W = I - D^-1/2 A D^-1/2: symmetric, eigenvalues in [0, 2], and W D^1/2 1 = 0."""
    adjacency = skeleton.adjacency()
    scale = adjacency.sum(1).rsqrt()
    return torch.eye(len(skeleton)) - scale[:, None] * adjacency * scale


def structural_distance(
    first: Float[Tensor, "batch joints 3"],
    second: Float[Tensor, "batch joints 3"],
    laplacian: Float[Tensor, "joints joints"],
) -> Float[Tensor, ""]:
    """Compute L_ij = SE(J_i, J_j) + SE(W J_i, W J_j) between two sets of poses.

    The squared errors are summed over joints and coordinates, as in the released code, to which the weights of the
    losses belong, and averaged over poses.

    Args:
        first: joints in metres.
        second: joints of as many other poses, in metres.
        laplacian: the matrix W of their skeleton.

    Returns:
        The distance, square metres.
    """
    difference = first - second
    return (difference.square() + (laplacian @ difference).square()).flatten(1).sum(1).mean()


def proximity(
    chain: Sequence[Float[Tensor, "batch joints 3"]], laplacian: Float[Tensor, "joints joints"]
) -> Float[Tensor, ""]:
    """Compute the mean distance between neighbours of a chain: (L12 + L23 + L34) / 3 for four sets of poses.

    Args:
        chain: at least two sets of poses, metres.
        laplacian: the matrix W of their skeleton.

    Returns:
        The distance, square metres.
    """
    return torch.stack([structural_distance(a, b, laplacian) for a, b in pairwise(chain)]).mean()


def overall_gap(
    chain: Sequence[Float[Tensor, "batch joints 3"]], laplacian: Float[Tensor, "joints joints"]
) -> Float[Tensor, ""]:
    """Compute the mean distance two places apart in a chain: (L13 + L24) / 2 for four sets of poses.

    Args:
        chain: at least three sets of poses, metres.
        laplacian: the matrix W of their skeleton.

    Returns:
        The distance, square metres.
    """
    gaps = [structural_distance(a, b, laplacian) for a, b in zip(chain, chain[2:], strict=False)]
    return torch.stack(gaps).mean()
