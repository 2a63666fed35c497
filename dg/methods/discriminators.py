"""PoseAug's discriminators: bone angles by body part, and 2D poses (METHODS 2.3).

Parameter counts and outputs agree with the released code (1,076,205 and 43,801 at 16 joints; 1e-5). The five parts'
networks run as one batched product, and of the 15 x 15 matrix of a part only the entries of its own bones enter, as
all others are zero.
"""

from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dg.pose.bones import unit_bones
from dg.pose.devices import pick
from dg.pose.skeleton import Skeleton

_SIDES = ("left", "right")


def part_bones(skeleton: Skeleton) -> tuple[tuple[int, ...], ...]:
    """Bones of the five parts by the names of their end joints: left arm, right arm, right leg, left leg, torso.

    The released code calls the third part the left leg. A neck belongs to the torso.
    """
    arms = [["thorax", *[f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist")]] for side in _SIDES]
    hips = [f"{side}_hip" for side in _SIDES]
    legs = [["spine", *hips, f"{side}_knee", f"{side}_ankle"] for side in ("right", "left")]
    torso = ["spine", "thorax", "head", *hips, *[f"{side}_shoulder" for side in _SIDES]]
    torso += [joint for joint in skeleton.joints if joint == "neck"]
    return tuple(tuple(sorted(skeleton.bone(joint) for joint in part)) for part in (*arms, *legs, torso))


class PartLinear(nn.Module):
    """One linear layer for each part, Kaiming-normal weights: `[parts, batch, inputs]` to outputs."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(parts, inputs, outputs) * sqrt(2 / inputs))
        self.bias = nn.Parameter(torch.empty(parts, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each part's layer to its rows."""
        return torch.baddbmm(self.bias, x, self.weight)


class PartDiscriminator(nn.Module):
    """Scores the bone angles of each body part by its kinematic-chain-space matrix: the cosines between its bones.

    Lengths, place and orientation of a pose are invisible to it. whole: one network sees all bones, as in the
    paper's ablation, in the place of one for each part.
    """

    first_entry: Tensor
    second_entry: Tensor
    entry: Tensor
    present: Tensor

    def __init__(self, skeleton: Skeleton, whole: bool = False) -> None:
        super().__init__()
        self.skeleton = skeleton
        bones = len(skeleton.bones)
        parts = (tuple(range(bones)),) if whole else part_bones(skeleton)
        longest = max(len(part) for part in parts) ** 2
        entries = torch.zeros(len(parts), longest, 2, dtype=torch.long)
        present = torch.zeros(len(parts), longest)
        for row, part in enumerate(parts):
            entries[row, : len(part) ** 2] = torch.cartesian_prod(torch.tensor(part), torch.tensor(part))
            present[row, : len(part) ** 2] = 1.0
        self.register_buffer("entry", entries[..., 0] * bones + entries[..., 1], persistent=False)
        self.register_buffer("present", present[:, :, None], persistent=False)
        self.first = PartLinear(len(parts), bones * bones, 256)
        self.second = PartLinear(len(parts), 256, 256)
        self.third = PartLinear(len(parts), 256, 256)
        self.fourth = PartLinear(len(parts), 256, 100)
        self.last = PartLinear(len(parts), 100, 1)

    def kcs(self, joints: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch bones bones"]:
        """Cosines between all bones."""
        units, _ = unit_bones(joints, self.skeleton)
        return units @ units.mT

    def forward(self, joints: Float[Tensor, "batch joints 3"]) -> Float[Tensor, "batch parts"]:
        """Return one score for each body part of the poses."""
        entries = pick(self.kcs(joints).flatten(1), self.entry.flatten(), -1)
        entries = entries.unflatten(-1, self.entry.shape).transpose(0, 1)
        rows = self.entry[:, :, None].expand(-1, -1, self.first.weight.shape[-1])
        weight = self.first.weight.gather(1, rows) * self.present
        first = F.leaky_relu(torch.baddbmm(self.first.bias, entries, weight))
        third = self.third(F.leaky_relu(self.second(first))) + first
        return self.last(F.leaky_relu(self.fourth(third)))[..., 0].T


class PoseDiscriminator2D(nn.Module):
    """Scores a 2D pose in normalised image coordinates, its place in the frame included."""

    def __init__(self, skeleton: Skeleton, width: int = 100) -> None:
        super().__init__()
        self.first = nn.Linear(2 * len(skeleton), width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.fourth = nn.Linear(width, width)
        self.fifth = nn.Linear(width, width)
        self.last = nn.Linear(width, 1)
        for layer in self.children():
            nn.init.kaiming_normal_(layer.weight)  # pyright: ignore[reportArgumentType] - all children are Linear

    def forward(self, joints_2d: Float[Tensor, "batch joints 2"]) -> Float[Tensor, "batch 1"]:
        """Return one score for each 2D pose."""
        first = F.leaky_relu(self.first(joints_2d.flatten(1)))
        second = F.leaky_relu(self.second(first))
        third = F.leaky_relu(self.third(second) + first)
        return self.last(F.leaky_relu(self.fifth(self.fourth(third))))
