"""PoseFormer: Zheng et al., "3D human pose estimation with spatial and temporal transformers", ICCV 2021 (METHODS 6.5).

Joints of a frame attend to each other; each frame's tokens then become one, frames attend to each other, and their
learned weighted mean gives the centre frame: many to one. `frames` is 9, 27 or 81 in the paper and 1 here by default.
With `root=predicted` the outputs agree with the released code to 1e-5, and at 17 joints and (x, y) it has 9,563,645 /
9,573,455 / 9,602,885 parameters at 9 / 27 / 81 frames; each input channel more adds 32.

Original recipe (METHODS 6.5): AdamW, weight decay 0.1, lr 4e-5 on detected and 4e-4 on true 2D, times 0.99 after each
epoch, batch 512, 130 to 200 epochs, MPJPE loss, flips in training and test, 2D in [-1, 1]. The 81-frame figures are
hard to reproduce.

AugLift's variant (METHODS 4.7): `norm=post mlp_ratio=4`, and `width=96` at 81 frames or more; AdamW 2e-4, weight decay
0.05, lr times 0.98 after each epoch, 130 epochs, batch 512, MPJPE loss, flips. Its blocks are PyTorch's encoder layers
(ReLU); the head is the original's.

Departures: the root is zero unless `root=predicted`, and the loss is the method's. One frame needs no temporal queries
and keys: they are left out there, with equal outputs and gradients. Any odd number of frames is taken.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dg.pose.skeleton import Skeleton
from lifters.attention import BLOCKS, TransformerOptions
from lifters.base import Count, Lifter, Positive, Share
from lifters.recipe import Recipe
from lifters.root import JointOutput, Root


@dataclass(frozen=True)
class PoseFormerOptions(TransformerOptions):
    """norm: `pre` (the original) or `post` (AugLift). depth: of the spatial and of the temporal blocks alike."""

    frames: Count = 1
    width: Count = 32
    depth: Count = 4
    heads: Count = 8
    mlp_ratio: Positive = 2.0
    drop_path: Share = 0.1
    root: Root = "zero"
    norm: Literal["pre", "post"] = "pre"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames % 2 == 0:
            raise ValueError(f"frames must be odd, so that there is a centre frame, got {self.frames}")


class PoseFormer(Lifter):
    """Lifts the centre frame of a window; see the module's docstring."""

    Options: ClassVar[type] = PoseFormerOptions
    PUBLISHED_NAMES: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"^Spatial_patch_to_embedding\.", "embedding."),
        (r"^Spatial_pos_embed", "joint_position"),
        (r"^Temporal_pos_embed", "frame_position"),
        (r"^Spatial_blocks\.", "spatial."),
        (r"^blocks\.", "temporal."),
        (r"^Spatial_norm\.", "spatial_norm."),
        (r"^Temporal_norm\.", "temporal_norm."),
        (r"^weighted_mean\.", "frame_mean."),
        (r"^head\.0\.", "head_norm."),
        (r"^head\.1\.", "head."),
    )

    @classmethod
    def recipe(cls, options: PoseFormerOptions) -> Recipe:
        """Return the original recipe on true 2D (METHODS 6.5)."""
        return Recipe("adamw", 4e-4, "exponential", decay=0.99, weight_decay=0.1, loss="mpjpe")

    def __init__(self, skeleton: Skeleton, channels: int, options: PoseFormerOptions) -> None:
        super().__init__(skeleton, channels)
        width, frame_width = options.width, options.width * len(skeleton)
        self.receptive_field = options.frames
        self.output = JointOutput(skeleton, options.root)
        self.embedding = nn.Linear(channels, width)
        self.joint_position = nn.Parameter(torch.zeros(1, len(skeleton), width))
        self.spatial = _blocks(width, options)
        self.spatial_norm = nn.LayerNorm(width, eps=1e-6)
        self.frame_position = nn.Parameter(torch.zeros(1, options.frames, frame_width))
        self.temporal = _blocks(frame_width, options)
        self.temporal_norm = nn.LayerNorm(frame_width, eps=1e-6)
        self.frame_mean = nn.Linear(options.frames, 1)
        self.head_norm = nn.LayerNorm(frame_width)
        self.head = nn.Linear(frame_width, self.output.size)

    def target_frames(self, frames: int) -> slice:
        """Return the centre frame.

        Raises ValueError for a window that is not `frames` long.
        """
        if frames != self.receptive_field:
            raise ValueError(
                f"pose_former was built for windows of {self.receptive_field} frames, got {frames}; "
                "give windows of that length or set its option frames"
            )
        return super().target_frames(frames)

    def output_layer(self) -> nn.Module:
        """Return the last layer."""
        return self.head

    def forward(
        self, features: Float[Tensor, "batch frames joints channels"]
    ) -> Float[Tensor, "batch target_frames joints 3"]:
        """Lift the centre frame of windows that are `frames` long."""
        self.target_frames(features.shape[1])
        x = self.spatial((self.embedding(features) + self.joint_position).flatten(0, 1))
        x = self.spatial_norm(x).reshape(*features.shape[:2], -1)
        x = self.temporal_norm(self.temporal(x + self.frame_position))
        x = self.frame_mean(x.transpose(1, 2)).transpose(1, 2)
        return self.output(self.head(self.head_norm(x)))


def _blocks(width: int, options: PoseFormerOptions) -> nn.Sequential:
    block = BLOCKS[options.norm]
    return nn.Sequential(*(block(width, options.heads, options.mlp_ratio, p) for p in options.drop_path_schedule()))
