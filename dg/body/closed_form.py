"""Rotations without iteration over poses: aiming a frame along a bone, and Procrustes without an SVD.

Both agree with the plain forms in `dg.pose.rotation`. They exist because the mapping runs on every augmented pose:
Procrustes is four times as fast as by batched SVD on a CPU, which would be nearly half of the mapping's time, and the
aim stays a rotation to the last digit near opposite vectors. Rare poses need more work. On a CPU they are looked for
first; on a GPU, where the answer would wait for all work before it, the work is done for all poses and used for those.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEWTON_STEPS = 16
# Below this relative size two roots of the quartic nearly meet: Newton's method has not converged in so many steps,
# and the rotation is badly determined by the data anyway.
DEGENERATE = 3e-3
# 2^20 products: eigenvalues that differ by a millionth of the largest are told apart.
SQUARINGS = 20
# Unit vectors a and b with |a + b| below so many rounding errors count as opposite.
OPPOSITE_EPS = 4.0
# Where |a + b|^2 is below this, what rounding leaves of its part along a - b is taken away.
SHORT = 0.1


def unit(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Normalise vectors; a zero vector stays zero, never NaN."""
    return v * (v * v).sum(-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny).rsqrt()


def aim(
    frame: Float[Tensor, "*batch 3 3"], axis: Float[Tensor, "*#batch 3"], direction: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3 3"]:
    """Turn frames by the shortest rotation that brings an axis to a direction (METHODS 4.4, step 4).

    The rotation from a to b is a half turn about a followed by one about a + b, a form without cancellation. An
    opposite direction is reached by a half turn about an axis fixed in the frame; a zero direction leaves the frame as
    it is.

    Args:
        frame: rotation matrices.
        axis: unit vectors in the frames' own coordinates.
        direction: unit or zero vectors that the axes are to point along.
    """
    a = (frame @ axis[..., None])[..., 0]
    middle, across = a + direction, unit(a - direction)
    # Equal lengths make the two orthogonal; where the sum is short, rounding spoils that, and it is restored.
    short = (middle * middle).sum(-1, keepdim=True) < SHORT
    middle = middle - torch.where(short, (middle * across).sum(-1, keepdim=True), 0.0) * across
    opposite = (middle * middle).sum(-1, keepdim=True) < (OPPOSITE_EPS * torch.finfo(a.dtype).eps) ** 2
    if _may_hold(opposite):
        middle = torch.where(opposite, (frame @ orthogonal(axis)[..., None])[..., 0], middle)
    h = unit(middle)
    # Half turn about v: x -> 2 v (v.x) - x; the first one uses a^T frame = axis^T.
    turned = 2 * a[..., :, None] * axis[..., None, :] - frame
    return 2 * h[..., :, None] * (h[..., None, :] @ turned) - turned


def orthogonal(axis: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Return a unit vector orthogonal to each unit vector."""
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    return unit(torch.linalg.cross(axis, least))


def adjugate(m: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return adj(M), with adj(M) M = det(M) I."""
    a, b, c = m.unbind(-1)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -2)


def fast_procrustes(m: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """`procrustes_rotation` without an SVD: the proper rotation that maximises trace(R^T m).

    Source: Markley, "Attitude determination using vector observations: a fast optimal matrix algorithm" (FOAM), 1993.
    The largest trace is the largest root of a quartic, found by Newton's method from above (all roots are real, so it
    converges monotonically); the rotation follows in closed form. Rows whose rotation is not unique, such as
    collinear directions, are left to `eigen_procrustes`.
    """
    size = m.double().flatten(-2).norm(dim=-1)[..., None, None].clamp_min(1e-30)
    b = m.double() / size
    adj = adjugate(b)
    det = (b[..., 0, :] * adj[..., :, 0]).sum(-1)
    root = _largest_root(det, (adj * adj).sum((-1, -2)))
    kappa = 0.5 * (root * root - 1)
    zeta = kappa * root - det
    bt = b.transpose(-1, -2)
    rotation = ((kappa + 1)[..., None, None] * b + root[..., None, None] * adj.transpose(-1, -2) - b @ bt @ b) / zeta[
        ..., None, None
    ]
    degenerate = zeta < DEGENERATE
    if _may_hold(degenerate):
        rotation = torch.where(degenerate[..., None, None], eigen_procrustes(b), rotation)
    return rotation.to(m)


def eigen_procrustes(m: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return a proper rotation that maximises trace(R^T m), where there are several one of them. Nothing but products.

    Source: Horn, "Closed-form solution of absolute orientation using unit quaternions", 1987: the rotation's quaternion
    is the eigenvector of the largest eigenvalue of a symmetric 4 x 4 matrix. Squaring that matrix again and again
    leaves the projector onto those eigenvectors, any column of which is one; the largest is taken.
    """
    t = m.transpose(-1, -2)
    trace = m.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    turn = torch.stack([t[..., 1, 2] - t[..., 2, 1], t[..., 2, 0] - t[..., 0, 2], t[..., 0, 1] - t[..., 1, 0]], -1)
    corner = m + t - trace * torch.eye(3, dtype=m.dtype, device=m.device)
    top = torch.cat([trace, turn[..., None, :]], -1)
    horn = torch.cat([top, torch.cat([turn[..., :, None], corner], -1)], -2)
    # Shifted so that all eigenvalues are positive: none is below minus the sum of singular values, sqrt(3) times the
    # Frobenius norm at most.
    size = m.flatten(-2).norm(dim=-1)[..., None, None].clamp_min(1e-30)
    power = horn / size + 3**0.5 * torch.eye(4, dtype=m.dtype, device=m.device)
    for _ in range(SQUARINGS):
        power = power @ power
        power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    largest = power.diagonal(dim1=-2, dim2=-1).argmax(-1)
    picked = torch.nn.functional.one_hot(largest, 4).to(m)
    return _from_quaternion(torch.nn.functional.normalize((power @ picked[..., None])[..., 0], dim=-1))


def _from_quaternion(q: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a unit quaternion, real part first."""
    w, x, y, z = q.unbind(-1)
    rows = [
        w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z,
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def _may_hold(mask: Bool[Tensor, "*batch"]) -> bool:
    """Whether a mask holds anywhere; on another device than the CPU it is not asked, and it may."""
    return mask.device.type != "cpu" or bool(mask.any())


def _largest_root(det: Float[Tensor, "*batch"], adj_sq: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Largest root of (x^2 - 1)^2 - 8 det x - 4 |adj|^2 = 0, for a matrix of unit Frobenius norm."""
    # The sum of three singular values is at most sqrt(3) times that norm.
    x = torch.full_like(det, 3**0.5)
    for _ in range(NEWTON_STEPS):
        square = x * x - 1
        slope = (4 * x * square - 8 * det).clamp_min(1e-12)
        x = x - (square * square - 8 * det * x - 4 * adj_sq) / slope
    return x
