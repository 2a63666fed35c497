"""Losses of adversarial pose augmentation (METHODS 2.4)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from dg.pose.skeleton import Skeleton

# Joints that share a group of the feedback loss, and the weights of their errors; left and right alike.
_GROUPS = (("hip", "shoulder"), ("knee", "elbow", "head"), ("ankle", "wrist"))
_WEIGHTS = {"hip": 5.0, "shoulder": 5.0, "knee": 2.0, "elbow": 2.0}


def lsgan(scores: Tensor, label: float) -> Float[Tensor, ""]:
    """Compute the least-squares GAN loss.

    Args:
        scores: scores of a discriminator.
        label: 1 for real and 0 for generated samples.

    Returns:
        The mean squared distance of the scores to the label.
    """
    return F.mse_loss(scores, torch.full_like(scores, label))


def lsgan_discriminator(real: Tensor, generated: Tensor) -> Float[Tensor, ""]:
    """Compute a discriminator's loss: half the sum of the terms of real and generated samples.

    Args:
        real: scores of real samples.
        generated: scores of generated samples.

    Returns:
        The loss.
    """
    return 0.5 * (lsgan(real, 1.0) + lsgan(generated, 0.0))


def lsgan_generator(generated: Tensor) -> Float[Tensor, ""]:
    """Compute half the squared distance of the generated samples' scores to the label `real`.

    The released code adds half the real samples' distance to 0, which no generator parameter moves.
    """
    return 0.5 * lsgan(generated, 1.0)


def outside_range(values: Tensor, centre: float | Tensor, half_width: float) -> Float[Tensor, ""]:
    """Compute the mean squared distance to the centre, counted only where it exceeds the half width.

    Args:
        values: the values.
        centre: middle of the allowed range.
        half_width: half the width of the allowed range.

    Returns:
        The loss.
    """
    distance = values - centre
    return (distance.square() * (distance.abs() > half_width)).mean()


def bone_angle_loss(angle_change: Float[Tensor, "batch bones"]) -> Float[Tensor, ""]:
    """Penalise a mean change of 1 - cosine outside of [0.040, 0.370], about 16 to 51 degrees."""
    return outside_range(angle_change.mean(-1), 0.205, 0.165)


def bone_length_loss(length_ratio: Float[Tensor, "batch ratios"]) -> Float[Tensor, ""]:
    """Penalise relative changes of more than 10 % (rectified L2)."""
    return outside_range(length_ratio, 0.0, 0.1)


def joint_group_matrix(skeleton: Skeleton) -> Float[Tensor, "joints groups"]:
    """Return M with `errors @ M` = the weighted mean error of each joint group of the feedback loss.

    The groups are hips and shoulders; knees, elbows and head; ankles and wrists. Torso joints and the neck are in none.
    """
    matrix = torch.zeros(len(skeleton), len(_GROUPS))
    for column, group in enumerate(_GROUPS):
        for row, joint in enumerate(skeleton.joints):
            part = joint.split("_")[-1]
            if part in group:
                matrix[row, column] = _WEIGHTS.get(part, 1.0)
        matrix[:, column] /= (matrix[:, column] > 0).sum()
    return matrix


def feedback_ratio(
    augmented: Float[Tensor, "batch groups"], original: Float[Tensor, "batch groups"], mu: float | Tensor, sigma: float
) -> Float[Tensor, ""]:
    """Compute the released code's feedback: augmented poses should be harder than their originals by some factor.

    Args:
        augmented: the lifter's error of each joint group on the augmented poses.
        original: the same on the original poses.
        mu: middle of the factor's range.
        sigma: half the width of the factor's range.

    Returns:
        The mean squared distance of the factor to `mu`, counted only outside of the range.
    """
    return outside_range(augmented / original, mu, sigma)


def feedback_exponential(
    augmented: Float[Tensor, " batch"], original: Float[Tensor, " batch"], beta: float | Tensor
) -> Float[Tensor, ""]:
    """Compute the feedback of the paper's equation 9, |1 - exp(L(X') - beta L(X))|.

    Args:
        augmented: the lifter's loss of each augmented pose, L(X').
        original: its loss of each original pose, L(X).
        beta: the factor by which augmented poses should be harder, above 1.

    Returns:
        The mean over the poses.
    """
    return (1 - torch.exp(augmented - beta * original)).abs().mean()


Joints = Float[Tensor, "batch frames joints 3"]


def mse(predicted: Joints, target: Joints) -> Float[Tensor, " batch"]:
    """Compute the mean squared error over all coordinates for each sample; PoseAug's lifters train on it (METHODS 2.4).

    Args:
        predicted: root-relative joints, metres.
        target: root-relative joints, metres.

    Returns:
        The error of each sample, square metres.
    """
    return (predicted - target).square().flatten(1).mean(1)


def mpjpe(predicted: Joints, target: Joints) -> Float[Tensor, " batch"]:
    """Compute the mean distance of the joints for each sample.

    Args:
        predicted: root-relative joints, metres.
        target: root-relative joints, metres.

    Returns:
        The error of each sample, metres.
    """
    return (predicted - target).norm(dim=-1).flatten(1).mean(1)


def motion(predicted: Joints, target: Joints) -> Float[Tensor, " batch"]:
    """Compute MotionBERT's loss: MPJPE + 0.5 N-MPJPE + 20 times the error of the joints' velocities (METHODS 6.6).

    N-MPJPE scales each frame's prediction to fit best. A single frame has no velocity.

    Args:
        predicted: root-relative joints, metres.
        target: root-relative joints, metres.

    Returns:
        The loss of each sample, metres.
    """
    scale = (predicted * target).sum((-1, -2), keepdim=True) / predicted.square().sum((-1, -2), keepdim=True).clamp_min(
        torch.finfo(predicted.dtype).tiny
    )
    loss = mpjpe(predicted, target) + 0.5 * mpjpe(scale * predicted, target)
    return loss if predicted.shape[1] == 1 else loss + 20 * mpjpe(predicted.diff(dim=1), target.diff(dim=1))


LIFTER_LOSSES = {"mse": mse, "mpjpe": mpjpe, "motion": motion}
