"""Rotations: axis-angle, minimal rotation between directions, Procrustes. Batched over any leading axes."""

import torch
from jaxtyping import Float
from torch import Tensor


def cross_matrix(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the matrix [v]_x with `[v]_x u = v x u`."""
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*v.shape[:-1], 3, 3)


def rotation_from_axis_angle(rotvec: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert axis times angle in radians to rotation matrices by Rodrigues' formula.

    It is smooth and differentiable at zero.
    """
    a, b = _rodrigues((rotvec * rotvec).sum(-1)[..., None, None])
    k = cross_matrix(rotvec)
    return torch.eye(3, dtype=rotvec.dtype, device=rotvec.device) + a * k + b * (k @ k)


def _rodrigues(angle_sq: Float[Tensor, "*batch"]) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """sin(a) / a and (1 - cos a) / a^2: by series near zero, where the closed forms lose all digits."""
    small = angle_sq < 1e-8
    safe = torch.where(small, torch.ones_like(angle_sq), angle_sq)
    angle = safe.sqrt()
    a = torch.where(small, 1 - angle_sq / 6, angle.sin() / angle)
    b = torch.where(small, 0.5 - angle_sq / 24, (1 - angle.cos()) / safe)
    return a, b


def rotation_about_axis(angle: Float[Tensor, "*batch"], axis: int) -> Float[Tensor, "*batch 3 3"]:
    """Turn about one of the coordinate axes: what `rotation_from_axis_angle` gives, to the last bit, without a product
    of matrices.

    Args:
        angle: radians.
        axis: 0, 1 or 2 for x, y or z.
    """
    sine_by_angle, cosine_by_square = _rodrigues(angle * angle)
    sine, cosine = sine_by_angle * angle, 1 - cosine_by_square * (angle * angle)
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    rows = {
        0: [one, zero, zero, zero, cosine, -sine, zero, sine, cosine],
        1: [cosine, zero, sine, zero, one, zero, -sine, zero, cosine],
        2: [cosine, -sine, zero, sine, cosine, zero, zero, zero, one],
    }
    return torch.stack(rows[axis], -1).unflatten(-1, (3, 3))


def rotation_from_turns(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Compose turns about the axes of the camera frame: yaw about y first, then pitch about x, then roll about z.

    Args:
        yaw: angles about y, radians.
        pitch: angles about x, radians.
        roll: angles about z, radians.

    Returns:
        The rotation matrices.
    """
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (torch.cos, torch.sin))
    leaning, turning = sp * sy, sp * cy
    return torch.stack(
        [
            cr * cy - sr * leaning, -sr * cp, cr * sy + sr * turning,
            sr * cy + cr * leaning, cr * cp, sr * sy - cr * turning,
            -cp * sy, sp, cp * cy,
        ],
        -1,
    ).unflatten(-1, (3, 3))  # fmt: skip


def rotation_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Convert quaternions in w, x, y, z order to rotation matrices; they are normalised first."""
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    return torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
        ],
        -1,
    ).reshape(*quaternion.shape[:-1], 3, 3)  # fmt: skip


def axis_angle_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Convert quaternions in w, x, y, z order to axis times angle, within half a turn; they are normalised first.

    Smooth but for half turns, where the axis changes sign.
    """
    unit = quaternion / quaternion.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    unit = torch.where(unit[..., :1] < 0, -unit, unit)
    w, v = unit[..., :1], unit[..., 1:]
    sine_sq = (v * v).sum(-1, keepdim=True)
    small = sine_sq < 1e-8
    sine = torch.where(small, torch.ones_like(sine_sq), sine_sq).sqrt()
    return v * torch.where(small, 2.0, 2 * torch.atan2(sine, w) / sine)


def multiply_quaternions(a: Float[Tensor, "*batch 4"], b: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Return the Hamilton product of quaternions in w, x, y, z order.

    Args:
        a: the rotation that is applied last.
        b: the rotation that is applied first.

    Returns:
        The quaternion of the rotation `b` and then `a`.
    """
    (aw, av), (bw, bv) = (a[..., :1], a[..., 1:]), (b[..., :1], b[..., 1:])
    vector = aw * bv + bw * av + torch.linalg.cross(av, bv)
    return torch.cat([aw * bw - (av * bv).sum(-1, keepdim=True), vector], -1)


def minimal_rotation(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Find the shortest rotation that turns one unit vector into another (METHODS 4.4, step 4).

    Args:
        a: unit vectors before the rotation.
        b: unit vectors after it.

    Returns:
        Rotation matrices. For opposite vectors, where the axis is free, it is a half turn about an axis orthogonal to
        `a`.
    """
    v, c = torch.linalg.cross(a, b), (a * b).sum(-1)
    k = cross_matrix(v)
    opposite = (c < -1 + 1e-6)[..., None, None]
    scale = 1 / (1 + c).clamp_min(1e-6)
    eye = torch.eye(3, dtype=a.dtype, device=a.device)
    turn = eye + k + (k @ k) * scale[..., None, None]
    # The coordinate axis least aligned with `a` always gives a well-conditioned orthogonal axis.
    helper = torch.nn.functional.one_hot(a.abs().argmin(-1), 3).to(a)
    axis = torch.nn.functional.normalize(torch.linalg.cross(a, helper), dim=-1)
    half_turn = 2 * axis[..., :, None] * axis[..., None, :] - eye
    return torch.where(opposite, half_turn, turn)


def procrustes_rotation(m: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the proper rotation R that maximises trace(R^T m); for m = sum t s^T it turns the s onto the t best."""
    u, _, vt = torch.linalg.svd(m)
    sign = torch.ones_like(m[..., 0])
    sign[..., 2] = torch.det(u @ vt)
    return u @ (sign[..., :, None] * vt)
