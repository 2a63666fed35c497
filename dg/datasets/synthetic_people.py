"""Bodies for synthetic motion: segment lengths as shares of stature, for women and men.

Limb segments: Drillis and Contini (1966) as tabulated in Winter, Biomechanics and Motor Control of Human Movement;
trunk, neck and head: Human3.6M's joint definitions. Axes of the rest pose: x forward, y to the person's left, z up.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dg.pose.skeleton import H36M_17

# share of stature: (women, men)
SHARES = {
    "hip": (0.0775, 0.0735),
    "thigh": (0.243, 0.247),
    "shank": (0.244, 0.249),
    "lumbar": (0.134, 0.133),
    "chest": (0.146, 0.149),
    "neck": (0.068, 0.069),
    "head": (0.068, 0.067),
    "shoulder": (0.083, 0.091),
    "upper_arm": (0.166, 0.170),
    "forearm": (0.141, 0.146),
}
STATURE_M = ((1.52, 1.76), (1.64, 1.92))
SPREAD = 0.03
# Direction of each bone at rest, right side; the left is its mirror image.
_DIRECTIONS = {
    "hip": (0.0, -1.0, 0.0),
    "knee": (0.0, 0.0, -1.0),
    "ankle": (0.0, 0.0, -1.0),
    "spine": (-0.05, 0.0, 1.0),
    "thorax": (0.0, 0.0, 1.0),
    "neck": (0.45, 0.0, 1.0),
    "head": (-0.15, 0.0, 1.0),
    "shoulder": (0.0, -1.0, -0.15),
    "elbow": (0.0, 0.0, -1.0),
    "wrist": (0.0, 0.0, -1.0),
}
_SEGMENT_OF = dict(zip(_DIRECTIONS, SHARES, strict=True))


def draw_people(count: int, generator: torch.Generator) -> Float[Tensor, "count joints 3"]:
    """Draw bodies of women and men in turn, with left and right alike.

    Args:
        count: number of people.
        generator: the random generator.

    Returns:
        Offsets of each H36M-17 joint from its parent at rest, metres.
    """
    sex = torch.arange(count) % 2
    low, high = torch.tensor(STATURE_M)[sex].unbind(-1)
    stature = low + (high - low) * torch.rand(count, generator=generator)
    shares = torch.tensor(list(SHARES.values())).T[sex]
    shares = shares * (SPREAD * torch.randn(shares.shape, generator=generator).clamp(-2, 2)).exp()
    lengths = dict(zip(SHARES, (shares * stature[:, None]).unbind(-1), strict=True))
    offsets = torch.zeros(count, len(H36M_17), 3)
    for row, joint in enumerate(H36M_17.joints[1:], start=1):
        part = joint.removeprefix("left_").removeprefix("right_")
        direction = torch.nn.functional.normalize(torch.tensor(_DIRECTIONS[part]), dim=0)
        if joint.startswith("left_"):
            direction = direction * torch.tensor([1.0, -1.0, 1.0])
        offsets[:, row] = lengths[_SEGMENT_OF[part]][:, None] * direction
    return offsets
