"""Poses bred from poses: crossover, mutation and survival of the anatomically valid (METHODS 5, EvoSkeleton).

Li et al., "Cascaded deep monocular 3D human pose estimation with evolutionary training data", CVPR 2020, with the
constants of the released code. A whole generation is bred at once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dg.augment.bone_templates import BoneTemplates
from dg.augment.joint_limits import LIMBS, LimbFrames, ValidityMap
from dg.pose.rotation import rotation_from_axis_angle

_CHUNK = 65_536
_LONGEST = 1000

# The joints where a crossover may cut, and the limbs below. As released, the head never changes its owner.
_ENDS_BELOW = {
    "pelvis": ("left_knee", "left_ankle", "right_knee", "right_ankle"),
    "thorax": ("left_elbow", "left_wrist", "right_elbow", "right_wrist"),
    **{f"{side}_hip": (f"{side}_knee", f"{side}_ankle") for side in ("left", "right")},
    **{f"{side}_knee": (f"{side}_ankle",) for side in ("left", "right")},
    **{f"{side}_shoulder": (f"{side}_elbow", f"{side}_wrist") for side in ("left", "right")},
    **{f"{side}_elbow": (f"{side}_wrist",) for side in ("left", "right")},
}
ROOTS = tuple(_ENDS_BELOW)
SUBTREES = torch.tensor([[end in ends for _, end in LIMBS] for ends in _ENDS_BELOW.values()])


@dataclass(frozen=True)
class Evolution:
    """fraction: of the population that fathers a generation (as many mother it). growth: the final population's size,
    as a multiple of the first's. local_rate, local_sigma_deg: how often a swapped limb is turned in its local frame,
    and how far. global_rate, global_sigma_deg: the same for a whole pose. template_rate: the share that gets template
    bone lengths at the end.
    """

    fraction: float = 0.05
    growth: float = 2.5
    local_rate: float = 0.3
    local_sigma_deg: float = 10.0
    global_rate: float = 0.1
    global_sigma_deg: float = 60.0
    template_rate: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 0.5:
            raise ValueError(f"fraction must lie in (0, 0.5], as fathers and mothers are distinct, got {self.fraction}")
        if self.growth < 1:
            raise ValueError(f"growth must be at least 1, got {self.growth}")
        for name in ("local_rate", "global_rate", "template_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.local_sigma_deg < 0 or self.global_sigma_deg < 0:
            raise ValueError(
                f"angles must not be negative, got local_sigma_deg={self.local_sigma_deg} and "
                f"global_sigma_deg={self.global_sigma_deg}"
            )


Limbs = Float[Tensor, "batch 9 3"]


def crossover(
    fathers: Limbs, mothers: Limbs, roots: Int[Tensor, " batch"]
) -> tuple[Limbs, Limbs, Bool[Tensor, "batch 9"]]:
    """Exchange limbs between pairs of poses.

    Args:
        fathers: limb directions in their local frames, a row for each pair.
        mothers: the same of the other poses.
        roots: index into `ROOTS` for each pair; the limbs below this joint are exchanged.

    Returns:
        Sons (on the fathers' trunks), daughters (on the mothers'), and which limbs were exchanged.
    """
    swapped = SUBTREES[roots]
    sons = torch.where(swapped[..., None], mothers, fathers)
    daughters = torch.where(swapped[..., None], fathers, mothers)
    return sons, daughters, swapped


def mutate(
    directions: Limbs, may: Bool[Tensor, "batch 9"], rate: float, sigma_deg: float, generator: torch.Generator
) -> Limbs:
    """Turn limbs at random, each about one axis of its local frame.

    Args:
        directions: limb directions in their local frames.
        may: limbs that may be turned.
        rate: the probability with which such a limb is turned, in [0, 1].
        sigma_deg: standard deviation of the angle, degrees.
        generator: the random generator.

    Returns:
        The new directions.
    """
    turns = random_turns(may.shape, sigma_deg, generator)
    turned = (turns @ directions[..., None])[..., 0]
    hit = may & (torch.rand(may.shape, generator=generator) < rate)
    return torch.where(hit[..., None], turned, directions)


def random_turns(shape: tuple[int, ...], sigma_deg: float, generator: torch.Generator) -> Float[Tensor, "*shape 3 3"]:
    """Draw rotations about x, y or z, each axis as likely, by a normal angle.

    Args:
        shape: how many rotations to draw.
        sigma_deg: standard deviation of the angle, degrees.
        generator: the random generator.

    Returns:
        Rotation matrices.
    """
    axes = torch.nn.functional.one_hot(torch.randint(3, shape, generator=generator), 3)
    angles = torch.deg2rad(sigma_deg * torch.randn(shape, generator=generator))
    return rotation_from_axis_angle(axes * angles[..., None])


def learn_validity(
    joints: Float[Tensor, "poses joints 3"], frames: LimbFrames, cell_deg: float, parent_deg: float
) -> ValidityMap:
    """Build the validity map in which all given poses are valid.

    Args:
        joints: the poses, metres.
        frames: the limb frames of their skeleton.
        cell_deg: width of a limb's cells, degrees.
        parent_deg: width of the cells of the limb that it hangs from, degrees.

    Returns:
        The map.
    """
    valid = ValidityMap(cell_deg, parent_deg)
    for chunk in joints.split(_CHUNK):
        valid.learn(frames.encode(chunk)[0])
    return valid


class Breeder:
    """Breeds root-relative poses on the CPU. settings: rates; valid: who lives."""

    def __init__(self, settings: Evolution, frames: LimbFrames, valid: ValidityMap, templates: BoneTemplates) -> None:
        self.settings, self.frames, self.valid, self.templates = settings, frames, valid, templates

    def evolve(
        self, population: Float[Tensor, "poses joints 3"], generator: torch.Generator
    ) -> Float[Tensor, "grown joints 3"]:
        """Breed a population until it has grown by `growth`, and give some of it template bone lengths.

        Args:
            population: root-relative joints, metres.
            generator: the random generator.

        Returns:
            The first population and its offspring, root-relative, metres.

        Raises:
            ValueError: for fewer than two poses.
            RuntimeError: when too few children are valid to reach the size.
        """
        if len(population) < 2:
            raise ValueError(f"evolution needs two poses or more, got {len(population)}")
        wanted = round(self.settings.growth * len(population))
        born = 0
        for _ in range(_LONGEST):
            if len(population) >= wanted:
                return self._with_templates(population[:wanted], generator)
            children = self.children(population, generator)
            population, born = torch.cat([population, children]), born + len(children)
        raise RuntimeError(
            f"after {_LONGEST} generations only {born} valid children were born, {len(population)} of {wanted} poses "
            "are there; make cell_deg larger, or the mutations weaker"
        )

    def children(
        self, population: Float[Tensor, "poses joints 3"], generator: torch.Generator
    ) -> Float[Tensor, "children joints 3"]:
        """Breed one generation: two children a pair, each with the other parent's limb lengths.

        Args:
            population: root-relative joints, metres.
            generator: the random generator.

        Returns:
            The children whose limbs are all valid, root-relative, metres.
        """
        rates = self.settings
        pairs = max(1, int(rates.fraction * len(population)))
        parents = torch.randperm(len(population), generator=generator)[: 2 * pairs]
        trunks = population[parents]
        directions, lengths = self.frames.encode(trunks)
        roots = torch.randint(len(ROOTS), (pairs,), generator=generator)
        sons, daughters, swapped = crossover(directions[:pairs], directions[pairs:], roots)
        bred = torch.cat([sons, daughters])
        bred = mutate(bred, swapped.repeat(2, 1), rates.local_rate, rates.local_sigma_deg, generator)
        others_lengths = lengths.roll(pairs, 0)
        alive = self.valid.valid(bred).all(-1)
        children = self.frames.decode(trunks[alive], bred[alive], others_lengths[alive])
        turned = children @ random_turns((len(children),), rates.global_sigma_deg, generator).mT
        hit = torch.rand(len(children), generator=generator) < rates.global_rate
        return torch.where(hit[:, None, None], turned, children)

    def _with_templates(
        self, population: Float[Tensor, "poses joints 3"], generator: torch.Generator
    ) -> Float[Tensor, "poses joints 3"]:
        templated = self.templates.apply(population, generator)
        # Where a neck bends, its new length moves the head's direction, perhaps out of the map.
        alive = self.valid.valid(self.frames.encode(templated)[0]).all(-1)
        hit = alive & (torch.rand(len(population), generator=generator) < self.settings.template_rate)
        return torch.where(hit[:, None, None], templated, population)
