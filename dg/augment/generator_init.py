"""How the output layers of a learned generator begin: as released, or so that it first leaves poses nearly as they are.

Released, they are drawn by Kaiming's rule, so that a fresh generator turns every bone by some 40 degrees and people by
up to half a turn, and has to unlearn that. `small` is a hundredth of it. It is not zero, from which the heads that
predict an axis and an angle get no gradient.
"""

import torch
from torch import nn

from dg.augment.rigid import RigidTransform
from dg.augment.sequential_generator import ResidualTrunk
from dg.augment.trunk import Trunk

INITS = ("released", "small")
_SMALL = 0.01


def initialise_outputs(generator: nn.Module, init: str) -> None:
    """Scale the output layers of a fresh generator's networks.

    The released translation stays as it is: its output is the root's place itself, and a small one lies in the camera.

    Args:
        generator: a generator of PoseAug's kind or PoseDA's; changed in place.
        init: `released` leaves it as it is.

    Raises:
        ValueError: for an unknown init.
    """
    if init not in INITS:
        raise ValueError(f"generator_init must be one of {list(INITS)}, got {init!r}")
    if init == "released":
        return
    rigid = [module for module in generator.modules() if isinstance(module, RigidTransform)]
    kept = {module.translation_trunk for module in rigid if module.translation == "released"}
    with torch.no_grad():
        for module in generator.modules():
            if isinstance(module, Trunk | ResidualTrunk) and module not in kept:
                module.last.weight.mul_(_SMALL)
                module.last.bias.mul_(_SMALL)
