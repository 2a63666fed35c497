"""Further 2D poses that a discriminator of 2D takes for real: those of MPII (PoseAug, Table 2, "+ extra 2D").

Gong et al., "PoseAug", CVPR 2021, section 4.2, says that MPII's 2D poses train the 2D discriminator, and no more. Their
file does not say how large the images are, so neither place nor size in the image is known: here each pose is given the
box size and the root of a source pose, and the discriminator learns from it how people look, not where they stand.
MPII's thorax and upper neck are Human3.6M's thorax and neck; the spine lies between pelvis and thorax.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dg.files.errors import FileFormatError
from dg.files.mpii_file import MPII_JOINTS, read_mpii
from dg.pose.skeleton import Skeleton

_MADE = {"spine": ("pelvis", "thorax")}
_SMALLEST_PX = 1.0  # of width plus height; a smaller pose has no shape


class ExtraPoses:
    """The poses of a file of MPII's format on a skeleton.

    Args:
        path: see `dg.files.mpii_file`.
        skeleton: of the poses, one whose joints MPII has.
        device: where they are kept.

    Raises:
        FileFormatError: the file cannot be used.
        ValueError: MPII lacks a joint of the skeleton.
    """

    def __init__(self, path: str | Path, skeleton: Skeleton, device: torch.device | str = "cpu") -> None:
        self.root = skeleton.root
        pixels = read_mpii(path)[:, _map(skeleton)].mean(2)
        flat = torch.from_numpy(np.ascontiguousarray(pixels, np.float32))
        flat = flat - flat[:, self.root, None]
        self.poses = flat[_box(flat) > _SMALLEST_PX].to(device)
        if not len(self.poses):
            raise FileFormatError(f"{path}: expected poses of some pixels, got {len(flat)} points")

    def __len__(self) -> int:
        return len(self.poses)

    def like(
        self, seen: Float[Tensor, "batch joints 2"], generator: torch.Generator
    ) -> Float[Tensor, "batch joints 2"]:
        """Draw poses with replacement, each with the box size and the root of a given one.

        Args:
            seen: 2D poses in normalised coordinates.
            generator: the random generator, on their device.
        """
        rows = torch.randint(len(self), (len(seen),), generator=generator, device=seen.device)
        drawn = self.poses[rows]
        return drawn * (_box(seen) / _box(drawn))[:, None, None] + seen[:, self.root, None]


def _box(joints: Float[Tensor, "batch joints 2"]) -> Float[Tensor, " batch"]:
    """Width plus height."""
    return (joints.amax(1) - joints.amin(1)).sum(-1)


def _map(skeleton: Skeleton) -> list[list[int]]:
    """For each joint the two of MPII whose mean it is."""
    parts = [_MADE.get(joint, (joint, joint)) for joint in skeleton.joints]
    missing = sorted({name for pair in parts for name in pair} - set(MPII_JOINTS))
    if missing:
        raise ValueError(f"extra_2d: MPII has no {missing} of {skeleton.name}; choose skeleton=h36m_16 or h36m_17")
    return [[MPII_JOINTS.index(name) for name in pair] for pair in parts]
