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
    """L_ij = SE(J_i, J_j) + SE(W J_i, W J_j), summed over joints and coordinates, mean over poses, square metres.

    A sum, as in the released code, to which the weights of the losses belong. W is linear, so the difference goes
    through it once.
    """
    difference = first - second
    return (difference.square() + (laplacian @ difference).square()).flatten(1).sum(1).mean()


def proximity(
    chain: Sequence[Float[Tensor, "batch joints 3"]], laplacian: Float[Tensor, "joints joints"]
) -> Float[Tensor, ""]:
    """Mean distance between neighbours of the chain: (L12 + L23 + L34) / 3 for four poses."""
    return torch.stack([structural_distance(a, b, laplacian) for a, b in pairwise(chain)]).mean()


def overall_gap(
    chain: Sequence[Float[Tensor, "batch joints 3"]], laplacian: Float[Tensor, "joints joints"]
) -> Float[Tensor, ""]:
    """Mean distance two places apart in the chain: (L13 + L24) / 2 for four poses."""
    gaps = [structural_distance(a, b, laplacian) for a, b in zip(chain, chain[2:], strict=False)]
    return torch.stack(gaps).mean()
