"""In which order joints are, told from their geometry alone: no ground truth, no names.

A wrong order joins joints that are no neighbours, so that "bones" are longer, shorter or less alike on both sides than
a body's. Left and right cannot be told this way: a person seen from behind is one seen from the front with the sides
swapped.
"""

from math import log

from jaxtyping import Float
from torch import Tensor

from dg.pose.skeleton import SKELETONS, Skeleton

LIMBS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
# Median length over the spread of the twelve joints of the limbs (root of their mean squared distance from their mean),
# in images: the middle of what CMU's and UI-PRMD's motion and our synthetic motion have, which lie within 30 % of it.
LENGTHS = {
    ("hip", "knee"): 0.87, ("knee", "ankle"): 0.90, ("shoulder", "elbow"): 0.62, ("elbow", "wrist"): 0.51,
    ("shoulder", "hip"): 1.05, ("hip", "hip"): 0.35, ("shoulder", "shoulder"): 0.48,
}  # fmt: skip
FITS = 0.35  # largest misfit of poses in their own order
CLEARLY = 0.5  # another order fits better where its misfit is below this share of the stated one's


def misfit(joints: Float[Tensor, "poses joints axes"], skeleton: Skeleton) -> float:
    """How far poses are from a body's proportions if their joints are in a skeleton's order.

    Args:
        joints: Any unit, two axes (an image) or three. Poses with a value that is not finite are left out.
        skeleton: With as many joints, hips to wrists among them.

    Returns:
        The mean absolute logarithm of the median lengths over the expected ones: below `FITS` for people in their own
        order, infinite where no pose is left.
    """
    joints = joints[joints.isfinite().flatten(1).all(1)]
    limbs = joints[:, [skeleton.index(f"{side}_{part}") for side in ("left", "right") for part in LIMBS]]
    spread = (limbs - limbs.mean(1, keepdim=True)).square().sum(-1).mean(-1).sqrt()
    limbs, spread = limbs[spread > 0], spread[spread > 0]
    if not len(limbs):
        return float("inf")
    at = {(side, part): n for n, (side, part) in enumerate((s, p) for s in ("left", "right") for p in LIMBS)}
    total = count = 0
    for (one, other), expected in LENGTHS.items():
        pairs = [("left", "left"), ("right", "right")] if one != other else [("left", "right")]
        for first, second in pairs:
            length = (limbs[:, at[first, one]] - limbs[:, at[second, other]]).norm(dim=-1) / spread
            total += abs(log(max(float(length.median()), 1e-3) / expected))
            count += 1
    return total / count


def orders_of(joints: int) -> list[Skeleton]:
    """Find the skeletons that a number of joints may belong to, which have the limbs by which an order is told."""
    needed = {f"{side}_{part}" for side in ("left", "right") for part in LIMBS}
    return [s for s in SKELETONS.values() if len(s) == joints and needed <= set(s.joints)]


def better_order(joints: Float[Tensor, "poses joints axes"], stated: Skeleton) -> Skeleton | None:
    """Another skeleton whose order clearly fits poses better than the stated one's; None where there is none.

    Args:
        joints: As for `misfit`.
        stated: The order that they are said to be in.
    """
    found = {s.name: misfit(joints, s) for s in orders_of(joints.shape[1])}
    if not found:
        return None
    best = min(found, key=lambda name: found[name])
    clear = best != stated.name and found[best] < FITS and found[best] < CLEARLY * misfit(joints, stated)
    return SKELETONS[best] if clear else None
