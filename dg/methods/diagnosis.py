"""What an augmentation makes of the source: from where its poses are seen, and whether the noise still decides.

PoseAug's rotation head can end at one turn for all poses, whatever the noise; the lifter then sees everybody from one
odd side, and no loss tells. A generator that nothing but discriminators judges can learn to leave every posture as it
is. So every run asks its method for proposals now and then and compares them with the source.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dg.augment.viewpoint import camera_direction, view_quantities
from dg.methods.base import DGMethod, StepKey
from dg.pose.batch import PoseBatch
from dg.pose.bones import unit_bones
from dg.pose.devices import seed_global_stream
from dg.pose.rotation import procrustes_rotation

PERCENTS = (5, 50, 95)
POSES, NOISES = 32, 16  # that many poses, each with so many draws of noise
LEAST_TURN_DEG, LEAST_SPREAD = 20.0, 0.25
# How far beyond the source's 5th and 95th percentile elevation and tilt may lie, and how many poses may lie farther.
MARGIN_DEG, MOST_BEYOND = 35.0, 1 / 3
LEAST_POSTURE_DEG = 8.0  # half of where the range begins that PoseAug's bone-angle loss allows


@dataclass(frozen=True)
class Diagnosis:
    """views: quantities of `dg.augment.viewpoint` of the proposals inside the frame. valid_share: how many are.
    turned_deg: mean angle by which the camera moved around the person. spread_over_noise_deg: mean angle between the
    cameras that different noise gives one pose, and their mean. beyond_share: of the proposals whose camera's elevation
    or whose tilt lies far outside the source's. posture_deg: `posture_change`. warnings: what is wrong, by kind.
    """

    views: dict[str, Float[Tensor, " poses"]]
    valid_share: float
    turned_deg: float
    spread_over_noise_deg: float
    beyond_share: float
    posture_deg: float
    warnings: dict[str, str]

    def metrics(self) -> dict[str, float]:
        """All of it as scalars to log."""
        return percentiles("proposals", self.views) | {
            "views/valid_share": self.valid_share,
            "views/turned_deg": self.turned_deg,
            "views/spread_over_noise_deg": self.spread_over_noise_deg,
            "views/beyond_share": self.beyond_share,
            "views/posture_deg": self.posture_deg,
        }


def percentiles(name: str, views: dict[str, Float[Tensor, " poses"]]) -> dict[str, float]:
    """Name percentiles of view quantities as scalars to log.

    Args:
        name: name of the poses, such as of a data set.
        views: values of each quantity, one for each pose.

    Returns:
        Values by names such as `views/NAME/QUANTITY_p5`.
    """
    at = torch.tensor(PERCENTS) / 100
    found = {}
    for quantity, values in views.items():
        for percent, value in zip(PERCENTS, values.cpu().float().quantile(at).tolist(), strict=True):
            found[f"views/{name}/{quantity}_p{percent}"] = value
    return found


def proposals(
    method: DGMethod, poses: PoseBatch, rows: Tensor, batch_size: int, seed: int
) -> tuple[PoseBatch, PoseBatch] | None:
    """Source poses and their proposals, batch by batch as in training.

    Args:
        method: as it is now; it is not changed.
        poses: single frames of the source, on the method's device.
        rows: those to take, in this order.
        batch_size: of the run.
        seed: of the noise.

    Returns:
        The source poses for which there is a proposal, and the proposals, without depth; None where the method makes
        none, or not yet.
    """
    sources, made = [], []
    for number, batch in enumerate(rows.split(batch_size)):
        key = StepKey(seed, 0, number)
        seed_global_stream(key.number("propose"))
        proposed = method.propose(poses[batch], key)
        if proposed is None:
            return None
        sources.append(poses[batch][: len(proposed)])
        made.append(replace(proposed, depth=None, confidence=None))
    return PoseBatch.concatenate(sources), PoseBatch.concatenate(made)


@torch.no_grad()
def diagnose(method: DGMethod, source: PoseBatch, batch_size: int, count: int = 1024) -> Diagnosis | None:
    """Look at what a method makes of the source now.

    Args:
        method: it is not changed.
        source: single frames, on the method's device.
        batch_size: of the run: a generator's batch norm sees batches as in training.
        count: of the source poses that are looked at.

    Returns:
        None where the method makes no poses, or not yet, or none inside the frame.
    """
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0)).to(source.joints_3d.device)
    drawn = proposals(method, source, order[:count], batch_size, seed=0)
    if drawn is None or int(drawn[1].valid.sum()) == 0:
        return None
    before, after = (poses[drawn[1].valid] for poses in drawn)
    turned = _angle_deg(_directions(before), _directions(after)).mean()
    found, known = view_quantities(after), view_quantities(before)
    ends = torch.tensor([0.05, 0.95]).to(turned)
    low, high = known["elevation_deg"].quantile(ends).tolist()
    elevation, tilted = found["elevation_deg"], known["tilt_deg"].quantile(ends)[1]
    beyond = (elevation < low - MARGIN_DEG) | (elevation > high + MARGIN_DEG)
    beyond |= found["tilt_deg"] > tilted + MARGIN_DEG
    figures = {
        "turned_deg": float(turned),
        "spread_over_noise_deg": spread_over_noise(method, source, order),
        "beyond_share": float(beyond.float().mean()),
    }
    warnings, posture = _warnings(**figures, views=found, usual=(low, high)), posture_change(before, after)
    if method.learns_posture and posture < LEAST_POSTURE_DEG:
        warnings["posture"] = (
            f"the augmentor leaves postures as they are: bones turn by {posture:.1f} degrees against the body; what "
            "remains is the rigid transform"
        )
    return Diagnosis(found, float(drawn[1].valid.float().mean()), **figures, posture_deg=posture, warnings=warnings)


def posture_change(before: PoseBatch, after: PoseBatch) -> float:
    """Measure how far bones have turned, the turn of the whole body taken away.

    Args:
        before: poses, of windows the centre frame counts.
        after: the same poses, moved and changed.

    Returns:
        The mean over poses and bones of the angle between bones after the best rotation of each pose, degrees.
    """
    was, became = (
        unit_bones(poses.joints_3d[:, poses.joints_3d.shape[1] // 2], poses.skeleton)[0] for poses in (before, after)
    )
    aligned = became @ procrustes_rotation(was.mT @ became).mT
    return float(_angle_deg(was, aligned).mean())


def spread_over_noise(method: DGMethod, source: PoseBatch, order: Tensor) -> float:
    """Measure how far the camera directions vary that a pose gets by different noise.

    Args:
        method: the method, in the state in which it proposes poses.
        source: the source poses.
        order: rows of the source in the order in which they are tried.

    Returns:
        The mean angle between a pose's camera directions and their mean, degrees; 0 where no pose got two inside the
        frame.
    """
    # Different poses in one batch, so that batch norm sees what it is used to.
    rows = order[:POSES].repeat(NOISES)
    drawn = proposals(method, source, rows, len(rows), seed=1)
    if drawn is None:
        return 0.0
    of_pose = torch.arange(len(drawn[1]), device=rows.device) % min(POSES, len(order))
    angles = []
    for pose in of_pose.unique():
        kept = drawn[1][drawn[1].valid & (of_pose == pose)]
        if len(kept) > 1:
            directions = _directions(kept)
            mean = torch.nn.functional.normalize(directions.mean(0), dim=0)
            angles.append(_angle_deg(directions, mean.expand_as(directions)).mean())
    return float(torch.stack(angles).mean()) if angles else 0.0


def _warnings(
    turned_deg: float,
    spread_over_noise_deg: float,
    beyond_share: float,
    views: dict[str, Tensor],
    usual: tuple[float, float],
) -> dict[str, str]:
    found = {}
    if turned_deg > LEAST_TURN_DEG and spread_over_noise_deg < LEAST_SPREAD * turned_deg:
        found["collapsed"] = (
            f"the augmentation has collapsed: it moves the camera by {turned_deg:.0f} degrees around each person, but "
            f"different noise by no more than {spread_over_noise_deg:.0f}"
        )
    if beyond_share > MOST_BEYOND:
        found["implausible"] = (
            f"{100 * beyond_share:.0f} % of the augmented poses are seen from implausible sides: the camera's median "
            f"elevation against the trunk is {float(views['elevation_deg'].median()):.0f} degrees (the source's lies "
            f"between {usual[0]:.0f} and {usual[1]:.0f}), the trunk's median tilt "
            f"{float(views['tilt_deg'].median()):.0f} degrees"
        )
    return found


def _directions(poses: PoseBatch) -> Float[Tensor, "poses 3"]:
    return camera_direction(poses.joints_3d[:, poses.joints_3d.shape[1] // 2], poses.skeleton)


def _angle_deg(a: Float[Tensor, "*poses 3"], b: Float[Tensor, "*poses 3"]) -> Float[Tensor, " *poses"]:
    return torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1)))
